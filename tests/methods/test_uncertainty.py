"""Expected errors from cues: what they cover, what they leave out, and that a run carries them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_uncertain import uncertain
from safetensors.torch import load_file, save_file

import vergence
from vergence.errors import VergenceError
from vergence.inference.estimator import Estimator, load, save
from vergence.methods.base import averaged_maps
from vergence.methods.uncertainty import UNCERTAINTY, cues_of, fit_errors, fit_usual
from vergence.networks.pose_network import Maps
from vergence.outputs import read_npz
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import H36M_17


def drawn(count, seed):
    """Cues and errors of three joints: the first is the root, the second's error grows with its cue, the third's does not."""
    generator = torch.Generator().manual_seed(seed)
    cues, noise = torch.randn(count, 3, 2, generator=generator), torch.randn(count, 3, generator=generator)
    error = 0.1 * (0.5 * noise + cues[..., 0] * torch.tensor([0.0, 0.8, 0.0])).exp()
    error[:, 0] = 0
    return cues, error


@pytest.fixture(scope="module")
def fit():
    return fit_errors(*drawn(2000, 0))


def test_nine_of_ten_new_errors_are_within_the_radius_and_ranked(fit):
    cues, error = drawn(4000, 1)
    told = fit(cues)
    covered = (error <= told * fit.ratio).double().mean(0)
    assert ((covered[1:] > 0.88) & (covered[1:] < 0.92)).all()
    assert told[:, 1:].mean(0).tolist() == pytest.approx(error[:, 1:].mean(0).tolist(), rel=0.05)
    ranks = [np.corrcoef(told[:, j].log(), error[:, j].log())[0, 1] for j in (1, 2)]
    assert ranks[0] > 0.8
    assert abs(fit.weight[2]).max() < 0.05


def test_the_root_has_no_error_and_a_joint_without_labels_none_that_is_known():
    cues, error = drawn(100, 0)
    error[30:, 2] = torch.nan
    fit = fit_errors(cues, error)
    assert fit(cues)[:, 0].abs().max() == 0
    assert fit(cues)[:, 1].isfinite().all()
    assert fit(cues)[:, 2].isnan().all()


def test_recordings_are_kept_together_in_the_folds():
    """Five recordings, of which each errs in its own way: folds that mixed them would promise too small a radius."""
    recording = torch.arange(1000) % 5
    error = (0.1 * 2.0**recording)[:, None].expand(-1, 1).double()
    cues = recording[:, None, None].double()
    mixed = fit_errors(cues * 0 + torch.randn(1000, 1, 1, generator=torch.Generator().manual_seed(0)), error)
    apart = fit_errors(cues * 0, error, torch.stack([recording, torch.arange(1000)], 1))
    assert apart.ratio[0] * apart(cues * 0)[0, 0] > 1.2 * mixed.ratio[0] * mixed(cues * 0)[0, 0]


def test_an_image_from_elsewhere_is_strange_and_one_in_a_hundred_others():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    look, held, new = (torch.randn(n, 6, generator=generator) @ mixing for n in (3000, 1000, 1000))
    usual = fit_usual(look, held, torch.arange(1000) // 100)
    assert 0.003 < (usual(new) > 1).double().mean() < 0.03
    assert (usual(new + 8 * mixing[0]) > 1).all()
    assert 0.5 < usual.together < 1
    lone = fit_usual(
        torch.cat([look, torch.ones(3000, 1)], 1), torch.cat([held, torch.ones(1000, 1)], 1), torch.arange(1000) // 100
    )
    assert lone(torch.cat([new, torch.ones(1000, 1)], 1)).isfinite().all()  # a channel that never moves


def blob(width):
    x = torch.arange(16.0)
    square = (x[:, None] - 7.5) ** 2 + (x - 7.5) ** 2
    logits = (-square / (2 * width**2))[None, None].expand(1, 17, -1, -1)
    log = logits.flatten(2).log_softmax(-1).view_as(logits)
    one = torch.ones(1, 17)
    return Maps(log, torch.full((1, 17, 2), 31.5), one, one * 0.5, torch.zeros(1, 4))


def test_cues_are_logarithms_of_the_spread_and_of_how_far_the_mirror_image_is():
    narrow, wide = (cues_of(blob(width), 64) for width in (1.0, 2.0))
    assert narrow.shape == (1, 17, 2)
    assert float((narrow[0, 0, 0].exp() - 3e-3) * 64) == pytest.approx(4 * 2**0.5, rel=0.02)
    assert (wide[..., 0] > narrow[..., 0]).all()
    network = lambda image: blob(1.0)
    both = averaged_maps(network, torch.zeros(1, 3, 64, 64), H36M_17)
    assert both.apart.abs().max() == 0  # 31.5 is the middle of 64
    assert cues_of(both, 64).shape == (1, 17, 4)


@pytest.fixture
def run(light_run, tmp_path):
    """An untrained run that says what it knows of its errors."""
    method = load(light_run).method
    method.uncertainty = uncertain()
    network = NetworkSettings(embedding_size=8, hidden_sizes=[8, 8, 16, 16], width=16)
    save(method, tmp_path / "run", "supervised", network, 64)
    return tmp_path / "run"


@pytest.mark.parametrize("flip", [False, True])
def test_a_run_is_loaded_with_its_errors_and_saves_them_in_files(run, tmp_path, flip):
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    found = load(run)(images, flip=flip)
    assert found.cues is None
    assert found.look is None
    assert ((found.error > 0) & (found.error < 1)).all()
    torch.testing.assert_close(found.error_90, 2 * found.error)
    assert found.unlike.tolist() == [False] * 3
    for suffix in ("npz", "json", "csv"):
        found.save(tmp_path / f"poses.{suffix}")
    poses = read_npz(tmp_path / "poses.npz")
    np.testing.assert_allclose(poses.error_90, found.error_90, rtol=1e-5)
    np.testing.assert_allclose(poses.strangeness, found.strangeness, rtol=1e-5)
    np.testing.assert_allclose(
        poses.scaled(1800.0).error / poses.error, poses.scaled(1800.0).pose[0, 1, 0] / poses.pose[0, 1, 0]
    )
    head, first = [line.split(",") for line in (tmp_path / "poses.csv").read_text().splitlines()[:2]]
    assert float(first[head.index("left_wrist_error_90")]) == pytest.approx(float(found.error_90[0, 13]), rel=1e-4)
    assert '"strangeness"' in (tmp_path / "poses.json").read_text()


def test_what_was_not_calibrated_says_nothing(light_run, run):
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    found = load(light_run)(images)
    assert (found.error, found.error_90, found.unlike, found.cues) == (None,) * 4
    save(
        load(light_run).method,
        run,
        "supervised",
        NetworkSettings(embedding_size=8, hidden_sizes=[8, 8, 16, 16], width=16),
        64,
    )
    assert not (run / UNCERTAINTY).exists()  # of the weights that were there before


def test_a_file_that_is_not_whole_is_refused(run):
    parts = load_file(run / UNCERTAINTY)
    del parts["flipped.ratio"]
    save_file(parts, run / UNCERTAINTY)
    with pytest.raises(VergenceError, match=r"flipped in .* has"):
        load(run)


def test_frames_tell_images_that_are_unlike_and_their_errors(run, light_video):
    method = load(run).method
    method.uncertainty = uncertain(limit=1e-6)
    config = load(run).config
    estimator = Estimator(method, config)
    frames = vergence.predict(estimator, light_video, box=(0, 0, 60, 60), fov=50)
    poses = frames.collect()
    assert (poses.strangeness > 1).all()
    assert poses.error.shape == poses.pose.shape[:2]
    assert any("images of people are unlike" in note for note in frames.notes)
    assert any("taken together the images are unlike" in note for note in frames.notes)


def test_the_spread_of_a_map_is_that_of_its_pixels_both_ways():
    """Of a map of 4 x 8 cells of 8 px: two halves 3 cells apart across and 2 down are 1.5 and 1 cells off their middle."""
    heat = torch.zeros(1, 1, 4, 8)
    heat[0, 0, 0, 2], heat[0, 0, 2, 5] = 0.5, 0.5
    maps = Maps(heat.log(), torch.zeros(1, 1, 2), torch.zeros(1, 1), torch.full((1, 1), 0.9), torch.zeros(1, 1, 1, 1))
    spread, doubt = cues_of(maps, 64)[0, 0].exp().tolist()
    assert (spread - 3e-3) * 64 == pytest.approx(8 * (1.5**2 + 1**2) ** 0.5, rel=1e-3)
    assert doubt == pytest.approx(0.12, rel=1e-3)
