"""From keypoints of several cameras to a model, its figures in held-out time, and what stops it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vergence
from vergence.cli import main
from vergence.commands import learn as verb
from vergence.commands import predict as predict_verb
from vergence.commands.console.options import parse
from vergence.commands.synth import synth
from vergence.errors import VergenceError
from vergence.evaluation.footage import measure_footage
from vergence.files import write_text
from vergence.inference.domain import domain_of
from vergence.learning import learn as steps_of_learning
from vergence.learning.hidden import capture_without
from vergence.learning.learn import middle
from vergence.learning.motions import bridged, motions_of
from vergence.lifting import train as lifter_training
from vergence.lifting.train import LIFTED
from vergence.outputs import PoseSequence
from vergence.report.recordings.learning import learned_page
from vergence.skeleton import H36M_17

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def recording(make_scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of three cameras with known lenses and keypoints, nothing else."""
    folder = tmp_path_factory.mktemp("walk")
    scene = make_scene(frames=60, views=3, noise=1.0)
    table = np.concatenate([scene.keypoints, np.full((*scene.keypoints.shape[:3], 1), 0.9)], -1)
    np.savez(folder / "keypoints.npz", keypoints=table, joint_names=np.array(H36M_17.joint_names), fps=30.0)
    lines = ["[capture]", "fps = 30.0", 'keypoints = "keypoints.npz"']
    for v, name in enumerate(NAMES):
        lines += [f"[cameras.{name}]", "image_size = [1000, 1000]", f"intrinsics = {scene.intrinsics[v].tolist()}",
                  f"distortion = {scene.distortion[v].tolist()}"]  # fmt: skip
    (folder / "capture.toml").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def learned(recording: Path, tmp_path_factory: pytest.TempPathFactory):
    return vergence.learn([recording], tmp_path_factory.mktemp("out"), steps=3, anyway=True)


def test_every_step_leaves_its_folder(learned, recording: Path) -> None:
    one = learned.recordings[0]
    results = json.loads((learned.folder / "results.json").read_text())
    assert one.name == recording.name
    assert (learned.folder / one.name / "reconstruction" / "rig.toml").is_file()
    assert results["recordings"][one.name]["held_out"] == "24-35"
    assert results["model"]["method"] == "lifting"
    assert one.name in results["model"]["taught_by"]
    assert learned.model is not None
    assert learned.model.config["doubtful"] is (one.reconstruction.verdict != "good")


def test_figures_stand_beside_simple_answers(learned) -> None:
    figures = learned.recordings[0].figures
    assert figures is not None
    assert figures.frames == (12, 12, 12)
    model, zero = figures.mean("model"), figures.mean("zero depth")
    assert model[0] < 0.6 * zero[0]
    assert f"{learned.recordings[0].name} {model[0]:.0f} / {model[1]:.0f} mm" in domain_of(learned.model.config).error
    page = learned_page(learned)
    first = page.tables[0]
    assert [row[0] for row in first.rows][:3] == ["model", "without the footage", "zero depth"]
    assert all(np.isfinite(value) for row in first.rows for value in row[1:6])
    assert f"the model is {model[0]:.1f} / {model[1]:.1f} mm from the reconstruction" in page.verdict.reasons[0]
    assert list(page.dots[0].values["model"]) == list(figures.ways["model"].n_mpjpe)


def test_its_page_shows_held_out_moments_of_every_camera_over_the_reconstruction(learned) -> None:
    page, one = learned_page(learned), learned.recordings[0]
    frames = {int(sample.title.rsplit(" ", 1)[1]) for sample in page.samples}
    assert len(page.samples) == 3 * len(frames) == 9
    assert all(one.held_out[frame] for frame in frames)
    for sample in page.samples:
        seen = np.isfinite(sample.keypoints + sample.keypoints_true).all(1)
        assert np.abs(sample.keypoints - sample.keypoints_true)[seen].max() < 15  # px: the scene's noise is 1
    near = np.mean([float(sample.errors["N-MPJPE"].split()[0]) for sample in page.samples])
    assert near == pytest.approx(one.figures.mean("model")[0], rel=0.3)
    assert {link.path for link in page.links} >= {"model/", "results.json", f"{one.name}/reconstruction/"}


def test_the_same_call_makes_nothing_again(learned, recording: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in learned.folder.rglob("*") if f.name in ("rig.toml", "model.safetensors")}
    made: list[Path] = []
    vergence.learn([recording], learned.folder, steps=3, anyway=True, each=lambda found, folder: made.append(folder))
    assert before == {f: f.stat().st_mtime_ns for f in before}
    assert made == []
    with pytest.raises(VergenceError, match=r"(?s)another model.*--out"):
        vergence.learn([recording], learned.folder, steps=4, anyway=True)


def test_other_keypoints_or_lenses_are_not_taken_for_the_same(learned, recording: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(learned.folder, tmp_path / "out"))
    place = recording / "capture.toml"
    before = place.read_text()
    try:
        place.write_text(before.replace("1100.0", "1000.0"))
        with pytest.raises(VergenceError, match=r"(?s)another recording's results: files"):
            vergence.learn([recording], copied, steps=3, anyway=True)
    finally:
        place.write_text(before)
    with np.load(recording / "keypoints.npz") as old:
        table = dict(old)
    old_bytes = (recording / "keypoints.npz").read_bytes()
    try:
        np.savez(recording / "keypoints.npz", **{**table, "keypoints": table["keypoints"] + 1.0})
        with pytest.raises(VergenceError, match=r"(?s)another recording's results: files"):
            vergence.learn([recording], copied, steps=3, anyway=True)
    finally:
        (recording / "keypoints.npz").write_bytes(old_bytes)


def test_its_model_predicts(learned, recording: Path) -> None:
    images = np.zeros((60, 100, 100, 3), np.uint8)
    with pytest.raises(VergenceError, match="nobody"):
        vergence.predict(learned.folder / "model", images, detector="nobody")


def test_a_doubtful_recording_stops_it(make_scene, recording: Path, tmp_path: Path) -> None:
    still = np.load(recording / "keypoints.npz")
    frames = np.repeat(still["keypoints"][:1], 40, axis=0)
    (tmp_path / "still").mkdir()
    (tmp_path / "still" / "capture.toml").write_text((recording / "capture.toml").read_text())
    np.savez(tmp_path / "still" / "keypoints.npz", keypoints=frames, joint_names=still["joint_names"], fps=30.0)
    with pytest.raises(VergenceError, match=r"still"):
        vergence.learn([tmp_path / "still"], tmp_path / "out", steps=3)
    assert not (tmp_path / "out" / "model").exists()


def test_what_cannot_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="nothing to learn from"):
        vergence.learn([], tmp_path / "out")
    with pytest.raises(VergenceError, match=r"0 to 0\.9"):
        vergence.learn([], tmp_path / "out", held_out=1.5)
    with pytest.raises(VergenceError, match="motion alone"):
        vergence.learn([], tmp_path / "out", student="image", motion=tmp_path)
    with pytest.raises(VergenceError, match="there is no folder"):
        vergence.learn([], tmp_path / "out", motion=tmp_path / "none")
    with pytest.raises(VergenceError, match="0 steps of training"):
        vergence.learn([tmp_path], tmp_path / "out", steps=0)
    with pytest.raises(VergenceError, match="a height of 178"):
        vergence.learn([tmp_path], tmp_path / "out", height=178)
    with pytest.raises(VergenceError, match="a height of 178"):
        measure_footage("lifting", tmp_path, height=178)
    with pytest.raises(VergenceError, match="no motion"):
        vergence.learn([], tmp_path / "out", motion=tmp_path)


def test_what_contradicts_itself_is_refused_before_the_work(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match=r"is given twice\. Give each recording once"):
        vergence.learn([recording, recording], tmp_path / "out")
    with pytest.raises(VergenceError, match="is the folder of the footage"):
        vergence.learn(recording, recording)
    for wrong in ({"student": "lift"}, {"device": "foo"}, {"seed": -1}):
        with pytest.raises(VergenceError, match=f"{next(iter(wrong))} is "):
            vergence.learn(recording, tmp_path / "out", **wrong)
    with pytest.raises(VergenceError, match="there is no capture"):  # one path is one recording, and no list of letters
        vergence.learn("gone", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recording_whose_person_is_never_whole_is_named_and_not_said_to_have_taught(
    recording: Path, tmp_path: Path
) -> None:
    """Beside a good one it added nothing, to the byte, and the model said that it was trained on both."""
    shutil.copytree(recording, tmp_path / "cut")
    with np.load(recording / "keypoints.npz") as kept:
        table = dict(kept)
    for ankle in ("left_ankle", "right_ankle"):
        table["keypoints"][:, 1:, H36M_17.index(ankle)] = np.nan  # only one camera sees it
    np.savez(tmp_path / "cut" / "keypoints.npz", **table)
    with pytest.raises(
        VergenceError, match=r"nothing can be learned from cut: the person is never whole .* for 0\.2 s"
    ):
        vergence.learn([recording, tmp_path / "cut"], tmp_path / "out", steps=3, anyway=True)
    assert not (tmp_path / "out" / "model").exists()


def test_of_many_reasons_the_first_is_told(recording: Path) -> None:
    assert steps_of_learning._first(["Nobody moves."]) == "Nobody moves"
    assert steps_of_learning._first(["Nobody moves.", "b", "c"]) == "Nobody moves (and 2 more reasons)"
    assert steps_of_learning._first(["Nobody moves.", "b"]) == "Nobody moves (and 1 more reason)"


def test_the_help_has_the_usual_numbers_of_steps(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["help", "learn"])
    told = " ".join(capsys.readouterr().out.split())
    usual, alone = steps_of_learning.STEPS, lifter_training.LifterTraining().steps
    assert f"default: {usual} with footage, {alone} with --motion alone" in told


def test_the_middle_is_held_out() -> None:
    held = middle(100, 0.3)
    assert held.sum() == 30
    assert np.flatnonzero(held).tolist() == list(range(35, 65))
    assert not middle(10, 0.0).any()


def test_motions_are_whole_stretches_that_stand(make_scene) -> None:
    scene = make_scene(frames=60, views=3)
    turn = scene.rotation[1]
    up = turn @ np.array([0.0, 0.0, 1.0])
    poses = PoseSequence(scene.pose @ turn.T, H36M_17.joint_names, 30.0, "mm", up)
    wanted = np.ones(60, bool)
    wanted[20:35] = False
    found = motions_of(poses, wanted)
    assert [len(one.pose) for one in found] == [20, 25]
    head, feet = (found[0].pose[:, LIFTED.index(name), 2] for name in ("thorax", "left_ankle"))
    assert (head > feet).all()
    lost = np.asarray(poses.pose).copy()
    lost[40:58, 3] = np.nan
    assert [len(one.pose) for one in motions_of(replace(poses, pose=lost), np.ones(60, bool))] == [40]


def test_short_gaps_are_bridged_and_long_ones_are_not() -> None:
    path = np.arange(20.0)[:, None, None] * np.ones((1, 2, 3))
    broken = path.copy()
    broken[5:8, 0] = np.nan
    broken[10:16, 1] = np.nan
    filled = bridged(broken, 3)
    np.testing.assert_allclose(filled[:, 0], path[:, 0])
    assert np.isnan(filled[10:16, 1]).all()


@pytest.mark.parametrize(
    ("words", "footage"),
    [(["a", "b", "--out", "o"], ["a", "b"]), (["--out", "o", "a"], ["a"]), (["--motion", "m"], None)],
)
def test_recordings_are_named_one_after_the_other(words: list[str], footage: list[str] | None) -> None:
    found = parse(verb.learn, "learn", words)
    assert (found.get("footage") or None) == (footage and [Path(one) for one in footage])


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (["v.mp4"], "lifting"),
        (["v.mp4", "--fov", "60"], "lifting"),
        (["--fov", "60", "v.mp4"], "lifting"),
        (["run", "v.mp4"], "run"),
    ],
)
def test_without_a_run_the_packages_own_model_predicts(words: list[str], run: str) -> None:
    found = parse(predict_verb.predict, "predict", words)
    assert (found["input"], found["run"]) == (Path("v.mp4"), Path(run))


@pytest.fixture(scope="module")
def without_b(recording: Path, tmp_path_factory: pytest.TempPathFactory):
    return vergence.learn([recording], tmp_path_factory.mktemp("without"), steps=3, anyway=True, hold_out="b")


def test_a_camera_is_held_out_of_all_that_teaches(without_b, learned, recording: Path) -> None:
    one, own = without_b.recordings[0], json.loads((without_b.folder / "results.json").read_text())
    config = without_b.model.config["recordings"][one.name]
    assert config["cameras"] == ["a", "c"]
    assert config["frames"] == "0-23,36-59"
    assert own["recordings"][one.name]["held_out_cameras"] == ["b"]
    assert own["recordings"][one.name]["figures"]["ways"]["model"]["p_mpjpe_others"][1] > 0
    assert (without_b.folder / one.name / "without-b" / "poses.npz").is_file()
    told = without_b.model.config["held_out_error"][one.name]
    assert told["held_out_cameras"] == ["b"]
    assert told["p_mpjpe"] == own["recordings"][one.name]["figures"]["ways"]["model"]["p_mpjpe_others"][1]
    whole = np.asarray(learned.recordings[0].labels.pose)
    assert np.asarray(one.labels.pose).shape == whole.shape
    assert 0 < np.nanmedian(np.linalg.norm(np.asarray(one.labels.pose) - whole, axis=-1)) < 0.1  # reference bones


@pytest.mark.parametrize(("hold_out", "told"), [("d", "no recording has a camera 'd'"), (("a", "b"), "1 cameras left")])
def test_cameras_that_cannot_be_held_out(recording: Path, tmp_path: Path, hold_out, told: str) -> None:
    with pytest.raises(VergenceError, match=told):
        vergence.learn([recording], tmp_path / "out", steps=3, anyway=True, hold_out=hold_out)
    assert not (tmp_path / "out").exists()


def test_an_image_model_gets_a_capture_without_the_camera(recording: Path, tmp_path: Path) -> None:
    capture = vergence.load_capture(recording)
    assert capture_without(capture, (), tmp_path) == capture.folder
    other = vergence.load_capture(capture_without(capture, ("b",), tmp_path))
    assert other.names == ["a", "c"]
    both, two = vergence.observe(capture).keypoints, vergence.observe(other).keypoints
    np.testing.assert_array_equal(two, both[:, [0, 2]])


def test_a_model_is_measured_on_footage_it_knows_in_its_held_out_time(without_b, recording: Path) -> None:
    name = without_b.recordings[0].name
    folder = without_b.folder / name
    found = vergence.evaluate(without_b.folder / "model", footage=folder).results["footage"]
    again = vergence.evaluate(without_b.folder / "model", footage=recording).results["footage"]
    assert found["frames"] == again["frames"] == "24-35"
    assert found["frames_learned_from"] == 0
    assert found["figures"]["hidden"] == ["b"]
    kept = json.loads((without_b.folder / "results.json").read_text())["recordings"][name]["figures"]
    assert found["figures"] == again["figures"] == kept
    asked = vergence.evaluate(without_b.folder / "model", footage=folder, frames="0-27").results["footage"]
    assert asked["frames_learned_from"] == 24


def test_the_packages_own_model_is_measured_on_all_frames(learned, recording: Path) -> None:
    reconstruction = learned.folder / recording.name / "reconstruction"
    found = vergence.evaluate("lifting", footage=recording, reconstruction=reconstruction).results["footage"]
    assert found["frames"] == "0-59"
    assert found["figures"]["hidden"] == []
    assert found["figures"]["ways"]["model"]["score"] < 0.9
    assert "nearest training pose" not in found["figures"]["ways"]
    taller = vergence.evaluate("lifting", footage=recording, reconstruction=reconstruction, height=1.87).results
    figures = [one["figures"]["ways"]["model"]["n_mpjpe"] for one in (taller["footage"], found)]
    np.testing.assert_allclose(figures[0], np.multiply(figures[1], 1.1), rtol=1e-6)  # 1.7 m is assumed without it
    with pytest.raises(VergenceError, match="--height belongs to --footage"):
        vergence.evaluate(learned.folder / "model", data="x", height=1.87)
    with pytest.raises(VergenceError, match="stands alone"):
        vergence.evaluate("lifting", footage=recording, data="x")
    with pytest.raises(VergenceError, match="holds no reconstruction"):
        vergence.evaluate("lifting", footage=recording, reconstruction=recording)
    with pytest.raises(VergenceError, match="measured on footage"):
        vergence.evaluate(learned.folder / "model")


def test_evaluate_footage_prints_and_writes(without_b, capsys: pytest.CaptureFixture) -> None:
    folder = without_b.folder / without_b.recordings[0].name
    assert main(["evaluate", str(without_b.folder / "model"), "--footage", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "zero depth" in out
    assert "share" in out
    place = without_b.folder / "model" / "evaluation" / folder.name
    assert json.loads((place / "results.json").read_text())["footage"]["frames"] == "24-35"
    assert "constant pose" in (place / "report.html").read_text()


def test_an_image_model_is_measured_in_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synth(tmp_path / "film", frames=20, views=3, size=64, known="cameras", seed=8, device="cpu", quiet=True)
    quick = ["--stages.pose.train.steps", "2", "--stages.pose.train.batch.footage", "4", "--image_size", "32"]
    train = steps_of_learning.train
    monkeypatch.setattr(
        steps_of_learning, "train", lambda *a, overrides, **more: train(*a, overrides=[*overrides, *quick], **more)
    )
    found = vergence.learn([tmp_path / "film"], tmp_path / "out", student="image", anyway=True, hold_out="cam02",
                           device="cpu")  # fmt: skip
    figures = json.loads((tmp_path / "out" / "results.json").read_text())["recordings"]["film"]["image_figures"]
    assert figures["hidden"] == ["cam02"]
    assert max(figures["frames"]) <= 4
    assert found.recordings[0].image_figures is not None
    assert "film by cam02 " in vergence.load(tmp_path / "out" / "image").domain.error
    assert "image model" in learned_page(found).tables[0].title


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_stopped_anywhere_it_ends_with_the_same_bytes(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """Killed before any of its files took its place: the file's temporary copy stays behind, as after a kill -9."""
    found = vergence.reconstruct(recording)
    monkeypatch.setattr(steps_of_learning, "reconstruct", lambda *_, **__: found)
    monkeypatch.setattr(lifter_training, "KEEP_EVERY_S", -1.0)
    place, count, stop_at = os.replace, 0, -1

    def replace_or_die(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == stop_at:
            shutil.copy(source, Path(source).with_name(".left.0123abcd.json"))
            raise KeyboardInterrupt
        place(source, target)

    monkeypatch.setattr(os, "replace", replace_or_die)

    def run() -> dict[str, bytes]:
        vergence.learn([recording], tmp_path / "out", steps=3, anyway=True, hold_out="b",
                       each=lambda found, folder: write_text(folder / "report.html", "page"))  # fmt: skip
        return files_of(tmp_path / "out")

    whole = run()
    total = count
    for at in (
        3,
        total // 2,
        total - 4,
        total - 1,
    ):  # the page of the reconstruction, its poses, the training, the model
        shutil.rmtree(tmp_path / "out")
        count, stop_at = 0, at
        with pytest.raises(KeyboardInterrupt):
            run()
        stop_at = -1
        assert run() == whole, f"stopped before file {at} of {total}"
