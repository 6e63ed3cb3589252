"""A dataset from outside: a folder of images and `people.json`, a list of people with their box and joints in pixels,

    [{"image": "0001.png", "box": [x, y, width, height], "joints": {"right_wrist": [x, y], ...}}, ...]

as a source of any recipe, under the kind `my_dataset`:

    vergence train examples/plugin/recipe.yaml --plugins examples/plugin/my_method.py,examples/plugin/my_dataset.py \
        --sources.wild "{kind: my_dataset, path: FOLDER, keypoints: true}"

The class is the source's settings; `keypoints` and `pose`, which hide labels, it has already. `open` tells what is known
of every image: `vergence.make_records` takes it for missing where nothing is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vergence import Source, VergenceError, make_records, plugins

UNKNOWN = [float("nan")] * 2


@plugins.datasets.register("my_dataset")
@dataclass
class MyDataset(Source):
    """People in images.

    Args:
        path: the folder.
        joints: people with fewer labelled joints are left out.
    """

    path: str = ""
    joints: int = 4

    def open(self, image_size: int, skeleton):
        file = Path(self.path) / "people.json"
        if not file.is_file():
            raise VergenceError(f"there is no {file}", "Give a folder with people.json.")
        people = [person for person in json.loads(file.read_text()) if len(person["joints"]) >= self.joints]
        return make_records(
            [file.parent / person["image"] for person in people],
            skeleton,
            box=np.array([person["box"] for person in people], dtype=float),
            keypoints=np.array([[p["joints"].get(name, UNKNOWN) for name in skeleton.joint_names] for p in people]),
        )
