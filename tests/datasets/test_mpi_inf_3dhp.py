"""MPI-INF-3DHP in its own files against the world that they were written from; and what is refused, or left out and counted."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from fixtures_crops import crop_view
from fixtures_mpi_inf_3dhp import studio, universal, write_avi, write_calib, write_hdf5_mat, write_test, write_train
from PIL import Image
from scipy.io import loadmat, savemat

from vergence.batches.dataset import withhold
from vergence.cli import main
from vergence.datasets.formats.matlab import read_mat73
from vergence.datasets.formats.media import frame_count
from vergence.datasets.mpi_inf_3dhp import read_mpi_inf_3dhp
from vergence.datasets.mpi_inf_3dhp_cameras import fit_intrinsics
from vergence.datasets.records import ImageDataset
from vergence.errors import VergenceError
from vergence.geometry.camera import project
from vergence.recipes.load import recipe_from
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17, MPI_INF_17, MPI_INF_28
from vergence.training.sources import open_source

FRAMES = 4
KEPT = [MPI_INF_28.index(name) for name in MPI_INF_17.joint_names]


@pytest.fixture(scope="module")
def truths():
    return {1: studio(FRAMES, seed=3), 2: studio(FRAMES, seed=5)}


@pytest.fixture(scope="module")
def train(truths, tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    write_train(root / "S1" / "Seq1", truths[1])
    write_train(root / "S2" / "Seq2", truths[2], cameras=(0, 1, 2), extra=1)
    return root


@pytest.fixture(scope="module")
def test_set(truths, tmp_path_factory):
    root = tmp_path_factory.mktemp("test")
    base = root / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
    write_test(base, 1, truths[1], 0, valid=[0, 2, 3], activity=[1, 2, 7, 7])
    write_test(base, 6, truths[2], 1, valid=[1], activity=[3, 6, 3, 3])
    write_calib(base, truths[1], 0)
    return root


@pytest.fixture
def copy(train, tmp_path):
    """A copy of S1/Seq1 that may be spoilt."""
    shutil.copytree(train / "S1", tmp_path / "S1")
    return tmp_path


def truth_of(records, truths, universal_size=False):
    """17-joint pose N 17 3, 2D, rotation and translation that each row was written from."""
    poses, pixels, turns, shifts = [], [], [], []
    for i in range(len(records)):
        truth = truths[int(records.subject[i]) + 1]
        camera, frame = int(records.view[i]), int(records.frame[i])
        pose = universal(truth.pose(camera)) if universal_size else truth.pose(camera)
        poses.append(pose[frame, KEPT])
        pixels.append(truth.pixels(camera)[frame, KEPT])
        turns.append(truth.rotation[camera])
        shifts.append(truth.translation[camera])
    return np.stack(poses), np.stack(pixels), np.stack(turns), np.stack(shifts)


def test_the_training_set_comes_back(train, truths):
    records = read_mpi_inf_3dhp(train)
    assert len(records) == FRAMES * 2 + FRAMES * 3
    assert records.skeleton == MPI_INF_17
    pose, pixels, turn, shift = truth_of(records, truths)
    assert np.abs(records.pose - pose).max() < 0.01
    seen = np.isfinite(records.keypoints)
    assert seen.mean() > 0.9
    assert np.abs(records.keypoints - pixels)[seen].max() < 0.01
    assert np.abs(records.rotation - turn).max() < 1e-8
    assert np.abs(records.translation - shift).max() < 1e-5
    projected = project(torch.tensor(records.pose).double(), torch.tensor(records.intrinsics)).numpy()
    assert np.abs(projected - records.keypoints)[seen].max() < 0.01
    head, ankle = (records.pose[:, MPI_INF_17.index(j)] for j in ("head_top", "left_ankle"))
    assert (((head - ankle) * records.up).sum(-1) > 500).all()  # world y is up
    assert set(records.groups["sequence"]) == {"S1/Seq1", "S2/Seq2"}
    assert set(zip(records.subject.tolist(), records.sequence.tolist())) == {(0, 0), (1, 3)}  # counted from 0, two each
    assert records.report["left_out"]["frames beyond the images"] == 3  # one row too many, three videos
    assert records.report["left_out"]["cameras without images"] == 12 + 11
    assert records.report["poses"] == "annot3"


def test_pixels_are_those_of_the_row(train, truths):
    dataset = ImageDataset(read_mpi_inf_3dhp(train, "S2"), 48, H36M_17)
    views = dataset.read(torch.arange(len(dataset)))
    groups, mask = dataset.index.groups()
    assert groups.shape == (FRAMES, 3)
    assert mask.all()
    records = dataset.records
    for i in range(len(views)):
        camera, frame = int(records.view[i]), int(records.frame[i])
        full = truths[2].images[camera, frame]
        expected = crop_view(full, records.intrinsics[i], None, records.box[i], 48, joints=17).image[0].float()
        assert (views.image[i].float() - expected).abs().mean() < 6
        other = truths[2].images[(camera + 1) % 3, frame]
        wrong = crop_view(other, records.intrinsics[i], None, records.box[i], 48, joints=17).image[0].float()
        assert (views.image[i].float() - wrong).abs().mean() > 12


def test_universal_poses_have_another_size(train, truths):
    records = read_mpi_inf_3dhp(train, universal=True)
    pose, *_ = truth_of(records, truths, universal_size=True)
    assert np.abs(records.pose - pose).max() < 0.01
    assert records.report["poses"] == "univ_annot3"


def test_cameras_people_and_steps_are_chosen(train):
    records = read_mpi_inf_3dhp(train, "S1", 3, "chest")
    assert sorted(set(records.view.tolist())) == [0, 2]
    assert sorted(set(records.frame.tolist())) == [0, 3]
    assert set(read_mpi_inf_3dhp(train, "S2,S1", 1, "1").view.tolist()) == {1}
    for wrong, match in ((("S9",), "S9"), (("S1", 0), "step"), (("S1", 1, "14"), "14"), (("S1,TS1",), "TS1")):
        with pytest.raises(VergenceError, match=match):
            read_mpi_inf_3dhp(train, *wrong)


def test_one_moment_is_one_time_step(train):
    records = read_mpi_inf_3dhp(train)
    moments = {(s, f) for s, f in zip(records.sequence.tolist(), records.frame.tolist())}
    assert len(set(records.time_step.tolist())) == len(moments)


@pytest.mark.parametrize(
    ("pattern", "first"),
    [("imageSequence/img_{}_{:06d}.jpg", 1), ("imageSequence/img_{}_{:06d}.jpg", 0),
     ("imageFrames/video_{}/frame_{:06d}.jpg", 1)],
)  # fmt: skip
def test_extracted_frames_in_place_of_videos(copy, truths, pattern, first):
    folder = copy / "S1" / "Seq1"
    shutil.rmtree(folder / "imageSequence")
    for t in range(FRAMES):
        file = folder / pattern.format(0, t + first)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truths[1].images[0, t]).save(file)
    records = read_mpi_inf_3dhp(copy)
    assert records.frame.tolist() == list(range(FRAMES))
    assert [int(p.path.stem.split("_")[-1]) for p in records.images] == [t + first for t in range(FRAMES)]
    records.images[2].path.unlink()
    fewer = read_mpi_inf_3dhp(copy)
    assert fewer.frame.tolist() == [0, 1, 3]
    assert fewer.report["left_out"]["frames beyond the images"] == 1


def test_the_test_set_comes_back(test_set, truths):
    records = read_mpi_inf_3dhp(test_set, "test")
    assert len(records) == 4  # the valid frames
    assert records.groups["activity"].tolist() == ["standing_walking", "miscellaneous", "miscellaneous", "sports"]
    assert records.groups["scene"].tolist() == ["green_screen"] * 3 + ["outdoor"]
    assert records.frame.tolist() == [0, 2, 3, 1]
    assert [p.path.name for p in records.images][:2] == ["img_000001.jpg", "img_000003.jpg"]
    for row, (truth, camera, frame) in enumerate([(1, 0, 0), (1, 0, 2), (1, 0, 3), (2, 1, 1)]):
        assert np.abs(records.pose[row] - truths[truth].pose(camera)[frame, KEPT]).max() < 0.01
        seen = np.isfinite(records.keypoints[row])
        assert np.abs(records.keypoints[row] - truths[truth].pixels(camera)[frame, KEPT])[seen].max() < 0.01
        assert np.abs(records.intrinsics[row] - truths[truth].k[camera]).max() < 0.01  # found from 2D and 3D alone
    assert np.abs(records.rotation[0] - truths[1].rotation[0]).max() < 1e-6
    assert np.abs(records.translation[0] - truths[1].translation[0]).max() < 1e-2
    assert np.abs(records.up[0] - truths[1].rotation[0][:, 1]).max() < 1e-6
    assert records.report["left_out"] == {"frames that are not valid": 4, "sequences without a folder": 4}
    for universal_size in (False, True):
        again = read_mpi_inf_3dhp(test_set / "mpi_inf_3dhp_test_set", "TS6", universal=universal_size)
        expected = truths[2].pose(1)[[1]][:, KEPT]
        assert np.abs(again.pose - (universal(expected) if universal_size else expected)).max() < 0.01


def test_without_a_calibration_file_the_test_cameras_turn_is_unknown(test_set, tmp_path):
    base = test_set / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
    shutil.copytree(base / "TS1", tmp_path / "TS1")
    records = read_mpi_inf_3dhp(tmp_path, "test")
    assert np.isnan(records.up).all()
    assert np.isnan(records.rotation).all()
    assert np.isfinite(records.intrinsics).all()


def test_a_recipes_source_opens_it(train):
    source = make_source(kind="mpi_inf_3dhp", path=str(train), split="S1", cameras="0,2", keypoints=True)
    dataset = open_source(source, 48, "h36m_17")
    assert len(dataset) == FRAMES * 2
    assert dataset.index.pose.isfinite().all()  # all 17 joints of Human3.6M are there
    assert withhold(dataset.index, source).pose.isnan().all()
    seen = ~dataset.index.keypoints.isnan().any(-1)
    off = (project(dataset.index.pose.double(), dataset.index.intrinsics.double()) - dataset.index.keypoints)[seen]
    assert off.abs().max() < 0.01


def test_a_joint_beyond_the_edge_is_unknown_in_2d_and_known_in_3d(copy):
    folder = copy / "S1" / "Seq1"
    content = loadmat(folder / "annot.mat")
    content["annot2"][0, 0][0, :2] = 400.0  # spine3
    content["annot2"][0, 0][0, 2 * MPI_INF_28.index("left_wrist")] = 130.0
    content["annot2"][0, 0][1] = -50.0
    savemat(folder / "annot.mat", {k: content[k] for k in ("annot2", "annot3", "univ_annot3")})
    records = read_mpi_inf_3dhp(copy, "S1", cameras="0")
    assert records.frame.tolist() == [0, 2, 3]
    assert np.isnan(records.keypoints[0, MPI_INF_17.index("left_wrist")]).all()
    assert records.confidence[0, MPI_INF_17.index("left_wrist")] == 0
    assert np.isfinite(records.pose).all()
    assert records.report["left_out"]["boxes that cannot be cropped"] == 1


def spoil_mat(folder):
    data = (folder / "annot.mat").read_bytes()
    (folder / "annot.mat").write_bytes(data[: len(data) // 2])


def spoil_variable(folder):
    savemat(folder / "annot.mat", {"annot2": np.zeros(3)})


def spoil_shape(folder):
    content = loadmat(folder / "annot.mat")
    content["annot3"][0, 0] = content["annot3"][0, 0][:, :-3]
    savemat(folder / "annot.mat", {k: content[k] for k in ("annot2", "annot3")})


def spoil_rows(folder):
    content = loadmat(folder / "annot.mat")
    content["annot3"][0, 0] = content["annot3"][0, 0][:-1]
    savemat(folder / "annot.mat", {k: content[k] for k in ("annot2", "annot3")})


def spoil_version(folder):
    write_hdf5_mat(folder / "annot.mat", {"annot2": np.zeros(3)})


def spoil_camera(folder):
    text = (folder / "camera.calibration").read_text()
    (folder / "camera.calibration").write_text(text.split("name          2")[0])


def spoil_rotation(folder):
    text = (folder / "camera.calibration").read_text()
    (folder / "camera.calibration").write_text(re.sub(r"(extrinsic +)\S+", r"\g<1>0.5", text))


def spoil_order(folder):
    content = loadmat(folder / "annot.mat")
    content["annot3"][0, 0] = content["annot3"][0, 0].reshape(-1, 28, 3)[..., [1, 0, 2]].reshape(-1, 84)
    savemat(folder / "annot.mat", {k: content[k] for k in ("annot2", "annot3")})


def spoil_calibration(folder):
    (folder / "camera.calibration").write_text("Skeletool\nname 0\n  size 12\n")


def spoil_size(folder):
    write_avi(folder / "imageSequence" / "video_0.avi", [np.zeros((64, 64, 3), np.uint8)] * FRAMES)


def spoil_video(folder):
    (folder / "imageSequence" / "video_0.avi").write_bytes(b"RIFF not a video")


def spoil_everything(folder):
    shutil.rmtree(folder / "imageSequence")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_mat, r"annot\.mat cannot be read"), (spoil_variable, "no variable annot3"), (spoil_shape, "81"),
        (spoil_rows, "4 rows of 2D and 3 of 3D"), (spoil_version, r"version 7\.3"), (spoil_camera, "no camera 2"),
        (spoil_rotation, "no rotation"), (spoil_calibration, "camera '0' cannot be read"), (spoil_size, "64x64"),
        (spoil_order, "beside its 2D"),
        (spoil_video, "cannot be opened"), (spoil_everything, "no images of cameras"),
    ],
)  # fmt: skip
def test_damage_is_one_error(copy, spoil, words):
    spoil(copy / "S1" / "Seq1")
    with pytest.raises(VergenceError, match=words):
        read_mpi_inf_3dhp(copy, cameras="0,2")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(spoil_mat, "annot.mat cannot be read"), (spoil_camera, "no camera 2"), (spoil_rows, "4 rows of 2D and 3 of 3D"),
     (spoil_video, "cannot be opened"), (spoil_order, "beside its 2D")],
)  # fmt: skip
def test_damage_ends_a_check_in_words(copy, spoil, words, capsys):
    spoil(copy / "S1" / "Seq1")
    assert main(["data", "check", str(copy), "--out", str(copy / "page.html")]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (copy / "page.html").exists()


def test_the_test_set_is_recognised_and_sound(test_set, tmp_path, capsys):
    assert main(["data", "check", str(test_set), "--out", str(tmp_path / "page.html")]) == 0
    text = capsys.readouterr().out
    assert "is MPI-INF-3DHP" in text
    assert "frames that are not valid: 4" in text
    assert "not read" in text  # the training part, which is not there
    line = text.split("sources:\n")[1].splitlines()[0]
    source = recipe_from({"sources": yaml.safe_load(line)}, "printed").sources["my_mpi_inf_3dhp_test"]
    assert len(open_source(source, 32, "h36m_17")) == 4


WORLD_TURN = np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda p2, p3: (p2[:, :, SHUFFLED], p3[:, :, SHUFFLED]), 1, "joints are shuffled"),
        (lambda p2, p3: (p2, p3 / 1000), 1, "metres"),
        (lambda p2, p3: (p2, p3 * [-1, 1, 1]), 2, "is mirrored"),
        (lambda p2, p3: (p2, (p3 - [0, 0, 4000]) @ WORLD_TURN), 2, "does not project"),
        (lambda p2, p3: (p2, p3[:, :, SHUFFLED]), 2, "does not project"),
    ],
    ids=["shuffled", "metres", "mirrored", "world", "3D shuffled"],
)
def test_planted_mistakes_of_the_test_set_are_caught(test_set, tmp_path, capsys, change, status, words):
    base = test_set / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
    shutil.copytree(base / "TS1", tmp_path / "TS1")
    names = ["annot2", "annot3", "univ_annot3", "valid_frame", "activity_annotation"]
    content = read_mat73(base / "TS1" / "annot_data.mat", names)
    content["annot2"], content["annot3"] = change(content["annot2"], content["annot3"])
    write_hdf5_mat(tmp_path / "TS1" / "annot_data.mat", content)
    assert main(["data", "check", str(tmp_path), "--out", str(tmp_path / "page.html")]) == status
    said = capsys.readouterr()
    assert words in said.out + said.err


SHUFFLED = np.random.default_rng(3).permutation(17)


def test_an_empty_folder_is_no_dataset(tmp_path):
    for split in ("train", "test"):
        with pytest.raises(VergenceError, match="has none of"):
            read_mpi_inf_3dhp(tmp_path, split)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"valid_frame": np.ones((4, 2))}, r"the shape \(4, 2\)"), ({"activity_annotation": np.full((4, 1), 9.0)}, "9"),
        ({"annot3": None}, "no variable annot3"), ({"annot3": "metres, other axes"}, "does not project"),
        ({"valid_frame": np.zeros((4, 1))}, "no images of valid frames"),
    ],
)  # fmt: skip
def test_damage_of_the_test_set_is_one_error(test_set, tmp_path, change, words):
    base = test_set / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
    shutil.copytree(base / "TS1", tmp_path / "TS1")
    names = ["annot2", "annot3", "univ_annot3", "valid_frame", "activity_annotation"]
    content = read_mat73(base / "TS1" / "annot_data.mat", names)
    for name, value in change.items():
        content[name] = content[name][..., ::-1] if isinstance(value, str) else value
    write_hdf5_mat(tmp_path / "TS1" / "annot_data.mat", {k: v for k, v in content.items() if v is not None})
    with pytest.raises(VergenceError, match=words):
        read_mpi_inf_3dhp(tmp_path, "test")


def test_a_cut_off_hdf5_is_one_error(test_set, tmp_path):
    base = test_set / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
    shutil.copytree(base / "TS1", tmp_path / "TS1")
    file = tmp_path / "TS1" / "annot_data.mat"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(VergenceError, match="cannot be read as HDF5"):
        read_mpi_inf_3dhp(tmp_path, "test")


def test_frames_of_a_cut_off_video_are_counted(copy):
    folder = copy / "S1" / "Seq1" / "imageSequence"
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, 128, 128, 3), dtype=np.uint8)
    write_avi(folder / "video_0.avi", list(noise))
    assert frame_count(folder / "video_0.avi") == (FRAMES, (128, 128))
    data = (folder / "video_0.avi").read_bytes()
    (folder / "video_0.avi").write_bytes(data[: int(0.7 * len(data))])
    left, _ = frame_count(folder / "video_0.avi")
    assert 1 <= left < FRAMES
    records = read_mpi_inf_3dhp(copy, cameras="0")
    assert len(records) == left
    assert records.report["left_out"]["frames beyond the images"] == FRAMES - left


def test_intrinsics_are_found_through_noise():
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(50, 14, 3)) * [600, 600, 300] + [0, 0, 3500]
    k = np.array([[1500.0, 0, 1017], [0, 1501, 1043], [0, 0, 1]])
    pixels = (pose / pose[..., 2:] @ k.T)[..., :2] + rng.normal(size=(50, 14, 2)) * 0.1
    assert np.abs(fit_intrinsics(pose, pixels, "x") - k).max() < 0.2
    with pytest.raises(VergenceError, match="does not project"):
        fit_intrinsics(pose[:, ::-1], pixels, "x")
