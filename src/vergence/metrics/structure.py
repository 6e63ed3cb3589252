"""Pose Structure Score (Kocabas 2019): does a prediction fall into the same kind of pose as the truth?

MPJPE treats joints one by one: a person whose knee bends the wrong way may have the error of one who merely leans. So
true poses, root-centred and of norm 1, are grouped by k-means, and a prediction scores 1 where its nearest group is the
truth's nearest group. It needs truth, has no gradient, and does not see scale.

What breaks it. Near a border between groups a tiny error flips the score, and k-means depends on its start: a figure from
one clustering is half chance. Here several clusterings are made, each the best of a few starts, and the mean is given
with the spread over them. The figure depends on the poses that were clustered, the joints and the frame
(the camera's: a turned person is another pose), so a `Clusters` carries all of that, with a hash of its poses: scores
of different clusters are not comparable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vergence.errors import VergenceError
from vergence.files import atomic_path, read_arrays
from vergence.metrics._inputs import Array, in_kind, indices, relative, to_pair, to_tensor

SEEDS = 5
STARTS = 2  # k-means++ starts of each clustering; the tightest is kept
ITERATIONS = 100
MOST_POSES = 3000  # clustered; of more, so many are drawn
LEAST_POSES_PER_CLUSTER = 4


@dataclass(frozen=True)
class Clusters:
    """Several clusterings of one set of true poses.

    Attributes:
        centres: of each clustering, root-centred poses of norm about 1, `S K D`, D = 3 x joints.
        joints: which joints of a pose are compared.
        root: joints whose mean is the root.
        provenance: where the poses came from, how many there were, their hash, seeds, starts: plain values.
    """

    centres: Float[Tensor, "S K D"]
    joints: tuple[int, ...]
    root: tuple[int, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def k(self) -> int:
        return self.centres.shape[1]

    def save(self, path: Path) -> None:
        """One NPZ: centres, joints, root, provenance as JSON."""
        with atomic_path(path) as partial:
            np.savez_compressed(
                partial, centres=self.centres.numpy(), joints=np.array(self.joints), root=np.array(self.root),
                provenance=json.dumps(self.provenance), unit="root-centred poses of norm 1, camera frame",
            )  # fmt: skip

    @staticmethod
    def load(path: Path) -> Clusters:
        """Raises: VergenceError: no clusters, or not whole."""
        file = read_arrays(path, ("centres", "joints", "root", "provenance"), "Delete it; it is made again.")
        joints, root = (tuple(int(j) for j in file[name]) for name in ("joints", "root"))
        return Clusters(torch.from_numpy(file["centres"]), joints, root, json.loads(str(file["provenance"])))


def structure_vectors(pose: Array, root: Sequence[int], joints: Sequence[int]) -> Float[Tensor, "N D"]:
    """Root-centred poses of norm 1, flat; NaN where a joint is unknown, 0 where all lie on the root."""
    p = relative(to_tensor(pose, "pose"), list(root))
    flat = p[..., indices(list(joints), p.shape[-2], "joints"), :].reshape(-1, 3 * len(joints))
    return flat / flat.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def fit_clusters(
    pose: Array,
    k: int,
    root: Sequence[int],
    joints: Sequence[int] | None = None,
    *,
    seeds: int = SEEDS,
    starts: int = STARTS,
    **provenance: Any,
) -> Clusters:
    """Clusterings of true poses `N J 3`.

    Args:
        pose: camera frame, any unit.
        k: number of clusters: 50 and 100 in the paper.
        root: joints whose mean is the root.
        joints: which are compared; None: those known in at least nine of ten poses, but not a root of one joint.
        seeds: number of clusterings.
        starts: of each; the one with the least squared distance is kept.
        **provenance: kept with the result (source, world version, ...).

    Raises:
        VergenceError: fewer than four poses for each cluster.
    """
    p = to_tensor(pose, "pose")
    if joints is None:
        often = (~p.isnan().any(-1)).double().mean(0) >= 0.9
        joints = [j for j in torch.nonzero(often)[:, 0].tolist() if [j] != list(root)]
    vectors = structure_vectors(p, root, joints)
    vectors = vectors[vectors.isfinite().all(1) & (vectors.norm(dim=1) > 0.5)]
    if len(vectors) < LEAST_POSES_PER_CLUSTER * k:
        remedy = f"Give at least {LEAST_POSES_PER_CLUSTER * k}, or a smaller k."
        raise VergenceError(f"{len(vectors)} whole poses for {k} clusters", remedy)
    digest = hashlib.sha256(vectors.float().numpy().tobytes()).hexdigest()[:12]
    drawn = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:MOST_POSES]
    used = vectors[drawn].float()
    centres = torch.stack([_best(used, k, seed, starts) for seed in range(seeds)])
    about = {"poses": len(vectors), "clustered": len(used), "hash": digest, "k": k, "seeds": seeds, "starts": starts}
    return Clusters(centres, tuple(joints), tuple(root), {**about, "frame": "camera", **provenance})


def _best(points: Float[Tensor, "N D"], k: int, seed: int, starts: int) -> Float[Tensor, "K D"]:
    generator = torch.Generator().manual_seed(seed)
    found = [k_means(points, k, generator) for _ in range(starts)]
    return min(found, key=lambda pair: pair[1])[0]


def k_means(points: Float[Tensor, "N D"], k: int, generator: torch.Generator) -> tuple[Float[Tensor, "K D"], float]:
    """Lloyd's k-means from a k-means++ start (Arthur 2007); a cluster left empty starts again at the farthest point.

    Returns:
        Centres and the sum of squared distances to them.
    """
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    nearest = (points - centres).square().sum(1)
    for _ in range(k - 1):
        weight = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        new = points[torch.multinomial(weight, 1, generator=generator)]
        centres = torch.cat([centres, new])
        nearest = torch.minimum(nearest, (points - new).square().sum(1))
    label, power = torch.full((len(points),), -1), points.square().sum(1)
    for _ in range(ITERATIONS):
        least, new_label = torch.addmm(centres.square().sum(1), points, centres.T, alpha=-2).min(1)
        if torch.equal(new_label, label):
            break
        label, least = new_label, least + power
        count = torch.bincount(label, minlength=k)
        total = torch.zeros_like(centres).index_add_(0, label, points)
        centres = total / count.clamp(min=1)[:, None]
        for empty in torch.nonzero(count == 0)[:, 0].tolist():
            farthest = int(least.argmax())
            centres[empty], least[farthest] = points[farthest], 0.0
    return centres, float(torch.cdist(points, centres).min(1).values.square().sum())


def assign(pose: Array, clusters: Clusters) -> Int[Tensor, "N S"]:
    """The nearest centre of each pose `N J 3` in every clustering; -1 where a compared joint is unknown."""
    vectors = structure_vectors(pose, clusters.root, clusters.joints)
    known = vectors.isfinite().all(1)
    centres = clusters.centres.to(vectors)
    label = torch.stack([torch.cdist(vectors.nan_to_num(0.0), c).argmin(1) for c in centres], 1)
    return torch.where(known[:, None], label, -1)


def pose_structure_score(prediction: Array, target: Array, clusters: Clusters) -> Array:
    """Percentage of poses whose prediction falls into the truth's cluster, one figure for each clustering, `S`.

    Args:
        prediction, target: `N J 3`, camera frame, any unit. A pose whose target lacks a compared joint is left out; a
            prediction that lacks one counts as a miss. NaN where no pose is left.
    """
    p, t = to_pair(prediction, target)
    ours, true = assign(p, clusters), assign(t, clusters)
    counted = true[:, 0] >= 0
    hits = (ours == true)[counted].double()
    return in_kind(100 * hits.mean(0), prediction, target)
