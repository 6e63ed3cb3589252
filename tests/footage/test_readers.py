"""Readers from outside: found by path before those that come with Vergence, or by name."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from vergence import plugins
from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration
from vergence.footage.capture import load_capture
from vergence.footage.keypoints import Detections, KeypointTable, read_keypoint_table, read_keypoints
from vergence.footage.readers import Reader, find_reader
from vergence.geometry.cameras import Camera, Rig
from vergence.plugins import Registry
from vergence.skeleton import COCO_17

PEOPLE = {3: np.ones((1, 17, 3))}


@pytest.fixture
def readers(monkeypatch):
    """Registries that forget what a test registers."""
    for registry in (plugins.keypoint_readers, plugins.calibration_readers):
        monkeypatch.setattr(registry, "_found", dict(registry._found))
    return plugins


def test_a_keypoint_reader_from_outside(readers, tmp_path):
    @readers.keypoint_readers.register("mine")
    class Mine:
        fits = staticmethod(lambda path: path.suffix == ".pose")
        read = staticmethod(lambda path, skeleton: Detections(skeleton or COCO_17, PEOPLE))

    assert read_keypoints(tmp_path / "a.pose").people is PEOPLE
    assert read_keypoints(tmp_path / "a.json", "coco_17", reader="mine").people is PEOPLE
    with pytest.raises(VergenceError, match="neither a folder of OpenPose JSON"):
        read_keypoints(tmp_path / "a.txt")
    with pytest.raises(VergenceError, match=r"no keypoint reader is called 'mien'\. Did you mean mine"):
        read_keypoints(tmp_path / "a.pose", reader="mien")


def test_one_from_outside_comes_before_ours(readers, tmp_path):
    with pytest.raises(VergenceError, match="there is no file"):
        read_keypoints(tmp_path / "a.json")
    mine = Reader(lambda path: path.suffix == ".json", lambda path, skeleton: Detections(COCO_17, PEOPLE))
    readers.keypoint_readers.register("mine")(mine)
    assert read_keypoints(tmp_path / "a.json").people is PEOPLE


def test_readers_from_outside_serve_a_capture(readers, tmp_path):
    """Keypoints of all cameras and a calibration, both in formats of one's own."""
    table = KeypointTable(np.full((4, 2, 17, 3), 50.0), COCO_17, 30.0)
    k = np.array([[500.0, 0, 99], [0, 500, 99], [0, 0, 1]])
    rig = Rig(tuple(Camera(name, (200, 200), k, np.zeros(5)) for name in "ab"), notes=("as I say",))
    keypoints = Reader(lambda path: path.suffix == ".all", lambda path: table, all_cameras=True)
    readers.keypoint_readers.register("all")(keypoints)
    readers.calibration_readers.register("cal")(Reader(lambda path: path.suffix == ".cal", lambda path, unit: rig))
    for name in ("x.all", "x.cal"):
        (tmp_path / name).touch()
    text = '[capture]\nkeypoints = "x.all"\ncalibration = "x.cal"\n[cameras.a]\n[cameras.b]\n'
    (tmp_path / "capture.toml").write_text(text)
    capture = load_capture(tmp_path)
    assert capture.fps == 30
    assert "as I say" in capture.notes
    np.testing.assert_array_equal(capture.cameras[1].intrinsics, k)
    assert read_keypoint_table(tmp_path / "x.all") is table
    with pytest.raises(VergenceError, match=r"belongs under \[capture\]"):
        read_keypoints(tmp_path / "x.all")


def test_a_folder_is_openpose_whatever_its_name(tmp_path):
    folder = tmp_path / "cam.json"
    folder.mkdir()
    with pytest.raises(VergenceError, match="holds no keypoint files"):
        read_keypoints(folder)


def test_a_calibration_that_no_reader_knows_is_read_as_toml(tmp_path):
    shutil.copyfile(__file__, tmp_path / "a.txt")
    with pytest.raises(VergenceError, match="not readable TOML"):
        read_calibration(tmp_path / "a.txt")


def test_the_last_registered_is_asked_first(tmp_path):
    registry = Registry("reader", "vergence.nothing")
    every = [registry.register(name)(Reader(lambda path: True, lambda path: path)) for name in "ab"]
    assert find_reader(registry, tmp_path) is every[1]
    assert find_reader(registry, tmp_path, "a") is every[0]
    assert find_reader(registry, tmp_path, all_cameras=True) is None
