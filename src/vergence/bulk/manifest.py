"""What is to be done: a manifest's recordings, each with a name, a place and options of its own.

A manifest is a text file. A line is a path, relative to the manifest's folder, or a JSON object with `path`, and `name` and
`options` where wanted. Lines that begin with # are comments. A line that cannot be read refuses the manifest; a recording
that is not there, or lies elsewhere, fails alone.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vergence.bulk import places
from vergence.errors import VergenceError, meant, refusing

NAME = re.compile(r"\w[\w.\- ]{0,150}")
STATE = "batch"  # the folder of the batch's own files in the results, no recording's name
VIDEOS = re.compile(r"\.(mp4|mov|avi|mkv|m4v|webm|mts|mpg|mpeg|flv)$", re.IGNORECASE)


@dataclass(frozen=True)
class Recording:
    """One line.

    Attributes:
        name: of the folder of its results.
        path: as the manifest has it.
        options: of the verb, beside those of all recordings.
    """

    name: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


def read_manifest(manifest: str | Path | Sequence[str | Path]) -> tuple[list[Recording], str]:
    """The recordings, and the folder that their paths are relative to and must lie in.

    Raises:
        VergenceError: no such file, no recordings, a line that is neither, a name that is none or stands twice.
    """
    if isinstance(manifest, str | Path):
        where, text = str(manifest), places.read(str(manifest))
        if text is None:
            what = f"{where} is a folder" if os.path.isdir(where) else f"there is no manifest {where}"
            raise VergenceError(what, "A manifest is a text file, a recording's path on each line.")
        lines = [(n, line.strip()) for n, line in enumerate(text.lstrip("\ufeff").splitlines(), 1)]
        found = [_recording(line, f"line {n} of {where}") for n, line in lines if line and not line.startswith("#")]
        root = posixpath.dirname(where) if places.is_url(where) else os.path.dirname(os.path.abspath(where))
    else:
        found, root, where = [_recording(str(path), str(path)) for path in manifest], os.getcwd(), "the list"
    if not found:
        raise VergenceError(f"{where} names no recordings", "Write a recording's path on each line.")
    seen: dict[str, Recording] = {}
    for one in found:
        if (other := seen.setdefault(one.name.casefold(), one)) is not one:
            raise VergenceError(
                f"{other.path} and {one.path} are both called {one.name}",
                'Give names: {"name": "first", "path": "..."} on a line.',
            )
    return found, root


def _recording(line: str, where: str) -> Recording:
    """A line as a recording."""
    told: Any = {"path": line}
    if line.startswith("{"):
        with refusing(f"{where} is not readable JSON", "Mend it, or give the path alone.", ValueError):
            told = json.loads(line)
    if unknown := set(told) - {"name", "path", "options"}:
        raise VergenceError(f"{where} has a key {sorted(unknown)[0]!r}", "The keys are path, name and options.")
    path, options = told.get("path"), told.get("options", {})
    if not isinstance(path, str) or not isinstance(options, dict):
        raise VergenceError(f"{where} has path {path!r} and options {options!r}", "Give a text and a mapping.")
    name = told.get("name", _name_of(path))
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.casefold() == STATE:
        raise VergenceError(
            f"{where} is called {name!r}", f"Give a name of letters, digits, - _ and dots, another than {STATE}."
        )
    return Recording(name, path, options)


def _name_of(path: str) -> str:
    """A path as the name of a folder: walks/one.mp4 is walks-one."""
    words = [word for word in re.split(r"[/\\]+", path.split("://", 1)[-1]) if word not in ("", ".", "..", "~")]
    return re.sub(r"[^\w.\-]+", "_", VIDEOS.sub("", "-".join(words)))[-150:].lstrip(".-")


def check_options(verb: str, options: Mapping[str, Any], own: bool = False) -> None:
    """Refuses what is no option of the verb, or is set by the batch; of a recording's `own` also what runs code.

    Raises:
        VergenceError: names it.
    """
    import inspect
    from importlib import import_module

    known = set(inspect.signature(getattr(import_module(f"vergence.commands.{verb}"), verb)).parameters)
    known -= {INPUTS[verb], "out", "quiet", *(CODE if own else ())}
    for name in options:
        if name not in known:
            whose = "a recording of a manifest" if own else "a batch"
            near = f"{meant(name, known)} It has {', '.join(sorted(known))}.".strip()
            raise VergenceError(f"{verb} has no option {name!r} for {whose}", near)


INPUTS = {
    "detect": "footage",
    "reconstruct": "capture",
    "predict": "input",
}  # the verbs, and what each calls a recording
CODE = ("plugins", "model", "detector_model", "run")  # named by whoever calls, never by a manifest
OWN_PATHS = {
    "detect": (),
    "reconstruct": ("markers",),
    "predict": ("boxes", "keypoints", "capture", "markers"),
}  # beside it, in the manifest
