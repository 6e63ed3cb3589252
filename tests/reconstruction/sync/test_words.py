"""What is said of cameras' times, and what results hold of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vergence.reconstruction.sync.find import Sync
from vergence.reconstruction.sync.footage import PPM, _long, described, words

CAPTURE: Any = SimpleNamespace(names=["a", "b", "c"], synchronised=False)


def sync(state: Any, offset: tuple[float, ...] = (0, 0, 0), drift: tuple[float, ...] = (0, 0, 0), **more: Any) -> Sync:
    usual = {"deviation": np.array([0.0, 0.1, 0.25]), "reason": "the reason"}
    return Sync(state, np.array(offset, dtype=float), np.array(drift, dtype=float), **{**usual, **more})


def test_cameras_that_are_moved_are_named_with_their_offsets() -> None:
    found = sync("found", (0.0, -2.5, 1.25), (0.0, 0.0, 40 / PPM))
    (note,), doubt = words(found, CAPTURE)
    assert doubt == ()
    assert "b by -2.50 frames (began later, within " in note
    assert "c by +1.25 frames and +40 ppm (began earlier, within " in note
    assert "a by" not in note
    unsure = sync("ambiguous", (0.0, -2.5, 0.0), alternatives=((0.0, 3.0, 0.0), (0.0, 0.04, -9.0)))
    (note,), (doubt,) = words(unsure, CAPTURE)
    assert "b by -2.50 frames" in note
    assert doubt.startswith(
        "Cameras were not triggered together, and the reason (a +0.0, b +3.0, c +0.0; a +0.0, b +0.0, c -9.0): taken as b by"
    )
    assert "Give each camera's `offset`" in doubt


@pytest.mark.parametrize(
    ("found", "notes", "doubts"),
    [
        (None, 0, 0), (sync("synchronous"), 0, 0), (sync("unsure"), "within 0.5 frames", 0),
        (sync("unknown"), "not found out", 0),
        (sync("ambiguous", alternatives=((0.0, 1.0, 2.0),)), "or not: the reason (a +0.0, b +1.0, c +2.0); left", 0),
        (sync("ambiguous", zero_fits=False), 0, "may not be synchronous, and were left as they are: the reason."),
        (sync("unknown", zero_fits=False), 0, "may not be synchronous"),
    ],
)  # fmt: skip
def test_cameras_that_are_left_as_they_are(found: Sync | None, notes: str | int, doubts: str | int) -> None:
    for said, expected in zip(words(found, CAPTURE), (notes, doubts)):
        assert len(said) == bool(expected)
        assert not expected or expected in said[0]


def test_results_hold_every_camera_and_every_pair() -> None:
    between = np.array([[0.0, 0.1, 0.2], [0.1, 0, 0.3], [0.2, 0.3, 0]])
    found = sync(
        "found", (0.0, -2.5, 1.0), (0.0, 2e-5, 0.0), between=between, margin=4.0, alternatives=((0.0, 1.0, 2.0),)
    )
    told = described(found, CAPTURE)
    assert told["cameras"]["b"] == {"offset": -2.5, "drift_ppm": pytest.approx(20), "deviation": 0.1}
    assert {frozenset(pair["cameras"]): pair["deviation"] for pair in told["pairs"]} == {
        frozenset("ab"): 0.1, frozenset("ac"): 0.2, frozenset("bc"): 0.3
    }  # fmt: skip
    assert told["alternatives"] == [{"a": 0.0, "b": 1.0, "c": 2.0}]
    assert (told["state"], told["margin"], described(sync("found"), CAPTURE)["pairs"]) == ("found", 4.0, [])
    assert described(None, CAPTURE) == {"state": "not asked"}
    assert described(None, SimpleNamespace(synchronised=True)) == {"state": "stated"}  # type: ignore[arg-type]


def test_tracks_seen_for_half_as_long_as_the_longest_are_asked() -> None:
    tracks = [np.full((40, 17, 3), np.nan) for _ in range(3)]
    for track, frames in zip(tracks, (40, 20, 19)):
        track[:frames, 4] = 1.0
    assert [int(np.isfinite(track[:, 4, 0]).sum()) for track in _long(tracks)] == [40, 20]
