"""Zhou 2017's own protocols, as the authors' code scores: poses come in pixels, so each is first brought to a size.

On Human3.6M every predicted skeleton gets the training people's mean sum of limb lengths (4,296.99 mm over 14 limbs): true
scale is not used, and whoever is taller than average is predicted too small. On MPI-INF-3DHP, for networks that never saw
it, hips and pelvis are moved a fifth of the way to the neck, since that dataset's lie higher, and each skeleton gets the
sum of its *true* pose: true scale is used, so these figures are not those of the official evaluation.

**Geometric validity** stands in the same table: the mean difference in length between left and right of upper and lower
arms and legs; on MPII's validation people, of whom no 3D is known, in pixels of the crop. A constant symmetric pose scores
0, so it is read beside PCK.

Not told by the sources that we could read: which limbs the 14 are (legs, arms, hips, shoulders, trunk and head here), which
frames of Human3.6M are scored (every 64th here), on which data the published validity was measured (in mm on
MPI-INF-3DHP here, in px on MPII), and of what the pixels are (crops of 256). The published mean of Human3.6M (64.90) is not
the mean of its 15 actions (64.61): it is over images.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.human36m_layouts import ACTIONS
from vergence.datasets.mpi_inf_3dhp import ACTIVITIES, SCENES
from vergence.metrics import bone_sum_scale
from vergence.protocols.base import Fit, Protocol
from vergence.protocols.figures import Figure
from vergence.skeleton import H36M_17, LIMB_GROUPS, MPI_INF_17, Skeleton

TOTAL_MM = 4296.99
HIP_SHIFT = 0.2  # of the way from the pelvis to the neck
SCORED_3DHP = MPI_INF_17.joint_names[:14]  # without pelvis and spine; the head is not scored officially either
VALIDITY = ("upper_arm", "lower_arm", "upper_leg", "lower_leg")


def limbs_of(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """The 14 limbs whose lengths are summed: legs, arms, hips, shoulders, trunk and head."""
    neck = skeleton.index("thorax" if skeleton.has("thorax") else "neck")
    pairs = tuple(pair for group in skeleton.limb_groups.values() for pair in group)
    return (*pairs, (skeleton.index("pelvis"), neck), (neck, skeleton.index("head_top")))


def like_zhou_h36m(
    prediction: Float[ndarray, "N J 3"], target: Float[ndarray, "N J 3"], skeleton: Skeleton = H36M_17
) -> Float[ndarray, "N J 3"]:
    """Poses of any scale at the training people's sum of limb lengths; the spine, where there is one, between pelvis and
    thorax. The target is used for its unknown joints alone."""
    pose = np.array(prediction, dtype=np.float64)
    if skeleton.has("spine", "thorax"):
        pose[:, skeleton.index("spine")] = pose[:, [skeleton.index("pelvis"), skeleton.index("thorax")]].mean(1)
    return pose * np.asarray(bone_sum_scale(pose, target, limbs_of(skeleton), TOTAL_MM))[:, None, None]


def like_zhou_3dhp(
    prediction: Float[ndarray, "N J 3"], target: Float[ndarray, "N J 3"], skeleton: Skeleton = MPI_INF_17
) -> Float[ndarray, "N J 3"]:
    """Poses learned on Human3.6M as MPI-INF-3DHP has them: hips and pelvis moved, each at its true pose's sum of limb
    lengths."""
    pose = np.array(prediction, dtype=np.float64)
    neck, pelvis = limbs_of(skeleton)[-1][0], skeleton.index("pelvis")
    rise = HIP_SHIFT * (pose[:, neck] - pose[:, pelvis])
    for name in ("pelvis", "right_hip", "left_hip"):
        pose[:, skeleton.index(name)] += rise
    target = np.asarray(target, dtype=np.float64)
    return pose * np.asarray(bone_sum_scale(pose, target, limbs_of(skeleton)))[:, None, None]


def left_right(group: str, measure: Literal["left_right", "left_right_px"] = "left_right") -> Figure:
    """The validity figure of a limb group: `LR-upper-arm`."""
    right, left = LIMB_GROUPS[group]
    return Figure(f"LR-{group.replace('_', '-')}", measure, joints=(*right, *left))


PROTOCOLS = (
    Protocol(
        "h36m-zhou", "Zhou 2017: 16 joints, every skeleton at one sum of limb lengths, mean over images", "human36m",
        {"split": "test", "step": 64, "cameras": "all", "faulty": "keep"}, (Figure("MPJPE"),),
        tuple(name for name in H36M_17.joint_names if name != "neck_nose"), tables=("action", "subject"),
        order=tuple(ACTIONS), truth="motion capture, mm, each actor's own size",
        fit=Fit(f"each pose at {TOTAL_MM:g} mm over 14 limbs, the training people's mean", like_zhou_h36m, False),
    ),
    Protocol(
        "3dhp-zhou", "Zhou 2017: transfer from Human3.6M, and geometric validity", "mpi_inf_3dhp",
        {"split": "test", "universal": True},
        (Figure("PCK", "pck", strict=True), Figure("AUC", "auc", strict=True), *map(left_right, VALIDITY)),
        SCORED_3DHP, tables=("scene", "activity", "sequence"), order=(*dict.fromkeys(SCENES.values()), *ACTIVITIES),
        truth="mm, univ_annot3, everybody at one body size; hips and pelvis as this dataset has them",
        fit=Fit(
            f"hips and pelvis moved by {HIP_SHIFT:g} of the way to the neck; each pose at its own TRUE sum of 14 limb lengths",
            like_zhou_3dhp, True,
        ),
    ),
    Protocol(
        "mpii-zhou", "Zhou 2017: geometric validity in the wild", "mpii", {"split": "valid"},
        tuple(left_right(group, "left_right_px") for group in VALIDITY), (), truth="none: the predictions' own limbs",
    ),
)  # fmt: skip
