"""Expected errors of a finished method, from images that it did not learn from."""

from __future__ import annotations

import pytest
import torch

from vergence.batches.dataset import MemoryDataset
from vergence.errors import VergenceError
from vergence.evaluation.expected import auroc, true_errors, uncertainty_figures
from vergence.evaluation.scores import predict_all
from vergence.inference.estimator import load
from vergence.training.calibrating import calibrated
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
