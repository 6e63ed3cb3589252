"""`vergence detect` on the command line: who was found, and a status that a script can ask for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vergence.cli import main
from vergence.footage.video import VideoWriter
from vergence.plugins import detectors

PLUGIN = """
import numpy as np
from vergence.plugins import detectors
from vergence.skeleton import COCO_17

class Brightness:
    skeleton, identity = COCO_17, "brightness 1"
    def __call__(self, images):
        return [np.full((int(image.mean() > 100), 17, 3), 0.9) for image in images]

@detectors.register("brightness")
def brightness(model, device):
    return Brightness()
"""


def write(path, *levels):
    with VideoWriter(path, 25) as video:
        for level in levels:
            video.write(np.full((48, 64, 3), level, np.uint8))


@pytest.fixture
def words(tmp_path):
    (tmp_path / "brightness.py").write_text(PLUGIN)
    yield ["--detector", "brightness", "--plugins", str(tmp_path / "brightness.py")]
    detectors._found.pop("brightness", None)


def test_nobody_in_any_video_is_said_and_is_status_1(words, tmp_path, capsys):
    folder = tmp_path / "dark"
    folder.mkdir()
    write(folder / "a.mp4", 0, 0, 0)
    for again in range(2):
        assert main(["detect", str(folder), *words]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "nobody was found: somebody in 0 of 3 frames" in said
        assert "Nobody was found in any image." in said
        assert ("as it was" in said) == bool(again)
    assert json.loads((folder / "a.json").read_text())["annotations"] == []
    write(folder / "b.mp4", 0, 255)
    assert main(["detect", str(folder), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "somebody in 1 of 2 frames" in said
    assert "Nobody was found in any image." not in said
