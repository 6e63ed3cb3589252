"""Files that say when each frame was taken, beside the videos.

`timestamps.csv` of all cameras, as multi-camera recorders write it: a row per frame with the camera and the time in
seconds, of one clock (caliscope: `sync_index, cam_id, frame_time`). Or a file for one video, `x_timestamps.csv`,
`x_timestamps.txt` or `x.timestamps.txt`: a line per frame, in seconds. Such times go before the container's, which often
is written at an even rate whatever the camera did.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError

COMMON = ("timestamps.csv", "frame_timestamps.csv", "frame_time_history.csv")
OWN = ("{}_timestamps.csv", "{}_timestamps.txt", "{}.timestamps.csv", "{}.timestamps.txt")
CAMERA_COLUMNS = ("cam_id", "camera", "cam", "port", "camera_id")
TIME_COLUMNS = ("frame_time", "time", "timestamp", "seconds", "time_s")

Times = Float[np.ndarray, " N"]


def frame_times(folder: Path, videos: Sequence[Path | None], names: Sequence[str]) -> dict[str, tuple[Path, Times]]:
    """Seconds of each camera's frames, in order, with the file that says so; only of cameras that have them.

    Raises:
        VergenceError: a file of that name that holds something else.
    """
    found: dict[str, tuple[Path, Times]] = {}
    for name, video in zip(names, videos):
        places = [video.parent / pattern.format(video.stem) for pattern in OWN] if video is not None else []
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            found[name] = file, _checked(_column(file), file, name)
    places = [place for base in dict.fromkeys([folder, *(v.parent for v in videos if v is not None)]) for place in
              (base / common for common in COMMON) if place.is_file()]  # fmt: skip
    if places and len(found) < len(names):
        rows = _rows_by_camera(places[0])
        for name in names:
            key = _matching(name, list(rows))
            if name not in found and key is not None:
                found[name] = places[0], _checked(np.sort(rows[key]), places[0], name)
    return found


def _column(file: Path) -> np.ndarray:
    lines = [(n, line.strip()) for n, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    header = re.split(r"[,;\t]", lines[0][1].lower()) if lines else []
    at = next((i for i, word in enumerate(header) if word.strip() in TIME_COLUMNS), None)
    if at is None:
        return np.array([_seconds(line, file, n) for n, line in lines])
    return np.array([_seconds("".join(re.split(r"[,;\t]", line)[at : at + 1]), file, n) for n, line in lines[1:]])


def _seconds(word: str, file: Path, line: int) -> float:
    try:
        return float(word)
    except ValueError:
        remedy = f"Give one time in seconds a line, or a column {TIME_COLUMNS[0]}."
        raise VergenceError(f"{file}, line {line}: {word!r} is no time", remedy) from None


def _rows_by_camera(file: Path) -> dict[str, np.ndarray]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        columns = {(word or "").strip().lower(): word for word in rows.fieldnames or ()}
        camera = next((columns[c] for c in CAMERA_COLUMNS if c in columns), None)
        time = next((columns[c] for c in TIME_COLUMNS if c in columns), None)
        if camera is None or time is None:
            raise VergenceError(
                f"{file} has columns {', '.join(columns) or 'none'}",
                "Frame times need a column cam_id and a column frame_time (seconds); rename the file if it is none.",
            )
        found: dict[str, list[float]] = {}
        for number, row in enumerate(rows, 2):
            found.setdefault(str(row[camera]).strip(), []).append(_seconds(row[time] or "", file, number))
    return {key: np.array(values) for key, values in found.items()}


def _matching(name: str, keys: Sequence[str]) -> str | None:
    """The camera of a file that a camera's name means: the same, or the same number at its end."""
    if name in keys:
        return name
    number = re.search(r"(\d+)\D*$", name)
    same = [key for key in keys if key.isdigit() and number is not None and int(key) == int(number[1])]
    return same[0] if len(same) == 1 else None


def _checked(times: np.ndarray, file: Path, name: str) -> Times:
    if len(times) < 3 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise VergenceError(
            f"{file.name} gives camera {name} {len(times)} times that do not rise from frame to frame",
            "A time in seconds for each frame, in order.",
        )
    return times
