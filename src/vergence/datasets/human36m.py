"""Human3.6M (Ionescu 2014): 3.6 million frames of eleven actors, four cameras, and motion capture.

`read_human36m` finds out which of three preparations lies in a folder (`human36m_layouts`) and ends in the same `Records`
for all of them: frames of the 50 fps video, mm, the cameras of each subject with their own lens (`human36m_cameras`), boxes
around the 17 joints, one moment's four views under one `time_step`. Before anything is used, the 3D is projected
onto the 2D and the views are compared: labels and cameras that do not belong together are refused with what was measured.

**S9.** In three sequences (Greeting, SittingDown 1, Waiting 1) the 3D is shifted against the images, by some 200 mm along
the hall. Root-relative errors do not notice; absolute and multi-view ones do. They can be kept (as most single-view papers
do), dropped (as most multi-view papers do) or moved back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from vergence.datasets.human36m_cameras import CAMERAS, FRONTAL, Cameras, find_cameras
from vergence.datasets.human36m_layouts import (
    TEST,
    TRAIN,
    VIDEOPOSE_FILE,
    Clip,
    Left,
    Wanted,
    action_of,
    mmpose_clips,
    mmpose_files,
    official_clips,
    official_folders,
    sequence_number,
    videopose_clips,
)
from vergence.datasets.make_records import make_records
from vergence.datasets.people import chosen
from vergence.datasets.records import Records
from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import BOX_MARGIN, person_boxes
from vergence.skeleton import H36M_17

FPS = 50.0
FRAMES_AT_MOST = 100_000  # of a sequence: room in `time_step`
FAULTY = {(9, "Greeting"), (9, "SittingDown 1"), (9, "Waiting 1")}
FAULTY_SHIFT_MM = np.array([-200.0, 0.0, 0.0])  # in the world: what moves them back
MOST_REPROJECTION_PX = 5.0
MOST_DISAGREEMENT_MM = 20.0

Faulty = Literal["keep", "drop", "repair"]


def read_human36m(
    path: str | Path, split: str = "train", step: int = 1, cameras: str = "all", faulty: Faulty = "keep"
) -> Records:
    """Human3.6M from a folder.

    Args:
        path: the folder of the official download (`S1/MyPoseFeatures/...`, `S1/Videos/...`), or that of VideoPose3D's
            `data_3d_h36m.npz` (or that file), or that of mmpose's `annotation_body3d` and `images`. Cameras lie in it as
            `metadata.xml` or `cameras.pkl`; images as official videos or mmpose's images, whichever are there.
        split: `train` (S1, S5, S6, S7, S8), `test` (S9, S11), or subjects as `S1,S5`.
        step: every so many frames of the video, from its first.
        cameras: `all`, `frontal` (60457274), or names joined by commas.
        faulty: what becomes of S9's three shifted sequences.

    Returns:
        Records of h36m_17, grouped by `action`, `subject`, `camera` and `sequence`; its report counts what was left out.

    Raises:
        VergenceError: no Human3.6M there, a subject or the cameras missing, a damaged or hostile file, no images, or 3D
            that does not fit its 2D or its other views.
    """
    root, file = (Path(path).parent, Path(path)) if Path(path).is_file() else (Path(path), Path(path) / VIDEOPOSE_FILE)
    wanted = Wanted(subjects_of(split), cameras_of(cameras), step)
    if step < 1:
        raise VergenceError(f"step is {step}", "Give 1 for every frame, 5 for every fifth.")
    left = Left()
    layout = _layout(root, file, Path(path).is_file(), step)
    rigs, camera_file = find_cameras(root)
    for subject in wanted.subjects:
        if lacking := [name for name in wanted.cameras if (subject, name) not in rigs]:
            what = "cameras" if len(lacking) == len(wanted.cameras) else f"camera {lacking[0]}"
            raise VergenceError(
                f"{camera_file} has no {what} of S{subject}", "Use the official metadata.xml, or leave the subject out."
            )
    clips: Iterator[Clip] = {
        "official": lambda: official_clips(root, wanted, rigs, left),
        "mmpose": lambda: mmpose_clips(root, wanted, left),
        "videopose3d": lambda: videopose_clips(file, wanted, rigs, left),
    }[layout]()
    read = sorted((_settled(clip, rigs) for clip in _without_faulty(clips, faulty, rigs, left)), key=_order)
    if not read:
        raise VergenceError(
            f"{root} has no images of {', '.join(f'S{s}' for s in wanted.subjects)} that go with its 3D "
            f"({', '.join(f'{count} {reason}' for reason, count in left.counts.items()) or 'nothing at all'})",
            "Videos belong in S1/Videos/Directions 1.54138969.mp4, images in "
            "images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg.",
        )
    found = _checked_labels(read, rigs, root)
    report = {
        "layout": layout, "cameras": camera_file.name, "split": split, "step": step, "faulty_s9": faulty,
        "sequences": len({(c.subject, c.stem) for c in read}), "left_out": left.counts, "left_out_first": left.names, **found,
        "box": f"around the 17 joints, {BOX_MARGIN:g} of the larger side added on every side",
    }  # fmt: skip
    return replace(Records.cat([_records(clip, rigs[clip.subject, clip.camera]) for clip in read]), report=report)


def subjects_of(split: str) -> tuple[int, ...]:
    """`train`, `test`, or subjects as `S1,S5`."""
    known = {f"{letter}{s}": s for s in sorted(TRAIN + TEST) for letter in ("S", "")}
    remedy = f"Give train, test, or subjects with public 3D ({', '.join(f'S{s}' for s in TRAIN + TEST)}), as S1,S5."
    return tuple(dict.fromkeys(chosen(split, {"train": TRAIN, "test": TEST}, known, "split is", remedy)))


def cameras_of(cameras: str) -> tuple[str, ...]:
    """`all`, `frontal`, or names joined by commas."""
    sets, remedy = {"all": CAMERAS, "frontal": FRONTAL}, f"Give all, frontal, or of {', '.join(CAMERAS)}."
    return chosen(cameras, sets, {name: name for name in CAMERAS}, "there are no cameras", remedy)


def _layout(root: Path, file: Path, told: bool, step: int) -> str:
    if told:
        return "videopose3d"
    if any(official_folders(root, subject) for subject in TRAIN + TEST):
        return "official"
    if mmpose_files(root, step):
        return "mmpose"
    if file.is_file():
        return "videopose3d"
    raise VergenceError(
        f"{root} holds no Human3.6M",
        "Give the folder with S1/MyPoseFeatures (official), annotation_body3d (mmpose) or data_3d_h36m.npz (VideoPose3D).",
    )


def _order(clip: Clip) -> tuple[int, int, int]:
    """Rows come in one order, whatever the preparation, so that a seed draws the same batches from each."""
    return clip.subject, sequence_number(clip.subject, clip.stem), CAMERAS.index(clip.camera)


def _without_faulty(clips: Iterator[Clip], faulty: Faulty, rigs: Cameras, left: Left) -> Iterator[Clip]:
    """S9's shifted sequences as they are, left out, or moved back (their 2D is then that of the moved 3D)."""
    for clip in clips:
        if (clip.subject, clip.stem) not in FAULTY or faulty == "keep":
            yield clip
        elif faulty == "drop":
            left.out("faulty_views", f"S{clip.subject} {clip.stem}.{clip.camera}")
        else:
            shift = rigs[clip.subject, clip.camera].R @ FAULTY_SHIFT_MM
            yield replace(clip, pose=clip.pose + shift, keypoints=None)


def _settled(clip: Clip, rigs: Cameras) -> Clip:
    """A clip with 2D: its own, or its 3D seen by its camera. Labels in single precision, which is 0.0005 mm at 5 m."""
    if len(clip.frames) and clip.frames[-1] >= FRAMES_AT_MOST:
        raise VergenceError(
            f"S{clip.subject} {clip.stem} has an image of frame {clip.frames[-1]}; the limit is {FRAMES_AT_MOST - 1}",
            "Name images by their frame, as the original ones are.",
        )
    points = rigs[clip.subject, clip.camera].project(clip.pose) if clip.keypoints is None else clip.keypoints
    return replace(clip, pose=clip.pose.astype(np.float32), keypoints=points.astype(np.float32))


def _checked_labels(clips: Sequence[Clip], rigs: Cameras, root: Path) -> dict[str, Any]:
    """How far 3D lies off its 2D and views off each other, on the first frame of each clip; large ones are refused."""
    off: list[ndarray] = []
    world: dict[tuple[int, str, int], list[ndarray]] = {}
    for clip in clips:
        camera = rigs[clip.subject, clip.camera]
        assert clip.keypoints is not None
        off.append(np.linalg.norm(camera.project(clip.pose[:1]) - clip.keypoints[:1], axis=-1))
        place = camera.to_world(clip.pose[0].astype(np.float64))
        world.setdefault((clip.subject, clip.stem, int(clip.frames[0])), []).append(place)
    apart = [np.linalg.norm(p[1:] - p[:1], axis=-1) for p in map(np.array, world.values()) if len(p) > 1]
    pixels = float(np.nanmedian(np.concatenate(off)))
    mm = float(np.nanmedian(np.concatenate(apart))) if apart else 0.0
    if not pixels <= MOST_REPROJECTION_PX:
        raise VergenceError(
            f"the 3D in {root} lies {pixels:.0f} px (median) off its 2D; the limit is {MOST_REPROJECTION_PX:g}",
            "Take cameras and poses of the same version, in the units of docs/datasets.md.",
        )
    if not mm <= MOST_DISAGREEMENT_MM:
        raise VergenceError(
            f"the cameras in {root} put one person {mm:.0f} mm (median) apart; the limit is {MOST_DISAGREEMENT_MM:g}",
            "Take the cameras that belong to these poses.",
        )
    return {"reprojection_px": pixels, "views_disagree_mm": mm}


def _records(clip: Clip, camera: Camera) -> Records:
    assert clip.keypoints is not None
    sequence = sequence_number(clip.subject, clip.stem)
    who = f"S{clip.subject}"
    return make_records(
        clip.images, H36M_17, camera=camera, size=clip.size, box=person_boxes(clip.keypoints.astype(np.float64)),
        keypoints=clip.keypoints, pose=clip.pose, up=camera.R[:, 2], subject=clip.subject, sequence=sequence,
        view=CAMERAS.index(clip.camera), frame=clip.frames, time_step=sequence * FRAMES_AT_MOST + clip.frames,
        time=clip.frames / FPS,
        groups={"action": action_of(clip.stem), "subject": who, "camera": clip.camera, "sequence": f"{who} {clip.stem}"},
    )  # fmt: skip
