"""What `vergence synth` writes is read back by the readers that users' own data goes through."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from vergence.commands.synth import synth
from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.keypoints import read_coco
from vergence.footage.observations import observe
from vergence.geometry.camera import project
from vergence.outputs import read_npz
from vergence.skeleton import H36M_17
from vergence.world import Faults, draw_rigs
from vergence.world.synthesize import faulty, resized

FRAMES, VIEWS, SIZE = 4, 3, 96


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "capture"
    synth(out, frames=FRAMES, views=VIEWS, size=SIZE, known="cameras", seed=5, device="cpu", quiet=True)
    return out


def test_a_capture_is_read_back_with_all_that_is_known(capture):
    read = load_capture(capture)
    assert read.names == ["cam01", "cam02", "cam03"]
    assert read.fps == 25.0
    assert read.has_extrinsics
    assert read.notes == ()
    assert observe(read).keypoints.shape == (FRAMES, VIEWS, 17, 3)
    assert read.image(1, FRAMES - 1).shape == (SIZE, SIZE, 3)


def test_what_was_written_is_told_with_what_to_do_next(tmp_path, capsys):
    for count, what, following in ((1, "1 capture", tmp_path / "1"), (2, "2 captures", tmp_path / "2/person01")):
        out = tmp_path / str(count)
        synth(out, subjects=count, frames=2, views=2, size=64, device="cpu", quiet=True)
        assert capsys.readouterr().out == f"written to {out}: {what}; next: vergence reconstruct {following}\n"
        assert (following / "capture.toml").exists()
    synth(tmp_path / "i", kind="images", subjects=2, size=64, device="cpu", quiet=True)
    assert capsys.readouterr().out.endswith(f"images with keypoints; next: vergence data check {tmp_path / 'i'}\n")


def test_the_truth_seen_by_the_stated_cameras_is_the_keypoints(capture):
    read, truth = load_capture(capture), read_npz(capture / "truth.npz")
    assert (truth.unit, truth.joint_names, len(truth.pose)) == ("mm", H36M_17.joint_names, FRAMES)
    np.testing.assert_allclose(truth.up, [0, 0, 1])
    for v, camera in enumerate(read.cameras):
        seen = torch.from_numpy(truth.pose @ camera.rotation.T + camera.translation)
        pixels = project(seen, torch.from_numpy(camera.intrinsics)).numpy()
        found = observe(read).keypoints[:, v]
        known = np.isfinite(found[..., 0])
        assert known.mean() > 0.9
        np.testing.assert_allclose(pixels[known], found[..., :2][known], atol=1e-3)


def test_the_person_is_drawn_where_the_keypoints_are(tmp_path):
    """Two moments differ where the person is, and only there: the background never changes."""
    synth(tmp_path / "a", frames=30, views=2, size=128, seed=1, device="cpu", quiet=True)
    read = load_capture(tmp_path / "a")
    for v in range(2):
        change = np.abs(read.image(v, 29).astype(float) - read.image(v, 0).astype(float)).max(-1)
        ys, xs = np.nonzero(change > 40)
        points = observe(read).keypoints[[0, -1], v, :, :2].reshape(-1, 2)
        low, high = np.nanmin(points, 0) - 8, np.nanmax(points, 0) + 8
        inside = (xs > low[0]) & (xs < high[0]) & (ys > low[1]) & (ys < high[1])
        assert len(xs) > 50
        assert inside.mean() > 0.95


def test_what_is_withheld_is_not_in_the_file(tmp_path):
    synth(tmp_path / "a", frames=1, views=2, size=32, known="nothing", device="cpu", quiet=True)
    cameras = load_capture(tmp_path / "a").cameras
    assert all(c.intrinsics is None and c.rotation is None for c in cameras)


def test_a_misjudged_focal_length_is_stated_and_the_truth_kept(tmp_path):
    synth(tmp_path / "a", frames=1, views=2, size=32, focal_error=0.1, device="cpu", quiet=True)
    with np.load(tmp_path / "a" / "truth.npz") as truth:
        ratio = [c.intrinsics[0, 0] / k[0, 0] for c, k in zip(load_capture(tmp_path / "a").cameras, truth["K"])]
    assert all(0.5 < r < 2 and abs(r - 1) > 1e-3 for r in ratio)
    assert ratio[0] != ratio[1]


def test_several_people_get_a_capture_each_and_no_two_seeds_share_one(tmp_path):
    poses = []
    for seed in (7, 8):
        synth(tmp_path / str(seed), subjects=2, frames=1, views=2, size=32, seed=seed, device="cpu", quiet=True)
        poses += [read_npz(tmp_path / str(seed) / f"person0{i}" / "truth.npz").pose for i in (1, 2)]
    assert all(not np.allclose(a, b) for i, a in enumerate(poses) for b in poses[:i])
    synth(tmp_path / "one", frames=1, views=2, size=32, seed=8, device="cpu", quiet=True)
    np.testing.assert_array_equal(read_npz(tmp_path / "one" / "truth.npz").pose, poses[2])


def test_faults_have_the_size_they_are_asked_for():
    true = np.random.default_rng(0).uniform(0, 640, (200, 4, 17, 2))
    rng = np.random.default_rng(1)
    noisy = faulty(true, Faults(noise_px=3.0, missing_joints=0.2, dropped_views=0.1), rng)
    seen = np.isfinite(noisy[..., 0])
    assert abs(seen.mean() - 0.8 * 0.9) < 0.02
    assert abs((noisy[..., :2] - true)[seen].std() - 3.0) < 0.1
    assert np.isnan(noisy[~seen]).all()
    assert (noisy[..., 2][seen] == 1).all()
    swapped = faulty(true, Faults(swapped_sides=0.3), np.random.default_rng(2))[..., :2]
    moved = (swapped != true).any((-1, -2))
    assert abs(moved.mean() - 0.3) < 0.05
    np.testing.assert_array_equal(swapped[moved], true[moved][:, list(H36M_17.mirror)])


def test_a_resized_rig_sees_the_same_at_another_scale():
    rig = draw_rigs(1, 2, seed=0)[0]
    small = resized(rig, 250)
    points = torch.tensor([[100.0, 200.0, 900.0], [-300.0, 50.0, 1400.0]], dtype=torch.float64)
    for v in range(2):
        seen = points @ rig.rotation[v].T + rig.translation[v]
        a, b = project(seen, rig.intrinsics[v]), project(seen, small.intrinsics[v])
        np.testing.assert_allclose(((a + 0.5) * 250 / rig.size[1] - 0.5).numpy(), b.numpy(), atol=1e-9)
    assert small.size == (250, 250)


def test_images_come_with_coco_keypoints_and_truth(tmp_path):
    synth(tmp_path / "p", kind="images", subjects=6, frames=2, size=64, seed=3, device="cpu", quiet=True)
    data = json.loads((tmp_path / "p" / "keypoints.json").read_text())
    assert [one["id"] for one in data["annotations"]] == list(range(1, len(data["images"]) + 1))
    assert len(data["images"]) == len(data["annotations"]) == 12
    assert Image.open(tmp_path / "p" / data["images"][11]["file_name"]).size == (64, 64)
    read = read_coco(tmp_path / "p" / "keypoints.json")
    assert read.skeleton == H36M_17
    with np.load(tmp_path / "p" / "truth.npz") as truth:
        assert truth["pose"].shape == (12, 17, 3)
        assert len(set(truth["subject"])) == 6
        pixels = project(torch.from_numpy(truth["pose"]), torch.from_numpy(truth["intrinsics"])).numpy()
    found = np.concatenate([read.people[i] for i in range(12)])[..., :2]
    known = np.isfinite(found[..., 0])
    assert 0.5 < known.mean() <= 1
    np.testing.assert_allclose(pixels[known], found[known], atol=0.02)


def test_images_drawn_in_parts_keep_their_subjects_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("vergence.world.synthesize.IMAGES_AT_ONCE", 4)
    synth(tmp_path / "p", kind="images", subjects=5, frames=2, size=32, device="cpu", quiet=True)
    with np.load(tmp_path / "p" / "truth.npz") as truth:
        subjects, counts = np.unique(truth["subject"], return_counts=True)
    assert subjects.tolist() == [0, 1, 2, 3, 4]
    assert set(counts) == {2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"occlusion": 0.5}, "occlusion 0.5 is for kind images only"),
        ({"kind": "images", "dropped_views": 0.5}, "dropped_views 0.5 is for kind capture only"),
        ({"missing_joints": 2.0}, "missing_joints"),
        ({"views": 0}, "views = 0"),
        ({"size": 5}, "size of 5 px"),
        ({"seed": 1000}, "0 to 999"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(tmp_path, options, said):
    with pytest.raises(VergenceError, match=said):
        synth(tmp_path / "x", device="cpu", quiet=True, **options)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(VergenceError, match="not empty"):
        synth(tmp_path, frames=1, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_old_word_for_images_is_read_with_a_warning(tmp_path):
    with pytest.warns(FutureWarning, match="--kind pictures is now --kind images"):
        synth(tmp_path / "p", kind="pictures", subjects=1, size=32, device="cpu", quiet=True)
    assert (tmp_path / "p" / "keypoints.json").is_file()
