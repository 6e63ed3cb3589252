import json
import shutil

import numpy as np
import pytest
from fixtures_light import FRAMES, HEIGHT, WIDTH, path_of
from PIL import Image

from vergence.cli import main
from vergence.commands.predict import predict
from vergence.footage.video import open_video
from vergence.outputs import read_npz, read_trc
from vergence.skeleton import H36M_17


def test_a_video_with_boxes_gives_all_files(light_run, light_video, tmp_path, capsys):
    boxes = tmp_path / "boxes.csv"
    rows = [f"{t + 1},{path_of(t)[0] - 20},{path_of(t)[1] - 30},40,60" for t in range(FRAMES) if t != 4]
    boxes.write_text("\n".join(["frame,x,y,w,h", *rows]))
    out = tmp_path / "out"
    assert (
        main(["predict", str(light_run), str(light_video), "--boxes", str(boxes), "--fov", "60", "--out", str(out)])
        == 0
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "11 of 12 frames have a pose" in printed
    assert "counts frames from 1" in printed
    assert "assumed stature" in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "angles.csv", "limbs.csv", "overlay.mp4", "poses.csv", "poses.json", "poses.npz", "poses.trc", "report.html",
    ]  # fmt: skip
    with np.load(out / "poses.npz") as file:
        keys = "pose joint_names fps unit up keypoints confidence frame time placed reliable root root_sigma person"
        assert set(file) == set(keys.split())
        assert file["pose"].shape == (FRAMES, 17, 3)
        assert file["keypoints"].shape == (FRAMES, 17, 2)
        assert file["joint_names"].tolist() == list(H36M_17.joint_names)
        assert (float(file["fps"]), str(file["unit"])) == (25.0, "reference_bone")
        np.testing.assert_allclose(file["time"], np.arange(FRAMES) / 25)
        missing = np.isnan(file["pose"]).all((1, 2))
        np.testing.assert_allclose(np.nan_to_num(file["pose"][:, 0]), 0, atol=1e-6)
    assert missing.tolist() == [t == 4 for t in range(FRAMES)]
    assert json.loads((out / "poses.json").read_text())["pose"][4][0] == [None, None, None]
    assert read_trc(out / "poses.trc").positions.shape == (FRAMES, 17, 3)
    assert len((out / "poses.csv").read_text().splitlines()) == FRAMES + 1
    with open_video(out / "overlay.mp4") as overlay:
        assert len(overlay) == FRAMES
        assert overlay.size == (WIDTH + HEIGHT // 2, HEIGHT)
        assert overlay.fps == 25


def test_an_image_with_a_box_and_the_same_in_the_python_call(light_run, tmp_path):
    path = tmp_path / "person.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    words = ["predict", str(light_run), str(path), "--box", "100,20,80,160", "--quiet", "true"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    predict(light_run, path, tmp_path / "b", box="100 20 80 160", quiet=True)
    first, second = read_npz(tmp_path / "a" / "poses.npz"), read_npz(tmp_path / "b" / "poses.npz")
    np.testing.assert_array_equal(first.pose, second.pose)
    assert first.pose.shape == (1, 17, 3)
    with Image.open(tmp_path / "a" / "overlay.png") as overlay:
        assert overlay.size == (WIDTH + HEIGHT // 2, HEIGHT)


def test_a_folder_of_images_of_several_sizes(light_run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, shape in enumerate([(120, 90), (60, 200), (120, 90)]):
        Image.fromarray(np.full((*shape, 3), 50 * i, np.uint8)).save(folder / f"im{i}.png")
    predict(light_run, folder, tmp_path / "out", frames="0-1", whole_image=True, quiet=True)
    poses = read_npz(tmp_path / "out" / "poses.npz")
    assert poses.frame.tolist() == [0, 1]
    assert np.isfinite(poses.pose).all()
    with open_video(tmp_path / "out" / "overlay.mp4") as overlay:
        assert len(overlay) == 2


def test_without_overlay_and_with_frames(light_run, light_video, tmp_path):
    predict(light_run, light_video, tmp_path, frames="3,7-8", whole_image=True, overlay=False, flip=False, quiet=True)
    assert read_npz(tmp_path / "poses.npz").frame.tolist() == [3, 7, 8]
    assert not list(tmp_path.glob("overlay*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--height", "178"], "0.5 to 2.5"),
        (["--smooth", "9"], "0 to 2"),
        (["--formats", "npz,xlsx"], "'xlsx'"),
        (["--markers", "none.toml"], "there are no markers"),
        (["--out", __file__], "is a file. Results go into a folder"),
    ],
)
def test_what_files_are_asked_for_is_checked_before_any_image_is_read(tmp_path, capsys, words, message):
    (tmp_path / "empty.mp4").touch()
    assert main(["predict", str(tmp_path / "empty.mp4"), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_videos_is_told_to_name_one(light_run, light_video, tmp_path, capsys):
    shutil.copy(light_video, tmp_path / "one.mp4")
    assert main(["predict", str(light_run), str(tmp_path)]) == 2
    assert f"name one of them, as {tmp_path / 'one.mp4'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--box", "1,2,3"], "--box 1,2,3"),
        (["--box", "1,2,-3,4"], "width and height must be above 0"),
        (["--box", "900,10,20,30"], "outside the 320x240 image"),
        (["--box", "1,2,3,4", "--keypoints", "."], "given twice"),
        (["--boxes", "none.csv"], "there is no none.csv. --boxes is: person boxes"),
        (["--fov", "200"], "between 0 and 180"),
        (["--camera", "cam"], "without a capture"),
        (["--frames", "50-60"], "frames 0 to 11"),
        (["--fps", "-1"], "--fps above 0"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(light_run, light_video, tmp_path, capsys, words, message):
    assert main(["predict", str(light_run), str(light_video), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_missing_run_and_missing_input(light_run, light_video, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(light_video)]) == 2
    assert main(["predict", str(light_run), str(tmp_path / "no.mp4")]) == 2
    assert main(["predict", str(light_run), str(tmp_path / "no.png")]) == 2
    errors = capsys.readouterr().err
    assert "is not a finished run" in errors
    assert "no.mp4. INPUT is: image, folder of images, or video" in errors
    assert "no.png. INPUT is" in errors


def test_a_scene_without_a_person_in_it_named_is_refused(light_run, light_video, tmp_path, capsys):
    words = ["predict", str(light_run), str(light_video), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "nothing says where the person is in walk.mp4 (320x240" in said
    assert all(option in said for option in ("--box", "--boxes", "--keypoints", "--capture", "--whole-image"))
    assert not (tmp_path / "out").exists()
    assert main([*words, "--whole-image", "true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "12 frames, each taken whole" in said
    assert "have a pose" not in said


def test_crops_of_the_runs_size_need_no_box(light_run, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "crop.png")
    assert main(["predict", str(light_run), str(tmp_path / "crop.png"), "--out", str(tmp_path / "out")]) == 0
    assert "taken as a crop" in " ".join(capsys.readouterr().out.split())
    assert (
        main(["predict", str(light_run), str(tmp_path / "crop.png"), "--whole-image", "true", "--box", "1,1,9,9"]) == 2
    )
    assert "given twice: --box and --whole-image" in " ".join(capsys.readouterr().err.split())
