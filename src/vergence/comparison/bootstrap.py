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
from jaxtyping import Float

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
    pairs = [(a, b) for a in ours for b in theirs if a.seed == b.seed]
    units, errors = [], []
    for a, b in pairs:
        subject, other = a.images[f"{look}.subject"], b.images[f"{look}.subject"]
        if not np.array_equal(subject, other):
            raise VergenceError(
                f"{a.name} and {b.name} were not measured on the same images", "Delete --out's measured/."
            )
        both = np.stack([a.images[f"{look}.{measure}"], b.images[f"{look}.{measure}"]], 1)
        known = np.isfinite(both).all(1)
        units.append(np.stack([np.full(known.sum(), a.seed), subject[known]], 1))
        errors.append(both[known])
    if not errors or not sum(map(len, errors)):
        return None
    return paired_bootstrap(np.concatenate(units), np.concatenate(errors))


def paired_bootstrap(unit: np.ndarray, error: Float[np.ndarray, "N 2"]) -> dict[str, Any]:
    """Difference and ratio of two mean errors with their intervals; rows of one `unit` are drawn together."""
    people, inverse = np.unique(unit, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    count = np.bincount(inverse).astype(float)
    total = np.stack([np.bincount(inverse, error[:, i]) for i in (0, 1)], 1)
    drawn = _draws(len(people))
    mean = (drawn @ total) / (drawn @ count)[:, None]
    whole = error.mean(0)
    tail = (100 - CONFIDENCE) / 2

    def interval(name: str, value: float, samples: np.ndarray) -> dict[str, dict[str, float]]:
        low, high = np.percentile(samples, [tail, 100 - tail])
        return {name: {"mean": float(value), "low": float(low), "high": float(high)}}

    return {
        **interval("difference", whole[0] - whole[1], mean[:, 0] - mean[:, 1]),
        **interval("ratio", whole[0] / max(whole[1], 1e-12), mean[:, 0] / np.maximum(mean[:, 1], 1e-12)),
        "people": len(people),
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
