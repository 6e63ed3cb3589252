"""Limbs in reference bones, the depth that they mean, and knees, on the world's bodies."""

from __future__ import annotations

import math

import pytest
import torch

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.lifting import bone_vector
from vergence.geometry.limbs import knee_bend, limb_ratios, parent_limbs, root_depth_from_limbs, sideless
from vergence.skeleton import H36M_17
from vergence.world import recordings

RATIOS = {
    "hip": 0.251, "knee": 0.878, "ankle": 0.888, "spine": 0.473, "thorax": 0.532, "neck_nose": 0.236,
    "head_top": 0.425, "shoulder": 0.339, "elbow": 0.589, "wrist": 0.539,
}  # fmt: skip
MU = torch.tensor([RATIOS[sideless(H36M_17.joint_names[end])] for _, end in parent_limbs(H36M_17)], dtype=torch.double)


@pytest.fixture(scope="module")
def film() -> Views:
    """Three people, four cameras, four time steps: upright enough that every root depth is reliable."""
    views = recordings(3, 6, 4, 32, seed=70)
    bone = bone_vector(views.pose, H36M_17.reference_bone)
    upright = ~torch.isin(views.time_step, views.time_step[bone[:, 2].abs() / bone.norm(dim=-1) > 0.6])
    assert upright.sum() >= 32
    return views[upright]


def in_bones(pose):
    return pose / bone_vector(pose, H36M_17.reference_bone).norm(dim=-1)[:, None, None]


def test_root_depth_from_limbs_is_near_the_truth_whatever_the_pose(film):
    true = in_bones(film.pose)
    rays = (true[..., :2] / true[..., 2:]).double()
    found = root_depth_from_limbs(rays, torch.ones(len(film), 17), H36M_17, MU)
    off = (found / true[:, 0, 2]).log()
    assert float(off.abs().max()) < 0.12
    assert float(off.abs().mean()) < 0.05
    unseen = root_depth_from_limbs(rays, torch.zeros(len(film), 17), H36M_17, MU)
    assert unseen.isnan().all()


def test_ratios_come_from_any_poses(film):
    found = limb_ratios(film.pose, H36M_17)
    assert set(found) == set(RATIOS)
    for name, ratio in found.items():
        assert ratio == pytest.approx(RATIOS[name], rel=0.12)
    assert limb_ratios(3 * film.pose, H36M_17) == pytest.approx(found, rel=1e-5)
    twice = limb_ratios(2 * in_bones(film.pose), H36M_17, in_bones=torch.ones(len(film), dtype=torch.bool))
    assert twice["knee"] == pytest.approx(2 * found["knee"])
    with pytest.raises(VergenceError, match=r"no pose shows the limbs that end in .*wrist"):
        limb_ratios(torch.full((2, 17, 3), math.nan), H36M_17)


def test_knees_bend_one_way_in_the_world_and_the_other_way_in_its_depth_mirror(film):
    bend = knee_bend(film.pose, H36M_17)
    assert float((bend > 0.01).float().mean()) < 0.01
    flipped = film.pose.clone()
    flipped[..., 2] *= -1
    assert torch.allclose(knee_bend(flipped, H36M_17), -bend, atol=1e-5)
