"""Human3.6M as it lies on people's disks: the official download, VideoPose3D's NPZ, mmpose's NPZ; clip by clip.

A clip is one sequence seen by one camera. All three layouts end in the same clips: 17 of the 32 joints, mm, the camera's
frame, frame numbers of the 50 fps video. Images are videos or folders of numbered images, found by one name of a sequence:
names are made equal first (`TakingPhoto 1`, `Photo_1` and `Photo 1` are one sequence), so images of one preparation serve
the labels of another.

What breaks it: a joint order, a unit or a camera convention that is not as assumed shows as a reprojection error or as
views that disagree about where the person is; `human36m.read_human36m` measures both and refuses large ones. What is
missing or unreadable is left out and counted by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.datasets.formats.media import Footage, numbered_images, video_header
from vergence.datasets.formats.pickles import load_npz
from vergence.datasets.human36m_cameras import CAMERAS, Cameras
from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError, refusing
from vergence.progress import followed, hearing

ACTIONS = (
    "Directions Discussion Eating Greeting Phoning Photo Posing Purchases Sitting SittingDown Smoking Waiting WalkDog "
    "Walking WalkTogether"
).split()
_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}
NAMED_AT_MOST = 20  # of what was left out, in the report


@dataclass
class Left:
    """What was left out, by reason: how much, and the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def out(self, reason: str, name: str, count: int = 1) -> None:
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            names = self.names.setdefault(reason, [])
            if len(names) < NAMED_AT_MOST and name not in names:
                names.append(name)


def canonical_stem(stem: str) -> str:
    """One name for a sequence, whatever the preparation: `TakingPhoto_1` is `Photo 1`."""
    action, _, number = re.sub(r"[_\s]+", " ", stem).strip().partition(" ")
    return " ".join(filter(None, [_OTHER_NAMES.get(action, action), number]))


def action_of(stem: str) -> str:
    """The action of a canonical stem: all before the first space, so Sitting is not SittingDown."""
    return stem.partition(" ")[0]


def sequence_number(subject: int, stem: str) -> int:
    """A number for a sequence that does not depend on what else was read."""
    number = stem.partition(" ")[2]
    return subject * 1000 + ACTIONS.index(action_of(stem)) * 10 + (int(number) if number else 0)


def is_sequence(stem: str) -> bool:
    """Whether a canonical stem names one of the 15 actions (`_ALL`, calibration videos and strangers do not)."""
    return bool(re.fullmatch(rf"({'|'.join(ACTIONS)})( \d)?", stem))


class Images:
    """Videos (`S1/Videos/Directions 1.54138969.mp4`) and folders of images (mmpose's `images/S1/S1_Directions_1.54138969`)
    under a root, found by subject, canonical stem and camera; videos first."""

    def __init__(self, root: Path, left: Left) -> None:
        self.root, self.left = root, left
        self._listed = cache(self._list)

    def _list(self, subject: int) -> dict[tuple[str, str], Path]:
        found = {}
        folders = [self.root / "images" / f"S{subject}", self.root / f"S{subject}" / "Videos"]
        for folder in folders:
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                name = path.stem if path.suffix.lower() == ".mp4" else path.name
                stem, _, camera = name.removeprefix(f"S{subject}_").rpartition(".")
                if is_sequence(canonical_stem(stem)):
                    found[canonical_stem(stem), camera] = path
        return found

    def any(self, subjects: Sequence[int]) -> bool:
        return any(self._listed(subject) for subject in subjects)

    def of(self, subject: int, stem: str, camera: str) -> Footage | None:
        """A clip's images; None, and counted, where there are none or they cannot be read."""
        path, name = self._listed(subject).get((stem, camera)), f"S{subject} {stem}.{camera}"
        if path is None:
            self.left.out("views_without_images", name)
            return None
        try:
            return numbered_images(path, r".*_(\d+)\.(?:jpe?g|png)", 1) if path.is_dir() else video_header(path)
        except (VergenceError, OSError, SyntaxError, ValueError):
            self.left.out("views_with_unreadable_images", name)
            return None


JOINTS_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)  # our 17, in their order
TRAIN, TEST = (1, 5, 6, 7, 8), (9, 11)
AGAIN = "Unpack the archive again."
VIDEOPOSE_FILE = "data_3d_h36m.npz"


@dataclass(frozen=True)
class Wanted:
    """What to read: subjects, cameras, and every `step`-th frame."""

    subjects: tuple[int, ...]
    cameras: tuple[str, ...]
    step: int


@dataclass(frozen=True)
class Clip:
    """F frames of one sequence by one camera: frame numbers from 0, poses in mm in the camera's frame, px as recorded."""

    subject: int
    stem: str
    camera: str
    frames: Int[ndarray, " F"]
    pose: Float[ndarray, "F 17 3"]
    keypoints: Float[ndarray, "F 17 2"] | None
    images: Sequence[ImageRef]
    size: tuple[int, int]


def _clip(
    footage: Footage, left: Left, key: tuple[int, str, str], frames: ndarray, pose: ndarray, points: ndarray | None
) -> Iterator[Clip]:
    """The clip of that subject, stem and camera, of the frames that have an image; the others are counted."""
    has = footage.has(frames)
    left.out("frames_without_images", "S{} {}.{}".format(*key), int((~has).sum()))
    if has.any():
        points = None if points is None else points[has]
        yield Clip(*key, frames[has], pose[has], points, footage.images(frames[has]), footage.size)


def official_folders(root: Path, subject: int) -> dict[str, Path]:
    """The folders of CDF files of a subject: `D2_Positions`, `D3_Positions`, `D3_Positions_mono`; those that are there."""
    base = root / f"S{subject}"
    found = {}
    for kind in ("D2_Positions", "D3_Positions", "D3_Positions_mono"):
        for folder in (base / "MyPoseFeatures" / kind, base / f"Poses_{kind}"):
            if folder.is_dir():
                found[kind] = folder
    return found


def official_clips(root: Path, wanted: Wanted, cameras: Cameras, left: Left) -> Iterator[Clip]:
    """The official download: CDF files and videos. Poses in camera frames where they are there, else world poses moved.

    Raises:
        VergenceError: no 3D of a wanted subject, or a damaged CDF file.
    """
    images = Images(root, left)
    for subject in followed(wanted.subjects, "subjects", len(wanted.subjects), hearing()):
        folders = official_folders(root, subject)
        kind = "D3_Positions_mono" if "D3_Positions_mono" in folders else "D3_Positions"
        if kind not in folders:
            raise _no_subject(root / f"S{subject}" / "MyPoseFeatures" / kind, subject)
        files = {path.stem: path for path in sorted(folders[kind].glob("*.cdf"))}
        names = sorted({name.rpartition(".")[0] if kind.endswith("mono") else name for name in files})
        for name in names:
            stem = canonical_stem(name)
            if not is_sequence(stem):
                continue
            whole = read_cdf(files[name], 3) if kind == "D3_Positions" else None
            for camera in wanted.cameras:
                file = files.get(f"{name}.{camera}")
                if whole is None and file is None:
                    left.out("views_without_3d", f"S{subject} {stem}.{camera}")
                    continue
                footage = images.of(subject, stem, camera)
                if footage is None:
                    continue
                pose = cameras[subject, camera].to_camera(whole) if whole is not None else read_cdf(file, 3)  # type: ignore[arg-type]
                points = None
                if "D2_Positions" in folders:
                    flat = folders["D2_Positions"] / f"{name}.{camera}.cdf"
                    if not flat.is_file():
                        left.out("views_without_2d", f"S{subject} {stem}.{camera}")
                        continue
                    points = read_cdf(flat, 2)
                    left.out("frames_where_2d_and_3d_disagree", str(flat), abs(len(points) - len(pose)))
                    pose, points = pose[: len(points)], points[: len(pose)]
                frames = np.arange(0, len(pose), wanted.step)
                points = None if points is None else points[frames]
                yield from _clip(footage, left, (subject, stem, camera), frames, pose[frames], points)


def read_cdf(path: Path, columns: int) -> Float[ndarray, "F 17 D"]:
    """Our 17 joints of the variable `Pose` of a CDF file.

    Raises:
        VergenceError: missing, damaged, or not 32 joints of so many columns.
    """
    import cdflib

    if not path.is_file():
        raise VergenceError(f"there is no file {path}", AGAIN)
    with refusing(f"{path} cannot be read as a CDF file with a variable Pose", AGAIN):
        value = np.asarray(cdflib.CDF(path).varget("Pose"), dtype=np.float64)
    value = value.reshape(value.shape[-2:]) if value.ndim == 3 and len(value) == 1 else value
    if value.ndim != 2 or value.shape[1] != 32 * columns:
        raise VergenceError(f"Pose in {path} has the shape {value.shape}; 32 joints have {32 * columns} columns", AGAIN)
    if bad := int((~np.isfinite(value)).sum()):
        raise VergenceError(f"Pose in {path} has {bad} numbers that are not finite", AGAIN)
    return value.reshape(len(value), 32, columns)[:, list(JOINTS_32)]


def videopose_clips(file: Path, wanted: Wanted, cameras: Cameras, left: Left) -> Iterator[Clip]:
    """VideoPose3D's NPZ: world poses in metres by subject and sequence; the images lie beside it.

    Raises:
        VergenceError: not such a file, a hostile one, or one without a wanted subject.
    """
    content: Any = load_npz(file).get("positions_3d")
    images = Images(file.parent, left)
    if not isinstance(content, dict):
        raise VergenceError(
            f"{file} holds no positions_3d by subject", "Make it with VideoPose3D's preparation script."
        )
    for subject in followed(wanted.subjects, "subjects", len(wanted.subjects), hearing()):
        if f"S{subject}" not in content:
            raise _no_subject(file, subject)
        for name in sorted(content[f"S{subject}"]):
            stem = canonical_stem(str(name))
            world = np.asarray(content[f"S{subject}"][name], dtype=np.float64)
            if not is_sequence(stem):
                continue
            if world.ndim != 3 or world.shape[1:] != (32, 3):
                raise VergenceError(
                    f"S{subject} {name} in {file} has the shape {world.shape}",
                    "Make it again: the shape is frames x 32 joints x 3.",
                )
            frames = np.arange(0, len(world), wanted.step)
            ours = 1000 * world[frames][:, list(JOINTS_32)]
            for camera in wanted.cameras:
                if footage := images.of(subject, stem, camera):
                    pose = cameras[subject, camera].to_camera(ours)
                    yield from _clip(footage, left, (subject, stem, camera), frames, pose, None)


def mmpose_files(root: Path, step: int) -> list[Path]:
    """mmpose's annotation files that hold every `step`-th frame: of the smaller preparation where that has them all."""
    base = root / "annotation_body3d" if (root / "annotation_body3d").is_dir() else root
    for name in ("fps10", "fps50") if step % 5 == 0 else ("fps50",):
        if found := sorted((base / name).glob("h36m_*.npz")):
            return found
    if step % 5 and (base / "fps10").is_dir():
        raise VergenceError(f"{base} has every 5th frame (fps10), not every {step}.", "Set step: 5 or a multiple.")
    return []


def mmpose_clips(root: Path, wanted: Wanted, left: Left) -> Iterator[Clip]:
    """mmpose's `annotation_body3d`: camera-frame poses in metres, one row per image.

    Raises:
        VergenceError: a damaged file, or none with a wanted subject.
    """
    images = Images(root if (root / "images").is_dir() else root.parent, left)
    missing = set(wanted.subjects)
    for file in mmpose_files(root, wanted.step):
        if file.stem in ("h36m_train", "h36m_test"):
            own = TRAIN if file.stem == "h36m_train" else TEST
            if not missing & set(own):
                continue
        content = load_npz(file)
        with refusing(f"{file} is not mmpose's", "It holds imgname, part and S.", KeyError, AttributeError):
            names, flat, poses = content["imgname"].astype(str), content["part"], content["S"]
        n = len(names)
        if flat.shape[:2] != (n, 17) or poses.shape != (n, 17, 4) or flat.shape[2] != 3:
            raise VergenceError(
                f"{file} has {n} images, 2D of shape {flat.shape} and 3D of shape {poses.shape}",
                f"Make it again: {n} images have 2D of shape ({n}, 17, 3) and 3D of shape ({n}, 17, 4).",
            )
        parsed = [_IMAGE.fullmatch(name.replace("\\", "/").rpartition("/")[2]) for name in names]
        if bad := [name for name, match in zip(names, parsed, strict=True) if match is None]:
            raise VergenceError(
                f"{file} names an image {bad[0]}, which tells no frame",
                "Name images as S1_Directions_1.54138969_000001.jpg.",
            )
        keys, clip_of = np.unique([f"{m[1]}|{m[2]}|{m[3]}" for m in parsed if m], return_inverse=True)
        frames = np.array([int(m[4]) - 1 for m in parsed if m])
        order = np.lexsort((frames, clip_of))
        starts = np.searchsorted(clip_of[order], np.arange(len(keys) + 1))
        for i, key in enumerate(followed(keys.tolist(), "clips", len(keys), hearing())):
            number, name, camera = key.split("|")
            subject, stem = int(number), canonical_stem(name)
            if subject not in wanted.subjects or camera not in wanted.cameras or not is_sequence(stem):
                continue
            missing.discard(subject)
            rows = order[starts[i] : starts[i + 1]]
            rows = rows[frames[rows] % wanted.step == 0]
            footage = images.of(subject, stem, camera)
            if footage is None or not len(rows):
                continue
            pose = np.where(poses[rows, :, 3:] > 0, 1000.0 * poses[rows, :, :3], np.nan)
            points = np.where(flat[rows, :, 2:] > 0, flat[rows, :, :2], np.nan)
            yield from _clip(footage, left, (subject, stem, camera), frames[rows], pose, points)
    if missing:
        raise _no_subject(root, min(missing))


_IMAGE = re.compile(rf"S(\d+)_(.+)\.({'|'.join(CAMERAS)})_(\d+)\.\w+")


def _no_subject(where: Path, subject: int) -> VergenceError:
    return VergenceError(
        f"{where} has no 3D of S{subject}",
        "Put it there, or name the subjects to use in split:, as S1,S5; what is measured on fewer is another protocol.",
    )
