"""MPI-INF-3DHP as it is downloaded: eight people before 14 cameras (training), six people before one (test).

    ROOT/S1/Seq1/annot.mat, camera.calibration, imageSequence/video_0.avi ...       training
    ROOT/mpi_inf_3dhp_test_set/TS1/annot_data.mat, imageSequence/img_000001.jpg ... test (ROOT may be this folder too)

Poses come in two sizes: `annot3`, true millimetres, which projects onto the 2D labels; and `univ_annot3`, everybody at one
body size, on which the official evaluation is done. Which one a `Records.pose` is, the report says. Hips and spine of the
3D lie 1 to 2 px beside the 2D: the dataset is so.

Of the training set's 28 joints the 17 of the test set are kept; both parts are then one skeleton, `mpi_inf_17`. World y is
up. Images have no lens distortion. The test set's intrinsics are those that its own `annot2` and `annot3` have in common,
fitted per sequence; its cameras' turn, and so `up`, are known where `test_util/camera_calibration` lies beside it.

What breaks it: annotations run past the end of some videos, or a copy of a video is cut off; such frames are left out and
counted. Left and right are said to be swapped in S4/Seq2, frames 3759 to 5852; that could not be checked, and they are kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.matlab import read_mat5, read_mat73
from vergence.datasets.formats.media import Footage, frame_count, numbered_images
from vergence.datasets.make_records import make_records
from vergence.datasets.mpi_inf_3dhp_cameras import fit_intrinsics, read_calibration, read_test_turn
from vergence.datasets.people import SEEN_JOINTS, chosen, seen_within, with_crops
from vergence.datasets.records import ImageRef, Records
from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import person_boxes
from vergence.progress import followed, hearing
from vergence.skeleton import MPI_INF_17, MPI_INF_28

CAMERA_SETS = {"all": tuple(range(14)), "vnect": (0, 1, 2, 4, 5, 6, 7, 8), "chest": (0, 2, 4, 7, 8)}
SUBJECTS, SEQUENCES, CAMERAS, TESTS = range(1, 9), (1, 2), 14, range(1, 7)
FIFTY_FPS = {(1, 2), (3, 1), (3, 2), (5, 1), (5, 2)}  # subject and sequence; the others have 25
TEST_FPS = 25.0
SCENES = {1: "green_screen", 2: "green_screen", 3: "no_green_screen", 4: "no_green_screen", 5: "outdoor", 6: "outdoor"}
ACTIVITIES = (
    "standing_walking", "exercising", "sitting", "reaching_crouching", "on_the_floor", "sports", "miscellaneous",
)  # fmt: skip
ORIGINAL = "Take the original file."
TIME_STEPS_EACH = 100_000  # more than any sequence has frames
CHECKED_FRAMES, MOST_REPROJECTION_PX = 200, 5.0
FIT_JOINTS = [i for i, name in enumerate(MPI_INF_17.joint_names) if "hip" not in name and name != "spine"]


def read_mpi_inf_3dhp(
    path: Path | str, split: str = "train", step: int = 1, cameras: str = "all", universal: bool = False
) -> Records:
    """The training or the test set; skeleton `mpi_inf_17`.

    Args:
        path: the folder that holds S1 to S8, or TS1 to TS6, or both (`mpi_inf_3dhp_test_set` may be nested twice).
        split: `train` (S1 to S8), `test` (TS1 to TS6), or some of one of them, as `S1,S2` or `TS5,TS6`.
        step: every which frame; of the test set, every which valid frame.
        cameras: of the training set: `all` 14, `vnect` (0 1 2 4 5 6 7 8, which papers train on), `chest` (0 2 4 7 8), or
            numbers as `0,2`. A sequence without a camera's images goes without it, and the report says so.
        universal: poses at the one body size of `univ_annot3`, which do not project onto the keypoints.

    Returns:
        Records grouped by `subject`, `sequence`, `camera`, `scene` and, of the test set, `activity`.

    Raises:
        VergenceError: nothing of the dataset there; a damaged or incomplete annotation or calibration file; a video of
            another size than its calibration.
    """
    if step < 1:
        raise VergenceError(f"step is {step}", "Give 1 for every frame, 5 for every fifth.")
    testing, subjects = _subjects(split)
    remedy = f"Use {', '.join(CAMERA_SETS)}, or numbers 0 to 13 as 0,2."
    views = chosen(cameras, CAMERA_SETS, {str(n): n for n in range(CAMERAS)}, "there are no cameras", remedy)
    counts: Counter[str] = Counter()
    variable = "univ_annot3" if universal else "annot3"
    parts = (
        _test(Path(path), subjects, step, variable, counts)
        if testing
        else _train(Path(path), subjects, views, step, variable, counts)
    )
    records = with_crops(Records.cat(parts), counts)
    sequences = len(set(records.sequence.tolist()))
    report: dict[str, Any] = {"split": split, "step": step, "poses": variable, "sequences": sequences}
    return dataclasses.replace(records, report={**report, "left_out": {k: v for k, v in counts.items() if v}})


def _subjects(split: str) -> tuple[bool, tuple[int, ...]]:
    """Is it the test set, and which people of it."""
    testing = split == "test" or split.strip().upper().startswith("TS")
    known = {f"TS{n}": n for n in TESTS} if testing else {f"S{n}": n for n in SUBJECTS}
    remedy = "Use train, test, or people of one of them, as S1,S8 or TS5,TS6."
    return testing, chosen(split, {"train": SUBJECTS, "test": TESTS}, known, "MPI-INF-3DHP has no split", remedy)


def _train(
    root: Path, subjects: Sequence[int], cameras: Sequence[int], step: int, variable: str, counts: Counter[str]
) -> list[Records]:
    base = _find(root, "S", subjects, ("", "mpi_inf_3dhp"))
    parts = []
    for subject in followed(subjects, "subjects", len(subjects), hearing()):
        for sequence in SEQUENCES:
            folder = base / f"S{subject}" / f"Seq{sequence}"
            if folder.is_dir():
                parts += _train_sequence(folder, subject, sequence, cameras, step, variable, counts)
            else:
                counts["sequences without a folder"] += 1
    if not parts:
        remedy = "Each S*/Seq* needs imageSequence/video_<camera>.avi, or its frames as img_<camera>_000001.jpg."
        raise VergenceError(f"{base} has no images of cameras {', '.join(map(str, cameras))}", remedy)
    return parts


def _train_sequence(
    folder: Path, subject: int, number: int, cameras: Sequence[int], step: int, variable: str, counts: Counter[str]
) -> list[Records]:
    """One part for each camera that has images."""
    rig = read_calibration(folder / "camera.calibration")
    cells = read_mat5(folder / "annot.mat", ["annot2", variable])
    parts = []
    for camera in cameras:
        images = _images(folder, camera)
        if images is None:
            counts["cameras without images"] += 1
            continue
        if camera not in rig:
            raise VergenceError(
                f"{folder / 'camera.calibration'} has no camera {camera}", "Take the original file, or leave it out."
            )
        keypoints = _cell(folder, cells, "annot2", camera, 2)
        pose = _cell(folder, cells, variable, camera, 3)
        if len(keypoints) != len(pose):
            where = f"{folder / 'annot.mat'}, camera {camera}"
            raise VergenceError(f"{where}, has {len(keypoints)} rows of 2D and {len(pose)} of 3D", ORIGINAL)
        wanted = np.arange(0, len(pose), step)
        there = wanted[images.has(wanted)]
        counts["frames beyond the images"] += len(wanted) - len(there)
        if images.size != rig[camera].image_size:
            ours, theirs = ("x".join(map(str, size)) for size in (images.size, rig[camera].image_size or ()))
            raise VergenceError(f"{images.path} is {ours}, its calibration is for {theirs}",
                                "Use the original videos; labels and cameras belong to their size.")  # fmt: skip
        if len(there) and variable == "annot3":
            some = there[:CHECKED_FRAMES]
            _check_projection(folder, camera, pose[some], keypoints[some], rig[camera])
        if len(there):
            groups = {"sequence": f"S{subject}/Seq{number}", "scene": "green_screen"}
            which = (subject - 1, (subject - 1) * len(SEQUENCES) + number - 1, camera)
            fps, places = 50.0 if (subject, number) in FIFTY_FPS else 25.0, images.images(there)
            parts.append(_part(rig[camera], places, keypoints[there], pose[there], which, there, fps, groups))
    return parts


def _check_projection(
    folder: Path, camera: int, pose: Float[ndarray, "N 28 3"], keypoints: Float[ndarray, "N 28 2"], rig: Camera
) -> None:
    """Labels and calibration belong together: a wrong axis, unit, order or camera is hundreds of pixels."""
    projected = (pose / pose[..., 2:] @ rig.K.T)[..., :2]
    off = float(np.nanmedian(np.linalg.norm(projected - keypoints, axis=-1)))
    if not off <= MOST_REPROJECTION_PX:
        raise VergenceError(
            f"the 3D of camera {camera} in {folder / 'annot.mat'} falls {off:.4g} px (median) beside its 2D; the limit is "
            f"{MOST_REPROJECTION_PX:g}",
            "Take annot.mat and camera.calibration of one sequence, as downloaded.",
        )


def _test(root: Path, subjects: Sequence[int], step: int, variable: str, counts: Counter[str]) -> list[Records]:
    nested = "mpi_inf_3dhp_test_set"
    base = _find(root, "TS", subjects, ("", nested, f"{nested}/{nested}", f"mpi_inf_3dhp/{nested}"))
    parts = []
    for subject in subjects:
        if (base / f"TS{subject}").is_dir():
            parts += _test_sequence(base, subject, step, variable, counts)
        else:
            counts["sequences without a folder"] += 1
    if not parts:
        raise VergenceError(
            f"{base} has no images of valid frames",
            "Put them into each TS*, as imageSequence/img_000001.jpg and so on.",
        )
    return parts


def _test_sequence(base: Path, subject: int, step: int, variable: str, counts: Counter[str]) -> list[Records]:
    folder = base / f"TS{subject}"
    file = folder / "annot_data.mat"
    names = ["annot2", "annot3", variable, "valid_frame", "activity_annotation"]
    data = read_mat73(file, list(dict.fromkeys(names)))
    n = len(data["valid_frame"])
    wanted: dict[str, tuple[int, ...]] = {"annot2": (n, 1, 17, 2), "annot3": (n, 1, 17, 3), variable: (n, 1, 17, 3)}
    wanted |= {"valid_frame": (n, 1), "activity_annotation": (n, 1)}
    for name, shape in wanted.items():
        if data[name].shape != shape:
            raise VergenceError(f"{name} in {file} has the shape {data[name].shape}, not {shape}", ORIGINAL)
    activity = data["activity_annotation"][:, 0].astype(int)
    valid = np.flatnonzero(data["valid_frame"][:, 0])
    if not np.isin(activity[valid], np.arange(1, 8)).all():
        raise VergenceError(
            f"{file} has the activities {sorted(set(activity[valid].tolist()))}; they are 1 to 7",
            "Take the original file.",
        )
    counts["frames that are not valid"] += n - len(valid)
    valid = valid[::step]
    if not any((folder / "imageSequence").glob("img_*.jpg")):
        counts["frames beyond the images"] += len(valid)
        return []
    images = numbered_images(folder / "imageSequence", r"img_(\d{6})\.jpg", 1)
    there = valid[images.has(valid)]
    counts["frames beyond the images"] += len(valid) - len(there)
    if not len(there):
        return []
    keypoints, true = data["annot2"][there, 0].astype(float), data["annot3"][there, 0].astype(float)
    lens = fit_intrinsics(true[:, FIT_JOINTS], keypoints[:, FIT_JOINTS], str(file))
    rotation, translation = read_test_turn(base, subject) or (None, None)
    camera = Camera("0", images.size, lens, rotation=rotation, translation=translation)
    groups = {
        "sequence": f"TS{subject}",
        "scene": SCENES[subject],
        "activity": np.array(ACTIVITIES)[activity[there] - 1],
    }
    pose = data[variable][there, 0].astype(float)
    return [
        _part(camera, images.images(there), keypoints, pose, (subject - 1, subject - 1, 0), there, TEST_FPS, groups)
    ]


def _part(
    camera: Camera,
    images: list[ImageRef],
    keypoints: Float[ndarray, "N P 2"],
    pose: Float[ndarray, "N P 3"],
    numbers: tuple[int, int, int],
    frames: ndarray,
    fps: float,
    groups: dict[str, Any],
) -> Records:
    """Records of one camera's frames; keypoints outside the image are unknown, and boxes hold those of all joints inside.

    Args:
        numbers: of subject, sequence and view.
    """
    own = MPI_INF_28 if keypoints.shape[1] == len(MPI_INF_28) else MPI_INF_17
    seen = seen_within(keypoints, np.tile(np.array(camera.image_size, dtype=float), (len(frames), 1)))
    subject, sequence, view = numbers
    who, up = groups["sequence"], np.full(3, np.nan) if camera.rotation is None else camera.rotation[:, 1]
    return make_records(
        images, MPI_INF_17, camera=camera, box=person_boxes(seen, SEEN_JOINTS), keypoints=own.convert(seen, MPI_INF_17),
        pose=own.convert(pose, MPI_INF_17), up=up, subject=subject,
        sequence=sequence, view=view, frame=frames, time_step=sequence * TIME_STEPS_EACH + frames, time=frames / fps,
        groups={"subject": who.partition("/")[0], "sequence": who, "camera": camera.name, **groups},
    )  # fmt: skip


def _find(root: Path, letter: str, subjects: Sequence[int], nested: Sequence[str]) -> Path:
    """The folder that holds S1, S2 ... or TS1, TS2 ..."""
    for name in nested:
        if any((root / name / f"{letter}{subject}").is_dir() for subject in subjects):
            return root / name
    remedy = "Give the folder of MPI-INF-3DHP that holds them."
    raise VergenceError(f"{root} has none of {', '.join(f'{letter}{subject}' for subject in subjects)}", remedy)


def _images(folder: Path, camera: int) -> Footage | None:
    """The camera's video, or its frames as files: numbered from 1, or from 0 where a file has that number."""
    for suffix in (".avi", ".mp4"):
        video = folder / "imageSequence" / f"video_{camera}{suffix}"
        if video.exists():
            count, size = frame_count(video)
            return Footage(video, size, count)
    for place, name in (("imageSequence", f"img_{camera}_"), (f"imageFrames/video_{camera}", "frame_")):
        if any((folder / place).glob(f"{name}*.jpg")):
            return numbered_images(folder / place, rf"{name}(\d{{6}})\.jpg")
    return None


def _cell(folder: Path, cells: dict[str, ndarray], name: str, camera: int, width: int) -> Float[ndarray, "F 28 _"]:
    """One camera's cell of `annot.mat`: rows of x1 y1 (z1) x2 ... as joints."""
    value, what = cells[name], f"{folder / 'annot.mat'}: {name}"
    if value.dtype != object or value.size != CAMERAS:
        raise VergenceError(f"{what} has shape {value.shape} of {value.dtype}, not {CAMERAS} cells", ORIGINAL)
    rows, joints = np.asarray(value.ravel()[camera], dtype=float), len(MPI_INF_28)
    if rows.ndim != 2 or rows.shape[1] != joints * width:
        size = f"{rows.shape}, not frames x {joints * width}"
        raise VergenceError(f"{what} of camera {camera} has shape {size}", ORIGINAL)
    return rows.reshape(len(rows), joints, width)
