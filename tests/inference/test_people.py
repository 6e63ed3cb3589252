"""Who is who over time, from everybody's keypoints."""

from __future__ import annotations

import numpy as np

from vergence.inference.people import REMEMBERED_S, Sightings, Track
from vergence.skeleton import COCO_17

FPS = 25.0
RNG = np.random.default_rng(0)
# COCO's joints of somebody who stands, 40 high
X = "0 1 -1 2 -2 5 -5 7 -7 8 -8 3 -3 3 -3 3 -3"
Y = "3 2 2 3 3 9 9 15 15 21 21 22 22 31 31 40 40"
SHAPE = np.array([X.split(), Y.split()], float).T * 5


def person(x, y=100.0, size=1.0, sure=0.9):
    points = SHAPE * size + [x, y] + RNG.normal(size=SHAPE.shape)
    return np.c_[points, np.full(17, sure)]


def film(frames, *people):
    """Of functions of the frame that give a person or None; in another order in every frame."""
    for frame in range(frames):
        here = [found for each in people if (found := each(frame)) is not None]
        RNG.shuffle(here)
        yield np.stack(here) if here else np.empty((0, 17, 3))


def walkers(sightings):
    """The mean x of every person in the frames where it is seen, in their order."""
    whole = [sightings.window(own, 0, 10_000) for own in sightings.everybody()[0]]
    return [np.nanmean(points[..., 0], axis=1) for points in whole]


def test_two_people_keep_their_numbers_and_the_larger_one_is_the_first():
    small, large = (lambda f: person(100 + f, size=0.8)), (lambda f: person(600 - f, size=1.2))
    first, second = walkers(Sightings(film(100, small, large), COCO_17, FPS))
    np.testing.assert_allclose(first[:100], 600 - np.arange(100), atol=3)
    np.testing.assert_allclose(second[:100], 100 + np.arange(100), atol=3)


def test_people_who_pass_each_other_keep_their_numbers_though_one_hides_the_other():
    left = lambda f: person(100 + 5 * f, size=1.1)
    right = lambda f: None if abs(100 + 5 * f - (700 - 5 * f)) < 60 else person(700 - 5 * f, 105)
    first, second = walkers(Sightings(film(120, left, right), COCO_17, FPS))
    np.testing.assert_allclose(first[:120], 100 + 5 * np.arange(120), atol=4)
    seen = np.isfinite(second[:120])
    np.testing.assert_allclose(second[:120][seen], (700 - 5 * np.arange(120))[seen], atol=4)
    assert seen.sum() > 100


def test_who_is_back_within_seconds_at_that_place_is_the_same_and_who_comes_later_or_elsewhere_is_not():
    def returning(away, x):
        there = lambda f: None if 50 <= f < 50 + away else person(100 if f < 50 else x)
        people = Sightings(film(100 + away, there, lambda f: person(900, size=1.3)), COCO_17, FPS).everybody()[0]
        return len(people) - 1

    assert returning(round(2 * FPS), 160) == 1
    assert returning(round(2 * FPS), 800) == 2
    assert returning(round((REMEMBERED_S + 1) * FPS), 100) == 2


def test_a_moment_of_somebody_is_a_mistake_unless_there_is_nobody_else():
    ghost = lambda f: person(400) if f in (20, 21, 22) else None
    people, brief = Sightings(film(60, ghost, lambda f: person(100)), COCO_17, FPS).everybody()
    assert (len(people), brief) == (1, 1)
    people, brief = Sightings(film(60, ghost), COCO_17, FPS).everybody()
    assert (len(people), brief) == (1, 0)
    assert Sightings(film(60), COCO_17, FPS).everybody() == ([], 0)


def test_windows_reach_beyond_the_recording():
    sightings = Sightings(film(10, lambda f: person(100 + f)), COCO_17, FPS)
    whole = sightings.window([0], 0, 10)
    around = sightings.track([0]).window(-3, 14)
    np.testing.assert_array_equal(around[3:13], whole)
    assert np.isnan(around[:3]).all()
    assert np.isnan(around[13:]).all()
    np.testing.assert_array_equal(Track.of(whole, COCO_17).window(-3, 14), around)
    assert np.isnan(sightings.window([0], 50, 60)).all()
