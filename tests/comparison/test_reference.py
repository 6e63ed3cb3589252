"""What the others are held against, where recipes stand in several numbers of labels."""

from __future__ import annotations

import pytest

from vergence.comparison.compare import Plan
from vergence.errors import VergenceError


@pytest.mark.parametrize(
    ("amounts", "asked", "reference"),
    [
        (["1", "2", "all"], "", "supervised@all"),
        (["all", "1"], "", "supervised@all"),
        (["10", "9"], "", "supervised@10"),
        (["all", "1"], "supervised", "supervised@all"),
        (["all", "1"], "supervised@1", "supervised@1"),
        (["all", "1"], "mcss", "mcss@all"),
        ([], "", "supervised"),
    ],
)
def test_the_reference_is_the_one_of_most_labels(amounts, asked, reference):
    plan = Plan.of([], ["mcss", "supervised"], amounts, [], 1, asked)
    assert plan.reference == reference


def test_without_supervised_it_is_the_first():
    assert Plan.of([], ["mcss", "epipolar_pose"], ["1", "2"], [], 1, "").reference == "epipolar_pose"
    with pytest.raises(VergenceError, match="the reference 'x' is not compared"):
        Plan.of([], ["mcss"], ["1"], [], 1, "x")
