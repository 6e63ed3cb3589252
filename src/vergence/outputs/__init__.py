"""Pose files: NPZ, JSON, CSV, TRC, C3D, BVH and USD, and what plug-ins add.

All have units, joint names, frame rate and up axis, in the world that `outputs.world` decides.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vergence.errors import VergenceError
from vergence.outputs.markers import check_markers
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.tables import read_npz, write_csv, write_json_poses, write_npz
from vergence.outputs.trc import Trc, read_trc, write_trc
from vergence.outputs.world import ASSUMED_STATURE_MM, World, find_world, height_mm
from vergence.plugins import exporters

__all__ = [
    "ASSUMED_STATURE_MM",
    "FORMATS",
    "PoseSequence",
    "Trc",
    "World",
    "check",
    "check_markers",
    "find_world",
    "height_mm",
    "notes_of_files",
    "options",
    "read_npz",
    "read_trc",
    "write",
    "write_csv",
    "write_json_poses",
    "write_npz",
    "write_trc",
]

OF_BLENDER = ("fbx", "gltf", "glb", "blend", "dae", "abc")  # what Blender makes of an animation
FORMATS = ("npz", "json", "csv", "trc")


def options(markers: str | Path = "", trc_unit: str = "mm") -> dict[str, dict[str, Any]]:
    """By format, what `write` passes on to its exporter: names of markers (TRC, C3D) and the TRC file's unit."""
    return {"trc": {"markers": markers, "unit": trc_unit}, "c3d": {"markers": markers}}


def check(formats: Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Checks what `write` is asked, which needs no pose: before the minutes that poses take.

    Raises:
        VergenceError: no exporter has that name, it needs a package that is not installed (its attribute `check`, a
            function, says so), or no such markers.
    """
    for name in formats:
        if name not in exporters and name.lower() in OF_BLENDER:
            raise VergenceError(
                f"{name} is not written", "Give bvh or usd: Blender reads them and exports FBX and glTF."
            )
        getattr(exporters[name], "check", lambda: None)()
    for given in (options or {}).values():
        check_markers(given.get("markers", ""))


def write(
    folder: Path | str,
    poses: PoseSequence,
    formats: Iterable[str] = FORMATS,
    *,
    stem: str = "poses",
    **options: Any,
) -> dict[str, str]:
    """Writes `poses.<format>` into a folder for every format, each by the exporter that is registered under its name.

    Args:
        folder: made where it is missing.
        poses: what to write.
        formats: names in `vergence.plugins.exporters`.
        stem: the files' name.
        **options: by format, what its exporter takes beside path and poses: `trc={"stature_mm": 1800}`.

    Returns:
        By format, what had to be assumed to write it; empty where nothing had.

    Raises:
        VergenceError: no exporter has that name or it lacks a package (then nothing is written), or a file cannot be written.
    """
    formats = list(formats)
    check(formats)
    writers = {name: exporters[name] for name in formats}
    return {
        name: writer(Path(folder) / f"{stem}.{name}", poses, **options.get(name, {})) or ""
        for name, writer in writers.items()
    }


def notes_of_files(notes: Mapping[str, str]) -> list[str]:
    """What `write` returned, as lines: files of one note together."""
    said = {
        note: ", ".join(f"poses.{name}" for name in notes if notes[name] == note) for note in notes.values() if note
    }
    return [f"{files}: {note}" for note, files in said.items()]
