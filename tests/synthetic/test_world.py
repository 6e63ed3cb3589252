"""The world's truth agrees with itself, with the crops' geometry and with the pixels."""

import numpy as np
import pytest
import torch

from vergence.crops import crop_camera
from vergence.errors import VergenceError
from vergence.synthetic import Faults, draw_rigs, recordings, single_pictures

SINGLES = single_pictures(40, 32, seed=3)
FILM = recordings(3, 4, 3, 32, seed=3)


def projected(views):
    homogeneous = views.pose.double() @ views.intrinsics.double().mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.mark.parametrize("views", [SINGLES, FILM], ids=["singles", "recordings"])
def test_pose_projects_onto_keypoints(views):
    known = torch.isfinite(views.keypoints).all(-1)
    assert known.float().mean() > 0.9
    assert (projected(views) - views.keypoints)[known].abs().max() < 1e-3
    assert torch.equal(views.confidence > 0, known)


def test_views_of_an_instant_agree_in_the_rig():
    index, mask = FILM.groups()
    assert index.shape == (12, 3)
    assert mask.all()
    world = (FILM.pose - FILM.translation[:, None]).double() @ FILM.rotation.double()
    assert (world[index] - world[index][:, :1]).abs().max() < 1e-2


def test_ordered_by_sequence_frame_view():
    key = FILM.sequence * 10_000 + FILM.frame * 10 + FILM.view
    assert torch.equal(key, key.sort().values)
    assert FILM.frame.unique().tolist() == [0, 10, 20, 30]
    assert torch.allclose(FILM.time, FILM.frame / 25)
    with pytest.raises(VergenceError):
        recordings(2, 2, 2, 32, seed=1, rigs=draw_rigs(3, 2, seed=1))


def test_crop_maps_the_full_picture_as_crops_does():
    rig = draw_rigs(3, 3, seed=3)[1]
    rows = (FILM.sequence == FILM.sequence.unique()[1]).nonzero()[:, 0][:3]
    for v, i in enumerate(rows):
        inverse = torch.linalg.inv(FILM.crop[i].double())
        centre = torch.tensor([15.5, 15.5, 1]).double() @ inverse.T
        centre = (centre[:2] / centre[2]).numpy()
        made = crop_camera(rig.intrinsics[v].numpy(), None, [*(centre - 50), 100, 100], 32)
        turn = FILM.rotation[i].double().numpy() @ rig.rotation[v].numpy().T
        assert np.abs(turn - made.rotation).max() < 1e-4
        full = FILM.intrinsics[i].double().numpy() @ turn @ np.linalg.inv(rig.intrinsics[v].numpy())
        assert np.abs(full / full[2, 2] - FILM.crop[i].double().numpy()).max() < 1e-2


def test_same_seed_same_world_other_seed_other_people():
    again = single_pictures(40, 32, seed=3)
    assert all(
        torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for (_, a), (_, b) in zip(again.items(), SINGLES.items())
    )
    other = single_pictures(40, 32, seed=4)
    assert not set(other.subject.tolist()) & set(SINGLES.subject.tolist())
    assert not set(other.instant.tolist()) & set(SINGLES.instant.tolist()) & set(FILM.instant.tolist())
    assert not torch.equal(other.image, SINGLES.image)


def test_faults_are_refused_out_of_range():
    with pytest.raises(VergenceError, match=r"swapped_sides = 2"):
        Faults(swapped_sides=2)
