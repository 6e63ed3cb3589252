"""Parts of the search for a rig and of the judgement of its lenses, by hand and by differences."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures_bundle import scene
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.two_view import MIN_POINTS, NO_PARALLAX
from vergence.reconstruction import lenses, rig
from vergence.reconstruction.bundle import Bundle, project_points


def turned(*degrees: float) -> Bundle:
    """Cameras that are turned about y, in one place."""
    rotation = Rotation.from_euler("y", np.array(degrees)[:, None], degrees=True).as_matrix()
    views = len(degrees)
    return Bundle(rotation, np.zeros((views, 3)), np.ones((views, 2)), np.zeros((1, 3)))


def test_two_rigs_differ_by_the_worst_pairs_relative_rotation() -> None:
    """Turned as a whole nothing differs; the last camera against the first is what does most here."""
    a, b = turned(0, 40, 90), turned(0, 42, 95)
    assert np.degrees(rig.rotation_gap(a, b)) == pytest.approx(5)
    assert np.degrees(rig.rotation_gap(turned(0, 40, 90), turned(3, 40, 90))) == pytest.approx(3)
    whole = replace(a, rotation=a.rotation @ Rotation.from_rotvec([0.3, -1, 0.2]).as_matrix())
    assert rig.rotation_gap(a, whole) == pytest.approx(0, abs=1e-7)


def test_the_reversal_mirrors_points_in_depth_and_is_its_own_inverse() -> None:
    """Far away its projections are the same to first order; the middle stays where each camera sees it."""
    truth, _, _ = scene(points=15, noise=0.0)
    middle = np.array([0.1, -0.2, 0.3])
    truth = replace(truth, points=np.concatenate([middle + truth.points, middle - truth.points, middle[None]]))
    other = rig.mirrored(truth)
    np.testing.assert_allclose(np.linalg.det(other.rotation), 1)
    for one in (truth, other):
        np.testing.assert_allclose(one.rotation @ middle + one.translation, truth.rotation @ middle + truth.translation)
    first = truth.rotation[0] @ (truth.points - middle).T
    back = other.rotation[0] @ (other.points - middle).T
    ray = truth.rotation[0] @ middle + truth.translation[0]
    ray = ray / np.linalg.norm(ray)
    np.testing.assert_allclose(back, first - 2 * np.outer(ray, ray @ first), atol=1e-9)
    again = rig.mirrored(other)
    np.testing.assert_allclose(project_points(again)[0], project_points(truth)[0], atol=1e-6)
    far = replace(truth, translation=truth.translation * 1e4, focal=truth.focal * 1e4)
    np.testing.assert_allclose(project_points(rig.mirrored(far))[0], project_points(far)[0], rtol=2e-3, atol=0.5)


def test_every_camera_hangs_on_the_first_by_some_pair() -> None:
    pair = SimpleNamespace(parallax=9.0)
    rig.check_connected({(0, 2): pair, (1, 3): pair, (2, 3): pair}, "abcd")  # type: ignore[arg-type]
    with pytest.raises(VergenceError, match=rf"^b, d shares fewer than {MIN_POINTS} joints"):
        rig.check_connected({(0, 2): pair, (1, 3): pair}, "abcd")  # type: ignore[arg-type]
    with pytest.raises(VergenceError, match=r"^b shares"):
        rig.check_connected({}, "ab")


@pytest.mark.parametrize(("parallax", "sound"), [((0.1, NO_PARALLAX), True), ((0.1, 0.99 * NO_PARALLAX), False)])
def test_one_pair_must_see_more_than_a_rotation(parallax: tuple[float, ...], sound: bool) -> None:
    pairs = {(0, i + 1): SimpleNamespace(parallax=value) for i, value in enumerate(parallax)}
    if sound:
        rig.check_baseline(pairs)  # type: ignore[arg-type]
        return
    with pytest.raises(VergenceError, match="all cameras stand in one place"):
        rig.check_baseline(pairs)  # type: ignore[arg-type]


def test_a_pair_is_a_start_by_its_joints_its_angle_and_its_parallax() -> None:
    """Joints times the sine of the angle, up to 0.6, times a fifth of the parallax, up to 1."""

    def quality(joints: int, degrees: float, parallax: float) -> float:
        inliers = np.arange(500) < joints
        return rig._pair_quality(SimpleNamespace(inliers=inliers, angle=np.radians(degrees), parallax=parallax))  # type: ignore[arg-type]

    assert quality(100, 30, 5.0) == pytest.approx(50)
    assert quality(100, 90, 50.0) == pytest.approx(60)
    assert quality(200, 150, 2.5) == pytest.approx(50)


def test_descents_end_in_one_basin_by_rotation_or_by_cost() -> None:
    near, far = np.degrees(0.9 * rig.SAME_BASIN), np.degrees(1.1 * rig.SAME_BASIN)
    base = replace(turned(0, 40), cost=100.0)
    for degrees, cost, same in (
        (near, 900.0, True), (far, 99.9 * rig.SAME_COST, True), (far, 100.1 * rig.SAME_COST, False),
        (far, 100.1 / rig.SAME_COST, True), (far, 99.9 / rig.SAME_COST, False),
    ):  # fmt: skip
        other = replace(turned(0, 40 + degrees), cost=cost)
        assert rig.same_basin(base, other) == rig.same_basin(other, base) == same


def test_the_search_ends_when_the_lowest_basin_was_reached_often_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends at 40, 90, 40, 90 and 40 degrees; the cheaper ones are those of 90."""
    monkeypatch.setattr(rig, "descend", lambda start, *_: start)
    starts = [
        replace(turned(0, d), cost=c) for d, c in ((40, 200.0), (90, 110.0), (40, 190.0), (90, 100.0), (40, 180.0))
    ]
    tried: list[float] = []

    def each() -> object:
        for start in starts * 9:
            tried.append(start.cost)
            yield start

    ends = rig._search(each(), np.zeros(1), np.zeros(1), 1.0, "fixed", 2)  # type: ignore[arg-type]
    assert tried == [200.0, 110.0, 190.0, 100.0]
    assert [end.cost for end in ends] == [100.0, 110.0, 190.0, 200.0]
    tried.clear()
    rig._search(each(), np.zeros(1), np.zeros(1), 1.0, "fixed", 99)  # type: ignore[arg-type]
    assert len(tried) == rig.MAX_STARTS


def test_a_rig_is_grown_from_a_pair_by_the_camera_that_sees_most() -> None:
    """Exact joints of four cameras: from any pair the others stand where they do, up to scale and the first one's frame."""
    truth, _, weight = scene(points=40, views=4, noise=0.0)
    observed = project_points(truth)[0]
    weight[:] = 1.0
    own = rig.in_first_camera(truth)
    for base in ((0, 1), (1, 3)):
        turn = truth.rotation[base[1]] @ truth.rotation[base[0]].T
        shift = truth.translation[base[1]] - turn @ truth.translation[base[0]]
        size = np.linalg.norm(shift)
        found = rig._build(base, (turn, shift / size), observed, weight, truth.focal, 1e-3)
        assert found is not None
        np.testing.assert_allclose(found.rotation, own.rotation, atol=1e-5)
        np.testing.assert_allclose(found.translation * size, own.translation, atol=1e-3)
    weight[3, MIN_POINTS - 1 :] = 0.0
    assert rig._build((0, 1), (np.eye(3), np.array([1.0, 0, 0])), observed, weight, truth.focal, 1e-3) is None


def test_the_lens_unknowns_follow_by_the_schur_complement() -> None:
    """Two free unknowns beside three loose ones of a system of six: as the whole system says, the sixth held."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 6))
    matrix, gradient, unit = half @ half.T, rng.normal(size=6), np.eye(6)
    loose, free = unit[:3], unit[3:5]
    step, gain = lenses._score(matrix.reshape(2, 3, 2, 3), gradient.reshape(2, 3), loose, free)
    rows = [0, 1, 2, 3, 4]
    whole = -np.linalg.solve(matrix[np.ix_(rows, rows)], gradient[rows])
    np.testing.assert_allclose(step, whole[3:])
    alone = -np.linalg.solve(matrix[:3, :3], gradient[:3])

    def twice_cost(x: np.ndarray, size: int) -> float:
        return float(x @ matrix[:size, :size] @ x + 2 * gradient[:size] @ x)

    assert gain == pytest.approx(twice_cost(alone, 3) - twice_cost(whole, 5))


def test_what_agrees_is_near_and_before_three_cameras_or_both() -> None:
    """Within the inliers' limit of sigma; points that fewer agree on are left out, observations that do not lose weight."""
    for views, least in ((4, 3), (2, 2)):
        truth, _, weight = scene(points=6, views=views, noise=0.0)
        weight[:] = 1.0
        observed = project_points(truth)[0]
        observed[: views - least + 1, 0, 0] += 1.01 * lenses.INLIER_SIGMA * 2.0  # point 0: one too few agree
        observed[: views - least, 0, 1] += 1.01 * lenses.INLIER_SIGMA * 2.0  # point 1: just enough
        observed[:, 0, 2] += 0.99 * lenses.INLIER_SIGMA * 2.0
        weight[: views - least + 1, 3] = 0.0
        found, (kept, trust), _ = lenses.agreeing(truth, observed, weight, 2.0, np.arange(6), 6)
        assert kept.tolist() == [False, True, True, False, True, True]
        assert len(found.points) == 4
        assert trust[:, 0].tolist() == [0.0] * (views - least) + [1.0] * least
        assert (trust[:, 1:] == 1).all()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (
            lenses.Wish("focal", np.array([1.0, 1.0 / (1.01 * lenses.MOST_FOCAL), 1.01 * lenses.MOST_FOCAL]), -9.0),
            ("b", "c"),
        ),
        (lenses.Wish("focal", np.array([0.99 * lenses.MOST_FOCAL, 2.0, 1.0]), -9.0), ("b 2.00",)),
        (lenses.Wish("centre", np.array([2.0, 31.4, -7.6]), -9.0), ("of c, by about (+31, -8) px",)),
        (lenses.Wish("radial", np.array([-0.2, -0.2, -0.2]), -9.0), ("(k1 -0.20, about)",)),
        (lenses.Wish("radial", np.array([-0.2, 0.1, 0.0]), -9.0), ("(k1 -0.20, +0.10, +0.00, about)",)),
        (lenses.Wish("focal", np.array([0.1, 3.0, 1.0]), -9.0, usual=False), ("the lens of a neither",)),
        (lenses.Wish("centre", np.array([1.0, 900.0, 0.0]), -9.0, usual=False), ("the lens of b neither",)),
        (lenses.Wish("radial", np.array([0.1, 0.2, -3.0]), -9.0, usual=False), ("the lens of c neither",)),
    ],
)
def test_whose_lens_is_wrong_and_how(wish: lenses.Wish, words: tuple[str, ...]) -> None:
    said = wish.words(("a", "b", "c"))
    assert all(word in said for word in words)
    assert wish.kind != "focal" or not wish.usual or "a " not in said.split("factors:")[1]


def test_noise_is_measured_again_where_the_given_one_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By less than a fifth or a quarter nothing is adjusted anew."""
    scales: list[float] = []
    monkeypatch.setattr(rig, "descend", lambda cameras, *_: cameras)
    monkeypatch.setattr(rig, "adjust", lambda cameras, *_, scale, **__: (scales.append(scale), cameras)[1])
    for measured, again in ((0.79, True), (0.81, False), (1.24, False), (1.26, True)):
        monkeypatch.setattr(rig, "residual_sigma", lambda *_, measured=measured: 2 * measured)
        scales.clear()
        assert rig.refine_rig(turned(0, 9), np.zeros(1), np.zeros(1), 2.0)[1] == 2 * measured
        assert scales == ([rig.LOSS_SIGMA * 2 * measured] if again else [])
