"""From a capture to a `Reconstruction` that is saved and read back, with public names only."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vergence
from vergence.cli import main
from vergence.files import write_json
from vergence.footage.calibrations.writing import write_rig_toml
from vergence.footage.capture import load_capture
from vergence.geometry.body import reference_length
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.cameras import Rig
from vergence.reconstruction import footage
from vergence.report.reconstruction import page_of
from vergence.skeleton import BODY_25, H36M_17

NAMES = ("left", "middle", "right")
# What folders written before hold, in this order: `load` must go on reading them.
KEYS = (
    "verdict reasons unit reprojection_px limb_cv coverage coverage_of_points cameras world up protocol subject joints "
    "skeleton fps notes synchronisation report version trc seconds files placed"
)


@pytest.fixture
def scene(make_scene):
    return make_scene(frames=40, views=3, noise=1.0)


@pytest.fixture
def folder(scene, tmp_path: Path) -> Path:
    """A folder of OpenPose JSON of three cameras, and a calibration file; no video."""
    seen = H36M_17.convert(scene.keypoints, BODY_25)
    for v, name in enumerate(NAMES):
        for t, points in enumerate(seen[:, v]):
            known = np.isfinite(points).all(-1)
            rows = np.where(known[:, None], np.c_[np.nan_to_num(points), np.full(25, 0.9)], 0.0)
            people = [{"pose_keypoints_2d": rows.ravel().tolist()}]
            write_json(
                tmp_path / f"{name}_json" / f"{name}_{t:012d}_keypoints.json", {"version": 1.3, "people": people}
            )
    arrays = scene.intrinsics, scene.rotation, scene.translation, scene.distortion
    write_rig_toml(tmp_path / "calib.toml", Rig.of(NAMES, [(1000, 1000)] * 3, *arrays))
    return tmp_path


def capture(folder: Path, head: str = "") -> Path:
    text = f'[capture]\nfps = 30.0\ncalibration = "calib.toml"\nskeleton = "body_25"\n{head}'
    text += "".join(f'[cameras.{name}]\nkeypoints = "{name}_json"\n' for name in NAMES)
    (folder / "capture.toml").write_text(text)
    return folder


def joints(pose: np.ndarray) -> np.ndarray:
    return BODY_25.convert(pose, H36M_17)[:, [2, 3, 5, 6, 12, 13, 15, 16]]


def test_3d_from_openpose_json_and_a_calibration_in_five_lines(folder: Path, scene, capsys) -> None:
    text = '[capture]\nfps = 30.0\ncalibration = "calib.toml"\nskeleton = "body_25"\n'
    text += "".join(f'[cameras.{name}]\nkeypoints = "{name}_json"\n' for name in NAMES)
    (folder / "capture.toml").write_text(text)
    found = vergence.reconstruct(folder)
    found.save(folder / "out", formats=["trc"])

    assert capsys.readouterr().out == ""
    assert found.poses.unit == "mm"
    truth = scene.pose[:, [2, 3, 5, 6, 12, 13, 15, 16]]
    assert np.nanmedian(np.linalg.norm(joints(found.poses.pose) - truth, axis=-1)) < 10
    files = {path.name for path in (folder / "out").iterdir()}
    cameras = {"rig.toml", "Calib.toml", "camera_array.toml"}
    assert files == cameras | {"poses.npz", "poses.trc", "angles.csv", "limbs.csv", "results.json"}


@pytest.mark.parametrize(
    "wrong", [{"sync": "maybe"}, {"focal": "x"}, {"device": "foo"}, {"seed": -1}, {"height": "1.78"}]
)
def test_words_and_numbers_that_are_none_are_refused(wrong: dict[str, Any], folder: Path) -> None:
    (name,) = wrong
    for call in (vergence.reconstruct, vergence.inspect) if name in ("device", "seed") else (vergence.reconstruct,):
        with pytest.raises(vergence.VergenceError, match=f"{name} is "):
            call(folder, **wrong)  # type: ignore[operator]


def test_cameras_are_ignored_or_adjusted(folder: Path) -> None:
    with pytest.raises(vergence.VergenceError, match="--ignore-extrinsics and --refine contradict each other"):
        vergence.reconstruct(capture(folder), ignore_extrinsics=True, refine=True)


@pytest.mark.parametrize("verb", ["reconstruct", "inspect"])
def test_results_do_not_go_among_the_footage(verb: str, folder: Path, capsys) -> None:
    before = sorted(folder.iterdir())
    for source in (folder, folder / "capture.toml"):
        capture(folder)
        assert main([verb, str(source), "--out", str(folder)]) == 2
        assert "is the folder of the footage. Give the results a folder of their own." in capsys.readouterr().err
    assert sorted(folder.iterdir()) == sorted({*before, folder / "capture.toml"})


def test_a_rig_that_was_found_serves_the_next_recording(folder: Path, scene) -> None:
    found = vergence.reconstruct(capture(folder), ignore_extrinsics=True)
    found.save(folder / "out", formats=[])
    assert found.poses.unit == "reference_bone"
    text = (folder / "capture.toml").read_text()
    for name in ("rig.toml", "Calib.toml", "camera_array.toml"):
        (folder / "capture.toml").write_text(text.replace("calib.toml", f"out/{name}"))
        again = vergence.reconstruct(folder)
        assert (again.extrinsics, again.poses.unit, again.rig.unit) == ("as given", "reference_bone", "reference_bone")
        assert any("free of scale" in note for note in again.notes)
        assert again.verdict == found.verdict == "good"
        assert footage.DOUBTFUL_CAMERAS not in again.report.reasons
        assert np.nanmedian(np.abs(reference_length(again.poses.pose, again.skeleton) - 1)) < 1e-9
        assert np.median(np.abs(pairwise(again.rig) - pairwise(found.rig))) < 0.02 * pairwise(found.rig).max()


def test_a_doubt_about_cameras_goes_with_them(folder: Path, scene) -> None:
    found = vergence.reconstruct(capture(folder), ignore_extrinsics=True)
    doubted = replace(found, report=found.report.doubted(("Nobody moves.",)))
    doubted.save(folder / "out", formats=[])
    text = (folder / "capture.toml").read_text()
    for name in ("rig.toml", "Calib.toml", "camera_array.toml"):
        (folder / "capture.toml").write_text(text.replace("calib.toml", f"out/{name}"))
        again = vergence.reconstruct(folder)
        assert footage.DOUBTFUL_CAMERAS in again.report.reasons
        assert again.report.verdict == "doubtful"
    for options in ({"refine": True}, {"ignore_extrinsics": True}):
        assert footage.DOUBTFUL_CAMERAS not in vergence.reconstruct(folder, **options).report.reasons


def pairwise(rig: Rig) -> np.ndarray:
    centres = np.stack([camera.centre for camera in rig])
    return np.linalg.norm(centres[:, None] - centres[None], axis=-1)


def test_fisheye_cameras_are_reconstructed(folder: Path, scene) -> None:
    lens = np.array(fisheye_lens([-0.8, 0.1, 0.0, 0.0]))
    arrays = scene.intrinsics, scene.rotation, scene.translation
    rig = Rig.of(NAMES, [(1000, 1000)] * 3, *arrays, np.stack([lens] * 3))
    write_rig_toml(folder / "calib.toml", rig)
    rng = np.random.default_rng(0)
    for v, (name, camera) in enumerate(zip(NAMES, rig)):
        pixels = np.stack([camera.project(camera.to_camera(pose)) for pose in scene.pose])
        points = H36M_17.convert(pixels + rng.normal(0, 1, pixels.shape), BODY_25)
        assert np.nanmax(np.abs(pixels - scene.keypoints[:, v])) > 10
        for t, one in enumerate(points):
            known = np.isfinite(one).all(-1)
            rows = np.where(known[:, None], np.c_[np.nan_to_num(one), np.full(25, 0.9)], 0.0)
            people = [{"pose_keypoints_2d": rows.ravel().tolist()}]
            write_json(folder / f"{name}_json" / f"{name}_{t:012d}_keypoints.json", {"version": 1.3, "people": people})
    truth = scene.pose[:, [2, 3, 5, 6, 12, 13, 15, 16]]
    given = vergence.reconstruct(capture(folder))
    assert np.nanmedian(np.linalg.norm(joints(given.poses.pose) - truth, axis=-1)) < 10
    assert given.report.reprojection_median < 2
    alone = vergence.reconstruct(folder, ignore_extrinsics=True)
    assert alone.report.reprojection_median < 2
    assert "Pose2Sim" in given.save(folder / "out", formats=[])["files"]["Calib.toml"]
    assert vergence.Reconstruction.load(folder / "out").rig.cameras[0].fisheye


def test_what_is_saved_is_loaded(folder: Path) -> None:
    found = vergence.reconstruct(load_capture(capture(folder, "up = [0.0, 0.0, 1.0]\n")), refine=True)
    found.save(folder / "out")
    loaded = vergence.Reconstruction.load(folder / "out")
    np.testing.assert_array_equal(loaded.poses.pose, found.poses.pose)
    np.testing.assert_array_equal(loaded.poses.confidence, found.poses.confidence)
    np.testing.assert_array_equal(loaded.poses.up, [0, 0, 1])
    assert (loaded.poses.unit, loaded.poses.fps, loaded.skeleton) == ("mm", 30.0, found.skeleton)
    for ours, theirs in zip(loaded.rig.cameras, found.rig.cameras, strict=True):
        assert (ours.name, ours.image_size) == (theirs.name, theirs.image_size)
        for name in ("intrinsics", "distortion", "rotation", "translation"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12, atol=1e-12)
    assert loaded.rig.unit == found.rig.unit == "mm"
    assert loaded.report == replace(found.report, **_nan_as_loaded(loaded, found))
    assert loaded.settings == found.settings
    assert loaded.settings["refine"] is True
    assert (loaded.verdict, loaded.reasons, loaded.notes) == (found.verdict, found.reasons, found.notes)
    assert (loaded.extrinsics, loaded.intrinsics, loaded.world) == ("adjusted", "given", "as given")
    assert (loaded.seconds, loaded.coverage_of_points) == (found.seconds, found.coverage_of_points)
    before = json.loads((folder / "out" / "results.json").read_text())
    assert list(before) == KEYS.split()
    assert list(before["protocol"]) == ["extrinsics", "intrinsics", "reprojection", "coverage", "limb_cv", "settings"]
    assert list(before["cameras"]["left"]) == ["R", "t", "K", "distortion", "image_size"]
    loaded.save(folder / "again")
    again = json.loads((folder / "again" / "results.json").read_text())
    assert before.pop("cameras").keys() == again.pop("cameras").keys()
    assert again == before
    for name in ("poses.csv", "poses.trc"):
        assert (folder / "again" / name).read_text() == (folder / "out" / name).read_text()


def _nan_as_loaded(loaded: vergence.Reconstruction, found: vergence.Reconstruction) -> dict[str, object]:
    """NaN is not equal to itself: fields that hold it are taken from the other side, once both are seen to hold it."""
    same = {}
    for name, value in vars(found.report).items():
        other = getattr(loaded.report, name)
        if value != other:
            np.testing.assert_equal(other, value)
            same[name] = other
    return same


def test_a_doubtful_choice_of_the_person_makes_it_doubtful(folder: Path) -> None:
    found = vergence.reconstruct(capture(folder))
    assert (found.verdict, found.reasons) == ("good", ())
    subject = replace(found.subject, verdict="doubtful", reason="two look alike")
    other = replace(found, subject=subject)
    assert other.verdict == "doubtful"
    assert other.reasons == ("the subject may be the wrong person: two look alike",)
    other.save(folder / "out")
    assert vergence.Reconstruction.load(folder / "out").reasons == other.reasons


def test_frame_by_frame_cameras_are_not_the_given_ones(folder: Path) -> None:
    for late in folder.glob("*_json/*.json"):
        if int(late.name.split("_")[1]) > 2:
            late.unlink()
    found = vergence.reconstruct(capture(folder, "up = [0.0, 0.0, 1.0]\n"), per_frame=True)
    assert (found.extrinsics, found.poses.unit, found.poses.up) == ("estimated", "reference_bone", None)
    assert found.world == "frame of the first camera, left"


def test_folders_that_are_no_reconstruction(folder: Path) -> None:
    with pytest.raises(vergence.VergenceError, match=r"there is no file .*poses\.npz"):
        vergence.Reconstruction.load(folder)
    vergence.reconstruct(capture(folder)).save(folder / "out")
    results = json.loads((folder / "out" / "results.json").read_text())

    def written(text: str) -> Path:
        (folder / "out" / "results.json").write_text(text)
        return folder / "out"

    for text, problem in (
        ("{", "not readable JSON"),
        ("{}", r"results\.json is not a reconstruction's: there is no 'cameras' in it"),
        ("[]", r"results\.json is not a reconstruction's"),
        (json.dumps(results | {"report": {}}), "is not a reconstruction's"),
        (json.dumps(results | {"unit": "reference_bone"}), "different reconstructions"),
    ):
        with pytest.raises(vergence.VergenceError, match=problem):
            vergence.Reconstruction.load(written(text))
    (folder / "out" / "results.json").unlink()
    with pytest.raises(vergence.VergenceError, match=r"there is no file .*results\.json"):
        vergence.Reconstruction.load(folder / "out")


def test_a_page_needs_the_footage(folder: Path) -> None:
    found = vergence.reconstruct(capture(folder))
    assert page_of(found).title == f"Reconstruction of {folder.name}"
    found.save(folder / "out")
    with pytest.raises(vergence.VergenceError, match="no footage to show"):
        page_of(vergence.Reconstruction.load(folder / "out"))


def test_the_array_function_is_public() -> None:
    from vergence.reconstruction import reconstruct_keypoints

    assert reconstruct_keypoints.__module__ == "vergence.reconstruction.solve"


@pytest.mark.parametrize(
    ("told", "words"),
    [(1600.0, ""), (1500.0, "1.80 m tall, by the given height 1.50 m"), (2100.0, ""), (2200.0, "given height 2.20 m")],
)
def test_a_height_may_be_a_seventh_off_the_given_cameras_one(monkeypatch, told: float, words: str) -> None:
    """A person of 1.80 m by the cameras; the share is of the height that was told."""
    monkeypatch.setattr(footage, "stature", lambda pose, skeleton: 1800.0)
    doubts = footage._height_doubt(SimpleNamespace(unit="mm", pose=None, skeleton=None), told)
    assert [words in doubt for doubt in doubts] == [True] * bool(words)
    assert footage._height_doubt(SimpleNamespace(unit="reference_bone"), told) == ()


def test_a_given_height_may_differ_by_fifteen_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = SimpleNamespace(unit="mm", pose=None, skeleton=None)
    for found, said in ((1700.0, False), (1954.0, False), (1956.0, True), (1446.0, False), (1444.0, True)):
        monkeypatch.setattr(footage, "stature", lambda pose, skeleton, found=found: found)
        told = footage._height_doubt(poses, 1700.0)  # type: ignore[arg-type]
        assert len(told) == said
        assert not said or f"the person is {found / 1000:.2f} m tall, by the given height 1.70 m" in told[0]
    poses.unit = "reference_bone"
    assert footage._height_doubt(poses, 1700.0) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(("noise", "given", "kept"), [(1.0, True, True), (1.1, True, False), (1.1, False, True)])
def test_times_of_the_motion_must_not_leave_more_noise_under_given_cameras(
    monkeypatch: pytest.MonkeyPatch, noise: float, given: bool, kept: bool
) -> None:
    after, before = (SimpleNamespace(report=SimpleNamespace(noise_px=px)) for px in (noise, 1.0))
    monkeypatch.setattr(footage, "_solved", lambda *_: (after, ("a reason",)))
    capture = SimpleNamespace(has_extrinsics=given)
    found = footage._better(capture, None, {}, {}, before)  # type: ignore[arg-type]
    assert found == ((after, ("a reason",)) if kept else None)


def test_what_is_known_of_lenses_must_not_contradict_itself() -> None:
    def capture(*known: bool) -> SimpleNamespace:
        cameras = [SimpleNamespace(name=name, intrinsics=np.eye(3) if one else None) for name, one in zip("abc", known)]
        rig = SimpleNamespace(has_intrinsics=all(known), has_extrinsics=False, intrinsics=1, distortion=2, image_size=3)
        return SimpleNamespace(cameras=cameras, folder=Path("walk"), rig=rig)

    for known, how, words in (
        ((True, False, True), (None, False), "camera b of walk has no intrinsics"),
        ((True, True), (60.0, False), "--fov 60 was given"),
        ((False, False), (5.0, False), "--fov is 5"), ((False, False), (170.0, False), "--fov is 170"),
        ((False, False), (None, True), "--fov-fixed was given without --fov"),
    ):  # fmt: skip
        with pytest.raises(vergence.VergenceError, match=words):
            footage.known_cameras(capture(*known), *how)  # type: ignore[arg-type]
    for fov in (5.1, 169.9):
        assert footage.known_cameras(capture(False, False), fov, True)["fov"] == fov  # type: ignore[arg-type]
    found = footage.known_cameras(capture(True, True), None, False)  # type: ignore[arg-type]
    assert [found[name] for name in ("intrinsics", "distortion", "image_size", "rotation")] == [1, 2, 3, None]
    assert footage.known_cameras(capture(False, False), None, False)["intrinsics"] is None  # type: ignore[arg-type]


def test_keypoints_that_a_lens_cannot_undo_are_left_out_and_counted(folder: Path, scene) -> None:
    """A lens of the middle camera that turns 250 px from its middle."""
    found = vergence.reconstruct(capture(folder))
    assert not [note for note in found.notes if "lens model" in note]
    one = Rig.of(NAMES, [(1000, 1000)] * 3, scene.intrinsics, scene.rotation, scene.translation, scene.distortion)
    strong = -1 / (3 * (1.5 * 250 / scene.intrinsics[1, 0, 0]) ** 2)
    lens = scene.distortion.copy()
    lens[1] = [strong, 0, 0, 0, 0]
    write_rig_toml(
        folder / "calib.toml", replace(one, cameras=tuple(replace(c, distortion=d) for c, d in zip(one, lens)))
    )
    again = vergence.reconstruct(folder)
    away = np.linalg.norm(again.observations.keypoints[:, 1, :, :2] - scene.intrinsics[1, :2, 2], axis=-1)
    assert (away > 260).any()
    (told,) = [note for note in again.notes if "lens model" in note]
    lens[1, 0] *= 1e6
    write_rig_toml(
        folder / "calib.toml", replace(one, cameras=tuple(replace(c, distortion=d) for c, d in zip(one, lens)))
    )
    with pytest.raises(
        vergence.VergenceError, match=r"lens model are left out: \d+ of \d+ of middle \(is the distortion right\?\): "
    ):
        vergence.reconstruct(folder, ignore_extrinsics=True)
    count, total = map(int, re.search(r"left out: (\d+) of (\d+) of middle", told).groups())
    assert (away > 255).sum() <= count <= (away > 245).sum()
    assert total == np.isfinite(away).sum()


def test_millimetres_are_not_scaled_by_a_height() -> None:
    poses, solution = object(), SimpleNamespace(unit="mm")
    assert footage._sized(poses, solution, 1700.0) == (poses, solution)
