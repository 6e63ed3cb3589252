"""Full 3D supervision: the reference that label-free methods are measured against.

The same network learns the same 2.5D from true labels: a heatmap and a soft-argmax coordinate wherever 2D is known, a
relative depth in reference bones wherever 3D is.
"""

from __future__ import annotations

from torch import Tensor

from vergence.batches.views import Views
from vergence.methods.base import Method, depth_target, relative_depth
from vergence.methods.losses import coordinate_loss, heatmap_loss, weighted_mean
from vergence.networks.pose_network import Maps


class Supervised(Method):
    """2.5D regression from all visible labels of the views."""

    TWO_DIMENSIONAL = frozenset({"heatmap", "coordinates"})  # the terms that need no third dimension

    def losses(self, views: Views) -> dict[str, Tensor]:
        return self.terms(views, self.network(views.image))

    def terms(self, views: Views, maps: Maps) -> dict[str, Tensor]:
        """Loss terms of what the network saw."""
        stride = views.image.shape[-1] / maps.log_heatmap.shape[-1]
        target, weight = depth_target(views, self.skeleton)
        return {
            "heatmap": heatmap_loss(maps.log_heatmap, views.keypoints, views.confidence, stride),
            "coordinates": coordinate_loss(maps.keypoints, views.keypoints, views.confidence, stride),
            "depth": weighted_mean((relative_depth(maps.depth, self.skeleton) - target).abs(), weight),
        }
