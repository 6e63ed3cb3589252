"""Which of several people is the subject: the one whose 2D tracks fit together in time and between cameras.

Per camera, people are followed from frame to frame by the distance of their joints (the best one-to-one assignment).
Between cameras nothing is known of who is who, and looks are not used: two cameras' tracks of one person obey one
essential matrix at every time step, tracks of two people do not for long. So for every pair of cameras and every pair of
tracks an essential matrix is fitted robustly to all joints at once (given extrinsics are used instead where there are
any), and the pair's support is how well the joints obey it, less what chance gives, times the share of frames in which
both are seen. The choice is the combination, one track per camera, with the largest mean; so a person in every view all
the time wins over a bystander in two. A camera that in the end agrees much less with the others than they do among
themselves shows somebody else, and is left out.

What breaks it: two people who move alike, or stand still, in every view. It shows as a small margin to the runner-up,
and the choice is then called doubtful. Nothing here is random: the robust fit is seeded.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.tracking import Track, person_size, present
from vergence.geometry.cameras import Camera
from vergence.geometry.two_view import MIN_POINTS, essential_of_cameras, estimate_essential, sampson_residual

CANDIDATES_PER_CAMERA = 5
SHORTEST_SHARE = 0.03  # of the frames; shorter tracks are no candidates, but may fill gaps
# Noise of a detected joint, in parts of the person's size in the image.
SIGMA_SHARE = 0.008
# Agreement that an essential matrix fitted to two different people reaches by chance, as all stand upright.
CHANCE_AGREEMENT = 0.5
# Extrinsics as given may be off by a degree or so, which the noise must cover.
GIVEN_SIGMA_FACTOR = 2.5
# A camera whose agreement with the others is below this share of theirs among themselves shows somebody else.
STRANGER_SHARE = 0.7
POINTS_PER_PAIR = 600
SURE_MARGIN = 0.1


@dataclass(frozen=True)
class SubjectChoice:
    """Who was chosen, and how sure that is.

    Attributes:
        verdict: `only` (nobody else in view), `sure` or `doubtful`.
        reason: the verdict in words.
        tracks: the chosen track of each camera, -1 for none; tracks are numbered by how much is seen of them.
        candidates: tracks to choose from, per camera.
        seen: share of frames in which the subject is seen, per camera.
        support: mean support over pairs of cameras, at most 1; NaN where there was nothing to choose.
        margin: how far the best other choice lies below; NaN where there is none.
        runner_up: that other choice, a track per camera.
    """

    verdict: Literal["only", "sure", "doubtful"]
    reason: str
    tracks: tuple[int, ...]
    candidates: tuple[int, ...]
    seen: tuple[float, ...]
    support: float = float("nan")
    margin: float = float("nan")
    runner_up: tuple[int, ...] = ()


def choose_subject(
    tracks: Sequence[Sequence[Track]], views: Sequence[Camera]
) -> tuple[Float[np.ndarray, "T V J 3"], SubjectChoice]:
    """The subject's keypoints in all cameras, and how sure the choice is.

    Args:
        tracks: per camera, tracks T J 3 on one time line.
        views: the cameras, with K (a guess where unknown), and R, t where they are given.

    Raises:
        VergenceError: nobody is seen by any camera.
    """
    names = [camera.name for camera in views]
    if not any(len(own) for own in tracks):
        raise VergenceError("nobody is seen in any camera", "Check the keypoint files: all points are missing.")
    shape = next(own[0].shape for own in tracks if len(own))
    shortest = max(1, SHORTEST_SHARE * shape[0])
    usable = [
        [t for t in own if present(t).sum() >= shortest][:CANDIDATES_PER_CAMERA] or list(own[:1]) for own in tracks
    ]
    counts = tuple(len(own) for own in usable)
    if max(counts) == 1 and max(len(own) for own in tracks) == 1:
        return _only(usable, counts, shape)
    if len(tracks) == 1:
        return _most_seen(usable[0], counts)
    pairs = _all_pairs(usable, views)
    best, score = _best_combination(pairs.support, counts)
    runner_up, second = _runner_up(pairs.support, counts, best)
    strangers = _strangers(pairs.agreement, best)
    best = tuple(-1 if v in strangers else i for v, i in enumerate(best))
    keypoints = _assemble(usable, best, shape)
    filled = _fill_gaps(keypoints, tracks, usable, best, pairs, views)
    seen = tuple(float(present(keypoints[:, v]).mean()) for v in range(len(tracks)))
    margin = score - second
    sure = margin >= SURE_MARGIN or not runner_up
    who = ", ".join(f"{name} {count}" for name, count in zip(names, counts))
    reason = f"chosen among tracks ({who}) by consistency over time and views: support {score:.2f}"
    reason += f", next best choice {second:.2f}" if runner_up else ", no other choice"
    reason += f"; {filled} lost frames were filled from other tracks" if filled else ""
    if strangers:
        reason += f"; the person in {', '.join(names[v] for v in strangers)} is somebody else, and was left out"
    if not sure:
        reason += "; two choices fit almost equally well, so check the subject in the report"
    choice = SubjectChoice(
        "sure" if sure else "doubtful", reason, best, counts, seen, score, margin if runner_up else np.nan, runner_up
    )
    return keypoints, choice


def _only(
    usable: Sequence[Sequence[Track]], counts: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[np.ndarray, SubjectChoice]:
    best = tuple(0 if count else -1 for count in counts)
    keypoints = _assemble(usable, best, shape)
    seen = tuple(float(present(keypoints[:, v]).mean()) for v in range(len(counts)))
    return keypoints, SubjectChoice("only", "there is one person in each camera's view", best, counts, seen)


def _most_seen(own: Sequence[Track], counts: tuple[int, ...]) -> tuple[np.ndarray, SubjectChoice]:
    """One camera: nothing to compare with, so the person most is seen of."""
    amount = [float(np.nansum(track[..., 2])) / (own[0].shape[0] * own[0].shape[1]) for track in own]
    margin = amount[0] - amount[1] if len(own) > 1 else float("nan")
    verdict: Literal["sure", "doubtful"] = "doubtful" if margin < SURE_MARGIN else "sure"
    reason = "a single camera: the person who is seen longest and best"
    choice = SubjectChoice(
        verdict,
        reason,
        (0,),
        counts,
        (float(present(own[0]).mean()),),
        amount[0],
        margin,
        (1,) if len(own) > 1 else (),
    )
    return own[0][:, None], choice


def _assemble(usable: Sequence[Sequence[Track]], best: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    nothing = np.full(shape, np.nan)
    return np.stack([own[i].copy() if i >= 0 else nothing.copy() for own, i in zip(usable, best)], axis=1)


Table = dict[tuple[int, int], np.ndarray]  # cameras i < j: tracks of i x tracks of j


@dataclass(frozen=True)
class _Pairs:
    """Every pair of cameras and tracks.

    Agreement; support, which is what of it exceeds chance, times the share of frames both are seen in; the matrix.
    """

    agreement: Table
    support: Table
    matrix: dict[tuple[int, int, int, int], np.ndarray]  # i, j, track of i, track of j


def _all_pairs(usable: Sequence[Sequence[Track]], views: Sequence[Camera]) -> _Pairs:
    pairs = _Pairs({}, {}, {})
    rays = [[_rays(track, view) for track in own] for own, view in zip(usable, views)]
    for i, j in itertools.combinations(range(len(views)), 2):
        agreement = np.zeros((len(usable[i]), len(usable[j])))
        together = np.zeros_like(agreement)
        for a, b in np.ndindex(*agreement.shape):
            tracks = usable[i][a], usable[j][b], rays[i][a], rays[j][b], views[i], views[j]
            matrix = _essential(*tracks)
            if matrix is not None:
                pairs.matrix[i, j, a, b] = matrix
                agreement[a, b] = _agreement(matrix, *tracks)
                together[a, b] = (present(tracks[0]) & present(tracks[1])).mean()
        pairs.agreement[i, j] = agreement
        pairs.support[i, j] = np.maximum(agreement - CHANCE_AGREEMENT, 0) / (1 - CHANCE_AGREEMENT) * together
    return pairs


def _rays(track: Track, view: Camera) -> Float[np.ndarray, "T J 2"]:
    """Normalised image coordinates, lens distortion removed."""
    out = np.full((*track.shape[:2], 2), np.nan)
    seen = np.isfinite(track[..., 2])
    if seen.any():
        out[seen] = view.normalise(track[seen][:, :2])
    return out


def _common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Up to `POINTS_PER_PAIR` (frame, joint) pairs seen in both, spread evenly over time."""
    both = np.argwhere(np.isfinite(a[..., 0]) & np.isfinite(b[..., 0]))
    step = max(1.0, len(both) / POINTS_PER_PAIR)
    return both[np.arange(0, len(both), step).astype(int)] if len(both) else both


def _sigma(track: Track, view: Camera) -> float:
    """Noise of a joint in normalised coordinates: a share of the person's size."""
    size = float(np.median(person_size(track[present(track)])))
    return SIGMA_SHARE * size / float(np.sqrt(abs(np.linalg.det(view.K[:2, :2]))))


def _essential(
    a: Track, b: Track, rays_a: np.ndarray, rays_b: np.ndarray, view_a: Camera, view_b: Camera
) -> Float[np.ndarray, "3 3"] | None:
    """Essential matrix with `ray_b^T E ray_a = 0`: from the extrinsics where given, else fitted robustly."""
    index = _common(rays_a, rays_b)
    if len(index) < MIN_POINTS:
        return None
    if view_a.has_extrinsics and view_b.has_extrinsics:
        return essential_of_cameras(view_a.R, view_a.t, view_b.R, view_b.t)
    first, second = (r[index[:, 0], index[:, 1]] for r in (rays_a, rays_b))
    cv2.setRNGSeed(0)
    try:
        return estimate_essential(first, second, sigma=(_sigma(a, view_a) + _sigma(b, view_b)) / 2)[0]
    except VergenceError:
        return None


def _agreement(
    matrix: np.ndarray, a: Track, b: Track, rays_a: np.ndarray, rays_b: np.ndarray, view_a: Camera, view_b: Camera
) -> float:
    """1 where all common joints obey the matrix, 0 where none does: mean of `1 - min((r / 3 sigma)^2, 1)`."""
    index = _common(rays_a, rays_b)
    if not len(index):
        return 0.0
    first, second = (r[index[:, 0], index[:, 1]] for r in (rays_a, rays_b))
    sigma = (_sigma(a, view_a) + _sigma(b, view_b)) / 2
    sigma *= GIVEN_SIGMA_FACTOR if view_a.has_extrinsics and view_b.has_extrinsics else 1.0
    residual = sampson_residual(matrix, first, second)
    return float(1 - np.minimum((residual / (3 * sigma)) ** 2, 1).mean())


def _score(support: Table, combination: Sequence[int]) -> float:
    """Mean over all pairs of cameras; a camera without a track (-1) adds nothing."""
    total = sum(
        table[combination[i], combination[j]]
        for (i, j), table in support.items()
        if combination[i] >= 0 and combination[j] >= 0
    )
    return float(total) / len(support)


def _climb(support: Table, counts: Sequence[int], start: Sequence[int]) -> tuple[tuple[int, ...], float]:
    """Changes one camera's track at a time as long as that helps."""
    current, score = list(start), _score(support, start)
    improved = True
    while improved:
        improved = False
        for view, count in enumerate(counts):
            for option in range(count):
                trial = [*current[:view], option, *current[view + 1 :]]
                value = _score(support, trial)
                if value > score + 1e-12:
                    current, score, improved = trial, value, True
    return tuple(current), score


def _optima(support: Table, counts: Sequence[int]) -> dict[tuple[int, ...], float]:
    """What climbing reaches from every pair of tracks."""
    found: dict[tuple[int, ...], float] = {}
    for (i, j), table in support.items():
        for a, b in np.ndindex(*table.shape):
            start = [0 if count else -1 for count in counts]
            start[i], start[j] = a, b
            combination, score = _climb(support, counts, start)
            found[combination] = score
    return found


def _best_combination(support: Table, counts: Sequence[int]) -> tuple[tuple[int, ...], float]:
    found = _optima(support, counts)
    best = max(found, key=lambda combination: (found[combination], tuple(-i for i in combination)))
    return best, found[best]


def _strangers(agreement: Table, best: Sequence[int]) -> list[int]:
    """Cameras that agree much less with the others than those do among themselves; needs three cameras to tell."""
    values = {(i, j): t[best[i], best[j]] for (i, j), t in agreement.items() if best[i] >= 0 and best[j] >= 0}
    values = {pair: value for pair, value in values.items() if value > 0}  # 0: too few joints in common to tell
    found: list[int] = []
    while True:
        left = {pair: value for pair, value in values.items() if not set(pair) & set(found)}
        views = sorted({v for pair in left for v in pair})
        if len(views) < 3:
            return found
        own = {v: float(np.mean([value for pair, value in left.items() if v in pair])) for v in views}
        worst = min(views, key=lambda v: own[v])
        rest = float(np.mean([value for pair, value in left.items() if worst not in pair]))
        if own[worst] >= STRANGER_SHARE * rest:
            return found
        found.append(worst)


def _runner_up(support: Table, counts: Sequence[int], best: tuple[int, ...]) -> tuple[tuple[int, ...], float]:
    """The best other choice: another person altogether, or another track in one camera."""
    others = dict(_optima(support, counts))
    for view, count in enumerate(counts):
        for option in range(count):
            trial = (*best[:view], option, *best[view + 1 :])
            others[trial] = _score(support, trial)
    others.pop(best, None)
    if not others:
        return (), 0.0
    second = max(others, key=lambda combination: others[combination])
    return second, others[second]


def _fill_gaps(
    keypoints: Float[np.ndarray, "T V J 3"],
    tracks: Sequence[Sequence[Track]],
    usable: Sequence[Sequence[Track]],
    best: tuple[int, ...],
    pairs: _Pairs,
    views: Sequence[Camera],
) -> int:
    """Adds, in place, tracks that continue the subject where it was lost: disjoint in time, and as consistent."""
    filled = 0
    for v, own in enumerate(tracks):
        for track in own:
            if best[v] >= 0 and track is usable[v][best[v]]:
                continue
            here = present(track)
            if (here & present(keypoints[:, v])).any() or best[v] < 0:
                continue
            shares = []
            for w, other in enumerate(best):
                if w == v or other < 0:
                    continue
                i, j = min(v, w), max(v, w)
                matrix = pairs.matrix.get((i, j, best[i], best[j]))
                pair = (track, keypoints[:, w]) if v < w else (keypoints[:, w], track)
                rays = _rays(pair[0], views[i]), _rays(pair[1], views[j])
                if matrix is not None and len(_common(*rays)) >= MIN_POINTS:
                    agreed = _agreement(matrix, *pair, *rays, views[i], views[j])
                    shares.append(agreed / max(pairs.agreement[i, j][best[i], best[j]], 1e-9))
            if shares and np.median(shares) > STRANGER_SHARE:
                keypoints[here, v] = track[here]
                filled += int(here.sum())
    return filled
