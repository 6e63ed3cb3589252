"""The calibration of a plain folder: what a reader knows by its name, and holds cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vergence import plugins
from vergence.footage.images import natural_key
from vergence.footage.readers import find_reader

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
        if model not in models:
            models.add(model)
            yield path
