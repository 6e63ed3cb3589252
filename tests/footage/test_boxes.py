import json

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.boxes import follow, read_boxes


def write(folder, name, text):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "frame,x,y,w,h\n0,1,2,30,40\n2,5,6,70,80\n",
        "y,x,frame,h,w,name\n2,1,0,40,30,a\n6,5,2,80,70,b\n",
        "0,1,2,30,40\n\n2,5,6,70,80\n",
        "\ufeffFrame, X, Y, W, H, Score\n0,1,2,30,40,1\n2,5,6,70,80,1\n",
    ],
)
def test_csv_with_and_without_a_header(tmp_path, text):
    boxes = read_boxes(write(tmp_path, "b.csv", text))
    assert list(boxes) == [0, 2]
    np.testing.assert_array_equal(boxes[0], [[1, 2, 30, 40, 1]])
    np.testing.assert_array_equal(boxes[2], [[5, 6, 70, 80, 1]])


def test_coco_results_and_coco_files(tmp_path):
    results = [
        {"image_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5, "category_id": 1},
        {"image_id": 3, "bbox": [9, 9, 9, 9], "score": 0.9, "category_id": 18},
        {"image_id": "video/frame_0004.jpg", "bbox": [5, 6, 70, 80], "score": 0.7, "category_id": 1},
    ]
    boxes = read_boxes(write(tmp_path, "r.json", results))
    np.testing.assert_allclose(boxes[3], [[1, 2, 30, 40, 0.5]])
    np.testing.assert_allclose(boxes[4], [[5, 6, 70, 80, 0.7]])
    whole = {"images": [{"id": 77, "file_name": "im_12.png"}], "annotations": [{"image_id": 77, "bbox": [1, 2, 3, 4]}]}
    assert list(read_boxes(write(tmp_path, "w.json", whole))) == [12]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("b.csv", "", "holds no boxes"),
        (
            "b.csv",
            "frame,x,y,w,h\n0,1,2,30,40\n0,1,2,30\n",
            r"b\.csv, row 2, has 4 of 5 values\. The columns are frame",
        ),
        ("b.csv", "frame,name,x,y,w,h,score\n0,a,1,2,30,40\n", "row 1, has 6 of 7 values"),
        ("b.csv", "0,1,2\n", "row 1, has 3 of 5 values"),
        ("b.csv", "0,1,2,3,4,1\n1,1,2,3,4\n", "row 2, has 5 of 6 values"),
        ("b.csv", "7\n", "row 1, has 1 of 5 values"),
        ("b.csv", "frame,x,y,w,h\n0,1,2,a,4\n", "row 1"),
        ("b.csv", "frame,x,y,w,h\n0,1,2,0,4\n", "box of frame 0"),
        ("b.csv", "frame,x,y,w,h\n0,nan,2,5,4\n", "box of frame 0"),
        ("b.json", "{", "not readable JSON"),
        ("b.json", "{}", "no COCO-style file"),
        ("b.json", '[{"image_id": 1, "bbox": [1, 2, 3]}]', "four numbers"),
        ("b.json", '[{"bbox": [1, 2, 3, 4]}]', "four numbers"),
        ("b.json", '[{"image_id": "a", "bbox": [1, 2, 3, 4]}]', "no number"),
    ],
)
def test_what_is_no_boxes_file_is_one_error(tmp_path, name, text, words):
    with pytest.raises(VergenceError, match=words):
        read_boxes(write(tmp_path, name, text))
    with pytest.raises(VergenceError, match="there is no"):
        read_boxes(tmp_path / "other.csv")


def test_the_large_person_is_followed_past_a_nearer_rival_and_a_gap():
    walker = {t: [100 + 8 * t, 50, 60, 150, 0.8] for t in range(20) if t not in (7, 8)}
    stander = [220, 60, 50, 120, 0.9]
    boxes = {t: np.array([stander, *([walker[t]] if t in walker else [])]) for t in range(20) if t not in (7, 8)}
    boxes[8] = np.empty((0, 5))
    chosen = follow(boxes)
    assert sorted(chosen) == sorted(walker)
    early = [t for t in walker if t < 7]
    np.testing.assert_array_equal([chosen[t] for t in early], [walker[t][:4] for t in early])
    np.testing.assert_array_equal(chosen[9], walker[9][:4])


def test_who_overlaps_most_is_followed_and_else_whose_centre_is_nearest():
    """Shares of the union by hand: 0.5 and 80 / 120; distances of centres 105 px, and 95 across and 40 down."""
    last = [100.0, 100, 10, 10, 1]
    half, most = [100.0, 100, 10, 5, 1], [102.0, 100, 10, 10, 1]
    np.testing.assert_array_equal(follow({0: np.array([last]), 1: np.array([half, most])})[1], most[:4])
    beside, tall = [205.0, 100, 10, 10, 1], [195.0, 100, 10, 90, 1]
    np.testing.assert_array_equal(follow({0: np.array([last]), 1: np.array([beside, tall])})[1], tall[:4])
    taller = [195.0, 100, 10, 110, 1]  # 50 px down: 107 px
    np.testing.assert_array_equal(follow({0: np.array([last]), 1: np.array([beside, taller])})[1], beside[:4])


def test_columns_are_found_by_name_in_any_order_and_without_names_by_place(tmp_path):
    named = "score, h, frame, y, w, x\n0.5, 40, 3, 20, 30, 10\n0.25, 41, 4, 21, 31, 11\n"
    bare = "3, 10, 20, 30, 40, 0.5\n\n4, 11, 21, 31, 41, 0.25\n"
    for text in (named, bare):
        found = read_boxes(write(tmp_path, "a.csv", text))
        assert {frame: boxes.tolist() for frame, boxes in found.items()} == {
            3: [[10, 20, 30, 40, 0.5]], 4: [[11, 21, 31, 41, 0.25]]
        }  # fmt: skip
    found = read_boxes(write(tmp_path, "b.csv", "frame,x,y,w,h\n0,1,2,3,4\n0,5,6,7,8\n"))
    assert found[0].tolist() == [[1, 2, 3, 4, 1], [5, 6, 7, 8, 1]]
    with pytest.raises(VergenceError, match=r"row 2.*The columns are frame, x, y, w, h"):
        read_boxes(write(tmp_path, "c.csv", "0,1,2,3,4\n0,5,6,7\n"))


@pytest.mark.parametrize("box", ["0,1,2,0,4", "0,1,2,3,0", "-1,1,2,3,4", "0,1e9,2,3,4", "0,1,nan,3,4"])
def test_a_box_has_an_area_and_a_frame(tmp_path, box):
    with pytest.raises(VergenceError, match="the box of frame"):
        read_boxes(write(tmp_path, "a.csv", box + "\n"))


def test_the_first_person_is_the_largest_and_surest():
    """Width times height times score: 30 x 50 x 0.6 = 900, 40 x 40 x 0.5 = 800, 20 x 45 x 0.99 = 891."""
    here = np.array([[0.0, 0, 40, 40, 0.5], [100, 0, 30, 50, 0.6], [200, 0, 20, 45, 0.99]])
    assert follow({4: here})[4].tolist() == [100, 0, 30, 50]
