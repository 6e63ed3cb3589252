"""Numbers of keypoints' files against the numbers of images: counted alike, or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vergence.footage.formats.placing import frames_of


def images(first: int, count: int, step: int = 1) -> Any:
    """Images numbered from `first`, as a folder of so many has them."""

    def frame(number: int) -> int | None:
        at, rest = divmod(number - first, step)
        return at if rest == 0 and at >= 0 else None

    return SimpleNamespace(frame=frame, count=count)


@pytest.mark.parametrize(
    ("numbers", "first", "count", "expected"),
    [
        ([5, 6, 8], 5, 4, {5: 0, 6: 1, 8: 3}),
        ([0, 1, 2, 3], 1, 4, None),  # as many, from another first number
        ([0, 2, 3], 1, 4, None),  # from 0 to 3: as many
        (list(range(10)), 1, 20, {n: n - 1 for n in range(1, 10)}),  # one of ten is none of the images'
        (list(range(9)), 1, 20, None),
        ([1, 2, 3, 9], 1, 8, None),
        (list(range(1, 22)), 1, 20, {n: n - 1 for n in range(1, 21)}),
    ],
)
def test_files_count_the_images_frames_but_for_a_tenth(
    numbers: list, first: int, count: int, expected: dict | None
) -> None:
    assert frames_of(numbers, images(first, count)) == expected
