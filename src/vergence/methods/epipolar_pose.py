"""EpipolarPose (Kocabas, Karagoz, Akbas, CVPR 2019): several views make the 3D labels that train a single-view network.

Section 3.1, model. Two copies of one network, both trained on 2D-labelled images. The lower copy is frozen and finds
the joints of every view; the upper copy learns 3D. Letting the branch that trains make its own 2D collapses all joints
to a point, hence the frozen copy: here a stage of its own whose labels are made once and kept in a file (`training.labelling`).
Section 3.2, labels. Joints of synchronised views -> essential matrices -> cameras -> triangulated joints -> each
camera's frame. Ours where the paper's is known to fail: frames are pooled (16 joints of one frame leave rotations 11 to 78
degrees off, 100 pooled frames 0.1 to 0.9) and the rig is bundle-adjusted; `per_frame` is the paper's variant. Where a
heatmap has two peaks the views choose between them (`peaks`; 1 is the paper's way, the highest of each alone).
Section 3.3, loss. Smooth L1 on the soft-argmax of a volume, coordinates in [-0.5, 0.5) of the crop and of a depth box
of 2,000 mm (`volume`, with the volume head); with the depth-map head the terms are those of `supervised`.
Labels are free of scale: reference bones instead of millimetres, so the box is 4.2 bones deep.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vergence.batches.views import Views
from vergence.methods.base import depth_target, relative_depth
from vergence.methods.losses import known, weighted_mean
from vergence.methods.supervised import Supervised
from vergence.networks.pose_network import Maps


class EpipolarPose(Supervised):
    """The upper branch: learns from pseudo-labels as from true ones, and adds the paper's own loss on the volume."""

    def terms(self, views: Views, maps: Maps) -> dict[str, Tensor]:
        terms = super().terms(views, maps)
        if self.network.settings.head == "volume":
            terms["volume"] = self.volume_loss(views, maps)
        return terms

    def volume_loss(self, views: Views, maps: Maps) -> Float[Tensor, ""]:
        """Section 3.3: smooth L1, summed over 3J coordinates, mean over images.

        Coordinates are shares of the crop and of the depth box, so |x| < 1 always and the linear part is never reached:
        it is half the squared error, in the paper's code as well.
        """
        size = views.image.shape[-1]
        depth, weight = depth_target(views, self.skeleton)
        box = self.network.settings.depth_box
        points, trust = known(views.keypoints, views.confidence)
        target = torch.cat([points / size - 0.5, depth[..., None] / box], -1)
        found = torch.cat([maps.keypoints / size - 0.5, relative_depth(maps.depth, self.skeleton)[..., None] / box], -1)
        each = F.smooth_l1_loss(found, target, reduction="none")
        weights = torch.stack([trust, trust, weight], -1)
        return weighted_mean(each, weights) * each[0].numel()
