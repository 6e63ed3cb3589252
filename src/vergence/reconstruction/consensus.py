"""Points and sides that most views agree on, once the cameras are known.

A 2D detector fails in three ways that a least-squares point cannot bear: a joint far off in one view, a joint seen by
one view only, and left and right exchanged in one view. The first is met by agreement (every pair of views proposes a
point, all views judge it), the second by saying nothing (NaN), the third by exchanging the labels back where the
epipolar lines of all pairs of views say so together.

What breaks it: two views cannot outvote each other, so with two cameras a wrong joint is only noticed if it leaves
its epipolar line; and when half of the views are exchanged, time decides which half (the frame before).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from vergence.geometry.two_view import essential_of_cameras, sampson_residual
from vergence.reconstruction.bundle import Bundle, project_points
from vergence.reconstruction.limbs import constant_limbs, hold_limbs, loose_joints, wild_joints
from vergence.reconstruction.points import adjust_points, linear_points, point_covariance
from vergence.reconstruction.quality import limb_variation
from vergence.reconstruction.rig import INLIER_SIGMA, LOSS_SIGMA, normalised
from vergence.skeleton import Skeleton

Array = np.ndarray

SUSPECT_SIGMA = 2.5
TUKEY_SIGMA = 4.7
CHUNK_POINTS = 20000  # at a time; bounds memory on long recordings
TRUNCATION = 9.0  # squared sigmas beyond which a residual is just "wrong"
SWAP_MARGIN = 15.0  # how much less the truncated squared residuals must sum to before labels are exchanged
STEP_LIMIT = 6.0  # usual steps of a joint between frames beyond which it has jumped, however far
MOST_TRIED = 8  # views of which all assignments of sides are tried
VIEW_COST = 1.0  # of one exchanged view, in usual steps of one joint


@dataclass(frozen=True)
class Points:
    """Triangulated joints.

    Attributes:
        position: N 3, NaN where fewer than two views agree.
        inlier: V N, views that agree with the point.
        residual: V N, reprojection error in px of everything seen, inlier or not, NaN where the point or the view is
            missing.
        deviation: N, standard deviation of one coordinate in the unit of the cameras, NaN as the position.
    """

    position: Float[Array, "N 3"]
    inlier: Bool[Array, "V N"]
    residual: Float[Array, "V N"]
    deviation: Float[Array, " N"]


def reprojection(cameras: Bundle, points: Array, observed: Array) -> tuple[Float[Array, "V N"], Bool[Array, "V N"]]:
    """Reprojection error in px (NaN where either is missing) and whether the point is before the camera."""
    finite = np.isfinite(points).all(1)
    scene = Bundle(cameras.rotation, cameras.translation, cameras.focal, np.where(finite[:, None], points, 0.0))
    image, depth = project_points(scene)
    error = np.sqrt(((image - observed) ** 2).sum(1))
    return np.where(finite, error, np.nan), (depth > 0) & finite


def _by_agreement(cameras: Bundle, observed: Array, weight: Array, sigma: float) -> Array:
    """Points that the most views bear out; NaN where no two agree.

    Every pair of views proposes a point, the one with the least truncated squared error over all views wins (MSAC, made
    exhaustive), and two rounds of Tukey-weighted least squares refine it: `triangulation.triangulate_robust` in this
    module's layout.
    """
    seen, threshold = weight > 0, TUKEY_SIGMA * sigma
    best, least = np.full((weight.shape[1], 3), np.nan), np.full(weight.shape[1], np.inf)
    for pair in combinations(range(len(weight)), 2):
        some = np.flatnonzero(seen[list(pair)].all(0))
        two = _only(cameras, pair)
        world = linear_points(two, observed[list(pair)][:, :, some], weight[list(pair)][:, some], iterations=0)
        error, front = reprojection(cameras, world, observed[:, :, some])
        wrong = np.where(front & (error < threshold), error, threshold) ** 2
        cost = np.where(np.isfinite(world).all(1), (weight[:, some] * wrong).sum(0), np.inf)
        better = cost < least[some]
        best[some[better]], least[some[better]] = world[better], cost[better]
    focal = cameras.focal.mean(1)[:, None]
    for last in (False, False, True):
        error, front = reprojection(cameras, best, observed)
        tukey = np.where(seen & front, np.maximum(1 - (np.nan_to_num(error, nan=np.inf) / threshold) ** 2, 0) ** 2, 0)
        if last:
            return np.where(((weight * tukey) > 0).sum(0)[:, None] >= 2, best, np.nan)
        depth = cameras.rotation[:, 2] @ np.nan_to_num(best).T + cameras.translation[:, 2, None]
        share = weight * tukey * (focal / np.where(front, depth, np.inf)) ** 2
        best = linear_points(cameras, observed, share, iterations=0)
    raise AssertionError


def _only(cameras: Bundle, views: Sequence[int]) -> Bundle:
    some = list(views)
    return Bundle(cameras.rotation[some], cameras.translation[some], cameras.focal[some], cameras.points)


def robust_points(
    cameras: Bundle, observed: Float[Array, "V 2 N"], weight: Float[Array, "V N"], sigma: float
) -> Points:
    """Joints of known cameras: linear, by agreement where views disagree, then least robust reprojection error.

    Args:
        cameras: their points are not used.
        observed: px from the principal point, lens undone; NaN or weight 0 = missing.
        weight: confidences.
        sigma: noise in px.
    """
    if weight.shape[1] > CHUNK_POINTS:
        cuts = range(0, weight.shape[1], CHUNK_POINTS)
        parts = [slice(n, n + CHUNK_POINTS) for n in cuts]
        done = [robust_points(cameras, observed[:, :, n], weight[:, n], sigma) for n in parts]
        return Points(
            np.concatenate([p.position for p in done]),
            np.concatenate([p.inlier for p in done], axis=1),
            np.concatenate([p.residual for p in done], axis=1),
            np.concatenate([p.deviation for p in done]),
        )
    weight = np.where(np.isfinite(observed).all(1), weight, 0.0)
    points = linear_points(cameras, observed, weight)
    error, front = reprojection(cameras, points, observed)
    suspect = (((error > SUSPECT_SIGMA * sigma) | ~front) & (weight > 0)).any(0) & np.isfinite(points).all(1)
    if suspect.any():
        some = np.flatnonzero(suspect)
        agreed = _by_agreement(cameras, observed[:, :, some], weight[:, some], sigma)
        points[some] = np.where(np.isfinite(agreed), agreed, points[some])
    known = np.flatnonzero(np.isfinite(points).all(1))
    if known.size:
        scene = Bundle(cameras.rotation, cameras.translation, cameras.focal, points[known])
        part = (np.ascontiguousarray(observed[:, :, known]), np.ascontiguousarray(weight[:, known]))
        scale = LOSS_SIGMA * sigma
        points[known] = adjust_points(scene, *part, scale=scale, iterations=30, tolerance=1e-6)
    error, front = reprojection(cameras, points, observed)
    error = np.where(weight > 0, error, np.nan)
    inlier = (error < INLIER_SIGMA * sigma) & front
    agreed = (inlier.sum(0) >= 2) & (2 * inlier.sum(0) > (weight > 0).sum(0))  # two against two agree by chance
    points = np.where(agreed[:, None], points, np.nan)
    spread = point_covariance(cameras, np.nan_to_num(points), weight * inlier)
    deviation = sigma * np.sqrt(np.trace(spread, axis1=1, axis2=2) / 3)
    return Points(points, inlier & agreed, np.where(agreed, error, np.nan), np.where(agreed, deviation, np.nan))


def settle_limbs(
    cameras: Bundle, observed: Array, weight: Array, points: Points, sigma: float, frames: int, skeleton: Skeleton
) -> tuple[Points, dict[str, float]]:
    """The same points without those that break their limbs, the rest moved so that limbs keep their lengths (`limbs`).

    Returns:
        The points, and each limb's variation before they were moved, which is the honest measure of quality.
    """
    pose = points.position.reshape(frames, -1, 3)
    deviation = points.deviation.reshape(frames, -1)
    limbs = constant_limbs(pose, deviation, skeleton)
    if not len(limbs.length):
        return points, limb_variation(pose, skeleton)
    agree = points.inlier.sum(0)
    contested = ((agree == 2) & ((weight > 0).sum(0) > 2)).reshape(frames, -1)
    lost = wild_joints(pose, deviation, limbs) | loose_joints(pose, deviation, contested, limbs)
    pose = np.where(lost[..., None], np.nan, pose)
    scale, free = LOSS_SIGMA * sigma, limb_variation(pose, skeleton)
    pose = hold_limbs(cameras, observed, weight * points.inlier, pose, deviation, limbs, sigma=sigma, scale=scale)
    usual = np.minimum(deviation, np.nanmedian(deviation))  # under limb constraints no std above the median
    pose = np.where(wild_joints(pose, usual, limbs)[..., None], np.nan, pose)
    position = pose.reshape(-1, 3)
    kept = np.isfinite(position).all(1)
    error, _ = reprojection(cameras, position, observed)
    residual = np.where((weight > 0) & kept, error, np.nan)
    return Points(position, points.inlier & kept, residual, np.where(kept, points.deviation, np.nan)), free


def limb_sets(skeleton: Skeleton) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]:
    """(right, left) pairs of joints: all, of the arms, of the legs."""
    pairs = [(i, m) for i, m in enumerate(skeleton.mirror) if skeleton.joint_names[i].startswith("right_") and m != i]
    leg = ("hip", "knee", "ankle", "foot", "toe", "heel")
    legs = [p for p in pairs if skeleton.joint_names[p[0]].endswith(leg)]
    arms = [p for p in pairs if skeleton.joint_names[p[0]].endswith(("shoulder", "elbow", "wrist", "hand"))]
    return pairs, arms, legs


def side_groups(skeleton: Skeleton) -> list[list[tuple[int, int]]]:
    """Mirror pairs that detectors exchange together: all, arms, legs, and then each pair alone."""
    pairs, arms, legs = limb_sets(skeleton)
    return [group for group in (pairs, arms, legs, *([p] for p in pairs)) if group]


def _side_costs(
    cameras: Bundle, image: Float[Array, "V T J 2"], mirror: Sequence[int], sigma: float
) -> tuple[Float[Array, "T P J"], Float[Array, "T P J"]]:
    """Truncated squared epipolar residuals of each joint in each pair of views: labels as they are, and exchanged in one."""
    keep: list[Array] = []
    swap: list[Array] = []
    flat = image.reshape(len(image), -1, 2)
    turned = np.ascontiguousarray(image[:, :, list(mirror)]).reshape(flat.shape)
    for a, b in combinations(range(len(image)), 2):
        essential = essential_of_cameras(
            cameras.rotation[a], cameras.translation[a], cameras.rotation[b], cameras.translation[b]
        )
        noise = sigma / cameras.focal[[a, b]].mean()
        for costs, other in ((keep, flat), (swap, turned)):
            squared = (sampson_residual(essential, flat[a], other[b]) / noise) ** 2
            costs.append(np.minimum(squared, TRUNCATION).reshape(image.shape[1:3]))
    # a joint counts only where both readings can be judged
    known = [np.isfinite(k) & np.isfinite(s) for k, s in zip(keep, swap, strict=True)]
    return (
        np.stack([np.where(n, k, 0) for k, n in zip(keep, known, strict=True)], 1),
        np.stack([np.where(n, s, 0) for s, n in zip(swap, known, strict=True)], 1),
    )


def exchanged_views(keep: Float[Array, "T P"], swap: Float[Array, "T P"], views: int) -> Bool[Array, "T V"]:
    """Views to exchange: the assignment of sides whose pairs of views agree best, if it beats leaving all by the margin.

    Every assignment and its opposite explain the pairs alike; the one that exchanges fewer views is taken (a tie keeps
    view 1). Of up to `MOST_TRIED` views all assignments are tried, of more those that one view at a time leads to.
    """
    found = np.zeros((len(keep), views), dtype=bool)
    asked = np.flatnonzero(np.maximum(keep - swap, 0).sum(1) > SWAP_MARGIN)  # elsewhere no assignment gains as much
    less = (keep - swap)[asked]  # by how much each pair agrees better if one of the two is exchanged
    if not len(asked):
        return found
    if views > MOST_TRIED:
        chosen, gain = _descended_sides(less, views)
    else:
        codes = np.arange(2 ** (views - 1))
        sides = ((codes[:, None] << 1) >> np.arange(views)) & 1 == 1  # A V, view 1 always as it is
        differ = np.stack([sides[:, a] != sides[:, b] for a, b in combinations(range(views), 2)], 1)
        gains = less @ differ.T.astype(float)  # T A
        chosen, gain = sides[gains.argmax(1)], gains.max(1)
    chosen = np.where(chosen.sum(1, keepdims=True) * 2 > views, ~chosen, chosen)
    found[asked] = np.where((gain > SWAP_MARGIN)[:, None], chosen, False)
    return found


def _descended_sides(less: Float[Array, "T P"], views: int) -> tuple[Bool[Array, "T V"], Float[Array, " T"]]:
    """Assignments of sides (view 1 as it is) and what they gain: from none, and from what each view says of the others,
    one view at a time is exchanged as long as that gains."""
    rows, (first, second) = np.arange(len(less)), np.array(list(combinations(range(views), 2))).T
    table = np.zeros((len(less), views, views))
    table[:, first, second] = table[:, second, first] = less
    best, most = np.zeros((len(less), views), dtype=bool), np.zeros(len(less))
    for start in (np.zeros_like(best), *(table[:, v] > 0 for v in range(views))):
        side = np.where(start, -1.0, 1.0)
        for _ in range(2 * views):
            gain = side * (table @ side[..., None])[..., 0]
            view = gain.argmax(1)
            better = gain[rows, view] > 1e-9
            side[rows[better], view[better]] *= -1
            if not better.any():
                break
        total = (less * (side[:, first] != side[:, second])).sum(1)
        exchanged = side != side[:, :1]
        best, most = np.where((total > most)[:, None], exchanged, best), np.maximum(total, most)
    return best, most


def repair_sides(
    cameras: Bundle, keypoints: Float[Array, "T V J 2"], skeleton: Skeleton, sigma: float
) -> Float[Array, "T V J"]:
    """For each joint and view the index of the joint whose label it should carry: `take_along_axis` it to repair.

    Args:
        keypoints: px from the principal point, lens undone, NaN = missing.
        sigma: noise in px.
    """
    frames, views, joints = keypoints.shape[:3]
    order = np.broadcast_to(np.arange(joints), (frames, views, joints)).copy()
    pairs = views * (views - 1) // 2
    costs = np.empty((frames, pairs, joints)), np.empty((frames, pairs, joints))
    moved = np.arange(frames)  # frames whose labels have moved since their costs were measured
    for group in side_groups(skeleton):
        if len(moved):
            current = np.take_along_axis(keypoints[moved], order[moved][..., None], axis=2)
            flat = current.transpose(1, 3, 0, 2).reshape(views, 2, -1)
            image = normalised(flat, cameras.focal).reshape(views, len(moved), joints, 2)
            for cost, new in zip(costs, _side_costs(cameras, image, skeleton.mirror, sigma)):
                cost[moved] = new
        own = [joint for pair in group for joint in pair]
        keep, swap = (cost[:, :, own].sum(2) for cost in costs)
        chosen = exchanged_views(keep, swap, views)
        moved = np.flatnonzero(chosen.any(1))
        for right, left in group:
            pair = order[:, :, [right, left]]
            order[:, :, [right, left]] = np.where(chosen[..., None], pair[..., ::-1], pair)
    return order


def likeliest_sides(
    unary: Float[Array, "T 2"], keep: Float[Array, " S"], turn: Float[Array, " S"]
) -> Bool[Array, " T"]:
    """Frames to turn round: the cheapest sequence of as-is / turned (Viterbi).

    Args:
        unary: cost of leaving and of turning each frame.
        keep, turn: cost of neighbours (S = T - 1) in the same and in different states.
    """
    frames = len(unary)
    cost, back = unary[0].copy(), np.zeros((frames, 2), dtype=int)
    for t in range(1, frames):
        step = np.array([[keep[t - 1], turn[t - 1]], [turn[t - 1], keep[t - 1]]]) + cost[:, None]
        back[t] = step.argmin(0)
        cost = step.min(0) + unary[t]
    state = np.zeros(frames, dtype=int)
    state[-1] = int(cost.argmin())
    for t in range(frames - 1, 0, -1):
        state[t - 1] = back[t, state[t]]
    return state == 1


def settle_sides(
    points: Points, side: Float[Array, "T V J"], skeleton: Skeleton
) -> tuple[Points, Float[Array, "T V J"]]:
    """Exchange left and right of whole frames where the frames around say so.

    Views can only say which of them disagree. Where half or more of them were exchanged, the wrong half may have won:
    then arms or legs lie mirrored against the frames before and after. The sequence of sides is the likeliest one, given
    that exchanged views are rarer than right ones and that limbs move little from frame to frame.
    """
    frames, views, joints = side.shape
    pose = points.position.reshape(frames, joints, 3)
    order = np.broadcast_to(np.arange(joints), (frames, joints)).copy()
    touched = (side != np.arange(joints)).any((1, 2))
    _, arms, legs = limb_sets(skeleton)
    for group in (arms, legs):
        own, other = [r for r, _ in group] + [l for _, l in group], [l for _, l in group] + [r for r, _ in group]
        if not touched.any() or frames < 2 or not group:
            continue
        keep = np.linalg.norm(pose[1:, own] - pose[:-1, own], axis=2)
        turn = np.linalg.norm(pose[1:, own] - pose[:-1, other], axis=2)
        both = np.isfinite(keep) & np.isfinite(turn)
        if not both.any():
            continue
        calm = both & ~(touched[1:] | touched[:-1])[:, None]
        step = float(np.median(keep[calm if calm.any() else both]))
        cost = [np.where(both, np.minimum(d / step, STEP_LIMIT), 0.0).sum(1) for d in (keep, turn)]
        changed = ((side[:, :, own] != np.array(own)).mean(2) > 0.5).sum(1)
        unary = VIEW_COST * np.stack([changed, views - changed], 1)
        for t in np.flatnonzero(likeliest_sides(unary, *cost)):
            order[t, own] = other
    if not touched.any() or (order == np.arange(joints)).all():
        return points, side
    flat = (np.arange(frames)[:, None] * joints + order).reshape(-1)
    turned = Points(points.position[flat], points.inlier[:, flat], points.residual[:, flat], points.deviation[flat])
    return turned, np.take_along_axis(side, np.broadcast_to(order[:, None], side.shape), axis=2)
