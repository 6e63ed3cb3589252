"""What a recipe hides is hidden, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from vergence.batches.dataset import MemoryDataset, batches, numbered_apart, visible_labels, withhold
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.typed import make_source

TRUTH_OF_A_RIG = ("pose", "rotation", "translation", "up")


def views(n: int = 12) -> Views:
    """Everything known; subjects 5, 7 and 9, not in order."""
    g = torch.Generator().manual_seed(0)
    known = {
        name: torch.randn(value.shape, generator=g)
        for name, value in Views.empty(n, 17, 4, 4).items()
        if value.is_floating_point()
    }
    return Views.empty(n, 17, 4, 4).replace(**known, subject=torch.tensor([9, 5, 7] * (n // 3)), frame=torch.arange(n))


def hidden(seen: Views, index: Views) -> dict[str, list[int]]:
    """Rows in which each field became NaN; every other value must be what it was."""
    out = {}
    for name, value in seen.items():
        before = getattr(index, name)
        if not value.is_floating_point():
            assert torch.equal(value, before)
            continue
        gone = value.isnan().reshape(len(value), -1).any(1)
        assert torch.equal(value[~gone], before[~gone]) or name == "confidence"
        if gone.any():
            assert value[gone].isnan().all()
            out[name] = torch.nonzero(gone)[:, 0].tolist()
    return out


@pytest.mark.parametrize(("pose", "kept"), [("none", ()), ("0", ()), ("1", (5,)), ("2", (5, 7)), ("7", (5, 7, 9))])
def test_the_3d_of_the_first_subjects_is_kept_and_all_else_of_the_rig_hidden(pose, kept):
    index = MemoryDataset(views()).index
    rows = [i for i, s in enumerate(index.subject.tolist()) if s not in kept]
    found = hidden(withhold(index, make_source(keypoints=True, pose=pose)), index)
    assert found == (dict.fromkeys(TRUTH_OF_A_RIG, rows) if rows else {})


@pytest.mark.parametrize(("pose", "kept"), [("S5", (5,)), ("S9, S5", (5, 9)), ("S5,S7,S9", (5, 7, 9))])
def test_the_3d_of_named_people_is_kept_and_all_else_of_the_rig_hidden(pose, kept):
    dataset = MemoryDataset(views())
    dataset.groups = {"subject": np.array([f"S{s}" for s in dataset.index.subject.tolist()])}
    rows = [i for i, s in enumerate(dataset.index.subject.tolist()) if s not in kept]
    found = hidden(
        visible_labels(dataset, make_source(kind="human36m", path="x", keypoints=True, pose=pose)), dataset.index
    )
    assert found == (dict.fromkeys(TRUTH_OF_A_RIG, rows) if rows else {})


def test_somebody_whom_the_images_do_not_show_is_named():
    dataset = MemoryDataset(views())
    source = make_source(kind="human36m", path="x", pose="S5,S6")
    with pytest.raises(VergenceError, match=r"S6.*nobody with a name"):
        visible_labels(dataset, dataclasses.replace(source, pose="S6"))
    dataset.groups = {"subject": np.array([f"S{s}" for s in dataset.index.subject.tolist()])}
    with pytest.raises(VergenceError, match=r"names S6, whom the images do not show.*S5, S7, S9"):
        visible_labels(dataset, source)


def test_all_of_the_3d():
    index = MemoryDataset(views()).index
    assert hidden(withhold(index, make_source(keypoints=True, pose="all")), index) == {}


def test_2d_is_hidden_with_its_confidence():
    index = MemoryDataset(views()).index
    seen = withhold(index, make_source(keypoints=False, pose="all"))
    assert hidden(seen, index) == {"keypoints": list(range(12))}
    assert (seen.confidence == 0).all()
    assert torch.equal(withhold(index, make_source(keypoints=True, pose="all")).confidence, index.confidence)


def test_the_truth_itself_is_never_touched():
    data = views()
    before = data.pose.clone()
    withhold(MemoryDataset(data).index, make_source())
    assert torch.equal(data.pose, before)


def test_an_index_has_every_row_and_no_image():
    dataset = MemoryDataset(views())
    assert len(dataset) == len(dataset.index) == 12
    assert dataset.index.image.numel() == 0
    read = dataset.read(torch.tensor([3, 1]))
    assert read.frame.tolist() == [3, 1]
    assert read.image.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("size", [1, 5, 12, 50])
def test_batches_give_all_rows_in_order(size):
    parts = list(batches(MemoryDataset(views()), size))
    assert torch.cat([p.frame for p in parts]).tolist() == list(range(12))
    assert max(map(len, parts)) == min(size, 12)


def test_sets_are_numbered_on_from_each_other():
    part = Views.empty(3, 17, 4, 4).replace(
        sequence=torch.tensor([4, 4, 6]), subject=torch.tensor([9, 5, 7]), time_step=torch.tensor([1, 2, 2])
    )
    whole = Views.cat(numbered_apart([part, part]))
    assert whole.sequence.tolist() == [4, 4, 6, 7, 7, 9]
    assert whole.subject.tolist() == [9, 5, 7, 14, 10, 12]
    assert whole.time_step.tolist() == [1, 2, 2, 3, 4, 4]
