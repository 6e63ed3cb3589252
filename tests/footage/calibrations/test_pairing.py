"""Which file of a plain folder is its calibration, and which camera of it is which of the footage."""

from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.calibrations.pairing import find_calibration, paired
from vergence.footage.calibrations.writing import write_caliscope_toml, write_pose2sim_toml, write_rig_toml
from vergence.geometry.cameras import Camera, Rig

K = np.array([[900.0, 0, 640], [0, 905, 360], [0, 0, 1]])
RIG = Rig((Camera("a", (1280, 720), K, np.zeros(5), np.eye(3), np.zeros(3)),))
YAML = '%YAML:1.0\n---\nnames: [ "1" ]\nK_1: !!opencv-matrix\n   rows: 3\n'


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"calib.toml": "[a]\nmatrix = 1", "Config.toml": "[project]"}, "calib.toml"),
        ({"intri.yml": YAML, "extri.yml": YAML.replace("K_1", "R_1"), "config.yml": "a: 1"}, "intri.yml"),
        ({"stereo.yaml": "%YAML:1.0\n---\nM1: 1\n"}, "stereo.yaml"),
        ({"calibration/Calib.qca.txt": "<calibration>"}, "calibration/Calib.qca.txt"),
        ({"x.xcp": "<Cameras>", "notes.txt": "hello"}, "x.xcp"),
        ({"sparse/0/cameras.bin": "", "sparse/0/cameras.txt": "", "sparse/0/images.bin": ""}, "sparse/0/cameras.bin"),
        ({"cameras.txt": "mine"}, None),
        ({"._calib.toml": "matrix", "truth.xml": "<a/>"}, None),
        ({}, None),
    ],
)
def test_one_calibration_is_found(tmp_path: Path, files: dict[str, str], found: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_calibration(tmp_path) == (None if found is None else tmp_path / found, [])


def test_several_are_named_and_none_is_taken(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text("[a]\nmatrix = 1")
    assert find_calibration(tmp_path) == (None, ["a.toml", "b.toml"])


def test_our_own_three_files_are_one_rig(tmp_path: Path) -> None:
    write_rig_toml(tmp_path / "rig.toml", RIG)
    write_pose2sim_toml(tmp_path / "Calib.toml", RIG, 0.001)
    write_caliscope_toml(tmp_path / "camera_array.toml", RIG, 0.001)
    assert find_calibration(tmp_path) == (tmp_path / "rig.toml", [])


def pair(names: list[str], theirs: list[str], aliases: list[str] | None = None) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    rig = Rig(tuple(Camera(name, None) for name in theirs), aliases=tuple(aliases or ()))
    found = paired(rig, names, Path("calib.toml"), notes)
    assert list(found) == names
    return [camera.name for camera in found.values()], notes


@pytest.mark.parametrize(
    ("names", "theirs", "aliases", "wanted", "note"),
    [
        (["a", "b"], ["b", "a"], None, ["a", "b"], ""),
        (["cam01", "cam02"], ["Cam_02", "Cam_01"], None, ["Cam_01", "Cam_02"], ""),
        (["cam_8", "cam_9", "cam_10"], ["10", "8", "9"], None, ["8", "9", "10"], "numbers"),
        (["cam8", "cam10"], ["int_cam10_img", "int_cam8_img"], None, ["int_cam8_img", "int_cam10_img"], "numbers"),
        (["cam_1", "cam_2"], ["26585", "26578"], ["cam_2", "cam_1"], ["26578", "26585"], ""),
        (["cam1", "cam2"], ["5", "9"], ["2", "1"], ["9", "5"], "numbers"),
        (["s1_cam3", "s1_cam4"], ["x4", "x3"], None, ["x3", "x4"], "numbers"),
        (["left", "right"], ["10", "9"], None, ["9", "10"], "order"),
        (["left", "right"], ["b", "a"], None, ["b", "a"], "order"),
        (["cam1"], ["cam2", "cam1", "cam3"], None, ["cam1"], ""),
    ],
)
def test_pairs(names: list[str], theirs: list[str], aliases: list[str] | None, wanted: list[str], note: str) -> None:
    found, notes = pair(names, theirs, aliases)
    assert found == wanted
    assert (note in notes[0]) if note else not notes


@pytest.mark.parametrize(
    ("names", "theirs"), [(["a", "b"], ["a", "c"]), (["a", "b", "c"], ["x", "y"]), (["cam1", "cam7"], ["cam1", "cam2"])]
)
def test_no_such_camera(names: list[str], theirs: list[str]) -> None:
    with pytest.raises(VergenceError, match="has no camera"):
        pair(names, theirs)
