"""What 3D, 2D and cameras say about each other, and which simple fault explains a contradiction.

Where the projected pose misses its keypoints, the known faults are tried one by one on the rows that fail: sides
exchanged, a mirror, axes of another convention, the world's frame (by the row's own R and t), another joint order
(an assignment of projected to labelled joints), and last any rigid motion at all (PnP; Terzakis & Lourakis 2020, SQPnP).
The first under which they fit is named, so that a reader is told what to change and not only that something is wrong.

PnP also has the limit of this: a body nearly flat towards the camera is explained by its mirror image as well as by
itself, so the answer is the one that most rows give.

Knees need no camera: seen along the hip line they bend forward (forward = left x up in any right-handed frame). In a
mirrored body, or one whose left and right are exchanged, they bend backward.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from vergence.datasets.records import Records
from vergence.datasets.validation.arrays import Finding, limb_lengths_of, percent, some_rows
from vergence.geometry.camera import normalise, project
from vergence.skeleton import Skeleton

REPROJECTION_PX = 0.5  # labels in whole pixels are off by so much
REPROJECTION_SHARE = 0.002  # of the image's longer side, where that is more; 2 px of 1000
FAILING_SHARE = 0.02  # of the rows; fewer are a note
MOST_TRIED = 400  # failing rows on which explanations are tried
MOST_CAMERAS = 6  # named in a sentence
BEND_SHARE = 0.06  # of the leg: how far a knee must be off the line from hip to ankle to count as bent
FORWARD_SHARE = 0.7
LEAST_BENT = 20
AGREEMENT_MM = 20.0
MOST_TIME_STEPS = 4000

Fix = Callable[[Records], ndarray]  # poses under one explanation


def reprojection_errors(records: Records, pose: ndarray | None = None) -> Float[ndarray, "N J"]:
    """Distance in px of each projected 3D joint from its keypoint, infinite for a joint behind the camera; NaN where
    either, or the lens, is unknown."""
    pose = (records.pose if pose is None else pose).astype(np.float64)
    k, lens = torch.from_numpy(records.intrinsics), torch.from_numpy(np.nan_to_num(records.distortion))
    pixels = project(torch.from_numpy(pose), k, lens).numpy()
    error = np.linalg.norm(pixels - records.keypoints, axis=-1)
    both = np.isfinite(pose).all(-1) & np.isfinite(records.keypoints).all(-1)
    both &= np.isfinite(records.intrinsics).all((1, 2))[:, None]
    return np.where(both & (pose[..., 2] <= 0), np.inf, np.where(both, error, np.nan))


def row_median(error: Float[ndarray, "N J"]) -> Float[ndarray, " N"]:
    """Median over the known joints; NaN where there are none."""
    known = ~np.isnan(error)
    rank = np.sort(np.where(known, error, np.inf), axis=1)
    count = known.sum(1)
    middle = np.take_along_axis(rank, np.maximum(count - 1, 0)[:, None] // 2, 1)[:, 0]
    return np.where(count > 0, middle, np.nan)


def camera_names(records: Records) -> ndarray:
    """What tells the cameras apart for a reader: the group `camera` where there is one, else the view's number."""
    return records.groups["camera"] if "camera" in records.groups else np.char.mod("view %d", records.view)


def reprojection_by_camera(records: Records) -> dict[str, tuple[float, float, int]]:
    """Median and 95th percentile over joints, px, and rows, of each camera that has 2D, 3D and a lens."""
    rows = some_rows(records, _comparable(records))
    part = records[rows]
    error, names = reprojection_errors(part), camera_names(part)
    out = {}
    for name in np.unique(names):
        own = error[names == name]
        own = own[~np.isnan(own)]
        if len(own):
            out[str(name)] = (_percentile(own, 0.5), _percentile(own, 0.95), int((names == name).sum()))
    return out


def _percentile(values: ndarray, share: float) -> float:
    """The value below which this share lies; no interpolation, since some are infinite."""
    return float(np.sort(values)[min(int(share * len(values)), len(values) - 1)])


def _comparable(records: Records) -> ndarray:
    both = np.isfinite(records.pose).all(-1) & np.isfinite(records.keypoints).all(-1)
    return both.any(1) & np.isfinite(records.intrinsics).all((1, 2))


def limit_px(records: Records) -> Float[ndarray, " N"]:
    return np.maximum(REPROJECTION_PX, REPROJECTION_SHARE * records.size.max(1))


def check_reprojection(records: Records) -> list[Finding]:
    """3D onto 2D in px per camera; where it fails, why."""
    what = "reprojection"
    posed = np.isfinite(records.pose).all(-1).any(-1)
    if not posed.any():
        return []
    if relative := _root_relative(records, posed):
        return relative
    rows = some_rows(records, _comparable(records))
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
    cause, remedy = explain(part[_sampled(failing)])
    return [Finding(what, "wrong" if share > FAILING_SHARE else "note", f"{text}: {cause}", remedy)]


def _span(values: ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if high - low < 0.05 else f"{low:.3g} to {high:.3g}"


def _sampled(mask: ndarray) -> ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_TRIED)).astype(int)]


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
    lens = torch.from_numpy(np.nan_to_num(part.distortion))
    pixels = project(torch.from_numpy(part.pose.astype(np.float64)), torch.from_numpy(part.intrinsics), lens).numpy()
    low, span = part.box[:, None, :2], part.box[:, None, 2:]
    inside = ((pixels > low - 0.25 * span) & (pixels < low + 1.25 * span)).all(-1)
    share = float(inside.sum() / max(np.isfinite(part.pose).all(-1).sum(), 1))
    text = (
        f"{percent(share)} of the projected 3D joints lie in their row's box (limit 80 %); there is no 2D to measure px"
    )
    if share >= 0.8:
        return [Finding("reprojection", "good", text)]
    moved = "; moved by R and t they do: the poses are in the world's frame" if _world_fits(part, low, span) else ""
    return [
        Finding("reprojection", "wrong", text + moved, "Poses are in each camera's frame: x right, y down, z forward.")
    ]


def _world_fits(part: Records, low: ndarray, span: ndarray) -> bool:
    lens = torch.from_numpy(np.nan_to_num(part.distortion))
    pixels = project(torch.from_numpy(in_camera(part, part.pose)), torch.from_numpy(part.intrinsics), lens).numpy()
    inside = ((pixels > low - 0.25 * span) & (pixels < low + 1.25 * span)).all(-1)
    return bool(inside.sum() >= 0.8 * max(np.isfinite(part.pose).all(-1).sum(), 1))


def in_camera(records: Records, world: ndarray, scale: float = 1.0) -> Float[ndarray, "N J 3"]:
    """World poses in each row's camera; `scale` brings the translation to the poses' unit."""
    moved = world.astype(np.float64) @ records.rotation.transpose(0, 2, 1)
    return moved + scale * records.translation[:, None]


def explain(failing: Records) -> tuple[str, str]:
    """Which simple fault the failing rows show, in words, and its remedy. Rows vote; the most frequent answer wins."""
    limit, best = limit_px(failing), (0.0, "", "")
    for cause, remedy, fix in _explanations():
        fits = row_median(reprojection_errors(failing, fix(failing))) <= limit
        if fits.mean() > best[0]:
            best = float(fits.mean()), cause, remedy
        if fits.mean() > 0.9:
            break
    if best[0] < 0.9:
        for more in (_another_order(failing, limit), _rigid(failing, limit)):
            best = more if more[0] > best[0] + 0.1 else best
    if best[0] < 0.5:
        return "no single fault explains it", "Compare a few images in the contact sheet with their 2D and 3D."
    some = "" if best[0] > 0.9 else f" (in {percent(best[0])} of these rows)"
    return best[1] + some, best[2]


_FRAME = "Poses are in each camera's frame, x right, y down, z forward: apply R and t of each row's camera."
_MIRROR = "Turn the axis around when reading: x right, y down, z forward; a right hand must stay a right hand."


def _explanations() -> Iterator[tuple[str, str, Fix]]:
    yield ("with left and right exchanged it fits: the sides are swapped between 2D and 3D",
           "Exchange left and right of the rows' 3D or 2D, whichever is not the person's own.",
           lambda r: r.pose[:, list(r.skeleton.mirror)])  # fmt: skip
    yield (
        "moved by R and t it fits: the poses are in the world's frame, not the camera's",
        _FRAME,
        (lambda r: in_camera(r, r.pose)),
    )
    for scale, words in ((1e-3, "and the translations are mm where the poses are metres"),
                         (1e3, "and the translations are metres where the poses are mm")):  # fmt: skip
        yield (f"moved by R and t it fits: the poses are in the world's frame, {words}", _FRAME,
               partial(_from_world, scale=scale))  # fmt: skip
    yield "the poses are mirrored about their root: left is right in them", _MIRROR, _about_root
    for axes, sign in _axes():
        shown = ", ".join(("-" if s < 0 else "") + "xyz"[a] for a, s in zip(axes, sign))
        mirrored = _parity(axes) * math.prod(sign) < 0
        words = "the poses are mirrored: " if mirrored else "the poses have other axes: "
        yield (f"{words}read as ({shown}) they fit", _MIRROR if mirrored else "Axes are x right, y down, z forward.",
               partial(_turned, axes=axes, sign=sign))  # fmt: skip


def _axes() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All signed exchanges of axes but the identity, mirrors of one axis first."""
    every = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    every.sort(key=lambda item: (item[0] != (0, 1, 2), item[1].count(-1)))
    yield from every[1:]


def _parity(axes: tuple[int, ...]) -> int:
    return round(float(np.linalg.det(np.eye(3)[list(axes)])))


def _from_world(records: Records, scale: float) -> ndarray:
    return in_camera(records, records.pose, scale)


def _turned(records: Records, axes: tuple[int, ...], sign: tuple[int, ...]) -> ndarray:
    return records.pose[..., list(axes)] * np.array(sign)


def _about_root(records: Records) -> ndarray:
    root = records.pose[:, list(records.skeleton.root)].mean(1, keepdims=True)
    return root + (records.pose - root) * [-1, 1, 1]


def _another_order(failing: Records, limit: ndarray) -> tuple[float, str, str]:
    """The 3D joints assigned anew to the 2D joints by their distance in the images, one order for all rows."""
    pose = failing.pose.astype(np.float64)
    lens = torch.from_numpy(np.nan_to_num(failing.distortion))
    pixels = project(torch.from_numpy(pose), torch.from_numpy(failing.intrinsics), lens).numpy()
    gap = np.linalg.norm(pixels[:, :, None] - failing.keypoints[:, None], axis=-1)
    known = np.isfinite(gap)
    far = np.nanmax(np.where(known, gap, np.nan)) if known.any() else 1.0
    middle = np.median(np.where(known, gap, far), axis=0)
    rows, columns = linear_sum_assignment(middle)
    order = np.empty(len(columns), dtype=int)
    order[columns] = rows
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved):
        return 0.0, "", ""
    fits = row_median(reprojection_errors(failing, pose[:, order])) <= limit
    names = failing.skeleton.joint_names
    pairs = ", ".join(f"{names[j]} is where {names[order[j]]} should be" for j in moved[:3])
    return (float(fits.mean()), f"the joints are shuffled, 2D and 3D in different orders: {len(moved)} of {len(order)} joints, "
            f"as in 2D {pairs} in 3D", "Give 2D and 3D the order of the skeleton's joint names.")  # fmt: skip


def _rigid(failing: Records, limit: ndarray) -> tuple[float, str, str]:
    """Any rigid motion, of the body or of its mirror image."""
    fits = {sign: np.zeros(len(failing), dtype=bool) for sign in (1, -1)}
    part = failing[_sampled(np.ones(len(failing), dtype=bool))[:: max(1, len(failing) // 100)]]
    limits = limit_px(part)
    for sign in fits:
        moved = _pnp(part, sign)
        fits[sign] = row_median(reprojection_errors(part, moved)) <= limits
    straight, mirrored = float(fits[1].mean()), float((fits[-1] & ~fits[1]).mean())
    if mirrored > straight:
        return mirrored, "only their mirror image fits, turned and moved: the poses are mirrored", _MIRROR
    words = "turned and moved they fit: the poses are in another frame, the world's or another camera's"
    return straight, words, _FRAME


def _pnp(part: Records, sign: int) -> Float[ndarray, "N J 3"]:
    """Poses (times sign on x) brought before the camera so that they project onto the keypoints; NaN where they cannot."""
    out = np.full(part.pose.shape, np.nan)
    lens = torch.from_numpy(np.nan_to_num(part.distortion))
    points = torch.from_numpy(part.keypoints.astype(np.float64))
    rays = normalise(points, torch.from_numpy(part.intrinsics), lens).numpy()
    for i in range(len(part)):
        body = part.pose[i].astype(np.float64) * [sign, 1, 1]
        known = np.isfinite(body).all(-1) & np.isfinite(rays[i]).all(-1)
        if known.sum() < 6:
            continue
        centre = body[known].mean(0)
        try:
            found, turn, shift = cv2.solvePnP(
                body[known] - centre, rays[i][known], np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP
            )
        except cv2.error:
            continue
        if found:
            out[i] = (body - centre) @ cv2.Rodrigues(turn)[0].T + shift[:, 0]
    return out


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
    return [Finding("extrinsics", "wrong", text, "R and t are world to camera, x_cam = R x_world + t, mm; poses are in each "
                    "camera's frame; cameras must show the same moment.")]  # fmt: skip


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
