"""The page of a prediction: everybody in 3D beside the video's own images, bounded in size, and what to know of it in words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from fixtures_browser import browse, with_browser, with_script

import vergence
from vergence.inference.domain import Domain
from vergence.inference.recording.final import Final
from vergence.outputs.angles import joint_angles
from vergence.report.recordings import motion, prediction
from vergence.report.recordings.prediction import prediction_html, prediction_page


@pytest.fixture(scope="module")
def made(two_people, tmp_path_factory):
    """The folder of files, and what a page is made of."""
    video, keypoints = two_people
    out, told = tmp_path_factory.mktemp("predicted"), []

    def page(*words) -> str:
        told[:] = words
        kept = [dataclasses.replace(one, poses=loaded(one.poses), boxes=np.array(one.boxes)) for one in words[1]]
        told[1] = kept
        assert all((one.seen == other.seen).all() for one, other in zip(kept, words[1]))
        return prediction_html(*words)

    found = vergence.predict("lifting", video, keypoints=keypoints, fov=60, people="all")
    vergence.save_predicted(found, out, smooth=0.3, formats=["npz"], page=page)
    return out, told


def loaded(poses):
    """Arrays of files that are gone later."""
    arrays = {
        f.name: np.array(v)
        for f in dataclasses.fields(poses)
        if isinstance(v := getattr(poses, f.name), np.memmap | np.ndarray) and f.name != "up"
    }
    return dataclasses.replace(poses, **arrays)


def test_it_shows_all_frames_of_everybody_and_says_what_to_know(made):
    out, words = made
    page, html = prediction_page(*words), (out / "report.html").read_text()
    clip = page.clip
    assert (clip.people, len(clip.frames), clip.unit) == ([1, 2], 23, "mm")
    assert clip.poses.shape[:2] == clip.roots.shape[:2] == (2, 23)
    assert np.isnan(clip.poses[1, :6]).all()
    assert [still.row for still in clip.stills] == list(range(23))
    assert clip.stills[10].image[5, 5].mean() == pytest.approx(100, abs=3)
    files = words[1][0].poses
    np.testing.assert_allclose(clip.stills[7].keypoints[0], files.keypoints[7], atol=1e-6)
    scale = files.known_world.mm_per_unit
    np.testing.assert_allclose(clip.roots[0], files.root * scale)
    for said in (
        "no label-free result",
        "Savitzky-Golay of order 2",
        "assumed stature 1700 mm",
        "standard deviation of the",
    ):
        assert said in html
    assert "2 people in two.json" in html
    assert "unit of NPZ, JSON, CSV" in html
    assert "BVH in cm, USD in metres" in html
    assert "nothing speaks for or against it" in html


def test_a_long_recording_is_shown_in_stretches_of_bounded_size(made, monkeypatch):
    monkeypatch.setattr(prediction, "WHOLE_S", 0.6)
    monkeypatch.setattr(prediction, "STRETCH_S", 0.16)
    monkeypatch.setattr(prediction, "STRETCHES", 3)
    monkeypatch.setattr(prediction, "MOST_STILLS", 6)
    clip = prediction_page(*made[1]).clip
    assert clip.frames == [1, 2, 3, 4, 9, 10, 11, 12, 17, 18, 19, 20]
    assert clip.starts == [0, 4, 8]
    assert [clip.frames[still.row] for still in clip.stills] == [1, 3, 9, 11, 17, 19]
    assert "3 stretches of 0.16 s" in clip.lead
    monkeypatch.setattr(prediction, "STRETCH_S", 0.6)
    assert prediction_page(*made[1]).clip.frames == list(range(23))


def test_angles_of_who_is_most_in_view_stand_over_the_clips_time(made, monkeypatch):
    page = prediction_page(*made[1])
    knee = next(curve for curve in page.curves if curve.title == "Knee flexion")
    poses = made[1][1][0].poses
    x, left = knee.series["left"]
    np.testing.assert_array_equal(x, poses.times)
    np.testing.assert_array_equal(left, joint_angles(poses.pose, poses.skeleton)["left_knee"][0])
    assert {curve.clock for curve in page.curves} == {"time"}
    assert "person 1's; the others' are in angles-2.csv" in page.curves_lead
    monkeypatch.setattr(prediction, "MAX_FRAMES", 5)
    monkeypatch.setattr(motion, "MAX_FRAMES", 5)
    long = prediction_page(*made[1])
    knee = next(curve for curve in long.curves if curve.title == "Knee flexion")
    low, high = knee.spread["left"]
    assert (len(low), low[0], high[0]) == (5, left[:5].min(), left[:5].max())
    assert knee.series["left"][1][0] == np.median(left[:5])
    assert "the median of 5 frames" in long.curves_lead


def test_angles_of_a_calibrated_run_have_bands(made):
    found, people, saved = made[1]
    assert "is not known here" in prediction_page(found, people, saved).curves_lead
    sure = [dataclasses.replace(one, poses=dataclasses.replace(one.poses, error=np.full(one.poses.pose.shape[:2], 20.0)))
            for one in people]  # fmt: skip
    page = prediction_page(found, sure, saved)
    assert "by the joints' expected errors" in page.curves_lead
    low, high = next(curve for curve in page.curves if curve.title == "Knee flexion").spread["left"]
    known = np.isfinite(low)
    assert known.any()
    assert (np.array(high)[known] > np.array(low)[known]).all()


def test_drawn_people_and_a_doubtful_training_are_said_first(made):
    found, people, saved = made[1]
    kept = found.domain
    try:
        found.domain = Domain("the run was trained on drawn people only", True, "good")
        assert prediction_page(found, people, saved).verdict.word == "doubtful"
        found.domain = Domain("taught by a reconstruction", False, "doubtful", ("it leans.",))
        page = prediction_page(found, people, saved)
        assert (page.verdict.word, page.verdict.reasons) == ("doubtful", ("it leans.",))
    finally:
        found.domain = kept
    assert prediction_page(found, people, saved).verdict is None


def test_poses_without_roots_are_shown_alone(made):
    found, people, saved = made[1]
    alone = [Final(one.number, dataclasses.replace(one.poses, root=None, root_sigma=None), one.boxes, one.bone)
             for one in people]  # fmt: skip
    page = prediction_page(found, alone, saved)
    assert page.clip.roots is None
    assert not any("Distance" in curve.title for curve in page.curves)
    assert page.tables[1].rows[0][3] is None


def probed(made, tmp_path: Path, probe: str) -> Path:
    path = tmp_path / "probed.html"
    path.write_text(with_script((made[0] / "report.html").read_text(), probe))
    return path


@with_browser
def test_keys_clicks_and_time_move_image_and_3d_together(made, tmp_path):
    probe = """{
      const log = [], canvas = document.getElementById("clip-canvas");
      const at = () => document.body.dataset, pixels = () => canvas.toDataURL();
      const press = (k) => new KeyboardEvent("keydown", {key: k, bubbles: true, cancelable: true});
      const key = (target, k) => target.dispatchEvent(press(k)), named = (id) => document.getElementById(id);
      log.push(at().clipBones);
      for (let i = 0; i < 7; i++) key(document.body, "ArrowRight");
      key(document.body, "ArrowLeft"); log.push(at().clipRow, at().clipStill, at().clipBones);
      const slider = named("clip-frame"); slider.value = 22; slider.dispatchEvent(new Event("input"));
      log.push(at().clipRow, named("clip-label").textContent.replaceAll(" ", "_"));
      log.push(document.querySelectorAll(".names text").length);
      let before = pixels(); key(canvas, "ArrowRight"); log.push(at().clipRow, before !== pixels());
      before = pixels(); document.querySelector("#clip-legend button:last-child").click();
      log.push(at().clipRoom, before !== pixels());
      key(document.body, " "); log.push(named("clip-play").getAttribute("aria-label"));
      const wait = () => {
        if (at().clipRow === "22") return requestAnimationFrame(wait);
        log.push(at().clipPlaying, true);
        key(document.body, " "); log.push(at().clipPlaying);
        document.body.dataset.log = log.join(" ");
      };
      wait();
    }"""
    out, console = browse(tmp_path, probed(made, tmp_path, probe), ["--dump-dom", "--virtual-time-budget=20000"])
    assert console == ""
    bones = len(made[1][0].skeleton.limbs)
    found = re.search(r'data-log="([^"]*)"', out)[1].split()  # type: ignore[index]
    steps = [str(bones), "6", "6", str(2 * bones), "22", "frame_22_·_0.88_s", "2"]
    assert found == [*steps, "22", "true", "true", "true", "Pause", "true", "true", "false"]
