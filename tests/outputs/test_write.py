"""Pose files by the name of their format: those that come with the package, and a foreign one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vergence
from vergence.skeleton import H36M_17


def poses(unit: str = "mm") -> vergence.PoseSequence:
    pose = np.random.default_rng(0).normal(size=(5, 17, 3)) * 300
    return vergence.PoseSequence(pose, H36M_17.joint_names, 60.0, unit)


def test_a_foreign_exporter_is_found_by_its_name(tmp_path: Path) -> None:
    @vergence.plugins.exporters.register("xyz")
    def write_xyz(path, poses, comment=""):
        np.savetxt(path, poses.pose.reshape(len(poses.pose), -1), header=f"{poses.unit} {comment}")

    try:
        notes = vergence.outputs.write(tmp_path, poses(), ["xyz", "npz"], xyz={"comment": "mine"})
    finally:
        del vergence.plugins.exporters._found["xyz"]
    assert notes == {"xyz": "", "npz": ""}
    assert (tmp_path / "poses.xyz").read_text().startswith("# mm mine")
    np.testing.assert_allclose(np.loadtxt(tmp_path / "poses.xyz").reshape(5, 17, 3), poses().pose)


def test_all_formats_and_what_they_assume(tmp_path: Path) -> None:
    notes = vergence.outputs.write(tmp_path, poses("reference_bone"), trc={"stature_mm": 1800.0})
    assert {path.name for path in tmp_path.iterdir()} == {f"poses.{name}" for name in ("npz", "json", "csv", "trc")}
    assert (notes["npz"], notes["json"], notes["csv"]) == ("", "", "")
    words = "scale unknown, assumed stature 1800 mm (+/- 7%); up unknown, the first camera taken as level"
    assert notes["trc"] == words


def test_a_format_whose_package_is_missing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for ask in (vergence.outputs.check, lambda formats: vergence.outputs.write(tmp_path, poses(), formats)):
        with pytest.raises(vergence.VergenceError, match="C3D files need ezc3d") as error:
            ask(["npz", "csv", "c3d"])
        assert error.value.remedy == "pip install 'vergence[c3d]'."
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(vergence.VergenceError, match="no exporter is called 'cvs'") as error:
        vergence.outputs.write(tmp_path, poses(), ["npz", "cvs"])
    assert "Did you mean csv?" in error.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fbx", "glb", "GLTF"])
def test_what_blender_makes_of_an_animation_is_told_so(name: str) -> None:
    with pytest.raises(vergence.VergenceError, match=f"{name} is not written") as error:
        vergence.outputs.check([name])
    assert str(error.value.remedy).startswith("Give bvh or usd: Blender")
