"""Which mistake explains the given cameras, each made on purpose, and how far is too far."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.checks import second_opinion as module
from vergence.reconstruction.checks import size
from vergence.reconstruction.checks.doubts import THROUGHOUT, throughout
from vergence.reconstruction.checks.second_opinion import Opinion
from vergence.skeleton import H36M_17

NAMES = ("a", "b", "c", "d")
PLAIN = Bundle(np.eye(3)[None], np.zeros((1, 3)), np.ones((1, 2)), np.zeros((1, 3)))


def ring() -> Bundle:
    """Four cameras around the origin, 4 m away, each tilted and rolled in its own way."""
    rotation = Rotation.from_euler(
        "yxz", [[0, 20, 5], [70, -15, 10], [150, 10, -8], [260, 25, 3]], degrees=True
    ).as_matrix()
    return Bundle(rotation, np.tile([0.0, 0, 4], (4, 1)), np.ones((4, 2)), np.zeros((1, 3)))


def turned(bundle: Bundle, camera: int, degrees: float) -> Bundle:
    """One camera turned about its own vertical axis, in its place."""
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    rotation, translation = bundle.rotation.copy(), bundle.translation.copy()
    rotation[camera], translation[camera] = turn @ rotation[camera], turn @ translation[camera]
    return replace(bundle, rotation=rotation, translation=translation)


def test_gaps_are_of_rotations_and_of_directions_between_cameras() -> None:
    """Camera 2 turned by 3 degrees in its place: rotations of its pairs differ, directions seen from others do not."""
    known = ring()
    rotations, ways = module._gaps(known, turned(known, 2, 3.0))
    pairs = {(a, b): 3.0 * (2 in (a, b)) for a in range(4) for b in range(a + 1, 4)}
    for (a, b), degrees in pairs.items():
        assert np.degrees(rotations[a, b]) == pytest.approx(degrees, abs=1e-5)
        assert (2.0 < np.degrees(ways[a, b]) < 3.0) if a == 2 else ways[a, b] < 1e-6  # less by its height in the image
    assert not np.tril(rotations).any()
    assert np.degrees(module._gap(known, turned(known, 2, 3.0))) == pytest.approx(3)
    moved = replace(known, translation=known.translation + np.array([[0, 0, 0], [0.5, 0, 0], [0, 0, 0], [0, 0, 0]]))
    assert not module._gaps(known, moved)[0].max() > 1e-6
    assert module._gaps(known, moved)[1][0, 1] > 0.02
    sure, loose = np.zeros((2, 4, 4)), np.full((2, 4, 4), np.radians(4.0))
    assert module._far(known, turned(known, 2, 3.0), tuple(sure)) == pytest.approx(3 / module.MOST_GAP_DEG)
    assert module._far(known, turned(known, 2, 3.0), tuple(loose)) == pytest.approx(3 / (4 * module.MOST_GAP_SIGMA))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((1, 0, 2, 3), "a and b seem exchanged"), ((0, 3, 2, 1), "b and d seem exchanged"),
        ((1, 2, 3, 0), "the cameras fit in another order: a as d, b as a, c as b, d as c"),
    ],
)  # fmt: skip
def test_cameras_in_another_order_are_named(order: tuple[int, ...], words: str) -> None:
    found = ring()
    known = replace(found, rotation=found.rotation[list(order)], translation=found.translation[list(order)])
    assert module._cause(known, found, None, NAMES) == words


@pytest.mark.parametrize(
    ("signs", "words"),
    [((1, -1, 1), "y seems to count upwards"), ((-1, 1, 1), "mirrored left to right"), ((-1, -1, 1), "upside down")],
)
def test_mirrors_of_images_are_named(signs: tuple[int, int, int], words: str) -> None:
    found, flip = ring(), np.diag(signs).astype(float)
    known = replace(found, rotation=flip @ found.rotation @ flip)
    assert words in module._cause(known, found, None, NAMES)


def test_a_transposed_rotation_a_camera_that_moved_and_a_lens_are_named() -> None:
    found = ring()
    transposed = replace(found, rotation=found.rotation.transpose(0, 2, 1))
    assert "transposed" in module._cause(transposed, found, None, NAMES)
    assert module._cause(turned(found, 1, 12.0), found, None, NAMES) == (
        "b seems to have moved since it was calibrated; the others agree"
    )
    both = turned(turned(found, 1, 12.0), 3, -15.0)
    assert module._cause(both, found, None, NAMES).startswith("several cameras stand elsewhere")
    assert module._cause(found, found, None, NAMES) == ""
    wish = SimpleNamespace(words=lambda names: f"lens of {names[0]}")
    assert module._cause(found, found, wish, NAMES) == "lens of a"  # type: ignore[arg-type]
    two = [replace(b, rotation=b.rotation[:2], translation=b.translation[:2]) for b in (turned(found, 1, 12.0), found)]
    assert "one of the two cameras" in module._moved(*two, NAMES[:2])


def test_orders_of_many_cameras_that_are_tried() -> None:
    """Every exchange of two, every step on, and the reverse."""
    tried = module._exchanges(4)
    assert set(tried) == {
        (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3), (2, 1, 0, 3), (3, 1, 2, 0), (0, 2, 1, 3),
        (0, 3, 2, 1), (0, 1, 3, 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("far", "ratio", "doubted"),
    [(1.0, 1.21, True), (1.0, 1.19, False), (2.0, 1.19, False), (0.5, 2.49, False), (0.5, 2.51, True), (0.75, 2.2, True),
     (0.7, 2.2, False)],
)  # fmt: skip
def test_more_noise_makes_up_for_less_gap(far: float, ratio: float, doubted: bool) -> None:
    """1.2 of the noise at the allowed gap; 2.5 times the noise whatever the gap is."""
    opinion = Opinion(5.0 * far, far, 0.002 * ratio, 0.002, None, "it moved", PLAIN, NAMES)
    assert opinion.ratio == pytest.approx(ratio)
    said = opinion.doubts()
    assert len(said) == doubted
    if doubted:
        assert f"leave {2 * ratio:.1f} mrad of error where cameras that are free to move leave 2.0" in said[0]
        assert f"up to {5 * far:.1f} degrees away from those. It moved." in said[0]
        assert said[0].endswith(
            " --refine adjusts them to this footage, --ignore-extrinsics finds cameras without them."
        )


@pytest.mark.parametrize(
    ("factor", "words", "by"),
    [
        (1.0, "", ""), (0.62, "", ""), (1.33, "", ""), (0.56, "twice as large", "2"), (1.7, "half as large", "0.5"),
        (1.38, "is wrong", "0.725"), (1 / 1000, "in metres", "1e+03"), (0.1, "in centimetres", "10"),
        (1 / 25.4, "in inches", "25.4"), (1 / 304.8, "in feet", "305"), (0.01, "in decimetres", "100"),
        (1000.0, "by 1,000 twice", "0.001"), (6.0, "is wrong", "0.167"),
    ],
)  # fmt: skip
def test_a_persons_size_tells_the_unit(monkeypatch: pytest.MonkeyPatch, factor: float, words: str, by: str) -> None:
    """Of 1.7 m: from 1 to 2.3 m nothing is said; a factor within 1.3 of one that has a name has that one."""
    monkeypatch.setattr(size, "stature", lambda pose, skeleton: 1700.0 * factor)
    said = size.size_doubt(np.zeros((1, 17, 3)), H36M_17)
    assert bool(said) == bool(words)
    assert words in said
    assert not by or f"Multiply the translations by about {by}, or" in said


def walker(lean: float, walked: float, swing: float = 0.0) -> np.ndarray:
    """A trunk of 500 mm that leans from +z by so much, swings to and fro, and goes along +x by so much."""
    pose = np.zeros((40, 17, 3))
    tilt = np.radians(lean + swing * np.where(np.arange(40) % 2, 1, -1))
    _, high = H36M_17.reference_bone
    pose[:, list(high)] = 500 * np.stack([np.zeros(40), np.sin(tilt), np.cos(tilt)], 1)[:, None]
    pose[..., 0] += np.linspace(0, walked, 40)[:, None]
    return pose


@pytest.mark.parametrize(
    ("lean", "walked", "swing", "how"),
    [(59.0, 2000, 0, ""), (61.0, 2000, 0, "lying"), (119.0, 2000, 0, "lying"), (121.0, 2000, 0, "upside down"),
     (90.0, 1040, 0, ""), (90.0, 1080, 0, "lying"), (90.0, 2000, 19.0, "lying"), (90.0, 2000, 21.0, "")],
)  # fmt: skip
def test_who_walks_lying_or_upside_down_shows_a_wrong_up(lean: float, walked: float, swing: float, how: str) -> None:
    """Beyond 60 degrees, steady within 20, over a metre (of nineteen in twenty frames)."""
    said = size.up_doubt(walker(lean, walked, swing), H36M_17, np.array([0.0, 0, 2.0]))
    assert said.startswith(f"The person walks {how} (trunk {lean:.0f} degrees") if how else said == ""
    assert size.up_doubt(walker(lean, walked, swing), H36M_17, None) == ""


def test_sides_are_exchanged_throughout_in_more_than_four_of_five_frames() -> None:
    side = np.tile(np.arange(4), (10, 3, 1))
    side[:8, 1], side[:9, 2, 2:] = [1, 0, 2, 3], [3, 2]
    assert THROUGHOUT == 0.8
    assert throughout(side, NAMES[:3]) == ("c",)


def test_other_conventions_of_poses_are_named() -> None:
    """OpenGL's axes, places in t, and the cameras' own poses; in places of their own, as a real rig has."""
    found = ring()
    found = replace(
        found, translation=found.translation + np.array([[0.1, 0, 0], [0, 0.3, 0.5], [-0.2, 0, 1], [0, 0, 0.2]])
    )
    axes = np.diag([1.0, -1.0, -1.0])
    places = -np.einsum("vji,vj->vi", found.rotation, found.translation)
    opengl = replace(found, rotation=axes @ found.rotation, translation=found.translation @ axes)
    assert "OpenGL" in module._cause(opengl, found, None, NAMES)
    assert module._cause(replace(found, translation=places), found, None, NAMES).startswith(
        "the translations seem to be the cameras' places"
    )
    own = replace(found, rotation=found.rotation.transpose(0, 2, 1), translation=places)
    assert module._cause(own, found, None, NAMES).startswith("R and t seem to be the cameras' own poses")
    mirrored = np.diag([-1.0, 1.0, 1.0])
    images = replace(found, rotation=mirrored @ found.rotation @ mirrored, translation=found.translation @ mirrored)
    assert "mirrored left to right" in module._cause(images, found, None, NAMES)
