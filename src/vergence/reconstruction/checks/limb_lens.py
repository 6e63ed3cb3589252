"""Whether limbs keep their lengths under the focal lengths that two cameras were given.

Two views leave five unknowns of rotation and baseline, and a wrong focal length hides among them: 20 % turn the cameras by
6 to 12 degrees and change no residual. But they bend space, so that a limb's length depends on where it is and which way
it lies. Rig, both focal lengths, points and the limbs' lengths (left as right) are therefore adjusted together. On walks
with 3 px of noise that gives the focal lengths to 4 to 6 %, where a usual person in a usual view was filmed.

Then one question decides: is there a lens that fits the limbs better than the given one, beyond chance, and under which the
cameras would be turned by more than a `good` result may be wrong? Where limbs could not tell the two apart, `good` would
hang on the given focal lengths alone, and that is said instead.

Limbs are held to a fixed share of their length, not to the spread that was measured: the wrong rig's own bending would
count as spread and hide it. What breaks it: limbs that all lie one way for the whole recording, and joints so uncertain
that no limb is known. Noise alone lengthens the lenses of cameras that face each other, by up to 5 %: that is measured on
the footage's own noise and taken off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vergence.geometry.body import limb_lengths
from vergence.reconstruction.bundle import SYMMETRIC, Bundle, free_parameters, linearise, project_points, stepped
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.limbs import LIMB_LOSS_SIGMA, constant_limbs, mirrored_limb
from vergence.reconstruction.rig import LOSS_SIGMA, descend, rotation_gap
from vergence.skeleton import Skeleton

Array = np.ndarray

FRAMES = 150
SPREAD = 0.03  # of a limb's length: what detectors make of a rigid one
STARTS = 1.0, 0.87, 1.15, 0.75, 1.33  # factors on the focal lengths to begin from
ITERATIONS = 60
MOST_TURN_DEG = 3.0  # of the pair, by lenses that a `good` result may leave open
TRIED = (
    np.linspace(-0.36, 0.36, 9),
    (0.0, -0.2, 0.2),
)  # logarithms of factors: on both focal lengths, of one over the other
# variances by which such a lens fits better than the given one: right ones stay below 1.6, wrong ones above 6.8
PREFERRED = 4.0
BOOTSTRAP = 3  # pairs of noise
MOST_NOISE = 3.0  # of a point, in times that of all
LEAST_POWER = 2.0  # variances between the two lenses, or the footage cannot tell them apart


@dataclass(frozen=True)
class _Film:
    """Joints that both cameras see, of T frames of J joints, N = T J.

    Attributes:
        observed, weight, sigma: px, 0 where a joint is not seen by both; noise, px.
        joints: J.
        ends, group: E 2, limbs, and E, which of them have one length.
        spread: E, by how much lengths may vary.
    """

    observed: Float[Array, "V 2 N"]
    weight: Float[Array, "V N"]
    sigma: float
    joints: int
    ends: Float[Array, "E 2"]
    group: Float[Array, " E"]
    spread: Float[Array, " E"]


class _Normal(NamedTuple):
    """Cost and normal equations in variances: points of a frame (n = 3 J), and what all frames share (P)."""

    cost: float
    own: Array  # T n n
    own_slope: Array  # T n
    cross: Array  # T P n
    shared: Array  # P P
    slope: Array  # P


def focal_doubt(
    given: Joints,
    cameras: Bundle,
    pose: Float[Array, "T J 3"],
    sigma: float,
    skeleton: Skeleton,
    names: tuple[str, ...],
) -> str:
    """A sentence where limbs do not bear out the focal lengths that two cameras were given, or cannot.

    Args:
        given: the joints of two cameras, sides exchanged back.
        cameras, pose: as they were found with the given focal lengths.
        sigma: noise, px.
        skeleton: of the joints.
        names: of the cameras.
    """
    frames, _, joints = given.weight.shape
    some = np.unique(np.linspace(0, frames - 1, min(frames, FRAMES)).round().astype(int))
    index = (some[:, None] * joints + np.arange(joints)).reshape(-1)
    points = pose[some].reshape(-1, 3)
    weight = given.flat_weight[:, index]
    seen = (weight > 0).all(0) & np.isfinite(points).all(1)
    limbs = constant_limbs(pose[some], np.zeros((len(some), joints)), skeleton)
    if not len(limbs.length) or not seen.any():
        return _unconfirmed("no limb is seen well enough")
    groups: dict[tuple[int, int], int] = {}
    group = [groups.setdefault(min((a, b), mirrored_limb((a, b), skeleton)), len(groups)) for a, b in limbs.ends]
    observed = np.where(seen, given.observed[:, :, index], 0.0)
    film = _Film(observed, weight * seen, sigma, joints, limbs.ends, np.array(group), limbs.spread)
    start = replace(cameras, points=np.where(seen[:, None], points, np.median(points[seen], axis=0)))
    best, information = _focal_lengths(film, start)
    other = _turning(film, start, best, information)
    if other is None:
        return ""
    step, turn = other
    gain = float(best @ information @ best - (step - best) @ information @ (step - best))
    if gain < PREFERRED and float(step @ information @ step) > LEAST_POWER:
        return ""
    factors = ", ".join(f"{name} {f:.2f}" for name, f in zip(names, np.exp(step), strict=True))
    turned = f"the cameras would be turned by {turn:.0f} degrees"
    if gain < PREFERRED:
        return _unconfirmed(f"times {factors}, limbs keep their lengths about as well, and {turned}")
    return (
        f"The footage prefers other focal lengths than given, by about these factors: {factors}. Limbs keep their lengths "
        f"better with them, and {turned}."
    )


def _turning(film: _Film, start: Bundle, best: Array, information: Array) -> tuple[Array, float] | None:
    """Of the lenses that turn the cameras too far the one that fits best: logarithms of factors, and degrees."""
    tried = [best, *(np.array([both + apart / 2, both - apart / 2]) for apart in TRIED[1] for both in TRIED[0])]
    right, found = _under(film, start, np.zeros(2)), []
    for step in tried:
        turn = float(np.degrees(rotation_gap(right, _under(film, start, step))))
        if turn > MOST_TURN_DEG:
            found.append((float((step - best) @ information @ (step - best)), turn, step))
    if not found:
        return None
    _, turn, step = min(found, key=lambda other: other[0])
    return step, turn


def _unconfirmed(why: str) -> str:
    return (
        f"Two cameras cannot confirm the given focal lengths on this footage, and their rotation depends on them: {why}. "
        "Add a camera, or film the person turning and walking to and fro."
    )


def _under(film: _Film, start: Bundle, step: Float[Array, " 2"]) -> Bundle:
    """The rig under other focal lengths (logarithms of factors), limbs not asked."""
    known = film.weight.all(0)
    other = replace(start, focal=start.focal * np.exp(step)[:, None])
    return descend(other, film.observed[:, :, known], film.weight[:, known], film.sigma, iterations=8)


def _focal_lengths(film: _Film, start: Bundle) -> tuple[Float[Array, " 2"], Float[Array, "2 2"]]:
    """Logarithms of the factors on the focal lengths that limbs prefer, and their inverse covariance."""
    ends = []
    for factor in STARTS:
        scene, known = start, np.asarray(film.weight.all(0))
        if factor != 1:
            moved = _under(film, start, np.log([factor, factor]))
            points = np.tile(np.median(moved.points, axis=0), (len(known), 1))
            points[known] = moved.points
            scene = replace(moved, points=points)
        ends.append(_adjusted(film, scene))
    scene, normal = min(ends, key=lambda end: end[1].cost)
    follow = np.linalg.solve(normal.own, normal.cross.transpose(0, 2, 1))
    reduced = normal.shared - (normal.cross @ follow).sum(0)
    focal = 6 * (len(film.weight) - 1) + np.arange(2)
    covariance = np.linalg.pinv(reduced, hermitian=True)[np.ix_(focal, focal)]
    return _factors(scene, start) - _bias(film, scene), np.linalg.inv(covariance)


def _factors(scene: Bundle, start: Bundle) -> Float[Array, " 2"]:
    return np.log(scene.focal.mean(1) / start.focal.mean(1))


def _bias(film: _Film, scene: Bundle) -> Float[Array, " 2"]:
    """By how much noise alone moves the focal lengths off: what was found is seen through noise and found again.

    Every noise is taken with both signs, so that only what does not average out is left (parametric bootstrap with
    antithetic pairs).
    """
    rng, found = np.random.default_rng(0), np.zeros(2)
    seen, _ = project_points(scene)
    spread = film.sigma / np.sqrt(np.where(film.weight > 0, film.weight, np.inf))[:, None]
    for _ in range(BOOTSTRAP):
        noise = rng.normal(size=seen.shape) * np.minimum(spread, MOST_NOISE * film.sigma)
        for sign in (1, -1):
            again, _ = _adjusted(
                replace(film, observed=np.where(film.weight[:, None] > 0, seen + sign * noise, 0.0)), scene
            )
            found += _factors(again, scene)
    return found / (2 * BOOTSTRAP)


def _adjusted(film: _Film, scene: Bundle) -> tuple[Bundle, _Normal]:
    """Rig, focal lengths, points and lengths of limbs of least cost (Levenberg-Marquardt); one length holds the scale."""
    length = _lengths(film, scene)
    film = replace(film, spread=SPREAD * length[film.group])
    free, damping = free_parameters(len(film.weight), "each"), 1e-3
    poses = free.shape[1]
    current = _normal(film, scene, length, free)
    diagonal = np.arange(current.own.shape[1])
    for _ in range(ITERATIONS):
        own = current.own.copy()
        own[:, diagonal, diagonal] *= 1 + damping
        right = np.concatenate([current.cross.transpose(0, 2, 1), current.own_slope[..., None]], axis=2)
        follow = np.linalg.solve(own, right)
        reduced = current.shared - (current.cross @ follow[..., :-1]).sum(0)
        reduced[np.diag_indices_from(reduced)] += damping * np.diag(current.shared)
        slope = current.slope - (current.cross @ follow[..., -1:])[..., 0].sum(0)
        step = -np.linalg.solve(reduced, slope)
        points = -(follow[..., -1] + follow[..., :-1] @ step).reshape(-1, 3)
        other = stepped(scene, (free @ step[:poses]).reshape(len(film.weight), -1), points)
        longer = length + np.append(step[poses:], 0.0)
        new = _normal(film, other, longer, free)
        if new.cost < current.cost:
            done = current.cost - new.cost < 1e-3
            scene, length, current, damping = other, longer, new, max(damping / 8, 1e-9)
            if done:
                break
        else:
            damping *= 6
            if damping > 1e6:
                break
    return scene, current


def _lengths(film: _Film, scene: Bundle) -> Float[Array, " G"]:
    seen = film.weight.all(0).reshape(-1, film.joints)
    length = limb_lengths(scene.points.reshape(*seen.shape, 3), film.ends)
    length = np.where(seen[:, film.ends].all(2), length, np.nan)
    return np.array([np.nanmedian(length[:, film.group == g]) for g in range(film.group.max() + 1)])


def _normal(film: _Film, scene: Bundle, length: Float[Array, " G"], free: Float[Array, "P F"]) -> _Normal:
    """Normal equations of reprojection and limbs; unknowns are the free ones of cameras, then all lengths but the last."""
    from scipy.linalg import block_diag

    joints, poses, variance = film.joints, free.shape[1], film.sigma**2
    cost, system = linearise(scene, film.observed, film.weight, "cauchy", LOSS_SIGMA * film.sigma)
    frames, size = len(scene.points) // joints, poses + len(length)
    row = 3 * np.arange(joints)[:, None] + np.arange(3)
    block = np.zeros((frames, joints, 3, 3))
    for k, (i, j) in enumerate(SYMMETRIC):
        block[..., i, j] = block[..., j, i] = system.point[k].reshape(frames, joints)
    own = np.zeros((frames, 3 * joints, 3 * joints))
    own[:, row[:, :, None], row[:, None, :]] = block / variance
    own_slope = system.point_gradient.T.reshape(frames, 3 * joints) / variance
    cross, shared, slope = np.zeros((frames, size, 3 * joints)), np.zeros((size, size)), np.zeros(size)
    between = (free.T @ system.cross.reshape(len(free), -1)).reshape(poses, 3, frames, joints)
    cross[:, :poses] = between.transpose(2, 0, 3, 1).reshape(frames, poses, -1) / variance
    shared[:poses, :poses] = free.T @ block_diag(*system.camera) @ free / variance
    slope[:poses] = free.T @ system.camera_gradient.reshape(-1) / variance
    cost = cost / variance + _add_limbs(film, scene, length, poses, _Normal(0.0, own, own_slope, cross, shared, slope))
    diagonal = np.arange(3 * joints)
    seen = np.repeat(film.weight.all(0).reshape(frames, joints), 3, axis=1)
    own[:, diagonal, diagonal] += 1e-9 * own[:, diagonal, diagonal].mean(1, keepdims=True) + np.where(seen, 0.0, 1.0)
    return _Normal(cost, own, own_slope, cross[:, :-1], shared[:-1, :-1], slope[:-1])


def _add_limbs(film: _Film, scene: Bundle, length: Array, poses: int, normal: _Normal) -> float:
    """Adds the limbs' deviations from their lengths to the equations, in place; their cost."""
    seen = film.weight.all(0).reshape(-1, film.joints)
    pose = scene.points.reshape(*seen.shape, 3)
    start, end = film.ends.T
    own_length = np.maximum(limb_lengths(pose, film.ends), 1e-12)
    unit = (pose[:, start] - pose[:, end]) / own_length[..., None]
    off = np.where(seen[:, start] & seen[:, end], own_length - length[film.group], 0.0)
    bent = (off / film.spread / LIMB_LOSS_SIGMA) ** 2
    pull = np.where(seen[:, start] & seen[:, end], 1 / film.spread**2 / (1 + bent), 0.0)
    force = (pull * off)[..., None] * unit
    outer = pull[..., None, None] * unit[..., :, None] * unit[..., None, :]
    for e, (a, b) in enumerate(film.ends):
        i, j = (slice(3 * k, 3 * k + 3) for k in (a, b))
        for p, q, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            normal.own[:, p, q] += sign * outer[:, e]
        normal.own_slope[:, i] += force[:, e]
        normal.own_slope[:, j] -= force[:, e]
        g = poses + film.group[e]
        normal.cross[:, g, i] -= pull[:, e, None] * unit[:, e]
        normal.cross[:, g, j] += pull[:, e, None] * unit[:, e]
        normal.shared[g, g] += pull[:, e].sum()
        normal.slope[g] -= (pull[:, e] * off[:, e]).sum()
    return float(0.5 * LIMB_LOSS_SIGMA**2 * np.log1p(bent).sum())
