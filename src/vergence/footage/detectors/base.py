"""What a detector is, and what all of them must put right.

A detector is any object with these attributes, registered with `plugins.detectors` as a function that makes it:

    @plugins.detectors.register("mine")
    def mine(model: str, device: str) -> Detector: ...

Packages differ in what they call a score and in what they give for a joint that they did not find. Here a joint is x, y in px
of the image that was given (pixel (0, 0) is the centre of the first) and a confidence above 0 and up to 1, or NaN in all three.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from vergence import plugins
from vergence.errors import VergenceError, refusing
from vergence.footage.images import RGB
from vergence.footage.keypoints import clean
from vergence.skeleton import Skeleton

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vergence"
People = Float[np.ndarray, "P J 3"]
# In this order the first that is installed is taken.
PREFERRED = ("rtmpose", "mediapipe", "vitpose")
PACKAGES = {"rtmpose": "rtmlib", "mediapipe": "mediapipe", "vitpose": "transformers"}


class Detector(Protocol):
    """Finds people's joints.

    Attributes:
        skeleton: of the joints.
        identity: name, release and weights; what was detected by another identity is detected anew.
    """

    skeleton: Skeleton
    identity: str

    def __call__(self, images: Sequence[RGB]) -> list[People]:
        """Everybody in every image; P = 0 where nobody is."""
        ...


def open_detector(name: str = "", model: str = "", device: str = "auto") -> Detector:
    """A detector by its registered name.

    Args:
        name: `rtmpose`, `mediapipe`, `vitpose` or a plug-in's; empty: the first of these that is installed.
        model: a local file or folder of weights (which kind, the detector says); empty: its own download.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        VergenceError: unknown, not installed, or its weights cannot be had.
    """
    from importlib.util import find_spec

    chosen = name
    if not name:
        if model.endswith(".task"):
            chosen = "mediapipe"
        else:
            chosen = next((one for one in PREFERRED if find_spec(PACKAGES[one])), PREFERRED[-1])
    try:
        found: Detector = plugins.detectors[chosen](model, device)
    except VergenceError as error:
        if name or model or chosen != PREFERRED[-1]:
            raise
        others = (
            "`pip install mediapipe` brings a smaller detector. Keypoints beside cam01.mp4 are found as cam01.json or"
        )
        raise VergenceError(error.problem, f"{error.remedy} {others} in cam01_json/.") from error
    return found


def needing_package(name: str) -> refusing:
    """Around a detector's imports: what to say where its package is not there."""
    remedy = f"pip install 'vergence[{name}]', or take another with --detector."
    return refusing(f"the detector {name} needs the package {PACKAGES[name]}", remedy, ImportError)


def inside(people: People, image: RGB) -> People:
    """Joints in the image only, and only people who have some: what a detector imagines beyond the border is no sight."""
    height, width = image.shape[:2]
    out = clean(people)
    out[(out[..., :2] < -0.5).any(-1) | (out[..., 0] > width - 0.5) | (out[..., 1] > height - 0.5)] = np.nan
    kept: People = out[np.isfinite(out[..., 2]).any(axis=1)]
    return kept
