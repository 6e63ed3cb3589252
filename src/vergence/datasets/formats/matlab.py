"""MATLAB files of both kinds: version 5 (SciPy) and version 7.3, which is HDF5 (h5py).

A file says by its first bytes which it is; asking the wrong library is an error that names the right one. Neither holds
code, so neither needs a restricted loader. What breaks reading: a download that was cut off, which both libraries notice,
and variables of another release, which are named with those that are there.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from numpy import ndarray

from vergence.errors import VergenceError, refusing
from vergence.files import MOST_OPENED, check_growth

COMPRESSED, PIECE = 15, 1 << 16  # a variable that is packed; bytes that are unpacked at once
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """A MAT file of version 7.3: HDF5 at the start or after MATLAB's 512 bytes.

    Raises:
        VergenceError: the file is missing or may not be read.
    """
    with refusing(f"{path} cannot be read", "Check the path.", OSError), open(path, "rb") as file:
        head = file.read(520)
    return HDF5_MAGIC in (head[:8], head[512:])


def read_mat5(path: Path, names: Sequence[str], **options: Any) -> dict[str, Any]:
    """Variables of a MAT file of version 4 to 7, as `scipy.io.loadmat` gives them with these options.

    Raises:
        VergenceError: missing, cut off, not a MAT file, of version 7.3, or without one of the variables.
    """
    from scipy.io import loadmat, whosmat

    if is_hdf5(path):
        raise VergenceError(f"{path} is a MAT file of version 7.3, version 5 is expected", "Take the original file.")
    with refusing(f"{path} cannot be read as a MAT file", "Download it again."):
        check_growth(path, _opened(path))
        there = [name for name, _, _ in whosmat(str(path))]
        found = loadmat(str(path), variable_names=list(names), **options) if set(names) <= set(there) else {}
    _check_names(path, names, there)
    return {name: found[name] for name in names}


def read_mat73(path: Path, names: Sequence[str]) -> dict[str, ndarray]:
    """Numeric variables of a MAT file of version 7.3, with their axes in h5py's order: MATLAB's reversed.

    Raises:
        VergenceError: missing, cut off, of an older version, or without one of the variables.
    """
    import h5py

    if not is_hdf5(path):
        raise VergenceError(f"{path} is not a MAT file of version 7.3 (HDF5)", "Download it again.")
    with refusing(f"{path} cannot be read as HDF5", "Download it again."), h5py.File(path, "r") as file:
        there = list(file)
        check_growth(path, sum(getattr(file[name], "nbytes", 0) for name in {*names} & {*there}))
        found = {name: file[name][()] for name in names} if set(names) <= set(there) else {}
    _check_names(path, names, there)
    return found


def _opened(path: Path) -> int:
    """Bytes of a MAT file of version 5 when its variables are unpacked, unpacked piece by piece and thrown away; more than
    `MOST_OPENED` are not looked at."""
    total = 0
    with open(path, "rb") as file:
        head = file.read(128)
        if 0 in head[:4]:  # version 4, which packs nothing
            return 0
        order: Literal["little", "big"] = "big" if head[126:128] == b"MI" else "little"
        while total <= MOST_OPENED and len(tag := file.read(8)) == 8:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            if kind != COMPRESSED:
                file.seek(size, 1)
                total += size
                continue
            unpacking = zlib.decompressobj()
            while size > 0 and total <= MOST_OPENED and (piece := file.read(min(size, PIECE))):
                size -= len(piece)
                while piece and total <= MOST_OPENED:
                    total += len(unpacking.decompress(piece, 16 * PIECE))
                    piece = unpacking.unconsumed_tail
    return total


def _check_names(path: Path, names: Sequence[str], there: Sequence[str]) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        remedy = "Take the dataset's original file."
        raise VergenceError(f"{path} has no variable {', '.join(missing)}; it has {', '.join(there) or 'none'}", remedy)
