"""From a capture's keypoint files to one array: the subject, in all cameras, on one time line.

Order of work: read every camera's people; follow them in the camera's own frames; move the tracks to the capture's
time line (offsets; a fractional one interpolates between two seen frames, never across a gap); choose the subject.
Whatever does not fit is an error with the two numbers that disagree, or a note: keypoints outside their image mean
another image size, keypoints within (0, 1) mean normalised ones, frame counts that differ by more than a tenth mean
another recording.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.calibrations.sizes import check_corner
from vergence.footage.capture import Capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.formats.placing import own_frames
from vergence.footage.keypoints import Detections, read_keypoint_table, read_keypoints
from vergence.footage.layouts import misnamed
from vergence.footage.subject import SubjectChoice, choose_subject
from vergence.footage.tracking import track_people
from vergence.geometry.cameras import Camera
from vergence.skeleton import Skeleton

# Cameras of one recording may differ in length by this share (or two frames): somebody pressed stop later.
LENGTH_SHARE = 0.1
UNTIMED_SHARE = 0.5  # where cameras were not started together
# Share of points that may lie this share of the size outside their image.
OUTSIDE_SHARE = 0.05
OUTSIDE_MARGIN = 0.05
# Where no intrinsics are given, the subject's choice takes a lens this wide (along the longer side).
GUESSED_FOV_DEG = 55.0


@dataclass(frozen=True)
class Observations:
    """The subject's keypoints in all cameras.

    Attributes:
        keypoints: x, y in px of the capture's `image_size`, confidence 0 to 1; NaN where missing.
        skeleton: the joints.
        subject: who was chosen among the people in view, and how sure that is.
        notes: decisions and corrections, as sentences.
        people: per camera, the tracks T J 3 of all people, the most seen person first.
    """

    keypoints: Float[np.ndarray, "T V J 3"]
    skeleton: Skeleton
    subject: SubjectChoice
    notes: tuple[str, ...] = ()
    people: tuple[list[np.ndarray], ...] = field(default=(), repr=False)


def where_keypoints_go(capture: Capture) -> str:
    """How a capture comes by its 2D keypoints, and under which name they are found."""
    name = next((camera.video.stem for camera in capture.cameras if camera.video is not None), "cam01")
    folder = shlex.quote(str(capture.folder))
    return (
        f"Run `vergence detect {folder}`, or another detector: {name}.json (COCO-style) or a folder {name}_json "
        "(OpenPose) beside the video is found by itself; other names go under `keypoints` in a capture.toml."
    )


def check_keypoints(capture: Capture) -> None:
    """Some camera has 2D keypoints.

    Raises:
        VergenceError: none has; says how they are made.
    """
    if not capture.has_keypoints:
        raise VergenceError(f"capture {capture.folder.name} has no 2D keypoints", where_keypoints_go(capture))


def observe(capture: Capture) -> Observations:
    """Reads a capture's keypoints and chooses the subject; the files are read anew at each call.

    Raises:
        VergenceError: no keypoints, or keypoints that do not fit the capture.
    """
    check_keypoints(capture)
    notes: list[str] = []
    if capture.keypoint_file is not None:
        skeleton, tracks = _from_npz(capture, notes)
    else:
        skeleton, tracks = _from_cameras(capture, notes)
    for camera, own in zip(capture.cameras, tracks):
        _check_extent(own, camera)
        if not own:
            notes.append(f"camera {camera.name} sees nobody")
    if corner := check_corner(capture.cameras, tracks):
        notes.append(corner)
    known = capture.has_extrinsics
    views = [_with_lens(camera if known else camera.without_extrinsics()) for camera in capture.cameras]
    keypoints, choice = choose_subject(tracks, views)
    if doubt := misnamed(keypoints.reshape(-1, *keypoints.shape[2:]), skeleton):
        notes.append(doubt)
    return Observations(keypoints, skeleton, choice, tuple(notes), tuple(tracks))


def _with_lens(camera: CaptureCamera) -> Camera:
    """The camera with an assumed focal length where it has none."""
    if camera.intrinsics is not None:
        return camera
    focal = max(camera.image_size) / 2 / math.tan(math.radians(GUESSED_FOV_DEG) / 2)
    width, height = camera.image_size
    return replace(
        camera, intrinsics=np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    )


def _from_npz(capture: Capture, notes: list[str]) -> tuple[Skeleton, list[list[np.ndarray]]]:
    assert capture.keypoint_file is not None
    table = read_keypoint_table(capture.keypoint_file)
    notes += table.notes
    frames, views = table.keypoints.shape[:2]
    if views != len(capture.cameras):
        raise VergenceError(
            f"{capture.keypoint_file.name} has {views} views, the capture has {len(capture.cameras)} cameras",
            "They must be the same, in the same order.",
        )
    if capture.skeleton is not None and capture.skeleton != table.skeleton:
        raise VergenceError(
            f"{capture.keypoint_file.name} names other joints than skeleton {capture.skeleton.name}",
            "Leave `skeleton` out: the file names its joints.",
        )
    if table.fps and abs(table.fps / capture.fps - 1) > 0.01:
        raise VergenceError(
            f"{capture.keypoint_file.name} has {table.fps:g} frames per second, the capture {capture.fps:g}",
            "Correct fps in capture.toml, or leave it out.",
        )
    last = [int(np.flatnonzero(np.isfinite(own[..., 2]).any(-1)).max(initial=-1)) + 1
            for own in table.keypoints.transpose(1, 0, 2, 3)]  # fmt: skip
    capture = _evenly_numbered(capture, {c.name: (count, False) for c, count in zip(capture.cameras, last)}, notes)
    for camera in capture.cameras:
        _check_length(camera, frames, notes)
    length = _timeline(capture, {camera.name: frames for camera in capture.cameras}, notes)
    tracks = []
    for v, camera in enumerate(capture.cameras):
        people = [frame[None] if np.isfinite(frame[:, 2]).any() else frame[None][:0] for frame in table.keypoints[:, v]]
        tracks.append(_on_timeline(track_people(people, capture.fps), camera, length))
    return table.skeleton, tracks


def _from_cameras(capture: Capture, notes: list[str]) -> tuple[Skeleton, list[list[np.ndarray]]]:
    found: dict[str, Detections] = {}
    for camera in capture.cameras:
        if camera.keypoints is None:
            raise VergenceError(
                f"camera {camera.name} has no keypoints, but others have",
                f"{where_keypoints_go(capture)} Or leave the camera out.",
            )
        read = read_keypoints(camera.keypoints, capture.skeleton)
        found[camera.name] = read.in_order_of(next(iter(found.values()), read).skeleton)
        notes += found[camera.name].notes
        found[camera.name] = _in_its_pixels(camera, found[camera.name])
    found = own_frames(
        found,
        {camera.name: camera.numbering for camera in capture.cameras},
        {camera.name: camera.frame_count for camera in capture.cameras},
        notes,
    )
    skeletons = {d.skeleton: name for name, d in found.items()}
    if len(skeletons) > 1:
        listed = ", ".join(f"{skeleton.name} of {len(skeleton)} ({name})" for skeleton, name in skeletons.items())
        raise VergenceError(
            f"cameras have keypoints of different skeletons: {listed}", "Use one model for all cameras."
        )
    first = _first_numbers(capture, found, notes)
    counts: dict[str, int] = {}
    reach = {name: (max(d.people) - first[name] + 1, d.last_known) for name, d in found.items()}
    capture = _evenly_numbered(capture, reach, notes)
    for camera in capture.cameras:
        detections, last = found[camera.name], reach[camera.name][0]
        if detections.last_known or (camera.frame_count is not None and last > camera.frame_count):
            _check_length(camera, last, notes)
        counts[camera.name] = max(last, camera.frame_count or 0)
    known = {c.name for c in capture.cameras if c.frame_count is not None or found[c.name].last_known}
    length = _timeline(capture, counts, notes, known)
    notes += [
        f"camera {camera.name}: its results end after {reach[camera.name][0]} of {length} frames; the file may be cut off"
        for camera in capture.cameras
        if reach[camera.name][0] < (1 - LENGTH_SHARE) * length - 2 and not found[camera.name].last_known
    ]
    tracks = []
    for camera in capture.cameras:
        people = found[camera.name].frames(first[camera.name], counts[camera.name])
        tracks.append(_on_timeline(track_people(people, capture.fps), camera, length))
    return found[capture.cameras[0].name].skeleton, tracks


def _evenly_numbered(capture: Capture, reach: Mapping[str, tuple[int, bool]], notes: list[str]) -> Capture:
    """The capture as its keypoints count time: of a video whose frames are placed by their time stamps, keypoints may count
    even time all the same, made from images that a program wrote at an even rate. Their number tells.

    Args:
        reach: per camera, the frames that its keypoints reach to, and whether that is surely all of them.
    """
    cameras = []
    for camera in capture.cameras:
        last, sure = reach[camera.name]
        if camera.stamps is not None and camera.frame_count is not None:
            even = round(float(camera.stamps[-1])) + 1
            if last > camera.frame_count or (sure and abs(last - even) < abs(last - camera.frame_count)):
                notes.append(
                    f"camera {camera.name}: {last} frames of keypoints count even time, not the video's frames"
                )
                camera = replace(camera, stamps=None, frame_count=even)
        cameras.append(camera)
    return replace(capture, cameras=tuple(cameras))


def _first_numbers(capture: Capture, found: Mapping[str, Detections], notes: list[str]) -> dict[str, int]:
    """The number that each camera's files give to its frame 0.

    A camera whose files count as many frames as its video has, or as another camera's do, begins with its own first
    number: one program counts from 0, another from 1. Elsewhere all cameras count from one number, and what comes later
    in one of them was lost: the smallest number there is, where every frame has a file.
    """
    sure = {name: 0 for name, d in found.items() if d.from_zero}
    found = {name: d for name, d in found.items() if not d.from_zero}
    ends = {name: (min(d.people), max(d.people)) for name, d in found.items()}
    complete = [ends[name][0] for name, d in found.items() if d.last_known]
    cameras = [camera for camera in capture.cameras if camera.name in found]
    counted = {c.name: ends[c.name][1] == c.frame_count and ends[c.name][0] > 0 for c in cameras}
    common = min(complete) if complete else int(any(counted.values()))
    full = {high - low for low, high in ends.values() if low == common}
    first = {}
    for camera in cameras:
        (low, high), known = ends[camera.name], camera.frame_count
        if found[camera.name].last_known:
            own = high - low + 1 == known if known is not None else high - low in full
        else:
            own = counted[camera.name] or (
                low == 0 if known is not None else low == 1 and common == 0 and high - 1 in full
            )
        first[camera.name] = low if own and (found[camera.name].last_known or low < 2) else common
    if len(set(first.values())) <= 1:
        if common:
            notes.append(f"keypoint files count frames from {common}: that is frame 0 of the capture")
        return sure | first
    notes += [f"keypoint files of camera {n} count frames from {low}: that is its frame 0" for n, low in first.items()]
    return sure | first


def _check_length(camera: CaptureCamera, keypoint_frames: int, notes: list[str]) -> None:
    """Keypoints of one camera against its own video."""
    if camera.frame_count is None or keypoint_frames == camera.frame_count:
        return
    problem = f"camera {camera.name} has {keypoint_frames} frames of keypoints and {camera.frame_count} of video"
    if abs(keypoint_frames - camera.frame_count) > max(2.0, LENGTH_SHARE * camera.frame_count):
        raise VergenceError(problem, "Make the keypoints from this very video.")
    notes.append(f"{problem}; taken as starting together")


def _timeline(capture: Capture, counts: Mapping[str, int], notes: list[str], known: set[str] | None = None) -> int:
    """Frames of the capture's time line: the longest camera's, after its offset."""
    ends = {c.name: c.steps_of(counts[c.name]) for c in capture.cameras}
    sure = {name: end for name, end in ends.items() if known is None or name in known}
    if len(sure) > 1 and max(sure.values()) - min(sure.values()) >= 1:
        shortest, longest = min(sure, key=lambda n: sure[n]), max(sure, key=lambda n: sure[n])
        problem = f"cameras differ in length: {shortest} ends after {sure[shortest]:g} frames of 1/{capture.fps:g} s"
        problem += f", {longest} after {sure[longest]:g}"
        begun = capture.synchronised and not any(camera.offset for camera in capture.cameras)
        share = LENGTH_SHARE if begun else UNTIMED_SHARE
        if sure[longest] - sure[shortest] > max(2.0, share * sure[longest]):
            raise VergenceError(
                problem,
                "Trim the recordings to one start and end, give each camera's offset, or correct a frame rate that is wrong.",
            )
        notes.append(f"{problem}; what is missing counts as not seen")
    length = math.floor(max(ends.values()) + 1e-6)
    if length < 1:
        raise VergenceError(f"the offsets leave no frame: cameras end at {ends}", "Correct `offset`.")
    return length


def _on_timeline(tracks: Sequence[np.ndarray], camera: CaptureCamera, length: int) -> list[Float[np.ndarray, "T J 3"]]:
    """Tracks in a camera's own frames, at the capture's time steps."""
    own = camera.own_frames(np.arange(length))
    own = np.where(np.isfinite(own), own, -2.0)
    low = np.floor(own + 1e-9).astype(int)
    share = np.clip(own - low, 0.0, 1.0)
    out = []
    for track in tracks:
        moved = _rows(track, low)
        part = np.flatnonzero(share >= 1e-6)  # between two frames
        before, after = moved[part], _rows(track, low[part] + 1)
        moved[part] = before + share[part, None, None] * (after - before)
        moved[part, :, 2] = np.minimum(before[..., 2], after[..., 2])
        if np.isfinite(moved[..., 2]).any():
            out.append(moved)
    return out


def _rows(track: np.ndarray, index: np.ndarray) -> np.ndarray:
    inside = (index >= 0) & (index < len(track))
    out = np.full((len(index), *track.shape[1:]), np.nan)
    out[inside] = track[index[inside]]
    return out


def _in_its_pixels(camera: CaptureCamera, detections: Detections) -> Detections:
    """Keypoints that their file gives in the video's pixels, brought to the camera's as the video's images are.

    Raises:
        VergenceError: they are for images of another size.
    """
    size, fit = detections.image_size, camera.fit
    if size is None or size == camera.image_size:
        return detections
    if fit is None or size != fit.source:
        raise VergenceError(
            f"keypoints of camera {camera.name} are for images of {size[0]} x {size[1]}, its image_size is "
            f"{camera.image_size[0]} x {camera.image_size[1]}",
            "Set image_size (and intrinsics) to the size that the keypoints are for.",
        )
    people = {frame: fit.moved(points) for frame, points in detections.people.items()}
    return replace(detections, people=people, image_size=fit.target)


def _check_extent(tracks: Sequence[np.ndarray], camera: CaptureCamera) -> None:
    """Keypoints that lie outside their image, or in a corner pixel of it, are in other units."""
    if not tracks:
        return
    points = np.concatenate([track.reshape(-1, 3) for track in tracks])
    points, sure = np.split(points[np.isfinite(points).all(axis=1)], [2], axis=1)
    if not sure.sum() > 0:
        return
    size = np.array(camera.image_size, dtype=float)
    reach = points.max(axis=0)
    if reach.max() <= 2.0 < size.min() / 4:
        raise VergenceError(
            f"keypoints of camera {camera.name} reach only ({reach[0]:.3g}, {reach[1]:.3g})",
            "They are in pixels, not in 0 to 1.",
        )
    margin = OUTSIDE_MARGIN * size
    beside = ((points < -margin) | (points > size + margin)).any(axis=1)
    outside = sure[beside].sum() / sure.sum()  # detectors guess what is out of view, and say that they are not sure
    if outside > OUTSIDE_SHARE:
        raise VergenceError(
            f"{outside:.0%} of the keypoints of camera {camera.name} lie outside its image of "
            f"{size[0]:.0f} x {size[1]:.0f} (they reach {reach[0]:.0f}, {reach[1]:.0f})",
            "Set image_size (and intrinsics) to the size that the keypoints are for.",
        )
