"""What tests of several rooms set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fixtures_light import light_run as light_run
from fixtures_light import light_video as light_video
from fixtures_scene import make_scene as make_scene
from fixtures_two_people import two_people as two_people


def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes on one thread."""
    yield from _threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch computes on two threads."""
    yield from _threads(2)
