"""Images of tapered capsules: many small images at once, on a CPU or a GPU.

Method. A body covers a tenth of its image and a pixel a few of its capsules, so nearly all (pixel, capsule) pairs are
empty. Tiles of 4 x 4 pixels are listed per capsule from its box in the image, thinned by their distance to the
capsule's axis, and only there the ray is intersected with the capsule exactly (a quadratic for the cone, one for each
spherical end). Depth, quantised to 0.02 mm and packed above the capsule's number into 32 bits, goes into the z-buffer
by one `scatter_reduce(amin)`: the winner is unique, so images do not depend on the order of threads. Normals, light
and patterns are computed for the visible pixels alone. Images go through in chunks that fit the cache.

What breaks it: capsules that reach behind the camera (they are left out: every end must be `NEAR_MM` in front), and
more than 64 capsules in an image. No anti-aliasing: edges are stair-stepped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vergence.world.figure import EYE, FRONT, HAIR, HEAD, SKIN, TORSO

TILE = 4
_TILE_BITS = 4  # TILE * TILE rays of a tile are numbered in so many bits
NEAR_MM = 80.0
CHUNK_PIXELS = 64 * 96 * 96
_STEPS_PER_MM = 50.0
_MAX_CAPSULES = 64
_EMPTY = 2**31 - 1
_FAR_MM = 500_000.0


@dataclass(frozen=True)
class Scenes:
    """N images' worth of capsules, in each image's camera frame.

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


def draw(scenes: Scenes, background: Int[Tensor, "N H W"]) -> Int[Tensor, "N H W"]:
    """Draws the capsules onto packed pixels (`pack`), in place, and returns them. Both on one device; one chunk."""
    n, height, width = background.shape
    hits = _hits(scenes, height, width)
    buffer = _z_buffer(hits, n * height * width)
    seen = (hits.key == buffer.index_select(0, hits.pixel)).nonzero()[:, 0]
    row, at, depth = (x.index_select(0, seen) for x in (hits.row, hits.ray, hits.depth))
    x, y = hits.x.view(-1).index_select(0, at), hits.y.view(-1).index_select(0, at)
    colour = _shade(scenes, row, x * depth, y * depth, depth)
    background.view(-1).index_copy_(0, hits.pixel.index_select(0, seen), pack(colour))
    return background


def pack(colour: Float[Tensor, "... 3"]) -> Int[Tensor, ...]:
    """Red, green, blue (0 to 255) in the three low bytes of an int32: one number to gather and scatter per pixel."""
    r, g, b = colour.clamp(0, 255).to(torch.int32).unbind(-1)
    return r | (g << 8) | (b << 16)


def unpack(packed: Int[Tensor, "N H W"]) -> UInt8[Tensor, "N 3 H W"]:
    """Packed pixels as an image."""
    return torch.stack([(packed >> shift).bitwise_and_(255).to(torch.uint8) for shift in (0, 8, 16)], 1)


@dataclass(frozen=True)
class _Hits:
    """Every (pixel, capsule) pair that meets: flat pixel, z-buffer key, flat capsule, depth, and which of the rays
    (`x`, `y`, 1) of the candidate tiles it is."""

    pixel: Int[Tensor, " H"]
    key: Int[Tensor, " H"]
    row: Int[Tensor, " H"]
    depth: Float[Tensor, " H"]
    ray: Int[Tensor, " H"]
    x: Float[Tensor, "M P"]
    y: Float[Tensor, "M P"]


def _z_buffer(hits: _Hits, pixels: int) -> Int[Tensor, " pixels"]:
    buffer = torch.full((pixels,), _EMPTY, dtype=torch.int32, device=hits.key.device)
    return buffer.scatter_reduce_(0, hits.pixel, hits.key, "amin")


def _hits(scenes: Scenes, height: int, width: int) -> _Hits:
    row, left, top = _tiles(scenes, height, width)
    capsules = scenes.a.shape[1]
    image = row // capsules
    k = scenes.intrinsics
    fx, fy, cx, cy = torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]]).index_select(1, image).unbind(0)
    step = torch.arange(TILE, device=row.device)
    u, v = left[:, None] + step, top[:, None] + step
    x = ((u - cx[:, None]) / fx[:, None])[:, None, :].expand(-1, TILE, -1).reshape(len(row), -1)
    y = ((v - cy[:, None]) / fy[:, None])[:, :, None].expand(-1, -1, TILE).reshape(len(row), -1)
    depth = _intersect(x, y, scenes, row)
    if width % TILE or height % TILE:
        depth[~((u < width)[:, None, :] & (v < height)[:, :, None]).view(len(row), -1)] = torch.inf
    ray = (depth < _FAR_MM).view(-1).nonzero()[:, 0]
    depth = depth.view(-1).index_select(0, ray)
    # Pixel and capsule of a tile's first ray; the others follow by their place in the tile.
    corner = (image * height + top) * width + left
    offset = (step[:, None] * width + step).view(-1)
    pixel = (corner[:, None] + offset).view(-1).index_select(0, ray)
    tile = ray >> _TILE_BITS
    capsule = (row - image * capsules).to(torch.int32).index_select(0, tile)
    key = (depth * _STEPS_PER_MM).to(torch.int32).mul_(_MAX_CAPSULES).add_(capsule)
    return _Hits(pixel, key, row.index_select(0, tile), depth, ray, x, y)


def _tiles(scenes: Scenes, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidate tiles: flat capsule number, left and top pixel. Conservative: none that is hit is missing."""
    k = scenes.intrinsics
    f = torch.stack([k[:, 0, 0], k[:, 1, 1]], -1)[:, None, None]
    c = torch.stack([k[:, 0, 2], k[:, 1, 2]], -1)[:, None, None]
    ends = torch.stack([scenes.a, scenes.b], 2)
    z = ends[..., 2] - scenes.radius
    good = (z > NEAR_MM).all(-1) & (scenes.radius > 0).all(-1)
    slope = ends[..., :2] / ends[..., 2:].clamp(min=NEAR_MM)
    centre = f * slope + c
    # A sphere's outline is an ellipse about a point further out; this much radius around the projected centre holds it.
    radius = f.amax(-1) * scenes.radius * (1 + (slope * slope).sum(-1)) / z.clamp(min=NEAR_MM)
    widest = radius.amax(-1)
    low = ((centre.amin(2) - widest[..., None]) / TILE).floor()
    high = ((centre.amax(2) + widest[..., None]) / TILE).floor()
    last = torch.tensor([(width - 1) // TILE, (height - 1) // TILE], device=low.device)
    low, high = low.clamp(min=0).long(), torch.minimum(high, last).long()
    span = (high - low + 1).clamp(min=0) * good[..., None]
    count = span.prod(-1).view(-1)
    row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    first = count.cumsum(0) - count
    columns, first, left, top = torch.stack(
        [span[..., 0].view(-1), first, low[..., 0].view(-1), low[..., 1].view(-1)]
    ).index_select(1, row)
    index = torch.arange(len(row), device=row.device) - first
    down = torch.div(index, columns, rounding_mode="floor")
    left, top = (left + index - down * columns) * TILE, (top + down) * TILE
    line = torch.cat([centre[:, :, 0], centre[:, :, 1] - centre[:, :, 0], widest[..., None]], -1).view(-1, 5)
    x0, y0, dx, dy, reach = line.T.contiguous().index_select(1, row).unbind(0)
    ax, ay = left + (TILE - 1) / 2 - x0, top + (TILE - 1) / 2 - y0
    s = ((dx * ax + dy * ay) / (dx * dx + dy * dy).clamp(min=1e-6)).clamp(0, 1)
    ax, ay, reach = ax - s * dx, ay - s * dy, reach + (TILE - 1) * 0.7072
    keep = (ax * ax + ay * ay <= reach * reach).nonzero()[:, 0]
    return row.index_select(0, keep), left.index_select(0, keep), top.index_select(0, keep)


def _intersect(x: Tensor, y: Tensor, scenes: Scenes, row: Tensor) -> Float[Tensor, "M P"]:
    """Depth z at which rays (x, y, 1) from the origin enter capsule `row`; infinite where they miss.

    The round cone of two spheres and their common tangent cone (I. Quilez, "Intersectors", round cone), with what does
    not depend on the ray worked out once per capsule.
    """
    a, b = scenes.a.reshape(-1, 3), scenes.b.reshape(-1, 3)
    ra, rb = scenes.radius.reshape(-1, 2).unbind(1)
    ba, rr = b - a, ra - rb
    m0, m1, m5, m7 = (ba * ba).sum(1), -(ba * a).sum(1), (a * a).sum(1), (b * b).sum(1)
    k0 = (m0 - rr * rr) * m5 - m1 * m1 + 2 * m1 * rr * ra - m0 * ra * ra
    table = torch.stack([*ba.T, *a.T, m0 - rr * rr, m1 - rr * ra, k0, m5 - ra * ra, m7 - rb * rb])
    bx, by, bz, ax, ay, az, d2, m1, k0, ca, cb = table.index_select(1, row)[:, :, None].unbind(0)
    inverse = (x * x).addcmul_(y, y).add_(1).rsqrt_()
    m2 = (bx * x).addcmul_(y, by).add_(bz).mul_(inverse)
    m3 = (ax * x).addcmul_(y, ay).add_(az).mul_(inverse).neg_()
    m6 = m3 - m2
    k2 = d2 - m2 * m2
    k1 = d2 * m3 - m1 * m2
    h = k1 * k1 - k0 * k2
    t = (h.clamp(min=0).sqrt_().add_(k1)).div_(k2).neg_()
    s = torch.addcmul(m1, t, m2)
    side = (h >= 0) & (s > 0) & (s < d2) & (t > 0)
    ends = torch.minimum(_sphere(m3, ca), _sphere(m6, cb))
    return torch.where(side, t, ends).mul_(inverse)


def _sphere(m: Tensor, c: Tensor) -> Tensor:
    """Distance along unit rays to a sphere: -m - sqrt(m^2 - c), infinite where they miss."""
    h = (m * m).sub_(c)
    return torch.where(h > 0, h.clamp(min=0).sqrt_().add_(m).neg_(), torch.inf)


def _shade(scenes: Scenes, row: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Float[Tensor, "M 3"]:
    """Colour of visible points (mm): the capsule's own or its pattern's, under one light and an ambient one."""
    n, capsules = scenes.a.shape[:2]
    ba, (ra, rb) = scenes.b - scenes.a, scenes.radius.unbind(-1)
    rr = ra - rb
    inverse = 1 / ((ba * ba).sum(-1) - rr * rr).clamp(min=1e-6)
    numbers = torch.stack([ra * rr, inverse, scenes.material.float(), scenes.ambient[:, None].expand(n, capsules)], -1)
    light = scenes.light[:, None].expand(n, capsules, 3)
    table = torch.cat([scenes.a, ba, light, numbers], -1).view(-1, 13).T.contiguous().index_select(1, row)
    ax, ay, az, bx, by, bz, lx, ly, lz, tilt, inverse, material, ambient = table.unbind(0)
    px, py, pz = x - ax, y - ay, z - az
    # The axis point whose sphere touches the surface here; at the round ends, the end itself.
    s = (px * bx).addcmul_(py, by).addcmul_(pz, bz).sub_(tilt).mul_(inverse).clamp_(0, 1)
    px, py, pz = px.addcmul_(s, bx, value=-1), py.addcmul_(s, by, value=-1), pz.addcmul_(s, bz, value=-1)
    length = (px * px).addcmul_(py, py).addcmul_(pz, pz).clamp_(min=1e-6).rsqrt_()
    colour = scenes.colour.reshape(-1, 3).index_select(0, row)
    image = torch.arange(n, device=row.device).repeat_interleave(capsules).index_select(0, row)
    torso, head = ((material == kind).nonzero()[:, 0] for kind in (TORSO, HEAD))
    point, normal = (torch.stack([v.index_select(0, torso) for v in w], 1) for w in ((x, y, z), (px, py, pz)))
    who = image.index_select(0, torso)
    painted, normal = _paint_torso(scenes, who, point, normal * length[torso][:, None], colour[torso])
    colour.index_copy_(0, torso, painted)
    for plane, values in zip((px, py, pz), normal.unbind(1)):
        plane.index_copy_(0, torso, values)
    length.index_fill_(0, torso, 1.0)
    point = torch.stack([v.index_select(0, head) for v in (x, y, z)], 1)
    colour.index_copy_(0, head, _paint_head(scenes, image.index_select(0, head), point))
    lambert = (px * lx).addcmul_(py, ly).addcmul_(pz, lz).mul_(length).clamp_(min=0)
    facing = (pz * length).neg_().clamp_(min=0)
    strength = ambient * (0.6 + 0.5 * facing) + (1 - ambient) * lambert * 1.35
    return colour * strength[:, None]


def _paint_torso(
    scenes: Scenes, who: Tensor, point: Float[Tensor, "M 3"], normal: Float[Tensor, "M 3"], colour: Float[Tensor, "M 3"]
) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 3"]]:
    """Colour with the strip worn in front, symmetric about the body's middle; normals of one oval trunk, where the
    capsules that make it would show their seams."""
    forward, left, up = scenes.torso.index_select(0, who).unbind(1)
    height = scenes.height.index_select(0, who)
    beside = ((point - scenes.pelvis.index_select(0, who)) * left).sum(1)
    ahead = (normal * forward).sum(1)
    strip = (beside.abs() < scenes.front.index_select(0, who) * height) & (ahead > 0.15)
    across = (beside / (0.1 * height)).clamp(-0.98, 0.98)
    front = (1 - across * across).sqrt() * (4 * ahead).clamp(-1, 1)
    above = 0.7 * (normal * up).sum(1)
    oval = front[:, None] * forward + across[:, None] * left + above[:, None] * up
    oval = oval / oval.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.where(strip[:, None], scenes.palette[who, FRONT], colour), oval


def _paint_head(scenes: Scenes, who: Tensor, point: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """Hair above and behind, skin in front, two eyes and a mouth."""
    offset = (point - scenes.head_centre[who]) / (0.052 * scenes.height[who])[:, None]
    ahead, side, up = (scenes.head[who] * offset[:, None]).sum(2).unbind(1)
    row = torch.full_like(who, SKIN)
    row[((ahead < 0.12) | (up > 0.42)) & (scenes.hair[who] > 0)] = HAIR
    beside = side.abs()
    eyes = (ahead > 0.4) & (beside > 0.17) & (beside < 0.52) & (up > -0.28) & (up < 0.0)
    mouth = (ahead > 0.4) & (beside < 0.3) & (up > -1.12) & (up < -0.92)
    row[eyes | mouth] = EYE
    return scenes.palette[who, row]
