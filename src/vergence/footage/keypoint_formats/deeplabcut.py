"""DeepLabCut's tables and those of the tools that write the same: lightning-pose, Anipose's 2D, Ensemble Kalman smoothers.

A CSV begins with the rows `scorer`, perhaps `individuals`, `bodyparts` and `coords`; an HDF5 file is what pandas makes of the
same table, and is read with h5py: PyTables would be a large dependency for one array and its column names. Predictions are
numbered by frame; labels are named by their pictures (`labeled-data/cam01/img0007.png`, in one column or three), and have
no likelihood. Columns that are neither x, y nor likelihood (an ensemble's variances, `set`) are passed over.

Column names of pandas' tables are pickled. What unpickles them here knows lists, tuples, texts and numbers and refuses all
else, so that no file can have code run.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vergence.errors import VergenceError, refusing
from vergence.files import beginning, read_text
from vergence.footage.formats.names import name_numbers
from vergence.footage.keypoint_formats.tables import detections
from vergence.footage.keypoints import Detections
from vergence.footage.readers import Reader
from vergence.skeleton import Skeleton

if TYPE_CHECKING:
    import h5py

HEADER = ("scorer", "individuals", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")
SINGLE = "single"  # DeepLabCut's individual of the points that belong to no animal

Column = tuple[str, ...]  # scorer, perhaps individual, bodypart, coordinate


def is_table(path: Path) -> bool:
    """Whether a CSV begins as these do."""
    line = beginning(path).decode("utf-8-sig", "replace").partition("\n")[0]
    return line.split(",")[0].strip().lower() == HEADER[0]


def read_deeplabcut_csv(path: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """A CSV with DeepLabCut's header.

    Raises:
        VergenceError: missing, another CSV, or values that are no numbers.
    """
    path, text = Path(path), read_text(path)
    with refusing(f"{path} is not readable CSV", "Write it again.", csv.Error):
        rows = list(csv.reader(io.StringIO(text)))
    rows = [row for row in rows if any(word.strip() for word in row)]
    head: dict[str, list[str]] = {}
    for row in rows[: len(HEADER)]:
        if row[0].strip().lower() in HEADER:
            head.setdefault(row[0].strip().lower(), [word.strip() for word in row])
    rows = rows[len(head) :]
    if not {"scorer", "bodyparts", "coords"} <= set(head) or len({len(row) for row in head.values()}) > 1:
        raise VergenceError(
            f"{path} is no keypoint table: its first rows are not scorer, bodyparts and coords of one length",
            "CSV of DeepLabCut and lightning-pose is read.",
        )
    width = len(head["coords"])
    index = next((i for i in range(1, width) if head["coords"][i]), width)
    columns = [tuple(head[key][i] for key in HEADER if key in head) for i in range(index, width)]
    values = np.full((len(rows), len(columns)), np.nan)
    for number, row in enumerate(rows):
        where = f"{path}: row {number + len(head) + 1}"
        if len(row) != width:
            raise VergenceError(f"{where} has {len(row)} of {width} columns", "Is it cut?")
        for i, word in enumerate(row[index:]):
            if columns[i][-1].lower() in COORDS and word.strip():
                try:
                    values[number, i] = float(word)
                except ValueError:
                    problem = f"{where} has {word!r} where a number belongs"
                    raise VergenceError(problem, "Write the file again.") from None
    return _read(path, columns, ["/".join(row[:index]) for row in rows], values, skeleton)


def read_deeplabcut_h5(file: h5py.File, path: Path, skeleton: Skeleton | None = None) -> Detections:
    """pandas' HDF5, of which the first table with such columns is read.

    Raises:
        VergenceError: no such table in it, or damaged.
    """
    for group in file.values():
        kind = _text(group.attrs.get("pandas_type", ""))
        if kind in ("frame", "frame_table"):
            columns, index, values = (_fixed if kind == "frame" else _table)(group, path)
            return _read(path, columns, index, values, skeleton)
    raise VergenceError(f"{path} holds no table of pandas", "HDF5 of DeepLabCut, Anipose and SLEAP is read.")


def _fixed(group: h5py.Group, path: Path) -> tuple[list[Column], list[str], np.ndarray]:
    """pandas' format `fixed`: levels and labels of columns, and blocks of values."""
    columns: list[Column] = []
    blocks = []
    for block in range(int(group.attrs["nblocks"])):
        columns += list(zip(*_levels(group, f"block{block}_items", path)))
        blocks.append(np.asarray(group[f"block{block}_values"], dtype=np.float64))
    index = ["/".join(map(str, row)) for row in zip(*_levels(group, "axis1", path))]
    return columns, index, np.concatenate(blocks, axis=1)


def _levels(group: h5py.Group, axis: str, path: Path) -> list[list[str]]:
    if _text(group.attrs[f"{axis}_variety"]) != "multi":
        return [_words(group[axis], path)]
    levels = []
    for level in range(int(group.attrs[f"{axis}_nlevels"])):
        words = _words(group[f"{axis}_level{level}"], path)
        levels.append([words[label] for label in np.asarray(group[f"{axis}_label{level}"])])
    return levels


def _words(data: h5py.Dataset, path: Path) -> list[str]:
    """What names columns or rows, as texts; a list of mixed objects is pickled in one value."""
    if data.dtype.kind == "O" and data.shape == (1,):
        return [str(word) for word in _unpickled(bytes(data[0]), path)]
    return [_text(word) for word in np.asarray(data)]


def _table(group: h5py.Group, path: Path) -> tuple[list[Column], list[str], np.ndarray]:
    """pandas' format `table`: rows of an index and blocks of values, whose columns are pickled."""
    data = group["table"]
    rows = data[:]
    columns: list[Column] = []
    values = []
    for name in rows.dtype.names:
        if name.startswith("values_block_"):
            named = _unpickled(bytes(data.attrs[f"{name}_kind"]), path)
            columns += [tuple(map(str, column)) for column in named]
            values.append(rows[name].reshape(len(rows), len(named)))
    kept = [name for name in rows.dtype.names if not name.startswith("values_block_")]
    index = ["/".join(_text(rows[name][i]) for name in kept) for i in range(len(rows))]
    return columns, index, np.concatenate(values, axis=1).astype(np.float64)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _unpickled(data: bytes, path: Path) -> list[Any]:
    with refusing(f"{path}: its column names are not plain texts", "Write it as CSV."):
        return list(_Plain(io.BytesIO(data)).load())


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read(
    path: Path, columns: Sequence[Column], index: Sequence[str], values: np.ndarray, skeleton: Skeleton | None
) -> Detections:
    """People from a table's columns; each scorer's and individual's are one of them."""
    if {len(column) for column in columns} - {3, 4}:
        raise VergenceError(f"{path} has columns {columns[:3]}", f"They are named by {', '.join(HEADER)}.")
    place = {(*column[:-1], column[-1].lower()): i for i, column in enumerate(columns) if column[-1].lower() in COORDS}
    if len(place) < sum(column[-1].lower() in COORDS for column in columns):
        raise VergenceError(f"{path} has two columns of one name", "Give every bodypart a name of its own.")
    owners = list(dict.fromkeys(key[:-2] for key in place))
    scorers = sorted({owner[0] for owner in owners})
    if len(scorers) > 1:
        raise VergenceError(f"{path} holds keypoints of {', '.join(scorers)}", "Keep one scorer's in a file.")
    notes = []
    if len(owners) > 1 and any(owner[-1] == SINGLE for owner in owners):
        owners = [owner for owner in owners if owner[-1] != SINGLE]
        notes.append(f"{path.name}: points of no individual (`{SINGLE}`) are left out")
    parts = list(dict.fromkeys(key[-2] for key in place if key[:-2] in owners))
    points = np.full((len(values), len(owners), len(parts), 3), np.nan)
    for p, owner in enumerate(owners):
        for j, part in enumerate(parts):
            x, y, likelihood = (place.get((*owner, part, coordinate)) for coordinate in COORDS)
            if x is not None and y is not None:
                sure = 1.0 if likelihood is None else values[:, likelihood]
                points[:, p, j, 0], points[:, p, j, 1], points[:, p, j, 2] = values[:, x], values[:, y], sure
    numbers = _frame_numbers(index, path)
    every = numbers == list(range(len(numbers)))
    return detections(zip(numbers, points), parts, path, skeleton, every, notes)


def _frame_numbers(index: Sequence[str], path: Path) -> list[int]:
    """Of rows named by number or by picture."""
    numbers = name_numbers(index)
    if numbers is None:
        raise VergenceError(f"{path} has rows without a frame number", "Rows are numbered, or named by pictures.")
    if len(set(numbers)) < len(numbers):
        raise VergenceError(f"{path} has two rows of one frame", "Keep one camera's pictures in a file.")
    return numbers


DEEPLABCUT = Reader(lambda path: path.suffix.lower() == ".csv" and not path.is_dir(), read_deeplabcut_csv)
