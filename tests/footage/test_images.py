"""Images of the kinds that cameras and programs write, as a viewer shows them."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vergence.errors import VergenceError
from vergence.footage.images import Behind, ImageFolder, ahead, read_image, turned_image

BASE = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (80, 60))
GREY = cv2.cvtColor(BASE, cv2.COLOR_RGB2GRAY)


def by_opencv(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("factor", [257, 16, 4])
@pytest.mark.parametrize("image", [GREY, BASE], ids=["grey", "colour"])
def test_depths_of_more_than_eight_bits(tmp_path: Path, suffix: str, factor: int, image: np.ndarray) -> None:
    by_opencv(tmp_path / f"a.{suffix}", image.astype(np.uint16) * factor)
    wanted = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - wanted).max() <= 1


def test_brightness_of_0_to_1(tmp_path: Path) -> None:
    Image.fromarray((GREY / 255).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.abs(read_image(tmp_path / "a.tif")[..., 1].astype(int) - GREY).max() <= 1


def test_a_full_1_is_white_and_whole_numbers_are_of_255(tmp_path: Path) -> None:
    for top, white in ((1.0, 255), (0.5, 128)):
        Image.fromarray(np.array([[0.0, 0.25, top]], np.float32)).save(tmp_path / "a.tif")
        assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 64, white]
    Image.fromarray(np.array([[0.0, 1.0, 200.0]], np.float32)).save(tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif")[0, :, 0].tolist() == [0, 1, 200]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1", "YCbCr"])
def test_modes(tmp_path: Path, mode: str) -> None:
    name = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    image = Image.fromarray(BASE).convert(mode)
    image.save(name)
    assert np.abs(read_image(name).astype(int) - np.asarray(image.convert("RGB"))).max() <= 2


def test_see_through_is_white(tmp_path: Path) -> None:
    image = np.dstack([BASE, np.full((60, 80), 255, np.uint8)])
    image[:, :40] = 0
    Image.fromarray(image).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert (found[:, :40] == 255).all()
    np.testing.assert_array_equal(found[:, 40:], BASE[:, 40:])


def test_hidden_files_and_damaged_images_of_a_folder(tmp_path: Path) -> None:
    for t in range(4):
        Image.fromarray(BASE).save(tmp_path / f"{t}.png")
        (tmp_path / f"._{t}.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    with ImageFolder(tmp_path) as folder:
        assert len(folder) == 4
        assert [index for index, _ in folder] == [1, 2, 3]
        assert len(folder.notes) == 1
        assert "0.png cannot be read" in folder.notes[0]
        with pytest.raises(VergenceError, match="cannot be read as an image"):
            folder[0]
    with pytest.raises(VergenceError, match=r"Name the images in it\."):
        read_image(tmp_path)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_image_is_numpys(quarters: int):
    found = turned_image(BASE, quarters)
    np.testing.assert_array_equal(found, np.rot90(BASE, quarters))
    assert found.flags.c_contiguous


def test_items_are_worked_out_ahead_in_order_and_errors_come_in_their_place():
    made: list[int] = []

    def items():
        for number in range(6):
            made.append(number)
            yield number
        raise ValueError("the end")

    taken = []
    with pytest.raises(ValueError, match="the end"):  # noqa: PT012
        for item in ahead(items(), 2):
            if not item:
                deadline = time.monotonic() + 10
                while len(made) < 4 and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(0.05)
                assert made == [0, 1, 2, 3]  # two are ready and the third waits for room
            taken.append(item)
    assert taken == made == list(range(6))


def test_a_thread_ends_when_nobody_takes_its_items_any_more():
    before = threading.active_count()
    endless = ahead(itertools.count(), 2)
    assert [next(endless), next(endless)] == [0, 1]
    assert threading.active_count() == before + 1
    endless.close()
    assert threading.active_count() == before
    assert list(ahead([])) == []


def test_what_is_given_is_used_behind_in_order_and_all_of_it_at_the_end():
    used: list[int] = []
    gate = threading.Event()

    def use(items):
        gate.wait(5)
        used.extend(items)

    with Behind(use, most=3) as behind:
        for item in range(3):
            behind.give(item)  # does not wait while there is room
        assert used == []
        gate.set()
        for item in range(3, 10):
            behind.give(item)
    assert used == list(range(10))


def test_errors_behind_come_to_the_giver_and_the_givers_come_behind():
    def use(items):
        for item in items:
            if item == 2:
                raise ValueError("item 2")

    with pytest.raises(ValueError, match="item 2"), Behind(use, most=1) as behind:
        [behind.give(item) for item in itertools.count()]
    with pytest.raises(ValueError, match="item 2"), Behind(use) as behind:
        behind.give(2)
    told: list[BaseException] = []

    def clearing(items):
        try:
            list(items)
        except BaseException as error:
            told.append(error)
            raise

    with pytest.raises(KeyboardInterrupt), Behind(clearing):
        raise KeyboardInterrupt
    assert [type(error) for error in told] == [KeyboardInterrupt]
