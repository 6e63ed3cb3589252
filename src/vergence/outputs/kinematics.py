"""Joint positions as a skeleton of constant bones that turns: what animation formats hold.

Positions of single frames have bones that breathe; an animation has one length for each. Lengths are the medians over
time; rotations are found top down (a joint with several children by the best turn of all of them, a joint with one by
the shortest), then all of them and the root's place together by least squares on the positions, so that errors do not
add up along a limb. What is missing in a frame is on the shortest way between its neighbours in time.

The rest pose is a T: facing +z, y up, arms sideways. How children sit on a joint that has several (hips on the pelvis,
shoulders on the thorax) is measured, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from vergence.errors import VergenceError
from vergence.geometry.cameras import skew
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.world import places_between, shortest_turn
from vergence.skeleton import skeleton_from_names

Array = np.ndarray

# Direction of a bone from its parent in the rest pose; x is the person's left, mirrored for the right side.
_REST = {
    "hip": (1, 0, 0), "knee": (0, -1, 0), "ankle": (0, -1, 0), "foot": (0, -0.5, 1), "toe": (0, -0.3, 1),
    "big_toe": (-0.1, -0.4, 1), "small_toe": (0.3, -0.4, 1), "heel": (0, -1, -0.6),
    "clavicle": (1, 0, 0), "shoulder": (1, 0, 0), "elbow": (1, 0, 0), "wrist": (1, 0, 0), "hand": (1, 0, 0),
    "eye": (0.3, 0.4, -0.3), "ear": (0.4, 0, -1), "nose": (0, 0.7, 0.7), "neck_nose": (0, 1, 0.3),
}  # fmt: skip
ROUNDS = 6  # of Gauss-Newton; four suffice on walks
DAMPING = 1e-4  # of the squared lengths: holds what no joint fixes, as the turn of a forearm about itself


@dataclass(frozen=True)
class Kinematics:
    """A skeleton of constant bones in motion.

    Attributes:
        joint_names: parents before children; the first is the root.
        parents: index of each joint's parent, -1 for the root.
        offsets: J 3, from the parent in the rest pose, in the sequence's unit.
        rotation: T J 3 3, of each joint in its parent's frame.
        root: T 3, place of the root.
        empty: frames that show nobody and lead from the pose before them to the one after.
    """

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float[Array, "J 3"]
    rotation: Float[Array, "T J 3 3"]
    root: Float[Array, "T 3"]
    empty: int

    def positions(self) -> Float[Array, "T J 3"]:
        """Where the joints are: forward kinematics."""
        return _forward(self.parents, self.offsets, self.rotation, self.root)[0]


def animate(poses: PoseSequence, stature_mm: float, per_mm: float) -> tuple[Kinematics, str]:
    """What an animation file holds: the person walks through the room, on a floor at height 0 where feet are seen.

    Args:
        poses: of one person.
        stature_mm: the person's height, used only where the scale is not known.
        per_mm: the file's unit of length over a millimetre.

    Returns:
        The motion, and what was assumed, filled or left shaking, as a sentence; empty where nothing was.

    Raises:
        VergenceError: hips and trunk are never seen together.
    """
    told = poses.travelling(stature_mm)
    world = told.in_world(stature_mm)
    motion = fit_kinematics(told.placed(world, per_mm))
    empty = f"{motion.empty} frames show nobody and lead from the pose before them to the one after, or stand still at an end"
    of_one_camera = told is not poses or poses.person is not None
    shaking = of_one_camera and len(poses.pose) > 1 and not poses.smoothing
    notes = (
        world.note,
        empty if motion.empty else "",
        "not smoothed, so the body shakes: --smooth 0.2 calms it" if shaking else "",
    )
    return motion, "; ".join(filter(None, notes))


def fit_kinematics(poses: PoseSequence) -> Kinematics:
    """The skeleton of constant bones nearest to a sequence of positions.

    Args:
        poses: of one person, placed as the file wants them (`PoseSequence.placed`); NaN = missing.

    Raises:
        VergenceError: hips and trunk are never seen together.
    """
    names, parents, points = _tree(poses)
    seen: Array = np.asarray(np.isfinite(points).all(2))
    usable = seen[:, [j for j, p in enumerate(parents) if p == 0]].sum(1) >= 2
    if not (usable & seen[:, 0]).any():
        raise VergenceError("hips and trunk are never seen together", "An animation needs a pelvis that turns.")
    offsets = _offsets(names, parents, points)
    local, root = _top_down(parents, offsets, points)
    local, root = _refine(parents, offsets, points, local, root)
    return Kinematics(names, parents, offsets, local, root, int((~seen.any(1)).sum()))


def _tree(poses: PoseSequence) -> tuple[tuple[str, ...], tuple[int, ...], Float[Array, "T J 3"]]:
    """Joints in an order in which parents come first, pelvis and thorax added where they are not labelled."""
    skeleton = poses.skeleton
    extra = [joint for joint in ("pelvis", "thorax") if not skeleton.has(joint) and skeleton.sources(joint)]
    if skeleton.has("neck") and "thorax" in extra:
        extra.remove("thorax")
    full = skeleton_from_names((*extra, *skeleton.joint_names))
    if not full.has("pelvis"):
        raise VergenceError(f"joints {', '.join(poses.joint_names)} have no pelvis and no hips", "Give hips.")
    points = skeleton.convert(np.asarray(poses.pose, dtype=np.float64), full)
    above = [
        p if p >= 0 or full.joint_names[j] == "pelvis" else full.index("pelvis") for j, p in enumerate(full.parents)
    ]
    order = [full.index("pelvis")]
    while len(order) < len(full):
        order += [j for j, p in enumerate(above) if p in order and j not in order]
    parents = tuple(-1 if i == 0 else order.index(above[j]) for i, j in enumerate(order))
    return tuple(full.joint_names[j] for j in order), parents, points[:, order]


def _children(parents: tuple[int, ...]) -> list[list[int]]:
    return [[c for c, p in enumerate(parents) if p == j] for j in range(len(parents))]


def _offsets(names: tuple[str, ...], parents: tuple[int, ...], points: Array) -> Float[Array, "J 3"]:
    """Median lengths along the rest directions; where a joint has several children, as they sit on it."""
    offsets = np.zeros((len(names), 3))
    for j, parent in enumerate(parents):
        if parent < 0:
            continue
        side, _, rest = names[j].partition("_")
        sided = side in ("left", "right")
        direction = np.array(_REST.get(rest if sided else names[j], (0, 1, 0)), dtype=float)
        direction = direction * [-1, 1, 1] if side == "right" else direction
        length = np.linalg.norm(points[:, j] - points[:, parent], axis=1)
        known = length[np.isfinite(length)]
        offsets[j] = direction / np.linalg.norm(direction) * (np.median(known) if known.size else 0.0)
    lengths = np.linalg.norm(offsets, axis=1, keepdims=True)
    for children in _children(parents):
        if len(children) < 2:
            continue
        for _ in range(3):
            bones = points[:, children] - points[:, [parents[children[0]]]]
            ok = np.isfinite(bones).all((1, 2))
            if not ok.any():
                break
            turn = _best_turn(offsets[children], bones[ok])
            mean = np.einsum("tji,tkj->ki", turn, bones[ok])
            offsets[children] = (
                mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12) * lengths[children]
            )
    return offsets


def _best_turn(
    rest: Float[Array, "K 3"], seen: Float[Array, "T K 3"], weight: Array | None = None
) -> Float[Array, "T 3 3"]:
    """Rotations that turn `rest` into what is seen (Kabsch)."""
    weight = np.ones(seen.shape[:2]) if weight is None else weight
    u, _, vt = np.linalg.svd(np.einsum("tk,tki,kj->tij", weight, seen, rest))
    sign = np.ones((len(seen), 3))
    sign[:, 2] = np.linalg.det(u @ vt)
    return (u * sign[:, None]) @ vt


def _turns_between(turns: Float[Array, "T 3 3"], known: Array) -> Float[Array, "T 3 3"]:
    """What is not known on the shortest way from the last known before it to the first after it; at an end the nearest."""
    rows = np.flatnonzero(known)
    if len(rows) in (0, len(known)):
        return turns
    if len(rows) == 1:
        return np.repeat(turns[rows], len(known), axis=0)
    way = Slerp(rows, Rotation.from_matrix(turns[rows]))
    out = np.array(turns)
    out[~known] = way(np.clip(np.flatnonzero(~known), rows[0], rows[-1])).as_matrix()
    return out


def _top_down(parents: tuple[int, ...], offsets: Array, points: Array) -> tuple[Array, Array]:
    """Local rotations and the root's place, joint after joint."""
    frames, joints = points.shape[:2]
    world = np.tile(np.eye(3), (frames, joints, 1, 1))
    local = world.copy()
    for j, children in enumerate(_children(parents)):
        above = world[:, parents[j]] if parents[j] >= 0 else np.tile(np.eye(3), (frames, 1, 1))
        bones = points[:, children] - points[:, [j]] if children else np.zeros((frames, 0, 3))
        seen: Array = np.asarray(np.isfinite(bones).all(2))
        if len(children) > 1:
            known = seen.sum(1) >= 2
            turn = above.copy()
            turn[known] = _best_turn(offsets[children], np.nan_to_num(bones[known]), seen[known].astype(float))
        elif children:
            known = seen[:, 0]
            start = np.einsum("tij,j->ti", above, offsets[children[0]])
            turn = above.copy()
            turn[known] = shortest_turn(start[known], bones[known, 0]) @ above[known]
        else:
            known, turn = np.ones(frames, dtype=bool), above
        local[:, j] = _turns_between(above.transpose(0, 2, 1) @ turn, known)
        world[:, j] = above @ local[:, j]
    known = np.isfinite(points[:, 0]).all(1)
    return local, places_between(points[:, 0], known, np.arange(frames))


def _forward(parents: tuple[int, ...], offsets: Array, local: Array, root: Array) -> tuple[Array, Array]:
    place, world = np.empty((*local.shape[:2], 3)), np.empty_like(local)
    for j, parent in enumerate(parents):
        world[:, j] = local[:, j] if parent < 0 else world[:, parent] @ local[:, j]
        place[:, j] = root if parent < 0 else place[:, parent] + world[:, parent] @ offsets[j]
    return place, world


def _refine(parents: tuple[int, ...], offsets: Array, points: Array, local: Array, root: Array) -> tuple[Array, Array]:
    """Gauss-Newton on all joints of each frame: turns about world axes at every joint that carries others, and the root."""
    carriers = [j for j, children in enumerate(_children(parents)) if children]
    below = np.zeros((len(carriers), len(parents)), dtype=bool)
    for i, carrier in enumerate(carriers):
        for j in range(len(parents)):
            above = parents[j]
            while above >= 0 and above != carrier:
                above = parents[above]
            below[i, j] = above == carrier
    seen: Array = np.asarray(np.isfinite(points).all(2))
    size = float(np.square(offsets).sum())
    for _ in range(ROUNDS):
        place, world = _forward(parents, offsets, local, root)
        arm = place[:, None] - place[:, carriers][:, :, None]  # T C J 3
        lever = -skew(arm) * (below[None] & seen[:, None])[..., None, None]
        shift = np.broadcast_to(np.eye(3), (*seen.shape, 3, 3)) * seen[..., None, None]
        jacobian = np.concatenate([shift[:, None], lever], 1).transpose(0, 2, 3, 1, 4)
        jacobian = jacobian.reshape(len(points), 3 * len(parents), -1)
        left = np.where(seen[..., None], points - place, 0.0).reshape(len(points), -1, 1)
        normal = jacobian.transpose(0, 2, 1) @ jacobian + DAMPING * size * np.eye(jacobian.shape[2])
        step = np.linalg.solve(normal, jacobian.transpose(0, 2, 1) @ left)[..., 0].reshape(len(points), -1, 3)
        root = root + step[:, 0]
        for i, j in enumerate(carriers):
            base = world[:, parents[j]] if parents[j] >= 0 else np.broadcast_to(np.eye(3), (len(points), 3, 3))
            turn = Rotation.from_rotvec(np.einsum("tji,tj->ti", base, step[:, 1 + i])).as_matrix()
            local[:, j] = turn @ local[:, j]
    return local, root
