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


# A horse in m, x ahead, y to its left, z up, AP-10K's order: eyes, nose, withers, root of the tail, then the legs.
HORSE = np.array(
    [[1.35, 0.09, 1.95], [1.35, -0.09, 1.95], [1.65, 0, 1.7], [0.95, 0, 1.6], [-0.75, 0, 1.45],
     [0.6, 0.2, 1.3], [0.55, 0.2, 0.85], [0.55, 0.2, 0.05], [0.6, -0.2, 1.3], [0.55, -0.2, 0.85], [0.55, -0.2, 0.05],
     [-0.6, 0.2, 1.3], [-0.5, 0.2, 0.9], [-0.65, 0.2, 0.05], [-0.6, -0.2, 1.3], [-0.5, -0.2, 0.9], [-0.65, -0.2, 0.05]]
)  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1, 1), (0.5, 0.6, 0.4), (0.5, 0.4, 0.25), (0.7, 0.7, 1.2)], ids=str)
@pytest.mark.parametrize("side", range(8))
def test_an_animals_seventeen_points_are_no_person(side: int, shape: tuple[float, ...]) -> None:
    """A horse, a dog, a low dog and a giraffe of a kind, walking, from all sides."""
    rng = np.random.default_rng(side)
    people = []
    for t in range(40):
        body = HORSE * shape
        for k, (knee, paw) in enumerate(((6, 7), (9, 10), (12, 13), (15, 16))):
            swing = 0.25 * np.sin(0.3 * t + 0.75 * np.pi * k)
            body[knee, 0] += swing / 2
            body[paw] += [swing, 0, max(0, 0.1 * np.cos(0.3 * t + k))]
        angle = side * np.pi / 4 + 0.01 * t
        x, y, z = (body - body.mean(0)).T
        depth = np.sin(angle) * x + np.cos(angle) * y + 5
        pixels = 500 + 1000 * np.stack([(np.cos(angle) * x - np.sin(angle) * y) / depth, -(z + 0.15) / depth], 1)
        people.append(np.column_stack([pixels + rng.normal(0, 2, (17, 2)), np.ones(17)]))
    with pytest.raises(VergenceError, match=r"an animal's in AP-10K's order|make no person's body"):
        decide_layout(people, "cam1")
