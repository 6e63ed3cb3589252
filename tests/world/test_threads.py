"""Drawing on several cores gives the same images, and leaves torch's threads as they were."""

import pytest
import torch

from vergence.world import recordings, single_images
from vergence.world.threads import one_core_each, spread


def test_images_do_not_depend_on_the_number_of_threads(two_threads):
    several = single_images(150, 48, seed=1), recordings(20, 2, 4, 48, seed=1)
    torch.set_num_threads(1)
    one = single_images(150, 48, seed=1), recordings(20, 2, 4, 48, seed=1)
    for a, b in zip(several, one):
        for (name, x), (_, y) in zip(a.items(), b.items()):
            assert torch.equal(
                x.nan_to_num(-7) if x.is_floating_point() else x, y.nan_to_num(-7) if y.is_floating_point() else y
            ), name


def test_results_keep_their_order_and_threads_their_number(two_threads):
    assert spread(lambda i: (i * i, torch.get_num_threads()), range(20)) == [(i * i, 1) for i in range(20)]
    assert torch.get_num_threads() == 2
    with one_core_each():
        assert torch.get_num_threads() == 1
    with pytest.raises(ZeroDivisionError):
        spread(lambda i: 1 // i, range(3))
    assert torch.get_num_threads() == 2
