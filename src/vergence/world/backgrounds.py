"""What stands behind people: textures of floors, walls and clutter, and the part of one that a crop sees.

A texture belongs to a full image, so that a crop that follows a walking person slides over an unchanging background,
as in a real recording. It is small (a crop looks at a part of it, nearest texel) and reaches beyond the image's
edges, because a crop may. It is flat: no parallax, which a camera that stands still does not show either.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vergence.world.renderer import pack, unpack
from vergence.world.threads import spread

TEXTURE = 160
# The texture spans this many times the full image, about its centre.
REACH = 1.4
_BATCH = 32


def draw_textures(count: int, generator: torch.Generator, clutter: int = 4) -> Int[Tensor, "K T T"]:
    """Random textures, packed: a wall, a floor below, uneven light, boxes, stripes and grain."""
    seeds = torch.randint(2**62, (-(-count // _BATCH),), generator=generator).tolist()
    sizes = [min(_BATCH, count - i) for i in range(0, count, _BATCH)]

    def some(which: int) -> Tensor:
        return _some(sizes[which], torch.Generator().manual_seed(seeds[which]), clutter)

    return torch.cat(spread(some, range(len(sizes))))


def _some(count: int, generator: torch.Generator, clutter: int) -> Int[Tensor, "K T T"]:
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    grid = torch.arange(TEXTURE) / TEXTURE
    x, y = grid[None, None, :], grid[None, :, None]
    grey = rand(count, 2, 1, 1, 1) * 190 + 30
    colour = grey + (rand(count, 2, 3, 1, 1) - 0.5) * 90
    horizon = 0.42 + 0.25 * rand(count, 1, 1) + 0.1 * (rand(count, 1, 1) - 0.5) * (x - 0.5)
    floor = (y > horizon)[:, None]
    image = torch.where(floor, colour[:, 0], colour[:, 1])
    for cells, strength in ((3, 40.0), (10, 22.0), (40, 16.0)):
        noise = (rand(count, 3, cells, cells) - 0.5) * strength * 2
        noise = 0.7 * noise[:, :1] + 0.3 * noise
        image = image + F.interpolate(noise, size=TEXTURE, mode="bilinear", align_corners=False)
    for _ in range(clutter):
        cx, cy = rand(count, 1, 1), rand(count, 1, 1)
        w, h = 0.015 + 0.2 * rand(count, 1, 1) ** 2, 0.015 + 0.3 * rand(count, 1, 1) ** 2
        box = (((x - cx).abs() < w) & ((y - cy).abs() < h))[:, None]
        period = 0.03 + 0.1 * rand(count, 1, 1)
        stripes = torch.where(((x - cx) / period).frac().abs() < 0.5, 0.0, (rand(count, 1, 1) < 0.3) * 40.0)
        shade = 1 - 0.35 * ((x - cx) / w).clamp(-1, 1) * rand(count, 1, 1)
        paint = rand(count, 3, 1, 1) * 70 + rand(count, 1, 1, 1) * 170
        image = torch.where(box, paint * shade[:, None] - stripes[:, None], image)
    image = image + (rand(count, 1, TEXTURE, TEXTURE) - 0.5) * 14
    return pack(image.permute(0, 2, 3, 1))


def look_up(
    textures: Int[Tensor, "K T T"],
    which: Int[Tensor, " N"],
    to_texture: Float[Tensor, "N 3 3"],
    height: int,
    width: int,
) -> Int[Tensor, "N H W"]:
    """Nearest texels, packed; beyond the texture it is mirrored. `to_texture` takes image pixels (homogeneous) to texels."""
    m = to_texture.float()[:, :, :, None, None]
    x = torch.arange(width, device=textures.device, dtype=torch.float32)[None, None, :]
    y = torch.arange(height, device=textures.device, dtype=torch.float32)[None, :, None]
    scale = 1 / (m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2])
    u = ((m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) * scale).round_().to(torch.int32)
    v = ((m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) * scale).round_().to(torch.int32)
    index = which.to(torch.int32)[:, None, None] * TEXTURE
    flat = (index + _mirrored(v)) * TEXTURE + _mirrored(u)
    return textures.view(-1).index_select(0, flat.view(-1)).view(len(which), height, width)


def full_image(textures: Int[Tensor, "K T T"], height: int, width: int) -> Int[Tensor, "K H W"]:
    """What full images show of their textures, packed; bilinear, because here texels are many pixels wide."""
    scale, _, offset_x, _, _, offset_y = full_to_texture(height, width)[:2].float().view(-1).tolist()
    x, y = torch.arange(width) * scale + offset_x, torch.arange(height) * scale + offset_y
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) * (2 / (TEXTURE - 1)) - 1
    colour = F.grid_sample(
        unpack(textures).float(), grid.expand(len(textures), -1, -1, -1), padding_mode="reflection", align_corners=True
    )
    return pack(colour.permute(0, 2, 3, 1))


def _mirrored(index: Tensor) -> Tensor:
    """Texel numbers reflected at both edges of the texture."""
    if int(index.min()) >= 0 and int(index.max()) < TEXTURE:
        return index
    period = 2 * TEXTURE
    index = index.remainder(period)
    return torch.minimum(index, period - 1 - index)


def full_to_texture(height: int, width: int) -> Float[Tensor, "3 3"]:
    """Full image px to texels."""
    scale = TEXTURE / (REACH * max(height, width))
    centre = (TEXTURE - 1) / 2
    return torch.tensor(
        [[scale, 0, centre - scale * (width - 1) / 2], [0, scale, centre - scale * (height - 1) / 2], [0, 0, 1]],
        dtype=torch.float64,
    )


def random_windows(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "N 3 3"]:
    """Crop px to texels of a random, possibly mirrored window of a texture: for images that stand alone."""
    zoom = (0.35 + 0.6 * torch.rand(count, generator=generator, dtype=torch.float64)) * TEXTURE / size
    room = TEXTURE - 1 - zoom * (size - 1)
    shift = torch.rand(count, 2, generator=generator, dtype=torch.float64) * room[:, None]
    flip = torch.rand(count, generator=generator) < 0.5
    matrix = torch.zeros(count, 3, 3, dtype=torch.float64)
    matrix[:, 0, 0] = torch.where(flip, -zoom, zoom)
    matrix[:, 1, 1] = zoom
    matrix[:, 0, 2] = torch.where(flip, shift[:, 0] + zoom * (size - 1), shift[:, 0])
    matrix[:, 1, 2], matrix[:, 2, 2] = shift[:, 1], 1
    return matrix
