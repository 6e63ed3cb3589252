"""Settings of augmentation and of multi-view consistency, without torch: recipes are read and `--help` printed at once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from vergence.errors import VergenceError

SHARE = (0.0, 1.0)
SOME = (1, math.inf)
ANY = (0, math.inf)


class Limited:
    """Settings whose numbers have limits, which every value of a list or mapping must keep."""

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {}
    SAID: ClassVar = ""  # before a key's name in errors

    def __post_init__(self) -> None:
        for name, (low, high) in self.LIMITS.items():
            value = getattr(self, name)
            each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            if wrong := [one for one in each if one is not None and not low <= one <= high]:
                limit = f"be {low:g} or more" if high == math.inf else f"lie from {low:g} to {high:g}"
                raise VergenceError(f"{self.SAID}{name} is {wrong[0]:g}; it must {limit}", self._usual(name))

    def _usual(self, name: str) -> str:
        found = next(field.default for field in dataclasses.fields(self) if field.name == name)  # type: ignore[arg-type]
        return (
            "" if found is dataclasses.MISSING else f"The default is {found if found is None else format(found, 'g')}."
        )


@dataclass(frozen=True)
class Augmentation(Limited):
    """How training images are changed. Everything is off unless named. `vergence.batches.augment` has the geometry.

    EpipolarPose's paper is `rotation=30, rotation_probability=0.6, scale=0.25, gain=0.2, occlusion=1, occluders=7`.

    Args:
        rotation: standard deviation of the roll about the optical axis, degrees; clipped at twice this.
        rotation_probability: share of images that are rolled.
        scale: standard deviation of the zoom factor about 1; clipped at this (0.25: from 0.75 to 1.25).
        shift: largest move of the window, as a share of its width and height, each uniform in both directions.
        truncation: share of images cut closer, so that part of the person leaves the image.
        truncation_zoom: largest extra zoom of those, uniform from 1.2; the window stays within the original image.
        mirror: share of time steps that are mirrored, with left and right joints exchanged; whole time steps only.
        gain: colour; each channel is multiplied by a factor uniform in 1 - gain to 1 + gain.
        brightness: added to all channels, uniform in both directions; 1 is the whole range.
        contrast: factor on the distance from the image's mean, uniform in 1 - contrast to 1 + contrast.
        occlusion: share of images in which occluders are drawn.
        occluders: largest number of them in one image, uniform from 1.
        occluder_size: largest side of one, as a share of the image's; uniform from a quarter of it.
        hidden_confidence: factor on the confidence of keypoints under an occluder or outside the image; 1 keeps it.
    """

    rotation: float = 0.0
    rotation_probability: float = 1.0
    scale: float = 0.0
    shift: float = 0.0
    truncation: float = 0.0
    truncation_zoom: float = 2.0
    mirror: float = 0.0
    gain: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    occlusion: float = 0.0
    occluders: int = 3
    occluder_size: float = 0.4
    hidden_confidence: float = 1.0

    LIMITS: ClassVar = {
        **dict.fromkeys(("scale", "shift", "gain", "contrast"), (0.0, 0.9)), "brightness": SHARE,
        **dict.fromkeys(("rotation_probability", "mirror", "truncation", "occlusion", "hidden_confidence"), SHARE),
        "rotation": (0.0, 180.0), "truncation_zoom": (1.2, 10.0), "occluders": (1, 16), "occluder_size": (0.01, 1.0),
    }  # fmt: skip
    SAID: ClassVar = "augmentation."

    @property
    def moves_pixels(self) -> bool:
        """Whether anything but the mirror moves pixels."""
        return bool(self.rotation * self.rotation_probability or self.scale or self.shift or self.truncation)

    @property
    def changes_colour(self) -> bool:
        return bool(self.gain or self.brightness or self.contrast)


@dataclass
class MultiView(Limited):
    """How images of one time step teach each other (method `multiview_consistency`).

    The defaults are the paper's plain form; what the paper does not have says so.

    Args:
        root_depth: in training; `closed_form`, the paper's, from the length of the reference bone, or `limbs`: from the
            2D lengths of all limbs, which do not depend on predicted depth (ours).
        shield: the 3D losses do not change the 2D keypoints (ours).
        rotations: of one view against another; `free`, the paper's: the best for each pair of poses, or `given`: the
            cameras' own where both are visible, true or found by a label stage, else free (ours).
        residual: between two views' poses; `squared`, or `absolute`: distances, on which wrong 2D has less effect
            (ours).
        ramp: share of the stage over which the consistency term grows from 0 to its weight.
        confidence: a joint is left out if the best 3 x 3 cells of its heatmap sum to less than this.
        tilt: a view whose reference bone leans more than this out of the image (as a sine, by its 2D length) makes no
            pair, since its root depth is a guess; with `closed_form` only.
        limb_ratios: length of a limb in reference bones by the name of the joint that ends it, without side (`knee`: the
            thigh).
        limbs_from: source, by its name in `batch`, whose visible 3D poses (true ones, or those of a label stage) give the
            ratios instead.
    """

    root_depth: Literal["closed_form", "limbs"] = "closed_form"
    shield: bool = False
    rotations: Literal["free", "given"] = "free"
    residual: Literal["squared", "absolute"] = "squared"
    ramp: float = 0.0
    confidence: float = 0.3
    tilt: float = 0.85
    limb_ratios: dict[str, float] = dataclasses.field(default_factory=dict)
    limbs_from: str = ""

    LIMITS: ClassVar = dict.fromkeys(("ramp", "confidence", "tilt"), SHARE)
    SAID: ClassVar = "multiview."

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, ratio in self.limb_ratios.items():
            if not 0 < ratio < 10:
                remedy = "It is a length in reference bones: above 0, below 10."
                raise VergenceError(f"multiview.limb_ratios.{name} is {ratio:g}", remedy)
