"""Full supervision: each term of images that are not square."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vergence.batches.views import Views
from vergence.methods.losses import coordinate_loss, heatmap_loss
from vergence.methods.registry import trained_as
from vergence.methods.supervised import Supervised
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings, TrainStage
from vergence.skeleton import H36M_17


def test_a_cell_is_as_many_pixels_whatever_the_images_shape():
    """24 by 32 px and maps of 6 by 8: cells of 4 px."""
    g = torch.Generator().manual_seed(0)
    keypoints = torch.rand(3, 17, 2, generator=g) * torch.tensor([31.0, 23.0])
    views = Views.empty(3, 17, 24, 32).replace(keypoints=keypoints, confidence=torch.ones(3, 17))
    log = torch.randn(3, 17, 48, generator=g).log_softmax(-1).unflatten(-1, (6, 8))
    maps = Maps(log, keypoints + 3.0, torch.zeros(3, 17), torch.ones(3, 17), torch.zeros(3, 1, 1, 1))
    terms = Supervised(nn.Identity(), H36M_17).terms(views, maps)
    assert float(terms["heatmap"]) == pytest.approx(float(heatmap_loss(log, keypoints, views.confidence, 4.0)))
    assert float(terms["coordinates"]) == pytest.approx(
        float(coordinate_loss(maps.keypoints, keypoints, views.confidence, 4.0))
    )
    assert float(terms["depth"]) == 0


def test_a_stage_of_2d_alone_is_supervised_whoever_learns_it():
    network = NetworkSettings()
    assert trained_as("mcss", network, TrainStage(losses={"heatmap": 1.0})) == "supervised"
    assert trained_as("mcss", network, TrainStage(losses={"heatmap": 1.0, "coordinates": 1.0})) == "supervised"
    assert trained_as("mcss", network, TrainStage(losses={"heatmap": 1.0, "depth": 1.0})) == "mcss"
    assert trained_as("mcss", network, TrainStage()) == "mcss"
    assert trained_as("mcss", network, TrainStage(losses={"heatmap": 1.0}, frozen=["embed"])) == "mcss"
