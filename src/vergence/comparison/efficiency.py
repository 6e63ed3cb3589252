"""Error against the number of people whose 3D labels a method sees, and how many of them a method that sees none is worth; and
against any key of a recipe, and whether one method suffers from it more than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.comparison.bootstrap import percentiles, resampled, together
from vergence.comparison.entries import Entry
from vergence.comparison.results import Measured

MEASURES = ("n_mpjpe", "p_mpjpe")


def efficiency(entries: Sequence[Entry], methods: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Error against the number of 3D labels for each method of a ladder, fewest labels first."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry.name in methods:
            found = methods[entry.name]
            point = {key: found[key] for key in ("people_3d", "labels_3d")} | _errors(found)
            point |= {"people": entry.subjects or str(found["people_3d"]), "name": entry.name}
            curves.setdefault(entry.of or entry.name, []).append(point)
    return {name: sorted(points, key=lambda p: p["labels_3d"]) for name, points in curves.items()}


def _errors(found: Mapping[str, Any]) -> dict[str, Any]:
    by_look = {
        look: {key: figures[key] for key in MEASURES if key in figures} for look, figures in found["by_look"].items()
    }
    return {"by_look": by_look, "seeds": {seed: one["by_look"] for seed, one in found["seeds"].items()}}


def varied(
    entries: Sequence[Entry], measured: Mapping[str, Sequence[Measured]], methods: Mapping[str, Any]
) -> dict[str, Any]:
    """Error against the value of a key, and by how much it is above that of the first value.

    Returns:
        `points`: for each method its values, each with `value`, `number` (None where it is none), `name`, `by_look`, `seeds`;
        `changes`: for each `method`, and for each two (`method` less `other`), `test`, `measure` and `value` the change of the
        error since the value `of` in mm, `mean`, `low` and `high`, by the bootstrap over test people.
    """
    points: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry.name in methods and entry.value:
            about = {"value": entry.value, "number": _number(entry.value), "name": entry.name}
            points.setdefault(entry.of, []).append(about | _errors(methods[entry.name]))
    tests = list(next(iter(measured.values()))[0].tests)
    names = {method: {point["value"]: point["name"] for point in own} for method, own in points.items()}
    chosen = [(method, "") for method in points] + [(a, b) for i, a in enumerate(points) for b in list(points)[:i]]
    changes = []
    for (method, other), test, measure in product(chosen, tests, MEASURES):
        first = points[method][0]["value"]
        for value in list(names[method])[1:]:
            each = [names[one].get(which) for one in (method, other) if one for which in (value, first)]
            known = [measured[name] for name in each if name]
            found = together(known, test, measure) if len(known) == len(each) else None
            if found:
                sign = np.array([1, -1, -1, 1][: len(each)])
                low, high = percentiles(resampled(*found) @ sign)
                change = {"mean": float(found[1].mean(0) @ sign), "low": low, "high": high}
                changes.append({"method": method, "other": other, "test": test, "measure": measure, "value": value,
                                "of": first, **change, "people": len(np.unique(found[0], axis=0))})  # fmt: skip
    return {"points": points, "changes": changes}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def crossings(entries: Sequence[Entry], measured: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    """Where each method of a ladder reaches each method that sees no 3D labels (`reached`), with the interval of the bootstrap
    over test people, of the seeds that all of them have.

    Returns:
        For each pair, test set and measure: `method`, `reaches`, `test`, `measure`; `people`, `low` and `high` (0: at most
        `fewest`; None: more than `most`); `fewest` and `most` people tried, and the two tried numbers it is `between`.
    """
    ladders: dict[str, list[tuple[int, str]]] = {}
    free = []
    for entry in entries:
        people = measured[entry.name][0].about["people_3d"] if entry.name in measured else None
        if people and entry.subjects:
            ladders.setdefault(entry.of, []).append((people, entry.name))
        elif people == 0:
            free.append(entry.name)
    tests = list(next(iter(measured.values()))[0].tests)
    out = []
    for test, measure, (method, steps), other in product(tests, MEASURES, ladders.items(), free):
        amounts, names = zip(*sorted(steps))
        if not (found := together([measured[name] for name in (*names, other)], test, measure)):
            continue
        mean = np.concatenate([found[1].mean(0)[None], resampled(*found)])
        at = reached(np.array(amounts), mean[:, :-1], mean[:, -1])
        value, low, high = at[0], *percentiles(at[1:], method="inverted_cdf")
        step = int(np.searchsorted(amounts, value)) if 0 < value < np.inf else 0
        out.append({
            "method": method, "reaches": other, "test": test, "measure": measure,
            **{key: number if np.isfinite(number) else None for key, number in
               (("people", float(value)), ("low", float(low)), ("high", float(high)))},
            "fewest": amounts[0], "most": amounts[-1], "between": amounts[step - 1 : step + 1] if step else None,
        })  # fmt: skip
    return out


def reached(
    people: Float[np.ndarray, " K"], error: Float[np.ndarray, "N K"], level: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """The number of people from which on an error stays at or below a level, between two numbers linear in the logarithm; 0
    where no number is above it, infinite where the last one is.

    Args:
        people: how many were tried, rising.
        error: at each of them.
        level: the error to be reached.
    """
    above = error > level[:, None]
    last = len(people) - 1 - above[:, ::-1].argmax(1)  # the most people that do not suffice
    rows, then = np.arange(len(error)), np.minimum(last + 1, len(people) - 1)
    fall = error[rows, last] - error[rows, then]
    share = (error[rows, last] - level) / np.where(fall > 0, fall, 1)
    between = people[last] * (people[then] / people[last]) ** share
    return np.where(~above.any(1), 0.0, np.where(last == then, np.inf, between))
