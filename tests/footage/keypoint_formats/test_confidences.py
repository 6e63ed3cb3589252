"""Confidences of any detector come to one scale; those of the usual range are left as they are."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.footage.keypoint_formats.confidences import on_one_scale, views_on_one_scale


def people(confidence: float | np.ndarray, frames: int = 40) -> dict[int, list[np.ndarray]]:
    points = np.random.default_rng(0).uniform(10, 900, (frames, 17, 3))
    points[..., 2] = confidence
    points[::7, 3] = 0
    return {t: [person] for t, person in enumerate(points)}


def stacked(frames) -> np.ndarray:
    return np.stack([found[0] for found in frames.values()])


@pytest.mark.parametrize("confidence", [0.4, 0.9, 1.0, 1.2, np.linspace(0.05, 1.0, 17), np.linspace(0.1, 1.3, 17)])
def test_the_usual_range_is_left_alone(confidence) -> None:
    given = people(confidence)
    found, notes = on_one_scale(given, "cam1")
    assert found is given
    assert notes == []


@pytest.mark.parametrize("much", [0.04, 0.1, 0.25, 8.3, 85, 250, 1e-6])
def test_a_constant_counts_as_sure(much: float) -> None:
    found, notes = on_one_scale(people(much), "cam1")
    points = stacked(found)
    np.testing.assert_allclose(points[1, :, 2], 1.0)
    assert (points[::7, 3] == 0).all()
    assert notes[0].startswith("cam1: confidences reach")


@pytest.mark.parametrize("scale", [0.3, 100, 255])
def test_shares_stay_shares(scale: float) -> None:
    shares = np.linspace(0.1, 1.0, 17)
    found, _ = on_one_scale(people(shares * scale), "cam1")
    np.testing.assert_allclose(stacked(found)[1, :, 2], np.minimum(shares / np.quantile(shares, 0.95), 1), atol=0.05)


@pytest.mark.parametrize("none", [0.0, -1.0, np.nan])
def test_where_there_are_none_all_places_count_as_seen(none: float) -> None:
    found, notes = on_one_scale(people(none), "cam1")
    points = stacked(found)
    assert (points[1, :, 2] == 1).all()
    assert (points[::7, 3, 2] == 0).all()  # no place, no joint
    assert "no joint has a confidence above 0" in notes[0]


def test_one_confidence_is_enough_for_zeros_to_mean_missing() -> None:
    given = people(0.0)
    given[5][0][2, 2] = 0.9
    assert on_one_scale(given, "cam1")[0] is given


def test_nobody_is_nobody() -> None:
    given = {0: [np.zeros((17, 3))], 1: []}
    assert on_one_scale(given, "cam1") == (given, [])


def test_each_camera_has_its_own() -> None:
    points = np.stack([stacked(people(0.9)), stacked(people(40.0))], axis=1)
    found, notes = views_on_one_scale(points, "keypoints.npz")
    np.testing.assert_array_equal(found[:, 0], points[:, 0])
    np.testing.assert_allclose(found[1, 1, :, 2], 1.0)
    assert [note.split(":")[0] for note in notes] == ["keypoints.npz, camera 2"]
