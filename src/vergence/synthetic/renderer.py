"""Pictures of tapered capsules: many small pictures at once, on a CPU or a GPU.

Method. A body covers a tenth of its picture and a pixel a few of its capsules, so nearly all (pixel, capsule) pairs are
empty. Tiles of 4 x 4 pixels are listed per capsule from its box in the picture, thinned by their distance to the
capsule's axis, and only there the ray is intersected with the capsule exactly (a quadratic for the cone, one for each
spherical end). Depth, quantised to 0.02 mm and packed above the capsule's number into 32 bits, goes into the z-buffer
by one `scatter_reduce(amin)`: the winner is unique, so pictures do not depend on the order of threads. Normals, light
and patterns are computed for the visible pixels alone. Pictures go through in chunks that fit the cache.

What breaks it: capsules that reach behind the camera (they are left out: every end must be `NEAR_MM` in front), and
more than 64 capsules in a picture. No anti-aliasing: edges are stair-stepped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vergence.synthetic.figure import EYE, FRONT, HAIR, HEAD, SKIN, TORSO

TILE = 4
NEAR_MM = 80.0
CHUNK_PIXELS = 64 * 96 * 96
_STEPS_PER_MM = 50.0
_MAX_CAPSULES = 64
_EMPTY = 2**31 - 1


@dataclass(frozen=True)
class Scenes:
    """N pictures' worth of capsules, in each picture's camera frame.

    Attributes:
        a, b, radius, colour, material: the capsules. `material` tells which are patterned.
        intrinsics: without skew.
        light: unit vector towards the light.
        ambient: 0 to 1; what light falls on the far side.
        torso, head, head_centre, pelvis, height, front, palette, hair: the body's frames and colours for the patterns.
    """

    a: Float[Tensor, "N C 3"]
    b: Float[Tensor, "N C 3"]
    radius: Float[Tensor, "N C 2"]
    colour: Float[Tensor, "N C 3"]
    material: Int[Tensor, "N C"]
    intrinsics: Float[Tensor, "N 3 3"]
    light: Float[Tensor, "N 3"]
    ambient: Float[Tensor, " N"]
    torso: Float[Tensor, "N 3 3"]
    head: Float[Tensor, "N 3 3"]
    head_centre: Float[Tensor, "N 3"]
    pelvis: Float[Tensor, "N 3"]
    height: Float[Tensor, " N"]
    front: Float[Tensor, " N"]
    palette: Float[Tensor, "N 10 3"]
    hair: Float[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, index: slice) -> Scenes:
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def draw(scenes: Scenes, background: UInt8[Tensor, "N H W 3"]) -> UInt8[Tensor, "N H W 3"]:
    """Draws the capsules onto the background, in place, and returns it. Both on one device; one chunk."""
    n, height, width, _ = background.shape
    pixels, key, row, rays, depth = _hits(scenes, height, width)
    buffer = torch.full((n * height * width,), _EMPTY, dtype=torch.int32, device=background.device)
    buffer.scatter_reduce_(0, pixels, key, "amin")
    seen = (key == buffer[pixels]).nonzero()[:, 0]
    colour = _shade(scenes, row[seen], rays[seen] * depth[seen, None])
    background.view(-1, 3)[pixels[seen]] = colour.clamp_(0, 255).to(torch.uint8)
    return background


def depth_map(scenes: Scenes, height: int, width: int) -> tuple[Float[Tensor, "N H W"], Int[Tensor, "N H W"]]:
    """Depth (mm, infinite where empty) and number of the visible capsule (-1 where empty) of each pixel."""
    pixels, key, _, _, _ = _hits(scenes, height, width)
    buffer = torch.full((len(scenes) * height * width,), _EMPTY, dtype=torch.int32, device=scenes.a.device)
    buffer.scatter_reduce_(0, pixels, key, "amin")
    empty = buffer == _EMPTY
    depth = torch.where(empty, torch.inf, (buffer // _MAX_CAPSULES) / _STEPS_PER_MM)
    capsule = torch.where(empty, -1, buffer % _MAX_CAPSULES)
    return depth.view(-1, height, width), capsule.view(-1, height, width)


def _hits(scenes: Scenes, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Every (pixel, capsule) pair that meets: flat pixel, z-buffer key, flat capsule, ray (z = 1), depth."""
    row, left, top = _tiles(scenes, height, width)
    device = row.device
    step = torch.arange(TILE, device=device)
    capsules = scenes.a.shape[1]
    picture = row // capsules
    k = scenes.intrinsics
    inverse_f = torch.stack([1 / k[:, 0, 0], 1 / k[:, 1, 1]], 1)[picture]
    centre = torch.stack([k[:, 0, 2], k[:, 1, 2]], 1)[picture]
    u, v = left[:, None] + step, top[:, None] + step
    x = ((u - centre[:, :1]) * inverse_f[:, :1])[:, None, :].expand(-1, TILE, -1).reshape(len(row), -1)
    y = ((v - centre[:, 1:]) * inverse_f[:, 1:])[:, :, None].expand(-1, -1, TILE).reshape(len(row), -1)
    depth = _intersect(x, y, scenes, row)
    inside = (u < width)[:, None, :] & (v < height)[:, :, None]
    hit = (torch.isfinite(depth) & inside.view(len(row), -1)).view(-1).nonzero()[:, 0]
    tile, within = hit // (TILE * TILE), hit % (TILE * TILE)
    depth = depth.view(-1)[hit]
    pixel = (picture[tile] * height + top[tile] + within // TILE) * width + left[tile] + within % TILE
    key = (depth * _STEPS_PER_MM).to(torch.int32) * _MAX_CAPSULES + (row[tile] % capsules).to(torch.int32)
    rays = torch.stack([x.view(-1)[hit], y.view(-1)[hit], torch.ones_like(depth)], 1)
    return pixel, key, row[tile], rays, depth


def _tiles(scenes: Scenes, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidate tiles: flat capsule number, left and top pixel. Conservative: none that is hit is missing."""
    k = scenes.intrinsics
    f = torch.stack([k[:, 0, 0], k[:, 1, 1]], -1)[:, None]
    c = torch.stack([k[:, 0, 2], k[:, 1, 2]], -1)[:, None]
    ends = torch.stack([scenes.a, scenes.b], 2)
    z = ends[..., 2] - scenes.radius
    good = (z > NEAR_MM).all(-1) & (scenes.radius > 0).all(-1)
    centre = f[:, :, None] * ends[..., :2] / ends[..., 2:].clamp(min=NEAR_MM) + c[:, :, None]
    # A sphere's outline is an ellipse about a point further out; this much radius around the projected centre holds it.
    slope = (ends[..., :2] / ends[..., 2:].clamp(min=NEAR_MM)).norm(dim=-1)
    radius = f.amax(-1)[:, :, None] * scenes.radius * (1 + slope**2) / z.clamp(min=NEAR_MM)
    widest = radius.amax(-1)
    low = ((torch.minimum(centre[:, :, 0], centre[:, :, 1]) - widest[..., None]) / TILE).floor()
    high = ((torch.maximum(centre[:, :, 0], centre[:, :, 1]) + widest[..., None]) / TILE).floor()
    last = torch.tensor([(width - 1) // TILE, (height - 1) // TILE], device=low.device)
    low, high = low.clamp(min=0).long(), torch.minimum(high, last).long()
    span = (high - low + 1).clamp(min=0) * good[..., None]
    count = span.prod(-1).view(-1)
    row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    index = torch.arange(len(row), device=row.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    columns = span[..., 0].view(-1)[row]
    tx, ty = low[..., 0].view(-1)[row] + index % columns, low[..., 1].view(-1)[row] + index // columns
    start, end = centre[:, :, 0].reshape(-1, 2)[row], centre[:, :, 1].reshape(-1, 2)[row]
    middle = torch.stack([tx, ty], 1) * TILE + (TILE - 1) / 2
    along, away = end - start, middle - start
    s = ((along * away).sum(1) / (along * along).sum(1).clamp(min=1e-6)).clamp(0, 1)
    near = (away - s[:, None] * along).norm(dim=1) <= widest.view(-1)[row] + (TILE - 1) * 0.7072
    keep = near.nonzero()[:, 0]
    return row[keep], tx[keep] * TILE, ty[keep] * TILE


def _intersect(x: Tensor, y: Tensor, scenes: Scenes, row: Tensor) -> Float[Tensor, "M P"]:
    """Depth z at which rays (x, y, 1) from the origin enter capsule `row`, infinite where they miss.

    The round cone of two spheres and their common tangent cone (I. Quilez, "Intersectors", round cone).
    """
    a, b = scenes.a.reshape(-1, 3)[row], scenes.b.reshape(-1, 3)[row]
    ra, rb = scenes.radius.reshape(-1, 2)[row].unbind(1)
    ba, rr = b - a, ra - rb
    m0, m1 = (ba * ba).sum(1), -(ba * a).sum(1)
    m5, m7 = (a * a).sum(1), (b * b).sum(1)
    d2 = m0 - rr * rr
    inverse = torch.rsqrt(x * x + y * y + 1)

    def along(v: Tensor) -> Tensor:
        return torch.addcmul(torch.addcmul(v[:, 2:3], x, v[:, 0:1]), y, v[:, 1:2]) * inverse

    m2, m3, m6 = along(ba), along(a).neg_(), along(b).neg_()
    d2_, m1_, rra = d2[:, None], m1[:, None], (rr * ra)[:, None]
    k2 = d2_ - m2 * m2
    k1 = d2_ * m3 - m1_ * m2 + m2 * rra
    k0 = (d2 * m5 - m1 * m1 + 2 * m1 * rr * ra - m0 * ra * ra)[:, None]
    h = k1 * k1 - k0 * k2
    t = (-h.clamp(min=0).sqrt() - k1) / k2
    s = torch.addcmul(m1_ - rra, t, m2)
    side = (h >= 0) & (s > 0) & (s < d2_) & (t > 0)
    ha, hb = m3 * m3 - (m5 - ra * ra)[:, None], m6 * m6 - (m7 - rb * rb)[:, None]
    ta = torch.where(ha > 0, -m3 - ha.clamp(min=0).sqrt(), torch.inf)
    tb = torch.where(hb > 0, -m6 - hb.clamp(min=0).sqrt(), torch.inf)
    t = torch.where(side, t, torch.minimum(ta, tb))
    return t * inverse


def _shade(scenes: Scenes, row: Tensor, point: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """Colour of visible points: the capsule's own or its pattern's, under one light and an ambient one."""
    capsules = scenes.a.shape[1]
    picture = row // capsules
    a, b = scenes.a.reshape(-1, 3)[row], scenes.b.reshape(-1, 3)[row]
    ra, rb = scenes.radius.reshape(-1, 2)[row].unbind(1)
    ba, pa = b - a, point - a
    rr = ra - rb
    # The axis point whose sphere touches the surface here; at the round ends, the end itself.
    s = (((pa * ba).sum(1) - ra * rr) / ((ba * ba).sum(1) - rr * rr).clamp(min=1e-6)).clamp(0, 1)
    normal = pa - s[:, None] * ba
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-6)
    colour = scenes.colour.reshape(-1, 3)[row]
    material = scenes.material.reshape(-1)[row]
    _paint_torso(scenes, colour, (material == TORSO).nonzero()[:, 0], picture, point, normal)
    _paint_head(scenes, colour, (material == HEAD).nonzero()[:, 0], picture, point)
    lambert = (normal * scenes.light[picture]).sum(1).clamp(min=0)
    ambient = scenes.ambient[picture]
    facing = normal[:, 2].neg().clamp(min=0)
    strength = ambient * (0.6 + 0.4 * facing) + (1 - ambient) * lambert * 1.25
    return colour * strength[:, None]


def _paint_torso(scenes: Scenes, colour: Tensor, at: Tensor, picture: Tensor, point: Tensor, normal: Tensor) -> None:
    """The strip worn in front, symmetric about the body's middle."""
    who = picture[at]
    forward, left = scenes.torso[who, 0], scenes.torso[who, 1]
    beside = ((point[at] - scenes.pelvis[who]) * left).sum(1).abs()
    strip = (beside < scenes.front[who] * scenes.height[who]) & ((normal[at] * forward).sum(1) > 0.15)
    chosen = at[strip]
    colour[chosen] = scenes.palette[who[strip], FRONT]


def _paint_head(scenes: Scenes, colour: Tensor, at: Tensor, picture: Tensor, point: Tensor) -> None:
    """Hair above and behind, skin in front, two eyes and a mouth."""
    who = picture[at]
    offset = (point[at] - scenes.head_centre[who]) / (0.052 * scenes.height[who])[:, None]
    ahead, side, up = torch.einsum("mij,mj->mi", scenes.head[who], offset).unbind(1)
    row = torch.full_like(who, SKIN)
    row[((ahead < 0.12) | (up > 0.42)) & (scenes.hair[who] > 0)] = HAIR
    beside = side.abs()
    eyes = (ahead > 0.4) & (beside > 0.15) & (beside < 0.62) & (up > -0.32) & (up < 0.05)
    mouth = (ahead > 0.4) & (beside < 0.36) & (up > -1.15) & (up < -0.88)
    row[eyes | mouth] = EYE
    colour[at] = scenes.palette[who, row]
