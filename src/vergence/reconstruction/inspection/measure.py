"""What was understood of each camera, of each two of them and of each joint, in figures.

Where no cameras could be found, angles between two of them are told by these two alone, through assumed lenses: good enough to
see that they stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.footage.capture_camera import CaptureCamera, holes_of
from vergence.footage.detectors.turns import BETTER, TURNS, turned_back, uprightness
from vergence.footage.keypoint_formats.confidences import much
from vergence.footage.observations import Observations
from vergence.footage.tracking import present
from vergence.geometry.body import joint_mean
from vergence.geometry.two_view import NO_PARALLAX, pair_pose
from vergence.reconstruction.inputs import REPORT_CONFIDENCE, check_joints
from vergence.reconstruction.inspection.look import Look
from vergence.reconstruction.inspection.still import movement
from vergence.reconstruction.solve import Solution

Array = np.ndarray

NAN = float("nan")
LEAST_JUMPS = 8  # of a joint, for its trembling
TURN_FRAMES = 60  # in which it is asked which way up people are


@dataclass(frozen=True)
class CameraFigures:
    """One camera.

    Attributes:
        name: of it.
        image_size: width and height of its images, px.
        frames: of its video, or of its keypoints.
        rate: frames a second, of its own.
        stamped: its frames are placed by time stamps; else by their numbers.
        begins: seconds after the first camera of all, as far as stamps or the capture say.
        holes: places at which its stamps have lost frames.
        lens: `given`, `estimated`, or `unknown` where nothing could be found.
        view_deg: angle of view along the longer side; NaN unknown.
        focal_deviation: standard deviation of the focal length over the length; 0 where given, NaN unknown.
        turn: quarter turns counter-clockwise after which people stand upright; None where nobody tells.
        filmed: its images are there to be looked at.
        moves: how far the image's corners move during the recording, in parts of its longer side; NaN unknown.
        people: most people at once.
        seen: share of the time steps that were looked at in which the subject is seen.
        height_px: the subject's box, longer side, median.
        error_px: median reprojection error; NaN where nothing was reconstructed.
    """

    name: str
    image_size: tuple[int, int]
    frames: int
    rate: float
    stamped: bool
    begins: float
    holes: int
    lens: str
    view_deg: float
    focal_deviation: float
    turn: int | None
    filmed: bool
    moves: float
    people: int
    seen: float
    height_px: float
    error_px: float = NAN

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


@dataclass(frozen=True)
class PairFigures:
    """Two cameras.

    Attributes:
        cameras: their names.
        seconds: that both see the subject; `overlap`: as a share of the time steps.
        angle_deg: between their directions from the person; NaN unknown.
        offset: frames by which the second one is late, `deviation` its standard deviation; NaN where nothing tells.
        inliers: share of the joints seen by both that agree with each other; NaN unknown.
    """

    cameras: tuple[str, str]
    seconds: float
    overlap: float
    angle_deg: float = NAN
    offset: float = NAN
    deviation: float = NAN
    inliers: float = NAN


@dataclass(frozen=True)
class JointFigures:
    """One joint.

    Attributes:
        name: of it.
        seen: share of (time step, camera) in which it is seen with confidence, while the subject is.
        together: share of the time steps with the subject in which two cameras see it so; NaN of one camera.
        noise_px: median distance from its reprojection; of one camera, by how much it trembles from frame to frame; NaN where
            neither can be told.
        noise: the same in parts of the subject's size in the image.
    """

    name: str
    seen: float
    together: float
    noise_px: float = NAN
    noise: float = NAN


def cameras_of(
    look: Look, at: Capture, seen: Observations | None, solution: Solution | None, errors: Sequence[float]
) -> tuple[CameraFigures, ...]:
    """Figures of every camera.

    Args:
        look: what was looked at.
        at: the capture whose time steps are those of `seen`.
        seen: the subject; None where nobody is.
        solution: None where nothing could be reconstructed.
        errors: of each camera, px; empty without a solution.
    """
    capture, out = look.source, []
    first = max(camera.offset for camera in capture.cameras)
    for v, camera in enumerate(capture.cameras):
        lens, view, deviation = _lens(camera, solution, v)
        own = None if seen is None else seen.keypoints[:, v]
        there = np.zeros(0, bool) if own is None else present(own)
        out.append(
            CameraFigures(
                name=camera.name,
                image_size=camera.image_size,
                frames=camera.frame_count or (0 if own is None else len(own)),
                rate=capture.fps / camera.frame_steps,
                stamped=camera.stamps is not None,
                begins=(first - camera.offset) / capture.fps,
                holes=_holes(camera),
                lens=lens,
                view_deg=view,
                focal_deviation=deviation,
                turn=look.turn[v]
                if look.turn
                else (None if own is None or seen is None else turn_of(own, seen, camera)),
                filmed=bool(look.scenes and look.scenes[v]),
                moves=movement(look.scenes[v]) if look.scenes else NAN,
                people=_most(look, seen, v),
                seen=share_of(there, looked_at(at, len(there))[:, v]),
                height_px=NAN if own is None or not there.any() else float(np.median(_extent(own[there]))),
                error_px=errors[v] if len(errors) else NAN,
            )
        )
    return tuple(out)


def looked_at(capture: Capture, steps: int) -> Bool[Array, "T V"]:
    """In which time steps each camera has an image that was looked at; cameras without images: in all.

    Args:
        capture: of inspection, whose videos hold what was looked at.
        steps: from the first.
    """
    out = np.ones((steps, len(capture.cameras)), dtype=bool)
    for v, camera in enumerate(capture.cameras):
        if camera.frame_count:
            own = camera.own_frames(np.arange(steps, dtype=float))
            out[:, v] = (own > -1) & (own < camera.frame_count)
    return out


def share_of(there: Bool[Array, " T"], looked: Bool[Array, " T"]) -> float:
    """Share of the time steps that were looked at; 0 where none was."""
    return float((there & looked).sum() / max(looked.sum(), 1))


def _lens(camera: CaptureCamera, solution: Solution | None, v: int) -> tuple[str, float, float]:
    """Where the lens is from, its angle of view along the longer side, and how well it is known."""
    known = camera.intrinsics if camera.intrinsics is not None else None if solution is None else solution.intrinsics[v]
    if known is None:
        return "unknown", NAN, NAN
    long = int(np.argmax(camera.image_size))
    view = float(np.degrees(2 * np.arctan(camera.image_size[long] / (2 * known[long, long]))))
    if camera.intrinsics is not None:
        return "given", view, 0.0
    deviation = solution.report.focal_deviation if solution is not None else ()
    return "estimated", view, deviation[v] if len(deviation) else NAN


def _holes(camera: CaptureCamera) -> int:
    return 0 if camera.stamps is None or len(camera.stamps) < 3 else len(holes_of(camera.stamps))


def _most(look: Look, seen: Observations | None, v: int) -> int:
    tracks = [] if seen is None else seen.people[v]
    at_once = int(np.sum([present(track) for track in tracks], axis=0).max()) if tracks else 0
    return max([at_once, *(len(one.boxes) for one in (look.scenes[v] if look.scenes else ()))])


def _extent(person: Float[Array, "N J 3"]) -> Float[Array, " N"]:
    """Longer side of the box around the joints, px: a person's height, whichever way the camera lies."""
    low = np.nanmin(person[..., :2], axis=1)
    return np.asarray((np.nanmax(person[..., :2], axis=1) - low).max(axis=1))


def turn_of(own: Float[Array, "T J 3"], seen: Observations, camera: CaptureCamera) -> int | None:
    """Quarter turns after which the subject stands; None where no way is clear: who leans or lies is not turned."""
    there = np.flatnonzero(present(own))
    some = (
        own[there[np.linspace(0, len(there) - 1, min(len(there), TURN_FRAMES)).astype(int)]] if len(there) else own[:0]
    )
    width, height = camera.image_size
    upright = []
    for turn in TURNS:  # points of the image in the turned image: the turn back of the opposite one
        back = (4 - turn) % 4
        size = (width, height) if turn % 2 == 0 else (height, width)
        upright.append(sum(uprightness(turned_back(one[None], back, size)[0], seen.skeleton) for one in some))
    if not upright or upright[0] > 0.5 * len(some):
        return 0 if upright and len(some) else None
    best = int(np.argmax(upright))
    clear = upright[best] > max(0.5 * len(some), BETTER * upright[0])
    return TURNS[best] if len(some) and clear else None


def pairs_of(
    capture: Capture, seen: Observations, solution: Solution | None, sync: dict[str, Any]
) -> tuple[PairFigures, ...]:
    """Figures of every two cameras.

    Args:
        capture: whose time steps those of `seen` are.
        sync: of the cameras' times, in time steps of the recording.
    """
    there = np.isfinite(seen.keypoints[..., 2]).any(2)
    deviations = {frozenset(pair["cameras"]): pair["deviation"] for pair in sync.get("pairs", ())}
    at = sync.get("cameras", {})
    out = []
    for a, b in combinations(range(len(capture.cameras)), 2):
        names, both = (capture.names[a], capture.names[b]), there[:, a] & there[:, b]
        angle, inliers = _geometry(capture, seen, solution, a, b)
        asked = names[0] in at and sync.get("state") != "unknown"
        out.append(
            PairFigures(
                cameras=names,
                seconds=float(both.sum() / capture.fps),
                overlap=float(both.mean()),
                angle_deg=angle,
                offset=at[names[1]]["offset"] - at[names[0]]["offset"] if asked else NAN,
                deviation=deviations.get(frozenset(names), NAN) if asked else NAN,
                inliers=inliers,
            )
        )
    return tuple(out)


def _geometry(capture: Capture, seen: Observations, solution: Solution | None, a: int, b: int) -> tuple[float, float]:
    """Angle at the person, degrees, and the share of joints that agree."""
    both = np.isfinite(seen.keypoints[..., 2])[:, [a, b]].all(1)
    if solution is not None:
        done = both & np.isfinite(solution.pose).all(2)
        root = joint_mean(solution.pose, solution.skeleton.root)
        middle = np.nanmedian(root, axis=0) if np.isfinite(root).any() else np.nanmedian(solution.pose, axis=(0, 1))
        rays = [-solution.rotation[v].T @ solution.translation[v] - middle for v in (a, b)]
        cosine = rays[0] @ rays[1] / max(float(np.linalg.norm(rays[0]) * np.linalg.norm(rays[1])), 1e-12)
        angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        agree = solution.inlier[:, a] & solution.inlier[:, b]
        return angle, float(agree[done].mean()) if done.any() else NAN
    try:
        rig, points = capture.rig, seen.keypoints[:, [a, b]]
        K, lens = (rig.intrinsics[[a, b]], rig.distortion[[a, b]]) if rig.has_intrinsics else (None, None)
        size = rig.image_size[[a, b]]
        given = check_joints(
            points[..., :2], points[..., 2], K, lens, size, seen.skeleton, None, False, "shared", REPORT_CONFIDENCE
        )
        found = pair_pose(*(own.reshape(-1, 2) for own in given.image.transpose(1, 0, 2, 3)))
    except VergenceError:
        return NAN, NAN
    angle = (
        float(np.degrees(found.angle)) if found.parallax >= NO_PARALLAX else 0.0
    )  # turning one camera explains the other
    return angle, float(found.inliers.sum() / max(both.sum(), 1))


def joints_of(seen: Observations, errors: Mapping[str, float]) -> tuple[JointFigures, ...]:
    """Figures of every joint; `errors` are their reprojection errors, px, empty where nothing was reconstructed."""
    sure = surely(seen)
    if sure.shape[1] == 1:
        errors = trembling(np.where(sure[..., None], seen.keypoints[..., :2], NAN)[:, 0], seen.skeleton.joint_names)
    there = np.isfinite(seen.keypoints[..., 2]).any(2)
    steps, nothing = there.sum(1) >= 2, 0.0 if there.shape[1] > 1 else NAN
    size = float(np.median(_extent(seen.keypoints[there]))) if there.any() else NAN
    return tuple(
        JointFigures(
            name=name,
            seen=float(sure[..., j][there].mean()) if there.any() else 0.0,
            together=float((sure[steps][..., j].sum(1) >= 2).mean()) if steps.any() else nothing,
            noise_px=errors.get(name, NAN),
            noise=errors.get(name, NAN) / size,
        )
        for j, name in enumerate(seen.skeleton.joint_names)
    )


def trembling(points: Float[Array, "T J 2"], names: Sequence[str]) -> dict[str, float]:
    """By joint, the standard deviation of a coordinate, px, of what smooth motion hardly has: third differences in time.

    What all frames share (a joint that is set too high) does not show, nor what a detector that smooths has taken away.
    """
    jumps = np.diff(points, n=3, axis=0) / np.sqrt(20)  # 1 + 9 + 9 + 1: of equal noise in every frame
    found = {}
    for j, name in enumerate(names):
        own = jumps[:, j][np.isfinite(jumps[:, j]).all(-1)]
        if len(own) >= LEAST_JUMPS:
            found[name] = float(1.4826 * np.median(np.abs(own)))
    return found


def surely(seen: Observations) -> Bool[Array, "T V J"]:
    """Joints that are seen with a confidence that counts, on each camera's own scale."""
    confidence = np.nan_to_num(seen.keypoints[..., 2])
    one = np.array([much(own[own > 0]) for own in confidence.transpose(1, 0, 2)])[:, None]
    return np.asarray(confidence > REPORT_CONFIDENCE * one)
