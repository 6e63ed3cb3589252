"""Sizes that disagree."""

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.resize import fit_sizes


def dot(size: tuple[int, int], x: int, y: int) -> np.ndarray:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ((1080, 1920), (1088, 1920), "cut"),
        ((1920, 1088), (1920, 1080), "cut"),
        ((1920, 1080), (1920, 1080), "same"),
        ((1920, 1080), (960, 540), "rescale"),
        ((854, 480), (1280, 720), "rescale"),
        ((1280, 720), (854, 480), "rescale"),
    ],
)
def test_a_point_moves_with_its_image(source: tuple[int, int], target: tuple[int, int], kind: str) -> None:
    fit = fit_sizes(source, target, "video a.mp4")
    assert fit.kind == kind
    x, y = source[0] // 3, source[1] // 4
    moved = fit.apply(dot(source, x, y))
    assert moved.shape == (target[1], target[0], 3)
    weight = moved[..., 0].astype(float)
    ys, xs = np.mgrid[: target[1], : target[0]]
    centre = (xs * weight).sum() / weight.sum(), (ys * weight).sum() / weight.sum()
    np.testing.assert_allclose(centre, (fit.matrix @ [x, y, 1])[:2], atol=0.15)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [((1920, 1080), (1080, 1920), "turned by 90 degrees"), ((1920, 1080), (1440, 1080), "neither a cut nor a rescale"),
     ((64, 48), (48, 64), "turned by 90 degrees")],
)  # fmt: skip
def test_sizes_of_something_else(source: tuple[int, int], target: tuple[int, int], message: str) -> None:
    with pytest.raises(VergenceError, match=message):
        fit_sizes(source, target, "video a.mp4")


def test_the_note_says_what_was_assumed() -> None:
    note = fit_sizes((1080, 1920), (1088, 1920), "x").describe("video of cam01")
    assert "1080 x 1920, not 1088 x 1920" in note
    assert "4 and 0 px" in note
    assert "4 px off" in note
