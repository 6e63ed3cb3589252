"""Which file of a plain folder is its calibration."""

from pathlib import Path

import numpy as np
import pytest

from vergence.footage.calibrations.discovery import find_calibration
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
def test_one(tmp_path: Path, files: dict[str, str], found: str | None) -> None:
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
