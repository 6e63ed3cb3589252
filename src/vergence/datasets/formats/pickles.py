"""Pickles of arrays and plain values, read without running anything: what public preparations of datasets come in.

Unpickling calls whatever the file names, so a file from a stranger is a program. Here a name is looked up in a short list
of what arrays, dtypes and containers are made of, and anything else ends the reading: nothing is imported, and nothing is
called but numpy's constructors. NPZ files with object arrays carry pickles inside and are read the same way.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vergence.errors import VergenceError, refusing
from vergence.files import check_archive, read_bytes

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def _bytes_of_text(text: str, encoding: str = "latin1") -> bytes:
    """`codecs.encode` as pickles of protocol 2 use it for bytes; other codecs can do more than that."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return codecs.encode(text, "latin1")


def _empty_bytes() -> bytes:
    """`bytes()`, as pickles of protocol 2 write no bytes; with an argument it could ask for any amount of memory."""
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes_of_text,
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{(module, "_reconstruct"): np._core.multiarray._reconstruct for module in _ARRAY_MODULES},  # type: ignore[attr-defined]
    **{(module, "scalar"): np._core.multiarray.scalar for module in _ARRAY_MODULES},  # type: ignore[attr-defined]
    **{(module, "_frombuffer"): np._core.numeric._frombuffer for module in _NUMERIC_MODULES},  # type: ignore[attr-defined]
}


class _Restricted(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, where: str) -> None:
        super().__init__(stream, encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            remedy = "It may be harmful; get the file from where the dataset's preparation is published."
            asks = f"{self._where} asks for {module}.{name}, which no data file needs"
            raise VergenceError(f"{asks}, and was not read", remedy)
        return _ALLOWED[module, name]


def load_pickle(path: Path | str) -> Any:
    """What a pickle of arrays and plain values holds.

    Raises:
        VergenceError: the file is missing, damaged, or names anything that could be run.
    """
    return _unpickled(io.BytesIO(read_bytes(path)), str(path))


def load_npz(path: Path | str) -> dict[str, Any]:
    """The arrays of an NPZ by name; object arrays too, whose pickles are read as above (one value of no shape is itself).

    Raises:
        VergenceError: the file is missing, damaged, or holds a pickle that could run something.
    """
    data = io.BytesIO(read_bytes(path))
    check_archive(path)
    with refusing(f"{path} is not a whole NPZ file", "Copy or download it again."), zipfile.ZipFile(data) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _member(archive.read(name), f"{path}, {name}") for name in names}


def _member(data: bytes, where: str) -> Any:
    """One array of an NPZ: plain ones by numpy, object arrays through the restricted reader."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(stream)
    if not dtype.hasobject:
        return np.load(io.BytesIO(data), allow_pickle=False)
    value = _unpickled(stream, where)
    return value.item() if isinstance(value, np.ndarray) and shape == () else value


def _unpickled(stream: io.BytesIO, where: str) -> Any:
    with refusing(f"{where} is not a whole pickle", "Copy or download it again."):
        return _Restricted(stream, where).load()
