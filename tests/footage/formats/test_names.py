"""Which number of a file's name is its frame."""

from __future__ import annotations

import pytest

from vergence.footage.formats.names import (
    counted_frames,
    counted_together,
    name_numbers,
    natural_key,
    number_frames,
    visible,
)

FRAMES = range(12)


@pytest.mark.parametrize(
    "pattern",
    ["{:012d}_keypoints.json", "{:012d}_keypoints_2.json", "frame_{:05d}_cam3.json", "{:05d}_keypoints2d.json",
     "{:05d}_1920x1080.json", "take 2, {}.png", "2021-03-01_{}_v2.jpg", "dir_7/{}.jpg", "dir_7\\{}.jpg", "{}",
     "a.b.{:03d}.png"],
)  # fmt: skip
def test_the_number_that_differs_counts(pattern: str) -> None:
    assert name_numbers([pattern.format(t) for t in FRAMES]) == list(FRAMES)


def test_of_two_that_differ_the_one_that_counts() -> None:
    assert name_numbers([f"{1616161616000 + 33 * t}_{t:04}.png" for t in FRAMES]) == list(FRAMES)
    assert name_numbers([f"{t:04}_{1616161616000 + 33 * t}.png" for t in FRAMES]) == list(FRAMES)
    assert name_numbers([f"{t:04}_{(7 * t) % 12}.png" for t in FRAMES]) == list(FRAMES)


def test_names_without_numbers_and_of_different_forms() -> None:
    assert name_numbers(["a.png", "b.png"]) is None
    assert name_numbers(["1.png", "b.png"]) is None
    assert name_numbers([]) is None
    assert name_numbers(["img1.png", "img2_v3.png"]) == [1, 3]
    assert name_numbers(["x²1.png", "x²2.png"]) == [1, 2]


@pytest.mark.parametrize(
    "name",
    [lambda t: f"{1616161616 + t // 30}.{t % 30 * 1000 // 30:03}.json",
     lambda t: f"20210301_1230{45 + t // 30:02}_{t % 30:02}x",
     lambda t: f"2021-03-01T12:59:{58 + t // 30:02}.{t % 30 * 10**6 // 30:06}.png"
     if t < 60 else f"2021-03-01T13:00:00.{t:06}.png"],
)  # fmt: skip
def test_times_of_several_seconds_are_in_order(name) -> None:
    names = [name(t) for t in range(20, 61)]
    numbers = name_numbers(names)
    assert numbers is not None
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("rate", [25, 30, 59.94])
@pytest.mark.parametrize("unit", [10**3, 10**6, 10**9])
def test_times_become_frames_with_their_gaps(rate: float, unit: int) -> None:
    kept = [t for t in range(100) if t not in (7, 8, 50)]
    found = number_frames([1616161616 * unit + round(t * unit / rate) for t in kept])
    assert list(found.frames.values()) == kept
    assert found.count == 100
    assert found.frame(1616161616 * unit + round(50 * unit / rate)) == 50


def test_frames_with_gaps_steps_and_neither() -> None:
    assert list(number_frames([3, 4, 6, 7]).frames.values()) == [0, 1, 3, 4]
    assert list(number_frames([0, 5, 10, 20]).frames.values()) == [0, 1, 2, 4]
    ranks = number_frames([785, 40083, 581929])
    assert (list(ranks.frames.values()), ranks.step) == ([0, 1, 2], 0)
    assert ranks.frame(786) is None
    huge = number_frames([10**400, 2 * 10**400 + 1, 7 * 10**400])
    assert list(huge.frames.values()) == [0, 1, 2]


def test_no_number_is_an_array_s_size() -> None:
    assert counted_frames([5, 3, 4]) == ({3: 3, 4: 4, 5: 5}, None)
    assert counted_frames([10**12, 10**12 + 1], from_zero=True) == ({10**12: 0, 10**12 + 1: 1}, (10**12, 10**12 + 1))
    assert counted_frames([-1, 4])[1] == (-1, 4)


def test_cameras_that_begin_near_each_other_have_one_count() -> None:
    a, b, far = number_frames(range(60)), number_frames(range(2, 60)), number_frames(range(900, 960))
    assert [n.frame(5) for n in counted_together([a, b])] == [5, 5]
    assert [n.first for n in counted_together([a, far])] == [0, 900]
    times = [number_frames([10**6 * s + 33333 * t for t in range(start, 60)]) for s, start in ((5, 0), (5, 1))]
    assert [n.frame(5 * 10**6 + 33333 * 9) for n in counted_together(times)] == [9, 9]


def test_natural_order_without_hidden_files(tmp_path) -> None:
    for name in ("b10.json", "B2.json", "._b2.json", ".b3.json", "b².json"):
        (tmp_path / name).touch()
    assert [path.name for path in visible(tmp_path.iterdir())] == ["B2.json", "b10.json", "b².json"]
    assert natural_key("a01") != natural_key("a1")
