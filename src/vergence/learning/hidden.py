"""Cameras that nothing is learned from: what the others make of a recording, and a capture of the others alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vergence import outputs
from vergence.errors import VergenceError
from vergence.evaluation.without_truth import by_others
from vergence.files import atomic_path
from vergence.footage.capture import Capture
from vergence.footage.capture_writer import write_capture
from vergence.footage.keypoints import read_keypoint_table
from vergence.footage.observations import observe
from vergence.outputs import PoseSequence
from vergence.reconstruction.result import Reconstruction


def check_hidden(hidden: Sequence[str], cameras: dict[str, Sequence[str]]) -> None:
    """Raises: VergenceError: a camera that no recording has, or a recording that would be left with one."""
    for name in hidden:
        if not any(name in own for own in cameras.values()):
            known = "; ".join(f"{recording}: {', '.join(own)}" for recording, own in cameras.items())
            raise VergenceError(f"no recording has a camera {name!r}", f"They have {known}.")
    for recording, own in cameras.items():
        left = [name for name in own if name not in hidden]
        if len(left) < 2:
            raise VergenceError(
                f"without {', '.join(hidden)} {recording} has {len(left)} cameras left, and 3D needs two",
                "Hold out fewer cameras.",
            )


def labels_without(found: Reconstruction, capture: Capture, hidden: Sequence[str], folder: Path) -> PoseSequence:
    """The recording's poses by the other cameras alone, which are placed anew; kept in `folder`, made where not there.

    They stand in the frame and size of the whole reconstruction, so that the held-out camera can be compared with them.
    """
    if not hidden:
        return found.poses
    place = folder / ("without-" + "-".join(hidden))
    if not (place / "poses.npz").is_file():
        pose = by_others(found, observe(capture), hidden, anew=True)
        outputs.write(place, replace(found.poses, pose=pose, confidence=None), {"npz": None})
    return outputs.read_npz(place / "poses.npz")


def capture_without(capture: Capture, hidden: Sequence[str], folder: Path) -> Path:
    """The folder of a capture without these cameras; its own where there are none."""
    kept = [i for i, name in enumerate(capture.names) if name not in hidden]
    if len(kept) == len(capture.cameras):
        return capture.folder
    place, file = folder / ("without-" + "-".join(hidden)), capture.keypoint_file
    place.mkdir(parents=True, exist_ok=True)
    if file is not None:
        table = read_keypoint_table(file)
        with atomic_path(place / "keypoints.npz") as partial:
            np.savez(
                partial,
                keypoints=table.keypoints[:, kept],
                joint_names=np.array(table.skeleton.joint_names),
                fps=np.array(table.fps or capture.fps),
            )
        file = place / "keypoints.npz"
    cameras = tuple(capture.cameras[i] for i in kept)
    write_capture(place, replace(capture, cameras=cameras, keypoint_file=file))
    return place
