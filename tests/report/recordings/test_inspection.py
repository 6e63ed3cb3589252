"""The page of an inspection: the answer first, a picture of every camera with the joints on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from fixtures_scene import Scene
from fixtures_told import SIDE, Told, told, write_videos
from rich.console import Console

import vergence
from vergence.reconstruction.inspection.inspect import Inspection
from vergence.report.recordings.inspection import _lens, inspection_page, print_inspection
from vergence.report.render import render_page
from vergence.skeleton import H36M_17

__all__ = ["told"]


@pytest.fixture
def found(told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path) -> Inspection:
    scene = make_scene(views=3, frames=30, distortion=(0.0,) * 5, noise=1.0)
    told.keypoints = scene.keypoints * SIDE / 1000
    return vergence.inspect(write_videos(tmp_path, (30, 30, 30)), detector="told", frames=30)


def test_the_page_answers_and_shows_every_camera(found: Inspection) -> None:
    page = inspection_page(found)
    assert page.verdict is not None
    assert page.verdict.word == found.verdict
    assert [one.title.split(",")[0] for one in page.pictures] == ["cam0", "cam1", "cam2"]
    for picture in page.pictures:
        drawn = np.abs(picture.image.astype(int) - [86, 180, 233]).sum(-1) < 60
        assert drawn.sum() > 50, "blue limbs of the person's left"
    assert page.rig is not None
    assert [table.title for table in page.details] == ["Cameras", "Pairs of cameras", "Joints"]
    assert len(page.details[1].rows) == 3
    assert len(page.details[2].rows) == len(H36M_17)
    html = render_page(page)
    assert html.count('<figure><img src="data:image/jpeg') == 3
    assert "What to film again" in html if found.film_again else "vergence learn" in html


def test_the_page_of_one_camera_says_what_it_is_good_for_and_shows_no_empty_columns(
    told: type[Told], make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = make_scene(views=2, frames=30, distortion=(0.0,) * 5, noise=1.0)
    told.keypoints = scene.keypoints * SIDE / 1000
    page = inspection_page(vergence.inspect(write_videos(tmp_path, (0, 30)) / "cam1.mp4", detector="told", frames=30))
    assert page.verdict is not None
    first = page.verdict.reasons[0]
    assert "reconstruct and learn need two cameras" in first
    assert first.endswith("vergence predict cam1.mp4.")
    cameras, joints = page.details
    assert {"error", "lens"} & set(cameras.columns) == {"lens"}
    assert joints.columns == ["joint", "seen", "noise", "of the person"]
    assert len(joints.rows) == len(H36M_17)
    assert "trembles" in joints.protocol


def test_of_one_camera_and_of_nobody_there_is_a_page_too(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = np.full((10, 1, 17, 2), np.nan)
    found = vergence.inspect(write_videos(tmp_path, (10,)), detector="told", frames=12)
    page = inspection_page(found)
    assert (found.verdict, page.rig) == ("no-go", None)
    assert "Nobody is seen in any camera" in render_page(page)
    assert "Nobody is seen here" in page.pictures[0].note
    assert 'class="verdict refused"' in render_page(page)


def test_the_lines_on_the_screen_end_with_the_answer(found: Inspection) -> None:
    console = Console(file=StringIO(), width=200, highlight=False, soft_wrap=True)
    print_inspection(found, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("cam0: 500 x 500, 30 frames at 30 a second, lens ")
    assert lines[-1] == found.verdict == "go"
    assert sum(line.startswith(("note", "good", "doubtful ", "wrong")) for line in lines) == len(found.findings)


def test_a_doubtful_answer_says_what_learn_does_with_it(found: Inspection) -> None:
    console = Console(file=StringIO(), width=200, highlight=False, soft_wrap=True)
    print_inspection(replace(found, verdict="doubtful"), console)
    assert console.file.getvalue().splitlines()[-1] == "doubtful: learn uses such a recording only with --anyway."  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "words"),
    [(("given", 59.4, np.nan), "given, 59° along the longer side"),
     (("estimated", 60.2, 0.02), "estimated, 60° along the longer side, focal length ± 2%"),
     (("estimated", 60.2, 1.5), "estimated, but hardly known"), (("unknown", np.nan, np.nan), "unknown")],
)  # fmt: skip
def test_an_angle_of_view_says_of_which_side_and_what_is_how_sure(given: tuple[str, float, float], words: str) -> None:
    assert _lens(*given) == words
