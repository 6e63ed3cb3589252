"""Augmentation: changes to images that a real camera could have made, with the geometry that belongs to them.

Two kinds of change keep a view exactly what it claims to be, a pinhole's image of a person:

- **The window** (`move_window`): the camera rolls about its optical axis (pose, extrinsics and gravity roll with it),
  zooms and shifts its window (only the intrinsics change: focal length and principal point). All three together are one
  affine map of the pixels, whatever the depths are. A shift is deliberately a shift of the principal point and not a
  turn of the camera: it is exact, and needs no intrinsics; the price is an optical axis that no longer meets the centre
  of the crop, by as much as the shift. A zoom is not a step forward: perspective stays, the root's depth stays.
- **The mirror** (`mirror`): the world reflected in the plane x = 0 of the rig and every camera's x axis with it. With
  M = diag(-1, 1, 1) a camera `R, t` becomes `M R M, M t`: again a rotation, and the rig again a rig, provided that all
  its views are mirrored. So the draw is one per time step. Left and right joints change names, as people do in mirrors.

What breaks this: an image whose intrinsics are unknown is rolled as if its pixels were square; and what lies beyond
the image's edge is black, which a network can learn to read as "rolled" (a crop with a wide margin shows less of it).

The draw is a function of the generator alone: every kind of change has its own columns of random numbers, so switching
one on or off does not change the others.

**One rule for images.** `Views.image` is uint8 from 0 to 255 or float from 0 to 1. `augment` returns float32;
networks take either through `to_float`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.camera import matrix_product
from vergence.recipes.settings import Augmentation
from vergence.skeleton import Skeleton


def to_float(image: Tensor) -> Float[Tensor, ...]:
    """An image as float from 0 to 1: uint8 is divided by 255, float is returned as it is."""
    if image.dtype == torch.uint8:
        return image.float().mul_(1 / 255)
    return image


@dataclass(frozen=True)
class Draw:
    """The random numbers of one batch; each setting reads its own columns.

    Attributes:
        uniform: N 14, from 0 to 1.
        normal: N 2.
        time_step: N, from 0 to 1, equal within a time step.
        occluder: N K 12, from 0 to 1; K is the largest number of occluders.
    """

    uniform: Float[Tensor, "N 14"]
    normal: Float[Tensor, "N 2"]
    time_step: Float[Tensor, " N"]
    occluder: Float[Tensor, "N K 12"]


def draw(
    time_step: Int[Tensor, " N"], settings: Augmentation, generator: torch.Generator, rows: slice = slice(None)
) -> Draw:
    """Random numbers for a batch of these time steps, drawn on the generator's device: a CPU generator gives the same on every
    machine. `rows`: of which the numbers are given."""
    n, device = len(time_step), time_step.device
    _, inverse = torch.unique(time_step, return_inverse=True)
    k = settings.occluders if settings.occlusion else 0
    # What the settings cannot lengthen is drawn first, so that they change nothing else.
    normal = torch.randn((n, 2), generator=generator, device=generator.device)
    uniform, together, occluder = (
        torch.rand(size, generator=generator, device=generator.device) for size in ((n, 14), (n,), (n, k, 12))
    )
    together = together.to(device)[inverse]
    return Draw(uniform[rows].to(device), normal[rows].to(device), together[rows], occluder[rows].to(device))


def augment(
    views: Views,
    settings: Augmentation,
    skeleton: Skeleton,
    generator: torch.Generator,
    among: tuple[Int[Tensor, " M"], slice] | None = None,
) -> Views:
    """A batch changed at random: mirror, window, occluders, then colour.

    Args:
        views: on any device; rows may know as little as they like, NaN stays NaN.
        settings: what to change and by how much.
        skeleton: whose left and right the mirror exchanges.
        generator: the only source of chance; a batch is a pure function of (views, settings, its state).
        among: the time steps of a larger batch and the rows of it that these views are: they change as they would there.

    Returns:
        Views whose image is float32 from 0 to 1.
    """
    if len(skeleton) != views.joints:
        raise VergenceError(f"a batch of {views.joints} joints does not fit skeleton {skeleton.name} ({len(skeleton)})")
    time_step, rows = among or (views.time_step, slice(None))
    numbers = draw(time_step, settings, generator, rows)
    if settings.mirror:
        views = mirror(views, skeleton, numbers.time_step < settings.mirror)
    if settings.moves_pixels:
        views = move_window(views, *_window(numbers, settings, views.image.shape[-2:]))
    else:
        views = views.replace(image=to_float(views.image))
    if settings.occlusion:
        views = occlude(views, settings, numbers.uniform[:, 6], numbers.uniform[:, 7], numbers.occluder)
    if settings.hidden_confidence < 1:
        views = _dim(views, ~_inside(views), settings.hidden_confidence)
    if settings.changes_colour:
        views = views.replace(image=_recolour(views.image, settings, numbers.uniform[:, 8:12], numbers.uniform[:, 5]))
    return views


def _window(
    numbers: Draw, settings: Augmentation, shape: torch.Size
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N 2"]]:
    """(zoom, roll in radians, the point of the old image that becomes the new centre) for every image."""
    u = numbers.uniform
    zoom = 1 + settings.scale * numbers.normal[:, 0].clamp(-1, 1)
    roll = math.radians(settings.rotation) * numbers.normal[:, 1].clamp(-2, 2)
    roll = torch.where(u[:, 0] < settings.rotation_probability, roll, 0.0)
    offset = settings.shift * (2 * u[:, 1:3] - 1)
    closer = torch.where(u[:, 3] < settings.truncation, 1.2 + (settings.truncation_zoom - 1.2) * u[:, 4], 1.0)
    offset = offset + (1 - 1 / closer[:, None]) / 2 * (2 * u[:, 12:14] - 1)
    size = torch.tensor([shape[1], shape[0]], dtype=u.dtype, device=u.device)
    return zoom * closer, roll, (size - 1) / 2 + offset * size


def move_window(
    views: Views, zoom: Float[Tensor, " N"], roll: Float[Tensor, " N"], centre: Float[Tensor, "N 2"]
) -> Views:
    """Every image rolled about its optical axis, zoomed, and shifted so that a given pixel becomes its centre.

    With `K2` the upper left 2x2 of the intrinsics (the identity where unknown) and `R2` the roll, pixels move by
    `p' = zoom K2 R2 K2^-1 (p - centre) + middle`, which is what a camera `K', Rz` sees with `K2' = zoom K2` and the
    principal point moved by the same map. Positive roll turns the image's content clockwise.

    Args:
        views: the batch.
        zoom: factor on the focal length.
        roll: radians.
        centre: px of the old image.

    Returns:
        The batch with pixels (float32, bilinear; black outside), intrinsics, keypoints, pose, rotation, translation, up,
        crop and turn moved.
    """
    height, width = views.image.shape[-2:]
    middle = centre.new_tensor([(width - 1) / 2, (height - 1) / 2])
    k2 = views.intrinsics[:, :2, :2]
    known = k2.isfinite().all(-1).all(-1)[:, None, None]
    k2 = torch.where(known, k2, torch.eye(2, device=k2.device))
    cosine, sine = torch.cos(roll), torch.sin(roll)
    turn = torch.stack([cosine, -sine, sine, cosine], dim=-1).unflatten(-1, (2, 2))
    linear = zoom[:, None, None] * matrix_product(matrix_product(k2, turn), _inverse2(k2))
    offset = middle - _apply(linear, centre)
    principal = _apply(linear, views.intrinsics[:, :2, 2]) + offset
    intrinsics = views.intrinsics.clone()
    intrinsics[:, :2, :2] *= zoom[:, None, None]
    intrinsics[:, :2, 2] = principal
    return views.replace(
        image=_resample(to_float(views.image), linear, offset),
        intrinsics=intrinsics,
        keypoints=_apply(linear[:, None], views.keypoints) + offset[:, None],
        pose=_roll(views.pose, turn[:, None]),
        rotation=_roll(views.rotation.mT, turn[:, None]).mT,
        translation=_roll(views.translation, turn),
        up=_roll(views.up, turn),
        crop=matrix_product(_homogeneous(linear, offset), views.crop),
        turn=_roll(views.turn.mT, turn[:, None]).mT,
    )


def mirror(views: Views, skeleton: Skeleton, which: Bool[Tensor, " N"] | None = None) -> Views:
    """Images as in a mirror, left and right joints exchanged; twice is the identity, exactly for uint8.

    Args:
        views: the batch.
        skeleton: whose `mirror` says which joints exchange names.
        which: rows to mirror, all where it is not given. Views of one time step belong together: mirror all or none, or
            their extrinsics no longer describe one rig.

    Returns:
        The batch; `crop` of mirrored rows has a negative determinant, rotations stay rotations: `turn` and
        `full_intrinsics` are those of the full image in a mirror, `crop` still leads from the full image as it was.
    """
    which = torch.ones(len(views), dtype=torch.bool, device=views.image.device) if which is None else which
    last = views.image.shape[-1] - 1
    swap = list(skeleton.mirror)
    flip = views.pose.new_tensor([-1.0, 1.0, 1.0])
    keypoints = views.keypoints[:, swap]
    crop = views.crop.clone()
    crop[:, 0] = last * views.crop[:, 2] - views.crop[:, 0]
    mirrored = {
        "intrinsics": _mirrored(views.intrinsics, last),
        "keypoints": torch.stack([last - keypoints[..., 0], keypoints[..., 1]], dim=-1),
        "confidence": views.confidence[:, swap],
        "pose": views.pose[:, swap] * flip,
        "pose_weight": views.pose_weight[:, swap],
        "rotation": views.rotation * flip[:, None] * flip,
        "translation": views.translation * flip,
        "up": views.up * flip,
        "crop": crop,
        "turn": views.turn * flip[:, None] * flip,
        "full_intrinsics": _mirrored(views.full_intrinsics, views.size[:, 0] - 1),
    }
    chosen = {
        name: torch.where(which.view(-1, *[1] * (new.ndim - 1)), new, getattr(views, name))
        for name, new in mirrored.items()
    }
    image = views.image.clone()
    image[which] = views.image[which].flip(-1)
    return views.replace(image=image, **chosen)


def _mirrored(intrinsics: Float[Tensor, "N 3 3"], last: int | Float[Tensor, " N"]) -> Float[Tensor, "N 3 3"]:
    """Intrinsics of an image in a mirror whose rightmost pixel is `last`."""
    out = intrinsics.clone()
    out[:, 0, 1] = -out[:, 0, 1]
    out[:, 0, 2] = last - out[:, 0, 2]
    return out


def occlude(
    views: Views,
    settings: Augmentation,
    chance: Float[Tensor, " N"],
    number: Float[Tensor, " N"],
    shape: Float[Tensor, "N K 12"],
) -> Views:
    """Striped, turned rectangles drawn over images (float from 0 to 1); keypoints stay where they are.

    Args:
        views: the batch.
        settings: share of images, largest number and size, and the factor on hidden joints' confidence.
        chance: from 0 to 1; an image below `settings.occlusion` is drawn over.
        number: from 0 to 1; how many, of 1 to K.
        shape: from 0 to 1; centre 2, half sides 2, angle, stripe width, two colours of 3.
    """
    height, width = views.image.shape[-2:]
    count = torch.where(chance < settings.occlusion, 1 + (number * shape.shape[1]).long(), 0)
    rows = count.nonzero()[:, 0]
    image, hidden = views.image.clone(), torch.zeros_like(views.confidence, dtype=torch.bool)
    size, keypoints = shape.new_tensor([width, height]), views.keypoints[rows]
    x = torch.arange(width, device=image.device)[None, None, :]
    y = torch.arange(height, device=image.device)[None, :, None]
    for k in range(shape.shape[1]):
        u = shape[rows, k]
        at = u[:, :2] * size
        half = settings.occluder_size * (0.25 + 0.75 * u[:, 2:4]) * size / 2
        half = torch.where((k < count[rows])[:, None], half, -1.0)
        angle = math.pi * u[:, 4, None]
        pixels = _turned(x, y, at[:, None], angle[:, :, None])
        joints = _turned(keypoints[..., 0], keypoints[..., 1], at, angle)
        inside = (pixels[0].abs() < half[:, :1, None]) & (pixels[1].abs() < half[:, 1:, None])
        hidden[rows] |= (joints[0].abs() < half[:, :1]) & (joints[1].abs() < half[:, 1:])
        row, j, i = inside.nonzero(as_tuple=True)
        stripe = torch.sin(pixels[0][row, j, i] * (2 * math.pi / (2 + width / 8 * u[row, 5]))) > 0
        image[rows[row], :, j, i] = torch.where(stripe[:, None], u[row, 6:9], u[row, 9:12])
    return _dim(views.replace(image=image), hidden, settings.hidden_confidence)


def _turned(x: Tensor, y: Tensor, at: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along the two sides of a rectangle that stands at `at` (... 2) and is turned by `angle`."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    left, top = at[..., :1], at[..., 1:]
    across = cosine * x + (sine * y - (cosine * left + sine * top))
    along = cosine * y + (sine * left - cosine * top) - sine * x
    return across, along


def _inside(views: Views) -> Bool[Tensor, "N J"]:
    """Keypoints within the image; one that is NaN is nowhere, and counts as inside: nothing hides it."""
    height, width = views.image.shape[-2:]
    x, y = views.keypoints.unbind(-1)
    return ~((x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5))


def _dim(views: Views, hidden: Bool[Tensor, "N J"], factor: float) -> Views:
    if factor == 1:
        return views
    return views.replace(confidence=torch.where(hidden, views.confidence * factor, views.confidence))


def _recolour(
    image: Float[Tensor, "N 3 H W"], settings: Augmentation, u: Float[Tensor, "N 4"], brightness: Float[Tensor, " N"]
) -> Float[Tensor, "N 3 H W"]:
    """`gain (contrast (image - mean) + mean) + brightness`, one multiplication and one addition per pixel."""
    gain = 1 + settings.gain * (2 * u[:, :3, None, None] - 1)
    contrast = 1 + settings.contrast * (2 * u[:, 3, None, None, None] - 1)
    added = settings.brightness * (2 * brightness[:, None, None, None] - 1)
    mean = image.mean(dim=(1, 2, 3), keepdim=True) if settings.contrast else image.new_zeros(len(image), 1, 1, 1)
    return (image * (gain * contrast)).add_(gain * (1 - contrast) * mean + added).clamp_(0, 1)


def _resample(
    image: Float[Tensor, "N 3 H W"], linear: Float[Tensor, "N 2 2"], offset: Float[Tensor, "N 2"]
) -> Float[Tensor, "N 3 H W"]:
    """Pixels at `p' = linear p + offset`, bilinear, black outside. No filter: meant for zooms of 0.7 and above."""
    height, width = image.shape[-2:]
    back = _inverse2(linear)
    start = -_apply(back, offset)
    x = torch.arange(width, device=image.device, dtype=image.dtype)[None, None, :]
    y = torch.arange(height, device=image.device, dtype=image.dtype)[None, :, None]
    # grid_sample's own units: -1 and 1 are the outer edges of the first and the last pixel.
    grid = torch.empty(len(image), height, width, 2, device=image.device, dtype=image.dtype)
    for i, size in enumerate((width, height)):
        a, b, c = (value[:, None, None] for value in (back[:, i, 0], back[:, i, 1], start[:, i]))
        torch.add(2 / size * a * x + (2 * c + 1) / size - 1, 2 / size * b * y, out=grid[..., i])
    return torch.nn.functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _roll(vectors: Float[Tensor, "... 3"], turn: Float[Tensor, "... 2 2"]) -> Float[Tensor, "... 3"]:
    """Vectors turned about z; x and y never touch z, so a joint of unknown depth keeps its x and y."""
    return torch.cat([_apply(turn, vectors[..., :2]), vectors[..., 2:]], dim=-1)


def _apply(matrix: Float[Tensor, "... 2 2"], points: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    return (matrix * points[..., None, :]).sum(-1)


def _inverse2(matrix: Float[Tensor, "N 2 2"]) -> Float[Tensor, "N 2 2"]:
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    return torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2)) / (a * d - b * c)[:, None, None]


def _homogeneous(linear: Float[Tensor, "N 2 2"], offset: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3 3"]:
    matrix = torch.zeros(len(linear), 3, 3, device=linear.device, dtype=linear.dtype)
    matrix[:, :2, :2], matrix[:, :2, 2], matrix[:, 2, 2] = linear, offset, 1
    return matrix
