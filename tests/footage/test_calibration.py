"""Rigs in TOML."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.footage.calibrations.toml_rigs import read_rig_toml
from vergence.footage.calibrations.writing import write_rig_toml
from vergence.geometry.cameras import Camera, Rig

ANIPOSE = """
[cam_0]
name = "a"
size = [ 640.0, 480.0]
matrix = [ [ 600.0, 0.0, 320.0], [ 0.0, 601.0, 240.0], [ 0.0, 0.0, 1.0]]
distortions = [ 0.1, -0.2, 0.001, 0.002]
rotation = [ 0.1, 0.2, 0.3]
translation = [ 0.0, 0.0, 4.0]
fisheye = false
[cam_1]
name = "b"
matrix = [ [ 600.0, 0.0, 320.0], [ 0.0, 601.0, 240.0], [ 0.0, 0.0, 1.0]]
distortions = [ 0.1, -0.2, 0.001, 0.002, 0.5]
rotation = [ [ 1.0, 0.0, 0.0], [ 0.0, 1.0, 0.0], [ 0.0, 0.0, 1.0]]
translation = [ [ 1.0], [0.0], [ 3.0]]
[metadata]
adjusted = false
error = 0.0
"""


def rig(count: int = 3, unit: str = "mm") -> Rig:
    rng = np.random.default_rng(0)
    cameras = [
        Camera(
            f"cam {i}.é" if i == 1 else f"cam{i}",
            (1920, 1080),
            np.array([[1000.0 + i, 0, 950], [0, 1001, 530], [0, 0, 1]]),
            rng.normal(size=5) / 100,
            Rotation.random(rng=i).as_matrix(),
            rng.normal(size=3) * 3000,
        )
        for i in range(count)
    ]
    return Rig(tuple(cameras), unit)


def test_reads_the_shared_layout(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(ANIPOSE)
    found = read_rig_toml(tmp_path / "a.toml")
    first, second = found.cameras
    assert (first.name, second.name) == ("a", "b")
    assert first.image_size == (640, 480)
    assert second.image_size is None
    np.testing.assert_allclose(first.rotation, Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(first.distortion, [0.1, -0.2, 0.001, 0.002, 0])
    np.testing.assert_allclose(first.translation, [0, 0, 4000])  # metres, measured
    np.testing.assert_allclose(second.translation, [1000, 0, 3000])
    assert any("taken as m," in note for note in found.notes)


def test_unit_given_or_measured(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(ANIPOSE)
    given = read_rig_toml(tmp_path / "a.toml", "mm")
    np.testing.assert_allclose(given.cameras[0].translation, [0, 0, 4])
    assert given.notes == ()
    (tmp_path / "b.toml").write_text(ANIPOSE.replace("4.0]", "4000.0]").replace("3.0]]", "3000.0]]"))
    measured = read_rig_toml(tmp_path / "b.toml")
    np.testing.assert_allclose(measured.cameras[0].translation, [0, 0, 4000])
    assert any("taken as mm," in note for note in measured.notes)


def test_round_trip(tmp_path: Path) -> None:
    cameras = rig()
    write_rig_toml(tmp_path / "rig.toml", cameras, error_px=1.5)
    found = read_rig_toml(tmp_path / "rig.toml")
    assert found.unit == "mm"
    assert found.notes == ()
    for ours, theirs in zip(cameras, found.cameras):
        assert ours.name == theirs.name
        assert ours.image_size == theirs.image_size
        for field in ("intrinsics", "distortion", "rotation", "translation", "centre"):
            np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-9)


def test_scale_free_rig_keeps_its_unit(tmp_path: Path) -> None:
    write_rig_toml(tmp_path / "rig.toml", rig(unit="reference_bone"))
    found = read_rig_toml(tmp_path / "rig.toml")
    assert found.unit == "reference_bone"
    np.testing.assert_allclose(found.cameras[0].translation, rig()[0].translation)
    assert any("not in mm" in note for note in found.notes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.002, 0.5]\nrotation", "0.002, 0.5]\nfisheye = true\nrotation", "fisheye camera .* has 5 values"),
        ("[ 0.1, 0.2, 0.3]", "[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]", "no rotation .determinant -1"),
        ("[ 0.0, 0.0, 4.0]", "[ 0.0, nan, 4.0]", "not finite"),
        ("[ 0.0, 0.0, 4.0]", "[ 0.0, 4.0]", "has shape"),
        ("[ 600.0, 0.0, 320.0], [ 0.0, 601.0", "[ 0.9, 0.0, 320.0], [ 0.0, 601.0", "too short for pixels"),
        ("0.002, 0.5]", "0.002, 0.5, 0.1, 0.2]", "7 values"),
        ("[ 640.0, 480.0]", "[ 640.5, 480.0]", "whole pixels"),
        ("[ 640.0, 480.0]", '"large"', "not an array of numbers"),
    ],
)
def test_what_is_no_camera(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ANIPOSE
    (tmp_path / "a.toml").write_text(ANIPOSE.replace(old, new))
    with pytest.raises(VergenceError, match=message):
        read_rig_toml(tmp_path / "a.toml")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="there is no file"):
        read_rig_toml(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("[cam")
    with pytest.raises(VergenceError, match="not readable TOML"):
        read_rig_toml(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("[metadata]\nerror = 0.0\n")
    with pytest.raises(VergenceError, match="holds no camera"):
        read_rig_toml(tmp_path / "a.toml")
