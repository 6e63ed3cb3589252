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


def test_one_known_coordinate_is_a_pose():
    views = Views.empty(3, 17, 4, 4)
    views.pose[1, 5, 2] = 1.0
    assert views.has_pose.tolist() == [False, True, False]
    assert views[:0].has_pose.shape == (0,)


def test_fields_of_different_lengths_are_refused():
    with pytest.raises(VergenceError, match="different lengths"):
        Views.empty(3, 17, 4, 4).replace(time=torch.zeros(2))
