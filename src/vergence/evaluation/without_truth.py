"""A run measured where nobody knows the truth: against several cameras' reconstruction, and against itself.

Two kinds of figures. *Against the reconstruction*: what a run makes of each camera's own images, beside what all cameras
together say in held-out time, and beside what the *other* cameras say (the camera's own 2D, with its errors, has no part in
that). *Against itself*: poses of one moment from different cameras should be one pose, limbs should keep their lengths, and
joints should not tremble. The second kind needs no reference, and is easily fooled: one constant pose has perfect limbs, no
jitter, and agrees with itself from everywhere. So agreement is a share of the distance between poses of *different*
moments, which is 1 for a constant pose; limbs and jitter stand beside the reconstruction's own and beside simple answers,
and have no part in the score that ranks runs (`Figures.score`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from vergence import metrics
from vergence.errors import VergenceError
from vergence.evaluation.scores import nearest_poses
from vergence.footage.observations import Observations
from vergence.geometry.alignment import align
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.solve import reconstruct_keypoints
from vergence.skeleton import Skeleton, skeleton_from_names

Array = np.ndarray
AGAINST = (  # what the figures against the reconstruction are
    "mm at the reconstruction's scale (assumed or given height), root-relative, over joints that both have. N: each pose "
    "scaled to fit; P: also rotated; every camera's own images against the reconstruction by all cameras. others: against "
    "the reconstruction by the other cameras alone; hidden: the same for cameras held out of training. score: error against "
    "the others as a share of zero depth's, mean of N and P over cameras; a frame without a pose counts as zero depth; "
    "above 1, or above the mean pose's, the model learned nothing"
)
ITSELF = (  # and those of a run against itself
    "views: mm between poses of one moment from two cameras, each scaled to one size, turned by the rig or by the best "
    "rotation; share: views divided by the same between moments at least half a second apart (1 for a constant pose). limbs: "
    "standard deviation over mean of each limb's share of the sum of lengths; jitter: mean acceleration of the joints, m/s2; "
    "diversity: spread divided by the reconstruction's"
)
PROTOCOL = f"{AGAINST}. {ITSELF}"
APART_S = 0.5  # moments this far apart show different poses, if anything does
NOTHING_MM = 1.0  # differences below this are none
LEAST_KNOWN = 0.5  # of the joints, for an error


@dataclass(frozen=True)
class Figures:
    """Of one way to answer. By camera where a tuple; NaN where there was nothing to measure.

    Attributes:
        n_mpjpe, p_mpjpe: mm, against the reconstruction by all cameras.
        n_mpjpe_others, p_mpjpe_others: against that by the other cameras alone.
        coverage: share of the frames with a reference in which there is a pose.
        score: mean of N and P over those of zero depth, against the others where there are some; a frame without a pose
            counts as zero depth. The smaller the better.
        views, views_rigid: mm between poses of one moment from two cameras, turned by the rig, and freely.
        views_share: `views` over the same between different moments; 1 for poses that say nothing.
        limbs: variation of limb lengths, a share.
        jitter: mean acceleration of the joints, m/s^2.
        diversity: spread of the poses over the reconstruction's.
    """

    n_mpjpe: tuple[float, ...]
    p_mpjpe: tuple[float, ...]
    n_mpjpe_others: tuple[float, ...]
    p_mpjpe_others: tuple[float, ...]
    coverage: tuple[float, ...]
    score: float
    views: float
    views_rigid: float
    views_share: float
    limbs: float
    jitter: float
    diversity: float


@dataclass(frozen=True)
class Held:
    """Figures of one recording's held-out time.

    Attributes:
        cameras: names.
        hidden: those that the run never learned from.
        ways: the figures of the run (`model`) and of simple answers to the same images, by name.
        frames: held out and with a pose to compare with, by camera.
        limbs, jitter: the reconstruction's own.
    """

    cameras: tuple[str, ...]
    hidden: tuple[str, ...]
    ways: dict[str, Figures]
    frames: tuple[int, ...]
    limbs: float
    jitter: float

    def mean(self, way: str, cameras: Sequence[str] = (), others: bool = False) -> tuple[float, float]:
        """N and P over the cameras, or some of them, against all cameras' reconstruction or the others'."""
        rows = [i for i, name in enumerate(self.cameras) if not cameras or name in cameras]
        found = self.ways[way]
        n, p = (found.n_mpjpe_others, found.p_mpjpe_others) if others else (found.n_mpjpe, found.p_mpjpe)
        return _mean([n[i] for i in rows]), _mean([p[i] for i in rows])


@dataclass(frozen=True)
class Scene:
    """What is known of a recording without truth.

    Attributes:
        cameras: names.
        rotation: of the cameras, `x_cam = R x + t`.
        fps: frames per second.
        skeleton: of all poses here.
        reference: the reconstruction by all cameras, mm, in the rig's frame.
        others: for each camera that by the others, likewise; None where two cameras are all there are.
    """

    cameras: tuple[str, ...]
    rotation: Float[Array, "V 3 3"]
    fps: float
    skeleton: Skeleton
    reference: Float[Array, "T J 3"]
    others: Float[Array, "V T J 3"] | None


def scene_of(found: Reconstruction, seen: Observations, skeleton: Skeleton) -> Scene:
    """A reconstruction as the reference of models of another skeleton.

    Args:
        found: by all cameras.
        seen: what it was made of.
        skeleton: of the models.
    """
    world, names = found.poses.known_world, found.rig.names
    scale = 1.0 if world is None else world.mm_per_unit
    others = None
    if len(names) > 2:
        poses = [seen.skeleton.convert(by_others(found, seen, (name,)), skeleton) * scale for name in names]
        others = np.stack(poses)
    reference = found.skeleton.convert(np.asarray(found.poses.pose, dtype=np.float64), skeleton) * scale
    return Scene(tuple(names), found.rig.rotation, found.poses.fps, skeleton, reference, others)


def by_others(
    found: Reconstruction, seen: Observations, hidden: Sequence[str], anew: bool = False
) -> Float[Array, "T J 3"]:
    """The poses of a recording without some of its cameras, in the frame, unit and joints of the whole reconstruction.

    Args:
        found: by all cameras.
        seen: what it was made of.
        hidden: cameras whose keypoints have no part.
        anew: neither in where the other cameras stand: these are found again, unless they were given.

    Raises:
        VergenceError: one camera is left, or what is left cannot be reconstructed.
    """
    names = found.rig.names
    kept = [i for i, name in enumerate(names) if name not in hidden]
    if len(kept) < 2:
        raise VergenceError(
            f"without camera {', '.join(hidden)} one camera is left, and 3D needs two", "Hold out fewer cameras."
        )
    rig = found.rig
    placed = not anew or found.extrinsics != "estimated"
    points = seen.keypoints[:, kept]
    lens = rig.intrinsics[kept] if placed or found.intrinsics == "given" else None
    solved = reconstruct_keypoints(
        points[..., :2], np.nan_to_num(points[..., 2]), intrinsics=lens, image_size=rig.image_size[kept],
        skeleton=seen.skeleton, distortion=None if lens is None else rig.distortion[kept], fps=found.poses.fps,
        rotation=rig.rotation[kept] if placed else None, translation=rig.translation[kept] if placed else None,
    )  # fmt: skip
    if placed:
        return np.asarray(solved.pose)
    whole = found.skeleton.convert(np.asarray(found.poses.pose, dtype=np.float64), seen.skeleton)
    a, b = (torch.from_numpy(np.ascontiguousarray(pose.reshape(-1, 3))) for pose in (solved.pose, whole))
    return np.asarray(align(a, b, scale=True).apply(a).numpy().reshape(solved.pose.shape))


def measure(
    ways: Mapping[str, Float[Array, "V T J 3"]],
    scene: Scene,
    held: Bool[Array, " T"],
    taught: Bool[Array, " T"],
    hidden: Sequence[str] = (),
    upright: bool = True,
) -> Held:
    """The figures of a run and of simple answers.

    Args:
        ways: poses by name, each in its camera's frame, of any scale; NaN where there is none. `model` and `zero depth`
            must be there; the mean pose and the nearest training pose are added.
        scene: of the recording.
        held: rows that are measured.
        taught: rows that the run learned from, whose poses make the baselines.
        hidden: cameras that it did not learn from.
        upright: poses are in the camera's frame; else only P and `views_rigid` can be measured.
    """
    joints = _common(ways["model"], scene)
    skeleton = skeleton_from_names([scene.skeleton.joint_names[j] for j in joints])
    turn = np.swapaxes(scene.rotation, 1, 2)[:, None]
    reference = _rooted(scene.reference[:, joints][None] @ turn, skeleton)
    others = None if scene.others is None else _rooted(scene.others[:, :, joints] @ turn, skeleton)
    poses = {way: _rooted(found[:, :, joints], skeleton) for way, found in ways.items()}
    whole = _complete(reference)[0]
    rows = held & whole
    poses |= _baselines(reference, rows, taught & whole, [name not in hidden for name in scene.cameras], skeleton)
    target = reference if others is None else others
    flat = _errors(poses["zero depth"], target, held, skeleton)
    ruler = float(np.linalg.norm(reference[0][rows], axis=(-2, -1)).mean()) if rows.any() else float("nan")
    figures = {}
    for way, found in poses.items():
        against = _errors(found, reference, rows, skeleton)
        apart = against if others is None else _errors(found, target, held, skeleton)
        there = np.isfinite(flat[0]) if way == "zero depth" else _complete(found)
        n, p, n_others, p_others = (_by_camera(one, upright or i % 2 == 1) for i, one in enumerate((*against, *apart)))
        sized = np.where(rows[:, None, None], _sized(found, ruler), np.nan)
        views, views_rigid, views_share = _between_views(sized, scene.rotation, scene.fps, upright)
        figures[way] = Figures(
            n_mpjpe=n,
            p_mpjpe=p,
            n_mpjpe_others=n_others,
            p_mpjpe_others=p_others,
            coverage=_by_camera(np.where(rows, there, np.nan), True),
            score=_score(apart, flat, upright),
            views=views,
            views_rigid=views_rigid,
            views_share=views_share,
            limbs=_limbs(sized, skeleton),
            jitter=_jitter(sized, scene.fps),
            diversity=_diversity(sized, reference),
        )
    known = _complete(poses["model"]) & rows
    own = np.where(rows[:, None, None], reference[:1], np.nan)
    counts = tuple(int(n) for n in known.sum(1))
    return Held(scene.cameras, tuple(hidden), figures, counts, _limbs(own, skeleton), _jitter(own, scene.fps))


def flat_poses(points: Float[Array, "... 2"]) -> Float[Array, "... 3"]:
    """Normalised image points as poses without depth."""
    return np.concatenate([points, np.zeros_like(points[..., :1])], -1)


def _common(model: Array, scene: Scene) -> list[int]:
    """Joints that both the model and the reconstruction have."""
    ours, theirs = (np.isfinite(x).all(-1) for x in (model, scene.reference))
    shown = ours.any((0, 1)) & (theirs.mean(0) > LEAST_KNOWN * max(theirs.mean(0).max(), 1e-9))
    found = np.flatnonzero(shown).tolist()
    if len(found) < 3 or not set(scene.skeleton.root) <= set(found):
        raise VergenceError(
            "the run and the reconstruction have no joints in common in these frames",
            "Look at the keypoints: hips, or a pelvis, must be among them, and the person in view.",
        )
    return found


def _complete(poses: Array) -> Bool[Array, "V T"]:
    """Frames in which every joint is known."""
    return np.asarray(np.isfinite(poses).all((-2, -1)))


def _rooted(poses: Array, skeleton: Skeleton) -> Array:
    return poses - poses[..., list(skeleton.root), :].mean(-2, keepdims=True)


def _baselines(
    reference: Array, rows: Array, taught: Array, seen: Sequence[bool], skeleton: Skeleton
) -> dict[str, Array]:
    """Mean pose and nearest training pose. Where nothing of this recording was learned from, its own mean pose (it uses
    the reference, so it is strict), and no nearest one."""
    views = [v for v, there in enumerate(seen) if there] or list(range(len(seen)))
    if not taught.any():
        mean = reference[:, rows].mean(1, keepdims=True) if rows.any() else np.full_like(reference[:, :1], np.nan)
        return {"mean pose": np.broadcast_to(mean, reference.shape)}
    pool = reference[views][:, taught]
    each = [reference[v, taught].mean(0) if v in views else pool.mean((0, 1)) for v in range(len(reference))]
    near = np.full(reference.shape, np.nan)
    known = torch.from_numpy(pool.reshape(-1, *pool.shape[2:]))
    for v in range(len(reference)):
        near[v, rows] = nearest_poses(known, torch.from_numpy(reference[v, rows]), skeleton).numpy()
    mean = np.broadcast_to(np.stack(each)[:, None], reference.shape)
    return {"mean pose": mean, "nearest training pose": near}


def _errors(poses: Array, target: Array, rows: Array, skeleton: Skeleton) -> tuple[Array, Array]:
    """N and P of every camera and frame, `V T`; NaN in other rows, and where too few joints are known."""
    target = np.broadcast_to(target, poses.shape)
    known = np.isfinite(poses).all(-1) & np.isfinite(target).all(-1)
    usable = rows & (known.mean(-1) > LEAST_KNOWN) & known[..., list(skeleton.root)].all(-1)
    out = np.full((2, *usable.shape), np.nan)
    if usable.any():
        a = np.where(known[..., None], poses, 0.0)[usable]
        b = np.where(known[..., None], target, np.nan)[usable]
        out[0][usable] = metrics.n_mpjpe(a, b, skeleton.root)
        out[1][usable] = metrics.p_mpjpe(a, b)
    return out[0], out[1]


def _score(errors: tuple[Array, Array], flat: tuple[Array, Array], upright: bool) -> float:
    """Share of zero depth's error that is left; where there is no pose it is all of it."""
    shares = []
    for ours, zero in list(zip(errors, flat))[0 if upright else 1 :]:
        whole = np.isfinite(zero)
        filled = np.where(np.isfinite(ours), ours, zero)
        each = [filled[v][ok].mean() / max(zero[v][ok].mean(), 1e-9) for v, ok in enumerate(whole) if ok.any()]
        shares.append(_mean(each))
    return _mean(shares)


def _sized(poses: Array, size: float) -> Array:
    """Every pose at one root-relative norm, so that none gains by being small."""
    return poses * (size / np.maximum(np.linalg.norm(poses, axis=(-2, -1), keepdims=True), 1e-9))


def _between_views(
    poses: Float[Array, "V T J 3"], rotation: Array, fps: float, upright: bool
) -> tuple[float, float, float]:
    """Mean distance between two cameras' poses of one moment, turned by the rig, and freely; and the share of the first
    (where poses are in no camera's frame, of the second) in the same between moments that are well apart."""
    world = poses @ rotation[:, None] if upright else poses
    same, free, different = [], [], []
    for a, b in itertools.combinations(range(len(poses)), 2):
        rows = np.flatnonzero(np.isfinite(poses[[a, b]]).all((0, 2, 3)))
        if len(rows) < 2:
            continue
        free.append(_mean(metrics.p_mpjpe(poses[a, rows], poses[b, rows])))
        same.append(_mean(np.linalg.norm(world[a, rows] - world[b, rows], axis=-1)) if upright else free[-1])
        shift = int(np.searchsorted(rows, rows[0] + APART_S * fps))
        shift = shift if shift <= len(rows) // 2 else max(1, len(rows) // 2)
        later = rows[(np.arange(len(rows)) + shift) % len(rows)]
        other = metrics.p_mpjpe(poses[a, rows], poses[b, later])
        if upright:
            other = np.linalg.norm(world[a, rows] - world[b, later], axis=-1)
        different.append(_mean(other))
    share = (_mean(same) + NOTHING_MM) / (_mean(different) + NOTHING_MM)
    return (_mean(same) if upright else float("nan")), _mean(free), share


def _diversity(poses: Array, reference: Array) -> float:
    """Spread of each camera's poses over that of the reference; mean over cameras."""
    full = _complete(poses)
    pairs = [(own[ok], true[ok]) for own, true, ok in zip(poses, reference, full) if ok.any()]
    return _mean([metrics.pose_diversity(own, true, None) for own, true in pairs])


def _limbs(poses: Array, skeleton: Skeleton) -> float:
    """Variation of each limb's share of all limbs' length, over time and cameras; mean over limbs."""
    lengths = np.asarray(metrics.limb_lengths(poses, skeleton.limbs)).reshape(-1, len(skeleton.limbs))
    lengths = lengths[np.isfinite(lengths).all(1)]
    if not len(lengths):
        return float("nan")
    lengths = lengths / np.maximum(lengths.sum(1, keepdims=True), 1e-9)
    return float((lengths.std(0) / np.maximum(lengths.mean(0), 1e-9)).mean())


def _jitter(poses: Array, fps: float) -> float:
    """Mean length of the joints' acceleration, m/s^2."""
    if poses.shape[1] < 3:
        return float("nan")
    return _mean(np.linalg.norm(np.diff(poses, n=2, axis=1), axis=-1)) * fps**2 / 1000


def _by_camera(values: Array, known: bool) -> tuple[float, ...]:
    """The mean of each row; NaN where it is not to be known."""
    return tuple(_mean(row) if known else float("nan") for row in values)


def _mean(values: Any) -> float:
    """Of what is known; NaN where nothing is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")
