"""Folders here and behind URLs (`s3://`, `gs://`, `memory://`, whatever fsspec knows), with what is read and written of them.

Names come from a manifest or from a bucket's listing, which others may have written: a path with `..` that leads out of
its folder is refused on the way in as on the way out.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

from vergence.errors import VergenceError, refusing
from vergence.files import write_text


def is_url(place: str) -> bool:
    return "://" in place


def _store(url: str) -> tuple[Any, str]:
    import fsspec

    with refusing(f"{url} cannot be opened", "Install fsspec's package for it.", ImportError, ValueError, OSError):
        return fsspec.url_to_fs(url)


def inside(root: str, path: str) -> str:
    """A path of a manifest as it is found, from the folder that it must lie in; without following links. A URL in a manifest
    that lies here may name any store.

    Raises:
        VergenceError: it leads out of `root`.
    """
    for scheme in ("file://", "local://"):
        path = path.removeprefix(scheme)
    if is_url(path) or is_url(root):
        found = path if is_url(path) else f"{root.rstrip('/')}/{path}"
        top = f"{root.rstrip('/')}/" if is_url(root) else ""
        out = "::" in path or ".." in path.split("/") or not f"{found}/".startswith(top)
    else:
        top = os.path.abspath(root)
        found = os.path.normpath(os.path.join(top, os.path.expanduser(path)))
        out = os.path.commonpath([found, top]) != top
    if out or not path.strip():
        raise VergenceError(f"{path!r} leads out of {root}", "Give --root, the folder that all recordings lie in.")
    return found


def read(place: str) -> str | None:
    """What a text file holds; None where there is none."""
    try:
        if is_url(place):
            store, path = _store(place)
            return store.cat_file(path).decode("utf-8")
        return Path(place).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise VergenceError(f"{place} cannot be read: {error}", "Check the path and its permissions.") from error


def write(place: str, text: str) -> None:
    """Writes a text file, whole or not at all."""
    if not is_url(place):
        return write_text(place, text)
    store, path = _store(place)
    store.makedirs(posixpath.dirname(path), exist_ok=True)
    store.pipe_file(path, text.encode("utf-8"))


def fetch(place: str, into: Path) -> Path:
    """A file or a folder behind a URL, copied below `into`.

    Raises:
        VergenceError: there is nothing, or one of its names leads out of it.
    """
    store, path = _store(place)
    path = path.rstrip("/")
    files = store.find(path)
    if not files:
        raise VergenceError(f"there is nothing at {place}", "Check the path and the permissions.")
    out = into / posixpath.basename(path)
    for file in files:
        below = file.rstrip("/")[len(path) :].lstrip("/")
        if ".." in below.split("/"):
            raise VergenceError(f"{place} holds {file!r}, which leads out of it", "Rename it.")
        there = out / below if below else out
        there.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(file, str(there))
    return out


def put(folder: Path, place: str) -> None:
    """The files of a folder, copied to a URL."""
    store, path = _store(place)
    if folder.is_dir():
        store.put(f"{folder}/", path, recursive=True)
