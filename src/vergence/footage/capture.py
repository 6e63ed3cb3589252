"""A capture: the folder of one recording, several cameras watching one person, and its `capture.toml`.

    [capture]
    fps = 60.0
    unit = "mm"                       # of t and of a calibration file's translations; "m" is read too
    keypoints = "keypoints.npz"       # optional: T V J 3, V in the order below
    calibration = "calib.toml"        # optional: cameras from an anipose, caliscope or Pose2Sim file
    skeleton = "body_25b"             # optional: the joints of OpenPose or COCO keypoints, where the file leaves it open
    up = [0.0, 0.0, 1.0]              # optional: which way is up in the world of R and t
    [cameras.cam01]                   # in order
    video = "cam01.mp4"               # or frames = "folder"; neither is needed where keypoints are given
    image_size = [1920, 1080]         # of intrinsics and keypoints
    intrinsics = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    distortion = [k1, k2, p1, p2, k3]
    keypoints = "openpose/cam01_json" # OpenPose folder or COCO JSON
    R = [[...]], t = [...]            # x_cam = R x + t
    offset = 0.0                      # frame i of the capture is frame i + offset of this camera

The file is read strictly: a key that is not known is an error, since a misspelt `distorsion` that is silently ignored
costs a day. Everything that was decided or put right while reading stands in `notes`, and goes into the report.
Keypoints and intrinsics are taken as they are, in images of `image_size`; a video of another size is brought there
(see `fit.py`).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage import calibration as calib
from vergence.footage.observations import Observations, observe
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.video import IMAGE_SUFFIXES, RGB, VIDEO_SUFFIXES, Video, natural_key, open_video
from vergence.skeleton import Skeleton, get_skeleton

CAPTURE_KEYS = ("fps", "unit", "keypoints", "calibration", "skeleton", "up")
CAMERA_KEYS = ("video", "frames", "image_size", "intrinsics", "distortion", "keypoints", "R", "t", "offset")
# Cameras of one rig nearer than this (or farther apart) do not watch a person: the unit is wrong.
RIG_SPAN_MM = (50.0, 500_000.0)
FPS_TOLERANCE = 0.01


@dataclass(frozen=True)
class CaptureCamera:
    """One camera of a capture.

    Attributes:
        name: its table's name.
        image_size: (width, height) of the images that intrinsics and keypoints belong to.
        intrinsics: K in px, None where unknown.
        distortion: k1 k2 p1 p2 k3; zeros where unknown.
        rotation, translation: `x_cam = rotation x_world + translation`, mm; None where unknown.
        video: file, or folder of images; None where there are only keypoints.
        keypoints: OpenPose folder or COCO JSON; None where the capture has an NPZ, or none.
        offset: frame i of the capture is frame i + offset of this camera.
        fit: how the video's images come to `image_size`; None without a video.
        frame_count: frames of the video, None without one.
    """

    name: str
    image_size: tuple[int, int]
    intrinsics: Float[np.ndarray, "3 3"] | None = None
    distortion: Float[np.ndarray, " 5"] = dataclasses.field(default_factory=lambda: np.zeros(5))
    rotation: Float[np.ndarray, "3 3"] | None = None
    translation: Float[np.ndarray, " 3"] | None = None
    video: Path | None = None
    keypoints: Path | None = None
    offset: float = 0.0
    fit: ImageFit | None = None
    frame_count: int | None = None


@dataclass(frozen=True)
class Capture:
    """One recording.

    Attributes:
        folder: that paths are relative to.
        fps: frames per second.
        cameras: in order.
        keypoint_file: NPZ of all cameras, or None.
        skeleton: where stated, else None (the keypoint files decide).
        up: unit vector in the world of the given extrinsics; None where unknown.
        notes: what was decided and put right while reading.
    """

    folder: Path
    fps: float
    cameras: tuple[CaptureCamera, ...]
    keypoint_file: Path | None = None
    skeleton: Skeleton | None = None
    up: Float[np.ndarray, " 3"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [camera.name for camera in self.cameras]

    @property
    def has_keypoints(self) -> bool:
        return self.keypoint_file is not None or any(camera.keypoints is not None for camera in self.cameras)

    @property
    def has_extrinsics(self) -> bool:
        return all(camera.rotation is not None and camera.translation is not None for camera in self.cameras)

    def without_extrinsics(self) -> Capture:
        """The same recording, with nothing known of where its cameras stand."""
        cameras = tuple(dataclasses.replace(camera, rotation=None, translation=None) for camera in self.cameras)
        return dataclasses.replace(self, cameras=cameras, up=None)

    @cached_property
    def observations(self) -> Observations:
        """The subject's 2D keypoints in all cameras, and how it was chosen; read once.

        Raises:
            VergenceError: no keypoints, or keypoints that do not fit the capture.
        """
        return observe(self)

    def keypoints(self) -> Float[np.ndarray, "T V J 3"]:
        """x, y, confidence of the subject; NaN where missing. See `observations` for the joints and the choice."""
        return self.observations.keypoints

    def image(self, view: int, frame: int) -> RGB:
        """The image that belongs to row `frame` of the keypoints, in the pixels of the keypoints and intrinsics.

        A fractional offset takes the nearest frame.

        Raises:
            VergenceError: the camera has no video, or no such frame.
        """
        camera = self.cameras[view]
        if camera.fit is None:
            raise VergenceError(f"camera {camera.name} has no images", "Give `video` or `frames` in capture.toml.")
        return camera.fit.apply(self._videos[view][round(frame + camera.offset)])

    @cached_property
    def _videos(self) -> dict[int, Video]:
        return {i: open_video(camera.video) for i, camera in enumerate(self.cameras) if camera.video is not None}


def load_capture(path: Path | str) -> Capture:
    """A capture from its folder or its `capture.toml`; a plain folder of videos is taken as it stands.

    Raises:
        VergenceError: naming the key, the value and what it should be.
    """
    path = Path(path)
    if not path.exists():
        raise VergenceError(f"there is no capture {path}", "Give a folder of videos, or one with a capture.toml.")
    if path.is_dir() and not (path / "capture.toml").exists():
        return make_capture(path)
    file = path / "capture.toml" if path.is_dir() else path
    if file.suffix.lower() != ".toml":
        raise VergenceError(f"{file} is no capture", "Give a folder of videos, or a capture.toml.")
    return _build(calib.load_toml(file), file.parent.resolve(), file.name)


def make_capture(folder: Path | str) -> Capture:
    """A plain folder of videos (or of folders of images) as a capture: one camera per video, in natural order.

    Keypoints beside a video `x.mp4` are found as `x_json/`, `x.json` or `x/`, there or under `keypoints/`,
    `openpose/` or `pose/`; `keypoints.npz` serves all cameras; a single TOML file with cameras in it is the
    calibration.

    Raises:
        VergenceError: nothing there that is a video.
    """
    folder = Path(folder).resolve()
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    videos = [p for p in entries if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    images = [p for p in entries if p.is_dir() and _holds_images(p)] if not videos else []
    if not videos and not images:
        raise VergenceError(
            f"folder {folder} holds neither a capture.toml nor videos",
            "Put the recording's videos, one per camera, there.",
        )
    table: dict[str, Any] = {"capture": {}, "cameras": {}}
    for source in videos or images:
        camera: dict[str, Any] = {"video" if videos else "frames": source.name}
        places = [folder, *(folder / name for name in ("keypoints", "openpose", "pose"))]
        found = [p for place in places if (p := _keypoints_beside(place, source.stem)) is not None]
        if found and not (folder / "keypoints.npz").exists():
            camera["keypoints"] = str(found[0].relative_to(folder))
        table["cameras"][source.stem] = camera
    if (folder / "keypoints.npz").exists():
        table["capture"]["keypoints"] = "keypoints.npz"
    rigs = [p.name for p in entries if p.suffix == ".toml" and "matrix" in p.read_text(errors="replace")]
    if len(rigs) == 1:
        table["capture"]["calibration"] = rigs[0]
    capture = _build(table, folder, folder.name)
    note = f"no capture.toml in {folder.name}: taken as {len(capture.cameras)} cameras, {', '.join(capture.names)}"
    return dataclasses.replace(capture, notes=(note, *capture.notes))


def _holds_images(folder: Path) -> bool:
    return any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir())


def _keypoints_beside(place: Path, stem: str) -> Path | None:
    for candidate in (place / f"{stem}_json", place / f"{stem}.json", place / stem):
        if candidate.is_file() or (candidate.is_dir() and any(candidate.glob("*.json"))):
            return candidate
    return None


def _known(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    keys = list(keys)
    for key in table:
        if key not in keys:
            lower = {k.lower(): k for k in keys}
            near = difflib.get_close_matches(str(key).lower(), lower, n=1, cutoff=0.0)
            raise VergenceError(
                f"{where} has an unknown key {key!r}", f"Did you mean {lower[near[0]]!r}? Known: {', '.join(keys)}."
            )


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VergenceError(f"{where} is not a table but {value!r}", f"Write it as [{where.split()[-1]}].")
    return value


def _build(data: dict[str, Any], folder: Path, name: str) -> Capture:
    """The capture that a parsed capture.toml describes, everything checked."""
    _known(data, ("capture", "cameras"), name)
    head = _table(data.get("capture", {}), f"{name}: capture")
    _known(head, CAPTURE_KEYS, f"[capture] of {name}")
    tables = _table(data.get("cameras", {}), f"{name}: cameras")
    if not tables:
        raise VergenceError(f"{name} has no cameras", "Add a [cameras.NAME] table for each.")
    unit = head.get("unit")
    if unit is not None and unit not in calib.MM_PER:
        raise VergenceError(f"unit of {name} is {unit!r}", f"It is one of {', '.join(map(repr, calib.MM_PER))}.")
    notes: list[str] = []
    rig = _calibrated(head, list(tables), folder, unit, notes)
    keypoint_file = _path(head["keypoints"], folder, f"keypoints of {name}") if "keypoints" in head else None
    cameras, rates = [], {}
    for key, value in tables.items():
        where = f"camera {key} of {name}"
        table = _table(value, f"{name}: cameras.{key}")
        _known(table, CAMERA_KEYS, where)
        camera, rate = _camera(key, table, folder, where, rig.get(key), calib.MM_PER[unit or "mm"], notes)
        if keypoint_file is not None and camera.keypoints is not None:
            raise VergenceError(f"{where} has keypoints, and so has [capture]", "Give one of the two.")
        if camera.video is None and camera.keypoints is None and keypoint_file is None:
            raise VergenceError(f"{where} has neither video nor keypoints", "Give `video`, `frames` or `keypoints`.")
        cameras.append(camera)
        rates[key] = rate
    _check_span(cameras, name)
    skeleton = get_skeleton(str(head["skeleton"])) if "skeleton" in head else None
    fps = _frame_rate(head.get("fps"), rates, keypoint_file, name, notes)
    return Capture(folder, fps, tuple(cameras), keypoint_file, skeleton, _up(head, name), tuple(notes))


def _up(head: Mapping[str, Any], name: str) -> np.ndarray | None:
    if "up" not in head:
        return None
    up = calib.check_array(head["up"], (3,), f"up of {name}")
    if not np.linalg.norm(up) > 0:
        raise VergenceError(f"up of {name} is {up.tolist()}", "It is a direction, such as [0, 0, 1].")
    return up / np.linalg.norm(up)


def _path(value: Any, folder: Path, what: str) -> Path:
    if not isinstance(value, str) or not value:
        raise VergenceError(f"{what} is {value!r}", "It is a path, relative to capture.toml.")
    path = folder / value
    if not path.exists():
        raise VergenceError(f"{what}: there is no {path}", "Check the path; it is relative to capture.toml.")
    return path


def _calibrated(
    head: Mapping[str, Any], names: Sequence[str], folder: Path, unit: str | None, notes: list[str]
) -> dict[str, calib.Camera]:
    """The calibration file's camera for each of ours: by name, else by order where there are as many."""
    if "calibration" not in head:
        return {}
    path = _path(head["calibration"], folder, "calibration")
    rig = calib.read_calibration(path, unit)  # type: ignore[arg-type]
    notes += rig.notes
    plain = {re.sub(r"[\W_]+", "", camera.name).lower(): camera for camera in rig.cameras}
    found = {name: plain.get(re.sub(r"[\W_]+", "", name).lower()) for name in names}
    if all(found.values()):
        return {name: camera for name, camera in found.items() if camera is not None}
    if not any(found.values()) and len(rig.cameras) == len(names):
        pairs = ", ".join(f"{name} = {camera.name}" for name, camera in zip(names, rig.cameras))
        notes.append(f"{path.name}: cameras matched by their order, as their names differ: {pairs}")
        return dict(zip(names, rig.cameras))
    missing = [name for name, camera in found.items() if camera is None]
    raise VergenceError(
        f"{path.name} has no camera {', '.join(missing)}; it has {', '.join(c.name for c in rig.cameras)}",
        "Give the cameras the calibration's names.",
    )


def _camera(
    name: str,
    table: Mapping[str, Any],
    folder: Path,
    where: str,
    known: calib.Camera | None,
    mm: float,
    notes: list[str],
) -> tuple[CaptureCamera, float | None]:
    """One camera and its video's frame rate; `known` is what the calibration file says."""
    if "video" in table and "frames" in table:
        raise VergenceError(f"{where} has both video and frames", "Give one of the two.")
    source = table.get("video", table.get("frames"))
    video = None if source is None else _path(source, folder, f"video of {where}")
    keypoints = _path(table["keypoints"], folder, f"keypoints of {where}") if "keypoints" in table else None
    shown, count, rate = _probe(video, notes)
    intrinsics = calib.check_intrinsics(table["intrinsics"], where) if "intrinsics" in table else None
    distortion = calib.check_distortion(table["distortion"], where) if "distortion" in table else None
    size = calib.check_size(table["image_size"], where) if "image_size" in table else None
    if known is not None:
        intrinsics = _calibrated_intrinsics(known, size, where, notes) if intrinsics is None else intrinsics
        distortion = known.distortion if distortion is None else distortion
        size = size or known.image_size
    if size is None and shown is None and intrinsics is not None:
        size = (round(2 * intrinsics[0, 2] + 1), round(2 * intrinsics[1, 2] + 1))
        notes.append(f"{name}: image_size is not given; taken as {size[0]} x {size[1]} from the principal point")
    size = size or shown
    if size is None:
        raise VergenceError(f"{where} has no image_size", "Give image_size = [width, height], or its video.")
    if intrinsics is not None:
        _check_principal_point(intrinsics, size, where)
    fit = None if shown is None else fit_sizes(shown, size, f"video {video.name if video else ''} of {where}")
    if fit is not None and fit.kind != "same":
        notes.append(fit.describe(f"video of {name}"))
    rotation, translation = _extrinsics(table, where, known, mm)
    offset = float(calib.check_array(table.get("offset", 0.0), (), f"offset of {where}"))
    distortion = np.zeros(5) if distortion is None else distortion
    camera = CaptureCamera(
        name, size, intrinsics, distortion, rotation, translation, video, keypoints, offset, fit, count
    )
    return camera, rate


def _probe(video: Path | None, notes: list[str]) -> tuple[tuple[int, int] | None, int | None, float | None]:
    """Size as displayed, number of frames, and frame rate of a video."""
    if video is None:
        return None, None, None
    with open_video(video) as opened:
        count = len(opened)
        notes += opened.notes
        if abs(opened.pixel_aspect - 1) > 1e-3:
            notes.append(
                f"{video.name}: pixels are {opened.pixel_aspect:.3f} times as wide as high; images are not stretched"
            )
        return opened.size, count, opened.fps


def _calibrated_intrinsics(
    known: calib.Camera, size: tuple[int, int] | None, where: str, notes: list[str]
) -> Float[np.ndarray, "3 3"]:
    if size is None or known.image_size is None or size == known.image_size:
        return known.intrinsics
    fit = fit_sizes(known.image_size, size, f"calibration of {where}")
    notes.append(fit.describe(f"the calibration of {where}"))
    return fit.matrix @ known.intrinsics


def _check_principal_point(intrinsics: np.ndarray, size: tuple[int, int], where: str) -> None:
    x, y = intrinsics[0, 2] / size[0], intrinsics[1, 2] / size[1]
    if not (0 < x < 1 and 0 < y < 1):
        raise VergenceError(
            f"the principal point of {where} is ({intrinsics[0, 2]:g}, {intrinsics[1, 2]:g}), outside its image of "
            f"{size[0]} x {size[1]}",
            "The intrinsics belong to an image of another size, or rows and columns are swapped.",
        )


def _extrinsics(
    table: Mapping[str, Any], where: str, known: calib.Camera | None, mm: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if ("R" in table) != ("t" in table):
        raise VergenceError(f"{where} has only one of R and t", "Give both, or neither.")
    if "R" in table:
        return calib.check_rotation(table["R"], where), calib.check_array(table["t"], (3,), f"t of {where}") * mm
    return (None, None) if known is None else (known.rotation, known.translation)


def _check_span(cameras: Sequence[CaptureCamera], name: str) -> None:
    """Cameras a hair's breadth or a kilometre apart: the unit is wrong."""
    centres = [-c.rotation.T @ c.translation for c in cameras if c.rotation is not None and c.translation is not None]
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
    given: Any, rates: Mapping[str, float | None], keypoint_file: Path | None, name: str, notes: list[str]
) -> float:
    known = {key: rate for key, rate in rates.items() if rate}
    if known and max(known.values()) > min(known.values()) * (1 + FPS_TOLERANCE):
        listed = ", ".join(f"{key} {rate:g}" for key, rate in known.items())
        raise VergenceError(
            f"videos of {name} have different frame rates: {listed}", "Bring them to one frame rate first."
        )
    found = next(iter(known.values()), None)
    if given is None and found is None and keypoint_file is not None:
        from vergence.footage.keypoints import read_keypoint_table

        found = read_keypoint_table(keypoint_file).fps
    fps = found if given is None else float(calib.check_array(given, (), f"fps of {name}"))
    if fps is None or not fps > 0:
        raise VergenceError(f"fps of {name} is {fps}", "Give fps = ... under [capture], above 0.")
    if found and given is not None and abs(found / fps - 1) > FPS_TOLERANCE:
        notes.append(f"fps is {fps:g} as {name} says, although the videos say {found:g}")
    return fps
