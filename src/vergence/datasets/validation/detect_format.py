"""What lies in a folder: a table of datasets, each a glance at the folder, a reader, and the lines that a recipe needs.

A glance looks at names, and into a file only where a name says too little; it opens no image, so that a folder of a
million files is recognised at once. A dataset joins by a row of `KINDS`: its reader is named by its module, and imported
when a folder is read. The first row that fits wins, so the more particular stand first.

To be checked, a large dataset is read at every `step`-th frame, as its row says: faults of a dataset are those of its
sequences and cameras, and all of these are then seen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vergence import plugins
from vergence.datasets.records import Records
from vergence.errors import VergenceError
from vergence.files import beginning
from vergence.footage.images import VIDEO_SUFFIXES
from vergence.footage.readers import find_reader

COLMAP_FILES = ("images.txt", "points3D.txt", "rigs.txt", "frames.txt")
Part = Mapping[str, Any]  # settings that choose a part of a dataset


@dataclass(frozen=True)
class Kind:
    """One dataset or layout.

    Attributes:
        name: its `kind:` in a recipe; empty where no source reads it.
        title: for people.
        fits: a glance at the folder.
        reader: `module:function`; called with the folder and one of `parts`, gives `Records`.
        parts: settings of the reader, which are settings of the source too; one set for each split. A part that
            cannot be read is a note where another can: few people have all splits.
        checked: further settings for a check, as a `step`.
        labels: what a recipe may use of it.
        file: that the recipe's path names, in the folder; empty: the folder.
        pixels: `module:function`; called with the folder, gives something whose `read` takes the records' images. Empty:
            they are plain files and videos.
    """

    name: str
    title: str
    fits: Callable[[Path], bool]
    reader: str
    parts: tuple[Mapping[str, Any], ...] = ({},)
    checked: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=lambda: {"keypoints": True, "pose": "none"})
    pixels: str = ""
    file: str = ""


def recognise(path: Path) -> Kind:
    """The kind of a folder.

    Raises:
        VergenceError: no such folder, or of no kind; the remedy says what would be recognised.
    """
    if not path.exists():
        raise VergenceError(f"there is no {path}", "Check the path.")
    for kind in KINDS:
        if kind.fits(path):
            return kind
    remedy = f"Give the top folder of one of: {'; '.join(dict.fromkeys(kind.title for kind in KINDS))}."
    raise VergenceError(f"{path} is no dataset that is known here", remedy)


def read_kind(
    kind: Kind, path: Path, split: str = ""
) -> tuple[list[tuple[Part, Records]], list[tuple[Part, VergenceError]]]:
    """Each part of a folder that can be read (or the one that `split` names), with its settings; and those that cannot, with
    the reason.

    Raises:
        VergenceError: no part can be read; each one's reason, since the first may only be missing.
    """
    function = plugins.imported(kind.reader)
    found: list[tuple[Part, Records]] = []
    refused: list[tuple[Part, VergenceError]] = []
    parts = kind.parts
    if split:
        if not any("split" in part for part in parts):
            raise VergenceError(f"--split is {split}, but {kind.title} has no parts", "Leave it out.")
        parts = ({"split": split},)
    for part in parts:
        try:
            found.append((part, function(path, **part, **kind.checked)))
        except VergenceError as error:
            refused.append((part, error))
    if not found and len(refused) == 1:
        raise refused[0][1]
    if not found:
        said = [f"{' '.join(map(str, part.values()))}: {error.problem.rstrip('.')}" for part, error in refused]
        raise VergenceError("; ".join(said), " ".join(dict.fromkeys(error.remedy for _, error in refused)))
    return found, refused


def recipe_line(kind: Kind, path: Path, part: Mapping[str, Any], records: Records) -> str:
    """The entry of a recipe's `sources:` that reads this part."""
    name = "_".join(["my", kind.name or "data", *map(str, part.values())])
    labels = dict(kind.labels)
    if not np.isfinite(records.pose).any():
        labels["pose"] = "none"
    if not np.isfinite(records.keypoints).any():
        labels["keypoints"] = False
    settings = {"kind": kind.name, "path": str(path / kind.file), **part, **labels}
    words = ", ".join(f"{key}: {_yaml(value)}" for key, value in settings.items())
    return f"{name}: {{{words}}}"


def _yaml(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return json.dumps(text) if isinstance(value, str) and not text.replace("/", "").replace("_", "").isalnum() else text


def _has(path: Path, *patterns: str) -> bool:
    return path.is_dir() and any(next(iter(path.glob(pattern)), None) is not None for pattern in patterns)


def _is_clips(path: Path) -> bool:
    from vergence.datasets.mannequin_challenge import looks_like_clip
    from vergence.datasets.mannequin_clips import SPLITS

    files: Iterable[Path] = (f for base in (path, *(path / s for s in SPLITS)) for f in sorted(base.glob("*.txt"))[:3])
    return path.is_dir() and any(looks_like_clip(file) for file in files)


def _is_capture(path: Path) -> bool:
    if path.suffix == ".toml" or not path.is_dir():
        return path.name == "capture.toml"
    if (path / "capture.toml").is_file():
        return True
    videos = [p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES]
    texts = [p for p in path.glob("*.txt") if find_reader(plugins.calibration_readers, p) is None]
    texts = [p for p in texts if p.name not in COLMAP_FILES]
    return bool(videos) and not texts and not _has(path, "*.mat", "*.cdf")


def _is_mpii(path: Path) -> bool:
    if _has(path, "mpii_human_pose_v1_u12*", "*/mpii_human_pose_v1_u12*.mat"):
        return True
    lists = (path / name for name in ("annot/train.json", "annot/valid.json", "annot/trainval.json",
                                      "annotations/mpii_train.json", "annotations/mpii_valid.json"))  # fmt: skip
    return any(b'"joints_vis"' in beginning(file) for file in lists if file.is_file())


_POSES = {"keypoints": True, "pose": "all"}
_SPLITS = ({"split": "train"}, {"split": "test"})
_HUMAN36M = partial(
    Kind, "human36m", reader="vergence.datasets.human36m:read_human36m", parts=_SPLITS, labels=_POSES,
    checked={"step": 320},
)  # fmt: skip

KINDS: tuple[Kind, ...] = (
    Kind("shards", "crops that `vergence data prepare` wrote", lambda p: _has(p, "shard-*.h5", "plan.json"),
         "vergence.datasets.validation.readers:read_shards", labels=_POSES,
         pixels="vergence.datasets.validation.readers:ShardPixels"),
    _HUMAN36M(title="Human3.6M, the official download",
              fits=lambda p: _has(p, "S*/MyPoseFeatures", "S*/Poses_D3_Positions*", "S*/D3_Positions*")),
    _HUMAN36M(title="Human3.6M as mmpose prepares it",
              fits=lambda p: _has(p, "annotation_body3d", "fps10/h36m_*.npz", "fps50/h36m_*.npz")),
    _HUMAN36M(title="Human3.6M as VideoPose3D prepares it",
              fits=lambda p: p.name == "data_3d_h36m.npz" or _has(p, "data_3d_h36m.npz")),
    Kind("mpi_inf_3dhp", "MPI-INF-3DHP",
         lambda p: _has(p, "S*/Seq*/annot.mat", "TS*/annot_data.mat", "mpi_inf_3dhp_test_set",
                        "*/TS*/annot_data.mat"),
         "vergence.datasets.mpi_inf_3dhp:read_mpi_inf_3dhp", _SPLITS, {"step": 100}, _POSES),
    Kind("mpii", "MPII Human Pose", _is_mpii, "vergence.datasets.mpii:read_mpii",
         ({"split": "train"}, {"split": "valid"}, {"split": "trainval"})),
    Kind("coco", "COCO person keypoints",
         lambda p: _has(p, "annotations/person_keypoints_*.json", "person_keypoints_*.json"),
         "vergence.datasets.coco:read_coco", ({"split": "train"}, {"split": "val"})),
    Kind("coco", "a file of people's keypoints in COCO's form", lambda p: p.suffix == ".json" and p.is_file(),
         "vergence.datasets.coco:read_coco"),
    Kind("mannequin_challenge", "MannequinChallenge", _is_clips,
         "vergence.datasets.mannequin_challenge:read_mannequin_challenge"),
    Kind("coco", "images that `vergence synth --kind images` wrote",
         lambda p: all((p / name).exists() for name in ("keypoints.json", "truth.npz", "images")),
         "vergence.datasets.validation.readers:read_world_images", file="keypoints.json"),
    Kind("capture", "a capture (videos of one moment)", _is_capture,
         "vergence.datasets.validation.readers:read_capture_records",
         pixels="vergence.datasets.validation.readers:capture_pixels"),
    Kind("", "a folder of captures", lambda p: _has(p, "*/capture.toml"), "vergence.datasets.validation.readers:read_captures",
         pixels="vergence.datasets.validation.readers:capture_pixels"),
)  # fmt: skip


def joined(parts: Iterable[Records]) -> Records:
    """Parts of one dataset as one for a check, numbered on from each other, in the groups that all have."""
    parts = list(parts)
    names = set.intersection(*(set(part.groups) for part in parts))
    out: list[Records] = []
    for part in parts:
        change: dict[str, Any] = {"groups": {name: part.groups[name] for name in sorted(names)}, "measures": {}}
        for name in ("subject", "sequence", "time_step"):
            value, last = getattr(part, name), getattr(out[-1], name) if out else np.array([-1])
            change[name] = value - value.min(initial=0) + last.max(initial=-1) + 1 if out else value
        out.append(dataclasses.replace(part.convert(parts[0].skeleton), **change))
    return Records.cat(out)
