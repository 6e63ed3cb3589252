"""How two cameras stand to each other, from joints that both see, pooled over many frames.

Why the essential matrix, pooled: one frame has some 17 joints on a thin body, and its relative rotation is off by
tens of degrees; fixed cameras make every frame a witness of the same five unknowns. Normalised coordinates (`x/z,
y/z`, lens undone) let the two cameras have different intrinsics.

Estimation is OpenCV's USAC with a threshold near the noise (loose thresholds leave bad tails that no adjustment
mends), and the noise itself comes from the data: a first fit, its median residual, then a second fit at that scale.

What breaks it, and how that shows in `PairPose`:
- one place, no baseline: a rotation alone explains the joints (`parallax` near 1 times the noise);
- all joints on one plane: several essential matrices fit alike (`planar` near 1, `conditioning` near 1);
- long lenses: the mirrored body fits nearly as well and cheirality does not object (`front` of the runner-up near the
  best's). A third view or limb lengths must then decide: `candidates` keeps all four decompositions;
- swapped people or sides: few inliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.geometry.cameras import skew

Array = np.ndarray

MIN_POINTS = 12  # five unknowns, noise, and a tenth of outliers; fewer is a lottery
SOLVER_POINTS = 400  # more points cost time and hardly move a minimal solver
MEASURED_POINTS = 200  # enough for the shares and percentiles that describe the pair
LONG_STRIDE = 200  # from one measured point to the next
THRESHOLD_SIGMA = 1.3  # of USAC's inlier test; measured best on walking people with 5 % outliers
SOLVER_TRIES = 500  # minimal samples
START_SIGMA = 0.008  # radians: 10 px at f = 1145, the noise assumed by the first of the two fits
MIN_SIGMA = 1e-5  # radians: noise below this is rounding
INLIER_SIGMA = 3.0
NO_PARALLAX = 1.2  # times the noise: below this a rotation alone explains the joints


@dataclass(frozen=True)
class PairPose:
    """The second camera in the first one's frame, `x2 = R x1 + t`, and how reliable it is.

    Attributes:
        rotation, translation: the best of the four decompositions; the translation has length 1.
        candidates: all decompositions `(R, t, front)`, best first; `front` is the share of inliers before both cameras.
        essential: 3 3, `b^T E a = 0`.
        inliers: N, residual within `INLIER_SIGMA` times `sigma`.
        sigma: noise in radians (times a focal length: px), from the median residual.
        parallax: 90th percentile of the angles that a rotation alone leaves, in units of what noise leaves; 1 without
            baseline.
        conditioning: ratio of the two smallest singular values of the linear system; 1 means that a second solution
            fits alike.
        angle: median angle between the two rays of a joint, radians.
    """

    rotation: Float[Array, "3 3"]
    translation: Float[Array, " 3"]
    candidates: tuple[tuple[Array, Array, float], ...]
    essential: Float[Array, "3 3"]
    inliers: Bool[Array, " N"]
    sigma: float
    parallax: float
    conditioning: float
    angle: float

    @property
    def inlier_share(self) -> float:
        return float(self.inliers.mean())


def sampson_residual(
    essential: Float[Array, "3 3"], a: Float[Array, "N 2"], b: Float[Array, "N 2"]
) -> Float[Array, " N"]:
    """Signed first-order distance to the epipolar constraint (Hartley & Zisserman 11.9); its deviation is the noise's."""
    (xa, ya), (xb, yb) = a.T, b.T  # column by column: numpy's sums over two or three numbers take most of the time
    across, down, rest = (row[0] * xa + row[1] * ya + row[2] for row in essential)
    back, up = (column[0] * xb + column[1] * yb + column[2] for column in essential.T[:2])
    slope = across**2 + down**2 + (back**2 + up**2)
    return (xb * across + yb * down + rest) / np.sqrt(np.maximum(slope, 1e-300))


def _homogeneous(points: Array) -> Array:
    return np.concatenate([points, np.ones((len(points), 1))], axis=1)


def essential_of_cameras(
    rotation1: Float[Array, "3 3"],
    translation1: Float[Array, " 3"],
    rotation2: Float[Array, "3 3"],
    translation2: Float[Array, " 3"],
) -> Float[Array, "3 3"]:
    """The essential matrix of two cameras whose world poses are known: `[t]x R` with `x2 = R x1 + t`, so `b^T E a = 0`."""
    rotation = rotation2 @ rotation1.T
    return skew(translation2 - rotation @ translation1) @ rotation


def robust_sigma(residual: Array) -> float:
    """Deviation of a normal distribution with this median of absolute values."""
    return max(float(1.4826 * np.median(np.abs(residual))), MIN_SIGMA)


def _solve_essential(a: Array, b: Array, sigma: float, tries: int) -> list[Array]:
    """OpenCV's candidates at this noise (version 5 stacks several 3x3 solutions)."""
    found, _ = cv2.findEssentialMat(
        a, b, np.eye(3), method=cv2.USAC_ACCURATE, prob=0.999, threshold=THRESHOLD_SIGMA * sigma, maxIters=tries
    )
    if found is None or found.shape[-1] != 3 or not np.isfinite(found).all():
        return []
    return list(found.reshape(-1, 3, 3))


def robust_mean(essential: Float[Array, "3 3"], a: Float[Array, "N 2"], b: Float[Array, "N 2"], sigma: float) -> float:
    """Truncated Sampson cost, 0 (perfect) to 1: the mean of `min((r / 3 sigma)^2, 1)`."""
    squared = (sampson_residual(essential, a, b) / (INLIER_SIGMA * sigma)) ** 2
    return float(np.minimum(squared, 1).mean())


def estimate_essential(
    a: Float[Array, "N 2"],
    b: Float[Array, "N 2"],
    *,
    sigma: float | None = None,
    seed: int = 0,
    tries: int = SOLVER_TRIES,
) -> tuple[Float[Array, "3 3"], float]:
    """Essential matrix and noise (radians) of two views' normalised points, all finite.

    Args:
        a, b: the same joints in both views.
        sigma: the noise to expect; where the fit disagrees, a second one is made at the noise that it leaves.
        seed: of the subset (and with it of the whole start: another seed, another solution).
        tries: minimal samples of each fit at most.

    Raises:
        VergenceError: fewer than `MIN_POINTS` points, or no solution.
    """
    if len(a) < MIN_POINTS:
        raise VergenceError(
            f"{len(a)} joints are seen by both cameras, at least {MIN_POINTS} are needed",
            "Give more frames, or keypoints of more joints.",
        )
    pick = np.random.default_rng(seed).permutation(len(a))[:SOLVER_POINTS]
    some_a, some_b = np.ascontiguousarray(a[pick]), np.ascontiguousarray(b[pick])
    scale = START_SIGMA if sigma is None else sigma
    solutions = _solve_essential(some_a, some_b, scale, tries)
    if solutions:
        measured = min(robust_sigma(sampson_residual(e, a, b)) for e in solutions)
        if not 0.6 < measured / scale < 1.6:
            scale = measured
            solutions += _solve_essential(some_a, some_b, scale, tries)
    if not solutions:
        raise VergenceError("no essential matrix fits the joints of two cameras", "Check that both show one person.")
    best = min(solutions, key=lambda e: robust_mean(e, a, b, scale))
    return best, robust_sigma(sampson_residual(best, a, b))


def pair_depths(
    rotation: Float[Array, "3 3"], translation: Float[Array, " 3"], a: Float[Array, "N 2"], b: Float[Array, "N 2"]
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Depths of the rays' nearest points in both cameras: least squares of `depth_b b - depth_a R a = t`."""
    ra, hb = _homogeneous(a) @ rotation.T, _homogeneous(b)
    aa, bb, ab = (ra * ra).sum(1), (hb * hb).sum(1), (ra * hb).sum(1)
    at, bt = ra @ translation, hb @ translation
    det = np.maximum(aa * bb - ab * ab, 1e-300)
    return (ab * bt - bb * at) / det, (aa * bt - ab * at) / det


def decompose(
    essential: Float[Array, "3 3"], a: Float[Array, "N 2"], b: Float[Array, "N 2"]
) -> tuple[tuple[Array, Array, float], ...]:
    """The four (R, t) of an essential matrix with the share of points before both cameras, best first."""
    r1, r2, t = cv2.decomposeEssentialMat(essential)
    found = []
    for rotation in (r1, r2):
        for translation in (t[:, 0], -t[:, 0]):
            depth_a, depth_b = pair_depths(rotation, translation, a, b)
            found.append((rotation, translation, float(((depth_a > 0) & (depth_b > 0)).mean())))
    return tuple(sorted(found, key=lambda c: -c[2]))


def rotation_only(a: Float[Array, "N 2"], b: Float[Array, "N 2"]) -> tuple[Float[Array, "3 3"], Float[Array, " N"]]:
    """The rotation that best turns a's rays into b's (iterated Kabsch, far ones down-weighted), and the angles left."""
    ray_a, ray_b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (_homogeneous(a), _homogeneous(b)))
    weight = np.ones(len(a))
    rotation, left = np.eye(3), np.zeros(len(a))
    for _ in range(5):
        u, _, vt = np.linalg.svd((ray_b * weight[:, None]).T @ ray_a)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        left = np.linalg.norm(ray_b - ray_a @ rotation.T, axis=1)
        weight = 1 / np.maximum(left, 0.3 * np.median(left) + 1e-12)
    return rotation, left


def _conditioning(a: Array, b: Array) -> float:
    """Second smallest over smallest singular value of the 8-point system (Hartley & Zisserman 11.1), points normalised."""
    a, b = ((p - p.mean(0)) / max(float(p.std()), 1e-12) for p in (a, b))
    rows = (_homogeneous(b)[:, :, None] * _homogeneous(a)[:, None, :]).reshape(len(a), 9)
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(rows.T @ rows), 0))
    return float(values[1] / max(values[0], 1e-12 * values[-1]))


def pair_pose(a: Float[Array, "N 2"], b: Float[Array, "N 2"], *, sigma: float | None = None, seed: int = 0) -> PairPose:
    """Relative pose of two cameras estimated from the same joints in both, many frames pooled.

    Args:
        a, b: normalised points; a joint that either view misses (NaN) is left out (and is no inlier).
        sigma: the noise in radians where it is known.
        seed: another one gives another start.

    Raises:
        VergenceError: too few common joints, or no solution.
    """
    both = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    pa, pb = a[both].astype(float), b[both].astype(float)
    essential, noise = estimate_essential(pa, pb, sigma=sigma, seed=seed)
    good = np.abs(sampson_residual(essential, pa, pb)) < INLIER_SIGMA * noise
    every = max(int(good.sum()) // MEASURED_POINTS, 1)
    some = np.flatnonzero(good)[::every]
    if every > LONG_STRIDE:  # a stride may fall in with the joints' number, or with a film that repeats
        some = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(good))[:MEASURED_POINTS])
    ga, gb = pa[some], pb[some]
    candidates = decompose(essential, ga, gb)
    rotation, translation, _ = candidates[0]
    ray_a, ray_b = _homogeneous(ga) @ rotation.T, _homogeneous(gb)
    cosine = (ray_a * ray_b).sum(1) / np.linalg.norm(ray_a, axis=1) / np.linalg.norm(ray_b, axis=1)
    inliers = np.zeros(len(a), dtype=bool)
    inliers[np.flatnonzero(both)[good]] = True
    return PairPose(
        rotation=rotation,
        translation=translation,
        candidates=candidates,
        essential=essential,
        inliers=inliers,
        sigma=noise,
        # noise alone leaves sigma sqrt 2 in each of two directions; the 90th percentile of that length is 3.035 sigma
        parallax=float(np.percentile(rotation_only(ga, gb)[1], 90) / (3.035 * noise)),
        conditioning=_conditioning(ga, gb),
        angle=float(np.median(np.arccos(np.clip(cosine, -1, 1)))),
    )
