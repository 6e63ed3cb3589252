from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_scene import Scene
from fixtures_told import SIDE, Told, told, write_videos

from vergence.cli import main

__all__ = ["told"]


def test_the_verb_writes_page_and_results_and_its_status_says_whether_to_go_on(
    told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = make_scene(views=3, frames=30, distortion=(0.0,) * 5, noise=1.0)
    told.keypoints = scene.keypoints * SIDE / 1000
    for name, cameras, status in (("three", (30, 30, 30), 0), ("one", (30,), 1)):
        (tmp_path / name).mkdir()
        out = tmp_path / f"{name}-out"
        words = [str(write_videos(tmp_path / name, cameras)), "--out", str(out), "--detector", "told", "--frames", "30"]
        assert main(["inspect", *words]) == status
        assert (out / "report.html").read_text().startswith("<!doctype html>")
        assert (json.loads((out / "results.json").read_text())["verdict"] == "no-go") is bool(status)
        assert f"written to {out / 'report.html'}" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "nothing"), "--detector", "told"]) == 2
    assert "FOOTAGE is: folder of videos, or one with a capture.toml" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "one"), "--out", str(out), "--detector", "told", "--quiet"]) == 1
    assert "no-go" in capsys.readouterr().out  # results are never hidden
    assert main(["inspect", str(tmp_path / "three" / "cam1.mp4"), "--out", str(out), "--detector", "told"]) == 1
    assert "One camera gives no depth" in capsys.readouterr().out


def test_the_folder_is_named_after_the_footage_and_never_somebody_elses(
    told: type[Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told.keypoints = np.full((10, 1, 17, 2), np.nan)
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_videos(tmp_path / name, (10,))
        assert main(["inspect", name, "--detector", "told", "--quiet"]) == 1
        assert (tmp_path / f"{name}-inspection" / "results.json").is_file()
    (tmp_path / "two-inspection" / "results.json").write_text('{"rows": {}}')
    assert main(["inspect", "two", "--detector", "told", "--quiet"]) == 2
    assert "two-inspection holds other results than an inspection" in capsys.readouterr().err
    assert (tmp_path / "two-inspection" / "results.json").read_text() == '{"rows": {}}'


def test_nothing_is_left_beside_the_videos(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = np.full((10, 1, 17, 2), np.nan)
    write_videos(tmp_path, (10,))
    assert main(["inspect", str(tmp_path), "--out", str(tmp_path / "out"), "--detector", "told", "--quiet"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam0.mp4", "out"]
