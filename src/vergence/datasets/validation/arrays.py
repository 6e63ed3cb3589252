"""What each array of `Records` says by itself: known or not, in px and in mm, boxes on images, limbs a body can have.

Units and joint orders show in lengths alone. The median ratio of all limbs to a usual adult's is near 1, or near the
factor of another unit. A person's limbs keep their length and are alike on both sides; in another joint order they are
not. In 2D nothing has a fixed length, but limbs join neighbours: in any other order than the skeleton's own they span
twice as much of the person.

Limits are wide on purpose: they are for faults, not for quality. Bodies between 1.2 m and 2.2 m are valid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.datasets.records import Records
from vergence.datasets.validation.finding import Finding, percent
from vergence.geometry.body import limb_lengths
from vergence.skeleton import SKELETONS, Skeleton

MOST_ROWS = 20_000  # looked at where a check costs more than a glance; spread evenly, chosen by a fixed seed
ZERO_SHARE = 0.001
OUTSIDE_SHARE = 0.05  # of the known keypoints; people are cut off by images, labels sometimes go on
OUTSIDE_MARGIN = 0.05  # of the image
BOX_GROWN = 0.25  # of the box: a keypoint farther out is another person's
BOX_SHARE = 0.2
# mm of a usual adult; the median ratio of all limbs to these is the unit. Grown-ups of 1.4 to 2.1 m lie within 0.8 to 1.2.
USUAL_MM = {"upper_leg": 440, "lower_leg": 430, "upper_arm": 285, "lower_arm": 250, "hip": 115, "shoulder": 160}
SIZE_RANGE = (0.6, 1.4)
UNITS = {"metres": 1e-3, "centimetres": 0.1, "inches": 1 / 25.4, "feet": 1 / 304.8}
# mm; from a child of 1.2 m to a man of 2.2 m, and joints placed as datasets differ in placing them
HUMAN_MM = {
    "upper_leg": (250, 600), "lower_leg": (250, 580), "upper_arm": (150, 420), "lower_arm": (130, 380), "hip": (50, 220),
    "shoulder": (70, 280),
}  # fmt: skip
SPREAD_SHARE = 0.1  # of a limb's length, within one person; motion capture has under 0.03, a network 0.05
UNEVEN_SHARE = 0.15  # between left and right
LEAST_POSES = 5  # of one person, to speak of a spread
COMPACT = 0.25  # mean 2D limb over the person's size: people measure 0.13 to 0.22, shuffled joints 0.26 to 0.4
BETTER = 0.75  # of the score: another skeleton's order must be better by so much before it is named
POINTS_2D = 6  # fewer known keypoints say nothing of the order


def some_rows(records: Records, wanted: ndarray | None = None) -> Int[ndarray, " n"]:
    """Rows (of a mask) to look at: all, or `MOST_ROWS` of them spread over the dataset."""
    rows = np.arange(len(records)) if wanted is None else np.flatnonzero(wanted)
    return rows if len(rows) <= MOST_ROWS else np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def check_values(records: Records) -> list[Finding]:
    """Infinities, half-known points, zeros that mean missing, joints that nobody has."""
    out = []
    names = ("keypoints", "pose", "intrinsics", "distortion", "rotation", "translation", "up", "confidence", "time")
    infinite = {name: int(np.isinf(getattr(records, name)).sum()) for name in names}
    if found := ", ".join(f"{count:,} in {name}" for name, count in infinite.items() if count):
        out.append(Finding("infinite values", "wrong", f"{found} (limit 0)", "Make NaN of what is missing."))
    for name, zero in (("keypoints", "(0, 0) or (-1, -1)"), ("pose", "(0, 0, 0)")):
        value = getattr(records, name)
        known = np.isfinite(value)
        half = int((known.any(-1) & ~known.all(-1)).sum())
        if half:
            out.append(Finding(f"half-known {name}", "wrong", f"{half:,} joints have some coordinates NaN (limit 0)",
                               "Make a joint NaN in all its coordinates, or give all of them."))  # fmt: skip
        marks = (value == 0).all(-1) | ((value == -1).all(-1) & (name == "keypoints"))
        if name == "pose":  # but for root-relative ones, which is another fault
            marks &= ~(np.abs(records.pose[:, list(records.skeleton.root)].mean(1)) < 1e-6).all(-1)[:, None]
        share = marks.sum() / max(known.all(-1).sum(), 1)
        if share > ZERO_SHARE:
            out.append(Finding(f"zeros in {name}", "wrong",
                               f"{percent(float(share))} of the known joints are exactly {zero} (limit {percent(ZERO_SHARE)})",
                               "Make NaN of them when reading: these files mark missing joints so."))  # fmt: skip
    if not out:
        out.append(Finding("values", "good", _coverage(records)))
    if never := _never(records):
        out.append(Finding("joints", "note", f"never labelled: {', '.join(never)}"))
    return out


def _coverage(records: Records) -> str:
    points = np.isfinite(records.keypoints).all(-1)
    poses = np.isfinite(records.pose).all(-1)
    return (
        f"{len(records):,} rows; 2D in {percent(float(points.any(1).mean()))} of them, 3D in "
        f"{percent(float(poses.any(1).mean()))}; of the 2D joints there {percent(_share(points))} are known, of the 3D joints "
        f"{percent(_share(poses))}"
    )


def _share(known: ndarray) -> float:
    return float(known[known.any(1)].mean()) if known.any() else 0.0


def _never(records: Records) -> list[str]:
    out = []
    for value, what in ((records.keypoints, "2D"), (records.pose, "3D")):
        known = np.isfinite(value).all(-1).any(0)
        if known.any():
            out += [f"{name} ({what})" for name, seen in zip(records.skeleton.joint_names, known) if not seen]
    return out


def check_boxes(records: Records) -> list[Finding]:
    """Boxes without area or beside their image, and keypoints that lie outside their box."""
    box, size = records.box, records.size
    with np.errstate(invalid="ignore"):
        empty = ~(np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1))
        beside = ~empty & ~((box[:, :2] < size - 0.5).all(1) & (box[:, :2] + box[:, 2:] > -0.5).all(1))
        grown = BOX_GROWN * box[:, 2:].max(1)[:, None]
        low, high = box[:, :2] - grown, box[:, :2] + box[:, 2:] + grown
        points, known = records.keypoints, np.isfinite(records.keypoints).all(-1)
        out_of = known & ((points < low[:, None]) | (points > high[:, None])).any(-1)
    findings = []
    for bad, words in ((empty, "have no area or are NaN"), (beside, "lie outside their image")):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            findings.append(Finding("boxes", "wrong",
                                    f"{int(bad.sum()):,} of {len(records):,} {words} (limit 0); the first, of row {row}: "
                                    f"{_numbers(box[row])} in an image of {_numbers(size[row])}",
                                    "Give x y width height in px of the full image, or leave these rows out."))  # fmt: skip
    share = float(out_of.sum() / max(known.sum(), 1))
    if share > BOX_SHARE:
        findings.append(Finding("boxes", "wrong", f"{percent(share)} of the keypoints lie outside their row's box, grown by "
                                f"{percent(BOX_GROWN)} (limit {percent(BOX_SHARE)})",
                                "Give boxes and keypoints of the same people and images, both in px."))  # fmt: skip
    if not findings:
        findings.append(Finding("boxes", "good", f"all inside their images; {percent(share)} of the keypoints outside "
                                f"their box (limit {percent(BOX_SHARE)})"))  # fmt: skip
    return findings


def _numbers(values: ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def check_keypoints(records: Records) -> list[Finding]:
    """Keypoints in their image, in px, in an order in which limbs join neighbours."""
    known = np.isfinite(records.keypoints).all(-1)
    if not known.any():
        return [Finding("2D keypoints", "note", "there are none")]
    points = np.where(known[..., None], records.keypoints, np.nan)
    reach = float(np.nanmax(np.abs(points)))
    if reach <= 2.0 < float(records.size.min()) / 4:
        return [Finding("2D keypoints", "wrong", f"they reach only {reach:.3g} in images of {_numbers(records.size[0])}",
                        "Give keypoints in px of the full image, not in 0 to 1.")]  # fmt: skip
    margin = OUTSIDE_MARGIN * records.size[:, None]
    outside = known & ((points < -margin) | (points > records.size[:, None] + margin)).any(-1)
    share = float(outside.sum() / known.sum())
    if share > OUTSIDE_SHARE:
        return [Finding("2D keypoints", "wrong", f"{percent(share)} lie outside their image (limit "
                        f"{percent(OUTSIDE_SHARE)}); they reach {reach:.0f}",
                        "Give them for these images, not for ones of another size, and x first.")]  # fmt: skip
    rows = some_rows(records, known.sum(1) >= POINTS_2D)
    compact = limb_share_2d(points[rows], records.skeleton) if len(rows) else np.nan
    better = _better_order(points[rows], records.skeleton, limb_share_2d, COMPACT) if len(rows) else ""
    if compact > COMPACT or better:
        return [Finding("2D keypoints", "wrong", f"a limb spans {compact:.2f} of its person's size in the image (limit "
                        f"{COMPACT:g}): the 2D joints are shuffled, in another order than {records.skeleton.name}{better}",
                        "Give the joints in the order of the skeleton's names, or name the right skeleton.")]  # fmt: skip
    text = f"{percent(share)} outside their image (limit {percent(OUTSIDE_SHARE)})"
    if np.isfinite(compact):
        text += f"; a limb spans {compact:.2f} of its person's size (limit {COMPACT:g})"
    return [Finding("2D keypoints", "good", text)]


def limb_share_2d(points: Float[ndarray, "N J D"], skeleton: Skeleton) -> float:
    """Mean length of the limbs, in parts of the diagonal of the joints' box; the median over rows."""
    length = limb_lengths(points, skeleton.limbs)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.isfinite(length)
        mean = np.where(known, length, 0).sum(1) / known.sum(1)
        seen = np.isfinite(points).all(-1, keepdims=True)
        high = np.where(seen, points, -np.inf).max(1)
        low = np.where(seen, points, np.inf).min(1)
        share = mean / np.linalg.norm(high - low, axis=-1)
    return float(np.median(share[np.isfinite(share)])) if np.isfinite(share).any() else np.nan


def _better_order(
    points: ndarray, skeleton: Skeleton, measure: Callable[[ndarray, Skeleton], float], limit: float
) -> str:
    """`; as ... it would be ...` where the order of a known skeleton of as many joints measures much better, and well."""
    own = measure(points, skeleton)
    others = [s for s in SKELETONS.values() if len(s) == len(skeleton) and s != skeleton]
    scores = {other.name: measure(points, other) for other in others}
    best = min(scores, key=lambda name: scores[name], default="")
    return f"; as {best} it would be {scores[best]:.2f}" if best and scores[best] < min(BETTER * own, limit) else ""


def check_cameras(records: Records) -> list[Finding]:
    """Intrinsics that are lenses of these images, rotations that are rotations."""
    k, turn = records.intrinsics, records.rotation
    known = np.isfinite(k).all((1, 2))
    with np.errstate(invalid="ignore"):
        focal = known & ((k[:, 0, 0] <= 0) | (k[:, 1, 1] <= 0))
        middle = known & ~focal & ((k[:, :2, 2] < 0) | (k[:, :2, 2] > records.size)).any(1)
        ratio = known & ~focal & (np.abs(np.log(np.where(focal | ~known, 1, k[:, 0, 0] / k[:, 1, 1]))) > np.log(1.1))
        short = known & ~focal & (k[:, 0, 0] < 0.2 * records.size.max(1))
        rigid = np.isfinite(turn).all((1, 2))
        off = rigid & ~(np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) <= 1e-3)
        left = rigid & ~off & (np.linalg.det(turn) < 0)
    of = f" of {len(records):,} rows"
    out = [
        Finding(what, "wrong", f"{int(bad.sum()):,}{words}", remedy)
        for what, bad, words, remedy in (
            ("intrinsics", np.isfinite(k).any((1, 2)) & ~known, " are NaN in part (limit 0)", "Give all or none."),
            ("intrinsics", focal, f"{of} have a focal length of 0 or less", "Give K as [[fx 0 cx] [0 fy cy] [0 0 1]], in px."),
            ("intrinsics", middle, f"{of} have their principal point outside the image",
             "Give K of images of this size, not transposed."),
            ("intrinsics", ratio, f"{of} have fx and fy that differ by more than 10 %",
             "Give unstretched images, and K of their size."),
            ("intrinsics", short, f"{of} have a focal length under 0.2 of the image's side",
             "Give K in px of the full image, not normalised."),
            ("rotations", off, " are not orthonormal to 0.001", "Read R again."),
            ("rotations", left, " mirror (determinant -1)",
             "Turn the axis that points the other way: x right, y down, z forward."),
        )
        if bad.any()
    ]  # fmt: skip
    if not out:
        words = f"intrinsics in {percent(float(known.mean()))} of the rows, rotations in {percent(float(rigid.mean()))}"
        out.append(Finding("cameras", "good", words))
    return out


def check_time_steps(records: Records) -> list[Finding]:
    """One row for each view of a time step, and one person and recording in each time step."""
    _, inverse = np.unique(records.time_step, return_inverse=True)
    pairs = np.stack([inverse, records.view], 1)
    twice = len(pairs) - len(np.unique(pairs, axis=0))
    mixed = {
        name: len(np.unique(np.stack([inverse, getattr(records, name)], 1), axis=0)) - (int(inverse.max()) + 1)
        for name in ("subject", "sequence")
    }
    out = []
    if twice:
        out.append(Finding("time steps", "wrong", f"{twice:,} rows repeat a view of a time step (limit 0)",
                           "Give different people different time steps: one is one person at one moment."))  # fmt: skip
    for name, count in mixed.items():
        if count > 0:
            out.append(Finding("time steps", "wrong", f"{count:,} time steps have several {name}s (limit 0)",
                               "Number them on from recording to recording: each is used once."))  # fmt: skip
    counts = np.bincount(inverse)
    return out or [Finding("time steps", "good", f"{len(counts):,}, each seen by {_range(counts)}")]


def _range(counts: ndarray) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} views" if low != high else f"{low} view{'s' * (low != 1)}"


def limb_lengths_of(records: Records) -> dict[str, Float[ndarray, "n 2"]]:
    """Of each limb group the right and the left length, of some rows with 3D; NaN where an end is missing."""
    rows = some_rows(records, np.isfinite(records.pose).all(-1).any(-1))
    pose = records.pose[rows].astype(np.float64)
    return {group: limb_lengths(pose, pairs) for group, pairs in records.skeleton.limb_groups.items()}


def unit_of(records: Records) -> tuple[float, str]:
    """Size of the bodies in parts of a usual adult's, NaN where there is no 3D, and the unit that would make it human."""
    lengths = limb_lengths_of(records)
    known = [np.median(x[np.isfinite(x)]) / USUAL_MM[group] for group, x in lengths.items() if np.isfinite(x).any()]
    if not known:
        return np.nan, ""
    ratio = float(np.median(known))
    low, high = SIZE_RANGE
    names = [name for name, factor in UNITS.items() if low * factor <= ratio <= high * factor]
    return ratio, names[0] if names else ""


def check_units(records: Records) -> list[Finding]:
    """Millimetres: metres and centimetres make bodies of the wrong size by a factor that tells which."""
    ratio, unit = unit_of(records)
    low, high = SIZE_RANGE
    if not np.isfinite(ratio):
        return [Finding("units", "note", "no 3D limbs to measure")]
    text = f"limbs are {ratio:.3g} times a usual adult's in mm (limits {low:g} to {high:g})"
    if low <= ratio <= high:
        return [Finding("units", "good", text)]
    if unit:
        return [Finding("units", "wrong", f"{text}: the poses are in {unit}, not in millimetres",
                        f"Multiply poses (and translations, if they are too) by {1 / UNITS[unit]:g}.")]  # fmt: skip
    remedy = "Give absolute poses in mm, not scaled."
    return [Finding("units", "wrong", f"{text}: no unit makes these bodies human", remedy)]


def check_limbs(records: Records) -> list[Finding]:
    """Lengths within human ranges, constant for each person, alike on both sides."""
    lengths = {group: x for group, x in limb_lengths_of(records).items() if np.isfinite(x).any()}
    ratio, unit = unit_of(records)
    if not lengths:
        return []
    mm = 1 / UNITS[unit] if unit else 1.0
    rows = some_rows(records, np.isfinite(records.pose).all(-1).any(-1))
    long, wide, uneven, table = [], [], [], []
    for group, x in lengths.items():
        middle = float(np.median(x[np.isfinite(x)])) * mm
        spread, sides = _spread(x, records.subject[rows]), _unevenness(x)
        name, (low, high) = group.replace("_", " "), HUMAN_MM[group]
        table.append(f"{name} {middle:.0f} ± {percent(spread) if np.isfinite(spread) else '?'}")
        long += [f"{name} {middle:.0f} mm (limits {low} to {high})"] * (not low <= middle <= high)
        wide += [f"{name} {percent(spread)}"] * (spread > SPREAD_SHARE)
        uneven += [f"{name} {percent(sides)}"] * (sides > UNEVEN_SHARE)
    out = []
    order = _better_order(records.pose[rows].astype(np.float64), records.skeleton, _unevenness_of, UNEVEN_SHARE)
    shuffled = f": the 3D joints are shuffled, in another order than {records.skeleton.name}{order}"
    many = len(wide) + len(uneven) >= 2
    if wide:
        out.append(Finding("limb lengths", "wrong", f"within one person they vary by {', '.join(wide)} (limit "
                           f"{percent(SPREAD_SHARE)})" + (shuffled if many else ""), "Give the joints in the order of the "
                           "skeleton's names; where that is right, this 3D is too noisy to be truth."))  # fmt: skip
    if uneven:
        out.append(Finding("limb lengths", "wrong", f"left and right differ by {', '.join(uneven)} (limit "
                           f"{percent(UNEVEN_SHARE)})" + (shuffled if many and not wide else ""),
                           "Give the joints in the order of the skeleton's names."))  # fmt: skip
    if long and (unit or SIZE_RANGE[0] <= ratio <= SIZE_RANGE[1]):
        out.append(Finding("limb lengths", "wrong", f"not a human's: {', '.join(long)}",
                           "Look at the joint order, and at how this dataset places hips and shoulders."))  # fmt: skip
    return out or [Finding("limb lengths", "good", f"{', '.join(table)} mm (spread within a person, limit "
                           f"{percent(SPREAD_SHARE)})")]  # fmt: skip


def _spread(lengths: Float[ndarray, "n 2"], subject: Int[ndarray, " n"]) -> float:
    """Robust deviation over median, of each person and side; the median over people."""
    spreads = []
    for person in np.unique(subject):
        for side in (0, 1):
            own = lengths[subject == person, side]
            own = own[np.isfinite(own)]
            if len(own) >= LEAST_POSES:
                middle = np.median(own)
                spreads.append(1.4826 * np.median(np.abs(own - middle)) / max(middle, 1e-12))
    return float(np.median(spreads)) if spreads else np.nan


def _unevenness(lengths: Float[ndarray, "n 2"]) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.abs(lengths[:, 0] - lengths[:, 1]) / lengths.mean(1)
    return float(np.median(share[np.isfinite(share)])) if np.isfinite(share).any() else np.nan


def _unevenness_of(pose: Float[ndarray, "n J 3"], skeleton: Skeleton) -> float:
    values = [_unevenness(limb_lengths(pose, pairs)) for pairs in skeleton.limb_groups.values()]
    return float(np.nanmean(values)) if values and np.isfinite(values).any() else np.inf


CHECKS = (check_values, check_boxes, check_keypoints, check_cameras, check_time_steps, check_units, check_limbs)
