"""What 3D, 2D and cameras say about each other, and which simple fault explains a contradiction.

Where the projected pose misses its keypoints, `explain` says why. Knees need no camera: seen along the hip line they bend
forward (forward = left x up in any right-handed frame). In a mirrored body, or one whose left and right are exchanged,
they bend backward.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.records import Records
from vergence.datasets.validation.arrays import limb_lengths_of, some_rows
from vergence.datasets.validation.finding import Finding, percent
from vergence.datasets.validation.reprojection import (
    comparable,
    explain,
    in_camera,
    limit_px,
    projected,
    reprojection_by_camera,
    reprojection_errors,
    row_median,
    sampled,
    scattered,
)
from vergence.skeleton import Skeleton

FAILING_SHARE = 0.02  # of the rows; fewer are a note
MOST_CAMERAS = 6  # named in a sentence
BEND_SHARE = 0.06  # of the leg: how far a knee must be off the line from hip to ankle to count as bent
FORWARD_SHARE = 0.7
LEAST_BENT = 20
AGREEMENT_MM = 20.0
MOST_TIME_STEPS = 4000


def check_reprojection(records: Records) -> list[Finding]:
    """3D onto 2D in px per camera; where it fails, why."""
    what = "reprojection"
    posed = np.isfinite(records.pose).all(-1).any(-1)
    if not posed.any():
        return []
    if relative := _root_relative(records, posed):
        return relative
    rows = some_rows(records, comparable(records))
    if not len(rows):
        return _inside_boxes(records, posed)
    part = records[rows]
    error = row_median(reprojection_errors(part))
    limit = limit_px(part)
    failing = error > limit
    share = float(failing.mean())
    words = f"{_cameras_in_words(records)} (limit {_span(limit)} px)"
    if not failing.any():
        return [Finding(what, "good", f"median {words}")]
    where = _where(part, failing)
    text = f"3D misses its 2D in {percent(share)} of {len(rows):,} rows{where}; median {words}"
    shown = part[sampled(failing)]
    if scattered(shown):
        return [Finding(what, "note", f"{text}: by little, and each joint by itself, as the 2D of a detector is")]
    cause, remedy = explain(shown)
    return [Finding(what, "wrong" if share > FAILING_SHARE else "note", f"{text}: {cause}", remedy)]


def _span(values: ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if high - low < 0.05 else f"{low:.3g} to {high:.3g}"


def _cameras_in_words(records: Records) -> str:
    found = sorted(reprojection_by_camera(records).items(), key=lambda item: -item[1][0])
    words = [f"{name} {middle:.3g} px" for name, (middle, _, _) in found[:MOST_CAMERAS]]
    rest = len(found) - len(words)
    return ", ".join(words) + (f", {rest} more cameras below" if rest else "")


def _where(part: Records, failing: ndarray) -> str:
    """Where failing rows are not everywhere: in which sequences they are."""
    if failing.mean() > 0.9:
        return ""
    numbers, counts = np.unique(part.sequence[failing], return_counts=True)
    worst = numbers[np.argsort(-counts, kind="stable")][:3]
    names = part.groups.get("sequence")
    shown = [str(n) if names is None else str(names[np.flatnonzero(part.sequence == n)[0]]) for n in worst]
    return f" (in {len(numbers)} sequences, most in {', '.join(shown)})"


def _root_relative(records: Records, posed: ndarray) -> list[Finding]:
    root = records.pose[posed][:, list(records.skeleton.root)].mean(1)
    near = np.linalg.norm(root, axis=-1) < 1e-3 * _size(records)
    if not np.isfinite(root).any() or np.mean(near) < 0.5:
        return []
    return [Finding("reprojection", "wrong", f"the root of {percent(float(np.mean(near)))} of the poses lies at the origin: "
                    "they are root-relative and have no place before the camera",
                    "Give absolute poses: mm in the camera's frame.")]  # fmt: skip


def _size(records: Records) -> float:
    lengths = [x[np.isfinite(x)] for x in limb_lengths_of(records).values()]
    known = np.concatenate(lengths) if lengths else np.empty(0)
    return float(np.median(known)) if len(known) else 1.0


def _inside_boxes(records: Records, posed: ndarray) -> list[Finding]:
    """Without 2D: the projected pose must at least lie in the person's box."""
    rows = some_rows(records, posed & np.isfinite(records.intrinsics).all((1, 2)) & np.isfinite(records.box).all(1))
    if not len(rows):
        return [Finding("reprojection", "note", "no 2D, boxes or intrinsics to hold the 3D against")]
    part = records[rows]
    share = _inside(part, part.pose)
    text = (
        f"{percent(share)} of the projected 3D joints lie in their row's box (limit 80 %); there is no 2D to measure px"
    )
    if share >= 0.8:
        return [Finding("reprojection", "good", text)]
    moved = _inside(part, in_camera(part, part.pose)) >= 0.8
    text += "; moved by R and t they do: the poses are in the world's frame" if moved else ""
    return [Finding("reprojection", "wrong", text, "Give poses in each camera's frame: x right, y down, z forward.")]


def _inside(part: Records, pose: ndarray) -> float:
    """The share of known joints whose projection lies in their row's box, grown by a quarter."""
    pixels, low, span = projected(part, pose), part.box[:, None, :2], part.box[:, None, 2:]
    inside = ((pixels > low - 0.25 * span) & (pixels < low + 1.25 * span)).all(-1)
    return float(inside.sum() / max(np.isfinite(part.pose).all(-1).sum(), 1))


def knee_bends(pose: Float[ndarray, "N J 3"], skeleton: Skeleton) -> Float[ndarray, "N 2"]:
    """How far each knee (right, left) is before the line from hip to ankle, in parts of the leg; NaN where unknown.

    Forward is `left x up` with left from the right to the left hip and up from the hips to the trunk's top.
    """
    sources = [skeleton.sources(name) for name in ("right_hip", "left_hip", "pelvis", "thorax")]
    legs = [f"{side}_{part}" for side in ("right", "left") for part in ("knee", "ankle")]
    if not all(sources) or not skeleton.has(*legs):
        return np.full((len(pose), 2), np.nan)
    p = pose.astype(np.float64)
    right, left, low, high = (p[:, list(s)].mean(1) for s in sources)
    across, up = left - right, high - low
    forward = np.cross(across, up)
    with np.errstate(invalid="ignore", divide="ignore"):
        forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
        out = []
        for side, hip in (("right", right), ("left", left)):
            knee, ankle = p[:, skeleton.index(f"{side}_knee")], p[:, skeleton.index(f"{side}_ankle")]
            line = ankle - hip
            along = ((knee - hip) * line).sum(-1, keepdims=True) / (line * line).sum(-1, keepdims=True)
            off = knee - hip - along * line
            length = np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
            # A thigh that points far forward or up has its knee before the line whichever way it bends: look along the leg.
            bent = np.linalg.norm(off, axis=-1) / length
            out.append(np.where((off * forward).sum(-1) >= 0, bent, -bent))
    return np.stack(out, 1)


def check_knees(records: Records) -> list[Finding]:
    """Bent knees point forward; in mirrored poses, or with left and right exchanged, backward."""
    rows = some_rows(records, np.isfinite(records.pose).all(-1).any(-1))
    bends = knee_bends(records.pose[rows], records.skeleton)
    with np.errstate(invalid="ignore"):
        bent = np.abs(bends) > BEND_SHARE
    count = int(bent.sum())
    if count < LEAST_BENT:
        return []
    share = float((bends[bent] > 0).mean())
    text = f"{percent(share)} of {count:,} bent knees bend forward (limit {percent(FORWARD_SHARE)})"
    if share < FORWARD_SHARE:
        words = ": the 3D poses are mirrored, or their left and right are exchanged" if share < 0.5 else ""
        return [
            Finding("knees", "wrong", text + words, "Check the axes (x right, y down, z forward) and the joint order.")
        ]
    backward = []
    for number in np.unique(records.sequence[rows]):
        own = bent & (records.sequence[rows] == number)[:, None]
        if own.sum() >= LEAST_BENT and (bends[own] > 0).mean() < 0.5:
            backward.append(str(number))
    if backward:
        more = f" and {len(backward) - 5} more" if len(backward) > 5 else ""
        return [Finding("knees", "note", f"{text}, but not in sequences {', '.join(backward[:5])}{more}: left and right may be "
                        "exchanged there",
                        "Look at these sequences in the contact sheet.")]  # fmt: skip
    return [Finding("knees", "good", text)]


def check_agreement(records: Records) -> list[Finding]:
    """Poses of one time step by several cameras, brought to the world by R and t, are one pose."""
    posed = np.isfinite(records.pose).all(-1).any(-1) & np.isfinite(records.rotation).all((1, 2))
    posed &= np.isfinite(records.translation).all(1)
    numbers, counts = np.unique(records.time_step[posed], return_counts=True)
    shared = numbers[counts > 1]
    if not len(shared):
        return []
    shared = shared[np.linspace(0, len(shared) - 1, min(len(shared), MOST_TIME_STEPS)).astype(int)]
    part = records[posed & np.isin(records.time_step, shared)]
    apart = _apart(part, 1.0)
    text = f"poses of one time step by several cameras lie {apart:.3g} mm apart in the world, median (limit {AGREEMENT_MM:g})"
    if apart <= AGREEMENT_MM:
        return [Finding("extrinsics", "good", text)]
    for scale, words in ((1e3, "the translations are in metres, the poses in mm"), (1e-3, "the poses are in metres"),
                         (10.0, "the translations are in centimetres, the poses in mm")):  # fmt: skip
        if _apart(part, scale) <= AGREEMENT_MM * min(scale, 1.0):
            return [Finding("extrinsics", "wrong", f"{text}: {words}", "Bring R, t and poses to millimetres.")]
    return [Finding("extrinsics", "wrong", text, "Give R and t from world to camera, x_cam = R x_world + t, in mm, and "
                    "poses of one moment in each camera's frame.")]  # fmt: skip


def _apart(part: Records, scale: float) -> float:
    """Median distance of the world's joints from the time step's mean over its views; `scale` is on the translations."""
    world = (part.pose.astype(np.float64) - scale * part.translation[:, None]) @ part.rotation
    _, inverse = np.unique(part.time_step, return_inverse=True)
    known = np.isfinite(world).all(-1, keepdims=True)
    total = np.zeros((inverse.max() + 1, *world.shape[1:]))
    count = np.zeros((inverse.max() + 1, world.shape[1], 1))
    np.add.at(total, inverse, np.where(known, world, 0))
    np.add.at(count, inverse, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.linalg.norm(world - (total / count)[inverse], axis=-1)
    gap = gap[np.isfinite(gap) & (count[inverse][..., 0] > 1)]
    return float(np.median(gap)) if len(gap) else 0.0
