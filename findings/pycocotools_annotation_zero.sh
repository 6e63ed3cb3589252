#!/bin/sh
# pycocotools never counts the annotation whose id is 0 as found: a perfect result in four images has a keypoint AP of 0.56
# where ids begin at 0, and of 1 where they begin at 1. Image and category ids of 0 are fine. Nothing is said. A writer of
# ground truth must number annotations from 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet pycocotools==2.0.11 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import io
from importlib.metadata import version

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

KEYPOINTS = [value for joint in range(17) for value in (100 + 5 * joint, 50 + 3 * joint, 2)]


def perfect(kind: str, annotation: int = 1, image: int = 1, category: int = 1) -> tuple[float, float]:
    """AP and AR of results that are the truth itself: a person in each of four images, ids beginning as given."""
    truth = {
        "images": [{"id": image + i, "width": 640, "height": 480} for i in range(4)],
        "categories": [{"id": category, "name": "person"}],
        "annotations": [
            {
                "id": annotation + i,
                "image_id": image + i,
                "category_id": category,
                "keypoints": KEYPOINTS,
                "num_keypoints": 17,
                "bbox": [100, 50, 80, 48],
                "area": 80 * 48,
                "iscrowd": 0,
            }
            for i in range(4)
        ],
    }
    keys = ("image_id", "category_id", "keypoints" if kind == "keypoints" else "bbox")
    results = [{**{key: one[key] for key in keys}, "score": 0.9 - 0.1 * i} for i, one in enumerate(truth["annotations"])]
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = truth
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 3), round(float(evaluation.stats[5 if kind == "keypoints" else 8]), 3)


print("pycocotools", version("pycocotools"))
seen = []
for kind in ("keypoints", "bbox"):
    for first in ({}, {"image": 0, "category": 0}, {"annotation": 0}):
        seen.append(perfect(kind, **first))
        words = " and ".join(first) if first else "nothing"
        print(f"  {kind}, ids from 0: {words}: AP {seen[-1][0]:.3f}, AR {seen[-1][1]:.3f} of a perfect result")
expected = [(1.0, 1.0), (1.0, 1.0), (0.564, 0.75)] * 2
raise SystemExit(0 if seen == expected else "changed: this finding no longer holds as described")
PYTHON
