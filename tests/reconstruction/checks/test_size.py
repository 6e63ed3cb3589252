"""People in millimetres: of a person's size, and the right way up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vergence.geometry.body import stature
from vergence.reconstruction.checks.size import size_doubt, size_note, up_doubt
from vergence.skeleton import H36M_17, skeleton_from_names

UP = np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.001, "in metres"),
        (0.1, "in centimetres"),
        (1 / 25.4, "in inches"),
        (1000.0, "multiplied by 1,000 twice"),
        (2.0, "half as large"),
        (0.5, "twice as large"),
        (1 / 39, "in inches|squares"),
        (3.0, "squares"),
        (1 / 110, "in decimetres"),
    ],
)
def test_a_wrong_unit_is_seen_and_named(make_scene: Callable, factor: float, words: str) -> None:
    told = size_doubt(make_scene().pose * factor, H36M_17)
    assert "mm tall" in told
    assert any(word in told for word in words.split("|"))


@pytest.mark.parametrize("factor", [0.65, 1.0, 1.25])
def test_children_and_tall_people_are_people(make_scene: Callable, factor: float) -> None:
    assert size_doubt(make_scene().pose * factor, H36M_17) == ""


def test_a_body_without_legs_says_nothing_of_its_size(make_scene: Callable) -> None:
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    upper = make_scene().pose[:, [H36M_17.index(name) for name in names]]
    assert size_doubt(upper * 0.01, skeleton_from_names(names)) == ""


@pytest.mark.parametrize(("up", "words"), [(-UP, "upside down"), (np.array([0.0, 1.0, 0.0]), "lying")])
def test_somebody_who_walks_the_wrong_way_up_is_seen(make_scene: Callable, up: np.ndarray, words: str) -> None:
    pose = make_scene().pose
    assert words in up_doubt(pose, H36M_17, up)
    assert up_doubt(pose, H36M_17, UP) == ""
    assert up_doubt(pose, H36M_17, None) == ""


def test_somebody_who_lies_still_may_lie(make_scene: Callable) -> None:
    pose = make_scene(step_mm=0.0).pose
    assert up_doubt(pose, H36M_17, np.array([0.0, 1.0, 0.0])) == ""


@pytest.mark.parametrize(("factor", "told"), [(1.0, True), (0.8, True), (1.25, True), (2.0, False)])
def test_the_person_is_as_tall_as_its_limbs_say(make_scene: Callable, factor: float, told: bool) -> None:
    """A board that is a quarter off shows in nothing else; beyond a person's limits a doubt says it."""
    pose, body = make_scene().pose * factor, H36M_17
    words = size_note(pose, body)
    assert bool(words) == told
    if told:
        tall = float(words.split("about ")[1].split(" mm")[0].replace(",", ""))
        assert tall == pytest.approx(stature(pose, body), abs=0.5)
