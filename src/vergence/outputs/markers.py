"""Names of markers in TRC and C3D files: programs find a joint by the name that their model gives it.

`pose2sim`   RHip, LBigToe, ...: the markers of Pose2Sim's models; Hip and Neck are added where only hips and shoulders are
             labelled, since scaling asks for them.
`opensim`    RHJC, LKJC, ...: joint centres, as OpenSim's full-body models name them, with CAL, TOE and MT5 of the foot.
a TOML file  `right_hip = "RHJC"`, a line for each joint; `""` leaves a joint out.

A joint that nobody renames keeps its own name; one that no frame shows is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.files import read_toml
from vergence.outputs.sequence import PoseSequence
from vergence.skeleton import Skeleton, canonical_name

Markers = str | Path | Mapping[str, str]
PRESETS = ("pose2sim", "opensim")

_CENTRES = {
    "hip": "HJC", "knee": "KJC", "ankle": "AJC", "shoulder": "SJC", "elbow": "EJC", "wrist": "WJC", "heel": "CAL",
    "big_toe": "TOE", "small_toe": "MT5",
}  # fmt: skip
_DERIVED = ("pelvis", "neck")


def named_markers(
    poses: PoseSequence, markers: Markers = "", seen: Bool[np.ndarray, " K"] | None = None
) -> tuple[list[str], Float[np.ndarray, "T M 3"]]:
    """Names and places of the markers that stand for the joints.

    Args:
        poses: whose joints are named.
        markers: `pose2sim`, `opensim`, a TOML file or a mapping of joint names to markers; empty for the joints' own.
        seen: `seen_joints` of the whole sequence, where `poses` are a part of it.

    Raises:
        VergenceError: no such preset or file, a joint that the poses lack, or two joints of one name.
    """
    joints, points = _joints(poses, markers)
    names = _names(joints, poses.skeleton, markers)
    seen = np.asarray(np.isfinite(points).any((0, 2))) if seen is None else seen
    kept = [i for i, name in enumerate(names) if name and (seen[i] or not seen.any())]
    twice = sorted({names[i] for i in kept if names.count(names[i]) > 1})
    if twice:
        raise VergenceError(f"two joints are the marker {', '.join(twice)}", "Give every joint a marker of its own.")
    if not kept:
        raise VergenceError(f"{markers} leaves every joint out", "Name one marker at least.")
    return [names[i] for i in kept], points[:, kept]


def seen_joints(poses: PoseSequence, markers: Markers = "") -> Bool[np.ndarray, " K"]:
    """Which of the joints that may become markers any frame shows."""
    parts = [np.isfinite(_joints(part, markers)[1]).any((0, 2)) for part in poses.parts()]
    return np.any(parts, axis=0) if parts else np.zeros(len(_joints(poses, markers)[0]), dtype=bool)


def _joints(poses: PoseSequence, markers: Markers) -> tuple[list[str], Float[np.ndarray, "T K 3"]]:
    """The joints, and those that Pose2Sim's models want and others give."""
    skeleton, points = poses.skeleton, np.asarray(poses.pose, dtype=np.float64)
    joints = list(poses.joint_names)
    if markers == "pose2sim":
        for joint in _DERIVED:
            source = skeleton.sources(joint)
            if source and not skeleton.has(joint) and not (joint == "neck" and skeleton.has("thorax")):
                joints.append(joint)
                points = np.concatenate([points, points[:, list(source)].mean(1, keepdims=True)], axis=1)
    return joints, points


def _names(joints: list[str], skeleton: Skeleton, markers: Markers) -> list[str]:
    if isinstance(markers, str) and markers in ("", *PRESETS):
        rule = {"": lambda joint, _: joint, "pose2sim": _pose2sim, "opensim": _opensim}[markers]
        return [rule(joint, skeleton) for joint in joints]
    table = markers if isinstance(markers, Mapping) else _read(Path(markers))
    given = {canonical_name(joint): name for joint, name in table.items()}
    known = [canonical_name(joint) for joint in joints]
    if unknown := sorted(set(given) - set(known)):
        raise VergenceError(
            f"markers of joints that are not there: {', '.join(unknown)}", f"There are {', '.join(joints)}."
        )
    if bad := [name for name in given.values() if not isinstance(name, str) or set(name) & set("\t\r\n")]:
        raise VergenceError(f"{bad[0]!r} is no marker's name", "It is a text of one line, without tabs.")
    return [given.get(joint, own) for joint, own in zip(known, joints)]


def check_markers(markers: Markers) -> None:
    """Checks that a preset or a file of this name can be read; which joints there are is not known yet.

    Raises:
        VergenceError: neither.
    """
    if markers and not isinstance(markers, Mapping) and str(markers) not in PRESETS:
        _read(Path(markers))


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        remedy = 'Give pose2sim, opensim, or a TOML file with lines such as right_hip = "RHJC".'
        raise VergenceError(f"there are no markers {str(path)!r}", remedy)
    return read_toml(path, 'Its lines are such as right_hip = "RHJC".')


def _pose2sim(joint: str, skeleton: Skeleton) -> str:
    if joint == "pelvis":
        return "CHip" if skeleton.name == "body_25" else "Hip"
    if joint == "thorax":
        return "thorax" if skeleton.has("neck") else "Neck"
    if joint == "head_top":
        return "Head"
    if joint == "head":
        return "head" if skeleton.has("head_top") else "Head"
    side, _, part = joint.partition("_")
    words = part if side in ("left", "right") else joint
    camel = "".join(word.capitalize() for word in words.split("_"))
    return side[0].upper() + camel if side in ("left", "right") else camel


def _opensim(joint: str, skeleton: Skeleton) -> str:
    side, _, part = joint.partition("_")
    return side[0].upper() + _CENTRES[part] if part in _CENTRES and side in ("left", "right") else joint
