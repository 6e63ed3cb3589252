"""What is said of footage that will do, and of footage that will not, each for its own reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_scene import Scene
from fixtures_told import SIDE, Told, told, write_videos

import vergence
from vergence.errors import VergenceError
from vergence.footage.observations import observe
from vergence.reconstruction.inspection import inspect
from vergence.reconstruction.inspection.findings import MOVES, _sync, findings_of
from vergence.reconstruction.inspection.inspect import Inspection
from vergence.reconstruction.inspection.measure import looked_at, share_of, turn_of
from vergence.skeleton import H36M_17

__all__ = ["told"]
WALK = {"frames": 45, "step_mm": 45.0}  # too short for offsets by the motion, which take most of the time


def write(folder: Path, scene: Scene, known: bool = True) -> Path:
    """A capture of keypoints alone."""
    sure = np.where(np.isfinite(scene.keypoints[..., :1]), 0.9, np.nan)
    table = np.concatenate([scene.keypoints, sure], -1)
    np.savez(folder / "keypoints.npz", keypoints=table, joint_names=np.array(H36M_17.joint_names), fps=30.0)
    lines = ["[capture]", "fps = 30.0", 'keypoints = "keypoints.npz"']
    for v in range(table.shape[1]):
        lines += [f"[cameras.c{v}]", "image_size = [1000, 1000]"]
        if known:
            lines += [f"intrinsics = {scene.intrinsics[v].tolist()}", f"distortion = {scene.distortion[v].tolist()}"]
    (folder / "capture.toml").write_text("\n".join(lines) + "\n")
    return folder


def said(found: Inspection, *states: str) -> str:
    """What was found in these states, in one text."""
    return "\n".join(f"{f.what}: {f.found} | {f.again}" for f in found.findings if f.state in states)


@pytest.fixture(scope="module")
def good(make_scene: Callable[..., Scene], tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    return vergence.inspect(write(tmp_path_factory.mktemp("good"), make_scene(**WALK)))


def test_sound_footage_is_a_go_and_everything_is_told_of_it(good: Inspection, make_scene: Callable[..., Scene]) -> None:
    assert good.verdict == "go"
    assert good.film_again == ()
    assert said(good, "wrong", "doubtful") == ""
    scene = make_scene(**WALK)
    centre = [-scene.rotation[v].T @ scene.translation[v] for v in range(4)]
    person = np.median(scene.pose[:, 0], axis=0)
    for pair in good.pairs:
        a, b = (centre[int(name[1:])] - person for name in pair.cameras)
        angle = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        assert pair.angle_deg == pytest.approx(angle, abs=2)
        assert pair.inliers > 0.95
        assert np.isnan(pair.offset)
        assert pair.seconds == pytest.approx(1.5)
    for camera in good.cameras:
        assert (camera.lens, camera.turn, camera.people, camera.seen) == ("given", 0, 1, 1.0)
        assert camera.error_px < 4
    assert all(joint.together == 1 and joint.noise_px < 5 for joint in good.joints)


def test_results_are_kept(good: Inspection, tmp_path: Path) -> None:
    kept = good.save(tmp_path / "deep" / "out")
    assert json.loads((tmp_path / "deep" / "out" / "results.json").read_text()) == kept
    assert (kept["verdict"], len(kept["pairs"]), len(kept["cameras"])) == ("go", 6, 4)


@pytest.mark.parametrize(
    ("faults", "verdict", "words"),
    [
        ({"views": 1}, "no-go", ["One camera gives no depth", "two cameras or more"]),
        ({"views": 3, "span": 0.1}, "doubtful", ["nearly one side", "45 to 120 degrees"]),
        ({"step_mm": 0.0, "swing": 0.0}, "doubtful", ["hardly moves", "walking about"]),
        ({"radius": 32000.0}, "doubtful", ["small in the image: c0 5", "Bring the cameras nearer"]),
    ],
)
def test_what_is_wrong_is_named_with_what_to_film_again(
    make_scene: Callable[..., Scene], tmp_path: Path, faults: dict[str, Any], verdict: str, words: list[str]
) -> None:
    found = vergence.inspect(write(tmp_path, make_scene(**{**WALK, **faults})))
    assert found.verdict == verdict
    assert found.film_again
    for word in words:
        assert word in said(found, "wrong", "doubtful")


def test_cameras_in_one_place_give_nothing(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    scene = make_scene(views=3, **WALK)
    noise = np.random.default_rng(0).normal(0, 2, scene.keypoints.shape)
    found = vergence.inspect(write(tmp_path, replace(scene, keypoints=scene.keypoints[:, :1] + noise)))
    assert found.verdict == "no-go"
    assert "all cameras stand in one place" in said(found, "wrong")
    assert [pair.angle_deg for pair in found.pairs] == [0.0] * 3
    assert len(found.cameras) == 3


@pytest.mark.parametrize(
    ("rows", "verdict", "word"),
    [
        (np.s_[:], "no-go", "Nobody is seen in any camera"),
        (np.s_[:, 2], "no-go", "c2: nobody is seen there"),
        (np.s_[4:, 1:], "no-go", "4 frames|of the time, 0.1 s"),
        (np.s_[20:, 1], "doubtful", "part of the time only: c1 44%"),
        (np.s_[:, :, [2, 3, 5, 6]], "doubtful", "left knee 0%, left ankle 0%"),
    ],
)
def test_who_is_not_seen_is_missed(
    make_scene: Callable[..., Scene], tmp_path: Path, rows: Any, verdict: str, word: str
) -> None:
    scene = make_scene(**WALK)
    scene.keypoints[rows] = np.nan
    found = vergence.inspect(write(tmp_path, scene))
    assert found.verdict == verdict
    assert any(one in said(found, "wrong", "doubtful") for one in word.split("|"))


def test_videos_are_looked_at_and_a_camera_that_moves_is_named(
    told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = make_scene(views=3, distortion=(0.0,) * 5, noise=1.0, **WALK)
    told.keypoints = scene.keypoints * SIDE / 1000
    for name, shift in (("still", 0), ("moved", 60)):
        (tmp_path / name).mkdir()
        found = vergence.inspect(write_videos(tmp_path / name, (45, 45, 45), shift=shift), detector="told", frames=60)
        assert found.observations is not None
        assert found.observations.keypoints.shape[:2] == (45, 3)
        assert "of the images" in found.basis
        assert ("Cameras move while they film: cam2" in said(found, "wrong")) is bool(shift)
        assert ("The cameras stand still" in said(found, "good")) is not bool(shift)
        assert not list((tmp_path / name).glob("*.json"))
    assert found.verdict == "no-go"


def test_one_video_without_anybody_leaves_the_others_their_figures(
    told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = make_scene(views=3, frames=30, distortion=(0.0,) * 5)
    told.keypoints = scene.keypoints * SIDE / 1000
    told.keypoints[:, 1] = np.nan
    found = vergence.inspect(write_videos(tmp_path, (30, 30, 30)), detector="told", frames=30)
    assert found.verdict == "no-go"
    assert "cam1: nobody is seen there" in said(found, "wrong")
    assert [camera.seen for camera in found.cameras] == [1.0, 0.0, 1.0]


def test_an_offset_found_is_told_in_frames_of_the_recording(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    scene = make_scene(frames=90, step_mm=30.0)
    scene.keypoints[:-7, 1] = scene.keypoints[7:, 1]
    scene.keypoints[-7:, 1] = np.nan
    found = vergence.inspect(write(tmp_path, scene))
    assert found.pairs[0].cameras == ("c0", "c1")
    assert found.pairs[0].offset == pytest.approx(-7, abs=0.3)


def test_a_camera_on_its_side_is_seen_in_its_keypoints(good: Inspection) -> None:
    seen, camera = good.observations, good.look.capture.cameras[0]
    assert seen is not None
    upright = seen.keypoints[:, 0]
    turned = upright.copy()  # by a quarter counter-clockwise
    turned[..., 0], turned[..., 1] = upright[..., 1], 999 - upright[..., 0]
    for turn in (0, 3, 2, 1):
        assert turn_of(upright, seen, camera) == turn
        upright, turned = turned, np.stack([turned[..., 1], 999 - turned[..., 0], turned[..., 2]], -1)


def test_lost_frames_and_unknown_lenses_are_said(good: Inspection) -> None:
    seen, made = good.observations, good.reconstruction
    assert seen is not None
    assert made is not None
    holes = [replace(good.cameras[0], holes=2), *good.cameras[1:]]
    vague = replace(made, intrinsics="estimated", report=replace(made.report, focal_deviation=(0.3,) * 4))
    found = findings_of(
        good.capture, holes, good.pairs, good.joints, seen, vague, {"state": "unknown", "reason": "x"}, 1
    )
    told = {one.what: one for one in found if one.state != "good"}
    assert "c0 at 2 places" in told["frames"].found
    assert told["lens"].state == "doubtful"
    assert "30%, limit 15%" in told["lens"].found
    assert "trigger" in told["time"].again


def test_a_video_with_wrong_times_is_named_as_what_is_wrong(good: Inspection) -> None:
    frames, rate = good.cameras[1].frames, good.cameras[1].rate
    for factor, named in ((91.0, True), (2.0, False)):
        cameras = [good.cameras[0], replace(good.cameras[1], rate=factor * rate), *good.cameras[2:]]
        found = findings_of(good.capture, cameras, good.pairs, good.joints, good.observations, None, {}, 1)
        wrong = [one for one in found if one.state == "wrong"]
        assert bool(wrong) == named
        if named:
            assert f"c1 {91 * rate:g} frames a second, so it lasts {frames / rate / 91:.2f} s" in wrong[0].found
            assert "ffmpeg" in wrong[0].again


def test_shares_are_of_the_time_that_a_camera_filmed(good: Inspection) -> None:
    """The second camera has 30 images and began 10 steps later: it sees the person in all of its own time."""
    cameras = [replace(camera, frame_count=20) for camera in good.capture.cameras]
    cameras[1] = replace(cameras[1], frame_count=30, offset=-10.0)
    capture = replace(good.capture, cameras=tuple(cameras))
    looked = looked_at(capture, 45)
    assert looked[:, 0].tolist() == [True] * 20 + [False] * 25
    assert looked[:, 1].tolist() == [False] * 10 + [True] * 30 + [False] * 5
    assert share_of(looked[:, 1], looked[:, 1]) == 1.0
    assert share_of(np.arange(45) < 20, looked[:, 1]) == pytest.approx(10 / 30)
    assert share_of(looked[:, 1], np.zeros(45, bool)) == 0.0


@pytest.mark.parametrize(("people", "told"), [(0, "nobody is seen there"), (2, "people are seen there, but none")])
def test_a_camera_that_films_somebody_else_is_not_said_to_be_empty(good: Inspection, people: int, told: str) -> None:
    cameras = [replace(good.cameras[0], seen=0.0, people=people), *good.cameras[1:]]
    found = findings_of(good.capture, cameras, good.pairs, good.joints, good.observations, None, {}, 1)
    wrong = [one.found for one in found if one.what == "person" and one.state == "wrong"]
    assert len(wrong) == 1
    assert wrong[0].startswith(f"c0: {told}")


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="there is no capture"):
        vergence.inspect(tmp_path / "nothing")
    for name in ("take 1/cam1.mp4", "take 2/capture.toml", "papers/a.pdf"):
        (tmp_path / "day" / name).parent.mkdir(parents=True)
        (tmp_path / "day" / name).write_text("")
    with pytest.raises(VergenceError, match="holds neither a capture") as error:
        vergence.inspect(tmp_path / "day")
    assert error.value.remedy == "Give one of its folders that do: take 1, take 2."
    with pytest.raises(VergenceError, match="frames is 3"):
        vergence.inspect(tmp_path, frames=3)
    with pytest.raises(VergenceError, match="holds neither a capture"):
        vergence.inspect(tmp_path)


def test_who_is_looked_for_with_keypoints_of_nobody_is_an_error_of_its_own(
    make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = make_scene(**WALK)
    scene.keypoints[:] = np.nan
    with pytest.raises(VergenceError, match="nobody is seen in any camera"):
        observe(vergence.load_capture(write(tmp_path, scene)))


def test_of_one_video_everything_is_said_that_one_camera_tells(
    told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    """The file alone, whatever lies beside it, and the same video in a folder of its own."""
    scene = make_scene(views=2, frames=30, distortion=(0.0,) * 5, noise=1.0)
    told.keypoints = scene.keypoints * SIDE / 1000
    told.keypoints[:20, :, 3] = np.nan
    for name, cameras, file in (("both", (30, 30), "cam1.mp4"), ("one", (0, 30), "")):
        (tmp_path / name).mkdir()
        folder = write_videos(tmp_path / name, cameras)
        if file:
            np.savez(folder / "keypoints.npz", keypoints=np.zeros((30, 2, 17, 3)))
        found = vergence.inspect(folder / file, detector="told", frames=30)
        assert (found.verdict, found.pairs) == ("no-go", ())
        assert [(c.name, c.frames, c.seen, c.people, c.turn) for c in found.cameras] == [("cam1", 30, 1.0, 1, 0)]
        assert [one.what for one in found.findings if one.state == "wrong"] == ["cameras"]
        assert "a second one is missing | Film with two cameras" in said(found, "wrong")
        assert "right ankle 33%" in said(found, "doubtful")
        assert "in 100% of the time, 1.0 s: that is short" in said(found, "note")
        assert "The lens is not given" in said(found, "note")
        assert "One person, in view of the camera" in said(found, "good")
        assert all(np.isnan(joint.together) for joint in found.joints)
    with pytest.raises(VergenceError, match="is no capture"):
        vergence.inspect(tmp_path / "both" / "keypoints.npz", detector="told")


@pytest.mark.parametrize(
    ("moves", "state"), [(0.0, "good"), (MOVES, "good"), (1.01 * MOVES, "doubtful"), (np.nan, "note")]
)
def test_a_camera_moves_beyond_the_limit_only(good: Inspection, moves: float, state: str) -> None:
    cameras = [replace(camera, moves=moves, filmed=True) for camera in good.cameras]
    found = findings_of(good.capture, cameras, good.pairs, good.joints, good.observations, good.reconstruction, {}, 1)
    assert [one.state for one in found if one.what == "tripod"] == [state]


@pytest.mark.parametrize(
    ("state", "asked", "words"),
    [
        ("stated", False, ("good", "The capture states its cameras' times")),
        ("synchronous", False, ("good", "The person's motion shows that all cameras film at one time")),
        ("found", True, ("good", "by how much: b 2.5 frames earlier")),
        ("found", False, ("note", "Cameras may not film at one time (by the motion: b 2.5 frames earlier)")),
    ],
)
def test_what_is_known_of_the_cameras_times_is_said(state: str, asked: bool, words: tuple[str, str]) -> None:
    (finding,) = _sync({"state": state, "cameras": {"a": {"offset": 0.0}, "b": {"offset": 2.5}}}, asked)
    assert finding.state == words[0]
    assert words[1] in finding.found


def test_times_of_some_frames_are_told_in_steps_of_all() -> None:
    """Of every third frame: offsets and their deviations are three times as many steps; rates are as they are."""
    sync = {
        "state": "ambiguous",
        "pairs": [{"cameras": ["a", "b"], "deviation": 0.2}],
        "cameras": {"a": {}, "b": {"offset": -1.5, "deviation": 0.1, "drift": 20.0}},
        "alternatives": [{"a": 0.0, "b": 4.0}],
    }
    assert inspect._in_steps(sync, 1) is sync
    assert inspect._in_steps({"state": "unknown"}, 3) == {"state": "unknown"}
    found = inspect._in_steps(sync, 3)
    assert found["pairs"] == [{"cameras": ["a", "b"], "deviation": pytest.approx(0.6)}]
    assert found["cameras"]["b"] == {"offset": -4.5, "deviation": pytest.approx(0.3), "drift": 20.0}
    assert found["alternatives"] == [{"a": 0.0, "b": 12.0}]
    assert found["state"] == "ambiguous"
