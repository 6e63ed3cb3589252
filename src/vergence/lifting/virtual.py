"""Poses as virtual cameras see them: what teaches the lifting network.

A pose that is known in 3D may be looked at from anywhere, by any lens, so the network is not bound to where the real cameras
stood. Every sample is a stretch of motion, its body's lengths and gestures varied, seen by a camera drawn anew, with the
errors that detectors make: noise that is partly the same from frame to frame, a bias of where a detector thinks a joint
is, outliers, joints and stretches that are missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from vergence.geometry.camera import axis_angle_to_matrix
from vergence.lifting.network import parts_of
from vergence.skeleton import Skeleton, skeleton_from_names

Array = np.ndarray
# Chains that gestures turn: root joint, middle, end, and the spread of the turn in radians.
CHAINS = (
    ("right_hip", "right_knee", "right_ankle", 0.4),
    ("left_hip", "left_knee", "left_ankle", 0.4),
    ("right_shoulder", "right_elbow", "right_wrist", 0.6),
    ("left_shoulder", "left_elbow", "left_wrist", 0.6),
)
BEND = 0.6  # spread of how much further knees and elbows bend, radians; never beyond straight
MOST_BENT = 2.4
LEAN = 0.2  # spread of the trunk's turn against the legs
TILT = 0.1  # spread of the whole body's turn


@dataclass(frozen=True)
class Motion:
    """A stretch of poses.

    Attributes:
        pose: joints, any unit, z up where `upright`; NaN-free.
        fps: frames per second.
        upright: the vertical is known; else the pose is turned at random like a camera's.
    """

    pose: Float[Array, "T J 3"]
    fps: float
    upright: bool = True


@dataclass(frozen=True)
class VirtualCameras:
    """What is drawn for every sample.

    Attributes:
        pitch: mean and spread of how far a camera looks down, degrees.
        roll: spread, degrees.
        distance: least and largest, in reference bones (about half a metre).
        aside: spread of how far beside the image's centre the person is, a tangent.
        lengths: spread of each part's length, a share.
        speed: slowest and fastest that a motion is played.
        noise: least and largest spread of a joint's error, a share of the person's size.
        bias: spread of a detector's own idea of a joint's place, likewise.
        outliers: largest share of joints that are far off.
        missing: largest share of joints that are not seen.
        varied: share of samples whose gestures are varied.
    """

    pitch: tuple[float, float] = (10.0, 15.0)
    roll: float = 4.0
    distance: tuple[float, float] = (3.5, 24.0)
    aside: float = 0.2
    lengths: float = 0.08
    speed: tuple[float, float] = (0.6, 1.5)
    noise: tuple[float, float] = (0.003, 0.03)
    bias: float = 0.012
    outliers: float = 0.03
    missing: float = 0.15
    varied: float = 0.75


@dataclass(frozen=True)
class Seen:
    """Samples.

    Attributes:
        pose: in the camera's frame, in reference bones.
        image: normalised points with a detector's errors.
        seen: which joints there are.
    """

    pose: Float[Array, "B T J 3"]
    image: Float[Array, "B T J 2"]
    seen: Bool[Array, "B T J"]


def draw(
    motions: Sequence[Motion],
    weights: Float[Array, " M"],
    skeleton: Skeleton,
    cameras: VirtualCameras,
    count: int,
    frames: int,
    fps: float,
    rng: np.random.Generator,
) -> Seen:
    """Samples of some frames each; a camera that stands too near is left out, so there may be fewer than `count`."""
    chosen = rng.choice(len(motions), size=count, p=weights / weights.sum())
    poses = np.stack([_stretch(motions[i], frames, fps, cameras.speed, rng) for i in chosen])
    poses = _mirrored(poses, skeleton, rng)
    poses = with_lengths(poses, skeleton, cameras.lengths, rng)
    poses = with_gestures(poses, skeleton, cameras.varied, rng)
    poses = _in_bones(_with_middles(poses, skeleton), skeleton)
    seen = look(poses, cameras, rng)
    seen = seen[seen[..., 2].min((1, 2)) > 1.0]
    image = with_errors(seen[..., :2] / seen[..., 2:], cameras, rng)
    return Seen(seen, image, _found(image, skeleton, cameras, rng))


def _stretch(
    motion: Motion, frames: int, fps: float, speed: tuple[float, float], rng: np.random.Generator
) -> Float[Array, "T J 3"]:
    """Some frames at a rate, played slower or faster, from anywhere in a motion; a shorter one stands at its ends."""
    step = motion.fps / fps * rng.uniform(*speed)
    last = len(motion.pose) - 1
    at = np.clip(rng.uniform(0, max(0.0, last - (frames - 1) * step)) + step * np.arange(frames), 0, last)
    before = np.floor(at).astype(int)
    share = (at - before)[:, None, None]
    return motion.pose[before] * (1 - share) + motion.pose[np.minimum(before + 1, last)] * share


def _mirrored(poses: Array, skeleton: Skeleton, rng: np.random.Generator) -> Array:
    other = (poses * [-1, 1, 1])[:, :, list(skeleton.mirror)]
    return np.where(rng.random((len(poses), 1, 1, 1)) < 0.5, other, poses)


def with_lengths(poses: Float[Array, "B T J 3"], skeleton: Skeleton, spread: float, rng: np.random.Generator) -> Array:
    """Every part longer or shorter, left and right alike, the same over a sample."""
    parts = parts_of(skeleton)
    factor = np.clip(1 + rng.normal(0, spread, (len(poses), 1, max(parts) + 1)), 0.7, 1.3)[..., parts, None]
    out = poses.copy()
    for joint in _from_root(skeleton):
        parent = skeleton.parents[joint]
        out[:, :, joint] = out[:, :, parent] + (poses[:, :, joint] - poses[:, :, parent]) * factor[:, :, joint]
    return out


def _from_root(skeleton: Skeleton) -> list[int]:
    """Joints that have a parent, parents first."""

    def depth(joint: int) -> int:
        return 0 if skeleton.parents[joint] < 0 else 1 + depth(skeleton.parents[joint])

    return sorted((j for j in range(len(skeleton)) if skeleton.parents[j] >= 0), key=depth)


def with_gestures(poses: Float[Array, "B T J 3"], skeleton: Skeleton, varied: float, rng: np.random.Generator) -> Array:
    """Limbs turned in their sockets, knees and elbows bent further or less, trunk and body leaning; changing over time."""
    batch, frames = poses.shape[:2]
    on = rng.random((batch, 1, 1)) < varied
    out = poses.copy()
    for *names, spread in CHAINS:
        a, b, c = (skeleton.index(str(name)) for name in names)
        turn = rotations(_slowly(rng, batch, frames, 3, float(spread)) * on * (rng.random((batch, 1, 1)) < 0.7))
        upper, lower = (np.einsum("btij,btj->bti", turn, out[:, :, e] - out[:, :, s]) for s, e in ((a, b), (b, c)))
        axis = np.cross(upper, lower)
        sine = np.linalg.norm(axis, axis=-1)
        bent = np.arctan2(sine, (upper * lower).sum(-1))
        more = (_slowly(rng, batch, frames, 1, BEND) * on * (rng.random((batch, 1, 1)) < 0.7))[..., 0]
        more = np.clip(more, -bent, MOST_BENT - bent) * (bent > 0.08)
        hinge = axis / np.maximum(sine, 1e-9)[..., None] * more[..., None]
        out[:, :, b] = out[:, :, a] + upper
        out[:, :, c] = out[:, :, b] + np.einsum("btij,btj->bti", rotations(hinge), lower)
    root = out[:, :, list(skeleton.root)].mean(2, keepdims=True)
    legs = [i for i, n in enumerate(skeleton.joint_names) if n.endswith(("pelvis", "hip", "knee", "ankle"))]
    above = [i for i in range(len(skeleton)) if i not in legs]
    lean = rotations(_slowly(rng, batch, frames, 3, LEAN) * on)
    out[:, :, above] = np.einsum("btij,btkj->btki", lean, out[:, :, above] - root) + root
    tilt = rotations(_slowly(rng, batch, frames, 3, TILT) * on)
    return np.einsum("btij,btkj->btki", tilt, out - root) + root


def _slowly(rng: np.random.Generator, batch: int, frames: int, size: int, spread: float) -> Float[Array, "B T n"]:
    """Numbers of this spread that stay, or go over to others by the end."""
    first, last = rng.normal(0, spread, (2, batch, 1, size))
    share = rng.random((batch, 1, 1)) * (rng.random((batch, 1, 1)) < 2 / 3) * np.linspace(0, 1, frames)[:, None]
    return first * (1 - share) + last * share


def rotations(vector: Float[Array, "... 3"]) -> Float[Array, "... 3 3"]:
    """The turn about a vector by its length."""
    return np.asarray(axis_angle_to_matrix(torch.from_numpy(vector)).numpy())


def _with_middles(poses: Array, skeleton: Skeleton) -> Array:
    """Middle joints where `Skeleton.convert` puts them for a detector that has none: motion capture has its own idea."""
    sided = [i for i, name in enumerate(skeleton.joint_names) if name.startswith(("left_", "right_"))]
    limbs = skeleton_from_names([skeleton.joint_names[i] for i in sided])
    derived = limbs.convert(poses[:, :, sided], skeleton)
    return np.where(np.isfinite(derived), derived, poses)


def _in_bones(poses: Array, skeleton: Skeleton) -> Array:
    start, end = (poses[:, :, list(joints)].mean(2) for joints in skeleton.reference_bone)
    return poses / np.linalg.norm(end - start, axis=-1).mean(1)[:, None, None, None]


def look(poses: Float[Array, "B T J 3"], cameras: VirtualCameras, rng: np.random.Generator) -> Float[Array, "B T J 3"]:
    """The poses, z up, in the frames of cameras drawn around them (x right, y down, z forward)."""
    count = len(poses)
    yaw = rng.uniform(-np.pi, np.pi, count)
    pitch = np.radians(np.clip(rng.normal(*cameras.pitch, count), -30, 75))
    roll = np.radians(rng.normal(0, cameras.roll, count))
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)], -1)
    right = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros(count)], -1)
    level = np.stack([right, np.cross(forward, right), forward], -2)
    rotation = rotations(np.stack([0 * roll, 0 * roll, roll], -1)) @ level
    distance = np.exp(rng.uniform(math.log(cameras.distance[0]), math.log(cameras.distance[1]), count))
    place = np.concatenate([rng.normal(0, cameras.aside, (count, 2)), np.ones((count, 1))], 1) * distance[:, None]
    middle = poses[:, poses.shape[1] // 2].mean(1)
    return np.einsum("bij,btkj->btki", rotation, poses - middle[:, None, None]) + place[:, None, None]


def with_errors(image: Float[Array, "B T J 2"], cameras: VirtualCameras, rng: np.random.Generator) -> Array:
    """A detector's errors: noise with a share that persists, a bias of each joint over a sample, outliers."""
    batch, frames, joints = image.shape[:3]
    size = (image.max(2) - image.min(2)).max(-1)[..., None, None]
    spread = np.exp(rng.uniform(math.log(cameras.noise[0]), math.log(cameras.noise[1]), (batch, 1, 1, 1)))
    fresh = rng.normal(size=image.shape)
    kept = fresh.copy()
    for t in range(1, frames):
        kept[:, t] = 0.7 * kept[:, t - 1] + np.sqrt(1 - 0.7**2) * fresh[:, t]
    share = rng.random((batch, 1, 1, 1))
    noise = spread * (share * kept + (1 - share) * fresh)
    bias = rng.normal(0, cameras.bias, (batch, 1, joints, 2)) * (rng.random((batch, 1, 1, 1)) < 0.7)
    far = rng.random((batch, frames, joints, 1)) < rng.uniform(0, cameras.outliers, (batch, 1, 1, 1))
    return image + size * (noise + bias + far * rng.normal(0, 0.2, image.shape))


def _found(image: Array, skeleton: Skeleton, cameras: VirtualCameras, rng: np.random.Generator) -> Array:
    """Which joints a detector finds: middles as a whole by chance, limbs mostly."""
    batch, frames, joints = image.shape[:3]
    seen = rng.random((batch, frames, joints)) > rng.uniform(0, cameras.missing, (batch, 1, 1))
    limb = np.array([name.startswith(("left_", "right_")) for name in skeleton.joint_names])
    seen &= rng.random((batch, 1, joints)) > np.where(limb, 0.02, 0.4)
    few = seen.sum(-1, keepdims=True) < 4
    return np.where(few, limb, seen)
