"""COCO keypoints, and files in their form, against the images that they were written from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fixtures_crops import crop_view
from fixtures_flat import coco, shots, write_coco

from vergence.commands.synth import synth
from vergence.datasets.coco import read_coco, read_coco_truth
from vergence.errors import VergenceError
from vergence.metrics import FoundPerson, keypoint_precision, oks
from vergence.recipes.typed import make_source
from vergence.skeleton import COCO_17, H36M_17
from vergence.training.sources import open_source


@pytest.fixture(scope="module")
def data():
    return shots()


@pytest.fixture
def root(data, tmp_path):
    write_coco(tmp_path, data, coco(data))
    return tmp_path


def test_labels_come_back(root, data):
    records = read_coco(root)
    truth = data.of(COCO_17)
    assert records.skeleton == COCO_17
    assert len(records) == len(truth)
    assert np.array_equal(np.isnan(records.keypoints), np.isnan(truth))
    assert np.nanmax(np.abs(records.keypoints - truth)) < 1e-4
    known = np.isfinite(truth).all(-1)
    assert np.array_equal(records.confidence, np.where(known, np.where(np.arange(17) % 3 == 0, 0.5, 1.0), 0))
    low, high = np.nanmin(truth, 1), np.nanmax(truth, 1)
    assert np.allclose(records.box[:, :2] + records.box[:, 2:] / 2, (low + high) / 2)
    assert np.allclose(records.box[:, 2:], 1.25 * (high - low))
    assert records.report["left_out"] == {"crowds": 1, "people without labels": 1}
    assert records.size.tolist() == [[128, 128]] * len(records)


def test_pixels_lie_under_their_labels(root, data):
    dataset = open_source(make_source(kind="coco", path=str(root), keypoints=True), 48, "h36m_17")
    views = dataset.read(torch.arange(len(dataset)))
    for i in range(len(views)):
        expected = crop_view(data.images[i], None, None, dataset.records.box[i], 48, joints=17)
        assert (views.image[i].float() - expected.image[0].float()).abs().mean() < 4
    assert views.keypoints[:, H36M_17.index("left_knee")].isfinite().float().mean() > 0.5
    assert views.keypoints[:, H36M_17.index("head_top")].isnan().all()


def test_the_truth_scores_all(root, data):
    truth = read_coco_truth(root, "train")
    assert sum(len(row) for row in truth.values()) == len(data.images) + 2
    found = {
        i: [FoundPerson(np.nan_to_num(p.keypoints), 1.0) for p in row if not p.ignored] for i, row in truth.items()
    }
    result = keypoint_precision(truth, found)
    assert result["AP"] == result["AR"] == 1
    records = read_coco(root)
    area = np.array([p.area for row in truth.values() for p in row if not p.ignored])
    assert np.allclose(oks(np.nan_to_num(records.keypoints), records.keypoints, area), 1)


def test_what_synth_writes_is_read(tmp_path):
    synth(tmp_path / "p", kind="images", subjects=2, frames=2, size=64, seed=1, device="cpu", quiet=True)
    records = read_coco(tmp_path / "p" / "keypoints.json")
    assert records.skeleton == H36M_17
    assert len(records) == 4
    assert records.images[0].path.exists()


def test_missing_images_are_counted(root):
    (root / "train2017" / "000000000003.jpg").unlink()
    assert read_coco(root).report["left_out"]["people whose image is missing"] == 1


@pytest.mark.parametrize("name", ["../other.jpg", "a/../../other.jpg", "..\\other.jpg", "{root}/other.jpg"])
def test_names_of_images_stay_in_their_folder(root, data, name, monkeypatch):
    content = coco(data)
    (root / "other.jpg").write_bytes((root / "train2017" / "000000000003.jpg").read_bytes())
    content["images"][3]["file_name"] = name.format(root=root)
    (root / "train2017" / "labels.json").write_text(json.dumps(content))
    monkeypatch.chdir(root / "train2017")  # seen from there a folder has no name that `..` could be held against
    for file in ("labels.json", root / "train2017" / "labels.json"):
        with pytest.raises(VergenceError, match="leads out of"):
            read_coco(file)


def test_names_of_another_machine_are_found_by_their_end_or_missing(root, data):
    content = coco(data)
    here = root / "train2017" / content["images"][3]["file_name"]
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"D:\\data\\{image['file_name']}" if i % 2 else f"/nowhere/data/{image['file_name']}"
    content["images"][3]["file_name"] = str(here)
    (root / "train2017" / "labels.json").write_text(json.dumps(content))
    whole = read_coco(root)
    assert read_coco(root / "train2017" / "labels.json").images == whole.images
    (root / "train2017" / "000000000002.jpg").unlink()
    assert read_coco(root / "train2017" / "labels.json").report["left_out"]["people whose image is missing"] == 1


def change(content, path, value):
    *steps, last = path
    for step in steps:
        content = content[step]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("annotations", 2, "keypoints"), [1, 2, 2], "annotation 2"),
        (("annotations", 1, "image_id"), 7, "annotation 1 is of image 7"),
        (("annotations", 0, "bbox"), [1, 2], "annotation 0"), (("categories",), [], "no category"),
        (("images",), None, "COCO's form"), (("images", 0), {"file_name": "a"}, "missing required field `id`"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_error(root, data, path, value, words):
    content = coco(data)
    change(content, path, value)
    (root / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(content))
    with pytest.raises(VergenceError, match=words):
        read_coco(root)


def test_what_is_not_there_is_said(root):
    with pytest.raises(VergenceError, match="person_keypoints_val2017"):
        read_coco(root, "val")
    with pytest.raises(VergenceError, match="split 'test'"):
        read_coco(root, "test")
    with pytest.raises(VergenceError, match="there is no file"):
        read_coco(root / "nowhere.json")


def test_a_box_is_a_quarter_wider_about_its_middle_and_else_that_of_the_labels(root):
    """40 x 80 px at (20, 30) becomes 50 x 100 at (15, 20); without one, the labels' own box is widened so."""
    file = root / "annotations/person_keypoints_train2017.json"
    written, places = json.loads(file.read_text()), read_coco(root).frame.tolist()  # of the rows in the file
    first, second = (written["annotations"][place] for place in places[:2])
    first["bbox"], second["bbox"] = [20.0, 30.0, 40.0, 80.0], []
    file.write_text(json.dumps(written))
    found = read_coco(root)
    assert found.frame.tolist() == places
    np.testing.assert_allclose(found.box[0], [15, 20, 50, 100])
    points = np.array(second["keypoints"], dtype=float).reshape(-1, 3)
    known = points[points[:, 2] > 0, :2]
    low, span = known.min(0), np.ptp(known, axis=0)
    np.testing.assert_allclose(found.box[1], [*(low - span / 8), *(1.25 * span)])
