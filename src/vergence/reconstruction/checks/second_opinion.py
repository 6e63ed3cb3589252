"""Cameras that were given, checked against what the footage itself says.

A rig in a file can be stale, of another session, in another order or another convention, and its residuals alone do not
say so: nothing tells how many pixels a detector errs. The footage does. With the given cameras free to move (and a rig
found from nothing beside them), the noise that is left is the detector's; given cameras that leave far more of it, or
that stand elsewhere than the footage wants them, are not the ones that filmed it. Everything is in angles, so that focal
lengths and resolutions do not matter.

Rotations of pairs are compared, and the directions from each camera to the others: they need no common frame and no
scale. A fault that people make has a rotation pattern of its own (two cameras exchanged: the given rotations fit in
another order; y counted upwards: they fit mirrored), and is named by trying it.

What breaks it: footage that does not fix the cameras either (a person who stands still). Then the free rig is loose, and
may stand as far from the given one as its own predicted error allows; only far more noise is held against that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np

from vergence.errors import VergenceError
from vergence.geometry.cameras import rotation_angle
from vergence.reconstruction.bundle import Bundle, baseline_uncertainty, camera_covariance, rotation_uncertainty
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.lenses import agreeing, preferred_lens
from vergence.reconstruction.rig import SAME_BASIN, estimate_rig, refine_rig, rotation_gap, spread_points
from vergence.reconstruction.wish import Wish, sentence

Array = np.ndarray

POINTS = 1200  # joints: some 70 frames of 17
MOST_GAP_DEG = 2.5  # rotation or direction of a pair, given against found, where the found one is sure
MOST_GAP_SIGMA = 2.5  # the same in its predicted errors; sound rigs of real footage reach 2.1, wrong ones begin at 2.3
MOST_NOISE = 1.2  # of the given cameras over the found ones', before a gap counts; more noise makes up for less gap
FAR_TOO_MUCH = 2.5  # the same ratio that speaks for itself
MOST_TRIED = 5  # cameras whose orders are all tried
NAMED_GAP_DEG = 6.0  # a mistake explains the gap if it leaves less than this and a quarter of it

_MIRRORS = {
    (1, -1, 1): "the keypoints' y seems to count upwards, or images are upside down and mirrored",
    (-1, 1, 1): "the images seem to be mirrored left to right",
    (-1, -1, 1): "the images seem to be upside down",
}
_OPENGL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Opinion:
    """What the footage says of the given cameras.

    Attributes:
        gap_deg: largest difference of a pair's relative rotation, or of the direction from one to the other, between the
            given and the found cameras.
        far: the same over what is allowed: `MOST_GAP_DEG`, or more where the found cameras are uncertain.
        noise, noise_free: radians, of one coordinate, with the given cameras and with the found ones.
        wish: the lens that is preferred to the given one; None where that will do.
        cause: the likely mistake in words; empty where none fits.
        found: the cameras that the footage prefers.
        names: of the cameras, for sentences.
    """

    gap_deg: float
    far: float
    noise: float
    noise_free: float
    wish: Wish | None
    cause: str
    found: Bundle
    names: tuple[str, ...]

    @property
    def ratio(self) -> float:
        return self.noise / max(self.noise_free, 1e-12)

    def doubts(self) -> tuple[str, ...]:
        """Why the given cameras are not to be believed, in sentences."""
        stale = min(self.ratio, self.far**2 * self.ratio) > MOST_NOISE
        if stale or self.ratio > FAR_TOO_MUCH:
            why = f" {sentence(self.cause)}" if self.cause else ""
            return (
                f"The given cameras do not fit this footage: they leave {1e3 * self.noise:.1f} mrad of error where cameras "
                f"that are free to move leave {1e3 * self.noise_free:.1f}, and stand up to {self.gap_deg:.1f} degrees away "
                f"from those.{why} --refine adjusts them to this footage, --ignore-extrinsics finds cameras without them.",
            )
        return () if self.wish is None else (sentence(self.wish.words(self.names)),)


def _wish(
    found: Bundle, noise: float, part: tuple[Array, Array], some: Array, given: Joints
) -> tuple[Wish | None, tuple[Array, Array]]:
    """The lens that the found cameras would rather have, and the uncertainty of their pairs' rotations and directions."""
    joints = given.weight.shape[2]
    sound, (kept, trust), widened = agreeing(found, *part, noise, some, joints)
    observed = part[0][:, :, kept]
    covariance = camera_covariance(sound, observed, trust, sigma=widened)
    loose = rotation_uncertainty(sound, covariance), baseline_uncertainty(sound, covariance)
    how = {"sigma": noise, "widened": widened, "index": some[kept], "joints": joints, "room": given.room}
    return preferred_lens(sound, observed, trust, mode="fixed", **how), loose


def _gaps(known: Bundle, found: Bundle) -> tuple[Array, Array]:
    """For each pair a < b: angles between given and found, of its rotation and of the direction from a to b; radians, V V."""
    out = np.zeros((2, len(known.rotation), len(known.rotation)))
    for a, b in combinations(range(len(known.rotation)), 2):
        turn = [c.rotation[a] @ c.rotation[b].T for c in (known, found)]
        way = [c.translation[a] - t @ c.translation[b] for c, t in zip((known, found), turn, strict=True)]
        out[:, a, b] = float(rotation_angle(*turn)), np.arctan2(np.linalg.norm(np.cross(*way)), way[0] @ way[1])
    return out[0], out[1]


def _gap(known: Bundle, found: Bundle) -> float:
    return float(np.max(_gaps(known, found)))


def _far(known: Bundle, found: Bundle, loose: tuple[Array, Array]) -> float:
    """Rotations and directions of pairs, given against found, over what is allowed: the largest."""
    most = np.maximum(np.radians(MOST_GAP_DEG), MOST_GAP_SIGMA * np.stack(loose))
    return float(np.max(np.stack(_gaps(known, found)) / most))


def second_opinion(
    known: Bundle, given: Joints, sigma: float, names: tuple[str, ...] = (), seed: int = 0
) -> Opinion | None:
    """Cameras found from the footage beside the given ones; None where the footage cannot find any.

    Args:
        known: the given cameras.
        given: the joints.
        sigma: noise (px) that the given cameras leave.
        names: of the cameras, for sentences.
        seed: of subsets and starts.
    """
    some = spread_points(given.flat_weight, given.frame, POINTS)
    part = given.observed[:, :, some], given.flat_weight[:, some]
    focal = float(given.focal.mean())
    ends: list[tuple[Bundle, float]] = []
    for start in _starts(known, given, seed):
        if any(rotation_gap(start, end) < SAME_BASIN for end, _ in ends):
            continue
        try:
            ends.append(refine_rig(start, *part, sigma, focal_mode="fixed"))
        except (VergenceError, np.linalg.LinAlgError):
            continue
    if not ends:
        return None
    found, free = min(ends, key=lambda end: end[1])
    wish, loose = _wish(found, free, part, some, given)
    labels = names or given.names
    return Opinion(
        gap_deg=float(np.degrees(_gap(known, found))),
        far=_far(known, found, loose),
        noise=sigma / focal,
        noise_free=free / focal,
        wish=wish,
        cause=_cause(known, found, wish, labels),
        found=found,
        names=labels,
    )


def _starts(known: Bundle, given: Joints, seed: int) -> Iterator[Bundle]:
    yield known
    try:
        yield estimate_rig(given.observed, given.flat_weight, given.focal, given.frame, agreeing=2, seed=seed).bundle
    except VergenceError:
        return


def _cause(known: Bundle, found: Bundle, wish: Wish | None, names: tuple[str, ...]) -> str:
    """The mistake under which the given rotations fit."""
    gap = rotation_gap(known, found)
    if gap <= np.radians(MOST_GAP_DEG):
        moved = _gap(known, found) > np.radians(MOST_GAP_DEG)
        if moved and _gap(_inverse_place(known), found) <= np.radians(MOST_GAP_DEG):
            return "the translations seem to be the cameras' places: t is -R times the place"
        return wish.words(names) if wish else _moved(known, found, names) if moved else ""
    limit, views = min(np.radians(NAMED_GAP_DEG), gap / 4), len(names)
    orders = permutations(range(views)) if views <= MOST_TRIED else _exchanges(views)
    gaps = {order: rotation_gap(replace(known, rotation=known.rotation[list(order)]), found) for order in orders}
    order = min(gaps, key=lambda o: gaps[o])
    if gaps[order] <= limit:
        wrong = [v for v in range(views) if order[v] != v]
        if len(wrong) == 2:
            return f"{names[wrong[0]]} and {names[wrong[1]]} seem exchanged"
        return "the cameras fit in another order: " + ", ".join(f"{names[v]} as {names[order[v]]}" for v in wrong)
    turned_back = replace(known, rotation=known.rotation.transpose(0, 2, 1))
    axes = replace(known, rotation=_OPENGL @ known.rotation, translation=known.translation @ _OPENGL)
    if _gap(axes, found) <= limit:
        return "R and t seem to be in the axes of OpenGL and Blender (y up, z backwards): turn the signs of their last two rows"
    for signs, words in _MIRRORS.items():
        flip = np.diag(signs)
        if rotation_gap(replace(known, rotation=flip @ known.rotation @ flip), found) <= limit:
            return words
    if _gap(_inverse_place(turned_back), found) <= limit:
        return "R and t seem to be the cameras' own poses (from camera to world): give R transposed, and -R transposed times t"
    if rotation_gap(turned_back, found) <= limit:
        return "R seems to be given transposed (from camera to world)"
    if wish:
        return wish.words(names)
    return _moved(known, found, names)


def _inverse_place(known: Bundle) -> Bundle:
    """The cameras that stand where their translations say."""
    return replace(known, translation=-np.einsum("vij,vj->vi", known.rotation, known.translation))


def _exchanges(views: int) -> list[tuple[int, ...]]:
    """All orders that exchange two cameras, and all that move every camera on."""
    own = range(views)
    moved = [tuple((i + step) % views for i in own) for step in range(1, views)]
    exchanged = [tuple(b if i == a else a if i == b else i for i in own) for a, b in combinations(own, 2)]
    return [*moved, *exchanged, tuple(own)[::-1]]


def _moved(known: Bundle, found: Bundle, names: tuple[str, ...]) -> str:
    """The camera without which the others agree."""
    if len(names) < 3:
        return "one of the two cameras seems to have moved since it was calibrated"
    left = []
    for v in range(len(names)):
        kept = [u for u in range(len(names)) if u != v]
        a, b = (Bundle(c.rotation[kept], c.translation[kept], c.focal[kept], c.points) for c in (known, found))
        left.append(_gap(a, b))
    best = int(np.argmin(left))
    if left[best] <= np.radians(MOST_GAP_DEG):
        return f"{names[best]} seems to have moved since it was calibrated; the others agree"
    return "several cameras stand elsewhere, or the calibration is of another session"
