"""Whether a difference is more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_measured import measured

from vergence.comparison import bootstrap
from vergence.comparison.bootstrap import all_differences, difference, paired_bootstrap
from vergence.errors import VergenceError


def slow_bootstrap(unit, error, samples):
    """Mean difference and ratio of each sample, image by image."""
    people = sorted({tuple(u) for u in unit})
    out = []
    for counts in samples:
        a, b, n = 0.0, 0.0, 0
        for who, times in zip(people, counts, strict=True):
            for u, (x, y) in zip(unit, error, strict=True):
                if tuple(u) == who:
                    a, b, n = a + times * x, b + times * y, n + times
        out.append((a / n - b / n, a / b))
    return np.array(out)


def test_the_bootstrap_is_that_of_a_slow_one_over_people(monkeypatch):
    rng = np.random.default_rng(3)
    unit = np.stack([np.repeat([0, 1], 9), np.tile([0, 0, 1, 1, 1, 2, 3, 3, 3], 2)], 1)
    error = rng.uniform(40, 90, (18, 2))
    draws = rng.multinomial(8, np.full(8, 1 / 8), size=40).astype(float)
    monkeypatch.setattr(bootstrap, "_draws", lambda people: draws)
    found = paired_bootstrap(unit, error)
    slow = slow_bootstrap(unit, error, draws)
    for i, name in enumerate(("difference", "ratio")):
        low, high = np.percentile(slow[:, i], [2.5, 97.5])
        assert found[name]["low"] == pytest.approx(low)
        assert found[name]["high"] == pytest.approx(high)
    assert found["difference"]["mean"] == pytest.approx(float((error[:, 0] - error[:, 1]).mean()))
    assert found["ratio"]["mean"] == pytest.approx(float(error[:, 0].sum() / error[:, 1].sum()))
    assert (found["people"], found["images"]) == (8, 18)


def test_images_of_one_person_are_no_independent_witnesses():
    rng = np.random.default_rng(0)
    base = rng.normal(60, 5, 400)
    per_person = np.repeat(rng.normal(1.0, 6.0, 20), 20)
    error = np.stack([base + per_person, base], 1)
    together = paired_bootstrap(np.repeat(np.arange(20), 20)[:, None], error)["difference"]
    alone = paired_bootstrap(np.arange(400)[:, None], error)["difference"]
    assert together["high"] - together["low"] > 3 * (alone["high"] - alone["low"])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        noise = rng.normal(0, 4, 40)
        base = rng.normal(60, 10, 40)
        found = paired_bootstrap(np.arange(40)[:, None], np.stack([base + 2 + noise, base], 1))["difference"]
        hits += found["low"] <= 2 <= found["high"]
    assert 178 <= hits <= 198  # 95 % of 200 is 190; percentile intervals of 40 are a little short


def test_differences_pair_seeds_and_images():
    a = [measured("a", 0, [11, 22, np.nan]), measured("a", 1, [5, 5, 5])]
    b = [measured("b", 0, [10, 20, 30])]
    found = difference(a, b, "studio")
    assert found is not None
    assert found["difference"]["mean"] == 1.5  # of the two images of seed 0 that both are measured on
    assert (found["people"], found["images"]) == (2, 2)
    assert difference([measured("a", 0, [np.nan])], [measured("b", 0, [1.0])], "studio") is None
    assert difference([measured("a", 0, [1.0])], [measured("b", 1, [1.0])], "studio") is None
    with pytest.raises(VergenceError, match="not measured on the same images"):
        difference([measured("a", 0, [1.0])], [measured("b", 0, [1.0], subject=[4])], "studio")
    every = all_differences({"a": a, "b": b, "c": [measured("c", 0, [1, 2, 3])]})
    assert set(every["studio"]["n_mpjpe"]) == {"b - a", "c - a", "c - b"}
