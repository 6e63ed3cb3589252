"""Poses smoothed over time, where somebody asks for it: a polynomial of second order through a short window of frames.

Savitzky and Golay's filter keeps the height of peaks that a mean of the same length would cut. Each stretch of neighbouring
frames is filtered by itself, so that nothing is filled in where nobody was seen, and a frame depends on no other than
those of one window on either side: pieces of a recording are smoothed as the whole is.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import savgol_filter

from vergence.errors import VergenceError
from vergence.lifting.model import stretches

ORDER = 2
LEAST_FRAMES, LONGEST_S = 5, 2.0


def window_frames(seconds: float, fps: float) -> int:
    """The window's length in frames, an odd number; 0 for no smoothing.

    Raises:
        VergenceError: below 0 or above 2 seconds.
    """
    if not 0 <= seconds <= LONGEST_S:
        raise VergenceError(
            f"--smooth {seconds:g}", f"It is the window's length in seconds, 0 to {LONGEST_S:g}, as in 0.2."
        )
    return max(LEAST_FRAMES, 2 * round(seconds * fps / 2) + 1) if seconds else 0


def words(window: int, fps: float) -> str:
    """What was done, as files record it: the filter; empty for nothing."""
    return f"Savitzky-Golay of order {ORDER} over {window} frames ({window / fps:.3g} s)" if window else ""


def smoothed(values: Float[np.ndarray, "T N"], frames: Int[np.ndarray, " T"], window: int) -> Float[np.ndarray, "T N"]:
    """Values of frames (ascending numbers), each smoothed over its window; NaN stays where it was.

    Stretches shorter than the window are smoothed over what they have, those of less than five frames not at all.
    """
    flat = np.array(values, dtype=np.float64)
    if not window:
        return flat
    joined = np.concatenate([[False], np.diff(frames) == 1])
    known = np.isfinite(flat)
    kinds, which = np.unique(known, axis=1, return_inverse=True)
    for kind in range(kinds.shape[1]):
        columns = np.flatnonzero(which.ravel() == kind)
        for run in stretches(kinds[:, kind]):
            for start, stop in _parts(run, joined):
                length = min(window, (stop - start - 1) // 2 * 2 + 1)
                if length >= LEAST_FRAMES:
                    flat[start:stop, columns] = savgol_filter(flat[start:stop, columns], length, ORDER, axis=0)
    return flat


def _parts(run: range, joined: np.ndarray) -> list[tuple[int, int]]:
    """A run cut where frame numbers jump."""
    cuts = [run.start, *(run.start + 1 + np.flatnonzero(~joined[run.start + 1 : run.stop])).tolist(), run.stop]
    return list(itertools.pairwise(cuts))
