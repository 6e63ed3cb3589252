"""A capture: the folder of one recording, several cameras watching one person, and its `capture.toml`.

    [capture]
    fps = 60.0
    unit = "mm"                       # of t and of a calibration file's translations; "m" is read too
    keypoints = "keypoints.npz"       # optional: T V J 3, V in the order below
    calibration = "calib.toml"        # optional: cameras from a file of any format in `footage.calibrations`
    synchronised = true               # optional: cameras are triggered together; true where an offset is given
    skeleton = "body_25b"             # optional: the joints of OpenPose or COCO keypoints, where the file leaves it open
    up = [0.0, 0.0, 1.0]              # optional: which way is up in the world of R and t
    [cameras.cam01]                   # in order
    video = "cam01.mp4"               # or frames = "folder"; neither is needed where keypoints are given
    image_size = [1920, 1080]         # of intrinsics and keypoints
    intrinsics = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    distortion = [k1, k2, p1, p2, k3] # with fisheye = true: k1 k2 k3 k4 of OpenCV's fisheye model
    keypoints = "openpose/cam01_json" # OpenPose folder or COCO JSON
    R = [[...]], t = [...]            # x_cam = R x + t
    offset = 0.0                      # frame i of the capture is frame i + offset of this camera
    drift = 0.0                       # parts per million by which its clock runs faster than the capture's
    fps = 30.0                        # of this camera, where the rates differ and its video does not tell

The file is read strictly: a key that is not known is an error, since a misspelt `distorsion` that is silently ignored
costs a day. Everything that was decided or put right while reading stands in `notes`, and goes into the report.
Keypoints and intrinsics are taken as they are, in images of `image_size`; a video of another size is brought there
(see `resize.py`).
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError
from vergence.files import read_toml
from vergence.footage import calibration as calib
from vergence.footage.calibrations.pairing import find_calibration, paired
from vergence.footage.calibrations.sizes import settle
from vergence.footage.capture_camera import (
    CaptureCamera,
    Probe,
    by_number,
    existing_path,
    in_time,
    read_camera,
)
from vergence.footage.clocks.files import frame_times
from vergence.footage.formats.capture_tables import CameraTable, CaptureFile, CaptureTable, held
from vergence.footage.images import IMAGE_SUFFIXES, OVERLAY, RGB, VIDEO_SUFFIXES, ImageFolder, Video, natural_key
from vergence.footage.keypoint_formats.beside import keypoints_beside
from vergence.geometry.cameras import Camera, Rig
from vergence.skeleton import Skeleton, get_skeleton

SCALE_FREE = "reference_bone"  # the unit of a rig that was found without a length
# Cameras of one rig nearer than this (or farther apart) do not watch a person: the unit is wrong.
RIG_SPAN_MM = (50.0, 500_000.0)
FPS_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Capture:
    """One recording.

    Attributes:
        folder: that paths are relative to.
        fps: frames per second.
        cameras: in order.
        keypoint_file: NPZ of all cameras, or None.
        skeleton: where stated, else None (the keypoint files decide).
        up: unit vector in the world of the given extrinsics; None where unknown.
        notes: decisions and corrections while reading.
        unit: of the cameras' translations: `mm`, or a word for a rig that is free of scale.
        synchronised: True where the capture states that the cameras' times are known.
        doubtful: its calibration comes from a recording whose result was doubtful.
    """

    folder: Path
    fps: float
    cameras: tuple[CaptureCamera, ...]
    keypoint_file: Path | None = None
    skeleton: Skeleton | None = None
    up: Float[np.ndarray, " 3"] | None = None
    notes: tuple[str, ...] = ()
    unit: str = "mm"
    synchronised: bool = False
    doubtful: bool = False

    @property
    def names(self) -> list[str]:
        return [camera.name for camera in self.cameras]

    @property
    def has_keypoints(self) -> bool:
        return self.keypoint_file is not None or any(camera.keypoints is not None for camera in self.cameras)

    @property
    def rig(self) -> Rig:
        """The cameras without their footage; translations in `unit`."""
        return Rig(self.cameras, self.unit, self.up)

    @property
    def has_extrinsics(self) -> bool:
        return self.rig.has_extrinsics

    def without_extrinsics(self) -> Capture:
        """The same recording, with nothing known of where its cameras stand."""
        cameras = tuple(camera.without_extrinsics() for camera in self.cameras)
        return dataclasses.replace(self, cameras=cameras, up=None, doubtful=False)

    def image(self, view: int, frame: int) -> RGB:
        """The image that belongs to row `frame` of the keypoints, in the pixels of the keypoints and intrinsics.

        Between two frames it is the nearest one.

        Raises:
            VergenceError: the camera has no video, or no such frame.
        """
        camera = self.cameras[view]
        if camera.fit is None:
            raise VergenceError(f"camera {camera.name} has no images", "Give `video` or `frames` in capture.toml.")
        own = float(camera.own_frames(frame)[0])
        if not own == own:
            raise VergenceError(f"camera {camera.name} lost its frame of time step {frame}", "Leave it out.")
        return camera.fit.apply(self._videos[view][round(own)])

    @property
    def picture(self) -> Callable[[int, int], RGB]:
        """The old name of `image`."""
        warnings.warn("Capture.picture is now Capture.image", FutureWarning, stacklevel=2)
        return self.image

    @property
    def keypoints(self) -> Callable[[], Float[np.ndarray, "T V J 3"]]:
        """The old name of `observe(capture).keypoints`."""
        warnings.warn("Capture.keypoints() is now vergence.observe(capture).keypoints", FutureWarning, stacklevel=2)
        observations = import_module("vergence.footage.observations")  # by its name: it needs this module itself
        return lambda: observations.observe(self).keypoints

    def image_files(
        self, view: int, frames: Sequence[int] | np.ndarray
    ) -> tuple[list[Path], Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """Files, and for each row of `frames` which of them its image is in (-1: none) and its place there (-1: it is the
        file); a camera without images has a name that is not there."""
        camera, video = self.cameras[view], self._videos.get(view)
        whole = np.full(len(frames), -1)
        if camera.video is None or video is None:
            return [self.folder / f"{camera.name} (no video)"], np.zeros(len(frames), int), whole
        own = np.rint(np.nan_to_num(camera.own_frames(np.asarray(frames)), nan=-1.0)).astype(int)
        if isinstance(video, ImageFolder):
            place = {number: row for row, number in enumerate(video.places)}
            return list(video.places.values()), np.array([place.get(n, -1) for n in own.tolist()], int), whole
        inside = (own >= 0) & (own < len(video))
        return [camera.video], np.where(inside, 0, -1), np.where(inside, own, -1)

    @cached_property
    def _videos(self) -> dict[int, Video]:
        from vergence.footage.video import open_video  # PyAV loads slowly, and keypoints alone need none

        return {i: open_video(c.video, c.numbering) for i, c in enumerate(self.cameras) if c.video is not None}


def load_capture(path: Path | str) -> Capture:
    """A capture from its folder or its `capture.toml`; a plain folder of videos is a capture too.

    Raises:
        VergenceError: naming the key, the value and what it should be.
    """
    path = Path(path)
    if not path.exists():
        raise VergenceError(f"there is no capture {path}", "Give a folder of videos, or one with a capture.toml.")
    if path.is_dir() and not (path / "capture.toml").exists():
        return make_capture(path)
    file = path / "capture.toml" if path.is_dir() else path
    if file.suffix.lower() in VIDEO_SUFFIXES:
        raise VergenceError(
            f"{file} is no capture but one video, and cameras are found from two or more",
            "Give the folder of the recording's videos. From one video `vergence predict` makes 3D.",
        )
    if file.suffix.lower() != ".toml":
        raise VergenceError(f"{file} is no capture", "Give a folder of videos, or a capture.toml.")
    return _build(read_toml(file), file.parent.resolve(), file.name)


def _of_keypoints(path: Path) -> bool:
    """Whether it looks like keypoints that no video stands beside."""
    if path.is_dir():
        return any(file.suffix.lower() == ".json" for file in path.iterdir())
    return path.suffix.lower() in (".json", ".csv", ".h5", ".npz")


def make_capture(folder: Path | str) -> Capture:
    """A plain folder of videos (or of folders of images) as a capture: one camera per video, in natural order.

    One video alone is a capture of one camera, with the keypoints of its own name; what else lies there is others'.

    Keypoints beside a video are found under the names that the tools give them (`keypoint_formats.beside`);
    `keypoints.npz` serves all cameras; a calibration lies in the folder, or in `calibration/`, `calib/` or `sparse/0/`
    of it.

    Raises:
        VergenceError: nothing there that is a video.
    """
    place = Path(folder)
    # The keypoints of a link to a video lie beside the link.
    place = place.parent.resolve() / place.name if place.is_file() else place.resolve()
    alone, folder = place.is_file(), place.parent if place.is_file() else place
    there = [place] if alone else [p for p in folder.iterdir() if not p.name.startswith(".")]
    entries = sorted(there, key=lambda p: natural_key(p.name))
    drawn = not alone and (folder / OVERLAY).exists() and (folder / "results.json").exists()
    entries = [p for p in entries if not (drawn and p.name == OVERLAY)]
    videos = [p for p in entries if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    images = [
        p for p in entries if not videos and p.is_dir() and any(f.suffix.lower() in IMAGE_SUFFIXES for f in p.iterdir())
    ]
    if not videos and not images:
        held = [p.name for p in entries if p.is_dir() and holds_recording(p)]
        again = "Put the recording's videos, one per camera, there."
        if points := [p.name for p in entries if _of_keypoints(p)]:
            again = (
                f"Keypoints alone ({', '.join(points[:4])}) need a capture.toml: for each camera `[cameras.NAME]` "
                "with `keypoints` and `image_size`."
            )
        raise VergenceError(
            f"folder {folder} holds neither a capture.toml nor videos",
            f"Give one of its folders that do: {', '.join(held[:4])}." if held else again,
        )
    table: dict[str, Any] = {"capture": {}, "cameras": {}}
    beside: list[str] = []
    of_all = not alone and (folder / "keypoints.npz").exists()
    for source in videos or images:
        camera: dict[str, Any] = {"video" if videos else "frames": source.name}
        if not of_all and (found := keypoints_beside(folder, source.stem)) is not None:
            camera["keypoints"] = os.path.relpath(found, folder)
            beside.append(f"{source.stem} = {camera['keypoints']}")
        table["cameras"][source.stem] = camera
    if of_all:
        table["capture"]["keypoints"] = "keypoints.npz"
    found_in, others = (None, []) if alone else find_calibration(folder)
    if found_in is not None:
        table["capture"]["calibration"] = str(found_in.relative_to(folder)) or "."
    capture = _build(table, folder, folder.name)
    named, count = ", ".join(capture.names), len(capture.cameras)
    note = f"no capture.toml in {folder.name}: taken as {count} camera{'s' if count > 1 else ''}, {named}"
    note = f"one video, {place.name}, taken by itself" if alone else note
    taken = [f"keypoints found beside the videos: {', '.join(beside)}"] if beside else []
    note += f"; {OVERLAY}, which predict drew, is no camera" if drawn else ""
    note += f"; calibration {table['capture']['calibration']}" if found_in is not None else ""
    note += f"; of {', '.join(others)} none is taken: name one in a capture.toml" if others else ""
    return dataclasses.replace(capture, notes=(note, *taken, *capture.notes))


def _build(data: dict[str, Any], folder: Path, name: str) -> Capture:
    """The capture that a parsed capture.toml describes, everything checked."""
    data = held(data, CaptureFile, name)
    head, tables = held(data.get("capture", {}), CaptureTable, f"[capture] of {name}"), data.get("cameras", {})
    if not tables:
        raise VergenceError(f"{name} has no cameras", "Add a [cameras.NAME] table for each.")
    unit = head.get("unit")
    if unit is not None and unit not in (*calib.MM_PER, SCALE_FREE):
        known = ", ".join(map(repr, (*calib.MM_PER, SCALE_FREE)))
        raise VergenceError(f"unit of {name} is {unit!r}", f"It is one of {known}.")
    notes: list[str] = []
    rig, unit_of_rig, doubtful = _calibrated(head, list(tables), folder, unit, notes)
    keypoint_file = existing_path(head["keypoints"], folder, f"keypoints of {name}") if "keypoints" in head else None
    cameras, probes = [], {}
    for key, value in tables.items():
        where = f"camera {key} of {name}"
        table = held(value, CameraTable, where)
        camera, probes[key] = read_camera(
            key, table, folder, where, rig.get(key), calib.MM_PER.get(unit or "mm", 1.0), notes
        )
        if keypoint_file is not None and camera.keypoints is not None:
            raise VergenceError(f"{where} has keypoints, and so has [capture]", "Give one of the two.")
        if camera.video is None and camera.keypoints is None and keypoint_file is None:
            raise VergenceError(f"{where} has neither video nor keypoints", "Give `video`, `frames` or `keypoints`.")
        cameras.append(camera)
    probes = _with_time_files(folder, cameras, probes, notes)
    if unit_of_rig == "mm":
        _check_span(cameras, name)
    _say_who_has_no_pose(cameras, notes)
    skeleton = get_skeleton(head["skeleton"]) if "skeleton" in head else None
    cameras = list(settle(by_number(cameras, notes), keypoint_file, skeleton, notes))
    fps, rate = _frame_rate(head.get("fps"), probes, keypoint_file, name, notes)
    stated = {key for key, value in tables.items() if "offset" in value or "drift" in value}
    placed = in_time(cameras, probes, rate, stated, notes)
    together = head.get("synchronised", bool(stated))
    return Capture(
        folder, fps, placed, keypoint_file, skeleton, _up(head, name), tuple(notes), unit_of_rig, together, doubtful
    )


def _with_time_files(
    folder: Path, cameras: Sequence[CaptureCamera], probes: Mapping[str, Probe], notes: list[str]
) -> dict[str, Probe]:
    """The probes with the frame times of files beside the videos, which go before the containers'."""
    times = frame_times(folder, [c.video for c in cameras], [c.name for c in cameras])
    out = dict(probes)
    for name, (file, seconds) in times.items():
        count = probes[name].count
        if count is not None and abs(count - len(seconds)) > max(2, 0.02 * count):
            notes.append(f"{file.name} has {len(seconds)} times of camera {name}, its video {count} frames: not used")
            continue
        rate = 1 / float(np.median(np.diff(seconds)))
        stated = probes[name].rate
        rate = stated if stated and abs(rate / stated - 1) < 0.02 else rate
        out[name] = dataclasses.replace(probes[name], times=seconds, rate=rate, clock=True)
    used = [name for name in times if out[name].clock]
    if used:
        notes.append(
            f"frame times of {', '.join(used)} are read from {', '.join(sorted({times[n][0].name for n in used}))}"
        )
    return out


def _up(head: Mapping[str, Any], name: str) -> np.ndarray | None:
    if "up" not in head:
        return None
    up = calib.check_array(head["up"], (3,), f"up of {name}")
    if not np.linalg.norm(up) > 0:
        raise VergenceError(f"up of {name} is {up.tolist()}", "It is a direction, such as [0, 0, 1].")
    return up / np.linalg.norm(up)


def _calibrated(
    head: Mapping[str, Any], names: Sequence[str], folder: Path, unit: str | None, notes: list[str]
) -> tuple[dict[str, Camera], str, bool]:
    """The calibration's camera for each of ours, the unit of their translations, and whether they are doubtful."""
    if "calibration" not in head:
        return {}, SCALE_FREE if unit == SCALE_FREE else "mm", False
    path = existing_path(head["calibration"], folder, "calibration")
    rig = calib.read_calibration(path, unit)
    notes += rig.notes
    return paired(rig, names, path, notes), rig.unit or "mm", rig.doubtful


def _say_who_has_no_pose(cameras: Sequence[CaptureCamera], notes: list[str]) -> None:
    lacking = [camera.name for camera in cameras if not camera.has_extrinsics]
    if lacking and len(lacking) < len(cameras):
        notes.append(
            f"camera {', '.join(lacking)} has no extrinsics, so those of the others are not used: all cameras are placed "
            "by the footage"
        )


def _check_span(cameras: Sequence[CaptureCamera], name: str) -> None:
    """Cameras a hair's breadth or a kilometre apart: the unit is wrong."""
    centres = [camera.centre for camera in cameras if camera.has_extrinsics]
    if len(centres) < 2:
        return
    array = np.stack(centres)
    span = float(np.linalg.norm(array[:, None] - array[None], axis=-1).max())
    if 0 < span < RIG_SPAN_MM[0] or span > RIG_SPAN_MM[1]:
        raise VergenceError(
            f"the cameras of {name} are at most {span:.4g} mm apart, "
            f"expected {RIG_SPAN_MM[0]:g} to {RIG_SPAN_MM[1]:g} mm",
            'Check the unit of t: unit = "mm" or unit = "m" under [capture].',
        )


def _frame_rate(
    given: Any, probes: Mapping[str, Probe], keypoint_file: Path | None, name: str, notes: list[str]
) -> tuple[float, float | None]:
    """Frames per second, and time steps in a second of the videos (another number for slow motion); None without."""
    rates = {key: probe.rate for key, probe in probes.items() if probe.rate}
    known = {key: rate for key, rate in rates.items() if probes[key].steady}
    found = videos = next(iter({**known, **rates}.values()), None)
    if known and max(known.values()) > min(known.values()) * (1 + FPS_TOLERANCE):
        listed = ", ".join(f"{key} {rate:g}" for key, rate in known.items())
        notes.append(f"cameras have different frame rates ({listed}); between their frames joints are interpolated")
        near = [rate for rate in known.values() if given is not None and abs(rate / float(given) - 1) < FPS_TOLERANCE]
        found = videos = max(near or known.values())
    if given is None and found is None and keypoint_file is not None:
        from vergence.footage.keypoints import read_keypoint_table

        found = read_keypoint_table(keypoint_file).fps
    fps = found if given is None else float(calib.check_array(given, (), f"fps of {name}"))
    if fps is None or not 0 < fps < 1e6:
        raise VergenceError(f"fps of {name} is {fps}", "Give fps = ... under [capture], above 0.")
    if found and given is not None and abs(found / fps - 1) > FPS_TOLERANCE:
        notes.append(f"fps is {fps:g} as {name} says, although the videos say {found:g}")
    return fps, videos


def holds_recording(folder: Path) -> bool:
    """Whether a folder has a capture.toml or videos."""
    return any(file.name == "capture.toml" or file.suffix.lower() in VIDEO_SUFFIXES for file in folder.iterdir())
