"""Which of a camera's own frames its keypoints (or boxes) belong to, where names of files say it.

Keypoints of a folder of images belong to the image of their number, also where numbers are times or have gaps. Without
images, numbers of all cameras that are in equal steps (every fifth frame, or times) are counted in these steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vergence.footage.formats.names import Numbering, counted_together, number_frames
from vergence.footage.keypoints import Detections

# Share of numbers that may lie beside the images' before they are counts of something else.
STRANGE_SHARE = 0.1


def frames_of(numbers: Iterable[int], images: Numbering) -> dict[int, int] | None:
    """The images' frame of each number that has one; None where numbers and images do not count the same.

    They do not where as many are counted from another first number (a program that counts from 0), or where more than a
    tenth of the numbers are none of the images'.
    """
    values = sorted(numbers)
    found = {value: frame for value in values if (frame := images.frame(value)) is not None and frame < images.count}
    if len(found) == len(values):
        return found
    as_many = values[-1] - values[0] + 1 == images.count
    return None if as_many or len(values) - len(found) > STRANGE_SHARE * len(values) else found


def on_images(found: Detections, images: Numbering | None) -> Detections:
    """The same people by the images' frames, where they count the same."""
    people = found.by_number
    frames = None if images is None else frames_of(people, images)
    if frames is None:
        return found
    return replace(found, people={frame: people[n] for n, frame in frames.items()}, numbers=None, from_zero=True)


def own_frames(
    found: Mapping[str, Detections],
    images: Mapping[str, Numbering | None],
    counts: Mapping[str, int | None],
    notes: list[str],
) -> dict[str, Detections]:
    """Every camera's people by its own frames, as far as names tell.

    Args:
        found: of each camera, as read.
        images: how its folder of images counts; None for none, and for a video.
        counts: its images, None where there are none.
        notes: gets a sentence where numbers do not count frames.
    """
    out = {name: on_images(detections, images[name]) for name, detections in found.items()}
    for name, detections in out.items():
        count = counts[name]
        if detections.numbers is not None and count is not None and detections.numbers[-1] <= count:
            out[name] = replace(detections, people=detections.by_number, numbers=None)
    if any(count is not None for count in counts.values()):
        return out
    every = number_frames(number for detections in out.values() for number in detections.by_number)
    alone = [number_frames(detections.by_number) for detections in out.values()]
    if every.step == 1 or (not every.step and all(numbering.step == 1 for numbering in alone)):
        return out
    each = [every] * len(out) if every.step else counted_together(alone)
    step = f"in steps of {each[0].step:.6g}" if all(numbering.step for numbering in each) else "in their order"
    notes.append(f"numbers of the keypoints' files do not count frames; they are taken {step}")
    placed = {}
    for (name, detections), numbering in zip(out.items(), each):
        people = {numbering.frames[number]: seen for number, seen in detections.by_number.items()}
        placed[name] = replace(detections, people=people, numbers=None, from_zero=True)
    return placed
