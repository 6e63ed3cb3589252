"""What a body's constant limbs say about its joints.

Limb lengths do not change while a person moves, and left limbs are as long as right ones. Two uses: a joint thrown far
off by an outlier that two views happen to agree on makes all its limbs too long or too short, and is dropped; and what
is left is moved, within its noise, so that lengths vary less.

Lengths come from the footage itself (medians over frames), never from a table of people. What breaks it: detectors
whose hips wander with the view direction make limbs that truly vary; how much is measured, and a limb only pulls as
hard as it is constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vergence.geometry.body import limb_lengths
from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.points import normal_equations
from vergence.skeleton import Skeleton

Array = np.ndarray

LEAST_SPREAD = 0.015  # of the length: no detector's joints are better rooted in the body
MOST_SPREAD = 0.12  # of the length (a short limb's: of the usual length): what varies more is no limb (a turning head)
WILD_SIGMA = 5.0
WILD_SHARE = 0.25  # of the length by which a limb must be off before a joint is dropped
LOOSE_SHARE = 0.5  # of a usual limb's length: a coordinate's deviation beyond which a joint says nothing
MIN_FRAMES = 5
CHUNK_FRAMES = 400  # solved at a time: what stays in the cache
LIMB_LOSS_SIGMA = 3.0
SETTLED = 1e-4  # of a usual limb's length: a frame is done when no joint moves farther in a step
MIXED = (-5.0, 0.5)  # share of the step before, in Anderson's mixing
FULL = (0, 1, 2, 1, 3, 4, 2, 4, 5)  # a symmetric 3x3 matrix from its six numbers


@dataclass(frozen=True)
class Limbs:
    """Limbs that the footage shows to be constant.

    Attributes:
        ends: E 2, joint indices.
        length: E, in the cameras' unit.
        spread: E, deviation of the true length over time, same unit.
    """

    ends: Float[Array, "E 2"]
    length: Float[Array, " E"]
    spread: Float[Array, " E"]


def constant_limbs(pose: Float[Array, "T J 3"], deviation: Float[Array, "T J"], skeleton: Skeleton) -> Limbs:
    """Lengths and true spreads of all limbs whose length hardly varies; left and right share one length.

    The spread over time is the robust deviation of the lengths less what the joints' own noise explains.
    """
    pairs = sorted({(min(p), max(p)) for p in (*skeleton.limbs, *skeleton.rigid_limbs)})
    ends = np.array(pairs, dtype=int).reshape(-1, 2)
    length = limb_lengths(pose, ends)
    noise = np.sqrt(deviation[:, ends[:, 0]] ** 2 + deviation[:, ends[:, 1]] ** 2)
    twin = [pairs.index(t) if (t := mirrored_limb(p, skeleton)) in pairs else i for i, p in enumerate(pairs)]
    usual = float(np.nanmedian(length)) if np.isfinite(length).any() else 0.0
    kept, middle, spread = [], [], []
    for e in range(len(pairs)):
        both = np.concatenate([length[:, e], length[:, twin[e]]])
        own = length[:, e][np.isfinite(length[:, e])]
        if len(own) < MIN_FRAMES:
            continue
        centre = float(np.median(both[np.isfinite(both)]))
        wide = float(1.4826 * np.median(np.abs(own - centre)))
        known = float(np.nanmedian(noise[:, e]))
        true = max(np.sqrt(max(wide**2 - known**2, 0.0)), LEAST_SPREAD * centre)
        if true < MOST_SPREAD * max(centre, usual):
            kept.append(pairs[e])
            middle.append(centre)
            spread.append(true)
    return Limbs(np.array(kept, dtype=int).reshape(-1, 2), np.array(middle), np.array(spread))


def mirrored_limb(pair: tuple[int, int], skeleton: Skeleton) -> tuple[int, int]:
    a, b = skeleton.mirror[pair[0]], skeleton.mirror[pair[1]]
    return (min(a, b), max(a, b))


def wild_joints(pose: Float[Array, "T J 3"], deviation: Float[Array, "T J"], limbs: Limbs) -> Bool[Array, "T J"]:
    """Joints that break their limbs: of a limb's two ends the one with more of its limbs broken, or the less certain."""
    length = limb_lengths(pose, limbs.ends)
    a, b = limbs.ends[:, 0], limbs.ends[:, 1]
    noise = np.sqrt(deviation[:, a] ** 2 + deviation[:, b] ** 2 + limbs.spread**2)
    off = np.abs(length - limbs.length)
    broken = (off > WILD_SIGMA * noise) & (off > WILD_SHARE * limbs.length)
    known = np.isfinite(length)
    bad, all_ = np.zeros(deviation.shape), np.zeros(deviation.shape)
    for e in range(len(limbs.length)):
        for joint in limbs.ends[e]:
            bad[:, joint] += broken[:, e]
            all_[:, joint] += known[:, e]
    blame = bad / np.maximum(all_, 1) + 1e-3 * deviation / np.nanmedian(deviation)
    wild = np.zeros(deviation.shape, dtype=bool)
    for e in range(len(limbs.length)):
        first = blame[:, a[e]] > blame[:, b[e]]
        wild[:, a[e]] |= broken[:, e] & first
        wild[:, b[e]] |= broken[:, e] & ~first
    return wild


def loose_joints(
    pose: Float[Array, "T J 3"], deviation: Float[Array, "T J"], contested: Bool[Array, "T J"], limbs: Limbs
) -> Bool[Array, "T J"]:
    """Joints without a limb in this frame that could hold them, and without other proof.

    Those that may be anywhere along a line of sight, and those that only two views agree on while a third disagrees: two
    lines of sight meet by chance often enough.
    """
    known = np.isfinite(pose).all(2)
    held = np.zeros(known.shape, dtype=bool)
    for a, b in limbs.ends:
        both = known[:, a] & known[:, b]
        held[:, a] |= both
        held[:, b] |= both
    return known & ~held & ((deviation > LOOSE_SHARE * np.median(limbs.length)) | contested)


def hold_limbs(
    cameras: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    pose: Float[Array, "T J 3"],
    deviation: Float[Array, "T J"],
    limbs: Limbs,
    *,
    sigma: float,
    scale: float,
    iterations: int = 30,
) -> Float[Array, "T J 3"]:
    """Joints of least robust reprojection error and limb deviation together, every frame for itself (Gauss-Newton, whose
    steps under a robust loss shrink by a share: so each is mixed with the one before, `_mixed`).

    Minimises `sum rho(r^2) / sigma^2 + sum rho((length - L)^2) / spread^2`. The limbs' Cauchy loss bends where the
    length is off by more than its joints' own uncertainty explains, so that a joint which two opposite cameras leave
    loose along their line of sight is drawn in, and one that is plainly elsewhere does not drag its neighbours along.
    Missing joints stay missing.

    Args:
        cameras: held.
        observed, weight: N = T J, outliers at weight 0.
        pose: where to start; `deviation` of each joint's coordinates there.
        limbs: lengths and how constant they are.
        sigma: noise, px; `scale`: where the loss on reprojections bends, px.
        iterations: at most so many steps of a frame; one that has settled takes no more.
    """
    frames, joints = pose.shape[:2]
    known = np.isfinite(pose).all(2)
    current = np.where(known[..., None], pose, 0.0)
    a, b = limbs.ends[:, 0], limbs.ends[:, 1]
    usable, loose = known[:, a] & known[:, b], np.nan_to_num(deviation)
    bend = LIMB_LOSS_SIGMA * np.sqrt(limbs.spread**2 + loose[:, a] ** 2 + loose[:, b] ** 2)
    observed = observed.reshape(*observed.shape[:2], frames, joints)
    weight = (weight * known.reshape(-1)).reshape(len(weight), frames, joints)
    left, least, before = np.arange(frames), SETTLED * float(np.median(limbs.length)), None
    for _ in range(iterations):
        moves = []
        for some in np.split(left, range(CHUNK_FRAMES, len(left), CHUNK_FRAMES)):
            seen, trust = observed[:, :, some].reshape(len(observed), 2, -1), weight[:, some].reshape(len(weight), -1)
            joint = normal_equations(cameras, current[some].reshape(-1, 3), seen, trust, scale)
            moves.append(_move(joint, current[some], known[some], usable[some], bend[some], limbs, sigma))
        move = np.concatenate(moves)
        reached = current[left] + move
        current[left] = reached if before is None else _mixed(move, reached, *before)
        go = (np.abs(move) > least).any((1, 2))
        left, before = left[go], (move[go], reached[go])
        if not len(left):
            break
    return np.where(known[..., None], current, np.nan)


def _mixed(
    move: Float[Array, "T J 3"],
    reached: Float[Array, "T J 3"],
    move0: Float[Array, "T J 3"],
    reached0: Float[Array, "T J 3"],
) -> Float[Array, "T J 3"]:
    """Anderson's mixing of depth one, of each frame (Walker & Ni, "Anderson acceleration for fixed-point iterations"): of
    the line through the last two steps' ends, where the moves along it are least."""
    change = move - move0
    power = np.maximum((change**2).sum((1, 2)), 1e-300)
    share = np.clip((move * change).sum((1, 2)) / power, *MIXED)[:, None, None]
    return reached - share * (reached - reached0)


def _move(
    joint: tuple[Float[Array, "6 N"], Float[Array, "3 N"]],
    current: Float[Array, "T J 3"],
    known: Bool[Array, "T J"],
    usable: Bool[Array, "T E"],
    bend: Float[Array, "T E"],
    limbs: Limbs,
    sigma: float,
) -> Float[Array, "T J 3"]:
    """The Gauss-Newton step of some frames, from the joints' own normal equations and the limbs between them."""
    frames, joints = known.shape
    a, b = limbs.ends[:, 0], limbs.ends[:, 1]
    own = joint[0][list(FULL)].reshape(3, 3, frames, joints).transpose(3, 0, 1, 2).copy()
    right = joint[1].reshape(3, frames, joints).transpose(2, 0, 1).copy()
    vector, length = current[:, a] - current[:, b], limb_lengths(current, limbs.ends)
    unit = (vector / np.maximum(length, 1e-12)[..., None]).transpose(1, 2, 0)  # E 3 T
    off = (length - limbs.length) / bend
    pull = np.where(usable, sigma**2 / limbs.spread**2 / (1 + off**2), 0.0).T
    force = (pull * (length - limbs.length).T)[:, None] * unit
    outer = pull[:, None, None] * unit[:, :, None] * unit[:, None]
    links: dict[tuple[int, int], Array] = {}
    for e, (i, j) in enumerate(limbs.ends.tolist()):
        right[i] += force[e]
        right[j] -= force[e]
        own[i] += outer[e]
        own[j] += outer[e]
        links[i, j] = links[j, i] = links.get((i, j), 0.0) - outer[e]
    diagonal = own[:, [0, 1, 2], [0, 1, 2]]
    absent = np.where(known, 0.0, 1.0).T[:, None]
    # of its own size too: the inverse of a joint that hangs on one limb alone must keep its digits
    own[:, [0, 1, 2], [0, 1, 2]] += 1e-9 * diagonal.mean((0, 1)) + 1e-7 * diagonal.sum(1)[:, None] + absent
    step = _solved(own, links, right).transpose(2, 0, 1)
    return np.where(known[..., None], -step, 0.0)


def _solved(
    own: Float[Array, "J 3 3 T"], links: dict[tuple[int, int], Array], right: Float[Array, "J 3 T"]
) -> Float[Array, "J 3 T"]:
    """The solution of symmetric systems of joints that limbs link, of all frames at once.

    A body is nearly a tree: taking out the joint with the fewest links, again and again, leaves hardly any new ones, and
    costs a tenth of dense elimination.

    Args:
        own, right: each joint's block and right side; changed.
        links: the blocks between joints, 3 3 T, in both orders; changed.
    """
    near = {j: {b for a, b in links if a == j} for j in range(len(own))}
    taken: list[tuple[int, dict[int, Array]]] = []
    while near:
        j = min(near, key=lambda n: (len(near[n]), n))
        inverse = _inverse(own[j])
        others = sorted(near.pop(j))
        follow = {i: _product(inverse, links[j, i]) for i in others}
        right[j] = (inverse * right[j]).sum(1)
        for i in others:
            near[i].discard(j)
            right[i] -= (links[i, j] * right[j]).sum(1)
            own[i] -= _product(links[i, j], follow[i])
            for k in others:
                if k > i:
                    links[i, k] = links.get((i, k), 0.0) - _product(links[i, j], follow[k])
                    links[k, i] = links[i, k].swapaxes(0, 1)
                    near[i].add(k)
                    near[k].add(i)
        taken.append((j, follow))
    for j, follow in reversed(taken):
        for i, block in follow.items():
            right[j] -= (block * right[i]).sum(1)
    return right


def _inverse(m: Float[Array, "3 3 T"]) -> Float[Array, "3 3 T"]:
    """Of symmetric positive matrices, by `L D L'`, which keeps the digits of ill-conditioned ones; cofactors lose them."""
    p, q = m[1, 0] / m[0, 0], m[2, 0] / m[0, 0]
    second, link = m[1, 1] - p * m[1, 0], m[2, 1] - p * m[2, 0]
    r = link / second
    third = m[2, 2] - q * m[2, 0] - r * link
    s, out = p * r - q, np.empty_like(m)
    out[2, 2] = 1 / third
    out[2, 1] = out[1, 2] = -r / third
    out[2, 0] = out[0, 2] = s / third
    out[1, 1] = 1 / second + r * r / third
    out[1, 0] = out[0, 1] = -p / second - r * s / third
    out[0, 0] = 1 / m[0, 0] + p * p / second + s * s / third
    return out


def _product(a: Float[Array, "3 3 T"], b: Float[Array, "3 3 T"]) -> Float[Array, "3 3 T"]:
    return a[:, 0, None] * b[0] + a[:, 1, None] * b[1] + a[:, 2, None] * b[2]
