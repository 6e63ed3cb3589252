import pytest
import torch

from vergence.batches.views import Views
from vergence.errors import VergenceError


def test_groups_are_padded_and_cover_every_row_once():
    views = Views.empty(7, 17, 4, 4).replace(time_step=torch.tensor([5, 2, 5, 9, 2, 5, 7]))
    index, mask = views.groups()
    assert index.shape == mask.shape == (4, 3)
    assert sorted(index[mask].tolist()) == list(range(7))
    for row, keep in zip(index, mask):
        assert len(set(views.time_step[row].tolist())) == 1
        assert keep[0]


def test_select_and_join():
    views = Views.empty(5, 17, 4, 4)
    assert Views.cat([views[:2], views[[2, 3, 4]]]).time_step.tolist() == [0, 1, 2, 3, 4]
    assert len(views[views.time_step > 2]) == 2


def test_parts_are_collected_and_one_number_takes_its_memory_alone():
    """Of 10 rows in parts of 4; what is one number in the first part alone, is NaN, or begins later, stays itself."""
    views = Views.empty(10, 17, 0, 0)
    rng = torch.Generator().manual_seed(0)
    changes = {
        "keypoints": torch.rand(10, 17, 2, generator=rng),
        "confidence": torch.cat([torch.ones(4, 17), torch.rand(6, 17, generator=rng)]),
        "pose": torch.cat([views.pose[:8], torch.rand(2, 17, 3, generator=rng)]),
        "subject": torch.tensor([3] * 4 + [4] * 6),
    }
    views = views.replace(**changes)
    found = Views.collected((views[i : i + 4] for i in range(0, 10, 4)), 10)
    for name, value in views.items():
        ours = getattr(found, name)
        assert (ours.dtype, ours.shape) == (value.dtype, value.shape)
        assert torch.equal(ours.nan_to_num(-1), value.nan_to_num(-1)), name
        alone = name not in (*changes, "time_step", "crop", "image")
        assert (ours.untyped_storage().nbytes() == ours.element_size()) == alone, name
    assert torch.equal(found[[1, 9]].keypoints, views.keypoints[[1, 9]])
    joined = Views.cat([found, found])
    assert joined.pose[:10].nan_to_num(-1).equal(views.pose.nan_to_num(-1))


def test_one_known_coordinate_is_a_pose():
    views = Views.empty(3, 17, 4, 4)
    views.pose[1, 5, 2] = 1.0
    assert views.has_pose.tolist() == [False, True, False]
    assert views[:0].has_pose.shape == (0,)


def test_fields_of_different_lengths_are_refused():
    with pytest.raises(VergenceError, match="different lengths"):
        Views.empty(3, 17, 4, 4).replace(time=torch.zeros(2))
