"""Offsets in time found from the motion, or said not to be known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vergence.reconstruction.sync import find
from vergence.reconstruction.sync.find import _drifting, _excluded, _verdict, find_sync
from vergence.reconstruction.sync.motion import smoothed
from vergence.reconstruction.sync.together import Timing, adjust_time

NO_LENS = (0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def image(request):
    """Normalised points T 3 J 2 of a longer walk, two time steps for each that is used."""
    make_scene = request.getfixturevalue("make_scene")
    scene = make_scene(views=3, frames=300, missing=0.05, outliers=0.02, noise=2.0, distortion=NO_LENS)
    return (scene.keypoints - 499.5) / 1100.0


def begun(image: np.ndarray, starts: tuple[int, ...], every: int = 2, steps: int = 110) -> np.ndarray:
    """Each camera from its own start on, every second of the walk's time steps."""
    return np.stack([image[s : s + every * steps : every, v] for v, s in enumerate(starts)], axis=1)


def test_synchronous_footage_is_left_exactly_as_it_is(image) -> None:
    found = find_sync(begun(image, (0, 0, 0)))
    assert found.state == "synchronous"
    assert not found.moves
    assert found.deviation.max() < 0.15


def test_offsets_to_a_part_of_a_frame(image) -> None:
    found = find_sync(begun(image, (20, 47, 0)))
    assert found.state == "found"
    relative = found.offset - found.offset[0]
    np.testing.assert_allclose(relative, [0, -13.5, 10], atol=0.3)
    assert found.margin > 3


def test_a_slower_camera_between_its_frames(image) -> None:
    points = begun(image, (20, 33, 0), every=1, steps=151)
    points[1::2, 1] = (points[:-1:2, 1] + points[2::2, 1]) / 2
    found = find_sync(points, coarsest=2.0)
    np.testing.assert_allclose(found.offset - found.offset[0], [0, -13, 20], atol=0.25)


def test_unknown_focal_lengths(image) -> None:
    found = find_sync(begun(image, (20, 47, 0)) * 1.2, focal_known=False)
    np.testing.assert_allclose(found.offset - found.offset[0], [0, -13.5, 10], atol=0.3)


def test_somebody_who_stands_tells_nothing(image) -> None:
    noise = np.random.default_rng(0).normal(0, 2 / 1100, (110, *image.shape[1:]))
    found = find_sync(image[:1] + noise)
    assert found.state in ("unknown", "ambiguous")
    assert not found.moves


def test_periodic_motion_names_the_offsets_that_fit(image) -> None:
    rng = np.random.default_rng(1)
    clean = np.where(np.isfinite(image[:40]), image[:40], np.nanmean(image[:40], axis=0, keepdims=True))
    ramp = np.linspace(0, 1, 40)[:, None, None, None]
    loop = clean - ramp * (clean[-1] - clean[0])  # ends where it begins
    points = np.concatenate([loop] * 4) + rng.normal(0, 2 / 1100, (160, *image.shape[1:]))
    late = np.stack([points[:110, 0], points[7:117, 1], points[:110, 2]], axis=1)
    found = find_sync(late)
    assert found.state in ("ambiguous", "unknown")
    if found.state == "ambiguous":
        assert any(abs(option[1] - found.alternatives[0][1]) > 30 for option in found.alternatives[1:])


def test_few_frames() -> None:
    found = find_sync(np.zeros((20, 2, 17, 2)))
    assert found.state == "unknown"
    assert "20 frames" in found.reason


def test_cameras_that_share_a_moment_only_are_left_unknown(make_scene) -> None:
    scene = make_scene(frames=90, step_mm=30.0, distortion=(0.0,) * 5)
    image = (scene.keypoints - 499.5) / 1100.0
    image[4:, 1:] = np.nan
    found = find_sync(image, fps=30.0)
    assert found.state == "unknown"
    assert not found.moves


def test_other_offsets_are_excluded_by_what_they_leave_beyond_the_noise() -> None:
    """By hand: noise alone under the best offsets, and half of it more in the one camera that others move."""
    frame, joint = (part.ravel() for part in np.meshgrid(np.arange(400), np.arange(3), indexing="ij"))
    noise = np.array([0.002, 0.004])
    square = noise[:, None] ** 2 * np.ones((2, 1200))
    best = Timing(np.zeros(2), np.zeros(2), np.zeros((4, 4)), square, np.ones((2, 1200)), frame, joint, noise, None)
    worse = square * np.array([[1.0], [1.5]])
    other = replace(best, offset=np.array([0.0, 6.0]), square=worse, noise=2 * noise)
    z, ratio = _excluded(best, other, 1.5)
    assert ratio == pytest.approx(1.5)
    assert z > 10
    z, ratio = _excluded(replace(best, square=worse), replace(other, square=square), 1.5)
    assert ratio == pytest.approx(0.5)
    assert z < -10
    more = {"square": np.hstack([worse, 1e3 * np.ones((2, 400))]), "freedom": np.ones((2, 1600))}
    more |= {"frame": np.append(frame, np.arange(400)), "joint": np.append(joint, np.full(400, 3))}  # one joint more
    assert _excluded(best, replace(other, **more), 1.5)[1] == pytest.approx(1.5)
    few = replace(other, frame=frame + 1000)  # nothing in common: whoever has more
    assert _excluded(best, few, 1.5) == (np.inf, np.inf)


def test_offsets_and_rates_are_told_by_the_clock_that_most_share() -> None:
    """Of three cameras the last two go together; the first begins 4 steps before them and runs slower by 0.0002."""
    noise, none = np.full(3, 0.002), np.empty(0)
    rate, middle = np.array([0.0, 2e-4, 2e-4]), 50
    timing = Timing(np.array([0.0, 4.0, 4.0]), rate, np.zeros((6, 6)), none, none, none, none, noise, None)
    found = _verdict(timing, (), np.inf, 2 * middle, 0.0, 0.1)
    for i in (0.0, 10.0, 400.0):  # a moment in the first camera's time, and what the others call it
        own = i + 4.0 + 2e-4 * (i - middle)
        assert found.offset[0] + (1 + found.drift[0]) * own == pytest.approx(i, abs=1e-9)
    assert found.state == "found"
    assert (found.offset[1:] == 0).all()
    assert (found.drift[1:] == 0).all()


def test_a_clock_that_runs_fast_is_followed_from_a_window_to_the_whole_footage(make_scene) -> None:
    """The second camera's frame k shows time step 3 + 1.0008 k; half a step over 600 frames."""
    scene = make_scene(views=3, frames=640, noise=1.0, distortion=NO_LENS)
    image, steps = (scene.keypoints - 499.5) / 1100, 600
    when = 3 + 1.0008 * np.arange(steps)
    low, share = when.astype(int), (when % 1)[:, None, None]
    own = image[low, 1] * (1 - share) + image[low + 1, 1] * share
    course = np.stack([smoothed(track, 1.5) for track in (image[:steps, 0], own, image[:steps, 2])], axis=1)
    window, none = slice(100, 240), np.zeros(3)
    lens = {"tau": 1.5, "focal_known": True}
    timing = adjust_time(course[window], np.array([0, -3.0, 0]), none, **lens, drifts=False)
    grown, twice_middle = _drifting(course, timing, window, seed=0, **lens)
    assert twice_middle == steps - 1
    for t in (0, steps - 1):
        shown = t + grown.offset + grown.drift * (t - twice_middle / 2)
        np.testing.assert_allclose(shown, [t, (t - 3) / 1.0008, t], atol=0.1)


@pytest.mark.parametrize("place", [-5, -3, 4, 5])
def test_offsets_of_one_camera_that_fit_nearly_as_well_are_tried_up_to_the_ends(monkeypatch, place: int) -> None:
    def total(curves, offset):
        late, other = (int(offset[v] - offset[0]) for v in (1, 2))
        return {0: 0.0, place: 1.0}.get(late, 2.0) + 0.01 * abs(late) + 5.0 * (other != 0)

    monkeypatch.setattr(find, "_total", total)
    monkeypatch.setattr(find, "starts", lambda curves, views, reach: [np.zeros(views, dtype=int)])
    monkeypatch.setattr(find, "settled", lambda total, start, *_: start)
    tried = [tuple(offset) for offset in find._candidates(None, 3, 6)]
    assert tried[0] == (0, 0, 0)
    assert (0, place, 0) in tried


@pytest.mark.parametrize(
    ("seen", "z", "ratio"),
    [
        (((0, 18), (0, 18)), 45 / np.sqrt(18), 1 + 45 / 36),
        (((0, 6), (0, 6)), 18 / 1e-9, 2.0),
        (((6, 12), (0, 6)), np.inf, np.inf),
    ],
)
def test_offsets_are_compared_where_two_blocks_of_time_show_both(seen, z: float, ratio: float) -> None:
    """By hand, of three blocks of 6 steps and three joints: camera 1 has moved by a block, so that its frames 0 to 5 lie in
    the second. Under the other offset each square that is seen has half of the noise's more: 3 in a camera, block and joint,
    over the 6 of camera 1's. All of it: 3, 6, 6 for each joint, z is 45 over the root of 3 (4 + 1 + 1)."""
    frame, joint = (part.ravel() for part in np.meshgrid(np.arange(18), np.arange(3), indexing="ij"))
    noise = np.array([0.002, 0.002])
    square = noise[:, None] ** 2 * np.ones((2, 54))
    best = Timing(np.zeros(2), np.zeros(2), np.zeros((4, 4)), square, np.ones((2, 54)), frame, joint, noise, None)
    shown = np.array([(frame >= low) & (frame < high) for low, high in seen])
    other = replace(best, offset=np.array([0.0, 6.0]), square=np.where(shown, 1.5 * square, np.nan))
    assert _excluded(best, other, 1.5) == (pytest.approx(z), pytest.approx(ratio))


def verdict(drift: float = 0.0, spread: float = 0.0, others: tuple = (), wanders: float = 0.0):
    """Of two cameras, the second 4 steps late at step 50."""
    none, each = np.empty(0), np.diag([0.0, spread**2, 0.0, 0.0])
    timing = Timing(np.array([0.0, 4.0]), np.array([0.0, drift]), each, none, none, none, none, none, None)
    timings = [replace(timing, offset=np.array([0.0, one])) for one in others]
    return _verdict(timing, timings, 3.0, 100, wanders, 0.1)


def test_what_a_timing_means() -> None:
    """Offsets that fit as well, clocks that no camera has, lost frames, and how exactly the motion tells."""
    assert verdict().state == "found"
    assert verdict().offset.tolist() == [0.0, 4.0]
    np.testing.assert_allclose(verdict(spread=0.03).between, [[0, 0.05], [0.05, 0]])
    several = verdict(others=(12.0, -4.256))
    assert (several.state, several.alternatives) == ("ambiguous", ((0.0, 4.0), (0.0, 12.0), (0.0, -4.26)))
    assert (several.zero_fits, several.offset.tolist()) == (False, [0.0, 4.0])
    none = verdict(others=(12.0, 0.05))
    assert (none.state, none.zero_fits, none.offset.tolist()) == ("ambiguous", True, [0.0, 0.0])
    clock = verdict(drift=2e-3)
    assert (clock.state, clock.zero_fits, clock.drift.tolist()) == ("unsure", False, [0.0, 0.0])
    assert "another rate" in clock.reason
    assert verdict(drift=0.9e-3).state == "found"
    lost = verdict(wanders=1.2)
    assert (lost.state, lost.zero_fits) == ("unsure", False)
    assert "stay together to 1.2 frames" in lost.reason
    assert verdict(wanders=0.9).state == "found"
    assert verdict(spread=0.29).state == "found"
    for spread in (0.31, 0.9):  # 4 steps are beyond three deviations of both
        vague = verdict(spread=spread)
        assert (vague.state, vague.zero_fits, vague.offset.tolist()) == ("unsure", False, [0.0, 4.0])
        assert f"offsets to {2 * np.hypot(spread, 0.04):.1f} frames only, and 0.5 is needed" in vague.reason
    assert verdict(spread=1.01).state == "unknown"


@pytest.mark.parametrize(("spread", "state"), [(0.29, "synchronous"), (0.45, "unsure"), (0.51, "unknown")])
def test_no_offset_is_told_to_what_the_motion_tells(spread: float, state: str) -> None:
    """Half a step that may be none."""
    none, each = np.empty(0), np.diag([0.0, spread**2, 0.0, 0.0])
    found = _verdict(Timing(np.array([0, 0.5]), np.zeros(2), each, *[none] * 5, None), (), np.inf, 100, 0.0, 0.1)
    assert (found.state, found.zero_fits, found.moves) == (state, True, False)
    np.testing.assert_allclose(found.deviation, [0, np.hypot(spread, 0.04)])


def test_of_long_footage_the_stretch_is_taken_in_which_all_cameras_see_most() -> None:
    course = np.full((find.WINDOW + 50, 2, 3, 2), 1.0)
    assert find._window(course[:-50]) == slice(0, find.WINDOW)
    course[:20, 1, 0] = np.nan  # one joint in one camera
    course[-7:, 0] = np.nan
    assert find._window(course) == slice(20, 20 + find.WINDOW)


@pytest.mark.parametrize(("steps", "least"), [(10, 24), (96, 24), (400, 100), (4000, 1000)])
def test_offsets_must_leave_a_quarter_of_the_time_and_two_dozen_frames(steps: int, least: int) -> None:
    assert find._least(steps) == least


def test_costs_are_measured_at_every_second_shift_and_lie_on_lines_between() -> None:
    """Of three cameras; at a shift that cannot be measured the cost is the worst that was, and a pair of none is left out."""
    asked: list[tuple[list[int], int]] = []

    def scan(a: np.ndarray, b: np.ndarray, shifts: np.ndarray, least: int, seed: int) -> np.ndarray:
        asked.append((shifts.tolist(), least))
        pair = a[0, 0, 0] + b[0, 0, 0]
        return np.full(len(shifts), np.nan) if pair == 3 else np.where(shifts == -4, np.nan, (shifts - pair) ** 2.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "scan", scan)
        course = np.zeros((1000, 3, 1, 2)) + np.arange(3.0)[:, None, None]
        curves = find._curves(course, 4, 0)
    assert asked == [([-4, -2, 0, 2, 4], find._least(1000))] * 3
    assert set(curves) == {(0, 1), (0, 2)}
    assert curves[0, 1].tolist() == [9.0, 9, 9, 5, 1, 1, 1, 5, 9]
    assert find._total(curves, np.array([0, 1, 4])) == pytest.approx((curves[0, 1][5] + curves[0, 2][8]) / 2)
    assert find._total(curves, np.array([0, -5, 5])) == pytest.approx(
        (9 + curves[0, 2].max()) / 2
    )  # beyond what was tried


def test_even_clocks_are_held_even_over_the_whole_footage(make_scene) -> None:
    """The second camera's frame k shows time step 3 + k."""
    scene = make_scene(views=3, frames=640, noise=1.0, distortion=NO_LENS)
    image, steps = (scene.keypoints - 499.5) / 1100, 600
    seen = image[:steps, 0], image[3 : steps + 3, 1], image[:steps, 2]
    course = np.stack([smoothed(track, 1.5) for track in seen], axis=1)
    window, none, lens = slice(100, 240), np.zeros(3), {"tau": 1.5, "focal_known": True}
    timing = adjust_time(course[window], np.array([0, -3.0, 0]), none, **lens, drifts=False)
    still, twice_middle = _drifting(course, timing, window, seed=0, **lens)
    assert twice_middle == steps - 1
    assert not still.drift.any()
    np.testing.assert_allclose(still.offset, [0, -3, 0], atol=0.1)
