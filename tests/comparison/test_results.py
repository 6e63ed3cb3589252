"""What is told of each method, over seeds, and how it is kept."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_measured import measured, result

from vergence.comparison.results import FIGURES, Measured, figures, spread, summary


def test_figures_are_those_that_a_method_has():
    assert figures(result(3.0)) == {"n_mpjpe": 3.0, "p_mpjpe": 1.5}
    same = {"same": {"detection": {"1": 40.0}, "mean_pa_mpjpe": {"1": 20.0}}}
    other = {"same": {"detection": {"1": 10.0}, "mean_pa_mpjpe": {"1": 60.0}}}
    found = figures(result(3.0, pixel_error=1.5, retrieval={"predicted_pose": other, "embedding": same}))
    assert (found["keypoints_2d"], found["detection_1"], found["retrieved_pa_mpjpe_1"]) == (1.5, 40.0, 20.0)
    assert "detection_1" not in figures(result(3.0, retrieval={"predicted_pose": other}))
    assert list(found) == [key for key in FIGURES if key in found]


def test_the_spread_over_seeds():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "std": pytest.approx(2**0.5)}
    assert spread([5.0]) == {"mean": 5.0, "std": None}
    assert spread([None, float("nan")]) == {"mean": None, "std": None}


def test_a_methods_summary_is_over_its_seeds():
    found = summary([measured("a", 0, [10, 20]), measured("a", 1, [30, 40])])
    assert found["n_mpjpe"] == {"mean": 25.0, "std": pytest.approx(200**0.5)}
    assert found["by_look"]["studio"]["p_mpjpe"]["mean"] == 12.5
    assert found["seconds"]["mean"] == 3.0  # without drawing images
    assert found["cpu_seconds"]["mean"] == 7.0
    assert found["stages"]["b"] == {"seconds": 2.0, "cpu_seconds": 4.0}
    assert found["seeds"]["1"]["n_mpjpe"] == 35.0
    assert (found["parameters"], found["labels_3d"]) == (7, 3)
    assert found["per_joint"] == {"studio": {"root": 25.0}}


def test_what_was_measured_is_kept_until_something_else_made_it(tmp_path):
    one = measured("a", 2, [1, 2])
    one.about["made_by"] = "abc"
    one.save(tmp_path)
    again = Measured.load(tmp_path, "a", 2, "abc")
    assert again is not None
    assert again.about == one.about
    assert np.array_equal(again.images["studio.n_mpjpe"], one.images["studio.n_mpjpe"])
    assert Measured.load(tmp_path, "a", 2, "other") is None
    assert Measured.load(tmp_path, "a", 1, "abc") is None
    (tmp_path / "a-2.npz").write_bytes(b"torn")
    assert Measured.load(tmp_path, "a", 2, "abc") is None
