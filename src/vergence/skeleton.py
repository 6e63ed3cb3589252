"""Skeletons: joint names and what hangs on them, and the one rule by which a joint of one becomes a joint of another.

A skeleton is fixed by its ordered joint names; `skeletons.toml` has the known ones. Parents, limbs, mirror pairs, root and
reference bone follow from names, so a file whose joints are merely named is usable too. Names are the field's long form
(`right_hip`); `r_hip`, `RHip` and `rhip` are read as the same joint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import msgspec
import numpy as np
from msgspec import Struct

from vergence.errors import VergenceError


class _Tables(Struct):
    """What `skeletons.toml` holds; its comments say what each table is for."""

    joints: dict[str, str]
    models: dict[str, str]
    parents: dict[str, tuple[str, ...]]
    own_parents: dict[str, dict[str, str]]
    derived: dict[str, tuple[tuple[str, ...], ...]]
    limb_groups: dict[str, tuple[tuple[str, str], ...]]
    aliases: dict[str, tuple[str, ...]]
    glued: str


_TABLES = msgspec.toml.decode((files("vergence") / "skeletons.toml").read_bytes(), type=_Tables)
LIMB_GROUPS = _TABLES.limb_groups
_ALIASES = {alias: name for name, aliases in _TABLES.aliases.items() for alias in aliases}


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
    elif re.fullmatch(rf"[rl]({'|'.join(_TABLES.glued.split())})", text):
        side, text = {"r": "right_", "l": "left_"}[text[0]], text[1:]
    if side and text in ("hip", "hips"):
        return side + "hip"
    return side + _ALIASES.get(text, text)


def in_words(joint: str) -> str:
    """A joint's name as pages, notes and the console show it: `left hip`. Files have `left_hip`."""
    return joint.replace("_", " ")


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
        override = _TABLES.own_parents.get(self.name, {})
        parents = []
        for joint in self.joint_names:
            side, _, rest = joint.partition("_")
            part = rest if side in ("left", "right") else joint
            options = (override[joint],) if joint in override else _TABLES.parents.get(part, ())
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
        """`limb_groups` of the tables in this skeleton's words: MPI-INF-3DHP and OpenPose call the thorax the neck."""
        if self.has("thorax") or not self.has("neck"):
            return LIMB_GROUPS
        return {**LIMB_GROUPS, "shoulder": (("neck", "right_shoulder"), ("neck", "left_shoulder"))}

    @cached_property
    def limb_groups(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """The same as indices; a group with a missing joint is left out."""
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
        for option in _TABLES.derived.get(joint, ()):
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


SKELETONS = {name: Skeleton(name, tuple(joints.split())) for name, joints in _TABLES.joints.items()}
H36M_17, MPII_16, COCO_17 = (SKELETONS[name] for name in ("h36m_17", "mpii_16", "coco_17"))
MPI_INF_28, MPI_INF_17 = (SKELETONS[name] for name in ("mpi_inf_28", "mpi_inf_17"))
BODY_25, BODY_25B, OPENPOSE_18 = (SKELETONS[name] for name in ("body_25", "body_25b", "openpose_18"))
HALPE_26, WHOLEBODY_23, MEDIAPIPE_33 = (SKELETONS[name] for name in ("halpe_26", "wholebody_23", "mediapipe_33"))
BODY_25B_NAMES = BODY_25B.joint_names  # an older name, which scripts import


def get_skeleton(name: str) -> Skeleton:
    """The skeleton of that name (`h36m_17`, ..., or Pose2Sim's for it)."""
    key = name.lower().replace("-", "_")
    key = _TABLES.models.get(key, key)
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
