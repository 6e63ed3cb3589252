"""A camera's overlay in a window: with windows that are only pretended, and the sentence where there are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fixtures_light import HEIGHT, WIDTH

from vergence.cli import main
from vergence.report.recordings import window
from vergence.skeleton import COCO_17


class Standing:
    """Somebody who stands in every image but the first."""

    skeleton, identity, count = COCO_17, "standing 1", 0

    def __call__(self, images):
        self.count += 1
        x = [160, 163, 157, 166, 154, 175, 145, 181, 139, 184, 136, 169, 151, 169, 151, 169, 151]
        y = [60, 57, 57, 60, 60, 78, 78, 96, 96, 114, 114, 117, 117, 144, 144, 171, 171]
        return [np.c_[x, y, np.full(17, 0.9)][None][: self.count - 1]]


@pytest.fixture
def shown(monkeypatch):
    """What is drawn on a screen that closes at the fourth image."""
    images: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:    QT5\n")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, image: images.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: ord("q") if len(images) == 4 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(window, "camera_images", lambda n: iter([np.full((HEIGHT, WIDTH, 3), 40 * n, np.uint8)] * 9))
    monkeypatch.setattr(window, "open_detector", lambda *words: Standing())
    return images


@pytest.mark.parametrize("people", ["one", "all"])
def test_it_shows_images_until_a_key_ends_it_and_writes_nothing(shown, people, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "1", "--people", people]) == 0
    assert [image.shape for image in shown] == [(HEIGHT, WIDTH + HEIGHT // 2, 3)] * 4
    assert shown[0][5, 5].tolist() == [40, 40, 40]
    assert (shown[3] != shown[0]).any()
    said = " ".join(capsys.readouterr().out.split())
    assert "4 images, 3 poses; nothing was written." in said
    assert "no label-free result" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--height", "1.7", "--smooth", "0.2"], "--smooth, --height with a camera"),
        (["--keypoints", "."], "--keypoints with a camera"),
    ],
)
def test_what_a_camera_has_no_use_for_is_refused(shown, words, message, capsys):
    assert main(["predict", "0", *words]) == 2
    assert message in capsys.readouterr().err
    assert not shown


def test_without_windows_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    assert main(["predict", "lifting", "0"]) == 2
    said = capsys.readouterr().err
    assert "the OpenCV that is installed has none" in said
    assert "pip install opencv-python;" in said
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI: GTK3\n")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(window.sys, "platform", "linux")
    assert main(["predict", "0"]) == 2
    assert "there is no screen" in capsys.readouterr().err


def test_a_camera_that_gives_nothing_is_told(shown, monkeypatch, capsys):
    monkeypatch.setattr(window, "camera_images", lambda number: iter([]))
    assert main(["predict", "0"]) == 2
    assert "camera 0 gives no image" in capsys.readouterr().err
