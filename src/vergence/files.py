"""Files: written so that nothing is ever half-written, read so that what does not fit is one sentence.

Writing goes to a temporary file in the same folder, then one rename: a run that is killed, a disk that fills up or a folder
that may not be written to leaves the old file, or none. Same folder, because a rename is atomic only within one file system.

What a JSON, TOML or NPZ file must hold is declared once, as a type, and held while it is read: `msgspec` for JSON and TOML
(it names the place of what does not fit, and reads JSON faster than Python's own), jaxtyping's arrays for NPZ.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import os
import re
import struct
import tempfile
import tomllib
import uuid
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import jaxtyping
import msgspec
import numpy as np
import yaml
from jaxtyping import Shaped

from vergence.errors import VergenceError, refusing

T = TypeVar("T")

# UTF-32's little mark begins as UTF-16's: it goes first. Windows' PowerShell and Notepad write the others.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


MOST_OPENED, MOST_GROWTH, SMALL = 2 << 30, 100, 16 << 20  # bytes; times a file's size; bytes of which nobody asks
ALIGNMENT = 0xD935  # of a ZIP's extra field that only fills up
ROOM = 1 << 20  # bytes that a disk must hold to begin at all
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    Raises:
        VergenceError: the folder is missing and cannot be made, or may not be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    left = "The file is as it was" if path.exists() else "Nothing is left of it"
    remedy = f"Check the folder's permissions and free space. {left}; what was written before it is whole."
    try:
        with refusing(f"{path} could not be written", remedy, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of `atomic_path` that a killed process left in a folder that nobody else writes to."""
    for path in folder.rglob(".*"):
        if LEFTOVER.fullmatch(path.name) and path.is_file():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file atomically, with `\\n` line ends everywhere."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes a file atomically. Libraries that are given a path instead raise errors of their own where a disk is full."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_bytes(path: Path | str) -> bytes:
    """What a file holds.

    Raises:
        VergenceError: missing, a folder, or not to be read.
    """
    if not Path(path).exists():
        raise VergenceError(f"there is no file {path}", "Check the path.")
    with refusing(f"{path} cannot be read", "Check the path and its permissions.", OSError):
        return Path(path).read_bytes()


def beginning(path: Path | str, size: int = 4096) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(size)
    return b""


def read_text(path: Path | str) -> str:
    """What a text file holds; UTF-8, or what its byte order mark says.

    Raises:
        VergenceError: missing, a folder, or not text.
    """
    data = read_bytes(path)
    with refusing(f"{path} is not text", "Save it as UTF-8.", UnicodeDecodeError):
        return data.decode(next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8"))


def read_yaml(path: Path | str, remedy: str = "") -> Any:
    """What a YAML file holds; an empty one holds an empty mapping, and a key that is given twice is refused."""
    with refusing(f"{path} is not readable YAML", remedy, yaml.YAMLError, VergenceError):
        return yaml.load(read_text(path), _Once) or {}


class _Once(yaml.SafeLoader):
    """Of a key that is given twice PyYAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_toml(path: Path | str, remedy: str = "Mend the line it names.") -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        VergenceError: missing or damaged.
    """
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        slashes = any(word in str(error) for word in ("Unescaped '\\'", "Invalid hex"))
        more = " A path is written with / or in 'single quotes'." if slashes else ""
        raise VergenceError(f"{path} is not readable TOML: {error}", remedy + more) from error


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def read_json(
    path: Path | str, kind: Any = Any, remedy: str = "Write it again.", what: str = "file of its kind"
) -> Any:
    """What a JSON file holds, as `kind` (any type that msgspec knows), or in words `what`; Python's `NaN` and `Infinity`
    are numbers.

    Raises:
        VergenceError: missing, damaged, or something else than `kind`; names the place.
    """
    try:
        with open(path, "rb") as file:
            return _decoder(kind).decode(file.read())
    except (OSError, ValueError, RecursionError):
        text = read_text(path)  # with a byte order mark, Python's `NaN`, or truly damaged: asked again, and told
        if not text.strip():
            raise VergenceError(f"{path} is empty", remedy) from None
    damaged = refusing(f"{path} is not readable JSON", remedy, ValueError, RecursionError)
    with damaged, refusing(f"{path} is no {what}", remedy, msgspec.ValidationError):
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError) or ("NaN" not in text and "Infinity" not in text):
                raise
            return msgspec.convert(json.loads(text), kind)


def inside(folder: Path, name: str) -> Path:
    """The file of a name that a list gives, which must lie in the list's folder.

    Raises:
        VergenceError: it leads out of it.
    """
    if not name.strip() or not Path(os.path.abspath(folder / name)).is_relative_to(os.path.abspath(folder)):
        raise VergenceError(f"{name!r} leads out of {folder}", "Name files by their path in the folder.")
    return folder / name


def check_growth(path: Path | str, opened: int) -> None:
    """Refuses a file that a few bytes make large, before it takes the memory.

    Args:
        path: archive, or file of arrays.
        opened: bytes of what is to be read of it.

    Raises:
        VergenceError: that is over `MOST_OPENED`, or so many times the file's size that it holds no measurements.
    """
    size = Path(path).stat().st_size
    if opened > max(MOST_OPENED, size) or opened > max(SMALL, MOST_GROWTH * size):
        told = f"{path} has {size / 2**20:.3g} MiB and would take {opened / 2**20:,.0f} MiB of memory"
        limit = f"at most {MOST_OPENED >> 30} GiB and {MOST_GROWTH} times a file's size are read"
        raise VergenceError(f"{told}; {limit}", "Get the original file, or write it in parts.")


def check_archive(path: Path | str) -> None:
    """`check_growth` of a ZIP archive, as an NPZ is; what is none passes."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as file:
        check_growth(path, sum(member.file_size for member in file.infolist()))


def read_arrays(path: Path | str, keys: Sequence[str] = (), remedy: str = "Write it again.") -> dict[str, np.ndarray]:
    """All arrays of an NPZ file; pickled objects are not loaded.

    Raises:
        VergenceError: missing, not an NPZ, damaged, or without one of `keys`.
    """
    if not Path(path).exists():
        raise VergenceError(f"there is no file {path}", "Check the path.")
    check_archive(path)
    with refusing(f"{path} is not a readable NPZ", remedy), np.load(path, allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    for key in keys:
        if key not in data:
            raise VergenceError(f"{path} has no `{key}`; it has {', '.join(data) or 'nothing'}", remedy)
    return data


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An NPZ file whose arrays begin at multiples of 64 bytes, as `map_npz` likes them; mapped arrays take no memory here."""
    with open(path, "wb") as out, zipfile.ZipFile(out, "w") as file:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            head = (
                30 + len(member.filename) + 20 + 4
            )  # bytes before the array: ZIP's, and its fields of sizes and of filling
            fill = -(out.tell() + head) % 64
            member.extra = struct.pack("<HH", ALIGNMENT, fill) + bytes(fill)
            with file.open(member, "w", force_zip64=True) as rows:
                np.lib.format.write_array(rows, np.asanyarray(array), allow_pickle=False)


def map_npz(path: Path | str) -> dict[str, np.ndarray]:
    """All arrays of an NPZ file, mapped from it: read where they are looked at, and not checked.

    Raises:
        OSError, ValueError, ...: not an NPZ, cut short, or compressed.
    """
    found: dict[str, np.ndarray] = {}
    with open(path, "rb") as data, zipfile.ZipFile(data) as file:
        for member in file.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            data.seek(member.header_offset + 26)
            data.seek(sum(struct.unpack("<HH", data.read(4))), os.SEEK_CUR)
            version = np.lib.format.read_magic(data)
            shape, fortran, kind = getattr(np.lib.format, f"read_array_header_{version[0]}_0")(data)
            order: Any = "F" if fortran else "C"
            found[member.filename.removesuffix(".npy")] = np.memmap(path, kind, "r", data.tell(), shape, order)
    return found


def read_npz_as(path: Path | str, kind: type[T], remedy: str = "Write it again.") -> T:
    """An NPZ file as a dataclass, whose annotations say what each array is: jaxtyping's, or of a number, a text, a tuple.

    A field with a default may be lacking. Whole numbers are taken where `Float` is declared. A size (`J`) is the same in
    all fields.

    Raises:
        VergenceError: missing, damaged, a field lacking, or an array of another kind or shape.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    data = read_arrays(path, [field.name for field in fields if field.default is dataclasses.MISSING], remedy)
    hints = get_type_hints(kind)
    with jaxtyping.jaxtyped("context"):
        found = {
            field.name: _array_as(data[field.name], hints[field.name], f"`{field.name}` of {path}", remedy)
            for field in fields
            if field.name in data
        }
    return kind(**found)


def _array_as(array: np.ndarray, hint: Any, what: str, remedy: str) -> Any:
    """An array as a field's annotation wants it."""
    wanted: Any = next((k for k in get_args(hint) or (hint,) if isinstance(k, type(Shaped[np.ndarray, ""]))), None)
    if wanted is not None:
        if array.dtype.kind in "iuf" and "float64" in wanted.dtypes:
            array = array.astype(np.float64)
        elif array.dtype.kind == "f" and "int64" in wanted.dtypes and (array == np.round(array)).all():
            array = array.astype(np.int64)
        if not isinstance(array, wanted):
            shape = wanted.dim_str.strip() or "one number"
            raise VergenceError(f"{what} is {array.dtype} of shape {array.shape}; wanted {shape}", remedy)
        return array
    value = array.item() if array.size == 1 and get_origin(hint) is not tuple else np.atleast_1d(array).tolist()
    with refusing(what, remedy, msgspec.ValidationError):
        return msgspec.convert(value, hint)


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
        msgspec.ValidationError: a field is lacking or of another type.
    """

    def restored(value: Any, null: float) -> Any:
        if isinstance(value, dict):
            return {key: restored(item, null) for key, item in value.items()}
        if isinstance(value, list):
            return [restored(item, null) for item in value]
        return null if value is None else value

    return msgspec.convert({key: restored(v, missing.get(key, math.nan)) for key, v in values.items()}, kind,
                           dec_hook=lambda kind, value: np.asarray(value, dtype=np.float64))  # fmt: skip


def check_writable(path: Path | str, folder: bool = False) -> None:
    """Makes sure that a folder (or file) can be written, before the hours of work whose results go there; makes nothing.

    Args:
        path: the folder or file.
        folder: it must not be a file.

    Raises:
        VergenceError: it is or lies in a file, in a folder that may not be written to, or on a disk that is full.
    """
    path = Path(path).absolute()
    if folder and path.exists() and not path.is_dir():
        what = "a file" if path.is_file() else "no folder"
        raise VergenceError(f"{path} is {what}", "Results go into a folder: choose another name.")
    try:
        there = next(one for one in (path, *path.parents) if one.exists())
        with tempfile.TemporaryFile(dir=there.parent if there == path and there.is_file() else there) as file:
            file.write(bytes(ROOM))
    except NotADirectoryError:
        raise VergenceError(f"{path} lies in a file", "Choose another folder.") from None
    except OSError as error:
        remedy = "Check the folder's permissions and free space, or choose another folder."
        raise VergenceError(f"cannot write to {path}: {error.strerror}", remedy) from error


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
