"""Whole recordings as files: what stands in them, and that a call that is killed ends with the same bytes."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_light import FRAMES, path_of

import vergence
from vergence.errors import VergenceError
from vergence.footage.video import open_video
from vergence.inference import frames, lifted, saving
from vergence.inference.recording import drawing, final
from vergence.inference.recording.work import NAME, Rows, Work, blocks, write_arrays
from vergence.outputs import read_npz, read_trc
from vergence.outputs.angles import joint_angles
from vergence.report.overlay import overlay_of_people
from vergence.report.recordings.prediction import prediction_html


@pytest.fixture
def small_blocks(monkeypatch):
    for module in (frames, lifted, saving, final, drawing):
        monkeypatch.setattr(module, "BLOCK", 5)


def saved(two_people, out, people="all", **options):
    video, keypoints = two_people
    found = vergence.predict("lifting", video, keypoints=keypoints, fov=60, people=people)
    return vergence.save_predicted(found, out, draw=overlay_of_people, **options)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everybody_has_files_that_name_the_person(two_people, small_blocks, tmp_path):
    found = saved(two_people, tmp_path, smooth=0.3, height=1.8)
    assert [(one.number, one.frames, one.first) for one in found.people] == [(1, 23, 0.0), (2, 17, 0.24)]
    kinds = [f"poses-{n}.{kind}" for n in (1, 2) for kind in ("csv", "json", "npz", "trc")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["angles-1.csv", "angles-2.csv", "limbs-1.csv", "limbs-2.csv", "overlay.mp4", "people.json", *kinds]
    )
    smoothing = "Savitzky-Golay of order 2 over 9 frames (0.36 s)"
    for number in (1, 2):
        poses = read_npz(tmp_path / f"poses-{number}.npz")
        assert (poses.person, poses.smoothing, poses.unit) == (number, smoothing, "mm")
        assert np.isfinite(poses.pose).all((1, 2)).sum() == (23, 17)[number - 1]
        data = json.loads((tmp_path / f"poses-{number}.json").read_text())
        assert (data["person"], data["smoothing"]) == (number, smoothing)
        np.testing.assert_allclose(np.array(data["root"], dtype=float), poses.root)
        with open(tmp_path / f"poses-{number}.csv", newline="") as table:
            first = next(csv.DictReader(table))
        assert (first["person"], first["smoothing"]) == (str(number), smoothing)
        note = read_trc(tmp_path / f"poses-{number}.trc").note
        assert note.startswith(
            f"person {number}; smoothed by {smoothing}; poses are lifted from 2D keypoints by a model"
        )
        assert "; scale from a height of 1800 mm" in note
    people = json.loads((tmp_path / "people.json").read_text())["people"]
    assert people[1]["files"] == [
        "poses-2.npz",
        "poses-2.json",
        "poses-2.csv",
        "poses-2.trc",
        "angles-2.csv",
        "limbs-2.csv",
    ]
    with open_video(tmp_path / "overlay.mp4") as video:
        assert (len(video), video.fps) == (23, 25)
        assert [image[10, 10].max() // 10 for _, image in video][::5] == pytest.approx([0, 5, 10, 15, 20], abs=1)


def test_who_is_seen_too_briefly_for_a_number_is_told(two_people, tmp_path):
    video, keypoints = two_people
    rows = json.loads(keypoints.read_text())
    ghost = [{**rows[0], "image_id": n, "keypoints": [x + 1000 for x in rows[0]["keypoints"]]} for n in (3, 4, 5)]
    (tmp_path / "ghost.json").write_text(json.dumps(rows + ghost))
    found = vergence.predict("lifting", video, keypoints=tmp_path / "ghost.json", fov=60, people="all")
    assert "2 people in ghost.json" in " ".join(found.notes)
    assert "left out: 1 more, in view for less than 0.5 s" in " ".join(found.notes)


@pytest.mark.parametrize("where", [{"box": (1, 2, 30, 40)}, {"boxes": {0: (1, 2, 30, 40)}}, {"whole_image": True}])
def test_boxes_do_not_tell_a_lifting_model_where_joints_are(two_people, where):
    with pytest.raises(VergenceError, match=r"this one lifts 2D keypoints.*Leave --box, --boxes and --whole-image out"):
        vergence.predict("lifting", two_people[0], fov=60, **where)


def test_people_of_an_earlier_call_are_taken_away_and_other_files_named(two_people, tmp_path):
    saved(two_people, tmp_path, "one", formats=["npz", "csv"])
    gone = saved(two_people, tmp_path).notes[-1]
    assert gone == "removed files of an earlier call, of other people: angles.csv, limbs.csv, poses.csv, poses.npz"
    kept = ["notes-3.npz", "poses-x.npz"]
    for name in ("poses-3.npz", "poses-12.bvh", *kept):
        (tmp_path / name).write_text("of somebody else")
    gone, left = saved(two_people, tmp_path, formats=["npz"]).notes[-2:]
    assert gone.endswith("of other people: poses-12.bvh, poses-3.npz")
    assert left.startswith("files of an earlier call that remain")
    assert left.endswith("poses-1.csv, poses-1.json, poses-1.trc, poses-2.csv, poses-2.json, poses-2.trc")
    there = {file.name for file in tmp_path.iterdir()}
    assert {"poses-2.npz", *kept} <= there
    saved(two_people, tmp_path, "one", formats=["npz"])
    assert {file.name for file in tmp_path.iterdir()} == {"angles.csv", "limbs.csv", "overlay.mp4", "poses.npz", *kept}


def test_angles_are_those_of_the_poses_and_have_no_deviation(two_people, small_blocks, tmp_path):
    saved(two_people, tmp_path, smooth=0.3, formats=["npz"])
    for number in (1, 2):
        poses = read_npz(tmp_path / f"poses-{number}.npz")
        knee, _ = joint_angles(poses.pose, poses.skeleton)["left_knee"]
        with open(tmp_path / f"angles-{number}.csv", newline="") as table:
            rows = list(csv.DictReader(table))
        assert [int(row["frame"]) for row in rows] == poses.frames.tolist()
        written = [float(row["left_knee"] or "nan") for row in rows]
        np.testing.assert_allclose(written, knee, atol=0.006)
        assert (np.isnan(knee).sum(), {row["left_knee_sigma"] for row in rows}) == ((0, 6)[number - 1], {""})


def test_the_larger_person_is_nearer_and_both_are_on_their_side(two_people, tmp_path):
    saved(two_people, tmp_path, formats=["npz"])
    near, far = (read_npz(tmp_path / f"poses-{number}.npz") for number in (1, 2))
    ratio = np.nanmedian(far.root[:, 2]) / np.nanmedian(near.root[:, 2])
    assert ratio == pytest.approx(4 / 3, rel=0.25)
    assert np.nanmax(near.root[:, 0]) < 0 < np.nanmin(far.root[:, 0])
    assert (near.root_sigma > 0).all()
    assert np.isnan(far.root[:6]).all()


def test_files_are_those_of_collect(two_people, small_blocks, tmp_path):
    video, keypoints = two_people
    saved(two_people, tmp_path, "one")
    whole = vergence.predict("lifting", video, keypoints=keypoints, fov=60).collect()
    poses = read_npz(tmp_path / "poses.npz")
    for name in ("pose", "keypoints", "confidence", "frame", "time", "root", "root_sigma"):
        np.testing.assert_allclose(getattr(poses, name), getattr(whole, name), atol=1e-6)
    assert poses.world.up == pytest.approx(whole.world.up)
    assert poses.world.mm_per_unit == pytest.approx(whole.world.mm_per_unit)


# A process of its own, since torch's threads do not live through a fork. It dies when about to finish its n-th write.
CHILD = """
import json, os, signal, sys
import torch, vergence
from vergence.inference import frames, lifted, saving
from vergence.inference.recording import drawing, final
from vergence.report.overlay import overlay_of_people
from vergence.report.recordings.prediction import prediction_html
left, run, video, out, predict, save = json.loads(sys.argv[1])
def counted(real):
    def act(*words):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)
    return act
torch.set_num_threads(1)
for module in (frames, lifted, saving, final, drawing):
    module.BLOCK = 5
os.fsync, os.replace = counted(os.fsync), counted(os.replace)
if "boxes" in predict:
    predict["boxes"] = {int(frame): box for frame, box in predict["boxes"].items()}
vergence.save_predicted(vergence.predict(run, video, **predict), out, draw=overlay_of_people, page=prediction_html, **save)
"""


def killed(moment: int, run, video: Path, out: Path, predict: dict, **save) -> bool:
    """Whether `save_predicted` came so far; it is killed there."""
    asked = json.dumps([moment, str(run), str(video), str(out), predict, save], default=str)
    ended = subprocess.run([sys.executable, "-c", CHILD, asked], capture_output=True, text=True)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def test_killed_at_any_write_a_call_ends_with_the_same_bytes(two_people, small_blocks, tmp_path):
    video, keypoints = two_people
    asked = {"keypoints": keypoints, "fov": 60, "people": "all"}
    saved(two_people, tmp_path / "whole", smooth=0.3, page=prediction_html)
    moment, count = 1, 0
    while killed(moment, "lifting", video, tmp_path / "killed", asked, smooth=0.3):
        count, moment = count + 1, moment + 15  # what is done already is not done again, so every time it comes further
    assert count >= 3
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_killed_image_model_goes_on_and_ends_with_the_same_bytes(light_run, light_video, small_blocks, tmp_path):
    boxes = {frame: [*(path_of(frame) - [20, 30]).tolist(), 40, 60] for frame in range(FRAMES) if frame != 4}

    def call(out, draw=overlay_of_people, **options):
        found = vergence.predict(light_run, light_video, boxes=boxes, fov=60)
        return vergence.save_predicted(found, out, draw=draw, page=prediction_html, **options)

    def broken(shown, found, size):
        if shown[0].frame == 7:
            raise KeyboardInterrupt
        return overlay_of_people(shown, found, size)

    whole = call(tmp_path / "whole")
    assert killed(5, light_run, light_video, tmp_path / "killed", {"boxes": boxes, "fov": 60})
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "killed", draw=broken)
    state = json.loads((tmp_path / "killed" / NAME / "progress.json").read_text())
    assert state["poses"] == 1  # of the second block the overlay is missing
    taken = []
    again = call(tmp_path / "killed", progress=lambda *words: taken.append(words))
    assert taken[0][2] == FRAMES - 5
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert again.notes == whole.notes


@pytest.mark.parametrize("smooth", [0.0, 0.3])
def test_an_overlay_drawn_along_is_that_of_a_second_reading(light_run, light_video, small_blocks, smooth, tmp_path):
    """Smoothed over 7 frames; in one frame nobody is seen, and blocks end where windows do not."""
    boxes = {frame: [*(path_of(frame) - [20, 30]).tolist(), 40, 60] for frame in range(FRAMES) if frame != 2}
    told = {"along": set(), "again": set()}
    for name, read in told.items():
        found = vergence.predict(light_run, light_video, boxes=boxes, fov=60)
        found.looks = name == "along"
        progress = lambda what, *_, read=read: read.add(what)
        vergence.save_predicted(found, tmp_path / name, smooth=smooth, draw=overlay_of_people, progress=progress)
    assert "overlay" not in told["along"]
    assert "overlay" in told["again"]
    assert bytes_of(tmp_path / "along") == bytes_of(tmp_path / "again")
    with open_video(tmp_path / "along" / "overlay.mp4") as video:
        assert len(video) == FRAMES


def test_rows_are_smoothed_as_the_whole_a_window_later():
    rng, window = np.random.default_rng(0), 7
    numbers = [*range(40), *range(43, 60), *range(70, 74)]
    poses = rng.normal(size=(len(numbers), 2, 3, 3))
    poses[10, 1] = poses[30:33, 0] = np.nan
    nothing = np.full((3, 2), np.nan)
    rows = [
        [
            frames.PredictedFrame(n, 0.0, own, nothing, nothing[:, 0], None, None, (9, 9), drawing.NO_IMAGE)
            for own in both
        ]
        for n, both in zip(numbers, poses)
    ]
    given = iter(rows)
    assert next(drawing.smooth_rows(given, 0)) is rows[0]  # nothing is kept where nothing is smoothed
    assert next(given) is rows[1]
    assert list(drawing.smooth_rows([], window)) == []
    found = np.array([[one.pose for one in row] for row in drawing.smooth_rows(rows, window)])
    wanted = drawing.smoothed(poses.reshape(len(numbers), -1), np.array(numbers), window).reshape(poses.shape)
    np.testing.assert_array_equal(found, wanted)


def test_another_question_begins_anew(two_people, small_blocks, tmp_path):
    video, keypoints = two_people
    assert killed(12, "lifting", video, tmp_path / "a", {"keypoints": keypoints, "fov": 60, "people": "all"})
    (tmp_path / "a" / NAME / "poses-1.bin").write_bytes(b"")  # would fail if it were gone on with
    saved(two_people, tmp_path / "a", "one")
    saved(two_people, tmp_path / "b", "one")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_nobody_seen_leaves_nothing(light_run, light_video, tmp_path):
    found = vergence.predict(light_run, light_video, boxes={50: (1, 2, 30, 40)}, fov=60)
    with pytest.raises(VergenceError, match="nobody was seen"):
        vergence.save_predicted(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_saved_is_said_first(light_run, light_video, tmp_path):
    arrays = vergence.predict(light_run, np.zeros((2, 64, 64, 3), np.uint8))
    with pytest.raises(VergenceError, match="no file"):
        vergence.save_predicted(arrays, tmp_path / "out")
    with pytest.raises(VergenceError, match="--people all and --box"):
        vergence.predict(light_run, light_video, box=(1, 2, 30, 40), people="all")
    with pytest.raises(VergenceError, match="--people some"):
        vergence.predict(light_run, light_video, people="some")
    found = vergence.predict(light_run, light_video, whole_image=True)
    for options in ({"smooth": 5.0}, {"height": 178.0}, {"formats": ["nonsense"]}):
        with pytest.raises(VergenceError):
            vergence.save_predicted(found, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_rows_stand_at_their_places_and_arrays_take_parts(tmp_path):
    rows = Rows(tmp_path / "rows.bin", np.dtype([("a", "<f8", (2,)), ("b", "i1")]))
    rows.write(2, np.array([((1, 2), 3), ((4, 5), 6)], rows.kind))
    rows.write(0, np.array([((7, 8), 9)] * 2, rows.kind))
    assert rows.read(1, 4)["b"].tolist() == [9, 3, 6]
    arrays = write_arrays(tmp_path / "a", 3, ({"x": np.full((n, 2), float(n))} for n in (1, 2)))
    np.testing.assert_array_equal(arrays["x"], [[1, 1], [2, 2], [2, 2]])
    assert blocks([3, 4, 5, 11, 25], 5) == [(0, 0, 2), (1, 2, 3), (2, 3, 4), (5, 4, 5)]
    assert blocks([], 5) == []


def test_a_work_folder_that_is_damaged_is_begun_anew(tmp_path):
    Work(tmp_path, {"a": 1}).mark(poses=3)
    assert Work(tmp_path, {"a": 1}).state == {"poses": 3}
    assert Work(tmp_path, {"a": 2}).state == {}
    (tmp_path / NAME / "about.json").write_text('{"a": ')
    work = Work(tmp_path, {"a": 2})
    assert work.state == {}
    work.remove()
    assert list(tmp_path.iterdir()) == []
