"""What a report page says, as plain values: tables, curves, samples, a rig. It knows no training code, and no HTML.

Whoever has results builds a `Page` and hands it to `write_page`. The rule of the house is enforced here, where a page
is described: a table without its protocol, and samples whose errors have none, are refused, so that no figure is
printed that a reader could not measure again. Everything else is optional; a section with nothing in it is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.skeleton import Skeleton

Cell = str | float | int | None
Section = Literal["run", "results", "links", "clip", "pictures", "samples", "rig", "curves", "details"]
SECTIONS: tuple[Section, ...] = ("results", "links", "clip", "pictures", "samples", "rig", "curves", "details", "run")
ROUNDING = 1e-9  # more than arithmetic leaves of nothing


def _check_shape(what: str, array: np.ndarray | None, *shape: int | None) -> None:
    """A `VergenceError` unless `array` is None or has this shape; None in `shape` means any size."""
    if array is None:
        return
    found = np.shape(array)
    if len(found) != len(shape) or any(want is not None and want != size for size, want in zip(found, shape)):
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise VergenceError(f"{what} has shape {found}", f"A report page wants {wanted}.")


@dataclass(frozen=True)
class Table:
    """Figures and how they were measured.

    Attributes:
        columns: headings; the first column names the rows.
        rows: cells; numbers are formatted by the page, None and NaN become a dash.
        protocol: how the figures were measured: alignment, root, joints, frames, world or dataset, what truth was used.
        note: anything else, printed below.
        highlight: indices of the rows to print bold.
        heat: shade the numbers from the table's least to its greatest.
        words: cells are sentences: on a narrow screen they stand below each other, numbers with their heading.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    protocol: str
    note: str = ""
    highlight: Sequence[int] = ()
    heat: bool = False
    words: bool = False

    def __post_init__(self) -> None:
        if not self.protocol.strip():
            remedy = "A figure is printed only with its protocol: say how it was measured."
            raise VergenceError(f"table {self.title!r} has no protocol", remedy)
        for row in self.rows:
            if len(row) != len(self.columns):
                size = f"{len(self.columns)} columns and a row of {len(row)}"
                raise VergenceError(f"table {self.title!r} has {size}: {tuple(row)!r}")


@dataclass(frozen=True, eq=False)
class Curve:
    """One chart of lines: `series` maps a name to its x and y, of one length; NaN breaks a line. `spread`: for some of the
    series the least and the greatest at each x, drawn as a bar, or as one `band` behind the line. `level`: series that hold
    at every x, dashed, with a band. `clock`: x is the frame or
    the time of what the page shows in 3D, whose moment the chart marks and sets."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]]
    log_y: bool = False
    log_x: bool = False
    spread: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]] = field(
        default_factory=dict
    )
    band: bool = False
    level: Collection[str] = ()
    clock: Literal["", "frame", "time"] = ""

    def __post_init__(self) -> None:
        for name, (x, y) in self.series.items():
            if np.shape(x) != np.shape(y) or np.ndim(x) != 1:
                raise VergenceError(f"curve {self.title!r}: {name!r} has x {np.shape(x)} and y {np.shape(y)}")

    @property
    def shown(self) -> list[str]:
        """The names of the series with a value that can be drawn: finite, and above 0 on a log scale."""
        values = {name: np.asarray(y, dtype=float) for name, (_, y) in self.series.items()}
        return [name for name, y in values.items() if (np.isfinite(y) & ((y > 0) | (not self.log_y))).any()]


@dataclass(frozen=True, eq=False)
class Dots:
    """One chart of rows: every value of each name as a dot, and their mean as a line. NaN is not drawn."""

    title: str
    x_label: str
    values: Mapping[str, Sequence[float]]


@dataclass(frozen=True, eq=False)
class Panel:
    """One method's pose in a `Strip`: `pose` as in `Sample`, NaN where it is unknown; `note` below it."""

    name: str
    pose: Float[np.ndarray, "J 3"]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Strip:
    """One image and several methods' poses of it side by side, each over the truth, seen from the front and the side."""

    title: str
    image: UInt8[np.ndarray, "H W 3"]
    pose_true: Float[np.ndarray, "J 3"]
    panels: Sequence[Panel]
    up: Sequence[float] | np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it is, whatever is drawn on it drawn already, with a line below."""

    title: str
    image: UInt8[np.ndarray, "H W 3"]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its poses. Any of the arrays may be None; NaN joints are not drawn.

    Attributes:
        title: what it is, e.g. `test subject 3, camera 2, frame 140`.
        group: where it belongs: `worst`, `best`, `random`, or any other word.
        image: as the network saw it, or a cut-out of the image.
        keypoints: predicted, in the pixels of `image` (the centre of the top-left pixel is (0, 0)).
        keypoints_true: what they are held against.
        pose: predicted, in the camera's frame (x right, y down, z forward); shown with its root at the origin.
        pose_true: the same frame and unit as `pose`; shown with its root at the origin too.
        errors: name to value, with the unit where it is text (`{"N-MPJPE": "83 mm"}`).
        up: gravity's opposite in the frame of the poses; then gravity points down the page.
    """

    title: str
    group: str
    image: UInt8[np.ndarray, "H W 3"] | None = None
    keypoints: Float[np.ndarray, "J 2"] | None = None
    keypoints_true: Float[np.ndarray, "J 2"] | None = None
    pose: Float[np.ndarray, "J 3"] | None = None
    pose_true: Float[np.ndarray, "J 3"] | None = None
    note: str = ""
    errors: Mapping[str, Cell] = field(default_factory=dict)
    up: Sequence[float] | np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_shape(f"the image of sample {self.title!r}", self.image, None, None, 3)
        if self.image is not None and self.image.dtype != np.uint8:
            raise VergenceError(
                f"the image of sample {self.title!r} has type {self.image.dtype}", "Give uint8, 0 to 255, RGB."
            )


@dataclass(frozen=True, eq=False)
class CameraView:
    """What one camera of a `RigScene` saw at some of its moments, all in px of images of `size`.

    Attributes:
        size: (width, height).
        rows: of the scene's poses, rising.
        images: one for each row, made smaller or not; None where there is none.
        keypoints: the scene's joints in this camera's images.
        keypoints_true: what was seen there.
    """

    size: tuple[int, int]
    rows: Sequence[int]
    images: Sequence[UInt8[np.ndarray, "H W 3"] | None]
    keypoints: Float[np.ndarray, "R J 2"]
    keypoints_true: Float[np.ndarray, "R J 2"]


@dataclass(frozen=True, eq=False)
class RigScene:
    """Cameras around a person over time, in one world frame.

    Attributes:
        cameras: each with K, R, t and its images' size.
        poses: T may be 0: then only the cameras are shown.
        up: gravity's opposite in the world; None where unknown (the world is then read as a camera's frame).
        unit: of `poses` and of the cameras' `t`, e.g. `mm`, or `reference bones` where there is no scale.
        poses_true: what `poses` is held against, in the same frame and unit.
        frames: the number of each frame; 0, 1, 2 ... where not given.
        note: where the unit comes from, or anything else.
        up_note: where `up` comes from, where it is not gravity.
        views: what each of the cameras saw; none where that is not shown.
    """

    cameras: Sequence[Camera]
    poses: Float[np.ndarray, "T J 3"]
    fps: float
    up: Sequence[float] | np.ndarray | None = None
    unit: str = "mm"
    poses_true: Float[np.ndarray, "T J 3"] | None = None
    frames: Sequence[int] | np.ndarray | None = None
    note: str = ""
    up_note: str = ""
    views: Sequence[CameraView] = ()

    def __post_init__(self) -> None:
        _check_shape("the rig scene's poses", self.poses, None, None, 3)
        _check_shape("the rig scene's true poses", self.poses_true, *np.shape(self.poses))
        if self.frames is not None and len(self.frames) != len(self.poses):
            raise VergenceError(f"the rig scene has {len(self.poses)} poses and {len(self.frames)} frame numbers")
        if self.views and len(self.views) != len(self.cameras):
            raise VergenceError(f"the rig scene has {len(self.cameras)} cameras and {len(self.views)} views")
        if not self.fps > 0:
            raise VergenceError(f"the rig scene's frame rate is {self.fps}", "It must be above 0.")


@dataclass(frozen=True, eq=False)
class Still:
    """An image of a `Clip`: the row that it shows, its pixels, and everybody's keypoints in them (P J 2)."""

    row: int
    image: UInt8[np.ndarray, "H W 3"]
    keypoints: Float[np.ndarray, "P J 2"]


@dataclass(frozen=True, eq=False)
class Clip:
    """People before one camera over time: images beside 3D.

    Attributes:
        camera: with K and its images' size.
        poses: of P people, relative to their roots, in the camera's frame and `unit`; NaN where nobody was seen.
        roots: where the roots are in the camera's frame; NaN where unknown, None where that is so everywhere.
        people: their numbers.
        frames, times: of the rows; seconds.
        starts: the first row of every stretch of neighbouring rows.
        stills: some of the images, by rising row; the first of them is shown until the second.
        fps: rows per second within a stretch.
        up: gravity's opposite in the camera's frame; None where unknown.
        unit: of lengths, e.g. `mm`.
        lead: what is shown, in words.
    """

    camera: Camera
    poses: Float[np.ndarray, "P T J 3"]
    roots: Float[np.ndarray, "P T 3"] | None
    people: Sequence[int]
    frames: Sequence[int]
    times: Sequence[float]
    starts: Sequence[int]
    stills: Sequence[Still]
    fps: float
    up: Float[np.ndarray, " 3"] | None
    unit: str
    lead: str = ""


@dataclass(frozen=True)
class Link:
    """Another file or folder, by its way from the page's own folder, and what it holds."""

    title: str
    path: str
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """`good`, `doubtful` or `refused`, and why, in sentences."""

    word: str
    reasons: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """One report.

    Attributes:
        skeleton: of every pose and keypoint on the page.
        facts: what was run: version, command, recipe, device, seed, world version, seconds ...
        samples_protocol: how the samples' errors were measured, and how their poses were aligned for the eye.
        pose_unit: of the samples' poses.
        labels: what the two skeletons of a sample are called.
        details: long tables, for the end of the page.
        dots: charts beside the tables.
        strips: images with several methods' poses.
        pictures: images side by side; `pictures_lead` says what they are.
        curves_title, curves_lead: heading of the curves' section, and what is said below it.
        clip: people before one camera, over time.
        links: what lies beside the page.
        sections: which come, in which order; empty ones are left out.
    """

    title: str
    subtitle: str
    skeleton: Skeleton
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    samples: Sequence[Sample] = ()
    rig: RigScene | None = None
    verdict: Verdict | None = None
    samples_protocol: str = ""
    pose_unit: str = "mm"
    labels: tuple[str, str] = ("prediction", "truth")
    details: Sequence[Table] = ()
    dots: Sequence[Dots] = ()
    strips: Sequence[Strip] = ()
    pictures: Sequence[Picture] = ()
    pictures_lead: str = ""
    curves_title: str = "Training"
    curves_lead: str = ""
    clip: Clip | None = None
    links: Sequence[Link] = ()
    sections: Sequence[Section] = SECTIONS

    def __post_init__(self) -> None:
        joints = len(self.skeleton)
        for what, told in (("samples have errors", any(sample.errors for sample in self.samples)),
                           ("strips have notes", any(panel.note for one in self.strips for panel in one.panels))):  # fmt: skip
            if told and not self.samples_protocol.strip():
                raise VergenceError(f"the {what} and the page has no samples_protocol", "Say how they were measured.")
        for sample in self.samples:
            for key, size in (("keypoints", 2), ("keypoints_true", 2), ("pose", 3), ("pose_true", 3)):
                what = f"{key} of sample {sample.title!r} (skeleton {self.skeleton.name})"
                _check_shape(what, getattr(sample, key), joints, size)
        for strip in self.strips:
            _check_shape(f"pose_true of strip {strip.title!r}", strip.pose_true, joints, 3)
            for panel in strip.panels:
                _check_shape(f"the pose of {panel.name!r} in strip {strip.title!r}", panel.pose, joints, 3)
        if self.rig is not None:
            _check_shape(f"the rig scene's poses (skeleton {self.skeleton.name})", self.rig.poses, None, joints, 3)
        if unknown := set(self.sections) - set(SECTIONS):
            raise VergenceError(f"a page has no section {', '.join(sorted(unknown))}", f"Known: {', '.join(SECTIONS)}.")


def format_number(value: float) -> str:
    """Three significant digits or whole units, thousands set apart: 0.0123, 1.23, 12.3, 123, 12,345; what arithmetic
    leaves of nothing is 0."""
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if not np.isfinite(value):
        return "–"
    size = abs(value)
    if size < ROUNDING:
        return "0"
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.995 else f"{value:.3g}"


def choose_samples(error: Float[np.ndarray, " N"], each: int = 6) -> list[tuple[str, int]]:
    """Which samples to show: the `each` worst (worst first), as many best, and as many at random from the rest.

    Args:
        error: one per sample; NaN is never chosen.

    Returns:
        (group, index) with every index at most once; fewer where there are fewer. The worst are chosen first, so a
        small set is all `worst` rather than flattered.
    """
    error = np.asarray(error, dtype=float)
    order = np.flatnonzero(np.isfinite(error))
    order = order[np.argsort(-error[order], kind="stable")]
    worst, rest = order[:each], order[each:]
    best, rest = rest[::-1][:each], rest[: max(0, len(rest) - each)]
    drawn = np.sort(np.random.default_rng(0).permutation(rest)[:each])
    groups = (("random", drawn), ("worst", worst), ("best", best))
    return [(group, int(index)) for group, indices in groups for index in indices]
