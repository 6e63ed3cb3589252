"""How far joints are from where they should be: MPJPE, N-MPJPE, P-MPJPE, PCK, AUC.

All take `prediction` and `target` of shape `... J 3`, put both relative to their root, and give one value per pose, in
float64; averaging over poses is the protocol's business. Lengths are in the target's unit: mm, for the thresholds'
sake.

They answer different questions, and a figure needs its name beside it:

* **MPJPE** needs absolute scale and orientation.
* **N-MPJPE** forgives scale: what a method without any metric label can be asked. The scale is the least-squares one,
  `<p, g> / <p, p>`, never negative. Papers also print another one, taken from the full Procrustes solution and applied
  without its rotation (`scale="procrustes"`; EpipolarPose); it is mostly a little larger, and more so as orientation errs.
* **`bone_sum_mpjpe`** (Zhou 2017) gives each pose one sum of limb lengths, an average person's or its own true one: it
  neither looks at the true joints, as N-MPJPE's scale does, nor forgives a wrong proportion of depth to breadth.
* **P-MPJPE** forgives orientation too, hence most of what a wrong camera or a wrong yaw does. Mirroring is
  not forgiven.
* **PCK** and **AUC** saturate, so a few wild joints do not rule them.

**Missing joints.** A NaN target joint is left out of its pose's mean; a NaN target root, or no known joint, makes the
pose NaN. A NaN prediction of a known joint is an error that no mean can absorb: MPJPE and its kin refuse it, PCK and
AUC count a miss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vergence.errors import VergenceError
from vergence.geometry.alignment import align, least_squares_scale
from vergence.metrics._inputs import (
    Array,
    Joints,
    Limbs,
    Root,
    in_kind,
    indices,
    refuse_missing,
    relative,
    to_pair,
    to_tensor,
)
from vergence.metrics.plausibility import limb_lengths

PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(5.0 * step for step in range(31))
ALIGNMENTS = ("root", "scale", "procrustes_scale", "procrustes")


def per_joint_error(
    prediction: Array, target: Array, root: Root = 0, alignment: str = "root", joints: Joints = None
) -> Array:
    """Distance of every joint after alignment.

    Args:
        prediction: `... J 3`.
        target: `... J 3`, NaN = unknown.
        root: joint, or joints whose mean is the root, or None to compare absolute positions.
        alignment: `root` (translation only), `scale` (least squares, about the root), `procrustes_scale` (the scale
            of the similarity, without its rotation, about the root) or `procrustes` (similarity, no reflection; the
            root plays no part).
        joints: which joints count, and are aligned on; the root may lie outside them. Default all.

    Returns:
        `... J` (or the number of `joints`), NaN where the target is unknown.

    Raises:
        VergenceError: shapes differ, no joints, an unknown alignment, or a known joint predicted as NaN.
    """
    return in_kind(_distances(prediction, target, root, alignment, joints, misses=False), prediction, target)


def _distances(prediction: Array, target: Array, root: Root, alignment: str, joints: Joints, misses: bool) -> Tensor:
    """`per_joint_error` as a tensor; with `misses` a joint predicted as NaN is infinitely far."""
    if alignment not in ALIGNMENTS:
        raise VergenceError(f"no alignment is called {alignment!r}", f"Known: {', '.join(ALIGNMENTS)}.")
    p, t = to_pair(prediction, target)
    count = p.shape[-2]
    chosen = list(range(count)) if joints is None else indices(joints, count, "joints")
    p, t = ((relative(x, root) if alignment != "procrustes" else x)[..., chosen, :] for x in (p, t))
    if not misses:
        refuse_missing(p, t, lambda joint: str(chosen[joint]))
    if alignment == "scale":
        p = p * least_squares_scale(p, t)[..., None, None]
    elif alignment == "procrustes_scale":
        p = p * align(p, t, scale=True).scale[..., None, None]
    elif alignment == "procrustes":
        p = align(p, t, scale=True).apply(p)
    known = ~t.isnan().any(-1)
    distance = torch.linalg.vector_norm(p - t, dim=-1).nan_to_num(math.inf, posinf=math.inf)
    if alignment.startswith("procrustes"):
        # Two points fit any two points: that would be a perfect score for nothing.
        distance = torch.where((distance.isfinite() & known).sum(-1, keepdim=True) >= 3, distance, math.inf)
        known = known & (known.sum(-1, keepdim=True) >= 3)
    return torch.where(known, distance, math.nan)


def _mean_error(prediction: Array, target: Array, root: Root, alignment: str, joints: Joints = None) -> Array:
    """Mean of `per_joint_error` over the known joints, per pose."""
    return in_kind(
        _distances(prediction, target, root, alignment, joints, misses=False).nanmean(-1), prediction, target
    )


def mpjpe(prediction: Array, target: Array, root: Root = 0, joints: Joints = None) -> Array:
    """Mean per-joint position error after aligning the roots, per pose. See `per_joint_error` for the arguments."""
    return _mean_error(prediction, target, root, "root", joints)


def n_mpjpe(
    prediction: Array, target: Array, root: Root = 0, joints: Joints = None, scale: str = "least_squares"
) -> Array:
    """MPJPE after the best scale about the root, per pose.

    Args:
        prediction, target, root, joints: see `per_joint_error`.
        scale: `least_squares`, or `procrustes` for EpipolarPose's: the similarity's scale, its rotation left out.
    """
    names = {"least_squares": "scale", "procrustes": "procrustes_scale"}
    if scale not in names:
        raise VergenceError(f"no scale is called {scale!r}", f"Known: {', '.join(names)}.")
    return _mean_error(prediction, target, root, names[scale], joints)


def bone_sum_scale(prediction: Array, target: Array, limbs: Limbs, total: float | None = None) -> Array:
    """Zhou 2017's scale: the one at which a predicted pose's limb lengths have the sum `total`.

    Args:
        prediction: `... J 3`, any unit.
        target: `... J 3`.
        limbs: joint pairs; those with an unknown joint in the target or the prediction are left out of both sums.
        total: of all `limbs`, mm. The paper's 4296.99 is the mean of its training people over 14 limbs: true scale is not
            used then, and whoever is taller than average is predicted too small. None takes each target's own sum, which
            does use true scale (the paper's way on MPI-INF-3DHP).

    Returns:
        `...`; NaN where no limb is known, or, with `total`, not all are.
    """
    p, t = to_pair(prediction, target)
    found, true = (limb_lengths(x, limbs) for x in (p, t))
    if total is None:
        both = ~(found.isnan() | true.isnan())
        found, wanted = (torch.where(both, x, 0.0).sum(-1) for x in (found, true))
        wanted = torch.where(wanted > 0, wanted, math.nan)
    else:
        found, wanted = found.sum(-1), p.new_tensor(total)
    return in_kind(wanted / torch.where(found > 0, found, math.nan), prediction, target)


def bone_sum_mpjpe(
    prediction: Array, target: Array, limbs: Limbs, total: float | None = None, root: Root = 0, joints: Joints = None
) -> Array:
    """MPJPE of poses brought to one sum of limb lengths (`bone_sum_scale`), roots aligned; NaN where that is unknown."""
    p, t = to_pair(prediction, target)
    scale = bone_sum_scale(p, t, limbs, total)
    known = scale.isfinite()
    error = mpjpe(p * torch.where(known, scale, 1.0)[..., None, None], t, root, joints)
    return in_kind(torch.where(known, error, math.nan), prediction, target)


def p_mpjpe(prediction: Array, target: Array, root: Root = 0, joints: Joints = None) -> Array:
    """MPJPE after the best similarity (rotation, translation, scale; no reflection), per pose.

    `root` is accepted, so that metrics can be called alike, and plays no part. NaN where fewer than 3 joints are known.
    """
    return _mean_error(prediction, target, root, "procrustes", joints)


def _share_within(distance: Tensor, threshold: float) -> Tensor:
    return 100 * (distance <= threshold).sum(-1).to(distance.dtype) / (~distance.isnan()).sum(-1)


def pck(
    prediction: Array,
    target: Array,
    root: Root = 0,
    threshold: float = PCK_THRESHOLD_MM,
    alignment: str = "root",
    joints: Joints = None,
) -> Array:
    """Percentage of known joints at most `threshold` away, per pose. A joint predicted as NaN is a miss.

    The root itself always hits; benchmarks that leave it out name their `joints`.
    """
    _check_unit(target, threshold)
    distance = _distances(prediction, target, root, alignment, joints, misses=True)
    return in_kind(_share_within(distance, threshold), prediction, target)


def auc(
    prediction: Array,
    target: Array,
    root: Root = 0,
    thresholds: Sequence[float] = AUC_THRESHOLDS_MM,
    alignment: str = "root",
    joints: Joints = None,
) -> Array:
    """Mean PCK over thresholds (31 of them, 0 to 150 mm), per pose, in percent."""
    _check_unit(target, max(thresholds, default=0.0))
    distance = _distances(prediction, target, root, alignment, joints, misses=True)
    shares = torch.stack([_share_within(distance, threshold) for threshold in thresholds])
    return in_kind(shares.mean(0), prediction, target)


def _check_unit(target: Array, threshold: float) -> None:
    """Refuses poses of a tenth of a threshold: in metres, or in reference bones, whatever is predicted is right."""
    pose = to_tensor(target, "target")
    apart = pose.nan_to_num(-math.inf).amax(-2) - pose.nan_to_num(math.inf).amin(-2)
    size = float(apart.max()) if apart.numel() else math.inf
    if 0 < size < threshold / 10:
        raise VergenceError(
            f"the target's poses are at most {size:.3g} large, the threshold is {threshold:g}",
            "Both are in one unit: give poses in mm, or a threshold in theirs.",
        )
