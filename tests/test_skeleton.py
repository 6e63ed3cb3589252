import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.skeleton import (
    BODY_25B,
    COCO_17,
    H36M_17,
    MPI_INF_17,
    MPI_INF_28,
    MPII_16,
    SKELETONS,
    canonical_name,
    get_skeleton,
    skeleton_from_names,
)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_mirror_is_an_involution_that_keeps_limbs(skeleton):
    mirror = skeleton.mirror
    assert [mirror[i] for i in mirror] == list(range(len(skeleton)))
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {frozenset(mirror[i] for i in limb) for limb in limbs} == limbs


def test_published_parents():
    assert H36M_17.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert MPII_16.parents == (1, 2, 6, 6, 3, 4, -1, 6, 7, 8, 11, 12, 7, 7, 13, 14)
    assert MPI_INF_17.parents == (1, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1)
    assert MPI_INF_28.parents == (
        2, 0, 3, 4, -1, 1, 5, 6, 5, 8, 9, 10, 11, 5, 13, 14, 15, 16, 4, 18, 19, 20, 21, 4, 23, 24, 25, 26)  # fmt: skip


def test_h36m_to_mpii_is_the_papers_index():
    points = np.arange(17.0)[:, None].repeat(3, 1)
    assert H36M_17.convert(points, MPII_16)[:, 0].tolist() == [3, 2, 1, 4, 5, 6, 0, 8, 9, 10, 16, 15, 14, 11, 12, 13]


def test_mpi_inf_to_h36m_is_the_papers_index():
    points = np.arange(17.0)[:, None].repeat(3, 1)
    expected = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    assert MPI_INF_17.convert(points, H36M_17)[:, 0].tolist() == expected


def test_derived_joints_and_missing_ones():
    points = np.random.default_rng(0).normal(size=(5, 17, 2))
    out = COCO_17.convert(points, H36M_17)
    hips, shoulders = points[:, [11, 12]].mean(1), points[:, [5, 6]].mean(1)
    np.testing.assert_allclose(out[:, 0], hips)
    np.testing.assert_allclose(out[:, 8], shoulders)
    np.testing.assert_allclose(out[:, 7], (hips + shoulders) / 2)
    assert np.isnan(out[:, 10]).all()  # COCO has no head top
    points[0, 11] = np.nan
    assert np.isnan(COCO_17.convert(points, H36M_17)[0, [0, 4, 7]]).all()
    assert np.isfinite(BODY_25B.convert(np.ones((25, 2)), H36M_17)).all()


def test_confidence_is_the_least_of_the_sources():
    confidence = np.ones(17)
    confidence[11] = 0.25
    out = COCO_17.convert_confidence(confidence, H36M_17)
    assert out[0] == 0.25
    assert out[10] == 0


@pytest.mark.parametrize("text", ["RHip", "r_hip", "rhip", "Right Hip", "right_hip", "hip_r", "rightHip"])
def test_aliases(text):
    assert canonical_name(text) == "right_hip"


@pytest.mark.parametrize(
    "text", ["lwri", "LWri", "l_wrist", "wrist.L", "Wrist_Left", "leftWrist", "L_Wri", "left-wrist"]
)
def test_names_as_people_write_them(text):
    assert canonical_name(text) == "left_wrist"


@pytest.mark.parametrize("text", ["linear", "lip", "wrist1", "racket", "head"])
def test_names_that_are_no_joint_are_kept(text):
    assert canonical_name(text) == text


def test_reference_bone_without_pelvis_is_mid_hips_to_mid_shoulders():
    assert COCO_17.reference_bone == ((12, 11), (6, 5))
    assert H36M_17.reference_bone == ((0,), (8,))


def test_names_that_pose2sim_gives_are_known():
    assert get_skeleton("Body_with_feet") is get_skeleton("HALPE_26") is get_skeleton("halpe26")
    assert get_skeleton("COCO_133").name == "wholebody_23"


def test_errors_name_what_is_wrong():
    with pytest.raises(VergenceError, match="no skeleton is called 'smpl'"):
        get_skeleton("smpl")
    with pytest.raises(VergenceError, match="occur twice: right_hip"):
        skeleton_from_names(["RHip", "r_hip"])
    with pytest.raises(VergenceError, match="25 joints given"):
        COCO_17.convert(np.zeros((25, 2)), H36M_17)


def test_scripts_of_the_first_months_find_their_names() -> None:
    from vergence.skeleton import BODY_25B, BODY_25B_NAMES

    assert BODY_25B.joint_names == BODY_25B_NAMES
