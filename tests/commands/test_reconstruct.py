"""`vergence reconstruct` from folder to files: a made scene with keypoints only, and real footage where there is any."""

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures_told import SIDE, told, write_videos

import vergence
from vergence.commands.console.options import plain_options
from vergence.commands.reconstruct import reconstruct
from vergence.errors import VergenceError
from vergence.footage.calibrations.toml_rigs import read_rig_toml
from vergence.footage.detectors import footage as base
from vergence.outputs import read_npz, read_trc
from vergence.skeleton import H36M_17

__all__ = ["told"]

FRAMES, SIZE = 80, (1280, 720)
BONES = {
    1: (0, (-130, 0, 0)), 4: (0, (130, 0, 0)), 2: (1, (0, 430, 0)), 5: (4, (0, 430, 0)), 3: (2, (0, 420, 20)),
    6: (5, (0, 420, 20)), 7: (0, (0, -240, 0)), 8: (7, (0, -250, 0)), 9: (8, (0, -90, -60)), 10: (9, (0, -130, 20)),
    11: (8, (170, 10, 0)), 14: (8, (-170, 10, 0)), 12: (11, (40, 280, 0)), 15: (14, (-40, 280, 0)),
    13: (12, (0, 240, -60)), 16: (15, (0, 240, -60)),
}  # fmt: skip
BENDING = {1: 0.7, 4: 0.7, 11: 0.9, 14: 0.9}  # joints whose child bones swing, radians


def moving_person(seed: int = 0) -> np.ndarray:
    """T 17 3, mm, y down: walks an eight, turns, swings arms and legs; knees and elbows bend one way only."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 4 * np.pi, FRAMES)
    pose = np.zeros((FRAMES, 17, 3))
    for t, now in enumerate(time):
        turns = {0: cv2.Rodrigues(np.array([0, 1.5 * np.sin(now / 2), 0]))[0]}
        pose[t, 0] = 1300 * np.sin(now / 2), 0, 900 * np.sin(now)
        for child, (parent, offset) in BONES.items():
            swing = np.zeros(3)
            if child in BENDING:
                swing[0] = BENDING[child] * np.sin(2 * now + (child in (4, 14)) * np.pi)
            elif child in (2, 5):
                swing[0] = 0.5 + 0.5 * np.sin(2 * now + child)
            elif child in (12, 15):
                swing[0] = -0.7 - 0.6 * np.sin(1.5 * now + child)
            pose[t, child] = pose[t, parent] + turns[parent] @ offset
            turns[child] = turns[parent] @ cv2.Rodrigues(swing)[0]
    return pose + rng.normal(size=3)


def rig(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    cameras = []
    for i in range(count):
        angle = 0.3 + 2 * np.pi * i / count * 0.8
        centre = np.array([5200 * np.sin(angle), -500.0 - 100 * i, -5200 * np.cos(angle)])
        forward = np.array([0, 0, 0]) - centre
        forward = forward / np.linalg.norm(forward)
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        cameras.append((np.array([[1000.0, 0, 639.5], [0, 1000, 359.5], [0, 0, 1]]), rotation, -rotation @ centre))
    return cameras


def make_capture(folder: Path, views: int = 3, intrinsics: bool = True, extrinsics: bool = True, up: str = "") -> Path:
    pose, rng = moving_person(), np.random.default_rng(1)
    points, text = [], f'[capture]\nkeypoints = "k.npz"\nunit = "m"\n{up}\n'
    for i, (matrix, rotation, translation) in enumerate(rig(views)):
        at = pose @ rotation.T + translation
        pixels = (at @ matrix.T)[..., :2] / at[..., 2:] + rng.normal(size=(FRAMES, 17, 2))
        points.append(np.concatenate([pixels, np.full((FRAMES, 17, 1), 0.9)], axis=-1))
        text += f"[cameras.c{i}]\nimage_size = {list(SIZE)}\n"
        text += f"intrinsics = {matrix.tolist()}\n" if intrinsics else ""
        text += f"R = {rotation.tolist()}\nt = {(translation / 1000).tolist()}\n" if extrinsics else ""
    array = np.stack(points, axis=1)
    array[3, 0, 5] = np.nan
    np.savez(folder / "k.npz", keypoints=array, joint_names=H36M_17.joint_names, fps=50.0)
    (folder / "capture.toml").write_text(text)
    return folder


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))


def test_nothing_known_but_intrinsics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reconstruct(make_capture(tmp_path), tmp_path / "out", ignore_extrinsics=True)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    poses, truth = read_npz(tmp_path / "out" / "poses.npz"), rig(3)
    assert results["verdict"] == "good", results["reasons"]
    assert results["unit"] == poses.unit == "reference_bone"
    assert poses.joint_names == H36M_17.joint_names
    assert poses.fps == 50
    assert poses.up is None
    assert poses.pose.shape == (FRAMES, 17, 3)
    found = [np.array(results["cameras"][f"c{i}"]["R"]) for i in range(3)]
    np.testing.assert_allclose(found[0], np.eye(3), atol=1e-6)  # the world is the first camera's frame
    for i in (1, 2):
        assert angle(found[i], truth[i][1] @ truth[0][1].T) < 0.5
    world = moving_person() @ truth[0][1].T + truth[0][2]
    scale = np.nanmean(np.linalg.norm(world, axis=-1)) / np.nanmean(np.linalg.norm(poses.pose, axis=-1))
    assert np.nanmedian(np.linalg.norm(poses.pose * scale - world, axis=-1)) < 25
    assert results["reprojection_px"]["median"] < 2
    assert results["coverage"] > 0.99
    assert max(results["limb_cv"].values()) < 0.05
    written = read_rig_toml(tmp_path / "out" / "rig.toml")
    np.testing.assert_allclose(written.cameras[2].rotation, found[2], atol=1e-9)
    np.testing.assert_allclose(written.cameras[2].translation, results["cameras"]["c2"]["t"], atol=1e-9)
    trc = read_trc(tmp_path / "out" / "poses.trc")
    assert "assumed stature 1700 mm" in trc.note
    assert results["trc"]["assumed_stature_mm"] == 1700
    thigh = np.linalg.norm(trc.positions[:, 1] - trc.positions[:, 2], axis=-1)
    assert np.median(thigh) == pytest.approx(1700 * 0.245, rel=0.12)
    first = next(csv.DictReader((tmp_path / "out" / "poses.csv").read_text().splitlines()))
    assert (first["unit"], first["fps"], first["up"]) == ("reference_bone", "50", "unknown")
    said = capsys.readouterr().out
    assert "verdict: good" in said
    assert f"rotations known to {results['report']['predicted_rotation_deg']:.2f} degrees, worst pair c" in said
    assert len(results["report"]["worst_pair"]) == 2


def test_formats_and_markers_are_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vergence.reconstruct", lambda *args, **options: pytest.fail("it was begun"))
    for wrong, named in (({"formats": "npz,cvs"}, "'cvs'"), ({"formats": "trc", "markers": "mine.toml"}, "mine.toml")):
        with pytest.raises(VergenceError, match=named):
            reconstruct(make_capture(tmp_path), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_known_extrinsics_give_millimetres_in_their_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reconstruct(make_capture(tmp_path, up="up = [0.0, -1.0, 0.0]"), tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    poses = read_npz(tmp_path / "out" / "poses.npz")
    assert results["unit"] == poses.unit == "mm"
    np.testing.assert_allclose(poses.up, [0, -1, 0])
    assert np.nanmedian(np.linalg.norm(poses.pose - moving_person(), axis=-1)) < 10
    assert "cameras as given" in capsys.readouterr().out
    np.testing.assert_allclose(results["cameras"]["c1"]["t"], rig(3)[1][2], atol=1e-6)
    trc = read_trc(tmp_path / "out" / "poses.trc")
    assert trc.note == ""
    assert np.nanmedian(trc.positions[:, 10, 1] - trc.positions[:, 3, 1]) > 1000  # the head is above the foot


def test_missing_intrinsics_are_estimated(tmp_path: Path) -> None:
    reconstruct(make_capture(tmp_path, intrinsics=False, extrinsics=False), tmp_path / "out", fov=60.0)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["protocol"]["intrinsics"] == "estimated"
    assert results["cameras"]["c0"]["K"][0][0] == pytest.approx(1000, rel=0.05)


def test_same_seed_same_result(tmp_path: Path) -> None:
    make_capture(tmp_path)
    for name in ("a", "b"):
        reconstruct(tmp_path, tmp_path / name, ignore_extrinsics=True, seed=3)
    first, second = (read_npz(tmp_path / name / "poses.npz").pose for name in ("a", "b"))
    np.testing.assert_array_equal(first, second)


def test_options_that_contradict_the_capture(tmp_path: Path) -> None:
    make_capture(tmp_path)
    with pytest.raises(VergenceError, match="the capture has intrinsics"):
        reconstruct(tmp_path, tmp_path / "out", fov=60.0)
    text = (tmp_path / "capture.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("R =", "t ="))]
    (tmp_path / "capture.toml").write_text("\n".join(lines).replace("intrinsics = [[1000", "#", 1))
    with pytest.raises(VergenceError, match=r"camera c0 .* has no intrinsics, but others have"):
        reconstruct(tmp_path, tmp_path / "out")
    make_capture(tmp_path, intrinsics=False, extrinsics=False)
    with pytest.raises(VergenceError, match="between 5 and 170"):
        reconstruct(tmp_path, tmp_path / "out", fov=200.0)
    with pytest.raises(VergenceError, match="--fov-fixed was given without"):
        reconstruct(tmp_path, tmp_path / "out", fov_fixed=True)
    assert not (tmp_path / "out").exists()


def test_switches_need_no_value_and_hyphens_are_read() -> None:
    words = ["--ignore-extrinsics", "--fov-fixed", "false", "--fov", "-5", "--refine=true", "a-b"]
    expected = ["--ignore_extrinsics=true", "--fov_fixed", "false", "--fov", "-5", "--refine=true", "a-b"]
    assert plain_options(reconstruct, words) == expected


def test_one_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="one camera"):
        reconstruct(make_capture(tmp_path, views=1, extrinsics=False), tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    make_capture(tmp_path)
    (tmp_path / "out").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        reconstruct(tmp_path, tmp_path / "out")


DATA = Path(os.environ.get("VERGENCE_DATA", "")) / "pose2sim"


@pytest.mark.skipif(not (DATA / "balancing.npz").exists(), reason="set VERGENCE_DATA to the folder of real data")
def test_real_footage(tmp_path: Path) -> None:
    """Four real cameras, two people in view, extrinsics withheld: published rotations within 2 degrees, all points
    with confidence above 0.3 within 8 px in the median, 95 % of them covered. The reference is computed here."""
    text = f'[capture]\nfps = 60.0\ncalibration = "{DATA}/calib/Calib_qualisys.toml"\n'
    for name in ("cam01", "cam02", "cam03", "cam04"):
        text += f'[cameras.{name}]\nvideo = "{DATA}/videos_single/{name}.mp4"\n'
        text += f'keypoints = "{DATA}/openpose_json/balancing/{name}_json"\n'
    (tmp_path / "capture.toml").write_text(text)
    reconstruct(tmp_path, tmp_path / "out", ignore_extrinsics=True)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    with np.load(DATA / "balancing.npz") as data:
        points, published, lens = data["kpts2d"].astype(float), data["R"], data["dist"]
    cameras = [{key: np.array(value) for key, value in c.items()} for c in results["cameras"].values()]
    for i in range(4):
        for j in range(i):
            assert angle(cameras[i]["R"] @ cameras[j]["R"].T, published[i] @ published[j].T) < 2
    pose = read_npz(tmp_path / "out" / "poses.npz").pose
    there, errors = np.isfinite(pose).all(-1), []
    counted = points[..., 2] > 0.3
    for v, camera in enumerate(cameras):
        at = pose @ camera["R"].T + camera["t"]
        image = cv2.projectPoints(
            np.nan_to_num(at, nan=1.0).reshape(-1, 3), np.zeros(3), np.zeros(3), camera["K"], lens[v]
        )
        error = np.linalg.norm(image[0].reshape(*there.shape, 2) - points[:, v, :, :2], axis=-1)
        errors.append(error[there & counted[:, v]])
    assert np.median(np.concatenate(errors)) <= 8
    assert sum(map(len, errors)) / counted.sum() >= 0.95
    joints = results["joints"]
    for side in ("right", "left"):
        thigh = np.linalg.norm(pose[:, joints.index(f"{side}_hip")] - pose[:, joints.index(f"{side}_knee")], axis=-1)
        assert np.nanstd(thigh) / np.nanmean(thigh) <= 0.03
    assert results["subject"]["verdict"] == "sure"
    assert sum("1080 x 1920, not 1088 x 1920" in note for note in results["notes"]) == 2
    assert read_trc(tmp_path / "out" / "poses.trc").positions.shape == (100, 25, 3)
    assert (tmp_path / "out" / "poses.csv").exists()


def test_videos_without_keypoints_are_detected_into_the_folder(told, make_scene, tmp_path, capsys, monkeypatch) -> None:
    """One camera has its own; the folder is a capture with which later steps go on."""
    scene = make_scene(views=3, frames=40, distortion=(0.0,) * 5, noise=1.0)
    told.keypoints = scene.keypoints * SIDE / 1000
    (tmp_path / "footage").mkdir()
    footage, out = write_videos(tmp_path / "footage", [40, 40, 40]), tmp_path / "out"
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    vergence.detect(footage / "cam1.mp4", detector="told")
    before = sorted(path.name for path in footage.iterdir())
    reconstruct(footage, out, detector="told", quiet=True)
    assert sorted(path.name for path in footage.iterdir()) == before
    assert sorted(path.name for path in (out / "keypoints").iterdir()) == ["cam0.json", "cam2.json"]
    again = vergence.reconstruct(out, detector="nobody is asked")
    assert np.allclose(again.poses.pose, read_npz(out / "poses.npz").pose, equal_nan=True)
    in_cache = vergence.reconstruct(footage, detector="told")
    assert np.allclose(in_cache.poses.pose, again.poses.pose, equal_nan=True)
    (footage / "cam1.mp4").unlink(), (footage / "cam2.mp4").unlink(), (footage / "cam1.json").unlink()
    with pytest.raises(VergenceError, match="one camera gives no depth"):
        reconstruct(footage, out, detector="told", quiet=True)
