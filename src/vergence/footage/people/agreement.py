"""How well two cameras' tracks fit to be of one person: by one essential matrix that their joints obey.

Two tracks of one person obey one matrix at every time step; tracks of two people do not for long, though all people stand
upright and agree by chance to about a half. Noise is measured in parts of the person's size in the image, so that
resolution and distance do not matter.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.tracking import Track, person_size, present
from vergence.geometry.cameras import Camera
from vergence.geometry.two_view import (
    MIN_POINTS,
    decompose,
    essential_of_cameras,
    estimate_essential,
    pair_depths,
    sampson_residual,
)

# Noise of a detected joint, in parts of the person's size in the image.
SIGMA_SHARE = 0.008
# Agreement that an essential matrix fitted to two different people reaches by chance, as all stand upright.
CHANCE_AGREEMENT = 0.5
# Extrinsics as given may be off by a degree or so, which the noise must cover.
GIVEN_SIGMA_FACTOR = 2.5
POINTS_PER_PAIR = 600
GOLDEN = 0.6180339887498949
STEADIEST_LIMBS = 12
MIN_FRAMES_OF_LIMB = 5

Table = dict[tuple[int, int], np.ndarray]  # cameras i < j: tracks of i x tracks of j


@dataclass(frozen=True)
class Pairs:
    """Every pair of cameras and tracks.

    Agreement; support, which is what of it exceeds chance, times the share of frames both are seen in; the matrix.
    """

    agreement: Table
    support: Table
    matrix: dict[tuple[int, int, int, int], np.ndarray]  # i, j, track of i, track of j


def all_pairs(usable: Sequence[Sequence[Track]], views: Sequence[Camera]) -> Pairs:
    pairs = Pairs({}, {}, {})
    rays = [[rays_of(track, view) for track in own] for own, view in zip(usable, views)]
    noise = [
        [noise_of(track, view) if present(track).any() else 0.0 for track in own] for own, view in zip(usable, views)
    ]
    for i, j in itertools.combinations(range(len(views)), 2):
        agreement = np.zeros((len(usable[i]), len(usable[j])))
        together = np.zeros_like(agreement)
        for a, b in np.ndindex(*agreement.shape):
            tracks = usable[i][a], usable[j][b], rays[i][a], rays[j][b], views[i], views[j]
            sigma = (noise[i][a] + noise[j][b]) / 2
            matrix = _essential(*tracks[2:], sigma)
            if matrix is not None:
                pairs.matrix[i, j, a, b] = matrix
                agreement[a, b] = agreement_of(matrix, *tracks, sigma)
                together[a, b] = (present(tracks[0]) & present(tracks[1])).mean()
        pairs.agreement[i, j] = agreement
        pairs.support[i, j] = np.maximum(agreement - CHANCE_AGREEMENT, 0) / (1 - CHANCE_AGREEMENT) * together
    return pairs


def rays_of(track: Track, view: Camera) -> Float[np.ndarray, "T J 2"]:
    """Normalised image coordinates, lens distortion removed."""
    out = np.full((*track.shape[:2], 2), np.nan)
    seen = np.isfinite(track[..., 2])
    if seen.any():
        out[seen] = view.normalise(track[seen][:, :2])
    return out


def common_points(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Up to `POINTS_PER_PAIR` (frame, joint) pairs seen in both, spread evenly over time.

    One from each of as many equal parts, at a place within it that moves on by the golden ratio: equal steps may fall in
    with the number of joints, and then see three of them, or with a film that repeats.
    """
    both = np.flatnonzero(np.isfinite(a[..., 0]) & np.isfinite(b[..., 0]))
    step = max(1.0, len(both) / POINTS_PER_PAIR)
    place = np.arange(0, len(both), step)
    if step > 2:
        place = place + step * (np.arange(len(place)) * GOLDEN % 1)
    some = both[np.minimum(place.astype(int), len(both) - 1)] if len(both) else both
    return np.stack(np.unravel_index(some, a.shape[:2]), axis=1)


def noise_of(track: Track, view: Camera) -> float:
    """Noise of a joint in normalised coordinates: a share of the person's size, and what trembles from frame to frame."""
    size = float(np.median(person_size(track[present(track)])))
    tremble = np.abs(np.diff(track[..., :2], 2, axis=0))
    tremble = tremble[np.isfinite(tremble)]
    shake = (
        1.4826 / np.sqrt(6) * float(np.median(tremble)) if tremble.size else 0.0
    )  # of white noise, differenced twice
    return float(np.hypot(SIGMA_SHARE * size, shake)) / float(np.sqrt(abs(np.linalg.det(view.K[:2, :2]))))


def _essential(
    rays_a: np.ndarray, rays_b: np.ndarray, view_a: Camera, view_b: Camera, sigma: float
) -> Float[np.ndarray, "3 3"] | None:
    """Essential matrix with `ray_b^T E ray_a = 0`: from the extrinsics where given, else fitted robustly."""
    index = common_points(rays_a, rays_b)
    if len(index) < MIN_POINTS:
        return None
    if view_a.has_extrinsics and view_b.has_extrinsics:
        return essential_of_cameras(view_a.R, view_a.t, view_b.R, view_b.t)
    first, second = (r[index[:, 0], index[:, 1]] for r in (rays_a, rays_b))
    cv2.setRNGSeed(0)
    try:
        return estimate_essential(first, second, sigma=sigma)[0]
    except VergenceError:
        return None


def agreement_of(
    matrix: np.ndarray, a: Track, b: Track, rays_a: np.ndarray, rays_b: np.ndarray, view_a: Camera, view_b: Camera,
    sigma: float | None = None,
) -> float:  # fmt: skip
    """1 where all common joints obey the matrix, 0 where none does: mean of `1 - min((r / 3 sigma)^2, 1)`."""
    index = common_points(rays_a, rays_b)
    if not len(index):
        return 0.0
    first, second = (r[index[:, 0], index[:, 1]] for r in (rays_a, rays_b))
    sigma = (noise_of(a, view_a) + noise_of(b, view_b)) / 2 if sigma is None else sigma
    sigma *= GIVEN_SIGMA_FACTOR if view_a.has_extrinsics and view_b.has_extrinsics else 1.0
    residual = sampson_residual(matrix, first, second)
    return float(1 - np.minimum((residual / (3 * sigma)) ** 2, 1).mean())


@dataclass(frozen=True)
class Gauge:
    """What shows whether tracks that two cameras have later are of the person whom they had before.

    Attributes:
        matrix: of the two cameras.
        agreement: of the person's own tracks.
        frame: rotation and translation that the matrix stands for.
        limbs: pairs of joints that keep their distance, and these distances, in the pair's unit.
    """

    matrix: Float[np.ndarray, "3 3"]
    agreement: float
    frame: tuple[np.ndarray, np.ndarray]
    limbs: tuple[Float[np.ndarray, "L 2"], Float[np.ndarray, " L"]]


def gauge_of(matrix: np.ndarray, a: Track, b: Track, view_a: Camera, view_b: Camera) -> Gauge | None:
    """None where too little is seen by both cameras."""
    rays_a, rays_b = rays_of(a, view_a), rays_of(b, view_b)
    index = common_points(rays_a, rays_b)
    if len(index) < MIN_POINTS:
        return None
    agreed = agreement_of(matrix, a, b, rays_a, rays_b, view_a, view_b)
    rotation, translation, _ = decompose(matrix, rays_a[*index.T], rays_b[*index.T])[0]
    pairs = np.array(list(itertools.combinations(range(a.shape[1]), 2)))
    distance = _distances(rotation, translation, rays_a, rays_b, pairs)
    seen = np.isfinite(distance).sum(0) >= MIN_FRAMES_OF_LIMB
    pairs, distance = pairs[seen], distance[:, seen]
    middle = np.nanmedian(distance, axis=0)
    spread = np.nanmedian(np.abs(distance / middle - 1), axis=0)
    steady = np.argsort(spread)[:STEADIEST_LIMBS]
    return Gauge(matrix, agreed, (rotation, translation), (pairs[steady], middle[steady]))


def _distances(
    rotation: np.ndarray, translation: np.ndarray, a: np.ndarray, b: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """T L: of pairs of joints in space, from two cameras' rays; NaN where an end is not seen or behind a camera."""
    flat_a, flat_b = a.reshape(-1, 2), b.reshape(-1, 2)
    depth, other = pair_depths(rotation, translation, flat_a, flat_b)
    depth = np.where((depth > 0) & (other > 0), depth, np.nan)
    points = (np.c_[flat_a, np.ones(len(flat_a))] * depth[:, None]).reshape(*a.shape[:2], 3)
    return np.linalg.norm(points[:, pairs[:, 0]] - points[:, pairs[:, 1]], axis=-1)


def later_fit(gauge: Gauge, a: Track, b: Track, view_a: Camera, view_b: Camera) -> tuple[float, float]:
    """Agreement of two later tracks over that of the person's own, and the size of who is seen over the person's.

    0 and NaN where too little is seen by both.
    """
    rays_a, rays_b = rays_of(a, view_a), rays_of(b, view_b)
    if len(common_points(rays_a, rays_b)) < MIN_POINTS:
        return 0.0, float("nan")
    agreed = agreement_of(gauge.matrix, a, b, rays_a, rays_b, view_a, view_b)
    pairs, usual = gauge.limbs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # limbs that are not seen
        ratio = np.nanmedian(_distances(*gauge.frame, rays_a, rays_b, pairs), axis=0) / usual
        return agreed / max(gauge.agreement, 1e-9), float(np.nanmedian(ratio)) if len(ratio) else float("nan")
