"""Who is a person in files of COCO's form, in all that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_malformed import labels, results
from PIL import Image

from vergence.datasets.coco import read_coco as read_coco_labels
from vergence.errors import VergenceError
from vergence.footage.boxes import read_boxes
from vergence.footage.formats.coco import HIDDEN_CONFIDENCE, plain_id
from vergence.footage.keypoints import read_keypoints

POINTS = {n: [20.0, 20.0, 2.0] * n for n in (17, 20)}


def file(folder: Path, content: Any) -> Path:
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def with_animals(name: str, joints: int, identity: int, first: bool) -> Any:
    """Sound labels and animals beside the people, of as many joints."""
    content = labels()
    category = {"id": identity, "name": name, "keypoints": [f"k{i}" for i in range(joints)] if joints else None}
    content["categories"].insert(0 if first else 1, category)
    for t in range(6):
        row = {"image_id": t, "category_id": identity, "bbox": [1, 2, 30, 30], "area": 9.0, "iscrowd": 0}
        content["annotations"].insert(2 * t, row | ({"keypoints": POINTS[joints]} if joints else {}))
    return content


@pytest.mark.parametrize(("name", "joints"), [("ball", 0), ("horse", 17), ("dog", 20)])
@pytest.mark.parametrize("identity", [0, 2, 18])
@pytest.mark.parametrize("first", [True, False])
def test_categories_say_who_is_a_person(tmp_path: Path, name: str, joints: int, identity: int, first: bool) -> None:
    path = file(tmp_path, with_animals(name, joints, identity, first))
    assert {t: len(people) for t, people in read_keypoints(path).people.items()} == dict.fromkeys(range(6), 1)
    assert all((boxes[:, :4] == [[180, 150, 60, 250]]).all() for boxes in read_boxes(path).values())
    for row in labels()["images"]:
        Image.new("L", (640, 480)).save(tmp_path / row["file_name"])
    records = read_coco_labels(path)
    assert len(records) == 6
    assert records.report["left_out"]["entries of other categories"] == 6


@pytest.mark.parametrize("word", ["Person", "human", " PEOPLE "])
def test_people_by_other_words(tmp_path: Path, word: str) -> None:
    content = with_animals("ball", 0, 2, True)
    content["categories"][1]["name"] = word
    assert len(read_boxes(file(tmp_path, content))) == 6


def test_without_categories_numbers_are_coco_s_or_from_zero(tmp_path: Path) -> None:
    rows = results()
    other = {"image_id": 0, "bbox": [1, 1, 9, 9], "score": 0.99}
    assert len(read_boxes(file(tmp_path, [*rows, {**other, "category_id": 37}]))[0]) == 1
    from_zero = [{**row, "category_id": 0} for row in rows]
    assert len(read_boxes(file(tmp_path, [*from_zero, {**other, "category_id": 1}]))[0]) == 1
    alone = [{**row, "category_id": 5} for row in rows]
    assert len(read_boxes(file(tmp_path, alone))) == 6
    with pytest.raises(VergenceError, match="categories 37, 5, and no `categories`"):
        read_boxes(file(tmp_path, [*alone, {**other, "category_id": 37}]))
    content = with_animals("ball", 0, 2, True)
    content["categories"][1] = {"id": 1, "name": "bat"}
    with pytest.raises(VergenceError, match=r"none of the categories .* is a person: ball, bat"):
        read_boxes(file(tmp_path, content))


def test_ids_as_text_or_fractions_are_the_same(tmp_path: Path) -> None:
    assert plain_id(7) == plain_id(7.0) == plain_id("7")
    content = labels()
    for i, row in enumerate(content["annotations"]):
        row["image_id"] = float(i) if i % 2 else str(i)
    assert sorted(read_keypoints(file(tmp_path, content)).people) == list(range(6))


def test_two_cameras_in_one_file_are_refused(tmp_path: Path) -> None:
    content = labels()
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"cam{i % 2}/{i // 2:04}.png"
    with pytest.raises(VergenceError, match="one number in 2 folders: cam0, cam1"):
        read_keypoints(file(tmp_path, content))


def test_labels_and_scores(tmp_path: Path) -> None:
    content = labels()
    for row in content["annotations"]:
        row["keypoints"][2::3] = [2.0] * 16 + [1.0]
    content["annotations"][0]["keypoints"][0] = None
    found = read_keypoints(file(tmp_path, content)).people[0][0]
    assert np.isnan(found[0]).all()
    assert found[1:, 2].tolist() == [1.0] * 15 + [HIDDEN_CONFIDENCE]
    assert read_keypoints(file(tmp_path, labels())).people[0][0, 0, 2] == 0.9
    content["annotations"][3]["keypoints"] = []
    content["annotations"][4].pop("keypoints")
    assert [len(people) for people in read_keypoints(file(tmp_path, content)).people.values()].count(1) == 4
