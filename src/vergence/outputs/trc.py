"""TRC, the marker file of OpenSim: a tab-separated table in millimetres with y up.

Three things are put into its convention, and the header says so after the file's name (readers take that field as free
text):

- y up. Where up is known the pose is turned so that up becomes +y; a z-up world becomes (y, z, x), as Pose2Sim does.
  Where it is not (the first camera's frame), that camera is taken as level: (x, -y, -z).
- millimetres. A pose whose scale is not known is scaled to a stature of 1,700 mm (see `stature` in
  `vergence.geometry.body`); lengths in it are then guesses, angles are not.
- missing joints are `nan`; OpenSim 4.6 reads empty fields as missing too, but refuses the file where a row ends in one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError
from vergence.files import write_text
from vergence.outputs.sequence import ASSUMED_STATURE_MM, PoseSequence


@dataclass(frozen=True)
class Trc:
    """A TRC file: positions in mm, y up; missing is NaN. `note` is what the header says beyond the file's name."""

    positions: Float[np.ndarray, "T J 3"]
    marker_names: tuple[str, ...]
    fps: float
    frame: Int[np.ndarray, " T"]
    time: Float[np.ndarray, " T"]
    note: str = ""


def y_up(up: Float[np.ndarray, " 3"] | None) -> Float[np.ndarray, "3 3"]:
    """Rotation that brings `up` to +y; None takes a level camera, whose up is -y.

    An axis goes to y by exchanging axes cyclically (z up: x' = y, y' = z, z' = x); any other direction by the shortest turn
    from the axis nearest to it.
    """
    if up is None:
        return np.diag([1.0, -1.0, -1.0])
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    axis = int(np.argmax(np.abs(up)))
    nearest = np.eye(3)[axis] * np.sign(up[axis])
    cyclic = np.roll(np.eye(3), axis - 1, axis=1)
    if up[axis] < 0:
        cyclic = np.diag([1.0, -1.0, -1.0]) @ cyclic
    cross = np.cross(up, nearest)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    turn = np.eye(3) + skew + skew @ skew / (1 + up @ nearest)
    return cyclic @ turn


def write_trc(
    path: Path | str,
    poses: PoseSequence,
    stature_mm: float = ASSUMED_STATURE_MM,
    assumed_up: Float[np.ndarray, " 3"] | None = None,
) -> str:
    """Writes a TRC file atomically.

    Args:
        path: of the file.
        poses: what to write.
        stature_mm: the person's height, used only where the scale is not known.
        assumed_up: taken as up where that is not known; -y (a level camera's frame) where not given.

    Returns:
        What the header notes: an assumed scale, an unknown up axis; empty where all is known.

    Raises:
        VergenceError: it cannot be written, or a scale-free pose has no limb to scale by.
    """
    path = Path(path)
    factor, note = poses.mm_per_unit(stature_mm)
    notes = [note] if note else []
    if poses.up is None:
        notes.append("up unknown, the first camera taken as level")
    positions = np.asarray(poses.pose, dtype=np.float64) @ y_up(assumed_up if poses.up is None else poses.up).T * factor
    write_text(path, _text(positions, poses, path.name, "; ".join(notes)))
    return "; ".join(notes)


def _text(positions: Float[np.ndarray, "T J 3"], poses: PoseSequence, name: str, note: str) -> str:
    names, rate = poses.joint_names, f"{poses.fps:.6g}"
    title = f"{name} ({note})" if note else name
    first = int(poses.frames[0]) + 1 if len(positions) else 1
    counts = [rate, rate, str(len(positions)), str(len(names)), "mm", rate, str(first), str(len(positions))]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{title}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(counts),
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"),
        "",
    ]
    for number, time, row in zip(poses.frames, poses.times, positions.reshape(len(positions), -1)):
        values = "\t".join(f"{v:.4f}" if np.isfinite(v) else "nan" for v in row)
        lines.append(f"{int(number) + 1}\t{time:.6f}\t{values}")
    return "\n".join(lines) + "\n"


def read_trc(path: Path | str) -> Trc:
    """Reads a TRC file (ours, OpenSim's, Pose2Sim's); metres become millimetres.

    Raises:
        VergenceError: missing, or not a TRC file, with the line that is wrong.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise VergenceError(f"there is no file {path}", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VergenceError(f"{path} cannot be read: {error}", "A TRC file is text.") from error
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise VergenceError(f"{path} is no TRC file", "Its first line begins with PathFileType.")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t")))
    try:
        fps, factor = float(header["DataRate"]), {"mm": 1.0, "m": 1000.0}[header["Units"].strip()]
    except (KeyError, ValueError) as error:
        raise VergenceError(
            f"{path} has no usable DataRate and Units (mm or m): {error}", "See line 2 and 3."
        ) from None
    names = tuple(name for name in lines[3].split("\t")[2:] if name.strip())
    rows = []
    for number, line in enumerate(lines[5:], start=6):
        if line.strip():
            rows.append(_row(line, 2 + 3 * len(names), f"{path}, line {number}"))
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
    fields = fields[:width] if not "".join(fields[width:]).strip() else fields
    if len(fields) < width:
        fields += [""] * (width - len(fields))
    if len(fields) > width:
        raise VergenceError(
            f"{where} has {len(fields)} fields, its header {width}", "Is a marker missing in the header?"
        )
    try:
        return [float(field) if field.strip() else float("nan") for field in fields]
    except ValueError as error:
        raise VergenceError(f"{where} holds something that is no number: {error}", "Mend or remove it.") from None
