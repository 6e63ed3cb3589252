"""What a detector found, line by line: places of frames that cannot be decoded, files cut short, two writers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.detectors import detect
from vergence.footage.detectors.detect import cached_people
from vergence.footage.detectors.lines import BATCH, detect_lines
from vergence.footage.images import Video
from vergence.progress import silent
from vergence.skeleton import COCO_17


class Film(Video):
    """Images whose brightness is their number; of which some cannot be decoded."""

    def __init__(self, count: int, missing: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.count, self.missing, self.size, self.fps = count, missing, (40, 30), 25.0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self.missing:
            raise VergenceError(f"frame {index} cannot be decoded")
        return np.full((30, 40, 3), index, np.uint8)

    def frames(self, start=0, stop=None):
        return ((i, self[i]) for i in range(start, self.count) if i not in self.missing)

    def close(self) -> None:
        pass


class Counting:
    """Finds one person, whose nose is where the image's number says."""

    skeleton, identity = COCO_17, "counting"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, images):
        self.seen += [int(image[0, 0, 0]) for image in images]
        found = []
        for image in images:
            person = np.full((1, 17, 3), np.nan)
            person[0, 0] = int(image[0, 0, 0]) + 1, 5, 0.5
            found.append(person)
        return found


def noses(kept) -> list[float]:
    return [people[0, 0, 0] - 1 if len(people) else -1 for people in kept.people(17)]


def test_frames_that_cannot_be_decoded_keep_their_place(tmp_path: Path) -> None:
    missing = (0, 7, 8, BATCH, 38, 39)
    kept = detect_lines(Film(40, missing), "film", tmp_path / "a.jsonl", {}, Counting(), silent)
    assert kept.frames == 40
    assert noses(kept) == [-1 if frame in missing else frame for frame in range(40)]


@pytest.mark.parametrize("cut", [1, 30, 2000])
def test_a_file_cut_short_is_gone_on_with(tmp_path: Path, cut: int) -> None:
    film, path, about = Film(60, (20, 21)), tmp_path / "a.jsonl", {"video": "film"}
    whole = detect_lines(film, "film", path, about, Counting(), silent)
    before = path.read_bytes()
    path.write_bytes(before[:-cut])
    rest = Counting()
    assert noses(detect_lines(film, "film", path, about, rest, silent)) == noses(whole)
    assert path.read_bytes() == before
    assert 0 < len(rest.seen) < 60 + 6
    again = Counting()
    detect_lines(film, "film", path, about, again, silent)
    assert again.seen == []
    detect_lines(film, "film", path, {"video": "another"}, again, silent)
    assert len(again.seen) >= 58


def test_two_writers_of_one_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    class Disturbed(Counting):
        def __call__(self, images):
            if len(images) == BATCH and len(self.seen) > 20:
                path.open("a").write("[]\n")
            return super().__call__(images)

    with pytest.raises(VergenceError, match="written by another call"):
        detect_lines(Film(60), "film", path, {}, Disturbed(), silent)


def test_images_and_folders_are_kept_in_the_cache(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    monkeypatch.setattr(detect, "CACHE", tmp_path / "cache")
    folder = tmp_path / "images"
    folder.mkdir()
    for number, shape in ((3, (30, 40, 3)), (5, (50, 20, 3))):
        Image.fromarray(np.full(shape, number, np.uint8)).save(folder / f"{number}.png")
    assert noses(cached_people(folder, Counting())) == [3, 5]
    assert noses(cached_people(folder / "5.png", Counting())) == [5]
    again = Counting()
    cached_people(folder, again)
    assert again.seen == []
    files = [file.read_text() for file in (tmp_path / "cache" / "keypoints").glob("*.jsonl")]
    assert sorted(json.loads(text.splitlines()[0])["video"] for text in files) == ["5.png", "images"]
