"""Sources: where images come from, one small dataclass for each kind, and what of their labels a method may use.

A kind is its settings and the one line that opens it, and knows no key but its own: a setting that would do nothing is
an error, not a surprise weeks later. Readers are named by `module:function` and imported when they are needed, so that
recipes stay below all of them. A kind from outside has the same form (`plugins.datasets`).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vergence import plugins
from vergence.errors import VergenceError
from vergence.recipes.settings import ANY, SHARE, SOME, Limited

if TYPE_CHECKING:  # numpy is not needed for `--help`
    from vergence.skeleton import Skeleton

Scale = Literal["training", "true", "depth"]  # where a protocol's millimetres come from


@dataclass
class Source(Limited):
    """What every source has; a kind derives from it, adds its own keys and says how it is opened.

    Args:
        kind: its name in `plugins.datasets`.
        keypoints: use its 2D labels.
        pose: use its 3D labels: `none`, `all`, the number of subjects whose labels are used, or, of files, their names
            as `S1,S5` (the papers' rows S1, S1+S5, ...).
    """

    kind: str = ""
    keypoints: bool = False
    pose: str | int = "none"

    # No fields: what is asked of any source. A kind that has such a key makes it one.
    path = protocol = frames = split = reconstruction = ""
    subjects = seed = 0
    of_world = False  # drawn by the built-in world, not read from files
    has_pose = True  # may have 3D labels
    has_views = True  # may show one time step by several cameras

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kind = self.kind or plugins.datasets.name_of(type(self))
        self.pose = str(self.pose)  # YAML reads 1 as a number
        if self.pose not in ("none", "all") and not self.pose.isdigit() and (self.of_world or not self.named):
            names = "" if self.of_world else ", or names of subjects as S1,S5"
            raise VergenceError(f"source.pose is {self.pose!r}", f"Use none, all, a number of subjects{names}.")

    def open(self, image_size: int, skeleton: Skeleton) -> Any:
        """The images with the whole truth about them: a `batches.dataset.Dataset` of crops `image_size` pixels wide in
        that skeleton, or `datasets.records.Records`, of which one is made."""
        raise NotImplementedError(f"{type(self).__name__} has no open()")

    @property
    def named(self) -> tuple[str, ...]:
        """The people whom `pose` names; () where it counts them, or shows all or none."""
        words = tuple(word.strip() for word in str(self.pose).split(","))
        return words if all(re.fullmatch(r"[A-Za-z]+[0-9]+", word) for word in words) else ()

    @property
    def scale(self) -> Scale:
        """Where millimetres come from; kinds that are measured have it as a key."""
        return "training"


@dataclass
class World(Source):
    """The built-in world's.

    Args:
        look: the world's look.
        seed: the world's seed; different seeds have no people or cameras in common.
        occlusion: share of images with an object in front of the person; empty: the look's own.
        truncation: share of images that cut the person off; empty: the look's own.
    """

    look: Literal["studio", "wild"] = "wild"
    seed: int = 0
    occlusion: float | None = None
    truncation: float | None = None

    of_world = True
    LIMITS: ClassVar = {"seed": ANY, "occlusion": SHARE, "truncation": SHARE}

    def open(self, image_size: int, skeleton: Skeleton) -> Any:
        return plugins.imported("vergence.training.sources:open_world")(self, image_size, skeleton)


@dataclass
class WorldImages(World):
    """One image per person.

    Args:
        count: images.
    """

    kind: str = "world_images"
    count: int = 1000

    has_views = False
    LIMITS: ClassVar = World.LIMITS | {"count": SOME}


@dataclass
class WorldRecordings(World):
    """Several cameras, moving people.

    Args:
        subjects: people, one recording each.
        frames_per_subject: time steps of each recording.
        views: cameras of each recording; several numbers are used in turn.
    """

    kind: str = "world_recordings"
    subjects: int = 10
    frames_per_subject: int = 20
    views: list[int] = field(default_factory=lambda: [4])

    LIMITS: ClassVar = World.LIMITS | dict.fromkeys(("subjects", "frames_per_subject", "views"), SOME)


@dataclass
class WorldStatic(World):
    """A camera walks around people who stand still.

    Args:
        subjects: people, one recording each.
        views: images along the walk; several numbers are used in turn.
    """

    kind: str = "world_static"
    subjects: int = 10
    views: list[int] = field(default_factory=lambda: [4])

    LIMITS: ClassVar = World.LIMITS | dict.fromkeys(("subjects", "views"), SOME)


@dataclass
class Files(Source):
    """Read from a folder.

    Args:
        path: the folder; a relative one is below `--data ROOT` where that is given.
    """

    path: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise VergenceError(f"a {self.kind} source has no path", f"Set path: to the folder of the {self.kind}.")
        if (step := getattr(self, "step", 1)) < 1:
            raise VergenceError(f"source.step is {step}", "Give 1 for every frame, 5 for every fifth.")

    def open(self, image_size: int, skeleton: Skeleton) -> Any:
        """The kind's reader, `read_KIND` of the module of that name, with the kind's own keys."""
        own = {field.name for field in dataclasses.fields(self)} - {f.name for f in dataclasses.fields(MeasuredFiles)}
        read = plugins.imported(f"vergence.datasets.{self.kind}:read_{self.kind}")
        return read(self.path, **{name: getattr(self, name) for name in own})


@dataclass
class CaptureFolder(Files):
    """Footage in a folder, with 2D keypoints.

    Args:
        frames: frames of the capture to use, as `0-34,65-99`; empty means all.
        reconstruction: folder that `vergence reconstruct` wrote for the capture; a model is measured against its poses,
            and they count as pseudo-labels, never as truth.
    """

    kind: str = "capture"
    frames: str = ""
    reconstruction: str = ""

    def open(self, image_size: int, skeleton: Skeleton) -> Any:
        return plugins.imported("vergence.datasets.capture:read_capture")(self, image_size, skeleton)


@dataclass
class MannequinChallenge(Files):
    """People who stand still, seen by a moving camera.

    Args:
        parallax: any two images kept of a person are at least this angle apart, degrees.
    """

    kind: str = "mannequin_challenge"
    parallax: float = 5.0

    has_pose = False


@dataclass
class MeasuredFiles(Files):
    """Of which a published protocol may be measured.

    Args:
        protocol: a named protocol, which then sets the keys that choose images.
        scale: how scale-free predictions are converted to mm under that protocol: by the `training` people's mean size, or
            by each pose's `true` size or its root's `depth`, which use ground truth.
    """

    protocol: str = ""
    scale: Scale = "training"


@dataclass
class Shards(MeasuredFiles):
    """What `vergence data prepare` wrote."""

    kind: str = "shards"

    def open(self, image_size: int, skeleton: Skeleton) -> Any:
        shards = plugins.imported("vergence.datasets.shards.reader:ShardDataset")(self.path, image_size, skeleton)
        if not self.protocol:
            return shards
        return plugins.imported("vergence.protocols.shards:under_protocol")(shards, self.protocol)


@dataclass
class Human36M(MeasuredFiles):
    """Human3.6M.

    Args:
        split: `train`, `test`, or names of subjects, as `S1,S5`.
        step: one frame of so many; 5 is every 5th.
        cameras: `all`, the names it has for some of them (`frontal`), or names joined by commas.
        faulty: sequences whose labels are known to be wrong: `keep`, `drop` or `repair`.
    """

    kind: str = "human36m"
    split: str = "train"
    step: int = 1
    cameras: str = "all"
    faulty: Literal["keep", "drop", "repair"] = "keep"


@dataclass
class MpiInf3dhp(MeasuredFiles):
    """MPI-INF-3DHP.

    Args:
        split: `train`, `test`, or names of subjects, as `S1,S5`.
        step: one frame of so many; 5 is every 5th.
        cameras: `all`, the names it has for some of them, or names joined by commas.
        universal: 3D at its one body size (the official evaluation's), not at each person's own.
    """

    kind: str = "mpi_inf_3dhp"
    split: str = "train"
    step: int = 1
    cameras: str = "all"
    universal: bool = False


@dataclass
class Mpii(MeasuredFiles):
    """MPII Human Pose.

    Args:
        split: `train`, `valid` or `trainval`.
    """

    kind: str = "mpii"
    split: str = "train"

    has_pose = has_views = False


@dataclass
class Coco(MeasuredFiles):
    """COCO keypoints.

    Args:
        split: `train` or `val`.
    """

    kind: str = "coco"
    split: str = "train"

    has_pose = has_views = False


def settings_of(kind: str) -> type[Source]:
    """The dataclass of a kind of source.

    Raises:
        VergenceError: no kind of that name, or it is no `Source`.
    """
    found = plugins.datasets[kind]
    if not (isinstance(found, type) and issubclass(found, Source) and dataclasses.is_dataclass(found)):
        raise VergenceError(f"kind {kind!r} is no source", "It must be a dataclass that derives from vergence.Source.")
    return found
