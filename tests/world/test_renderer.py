"""The renderer against a slow one: sphere tracing of the same capsules, pixel by pixel, in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from vergence.skeleton import H36M_17
from vergence.world import renderer
from vergence.world.body import Posed, draw_bodies, forward_kinematics, stand_on_ground
from vergence.world.figure import draw_outfits
from vergence.world.poses import draw_headings, draw_poses
from vergence.world.renderer import draw, pack, unpack
from vergence.world.rigs import make_rig
from vergence.world.shots import Shots, draw_lights, make_scenes, project_points

SIZE = torch.tensor([64, 64])  # of the full image; nothing here depends on it


def depth_map(scenes, height, width):
    """Depth (mm, infinite where empty) and number of the visible capsule (-1 where empty) of each pixel."""
    buffer = renderer._z_buffer(renderer._hits(scenes, height, width), len(scenes) * height * width)
    empty = buffer == renderer._EMPTY
    depth = torch.where(empty, torch.inf, (buffer // renderer._MAX_CAPSULES) / renderer._STEPS_PER_MM)
    capsule = torch.where(empty, -1, buffer % renderer._MAX_CAPSULES)
    return depth.view(-1, height, width), capsule.view(-1, height, width)


def scenes_of(count, size, seed, focal=None, mirror=False):
    """Bodies 4 m in front of cameras of `size` px, and their joints in the cameras' frames."""
    rng = np.random.default_rng(seed)
    bodies = draw_bodies(count, rng)
    posed = stand_on_ground(forward_kinematics(bodies, draw_poses(count, rng), draw_headings(count, rng)), bodies)
    eye = np.tile([-4000.0, 0, 1200], (count, 1))
    rig = make_rig(eye, np.tile([0.0, 0, 800], (count, 1)), np.full(count, focal or 1.7 * size), (size, size))
    lights = draw_lights(count, "wild", rng)
    if mirror:
        flip = torch.tensor([1.0, -1, 1], dtype=torch.float64)
        posed = Posed(posed.joints[:, H36M_17.mirror] * flip, posed.face * flip, posed.feet.flip(1) * flip)
        lights = dataclasses.replace(lights, direction=lights.direction * flip)
    outfits = draw_outfits(count, rng)
    shots = Shots(
        posed,
        bodies.height,
        bodies.build,
        outfits,
        rig.intrinsics,
        rig.rotation,
        rig.translation,
        lights,
        SIZE.expand(len(lights.direction), 2),
    )
    return make_scenes(shots, rig.rotation, rig.translation, rig.intrinsics)


def distance(point, a, b, ra, rb):
    """Signed distance to a round cone: the least over 120 spheres along its axis."""
    s = np.linspace(0, 1, 120)[:, None]
    centres, radii = a + s * (b - a), ra + s[:, 0] * (rb - ra)
    return (np.linalg.norm(point - centres, axis=1) - radii).min()


def traced(scene, u, v):
    """Depth of the first surface on a pixel's ray, and its capsule."""
    k = scene.intrinsics[0].double().numpy()
    ray = np.array([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], 1.0])
    unit = ray / np.linalg.norm(ray)
    a, b, radius = (x[0].double().numpy() for x in (scene.a, scene.b, scene.radius))
    best = (np.inf, -1)
    for c in range(len(a)):
        middle = (a[c] + b[c]) / 2
        reach = np.linalg.norm(b[c] - a[c]) / 2 + radius[c].max()
        if not (radius[c] > 0).all() or np.linalg.norm(middle - (middle @ unit) * unit) > reach:
            continue
        t = 0.0
        for _ in range(80):
            d = distance(t * unit, a[c], b[c], *radius[c])
            t += d
            if d < 0.02 or t > 8000:
                break
        if d < 0.02 and t * unit[2] < best[0]:
            best = (t * unit[2], c)
    return best


@pytest.mark.parametrize("size", [18, 20])
def test_agrees_with_sphere_tracing(size):
    scene, _ = scenes_of(1, size, seed=4, focal=3.2 * size)
    depth, capsule = depth_map(scene, size, size)
    expected = np.array([[traced(scene, u, v) for u in range(size)] for v in range(size)])
    hit = np.isfinite(expected[..., 0])
    assert 20 < hit.sum() < size * size
    assert (hit != torch.isfinite(depth[0]).numpy()).mean() < 0.01
    both = hit & torch.isfinite(depth[0]).numpy()
    error = np.abs(expected[both, 0] - depth[0].numpy()[both])
    assert np.quantile(error, 0.97) < 2.0
    assert (expected[..., 1] == capsule[0].numpy())[both].mean() > 0.95


def test_tiles_lose_nothing_at_the_edge_of_a_wide_lens():
    """Far off the axis spheres look like ellipses: the same body, seen through the corner, against one big crop."""
    scene, _ = scenes_of(3, 128, seed=5, focal=60.0)
    k = scene.intrinsics.clone()
    k[:, 0, 2] += 40
    shifted = dataclasses.replace(scene, intrinsics=k)
    plain, _ = depth_map(scene, 128, 128)
    moved, _ = depth_map(shifted, 128, 128)
    assert torch.equal(torch.isfinite(plain)[:, :, :88], torch.isfinite(moved)[:, :, 40:])
    assert torch.isfinite(plain).any()


def test_depth_stands_before_every_joint():
    scene, joints = scenes_of(30, 96, seed=6)
    depth, _ = depth_map(scene, 96, 96)
    pixel = project_points(joints, scene.intrinsics.double()).round().long()
    inside = ((pixel >= 0) & (pixel < 96)).all(-1)
    assert inside.float().mean() > 0.9
    image = torch.arange(30)[:, None].expand(-1, 17)
    found = depth[image[inside], pixel[inside][:, 1], pixel[inside][:, 0]]
    head = (torch.arange(17) == H36M_17.index("head_top")).expand(30, 17)[inside]
    assert torch.isfinite(found[~head]).float().mean() > 0.995  # the head's top joint lies on the outline
    seen = torch.isfinite(found) & ~head  # beside the head's top the image may show what is behind it
    flesh = (joints[..., 2][inside] - found)[seen]
    assert (flesh > -45).all()
    assert flesh.median() < 150


def test_images_do_not_depend_on_their_neighbours():
    scene, _ = scenes_of(5, 40, seed=7)
    together = draw(scene, torch.zeros(5, 40, 40, dtype=torch.int32))
    alone = torch.cat([draw(scene[i : i + 1], torch.zeros(1, 40, 40, dtype=torch.int32)) for i in range(5)])
    assert torch.equal(together, alone)


def test_a_mirrored_person_is_the_mirrored_image():
    """Joints swapped and reflected, light reflected: the image flips. So left and right look the same."""
    plain, mirrored = (scenes_of(12, 64, seed=8, mirror=m)[0] for m in (False, True))
    one, other = (unpack(draw(s, torch.zeros(12, 64, 64, dtype=torch.int32))).int() for s in (plain, mirrored))
    different = ((one.flip(-1) - other).abs().amax(1) > 12).float().mean()
    assert different < 0.002
    assert ((one - other).abs().amax(1) > 12).float().mean() > 0.05


def test_front_and_back_differ():
    rng = np.random.default_rng(1)
    bodies, outfits = draw_bodies(1, rng), draw_outfits(1, rng)
    rig = make_rig(np.array([[-4000.0, 0, 1000]]), np.array([[0.0, 0, 850]]), np.array([110.0]), (64, 64))
    lights = draw_lights(1, "studio", rng)
    images = []
    for heading in (0.0, np.pi):
        posed = stand_on_ground(forward_kinematics(bodies, np.zeros((1, 32)), np.array([heading])), bodies)
        shots = Shots(
            posed,
            bodies.height,
            bodies.build,
            outfits,
            rig.intrinsics,
            rig.rotation,
            rig.translation,
            lights,
            SIZE[None],
        )
        scene, _ = make_scenes(shots, rig.rotation, rig.translation, rig.intrinsics)
        scene = dataclasses.replace(scene, ambient=torch.ones(1))
        images.append(unpack(draw(scene, torch.zeros(1, 64, 64, dtype=torch.int32))).int())
    changed = ((images[0] - images[1]).abs().amax(1) > 15).sum()
    body = (images[0].amax(1) > 0).sum()
    assert changed > 0.05 * body


def test_packing_keeps_every_colour():
    colour = torch.randint(0, 256, (2, 5, 4, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack(pack(colour.float())), colour.permute(0, 3, 1, 2).to(torch.uint8))
