"""EpipolarPose's own way, for comparison: every frame by itself.

For each camera beside the first, the essential matrix comes from the joints of this one frame alone (LMedS, as the paper's
code does; there on rounded pixels), cheirality picks the decomposition, the optimal triangulation gives the joints in the first
camera's frame, and the reference bone the scale. With three cameras and more, the vector median over the pairs is taken.

Seventeen joints on a thin body do not hold five unknowns: with 3 px of noise the rotation of one frame is tens of degrees off.
That is what pooling frames (`rig`) cures; the verdict here is always `doubtful`.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.two_view import decompose

Array = np.ndarray

MIN_JOINTS = 8


def single_frame_pair(
    a: Float[Array, "J 2"], b: Float[Array, "J 2"]
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"]] | None:
    """(R, t) of two cameras from one frame's normalised joints by LMedS; None with fewer than `MIN_JOINTS`."""
    both = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    if both.sum() < MIN_JOINTS:
        return None
    pa, pb = np.ascontiguousarray(a[both]), np.ascontiguousarray(b[both])
    found, _ = cv2.findEssentialMat(pa, pb, np.eye(3), method=cv2.LMEDS, prob=0.999, maxIters=300)
    if found is None or found.shape[-1] != 3:
        return None
    solutions = [decompose(e, pa, pb)[0] for e in found.reshape(-1, 3, 3)]
    rotation, translation, _ = max(solutions, key=lambda s: s[2])
    return rotation, translation


def pair_points(pose: tuple[Array, Array], a: Float[Array, "J 2"], b: Float[Array, "J 2"]) -> Float[Array, "J 3"]:
    """Joints in the first camera's frame by optimal triangulation, at the scale of a baseline of 1."""
    import torch

    from vergence.geometry.triangulation import triangulate_optimal

    second = np.concatenate([pose[0], pose[1][:, None]], axis=1)
    cameras = torch.from_numpy(np.stack([np.eye(3, 4), second]))
    return triangulate_optimal(torch.from_numpy(np.stack([a, b], axis=1)), cameras).numpy()


def frames_by_themselves(
    image: Float[Array, "T V J 2"], reference: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[Float[Array, "T J 3"], Float[Array, "V 3 3"], Float[Array, "V 3"]]:
    """Poses of every frame with the reference bone at length 1, and the mean cameras over frames.

    Args:
        image: normalised points, NaN = missing.
        reference: joints whose means end the reference bone.

    Raises:
        VergenceError: no frame has enough joints in common between the first camera and another.
    """
    import torch
    from scipy.spatial.transform import Rotation

    from vergence.geometry.triangulation import vector_median

    frames, views, joints = image.shape[:3]
    pose = np.full((frames, joints, 3), np.nan)
    turns: list[list[Array]] = [[] for _ in range(views)]
    moves: list[list[Array]] = [[] for _ in range(views)]
    for t in range(frames):
        candidates = []
        for v in range(1, views):
            pair = single_frame_pair(image[t, 0], image[t, v])
            if pair is None:
                continue
            points = pair_points(pair, image[t, 0], image[t, v])
            low, high = (points[list(ends)].mean(0) for ends in reference)
            length = float(np.linalg.norm(high - low))
            if np.isfinite(length) and length > 0:
                candidates.append(points / length)
                turns[v].append(pair[0])
                moves[v].append(pair[1] / length)
        if candidates:
            pose[t] = vector_median(torch.from_numpy(np.stack(candidates, axis=1))).numpy()
    if not np.isfinite(pose).any():
        raise VergenceError(
            f"no frame has {MIN_JOINTS} joints (hips and shoulders among them) in the first camera and another",
            "Pool frames instead, or give more joints.",
        )
    rotation, translation = np.full((views, 3, 3), np.nan), np.full((views, 3), np.nan)
    rotation[0], translation[0] = np.eye(3), 0.0
    for v in range(1, views):
        if turns[v]:
            rotation[v] = Rotation.from_matrix(np.stack(turns[v])).mean().as_matrix()
            translation[v] = np.median(np.stack(moves[v]), axis=0)
    return pose, rotation, translation
