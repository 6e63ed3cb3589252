"""Which frames: `0-34,65-99` as numbers."""

from __future__ import annotations

from vergence.errors import VergenceError


def wanted_frames(text: str, count: int, what: str = "--frames") -> list[int]:
    """Frame numbers from `0-34,65-99`; all where empty.

    Args:
        text: numbers and ranges, both ends included.
        count: how many frames there are.
        what: the option's name, for the error.

    Raises:
        VergenceError: not such a text, or none of these frames exists.
    """
    if not text.strip():
        return list(range(count))
    wanted: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise VergenceError(f"{what} {text}", "Give numbers and ranges, as in 0-34,65-99.")
        wanted.update(range(int(low), min(int(high or low), count - 1) + 1))
    found = sorted(frame for frame in wanted if frame < count)
    if not found:
        raise VergenceError(f"{what} {text}: the input has frames 0 to {count - 1}", "Ask for frames that it has.")
    return found
