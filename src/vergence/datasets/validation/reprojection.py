"""How far each projected 3D joint lies from its keypoint, and which simple fault explains 3D that misses its 2D.

The known faults are tried one by one on the rows that fail: sides exchanged, a mirror, axes of another convention, the
world's frame (by the row's own R and t), another joint order (an assignment of projected to labelled joints), and last any
rigid motion at all (PnP; Terzakis & Lourakis 2020, SQPnP). The first under which they fit is named, so that a reader is
told what to change and not only that something is wrong.

PnP also has the limit of this: a body nearly flat towards the camera is explained by its mirror image as well as by
itself, so the answer is the one that most rows give.
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
from vergence.datasets.validation.arrays import some_rows
from vergence.datasets.validation.finding import percent
from vergence.geometry.camera import normalise, project

MOST_TRIED = 400  # failing rows on which explanations are tried

Fix = Callable[[Records], ndarray]  # poses under one explanation


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
        for more in (_another_order(failing, limit), _rigid(failing)):
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
    for scale, words in ((1.0, "not the camera's"), (1e-3, "and the translations are mm where the poses are metres"),
                         (1e3, "and the translations are metres where the poses are mm")):  # fmt: skip
        yield (f"moved by R and t it fits: the poses are in the world's frame, {words}", _FRAME,
               partial(lambda r, scale: in_camera(r, r.pose, scale), scale=scale))  # fmt: skip
    yield "the poses are mirrored about their root: left is right in them", _MIRROR, _about_root
    # All signed exchanges of axes but the identity, mirrors of one axis first.
    every = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    for axes, sign in sorted(every, key=lambda item: (item[0] != (0, 1, 2), item[1].count(-1)))[1:]:
        shown = ", ".join(("-" if s < 0 else "") + "xyz"[a] for a, s in zip(axes, sign))
        mirrored = np.linalg.det(np.eye(3)[list(axes)]) * math.prod(sign) < 0
        words = "the poses are mirrored: " if mirrored else "the poses have other axes: "
        yield (f"{words}read as ({shown}) they fit", _MIRROR if mirrored else "Axes are x right, y down, z forward.",
               partial(_turned, axes=axes, sign=sign))  # fmt: skip


def _turned(records: Records, axes: tuple[int, ...], sign: tuple[int, ...]) -> ndarray:
    return records.pose[..., list(axes)] * np.array(sign)


def _about_root(records: Records) -> ndarray:
    root = records.pose[:, list(records.skeleton.root)].mean(1, keepdims=True)
    return root + (records.pose - root) * [-1, 1, 1]


def _another_order(failing: Records, limit: ndarray) -> tuple[float, str, str]:
    """The 3D joints assigned anew to the 2D joints by their distance in the images, one order for all rows."""
    pose = failing.pose.astype(np.float64)
    gap = np.linalg.norm(projected(failing, pose)[:, :, None] - failing.keypoints[:, None], axis=-1)
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


def _rigid(failing: Records) -> tuple[float, str, str]:
    """Any rigid motion, of the body or of its mirror image."""
    part = failing[sampled(np.ones(len(failing), dtype=bool))[:: max(1, len(failing) // 100)]]
    fits = {sign: row_median(reprojection_errors(part, _pnp(part, sign))) <= limit_px(part) for sign in (1, -1)}
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


def sampled(mask: ndarray) -> ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_TRIED)).astype(int)]


REPROJECTION_PX = 0.5  # labels in whole pixels are off by so much
REPROJECTION_SHARE = 0.002  # of the image's longer side, where that is more; 2 px of 1000


def projected(records: Records, pose: ndarray) -> Float[ndarray, "N J 2"]:
    """Poses in each row's camera, px, lens included."""
    lens = torch.from_numpy(np.nan_to_num(records.distortion))
    return project(torch.from_numpy(pose.astype(np.float64)), torch.from_numpy(records.intrinsics), lens).numpy()


def reprojection_errors(records: Records, pose: ndarray | None = None) -> Float[ndarray, "N J"]:
    """Distance in px of each projected 3D joint from its keypoint, infinite for a joint behind the camera; NaN where
    either, or the lens, is unknown."""
    pose = records.pose if pose is None else pose
    error = np.linalg.norm(projected(records, pose) - records.keypoints, axis=-1)
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


MOST_SCATTER = 0.03  # of the person's extent in the image: a usual detector's noise
LEAST_LEFT = 0.7  # of the squares that noise leaves beyond an affine change of each image


def scattered(failing: Records) -> bool:
    """Whether 2D is off its 3D as a detector's is: by little, each joint by itself. A wrong lens or camera moves all joints
    of an image alike, so an affine change of the image explains it."""
    ideal = projected(failing, failing.pose)
    off = failing.keypoints - ideal
    known = np.isfinite(off).all(-1)
    before = after = extent = 0.0
    for i in np.flatnonzero(known.sum(1) >= 6):
        points, moved = ideal[i, known[i]], off[i, known[i]]
        affine = np.column_stack([points - points.mean(0), np.ones(len(points))])
        left = moved - affine @ np.linalg.lstsq(affine, moved, rcond=None)[0]
        before += float((moved**2).sum()) / len(points)
        after += float((left**2).sum()) / (len(points) - 3)
        extent += float((np.ptp(points, axis=0) ** 2).sum())
    return before <= MOST_SCATTER**2 * extent and after > LEAST_LEFT * before


def camera_names(records: Records) -> ndarray:
    """What tells the cameras apart for a reader: the group `camera` where there is one, else the view's number."""
    return records.groups["camera"] if "camera" in records.groups else np.char.mod("view %d", records.view)


def reprojection_by_camera(records: Records) -> dict[str, tuple[float, float, int]]:
    """Median and 95th percentile over joints, px, and rows, of each camera that has 2D, 3D and a lens."""
    rows = some_rows(records, comparable(records))
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


def comparable(records: Records) -> ndarray:
    both = np.isfinite(records.pose).all(-1) & np.isfinite(records.keypoints).all(-1)
    return both.any(1) & np.isfinite(records.intrinsics).all((1, 2))


def limit_px(records: Records) -> Float[ndarray, " N"]:
    return np.maximum(REPROJECTION_PX, REPROJECTION_SHARE * records.size.max(1))


def in_camera(records: Records, world: ndarray, scale: float = 1.0) -> Float[ndarray, "N J 3"]:
    """World poses in each row's camera; `scale` brings the translation to the poses' unit."""
    moved = world.astype(np.float64) @ records.rotation.transpose(0, 2, 1)
    return moved + scale * records.translation[:, None]
