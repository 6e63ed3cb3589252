"""Which camera of a calibration is which of the footage."""

from pathlib import Path

import pytest

from vergence.errors import VergenceError
from vergence.footage.calibrations.pairing import paired
from vergence.geometry.cameras import Camera, Rig


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
