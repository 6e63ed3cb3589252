"""From people before cameras to Views: the crop's camera, its truth, and its pixels. The crop is drawn directly, and
never the full image."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.crops import crop_cameras
from vergence.progress import counted, hearing
from vergence.world.backgrounds import look_up
from vergence.world.body import Posed
from vergence.world.faults import Faults, annotated
from vergence.world.figure import PARTS, PLAIN, Outfits, make_figures
from vergence.world.renderer import CHUNK_PIXELS, Scenes, draw, unpack
from vergence.world.threads import Device, spread

# A body nearer than this has no box to crop.
NEAREST_MM = 300.0


@dataclass(frozen=True)
class Lights:
    """Light of N images: direction towards it (world, unit), the share that comes from everywhere, and a gain."""

    direction: Float[Tensor, "N 3"]
    ambient: Float[Tensor, " N"]
    exposure: Float[Tensor, " N"]

    def __getitem__(self, index: Tensor) -> Lights:
        return Lights(self.direction[index], self.ambient[index], self.exposure[index])


@dataclass(frozen=True)
class Backdrops:
    """What stands behind N images.

    Attributes:
        textures: packed (backgrounds.py).
        which: the texture of each image.
        to_texture: full image px to texels; crop px to texels where `of_crop`.
        of_crop: every crop has a background of its own.
    """

    textures: Int[Tensor, "K T T"]
    which: Int[Tensor, " N"]
    to_texture: Float[Tensor, "N 3 3"]
    of_crop: bool = False


@dataclass(frozen=True)
class Shots:
    """What the images show, before any is drawn: N full-image cameras and the body in front of each.

    Attributes:
        posed, height, build, outfits: the people; heights (mm) None: estimated from the legs.
        intrinsics, rotation, translation: of the full images.
        lights: where the person stands.
        size: of the full images, width and height, px.
    """

    posed: Posed
    height: Float[ndarray, " N"] | None
    build: Float[ndarray, " N"]
    outfits: Outfits
    intrinsics: Float[Tensor, "N 3 3"]
    rotation: Float[Tensor, "N 3 3"]
    translation: Float[Tensor, "N 3"]
    lights: Lights
    size: Float[Tensor, "N 2"]


def draw_lights(count: int, look: str, rng: np.random.Generator) -> Lights:
    """The light of N places: even in a studio, anything in the wild."""
    azimuth = rng.uniform(0, 2 * math.pi, count)
    elevation = np.radians(rng.uniform(25, 75, count))
    light = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    ambient = rng.uniform(0.45, 0.75, count) if look == "studio" else rng.uniform(0.35, 0.8, count)
    exposure = rng.uniform(0.9, 1.1, count) if look == "studio" else np.exp(rng.uniform(-0.22, 0.2, count))
    return Lights(torch.from_numpy(light), torch.from_numpy(ambient), torch.from_numpy(exposure))


def _boxes(
    pixels: Float[Tensor, "N 17 2"], faults: Faults, rng: np.random.Generator
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Centre and side of square boxes around the person as a detector gives them; some cut the person off."""
    n = len(pixels)
    low, high = pixels.amin(1), pixels.amax(1)
    extent = (high - low).amax(1)
    jitter = torch.from_numpy(rng.normal(0, 0.025, (n, 2)).clip(-0.06, 0.06))
    side = extent * torch.from_numpy(rng.uniform(1.14, 1.28, n))
    centre = (low + high) / 2 + jitter * extent[:, None]
    cut = torch.from_numpy(rng.random(n) < (faults.truncation or 0.0))
    angle = torch.from_numpy(rng.uniform(0, 2 * math.pi, n))
    shift = torch.stack([angle.cos(), angle.sin()], 1) * torch.from_numpy(rng.uniform(0.12, 0.3, n))[:, None]
    tight = torch.from_numpy(rng.uniform(0.65, 0.85, n))
    centre = torch.where(cut[:, None], centre + shift * extent[:, None], centre)
    return centre, torch.where(cut, side * tight, side)


def project_points(points: Float[Tensor, "N J 3"], intrinsics: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N J 2"]:
    homogeneous = points @ intrinsics.mT
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1.0)


def take(
    shots: Shots, backdrops: Backdrops, size: int, look: str, faults: Faults, rng: np.random.Generator, device: Device
) -> Views:
    """Crops of the shots: cameras, truth, pixels."""
    n = len(shots.build)
    full = shots.posed.joints @ shots.rotation.mT + shots.translation[:, None]
    centre, side = _boxes(project_points(full, shots.intrinsics), faults, rng)
    box = torch.cat([centre - side[:, None] / 2, side[:, None], side[:, None]], 1)
    crop = crop_cameras(shots.intrinsics.numpy(), np.zeros((n, 5)), box.numpy(), size)
    lens, turn, homography = (torch.from_numpy(x) for x in (crop.intrinsics, crop.rotation, crop.homography))
    rotation = turn @ shots.rotation
    translation = (turn @ shots.translation[..., None])[..., 0]
    scenes, pose = make_scenes(shots, rotation, translation, lens)
    if float(pose[..., 2].min()) < NEAREST_MM:
        raise VergenceError(
            f"someone comes within {float(pose[..., 2].min()):.0f} mm of a camera's plane, the limit is {NEAREST_MM:.0f}",
            "Give a rig further away, or a motion that travels less.",
        )
    scenes = _with_objects(scenes, pose, look, faults, rng)
    back = backdrops.to_texture if backdrops.of_crop else backdrops.to_texture @ torch.linalg.inv(homography)
    image = _draw_all(scenes, dataclasses.replace(backdrops, to_texture=back), size, device)
    pixels = project_points(pose, lens)
    keypoints, confidence = annotated(pixels, size, faults, rng)
    views = Views.empty(n, 17, 1, 1)
    return views.replace(
        image=image, intrinsics=lens.float(), keypoints=keypoints.float(), confidence=confidence.float(),
        pose=pose.float(), metric=torch.ones(n, dtype=torch.bool), rotation=rotation.float(),
        translation=translation.float(), up=rotation[:, :, 2].float(), crop=homography.float(),
        turn=turn.float(), full_intrinsics=shots.intrinsics.float(), size=shots.size.float(),
    )  # fmt: skip


def make_scenes(
    shots: Shots, rotation: Tensor, translation: Tensor, intrinsics: Tensor
) -> tuple[Scenes, Float[Tensor, "N 17 3"]]:
    """The bodies' capsules in cameras' frames (float32), and the joints there (float64)."""
    joints = shots.posed.joints @ rotation.mT + translation[:, None]
    face = (rotation @ shots.posed.face[..., None])[..., 0]
    feet = shots.posed.feet @ rotation.mT
    height = None if shots.height is None else torch.from_numpy(shots.height).float()
    body = make_figures(
        joints.float(), face.float(), feet.float(), torch.from_numpy(shots.build).float(), shots.outfits, height
    )
    gain = shots.lights.exposure.float()[:, None, None]
    scenes = Scenes(
        a=body.a, b=body.b, radius=body.radius, colour=shots.outfits.palette[:, [row for _, row, _ in PARTS]] * gain,
        material=torch.tensor([material for _, _, material in PARTS]).expand(len(joints), -1), intrinsics=intrinsics.float(),
        light=(rotation @ shots.lights.direction[..., None])[..., 0].float(), ambient=shots.lights.ambient.float(),
        torso=body.torso, head=body.head, head_centre=body.head_centre, pelvis=joints[:, 0].float(), height=body.height,
        front=shots.outfits.front, palette=shots.outfits.palette * gain, hair=shots.outfits.hair,
    )  # fmt: skip
    return scenes, joints


def _with_objects(scenes: Scenes, pose: Tensor, look: str, faults: Faults, rng: np.random.Generator) -> Scenes:
    """Adds up to two objects in front of some people, and in the wild up to two behind: capsules of any colour."""
    if not faults.occlusion and look != "wild":
        return scenes
    n, both = len(scenes), (len(scenes), 4)
    before = np.array([True, True, False, False])
    hides = rng.random(n) < (faults.occlusion or 0.0)
    behind = (rng.random((n, 2)) < 0.35) & (look == "wild")
    on = np.column_stack([hides, hides & (rng.random(n) < 0.35), behind])

    def either(front: tuple[float, float], back: tuple[float, float]) -> ndarray:
        return np.where(before, rng.uniform(*front, both), rng.uniform(*back, both))

    middle = pose.mean(1).numpy()
    reach = (pose - pose.mean(1, keepdim=True)).norm(dim=-1).amax(1).numpy()[:, None]
    depth = either((0.45, 0.8), (1.3, 1.9))
    scale = depth * reach
    aside = rng.uniform(-1, 1, (n, 4, 2)) * (np.where(before, 0.55, 1.0) * scale)[..., None]
    at = depth[..., None] * middle[:, None] + np.pad(aside, ((0, 0), (0, 0), (0, 1)))
    angle = np.where(rng.random(both) < 0.5, 0.0, rng.uniform(-math.pi, math.pi, both))
    axis = (
        np.stack([np.sin(angle), np.cos(angle), np.zeros(both)], -1)
        * (scale * either((0.05, 0.5), (0.2, 1.5)))[..., None]
    )
    radius = on * scale * either((0.10, 0.22), (0.05, 0.2))
    paint = (rng.uniform(20, 200, (n, 4, 1)) + rng.uniform(-30, 50, (n, 4, 3))).clip(5, 250)
    objects = {
        "a": at - axis, "b": at + axis, "radius": np.stack([radius, radius * rng.uniform(0.7, 1, both)], -1), "colour": paint,
        "material": np.full(both, PLAIN),
    }  # fmt: skip
    joined = {
        k: torch.cat([getattr(scenes, k), torch.from_numpy(v).to(getattr(scenes, k))], 1) for k, v in objects.items()
    }
    return dataclasses.replace(scenes, **joined)


def _draw_all(scenes: Scenes, backdrops: Backdrops, size: int, device: Device) -> UInt8[Tensor, "N 3 H W"]:
    """Draws all images, in chunks that fit the cache."""
    out = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8)
    textures = backdrops.textures.to(device)
    chunk = max(1, CHUNK_PIXELS // (size * size))
    advance = counted("images drawn", len(scenes), hearing())

    def fill(start: int) -> None:
        part = slice(start, start + chunk)
        which, to_texture = backdrops.which[part].to(device), backdrops.to_texture[part].to(device)
        background = look_up(textures, which, to_texture, size, size)
        out[part] = unpack(draw(scenes[part].to(device), background)).cpu()
        advance(len(out[part]))

    spread(fill, range(0, len(scenes), chunk))
    return out
