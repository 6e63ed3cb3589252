"""Which calibration is a plain folder's, and which camera of it is which of the footage: by name, by what else the file
calls it, by the number in the name.

Order is the last resort, and then by number, not by text: files list 10, 11, 8, 9. A pairing that names do not settle alone
is a note, since exchanged cameras are the costliest of all silent errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vergence import plugins
from vergence.errors import VergenceError
from vergence.footage.images import natural_key
from vergence.footage.readers import find_reader
from vergence.geometry.cameras import Camera, Rig

PLACES = (".", "calibration", "calib", "sparse/0")
# Vergence's own files of one rig, the one that says its unit first.
OWN = ("rig.toml", "camera_array.toml", "Calib.toml")
PAIRS = ("extri", "extrinsics", "extrinsic")


def find_calibration(folder: Path) -> tuple[Path | None, list[str]]:
    """The one calibration of a folder; None, and their names, where there are several."""
    found = [path for place in PLACES for path in _in(folder / place)]
    own = [path for path in found if path.name in OWN]
    if own and {p.name for p in own} >= {"rig.toml"}:
        found = [path for path in found if path not in own or path.name == "rig.toml"]
    if len(found) == 1:
        return found[0], []
    return None, [str(path.relative_to(folder)) for path in found]


def _in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    models = set()
    for path in sorted(folder.iterdir(), key=lambda p: natural_key(p.name)):
        if not path.is_file() or path.name.startswith(".") or path.stem.lower() in PAIRS:
            continue
        reader = find_reader(plugins.calibration_readers, path)
        if reader is None or not getattr(reader, "holds", lambda path: True)(path):
            continue
        model = path.stem if path.name in ("cameras.txt", "cameras.bin") else path.name  # one model in two forms
        model = "" if getattr(reader, "one_each", False) else model
        if model not in models:
            models.add(model)
            yield path


def paired(rig: Rig, names: Sequence[str], path: Path, notes: list[str]) -> dict[str, Camera]:
    """The calibration's camera for each name of the footage.

    Args:
        rig: as read from the file.
        names: of the footage's cameras, in order.
        path: of the file, for notes.
        notes: gets a sentence where names alone did not decide.

    Raises:
        VergenceError: no camera for one of them; names those that there are.
    """
    called = [list(rig.names), *([list(rig.aliases)] if len(rig.aliases) == len(rig.cameras) else [])]
    for labels in called:
        if found := _by_name(labels, rig, names):
            return found
    for labels in called:
        if found := _by_number(labels, rig, names):
            notes.append(f"{path.name}: cameras matched by the numbers in their names: {_pairs(found)}")
            return found
    plain = {_plain(label) for labels in called for label in labels}
    missing = [name for name in names if _plain(name) not in plain]
    if len(missing) == len(names) == len(rig.cameras):
        found = dict(zip(names, _in_order(called, rig), strict=True))
        notes.append(f"{path.name}: cameras matched by their order, as their names differ: {_pairs(found)}")
        return found
    raise VergenceError(
        f"{path.name} has no camera {', '.join(missing or names)}; it has {', '.join(rig.names)}",
        "Give the cameras the calibration's names.",
    )


def _pairs(found: Mapping[str, Camera]) -> str:
    return ", ".join(f"{name} = {camera.name}" for name, camera in found.items())


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _by_name(labels: Sequence[str], rig: Rig, names: Sequence[str]) -> dict[str, Camera]:
    for form in (str, _plain):
        known = {form(label): camera for label, camera in zip(labels, rig.cameras)}
        wanted = [form(name) for name in names]
        if len(known) == len(labels) and len(set(wanted)) == len(names) and set(wanted) <= set(known):
            return {name: known[key] for name, key in zip(names, wanted)}
    return {}


def _by_number(labels: Sequence[str], rig: Rig, names: Sequence[str]) -> dict[str, Camera]:
    theirs, ours = _numbers(labels), _numbers(names)
    if theirs is None or ours is None or not set(ours) <= set(theirs):
        return {}
    known = dict(zip(theirs, rig.cameras))
    return {name: known[number] for name, number in zip(names, ours)}


def _numbers(labels: Sequence[str]) -> list[int] | None:
    """The one number by which names differ; None where there is none, or several would do."""
    groups = [[int(digits) for digits in re.findall(r"\d{1,15}", label)] for label in labels]
    if not groups or len({len(group) for group in groups}) > 1 or not groups[0]:
        return None
    telling = [column for column in zip(*groups) if len(set(column)) == len(labels)]
    return list(telling[0]) if len(telling) == 1 else None


def _in_order(called: Sequence[Sequence[str]], rig: Rig) -> list[Camera]:
    """The file's order, unless the names count otherwise."""
    if _numbers(called[0]) is None:
        return list(rig.cameras)
    order = sorted(range(len(rig.cameras)), key=lambda i: natural_key(called[0][i]))
    return [rig.cameras[i] for i in order]
