"""How wrong a prediction may be: each joint's expected error, a radius that nine of ten errors stay within, and whether the
image is like those of the training.

**Errors.** A soft-argmax tells where a joint is and, by the width of its heatmap, how well that is known; a mirrored image is a
second opinion. The logarithm of a joint's error is a linear function of a few such cues, fitted by ridge regression for each
joint (with their means over the body beside them, ranks gained 0.01 and coverage lost 0.01). The targets are made labels
(pseudo-labels) of images that no stage trained on: no truth. The radius is conformal: images are cut into `FOLDS` pieces by
recording, each piece is predicted from the others, and a joint's 90 % quantile of error over predicted error makes its factor
(conformal prediction). It holds for images like those, and for errors against labels like those: made labels err too, and with
the same network's habits, so that against the truth coverage comes out lower (`benchmarks/uncertainty.py` says by how much).

**Likeness.** The mean over the image of the backbone's two finest maps, and its Mahalanobis distance from the training images'
(Lee et al. 2018; covariance shrunk towards its diagonal). Coarser maps have learned to ignore what an image looks like. One
image says little: its distance is divided by the 99 % quantile of images that were not trained on; a recording's mean says
much more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save
from torch import Tensor

from vergence.errors import VergenceError
from vergence.files import write_bytes
from vergence.geometry.alignment import ridge_regression
from vergence.networks.pose_network import Maps, expected_pixel

UNCERTAINTY = "uncertainty.safetensors"  # file of a run
COVERAGE = 0.9
USUAL = 0.99  # of held-out images are like those of the training
FOLDS = 5
LEAST_ROWS = 50  # images with a joint, or its error is not told
STRENGTH = 1e-2  # of the ridge, beside cues whose variance is about 0.3
SHRINKAGE = 0.05
LEAST_ERROR = 1e-3  # reference bones: half a millimetre


@dataclass
class AveragedMaps(Maps):
    """Maps of an image averaged with those of its mirror image.

    Attributes:
        apart: how far the two are from each other: crop pixels and reference bones of depth, `N J 2`.
    """

    apart: Float[Tensor, "N J 2"]


def cues_of(maps: Maps, size: int) -> Float[Tensor, "N J C"]:
    """What a joint's error is told from, as logarithms: the heatmap's standard deviation and doubt and, of averaged maps, how
    far the two are apart in 2D and in depth."""
    heatmap = maps.log_heatmap.float().exp()
    stride = size / heatmap.shape[-1]
    mean = expected_pixel(heatmap, stride)
    step = (torch.arange(heatmap.shape[-1], device=mean.device) + 0.5) * stride - 0.5
    down = (torch.arange(heatmap.shape[-2], device=mean.device) + 0.5) * stride - 0.5
    square = (heatmap.sum(-2) * step.square()).sum(-1) + (heatmap.sum(-1) * down.square()).sum(-1)
    spread = (square - mean.square().sum(-1)).clamp(min=0).sqrt() / size
    own = [(spread + 3e-3).log(), (1.02 - maps.confidence.float()).log()]
    if isinstance(maps, AveragedMaps):
        own += [(maps.apart[..., 0] / size + 3e-3).log(), (maps.apart[..., 1] + 0.02).log()]
    return torch.stack(own, -1)


@dataclass(frozen=True)
class ErrorFit:
    """Expected errors: `exp(cues . weight + offset)`, in reference bones; NaN of joints that no label showed often enough.

    Attributes:
        weight, offset: for each joint.
        ratio: of the radius that nine of ten errors stay within to the expected error.
    """

    weight: Float[Tensor, "J C"]
    offset: Float[Tensor, " J"]
    ratio: Float[Tensor, " J"]

    def __call__(self, cues: Float[Tensor, "N J C"]) -> Float[Tensor, "N J"]:
        return _told(cues, self.weight.to(cues), self.offset.to(cues))


def fit_errors(
    cues: Float[Tensor, "N J C"], error: Float[Tensor, "N J"], order: Int[Tensor, "N 2"] | None = None
) -> ErrorFit:
    """Cues to errors, joint by joint.

    Args:
        cues: `cues_of` images that were not trained on.
        error: of their predictions, reference bones; NaN where there is no label.
        order: recording and time of each: neighbours come into the same fold. None: they are in order.
    """
    cues, error = cues.double(), error.double()
    rows = torch.arange(len(cues))
    for key in () if order is None else (order[:, 1], order[:, 0]):
        rows = rows[key[rows].argsort(stable=True)]
    fold = torch.empty(len(rows), dtype=torch.long)
    fold[rows] = torch.arange(len(rows)) * FOLDS // max(len(rows), 1)
    joints, count = cues.shape[1:]
    weight, offset, ratio = cues.new_zeros(joints, count), cues.new_full((joints,), torch.nan), cues.new_zeros(joints)
    for joint in range(joints):
        known = error[:, joint].isfinite()
        x, y, own = cues[known, joint], error[known, joint], fold[known]
        if len(y) < LEAST_ROWS:
            continue
        if float(y.max()) < LEAST_ERROR:  # the root, which is where it is by definition
            offset[joint] = -torch.inf
            continue
        held = torch.full_like(y, torch.nan)
        for number in own.unique():
            other = own != number
            held[~other] = y[~other] / _told(x[~other], *_log_linear(x[other], y[other]))
        weight[joint], start = _log_linear(x, y)
        level = min(1.0, COVERAGE * (1 + 1 / len(held)))
        offset[joint], ratio[joint] = start + held.mean().log(), held.quantile(level) / held.mean()
    return ErrorFit(weight.float(), offset.float(), ratio.float())


def _log_linear(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    weight, offset = ridge_regression(x, y.clamp(min=LEAST_ERROR).log()[:, None], STRENGTH)
    return weight[:, 0], offset[0]


def _told(cues: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    """Expected errors, of one joint's cues or of all joints'."""
    return ((cues * weight).sum(-1) + offset).exp()


@dataclass(frozen=True)
class Usual:
    """What images of the training look like.

    Attributes:
        centre, whitening: distances are lengths of `(look - centre) whitening`.
        limit: distance of an image within which 99 % of the held-out images lie.
        together: mean of a recording's distances, in limits, that no held-out recording exceeds.
    """

    centre: Float[Tensor, " D"]
    whitening: Float[Tensor, "D D"]
    limit: Float[Tensor, ""]
    together: Float[Tensor, ""]

    def __call__(self, look: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Distances in limits: an image above 1 is unlike the training's."""
        return ((look - self.centre.to(look)) @ self.whitening.to(look)).norm(dim=-1) / self.limit.to(look)


def fit_usual(look: Float[Tensor, "N D"], held: Float[Tensor, "M D"], recording: Int[Tensor, " M"]) -> Usual:
    """From images that were trained on, and others of the same kind with the numbers of their recordings."""
    look = look.double()
    centre, deviation = look.mean(0), look.std(0).clamp(min=1e-6)
    score = (look - centre) / deviation
    together = (1 - SHRINKAGE) * score.T @ score / len(score) + SHRINKAGE * torch.eye(score.shape[1]).to(score)
    whitening = torch.linalg.inv(torch.linalg.cholesky(together)).T / deviation[:, None]
    one = torch.ones((), dtype=torch.double)
    bare = Usual(centre, whitening, one, one)
    distance = bare(held.double())
    limit = distance.quantile(USUAL)
    means = torch.stack([distance[recording == number].mean() for number in recording.unique()])
    return Usual(centre.float(), whitening.float(), limit.float(), (means.max() / limit).float())


@dataclass(frozen=True)
class Uncertainty:
    """What a run knows of its own errors; saved with it.

    Attributes:
        plain, flipped: expected errors of predictions alone and of those averaged with the mirrored image's.
        usual: what images of the training look like.
    """

    plain: ErrorFit | None = None
    flipped: ErrorFit | None = None
    usual: Usual | None = None

    def __call__(
        self, cues: Float[Tensor, "N J C"], look: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N J"] | None, Float[Tensor, "N J"] | None, Float[Tensor, " N"] | None]:
        """Expected errors and radii, in reference bones, and strangeness; None for what is not known."""
        ways = [fit for fit in (self.plain, self.flipped) if fit is not None and fit.weight.shape[1] == cues.shape[-1]]
        error = ways[0](cues) if ways else None
        radius = None if error is None else error * ways[0].ratio.to(error)
        return error, radius, None if self.usual is None else self.usual(look)

    def save(self, path: Path) -> None:
        parts = {name: part for name, part in vars(self).items() if part is not None}
        write_bytes(
            path, save({f"{n}.{f.name}": getattr(p, f.name).contiguous() for n, p in parts.items() for f in fields(p)})
        )

    @staticmethod
    def load(path: Path) -> Uncertainty:
        """Raises a `VergenceError` where a part is not whole."""
        held = load_file(path)
        made: dict[str, ErrorFit | Usual] = {}
        for name, kind in (("plain", ErrorFit), ("flipped", ErrorFit), ("usual", Usual)):
            own = {key.partition(".")[2]: value for key, value in held.items() if key.startswith(f"{name}.")}
            if own and set(own) != {f.name for f in fields(kind)}:
                raise VergenceError(f"{name} in {path} has {', '.join(own)}", "Take the whole file of the run.")
            if own:
                made[name] = kind(**own)
        return Uncertainty(**made)  # type: ignore[arg-type]
