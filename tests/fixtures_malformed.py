"""Files that are not what they should be: sound ones with one value replaced, cut off, or of another kind altogether."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from vergence.skeleton import COCO_17

FRAMES, SIZE = 6, (640, 480)
BAD: dict[str, Any] = {
    "null": None, "word": "word", "empty text": "", "digits": "12", "true": True, "empty list": [], "empty table": {},
    "nested": [[[1, 2], [3]], 4], "list of a word": [1, "a"], "ragged": [[1, 2, 3], [4]], "table": {"a": 1}, "minus": -7,
    "zero": 0, "half": 2.5, "large": 1e300, "tiny": 5e-324, "nan": math.nan, "inf": math.inf, "minus inf": -math.inf,
    "microseconds": 1616161616000000, "beyond 64 bits": 10**30, "beyond floats": 10**400, "lone surrogate": "\ud800",
    "null byte": "a\0b", "path": "/dev/null", "long": [0] * 20000,
}  # fmt: skip
TEXTS: dict[str, bytes] = {
    "nothing": b"", "spaces": b"  \n", "null": b"null", "number": b"3", "words": b"no data", "zeros": bytes(2000),
    "binary": bytes(range(256)) * 8, "latin": "ä".encode("latin-1"), "deep lists": b"[" * 100_000, "mark": b"\xef\xbb\xbf",
    "deep tables": b'{"a":' * 100_000, "deep and whole": b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "many digits": b'{"people": [' + b"9" * 5000 + b"]}", "utf-16 half": b"\xff\xfe{\0\"", "two": b"{}{}",
    "comma": b'{"people": [],}', "list of null": b"[null]", "list of lists": b"[[]]", "keys twice": b'{"people":1,"people":[]}',
}  # fmt: skip


def people(frame: int) -> list[list[float]]:
    """A standing person's 17 points, who steps to the right."""
    x = 200 + 5 * frame
    up = [60, 56, 56, 58, 58, 90, 90, 130, 130, 165, 165, 170, 170, 230, 230, 290, 290]
    side = [0, 3, -3, 6, -6, 18, -18, 26, -26, 28, -28, 11, -11, 12, -12, 12, -12]
    return [[float(x + s), float(100 + u), 0.9] for s, u in zip(side, up)]


def openpose() -> Any:
    return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": np.ravel(people(2)).tolist()}]}


def results() -> Any:
    return [
        {
            "image_id": t,
            "category_id": 1,
            "keypoints": np.ravel(people(t)).tolist(),
            "bbox": [180, 150, 60, 250],
            "score": 0.9,
        }
        for t in range(FRAMES)
    ]


def labels() -> Any:
    images = [{"id": t, "file_name": f"im_{t:04}.png", "width": SIZE[0], "height": SIZE[1]} for t in range(FRAMES)]
    rows = [{**row, "id": t, "area": 900.0, "iscrowd": 0} for t, row in enumerate(results())]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_17.joint_names), "skeleton": [[1, 2]]}
    return {"images": images, "annotations": rows, "categories": [category]}


def mutations(whole: Any, paths: list[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """The content with each bad value in each place, and with each place missing."""
    for path in paths:
        for name, value in {**BAD, "missing": ...}.items():
            content = copy.deepcopy(whole)
            place = content
            for step in path[:-1]:
                place = place[step]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            yield f"{'.'.join(map(str, path))} {name}", content


def json_files(whole: Any, paths: list[tuple[Any, ...]]) -> Iterator[tuple[str, bytes]]:
    for name, content in mutations(whole, paths):
        yield name, json.dumps(content).encode()
    text = json.dumps(whole).encode()
    for share in (0.1, 0.5, 0.9, 0.999):
        yield f"cut at {share}", text[: int(len(text) * share)]
    yield from TEXTS.items()


def npz_files(whole: dict[str, Any], replaced: dict[str, list[Any]]) -> Iterator[tuple[str, bytes]]:
    """NPZ files with each array replaced or missing, cut off, and of pickled objects."""

    def packed(arrays: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    for key, values in replaced.items():
        for i, value in enumerate(values):
            yield f"{key} {i}", packed({**whole, key: value})
        yield f"{key} missing", packed({k: v for k, v in whole.items() if k != key})
    for share in (0.1, 0.5, 0.95):
        yield f"cut at {share}", packed(whole)[: int(len(packed(whole)) * share)]
    one = io.BytesIO()
    np.save(one, np.zeros(3))
    yield "one array", one.getvalue()
    yield from TEXTS.items()


ODD_ARRAYS = [
    np.array([[1, 2], [3]], dtype=object), np.array(["a", "b"]), np.array(b"bytes"), np.zeros((0, 2, 17, 3)), np.array(7),
    np.zeros((FRAMES, 17, 3)), np.zeros((FRAMES, 2, 17, 3), complex), np.zeros((FRAMES, 2, 17, 3), bool), np.full(3, np.nan),
    np.zeros((FRAMES, 2, 17, 0)), np.zeros((FRAMES, 0, 17, 3)), np.zeros((FRAMES, 2, 0, 3)), np.array("2020", "M8[s]"),
    np.full((FRAMES, 2, 17, 3), 1e300), np.full((FRAMES, 2, 17, 3), np.inf), np.zeros((FRAMES, 2, 17, 3), np.int8),
    np.full((FRAMES, 2, 17, 3), 100.0), np.zeros(FRAMES, [("a", float)]),
]  # fmt: skip
ODD_NUMBERS = ["word", 0, -30, np.nan, np.inf, 1e300, np.array([30.0, 31.0]), np.array([]), True, b"30", 10**30, 5e-324]


def toml(value: Any) -> str:
    """A value as TOML has it, or as near as TOML comes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf", "null": '""'}.get(
        json.dumps(value), json.dumps(value)
    )


def capture() -> dict[str, Any]:
    camera = {
        "image_size": list(SIZE), "intrinsics": [[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]],
        "distortion": [0.0, 0.0, 0.0, 0.0, 0.0], "R": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "t": [0.0, 0.0, 3000.0], "offset": 0.0, "keypoints": "a.json",
    }  # fmt: skip
    return {
        "capture": {"fps": 30.0, "unit": "mm", "skeleton": "coco_17", "up": [0.0, -1.0, 0.0]},
        "cameras": {"a": camera, "b": {**camera, "t": [-2000.0, 0.0, 3000.0], "keypoints": "b.json"}},
    }


def capture_text(content: Any) -> str:
    if not isinstance(content, dict):
        return f"x = {toml(content)}"
    return "\n".join(f"{key} = {toml(value)}" for key, value in content.items()) + "\n"


def captures() -> Iterator[tuple[str, bytes]]:
    """Files capture.toml: each key of the head and of the first camera with each bad value."""
    heads = ("fps", "unit", "skeleton", "up", "keypoints", "calibration")
    keys = (
        "image_size",
        "intrinsics",
        "distortion",
        "R",
        "t",
        "offset",
        "keypoints",
        "video",
        "frames",
        "fisheye",
        "odd",
    )
    places = [("capture",), ("cameras",), ("cameras", "a"), *(("capture", key) for key in heads)]
    for place in [*places, *(("cameras", "a", key) for key in keys)]:
        whole = capture()
        table = whole
        for step in place[:-1]:
            table = table[step]
        table.setdefault(place[-1], "x")
        for name, content in mutations(whole, [place]):
            yield name, capture_text(content).encode("utf-8", "surrogatepass")
    text = capture_text(capture()).encode()
    yield from ((f"cut at {share}", text[: int(len(text) * share)]) for share in (0.2, 0.5, 0.8, 0.99))
    yield from TEXTS.items()
