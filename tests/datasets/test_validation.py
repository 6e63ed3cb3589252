"""Each fault of a dataset is caught in words, and sound data passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from vergence.datasets.records import ImageRef, Records
from vergence.datasets.validation import arrays, geometry, reprojection
from vergence.datasets.validation.arrays import check_cameras
from vergence.datasets.validation.checks import check_images, check_records
from vergence.datasets.validation.finding import Finding, is_valid
from vergence.datasets.validation.reprojection import reprojection_by_camera
from vergence.skeleton import COCO_17, H36M_17, MPI_INF_17
from vergence.world.scenes import recordings, single_images

SIDE = 64
NAN = np.nan


def as_records(views, folder) -> Records:
    """Crops of the world as if each were a full image."""
    n = len(views)
    floats = ("keypoints", "confidence", "pose", "intrinsics", "rotation", "translation", "up", "time")
    whole = ("subject", "sequence", "view", "frame", "time_step")
    return Records(
        images=[ImageRef(folder / f"{i}.jpg") for i in range(n)],
        size=np.full((n, 2), float(SIDE)),
        box=np.tile([-0.5, -0.5, SIDE, SIDE], (n, 1)),
        distortion=np.zeros((n, 5)),
        groups={"camera": np.array([f"cam{v}" for v in views.view])},
        skeleton=H36M_17,
        **{name: getattr(views, name).double().numpy() for name in floats},
        **{name: getattr(views, name).numpy() for name in whole},
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Records:
    return as_records(recordings(4, 10, 3, SIDE, seed=31), tmp_path_factory.mktemp("sound"))


def replaced(records: Records, **changes) -> Records:
    return dataclasses.replace(records, **changes)


def wrong(records: Records) -> dict[str, str]:
    """What was found wrong, by what was looked at."""
    out: dict[str, str] = {}
    for finding in check_records(records):
        if finding.state == "wrong":
            out[finding.what] = out.get(finding.what, "") + finding.found
            assert finding.remedy
            assert any(c.isdigit() for c in finding.found), "no number"
    return out


def world_of(records: Records) -> np.ndarray:
    return (records.pose - records.translation[:, None]) @ records.rotation


def test_sound_data_passes_with_a_number_and_a_limit_for_everything(sound):
    findings = check_records(sound)
    assert {f.state for f in findings} == {"good"}
    assert {f.what for f in findings} >= {
        "units",
        "limb lengths",
        "reprojection",
        "knees",
        "extrinsics",
        "2D keypoints",
    }
    assert all("limit" in f.found for f in findings if f.what in ("units", "reprojection", "knees", "extrinsics"))


@pytest.mark.parametrize("skeleton", [COCO_17, MPI_INF_17])
def test_sound_data_in_other_skeletons_passes(sound, skeleton):
    assert is_valid(check_records(sound.convert(skeleton)))


def test_single_images_of_the_wild_pass(tmp_path):
    assert is_valid(check_records(as_records(single_images(150, SIDE, seed=32), tmp_path)))


def test_two_dimensional_data_alone_passes(sound):
    bare = replaced(sound, pose=sound.pose * NAN, rotation=sound.rotation * NAN, translation=sound.translation * NAN,
                    intrinsics=sound.intrinsics * NAN)  # fmt: skip
    assert is_valid(check_records(bare))


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_joints_are_named(sound, seed):
    order = np.random.default_rng(seed).permutation(17)
    in_3d = wrong(replaced(sound, pose=sound.pose[:, order]))
    assert "joints are shuffled" in in_3d["limb lengths"]
    assert "17 of 17 joints" in in_3d["reprojection"] or "shuffled" in in_3d["reprojection"]
    in_2d = wrong(replaced(sound, keypoints=sound.keypoints[:, order]))
    assert "shuffled" in in_2d["reprojection"]
    both = wrong(replaced(sound, keypoints=sound.keypoints[:, order], pose=sound.pose[:, order]))
    assert "shuffled" in both["limb lengths"]
    assert "shuffled" in both["2D keypoints"]


def test_two_exchanged_joints_are_found_and_named(sound):
    order = np.arange(17)
    order[[3, 13]] = [13, 3]
    found = wrong(replaced(sound, keypoints=sound.keypoints[:, order], pose=sound.pose[:, order]))
    assert "lower leg" in found["limb lengths"]


def test_another_datasets_order_is_named(sound):
    found = wrong(replaced(sound.convert(MPI_INF_17), skeleton=H36M_17))
    assert "as mpi_inf_17 it would be" in found["2D keypoints"]
    assert "as mpi_inf_17 it would be" in found["limb lengths"]


@pytest.mark.parametrize(
    ("fix", "words"),
    [
        (lambda r: r.pose * [-1, 1, 1], "the poses are mirrored: read as (-x, y, z) they fit"),
        (lambda r: r.pose * [1, 1, -1], "the poses are mirrored: read as (x, y, -z) they fit"),
        (lambda r: r.pose[..., [1, 0, 2]], "the poses are mirrored: read as (y, x, z) they fit"),
        (lambda r: r.pose * [1, -1, -1], "the poses have other axes: read as (x, -y, -z) they fit"),
        (lambda r: r.pose[:, :1] + (r.pose - r.pose[:, :1]) * [-1, 1, 1], "mirrored about their root"),
        (lambda r: r.pose[:, list(H36M_17.mirror)], "the sides are swapped between 2D and 3D"),
        (world_of, "the poses are in the world's frame"),
        (lambda r: world_of(r) / 1000, "the poses are in the world's frame"),
        (lambda r: r.pose - r.pose[:, :1], "root-relative"),
    ],
)
def test_poses_that_miss_their_2d_are_explained(sound, fix, words):
    assert words in wrong(replaced(sound, pose=fix(sound)))["reprojection"]


def test_world_poses_without_extrinsics_are_found_by_a_rigid_motion(sound):
    bare = {"rotation": sound.rotation * NAN, "translation": sound.translation * NAN}
    some = replaced(sound, pose=world_of(sound), **bare)[:40]
    assert "in another frame, the world's" in wrong(some)["reprojection"]
    mirrored = replaced(sound, pose=world_of(sound) * [-1, 1, 1], **bare)[:40]
    assert "mirrored" in wrong(mirrored)["knees"]


def test_world_poses_without_2d_are_found_by_the_boxes(sound):
    found = wrong(replaced(sound, pose=world_of(sound), keypoints=sound.keypoints * NAN))
    assert "in the world's frame" in found["reprojection"]


def test_mirrors_that_2d_and_3d_share_are_found_by_the_knees(sound):
    both = replaced(sound, pose=sound.pose * [-1, 1, 1],
                    keypoints=np.stack([SIDE - 1 - sound.keypoints[..., 0], sound.keypoints[..., 1]], -1))  # fmt: skip
    assert "reprojection" not in wrong(both)
    assert "mirrored" in wrong(both)["knees"]
    sides = list(H36M_17.mirror)
    swapped = replaced(sound, pose=sound.pose[:, sides], keypoints=sound.keypoints[:, sides])
    assert "left and right are exchanged" in wrong(swapped)["knees"]


def test_sides_swapped_in_some_rows_are_counted(sound):
    some = np.random.default_rng(0).random(len(sound)) < 0.2
    points = np.where(some[:, None, None], sound.keypoints[:, list(H36M_17.mirror)], sound.keypoints)
    found = wrong(replaced(sound, keypoints=points))["reprojection"]
    assert "the sides are swapped" in found
    assert abs(float(found.split("2D in ")[1].split(" %")[0]) - 100 * some.mean()) < 2


def test_few_rows_off_are_a_note(sound):
    pose = sound.pose.copy()
    pose[5] += [200, 0, 0]
    findings = check_records(replaced(sound, pose=pose))
    assert is_valid(findings)
    assert [f.state for f in findings if f.what == "reprojection"] == ["note"]


def test_2d_of_a_detector_is_a_note_and_a_wrong_camera_of_the_same_size_is_not(sound):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.8, sound.keypoints.shape)
    (found,) = (
        f for f in check_records(replaced(sound, keypoints=sound.keypoints + noise)) if f.what == "reprojection"
    )
    assert (found.state, is_valid([found])) == ("note", True)
    assert "each joint by itself" in found.found
    middle = np.nanmean(sound.keypoints, axis=1, keepdims=True)
    for off in (
        noise * 6,  # more than a detector's
        noise / 4 + [1.0, -0.6],  # another principal point
        noise / 4 + 0.06 * (sound.keypoints - middle),  # another focal length
    ):
        assert "reprojection" in wrong(replaced(sound, keypoints=sound.keypoints + off))


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "metres"), (0.1, "centimetres"), (1 / 25.4, "inches")])
def test_other_units_are_named(sound, factor, unit):
    found = wrong(replaced(sound, pose=sound.pose * factor, translation=sound.translation * factor))
    assert f"the poses are in {unit}" in found["units"]
    assert set(found) == {"units"} | ({"extrinsics"} & set(found))


def test_units_that_differ_between_poses_and_translations_are_named(sound):
    assert "the translations are in metres" in wrong(replaced(sound, translation=sound.translation / 1e3))["extrinsics"]
    assert "the poses are in metres" in wrong(replaced(sound, pose=sound.pose / 1e3))["extrinsics"]
    assert "extrinsics" in wrong(replaced(sound, rotation=sound.rotation.transpose(0, 2, 1)))


def test_values_that_mean_missing_are_found(sound):
    points = sound.keypoints.copy()
    points[:60, 3] = 0
    assert "exactly (0, 0)" in wrong(replaced(sound, keypoints=points))["zeros in keypoints"]
    pose = sound.pose.copy()
    pose[:60, 3] = 0
    assert "exactly (0, 0, 0)" in wrong(replaced(sound, pose=pose))["zeros in pose"]
    half = sound.keypoints.copy()
    half[0, 0, 0] = NAN
    assert "1 joints" in wrong(replaced(sound, keypoints=half))["half-known keypoints"]
    endless = sound.translation.copy()
    endless[0, 0] = np.inf
    assert "1 in translation" in wrong(replaced(sound, translation=endless))["infinite values"]
    gone = sound.keypoints.copy()
    gone[:, 9] = NAN
    notes = [f for f in check_records(replaced(sound, keypoints=gone)) if f.state == "note"]
    assert [f.found for f in notes] == ["never labelled: neck_nose (2D)"]


def test_boxes_keypoints_and_cameras_of_other_images_are_found(sound):
    assert "lie outside their image" in wrong(replaced(sound, box=sound.box + [900, 0, 0, 0]))["boxes"]
    assert "no area" in wrong(replaced(sound, box=sound.box * [1, 1, 0, 1]))["boxes"]
    assert "outside their row's box" in wrong(replaced(sound, box=np.tile([0, 0, 8, 8], (len(sound), 1))))["boxes"]
    assert "not in 0 to 1" in check_of(replaced(sound, keypoints=sound.keypoints / SIDE), "2D keypoints").remedy
    assert "another size" in check_of(replaced(sound, keypoints=sound.keypoints * 3), "2D keypoints").remedy
    assert "normalised" in check_of(replaced(sound, intrinsics=sound.intrinsics / SIDE), "intrinsics").remedy
    for focal, finds in ((0.19, True), (0.21, False)):  # of the image's side
        lens = np.tile(np.array([[focal * SIDE, 0, 32], [0, focal * SIDE, 32], [0, 0, 1.0]]), (len(sound), 1, 1))
        texts = [f.found for f in check_cameras(replaced(sound, intrinsics=lens)) if f.what == "intrinsics"]
        assert any("under 0.2 of the image's side" in text for text in texts) == finds
    assert "determinant -1" in wrong(replaced(sound, rotation=sound.rotation * -1))["rotations"]
    assert "orthonormal" in wrong(replaced(sound, rotation=sound.rotation * 2))["rotations"]


def check_of(records: Records, what: str) -> Finding:
    return next(f for f in check_records(records) if f.what == what and f.state == "wrong")


def test_time_steps_that_are_not_one_moment_are_found(sound):
    found = wrong(replaced(sound, time_step=np.zeros(len(sound), dtype=int)))["time steps"]
    assert "repeat a view" in found
    assert "several subjects" in found
    step = sound.time_step.copy()
    first, other = sound.sequence == sound.sequence[0], sound.sequence != sound.sequence[0]
    step[np.flatnonzero(other & (sound.view == 1))[0]] = step[np.flatnonzero(first & (sound.view == 0))[0]]
    step[np.flatnonzero(first & (sound.view == 1))[0]] = step.max() + 1
    assert "1 time steps have several sequences" in wrong(replaced(sound, time_step=step))["time steps"]


def test_no_rows_are_unsound(sound):
    assert not is_valid(check_records(sound[:0]))


def test_errors_by_camera_against_a_loop(sound):
    noisy = replaced(sound, keypoints=sound.keypoints + np.random.default_rng(1).normal(0, 1, sound.keypoints.shape))
    found = reprojection_by_camera(noisy)
    assert set(found) == {"cam0", "cam1", "cam2"}
    for name, (middle, high, count) in found.items():
        errors = []
        for i in np.flatnonzero(noisy.groups["camera"] == name):
            for point, target in zip(noisy.pose[i].astype(float), noisy.keypoints[i]):
                pixel = noisy.intrinsics[i] @ point
                errors.append(np.linalg.norm(pixel[:2] / pixel[2] - target))
        errors = np.sort([e for e in errors if np.isfinite(e)])
        assert count == (noisy.groups["camera"] == name).sum()
        assert abs(middle - errors[len(errors) // 2]) < 1e-3
        assert abs(high - errors[int(0.95 * len(errors))]) < 1e-3


def test_knees_bend_forward_whichever_way_a_person_is_turned(sound):
    bends = geometry.knee_bends(sound.pose, H36M_17)
    angle = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    angle *= np.linalg.det(angle)
    turned = geometry.knee_bends(sound.pose @ angle.T, H36M_17)
    assert np.allclose(bends, turned, atol=1e-4)
    assert np.allclose(geometry.knee_bends(sound.pose * [1, -1, 1], H36M_17), -bends, atol=1e-4)


def test_a_knee_bends_by_its_distance_from_the_line_over_the_legs_length():
    """A person somewhere before the camera, x right, y down, who faces it: the right knee 30 mm towards it."""
    pose = np.zeros((1, 17, 3))
    for name, place in {
        "left_hip": (100, 0, 0), "right_hip": (-100, 0, 0), "left_shoulder": (150, -500, 0), "right_shoulder": (-150, -500, 0),
        "thorax": (0, -500, 0), "neck_nose": (0, -520, 0), "spine": (0, -250, 0),
        "left_knee": (100, 400, 30), "left_ankle": (100, 800, 0), "right_knee": (-100, 200, -30), "right_ankle": (-100, 800, 0),
    }.items():  # fmt: skip
        pose[0, H36M_17.index(name)] = place
    bends = geometry.knee_bends(pose + [300, 200, 4000], H36M_17)
    right, left = np.hypot(200, 30) + np.hypot(600, 30), 2 * np.hypot(400, 30)
    np.testing.assert_allclose(bends, [[30 / right, -30 / left]], rtol=1e-6)


def test_two_views_already_show_that_they_do_not_meet(sound):
    """One of two is moved by 10 mm: each lies 5 mm from what is between them."""
    part = sound[np.flatnonzero(sound.view < 2)]
    moved = replaced(part, pose=part.pose + np.where(part.view == 1, 10.0, 0.0)[:, None, None] * [0, 0, 1])
    assert geometry._apart(part, 1.0) < 0.1
    assert geometry._apart(moved, 1.0) == pytest.approx(5.0, abs=0.1)


def test_spread_and_unevenness_of_known_lengths():
    lengths = np.stack([np.full(20, 400.0), np.full(20, 440.0)], 1)
    assert abs(arrays._unevenness(lengths) - 40 / 420) < 1e-9
    rng = np.random.default_rng(0)
    noisy = rng.normal(400, 40, (4000, 2))
    assert abs(arrays._spread(noisy, np.zeros(4000, dtype=int)) - 0.1) < 0.01


def test_images_that_are_missing_damaged_or_of_another_size(sound):
    folder = sound.images[0].path.parent
    few = sound[:4]
    for i in range(4):
        Image.new("RGB", (SIDE, SIDE)).save(folder / f"{i}.jpg")
    assert [f.state for f in check_images(few)] == ["good"]
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:100])
    Image.new("RGB", (SIDE, 2 * SIDE)).save(folder / "2.jpg")
    (folder / "3.jpg").unlink()
    found = {f.what + f.found for f in check_images(few)}
    assert any("1 of 4 are missing" in text for text in found)
    assert any("cannot be decoded" in text and "1.jpg" in text for text in found)
    assert any("2.jpg is 64x128, not 64x64" in text for text in found)


def test_poses_of_one_camera_alone_say_nothing_of_extrinsics(sound):
    one = sound[sound.view == 0]
    assert geometry.check_agreement(one) == []
    mixed = replaced(sound, pose=np.where((sound.view == 0)[:, None, None], sound.pose, NAN))
    assert geometry.check_agreement(mixed) == []


def test_a_unit_is_named_only_where_with_it_the_views_agree(sound):
    """Poses that lie 1.5 times the limit apart even so."""
    off = replaced(sound, translation=sound.translation / 1e3)
    noise = np.random.default_rng(0).normal(size=(len(sound), 1, 3))
    for share, named in ((0.5, True), (1.5, False)):
        scale = share * geometry.AGREEMENT_MM / geometry._apart(replaced(sound, pose=sound.pose + noise), 1.0)
        (found,) = geometry.check_agreement(replaced(off, pose=off.pose + scale * noise))
        assert ("the translations are in metres" in found.found) == named


def test_sequences_are_named_where_the_others_are_sound(sound):
    failing = sound.sequence == sound.sequence[0]
    assert 0 < failing.mean() < 0.9
    assert geometry._where(sound, failing) == f" (in 1 sequences, most in {sound.sequence[0]})"
    assert geometry._where(sound, np.ones(len(sound), dtype=bool)) == ""


@pytest.mark.parametrize(("unit", "off", "found"), [(1.0, 0.2, True), (1.0, 0.4, False), (1e-3, 0.2, True)])
def test_a_root_is_at_the_origin_to_a_thousandth_of_a_limb_in_whatever_unit(
    sound, unit: float, off: float, found: bool
):
    """The world's limbs are some 250 to 430 mm long."""
    length = np.concatenate(list(geometry.limb_lengths_of(sound).values()))
    assert 220 < np.nanmedian(length) < 390
    pose = (sound.pose - sound.pose[:, :1] + [off, 0, 0]) * unit
    assert bool(geometry._root_relative(replaced(sound, pose=pose), np.arange(len(sound)))) is found


def test_sequences_in_which_knees_bend_backward_are_named_where_the_others_bend_forward(sound):
    """By loops: of a fifth of the rows, in a sequence of their own, the sides are exchanged in 3D."""
    few = np.arange(len(sound)) % 5 == 0
    pose = np.where(few[:, None, None], sound.pose[:, list(H36M_17.mirror)], sound.pose)
    bends = geometry.knee_bends(pose, H36M_17)
    bent = np.abs(bends) > 0.06
    assert (bends[few][bent[few]] < 0).mean() > 0.5
    (note,) = geometry.check_knees(replaced(sound, pose=pose, sequence=np.where(few, 77, 5)))
    assert note.state == "note"
    assert f"of {int(bent.sum())} bent knees" in note.found
    assert "not in sequences 77: left and right" in note.found


def test_joints_are_in_a_box_that_is_a_quarter_larger_on_every_side(sound):
    """A box of 40 x 80 px at (100, 200) reaches from 90 to 150 and from 180 to 300: by hand, of five known joints three."""
    one, k = sound[:1], np.array([[[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]]])
    pixels = np.array([[91.0, 181], [149, 299], [120, 240], [89, 240], [120, 301]])
    pose = np.full((1, 17, 3), NAN)
    pose[0, :5] = np.concatenate([pixels, np.full((5, 1), 1000.0)], 1)
    records = replaced(one, pose=pose, intrinsics=k, box=np.array([[100.0, 200, 40, 80]]))
    assert geometry._inside(records, pose) == pytest.approx(3 / 5)


@pytest.mark.parametrize(("inside", "named"), [(3, False), (4, True)])
def test_poses_in_the_worlds_frame_have_four_fifths_of_their_joints_in_the_box_once_moved(sound, inside, named):
    """Of five joints so many lie in the box after 500 mm to the left, none before; no 2D."""
    k = np.array([[[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]]])
    pose = np.full((1, 17, 3), NAN)
    pose[0, :5] = [[120.0, 240, 1000]] * inside + [[1120.0, 240, 1000]] * (5 - inside)
    known = {"rotation": np.eye(3)[None], "translation": np.array([[-500.0, 0, 0]]), "intrinsics": k}
    one = replaced(
        sound[:1],
        pose=pose + [500, 0, 0],
        keypoints=sound.keypoints[:1] * NAN,
        box=np.array([[100.0, 200, 40, 80]]),
        **known,
    )
    (found,) = geometry._inside_boxes(one, np.ones(1, dtype=bool))
    assert found.state == "wrong"
    assert found.found.startswith("0 % of the projected 3D joints")
    assert ("moved by R and t they do" in found.found) == named


def test_simple_explanations_are_tried_before_others(sound):
    """All 48 signed exchanges of axes but the identity, each once: first those that keep x, y, z, one mirrored axis before
    two. Those that turn a right hand into a left one are called mirrors."""
    tried = [words for words, _, _ in reprojection._explanations()]
    axes = [words.partition("(")[2].partition(")")[0] for words in tried if "read as" in words]
    assert len(set(axes)) == len(axes) == 47
    assert {*axes[:3]} == {"-x, y, z", "x, -y, z", "x, y, -z"}
    assert {*axes[3:6]} == {"-x, -y, z", "-x, y, -z", "x, -y, -z"}
    assert axes[6] == "-x, -y, -z"
    assert "x, y, z" not in axes
    assert [words.split(":")[0] for words in tried[:5]] == [
        "with left and right exchanged it fits", *["moved by R and t it fits"] * 3, "the poses are mirrored about their root"
    ]  # fmt: skip
    for words, remedy, fix in reprojection._explanations():
        if "read as" in words:
            moved = np.linalg.lstsq(sound.pose[:3].reshape(-1, 3), fix(sound[:3]).reshape(-1, 3), rcond=None)[0]
            assert ("mirrored" in words) == (np.linalg.det(moved) < 0), words
            assert ("Turn the axis" in remedy) == ("mirrored" in words)


def test_mirrored_about_the_root_is_left_for_right_alone(sound):
    found = reprojection._about_root(sound)
    root = sound.pose[:, list(sound.skeleton.root)].mean(1, keepdims=True)
    np.testing.assert_allclose(found - root, (sound.pose - root) * [-1, 1, 1], atol=1e-5)
