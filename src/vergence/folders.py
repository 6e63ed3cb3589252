"""Folders of results: one process at a time writes to one, and a refused call leaves none behind.

The lock is a record lock of the operating system on a small file in the folder (`fcntl.lockf`). It ends with its process,
however that ends, so nothing stale is ever in the way; processes that are forked do not share it, so a data loader's worker
that outlives a killed parent for some seconds does not hold the folder; and a network's file system passes it on to other
machines. Where a file system or Windows has no such locks, nobody is told.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from vergence.errors import VergenceError, refusing
from vergence.files import check_writable, read_json, read_yaml, remove_leftovers, write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".vergence.lock"
UNFINISHED = "unfinished.yaml"  # what a call fills the folder with, until it has
TOLD = 5  # differences that are told; of more, how many
PATIENCE_S = 1.0  # in which processes of a killed call end
RESULTS = (".npz", ".safetensors", ".ckpt", ".pt", ".h5", ".jsonl")  # what took time to make
REMEDY = "Wait until it has ended, or choose another --out."
_held: dict[Path, list[Path]] = {}  # locks of this process, with the folders made for them


@contextmanager
def held(folder: Path | str, name: str = LOCK, remedy: str = REMEDY) -> Iterator[None]:
    """While the block runs no other process has the folder; within one process blocks may stand in each other.

    The folder is made, and goes where it is empty in the end.

    Args:
        folder: of results.
        name: of the lock's file, where not all of the folder is meant.
        remedy: said to the second process.

    Raises:
        VergenceError: another process has it, or it cannot be written to.
    """
    lock = Path(folder).resolve() / name
    if lock in _held:
        yield
        return
    check_writable(lock.parent, folder=True)
    made = missing(lock.parent)
    with refusing(f"cannot write to {folder}", "Choose another folder.", OSError):
        file = _locked(lock, remedy)
    _held[lock] = made
    try:
        yield
    finally:
        del _held[lock]
        with suppress(OSError):
            lock.unlink()  # before it is let go: whoever opened it meanwhile sees that it is not in its place
        file.close()
        for one in made:
            with suppress(OSError):
                one.rmdir()


def _locked(lock: Path, remedy: str) -> IO[str]:
    """The lock's file, open and locked."""
    end = time.monotonic() + PATIENCE_S
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "a+")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                who = file.read()
                file.close()
                if time.monotonic() > end:
                    raise VergenceError(f"{who or 'another process'} is writing to {lock.parent}", remedy) from error
                time.sleep(0.1)
                continue
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                break
        file.close()
    if file.seek(0, os.SEEK_END):  # whoever wrote it was killed
        remove_leftovers(lock.parent)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


def missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there; innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but its lock."""
    return all(path.name == LOCK for path in folder.iterdir())


def new_folder(path: Path) -> None:
    """Makes a folder, or makes sure that it is empty.

    Raises:
        VergenceError: it holds something, or cannot be made.
    """
    with refusing(f"cannot write to {path}", "Choose another folder.", OSError):
        path.mkdir(parents=True, exist_ok=True)
        taken = not is_empty(path)
    if taken:
        raise VergenceError(f"{path} is not empty", "Choose a new folder, or empty it.")


def claim(path: Path, values: Mapping[str, Any], other: str) -> None:
    """Writes what a folder is for into a file of it, or makes sure that it is for the same; `other` says what else it is."""
    text, remedy = yaml.safe_dump(values, sort_keys=False), "Choose another --out, or delete it."
    if path.exists() and (different := differences(read_yaml(path, remedy), yaml.safe_load(text))):
        raise VergenceError(f"{path.parent} holds {other}: {different}", remedy)
    write_text(path, text)


def differences(old: Any, new: Any, there: str = "there", here: str = "here") -> str:
    """Where two nested mappings differ, in words: the first `TOLD`, and how many more; empty where they are equal."""
    found = [f"{path} is {_as_yaml(a)} {there} and {_as_yaml(b)} {here}" for path, a, b in _different(old, new)]
    more = len(found) - TOLD
    return "; ".join([*found[:TOLD], *([f"and {more} more keys"] if more > 0 else [])])


def _different(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from _different(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif old != new:
        yield path, old, new


def _as_yaml(value: Any) -> str:
    """A value as a recipe has it, of mappings the names alone."""
    if isinstance(value, dict):
        return f"given ({', '.join(map(str, value))})"
    return "not given" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def check_replaced(folder: Path, mark: str, what: str) -> str:
    """Refuses a folder with the results of something else.

    Args:
        folder: to write to; not there yet, as a rule.
        mark: a key that `results.json` has where it is of that kind.
        what: these results, in words.

    Returns:
        That results of the same kind will be replaced, as a sentence; empty where none are there.

    Raises:
        VergenceError: its `results.json` is of another kind, or there is a `report.html` without one.
    """
    results = folder / "results.json"
    if not results.is_file() and not (folder / "report.html").is_file():
        return ""
    if not results.is_file() or mark not in (read_json(results, dict, remedy="Choose another --out, or delete it.")):
        raise VergenceError(f"{folder} holds other results than {what}", "Choose another --out, or delete it.")
    return f"{folder} holds {what} of an earlier call, which this one will replace"


def check_apart(out: Path, footage: Path) -> None:
    """Refuses results in the folder of the footage itself: a later call would take them for calibrations and keypoints.

    Raises:
        VergenceError: it is the same folder.
    """
    source = footage if footage.is_dir() else footage.parent
    if out.resolve() == source.resolve():
        raise VergenceError(f"--out {out} is the folder of the footage", "Give the results a folder of their own.")


@contextmanager
def begun(folder: Path, values: Mapping[str, Any]) -> Iterator[None]:
    """A folder that the block fills: new or empty, or one in which a call with the same values did not end, which begins anew.

    Raises:
        VergenceError: it holds something else, or cannot be made.
    """
    about = folder / UNFINISHED
    if about.is_file():
        claim(about, values, "what another call did not end")
    else:
        new_folder(folder)
        write_text(about, yaml.safe_dump(dict(values), sort_keys=False))
    yield
    about.unlink()


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Where the block is refused, the folder that it made goes as well, unless it holds results already (`RESULTS`); also
    one that was made to be held."""
    folder = folder.resolve()
    made = [*_held.get(folder / LOCK, ()), *missing(folder)]
    try:
        yield
    except VergenceError:
        if folder in made and not any(path.suffix in RESULTS for path in folder.rglob("*")):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made[1:]:
                with suppress(OSError):  # something else came to lie there
                    parent.rmdir()
        raise
