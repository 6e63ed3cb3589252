"""Keypoints for a whole recording: every video of a folder, or one video, by one detector."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vergence.errors import VergenceError
from vergence.footage.capture import Capture, load_capture
from vergence.footage.detectors.base import CACHE, open_detector
from vergence.footage.detectors.detect import Detected, content, detect_video
from vergence.progress import Progress, silent


def detect(
    footage: str | Path,
    out: str | Path | None = None,
    *,
    detector: str = "",
    model: str = "",
    device: str = "auto",
    again: bool = False,
    progress: Progress = silent,
) -> list[Detected]:
    """2D keypoints of everybody in every video of a recording, written where the other steps look for them.

    A video that the same detector has processed is skipped. After a kill the same call continues.

    Args:
        footage: folder of videos (or of folders of images), a capture.toml, or one video.
        out: folder for `NAME.json`; beside each video where not given.
        detector: `rtmpose`, `mediapipe`, `vitpose`, or a plug-in's; the first of these that is installed.
        model: local weights, as the detector takes them; its own download where not given.
        device: `auto`, `cpu` or `cuda`.
        again: also for cameras that have keypoints from elsewhere.
        progress: reports every frame.

    Returns:
        A result for each video, in the cameras' order.

    Raises:
        VergenceError: no videos, no detector, or files that cannot be written.
    """
    videos = videos_of(Path(footage), again)
    if not videos:
        return []
    opened = open_detector(detector, model, device)
    return [detect_video(video, keypoint_path(video, out), opened, progress=progress) for video in videos]


def with_keypoints(
    capture: Capture,
    folder: Path | None = None,
    *,
    detector: str = "",
    model: str = "",
    device: str = "auto",
    progress: Progress = silent,
) -> Capture:
    """The capture with 2D keypoints of every camera, detected where it has none.

    Args:
        capture: of which some cameras may have no keypoints.
        folder: for `CAMERA.json`; where not given, the user's cache.
        detector, model, device: as `detect` takes them.
        progress: reports every frame.

    Raises:
        VergenceError: a camera has neither, no detector, or files that cannot be written.
    """
    missing = [] if capture.keypoint_file is not None else [c for c in capture.cameras if c.keypoints is None]
    if not missing:
        return capture
    if blind := [camera.name for camera in missing if camera.video is None]:
        raise VergenceError(f"camera {', '.join(blind)} has neither images nor keypoints", "Give one of them.")
    opened = open_detector(detector, model, device)
    made = {}
    for camera in missing:
        assert camera.video is not None
        into = CACHE / "keypoints" / content(camera.video) if folder is None else folder
        made[camera.name] = detect_video(camera.video, into / f"{camera.name}.json", opened, progress=progress).path
    cameras = [dataclasses.replace(one, keypoints=made.get(one.name, one.keypoints)) for one in capture.cameras]
    return dataclasses.replace(capture, cameras=tuple(cameras))


def keypoint_path(video: Path, out: str | Path | None) -> Path:
    """Where a video's keypoints go: beside it, where a plain folder's are looked for, or into a folder."""
    return (video.parent if out is None else Path(out)) / f"{video.stem}.json"


def videos_of(footage: Path, again: bool = False) -> list[Path]:
    """The videos of a recording whose keypoints are missing, or are a detector's own.

    Raises:
        VergenceError: nothing is there, or a capture without videos.
    """
    if not footage.exists():
        raise VergenceError(f"there is no footage {footage}", "Give a folder of videos, or a video.")
    if footage.is_file() and footage.suffix.lower() != ".toml":
        return [footage]
    capture = load_capture(footage)
    if all(camera.video is None for camera in capture.cameras):
        raise VergenceError(f"{footage} has no videos", "Keypoints are detected in videos or folders of images.")
    if capture.keypoint_file is not None and not again:
        return []
    return [
        camera.video
        for camera in capture.cameras
        if camera.video is not None and (again or camera.keypoints in (None, keypoint_path(camera.video, None)))
    ]
