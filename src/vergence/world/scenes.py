"""The built-in world: images of random people, alone or filmed by rigs, and the truth of everything in them.

It is both the default footage and the test oracle. Two looks. **studio**: a fixed rig per recording, one unchanging
background per camera, constant clothes and light, nobody hidden. **wild**: any background, light, clothes and camera;
objects in front of about a fifth of the people, a tenth cut off by the image's edge.

Each image is drawn directly by the virtual camera of its crop (`vergence.geometry.crops`), so truth and pixels share one
geometry and nothing is resampled. Pose, intrinsics, rotation and translation are exact to float32. Nothing here is a
photograph: what is learned here is for this world.

People, clothes, motions, cameras and backgrounds are functions of the seed; subjects, recordings and time steps of
different seeds, and of `single_images` and `recordings`, have different numbers: batches can be joined, splits are
honest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.world.backgrounds import draw_textures, full_image, full_to_texture, random_windows
from vergence.world.body import Bodies, Posed, draw_bodies, forward_kinematics, stand_on_ground
from vergence.world.faults import Faults, misjudged, resolved
from vergence.world.figure import draw_outfits
from vergence.world.motion import Recorded, as_motion, draw_choreography, perform, sample_motion
from vergence.world.poses import draw_headings, draw_poses
from vergence.world.renderer import Scenes, draw, unpack
from vergence.world.rigs import Rig, draw_rigs, stack_rigs, studio_cameras, walk, wild_cameras
from vergence.world.shots import Backdrops, Shots, draw_lights, make_scenes, project_points, take
from vergence.world.threads import Device, one_core_each, spread

# Every change that moves a figure changes this; protocols print it.
WORLD_VERSION = "4"

# Single images share this many backgrounds, each seeing a window of one.
SHARED_BACKGROUNDS = 96
_SEED_SPAN = 1_000_000


@one_core_each()
def single_images(
    count: int,
    size: int,
    *,
    look: str = "wild",
    seed: int,
    subjects: int | None = None,
    faults: Faults | None = None,
    device: Device = "cpu",
) -> Views:
    """Images that have nothing to do with each other, with all truth.

    Args:
        count: images.
        size: px of a side, 16 or more.
        look: `wild` or `studio` (plain cameras at a studio's distance; each image still another place).
        seed: another seed gives other people, cameras and places.
        subjects: how many people share the images; None: every image shows another.
        faults: what goes wrong; None: only what the look brings.
        device: where to draw; the result lies on the CPU.

    Returns:
        Views of `count`; `pose` in mm, absolute in the crop camera's frame; `rotation`, `translation` from the world (z up,
        the person near its origin); keypoints beyond the image's edge are NaN with confidence 0.
    """
    faults = resolved(look, faults)
    check_numbers(size, count=count, subjects=1 if subjects is None else subjects)
    rng = np.random.default_rng([seed, 1])
    people = count if subjects is None else min(subjects, count)
    who = np.arange(count) % people
    bodies, outfits = draw_bodies(people, rng), draw_outfits(people, rng)
    each = bodies[who]
    posed = stand_on_ground(forward_kinematics(each, draw_poses(count, rng), draw_headings(count, rng)), each)
    rig = wild_cameras(count, rng) if look == "wild" else studio_cameras(rng.uniform(0, 2 * math.pi, count), rng)
    shots = Shots(
        posed=posed if look == "wild" else _spread(posed, rng),
        height=each.height,
        build=each.build,
        outfits=outfits[torch.from_numpy(who)],
        intrinsics=rig.intrinsics,
        rotation=rig.rotation,
        translation=rig.translation,
        lights=draw_lights(count, look, rng),
        size=torch.tensor(rig.size[::-1]).expand(count, 2),
    )
    generator = _generator(rng)
    textures = draw_textures(min(SHARED_BACKGROUNDS, count), generator)
    which = torch.randint(len(textures), (count,), generator=generator)
    backdrops = Backdrops(textures, which, random_windows(count, size, generator), of_crop=True)
    views = take(shots, backdrops, size, look, faults, rng, device)
    base = _base(seed, 0)
    return views.replace(
        subject=base + torch.from_numpy(who),
        sequence=base + torch.arange(count),
        time_step=base * _SEED_SPAN + torch.arange(count),
    )


@one_core_each()
def recordings(
    subjects: int,
    frames: int,
    views: int,
    size: int,
    *,
    look: str = "studio",
    seed: int,
    rigs: Sequence[Rig] | int | None = None,
    motion: Sequence[Recorded] | None = None,
    faults: Faults | None = None,
    fps: float = 25.0,
    frame_step: int = 10,
    device: Device = "cpu",
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
    faults = resolved(look, faults)
    check_numbers(size, subjects=subjects, frames=frames, views=views, frame_step=frame_step)
    if not 0 < fps < math.inf:
        raise VergenceError(f"{fps} frames a second", "Give a number above 0.")
    rng = np.random.default_rng([seed, 2])
    bodies, outfits = draw_bodies(subjects, rng), draw_outfits(subjects, rng)
    chosen = _rigs_for(rigs, subjects, views, look, seed)
    k, r, t = stack_rigs(chosen)
    backdrop = torch.stack([full_to_texture(*rig.size) for rig in chosen])
    times = np.broadcast_to((np.arange(frames) * frame_step / fps)[None, :, None], (subjects, frames, 1))
    if faults.time_offset_s:
        late = np.random.default_rng([seed, 12])
        times = times + late.uniform(0, 2 * faults.time_offset_s, (subjects, 1, views))
    posed = _performances(bodies, times.reshape(subjects, -1), motion, fps, rng)
    copies = views // times.shape[2]
    posed = posed[torch.arange(len(posed)).repeat_interleave(copies)]
    n = subjects * frames * views
    sequence = torch.arange(subjects).repeat_interleave(frames * views)
    view = torch.arange(views).repeat(subjects * frames)
    frame = torch.arange(frames).repeat_interleave(views).repeat(subjects)
    shots = Shots(
        posed=posed,
        height=None if motion is not None else bodies.height[sequence.numpy()],
        build=bodies.build[sequence.numpy()],
        outfits=outfits[sequence],
        intrinsics=k[sequence, view],
        rotation=r[sequence, view],
        translation=t[sequence, view],
        lights=draw_lights(subjects, look, rng)[sequence],
        size=torch.tensor([rig.size[::-1] for rig in chosen])[sequence],
    )
    textures = draw_textures(subjects * views, _generator(rng))
    backdrops = Backdrops(textures, sequence * views + view, backdrop[sequence])
    out = take(shots, backdrops, size, look, faults, rng, device)
    if faults.focal_error:
        out = misjudged(out, (subjects, frames, views), faults.focal_error, rng)
    base = _base(seed, 1)
    out = out.replace(
        subject=base + sequence, sequence=base + sequence, view=view, frame=frame * frame_step,
        time=(frame * frame_step / fps).float(), time_step=base * _SEED_SPAN + sequence * frames + frame,
    )  # fmt: skip
    return out[torch.from_numpy(rng.random(n) >= faults.dropped_views)] if faults.dropped_views else out


def static_clips(
    subjects: int,
    positions: int,
    size: int,
    *,
    look: str = "wild",
    seed: int,
    faults: Faults | None = None,
) -> Views:
    """People who stand still while one camera walks around them: several views of one time step, from one camera.

    Args:
        subjects: people, one clip each.
        positions: images of each clip, from places along the walk.
        size, look, seed, faults: as of `recordings`, whose people of this seed these are: give it its own.

    Returns:
        Views of subjects * positions, ordered by clip; `view` counts the places, and all of a clip are one time step.
    """
    check_numbers(size, subjects=subjects, positions=positions)
    paths = [walk(positions, np.random.default_rng([seed, 13, i])) for i in range(subjects)]
    return recordings(subjects, 1, positions, size, look=look, seed=seed, rigs=paths, faults=faults)


@dataclass(frozen=True)
class Frame:
    """One time step of a capture, as V full images with their truth.

    Attributes:
        image: one `H W 3` image per camera, uint8, RGB.
        joints: mm, the rig's world.
        keypoints: px of each full image; NaN beyond its edge.
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
    fps: float = 25.0,
    device: Device = "cpu",
) -> Iterator[Frame]:
    """Full images of one person, frame by frame: what a rig's video files would hold.

    Args:
        rig: cameras without lens distortion; its `size` is the images'.
        frames: how many.
        look: `studio` or `wild` (light and exposure; nothing stands in front).
        seed: of person, motion, background.
        fps: frames a second.
        device: where to draw.
    """
    resolved(look, None)
    rng = np.random.default_rng([seed, 3])
    bodies, outfits = draw_bodies(1, rng), draw_outfits(1, rng)
    posed = _performances(bodies, (np.arange(frames) / fps)[None], None, fps, rng)
    lights = draw_lights(1, look, rng)
    v, (height, width) = len(rig), rig.size
    k, r, t = (x[0] for x in stack_rigs([rig]))
    textures = draw_textures(v, _generator(rng), clutter=14)
    background = full_image(textures, height, width).to(device)
    every = torch.zeros(v, dtype=torch.long)
    for i in range(frames):
        body = posed[every + i], bodies.height.repeat(v), bodies.build.repeat(v), outfits[every]
        shots = Shots(*body, k, r, t, lights[every], torch.tensor([width, height]).expand(v, 2))
        scenes, joints = make_scenes(shots, r, t, k)
        scenes = scenes.to(device)
        images = spread(partial(_image, scenes, background), range(v))
        pixels = project_points(joints, k)
        edge = torch.tensor([width, height]) - 0.5
        seen = ((pixels >= -0.5) & (pixels <= edge)).all(-1, keepdim=True) & (joints[..., 2:] > 0)
        yield Frame(
            image=tuple(images),
            joints=posed.joints[i].numpy(),
            keypoints=pixels.where(seen, math.nan).numpy(),
            time=i / fps,
        )


def _image(scenes: Scenes, background: Tensor, which: int) -> UInt8[ndarray, "H W 3"]:
    """One of several full images."""
    one = slice(which, which + 1)
    return unpack(draw(scenes[one], background[one].clone()))[0].permute(1, 2, 0).cpu().numpy()


def check_numbers(size: int, **counts: int) -> None:
    """Refuses counts below 1 and sizes that nothing can be seen in."""
    for name, value in counts.items():
        if value < 1:
            raise VergenceError(f"{name} = {value}", "Give at least 1.")
    if not 16 <= size <= 2048:
        raise VergenceError(f"an image size of {size} px", "Give 16 to 2048.")


def _base(seed: int, kind: int) -> int:
    """First number of the subjects of a seed: no two seeds, nor singles and recordings of one seed, share any."""
    if not 0 <= seed < 1_000_000:
        raise VergenceError(f"seed {seed}", "Give 0 to 999999.")
    return (2 * seed + kind) * _SEED_SPAN


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


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


def _spread(posed: Posed, rng: np.random.Generator) -> Posed:
    """People moved to random places of the studio's capture area."""
    return posed.moved(torch.from_numpy(rng.normal(0, 500, (len(posed), 3)).clip(-1100, 1100) * [1, 1, 0]))


def _performances(
    bodies: Bodies,
    times: Float[ndarray, "S T"],
    motion: Sequence[Recorded] | None,
    fps: float,
    rng: np.random.Generator,
) -> Posed:
    """S recordings' T time steps each: random motions, or the given ones over the origin, linear between their frames."""
    if motion is None:
        span = float(times.max())
        return perform([draw_choreography(span, bodies[i : i + 1], rng) for i in range(len(bodies))], bodies, times)
    if len(motion) != len(bodies):
        raise VergenceError(f"{len(motion)} motions for {len(bodies)} subjects", "Give one per subject.")
    return Posed.cat([sample_motion(as_motion(m, fps), t) for m, t in zip(motion, times)])
