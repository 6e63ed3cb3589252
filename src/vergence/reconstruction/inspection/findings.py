"""What the figures of an inspection mean, each in a plain sentence, and what to film again.

Limits are those of the reconstruction where it has them; what it says against itself is passed on in its own words. The others
are of what was seen to go wrong: a person so small that a detector's pixels are centimetres, limbs that only one camera sees,
cameras that stand together or move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vergence.footage.capture import Capture
from vergence.footage.capture_camera import SAME_RATE
from vergence.footage.observations import Observations
from vergence.geometry.body import reference_length
from vergence.reconstruction.inputs import MIN_MOVING_FRAMES
from vergence.reconstruction.inspection.measure import (
    CameraFigures,
    JointFigures,
    PairFigures,
    looked_at,
    share_of,
)
from vergence.reconstruction.lenses import MAX_FOCAL_DEVIATION
from vergence.reconstruction.quality import MIN_MOTION
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.wish import BEGAN, NOT_SYNCHRONOUS
from vergence.skeleton import in_words

State = Literal["good", "note", "doubtful", "wrong"]

MIN_SEEN = 0.5  # of the time steps, of a camera
MIN_TOGETHER = 0.3  # of the time steps, that two cameras see the person
MIN_SECONDS = 3.0  # that two cameras see the person
MIN_HEIGHT_PX, LEAST_HEIGHT_PX = 100.0, 60.0  # of the person: a detector errs by a few px whatever the size
MIN_JOINT = 0.5  # of the time in which two cameras see the person, that they see a joint
WHOLE = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
SIDE_BY_SIDE_DEG, NARROW_DEG, WIDE_DEG = (
    10.0,
    20.0,
    40.0,
)  # of two cameras, seen from the person, or from opposite sides
SHORT, FAST = 0.25, 4.0  # of the others' length and rate: a file so much shorter and faster has wrong times
MOVES, MOVES_FAR = 0.01, 0.04  # of an image's corners, in parts of its longer side
LISTED = 6  # of things in one sentence
STAYS = 2.0  # trunk lengths that somebody travels who stays in place
TURNED = {1: "lies on its side", 2: "is upside down", 3: "lies on its side"}
# Beginnings of what the reconstruction says where footage is too weak, and nothing in it wrong.
WEAK = ("The person hardly moves", "The relative rotation of the worst pair", "Besides this rig", "Only ")
TELL_TIME = (
    "Start all cameras by one trigger, or let the person walk about unevenly (turn, stop, raise an arm), or give each "
    "camera's `offset` (a clap or a flash that all of them film tells it)"
)
NEARER = "Bring the cameras nearer, zoom in, or film at a higher resolution"
LONGER = "Film for half a minute, with the person walking about in view of all cameras"
TRUE_RATE = "Write it again at the rate at which it was filmed (ffmpeg -r RATE -i FILE ...), or copy it from the camera"
WHOLE_PERSON = "Step back, so that the person is whole in the image from head to foot, and nothing stands in front"
AROUND = "Stand the cameras around the person, 45 to 120 degrees from one to the next"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: that was looked at.
        state: `good`; `note`: worth knowing; `doubtful`: speaks against relying on results; `wrong`: there will be none.
        found: in words, with its number.
        again: what to film again, or to give; empty where nothing.
    """

    what: str
    state: State
    found: str
    again: str = ""


def findings_of(
    capture: Capture,
    cameras: Sequence[CameraFigures],
    pairs: Sequence[PairFigures],
    joints: Sequence[JointFigures],
    seen: Observations | None,
    made: Reconstruction | None,
    sync: dict[str, Any],
    stride: int,
) -> tuple[Finding, ...]:
    """Everything that was found, what is wrong first.

    Args:
        capture: whose time steps are those of `seen`.
        cameras, pairs, joints: their figures.
        seen: the subject; None where nobody is.
        made: None where nothing could be reconstructed.
        sync: of the cameras' times, as results.json says it, in time steps of the recording.
        stride: the recording's time steps to one of `capture`.
    """
    found = [*_number(cameras), *_people(capture, cameras, seen), *_still(cameras), *_turned(cameras), *_times(cameras)]
    if seen is not None and len(cameras) == 1:
        found += [*_alone(capture, seen, cameras[0]), *_joints(joints, 1), *_trembling(joints)]
    elif seen is not None:
        found += [
            *(() if _brief(cameras) else _together(capture, seen)),
            *_joints(joints, len(cameras)),
            *_angles(pairs, made is not None),
            *_sync(sync, made is not None and made.synchronisation.get("state") != "not asked"),
        ]
    if made is not None:
        found += [*_lenses(made), *_moved(made), *_geometry(made, stride, _cause(cameras, pairs))]
    order = ("wrong", "doubtful", "note", "good")
    return tuple(sorted(found, key=lambda one: order.index(one.state)))


def _number(cameras: Sequence[CameraFigures]) -> Iterator[Finding]:
    if len(cameras) == 1:
        again = (
            "Film with two cameras or more at once, which reconstruct and learn need; three or four are better. "
            + AROUND
        )
        yield Finding("cameras", "wrong", "One camera gives no depth: a second one is missing", again)
        told = "From one video 3D can be estimated by a model, not measured: `vergence predict VIDEO` does"
        yield Finding("cameras", "note", told)
    elif len(cameras) == 2:
        again = "A third camera shows wrong joints: two cannot outvote each other"
        yield Finding("cameras", "note", "Two cameras", again)
    else:
        yield Finding("cameras", "good", f"{len(cameras)} cameras")


def _people(capture: Capture, cameras: Sequence[CameraFigures], seen: Observations | None) -> Iterator[Finding]:
    empty = [camera.name for camera in cameras if camera.seen == 0]
    if len(empty) == len(cameras):
        again = "Film a person, whole and well lit, in view of all cameras"
        yield Finding("person", "wrong", "Nobody is seen in any camera", again)
        return
    if empty:
        again = "Turn it towards the person, or take it out of the recording"
        nobody = [camera.name for camera in cameras if camera.seen == 0 and not camera.people]
        others = [name for name in empty if name not in nobody]
        if nobody:
            yield Finding("person", "wrong", f"{_list(nobody)}: nobody is seen there", again)
        if others:
            found = f"{_list(others)}: people are seen there, but none who fits the subject of the other cameras"
            yield Finding("person", "wrong", found, "Look whether that camera films the same person at the same time")
    rare = [f"{c.name} {c.seen:.0%}" for c in cameras if 0 < c.seen < MIN_SEEN]
    if rare:
        found = f"The person is seen in part of the time only: {_list(rare)} (limit {MIN_SEEN:.0%})"
        yield Finding("person", "doubtful", found, "Keep the person in view of every camera")
    small = [f"{c.name} {c.height_px:.0f} px" for c in cameras if c.height_px < MIN_HEIGHT_PX]
    if small:
        found = f"The person is small in the image: {_list(small)} (limit {MIN_HEIGHT_PX:.0f} px)"
        least = min(c.height_px for c in cameras if c.height_px == c.height_px)
        yield Finding("size", "doubtful" if least < LEAST_HEIGHT_PX else "note", found, NEARER)
    if seen is not None and seen.subject.verdict == "doubtful":
        again = "Film one person at a time, or longer, so that it is clear who moves with whom"
        yield Finding("person", "doubtful", f"Who the subject is, is not sure: {seen.subject.reason}", again)
    elif max(c.people for c in cameras) > 1:
        most = _list([f"{c.name} {c.people}" for c in cameras if c.people > 1])
        yield Finding("person", "note", f"Several people are in view at once ({most}); one of them was chosen")
    elif not empty and not rare:
        yield Finding("person", "good", f"One person, in view of {'every' if len(cameras) > 1 else 'the'} camera")


def _still(cameras: Sequence[CameraFigures]) -> Iterator[Finding]:
    moving = [c for c in cameras if c.moves > MOVES]
    if moving:
        far = any(c.moves > MOVES_FAR for c in moving)
        told = _list([f"{c.name} by {c.moves:.1%} of the image's longer side" for c in moving])
        who = "Cameras move while they film" if len(cameras) > 1 else "The camera moves while it films"
        found = f"{who}: {told} (limit {MOVES:.0%})"
        yield Finding(
            "tripod", "wrong" if far else "doubtful", found, "Put them on tripods, without zoom or stabiliser"
        )
    elif cameras and all(c.moves <= MOVES for c in cameras):
        yield Finding("tripod", "good", "The cameras stand still" if len(cameras) > 1 else "The camera stands still")
    elif unknown := _list([c.name for c in cameras if c.filmed and c.moves != c.moves]):
        yield Finding("tripod", "note", f"Whether the camera stands still is not known: {unknown}")


def _turned(cameras: Sequence[CameraFigures]) -> Iterator[Finding]:
    for c in cameras:
        if c.turn:
            found = f"{c.name} {TURNED[c.turn]}: people stand when its images are turned by {c.turn * 90} degrees"
            yield Finding("turn", "note", f"{found}, which detection and reconstruction allow for")


def _times(cameras: Sequence[CameraFigures]) -> Iterator[Finding]:
    lost = [f"{c.name} at {c.holes} place{'s' if c.holes > 1 else ''}" for c in cameras if c.holes]
    if lost:
        found = f"Frames were dropped while filming: {_list(lost)}; their time stamps show where"
        yield Finding("frames", "note", found, "A card or phone that is fast enough, or fewer pixels, loses none")
    if brief := _brief(cameras):
        told = _list([f"{c.name} {c.rate:g} frames a second, so it lasts {c.frames / c.rate:.2f} s" for c in brief])
        found = f"The times in a video are wrong: {told}, a small part of what the others last"
        yield Finding("frames", "wrong", found, TRUE_RATE)
        return
    rates = sorted({float(f"{c.rate:.3g}") for c in cameras})
    if rates[-1] > (1 + SAME_RATE) * rates[0]:
        found = f"Cameras have different frame rates ({', '.join(f'{rate:g}' for rate in rates)})"
        yield Finding("frames", "note", found, "One rate for all is better: between frames joints are interpolated")


def _brief(cameras: Sequence[CameraFigures]) -> list[CameraFigures]:
    """Those whose files say that they are far shorter and far faster than the others."""
    long, rate = (float(np.median(x)) for x in zip(*((c.frames / c.rate, c.rate) for c in cameras)))
    return [c for c in cameras if c.frames / c.rate < SHORT * long and c.rate > FAST * rate]


def _alone(capture: Capture, seen: Observations, camera: CameraFigures) -> Iterator[Finding]:
    """What one camera shows of time, person and lens."""
    there = np.isfinite(seen.keypoints[..., 2]).any(2)[:, 0]
    seconds = float(there.sum() / capture.fps)
    told = f"The camera sees the person in {there.mean():.0%} of the time, {seconds:.1f} s"
    short = seconds < MIN_SECONDS
    words = (f"{told}: that is short (five seconds and more are better)", LONGER) if short else (told,)
    yield Finding("overlap", "note" if short else "good", *words)
    if camera.lens == "given":
        yield Finding("lens", "good", "The lens is given")
    else:
        yield Finding("lens", "note", "The lens is not given, and one camera alone does not show it")


def _trembling(joints: Sequence[JointFigures]) -> Iterator[Finding]:
    """How far joints jump from frame to frame in the only camera."""
    known = [j for j in joints if j.noise_px == j.noise_px]
    if known:
        middle, worst = float(np.median([j.noise_px for j in known])), max(known, key=lambda j: j.noise_px)
        found = f"Joints tremble by {middle:.1f} px ({float(np.median([j.noise for j in known])):.1%} of the person)"
        yield Finding("noise", "note", f"{found}, most the {in_words(worst.name)}, by {worst.noise_px:.1f} px")


def _together(capture: Capture, seen: Observations) -> Iterator[Finding]:
    both = np.isfinite(seen.keypoints[..., 2]).any(2).sum(1) >= 2
    looked = looked_at(capture, len(both)).sum(1) >= 2
    count, share, seconds = int(both.sum()), share_of(both, looked), float(both.sum() / capture.fps)
    told = f"Two cameras or more see the person in {share:.0%} of the time, {seconds:.1f} s"
    again = LONGER
    if count < MIN_MOVING_FRAMES:
        yield Finding("overlap", "wrong", f"{told} (at least {MIN_MOVING_FRAMES} frames are needed)", again)
    elif share < MIN_TOGETHER:
        yield Finding("overlap", "doubtful", f"{told} (limit {MIN_TOGETHER:.0%})", again)
    elif seconds < MIN_SECONDS:
        yield Finding("overlap", "note", f"{told}: that is short (five seconds and more are better)", again)
    else:
        yield Finding("overlap", "good", told)


def _joints(joints: Sequence[JointFigures], cameras: int) -> Iterator[Finding]:
    """How often limbs are seen: by two cameras together, or by the only one."""
    share = {j.name: j.seen if cameras == 1 else j.together for j in joints if j.name.split("_", 1)[-1] in WHOLE}
    told = {name: f"{in_words(name)} {value:.0%}" for name, value in share.items()}
    rare = [told[name] for name, value in share.items() if value < MIN_JOINT]
    if rare:
        found = "These joints are seldom seen" if cameras == 1 else "Two cameras seldom see these joints together"
        yield Finding("joints", "doubtful", f"{found}: {_list(rare)} (limit {MIN_JOINT:.0%})", WHOLE_PERSON)
    elif share:
        least = min(share, key=lambda name: share[name])
        found = "Every joint of the limbs is seen" if cameras == 1 else "Two cameras see every joint together"
        rarest = f"the rarest is the {in_words(least)}, {share[least]:.0%} of the time"
        yield Finding("joints", "good", f"{found}; {rarest}")


def _angles(pairs: Sequence[PairFigures], solved: bool) -> Iterator[Finding]:
    known = [pair for pair in pairs if pair.angle_deg == pair.angle_deg]
    if not known:
        return
    best = max(known, key=lambda pair: np.sin(np.radians(pair.angle_deg)))
    names = " and ".join(best.cameras)
    if best.angle_deg < NARROW_DEG:
        found = f"All cameras look from nearly one side (at most {best.angle_deg:.0f} degrees apart, {names})"
        yield Finding("parallax", "doubtful", f"{found}: depth is hardly seen (limit {NARROW_DEG:.0f} degrees)", AROUND)
        return
    if best.angle_deg > 180 - NARROW_DEG:
        found = f"The cameras face each other ({best.angle_deg:.0f} degrees apart, {names})"
        yield Finding("parallax", "doubtful", f"{found}: depth is hardly seen", AROUND)
    elif solved:
        yield Finding("parallax", "good", f"Seen from the person, {names} are {best.angle_deg:.0f} degrees apart")
    beside = [f"{' and '.join(p.cameras)} ({p.angle_deg:.0f})" for p in known if p.angle_deg < SIDE_BY_SIDE_DEG]
    if beside:
        found = f"Cameras stand side by side and count as one (degrees apart): {_list(beside)}"
        yield Finding("parallax", "note", found, AROUND)


def _sync(sync: dict[str, Any], asked: bool) -> Iterator[Finding]:
    """What is known of the cameras' times; `asked`: the reconstruction needed it, and says its doubts itself."""
    state, reason = sync.get("state"), sync.get("reason", "")
    if state == "stated":
        yield Finding("time", "good", "The capture states its cameras' times")
    elif state == "synchronous":
        yield Finding("time", "good", "The person's motion shows that all cameras film at one time")
    elif state == "found":
        told = _list([_begins(n, c["offset"]) for n, c in sync["cameras"].items() if c["offset"]])
        if asked:
            found = f"Cameras began at different times, and the motion shows by how much: {told}"
            yield Finding("time", "good", found)
        else:
            yield Finding("time", "note", f"Cameras may not film at one time (by the motion: {told})", TELL_TIME)
    elif asked:
        yield Finding("time", "note", f"The cameras' times are not sure: {reason}", TELL_TIME)
    elif state == "unsure" and not any(c["offset"] for c in sync["cameras"].values()):
        within = 2 * max(c["deviation"] for c in sync["cameras"].values())
        found = f"No sign that cameras film at different times; the motion shows it to about {within:.1f} frames"
        yield Finding("time", "note", found)
    elif state != "not asked":
        found = "No sign that cameras film at different times, but the motion cannot show it"
        yield Finding("time", "note", f"{found}: {reason}", TELL_TIME)


def _begins(name: str, offset: float) -> str:
    return f"{name} {abs(offset):.1f} frames {'later' if offset < 0 else 'earlier'}"


def _lenses(made: Reconstruction) -> Iterator[Finding]:
    deviations = [d for d in made.report.focal_deviation if d == d]
    if made.intrinsics == "given":
        yield Finding("lens", "good", "The lenses are given")
    elif deviations and max(deviations) <= MAX_FOCAL_DEVIATION:
        found = f"Lenses are not given; the footage gives focal lengths to {max(deviations):.0%}"
        yield Finding("lens", "note", found, "A calibration of the lenses makes everything more reliable")
    else:
        told = f" (to {max(deviations):.0%}, limit {MAX_FOCAL_DEVIATION:.0%})" if deviations else ""
        again = "Film a chessboard with each camera for its lens, or give --fov, or let the person come nearer and walk more"
        yield Finding("lens", "doubtful", f"Lenses are not given, and the footage hardly shows them{told}", again)


def _moved(made: Reconstruction) -> Iterator[Finding]:
    report, bone = made.report, made.report.travel
    if made.poses.unit == "mm":
        bone = report.travel / reference_length(made.poses.pose, made.skeleton)
    if report.motion >= MIN_MOTION and bone >= STAYS:
        yield Finding("movement", "good", f"The person walks about ({bone:.1f} trunk lengths)")
    elif report.motion >= MIN_MOTION:
        found = f"The person moves but stays in place ({bone:.1f} trunk lengths)"
        yield Finding("movement", "note", found, "Let the person walk about: every step puts joints in new places")


def _cause(cameras: Sequence[CameraFigures], pairs: Sequence[PairFigures]) -> str:
    """What would help most where cameras are known too badly."""
    if max((min(p.angle_deg, 180 - p.angle_deg) for p in pairs), default=90.0) < WIDE_DEG:
        return AROUND
    return NEARER if any(c.height_px < MIN_HEIGHT_PX for c in cameras) else LONGER


def _geometry(made: Reconstruction, stride: int, cause: str) -> Iterator[Finding]:
    """What the reconstruction says against itself, in its own words."""
    for reason in made.report.reasons:
        counted = f" (one frame here is {stride} frames of the recording)" if stride > 1 and " frame" in reason else ""
        late = reason.startswith(NOT_SYNCHRONOUS) or BEGAN in reason
        again = TELL_TIME if late else cause if reason.startswith(WEAK) else ""
        yield Finding("geometry", "doubtful", reason.rstrip(".") + counted, again)
    if made.report.verdict == "good":
        error = made.report.predicted_rotation_deg
        sure = (
            f"rotations of cameras are known to {made.report.rotation_words}"
            if error == error and error
            else "nothing speaks against them"
        )
        yield Finding("geometry", "good", f"Cameras and person agree: {sure}")


def _list(words: Sequence[str]) -> str:
    more = len(words) - LISTED
    return ", ".join(words) if more < 2 else f"{', '.join(words[:LISTED])} and {more} more"
