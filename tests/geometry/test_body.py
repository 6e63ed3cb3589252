"""Lengths of a body: the reference bone and the stature."""

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.geometry.body import limb_lengths, reference_length, reference_note, stature
from vergence.skeleton import H36M_17, MPI_INF_28


def test_reference_length_of_skeletons_with_many_joints() -> None:
    pose = np.random.default_rng(0).normal(size=(5, 28, 3))
    start, end = MPI_INF_28.reference_bone
    slow = [np.linalg.norm(p[list(start)].mean(0) - p[list(end)].mean(0)) for p in pose]
    assert reference_length(pose, MPI_INF_28) == pytest.approx(np.median(slow))


@pytest.mark.parametrize("gone", [("hip", "pelvis", "knee", "ankle"), ("shoulder", "thorax", "elbow", "wrist")])
def test_a_trunk_out_of_view_is_told_by_limbs(make_scene, gone: tuple[str, ...]) -> None:
    pose = make_scene(frames=30).pose
    assert reference_note(pose, H36M_17) == ""
    part = pose.copy()
    part[:, [j for j, name in enumerate(H36M_17.joint_names) if name.endswith(gone)]] = np.nan
    assert reference_length(part, H36M_17) == pytest.approx(reference_length(pose, H36M_17), rel=0.2)
    limbs = "upper arm and forearm" if "hip" in gone else "thigh and shank"
    assert f"told by {limbs}" in reference_note(part, H36M_17)
    assert np.isnan(reference_length(np.full_like(pose, np.nan), H36M_17))


def test_stature_scales_with_the_body_and_forgives_missing_joints(make_scene) -> None:
    pose = make_scene(frames=30).pose
    tall = stature(pose, H36M_17)
    assert 1600 < tall < 2000  # legs of 850 mm, a trunk of 480 mm
    assert stature(pose / 1000, H36M_17) == pytest.approx(tall / 1000)
    gaps = pose.copy()
    gaps[::2, [2, 3, 8]] = np.nan
    assert stature(gaps, H36M_17) == pytest.approx(tall, rel=0.01)


def test_nobody_has_no_stature() -> None:
    with pytest.raises(VergenceError, match="no leg and no trunk"):
        stature(np.full((3, 17, 3), np.nan), H36M_17)


def test_limb_lengths_are_those_of_each_pair() -> None:
    pose = np.random.default_rng(1).normal(size=(4, 17, 3))
    pose[2, 1] = np.nan
    found = limb_lengths(pose, H36M_17.limbs)
    for e, (a, b) in enumerate(H36M_17.limbs):
        np.testing.assert_allclose(found[:, e], [np.linalg.norm(p[a] - p[b]) for p in pose], rtol=1e-14)
    assert limb_lengths(pose, ()).shape == (4, 0)
