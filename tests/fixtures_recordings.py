"""Recordings of the built-in world that label stages are tried on."""

from __future__ import annotations

import pytest

from vergence.batches.views import Views
from vergence.recipes.recipe import LabelStage, NetworkSettings
from vergence.recipes.typed import make_source
from vergence.world import recordings

HIDDEN = make_source(kind="world_recordings", keypoints=True)
LABELLED = LabelStage(keypoints="labelled")
TINY = NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8)


@pytest.fixture(scope="module")
def film() -> Views:
    """Three recordings by 2, 3 and 4 cameras."""
    parts = [recordings(1, 12, v, 32, seed=40 + v) for v in (2, 3, 4)]
    return Views.cat(parts)
