"""TRC, the marker file of OpenSim: a tab-separated table in millimetres (or metres) with y up.

`outputs.world` decides how the poses stand in it, and the header says what had to be assumed or measured, after the
file's name (readers take that field as free text). Missing joints are `nan`; OpenSim 4.6 reads empty fields as missing
too, but refuses the file where a row ends in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path, read_bytes
from vergence.outputs.markers import Markers, named_markers, seen_joints
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.world import ASSUMED_STATURE_MM

MM_PER = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


@dataclass(frozen=True)
class Trc:
    """A TRC file: positions in mm, y up; missing is NaN. `note` is what the header says beyond the file's name."""

    positions: Float[np.ndarray, "T J 3"]
    marker_names: tuple[str, ...]
    fps: float
    frame: Int[np.ndarray, " T"]
    time: Float[np.ndarray, " T"]
    note: str = ""


def write_trc(
    path: Path | str,
    poses: PoseSequence,
    stature_mm: float = ASSUMED_STATURE_MM,
    markers: Markers = "",
    unit: str = "mm",
) -> str:
    """Writes a TRC file atomically.

    Args:
        path: of the file.
        poses: what to write.
        stature_mm: the person's height, used only where the scale is not known.
        markers: `pose2sim`, `opensim`, or a TOML file of joint names and markers; the joints' own names where empty.
        unit: of the file, `mm` or `m`.

    Returns:
        What the header notes of scale, up and floor where they were not given; empty where all is known.

    Raises:
        VergenceError: it cannot be written, or a scale-free pose has no limb to scale by.
    """
    path = Path(path)
    if unit not in MM_PER:
        raise VergenceError(f"a TRC file in {unit!r}", f"It is one of {', '.join(MM_PER)}.")
    poses = poses.even()
    world = poses.in_world(stature_mm)
    seen = seen_joints(poses, markers)
    names = named_markers(next(poses.parts(1), poses), markers, seen)[0]
    told = poses.told(world.note)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as text:
        text.write(_head(names, poses, unit, f"{path.name} ({told})" if told else path.name))
        for part in poses.parts():
            placed = replace(part, pose=world.place(part.pose) / MM_PER[unit], unit="mm", world=None)
            text.writelines(_rows(named_markers(placed, markers, seen)[1], part, 4 if unit == "mm" else 7))
    return world.note


def _head(names: list[str], poses: PoseSequence, unit: str, title: str) -> str:
    rate, count = f"{poses.fps:.6g}", len(poses.pose)
    first = int(poses.frames[0]) + 1 if count else 1
    counts = [rate, rate, str(count), str(len(names)), unit, rate, str(first), str(count)]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{title}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(counts),
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"),
        "",
    ]
    return "\n".join(lines) + "\n"


def _rows(positions: Float[np.ndarray, "T M 3"], poses: PoseSequence, decimals: int) -> Iterator[str]:
    values = positions.reshape(len(positions), -1)
    line = "%d\t%.6f" + f"\t%.{decimals}f" * values.shape[1] + "\n"
    for number, time, row in zip(poses.frames, poses.times, np.where(np.isfinite(values), values, np.nan).tolist()):
        yield line % (int(number) + 1, time, *row)


def read_trc(path: Path | str) -> Trc:
    """Reads a TRC file (ours, OpenSim's, Pose2Sim's); metres become millimetres.

    Some programs write two tabs between fields, leave the line of axes or the blank line out, or write their comments in
    another encoding; all of that is read.

    Raises:
        VergenceError: missing, or not a TRC file, with the line that is wrong.
    """
    path = Path(path)
    lines = read_bytes(path).decode("utf-8-sig", "replace").splitlines()
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise VergenceError(f"{path} is no TRC file", "Its first line begins with PathFileType.")
    header = dict(zip(lines[1].split(), lines[2].split()))
    problem = f"{path} has no usable DataRate and Units ({', '.join(MM_PER)})"
    with refusing(problem, "See line 2 and 3.", KeyError, ValueError):
        fps, factor = float(header["DataRate"]), MM_PER[header["Units"]]
    names = tuple(name.strip() for name in lines[3].split("\t") if name.strip())[2:]
    start = 4 if re.match(r" *[-+]?[.\d]", lines[4]) else 5
    rows = [
        _row(line, 2 + 3 * len(names), f"{path}, line {number}")
        for number, line in enumerate(lines[start:], start=start + 1)
        if line.strip()
    ]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 2 + 3 * len(names))
    title = lines[0].split("\t")[-1]
    note = re.fullmatch(r".*?\((.*)\)", title)
    return Trc(
        positions=table[:, 2:].reshape(len(rows), len(names), 3) * factor,
        marker_names=names,
        fps=fps,
        frame=table[:, 0].astype(int),
        time=table[:, 1],
        note=note[1] if note else "",
    )


def _row(line: str, width: int, where: str) -> list[float]:
    fields = line.split("\t")
    if len(fields) > width:  # two tabs between fields, all of them or some
        held = [field for field in fields if field.strip()]
        fields = fields[::2] if not "".join(fields[1::2]).strip() else held if len(held) == width else fields
    fields = fields[:width] if not "".join(fields[width:]).strip() else fields
    fields += [""] * (width - len(fields))
    if len(fields) > width:
        raise VergenceError(
            f"{where} has {len(fields)} fields, its header {width}", "Is a marker missing in the header?"
        )
    with refusing(f"{where} holds something that is no number", "Mend or remove it.", ValueError):
        values = [float(field) if field.strip() else float("nan") for field in fields]
    if not np.isfinite(values[:2]).all():
        raise VergenceError(f"{where} has no frame number or no time", "Mend or remove it.")
    return values
