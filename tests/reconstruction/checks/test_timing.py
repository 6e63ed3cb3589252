"""Offsets between cameras, found from the people: right within a frame, and no offset where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.reconstruction.checks import timing
from vergence.reconstruction.checks.lag import lag
from vergence.reconstruction.checks.timing import _at, _total, _vertex, find_lateness, late_words


def normalised(scene) -> np.ndarray:
    """T V J 2, the lens of the scene being none."""
    return (scene.keypoints - 499.5) / 1100.0


def begun_later(image: np.ndarray, camera: int, frames: int) -> np.ndarray:
    """One camera's file begins so many frames later than the others'."""
    moved = np.full_like(image, np.nan)
    moved[: len(image) - frames] = image[frames:]
    out = image.copy()
    out[:, camera] = moved[:, camera]
    return out


NO_LENS = (0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("late", [0, 2, 7, 15])
def test_the_late_camera_and_by_how_much(make_scene, views: int, late: int) -> None:
    scene = make_scene(views=views, frames=90, missing=0.1, outliers=0.03, noise=3.0, distortion=NO_LENS)
    image = normalised(scene)
    found = find_lateness(begun_later(image, 1, late) if late else image, watch=())
    relative = found.frames[1] - np.delete(found.frames, 1)
    assert np.abs(relative + late).max() < 0.7
    assert (found.gain > 1.05) == (late > 0)


def test_two_late_cameras_of_five(make_scene) -> None:
    image = normalised(make_scene(views=5, frames=90, distortion=NO_LENS))
    found = find_lateness(begun_later(begun_later(image, 1, 4), 3, 9), watch=())
    assert np.abs(found.frames - [0, -4, 0, -9, 0]).max() < 0.7


def test_somebody_who_hardly_moves_cannot_tell(make_scene) -> None:
    scene = make_scene(views=2, frames=90, step_mm=0.0, swing=0.02, distortion=NO_LENS)
    assert find_lateness(begun_later(normalised(scene), 1, 7)).margin < 1.3


def test_a_lag_is_the_time_by_which_points_run_ahead() -> None:
    """Curved paths sampled 0.4 frames late in one camera of two, with noise and gaps."""
    rng = np.random.default_rng(0)
    speed = rng.normal(0, 5, (2, 1, 9, 2))

    def path(at: np.ndarray) -> np.ndarray:
        return at[:, None, None, None] * speed[0] + 20 * np.sin(at / 9)[:, None, None, None] * speed[1] / 5

    frames = np.arange(80.0)
    projected = np.concatenate([path(frames)] * 2, 1)
    observed = np.concatenate([path(frames + 0.4), path(frames)], 1) + rng.normal(0, 1, projected.shape)
    observed[rng.random(observed.shape[:3]) < 0.1] = np.nan
    observed[5, 0] += 300
    assert np.abs(lag(observed, projected) - [0.4, 0.0]).max() < 0.02
    assert (lag(observed, np.zeros_like(projected)) == 0).all()
    stray = rng.random(projected.shape[:3]) < 0.05
    projected[stray] += rng.normal(0, 2000, (int(stray.sum()), 2))
    projected[rng.random(projected.shape[:3]) < 0.05] = np.nan
    assert np.abs(lag(observed, projected) - [0.4, 0.0]).max() < 0.1


def test_a_turned_camera_is_no_late_one() -> None:
    """Somebody walks one way; one camera sees all of it 30 px to the side."""
    rng = np.random.default_rng(0)
    frames = np.arange(80.0)[:, None, None, None]
    swing = 20 * np.sin(frames / 9) * rng.normal(0, 1, (1, 1, 9, 2))
    walk = np.concatenate([frames * [6.0, 0.0] + swing] * 2, 1)
    observed = walk + rng.normal(0, 1, walk.shape)
    observed[:, 0] += [30.0, -5.0]
    assert np.abs(lag(observed, walk)).max() < 0.05


def dropped(image: np.ndarray, camera: int, at: int, frames: int) -> np.ndarray:
    """One camera loses so many frames at one place; its file is that much shorter."""
    out = image.copy()
    out[at:, camera] = np.nan
    out[at : len(image) - frames, camera] = image[at + frames :, camera]
    return out


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("lost", [0, 5])
def test_frames_lost_while_recording_are_found(make_scene, views: int, lost: int) -> None:
    scene = make_scene(views=views, frames=120, missing=0.1, outliers=0.03, noise=2.0, distortion=NO_LENS)
    image = normalised(scene)
    found = find_lateness(dropped(image, 1, 70, lost) if lost else image, watch=[1])
    if not lost:
        assert found.jumps == ()
        assert not found.sure
        return
    ((camera, at, frames),) = found.jumps
    assert camera == 1
    assert 4 <= frames <= 6
    assert abs(at - 70) <= 8
    if views == 2:
        words = late_words(dropped(image, 1, 70, lost), image, ("a", "b"))
        assert words.startswith(f"Cameras are not synchronous throughout: b loses {frames} frames near frame {at}")


def test_a_gain_from_a_few_moments_only_is_not_trusted(make_scene) -> None:
    """A synchronous pair one of whose cameras errs for a while is not called late."""
    scene = make_scene(views=2, frames=90, noise=3.0, distortion=NO_LENS)
    image = normalised(scene)
    image[40:44, 1] += 0.02
    assert late_words(image, image, ("a", "b")) == ""


def test_less_than_a_search_finds_is_told_by_the_lag(make_scene) -> None:
    """A camera that is 0.7 frames late, among four."""
    image = normalised(make_scene(views=4, frames=90, noise=0.5, distortion=NO_LENS))
    late = image.copy()
    late[:-1, 2] = 0.3 * image[:-1, 2] + 0.7 * image[1:, 2]
    words = late_words(late, image, tuple("abcd"))
    assert "in c by" in words
    assert "earlier" not in words
    assert late_words(image, image, tuple("abcd")) == ""


def test_a_shift_that_was_not_tried_costs_as_much_as_one_that_tells_nothing() -> None:
    costs = {(0, 1): np.array([0.4, 0.1, 0.3, 0.7, 0.8]), (0, 2): np.full(5, 0.25)}
    assert _total(costs, np.array([0, 0, 1])) == pytest.approx(0.3 + 0.25)
    assert _total(costs, np.array([0, -2, 0])) == pytest.approx(0.4 + 0.25)
    assert _total(costs, np.array([0, 3, 0])) == _total(costs, np.array([0, -3, 0])) == pytest.approx(1 + 0.25)


def test_frames_that_there_are_not_are_missing() -> None:
    points = np.arange(8.0).reshape(4, 1, 2)
    found = _at(points, np.array([-1, 0, 3, 4, 5]))
    assert np.isnan(found[[0, 3, 4]]).all()
    np.testing.assert_array_equal(found[1:3], points[[0, 3]])


def test_the_vertex_of_a_parabola_between_frames() -> None:
    """(x - 0.3)^2 at five shifts, about the middle one and about its neighbour, where it is more than half a frame off."""
    costs = {(0, 1): (np.arange(-2, 3) - 0.3) ** 2}
    assert _vertex(costs, np.array([0, 0]), 1) == pytest.approx(0.3)
    assert _vertex(costs, np.array([0, 0]), 0) == pytest.approx(-0.3)
    assert _vertex(costs, np.array([0, -1]), 1) == pytest.approx(0.5)
    assert _vertex({(0, 1): np.full(5, 0.2)}, np.array([0, 0]), 1) == 0


def test_a_course_of_shifts_changes_where_that_is_worth_its_price() -> None:
    """By hand, of three shifts: leaving the middle one costs the price, and pays from there on."""
    price = timing.CHANGE_PRICE
    table = np.zeros((3, 6))
    table[1, 3:] = price  # the middle shift costs three prices in the second half
    table[0], table[2, :3] = 10 * price, 10 * price
    cost, shifts = timing._course(table)
    assert cost == pytest.approx(price)
    assert shifts.tolist() == [0, 0, 0, 1, 1, 1]
    table[1, 3:] = price / 4  # now three quarters of one
    cost, shifts = timing._course(table)
    assert (cost, shifts.tolist()) == (pytest.approx(0.75 * price), [0] * 6)


@pytest.mark.parametrize("rival", [-8, -3, 5, 9])
def test_the_margin_is_that_of_the_next_best_offset_on_either_side(monkeypatch, rival: int) -> None:
    """Two cameras: cost 0.1 at a shift of 2, 0.3 at another, 0.2 beside the best (which is no other offset), 0.9 elsewhere."""
    costs = np.full(21, 0.9)
    costs[[10 + 1, 10 + 2, 10 + 3, 10 + rival]] = 0.2, 0.1, 0.2, 0.3
    monkeypatch.setattr(timing, "_noise", lambda *_: 1e-3)
    monkeypatch.setattr(timing, "pair_fits", lambda *_: (costs, [None] * 21))
    monkeypatch.setattr(timing, "_gain", lambda *_: (2.0, 1.0))
    monkeypatch.setattr(timing, "_jumps", lambda *_: ())
    found = find_lateness(np.zeros((40, 2, 17, 2)), reach=10)
    assert np.ptp(found.frames) == 2.0
    assert found.margin == pytest.approx(3.0)
    assert found.sure
    monkeypatch.setattr(timing, "_gain", lambda *_: (1.0, 1.0))
    nothing = find_lateness(np.zeros((40, 2, 17, 2)), reach=10)
    assert (nothing.frames.tolist(), nothing.gain, nothing.trust, nothing.sure) == ([0.0, 0.0], 1.0, 0.0, False)


@pytest.mark.parametrize(
    ("changes", "sure"),
    [
        ({}, True), ({"frames": np.array([0.0, -0.6])}, True), ({"frames": np.array([0.0, 0.5])}, False),
        ({"gain": 1.059}, False), ({"gain": 1.06}, True), ({"trust": 0.49}, False), ({"trust": 0.5}, True),
        ({"margin": 1.0}, True),
    ],
)  # fmt: skip
def test_a_camera_is_late_by_more_than_half_a_frame_that_gains_surely(changes: dict, sure: bool) -> None:
    usual = {"frames": np.array([0.0, 2.0]), "gain": 2.0, "margin": 2.0, "trust": 1.0}
    assert timing.Lateness(**usual | changes).sure == sure


def test_a_course_of_shifts_changes_where_that_saves_its_price() -> None:
    """Costs by shift (-1, 0, 1) and frame: for four frames the third shift is free where the second costs 1 each."""
    table = np.zeros((3, 12))
    table[0] = 9.0
    table[1, 4:8], table[2, :4], table[2, 8:] = 1.0, 1.0, 1.0
    total, course = timing._course(table)
    assert (total, course.tolist()) == (4.0, [0] * 12)  # twice 3 to change would be more
    table[1, 4:] = 1.0
    table[2, 4:] = 0.0
    total, course = timing._course(table)
    assert (total, course.tolist()) == (3.0, [0] * 4 + [1] * 8)


def test_the_vertex_of_three_costs_is_their_parabolas() -> None:
    """Costs (x - 0.25)^2 about the best shift of camera 1; the other sees the opposite. Never beyond half a frame."""
    x = np.arange(-5, 6)
    costs = {(0, 1): (x - 2.25) ** 2}
    best = np.array([0, 2])
    assert _vertex(costs, best, 1) == pytest.approx(0.25)
    assert _vertex(costs, best, 0) == pytest.approx(-0.25)
    assert _vertex({(0, 1): np.ones(11)}, best, 1) == 0.0
    assert _vertex({(0, 1): (x - 4.0) ** 2}, best, 1) == 0.5
    assert _total(costs, np.array([0, 2])) == pytest.approx(0.0625)
    assert _total(costs, np.array([0, 5])) == pytest.approx(2.75**2)
    assert _total(costs, np.array([0, 6])) == _total(costs, np.array([6, 0])) == 1.0  # beyond what was tried
