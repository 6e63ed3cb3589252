"""A video of two people, the second of whom comes later, and their keypoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_light import HEIGHT, WIDTH

from vergence.footage.video import VideoWriter

# COCO's joints of somebody who stands, 40 high
X = "0 1 -1 2 -2 5 -5 7 -7 8 -8 3 -3 3 -3 3 -3"
Y = "3 2 2 3 3 9 9 15 15 21 21 22 22 31 31 40 40"
SHAPE = np.array([X.split(), Y.split()], float).T


@pytest.fixture(scope="module")
def two_people(tmp_path_factory) -> tuple[Path, Path]:
    """A video of 23 frames, and the keypoints of two people in it, the second of whom comes later."""
    folder = tmp_path_factory.mktemp("two")
    rng, rows = np.random.default_rng(0), []
    with VideoWriter(folder / "two.mp4", 25) as video:
        for frame in range(23):
            video.write(np.full((HEIGHT, WIDTH, 3), 10 * frame, np.uint8))
            for x, size in ((90 + frame, 4.0), (250 - frame, 3.0))[: 1 + (frame > 5)]:
                points = np.c_[SHAPE * size + [x, 30] + rng.normal(size=SHAPE.shape), np.full(17, 0.9)]
                rows.append({"image_id": frame, "category_id": 1, "keypoints": points.ravel().tolist(), "score": 0.9})
    (folder / "two.json").write_text(json.dumps(rows))
    return folder / "two.mp4", folder / "two.json"
