"""`vergence data check`: what a folder is, its verdict as an exit status, the page, and the recipe line that reads it."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import types
from pathlib import Path

import fixtures_mannequin as fixtures
import h5py
import numpy as np
import pytest
import yaml

from vergence.cli import main
from vergence.commands.synth import synth
from vergence.datasets.mannequin_challenge import read_mannequin_challenge
from vergence.datasets.shards.reader import sha256
from vergence.datasets.validation.detect_format import KINDS, Kind, read_kind, recognise
from vergence.errors import VergenceError
from vergence.recipes.load import recipe_from
from vergence.training.sources import open_source


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "rec"
    synth(out, frames=5, views=3, size=96, known="cameras", seed=8, device="cpu", quiet=True)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "pics"
    synth(out, kind="images", subjects=25, size=48, seed=8, device="cpu", quiet=True)
    return out


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "clips"
    fixtures.write_clip(out, "0123456789abcdef", *fixtures.truth())
    return out


def checked(path: Path, out: Path, capsys, *words: str) -> tuple[int, str]:
    status = main(["data", "check", str(path), "--out", str(out / "page.html"), *words])
    return status, capsys.readouterr().out


def changed(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))


def test_a_sound_capture_and_the_line_that_reads_it(capture, tmp_path, capsys):
    status, text = checked(capture, tmp_path, capsys)
    assert status == 0
    assert "is a capture" in text
    assert "valid" in text
    assert "invalid" not in text
    assert re.search(r"reprojection: median cam0\d [\d.e-]+ px", text)
    line = text.split("sources:\n")[1].splitlines()[0]
    sources = recipe_from({"sources": yaml.safe_load(line)}, "printed").sources
    assert len(open_source(sources["my_capture"], 32, "h36m_17")) == 15
    page = (tmp_path / "page.html").read_text()
    assert "Findings" in page
    assert page.count("data:image/") >= 10
    assert re.findall(r"(?:src|href)=\"(?:http|//)", page) == []


def test_sound_images_of_the_world_and_clips(images, clips, tmp_path, capsys):
    status, text = checked(images, tmp_path, capsys)
    assert status == 0, text
    assert "keypoints.json" in text.split("sources:\n")[1]
    status, text = checked(clips, tmp_path, capsys)
    assert status == 0, text
    assert "clips used: 1" in text
    assert "kind: mannequin_challenge" in text


def truth_changed(folder: Path, to: Path, change) -> Path:
    out = changed(folder, to)
    with np.load(out / "truth.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["pose"] = change(arrays["pose"])
    np.savez(out / "truth.npz", **arrays)
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:, np.random.default_rng(3).permutation(17)], "joints are shuffled"),
        (lambda p: p * [-1, 1, 1], "the poses are mirrored"),
        (lambda p: p / 1000, "the poses are in metres, not in millimetres"),
        (lambda p: (p - [0, 0, 4000]) @ np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0], "another frame"),
    ],
)
def test_faults_end_in_words_and_status_1(images, tmp_path, capsys, change, words):
    status, text = checked(truth_changed(images, tmp_path, change), tmp_path, capsys)
    assert status == 1
    assert words in text
    assert "invalid" in text
    assert words in (tmp_path / "page.html").read_text()


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "crops"
    line = "{kind: world_recordings, subjects: 4, frames_per_subject: 6, views: [3], look: studio, seed: 31}"
    assert main(["data", "prepare", line, "--out", str(out), "--size", "64", "--quiet"]) == 0
    return out


def crops_changed(folder: Path, to: Path, change) -> Path:
    """Shards as they would be of a faulty source: their own checksums are right."""
    out = changed(folder, to)
    with h5py.File(out / "index.h5", "r+") as file:
        file["pose"][:] = change(file["pose"][:]).astype(np.float32)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"]["index.h5"]["sha256"] = sha256(out / "index.h5")
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_sound_shards_and_the_line_that_reads_them(crops, tmp_path, capsys):
    status, text = checked(crops, tmp_path, capsys)
    assert status == 0, text
    assert "is crops that" in text
    line = text.split("sources:\n")[1].splitlines()[0]
    sources = recipe_from({"sources": yaml.safe_load(line)}, "printed").sources
    assert len(open_source(sources["my_shards"], 32, "h36m_17")) == 72


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:, np.random.default_rng(3).permutation(17)], "joints are shuffled"),
        (lambda p: p * [-1, 1, 1], "the poses are mirrored"),
        (lambda p: p / 1000, "the poses are in metres, not in millimetres"),
        (lambda p: (p - [0, 0, 4000]) @ np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0], "another frame"),
    ],
    ids=["shuffled", "mirrored", "metres", "world"],
)
def test_planted_mistakes_of_shards_are_caught(crops, tmp_path, capsys, change, words):
    status, text = checked(crops_changed(crops, tmp_path, change), tmp_path, capsys)
    assert status == 1
    assert words in text


def test_damaged_and_unfinished_shards_end_in_words(crops, tmp_path, capsys):
    out = changed(crops, tmp_path)
    data = bytearray((out / "shard-00000.h5").read_bytes())
    data[-5000:-4000] = bytes(1000)
    (out / "shard-00000.h5").write_bytes(data)
    assert main(["data", "check", str(out), "--out", str(tmp_path / "page.html")]) == 2
    assert "shard-00000.h5 missing or changed" in capsys.readouterr().err
    (out / "manifest.json").unlink()
    assert main(["data", "check", str(out), "--out", str(tmp_path / "page.html")]) == 2
    assert "is not finished" in capsys.readouterr().err


def test_missing_and_damaged_images_end_in_status_1(images, tmp_path, capsys):
    out = changed(images, tmp_path)
    files = sorted((out / "images").glob("*.jpg"))
    files[0].unlink()
    files[1].write_bytes(b"no image")
    status, text = checked(out, tmp_path, capsys)
    assert status == 1
    assert "1 of 25 are missing" in text
    assert "1 of 24 that were opened cannot be decoded" in text


def test_a_truncated_video_ends_in_words(capture, tmp_path, capsys):
    out = changed(capture, tmp_path)
    (out / "cam02.mp4").write_bytes((out / "cam02.mp4").read_bytes()[:300])
    assert main(["data", "check", str(out), "--out", str(tmp_path / "page.html")]) == 2
    assert "cam02.mp4" in capsys.readouterr().err


def test_a_part_that_cannot_be_read_is_said(clips):
    def reader(path, split):
        if split == "test":
            raise VergenceError("test is damaged", "Download it again.")
        return read_mannequin_challenge(path)

    module = types.ModuleType("a_reader_for_tests")
    module.read = reader  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    parts = ({"split": "train"}, {"split": "test"})
    kind = Kind("x", "X", lambda path: True, "a_reader_for_tests:read", parts)
    found, refused = read_kind(kind, clips)
    assert [part for part, _ in found] == [parts[0]]
    assert [(part, error.problem) for part, error in refused] == [(parts[1], "test is damaged")]
    with pytest.raises(VergenceError, match="test is damaged"):
        read_kind(Kind("x", "X", lambda path: True, "a_reader_for_tests:read", parts[1:]), clips)


def test_unknown_folders_and_options_end_in_one_sentence(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert "is no dataset that is known here" in text
    assert "Human3.6M" in text
    assert main(["data", "check", str(tmp_path / "gone")]) == 2
    assert main(["data", "chek"]) == 2
    assert "Actions: " in capsys.readouterr().err


def touched(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


@pytest.mark.parametrize(
    ("files", "title"),
    [
        (["S1/MyPoseFeatures/D3_Positions/x.cdf", "S1/Videos/a.mp4"], "Human3.6M, the official download"),
        (["annotation_body3d/fps50/h36m_train.npz"], "Human3.6M as mmpose prepares it"),
        (["data_3d_h36m.npz"], "Human3.6M as VideoPose3D prepares it"),
        (["S1/Seq1/annot.mat", "S1/Seq1/camera.calibration"], "MPI-INF-3DHP"),
        (["TS1/annot_data.mat"], "MPI-INF-3DHP"),
        (["images/1.jpg", "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"], "MPII Human Pose"),
        (["annotations/person_keypoints_val2017.json"], "COCO person keypoints"),
        (["plan.json", "shard-00000.h5"], "crops that `vergence data prepare` wrote"),
        (["one/capture.toml"], "a folder of captures"),
        (["a.mp4", "b.mp4"], "a capture (videos of one moment)"),
    ],
)
def test_layouts_are_told_by_their_names(tmp_path, files, title):
    assert recognise(touched(tmp_path, *files)).title == title


def test_mpii_lists_are_told_from_other_json(tmp_path):
    touched(tmp_path, "annot/valid.json")
    with pytest.raises(VergenceError, match="no dataset that is known"):
        recognise(tmp_path)
    (tmp_path / "annot/valid.json").write_text(json.dumps([{"joints_vis": [1], "image": "1.jpg"}]))
    assert recognise(tmp_path).name == "mpii"


def test_the_worlds_folders_and_clips_are_told_apart(capture, images, clips):
    assert [recognise(p).name for p in (capture, clips)] == ["capture", "mannequin_challenge"]
    assert recognise(images).title.startswith("images that")
    assert recognise(clips / "train").name == "mannequin_challenge"
    assert len({kind.title for kind in KINDS}) == len(KINDS)


def test_help_is_instant():
    least = min(_seconds() for _ in range(3))
    assert least < 0.5


def _seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "vergence.cli", "data", "check", "--help"], capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "PATH" in done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
