"""Human3.6M as it lies on people's disks: the official download, VideoPose3D's NPZ, mmpose's NPZ; clip by clip.

A clip is one sequence seen by one camera. All three layouts end in the same clips: 17 of the 32 joints, mm, the camera's
frame, frame numbers of the 50 fps video.

What breaks it: a joint order, a unit or a camera convention that is not as assumed shows as a reprojection error or as
views that disagree about where the person is; `human36m.read_human36m` measures both and refuses large ones. What is
missing or unreadable is left out and counted by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.datasets.formats.pickles import load_npz
from vergence.datasets.human36m_cameras import CAMERAS, Cameras
from vergence.datasets.human36m_images import Footage, Images, Left, canonical_stem, is_sequence
from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError

JOINTS_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)  # our 17, in their order
TRAIN, TEST = (1, 5, 6, 7, 8), (9, 11)
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
    footage: Footage,
    left: Left,
    subject: int,
    stem: str,
    camera: str,
    frames: ndarray,
    pose: ndarray,
    points: ndarray | None,
) -> Clip | None:
    """A clip of the frames that have an image; the others are counted."""
    has = footage.has(frames)
    left.out("frames_without_images", f"S{subject} {stem}.{camera}", int((~has).sum()))
    if not has.any():
        return None
    frames = frames[has]
    return Clip(
        subject, stem, camera, frames, pose[has], None if points is None else points[has], footage.images(frames),
        footage.size,
    )  # fmt: skip


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
    for subject in wanted.subjects:
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
                pose = to_camera(whole, cameras, subject, camera) if whole is not None else read_cdf(file, 3)  # type: ignore[arg-type]
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
                clip = _clip(
                    footage,
                    left,
                    subject,
                    stem,
                    camera,
                    frames,
                    pose[frames],
                    None if points is None else points[frames],
                )
                if clip:
                    yield clip


def to_camera(pose: Float[ndarray, "F J 3"], cameras: Cameras, subject: int, camera: str) -> Float[ndarray, "F J 3"]:
    """World poses, mm, in a camera's frame."""
    return cameras[subject, camera].to_camera(pose)


def read_cdf(path: Path, columns: int) -> Float[ndarray, "F 17 D"]:
    """Our 17 joints of the variable `Pose` of a CDF file.

    Raises:
        VergenceError: missing, damaged, or not 32 joints of so many columns.
    """
    import cdflib

    if not path.is_file():
        raise VergenceError(f"there is no file {path}", "Unpack the archive again.")
    try:
        value = np.asarray(cdflib.CDF(path).varget("Pose"), dtype=np.float64)
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise VergenceError(
            f"{path} cannot be read as a CDF file with a variable Pose: {(str(error).splitlines() or ['damaged'])[0]}",
            "Unpack the archive again.",
        ) from error
    value = value.reshape(value.shape[-2:]) if value.ndim == 3 and len(value) == 1 else value
    if value.ndim != 2 or value.shape[1] != 32 * columns or not np.isfinite(value).all():
        raise VergenceError(
            f"{path} holds {value.shape}, or numbers that are not finite; 32 joints have {32 * columns} columns",
            "Unpack the archive again.",
        )
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
    for subject in wanted.subjects:
        if f"S{subject}" not in content:
            raise _no_subject(file, subject)
        for name in sorted(content[f"S{subject}"]):
            stem = canonical_stem(str(name))
            world = np.asarray(content[f"S{subject}"][name], dtype=np.float64)
            if not is_sequence(stem):
                continue
            if world.ndim != 3 or world.shape[1:] != (32, 3):
                raise VergenceError(
                    f"{file}: S{subject} {name} has the shape {world.shape}", "It must be frames x 32 joints x 3."
                )
            frames = np.arange(0, len(world), wanted.step)
            ours = 1000 * world[frames][:, list(JOINTS_32)]
            for camera in wanted.cameras:
                if footage := images.of(subject, stem, camera):
                    pose = to_camera(ours, cameras, subject, camera)
                    if clip := _clip(footage, left, subject, stem, camera, frames, pose, None):
                        yield clip


def mmpose_files(root: Path, step: int) -> list[Path]:
    """mmpose's annotation files that hold every `step`-th frame: of the smaller preparation where that has them all."""
    base = root / "annotation_body3d" if (root / "annotation_body3d").is_dir() else root
    for name in ("fps10", "fps50") if step % 5 == 0 else ("fps50",):
        if found := sorted((base / name).glob("h36m_*.npz")):
            return found
    if (base / "fps10").is_dir():
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
        try:
            names, flat, poses = content["imgname"].astype(str), content["part"], content["S"]
        except (KeyError, AttributeError) as error:
            raise VergenceError(f"{file} lacks {error}", "mmpose's files hold imgname, part and S.") from error
        n = len(names)
        if flat.shape[:2] != (n, 17) or poses.shape != (n, 17, 4) or flat.shape[2] != 3:
            raise VergenceError(
                f"{file}: {n} images, 2D of {flat.shape}, 3D of {poses.shape}", "They are N x 17 x 3 and N x 17 x 4."
            )
        parsed = [_IMAGE.fullmatch(name.replace("\\", "/").rpartition("/")[2]) for name in names]
        if bad := [name for name, match in zip(names, parsed, strict=True) if match is None]:
            raise VergenceError(f"{file} names an image {bad[0]}", "They are S1_Directions_1.54138969_000001.jpg.")
        keys, clip_of = np.unique([f"{m[1]}|{m[2]}|{m[3]}" for m in parsed if m], return_inverse=True)
        frames = np.array([int(m[4]) - 1 for m in parsed if m])
        order = np.lexsort((frames, clip_of))
        starts = np.searchsorted(clip_of[order], np.arange(len(keys) + 1))
        for i, key in enumerate(keys.tolist()):
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
            if clip := _clip(footage, left, subject, stem, camera, frames[rows], pose, points):
                yield clip
    if missing:
        raise _no_subject(root, min(missing))


_IMAGE = re.compile(rf"S(\d+)_(.+)\.({'|'.join(CAMERAS)})_(\d+)\.\w+")


def _no_subject(where: Path, subject: int) -> VergenceError:
    return VergenceError(
        f"{where} has no 3D of S{subject}",
        "Put it there, or name the subjects to use in split:, as S1,S5; what is measured on fewer is another protocol.",
    )
