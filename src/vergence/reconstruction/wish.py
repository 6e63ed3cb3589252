"""What would explain the joints better than the cameras as they are taken to be: another lens, or another time.

Lenses and times bend to each other: a rig adjusted to cameras of which one began late has residuals that a principal point
far off takes up in part. So every cause is tried, one is named only where it beats all others clearly, and else those
that explain as much are listed. What breaks it: a cause that was not tried (somebody else in one camera).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

MOST_FOCAL = 1.05  # factor that matters
NOT_SYNCHRONOUS = "Cameras are not synchronous"
BEGAN = " than the others"  # of a camera, in sentences that name a time among other causes


def sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words.endswith("?") else ".")


@dataclass(frozen=True)
class Wish:
    """A lens, or a time, that the footage would rather have.

    Attributes:
        kind: `focal` (factors on the focal lengths), `centre` (px to add to one camera's principal point), `radial` (k1 to
            add) or `late` (one camera began later).
        value: V factors, `(camera, x, y)`, V k1, or `(camera, frames)`; of frames far off the first step, which is short.
        chance: logarithm of the probability that so much is found by chance.
        usual: whether any lens is like that; one step towards a lens far off says that it is another, and not which.
        others: that explain nearly as much.
    """

    kind: str
    value: Array
    chance: float
    usual: bool = True
    others: tuple[Wish, ...] = ()

    @property
    def cause(self) -> tuple[str, int]:
        """What it blames; of one cause one wish is enough."""
        return self.kind, int(self.value[0]) if self.kind in ("centre", "late") else -1

    def words(self, names: tuple[str, ...], calibrated: bool = True) -> str:
        """In words; `calibrated`: somebody said what the lens is."""
        source = "its calibration" if calibrated else "what is assumed of it (centred, without distortion)"
        if self.others:
            causes = "; ".join(one.short(names) for one in (self, *self.others))
            told = "the footage does not fit the cameras as they are taken to be, and does not tell why"
            return f"{told}. Any of these would explain it: {causes}"
        if self.kind == "late":
            return f"{NOT_SYNCHRONOUS}: {self.short(names)}, which explains the footage better than any other lens"
        if not self.usual:
            size = np.abs(np.log(self.value)) if self.kind == "focal" else np.abs(self.value)
            who = names[int(self.value[0] if self.kind == "centre" else np.argmax(size))]
            return (
                f"the footage fits the lens of {who} neither by {source} nor by any usual one near it: look at its times, "
                "its size and cut, and at who is in view there"
            )
        if self.kind == "focal":
            return f"the footage prefers other focal lengths than given, by these factors: {self._factors(names)}"
        if self.kind == "centre":
            asked = (
                "is its calibration of this camera, of pictures of this size and cut, with its distortion in OpenCV's order?"
                if calibrated
                else "are its pictures cut, or bent by its lens?"
            )
            return f"the footage prefers {self.short(names)}: {asked}"
        whose = "that the calibration has not" if calibrated else "and nobody gave any"
        return f"the footage shows lens distortion {whose} (k1 {self._bend()}, about)"

    def short(self, names: tuple[str, ...]) -> str:
        """What it blames, as one of a list."""
        if self.kind == "focal":
            return f"other focal lengths (factors: {self._factors(names)})"
        if self.kind == "centre":
            camera, x, y = self.value
            return f"another principal point of {names[int(camera)]}, by about ({x:+.0f}, {y:+.0f}) px"
        if self.kind == "late":
            camera, frames = self.value
            return f"{names[int(camera)]} began {'later' if frames > 0 else 'earlier'}{BEGAN}"
        return f"lens distortion (k1 {self._bend()})"

    def _factors(self, names: tuple[str, ...]) -> str:
        return ", ".join(f"{n} {f:.2f}" for n, f in zip(names, self.value) if max(f, 1 / f) >= MOST_FOCAL)

    def _bend(self) -> str:
        return f"{self.value[0]:+.2f}" if np.ptp(self.value) == 0 else ", ".join(f"{k:+.2f}" for k in self.value)
