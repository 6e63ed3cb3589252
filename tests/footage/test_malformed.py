"""Over a thousand files that are not what they should be: each is refused in one sentence, or read as something sound."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_malformed import (
    FRAMES,
    ODD_ARRAYS,
    ODD_NUMBERS,
    captures,
    json_files,
    labels,
    npz_files,
    openpose,
    people,
    results,
)
from PIL import Image

from vergence.datasets.coco import read_coco as read_coco_labels
from vergence.errors import VergenceError
from vergence.footage.boxes import follow, read_boxes
from vergence.footage.capture import load_capture
from vergence.footage.keypoints import read_keypoint_table, read_keypoints
from vergence.footage.observations import observe
from vergence.outputs.tables import read_npz
from vergence.skeleton import COCO_17

POINTS = np.array([[people(t)] * 2 for t in range(FRAMES)])
NPZ = {"keypoints": POINTS, "joint_names": np.array(COCO_17.joint_names), "fps": 30.0}
POSES = {"pose": np.zeros((FRAMES, 17, 3)), "joint_names": np.array(COCO_17.joint_names), "fps": 30.0, "unit": "mm",
         "up": np.array([0.0, 0, 1]), "frame": np.arange(FRAMES), "time": np.arange(FRAMES) / 30}  # fmt: skip
SECONDS, BYTES = 10.0, 2 * 2**30


def keypoints_of(folder: Path) -> Any:
    found = read_keypoints(folder / "a.json")
    assert all(seen.ndim == 3 and seen.shape[1:] == (17, 3) for seen in found.people.values())
    assert sum(map(len, found.frames(min(found.people), 10))) <= 20


def openpose_of(folder: Path) -> Any:
    (folder / "json").mkdir(exist_ok=True)
    (folder / "a.json").rename(folder / "json" / "cam_000000000002_keypoints.json")
    read_keypoints(folder / "json")


def table_of(folder: Path) -> Any:
    found = read_keypoint_table(folder / "a.npz")
    assert found.keypoints.shape[2:] == (len(found.skeleton), 3)
    assert found.fps is None or 0 < found.fps < 1e6


def boxes_of(folder: Path) -> Any:
    found = read_boxes(next(folder.glob("a.*")))
    assert all(np.isfinite(boxes).all() for boxes in found.values())
    follow(found)


def labels_of(folder: Path) -> Any:
    for i in range(FRAMES):
        Image.new("L", (640, 480)).save(folder / f"im_{i:04}.png") if not (folder / f"im_{i:04}.png").exists() else None
    records = read_coco_labels(folder / "a.json")
    assert np.isfinite(records.box).all()
    assert len(records) <= FRAMES


def poses_of(folder: Path) -> Any:
    found = read_npz(folder / "a.npz")
    assert found.pose.ndim == 3


def capture_of(folder: Path) -> Any:
    for name in "ab":
        (folder / f"{name}.json").write_text(json.dumps(results()))
    found = load_capture(folder / "a.toml")
    seen = observe(found)
    assert len(seen.keypoints) < 20
    assert seen.keypoints.shape[2:] == (17, 3)


def rows() -> Iterator[tuple[str, bytes]]:
    for name in ("nan", "inf", "1e300", "-1", "", "word", "1616161616000000", "1e-9", "9" * 400, "\0", "0x10", "[1]"):
        for column in range(6):
            values = ["0", "1", "2", "30", "40", "0.5"]
            values[column] = name
            yield f"{column} {name[:9]}", f"frame,x,y,w,h,score\n{','.join(values)}\n".encode()


KEYS = ("image_id", "category_id", "keypoints", "bbox", "score")
ROW = [(0,), *((0, key) for key in KEYS), (0, "keypoints", 4), (0, "bbox", 2)]
LABEL = [("images",), ("annotations",), ("categories",), ("images", 1), ("annotations", 1), ("categories", 0),
         *(("images", 1, key) for key in ("id", "file_name", "width", "height")),
         *(("annotations", 1, key) for key in (*KEYS, "area", "iscrowd")), ("annotations", 1, "keypoints", 5),
         *(("categories", 0, key) for key in ("id", "name", "keypoints")), ("categories", 0, "keypoints", 3)]  # fmt: skip
PERSON = [("people",), ("people", 0), ("people", 0, "pose_keypoints_2d"), ("people", 0, "pose_keypoints_2d", 7)]
KINDS: dict[str, tuple[str, Callable[[Path], Any], Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "openpose": ("a.json", openpose_of, lambda: json_files(openpose(), PERSON)),
    "results": ("a.json", keypoints_of, lambda: json_files(results(), ROW)),
    "labels": ("a.json", keypoints_of, lambda: json_files(labels(), LABEL)),
    "dataset": ("a.json", labels_of, lambda: json_files(labels(), LABEL)),
    "boxes": ("a.json", boxes_of, lambda: json_files(labels(), LABEL)),
    "boxes as results": ("a.json", boxes_of, lambda: json_files(results(), ROW)),
    "boxes as rows": ("a.csv", boxes_of, rows),
    "table": ("a.npz", table_of, lambda: npz_files(
        NPZ, {"keypoints": ODD_ARRAYS, "joint_names": ODD_ARRAYS, "fps": [*ODD_NUMBERS, *ODD_ARRAYS]})),
    "poses": ("a.npz", poses_of, lambda: npz_files(
        POSES, {"fps": [*ODD_NUMBERS, *ODD_ARRAYS], "unit": ["", "feet", 3, *ODD_ARRAYS],
                **dict.fromkeys(("pose", "joint_names", "up", "frame", "time"), ODD_ARRAYS)})),
    "capture": ("a.toml", capture_of, captures),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_malformed_is_one_sentence(tmp_path: Path, kind: str) -> None:
    name, read, files = KINDS[kind]
    wrong, refused, count = [], 0, 0
    for what, data in files():
        (tmp_path / name).write_bytes(data)
        begin = time.process_time()
        try:
            read(tmp_path)
        except VergenceError as error:
            refused += 1
            if len(str(error)) > 1000 or "\n" in str(error):
                wrong.append((what, f"{len(str(error))} characters: {str(error)[:100]}"))
        except (Exception, RecursionError) as error:
            wrong.append((what, f"{type(error).__name__}: {str(error)[:300]}"))
        if time.process_time() - begin > SECONDS:
            wrong.append((what, "took too long"))
        count += 1
    assert wrong == []
    assert count >= 70
    assert refused > count / 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < BYTES
