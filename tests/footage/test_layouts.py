"""Layouts told apart by measuring the people: every layout of a count, seen from all sides."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import film, ring, walking

from vergence.errors import VergenceError
from vergence.footage.layouts import LAYOUTS, decide_layout
from vergence.skeleton import COCO_17, H36M_17, HALPE_26, MPI_INF_17, WHOLEBODY_23


def seen(seed: int = 0) -> np.ndarray:
    """T 17 3: a walk seen by one of four cameras, Human3.6M's joints."""
    scene = film(walking(60), ring(4), noise=3.0, missing=0.1, seed=seed)
    points = scene.keypoints[:, seed % 4]
    return np.concatenate([points, np.where(np.isfinite(points[..., :1]), 0.9, np.nan)], -1)


@pytest.mark.parametrize("camera", [0, 1, 2, 3])
@pytest.mark.parametrize("skeleton", [H36M_17, COCO_17, MPI_INF_17], ids=lambda s: s.name)
def test_seventeen_joints_are_told_apart(skeleton, camera: int) -> None:
    people = H36M_17.convert(seen(camera), skeleton)
    layout, note = decide_layout(list(people), "cam1")
    assert layout.skeleton is skeleton
    assert f"17 joints read as {skeleton.name.upper()};" in note


def test_faces_and_hands_are_left_out() -> None:
    body = H36M_17.convert(seen(), WHOLEBODY_23)
    rest = np.random.default_rng(0).uniform(0, 1000, (60, 110, 3))
    layout, note = decide_layout(list(np.concatenate([body, rest], 1)), "cam1")
    assert layout.skeleton is WHOLEBODY_23
    assert "23 of the body" in note


def test_an_only_layout_needs_no_note() -> None:
    assert decide_layout(list(H36M_17.convert(seen(), HALPE_26)), "cam1") == (
        next(layout for layout in LAYOUTS if layout.count == 26),
        "",
    )


@pytest.mark.parametrize("count", [17, 25, 26])
def test_what_is_no_person_is_refused(count: int) -> None:
    """A quadruped's joints, in effect: points anywhere."""
    anywhere = np.random.default_rng(0).uniform(0, 500, (40, count, 3))
    with pytest.raises(VergenceError, match="make no person's body"):
        decide_layout(list(anywhere), "cam1")


def test_a_point_cannot_tell() -> None:
    with pytest.raises(VergenceError, match=r"do not tell which|make no person"):
        decide_layout([np.full((17, 3), 5.0)], "cam1")


def test_an_unknown_count_names_those_that_are_known() -> None:
    with pytest.raises(VergenceError, match=r"19 joints .* Known are 16, 17, 18, 25"):
        decide_layout([np.zeros((19, 3))], "cam1")
