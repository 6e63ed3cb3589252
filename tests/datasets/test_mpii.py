"""MPII in its two forms against the images that they were written from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from fixtures_crops import crop_view
from fixtures_flat import Shots, head_boxes, mpii_rows, shots, write_mpii_json, write_mpii_mat
from scipy.io import savemat

from vergence.batches.dataset import withhold
from vergence.cli import main
from vergence.datasets.mpii import SCORED, read_mpii
from vergence.datasets.people import SEEN_JOINTS
from vergence.datasets.records import ImageDataset
from vergence.errors import VergenceError
from vergence.metrics import pckh
from vergence.recipes.load import recipe_from
from vergence.recipes.typed import make_source
from vergence.skeleton import MPII_16
from vergence.training.sources import open_source

EMPTY = np.zeros((0, 0))


@pytest.fixture(scope="module")
def data():
    return shots()


@pytest.fixture
def as_json(data, tmp_path):
    write_mpii_json(tmp_path, data, mpii_rows(data))
    return tmp_path


@pytest.fixture
def as_mat(data, tmp_path):
    write_mpii_mat(tmp_path, data, visible=["1", "0", 1.0, 0.0, EMPTY])
    return tmp_path


def test_the_json_comes_back_from_0(as_json, data):
    records = read_mpii(as_json)
    truth = data.of(MPII_16)
    assert records.skeleton == MPII_16
    assert len(records) == len(truth)
    assert np.array_equal(np.isnan(records.keypoints), np.isnan(truth))
    assert np.nanmax(np.abs(records.keypoints - truth)) < 1e-4
    assert np.array_equal(records.confidence > 0, np.isfinite(truth).all(-1))
    assert records.frame.tolist() == list(range(len(truth)))
    middle = records.box[:, :2] + records.box[:, 2:] / 2
    low, high = np.nanmin(truth, 1), np.nanmax(truth, 1)
    assert np.abs(middle - (low + high) / 2 - np.array([0, 15 / 200]) * (high - low)[:, 1:]).max() < 1e-6
    assert np.allclose(records.box[:, 2:], 1.25 * (high - low)[:, 1:])
    assert np.isnan(records.pose).all()
    assert np.isnan(records.intrinsics).all()


def test_the_mat_says_the_same_and_which_joints_are_hidden(as_mat, data):
    records = read_mpii(as_mat, "trainval")
    truth = data.of(MPII_16)
    assert len(records) == len(truth) + 1
    assert np.nanmax(np.abs(records.keypoints[: len(truth)] - truth)) < 1e-4
    assert np.array_equal(np.isnan(records.keypoints[: len(truth)]), np.isnan(truth))
    expected = np.array([[1.0, 0.5, 1.0, 0.5, 1.0][j % 5] for j in range(16)])
    known = np.isfinite(truth).all(-1)
    assert np.array_equal(records.confidence[: len(truth)], np.where(known, expected, 0))
    assert np.isfinite(records.keypoints[-1]).all(-1).tolist() == [j == 9 for j in range(16)]
    assert records.keypoints[-1, 9].tolist() == [60, 61]
    assert records.groups["activity"].tolist() == ["sports"] * len(records)
    assert records.report["left_out"] == {"people without labels": 1}
    assert records.frame.tolist() == [*range(len(truth)), len(truth) + 1]


def test_pixels_lie_under_their_labels(as_json, data):
    dataset = open_source(make_source(kind="mpii", path=str(as_json), keypoints=True), 48, "mpii_16")
    assert isinstance(dataset, ImageDataset)
    views = dataset.read(torch.arange(len(dataset)))
    for i in range(len(views)):
        expected = crop_view(data.images[i], None, None, dataset.records.box[i], 48, joints=16)
        assert (views.image[i].float() - expected.image[0].float()).abs().mean() < 4
    assert withhold(dataset.index, make_source(kind="mpii", path="x", keypoints=True)).keypoints.isfinite().any()


def test_heads_by_the_mat_and_by_the_validation_file(as_mat, data):
    count = len(data.images)
    expected = 0.6 * np.linalg.norm(head_boxes(count)[:, 2:] - head_boxes(count)[:, :2], axis=1)
    records = read_mpii(as_mat, "trainval")
    heads, known = records.measures["head_px"], records.frame < count
    assert known.any()
    assert np.allclose(heads[known], expected[records.frame[known]])
    assert np.isnan(heads[~known]).all()
    rows = mpii_rows(data)
    write_mpii_json(as_mat, data, rows, "valid")
    boxes = head_boxes(count).reshape(count, 2, 2).transpose(1, 2, 0)
    savemat(as_mat / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    records = read_mpii(as_mat, "valid")
    assert np.allclose(records.measures["head_px"], expected)
    perfect = pckh(records.keypoints, records.keypoints, records.measures["head_px"], joints=SCORED)
    assert perfect.mean == 100
    assert len(SCORED) == 14
    savemat(as_mat / "annot" / "gt_valid.mat", {"headboxes_src": boxes[..., 1:]})
    with pytest.raises(VergenceError, match=f"{count} people"):
        read_mpii(as_mat, "valid")


def test_missing_and_damaged_images_are_counted(as_json):
    (as_json / "images" / "000000002.jpg").unlink()
    (as_json / "images" / "000000004.jpg").write_bytes(b"not an image")
    records = read_mpii(as_json)
    assert records.report["left_out"] == {"people whose image is missing": 1, "people whose image is damaged": 1}
    assert 1 not in records.frame
    for image in (as_json / "images").iterdir():
        image.unlink()
    with pytest.raises(VergenceError, match=r"no image with a person is left \(people whose image is missing: 6\)"):
        read_mpii(as_json)


def test_without_a_centre_the_box_holds_the_joints(as_json, data):
    rows = mpii_rows(data)
    rows[0]["center"], rows[0]["scale"] = [-1, -1], -1
    write_mpii_json(as_json, data, rows)
    box = read_mpii(as_json).box[0]
    points = data.of(MPII_16)[0]
    assert (np.nanmin(points, 0) > box[:2]).all()
    assert (np.nanmax(points, 0) < box[:2] + box[2:]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [("[{", "not readable JSON"), ("{}", "not a list"), ('[{"image": "a.jpg"}]', "person 0 cannot be read"),
     (json.dumps([{"image": "a", "center": [1, 1], "scale": 1, "joints": [[1, 2]] * 15, "joints_vis": [1] * 15}]), "person 0")],
)  # fmt: skip
def test_a_broken_json_is_one_error(as_json, text, words):
    (as_json / "annot" / "train.json").write_text(text)
    with pytest.raises(VergenceError, match=words):
        read_mpii(as_json)


def test_the_official_file_is_recognised_and_sound(as_mat, capsys):
    assert main(["data", "check", str(as_mat), "--out", str(as_mat / "page.html")]) == 0
    text = capsys.readouterr().out
    assert "is MPII Human Pose" in text
    assert "people without labels: 1" in text
    line = text.split("sources:\n")[1].splitlines()[0]
    source = recipe_from({"sources": yaml.safe_load(line)}, "printed").sources["my_mpii_trainval"]
    assert (source.split, source.pose) == ("trainval", "none")
    assert len(open_source(source, 32, "mpii_16")) == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:, np.random.default_rng(3).permutation(17)], "shuffled"),
        (lambda p: p * 3, "outside their image"),
        (lambda p: np.roll(p, 3, axis=0) + 60, "box"),
    ],
    ids=["shuffled", "scaled", "moved"],
)
def test_planted_mistakes_of_the_official_file_are_caught(data, tmp_path, capsys, change, words):
    wrong = Shots(data.images, change(data.keypoints))
    write_mpii_mat(tmp_path, data, visible=["1"], labels=wrong.of(MPII_16))
    assert main(["data", "check", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert words in capsys.readouterr().out


def test_what_is_not_there_is_said(as_mat, tmp_path, capsys):
    with pytest.raises(VergenceError, match="does not know the split 'valid'"):
        read_mpii(as_mat, "valid")
    with pytest.raises(VergenceError, match="split 'test'"):
        read_mpii(as_mat, "test")
    with pytest.raises(VergenceError, match="neither"):
        read_mpii(tmp_path / "images", "train")
    file = as_mat / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(VergenceError, match="cannot be read as a MAT file"):
        read_mpii(as_mat, "trainval")
    assert main(["data", "check", str(as_mat), "--out", str(tmp_path / "page.html")]) == 2
    assert "cannot be read as a MAT file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("centre", "given"),
    [((1.0, 1.0), True), ((1.5, 0.4), True), ((0.4, 200.0), True), ((0.4, 0.4), False), ((-1, -1), False)],
)
def test_a_centre_is_given_unless_it_lies_before_the_first_pixel_both_ways(as_json, data, centre, given):
    """Pixels count from 1 in the file. Of a given centre and scale 2 the box has 1.25 * 2 * 200 px, 30 px lower."""
    rows = mpii_rows(data)
    rows[0]["center"], rows[0]["scale"] = list(centre), 2.0
    write_mpii_json(as_json, data, rows)
    box = read_mpii(as_json).box[0]
    expected = [centre[0] - 1 - 250, centre[1] - 1 + 30 - 250, 500, 500]
    assert np.allclose(box, expected) == given


def test_without_a_centre_or_a_scale_a_box_needs_enough_joints(as_json, data):
    """Six known joints make a box, five none; a scale of 0 is none."""
    rows = mpii_rows(data)
    known = np.flatnonzero(rows[0]["joints_vis"])
    for count, boxed in ((SEEN_JOINTS, True), (SEEN_JOINTS - 1, False)):
        for centre, scale in (([-1, -1], 1.0), ([100.0, 100.0], 0.0)):
            rows[0]["center"], rows[0]["scale"] = centre, scale
            rows[0]["joints_vis"] = np.isin(np.arange(16), known[:count]).astype(int).tolist()
            write_mpii_json(as_json, data, rows)
            try:
                records = read_mpii(as_json)
            except VergenceError:
                pytest.fail("the other people are still there")
            whole = np.isfinite(records.keypoints[0]).all(-1).sum() == count and np.isfinite(records.box[0]).all()
            assert bool(whole) == boxed
