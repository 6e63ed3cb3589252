"""What a dataset says about people in images, and those images as crops: the one bridge from files to Views.

A reader of a dataset ends in `Records`: plain arrays in the full image's own camera, no pixels, no crop. The rest is
the same for all of them and stands here once. Labels are moved into their crop's camera when the dataset is opened, so
that protocols, draws and label stages need no image; an image is read when a batch asks for it. Both ways end in the
same camera (`geometry.crops`).

What breaks it: a wrong box, size or lens shows as keypoints off the person (`vergence data check` measures that); random
reading from long videos decodes up to a group of images for each crop (`vergence data prepare` writes shards).
"""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.crops import crop_image, moved_labels
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.footage.images import Video, read_image
from vergence.footage.video import open_video
from vergence.geometry.crops import CropCamera, CropMode, crop_cameras
from vergence.progress import followed, hearing
from vergence.skeleton import Skeleton

OPEN_VIDEOS = 4  # a decoder holds some dozen full frames
ROWS_AT_ONCE = 8192  # of the index; bounds the float64 arrays on the way

# Of each row's values; J joints, D coefficients of the lens.
SHAPES: dict[str, tuple[int | str, ...]] = {
    "size": (2,), "box": (4,), "keypoints": ("J", 2), "confidence": ("J",), "pose": ("J", 3), "intrinsics": (3, 3),
    "distortion": ("D",), "rotation": (3, 3), "translation": (3,), "up": (3,), "subject": (), "sequence": (), "view": (),
    "frame": (), "time_step": (), "time": (),
}  # fmt: skip
_WHOLE = ("subject", "sequence", "view", "frame", "time_step")
_LABELS = ("keypoints", "confidence", "pose")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The place of an image's pixels.

    Attributes:
        path: an image file, or a video.
        frame: None for an image file, else the frame's number in the video, from 0.
    """

    path: Path
    frame: int | None = None


class ImageRefs(Sequence[ImageRef]):
    """Places of images in 12 bytes each, beside their files' paths: a million of `ImageRef` are 100 MB.

    Args:
        paths: of the files, each once.
        file: of each image, its place among the paths.
        frame: of each image; -1 for the file itself.
    """

    def __init__(self, paths: Sequence[Path], file: Int[ndarray, " N"], frame: Int[ndarray, " N"]) -> None:
        self.paths = tuple(paths)
        self.file, self.frame = file.astype(np.int32, copy=False), frame.astype(np.int64, copy=False)

    @staticmethod
    def of(images: Sequence[ImageRef]) -> ImageRefs:
        if isinstance(images, ImageRefs):
            return images
        paths: dict[Path, int] = {}
        file = np.array([paths.setdefault(image.path, len(paths)) for image in images], np.int32)
        return ImageRefs([*paths], file, np.array([-1 if i.frame is None else i.frame for i in images], np.int64))

    @staticmethod
    def cat(parts: Sequence[ImageRefs]) -> ImageRefs:
        paths = {path: place for place, path in enumerate(dict.fromkeys(path for part in parts for path in part.paths))}
        file = [np.array([paths[path] for path in part.paths], np.int32)[part.file] for part in parts]
        return ImageRefs([*paths], np.concatenate(file), np.concatenate([part.frame for part in parts]))

    def __len__(self) -> int:
        return len(self.file)

    def __iter__(self) -> Iterator[ImageRef]:
        for file, frame in zip(self.file.tolist(), self.frame.tolist()):
            yield ImageRef(self.paths[file], None if frame < 0 else frame)

    @overload
    def __getitem__(self, rows: int) -> ImageRef: ...
    @overload
    def __getitem__(self, rows: slice | ndarray) -> ImageRefs: ...
    def __getitem__(self, rows: int | slice | ndarray) -> ImageRef | ImageRefs:
        if isinstance(rows, slice | ndarray):
            return ImageRefs(self.paths, self.file[rows], self.frame[rows])
        frame = int(self.frame[rows])
        return ImageRef(self.paths[int(self.file[rows])], None if frame < 0 else frame)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Records:
    """What a dataset says about N people in images. Missing is NaN. Labels are kept as float32, cameras as float64.

    Attributes:
        images: N image files or places (kept as `ImageRefs`); one image may show several people.
        size: N 2, width and height of the full image, px.
        box: N 4, x y width height in px of the full image (as `vergence.geometry.crops` takes it).
        keypoints: N J 2, px of the full image as recorded, lens distortion included.
        confidence: N J, 0 to 1; 0 where a keypoint is missing.
        pose: N J 3, mm, absolute, in the camera's frame (x right, y down, z forward).
        intrinsics: N 3 3, px.
        distortion: N 5, OpenCV's k1 k2 p1 p2 k3, or N 12 (`camera.distort`).
        rotation: N 3 3, `x_camera = rotation x_world + translation`.
        translation: N 3, mm.
        up: N 3, a unit vector in the camera's frame.
        subject, sequence, view, frame, time_step: N integers: who, which recording, which camera, which frame of it; one
            `time_step` for the same person at the same moment, whatever the view, unique over the dataset.
        time: N, seconds from the recording's start.
        groups: names such as `action`, `camera` or `scene` to N strings each, over which protocols average.
        skeleton: of keypoints and poses.
        measures: names such as `head_px` or `area_px` to N numbers each, by which figures in 2D are measured; NaN where one
            is not known.
        report: what was skipped, counted, and what was assumed, in plain values.
    """

    images: Sequence[ImageRef]
    size: Float[ndarray, "N 2"]
    box: Float[ndarray, "N 4"]
    keypoints: Float[ndarray, "N J 2"]
    confidence: Float[ndarray, "N J"]
    pose: Float[ndarray, "N J 3"]
    intrinsics: Float[ndarray, "N 3 3"]
    distortion: Float[ndarray, "N D"]
    rotation: Float[ndarray, "N 3 3"]
    translation: Float[ndarray, "N 3"]
    up: Float[ndarray, "N 3"]
    subject: Int[ndarray, " N"]
    sequence: Int[ndarray, " N"]
    view: Int[ndarray, " N"]
    frame: Int[ndarray, " N"]
    time_step: Int[ndarray, " N"]
    time: Float[ndarray, " N"]
    groups: Mapping[str, ndarray]
    skeleton: Skeleton
    report: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, joints = len(self.images), len(self.skeleton)
        for name, shape in SHAPES.items():
            kind = np.int64 if name in _WHOLE else np.float32 if name in _LABELS else np.float64
            value = np.asarray(getattr(self, name))
            if kind is np.int64 and not np.issubdtype(value.dtype, np.integer) and value.size:
                raise VergenceError(f"the records have a {name} of type {value.dtype}", "Give integers.")
            lens = 12 if value.shape[1:] == (12,) else 5
            wanted = (n, *({"J": joints, "D": lens}[size] if isinstance(size, str) else size for size in shape))
            if value.shape != wanted:
                raise VergenceError(
                    f"the records of {n} images and {joints} joints have a {name} of shape {value.shape}",
                    f"Give the shape {wanted}, with NaN where something is missing.",
                )
            object.__setattr__(self, name, value.astype(kind, copy=False))
        groups = {name: np.asarray(value).astype(np.str_, copy=False) for name, value in self.groups.items()}
        measures = {name: np.asarray(value, dtype=np.float64) for name, value in self.measures.items()}
        for what, name, value in [("group", *g) for g in groups.items()] + [("measure", *m) for m in measures.items()]:
            if value.shape != (n,):
                raise VergenceError(
                    f"the records of {n} images have a {what} {name} of shape {value.shape}",
                    f"Give the shape ({n},): one for each image.",
                )
        object.__setattr__(self, "images", ImageRefs.of(self.images))
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "measures", measures)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Sequence[int] | ndarray) -> Records:
        """Rows by a slice, integers or a mask of N; the report stays."""
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows)]
        if chosen.ndim != 1:
            raise VergenceError(f"records have no rows {rows!r}", "Give a slice, a list of integers or a mask.")
        return dataclasses.replace(
            self,
            images=ImageRefs.of(self.images)[chosen],
            groups={name: value[chosen] for name, value in self.groups.items()},
            measures={name: value[chosen] for name, value in self.measures.items()},
            **{name: getattr(self, name)[chosen] for name in SHAPES},
        )

    def convert(self, skeleton: Skeleton) -> Records:
        """The same with another skeleton's joints; those that this one cannot give are NaN, of confidence 0."""
        if skeleton == self.skeleton:
            return self
        return dataclasses.replace(
            self,
            keypoints=self.skeleton.convert(self.keypoints, skeleton),
            confidence=self.skeleton.convert_confidence(self.confidence, skeleton),
            pose=self.skeleton.convert(self.pose, skeleton),
            skeleton=skeleton,
        )

    @staticmethod
    def cat(parts: Sequence[Records]) -> Records:
        """Joins records of one skeleton, the same groups and measures. Numbers stay as they are: give parts that are not one
        recording distinct `sequence` and `time_step` numbers. Counts of the reports are added up."""
        if not parts:
            raise VergenceError("there are no records to join", "Give at least one part.")
        first = parts[0]
        for part in parts:
            if (part.skeleton, {*part.groups}, {*part.measures}) != (
                first.skeleton, {*first.groups}, {*first.measures}
            ):  # fmt: skip
                raise VergenceError(
                    f"records of {first.skeleton.name} grouped by {', '.join(first.groups) or 'nothing'} cannot be joined "
                    f"with records of {part.skeleton.name} grouped by {', '.join(part.groups) or 'nothing'}",
                    "Convert them to one skeleton and give both the same groups and measures.",
                )
        most = max(part.distortion.shape[1] for part in parts)
        fields = {name: [getattr(part, name) for part in parts] for name in SHAPES}
        fields["distortion"] = [np.pad(lens, ((0, 0), (0, most - lens.shape[1]))) for lens in fields["distortion"]]
        return Records(
            images=ImageRefs.cat([ImageRefs.of(part.images) for part in parts]),
            groups={name: np.concatenate([part.groups[name] for part in parts]) for name in first.groups},
            measures={name: np.concatenate([part.measures[name] for part in parts]) for name in first.measures},
            skeleton=first.skeleton,
            report=joined_report([part.report for part in parts]),
            **{name: np.concatenate(value) for name, value in fields.items()},
        )


def joined_report(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several reports as one: numbers added up, mappings joined alike, other values once each (a list where they differ)."""
    out: dict[str, Any] = {}
    for key in dict.fromkeys(key for report in reports for key in report):
        values = [report[key] for report in reports if key in report]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            out[key] = sum(values)
        elif all(isinstance(value, Mapping) for value in values):
            out[key] = joined_report(values)
        else:
            flat = [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]
            once = [v for i, v in enumerate(flat) if v not in flat[:i]]
            out[key] = once if len(once) != 1 or isinstance(values[0], list | tuple) else once[0]
    return out


def record_crops(records: Records, size: int, mode: CropMode = "virtual") -> CropCamera:
    """The cameras of the records' boxes, square crops of `size` px; rows whose box has none are not `good`."""
    return crop_cameras(records.intrinsics, records.distortion, records.box, size, mode, records.size)


def crop_index(records: Records, size: int, mode: CropMode = "virtual") -> Views:
    """All that records say, moved into their crops' cameras: Views of N with images of size 0.

    Raises:
        VergenceError: a box without area, outside its image, or wider than a pinhole sees.
    """
    starts = range(0, len(records), ROWS_AT_ONCE)
    told = followed(starts, f"labels of {ROWS_AT_ONCE} images each", len(starts), hearing())
    parts = (_index_part(records[i : i + ROWS_AT_ONCE], size, mode) for i in told)
    return Views.collected(parts, len(records)) if len(records) else Views.empty(0, len(records.skeleton), 0, 0)


def _index_part(records: Records, size: int, mode: CropMode) -> Views:
    crops = record_crops(records, size, mode)
    if not crops.good.all():
        row = int(np.flatnonzero(~crops.good)[0])
        image = records.images[row]
        where = f"{image.path}" + ("" if image.frame is None else f" frame {image.frame}")
        raise VergenceError(
            f"{int((~crops.good).sum())} boxes cannot be cropped; the first, of {where} "
            f"({records.size[row][0]:g}x{records.size[row][1]:g}), is {' '.join(f'{v:g}' for v in records.box[row])}",
            "Mend them or leave them out: a box is x y width height in px, has an area, overlaps its image and is no wider "
            "than a pinhole sees.",
        )
    names = ("keypoints", "confidence", "pose", "rotation", "translation", "up")
    moved = moved_labels(crops, records.size, **{name: getattr(records, name) for name in names})
    whole = {name: torch.from_numpy(getattr(records, name).copy()) for name in _WHOLE}
    known = torch.from_numpy(np.isfinite(records.pose).all(-1).any(-1))
    return moved.replace(metric=known, time=torch.from_numpy(records.time.astype(np.float32)), **whole)


class ImageReader(Protocol):
    """Opens images, `H W 3`, RGB."""

    def read(self, image: ImageRef) -> ndarray: ...


class ImageDataset:
    """Records as a `dataset.Dataset`: crops read from their images and videos when a batch asks for them.

    Args:
        records: any skeleton.
        image_size: side of the crops, px.
        skeleton: the run's joints; the records' are converted.
        mode: `virtual`, or `rectangular` for the papers' plain boxes.
        pixels: opens the images; left out: `OpenFiles`.

    Attributes:
        index: every field of every row, images of size 0.
        records: as given; their rows are this dataset's rows.
        groups, measures, report: the records'; names over which protocols average, numbers by which they measure in 2D.

    Raises:
        VergenceError: a box that cannot be cropped (`crop_index`).
    """

    def __init__(
        self,
        records: Records,
        image_size: int,
        skeleton: Skeleton,
        mode: CropMode = "virtual",
        pixels: ImageReader | None = None,
    ) -> None:
        self.records = records
        self.image_size = image_size
        self.mode: CropMode = mode
        self.index = crop_index(records.convert(skeleton), image_size, mode)
        self.groups, self.measures, self.report = records.groups, records.measures, records.report
        self._files: ImageReader = OpenFiles() if pixels is None else pixels

    def __len__(self) -> int:
        return len(self.records)

    def order(self) -> Int[Tensor, " N"]:
        """Rows in the order of files and frames, in which each video is decoded once."""
        images = ImageRefs.of(self.records.images)
        return torch.from_numpy(np.lexsort((images.frame, images.file)))

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        """The rows with their pixels. Images are opened in the order of files and frames, each once.

        Raises:
            VergenceError: an image is missing, damaged, or of another size than the records say.
        """
        wanted = torch.as_tensor(rows, dtype=torch.long)
        size = self.image_size
        image = torch.zeros(len(wanted), 3, size, size, dtype=torch.uint8)
        places = [self.records.images[row] for row in wanted.tolist()]
        order = sorted(range(len(wanted)), key=lambda i: (str(places[i].path), places[i].frame or 0))
        once = lru_cache(1)(self._files.read)
        for i in order:
            image[i] = torch.from_numpy(self._crop(int(wanted[i]), once(places[i]))).permute(2, 0, 1)
        return self.index[wanted].replace(image=image)

    def _crop(self, row: int, image: ndarray) -> ndarray:
        records = self.records
        width, height = records.size[row]
        if image.shape[:2] != (height, width):
            raise VergenceError(
                f"{records.images[row].path} is {image.shape[1]}x{image.shape[0]}, its labels are for "
                f"{width:g}x{height:g}",
                "Use the images that the labels were made on, at their own size.",
            )
        lens = np.nan_to_num(records.distortion[row])
        return crop_image(image, records.intrinsics[row], lens, records.box[row], self.image_size, self.mode)[0]


class OpenFiles:
    """Images by `ImageRef`; of the videos those used last stay open. Worker processes open their own."""

    def __init__(self) -> None:
        self._videos: OrderedDict[Path, Video] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    def read(self, image: ImageRef) -> ndarray:
        """RGB, `H W 3`, as displayed."""
        if image.frame is None:
            return read_image(image.path)
        if self._process != os.getpid():  # a decoder does not survive a fork
            self._videos, self._process = OrderedDict(), os.getpid()
        video = self._videos.pop(image.path, None)
        if video is None:
            video = open_video(image.path)
            if len(self._videos) >= OPEN_VIDEOS:
                self._videos.popitem(last=False)[1].close()
        self._videos[image.path] = video
        return video[image.frame]
