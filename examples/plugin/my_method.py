"""A method from outside, in some forty lines: ordinal depth (Pavlakos, Zhou, Daniilidis, CVPR 2018).

Full supervision, and one loss more: of the two ends of every limb, which is nearer to the camera? It needs no metric depth,
only its order, so a label of "nearer" or "farther" would do.

    vergence train examples/plugin/recipe.yaml --out runs/ordinal
    vergence evaluate runs/ordinal --plugins examples/plugin/my_method.py
    vergence compare examples/plugin/recipe.yaml my_baseline.yaml

`recipe.yaml` names this file under `plugins:`. A finished run never loads code by itself: whoever opens it names the file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vergence import Supervised, plugins


@plugins.methods.register("ordinal_depth")
class OrdinalDepth(Supervised):
    """2.5D regression, and `order` beside its losses."""

    def terms(self, views, maps) -> dict[str, Tensor]:
        return {**super().terms(views, maps), "order": self.order(views.pose[..., 2], maps.depth)}

    def order(self, true: Tensor, found: Tensor) -> Tensor:
        """log(1 + exp(-r d)) of limbs' ends: r their true order, d their predicted difference; `N J` depths, NaN unknown."""
        first, second = (list(ends) for ends in zip(*self.skeleton.limbs, strict=True))
        apart = true[:, first] - true[:, second]
        known = apart.isfinite()
        loss = F.softplus(-apart.nan_to_num(0.0).sign() * (found[:, first] - found[:, second]))
        return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
