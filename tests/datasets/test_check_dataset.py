"""The public call returns what the verb prints. Faults and their words: test_validation.py, commands/test_data_check.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import vergence
from vergence.datasets.records import Records
from vergence.datasets.validation.detect_format import KINDS, read_kind
from vergence.recipes.typed import make_source
from vergence.training.sources import open_source


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "images"
    return vergence.synthesize(out, kind="images", subjects=25, size=48, seed=8, device="cpu")[0]


def test_a_sound_folder_is_told_and_nothing_is_printed(images, capsys):
    told = []
    found = vergence.check_dataset(images, images=3, progress=lambda what, *_: told.append(what))
    assert found.valid
    title = f"{images} is images that `vergence synth --kind images` wrote"
    assert told == [title, *["reading it"] * 2, "checking it", *["checking it: images decoded"] * 4, "checking it"]
    assert len(found.records) == 25
    (line,) = found.recipe  # of the 2D, as no source reads the 3D
    assert line == f'my_coco: {{kind: coco, path: "{images / "keypoints.json"}", keypoints: true, pose: none}}'
    assert len(open_source(make_source(**yaml.safe_load(line)["my_coco"]), 32, "h36m_17")) == 25
    assert capsys.readouterr() == ("", "")


def test_a_fault_is_a_finding_and_a_senseless_wish_an_error(images, tmp_path):
    with np.load(images / "truth.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("keypoints.json", "images"):
        (tmp_path / name).symlink_to(images / name)
    np.savez(tmp_path / "truth.npz", **arrays | {"pose": arrays["pose"] / 1000})
    found = vergence.check_dataset(tmp_path)
    assert not found.valid
    assert "in metres" in next(f.found for f in found.findings if f.what == "units")
    with pytest.raises(vergence.VergenceError, match="images is 0"):
        vergence.check_dataset(images, images=0)


def test_a_part_is_checked_by_its_name_and_a_file_in_cocos_form_alone(tmp_path):
    people = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [10, 10, 2, 20, 20, 2], "num_keypoints": 2,
             "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": ["left_hip", "right_hip"]}],
    }  # fmt: skip
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    (tmp_path / "people.json").write_text(json.dumps(people))
    found = vergence.check_dataset(tmp_path / "people.json")
    assert found.title == "a file of people's keypoints in COCO's form"
    assert found.recipe[0].startswith("my_coco: {kind: coco, path: ")
    with pytest.raises(vergence.VergenceError, match="--split is train, but a file of people's keypoints"):
        vergence.check_dataset(tmp_path / "people.json", split="train")


def test_a_split_is_the_only_part_that_is_read(monkeypatch, tmp_path):
    asked: list[dict[str, Any]] = []

    def read(path, **settings):
        asked.append(settings)
        return Records.__new__(Records)

    monkeypatch.setattr("vergence.datasets.human36m.read_human36m", read)
    kind = next(kind for kind in KINDS if kind.name == "human36m")
    read_kind(kind, tmp_path, "S9,S11")
    assert asked == [{"split": "S9,S11", **kind.checked}]
