"""What several runs have in common, made once: images in memory, finished stages and label files in a folder.

A stage is found by the fingerprint of everything that its result depends on (`runs.Run`), images by their source
without the settings that only hide labels. Whatever is found is copied into the run, which stays whole by itself.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import asdict
from pathlib import Path

from vergence.batches.dataset import Dataset
from vergence.batches.pseudo_labels import fingerprint
from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.recipes.sources import Source
from vergence.training.sources import open_source

LAST = "done.json"  # of a stage's files the one that says that it is finished


class Opened:
    """Sources that are open."""

    def __init__(self) -> None:
        self._images: dict[str, Dataset] = {}

    def open(self, source: Source, image_size: int, skeleton: str) -> Dataset:
        """A source's images and their whole truth, opened once in this process; nobody may change them."""
        key = fingerprint(images_of(source), image_size, skeleton)
        if key not in self._images:
            self._images[key] = open_source(source, image_size, skeleton)
        return self._images[key]

    def forget(self) -> None:
        """Clears the cache of opened datasets."""
        self._images.clear()


class Shared(Opened):
    """Things that runs share.

    Args:
        folder: of finished stages and label files, by their fingerprint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def take(self, made_by: str, into: Path) -> bool:
        """Copies what that fingerprint made to `into`, a stage's folder or a label file; False where there is nothing."""
        kept = self.folder / (made_by + into.suffix)
        if not kept.exists():
            return False
        if kept.is_dir():
            into.mkdir(parents=True, exist_ok=True)
            for file in sorted(kept.iterdir(), key=lambda file: file.name == LAST):
                _copy(file, into / file.name)
        else:
            _copy(kept, into)
        return True

    def put(self, made_by: str, made: Path) -> None:
        """Keeps a finished stage's folder (its files, no folders in it) or a label file; whole, or not at all."""
        kept = self.folder / (made_by + made.suffix)
        if kept.exists():
            return
        if not made.is_dir():
            _copy(made, kept)
            return
        for left in self.folder.glob(f".{made_by}.*"):  # by a kill
            shutil.rmtree(left, ignore_errors=True)
        partial = self.folder / f".{made_by}.{uuid.uuid4().hex[:8]}"
        try:
            partial.mkdir(parents=True)
            for file in made.iterdir():
                if file.is_file():
                    shutil.copyfile(file, partial / file.name)
            partial.rename(kept)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if kept.exists():  # another process was faster
                return
            raise VergenceError(
                f"{kept} could not be written: {error.strerror or error}",
                "Check the folder's permissions and free space; the same command continues.",
            ) from error


def images_of(source: Source) -> dict[str, object]:
    """The settings of a source that its images and their truth depend on: all but those that hide labels or
    say how poses are measured."""
    return {key: value for key, value in asdict(source).items() if key not in ("keypoints", "pose", "scale")}


def _copy(file: Path, to: Path) -> None:
    with atomic_path(to) as partial:
        shutil.copyfile(file, partial)
