"""Skeletons: joint names and what hangs on them, and the one rule by which a joint of one becomes a joint of another.

A skeleton is fixed by its ordered joint names. Parents, limbs, mirror pairs, root and reference bone follow from names,
so a file whose joints are merely named is usable too. Names are the field's long form (`right_hip`); `r_hip`, `RHip`
and `rhip` are read as the same joint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from vergence.errors import VergenceError

# A joint's parents, best first: the nearest of these that the skeleton has (or can average) carries it.
_PARENTS: dict[str, tuple[str, ...]] = {
    "hip": ("pelvis",),
    "knee": ("~hip",),
    "ankle": ("~knee",),
    "foot": ("~ankle",),
    "toe": ("~foot", "~ankle"),
    "big_toe": ("~ankle",),
    "small_toe": ("~ankle",),
    "heel": ("~ankle",),
    "clavicle": ("neck", "spine4", "thorax"),
    "shoulder": ("~clavicle", "thorax", "neck", "upper_neck"),
    "elbow": ("~shoulder",),
    "wrist": ("~elbow",),
    "hand": ("~wrist",),
    "pinky": ("~wrist",),
    "index": ("~wrist",),
    "thumb": ("~wrist",),
    "ear": ("~eye",),
    "eye_inner": ("~eye",),
    "eye_outer": ("~eye",),
    "mouth": ("nose",),
    "eye": ("nose",),
    "spine": ("pelvis",),
    "spine2": ("spine",),
    "spine3": ("spine2",),
    "spine4": ("spine3",),
    "thorax": ("spine", "pelvis"),
    "neck": ("spine4", "spine", "pelvis"),
    "upper_neck": ("thorax", "neck"),
    "neck_nose": ("thorax", "neck"),
    "nose": ("neck", "upper_neck", "thorax"),
    "head": ("neck", "thorax"),
    "head_top": ("head", "neck_nose", "upper_neck", "thorax", "neck"),
}
# Where a skeleton's own papers draw a bone differently from the rule above.
_PARENT_OVERRIDES = {"mpi_inf_17": {"head_top": "neck"}}

# A joint the source lacks is the mean of the first of these sets it has (or can derive): written once, here.
DERIVED: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (("right_hip", "left_hip"),),
    "thorax": (("neck",), ("right_shoulder", "left_shoulder")),
    "neck": (("thorax",), ("right_shoulder", "left_shoulder")),
    "spine": (("pelvis", "thorax"),),
    "neck_nose": (("upper_neck",), ("head",), ("nose",)),
    "upper_neck": (("neck_nose",), ("head",)),
    "head": (("neck_nose",), ("upper_neck",)),
}

# Groups whose left and right (and whose length ratios) a body fixes; Zhou 2017 and the symmetry checks use them.
LIMB_GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "upper_leg": (("right_hip", "right_knee"), ("left_hip", "left_knee")),
    "lower_leg": (("right_knee", "right_ankle"), ("left_knee", "left_ankle")),
    "upper_arm": (("right_shoulder", "right_elbow"), ("left_shoulder", "left_elbow")),
    "lower_arm": (("right_elbow", "right_wrist"), ("left_elbow", "left_wrist")),
    "hip": (("pelvis", "right_hip"), ("pelvis", "left_hip")),
    "shoulder": (("thorax", "right_shoulder"), ("thorax", "left_shoulder")),
}

_ALIASES = {
    "hips": "pelvis", "hip": "pelvis", "mid_hip": "pelvis", "midhip": "pelvis", "root": "pelvis",
    "headtop": "head_top", "neck/nose": "neck_nose", "necknose": "neck_nose", "upperneck": "upper_neck",
    "bigtoe": "big_toe", "smalltoe": "small_toe", "belly": "spine", "torso": "spine", "top_head": "head_top",
    "head_tip": "head_top", "sho": "shoulder", "shld": "shoulder", "shldr": "shoulder", "shoul": "shoulder",
    "elb": "elbow", "elbw": "elbow", "wri": "wrist", "wrst": "wrist", "kne": "knee", "ank": "ankle", "ankl": "ankle",
    "hee": "heel", "bto": "big_toe", "sto": "small_toe",
}  # fmt: skip
# What may stand behind an r or l without a mark between: no word begins so.
_GLUED = "|".join((*"hip knee ankle shoulder elbow wrist eye ear heel bigtoe smalltoe toe foot hand".split(),
                   *"sho shld shldr shoul elb elbw wri wrst kne ank ankl".split()))  # fmt: skip


def canonical_name(name: str) -> str:
    """The long form of a joint name: `RHip`, `r_hip`, `rhip`, `hip.R` and `Right Hip` are all `right_hip`, `lwri` is
    `left_wrist`; what is no known joint keeps its name.
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip())
    text = re.sub(r"[\s\-.]+", "_", text).lower()
    side = ""
    match = re.fullmatch(r"(right|left|r|l)_(.+)|(.+)_(right|left|r|l)|(right|left)(.+)", text)
    if match:
        word = match[1] or match[4] or match[5]
        side = {"r": "right", "l": "left"}.get(word, word) + "_"
        text = match[2] or match[3] or match[6]
    elif re.fullmatch(rf"[rl]({_GLUED})", text):
        side, text = {"r": "right_", "l": "left_"}[text[0]], text[1:]
    if side and text in ("hip", "hips"):
        return side + "hip"
    return side + _ALIASES.get(text, text)


@dataclass(frozen=True)
class Skeleton:
    """An ordered set of named joints.

    Attributes:
        name: `h36m_17`, `mpii_16`, `coco_17`, `mpi_inf_28`, `mpi_inf_17`, `body_25`, `body_25b`, `openpose_18`,
            `halpe_26`, `wholebody_23`, `mediapipe_33`, or `custom`.
        joint_names: the joints in the order of every array, canonical names.
    """

    name: str
    joint_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.joint_names)

    def index(self, joint: str) -> int:
        """Position of a joint; a `VergenceError` names the joints there are."""
        try:
            return self.joint_names.index(canonical_name(joint))
        except ValueError:
            raise VergenceError(
                f"skeleton {self.name} has no joint {joint!r}", f"Its joints are {', '.join(self.joint_names)}."
            ) from None

    def has(self, *joints: str) -> bool:
        return all(joint in self.joint_names for joint in joints)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of each joint, -1 for a joint that hangs on nothing this skeleton has."""
        override = _PARENT_OVERRIDES.get(self.name, {})
        parents = []
        for joint in self.joint_names:
            side, _, rest = joint.partition("_")
            part = rest if side in ("left", "right") else joint
            options = (override[joint],) if joint in override else _PARENTS.get(part, ())
            found = [o.replace("~", side + "_") for o in options if o.replace("~", side + "_") in self.joint_names]
            parents.append(self.joint_names.index(found[0]) if found else -1)
        return tuple(parents)

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) pairs, and the hip and shoulder lines where their middle joint is missing: what to draw."""
        pairs = [(p, c) for c, p in enumerate(self.parents) if p >= 0]
        for a, b in (("right_hip", "left_hip"), ("right_shoulder", "left_shoulder")):
            if self.has(a, b) and self.parents[self.index(a)] < 0:
                pairs.append((self.index(a), self.index(b)))
        for side in ("right", "left"):
            if not self.has("pelvis") and self.has(f"{side}_shoulder", f"{side}_hip"):
                pairs.append((self.index(f"{side}_shoulder"), self.index(f"{side}_hip")))
        return tuple(pairs)

    @cached_property
    def rigid_limbs(self) -> tuple[tuple[int, int], ...]:
        """Limbs whose length a body keeps: arms, legs, hip and shoulder lines and the trunk, whatever joints there are."""
        hips = [] if self.has("pelvis") else [("right_hip", "left_hip")]
        names = [pair for group in self._groups.values() for pair in group] + hips
        return tuple((self.index(a), self.index(b)) for a, b in names if self.has(a, b))

    @property
    def _groups(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """`LIMB_GROUPS` in this skeleton's words: MPI-INF-3DHP and OpenPose call the thorax the neck."""
        if self.has("thorax") or not self.has("neck"):
            return LIMB_GROUPS
        return {**LIMB_GROUPS, "shoulder": (("neck", "right_shoulder"), ("neck", "left_shoulder"))}

    @cached_property
    def limb_groups(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """`LIMB_GROUPS` as indices; a group with a missing joint is left out."""
        return {
            group: tuple((self.index(a), self.index(b)) for a, b in pairs)
            for group, pairs in self._groups.items()
            if all(self.has(a, b) for a, b in pairs)
        }

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Permutation that swaps left and right: `pose[..., mirror, :]`."""
        swap = {"left_": "right_", "right_": "left_"}
        flipped = [re.sub(r"^(left_|right_)", lambda m: swap[m[0]], n) for n in self.joint_names]
        return tuple(self.joint_names.index(n) if n in self.joint_names else i for i, n in enumerate(flipped))

    def sources(self, joint: str) -> tuple[int, ...]:
        """Joints whose mean is `joint` here, () where nothing gives it."""
        return self._sources(canonical_name(joint), frozenset())

    def _sources(self, joint: str, seen: frozenset[str]) -> tuple[int, ...]:
        if joint in self.joint_names:
            return (self.joint_names.index(joint),)
        for option in DERIVED.get(joint, ()):
            parts = [self._sources(part, seen | {joint}) for part in option if part not in seen]
            if len(parts) == len(option) and all(parts):
                return tuple(index for part in parts for index in part)
        return ()

    @cached_property
    def root(self) -> tuple[int, ...]:
        """Joints whose mean is the root: the pelvis, else the mid-hips."""
        return self.sources("pelvis") or (0,)

    @cached_property
    def reference_bone(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Joints whose means end the reference bone: pelvis to thorax, else mid-hips to mid-shoulders."""
        ends = self.sources("pelvis"), self.sources("thorax")
        if not all(ends):
            raise VergenceError(
                f"skeleton {self.name} has no reference bone", "It needs hips (or pelvis) and shoulders (or thorax)."
            )
        return ends

    def convert(self, points: np.ndarray, target: Skeleton) -> np.ndarray:
        """Points of this skeleton as points of another.

        Args:
            points: `... J D`, NaN where missing.
            target: the skeleton wanted.

        Returns:
            `... J' D`; a joint is NaN where the source lacks it or one of the joints that it is the mean of.
        """
        if points.shape[-2] != len(self):
            raise VergenceError(f"{points.shape[-2]} joints given, skeleton {self.name} has {len(self)}")
        out = np.full(
            (*points.shape[:-2], len(target), points.shape[-1]), np.nan, dtype=np.result_type(points, np.float32)
        )
        for i, joint in enumerate(target.joint_names):
            if source := self.sources(joint):
                out[..., i, :] = points[..., list(source), :].mean(axis=-2)
        return out

    def convert_confidence(self, confidence: np.ndarray, target: Skeleton) -> np.ndarray:
        """Confidences `... J` to `... J'`: the least of the joints a joint is made of, 0 where nothing gives it."""
        out = np.zeros((*confidence.shape[:-1], len(target)), dtype=confidence.dtype)
        for i, joint in enumerate(target.joint_names):
            if source := self.sources(joint):
                out[..., i] = confidence[..., list(source)].min(axis=-1)
        return out


def _known(name: str, joints: str) -> Skeleton:
    return Skeleton(name, tuple(joints.split()))


_COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
H36M_17 = _known(
    "h36m_17",
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck_nose head_top "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
)
MPII_16 = _known(
    "mpii_16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top "
    "right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist",
)
COCO_17 = _known("coco_17", _COCO)
MPI_INF_28 = _known(
    "mpi_inf_28",
    "spine3 spine4 spine2 spine pelvis neck head head_top left_clavicle left_shoulder left_elbow left_wrist "
    "left_hand right_clavicle right_shoulder right_elbow right_wrist right_hand left_hip left_knee left_ankle "
    "left_foot left_toe right_hip right_knee right_ankle right_foot right_toe",
)
MPI_INF_17 = _known(
    "mpi_inf_17",
    "head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle pelvis spine head",
)
BODY_25 = _known(
    "body_25",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist pelvis right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe "
    "left_small_toe left_heel right_big_toe right_small_toe right_heel",
)
BODY_25B = _known(
    "body_25b",
    f"{_COCO} upper_neck head_top left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
)
BODY_25B_NAMES = BODY_25B.joint_names  # an older name, which scripts import
OPENPOSE_18 = _known(
    "openpose_18",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
)
HALPE_26 = _known(
    "halpe_26",
    f"{_COCO} head_top neck pelvis left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel",
)
WHOLEBODY_23 = _known(
    "wholebody_23", f"{_COCO} left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel"
)
MEDIAPIPE_33 = _known(
    "mediapipe_33",
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear "
    "left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky "
    "right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle left_heel right_heel left_big_toe right_big_toe",
)
_ALL = (H36M_17, MPII_16, COCO_17, MPI_INF_28, MPI_INF_17, BODY_25, BODY_25B)
SKELETONS = {s.name: s for s in (*_ALL, OPENPOSE_18, HALPE_26, WHOLEBODY_23, MEDIAPIPE_33)}
# What Pose2Sim's `pose_model` calls them.
_MODELS = {
    "body_with_feet": "halpe_26", "whole_body": "wholebody_23", "coco_133": "wholebody_23", "body": "coco_17",
    "coco": "coco_17", "mpii": "mpii_16", "blazepose": "mediapipe_33",
}  # fmt: skip


def get_skeleton(name: str) -> Skeleton:
    """The skeleton of that name (`h36m_17`, ..., or Pose2Sim's for it)."""
    key = name.lower().replace("-", "_")
    key = _MODELS.get(key, key)
    for known, skeleton in SKELETONS.items():
        if key in (known, known.replace("_", "")):
            return skeleton
    raise VergenceError(f"no skeleton is called {name!r}", f"Known: {', '.join(SKELETONS)}.")


@lru_cache(maxsize=64)
def _from_names(names: tuple[str, ...]) -> Skeleton:
    for skeleton in SKELETONS.values():
        if skeleton.joint_names == names:
            return skeleton
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise VergenceError(f"joint names occur twice: {', '.join(twice)}", "Give every joint a name of its own.")
    return Skeleton("custom", names)


def skeleton_from_names(joint_names: Sequence[str]) -> Skeleton:
    """The skeleton with these joints in this order: a known one, else one made from the names."""
    return _from_names(tuple(canonical_name(str(n)) for n in joint_names))
