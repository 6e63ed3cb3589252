"""Human3.6M in its real byte formats, made of the built-in world: what is read is what was written, to 0.01 px and mm."""

from __future__ import annotations

import itertools
import os
import pickle
import re
import shutil

import fixtures_human36m as h36m
import numpy as np
import pytest
import torch
from fixtures_crops import crop_view

from vergence.cli import main
from vergence.datasets.human36m import (
    FAULTY_SHIFT_MM,
    cameras_of,
    read_human36m,
    subjects_of,
)
from vergence.datasets.human36m_cameras import euler_rotation, image_size, lens
from vergence.datasets.human36m_layouts import action_of, canonical_stem, is_sequence, sequence_number
from vergence.datasets.records import ImageDataset
from vergence.errors import VergenceError
from vergence.geometry.camera import project
from vergence.geometry.crops import box_from_keypoints
from vergence.protocols.base import measure
from vergence.protocols.human36m import PROTOCOLS
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.sources import open_source

WRITERS = {"official": h36m.write_official, "videopose3d": h36m.write_videopose, "mmpose": h36m.write_mmpose}


@pytest.fixture(scope="module")
def truth():
    return h36m.make_truth()


@pytest.fixture(scope="module")
def roots(truth, tmp_path_factory):
    base = tmp_path_factory.mktemp("h36m")
    return {name: write(base / name, truth) for name, write in WRITERS.items()}


def linked(root, into, *changed):
    """A copy of a folder by links, but for files that are copied so that they can be damaged."""
    shutil.copytree(root, into, copy_function=lambda a, b: os.link(a, b))
    for name in changed:
        (into / name).unlink()
        shutil.copyfile(root / name, into / name)
    return into


def check_truth(records, truth, mm=0.01, px=0.01):
    """Poses, 2D, cameras and what every row is called, against the truth."""
    for i in range(len(records)):
        subject, stem = int(records.subject[i]), records.groups["sequence"][i].partition(" ")[2]
        camera, t = records.groups["camera"][i], int(records.frame[i])
        view = h36m.CAMERAS.index(camera)
        assert view == records.view[i]
        pose = truth.camera_frame(subject, stem, view)[t]
        assert np.abs(records.pose[i] - pose).max() < mm
        assert np.abs(records.keypoints[i] - truth.pixels[subject, stem, camera][t]).max() < px
        world = (records.pose[i] - records.translation[i]) @ records.rotation[i]
        assert np.abs(world - truth.world[subject, stem][t]).max() < mm
        assert np.allclose(records.up[i], truth.rotation[view] @ [0, 0, 1])
        assert records.groups["action"][i] == stem.split(" ")[0]
        assert records.time[i] == t / 50
        assert records.groups["subject"][i] == f"S{subject}"
    seen = project(*(torch.from_numpy(x) for x in (records.pose.astype(float), records.intrinsics, records.distortion)))
    assert np.abs(seen.numpy() - records.keypoints).max() < px


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_read_is_what_was_written(roots, truth, layout, split):
    records = read_human36m(roots[layout], split)
    subjects = {"train": {1, 5, 6, 7, 8}, "test": {9, 11}}[split]
    assert set(records.subject) == subjects
    clips = sum(len(h36m.SEQUENCES[s]) for s in subjects)
    assert len(records) == clips * 4 * h36m.FRAMES
    assert records.report["layout"] == layout
    assert records.report["reprojection_px"] < 0.01
    assert records.report["views_disagree_mm"] < 0.01
    check_truth(records, truth)
    # one time step has the same person at the same moment in four views, and nothing else
    for time_step in np.unique(records.time_step):
        rows = records[records.time_step == time_step]
        assert sorted(rows.view) == [0, 1, 2, 3]
        assert len(set(zip(rows.subject, rows.sequence, rows.frame))) == 1
    assert len(np.unique(records.time_step)) == clips * h36m.FRAMES
    assert len(np.unique(records.sequence)) == clips


@pytest.mark.parametrize("layout", WRITERS)
def test_images_are_those_of_the_rows(roots, truth, layout):
    dataset = ImageDataset(read_human36m(roots[layout], "S1,S11", step=5), 48, H36M_17)
    records = dataset.records
    views = dataset.read(torch.arange(len(records)))
    pixels = project(views.pose.double(), views.intrinsics.double())
    assert (pixels - views.keypoints).abs().max() < 0.01  # the lens is gone
    for i in range(0, len(records), 3):
        key = int(records.subject[i]), records.groups["sequence"][i].partition(" ")[2], records.groups["camera"][i]
        given = {"distortion": records.distortion[i], "box": records.box[i], "size": 48, "joints": 17}
        t = int(records.frame[i])
        right = crop_view(truth.images[key][t], records.intrinsics[i], **given).image[0].float()
        assert (views.image[i] - right).abs().mean() < 6
        x, y = views.keypoints[i, H36M_17.index("thorax")].round().int().tolist()
        red, green, blue = views.image[i, :, y, x].tolist()  # the mark on the thorax, of this frame's green
        assert red > 130
        assert abs(green - 40 * t) < 50
        assert blue < 80


def test_layouts_give_the_same_records(roots):
    found = [read_human36m(roots[layout], "test", step=5) for layout in WRITERS]
    for other in found[1:]:
        for name in ("pose", "keypoints", "box", "translation", "distortion", "intrinsics"):
            assert np.abs(getattr(other, name) - getattr(found[0], name)).max() < 0.02, name
        for name in ("subject", "sequence", "view", "frame", "time_step", "time"):
            assert (getattr(other, name) == getattr(found[0], name)).all()
        assert (other.groups["action"] == found[0].groups["action"]).all()


def test_world_poses_and_2d_from_cameras_alone(truth, tmp_path):
    """Without the camera-frame files and without 2D: the cameras give both."""
    root = h36m.write_official(tmp_path, truth, mono=False, world=True, flat=False)
    check_truth(read_human36m(root, "test"), truth)


def test_opencv_s_reading_of_the_coefficients_is_caught(roots, truth):
    """Half of the lens's tangential part is OpenCV's, the other a prism: as OpenCV's five, joints lie visibly off."""
    records = read_human36m(roots["official"], "S9")
    five = np.tile([*h36m.RADIAL[:2], *h36m.TANGENTIAL, h36m.RADIAL[2]], (len(records), 1))
    read = (torch.from_numpy(x) for x in (records.pose.astype(float), records.intrinsics, five))
    assert np.abs(project(*read).numpy() - records.keypoints).max() > 0.01


def test_steps_and_cameras(roots):
    for layout, step in itertools.product(WRITERS, (1, 5)):
        records = read_human36m(roots[layout], "S9", step=step, cameras="frontal")
        assert set(records.groups["camera"]) == {"60457274"}
        assert sorted(set(records.frame)) == list(range(0, h36m.FRAMES, step))
    two = read_human36m(roots["official"], "S9", cameras="58860488, 54138969")
    assert sorted(set(two.view)) == [0, 2]


def test_faulty_sequences_are_kept_dropped_or_moved(roots):
    for layout in WRITERS:
        kept, dropped, moved = (read_human36m(roots[layout], "test", faulty=f) for f in ("keep", "drop", "repair"))
        bad = kept.groups["sequence"] == "S9 Greeting"
        assert bad.sum() == 4 * h36m.FRAMES
        assert set(dropped.groups["sequence"]) == set(kept.groups["sequence"]) - {"S9 Greeting"}
        assert dropped.report["left_out"]["faulty_views"] == 4
        shift = (moved.pose - kept.pose).astype(float)
        assert np.abs(shift[~bad]).max() == 0
        world = np.einsum("nji,nkj->nki", kept.rotation, shift)[bad]
        assert np.abs(world - FAULTY_SHIFT_MM).max() < 0.01
        seen = project(*(torch.from_numpy(x) for x in (moved.pose.astype(float), moved.intrinsics, moved.distortion)))
        assert np.abs(seen.numpy() - moved.keypoints).max() < 0.01


def test_missing_and_unreadable_videos_are_counted_and_left_out(roots, truth, tmp_path):
    videos = [f"S11/Videos/Directions 1.{camera}.mp4" for camera in h36m.CAMERAS]
    root = linked(roots["official"], tmp_path / "h", *videos)
    (root / videos[0]).write_bytes((root / videos[0]).read_bytes()[:300])  # as in many copies
    (root / videos[1]).unlink()
    (root / "S11" / "Videos" / "_ALL 1.54138969.mp4").write_bytes(b"x")
    records = read_human36m(root, "S11")
    assert records.report["left_out"] == {"views_with_unreadable_images": 1, "views_without_images": 1}
    assert records.report["left_out_first"]["views_with_unreadable_images"] == ["S11 Directions 1.54138969"]
    assert len(records) == (2 + 4) * h36m.FRAMES
    check_truth(records, truth)


def test_counts_that_disagree(roots, truth, tmp_path):
    """A video shorter than its poses, 2D shorter than 3D, and an image that was not extracted."""
    base = "S9/MyPoseFeatures/D2_Positions"
    names = [f"{base}/Greeting.{c}.cdf" for c in h36m.CAMERAS[:1]]
    root = linked(roots["official"], tmp_path / "h", *names, "S9/Videos/Walking 1.54138969.mp4")
    short = h36m.joints_32(truth.pixels[9, "Greeting", h36m.CAMERAS[0]][:4])
    h36m.write_cdf(root / names[0], short, double=False)
    with h36m.VideoWriter(root / "S9/Videos/Walking 1.54138969.mp4", 50.0) as video:
        for image in truth.images[9, "Walking 1", h36m.CAMERAS[0]][:3]:
            video.write(image)
    records = read_human36m(root, "S9")
    assert records.report["left_out"] == {"frames_where_2d_and_3d_disagree": 2, "frames_without_images": 3}
    assert len(records) == 8 * h36m.FRAMES - 2 - 3
    check_truth(records, truth)
    copied = linked(roots["mmpose"], tmp_path / "m")
    (copied / "images" / h36m.image_name(9, "Greeting", h36m.CAMERAS[2], 2)).unlink()
    records = read_human36m(copied, "S9")
    assert records.report["left_out"] == {"frames_without_images": 1}
    check_truth(records, truth)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/vergence-was-here",)


def test_a_hostile_pickle_is_not_run(roots, tmp_path, capsys):
    root = linked(roots["mmpose"], tmp_path / "h", "annotation_body3d/cameras.pkl")
    (root / "annotation_body3d/cameras.pkl").write_bytes(pickle.dumps({("S1", "54138969"): Hostile()}))
    with pytest.raises(VergenceError, match=r"asks for (posix|nt)\.system"):
        read_human36m(root, "test")
    assert main(["data", "check", str(root), "--out", str(tmp_path / "page.html")]) == 2
    assert re.search(r"asks for (posix|nt)\.system", capsys.readouterr().err)
    root = linked(roots["videopose3d"], tmp_path / "v", "data_3d_h36m.npz")
    np.savez(root / "data_3d_h36m.npz", positions_3d=np.array(Hostile(), dtype=object))
    with pytest.raises(VergenceError, match=r"asks for (posix|nt)\.system"):
        read_human36m(root, "test")
    assert not os.path.exists("/tmp/vergence-was-here")


def test_damage_is_one_error(roots, tmp_path):
    cdf = "S9/MyPoseFeatures/D3_Positions_mono/Greeting.54138969.cdf"
    root = linked(roots["official"], tmp_path / "h", cdf, "Release-v1.2/metadata.xml")
    (root / cdf).write_bytes((root / cdf).read_bytes()[:500])
    with pytest.raises(VergenceError, match=r"Greeting.54138969.cdf cannot be read"):
        read_human36m(root, "S9")
    text = (root / "Release-v1.2/metadata.xml").read_text()
    (root / "Release-v1.2/metadata.xml").write_text(text.replace("<w0>[", "<w0>[1 "))
    with pytest.raises(VergenceError, match="301 camera numbers"):
        read_human36m(root, "S11")
    (root / "Release-v1.2/metadata.xml").write_text(text[:200])
    with pytest.raises(VergenceError, match="not readable XML"):
        read_human36m(root, "S11")
    (root / "Release-v1.2/metadata.xml").unlink()
    with pytest.raises(VergenceError, match="has no cameras"):
        read_human36m(root, "S11")
    root = linked(roots["videopose3d"], tmp_path / "v", "data_3d_h36m.npz")
    (root / "data_3d_h36m.npz").write_bytes((root / "data_3d_h36m.npz").read_bytes()[:900])
    with pytest.raises(VergenceError, match="not a whole NPZ"):
        read_human36m(root, "S11")
    with pytest.raises(VergenceError, match="holds no Human3"):
        read_human36m(tmp_path, "S11")


def test_labels_that_do_not_belong_together_are_refused(roots, truth, tmp_path):
    """World poses in place of the camera's, metres for millimetres, and another subject's cameras."""
    root = linked(
        roots["official"],
        tmp_path / "h",
        *(f"S9/MyPoseFeatures/D3_Positions_mono/Greeting.{c}.cdf" for c in h36m.CAMERAS),
    )
    shutil.rmtree(root / "S9/MyPoseFeatures/D2_Positions")
    file = root / "S9/MyPoseFeatures/D3_Positions_mono"
    for camera in h36m.CAMERAS:
        for name in ("Greeting", "Walking 1"):
            (file / f"{name}.{camera}.cdf").unlink()
            h36m.write_cdf(file / f"{name}.{camera}.cdf", h36m.joints_32(truth.world[9, name]))
    with pytest.raises(VergenceError, match=r"mm \(median\) apart"):
        read_human36m(root, "S9")
    root = linked(roots["official"], tmp_path / "w", "Release-v1.2/metadata.xml")
    wrong = h36m.Truth(
        truth.world, truth.pixels, truth.images, truth.rotation, truth.translation, truth.intrinsics * 1.5
    )
    h36m.write_metadata(root / "Release-v1.2/metadata.xml", wrong)
    with pytest.raises(VergenceError, match=r"px \(median\) off its 2D"):
        read_human36m(root, "S9")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split": "S2"}, "S2"),
        ({"split": "tset"}, "tset"),
        ({"split": "S9", "cameras": "front"}, "front"),
        ({"split": "S9", "step": 0}, "step is 0"),
    ],
)
def test_settings_that_mean_nothing(roots, settings, said):
    with pytest.raises(VergenceError, match=said):
        read_human36m(roots["official"], **settings)


def test_a_preparation_of_every_fifth_frame_has_no_others(truth, tmp_path):
    root = h36m.write_mmpose(tmp_path, truth, steps=(5,))
    assert set(read_human36m(root, "S9", step=5).frame) == {0, 5}
    with pytest.raises(VergenceError, match="every 5th"):
        read_human36m(root, "S9")


def test_a_subject_that_is_not_there_is_named(roots, tmp_path):
    root = linked(roots["official"], tmp_path / "h")
    shutil.rmtree(root / "S11")
    with pytest.raises(VergenceError, match="S11"):
        read_human36m(root, "test")
    assert set(read_human36m(root, "S9").subject) == {9}
    shutil.rmtree(root / "S9" / "Videos")
    with pytest.raises(VergenceError, match="has no images"):
        read_human36m(root, "S9")


def test_names_of_sequences():
    assert canonical_stem("TakingPhoto 1") == canonical_stem("TakingPhoto_1") == "Photo 1"
    assert canonical_stem("WalkingDog") == "WalkDog"
    assert action_of("SittingDown 2") == "SittingDown"
    assert [is_sequence(s) for s in ("Walking", "WalkTogether 2", "_ALL 1", "Sitting2", "Walk")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    stems = [f"{a}{n}" for a in ("Sitting", "SittingDown", "Walking", "WalkDog") for n in ("", " 1", " 2", " 3")]
    assert len({sequence_number(s, stem) for s in (1, 11) for stem in stems}) == 2 * len(stems)
    assert subjects_of("s11, 1") == (1, 11)
    assert cameras_of("all") == h36m.CAMERAS
    assert image_size(7, "55011271") == (1000, 1002)
    assert image_size(9, "55011271") == (1000, 1000)


def test_euler_angles_are_applied_in_their_order():
    for axis, angles in enumerate(np.eye(3) * 0.3):
        turned = euler_rotation(*angles) @ np.eye(3)[(axis + 1) % 3]  # y about x turns towards z, and so on
        assert turned[(axis + 2) % 3] == pytest.approx(np.sin(0.3))
    both = euler_rotation(0.3, 0, 0.2)
    assert np.allclose(both, euler_rotation(0.3, 0, 0) @ euler_rotation(0, 0, 0.2))


def test_boxes_are_those_of_crops(roots):
    records = read_human36m(roots["official"], "S9", step=5)
    assert np.allclose(records.box, [box_from_keypoints(k) for k in records.keypoints], atol=1e-3)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_the_truth_scores_nothing_under_every_protocol(roots, protocol):
    dataset = open_source(
        make_source(kind="human36m", path=str(roots["official"]), protocol=protocol.name), 32, "h36m_17"
    )
    records = dataset.records
    truth = dataset.index.pose.double().numpy()
    found = measure(protocol, truth, truth, records.groups, H36M_17)
    assert found.poses == len(records)
    for figure in protocol.figures:
        assert found.average[figure.name] == pytest.approx(0 if figure.measure == "error" else 100, abs=1e-3)
    assert set(found.tables["action"]) == set(records.groups["action"])
    assert sum(row["poses"] for row in found.tables["subject"].values()) == len(records)
    # what the protocol says of its rows
    assert set(records.subject) == ({11} if protocol.source["split"] == "S11" else {9, 11})
    assert set(records.frame % protocol.source["step"]) == {0}
    assert (set(records.view) == {3}) == (protocol.source["cameras"] == "frontal")
    assert ("S9 Greeting" in records.groups["sequence"]) == (
        protocol.source["faulty"] == "keep" and 9 in records.subject
    )
    # metres for millimetres, and a mirrored person, do not pass
    wrong = measure(protocol, truth * [-1, 1, 1], truth, records.groups, H36M_17)
    assert all((wrong.average[f.name] > 30) == (f.measure == "error") or f.measure != "error" for f in protocol.figures)


def test_the_lens_is_that_of_the_datasets_own_code():
    """ProjectPointRadial of its release: x (1 + k . (r^2, r^4, r^6) + p2 x + p1 y) + p2 r^2, and so y, with p1 r^2."""
    radial, tangential = np.array([-0.207, 0.248, -0.0014]), np.array([-0.0031, 0.0042])
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)) * [0.4, 0.4, 0.2] + [0, 0, 1.5]
    x, y = (points[:, :2] / points[:, 2:]).T
    r2 = x**2 + y**2
    p1, p2 = tangential
    grown = 1 + radial @ [r2, r2**2, r2**3] + p2 * x + p1 * y
    k = np.array([[1145.0, 0, 512], [0, 1143, 515], [0, 0, 1]])
    expected = np.stack([x * grown + p2 * r2, y * grown + p1 * r2], -1) @ k[:2, :2] + k[:2, 2]
    values = (torch.from_numpy(value) for value in (points, k, lens(radial, tangential)))
    np.testing.assert_allclose(project(*values).numpy(), expected, atol=1e-9)
