"""What footage says against a reconstruction that the residuals do not: cameras of another session, lenses of another
camera, a camera that began late, bodies that bend the wrong way. Each in a sentence that names the likely cause.

These questions are asked of a capture, once; the solver, which is called for thousands of short recordings, does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.footage.layouts import misnamed
from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.checks.centres import centre_doubt
from vergence.reconstruction.checks.limb_lens import focal_doubt
from vergence.reconstruction.checks.second_opinion import second_opinion
from vergence.reconstruction.checks.sides import exchanged_cameras
from vergence.reconstruction.checks.size import size_doubt, up_doubt
from vergence.reconstruction.checks.timing import late_words
from vergence.reconstruction.inputs import Joints, check_joints
from vergence.reconstruction.points import linear_points
from vergence.reconstruction.solve import Solution, measure
from vergence.reconstruction.wish import sentence
from vergence.skeleton import Skeleton

Array = np.ndarray

BENT_WRONG = -0.03  # handedness of a body; people have 0.06 to 0.24, mirrored ones -0.11 to -0.17
THROUGHOUT = 0.8  # share of frames whose sides were exchanged back, of a camera that does it from beginning to end
TWO_EXCHANGED = (
    "Left and right seem exchanged in one of the two cameras throughout, or its images are mirrored (two cameras cannot tell): "
    "look at the detector's sides there."
)


def doubts(
    keypoints: Float[Array, "T V J 3"],
    skeleton: Skeleton,
    cameras: dict[str, Any],
    solution: Solution,
    names: tuple[str, ...],
    as_given: bool,
    up: Float[Array, " 3"] | None = None,
    unit: str = "mm",
) -> tuple[str, ...]:
    """What speaks against a capture's reconstruction, in sentences.

    Args:
        keypoints: px and confidence, as the solver had them.
        skeleton: the joints.
        cameras: what was known of them, as `reconstruct_keypoints` takes it.
        solution: what it found.
        names: of the cameras.
        as_given: the cameras are the capture's own and were not adjusted.
        up: in the world of given cameras; None where unknown.
        unit: of given cameras' translations; a person has a size in mm only.
    """
    found = []
    if named := misnamed(keypoints.reshape(-1, *keypoints.shape[2:]), skeleton):
        return (sentence(named),)  # whatever else is asked is asked of named joints
    if solution.unit == unit == "mm":
        tall, stands = size_doubt(solution.pose, skeleton), up_doubt(solution.pose, skeleton, up)
        found += [sentence for sentence in (tall, stands) if sentence]
    if solution.report.handedness < BENT_WRONG:
        found.append(
            "Knees and elbows bend the wrong way: left and right are exchanged in all cameras, images are mirrored, or y "
            "counts upwards."
        )
    raw = check_joints(
        keypoints[..., :2], keypoints[..., 2], solution.intrinsics, solution.distortion, cameras["image_size"], skeleton,
        None, False, "shared", 0.05, names,
    )  # fmt: skip
    if sides := _exchanged(raw, solution, names):
        return (*found, sides)
    given = raw.exchanged(solution.side.astype(int))
    used = Bundle(solution.rotation, solution.translation, given.focal, np.zeros((1, 3)))
    opinion = second_opinion(used, given, measure(used, given)[1], names) if as_given else None
    free = used if opinion is None else opinion.found  # what given cameras are off by looks like time
    late = late_words(given.image, _projected(given, free), names, used if as_given else None)
    if late:
        return (*found, late)  # cameras and lenses bend to a wrong time
    if not as_given and cameras["intrinsics"] is not None:
        centre = centre_doubt(given, used, solution.report.noise_px, cameras["image_size"], names)
        found += [centre] if centre else []
    report = solution.report
    if not (found or as_given) and len(names) == 2 and report.focal_mode == "given" and report.verdict == "good":
        lens = focal_doubt(given, used, solution.pose, report.noise_px, skeleton, names)
        found += [lens] if lens else []
    return (*found, *(() if opinion is None else opinion.doubts()))


def throughout(side: Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """Cameras in which left and right were exchanged back in nearly all frames."""
    share = (side != np.arange(side.shape[2])).any(2).mean(0)
    return tuple(name for name, part in zip(names, share) if part > THROUGHOUT)


def _exchanged(raw: Joints, solution: Solution, names: tuple[str, ...]) -> str:
    """What is left of cameras that exchange sides from beginning to end; empty where they were put right, or none does."""
    if solution.report.verdict == "good" and len(names) > 2:
        return ""
    back = throughout(solution.side, names)
    asked = solution.exchanged if solution.report.focal_mode == "given" else None  # where the lens did not change since
    if len(names) == 2:
        pair = bool(back) or (exchanged_cameras(raw.image, solution.skeleton) if asked is None else asked).any()
        return TWO_EXCHANGED if pair else ""
    errors = np.array(solution.report.reprojection_per_camera)
    bad = [name for name, error in zip(names, errors) if name in back and not error <= 2 * np.nanmedian(errors)]
    if bad:
        return (
            f"The images of {', '.join(bad)} seem to be mirrored left to right: mirror the video back, or leave it out."
        )
    asked = exchanged_cameras(raw.image, solution.skeleton) if asked is None else asked
    wrong = [n for n, flip in zip(names, asked) if flip and n not in back]
    if not wrong:
        return ""
    return f"Left and right seem exchanged in {', '.join(wrong)} throughout: look at the detector's sides there."


def _projected(given: Joints, cameras: Bundle) -> Float[Array, "T V J 2"]:
    """The joints, triangulated by these cameras, as each sees them; normalised points."""
    points = linear_points(cameras, given.observed, given.flat_weight)
    seen = np.einsum("vij,nj->vni", cameras.rotation, points) + cameras.translation[:, None]
    flat = seen[..., :2] / np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)
    return flat.reshape(len(cameras.rotation), len(given.offset), -1, 2).transpose(1, 0, 2, 3)
