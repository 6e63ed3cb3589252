"""One walk written as every tool writes it is read alike; what the forms differ in; broken files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures_keypoint_files import write_alphapose, write_dlc_csv, write_mmpose, write_pandas_h5, write_sleap
from fixtures_scene import film, ring, walking

from vergence.errors import VergenceError
from vergence.footage.keypoints import read_keypoint_npz, read_keypoints
from vergence.skeleton import COCO_17, H36M_17, HALPE_26, WHOLEBODY_23, Skeleton

HUMAN = ("Nose l_eye r_eye LEar REar lsho RShoulder leftElbow elb.R LWrist r_wri Left_Hip hip_r lkne RKnee l_ank "
         "right-ankle").split()  # fmt: skip


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    """T 17 3, Human3.6M's joints, with gaps."""
    points = film(walking(12), ring(4), noise=1.0, missing=0.05, seed=0).keypoints[:, 0]
    return np.concatenate([points, np.where(np.isfinite(points[..., :1]), 0.8, np.nan)], -1)


@pytest.fixture(scope="module")
def coco(walk: np.ndarray) -> np.ndarray:
    return H36M_17.convert(walk, COCO_17)


def by_frame(points: np.ndarray) -> dict[int, np.ndarray]:
    return {t: np.nan_to_num(person)[None] for t, person in enumerate(points)}


FORMS = {
    "a.csv": lambda path, points: write_dlc_csv(path, points[:, None], HUMAN),
    "one.csv": lambda path, points: write_dlc_csv(path, points[:, None], HUMAN, ["mouse1"]),
    "ensemble.csv": lambda path, points: write_dlc_csv(path, points[:, None], HUMAN, extra=True),
    "table.h5": lambda path, points: write_pandas_h5(path, points, HUMAN),
    "fixed.h5": lambda path, points: write_pandas_h5(path, points, HUMAN, "fixed"),
    "matlab.analysis.h5": lambda path, points: write_sleap(path, points[:, None], HUMAN),
    "standard.analysis.h5": lambda path, points: write_sleap(path, points[:, None], HUMAN, "standard"),
    "said.analysis.h5": lambda path, points: write_sleap(path, points[:, None], HUMAN, "standard", dims=True),
    "mmpose.json": lambda path, points: write_mmpose(path, by_frame(points), HUMAN),
    "inferencer.json": lambda path, points: write_mmpose(path, by_frame(points)),
    "alphapose-results.json": lambda path, points: write_alphapose(path, by_frame(points)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_people(name: str, tmp_path: Path, coco: np.ndarray) -> None:
    found = read_keypoints(FORMS[name](tmp_path / name, coco))
    assert found.skeleton == COCO_17
    assert sorted(found.people) == list(range(len(coco)))
    np.testing.assert_allclose(np.stack([found.people[t][0] for t in range(len(coco))]), coco)


@pytest.mark.parametrize("name", ["a.csv", "table.h5", "said.analysis.h5", "mmpose.json"])
def test_the_users_word_goes_before_the_files(name: str, tmp_path: Path, coco: np.ndarray) -> None:
    assert read_keypoints(FORMS[name](tmp_path / name, coco), "h36m_17").skeleton == H36M_17
    with pytest.raises(VergenceError, match="17 joints, skeleton halpe_26 has 26"):
        read_keypoints(tmp_path / name, "halpe_26")


def test_several_animals_and_points_of_none(tmp_path: Path, coco: np.ndarray) -> None:
    two = np.stack([coco, coco + [300, 0, 0]], 1)
    two[3, 1] = np.nan
    found = read_keypoints(write_dlc_csv(tmp_path / "a.csv", two, HUMAN, ["a", "b"]))
    assert [len(found.people[t]) for t in (2, 3)] == [2, 1]
    found = read_keypoints(write_dlc_csv(tmp_path / "b.csv", two, HUMAN, ["a", "single"]))
    assert {len(people) for people in found.people.values()} == {1}
    assert any("`single`" in note for note in found.notes)
    tracks = read_keypoints(write_sleap(tmp_path / "a.analysis.h5", two, HUMAN))
    np.testing.assert_allclose(tracks.people[2], two[2])


@pytest.mark.parametrize("columns", [1, 3])
def test_labels_are_numbered_by_their_pictures(tmp_path: Path, coco: np.ndarray, columns: int) -> None:
    index = [f"labeled-data/cam1/img{5 * t:04d}.png" for t in range(len(coco))]
    found = read_keypoints(write_dlc_csv(tmp_path / "a.csv", coco[:, None], HUMAN, index=index, columns=columns))
    assert sorted(found.people)[:3] == [0, 5, 10]
    assert not found.last_known


def test_points_set_by_hand_have_no_score_and_are_sure(tmp_path: Path, coco: np.ndarray) -> None:
    mixed = coco[:, None].copy()
    mixed[4, 0, :, 2] = np.nan
    person = read_keypoints(write_sleap(tmp_path / "a.analysis.h5", mixed, HUMAN)).people[4][0]
    np.testing.assert_array_equal(person[:, 2], np.where(np.isfinite(coco[4, :, 0]), 1.0, np.nan))


def test_names_that_say_nothing_are_measured(tmp_path: Path, walk: np.ndarray) -> None:
    numbered = [f"bodypart{i + 1}" for i in range(17)]
    found = read_keypoints(write_dlc_csv(tmp_path / "a.csv", walk[:, None], numbered))
    assert found.skeleton == H36M_17
    assert "read as H36M_17" in found.notes[0]


def test_unknown_names_stay_joints_of_their_own(tmp_path: Path, coco: np.ndarray) -> None:
    names = [*HUMAN[:16], "racket_tip"]
    assert (
        read_keypoints(write_dlc_csv(tmp_path / "a.csv", coco[:, None], names)).skeleton.joint_names[16] == "racket_tip"
    )


@pytest.mark.parametrize(("skeleton", "count"), [(WHOLEBODY_23, 133), (HALPE_26, 136)])
def test_of_faces_and_hands_the_body_is_read(tmp_path: Path, walk: np.ndarray, skeleton: Skeleton, count: int) -> None:
    body = H36M_17.convert(walk, skeleton)
    points = np.concatenate([body, np.full((len(body), count - len(skeleton), 3), 9.0)], 1)
    names = [*skeleton.joint_names, *(f"face-{i}" for i in range(count - len(skeleton)))]
    names = ["head" if name == "head_top" else name for name in names]  # as MMPose calls HALPE_26's
    for file in (write_mmpose(tmp_path / "named.json", by_frame(points), names),
                 write_alphapose(tmp_path / "alphapose-results.json", by_frame(points))):  # fmt: skip
        assert read_keypoints(file).skeleton == skeleton


def test_numbers_far_apart_do_not_count_frames(tmp_path: Path, coco: np.ndarray) -> None:
    index = [f"img{1_700_000_000_000 + 33 * t}.png" for t in range(len(coco))]
    for file in (write_dlc_csv(tmp_path / "a.csv", coco[:, None], HUMAN, index=index),
                 write_mmpose(tmp_path / "a.json", {90_000 * t: p for t, p in by_frame(coco).items()}, HUMAN)):  # fmt: skip
        found = read_keypoints(file)
        assert list(found.people) == list(range(len(coco)))
        assert any("in their order" in note for note in found.notes)


def test_a_single_picture_of_mmpose(tmp_path: Path, coco: np.ndarray) -> None:
    frames = json.loads(write_mmpose(tmp_path / "a.json", by_frame(coco)).read_text())
    (tmp_path / "b.json").write_text(json.dumps(frames[0]["instances"]))
    np.testing.assert_allclose(read_keypoints(tmp_path / "b.json").people[0][0], coco[0])


def test_an_npz_without_names_is_measured(tmp_path: Path, walk: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.stack([walk, walk], 1))
    table = read_keypoint_npz(tmp_path / "a.npz")
    assert table.skeleton == H36M_17
    np.testing.assert_array_equal(table.keypoints[:, 1], walk)
    assert any("read as H36M_17" in note for note in table.notes)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, coco: np.ndarray) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    with h5py.File(write_pandas_h5(tmp_path / "a.h5", coco, HUMAN), "r+") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(Bomb(), protocol=0))
    with pytest.raises(VergenceError, match="column names are not plain texts"):
        read_keypoints(tmp_path / "a.h5")
    assert not (tmp_path / "run").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _replace(old: str, new: str):
    return lambda path: path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("a.csv", _replace("bodyparts", "parts"), "no keypoint table"),
        ("a.csv", _replace("0.8", "sure"), "'sure' where a number belongs"),
        ("a.csv", lambda path: path.write_text(path.read_text()[:-9]), "of 52 columns. Is it cut"),
        ("a.csv", _replace("\n3,", "\n2,"), "two rows of one frame"),
        ("a.csv", _replace("\n3,", "\nlast,"), "without a frame number"),
        ("a.csv", _replace("l_eye", "LEye"), None),
        ("a.csv", _replace("l_eye", "REye"), "occur twice: right_eye"),
        ("a.csv", _replace("l_eye", "r_eye"), "two columns of one name"),
        ("table.h5", _cut, "not readable as HDF5"),
        ("table.h5", lambda path: h5py.File(path, "w").close(), "no table of pandas"),
        ("mmpose.json", _cut, "not readable JSON"),
        ("mmpose.json", _replace('"frame_id": 3', '"frame_id": 2'), "frame_id 2, which is no number of its own"),
        ("mmpose.json", _replace('"keypoints"', '"points"'), "not MMPose's form"),
    ],
)
def test_broken_files_say_what_is_wrong(
    name: str, spoil, message: str | None, tmp_path: Path, coco: np.ndarray
) -> None:
    spoil(FORMS[name](tmp_path / name, coco))
    if message is None:
        assert read_keypoints(tmp_path / name).skeleton == COCO_17
        return
    with pytest.raises(VergenceError, match=message):
        read_keypoints(tmp_path / name)


def test_an_hdf5_file_that_grows_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "tracks", (1, 2, 17, 1 << 20), np.float32, chunks=(1, 1, 1, 1 << 10)
        )  # never written: no room
        file["node_names"] = ["nose"] * 17
    with pytest.raises(VergenceError, match=r"a\.h5 has .* MiB and would take 136 MiB of memory"):
        read_keypoints(tmp_path / "a.h5")


def test_a_track_of_another_length_is_refused(tmp_path: Path, coco: np.ndarray) -> None:
    write_sleap(tmp_path / "a.analysis.h5", coco[:, None], HUMAN[:5])
    with pytest.raises(VergenceError, match=r"`tracks` of shape \(1, 2, 17, 12\) do not fit 5 nodes and 1 tracks"):
        read_keypoints(tmp_path / "a.analysis.h5")


def test_what_pandas_itself_writes(tmp_path: Path, coco: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    heads = pandas.MultiIndex.from_product([["DLC"], HUMAN, ["x", "y", "likelihood"]],
                                           names=["scorer", "bodyparts", "coords"])  # fmt: skip
    frame = pandas.DataFrame(coco.reshape(len(coco), -1), columns=heads)
    frame.to_csv(tmp_path / "a.csv")
    frame.to_hdf(tmp_path / "a.h5", key="df_with_missing", format="table", mode="w")
    frame.to_hdf(tmp_path / "b.h5", key="df_with_missing", mode="w")
    for name in ("a.csv", "a.h5", "b.h5"):
        np.testing.assert_allclose(read_keypoints(tmp_path / name).people[0][0], coco[0])


def test_people_of_another_number_of_joints_are_refused(tmp_path: Path, coco: np.ndarray) -> None:
    """Frames of nobody have none."""
    frames = by_frame(coco) | {3: np.empty((0, 17, 3))}
    assert len(read_keypoints(write_mmpose(tmp_path / "a.json", frames, HUMAN)).people[2]) == 1
    frames[5] = frames[5][:, :16]
    with pytest.raises(VergenceError, match=r"people in .*b\.json have different numbers of joints"):
        read_keypoints(write_mmpose(tmp_path / "b.json", frames, HUMAN))


def test_scores_that_a_program_gave_hold_and_a_person_without_any_is_sure(tmp_path: Path, coco: np.ndarray) -> None:
    """SLEAP: in frame 2 the second animal was set by hand, in frame 3 one joint of the first has no score."""
    points = np.nan_to_num(np.stack([coco, coco + [300.0, 40, 0]], 1), nan=5.0)
    points[..., 2] = 0.6
    points[2, 1, :, 2] = np.nan
    points[3, 0, 4, 2] = np.nan
    found = read_keypoints(write_sleap(tmp_path / "a.analysis.h5", points, HUMAN))
    scores = {(t, i): found.people[t][i][:, 2] for t in (1, 2, 3) for i in (0, 1)}
    assert (scores[2, 1] == 1.0).all()
    assert np.allclose(scores[2, 0], 0.6)
    assert np.allclose(np.delete(scores[3, 0], 4), 0.6)
    assert not scores[3, 0][4] > 0
