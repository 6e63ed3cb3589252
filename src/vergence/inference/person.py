"""Where the person is in what a prediction is given: by a box, boxes, keypoints or a capture, or in images that are crops.

An image without any of these is refused where it is not a crop of the run's size: taken whole as a crop of one person it
gives a pose in every frame, and a wrong one (353 mm instead of 68).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.boxes import follow, read_boxes
from vergence.footage.formats.placing import frames_of, on_images
from vergence.footage.keypoints import read_keypoints
from vergence.footage.observations import observe
from vergence.geometry.crops import whole_image_box
from vergence.inference.inputs import Footage, Lens
from vergence.inference.people import LEAST_S, Box, Sightings, Track, box_around
from vergence.skeleton import Skeleton

# Added around a given box, as a share of its larger side: a detector's box ends at the skin.
BOX_MARGIN = 0.1


@dataclass(frozen=True)
class Person:
    """Where a person is.

    Attributes:
        at: `at(frame, (width, height))` is a box, or None where nobody was seen.
        notes: what was assumed.
        whole: every image is taken whole, as somebody wished (True) or because nothing says where the person is (None).
        track: the person's keypoints, where they say it.
        number: which of the people, counted from 1.
    """

    at: Callable[[int, tuple[int, int]], Box | None]
    notes: tuple[str, ...] = ()
    whole: bool | None = False
    track: Track | None = None
    number: int = 1


# What a detector gives of images: whose joints, everybody in each frame, and in words where they are from.
Detecting = Callable[[Path], tuple[Skeleton, Iterable[Float[np.ndarray, "P J 3"]], str]]


def find_people(
    footage: Footage,
    lens: Lens,
    box: str | Sequence[float] | None,
    boxes: Path | str | Mapping[int, Sequence[float]] | None,
    keypoints: Path | str | None,
    whole_image: bool = False,
    detect: Detecting | None = None,
    everybody: bool = False,
) -> tuple[Person, ...]:
    """Boxes from what was given; from the capture where the input is its own video. Else the whole image, which `Take.crops`
    refuses but where it was wished, or where the images are of the run's own size.

    Args:
        footage, lens: of the images.
        box: x, y, width, height, px, of every frame.
        boxes: file of boxes per frame, or a box for each frame number.
        keypoints: file or folder of keypoints, around which the boxes are.
        whole_image: the images are crops of one person.
        detect: finds everybody in images where nothing else says where the person is; None: nobody does.
        everybody: all people, and not only the one who is most in view.

    Raises:
        VergenceError: more than one of them, or one that does not fit the images; everybody is asked for, and only one
            person's boxes are given.
    """
    given = {"--box": box is not None and len(box), "--boxes": boxes is not None, "--keypoints": keypoints is not None,
             "--whole-image": whole_image}  # fmt: skip
    if sum(map(bool, given.values())) > 1:
        names = " and ".join(name for name, is_given in given.items() if is_given)
        raise VergenceError(f"the person is given twice: {names}", "Give one of them.")
    if everybody and (which := next((n for n in ("--box", "--boxes", "--whole-image") if given[n]), "")):
        remedy = "Give --keypoints or --detector, or leave --people out."
        raise VergenceError(f"--people all and {which}, which says where one person is", remedy)
    if box is not None and len(box):
        one = grown(np.array(parse_box(box)))
        return (Person(lambda frame, size: one),)
    if isinstance(boxes, Mapping):
        each = {frame: grown(np.array(parse_box(values))) for frame, values in boxes.items()}
        return (Person(lambda frame, size: each.get(frame)),)
    if boxes is not None:
        tracked, notes = _from_zero(follow(read_boxes(boxes)), footage, Path(boxes).name)
        return (Person(lambda frame, size: grown(tracked[frame]) if frame in tracked else None, notes),)
    if keypoints is not None:
        return _of_file(footage, Path(keypoints), everybody)
    if lens.capture is not None and lens.capture.has_keypoints and _is_video_of(footage, lens):
        own = lens.capture.cameras[lens.index].keypoints
        if everybody and own is not None:
            return _of_file(footage, Path(own), everybody)
        if not everybody:
            return (_subject(lens, footage.fps),)
    if detect is not None and footage.path is not None and not whole_image:
        skeleton, people, source = detect(footage.path)
        return _persons(Sightings(people, skeleton, footage.fps), source, everybody)
    note = "every image is taken as a crop of one person; nobody checked that a person is in it"
    return (Person(lambda frame, size: whole_image_box(size[1], size[0]), (note,), True if whole_image else None),)


def _subject(lens: Lens, fps: float) -> Person:
    """The person whom a capture is about, in its own video."""
    assert lens.capture is not None
    camera = lens.capture.cameras[lens.index]
    observed = observe(lens.capture)
    seen = observed.keypoints[:, lens.index]
    rows = {round(f): row for row, f in enumerate(camera.own_frames(np.arange(len(seen)))) if np.isfinite(f) and f >= 0}
    points = np.full((max(rows, default=-1) + 1, *seen.shape[1:]), np.nan)
    for frame, row in rows.items():
        points[frame] = seen[row]
    note = f"the person: the subject of {lens.capture.folder.name}, by its keypoints"
    return _tracked(Track.of(points, observed.skeleton), fps, (note,))


def _tracked(raw: Track, fps: float, notes: tuple[str, ...], number: int = 1) -> Person:
    """A person by its keypoints."""
    track, wrong = raw.steady(fps)
    again = (f"left and right were exchanged in {wrong} of all {raw.frames} frames, and were exchanged back",)

    def at(frame: int, size: tuple[int, int]) -> Box | None:
        return box_around(track.window(frame, frame + 1)[0])

    return Person(at, notes + again if wrong else notes, track=track, number=number)


def _is_video_of(footage: Footage, lens: Lens) -> bool:
    video = lens.camera.video if lens.camera is not None else None
    return video is not None and footage.path is not None and video.resolve() == footage.path.resolve()


def _of_file(footage: Footage, path: Path, everybody: bool) -> tuple[Person, ...]:
    """Of a file of keypoints."""
    found = on_images(read_keypoints(path), footage.numbering)
    numbers = [number for number, people in found.people.items() if len(people)]
    first = min(found.people) if found.last_known else int(bool(numbers) and max(numbers) == footage.count)
    first = 0 if found.from_zero else first
    count = max(found.people) + 1 - first if footage.count is None else footage.count
    notes = [f"{path.name} counts frames from {first}: that is frame 0 here"] if first else []
    sightings = Sightings(found.frames(first, count), found.skeleton, footage.fps)
    return _persons(sightings, path.name, everybody, (*notes, *found.notes))


def _persons(sightings: Sightings, source: str, everybody: bool, notes: tuple[str, ...] = ()) -> tuple[Person, ...]:
    """The person who is longest, largest and most surely in view, or everybody in this order."""
    if not sightings.trails:
        raise VergenceError(f"nobody is in any frame of {source}", "Check the detector, or give --box.")
    if everybody:
        people, brief = sightings.everybody()
        who = "one person" if len(people) == 1 else f"{len(people)} people"
        told = f"{who} in {source}, numbered by how long, large and surely they are in view"
        told += f"; left out: {brief} more, in view for less than {LEAST_S:g} s" if brief else ""
        return tuple(
            _tracked(sightings.track(own), sightings.fps, (told, *notes), n) for n, own in enumerate(people, 1)
        )
    own, again = sightings.one()
    count = len(sightings.trails)
    told = f"one person is in {source}" if count == 1 else f"{count} people are in {source}"
    told += "" if count == 1 else ": the one longest, largest and most surely in view is taken"
    more = (f"the person was lost for over a second and taken up again, for {again} frames",) if again else ()
    return (_tracked(sightings.track(own), sightings.fps, (told, *more, *notes)),)


def _from_zero(boxes: dict[int, Box], footage: Footage, name: str) -> tuple[dict[int, Box], tuple[str, ...]]:
    """Boxes by frames counted from 0, or as the images' names count; a file whose last frame is `count` counts from 1."""
    frames, count = None if footage.numbering is None else frames_of(boxes, footage.numbering), footage.count
    if frames is not None:
        return {frame: boxes[number] for number, frame in frames.items()}, ()
    if max(boxes) == count and min(boxes) > 0:
        return {frame - 1: box for frame, box in boxes.items()}, (f"{name} counts frames from 1: that is frame 0 here",)
    if count is not None and max(boxes) >= count:
        raise VergenceError(
            f"{name} has a box for frame {max(boxes)}, the input has frames 0 to {count - 1}",
            "Make the boxes from this very input.",
        )
    return boxes, ()


def parse_box(box: str | Sequence[float]) -> list[float]:
    """`x,y,width,height`, or these four, as numbers."""
    text = box if isinstance(box, str) else ",".join(map(str, box))
    try:
        values = [float(word) for word in text.strip("[]() ").replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) == 4 and min(values[2:]) <= 0:
        raise VergenceError(f"--box {text}: its width and height must be above 0", "Give x,y,width,height in px.")
    if len(values) != 4 or not all(abs(value) < 1e7 for value in values):
        raise VergenceError(f"--box {text}", "Give four numbers, x,y,width,height in px, as in 100,50,200,400.")
    return values


def grown(box: Box) -> Box:
    """A box with `BOX_MARGIN` of its larger side added all around."""
    border = BOX_MARGIN * box[2:].max()
    return np.concatenate([box[:2] - border, box[2:] + 2 * border])
