"""Figures that need no truth: what they see, what fools them, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import Scene

from vergence.errors import VergenceError
from vergence.evaluation import without_truth
from vergence.evaluation.without_truth import Held, by_others, flat_poses, measure, scene_of
from vergence.footage.observations import Observations
from vergence.footage.subject import SubjectChoice
from vergence.geometry.cameras import Rig
from vergence.lifting.train import LIFTED
from vergence.outputs import PoseSequence
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.solve import reconstruct_keypoints
from vergence.skeleton import H36M_17

FRAMES = 50


@pytest.fixture(scope="module")
def truth(make_scene) -> Scene:
    return make_scene(frames=FRAMES, views=3, noise=1.0)


@pytest.fixture(scope="module")
def known(truth: Scene) -> tuple[Reconstruction, Observations]:
    """A reconstruction with given cameras, and what it was made of."""
    arrays = {"intrinsics": truth.intrinsics, "distortion": truth.distortion}
    placed = {"rotation": truth.rotation, "translation": truth.translation}
    solved = reconstruct_keypoints(
        truth.keypoints, skeleton=H36M_17, image_size=truth.image_size.astype(float), **arrays, **placed
    )
    points = np.concatenate([truth.keypoints, np.full((*truth.keypoints.shape[:3], 1), 0.9)], -1)
    subject = SubjectChoice("only", "alone", (0, 0, 0), (1, 1, 1), (1.0, 1.0, 1.0))
    poses = PoseSequence(solved.pose, H36M_17.joint_names, 30.0, "mm", np.array([0.0, 0.0, 1.0]))
    rig = Rig.of(["a", "b", "c"], truth.image_size, truth.intrinsics, truth.rotation, truth.translation,
                 truth.distortion, unit="mm")  # fmt: skip
    found = Reconstruction(poses, rig, solved.report, subject, "estimated", "given", 1.0, (), {}, 0.0)
    return found, Observations(points, H36M_17, subject)


def seen_by(truth: Scene, poses: np.ndarray) -> np.ndarray:
    """World poses in every camera's frame, V T K 3."""
    return np.stack([H36M_17.convert(poses, LIFTED) @ R.T for R in truth.rotation])


def ways_of(truth: Scene, model: np.ndarray) -> dict[str, np.ndarray]:
    depth = seen_by(truth, truth.pose) + truth.translation[:, None, None]
    return {"model": model, "zero depth": flat_poses(depth[..., :2] / depth[..., 2:])}


def measured(truth: Scene, known, model: np.ndarray, **options) -> Held:
    held = np.zeros(FRAMES, bool)
    held[20:] = True
    return measure(ways_of(truth, model), scene_of(*known, LIFTED), held, ~held, **options)


def test_the_truth_scores_best_and_agrees_from_everywhere(truth: Scene, known) -> None:
    held = measured(truth, known, seen_by(truth, truth.pose))
    model, flat = held.ways["model"], held.ways["zero depth"]
    assert max(model.n_mpjpe) < 8
    assert max(model.n_mpjpe_others) < 15
    assert model.score < 0.1
    assert flat.score == pytest.approx(1)
    assert model.views < 1
    assert model.views_share < 0.1 < flat.views_share
    assert model.diversity == pytest.approx(1, abs=0.05)
    assert held.frames == (30, 30, 30)


def test_a_constant_pose_has_steady_limbs_and_no_jitter_but_earns_nothing(truth: Scene, known) -> None:
    still = np.broadcast_to(truth.pose[5], truth.pose.shape)
    held, right = measured(truth, known, seen_by(truth, still)), measured(truth, known, seen_by(truth, truth.pose))
    model = held.ways["model"]
    assert model.limbs < 1e-9 < right.ways["model"].limbs + 1e-6
    assert model.jitter < 1e-6 < held.jitter
    assert model.views < 1e-6
    assert model.views_share == pytest.approx(1)
    assert model.score > 5 * right.ways["model"].score
    assert model.diversity < 0.01


def test_figures_grow_with_the_error(truth: Scene, known) -> None:
    rng = np.random.default_rng(0)
    right = seen_by(truth, truth.pose)
    wrong = rng.normal(size=right.shape)
    found = [measured(truth, known, right + mm * wrong).ways["model"] for mm in (0, 20, 50, 120)]
    for name in ("score", "views", "views_rigid", "views_share", "limbs", "jitter"):
        values = [getattr(one, name) for one in found]
        assert values == sorted(values), name


def test_leaving_frames_out_gains_nothing(truth: Scene, known) -> None:
    rng = np.random.default_rng(1)
    model = seen_by(truth, truth.pose + rng.normal(0, 40, truth.pose.shape))
    whole = measured(truth, known, model)
    some = model.copy()
    some[:, 35:] = np.nan
    part = measured(truth, known, some)
    assert part.ways["model"].coverage == (0.5, 0.5, 0.5)
    assert part.ways["model"].score > whole.ways["model"].score + 0.2


def test_a_cameras_own_keypoints_have_no_part_in_what_the_others_say(truth: Scene, known) -> None:
    found, seen = known
    before = by_others(found, seen, ("b",))
    shifted = seen.keypoints.copy()
    shifted[:, 1, :, :2] += 200
    after = by_others(found, Observations(shifted, H36M_17, seen.subject), ("b",))
    np.testing.assert_array_equal(before, after)
    assert np.nanmedian(np.linalg.norm(before - truth.pose, axis=-1)) < 15
    anew = by_others(found, seen, ("b",), anew=True)  # even the other cameras' places are found again
    error = np.linalg.norm(anew - truth.pose, axis=-1)
    assert np.nanmedian(error) < 40
    with pytest.raises(VergenceError, match=r"(?s)one camera is left.*fewer"):
        by_others(found, seen, ("a", "b"))


def test_poses_in_no_cameras_frame_are_measured_freely_turned(truth: Scene, known) -> None:
    canonical = np.broadcast_to(H36M_17.convert(truth.pose, LIFTED), (3, FRAMES, 15, 3))
    model = measured(truth, known, canonical, upright=False).ways["model"]
    assert np.isnan(model.n_mpjpe).all()
    assert np.isnan(model.views)
    assert max(model.p_mpjpe) < 8
    assert model.score < 0.2
    assert model.views_share < 0.2


def test_cameras_that_were_not_learned_from_have_the_others_mean_pose(truth: Scene, known) -> None:
    held = measured(truth, known, seen_by(truth, truth.pose), hidden=("c",))
    usual = measured(truth, known, seen_by(truth, truth.pose))
    assert held.hidden == ("c",)
    assert held.ways["mean pose"].p_mpjpe[2] != usual.ways["mean pose"].p_mpjpe[2]
    assert held.ways["mean pose"].p_mpjpe[0] == usual.ways["mean pose"].p_mpjpe[0]
    assert held.mean("model", ("c",), others=True)[0] == held.ways["model"].n_mpjpe_others[2]


def test_nothing_in_common_is_said(truth: Scene, known) -> None:
    with pytest.raises(VergenceError, match="no joints in common"):
        measured(truth, known, np.full((3, FRAMES, 15, 3), np.nan))


def test_the_protocol_says_what_fools_what() -> None:
    assert "constant pose" in without_truth.PROTOCOL
