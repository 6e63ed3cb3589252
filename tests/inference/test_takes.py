"""What a prediction is given, opened."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vergence.inference import takes
from vergence.inference.inputs import Footage
from vergence.inference.takes import open_take
from vergence.skeleton import COCO_17


@pytest.mark.parametrize("turn", [0, 3])
def test_a_camera_on_its_side_is_told_where_a_detector_saw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    for i in range(3):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{i}.png")
    person = np.random.default_rng(0).uniform(5, 40, (1, 17, 3))
    kept = SimpleNamespace(turn=turn, people=lambda joints: iter([person] * 3))
    monkeypatch.setattr(takes, "open_detector", lambda *_: SimpleNamespace(skeleton=COCO_17))
    monkeypatch.setattr(takes, "cached_people", lambda *_, **__: kept)
    notes = open_take(tmp_path, detector="").notes
    said = [note for note in notes if "people stand when" in note]
    assert len(said) == bool(turn)
    assert not turn or "are turned by 270 degrees counter-clockwise" in said[0]


@pytest.mark.parametrize(
    ("frames", "count", "said"), [("2-9", 8, True), ("2-7", 8, False), ("", 8, False), ("9", None, False)]
)
def test_frames_beyond_the_end_are_said(frames: str, count: int | None, said: bool) -> None:
    notes = Footage("a.mp4", count, 30.0, lambda rows: iter([])).beyond(frames)
    assert notes == (("--frames 2-9: a.mp4 has frames 0 to 7",) if said else ())
