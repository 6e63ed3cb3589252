"""Expected errors of a finished method, from images that it did not learn from."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_run import carry_out, tiny

from vergence.batches.dataset import MemoryDataset
from vergence.errors import VergenceError
from vergence.evaluation.expected import auroc, true_errors, uncertainty_figures
from vergence.evaluation.scores import predict_all
from vergence.inference.estimator import load
from vergence.recipes.recipe import CalibrateStage, LabelStage, Stage
from vergence.training.calibrating import calibrated
from vergence.training.checks import check_recipe
from vergence.world import recordings


@pytest.fixture(scope="module")
def views():
    return recordings(8, 4, 4, 64, seed=90)


@pytest.fixture
def method(light_run):
    return load(light_run).method


def test_radii_of_a_method_cover_the_errors_of_people_it_was_not_fitted_to(method, views):
    held = MemoryDataset(views)
    method.uncertainty = calibrated(method, [(held, torch.arange(len(views)), views)], [held], "cpu")
    test = MemoryDataset(recordings(8, 4, 4, 64, seed=91))
    found = predict_all(method, test)
    figures = uncertainty_figures(found, test.index, method.skeleton)
    assert 0.75 < figures["coverage_90"] < 0.99
    assert figures["expected"] == pytest.approx(figures["true"], rel=0.4)
    assert figures["unlike"] < 0.3
    errors = true_errors(found, test.index, method.skeleton)
    assert errors[:, 0].abs().max() < 1e-5
    assert found.error[:, 0].abs().max() == 0
    without = predict_all(method, test, flip=False)
    assert not torch.equal(without.error, found.error)


def test_too_few_labels_and_methods_that_say_nothing_are_refused(method, views):
    few = MemoryDataset(views[:9])
    with pytest.raises(VergenceError, match=r"9 images with a 3D label .*50 at least"):
        calibrated(method, [(few, torch.arange(9), views[:9])], [], "cpu")
    assert method.uncertainty is None  # predictions are as they were


def test_auroc_is_the_share_of_pairs_in_order():
    assert auroc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == 1
    assert auroc(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])) == pytest.approx(0.625)


def calibrating(**changes):
    recipe = tiny()
    studio = recipe.sources["studio"]
    recipe.sources["held_out"] = dataclasses.replace(studio, seed=9, subjects=4)
    stages = dict(recipe.stages)
    stages["held_labels"] = Stage(label=LabelStage(source="held_out", keypoints="labelled"))
    given = {"sources": ["held_out"], "labels": ["held_labels"], "usual": ["studio"], **changes}
    return dataclasses.replace(recipe, stages={**stages, "errors": Stage(calibrate=CalibrateStage(**given))})


def test_a_run_calibrates_itself_on_made_labels_and_keeps_that(tmp_path, monkeypatch):
    run = carry_out(tmp_path / "run", calibrating())
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = load(run.folder)(images)
    assert found.error_90.isfinite().any()
    assert found.strangeness.isfinite().all()
    monkeypatch.setattr("vergence.training.run.calibrated", None)
    again = carry_out(tmp_path / "run", calibrating())
    torch.testing.assert_close(load(again.folder)(images).error, found.error, equal_nan=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["studio"]}, "'studio' of stage 'errors' is trained on.*Give calibrate.sources"),
        ({"sources": []}, "has no source"),
        ({"usual": ["held_out"]}, "calls 'held_out' usual.*studio"),
        ({"labels": ["none"]}, "no label stage 'none'"),
    ],
)
def test_a_stage_that_would_flatter_is_refused(changes, message):
    with pytest.raises(VergenceError, match=message):
        check_recipe(calibrating(**changes))


def test_it_comes_last():
    recipe = calibrating()
    stages = recipe.stages
    recipe.stages = {"errors": stages.pop("errors"), **stages}
    with pytest.raises(VergenceError, match="calibrates a finished method"):
        check_recipe(recipe)
