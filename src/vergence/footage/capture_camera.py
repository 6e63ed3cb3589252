"""One camera of a capture, and how its table of a `capture.toml` is read and checked.

What the table says goes before what the calibration file says of that camera, and a video is opened once, for its size,
its rate and the times of its frames. Whatever was taken for granted is a note.

Frames of several cameras belong together by time, not by number: phones drop frames and vary their rate. Where a video's
time stamps leave its frame numbers they decide (`in_time`): a time step takes the frame of its moment, between two frames
what lies between them, and in a hole nothing. Small unsteadiness of stamps is not movement of frames and is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError
from vergence.footage import calibration as calib
from vergence.footage.calibrations.sizes import sized
from vergence.footage.formats.names import Numbering, counted_together
from vergence.footage.images import ImageFolder
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.geometry.cameras import Camera

STRAY_FRAMES = 0.25  # time stamps that stay this near to frame numbers leave them as they are
HOLE_FRAMES = 1.5  # stamps farther apart than this, in usual distances, have lost frames between them
COUNTED_ON = 10_000  # frames of a camera without a video; later ones follow at its rate
SAME_RATE = 0.01  # share by which rates may differ and be one
STEADY_SHARE = 0.35  # distances of stamps that differ from the usual one by less are the same rate
STEADY_FRAMES = 0.8  # share of such distances in a video of one rate
# Videos begin where their stamps say if they are this far apart; less is what encoders shift by.
START_SECONDS = 0.25
CLOCK_SECONDS = 1e8  # stamps beyond this are a clock's: three years of footage are not
CLOCKED_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm"))  # in others the first stamp is the muxer's


@dataclass(frozen=True, eq=False)
class CaptureCamera(Camera):
    """One camera of a capture; its translation is in mm.

    Attributes:
        image_size: (width, height) of the images that intrinsics and keypoints belong to.
        video: file, or folder of images; None where there are only keypoints.
        keypoints: OpenPose folder or COCO JSON; None where the capture has an NPZ, or none.
        offset: time step i of the capture is time step i + offset of this camera.
        drift: parts per million by which this camera's clock runs faster than the capture's.
        fit: how the video's images come to `image_size`; None without a video.
        frame_count: frames of the video, None without one.
        stamps: when its frames were taken, in time steps after the first; None where that is their number.
        numbering: how the names of its folder of images count; None for a video, and where they do not.
        size_stated: whether capture.toml says `image_size`.
        other_size: of the calibration, where it is a rescale of `image_size` and keypoints have not decided yet.
    """

    image_size: tuple[int, int]
    video: Path | None = None
    keypoints: Path | None = None
    offset: float = 0.0
    fit: ImageFit | None = None
    frame_count: int | None = None
    stamps: Float[np.ndarray, " N"] | None = None
    numbering: Numbering | None = None
    size_stated: bool = False
    other_size: tuple[int, int] | None = None
    drift: float = 0.0

    def own_frames(self, steps: Float[np.ndarray, " T"] | float) -> Float[np.ndarray, " T"]:
        """Which of the camera's frames the capture's time steps show, fractional between two; NaN where it has a hole."""
        at = np.atleast_1d(np.asarray(steps, dtype=float)) * (1 + self.drift * 1e-6) + self.offset
        return at if self.stamps is None else frames_at(self.stamps, at)

    def steps_of(self, frames: int) -> float:
        """Time steps that so many frames of the camera reach to."""
        last = frames - 1
        if self.stamps is not None:
            beyond = max(0, last - len(self.stamps) + 1) * self.frame_steps
            last = self.stamps[min(last, len(self.stamps) - 1)] + beyond
            last = round(last) if abs(last - round(last)) < STRAY_FRAMES else last
        return float((last + 1 - self.offset) / (1 + self.drift * 1e-6))

    @property
    def frame_steps(self) -> float:
        """Time steps from one of its frames to the next."""
        return 1.0 if self.stamps is None else float(np.median(np.diff(self.stamps)))


def frames_at(stamps: Float[np.ndarray, " N"], at: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Fractional indices of `stamps` at these times; NaN in holes, beyond the ends counted on at the usual distance.

    Times that are whole steps of the stamps' own rate take the frame that is near; others what lies between two frames.
    """
    usual = float(np.median(np.diff(stamps)))
    low = np.clip(np.searchsorted(stamps, at, side="right") - 1, 0, len(stamps) - 2)
    width = np.diff(stamps)[low]
    share = (at - stamps[low]) / width
    outside = (share < 0) | (share > 1)
    found = np.where(share <= 0, share * width / usual, np.where(outside, 1 + (share - 1) * width / usual, share)) + low
    hole = width > HOLE_FRAMES * usual
    whole = (abs(usual - 1) < SAME_RATE) & (np.abs(at - np.round(at)) < 1e-6)
    stray = np.where(whole | hole, STRAY_FRAMES * usual, 1e-6)
    near = np.minimum(np.abs(at - stamps[low]), np.abs(at - stamps[low + 1]))
    nearest = np.where(share < 0.5, low, low + 1)
    found = np.where(~outside & (near <= stray), nearest, found)
    return np.where(~outside & hole & (near > stray), np.nan, found)


def existing_path(value: str, folder: Path, what: str) -> Path:
    """A path that a capture.toml names, which must be there; also as Windows writes it."""
    if not value:
        raise VergenceError(f"{what} is {value!r}", "It is a path, relative to capture.toml.")
    path = folder / value
    if not path.exists() and "\\" in value:
        path = folder / value.replace("\\", "/")
    if not path.exists():
        raise VergenceError(f"{what}: there is no {path}", "Check the path; it is relative to capture.toml.")
    return path


def read_camera(
    name: str,
    table: Mapping[str, Any],
    folder: Path,
    where: str,
    known: Camera | None,
    mm: float,
    notes: list[str],
) -> tuple[CaptureCamera, Probe]:
    """One camera and what its video says; `known` is what the calibration file says."""
    if "video" in table and "frames" in table:
        raise VergenceError(f"{where} has both video and frames", "Give one of the two.")
    source = table.get("video", table.get("frames"))
    video = None if source is None else existing_path(source, folder, f"video of {where}")
    keypoints = existing_path(table["keypoints"], folder, f"keypoints of {where}") if "keypoints" in table else None
    probe = _probe(video, notes)
    shown = probe.size
    lens = sized(table, known, shown, name, where, notes)
    size = lens.size
    fit = None if shown is None else fit_sizes(shown, size, f"video {video.name if video else ''} of {where}")
    if fit is not None and fit.kind != "same":
        notes.append(fit.describe(f"video of {name}"))
    rotation, translation = _extrinsics(table, where, known, mm)
    offset = float(calib.check_array(table.get("offset", 0.0), (), f"offset of {where}"))
    camera = CaptureCamera(
        name, size, lens.intrinsics, lens.distortion, rotation, translation, video, keypoints, offset, fit, probe.count,
        numbering=probe.numbering, size_stated=lens.stated, other_size=lens.other,
    )  # fmt: skip
    camera = replace(camera, drift=float(calib.check_array(table.get("drift", 0.0), (), f"drift of {where}")))
    if "fps" in table:
        rate = float(calib.check_array(table["fps"], (), f"fps of {where}"))
        if not rate > 0:
            raise VergenceError(f"fps of {where} is {rate:g}", "Give the camera's frames per second, above 0.")
        probe = replace(probe, rate=rate, times=None)
    return camera, probe


@dataclass(frozen=True)
class Probe:
    """What a video says: its size as displayed, its number of frames, their rate and their times in seconds; of a folder
    of images, how their names count; `clock` where the times are of a file, and of one clock for all cameras."""

    size: tuple[int, int] | None = None
    count: int | None = None
    rate: float | None = None
    times: Float[np.ndarray, " N"] | None = None
    numbering: Numbering | None = None
    clock: bool = False

    @property
    def steady(self) -> bool:
        """One rate, lost frames aside."""
        if self.times is None or len(self.times) < 3:
            return True
        usual, every = _usual(self.times), len(self.times) - 1
        return len(usual) >= STEADY_FRAMES * every and stray_frames(np.cumsum(usual), 1 / float(usual.mean())) < 1


def _usual(times: Float[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
    """Distances between frames that follow each other, seconds."""
    distance = np.diff(times)
    return distance[np.abs(distance / np.median(distance) - 1) < STEADY_SHARE]


def _rate(times: np.ndarray | None, stated: float | None) -> float | None:
    """Frames per second between frames that follow each other, where a container's mean counts holes as well."""
    if times is None or len(times) < 3 or not stated:
        return stated
    rate = float(1 / _usual(times).mean())
    return stated if abs(rate / stated - 1) < 0.002 else rate


def _probe(video: Path | None, notes: list[str]) -> Probe:
    if video is None:
        return Probe()
    from vergence.footage.video import open_video  # PyAV takes as long to load as many a capture of keypoints to read

    with open_video(video) as opened:
        count = len(opened)
        notes += opened.notes
        if abs(opened.pixel_aspect - 1) > 1e-3:
            notes.append(
                f"{video.name}: pixels are {opened.pixel_aspect:.3f} times as wide as high; images are not stretched"
            )
        times = opened.times
        numbering = opened.numbering if isinstance(opened, ImageFolder) else None
        return Probe(opened.size, count, _rate(times, opened.fps), times, numbering)


def by_number(cameras: Sequence[CaptureCamera], notes: list[str]) -> tuple[CaptureCamera, ...]:
    """The cameras with their folders of images on one count: an image that is lost at the beginning is a gap as well."""
    numbered = [camera for camera in cameras if camera.numbering is not None]
    together = counted_together([camera.numbering for camera in numbered if camera.numbering is not None])
    moved = {}
    for camera, numbering in zip(numbered, together):
        if numbering != camera.numbering:
            notes.append(f"{camera.name}: the images' numbers begin later than another camera's, and are taken so")
        moved[camera.name] = replace(camera, numbering=numbering, frame_count=numbering.count)
    return tuple(moved.get(camera.name, camera) for camera in cameras)


def in_time(
    cameras: Sequence[CaptureCamera],
    probes: Mapping[str, Probe],
    rate: float | None,
    placed: set[str],
    notes: list[str],
) -> tuple[CaptureCamera, ...]:
    """The cameras with their frames placed by their videos' time stamps where these say more than the frame numbers.

    Args:
        cameras: as their tables say.
        probes: what their videos say.
        rate: time steps a second of the videos' time; None leaves all as it is.
        placed: cameras whose `offset` was given, and whose start is therefore known.
        notes: gets a sentence for each decision.
    """
    stamped = {c.name: t for c in cameras if (t := probes[c.name].times) is not None and len(t) > 2}
    if rate is None:
        return tuple(cameras)
    for camera in cameras:  # an even rate of its own
        own = probes[camera.name].rate
        if camera.name not in stamped and own and camera.frame_count not in (1, 2) and abs(own / rate - 1) > SAME_RATE:
            stamped[camera.name] = np.arange(camera.frame_count or COUNTED_ON) / own
    if not stamped:
        return tuple(cameras)
    even = {
        name for name, times in stamped.items() if stray_frames(times, (len(times) - 1) / np.ptp(times)) < STRAY_FRAMES
    }
    alike = len(even) == len(stamped) == len({len(times) for times in stamped.values()}) + len(stamped) - 1
    alike &= all(abs((len(times) - 1) / np.ptp(times) / rate - 1) < SAME_RATE for times in stamped.values())
    late = _starts(cameras, stamped, probes, placed)
    out = []
    for camera in cameras:
        times = stamped.get(camera.name)
        if times is not None and _moves(times, rate, probes[camera.name], alike):
            steps, stray = (times - times[0]) * rate, stray_frames(times, rate)
            holes = holes_of(steps)
            lost = f"; frames are lost after {steps[holes[0]] / rate:.2f} s" if len(holes) else ""
            lost += f" and at {len(holes) - 1} more places" if len(holes) > 1 else ""
            usual = float(np.median(np.diff(steps)))
            if abs(usual - 1) > SAME_RATE and not len(holes):
                notes.append(f"{camera.name}: {rate / usual:g} frames a second at {rate:g} time steps a second")
            else:
                notes.append(
                    f"{camera.name}: frames are placed by their time stamps, which lie up to {stray / rate:.2f} s "
                    f"from their numbers{lost}"
                )
            camera = replace(camera, stamps=steps)
        if late.get(camera.name):
            if 1000 * late[camera.name] >= 0.5:  # less reads as 0 ms
                notes.append(
                    f"{camera.name}: begins {1000 * late[camera.name]:.0f} ms after the first by its time stamps; a given "
                    "offset goes before"
                )
            camera = replace(camera, offset=-late[camera.name] * rate)
        out.append(camera)
    return tuple(out)


def holes_of(stamps: Float[np.ndarray, " N"]) -> Int[np.ndarray, " H"]:
    """The frames behind which frames are lost."""
    distance = np.diff(stamps)
    return np.flatnonzero(distance > HOLE_FRAMES * np.median(distance))


def _moves(times: np.ndarray, rate: float, probe: Probe, alike: bool) -> bool:
    """Whether time stamps say more than the frame numbers."""
    return probe.clock or (not alike and stray_frames(times, rate) >= STRAY_FRAMES)


def stray_frames(times: Float[np.ndarray, " N"], rate: float) -> float:
    """Frames by which time stamps leave the frame numbers at most."""
    return float(np.abs((times - times[0]) * rate - np.arange(len(times))).max())


def _starts(
    cameras: Sequence[CaptureCamera],
    stamped: Mapping[str, np.ndarray],
    probes: Mapping[str, Probe],
    placed: set[str],
) -> dict[str, float]:
    """Seconds after the first at which cameras begin, where their clocks are one."""
    suffixes = {c.video.suffix.lower() for c in cameras if c.video is not None}
    first = {name: float(times[0]) for name, times in stamped.items()}
    if not placed and all(probes[c.name].clock for c in cameras):
        return {name: start - min(first.values()) for name, start in first.items()}
    if placed or len(first) < len(cameras) or len(suffixes) > 1 or not suffixes <= CLOCKED_SUFFIXES:
        return {}
    begin = min(first.values())
    clock = begin > CLOCK_SECONDS
    late = {name: start - begin for name, start in first.items()}
    return late if clock or max(late.values()) >= START_SECONDS else {}


def _extrinsics(
    table: Mapping[str, Any], where: str, known: Camera | None, mm: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if ("R" in table) != ("t" in table):
        raise VergenceError(f"{where} has only one of R and t", "Give both, or neither.")
    if "R" in table:
        return calib.check_rotation(table["R"], where), calib.check_array(table["t"], (3,), f"t of {where}") * mm
    return (None, None) if known is None else (known.rotation, known.translation)
