"""MPII Human Pose: 2D labels of people in single images, from the official MAT or the JSON lists that people pass around.

    ROOT/images/000001163.jpg
    ROOT/annot/train.json, valid.json, trainval.json          (or annotations/mpii_train.json ...)
    ROOT/mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat (or anywhere in ROOT, one folder down)

The JSON lists hold the split into training and validation that papers use; the MAT knows only training and test, so with
it alone `trainval` is all there is. Files count pixels from 1; `Records` from 0. Hidden joints are labelled in both; only
the MAT says which they are (confidence 0.5). PCKh needs heads: everybody's size is the measure `head_px`, from the MAT or,
for the validation list, from `gt_valid.mat`; NaN where neither is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.matlab import read_mat5
from vergence.datasets.people import SEEN_JOINTS, Person, flat_records
from vergence.datasets.records import Records
from vergence.errors import VergenceError, refusing
from vergence.files import inside, read_json
from vergence.footage.formats.coco import HIDDEN_CONFIDENCE
from vergence.geometry.crops import box_from_keypoints
from vergence.metrics.keypoints import head_size
from vergence.skeleton import MPII_16

SPLITS = ("train", "valid", "trainval")
PERSON_PX = 200.0  # `scale` is the person's height over this
LOWER, WIDER = 15.0, 1.25  # of the scale: how everybody since the stacked hourglass makes a box of centre and scale
OFFICIAL = "mpii_human_pose_v1_u12_1.mat"
LEFT_OUT_OF_MEAN = ("pelvis", "thorax")
SCORED = tuple(i for i, name in enumerate(MPII_16.joint_names) if name not in LEFT_OUT_OF_MEAN)


def read_mpii(path: Path | str, split: str = "train") -> Records:
    """People of MPII with 2D labels; skeleton `mpii_16`. `frame` counts the people of the annotation file from 0.

    Args:
        path: the folder that holds `images` and the annotations.
        split: `train`, `valid` or `trainval`. The test set has no public labels.

    Raises:
        VergenceError: no annotations of this split, damaged ones, or no image of anybody.
    """
    root = Path(path)
    file = _annotations(root, split)
    counts: Counter[str] = Counter()
    if file.suffix == ".json":
        listed = list(_from_json(file, root / "images", _heads_of_list(root, split, file)))
    else:
        listed = list(_from_mat(file, root / "images"))
    people = [person for person in listed if person is not None]
    counts["people without labels"] = len(listed) - len(people)
    return flat_records(people, MPII_16, counts, {"annotations": file.name, "split": split})


def _heads_of_list(root: Path, split: str, file: Path) -> Float[ndarray, " P"] | None:
    """Head sizes of a JSON list, where they lie beside it."""
    for name in ("annot/gt_valid.mat", "annotations/mpii_gt_val.mat"):
        if split == "valid" and (root / name).exists():
            boxes = read_mat5(root / name, ["headboxes_src"])["headboxes_src"].astype(float)  # 2 corners, x y, P
            if boxes.ndim != 3 or boxes.shape[:2] != (2, 2) or boxes.shape[2] != len(_load(file)):
                raise VergenceError(
                    f"{root / name} has head boxes of shape {boxes.shape} for the {len(_load(file))} people of {file.name}",
                    "Take both from one source.",
                )
            return head_size(boxes.transpose(2, 0, 1).reshape(-1, 4))
    return None


def _annotations(root: Path, split: str) -> Path:
    """The split's JSON list, else the MAT."""
    if split not in SPLITS:
        raise VergenceError(
            f"MPII has no split {split!r} here", f"Use {', '.join(SPLITS)}; its test labels are not public."
        )
    for name in (f"annot/{split}.json", f"annotations/mpii_{split}.json"):
        if (root / name).exists():
            return root / name
    found = sorted([*root.glob(OFFICIAL), *root.glob(f"*/{OFFICIAL}")])
    if not found:
        remedy = "Give the folder that holds `images` and one of them."
        raise VergenceError(f"{root} has neither annot/{split}.json nor {OFFICIAL}", remedy)
    if split != "trainval":
        remedy = f"Use split: trainval, or put the common annot/{split}.json beside it."
        raise VergenceError(f"{found[0]} does not know the split {split!r}", remedy)
    return found[0]


def _load(file: Path) -> list[dict[str, Any]]:
    rows = read_json(file, remedy="Download it again.")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VergenceError(
            f"{file} is not a list of people",
            "Download it again: each has image, center, scale, joints and joints_vis.",
        )
    return rows


def _from_json(file: Path, images: Path, heads: Float[ndarray, " P"] | None) -> Iterator[Person | None]:
    remedy = "Each has image, center, scale, joints (16 x 2) and joints_vis (16)."
    for number, row in enumerate(_load(file)):
        with refusing(f"{file}: person {number} cannot be read", remedy, KeyError, TypeError, ValueError):
            points = np.array(row["joints"], dtype=float).reshape(len(MPII_16), 2) - 1
            known = np.array(row["joints_vis"], dtype=float).reshape(len(MPII_16)) > 0
            centre, scale = np.array(row["center"], dtype=float).reshape(2) - 1, float(row["scale"])
            name = str(row["image"])
        head = float("nan") if heads is None else float(heads[number])
        given = None if (centre < 0).all() else centre
        yield _person(inside(images, name), points, known.astype(float), given, scale, number, head)


def _person(
    path: Path,
    points: Float[ndarray, "16 2"],
    confidence: Float[ndarray, " 16"],
    centre: ndarray | None,
    scale: float,
    number: int,
    head: float,
    groups: dict[str, str] | None = None,
) -> Person | None:
    """Pixels count from 0 here. None for somebody who has no label."""
    points = np.where(confidence[:, None] > 0, points, np.nan)
    known = np.isfinite(points).all(-1)
    if not known.any():
        return None
    if centre is not None and scale > 0:
        side = WIDER * scale * PERSON_PX
        box = np.array([centre[0] - side / 2, centre[1] + LOWER * scale - side / 2, side, side])
    elif known.sum() >= SEEN_JOINTS:
        box = box_from_keypoints(points)
    else:
        box = np.full(4, np.nan)  # counted as one that cannot be cropped
    trust = np.where(known, confidence, 0.0)
    return Person(path, box, points, trust, number, groups=groups or {}, measures={"head_px": head})


def _from_mat(file: Path, images: Path) -> Iterator[Person | None]:
    for number, (name, rect, activity) in enumerate(_people(file)):
        points, confidence = np.full((len(MPII_16), 2), np.nan), np.zeros(len(MPII_16))
        for point in _items(_part(_part(rect, "annopoints"), "point")):
            joint, x, y = (_number(point, key) for key in ("id", "x", "y"))
            if not (joint in range(len(MPII_16)) and np.isfinite([x, y]).all()):
                raise VergenceError(
                    f"person {number} in {file} has a joint {joint:g} at {x:g}, {y:g}; joints are 0 to 15, at finite places",
                    "Download it again.",
                )
            points[int(joint)] = x - 1, y - 1
            confidence[int(joint)] = HIDDEN_CONFIDENCE if _number(point, "is_visible") == 0 else 1.0
        place = _part(rect, "objpos")
        centre = np.array([_number(place, "x"), _number(place, "y")]) - 1
        scale = _number(rect, "scale")
        given = None if not np.isfinite([*centre, scale]).all() else centre
        head = float(head_size(np.array([_number(rect, key) for key in ("x1", "y1", "x2", "y2")])))
        yield _person(inside(images, name), points, confidence, given, scale, number, head, {"activity": activity})


def _people(file: Path) -> Iterator[tuple[str, Any, str]]:
    """(image's name, person's struct, activity) of everybody in a training image."""
    release = read_mat5(file, ["RELEASE"], simplify_cells=True)["RELEASE"]
    annolist, train, acts = (_part(release, key) for key in ("annolist", "img_train", "act"))
    if annolist is None or train is None or np.size(annolist) != np.size(train):
        raise VergenceError(
            f"{file} has {np.size(annolist)} images in annolist and {np.size(train)} in img_train", "Download it again."
        )
    kinds = _items(acts)
    for i, (image, use) in enumerate(zip(_items(annolist), np.ravel(train))):
        if not use:
            continue
        name = _part(_part(image, "image"), "name")
        if not name or not isinstance(name, str):
            raise VergenceError(f"image {i} in {file} has no name", "Download it again.")
        activity = _part(kinds[i], "cat_name") if i < len(kinds) else ""
        activity = activity if isinstance(activity, str) else ""
        for rect in _items(_part(image, "annorect")):
            yield name, rect, activity


def _items(value: Any) -> list[dict[str, Any]]:
    """The structs of an array of them; [] for an empty one, or none."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _part(struct: Any, name: str) -> Any:
    """A field of a struct (of the first, where there are several), None where it is missing."""
    return next(iter(_items(struct)), {}).get(name)


def _number(struct: Any, name: str) -> float:
    """A field that holds a number, as one or as text; NaN where it is empty or missing."""
    try:
        return float(_part(struct, name))
    except (TypeError, ValueError):
        return float("nan")
