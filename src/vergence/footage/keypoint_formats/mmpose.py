"""MMPose's JSON: `meta_info` and `instance_info` as its demos write them, or the bare list of its inferencer.

Each frame is `{frame_id, instances}`, each instance `keypoints` (K 2) and `keypoint_scores` (K); of a single picture the
instances stand without a frame. `meta_info` names the joints. A `.json` file whose beginning has none of these words is
COCO's form, which AlphaPose and detectron write too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import refusing
from vergence.files import beginning, read_json
from vergence.footage.keypoint_formats.tables import detections
from vergence.footage.keypoints import Detections, read_coco
from vergence.footage.readers import Reader
from vergence.skeleton import Skeleton

WORDS = (b'"meta_info"', b'"instance_info"', b'"instances"', b'"keypoint_scores"')
BEGINNING = 1 << 16  # bytes in which one of them stands


def read_json_keypoints(path: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """One camera's keypoints of a JSON file: MMPose's form, else COCO's.

    Raises:
        VergenceError: missing, damaged, or neither.
    """
    path, head = Path(path), beginning(path, BEGINNING)
    if not any(word in head for word in WORDS):
        return read_coco(path, skeleton)
    data, form = read_json(path), "each instance has keypoints (K 2) and keypoint_scores (K)."
    with refusing(f"{path} is not MMPose's form", f"Each frame is {{frame_id, instances}}, {form}"):
        frames, names = _frames(data)
    return detections(frames.items(), names, path, skeleton, last_known=True)


def _frames(data: Any) -> tuple[dict[int, Float[np.ndarray, "P K 3"]], list[str]]:
    """People by frame, and the joints' names where the file has them."""
    names: list[str] = []
    if isinstance(data, Mapping):
        known = (data.get("meta_info") or {}).get("keypoint_id2name") or {}
        names = [str(known[key]) for key in sorted(known, key=int)]
        data = data["instance_info"]
    if data and isinstance(data[0], list):
        data = data[0]
    if not data or "instances" not in data[0]:
        return {0: _people(data)}, names
    frames: dict[int, np.ndarray] = {}
    for entry in data:
        number = entry["frame_id"]
        if not isinstance(number, int) or number in frames or number < 0:
            raise ValueError(f"frame_id {number!r}, which is no number of its own")
        frames[number] = _people(entry["instances"])
    return frames, names


def _people(instances: list[Any]) -> Float[np.ndarray, "P K 3"]:
    people = []
    for instance in instances:
        points = np.asarray(instance["keypoints"], dtype=np.float64)
        if points.ndim != 2 or points.shape[1] not in (2, 3):
            raise ValueError(f"keypoints of shape {points.shape}")
        scores = np.asarray(instance.get("keypoint_scores", np.ones(len(points))), dtype=np.float64)
        people.append(np.concatenate([points[:, :2], scores.reshape(len(points), 1)], axis=1))
    return np.stack(people) if people else np.empty((0, 0, 3))


JSON = Reader(lambda path: path.suffix.lower() == ".json" and not path.is_dir(), read_json_keypoints)
