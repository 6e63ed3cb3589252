"""The choice between peaks: a slow search, hidden joints that only the views together find, and what must not move."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vergence.geometry.triangulation import triangulate_linear
from vergence.reconstruction.peaks import UNSEEN, choose_peaks
from vergence.world import recordings

FOCAL, NOISE = 1000.0, 4.0


@pytest.fixture(scope="module")
def scene():
    """60 joints seen by four cameras: `N V 2` normalised, and the cameras."""
    film = recordings(1, 5, 4, 32, seed=90)
    world = (film.pose - film.translation[:, None]) @ film.rotation
    world = world.double()[film.view == 0][:, :12].reshape(-1, 3)
    first = film[film.frame == film.frame.min()]
    cameras = torch.cat([first.rotation, first.translation[..., None]], -1).double()
    moved = torch.stack([world @ c[:, :3].T + c[:, 3] for c in cameras], 1)
    return moved[..., :2] / moved[..., 2:], cameras


def wrong_and_right(points, first_is_wrong, g):
    """Two peaks a joint and view, the true one and one 60 px off; `first_is_wrong` N V says which is the higher."""
    angle = 2 * math.pi * torch.rand(points.shape[:2], generator=g, dtype=torch.double)
    other = points + 60 / FOCAL * torch.stack([angle.cos(), angle.sin()], -1)
    peaks = torch.where(
        first_is_wrong[..., None, None], torch.stack([other, points], 2), torch.stack([points, other], 2)
    )
    weights = torch.tensor([0.6, 0.3], dtype=torch.double).expand(*points.shape[:2], 2)
    return peaks, weights


def test_the_true_peak_is_found_where_the_higher_one_is_wrong_in_half_of_the_views(scene):
    points, cameras = scene
    g = torch.Generator().manual_seed(0)
    wrong = torch.zeros(points.shape[:2], dtype=torch.bool)
    wrong[:, :2] = True
    peaks, weights = wrong_and_right(points, wrong[:, torch.randperm(4, generator=g)], g)
    chosen = choose_peaks(peaks, weights, cameras, torch.full((4,), FOCAL, dtype=torch.double), NOISE)
    picked = peaks.take_along_dim(chosen[..., None, None].expand(-1, -1, 1, 2), 2)[:, :, 0]
    right = (picked - points).norm(dim=-1) * FOCAL < 1e-6
    assert right.double().mean() > 0.98


def test_against_a_slow_search(scene):
    points, cameras = scene
    g = torch.Generator().manual_seed(1)
    points = points[:6] + NOISE / FOCAL * torch.randn(points[:6].shape, generator=g, dtype=torch.double)
    peaks, weights = wrong_and_right(points, torch.rand(6, 4, generator=g) < 0.4, g)
    chosen = choose_peaks(peaks, weights, cameras, torch.full((4,), FOCAL, dtype=torch.double), NOISE)
    for n in range(6):
        best, least = None, math.inf
        for a, b in itertools.combinations(range(4), 2):
            for i, j in itertools.product(range(2), repeat=2):
                x = triangulate_linear(torch.stack([peaks[n, a, i], peaks[n, b, j]]), cameras[[a, b]])
                cost, picks = 0.0, []
                for v in range(4):
                    y = cameras[v, :, :3] @ x + cameras[v, :, 3]
                    fits = [
                        float(w) * math.exp(-0.5 * (float((y[:2] / y[2] - p).norm()) * FOCAL / NOISE) ** 2)
                        for w, p in zip(weights[n, v], peaks[n, v], strict=True)
                    ]
                    cost -= math.log(UNSEEN + max(fits))
                    picks.append(fits.index(max(fits)))
                if cost < least:
                    best, least = picks, cost
        assert chosen[n].tolist() == best


def test_one_peak_or_one_view_leaves_the_first(scene):
    points, cameras = scene
    focal = torch.full((4,), FOCAL, dtype=torch.double)
    one = choose_peaks(points[:, :, None], torch.ones(*points.shape[:2], 1).double(), cameras, focal, NOISE)
    assert (one == 0).all()
    g = torch.Generator().manual_seed(2)
    peaks, weights = wrong_and_right(points, torch.ones(points.shape[:2], dtype=torch.bool), g)
    peaks[:, 1:] = math.nan
    assert (choose_peaks(peaks, weights, cameras, focal, NOISE) == 0).all()


def test_a_missing_view_and_a_peak_without_weight_say_nothing(scene):
    points, cameras = scene
    focal = torch.full((4,), FOCAL, dtype=torch.double)
    g = torch.Generator().manual_seed(3)
    peaks, weights = wrong_and_right(points, torch.zeros(points.shape[:2], dtype=torch.bool), g)
    alone = weights.clone()
    alone[..., 1] = 0
    peaks[:, 3] = math.nan
    for w in (weights, alone):
        assert (choose_peaks(peaks, w, cameras, focal, NOISE)[:, :3] == 0).all()
