"""MediaPipe's PoseLandmarker (BlazePose, 33 joints), from a `.task` file or its own download; fast on a CPU.

A landmarker uses one core, and knows nothing of the images before: of several images some are looked at at the same time, by
landmarkers of their own.

It gives points for all 33 joints whatever is to be seen, also outside the image, and a `visibility` that tells; its
interpreter writes a dozen lines to the process's standard error for every model, which nobody asked for.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path
from vergence.footage.detectors.base import CACHE, People, inside, needing_package
from vergence.footage.images import RGB
from vergence.networks.threads import workers
from vergence.skeleton import MEDIAPIPE_33

URL = "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/float16/latest/pose_landmarker_full.task"
PEOPLE = 4  # at most; more cost time in every image
# The package's own 0.5 drops people whom it found as soon as it may return several.
LEAST_CONFIDENCE = 0.2
TIMEOUT_S = 10
AT_ONCE = 4  # landmarkers at most, some 60 MB each


class MediaPipe:
    """See `base.Detector`; it runs on the CPU, whatever the device."""

    skeleton = MEDIAPIPE_33

    def __init__(self, model: str = "", device: str = "auto") -> None:
        with needing_package("mediapipe"), quiet_stderr():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        path = Path(model) if model else downloaded()
        if not path.is_file():
            raise VergenceError(
                f"there is no model {path}",
                "Give --detector-model, a file pose_landmarker_*.task.",
            )
        self.identity = f"mediapipe {version('mediapipe')} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        self._image, self._format = mediapipe.Image, mediapipe.ImageFormat.SRGB
        options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=vision.RunningMode.IMAGE,
            num_poses=PEOPLE,
            min_pose_detection_confidence=LEAST_CONFIDENCE,
            min_pose_presence_confidence=LEAST_CONFIDENCE,
        )
        remedy = "Give a file pose_landmarker_lite.task, _full.task or _heavy.task."
        with refusing(f"{path} is no model of MediaPipe's PoseLandmarker", remedy), quiet_stderr():
            self._make: Callable[[], Any] = lambda: vision.PoseLandmarker.create_from_options(options)
            self._landmarkers = [self._make()]
        weakref.finalize(self, _close, self._landmarkers)

    def __call__(self, images: Sequence[RGB]) -> list[People]:
        count = max(1, min(len(images), AT_ONCE, workers()))
        with quiet_stderr(), ThreadPoolExecutor(count) as pool:  # for all threads: the stream is the process's
            self._landmarkers += [self._make() for _ in range(count - len(self._landmarkers))]
            parts = [
                pool.submit(lambda own, some: [self._one(own, image) for image in some], own, images[first::count])
                for first, own in enumerate(self._landmarkers[:count])
            ]
            return [parts[i % count].result()[i // count] for i in range(len(images))]

    def _one(self, landmarker: Any, image: RGB) -> People:
        height, width = image.shape[:2]
        shown = self._image(image_format=self._format, data=np.ascontiguousarray(image))
        found = landmarker.detect(shown).pose_landmarks
        if not found:
            return np.empty((0, len(self.skeleton), 3))
        # Landmarks are shares of the image's width and height, which end at the pixels' outer borders.
        rows = [[(p.x * width - 0.5, p.y * height - 0.5, p.visibility) for p in person] for person in found]
        return inside(np.array(rows), image)


def _close(landmarkers: list[Any]) -> None:
    """Left to themselves they are closed when their own threads and modules are gone, and print a traceback at every exit."""
    with quiet_stderr():
        for landmarker in landmarkers:
            with suppress(Exception):
                landmarker.close()
            landmarker._handle = None


def downloaded() -> Path:
    """The full model, fetched once from Google's storage.

    Raises:
        VergenceError: it cannot be fetched.
    """
    path = CACHE / Path(URL).name
    if not path.is_file():
        remedy = f"Fetch {URL} on another machine and give --detector-model FILE.task."
        with (
            refusing("MediaPipe's model cannot be downloaded", remedy, OSError),
            urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer,
            atomic_path(path) as partial,
        ):
            partial.write_bytes(answer.read())
    return path


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing on the process's standard error meanwhile, libraries in C included."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
