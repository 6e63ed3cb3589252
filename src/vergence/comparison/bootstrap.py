"""Whether one method is better: a paired bootstrap over the test's *people*.

Images of one person are no independent witnesses, and what is hard about a person is hard for both methods. People of
several seeds are pooled, since every seed brings its own.

What it cannot see: how much a method varies from training to training. That is the standard deviation over seeds, and
with one seed there is none. A bootstrap interval that leaves out 0 on one seed says that *these two networks* differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vergence.comparison.results import Measured
from vergence.errors import VergenceError

RESAMPLES = 5000
CONFIDENCE = 95  # per cent
FEW = 6  # people, of fewer of which no interval of this kind covers what it says
BOOTSTRAP = (
    f"{CONFIDENCE} % of {RESAMPLES:,} paired bootstrap samples over test people (all their images together), people of all "
    "seeds pooled; images that both methods are measured on"
)


def difference(
    ours: Sequence[Measured], theirs: Sequence[Measured], look: str, measure: str = "n_mpjpe"
) -> dict[str, Any] | None:
    """Paired bootstrap of one method against another (`BOOTSTRAP`), over the seeds that both have.

    Returns:
        `difference` (ours less theirs, mm) and `ratio`, each with `low` and `high`; `people`, `images`. None where no
        image is measured by both.
    """
    found = together([ours, theirs], look, measure)
    return None if found is None else paired_bootstrap(*found)


def together(
    several: Sequence[Sequence[Measured]], look: str, measure: str
) -> tuple[Int[np.ndarray, "N 2"], Float[np.ndarray, "N K"]] | None:
    """Seed and person of each image that all methods are measured on, and their errors, over the seeds that all have; None
    where there is no such image.

    Raises:
        VergenceError: two were measured on other images.
    """
    units, errors = [], []
    by_seed = [{one.seed: one for one in each} for each in several]
    for seed in [one.seed for one in several[0]]:
        row = [found[seed] for found in by_seed if seed in found]
        if len(row) < len(several):
            continue
        subject = row[0].images[f"{look}.subject"]
        for one in row[1:]:
            if not np.array_equal(subject, one.images[f"{look}.subject"]):
                raise VergenceError(
                    f"{row[0].name} and {one.name} were not measured on the same images", "Delete --out's measured/."
                )
        error = np.stack([one.images[f"{look}.{measure}"] for one in row], 1)
        known = np.isfinite(error).all(1)
        units.append(np.stack([np.full(known.sum(), seed), subject[known]], 1))
        errors.append(error[known])
    if not sum(map(len, errors)):
        return None
    return np.concatenate(units), np.concatenate(errors)


def resampled(unit: np.ndarray, error: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "S K"]:
    """Mean errors of each bootstrap sample; rows of one `unit` are drawn together."""
    people, inverse = np.unique(unit, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    total = np.stack([np.bincount(inverse, column) for column in error.T], 1)
    drawn = _draws(len(people))
    return (drawn @ total) / (drawn @ np.bincount(inverse).astype(float))[:, None]


def percentiles(samples: np.ndarray, **how: Any) -> tuple[float, float]:
    """The ends of the interval; `how`: as `numpy.percentile` takes it."""
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], **how)
    return float(low), float(high)


def paired_bootstrap(unit: np.ndarray, error: Float[np.ndarray, "N 2"]) -> dict[str, Any]:
    """Difference and ratio of two mean errors with their intervals; rows of one `unit` are drawn together."""
    mean, whole = resampled(unit, error), error.mean(0)

    def interval(name: str, value: float, samples: np.ndarray) -> dict[str, dict[str, float]]:
        low, high = percentiles(samples)
        return {name: {"mean": float(value), "low": low, "high": high}}

    return {
        **interval("difference", whole[0] - whole[1], mean[:, 0] - mean[:, 1]),
        **interval("ratio", whole[0] / max(whole[1], 1e-12), mean[:, 0] / np.maximum(mean[:, 1], 1e-12)),
        "people": len(np.unique(unit, axis=0)),
        "images": len(error),
    }


@lru_cache(maxsize=4)
def _draws(people: int) -> np.ndarray:
    """How often each of so many people is in each bootstrap sample; the same for every pair of methods."""
    return np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), size=RESAMPLES).astype(float)


def all_differences(measured: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Every pair of methods, by test set, measure and `A - B`."""
    pairs = [(a, b) for i, a in enumerate(measured) for b in list(measured)[:i]]
    out: dict[str, Any] = {}
    for look, measure, (a, b) in product(next(iter(measured.values()))[0].tests, ("n_mpjpe", "p_mpjpe"), pairs):
        if found := difference(measured[a], measured[b], look, measure):
            out.setdefault(look, {}).setdefault(measure, {})[f"{a} - {b}"] = found
    return out
