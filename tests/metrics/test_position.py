"""Each position metric against a slow plain-Python reference, its invariances, and its treatment of what is missing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.metrics import (
    auc,
    bone_sum_mpjpe,
    bone_sum_scale,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    pck,
    per_joint_error,
)
from vergence.skeleton import H36M_17

METRICS = [mpjpe, n_mpjpe, p_mpjpe, pck, auc]


def pair(seed=0, poses=6, joints=17, noise=60.0):
    rng = np.random.default_rng(seed)
    target = 300 * rng.normal(size=(poses, joints, 3)) + [0, 0, 5000]
    return target + noise * rng.normal(size=target.shape), target


def distance(a, b):
    return math.sqrt(sum((a[i] - b[i]) ** 2 for i in range(3)))


def slow_centre(pose, root):
    roots = [root] if isinstance(root, int) else root
    centre = [sum(pose[r][i] for r in roots) / len(roots) for i in range(3)]
    return [[joint[i] - centre[i] for i in range(3)] for joint in pose]


def slow_errors(prediction, target, root):
    """Root-aligned distances of known joints, by loops."""
    p, t = slow_centre(prediction, root), slow_centre(target, root)
    return [distance(a, b) for a, b in zip(p, t) if not any(math.isnan(x) for x in b)]


def slow_mean(values):
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("root", [0, 3, (1, 4)])
def test_mpjpe_pck_auc_by_loops(root):
    prediction, target = pair()
    target[1, 5] = np.nan
    target[2, :, 1] = np.nan  # nothing known
    for i in range(6):
        errors = slow_errors(prediction[i].tolist(), target[i].tolist(), root)
        shares = [100 * slow_mean([float(e <= 5 * k) for e in errors]) for k in range(31)]
        assert mpjpe(prediction, target, root)[i] == pytest.approx(slow_mean(errors), nan_ok=True)
        assert pck(prediction, target, root)[i] == pytest.approx(shares[30], nan_ok=True)
        assert auc(prediction, target, root)[i] == pytest.approx(slow_mean(shares), nan_ok=True)


def test_n_mpjpe_uses_the_best_scale():
    prediction, target = pair()
    prediction *= 0.37
    found = n_mpjpe(prediction, target)
    for i in range(6):
        p, t = (np.array(slow_centre(x[i].tolist(), 0)) for x in (prediction, target))
        best = minimize_scalar(
            lambda s, p=p, t=t: ((s * p - t) ** 2).sum(), bounds=(0, 50), method="bounded", options={"xatol": 1e-9}
        )
        assert found[i] == pytest.approx(np.linalg.norm(best.x * p - t, axis=-1).mean(), rel=1e-6)


def test_n_mpjpe_of_an_opposite_pose_shrinks_it_to_the_root():
    _, target = pair()
    p = slow_centre(target[0].tolist(), 0)
    assert n_mpjpe(-target, target)[0] == pytest.approx(np.linalg.norm(p, axis=-1).mean())


def test_procrustes_scale_is_epipolarposes():
    prediction, target = pair(noise=150.0)
    found = n_mpjpe(prediction, target, scale="procrustes")
    for i in range(6):
        p, t = prediction[i], target[i]
        p0, t0 = p - p.mean(0), t - t.mean(0)
        u, s, vt = np.linalg.svd(t0.T @ p0)
        s[2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
        scale = s.sum() / (p0**2).sum()
        expected = np.linalg.norm(scale * (p - p[0]) - (t - t[0]), axis=-1).mean()
        assert found[i] == pytest.approx(expected)
    with pytest.raises(VergenceError, match="median"):
        n_mpjpe(prediction, target, scale="median")


def test_p_mpjpe_against_scipy():
    prediction, target = pair(noise=30.0)
    for i in range(6):
        a, b, _ = procrustes(target[i], prediction[i])  # both normalised to norm 1 about the mean; reflections allowed
        size = np.linalg.norm(target[i] - target[i].mean(0))
        assert p_mpjpe(prediction, target)[i] == pytest.approx(size * np.linalg.norm(a - b, axis=-1).mean())


def test_p_mpjpe_leaves_unknown_joints_out_of_the_alignment():
    prediction, target = pair()
    kept = [j for j in range(17) if j not in (3, 8)]
    target[:, [3, 8]] = np.nan
    prediction[:, 3] = np.nan
    np.testing.assert_allclose(p_mpjpe(prediction, target), p_mpjpe(prediction[:, kept], target[:, kept]))


rotations = st.integers(0, 10_000).map(lambda seed: Rotation.random(random_state=seed).as_matrix())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), rotations, st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_p_mpjpe_forgives_similarities_but_not_mirrors(seed, rotation, scale, shift):
    prediction, target = pair(seed, poses=1)
    before = p_mpjpe(prediction, target)
    np.testing.assert_allclose(p_mpjpe(scale * prediction @ rotation.T + shift, target), before, rtol=1e-6)
    assert p_mpjpe(scale * target @ rotation.T + shift, target)[0] < 1e-6
    assert p_mpjpe((target * [-1, 1, 1]) @ rotation.T, target)[0] > 50


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), rotations, st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_n_mpjpe_forgives_scale_and_place_only(seed, rotation, scale, shift):
    prediction, target = pair(seed, poses=1)
    for kind in ("least_squares", "procrustes"):
        before = n_mpjpe(prediction, target, scale=kind)
        np.testing.assert_allclose(n_mpjpe(scale * prediction + shift, target, scale=kind), before, rtol=1e-7)
    turned = n_mpjpe(target @ rotation.T, target)[0]
    angle = np.linalg.norm(Rotation.from_matrix(rotation).as_rotvec())
    assert turned > 40 * min(angle, 1) or angle < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), rotations)
def test_errors_are_symmetric_under_one_motion_of_both(seed, rotation):
    prediction, target = pair(seed, poses=2)
    for metric in METRICS:
        moved = metric(prediction @ rotation.T + 7, target @ rotation.T + 7)
        np.testing.assert_allclose(moved, metric(prediction, target), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_pose_is_perfect(metric):
    _, target = pair()
    best = 100.0 if metric in (pck, auc) else 0.0
    np.testing.assert_allclose(metric(target, target), best, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_degenerate_predictions_score_badly_and_finitely(metric):
    """All joints on a point, on a line, flat in depth, mirrored in depth: none may look like an answer."""
    noisy, target = pair(poses=20, noise=60.0)
    point = np.zeros_like(target)
    line = target * [1, 0, 0]
    flat = target * [1, 1, 0]
    mirrored = target * [1, 1, -1]
    reference = metric(noisy, target).mean()
    for bad in (point, line, flat, mirrored):
        score = metric(bad, target)
        assert np.isfinite(score).all()
        if metric in (pck, auc):
            assert score.mean() < 0.75 * reference
        else:
            assert score.mean() > reference + 40


@pytest.mark.parametrize("metric", METRICS)
def test_kind_dtype_and_leading_dimensions(metric):
    prediction, target = pair(poses=6)
    expected = metric(prediction, target)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float64
    folded = metric(torch.tensor(prediction.reshape(2, 3, 17, 3)), torch.tensor(target.reshape(2, 3, 17, 3)))
    assert isinstance(folded, torch.Tensor)
    assert folded.dtype == torch.float64
    np.testing.assert_allclose(folded.reshape(-1), expected)
    assert metric(prediction[0], target[0]).shape == ()
    assert metric(prediction[0].tolist(), target[0].tolist()) == pytest.approx(expected[0])
    assert metric(prediction[:0], target[:0]).shape == (0,)
    single = torch.tensor(prediction, dtype=torch.float32, requires_grad=True)
    assert not metric(single, target).requires_grad
    np.testing.assert_allclose(metric(single, target), expected, rtol=1e-3)


def test_thresholds_include_their_edge():
    target = np.zeros((1, 3, 3))
    prediction = np.array([[[0, 0, 0], [150.0, 0, 0], [0, 150.0 + 1e-9, 0]]])
    assert pck(prediction, target)[0] == pytest.approx(200 / 3)
    assert pck(prediction, target, threshold=151.0)[0] == 100
    assert auc(prediction, target)[0] == pytest.approx((100 / 3 * 30 + 200 / 3) / 31)


def test_pck_after_scale_and_on_chosen_joints():
    prediction, target = pair(noise=0.0)
    assert pck(prediction / 9, target).mean() < 30
    assert (pck(prediction / 9, target, alignment="scale") == 100).all()
    prediction[:, 16] += 1000
    assert (pck(prediction, target, joints=range(1, 16)) == 100).all()
    assert pck(prediction, target, joints=[15, 16]) == pytest.approx(50)
    assert (mpjpe(prediction, target, joints=range(16)) < 1e-9).all()
    assert (p_mpjpe(prediction, target, joints=range(16)) < 1e-6).all()


def test_per_joint_errors_average_to_the_metrics():
    prediction, target = pair()
    target[0, 4] = np.nan
    for alignment, metric in (("root", mpjpe), ("scale", n_mpjpe), ("procrustes", p_mpjpe)):
        errors = per_joint_error(prediction, target, alignment=alignment)
        assert errors.shape == (6, 17)
        assert np.isnan(errors).sum() == 1
        assert np.isnan(errors[0, 4])
        np.testing.assert_allclose(np.nanmean(errors, -1), metric(prediction, target))
    absolute = per_joint_error(prediction, target, root=None)
    np.testing.assert_allclose(absolute, np.linalg.norm(prediction - target, axis=-1))
    with pytest.raises(VergenceError, match=r"'rigid'.*procrustes"):
        per_joint_error(prediction, target, alignment="rigid")


def test_an_unknown_root_makes_the_pose_unknown():
    prediction, target = pair()
    target[2, 0] = np.nan
    for metric in (mpjpe, n_mpjpe, pck, auc):
        assert np.isnan(metric(prediction, target)).tolist() == [False, False, True, False, False, False]
        assert np.isnan(metric(prediction, target, root=(0, 1)))[2]
    assert np.isfinite(p_mpjpe(prediction, target)).all()


def test_two_known_joints_are_no_p_mpjpe():
    prediction, target = pair()
    target[0, 2:], target[1, 3:] = np.nan, np.nan
    assert np.isnan(p_mpjpe(prediction, target)).tolist() == [True] + [False] * 5


def test_a_missing_prediction_is_refused_by_means_and_missed_by_pck():
    prediction, target = pair(noise=1.0)
    prediction[1, 3] = np.nan
    prediction[2] = np.nan
    target[3, 5], prediction[3, 5] = np.nan, np.nan  # nobody knows: nothing is missing
    for metric in (mpjpe, n_mpjpe, p_mpjpe):
        with pytest.raises(VergenceError, match="NaN in 2 poses"):
            metric(prediction, target)
        assert np.isfinite(metric(prediction[[0, 3, 4, 5]], target[[0, 3, 4, 5]])).all()
        assert np.isfinite(metric(prediction[[0, 1]], target[[0, 1]], joints=[0, 1, 2, 4])).all()
    for alignment in ("root", "scale", "procrustes"):
        assert pck(prediction, target, alignment=alignment) == pytest.approx([100, 1600 / 17, 0, 100, 100, 100])
    assert auc(prediction, target)[2] == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("prediction", "target", "words"),
    [
        (np.zeros((5, 17, 3)), np.zeros((5, 16, 3)), r"\(5, 17, 3\).*\(5, 16, 3\)"),
        (np.zeros((1, 17, 3)), np.zeros((5, 17, 3)), r"\(1, 17, 3\)"),
        (np.zeros((5, 17, 2)), np.zeros((5, 17, 2)), r"\(5, 17, 2\)"),
        (np.zeros(3), np.zeros(3), r"\(3,\)"),
        (np.zeros((5, 0, 3)), np.zeros((5, 0, 3)), "no joints"),
        (np.full((5, 17, 3), np.inf), np.zeros((5, 17, 3)), "infinite"),
        ([[[0, 0, 0]], [[0, 0]]], np.zeros((2, 1, 3)), "not an array"),
        (None, np.zeros((2, 1, 3)), "prediction"),
        ("pose", np.zeros((2, 1, 3)), "prediction"),
    ],
)
def test_bad_input_is_one_clear_error(metric, prediction, target, words):
    with pytest.raises(VergenceError, match=words):
        metric(prediction, target)


@pytest.mark.parametrize("root", [17, -18, (), (0, 99)])
def test_a_root_outside_the_pose_is_refused(root):
    with pytest.raises(VergenceError, match="root"):
        mpjpe(*pair(), root=root)


@pytest.mark.parametrize("total", [None, 4296.99])
def test_bone_sum_mpjpe_by_loops(total):
    """Zhou's scale: the predicted limbs add up to the target's own sum, or to an average person's."""
    prediction, target = pair()
    prediction = (prediction - prediction[:, :1]) * 0.01
    if total is None:
        target[1, 5] = np.nan
    found = bone_sum_mpjpe(prediction, target, H36M_17.limbs, total)
    for i in range(6):
        ours = theirs = 0.0
        for a, b in H36M_17.limbs:
            if not (np.isnan(target[i, a]).any() or np.isnan(target[i, b]).any()):
                ours += distance(prediction[i, a], prediction[i, b])
                theirs += distance(target[i, a], target[i, b])
        scale = (theirs if total is None else total) / ours
        assert bone_sum_scale(prediction, target, H36M_17.limbs, total)[i] == pytest.approx(scale)
        errors = slow_errors((prediction[i] * scale).tolist(), target[i].tolist(), 0)
        assert found[i] == pytest.approx(slow_mean(errors))


def test_bone_sums_that_are_not_known():
    prediction, target = pair()
    target[0] = np.nan
    prediction[1] = 3.0  # all on a point: no size to bring to anything
    found = bone_sum_mpjpe(prediction, target, H36M_17.limbs)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2:]).all()
    assert bone_sum_mpjpe(target[2:], target[2:], H36M_17.limbs) == pytest.approx(0, abs=1e-9)


def test_a_flat_pose_is_told_by_its_bone_sum_where_the_least_squares_scale_forgives():
    _, target = pair()
    target = target - target[:, :1]
    flat = target * [1, 1, 0]
    assert (bone_sum_mpjpe(flat, target, H36M_17.limbs) > n_mpjpe(flat, target)).all()


@pytest.mark.parametrize("metric", [pck, auc])
def test_a_threshold_in_another_unit_than_the_poses_is_refused(metric):
    prediction, target = pair()
    with pytest.raises(VergenceError, match=r"the target's poses are at most [\d.]+ large, the threshold is 150"):
        metric(prediction / 1000, target / 1000)
    with pytest.raises(VergenceError, match="give poses in mm"):
        metric(prediction, target / 1000)
    assert np.allclose(pck(prediction / 1000, target / 1000, threshold=0.15), pck(prediction, target))
    assert np.isnan(metric(np.full((2, 3, 3), np.nan), np.full((2, 3, 3), np.nan))).all()
    assert len(metric(prediction[:0], target[:0])) == 0
