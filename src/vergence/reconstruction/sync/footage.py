"""A capture whose cameras were not triggered together, brought to one time.

What containers and files of frame times say was done while reading; here the motion is asked. Keypoints are then taken
anew at the capture's time steps (`CaptureCamera.own_frames`), and the subject is chosen anew, since who moves with whom
is clearer at one time.
"""

from __future__ import annotations

import dataclasses
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.footage.observations import Observations, observe
from vergence.footage.tracking import person_size
from vergence.reconstruction.inputs import check_joints
from vergence.reconstruction.sync.find import LEAST_SHARE, LEAST_TAU, REACH_STEPS, Sync, find_sync
from vergence.reconstruction.sync.motion import smoothed, with_steady_sides, without_strays
from vergence.reconstruction.sync.pairs import LEAST_FRAMES, scan

Array = np.ndarray

PPM = 1e6
LEAST_CONFIDENCE = 0.05
MOVERS, LEAST_LENGTH = 2, 0.5  # people of each camera that are tried, and how long they must be seen beside the longest
COARSE = 3  # steps between the shifts at which they are
TELL_OFFSETS = "Give each camera's `offset` (a clap or a flash that all of them film tells it), or film more motion."
MOST_STEP = 0.1  # of a joint from frame to frame, in parts of the person: more is a stray


def synchronise(capture: Capture, seen: Observations, seed: int = 0) -> tuple[Capture, Observations, Sync | None]:
    """The capture and what is seen in it, at one time; as they are where the capture's times are stated, or motion tells
    of nothing to move.

    Raises:
        VergenceError: the moved cameras leave nothing in common.
    """
    if capture.synchronised or len(capture.cameras) < 2:
        return capture, seen, None
    image = _image(capture, _somebody(capture, seen))
    if image is None:
        return capture, seen, None  # who reconstructs says it better
    coarsest = max(camera.frame_steps for camera in capture.cameras)
    known = capture.rig.has_intrinsics
    sync = find_sync(image, fps=capture.fps, coarsest=coarsest, focal_known=known, seed=seed)
    if not sync.moves:
        return capture, seen, sync
    cameras = tuple(
        dataclasses.replace(
            camera,
            offset=camera.offset * (1 + drift) + offset,
            drift=((1 + camera.drift / PPM) * (1 + drift) - 1) * PPM,
        )
        for camera, offset, drift in zip(capture.cameras, sync.offset.tolist(), sync.drift.tolist())
    )
    moved = dataclasses.replace(capture, cameras=cameras, synchronised=True)
    return moved, observe(moved), sync


def _image(capture: Capture, seen: Observations) -> Float[Array, "T V J 2"] | None:
    """Normalised points, through an assumed lens where none is given; None where there are too few."""
    rig, points = capture.rig, seen.keypoints
    intrinsics, distortion = (rig.intrinsics, rig.distortion) if rig.has_intrinsics else (None, None)
    size, xy, confidence = rig.image_size, points[..., :2], points[..., 2]
    try:
        given = check_joints(
            xy, confidence, intrinsics, distortion, size, seen.skeleton, None, False, "shared", LEAST_CONFIDENCE
        )
    except VergenceError:
        return None
    mirror = seen.skeleton.mirror
    return np.stack([with_steady_sides(own, mirror) for own in given.image.transpose(1, 0, 2, 3)], axis=1)


def _somebody(capture: Capture, seen: Observations) -> Observations:
    """The observations of one person, whom motion can follow through all cameras before their times are known.

    The choice of the subject rests on moments that cameras share. Where it is in doubt, those of each camera's tracks are
    taken that some offset in time lets agree best.
    """
    sure = seen.subject.verdict != "doubtful" and min(seen.subject.tracks, default=-1) >= 0
    most = [sorted(_long(own), key=_movement, reverse=True)[:MOVERS] for own in seen.people]
    if sure or not all(most) or (max(len(own) for own in most) == 1 and min(seen.subject.tracks) >= 0):
        return seen
    steps = len(seen.keypoints)
    courses = []
    for v, own in enumerate(most):
        alone = [dataclasses.replace(seen, keypoints=np.stack([t] * len(most), axis=1)) for t in own]
        images = [_image(capture, one) for one in alone]
        courses.append([None if i is None else smoothed(without_strays(i[:, v]), LEAST_TAU) for i in images])
    shifts, least = np.arange(-REACH_STEPS, REACH_STEPS + 1, COARSE), int(max(LEAST_FRAMES, LEAST_SHARE * steps))
    costs: dict[tuple[int, int, int, int], float] = {}
    for a, b in combinations(range(len(most)), 2):
        for i, j in product(range(len(most[a])), range(len(most[b]))):
            first, second = courses[a][i], courses[b][j]
            if first is not None and second is not None:
                cost = scan(first, second, shifts, least)
                known = np.isfinite(cost)
                costs[a, b, i, j] = float(np.min(cost[known]) - np.median(cost[known])) if known.any() else 0.0
    best = min(
        product(*(range(len(own)) for own in most)),
        key=lambda c: sum(costs.get((a, b, c[a], c[b]), 0.0) for a, b in combinations(range(len(c)), 2)),
    )
    return dataclasses.replace(seen, keypoints=np.stack([own[i] for own, i in zip(most, best)], axis=1))


def _long(tracks: list[Float[Array, "T J 3"]]) -> list[Float[Array, "T J 3"]]:
    """Those seen for half as long as the longest: an end of somebody's track, or a mistake, fits many moments."""
    frames = [int(np.isfinite(track[..., 0]).any(1).sum()) for track in tracks]
    return [track for track, n in zip(tracks, frames) if n >= LEAST_LENGTH * max(frames)]


def _movement(track: Float[Array, "T J 3"]) -> float:
    """How much a track tells of time: the joints' steps from frame to frame in parts of the person, summed."""
    steps = np.linalg.norm(np.diff(track[..., :2], axis=0), axis=-1)
    known = np.isfinite(steps)
    size = np.nanmedian(person_size(track)) if known.any() else 1.0
    return float(np.minimum(steps[known] / size, MOST_STEP).sum())


def words(sync: Sync | None, capture: Capture) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes, and doubts, on what was found."""
    if sync is None:
        return (), ()
    names = capture.names
    told = ", ".join(
        f"{name} by {offset:+.2f} frames"
        + (f" and {drift * PPM:+.0f} ppm" if drift else "")
        + f" ({'began later' if offset < 0 else 'began earlier'}, within {2 * spread:.2f})"
        for name, offset, drift, spread in zip(names, sync.offset, sync.drift, sync.deviation)
        if offset or drift
    )
    fits = "; ".join(", ".join(f"{n} {x:+.1f}" for n, x in zip(names, option)) for option in sync.alternatives)
    if sync.moves:
        text = f"cameras were synchronised by the person's motion: {told}"
        if sync.state == "found":
            return (text + "; `--sync off` or an `offset` leaves them",), ()
        options = f" ({fits})" if fits else ""
        doubt = f"Cameras were not triggered together, and {sync.reason}{options}: taken as {told}."
        return (text,), (f"{doubt} {TELL_OFFSETS}",)
    if sync.state == "ambiguous" and sync.zero_fits:
        return (f"cameras may be synchronous or not: {sync.reason} ({fits}); left as they are",), ()
    if not sync.zero_fits:
        return (), (f"Cameras may not be synchronous, and were left as they are: {sync.reason}.",)
    if sync.state == "unsure":
        return (
            f"cameras are synchronous as far as the motion shows, within {2 * sync.deviation.max():.1f} frames",
        ), ()
    if sync.state == "unknown":
        return (f"whether cameras are synchronous was not found out: {sync.reason}; left as they are",), ()
    return (), ()


def described(sync: Sync | None, capture: Capture) -> dict[str, Any]:
    """What results.json holds: per camera offset (time steps), drift (ppm) and deviation, and of every pair."""
    if sync is None:
        return {"state": "stated" if capture.synchronised else "not asked"}
    names, between = capture.names, sync.between
    return {
        "state": sync.state,
        "reason": sync.reason,
        "margin": sync.margin,
        "alternatives": [dict(zip(names, option)) for option in sync.alternatives],
        "cameras": {
            name: {"offset": float(o), "drift_ppm": float(d) * PPM, "deviation": float(s)}
            for name, o, d, s in zip(names, sync.offset, sync.drift, sync.deviation)
        },
        "pairs": [] if between is None else [
            {"cameras": [names[a], names[b]], "deviation": float(between[a, b])}
            for a in range(len(names)) for b in range(a)
        ],
    }  # fmt: skip
