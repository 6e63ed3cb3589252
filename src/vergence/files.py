"""Writing files so that nothing is ever half-written: a temporary file in the same folder, then one rename.

A run that is killed, a disk that fills up or a folder that may not be written to leaves the old file, or none; what went
wrong is said in one sentence. Same folder, because a rename is atomic only within one file system.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from vergence.errors import VergenceError

T = TypeVar("T")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    Raises:
        VergenceError: the folder is missing and cannot be made, or may not be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise VergenceError(
            f"{path} could not be written: {reason}",
            "Check the folder's permissions and free space; nothing was changed.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file atomically, with `\\n` line ends everywhere."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def read_yaml(path: Path | str) -> Any:
    """What a YAML file holds; an empty one holds an empty mapping."""
    try:
        return yaml.safe_load(Path(path).read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise VergenceError(f"{path} is not readable YAML: {str(error).splitlines()[0]}") from error


def read_arrays(path: Path | str, keys: Sequence[str] = (), remedy: str = "Write it again.") -> dict[str, np.ndarray]:
    """All arrays of an NPZ file; pickled objects are not loaded.

    Raises:
        VergenceError: missing, not an NPZ, damaged, or without one of `keys`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise VergenceError(f"there is no file {path}", "Check the path.") from None
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise VergenceError(f"{path} is not a readable NPZ: {error}", remedy) from error
    for key in keys:
        if key not in data:
            raise VergenceError(f"{path} has no `{key}`; it has {', '.join(data) or 'nothing'}", remedy)
    return data


def write_json(path: Path | str, value: Any) -> None:
    """Writes JSON atomically; see `plain` for what becomes of arrays, dataclasses and NaN."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays and tuples as lists, dataclasses as mappings, NaN and infinities as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def from_plain(kind: type[T], values: Mapping[str, Any], **missing: float) -> T:
    """A dataclass of numbers, texts, tuples and mappings from what `plain` made of it.

    Args:
        kind: of the dataclass.
        values: by field; what stands beside is left out.
        **missing: by field, what null means there; NaN where nothing is said.

    Raises:
        KeyError: a field is lacking.
    """

    def restored(value: Any, null: float) -> Any:
        if isinstance(value, dict):
            return {key: restored(item, null) for key, item in value.items()}
        if isinstance(value, list):
            return tuple(restored(item, null) for item in value)
        return null if value is None else value

    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: restored(values[name], missing.get(name, math.nan)) for name in fields})


def read_json(path: Path | str, remedy: str = "Write it again.") -> Any:
    """What a JSON file holds.

    Raises:
        VergenceError: missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VergenceError(f"there is no file {path}", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise VergenceError(f"{path} is not readable JSON: {error}", remedy) from error


def new_folder(path: Path) -> None:
    """Makes a folder, or makes sure that it is empty.

    Raises:
        VergenceError: it holds something, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = any(path.iterdir())
    except OSError as error:
        raise VergenceError(f"cannot write to {path}: {error.strerror}", "Choose another folder.") from error
    if taken:
        raise VergenceError(f"{path} is not empty", "Choose a new folder, or empty it.")


def claim(path: Path, values: Mapping[str, Any], other: str) -> None:
    """Writes what a folder is for into a file of it, or makes sure that it is for the same; `other` says what else it is."""
    text, remedy = yaml.safe_dump(values, sort_keys=False), "Choose another --out, or delete it."
    if path.exists():
        try:
            old = yaml.safe_load(path.read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise VergenceError(f"{path} is not readable YAML", remedy) from error
        if different := first_difference(old, yaml.safe_load(text)):
            raise VergenceError(f"{path.parent} holds {other}: {different}", remedy)
    write_text(path, text)


def first_difference(old: Any, new: Any, path: str = "") -> str:
    """Where two nested mappings differ first, in words; empty where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if found := first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key)):
                return found
        return ""
    return "" if old == new else f"{path} is {old!r} there and {new!r} here"


def renamed(values: Mapping[str, Any], names: Mapping[str, str], file: Path | str) -> dict[str, Any]:
    """A mapping with today's keys for old ones (`names`: old to new), and one warning that tells which."""
    found = {old: new for old, new in names.items() if old in values and new not in values}
    warn_renamed(file, found)
    return {found.get(key, key): value for key, value in values.items()}


def warn_renamed(file: Path | str, found: Mapping[str, str]) -> None:
    """One FutureWarning that a file (or options over it) has keys under old names; none where `found` is empty."""
    if found:
        told = ", ".join(f"{old} is now {new}" for old, new in found.items())
        warnings.warn(f"{file} has keys of an older version: {told}", FutureWarning, stacklevel=3)
