"""Points by frame, person and joint, as most tools keep them, made one camera's detections.

Names decide which joint a point is (`vergence.skeleton.canonical_name`: `LWrist`, `l_wri` and `wrist.L` are one), and a name
that is nobody's stays a joint of its own. Where names say nothing (`kp_3`, `bodypart1`), as where there are none, the people
are measured (`footage.layouts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.formats.names import counted_frames
from vergence.footage.keypoint_formats.confidences import on_one_scale
from vergence.footage.keypoints import Detections, clean, decide_skeleton
from vergence.skeleton import Skeleton

People = Float[np.ndarray, "P J 3"]


def detections(
    frames: Iterable[tuple[int, People]],
    names: Sequence[str],
    path: Path,
    skeleton: Skeleton | None,
    last_known: bool,
    notes: Sequence[str] = (),
) -> Detections:
    """One camera's people from a table's rows.

    Args:
        frames: number of each frame and its people, x, y, confidence as they stand in the file; NaN is missing.
        names: of the joints; empty where the file has none.
        path: the file, for errors and notes.
        skeleton: the joints as the user says, in the file's order, whatever its names are.
        last_known: the highest number is surely the last frame.
        notes: what was decided before.

    Raises:
        VergenceError: nobody in any frame, joints that nothing names, or another number of them than `skeleton` has.
    """
    by_number, notes = dict(frames), list(notes)
    if not by_number:
        raise VergenceError(f"{path} holds no frames", "Check the detector, or leave this camera out.")
    counted, own = counted_frames(list(by_number), from_zero=True)
    by_number = {counted[number]: by_number[number] for number in sorted(by_number)}
    if own:
        notes.append(f"{path.name}: frames {own[0]} to {own[-1]} are taken in their order")
    scaled, told = on_one_scale({number: list(people) for number, people in by_number.items()}, path.name)
    cleaned: dict[int, list[np.ndarray]] = {}
    for number, people in scaled.items():
        found = [clean(person) for person in people]
        cleaned[number] = [person for person in found if np.isfinite(person[:, 2]).any()]
    every = [person for people in cleaned.values() for person in people]
    if not every:
        raise VergenceError(f"nobody is in any frame of {path}", "Check the detector, or leave this camera out.")
    chosen, measured = decide_skeleton(every, skeleton, path, names)
    nobody = np.empty((0, len(chosen), 3))
    stacked = {n: np.stack(people)[:, : len(chosen)] if people else nobody for n, people in cleaned.items()}
    return Detections(chosen, stacked, last_known, None, (*notes, *told, *measured), own)
