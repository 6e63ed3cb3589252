"""Rigs in TOML."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.footage.calibration import numbers, rig_of
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


def cameras_at(*places: float) -> list[Camera]:
    """Along x, each turned in its own way; NaN: of unknown place."""
    return [
        Camera(f"c{i}", (640, 480), np.eye(3), np.zeros(5), *(
            (None, None) if x != x else (turn := Rotation.from_rotvec([0, 0.1 * i, 0]).as_matrix(), -turn @ [x, 0, 0])))
        for i, x in enumerate(places)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("places", "word", "factor", "span"),
    [
        ((0.0, 4.0, np.nan), "m", 1000, "4"), ((1.0, np.nan, 100.9), "m", 1000, "99.9"), ((0.0, 100.0), "mm", 1, "100"),
        ((50.0, 0.0, 99.9), "m", 1000, "99.9"), ((np.nan, 4.0), "", 1, ""), ((np.nan, np.nan), "", 1, ""),
    ],
)  # fmt: skip
def test_a_unit_that_nobody_says_is_told_by_how_far_apart_cameras_are(
    places: tuple[float, ...], word: str, factor: int, span: str
) -> None:
    """Under 100 they are metres. Cameras of unknown place say nothing, and one alone has no distance."""
    found = rig_of(Path("a.toml"), cameras_at(*places), None)
    assert found.unit == "mm"
    for camera, x in zip(found.cameras, places):
        assert not camera.has_extrinsics if x != x else camera.centre[0] == pytest.approx(factor * x)
    told = [note for note in found.notes if "translations taken as" in note]
    assert len(told) == bool(word)
    assert all(f"taken as {word}, as the cameras are up to {span} apart" in note for note in told)


def test_a_unit_that_is_no_length_leaves_the_rig_free_of_scale() -> None:
    found = rig_of(Path("a.toml"), cameras_at(1.0, 2.5), None, "board squares")
    assert (found.unit, found.cameras[1].centre[0]) == ("board squares", pytest.approx(2.5))
    assert rig_of(Path("a.toml"), cameras_at(1.0, 2.5), "m", "board squares").cameras[1].centre[0] == pytest.approx(
        2500
    )


def test_cameras_of_one_pose_have_none() -> None:
    """Two of three are the same to the ninth decimal; the third keeps its own."""
    first, second, third = cameras_at(1.0, 5.0, 9.0)
    same = replace(second, rotation=first.rotation, translation=first.translation + 1e-11)
    found = rig_of(Path("a.toml"), [first, same, third], "mm")
    assert [camera.has_extrinsics for camera in found.cameras] == [False, False, True]
    assert any("cameras c0, c1 have one and the same pose" in note for note in found.notes)
    near = replace(same, translation=first.translation + 1e-6)
    assert all(camera.has_extrinsics for camera in rig_of(Path("a.toml"), [first, near, third], "mm").cameras)


@pytest.mark.parametrize("letters", [100, 117, 118, 300])
def test_what_is_no_number_is_shown_in_at_most_120_letters(letters: int) -> None:
    """With its quotes."""
    with pytest.raises(VergenceError) as error:
        numbers("x" * letters, "a", "Give one.")
    shown = error.value.problem.split(": ")[1]
    assert shown == (f"'{'x' * letters}'" if letters < 118 else f"'{'x' * 116}...")
    assert len(shown) <= 120
