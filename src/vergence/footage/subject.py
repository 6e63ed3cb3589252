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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.people.agreement import Pairs, Table, all_pairs
from vergence.footage.people.returning import Taken, alone_again, follow_on
from vergence.footage.tracking import Track, present
from vergence.geometry.cameras import Camera

CANDIDATES_PER_CAMERA = 5
SHORTEST_SHARE = 0.03  # of the frames; shorter tracks are no candidates, but may fill gaps
# A camera whose agreement with the others is below this share of theirs among themselves shows somebody else.
STRANGER_SHARE = 0.7
SURE_MARGIN = 0.1
LONE_SHARE = 0.82  # like STRANGER_SHARE, where each camera shows one person; right cameras have 0.92 and more
# Of the only two cameras: below this they show two people, or two times.
PAIR_AGREEMENT = 0.72


class NobodySeen(VergenceError):
    """Keypoints that are all missing."""


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
        raise NobodySeen("nobody is seen in any camera", "Check the keypoint files: all points are missing.")
    shape = next(own[0].shape for own in tracks if len(own))
    shortest = max(1, SHORTEST_SHARE * shape[0])
    usable = [
        [t for t in own if present(t).sum() >= shortest][:CANDIDATES_PER_CAMERA] or list(own[:1]) for own in tracks
    ]
    counts = tuple(len(own) for own in usable)
    if max(counts) == 1 and max(len(own) for own in tracks) == 1:
        return _only(usable, counts, shape, views)
    if len(tracks) == 1:
        return _one_camera(tracks[0], counts)
    pairs = all_pairs(usable, views)
    best, _ = _best_combination(pairs.support, counts)
    usable, taken = follow_on(tracks, usable, best, pairs, views)
    if taken.frames:
        pairs = all_pairs(usable, views)
        best, _ = _best_combination(pairs.support, counts)
    if not taken.left and all(sum(bool(present(t).any()) for t in own) <= 1 for own in usable):
        keypoints, choice = _only(usable, counts, shape, views)
        return keypoints, replace(choice, tracks=best, reason=choice.reason + taken.words())
    return _chosen(usable, counts, best, pairs, taken, names, shape)


def _chosen(
    usable: Sequence[Sequence[Track]],
    counts: tuple[int, ...],
    best: tuple[int, ...],
    pairs: Pairs,
    taken: Taken,
    names: Sequence[str],
    shape: tuple[int, ...],
) -> tuple[np.ndarray, SubjectChoice]:
    """The best combination of tracks with the verdict on it."""
    score = _score(pairs.support, best)
    runner_up, second = _runner_up(
        pairs.support, counts, best, [[bool(present(t).any()) for t in own] for own in usable]
    )
    strangers = _strangers(pairs.agreement, best)
    best = tuple(-1 if v in strangers else i for v, i in enumerate(best))
    keypoints = _assemble(usable, best, shape)
    seen = tuple(float(present(keypoints[:, v]).mean()) for v in range(len(names)))
    margin = score - second
    sure = (margin >= SURE_MARGIN or not runner_up) and not taken.rivals
    who = ", ".join(f"{name} {count}" for name, count in zip(names, counts))
    reason = f"chosen among tracks ({who}) by consistency over time and views: support {score:.2f}"
    reason += f", next best choice {second:.2f}" if runner_up else ", no other choice"
    reason += taken.words()
    if strangers:
        reason += f"; the person in {', '.join(names[v] for v in strangers)} is somebody else, and was left out"
    if not sure:
        reason += "; two choices fit almost equally well, so check the subject in the report"
    choice = SubjectChoice(
        "sure" if sure else "doubtful", reason, best, counts, seen, score, margin if runner_up else np.nan, runner_up
    )
    return keypoints, choice


def _only(
    usable: Sequence[Sequence[Track]], counts: tuple[int, ...], shape: tuple[int, ...], views: Sequence[Camera]
) -> tuple[np.ndarray, SubjectChoice]:
    """One person in each camera's view; whether it is the same one is asked all the same."""
    best = tuple(next((i for i, t in enumerate(own) if present(t).any()), -1) for own in usable)
    keypoints = _assemble(usable, best, shape)
    seen = tuple(float(present(keypoints[:, v]).mean()) for v in range(len(counts)))
    reason, verdict = "there is one person in each camera's view", "only"
    free = [[own[i]] if i >= 0 else [] for own, i in zip(usable, best)]
    alone = tuple(0 if i >= 0 else -1 for i in best)
    agreement = all_pairs(free, [view.without_extrinsics() for view in views]).agreement if len(views) > 1 else {}
    values = [float(t[0, 0]) for t in agreement.values() if t.size and t[0, 0] > 0]
    strangers = _strangers(agreement, alone, LONE_SHARE)
    if strangers or (len(values) == 1 and values[0] < PAIR_AGREEMENT):
        where = ", ".join(views[v].name for v in strangers) or " or ".join(view.name for view in views)
        verdict = "doubtful"
        others = "somebody else, another time, or left and right exchanged"
        reason += f", but the one in {where} does not move as the others' does: {others}"
    return keypoints, SubjectChoice(verdict, reason, best, counts, seen)  # type: ignore[arg-type]


def _one_camera(own: Sequence[Track], counts: tuple[int, ...]) -> tuple[np.ndarray, SubjectChoice]:
    """One camera: nothing to compare with, so the person most is seen of, also where only that one is in view later."""
    whole, taken = alone_again(own)
    left = [own[n] for _, n in taken.left]
    if not left:
        reason = "a single camera, one person in view at a time" + taken.words()
        return whole[:, None], SubjectChoice("only", reason, (0,), counts, (float(present(whole).mean()),))
    amount, other = (float(np.nansum(track[..., 2])) / (whole.shape[0] * whole.shape[1]) for track in (whole, left[0]))
    verdict: Literal["sure", "doubtful"] = "doubtful" if amount - other < SURE_MARGIN else "sure"
    reason = "a single camera: the person who is seen longest and best" + taken.words()
    seen = (float(present(whole).mean()),)
    return whole[:, None], SubjectChoice(verdict, reason, (0,), counts, seen, amount, amount - other, (1,))


def _assemble(usable: Sequence[Sequence[Track]], best: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    whole = np.full((shape[0], len(best), *shape[1:]), np.nan)
    for view, (own, i) in enumerate(zip(usable, best)):
        if i >= 0:
            whole[:, view] = own[i]
    return whole


def _score(support: Table, combination: Sequence[int]) -> float:
    """Mean over all pairs of cameras; a camera without a track (-1) adds nothing."""
    return sum(_shared(support, combination, v, own, earlier=True) for v, own in enumerate(combination)) / len(support)


def _shared(support: Table, combination: Sequence[int], view: int, own: int, earlier: bool = False) -> float:
    """What track `own` of a camera supports, and is supported by, of the others' (of those before it alone: `earlier`)."""
    if own < 0:
        return 0.0
    total = 0.0
    for other, track in enumerate(combination[:view] if earlier else combination):
        if track >= 0 and other != view:
            table = support[(other, view) if other < view else (view, other)]
            total += float(table[track, own] if other < view else table[own, track])
    return total


def _climb(support: Table, counts: Sequence[int], start: Sequence[int]) -> tuple[tuple[int, ...], float]:
    """Changes one camera's track at a time as long as that helps."""
    current = list(start)
    improved = True
    while improved:
        improved = False
        for view, count in enumerate(counts):
            own = _shared(support, current, view, current[view])
            for option in range(count if count > 1 or current[view] < 0 else 0):
                value = _shared(support, current, view, option)
                if value > own + 1e-12 * len(support):
                    current[view], own, improved = option, value, True
    return tuple(current), _score(support, current)


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


def _strangers(agreement: Table, best: Sequence[int], share: float = STRANGER_SHARE) -> list[int]:
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
        if own[worst] >= share * rest:
            return found
        found.append(worst)


def _runner_up(
    support: Table, counts: Sequence[int], best: tuple[int, ...], there: Sequence[Sequence[bool]]
) -> tuple[tuple[int, ...], float]:
    """The best other choice: another person altogether, or another track in one camera; of tracks that are still there."""
    others = dict(_optima(support, counts))
    for view, count in enumerate(counts):
        for option in range(count):
            trial = (*best[:view], option, *best[view + 1 :])
            others[trial] = _score(support, trial)
    others.pop(best, None)
    others = {c: score for c, score in others.items() if all(i < 0 or there[v][i] for v, i in enumerate(c))}
    if not others:
        return (), 0.0
    second = max(others, key=lambda combination: others[combination])
    return second, others[second]
