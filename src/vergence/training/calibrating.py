"""A finished method's expected errors: its predictions of images that it did not learn from, beside made labels of them.

What is compared is what a user gets: poses as `load` will give them, in full precision, in reference bones. Labels that are
metric are divided by their own reference bone, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vergence.batches.dataset import Dataset
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.methods.base import Method, Prediction, label_bone
from vergence.methods.uncertainty import LEAST_ROWS, ErrorFit, Uncertainty, fit_errors, fit_usual
from vergence.skeleton import Skeleton

AT_ONCE = 64
USUAL_IMAGES = 2000  # of a source, spread over it


def predicted(
    method: Method,
    dataset: Dataset,
    rows: Tensor,
    intrinsics: Tensor,
    device: str,
    flips: Sequence[bool | None] = (None,),
    half: bool = False,
) -> list[Prediction]:
    """Of some of a dataset's images, which are read once and whose intrinsics are given row by row: one for each of `flips`, as
    a method's `predict` takes it; none of no image."""
    method.to(device)
    found: list[list[Prediction]] = [[] for _ in flips]
    for chunk in torch.arange(len(rows)).split(AT_ONCE) if len(rows) else ():
        image = dataset.read(rows[chunk]).image.to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            for parts, flip in zip(found, flips):
                parts.append(method.predict(image, intrinsics[chunk].to(device), flip))
    return [Prediction.cat(parts) for parts in found if parts]


def poses_to_refine(
    method: Method, dataset: Dataset, rows: Tensor, goals: Views, device: str, precision: str
) -> Float[Tensor, "N J 3"]:
    """A method's poses of the images for which there are goals; a `VergenceError` where they are not in the camera's frame."""
    found = predicted(method, dataset, rows, goals.intrinsics, device, half=precision == "bf16-mixed")
    if found and found[0].frame != "camera":
        raise VergenceError(f"poses in a {found[0].frame} frame cannot be refined", "Refine another method.")
    return found[0].pose.float() if found else torch.zeros(0, len(method.skeleton), 3)


def errors_of(
    found: Prediction, pose: Float[Tensor, "N J 3"], bone: Float[Tensor, " N"], skeleton: Skeleton
) -> Float[Tensor, "N J"]:
    """Root-relative distances of predictions from poses whose reference bone is `bone` long, in reference bones; NaN where a
    pose is."""
    target = (pose - pose[:, list(skeleton.root)].mean(1, keepdim=True)) / bone[:, None, None]
    return (found.pose - target).norm(dim=-1)


def calibrated(
    method: Method, held: Sequence[tuple[Dataset, Tensor, Views]], usual: Sequence[Dataset], device: str
) -> Uncertainty:
    """What a method knows of its errors.

    Args:
        method: finished.
        held: sources that it did not learn from: their images, the rows that have a 3D label, and these labels.
        usual: sources that it learned from.
        device: where it predicts.

    Raises:
        VergenceError: a method whose errors cannot be told from its heatmaps, or too few labels.
    """
    method.uncertainty = Uncertainty()  # from now on predictions carry what errors are told from
    try:
        return _calibrated(method, held, usual, device)
    finally:
        method.uncertainty = None
        method.cpu()


def _calibrated(
    method: Method, held: Sequence[tuple[Dataset, Tensor, Views]], usual: Sequence[Dataset], device: str
) -> Uncertainty:
    goals = Views.cat([labels for _, _, labels in held])
    if len(goals) < LEAST_ROWS:
        problem = f"{len(goals)} images with a 3D label to calibrate from"
        raise VergenceError(problem, f"Give calibrate.sources with {LEAST_ROWS} at least, and label stages for them.")
    apart = [labels.sequence + (number << 40) for number, (_, _, labels) in enumerate(held)]  # sources count alike
    order = torch.stack([torch.cat(apart), goals.frame], 1)
    bone = label_bone(goals, method.skeleton)
    ways: list[ErrorFit] = []
    look: Tensor | None = None
    flips = (False, True)[: 1 + method.mirrored]
    parts = [predicted(method, images, rows, labels.intrinsics, device, flips) for images, rows, labels in held]
    for way in zip(*(part for part in parts if part)):
        found = Prediction.cat(list(way))
        look = found.look
        if found.cues is None or look is None or found.frame != "camera":
            raise VergenceError(f"{type(method).__name__} does not tell how sure it is", "Leave calibrate: out.")
        ways.append(fit_errors(found.cues, errors_of(found, goals.pose, bone, method.skeleton), order))
    assert look is not None
    looks = [_looks(method, images, device) for images in usual]
    like = fit_usual(torch.cat(looks), look, order[:, 0]) if looks else None
    return Uncertainty(ways[0], ways[1] if method.mirrored else None, like)


def _looks(method: Method, dataset: Dataset, device: str) -> Tensor:
    rows = torch.arange(len(dataset.index))
    rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), USUAL_IMAGES)).round().long()]
    lens = torch.eye(3).expand(len(rows), 3, 3)  # plays no part in what an image looks like
    (found,) = predicted(method, dataset, rows, lens, device, flips=(False,))
    assert found.look is not None
    return found.look
