"""Pseudo-labels from several views against the built-in world's truth."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures_recordings import HIDDEN, LABELLED, TINY
from fixtures_recordings import film as film

from vergence.batches.dataset import MemoryDataset, withhold
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.evaluation.scores import label_scores
from vergence.methods.registry import build_method
from vergence.recipes.recipe import LabelStage
from vergence.recipes.sources import Source
from vergence.report.run_page import label_tables
from vergence.skeleton import H36M_17
from vergence.training import labelling
from vergence.training.labelling import find_keypoints, label_words, make_pseudo_labels
from vergence.world import recordings

ROOT = H36M_17.index("pelvis")


def noisy(views: Views, sigma: float, seed: int = 0) -> Views:
    """Keypoints with noise of `sigma` crop pixels."""
    g = torch.Generator().manual_seed(seed)
    return views.replace(keypoints=views.keypoints + sigma * torch.randn(views.keypoints.shape, generator=g))


def labels_of(views: Views, stage: LabelStage = LABELLED, source: Source = HIDDEN):
    dataset = MemoryDataset(views)
    visible = withhold(dataset.index, source)
    if stage.cameras == "known":
        visible = visible.replace(rotation=views.rotation, translation=views.translation)
    return make_pseudo_labels(
        dataset, visible, visible.keypoints[:, :, None], visible.confidence[:, :, None], stage, H36M_17
    )


# Labels


@pytest.mark.parametrize("cameras", ["unknown", "known"])
def test_exact_joints_of_2_3_and_4_cameras_give_the_truth(film, cameras):
    labels = labels_of(film, LabelStage(keypoints="labelled", cameras=cameras))
    found = label_scores(labels.pose, film, H36M_17)
    assert found["n_mpjpe"] < 0.5  # mm
    assert found["joints_labelled"] > 0.95
    assert labels.report["recordings"] == 3
    assert labels.report["refused"] == {}
    assert labels.report["images"] == len(film) == 12 * 9
    assert torch.equal(labels.key[:, 1], film.view)
    known = ~labels.pose.isnan().any(-1)
    assert (labels.weight[~known] == 0).all()
    seen = known & ~film.keypoints.isnan().any(-1)
    assert (labels.keypoints - film.keypoints)[seen].abs().max() < 0.1
    assert torch.equal(labels.intrinsics, film.intrinsics)


def test_labels_are_in_reference_bones_one_scale_per_recording(film):
    labels = labels_of(film)
    for sequence in film.sequence.unique():
        rows = film.sequence == sequence
        ours, truth = labels.pose[rows], film.pose[rows]
        ratio = (ours[:, 1:] - ours[:, :1]).norm(dim=-1) / (truth[:, 1:] - truth[:, :1]).norm(dim=-1)
        ratio = ratio[ratio.isfinite()]
        assert ratio.std() / ratio.mean() < 1e-3
        bone = (ours[:, H36M_17.index("thorax")] - ours[:, ROOT]).norm(dim=-1)
        assert float(bone.nanmedian()) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("cameras", ["unknown", "known"])
def test_noise_leaves_what_it_is_worth_at_the_person(film, cameras):
    """0.2 of 32 pixels is some 15 mm at the person (a crop spans about 2.4 m): two cameras see depth twice as badly."""
    labels = labels_of(noisy(film, 0.2), LabelStage(keypoints="labelled", cameras=cameras))
    for sequence, limit in zip(film.sequence.unique(), (45, 22, 22), strict=True):
        rows = film.sequence == sequence
        found = label_scores(labels.pose[rows], film[rows], H36M_17)
        assert found["n_mpjpe"] < limit
        assert found["joints_labelled"] > 0.9


def test_limbs_are_held_once_where_two_peaks_are_given(monkeypatch):
    """The rig of the first reconstruction, from which the views choose their peaks, knows no limbs."""
    film, held, reconstruct = recordings(1, 6, 4, 32, seed=51), [], labelling.reconstruct_keypoints

    def told(*given, **settings):
        held.append(settings.get("hold_limbs", True))
        return reconstruct(*given, **settings)

    monkeypatch.setattr(labelling, "reconstruct_keypoints", told)
    dataset = MemoryDataset(noisy(film, 0.2))
    visible = withhold(dataset.index, HIDDEN)
    peaks, trust = visible.keypoints[:, :, None], visible.confidence[:, :, None]
    two = torch.cat([peaks, peaks + 9], 2), torch.cat([trust, 0.1 * trust], 2)
    made = [make_pseudo_labels(dataset, visible, *given, LABELLED, H36M_17) for given in ((peaks, trust), two)]
    assert held == [True, False, True]
    assert float((made[0].pose - made[1].pose).norm(dim=-1).nanmedian()) < 0.02  # reference bones


def test_one_frame_at_a_time_is_worse_than_pooled_frames():
    film = recordings(1, 6, 4, 32, seed=51)
    blurred = noisy(film, 0.2)
    pooled = label_scores(labels_of(blurred).pose, film, H36M_17)
    alone = label_scores(labels_of(blurred, LabelStage(keypoints="labelled", per_frame=True)).pose, film, H36M_17)
    assert pooled["n_mpjpe"] < 25
    assert alone["n_mpjpe"] > 4 * pooled["n_mpjpe"]


def test_unknown_intrinsics_are_estimated_and_handed_on():
    """Full images (the crop is the image) whose lens nobody knows."""
    film = recordings(1, 20, 4, 32, seed=52)
    back = film.turn.mT
    pose = film.pose @ back.mT
    pixels = pose @ film.full_intrinsics.mT
    whole = film.replace(
        crop=torch.eye(3).expand(len(film), 3, 3),
        turn=torch.eye(3).expand(len(film), 3, 3),
        full_intrinsics=torch.full_like(film.intrinsics, math.nan),
        pose=pose,
        keypoints=pixels[..., :2] / pixels[..., 2:],
        intrinsics=torch.full_like(film.intrinsics, math.nan),
        rotation=back @ film.rotation,
        translation=(back @ film.translation[..., None])[..., 0],
    )
    labels = labels_of(whole)
    assert label_scores(labels.pose, whole, H36M_17)["n_mpjpe"] < 5
    assert labels.intrinsics.isfinite().all()
    assert ((labels.intrinsics[:, 0, 0] / film.full_intrinsics[:, 0, 0]).log().abs() < 0.05).all()


def test_rows_in_another_order_and_missing_images_change_nothing(film):
    one = film[film.sequence == film.sequence.max()]
    order = torch.randperm(len(one), generator=torch.Generator().manual_seed(0))[3:]
    shuffled = labels_of(one[order])
    assert label_scores(shuffled.pose, one[order], H36M_17)["n_mpjpe"] < 0.5
    assert torch.equal(shuffled.key[:, 2], one.frame[order])


def test_a_recording_that_cannot_be_used_is_counted_and_leaves_no_label(film):
    bad = film.sequence == film.sequence.min()
    keypoints = film.keypoints.clone()
    keypoints[bad] = math.nan
    labels = labels_of(film.replace(keypoints=keypoints, confidence=torch.where(bad[:, None], 0.0, film.confidence)))
    assert labels.report["recordings"] == 3
    assert sum(labels.report["refused"].values()) == 1
    assert labels.report["images_labelled"] == int((~bad).sum())
    assert labels.pose[bad].isnan().all()
    assert (labels.weight[bad] == 0).all()


def test_no_usable_recording_is_one_error_with_the_reason(film):
    alone = film[film.view == 0]
    with pytest.raises(VergenceError, match=r"no recording could be reconstructed: .*camera"):
        labels_of(alone)


def test_known_cameras_that_are_not_known_are_refused(film):
    dataset = MemoryDataset(film)
    visible = withhold(dataset.index, HIDDEN)
    stage = LabelStage(keypoints="labelled", cameras="known")
    with pytest.raises(VergenceError, match="extrinsics are unknown or withheld"):
        make_pseudo_labels(
            dataset, visible, visible.keypoints[:, :, None], visible.confidence[:, :, None], stage, H36M_17
        )


@pytest.mark.parametrize("name", ["turn", "full_intrinsics", "size"])
def test_crops_that_do_not_know_their_full_images_are_refused(film, name):
    blind = film.replace(**{name: torch.full_like(getattr(film, name), math.nan)})
    with pytest.raises(VergenceError, match="do not say which full images and cameras they were cropped from"):
        labels_of(blind)


def test_a_page_says_why_a_recording_is_doubtful(film):
    sound, blurred = labels_of(film).report, labels_of(noisy(film, 2.0)).report
    assert sound["doubt"] == ""
    assert set(sound["verdicts"]) == {"good"}
    assert blurred["verdicts"]["doubtful"] > 0
    assert "The relative rotation of the worst pair of cameras" in blurred["doubt"]
    notes = [label_tables({"labels": report})[0].note for report in (sound, blurred)]
    assert "doubtful" not in notes[0]
    assert notes[1].endswith(f"A doubtful recording of labels, for example: {blurred['doubt']}")


def test_long_recordings_are_taken_in_runs():
    film = recordings(1, 12, 3, 32, seed=53)
    labels = labels_of(film, LabelStage(keypoints="labelled", frames=7))
    assert labels.report["recordings"] == 2
    assert label_scores(labels.pose, film, H36M_17)["n_mpjpe"] < 0.5


def test_the_frozen_network_is_neither_changed_nor_put_into_another_mode(film):
    torch.manual_seed(0)
    method = build_method("epipolar_pose", TINY, "h36m_17").train()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    points, trust = find_keypoints(method, MemoryDataset(film), "cpu", size=50)
    assert points.shape == (len(film), 17, 1, 2)
    assert trust.shape == (len(film), 17, 1)
    assert method.training
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert not points.requires_grad
    again, _ = find_keypoints(method, MemoryDataset(film), "cpu", size=7)
    assert torch.allclose(points, again, atol=1e-3)


def test_what_labels_were_made_is_told_in_words():
    report = {"recordings": 3, "verdicts": {"good": 1, "doubtful": 1}, "refused": {"too short": 1}, "images": 9,
              "images_labelled": 6, "put_right": {"images with exchanged sides": 2}}  # fmt: skip
    words = "6 of 9 images labelled; 1 good, 1 doubtful recordings; put right: 2 images with exchanged sides; 1 refused"
    assert label_words(report) == words
    assert label_words({**report, "verdicts": {"good": 1}, "refused": {}, "put_right": {}}).endswith("1 good recording")
    assert label_words({"joints_labelled": 0.5}) == "2D of 50% of the joints kept"
