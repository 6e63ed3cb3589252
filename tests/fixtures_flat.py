"""MPII and COCO in small: images of the built-in world with their 2D in the datasets' own files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fixtures_world import world
from PIL import Image
from scipy.io import savemat

from vergence.skeleton import COCO_17, H36M_17, MPII_16


@dataclass
class Shots:
    """Images N, and the 17 joints of the person in each: N 17 2, px from 0, NaN beyond the edge."""

    images: list[np.ndarray]
    keypoints: np.ndarray

    def of(self, skeleton) -> np.ndarray:
        """N J 2; the face of COCO about the nose, so that no joint is left out."""
        points = H36M_17.convert(self.keypoints, skeleton).astype(float)
        if skeleton == COCO_17:
            nose = self.keypoints[:, H36M_17.index("neck_nose")]
            for i, name in enumerate(("nose", "left_eye", "right_eye", "left_ear", "right_ear")):
                points[:, COCO_17.index(name)] = nose + [i - 2.0, -1.0]
        return points


def shots(frames: int = 3, views: int = 2, size: int = 128, seed: int = 9) -> Shots:
    _, seen = world(frames, views, size, seed)
    images = [frame.image[v] for frame in seen for v in range(views)]
    return Shots(images, np.concatenate([frame.keypoints for frame in seen]).astype(float))


def save_images(folder: Path, images: list[np.ndarray], names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        Image.fromarray(image).save(folder / name, quality=95)


def names(count: int, digits: int = 9) -> list[str]:
    return [f"{i + 1:0{digits}d}.jpg" for i in range(count)]


def centre_and_scale(points: np.ndarray) -> tuple[np.ndarray, float]:
    """As annotators give them, from 1: the middle, and the height over 200 px."""
    low, high = np.nanmin(points, 0), np.nanmax(points, 0)
    return (low + high) / 2 + 1, float((high - low)[1] / 200)


def mpii_rows(data: Shots) -> list[dict[str, Any]]:
    """The common JSON: pixels from 1, -1 where unlabelled."""
    rows = []
    for name, points in zip(names(len(data.images)), data.of(MPII_16)):
        known = np.isfinite(points).all(-1)
        centre, scale = centre_and_scale(points)
        rows.append({
            "image": name, "center": centre.tolist(), "scale": scale,
            "joints": np.where(known[:, None], points + 1, -1.0).tolist(), "joints_vis": known.astype(int).tolist(),
        })  # fmt: skip
    return rows


def write_mpii_json(root: Path, data: Shots, rows: list[dict[str, Any]], split: str = "train") -> None:
    save_images(root / "images", data.images, names(len(data.images)))
    (root / "annot").mkdir(exist_ok=True)
    (root / "annot" / f"{split}.json").write_text(json.dumps(rows))


def structs(rows: list[dict[str, Any]], fields: list[str] | None = None) -> np.ndarray:
    """A 1 x N MATLAB struct array; [] for none."""
    if not rows:
        return np.zeros((0, 0))
    fields = list(rows[0]) if fields is None else fields
    out = np.zeros((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        for field in fields:
            out[0, i][field] = row.get(field, np.zeros((0, 0)))
    return out


def head_boxes(count: int) -> np.ndarray:
    """x1 y1 x2 y2 of everybody, made up."""
    return np.array([[10.0 + i, 20.0, 16.0 + 2 * i, 28.0 + i] for i in range(count)])


def write_mpii_mat(root: Path, data: Shots, visible: list[Any], labels: np.ndarray | None = None) -> None:
    """The official file: images 0, 1 ... of training with one person each, then what real files have as well:
    an image without people, one person without points, one with a single point, and a test image. `labels` N 16 2 stand
    in place of the true ones."""
    count = len(data.images)
    save_images(root / "images", data.images, names(count))
    heads = head_boxes(count)
    images: list[dict[str, Any]] = []
    for i, true in enumerate(data.of(MPII_16)):
        points = true if labels is None else labels[i]
        marks = [
            {"x": points[j, 0] + 1, "y": points[j, 1] + 1, "id": float(j), "is_visible": visible[j % len(visible)]}
            for j in reversed(range(16))
            if np.isfinite(points[j]).all()
        ]
        centre, scale = centre_and_scale(true)
        person = dict(zip(("x1", "y1", "x2", "y2"), heads[i]))
        person |= {"annopoints": structs([{"point": structs(marks)}]), "scale": scale}
        person |= {"objpos": structs([{"x": centre[0], "y": centre[1]}])}
        images.append({"name": f"{i + 1:09d}.jpg", "annorect": structs([person])})
    bare = {"scale": 1.0, "objpos": structs([{"x": 60.0, "y": 60.0}])}
    one = bare | {
        "annopoints": structs([{"point": structs([{"x": 61.0, "y": 62.0, "id": 9.0, "is_visible": np.zeros((0, 0))}])}])
    }
    images.append({"name": "000000001.jpg", "annorect": structs([])})
    images.append({"name": "000000002.jpg", "annorect": structs([bare | {"annopoints": np.zeros((0, 0))}, one],
                                                                  ["scale", "objpos", "annopoints"])})  # fmt: skip
    images.append({"name": "000000003.jpg", "annorect": structs([bare])})
    annolist = structs([{"image": structs([{"name": p["name"]}]), "annorect": p["annorect"]} for p in images])
    use = np.ones((1, len(images)))
    use[0, -1] = 0
    kind = {"cat_name": "sports", "act_name": "judo", "act_id": 5.0}
    act = structs([kind] * (len(images) - 1) + [kind | {"cat_name": np.zeros((0, 0))}]).T
    singles = np.empty((len(images), 1), dtype=object)
    singles[:, 0] = [np.array([[1.0]])] * len(images)
    release = {"annolist": annolist, "img_train": use, "version": "12", "single_person": singles, "act": act}
    folder = root / "mpii_human_pose_v1_u12_2"
    folder.mkdir(parents=True)
    savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})


def coco(data: Shots) -> dict[str, Any]:
    """Everybody once; then a crowd and somebody without labels."""
    images, people = [], []
    for i, points in enumerate(data.of(COCO_17)):
        height, width = data.images[i].shape[:2]
        images.append({"id": 100 + i, "file_name": f"{i + 1:012d}.jpg", "width": width, "height": height})
        known = np.isfinite(points).all(-1)
        seen = np.where(known, np.where(np.arange(17) % 3 == 0, 1, 2), 0)
        low, high = np.nanmin(points, 0), np.nanmax(points, 0)
        people.append({
            "id": 1000 + i, "image_id": 100 + i, "category_id": 1, "bbox": [*low, *(high - low)], "iscrowd": 0,
            "area": float(np.prod(high - low) / 2), "num_keypoints": int(known.sum()),
            "keypoints": np.c_[np.nan_to_num(points), seen].ravel().tolist(),
        })  # fmt: skip
    crowd = people[0] | {"id": 2000, "iscrowd": 1}
    bare = people[1] | {"id": 2001, "keypoints": [0] * 51, "num_keypoints": 0}
    category = {"id": 1, "name": "person", "keypoints": list(COCO_17.joint_names), "skeleton": [[16, 14]]}
    return {"images": images, "annotations": [*people, crowd, bare], "categories": [category]}


def write_coco(root: Path, data: Shots, content: dict[str, Any], split: str = "train") -> None:
    save_images(root / f"{split}2017", data.images, names(len(data.images), 12))
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))
