import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vergence.batches.augment import Draw, _window, augment, draw, mirror, move_window, occlude, to_float
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.settings import Augmentation
from vergence.skeleton import COCO_17, H36M_17

SIZE = (80, 96)
EVERYTHING = Augmentation(
    rotation=30, rotation_probability=0.6, scale=0.25, shift=0.1, truncation=0.3, mirror=0.5, gain=0.2, brightness=0.1,
    contrast=0.2, occlusion=0.5, occluders=4, hidden_confidence=0.5,
)  # fmt: skip
GEOMETRY = Augmentation(rotation=30, scale=0.25, shift=0.1, truncation=0.3, mirror=0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rotations(rng, n):
    q = torch.from_numpy(rng.normal(size=(n, 3, 3)))
    q = torch.linalg.qr(q)[0]
    return (q * q.det()[:, None, None]).float()


def project(pose, intrinsics):
    seen = pose.double() @ intrinsics.double().mT
    return seen[..., :2] / seen[..., 2:]


def rig(time_steps=6, cameras=3, seed=0, skeleton=H36M_17):
    """Cameras around people, everything known; the oracle is that everything agrees with everything."""
    rng = np.random.default_rng(seed)
    n, joints = time_steps * cameras, len(skeleton)
    views = Views.empty(n, joints, *SIZE)
    people = torch.from_numpy(rng.normal(0, 300, (time_steps, joints, 3))).float().repeat_interleave(cameras, 0)
    rotation = rotations(rng, n)
    translation = torch.from_numpy(rng.normal(0, 100, (n, 3))).float() + torch.tensor([0, 0, 4000.0])
    pose = people @ rotation.mT + translation[:, None]
    intrinsics = torch.tensor([[200.0, 3.0, 45], [0, 210, 41], [0, 0, 1]]).repeat(n, 1, 1)
    crop = torch.eye(3).repeat(n, 1, 1) + 0.01 * torch.from_numpy(rng.normal(size=(n, 3, 3))).float()
    return views.replace(
        image=torch.from_numpy(rng.integers(0, 256, (n, 3, *SIZE), dtype=np.uint8)), intrinsics=intrinsics, pose=pose,
        keypoints=project(pose, intrinsics).float(), 
        confidence=torch.from_numpy(rng.uniform(0.5, 1, (n, joints))).float(),
        rotation=rotation, translation=translation, crop=crop, turn=rotations(rng, n),
        full_intrinsics=torch.tensor([[900.0, 2.0, 510], [0, 910, 390], [0, 0, 1]]).repeat(n, 1, 1),
        size=torch.tensor([1000.0, 800.0]).repeat(n, 1),
        up=(rotation @ torch.tensor([0.0, 0.6, 0.8])[:, None])[..., 0],
        pose_weight=torch.from_numpy(rng.uniform(0, 1, (n, joints))).float(),
        time_step=torch.arange(time_steps).repeat_interleave(cameras),
    )  # fmt: skip


def test_as_many_random_numbers_are_drawn_as_are_used():
    drawn = draw(torch.tensor([3, 3, 5]), Augmentation(occlusion=0.5, occluders=4), generator())
    assert [tuple(part.shape) for part in dataclasses.astuple(drawn)] == [(3, 14), (3, 2), (3,), (3, 4, 12)]
    assert drawn.time_step[0] == drawn.time_step[1] != drawn.time_step[2]


def people_in_the_rig(views):
    return (views.pose - views.translation[:, None]) @ views.rotation


@pytest.mark.parametrize("name", ["rotation", "scale", "shift", "truncation", "mirror"])
def test_every_change_alone_keeps_pose_intrinsics_and_keypoints_together(name):
    value = {"rotation": 40.0, "scale": 0.3, "shift": 0.2, "truncation": 1.0, "mirror": 1.0}[name]
    before = rig()
    after = augment(before, Augmentation(**{name: value}), H36M_17, generator())
    torch.testing.assert_close(project(after.pose, after.intrinsics).float(), after.keypoints, atol=1e-3, rtol=0)
    assert (after.keypoints - before.keypoints).abs().amax() > 1
    assert (after.intrinsics[:, 2] == torch.tensor([0.0, 0, 1])).all()
    assert (after.intrinsics[:, 1, 0] == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_all_changes_together_keep_the_rig_a_rig(seed):
    before = rig(seed=seed)
    after = augment(before, EVERYTHING, H36M_17, generator(seed))
    torch.testing.assert_close(project(after.pose, after.intrinsics).float(), after.keypoints, atol=2e-3, rtol=0)
    torch.testing.assert_close(
        after.rotation @ after.rotation.mT, torch.eye(3).expand(len(after), 3, 3), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(after.rotation.det(), torch.ones(len(after)))
    people = people_in_the_rig(after)
    for first, second, third in torch.arange(len(after)).reshape(-1, 3).tolist():
        torch.testing.assert_close(people[first], people[second], atol=0.02, rtol=0)
        torch.testing.assert_close(people[first], people[third], atol=0.02, rtol=0)
    gravity = (after.up[:, None] @ after.rotation)[:, 0]
    torch.testing.assert_close(gravity, torch.tensor([0.0, 0.6, 0.8]).expand(len(after), 3), atol=1e-5, rtol=0)


def test_crop_leads_from_the_full_image_to_where_the_keypoints_are():
    before = rig()
    full = torch.cat([before.keypoints, torch.ones(*before.keypoints.shape[:2], 1)], -1) @ before.crop.inverse().mT
    after = augment(before, GEOMETRY, H36M_17, generator())
    moved = full @ after.crop.mT
    moved = moved[..., :2] / moved[..., 2:]
    mirrored = after.crop.det() < 0
    assert mirrored.any()
    assert not mirrored.all()
    expected = torch.where(mirrored[:, None, None], moved[:, list(H36M_17.mirror)], moved)
    torch.testing.assert_close(expected, after.keypoints, atol=2e-2, rtol=1e-4)


def test_the_full_camera_sees_the_moved_pose_where_its_image_or_its_mirror_does():
    """Every pose, led back by `turn`, lies in the full image where it was, or at the mirrored place with left for right."""
    before = rig()
    after = augment(before, GEOMETRY, H36M_17, generator())
    mirrored = (after.crop.det() < 0)[:, None, None]
    was, now = (project(v.pose @ v.turn, v.full_intrinsics) for v in (before, after))
    there = torch.stack([before.size[:, :1] - 1 - was[..., 0], was[..., 1]], -1)[:, list(H36M_17.mirror)]
    in_front = ((before.pose @ before.turn)[..., 2:] > 100).expand_as(was)
    seen = torch.where(mirrored, in_front[:, list(H36M_17.mirror)], in_front)
    assert mirrored.any()
    assert not mirrored.all()
    torch.testing.assert_close(now[seen], torch.where(mirrored, there, was)[seen], atol=0.5, rtol=1e-3)
    assert (after.turn.det() - 1).abs().max() < 1e-5


def blobs(keypoints, radius=2.5):
    y = torch.arange(SIZE[0])[:, None]
    x = torch.arange(SIZE[1])[None]
    distance = (x - keypoints[..., 0, None, None]) ** 2 + (y - keypoints[..., 1, None, None]) ** 2
    return (255 * torch.exp(-distance / (2 * radius**2))).round().to(torch.uint8)


@pytest.mark.parametrize("known", [True, False])
def test_the_pixels_are_where_the_keypoints_say(known):
    """One blob per colour channel; after any geometric change its centroid is the keypoint's."""
    n = 24
    keypoints = torch.rand(n, 3, 2, generator=generator(3)) * torch.tensor([50.0, 40]) + 20
    views = Views.empty(n, 17, *SIZE).replace(image=blobs(keypoints))
    views.keypoints[:, [0, 7, 8]] = keypoints  # pelvis, spine, thorax: the mirror leaves their names
    if known:
        views.intrinsics[:] = torch.tensor([[200.0, 0, 45], [0, 200, 41], [0, 0, 1]])
    after = augment(views, dataclasses.replace(GEOMETRY, truncation_zoom=1.5), H36M_17, generator())
    y, x = torch.arange(SIZE[0])[:, None], torch.arange(SIZE[1])[None]
    checked = 0
    for image, points in zip(after.image, after.keypoints[:, [0, 7, 8]]):
        for light, point in zip(image, points):
            if (point < 9).any() or (point > torch.tensor([SIZE[1] - 9, SIZE[0] - 9])).any():
                continue
            found = torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum()
            torch.testing.assert_close(found, point, atol=0.1, rtol=0)
            checked += 1
    assert checked > 30


def test_mirror_twice_is_the_identity_and_once_is_not():
    views = rig()
    once = mirror(views, H36M_17)
    twice = mirror(once, H36M_17)
    for name, value in views.items():
        torch.testing.assert_close(getattr(twice, name), value, atol=2e-5, rtol=1e-6)
    assert torch.equal(twice.image, views.image)
    assert torch.equal(once.image, views.image.flip(-1))
    left, right = H36M_17.index("left_wrist"), H36M_17.index("right_wrist")
    torch.testing.assert_close(once.pose[:, left], views.pose[:, right] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(once.keypoints[:, left, 0], SIZE[1] - 1 - views.keypoints[:, right, 0])
    torch.testing.assert_close(once.confidence[:, left], views.confidence[:, right])
    torch.testing.assert_close(once.pose_weight[:, left], views.pose_weight[:, right])


def test_a_time_step_is_mirrored_whole_or_not_at_all():
    views = rig(time_steps=40)[torch.randperm(120, generator=generator(1))]
    after = augment(views, Augmentation(mirror=0.5), H36M_17, generator())
    mirrored = after.crop.det() < 0
    shares = torch.stack([mirrored[views.time_step == i].float().mean() for i in range(40)])
    assert set(shares.tolist()) == {0.0, 1.0}
    assert 0.25 < shares.mean() < 0.75


def test_rolling_pixels_turn_clockwise_about_the_principal_point():
    views = rig(1, 1)
    principal = views.intrinsics[:, :2, 2]
    views.intrinsics[:, 0, 1], views.intrinsics[:, 1, 1] = 0, 200
    views.keypoints[0, 0] = principal[0] + torch.tensor([10.0, 0])
    after = move_window(views, torch.ones(1), torch.tensor([math.pi / 2]), principal)
    torch.testing.assert_close(after.keypoints[0, 0], after.intrinsics[0, :2, 2] + torch.tensor([0, 10.0]))
    torch.testing.assert_close(after.intrinsics[0, :2, 2], torch.tensor([47.5, 39.5]))


def test_the_same_generator_gives_the_same_batch_and_another_does_not():
    views = rig()
    first, second, other = (augment(views, EVERYTHING, H36M_17, generator(s)) for s in (5, 5, 6))
    for name, value in first.items():
        assert torch.equal(value, getattr(second, name)), name
    assert not torch.equal(first.image, other.image)


def test_switching_one_change_off_leaves_the_others():
    views = rig()
    with_all = augment(views, EVERYTHING, H36M_17, generator())
    plain = augment(
        views, dataclasses.replace(EVERYTHING, gain=0, brightness=0, contrast=0, occlusion=0), H36M_17, generator()
    )
    assert torch.equal(with_all.keypoints, plain.keypoints)


def test_the_batch_given_is_left_alone():
    views = rig()
    copy = Views(**{name: value.clone() for name, value in views.items()})
    augment(views, EVERYTHING, H36M_17, generator())
    for name, value in views.items():
        assert torch.equal(value, getattr(copy, name)), name


def test_nan_stays_nan_and_spoils_nothing():
    views = rig()
    views.pose[0, :, 2] = math.nan  # 2D only: x and y known, depth not
    views.pose[1, 3] = math.nan
    views.keypoints[2, 4] = math.nan
    views.rotation[3:6] = math.nan
    views.intrinsics[6] = math.nan
    whole = augment(rig(), EVERYTHING, H36M_17, generator())
    after = augment(views, EVERYTHING, H36M_17, generator())
    swap = torch.tensor(H36M_17.mirror)
    for name in ("pose", "keypoints", "rotation", "intrinsics", "translation", "up"):
        before, new, reference = getattr(views, name), getattr(after, name), getattr(whole, name)
        if name in ("pose", "keypoints"):
            flipped = (after.crop.det() < 0)[:, None, None]
            before = torch.where(flipped, before[:, swap], before)
        assert torch.equal(new.isnan(), before.isnan()), name
        rows = torch.arange(len(views)) != 6
        known = ~new[rows].isnan()
        torch.testing.assert_close(new[rows][known], reference[rows][known])
    assert after.image.isfinite().all()


def test_nothing_asked_is_nothing_done():
    views = rig()
    after = augment(views, Augmentation(), H36M_17, generator())
    for name, value in views.items():
        expected = to_float(value) if name == "image" else value
        assert torch.equal(getattr(after, name), expected)
    assert after.image.max() <= 1
    assert torch.equal(to_float(after.image), after.image)


def test_colour_changes_nothing_but_colour_and_stays_in_range():
    views = rig()
    after = augment(views, Augmentation(gain=0.4, brightness=0.3, contrast=0.5), H36M_17, generator())
    assert torch.equal(after.keypoints, views.keypoints)
    assert after.image.min() >= 0
    assert after.image.max() <= 1
    grey = views.replace(image=torch.full_like(views.image, 128))
    contrast = augment(grey, Augmentation(contrast=0.9), H36M_17, generator()).image
    torch.testing.assert_close(contrast, to_float(grey.image))
    gains = augment(grey, Augmentation(gain=0.2), H36M_17, generator()).image[:, :, 0, 0] / (128 / 255)
    assert gains.min() > 0.8
    assert gains.max() < 1.2
    assert gains.std(1).min() > 0


def test_occluders_hide_pixels_and_only_dim_the_keypoints_under_them():
    """Slow reference: a keypoint is hidden where the image under it changed."""
    views = rig(time_steps=20)
    views = views.replace(image=torch.zeros(len(views), 3, *SIZE))
    middle = torch.rand(len(views), 17, 2, generator=generator(2)) * torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1])
    views = views.replace(keypoints=middle.round())
    options = Augmentation(occlusion=0.5, occluders=3, hidden_confidence=0.25)
    after = augment(views, options, H36M_17, generator())
    assert torch.equal(after.keypoints, views.keypoints)
    x, y = views.keypoints.long().unbind(-1)
    painted = (after.image > 0).any(1)[torch.arange(len(views))[:, None], y, x]
    torch.testing.assert_close(after.confidence, torch.where(painted, 0.25, 1.0) * views.confidence)
    touched = (after.image > 0).flatten(1).any(1).float().mean()
    assert 0.3 < touched < 0.7
    kept = augment(views, dataclasses.replace(options, hidden_confidence=1), H36M_17, generator())
    assert torch.equal(kept.confidence, views.confidence)


def test_few_images_are_drawn_over_by_as_many_occluders_as_many_are(monkeypatch):
    """How many there are does not follow from the number that says whether there are some."""
    counts = []

    def counted(views, settings, chance, number, shape):
        some = chance < settings.occlusion
        counts.extend((1 + (number[some] * shape.shape[1]).long()).tolist())
        return views

    monkeypatch.setattr("vergence.batches.augment.occlude", counted)
    augment(rig(time_steps=100), Augmentation(occlusion=0.2, occluders=4), H36M_17, generator())
    assert set(counts) == {1, 2, 3, 4}


def test_truncation_cuts_people_and_can_tell():
    views = rig(time_steps=30)
    inside = torch.rand(len(views), 17, 2, generator=generator(2)) * torch.tensor([60.0, 50]) + 15
    after = augment(
        views.replace(keypoints=inside), Augmentation(truncation=0.5, hidden_confidence=0), H36M_17, generator()
    )
    x, y = after.keypoints.unbind(-1)
    out = (x < -0.5) | (y < -0.5) | (x > SIZE[1] - 0.5) | (y > SIZE[0] - 0.5)
    assert torch.equal(after.confidence == 0, out)
    assert 0.2 < out.any(1).float().mean() < 0.6
    assert (after.image == 0).flatten(1).float().mean(1).max() < 0.02  # the window never leaves the old image


def test_an_occluder_is_a_turned_rectangle_of_the_size_asked():
    views = Views.empty(1, 17, 200, 200)
    views = views.replace(image=torch.zeros(1, 3, 200, 200))
    numbers = torch.full((1, 1, 12), 1.0)
    numbers[..., :2], numbers[..., 4] = 0.5, 0.25
    after = occlude(views, Augmentation(occlusion=1, occluder_size=0.5), torch.zeros(1), torch.zeros(1), numbers)
    assert int((after.image[0, 0] > 0).sum()) == pytest.approx(100 * 100, rel=0.03)
    corner = int(100 - 50 * math.sqrt(2))
    assert after.image[0, 0, 100, corner + 2] > 0
    assert after.image[0, 0, 100, corner - 2] == 0
    assert after.image[0, 0, 55, 55] == 0


def test_settings_name_the_value_and_the_limit():
    with pytest.raises(VergenceError, match=r"augmentation.mirror is 1.5; it must lie from 0 to 1"):
        Augmentation(mirror=1.5)
    with pytest.raises(VergenceError, match="occluders is 0"):
        Augmentation(occluders=0)
    with pytest.raises(VergenceError, match="scale is nan"):
        Augmentation(scale=math.nan)
    with pytest.raises(VergenceError, match="a batch of 17 joints does not fit"):
        augment(rig(), Augmentation(), dataclasses.replace(COCO_17, joint_names=COCO_17.joint_names[:5]), generator())


@pytest.mark.parametrize("name", ["gain", "brightness", "contrast"])
def test_each_colour_change_alone_is_what_it_says(name):
    """Of an image of three grey levels: the part of the range that it may take is taken, about where it was."""
    n = 400
    image = torch.tensor([0.3, 0.5, 0.7]).repeat(n, 3, 4, 1)
    views = Views.empty(n, 17, 4, 3).replace(image=image)
    after = augment(views, Augmentation(**{name: 0.2}), H36M_17, generator()).image
    assert torch.equal(after, after[:, :, :1].expand_as(after))
    moved = after[:, 0, 0] - image[:, 0, 0]
    if name == "brightness":
        extent = torch.tensor([0.2, 0.2, 0.2])
        torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))
        assert torch.equal(after[:, 0], after[:, 1])
    elif name == "contrast":
        extent = torch.tensor([0.04, 0.0, 0.04])
        torch.testing.assert_close(moved[:, 0], -moved[:, 2])
    else:
        extent = 0.2 * torch.tensor([0.3, 0.5, 0.7])
        assert not torch.equal(after[:, 0], after[:, 1])
    torch.testing.assert_close(moved.amax(0), extent, atol=0.005, rtol=0)
    torch.testing.assert_close(moved.amin(0), -extent, atol=0.005, rtol=0)


def test_windows_move_either_way_alike():
    uniform = torch.full((3, 14), 0.5)
    uniform[1, 1:3], uniform[2, 1:3] = 0.0, 1.0
    numbers = Draw(uniform, torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 0, 12))
    _, _, centre = _window(numbers, Augmentation(shift=0.1), torch.Size([40, 60]))
    torch.testing.assert_close(centre, torch.tensor([[29.5, 19.5], [23.5, 15.5], [35.5, 23.5]]))


def test_windows_roll_by_two_deviations_at_most():
    normal = torch.tensor([[0.0, -3.0], [0.0, -1.5], [0.0, 1.5], [0.0, 3.0]])
    numbers = Draw(torch.zeros(4, 14), normal, torch.zeros(4), torch.zeros(4, 0, 12))
    _, roll, _ = _window(numbers, Augmentation(rotation=10.0, rotation_probability=1.0), torch.Size([40, 60]))
    torch.testing.assert_close(roll.rad2deg(), torch.tensor([-20.0, -15.0, 15.0, 20.0]))


def test_windows_that_cut_people_off_stay_within_the_image():
    """Twice as near, a window's half sides are a quarter of the image's: its centre may move by as much."""
    uniform = torch.full((3, 14), 0.5)
    uniform[:, 3], uniform[:, 4] = 0.0, 1.0
    uniform[1, 12:14], uniform[2, 12:14] = 0.0, 1.0
    numbers = Draw(uniform, torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 0, 12))
    zoom, _, centre = _window(numbers, Augmentation(truncation=1.0, truncation_zoom=2.0), torch.Size([40, 60]))
    torch.testing.assert_close(zoom, torch.full((3,), 2.0))
    torch.testing.assert_close(centre, torch.tensor([[29.5, 19.5], [14.5, 9.5], [44.5, 29.5]]))


@pytest.mark.parametrize(("wide", "period"), [(0.0, 2.0), (0.5, 12.0), (1.0, 22.0)])
def test_an_occluders_stripes_are_of_the_width_asked(wide: float, period: float):
    """Of 2 px to 2 and an eighth of the image: the first colour where the sine of the way across is above 0."""
    views = Views.empty(1, 17, 120, 160).replace(image=torch.full((1, 3, 120, 160), 0.25))
    numbers = torch.full((1, 1, 12), 1.0)
    numbers[..., :2], numbers[..., 4], numbers[..., 5] = 0.5, 0.0, wide
    numbers[..., 6:9], numbers[..., 9:12] = 1.0, 0.0
    after = occlude(views, Augmentation(occlusion=1, occluder_size=1.0), torch.zeros(1), torch.zeros(1), numbers)
    for x in range(1, 159):
        way = (x - 80) / period % 1
        if min(way, abs(way - 0.5), 1 - way) > 1e-3:  # no edge, of which rounding decides
            assert float(after.image[0, 0, 60, x]) == (1.0 if way < 0.5 else 0.0), x
