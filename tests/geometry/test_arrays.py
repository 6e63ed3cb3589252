"""The lens on arrays is the lens on tensors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from vergence.geometry import arrays, camera
from vergence.geometry.lens import bend, bend_slopes

K = np.array([[1000.0, 2.0, 960.0], [0.0, 1010.0, 540.0], [0.0, 0.0, 1.0]])
LENSES = [
    [0.0] * 5,
    [-0.3, 0.1, 0.001, -0.002, 0.0],
    [-0.5, 0.3, 0.001, -0.002, -0.1],  # folds within the image
    [0.4, -0.2, 0.0, 0.0, 0.3],
    [-0.3, 0.1, 0.001, -0.002, 0.0, 0.1, 0.02, 0.0, 0.001, 0.0, 0.002, 0.0],
    camera.fisheye_lens([0.05, -0.01, 0.002, 0.0]),
]


@pytest.mark.parametrize("coefficients", LENSES, ids=str)
def test_arrays_are_seen_as_tensors_are(coefficients: list[float]) -> None:
    rng, values = np.random.default_rng(0), np.array(coefficients)
    pixels = rng.uniform([-300, -300], [2300, 1400], (2000, 2))
    pixels[::7, 0] = np.nan
    slow = camera.normalise(*map(torch.from_numpy, (pixels, K, values))).numpy()
    np.testing.assert_allclose(arrays.normalise(pixels, K, values), slow, rtol=0, atol=1e-12)
    points = rng.normal(size=(500, 3)) + [0, 0, 1]
    slow = camera.project(*map(torch.from_numpy, (points, K, values))).numpy()
    np.testing.assert_allclose(arrays.project(points, K, values), slow, atol=1e-7)


def test_a_lens_for_each_camera() -> None:
    values = np.array([np.pad(row, (0, 17 - len(row))) for row in LENSES])
    pixels = np.random.default_rng(1).uniform(0, [1920, 1080], (3, len(LENSES), 50, 2))
    found = arrays.normalise(pixels, np.broadcast_to(K, (len(LENSES), 3, 3)), values)
    for v, row in enumerate(values):
        np.testing.assert_allclose(found[:, v], arrays.normalise(pixels[:, v], K, row), atol=1e-12)


@pytest.mark.parametrize("coefficients", [LENSES[1], LENSES[3], LENSES[4]], ids=str)
def test_lenses_that_do_not_fold_are_undone_without_torch(
    coefficients: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_by_torch", lambda *_: pytest.fail("torch was asked"))
    points = np.random.default_rng(2).uniform([-0.6, -0.4, 1], [0.6, 0.4, 1], (300, 3))
    pixels = arrays.project(points, K, np.array(coefficients))
    np.testing.assert_allclose(arrays.normalise(pixels, K, np.array(coefficients)), points[:, :2], atol=1e-12)


def test_reconstruct_loads_neither_torch_nor_scipy() -> None:
    modules = "vergence.commands.reconstruct, vergence.reconstruction.footage, vergence.report.reconstruction"
    code = f"import sys; sys.modules.update(torch=None, scipy=None); import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_before_the_camera_is_not_seen() -> None:
    points = np.array([[1.0, 2, 1], [1.0, 2, 1e-9], [1.0, 2, 0], [1.0, 2, -1], [0, 0, 0]])
    with np.errstate(all="raise"):
        found = arrays.project(points, K, np.zeros(5))
    np.testing.assert_allclose(found[0], [1000 + 2 * 2 + 960, 2 * 1010 + 540])
    assert np.isfinite(found).all(1).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("coefficients", LENSES[:5], ids=str)
def test_slopes_of_a_lens_are_those_of_differences(coefficients: list[float]) -> None:
    """By x and by y, of both coordinates, each term of the lens twenty times as strong as usual."""
    x, y = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 40))
    lens = [20 * value if 1 < i < 4 else value for i, value in enumerate(coefficients)]
    lens = [np.float64(value) for value in lens + [0.0] * (12 - len(lens))]
    step = 1e-6
    across = [(high - low) / (2 * step) for high, low in zip(bend(x + step, y, lens), bend(x - step, y, lens))]
    down = [(high - low) / (2 * step) for high, low in zip(bend(x, y + step, lens), bend(x, y - step, lens))]
    np.testing.assert_allclose(bend_slopes(x, y, lens), [across[0], down[0], across[1], down[1]], atol=1e-8)
