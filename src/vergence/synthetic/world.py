"""The built-in world: pictures of random people, alone or filmed by rigs, and the truth of everything in them.

It is both the default footage and the test oracle. Two looks. **studio**: a fixed rig per recording, one unchanging
background per camera, constant clothes and light, nobody hidden. **wild**: any background, light, clothes and camera;
objects in front of about a fifth of the people, a tenth cut off by the picture's edge.

Each picture is drawn directly by the virtual camera of its crop (`vergence.crops`), so truth and pixels share one
geometry and nothing is resampled. Pose, intrinsics, rotation and translation are exact to float32. Nothing here is a
photograph: what is learned here is for this world.

People, clothes, motions, cameras and backgrounds are functions of the seed; subjects, recordings and instants of
different seeds, and of `single_pictures` and `recordings`, have different numbers: batches can be joined, splits are
honest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from vergence.errors import VergenceError
from vergence.skeleton import H36M_17
from vergence.synthetic.backgrounds import draw_textures, full_to_texture, look_up, random_windows
from vergence.synthetic.body import Bodies, Posed, draw_bodies, forward_kinematics, stand_on_ground
from vergence.synthetic.figure import Outfits, draw_outfits, make_figures, part_colours, part_materials
from vergence.synthetic.motion import Motion, as_motion, draw_choreography, perform
from vergence.synthetic.poses import draw_headings, draw_poses
from vergence.synthetic.renderer import CHUNK_PIXELS, Scenes, draw
from vergence.synthetic.rigs import Rig, crop_cameras, draw_rigs, stack_rigs, wild_cameras
from vergence.views import Views

# Every change that moves a figure changes this; protocols print it.
WORLD_VERSION = "1"

_SEED_SPAN = 1_000_000
_MARGIN_PX_SHARE = 0.02
_OCCLUDERS, _CLUTTER = 2, 2


@dataclass(frozen=True)
class Faults:
    """What goes wrong, beyond what the look brings. Shares are probabilities per picture unless said otherwise.

    Attributes:
        occlusion: pictures with an object in front of the person; None: the look's own (studio 0, wild 0.22).
        truncation: pictures that cut the person off; None: the look's own (studio 0, wild 0.10).
        noise_px: standard deviation of the keypoints' error, crop px.
        missing_joints: share of keypoints that are not found (NaN, confidence 0).
        swapped_sides: pictures whose keypoints have left and right exchanged.
        dropped_views: pictures of a recording that are missing.
        time_offset_s: cameras of a recording run late or early by up to this, each by its own constant.
        focal_error: standard deviation of the reported focal length's error, as a share of it; one draw per camera.
    """

    occlusion: float | None = None
    truncation: float | None = None
    noise_px: float = 0.0
    missing_joints: float = 0.0
    swapped_sides: float = 0.0
    dropped_views: float = 0.0
    time_offset_s: float = 0.0
    focal_error: float = 0.0

    def __post_init__(self) -> None:
        for name in ("occlusion", "truncation", "missing_joints", "swapped_sides", "dropped_views"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise VergenceError(f"{name} = {value}", "It is a share: give 0 to 1.")
        for name in ("noise_px", "time_offset_s", "focal_error"):
            if not 0 <= getattr(self, name) < math.inf:
                raise VergenceError(f"{name} = {getattr(self, name)}", "Give a number of at least 0.")


NO_FAULTS = Faults()
_LOOKS = {"studio": Faults(occlusion=0.0, truncation=0.0), "wild": Faults(occlusion=0.22, truncation=0.10)}


@dataclass(frozen=True)
class _Shots:
    """What the pictures show, before any is drawn: N full-picture cameras and the body in front of each."""

    posed: Posed
    height: Float[ndarray, " N"] | None
    build: Float[ndarray, " N"]
    outfits: Outfits
    intrinsics: Float[Tensor, "N 3 3"]
    rotation: Float[Tensor, "N 3 3"]
    translation: Float[Tensor, "N 3"]
    light: Float[Tensor, "N 3"]
    ambient: Float[Tensor, " N"]
    exposure: Float[Tensor, " N"]


def single_pictures(
    count: int,
    size: int,
    *,
    look: str = "wild",
    seed: int,
    subjects: int | None = None,
    faults: Faults | None = None,
    device: torch.device | str = "cpu",
) -> Views:
    """Pictures that have nothing to do with each other, with all truth.

    Args:
        count: pictures.
        size: px of a side, 16 or more.
        look: `wild` or `studio` (plain cameras at a studio's distance; each picture still another place).
        seed: another seed gives other people, cameras and places.
        subjects: how many people share the pictures; None: every picture shows another.
        faults: what goes wrong; None: only what the look brings.
        device: where to draw; the result lies on the CPU.

    Returns:
        Views of `count`; `pose` in mm, absolute in the crop camera's frame; `rotation`, `translation` from the world (z up,
        the person near its origin); keypoints beyond the picture's edge are NaN with confidence 0.
    """
    faults = _resolved(look, faults)
    _check(size, count=count, subjects=1 if subjects is None else subjects)
    rng = np.random.default_rng([seed, 1])
    people = count if subjects is None else min(subjects, count)
    who = np.arange(count) % people
    bodies, outfits = draw_bodies(people, rng), draw_outfits(people, rng)
    each = bodies[who]
    posed = stand_on_ground(forward_kinematics(each, draw_poses(count, rng), draw_headings(count, rng)), each)
    rig = wild_cameras(count, rng) if look == "wild" else _studio_cameras(count, rng)
    shots = _Shots(posed, each.height, each.build, outfits[torch.from_numpy(who)], rig.intrinsics, rig.rotation,
                   rig.translation, *_lights(count, look, rng))  # fmt: skip
    shots = _centred(shots, rng) if look == "studio" else shots
    generator = _generator(rng)
    textures = draw_textures(min(96, count), generator)
    which = torch.randint(len(textures), (count,), generator=generator)
    views = _take(shots, size, look, faults, rng, textures, which, random_windows(count, size, generator), device)
    base = _base(seed, 0)
    return views.replace(
        subject=base + torch.from_numpy(who),
        sequence=base + torch.arange(count),
        instant=base * _SEED_SPAN + torch.arange(count),
    )


def recordings(
    subjects: int,
    frames: int,
    views: int,
    size: int,
    *,
    look: str = "studio",
    seed: int,
    rigs: Sequence[Rig] | int | None = None,
    motion: Sequence[Motion | ndarray | Tensor] | None = None,
    faults: Faults | None = None,
    fps: float = 25.0,
    frame_step: int = 10,
    device: torch.device | str = "cpu",
) -> Views:
    """Recordings of one person each by a rig, with all truth; ordered by sequence, then frame, then view.

    Args:
        subjects: people, one recording each.
        frames: of each recording.
        views: cameras of each rig.
        size: px of a side of a crop, 16 or more.
        look: `studio` or `wild`.
        seed: another seed gives other people, motions, cameras and places.
        rigs: one per recording, or one for all; a number: that many are drawn and used in turn; None: one drawn per
            recording.
        motion: one per recording, in place of random ones: T x 17 x 3 in mm, z up, Human3.6M's order, or `Motion`.
            Each is moved to stand over the rig's origin.
        faults: what goes wrong; None: only what the look brings.
        fps: of the cameras (and of motions given as arrays).
        frame_step: every so many-th frame is kept. The default, 0.4 s, shows 20 different poses in 8 s.
        device: where to draw; the result lies on the CPU.

    Returns:
        Views of subjects * frames * views (fewer with `dropped_views`). `frame` counts camera frames, `time` is
        frame / fps; `rotation` and `translation` lead from the rig's world (mm, z up) to the crop's camera.
    """
    faults = _resolved(look, faults)
    _check(size, subjects=subjects, frames=frames, views=views, frame_step=frame_step)
    if not 0 < fps < math.inf:
        raise VergenceError(f"{fps} frames a second", "Give a number above 0.")
    rng = np.random.default_rng([seed, 2])
    bodies, outfits = draw_bodies(subjects, rng), draw_outfits(subjects, rng)
    k, r, t = stack_rigs(_rigs_for(rigs, subjects, views, look, seed))
    late = rng.uniform(-1, 1, (subjects, 1, views)) * faults.time_offset_s
    times = np.broadcast_to((np.arange(frames) * frame_step / fps)[None, :, None], (subjects, frames, 1))
    times = times + late if faults.time_offset_s else times
    posed = _performances(bodies, times.reshape(subjects, -1), motion, fps, rng)
    copies = views // times.shape[2]
    posed = Posed(*(_repeat(x, copies) for x in (posed.joints, posed.face, posed.feet)))
    n = subjects * frames * views
    sequence = torch.arange(subjects).repeat_interleave(frames * views)
    view = torch.arange(views).repeat(subjects * frames)
    frame = torch.arange(frames).repeat_interleave(views).repeat(subjects)
    light, ambient, exposure = _lights(subjects, look, rng)
    height = None if motion is not None else bodies.height[sequence.numpy()]
    shots = _Shots(posed, height, bodies.build[sequence.numpy()], outfits[sequence], k[sequence, view],
                   r[sequence, view], t[sequence, view], light[sequence], ambient[sequence], exposure[sequence])  # fmt: skip
    textures = draw_textures(subjects * views, _generator(rng))
    out = _take(shots, size, look, faults, rng, textures, sequence * views + view, None, device)
    out = out.replace(intrinsics=_misjudged(out.intrinsics, (subjects, frames, views), faults, rng))
    base = _base(seed, 1)
    out = out.replace(
        subject=base + sequence, sequence=base + sequence, view=view, frame=frame * frame_step,
        time=(frame * frame_step / fps).float(), instant=base * _SEED_SPAN + sequence * frames + frame,
    )  # fmt: skip
    return out[torch.from_numpy(rng.random(n) >= faults.dropped_views)] if faults.dropped_views else out


@dataclass(frozen=True)
class Frame:
    """One instant of a capture, as V full pictures with their truth.

    Attributes:
        image: one `H W 3` picture per camera, uint8, RGB.
        joints: mm, the rig's world.
        keypoints: px of each full picture; NaN beyond its edge.
        time: seconds.
    """

    image: tuple[UInt8[ndarray, "H W 3"], ...]
    joints: Float[ndarray, "17 3"]
    keypoints: Float[ndarray, "V 17 2"]
    time: float


def render_capture(
    rig: Rig,
    frames: int,
    *,
    look: str = "studio",
    seed: int,
    motion: Motion | ndarray | Tensor | None = None,
    fps: float = 25.0,
    device: torch.device | str = "cpu",
) -> Iterator[Frame]:
    """Full pictures of one person, frame by frame: what a rig's video files would hold.

    Args:
        rig: cameras without lens distortion; its `size` is the pictures'.
        frames: how many.
        look: `studio` or `wild` (light and exposure; nothing stands in front).
        seed: of person, motion, background.
        motion: in place of a random one.
        fps: frames a second.
        device: where to draw.
    """
    _resolved(look, None)
    rng = np.random.default_rng([seed, 3])
    bodies, outfits = draw_bodies(1, rng), draw_outfits(1, rng)
    posed = _performances(bodies, (np.arange(frames) / fps)[None], None if motion is None else [motion], fps, rng)
    light, ambient, exposure = _lights(1, look, rng)
    v, (height, width) = len(rig), rig.size
    textures = draw_textures(v, _generator(rng), clutter=14)
    to_texture = full_to_texture(height, width).expand(v, 3, 3)
    background = look_up(textures, torch.arange(v), to_texture, height, width).to(device)
    for i in range(frames):
        one = Posed(*(x[i : i + 1].expand(v, *x.shape[1:]) for x in (posed.joints, posed.face, posed.feet)))
        shots = _Shots(one, None if motion is not None else bodies.height.repeat(v), bodies.build.repeat(v),
                       outfits[torch.zeros(v, dtype=torch.long)], rig.intrinsics.double(), rig.rotation.double(),
                       rig.translation.double(), light.expand(v, 3), ambient.expand(v), exposure.expand(v))  # fmt: skip
        scenes, camera_joints = _scenes(shots, rig.rotation.double(), rig.translation.double(), rig.intrinsics.double())
        pictures = [
            draw(scenes[j : j + 1].to(device), background[j : j + 1].clone())[0].cpu().numpy() for j in range(v)
        ]
        pixels = _project(camera_joints, rig.intrinsics.double())
        edge = torch.tensor([width, height]) - 0.5
        seen = ((pixels >= -0.5) & (pixels <= edge)).all(-1, keepdim=True) & (camera_joints[..., 2:] > 0)
        yield Frame(tuple(pictures), posed.joints[i].numpy(), pixels.where(seen, math.nan).numpy(), i / fps)


def _check(size: int, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise VergenceError(f"{name} = {value}", "Give at least 1.")
    if not 16 <= size <= 2048:
        raise VergenceError(f"a picture size of {size} px", "Give 16 to 2048.")


def _resolved(look: str, faults: Faults | None) -> Faults:
    """Faults with the look's own where none are given."""
    if look not in _LOOKS:
        raise VergenceError(f"no look is called {look!r}", "Known: studio, wild.")
    own, given = _LOOKS[look], faults or NO_FAULTS
    chosen = {
        k: getattr(given, k) if getattr(given, k) is not None else getattr(own, k) for k in ("occlusion", "truncation")
    }
    return Faults(**{**given.__dict__, **chosen})


def _base(seed: int, kind: int) -> int:
    """First number of the subjects of a seed: no two seeds, nor singles and recordings of one seed, share any."""
    if not 0 <= seed < 1_000_000:
        raise VergenceError(f"seed {seed}", "Give 0 to 999999.")
    return (2 * seed + kind) * _SEED_SPAN


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat_interleave(times, 0) if times > 1 else x


def _rigs_for(rigs: Sequence[Rig] | int | None, count: int, views: int, look: str, seed: int) -> list[Rig]:
    if rigs is None or isinstance(rigs, int):
        drawn = draw_rigs(count if rigs is None else min(rigs, count), views, look=look, seed=seed)
    else:
        drawn = list(rigs)
        if len(drawn) not in (1, count) or any(len(rig) != views for rig in drawn):
            raise VergenceError(
                f"{len(drawn)} rigs of {[len(rig) for rig in drawn]} cameras for {count} recordings of {views} views",
                "Give one rig, or one per recording, each with that many cameras.",
            )
    return [drawn[i % len(drawn)] for i in range(count)]


def _studio_cameras(count: int, rng: np.random.Generator) -> Rig:
    """One camera of a studio rig for each of N pictures."""
    seeds = rng.integers(0, 2**31, -(-count // 4))
    rigs = [draw_rigs(1, 4, look="studio", seed=int(s))[0] for s in seeds]
    k, r, t = (x.reshape(-1, *x.shape[2:])[:count] for x in stack_rigs(rigs))
    return Rig(k, r, t, rigs[0].size)


def _centred(shots: _Shots, rng: np.random.Generator) -> _Shots:
    """People moved to random places of the studio's capture area."""
    place = torch.from_numpy(rng.normal(0, 500, (len(shots.build), 3)).clip(-1100, 1100) * [1, 1, 0])
    posed = shots.posed
    return _Shots(**{**shots.__dict__, "posed": Posed(posed.joints + place[:, None], posed.face, posed.feet)})


def _performances(
    bodies: Bodies,
    times: Float[ndarray, "S T"],
    motion: Sequence[Motion | ndarray | Tensor] | None,
    fps: float,
    rng: np.random.Generator,
) -> Posed:
    """S recordings' T instants each: random motions, or the given ones over the origin, linear between their frames."""
    if motion is None:
        span = float(times.max())
        return perform([draw_choreography(span, bodies[i : i + 1], rng) for i in range(len(bodies))], bodies, times)
    if len(motion) != len(bodies):
        raise VergenceError(f"{len(motion)} motions for {len(bodies)} subjects", "Give one per subject.")
    return _stack([_sampled(as_motion(m, fps), t) for m, t in zip(motion, times)])


def _stack(parts: Sequence[Posed]) -> Posed:
    return Posed(*(torch.cat([getattr(p, name) for p in parts]) for name in ("joints", "face", "feet")))


def _sampled(motion: Motion, times: Float[ndarray, " T"]) -> Posed:
    """A motion at any times within it, its middle moved over the origin."""
    at = torch.from_numpy(times * motion.fps)
    if float(at.max()) > len(motion) - 1 + 1e-6:
        raise VergenceError(
            f"a motion of {len(motion)} frames at {motion.fps:g} fps is asked for {float(times.max()):.2f} s",
            "Ask for fewer frames or a smaller frame_step.",
        )
    low = at.floor().long().clamp(0, len(motion) - 1)
    high = (low + 1).clamp(max=len(motion) - 1)
    share = (at - low).clamp(0, 1)

    def between(x: Tensor) -> Tensor:
        weight = share.view(-1, *[1] * (x.ndim - 1))
        return x[low].double() * (1 - weight) + x[high].double() * weight

    joints = between(motion.joints)
    ground = motion.joints[:, 0, :2].double()
    middle = (ground.amin(0) + ground.amax(0)) / 2
    joints = joints - torch.cat([middle, motion.joints[..., 2].double().amin()[None] - 40.0])
    return Posed(joints, _unit(between(motion.face)), _unit(between(motion.feet)))


def _unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def _lights(count: int, look: str, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Direction to the light (world), ambient share and exposure of N places."""
    azimuth = rng.uniform(0, 2 * math.pi, count)
    elevation = np.radians(rng.uniform(25, 75, count))
    light = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    ambient = rng.uniform(0.45, 0.75, count) if look == "studio" else rng.uniform(0.35, 0.8, count)
    exposure = rng.uniform(0.9, 1.1, count) if look == "studio" else np.exp(rng.uniform(-0.45, 0.25, count))
    return torch.from_numpy(light), torch.from_numpy(ambient), torch.from_numpy(exposure)


def _boxes(
    pixels: Float[Tensor, "N 17 2"], faults: Faults, rng: np.random.Generator
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Centre and side of square boxes around the person as a detector gives them; some cut the person off."""
    n = len(pixels)
    low, high = pixels.amin(1), pixels.amax(1)
    extent = (high - low).amax(1)
    jitter = torch.from_numpy(rng.normal(0, 0.025, (n, 2)).clip(-0.06, 0.06))
    side = extent * torch.from_numpy(rng.uniform(1.22, 1.45, n))
    centre = (low + high) / 2 + jitter * extent[:, None]
    cut = torch.from_numpy(rng.random(n) < (faults.truncation or 0.0))
    angle = torch.from_numpy(rng.uniform(0, 2 * math.pi, n))
    shift = torch.stack([angle.cos(), angle.sin()], 1) * torch.from_numpy(rng.uniform(0.12, 0.3, n))[:, None]
    tight = torch.from_numpy(rng.uniform(0.65, 0.85, n))
    centre = torch.where(cut[:, None], centre + shift * extent[:, None], centre)
    return centre, torch.where(cut, side * tight, side)


def _project(points: Float[Tensor, "N J 3"], intrinsics: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N J 2"]:
    homogeneous = points @ intrinsics.mT
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1.0)


def _take(
    shots: _Shots, size: int, look: str, faults: Faults, rng: np.random.Generator, textures: Tensor,
    which: Int[Tensor, " N"], windows: Float[Tensor, "N 3 3"] | None, device: torch.device | str,
) -> Views:  # fmt: skip
    """Crops of the shots: cameras, truth, pixels. `windows`: crop px to texels; None: the full picture's texture."""
    n = len(shots.build)
    full = shots.posed.joints @ shots.rotation.mT + shots.translation[:, None]
    centre, side = _boxes(_project(full, shots.intrinsics), faults, rng)
    crop = crop_cameras(shots.intrinsics, centre, side, size)
    rotation = crop.turn @ shots.rotation
    translation = (crop.turn @ shots.translation[..., None])[..., 0]
    scenes, pose = _scenes(shots, rotation, translation, crop.intrinsics)
    scenes = _with_objects(scenes, pose, look, faults, rng)
    if windows is None:
        windows = full_to_texture(1000, 1000) @ torch.linalg.inv(crop.homography)
    image = _draw_all(scenes, textures, which, windows, size, look, device)
    pixels = _project(pose, crop.intrinsics)
    keypoints, confidence = _annotated(pixels, size, faults, rng)
    views = Views.empty(n, 17, 1, 1)
    return views.replace(
        image=image, intrinsics=crop.intrinsics.float(), keypoints=keypoints.float(), confidence=confidence.float(),
        pose=pose.float(), metric=torch.ones(n, dtype=torch.bool), rotation=rotation.float(),
        translation=translation.float(), up=rotation[:, :, 2].float(), crop=crop.homography.float(),
    )  # fmt: skip


def _scenes(
    shots: _Shots, rotation: Tensor, translation: Tensor, intrinsics: Tensor
) -> tuple[Scenes, Float[Tensor, "N 17 3"]]:
    """The bodies' capsules in cameras' frames (float32), and the joints there (float64)."""
    joints = shots.posed.joints @ rotation.mT + translation[:, None]
    face = (rotation @ shots.posed.face[..., None])[..., 0]
    feet = shots.posed.feet @ rotation.mT
    height = None if shots.height is None else torch.from_numpy(shots.height).float()
    body = make_figures(
        joints.float(), face.float(), feet.float(), torch.from_numpy(shots.build).float(), shots.outfits, height
    )
    gain = shots.exposure.float()[:, None, None]
    scenes = Scenes(
        a=body.a, b=body.b, radius=body.radius, colour=part_colours(shots.outfits) * gain,
        material=part_materials().expand(len(joints), -1), intrinsics=intrinsics.float(),
        light=(rotation @ shots.light[..., None])[..., 0].float(), ambient=shots.ambient.float(),
        torso=body.torso, head=body.head, head_centre=body.head_centre, pelvis=joints[:, 0].float(), height=body.height,
        front=shots.outfits.front, palette=shots.outfits.palette * gain, hair=shots.outfits.hair,
    )  # fmt: skip
    return scenes, joints


def _with_objects(scenes: Scenes, pose: Tensor, look: str, faults: Faults, rng: np.random.Generator) -> Scenes:
    """Adds objects in front of some people, and in the wild some behind."""
    n = len(scenes)
    if not faults.occlusion and look != "wild":
        return scenes
    hides = rng.random(n) < (faults.occlusion or 0.0)
    count = _OCCLUDERS + _CLUTTER
    on = np.zeros((n, count), dtype=bool)
    on[:, 0], on[:, 1] = hides, hides & (rng.random(n) < 0.35)
    on[:, _OCCLUDERS:] = (rng.random((n, _CLUTTER)) < 0.35) & (look == "wild")
    middle = pose.mean(1).numpy()
    reach = (pose - pose.mean(1, keepdim=True)).norm(dim=-1).amax(1).numpy()[:, None]
    before = np.arange(count) < _OCCLUDERS
    depth = np.where(before, rng.uniform(0.45, 0.8, (n, count)), rng.uniform(1.3, 1.9, (n, count)))
    scale = depth * reach
    spread = np.where(before, 0.55, 1.0)
    at = depth[..., None] * middle[:, None] + rng.uniform(-1, 1, (n, count, 3)) * (spread * scale)[..., None] * [
        1,
        1,
        0,
    ]
    angle = np.where(rng.random((n, count)) < 0.5, 0.0, rng.uniform(-math.pi, math.pi, (n, count)))
    axis = np.stack([np.sin(angle), np.cos(angle), np.zeros_like(angle)], -1)
    length = scale * np.where(before, rng.uniform(0.05, 0.5, (n, count)), rng.uniform(0.2, 1.5, (n, count)))
    radius = scale * np.where(before, rng.uniform(0.10, 0.22, (n, count)), rng.uniform(0.05, 0.2, (n, count))) * on
    ends = [torch.from_numpy(at + s * axis * length[..., None]).float() for s in (-1, 1)]
    radii = torch.from_numpy(np.stack([radius, radius * rng.uniform(0.7, 1, (n, count))], -1)).float()
    colour = (
        torch.from_numpy(rng.uniform(20, 200, (n, count, 1)) + rng.uniform(-30, 50, (n, count, 3)))
        .float()
        .clamp(5, 250)
    )
    added = {
        "a": ends[0],
        "b": ends[1],
        "radius": radii,
        "colour": colour,
        "material": torch.zeros(n, count, dtype=torch.long),
    }
    return Scenes(**{**scenes.__dict__, **{k: torch.cat([getattr(scenes, k), v], 1) for k, v in added.items()}})


def _draw_all(
    scenes: Scenes, textures: Tensor, which: Tensor, windows: Tensor, size: int, look: str, device: torch.device | str
) -> UInt8[Tensor, "N 3 H W"]:
    """Draws all pictures, in chunks that fit the cache."""
    out = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8)
    textures = textures.to(device)
    chunk = max(1, CHUNK_PIXELS // (size * size))
    for i in range(0, len(scenes), chunk):
        part = slice(i, i + chunk)
        background = look_up(textures, which[part].to(device), windows[part].to(device), size, size)
        out[part] = draw(scenes[part].to(device), background).permute(0, 3, 1, 2).cpu()
    return out


def _annotated(
    pixels: Float[Tensor, "N J 2"], size: int, faults: Faults, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Keypoints and confidence as an annotator with these faults gives them; NaN and 0 beyond the picture's edge."""
    n, joints = pixels.shape[:2]
    margin = 0.5 + _MARGIN_PX_SHARE * size
    seen = ((pixels > -margin) & (pixels < size - 1 + margin)).all(-1)
    keypoints = pixels
    if faults.noise_px:
        keypoints = keypoints + torch.from_numpy(rng.normal(0, faults.noise_px, (n, joints, 2)))
    if faults.missing_joints:
        seen = seen & torch.from_numpy(rng.random((n, joints)) >= faults.missing_joints)
    if faults.swapped_sides:
        swap = torch.from_numpy(rng.random(n) < faults.swapped_sides)
        keypoints = torch.where(swap[:, None, None], keypoints[:, H36M_17.mirror], keypoints)
        seen = torch.where(swap[:, None], seen[:, H36M_17.mirror], seen)
    return keypoints.where(seen[..., None], math.nan), seen.double()


def _misjudged(
    intrinsics: Float[Tensor, "N 3 3"], shape: tuple[int, int, int], faults: Faults, rng: np.random.Generator
) -> Float[Tensor, "N 3 3"]:
    """Reported intrinsics, whose focal length may be off by a factor of its camera's own."""
    if not faults.focal_error:
        return intrinsics
    subjects, _, views = shape
    error = np.exp(rng.normal(0, faults.focal_error, (subjects, 1, views)))
    factor = torch.from_numpy(np.broadcast_to(error, shape).reshape(-1)).float()
    out = intrinsics.clone()
    out[:, 0, 0] *= factor
    out[:, 1, 1] *= factor
    return out
