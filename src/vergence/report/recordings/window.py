"""A camera's overlay in a window, where the installed OpenCV has windows; the one that comes with the package has none."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from vergence.errors import VergenceError
from vergence.footage.detectors.base import open_detector
from vergence.inference.frames import preview_size
from vergence.inference.inputs import find_lens
from vergence.inference.live import LiveFrames, camera_images
from vergence.inference.predict import open_model
from vergence.networks.devices import resolve_device
from vergence.report.overlay import overlay_of_people
from vergence.report.recordings.prediction import print_notes

TITLE = "vergence: Q ends"
ENDS = {ord("q"), ord("Q"), 27}  # 27: Esc


def watch(run: Path, number: int, console: Console, given: Mapping[str, Any], **options: Any) -> None:
    """Shows everybody's overlay of a camera's images until a key ends it; nothing is written.

    Args:
        run: folder of a run or lifting model, or `lifting`.
        number: of the camera.
        console: for notes and the end.
        given: options that a camera has no use for, by name; refused where they are set.
        options: `detector`, `detector_model`, `people`, `fov`, `flip`, `device` of `predict`.

    Raises:
        VergenceError: no window, no camera, no detector, or an option that has no use here.
    """
    if useless := [name for name, value in given.items() if value not in (None, "", False, 0.0)]:
        named = ", ".join(f"--{name}" for name in useless)
        raise VergenceError(f"{named} with a camera, of which nothing is kept", "Leave it out, or give a recording.")
    check_window()
    model = open_model(run, resolve_device(options["device"]))
    detector = open_detector(options["detector"] or "", options["detector_model"], options["device"])
    lens, images = find_lens(None, "", options["fov"]), camera_images(number)
    first = next(images, None)
    if first is None:
        raise VergenceError(f"camera {number} gives no image", "Is it covered, or in use by another program?")
    found = LiveFrames(model, chain([first], images), detector, lens, options["people"] == "all", options["flip"])
    print_notes(found, found.notes, console)
    size = preview_size(first.shape[1::-1])
    try:
        for frames in found.images():
            cv2.imshow(TITLE, np.ascontiguousarray(overlay_of_people(frames, found, size)[..., ::-1]))
            if cv2.waitKey(1) & 0xFF in ENDS:
                break
    finally:
        cv2.destroyAllWindows()
    console.print(f"{found.tally.read} images, {found.tally.seen} poses; nothing was written.")


def check_window() -> None:
    """A `VergenceError` where OpenCV cannot open a window."""
    built = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if built is None or built[1] == "NONE":
        raise VergenceError(
            "a camera's poses are shown in a window, and the OpenCV that is installed has none",
            "pip uninstall opencv-python-headless, then pip install opencv-python; or record a video and give its name.",
        )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise VergenceError("there is no screen to show a camera's poses on", "Record a video and give its name.")
