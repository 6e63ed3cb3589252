"""Records against the built-in world's truth: files to crops, geometry, pixels, and what is refused."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_crops import crop_view
from fixtures_world import world, world_records

from vergence.batches.dataset import withhold
from vergence.datasets.make_records import make_records
from vergence.datasets.records import (
    OPEN_VIDEOS,
    ImageDataset,
    ImageRef,
    ImageRefs,
    Records,
    crop_index,
    joined_report,
    record_crops,
)
from vergence.errors import VergenceError
from vergence.footage.images import read_image
from vergence.geometry.camera import project
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import crop_camera, keypoints_from_crop
from vergence.recipes.typed import make_source
from vergence.skeleton import COCO_17, H36M_17

CROP = 48


@pytest.fixture(scope="module")
def scene():
    return world()


@pytest.fixture(scope="module")
def records(scene, tmp_path_factory) -> Records:
    return world_records(tmp_path_factory.mktemp("records"), *scene)


@pytest.mark.parametrize("kind", ["jpg", "png", "mp4"])
def test_files_come_back_as_crops_of_the_truth(scene, tmp_path, kind):
    rig, frames = scene
    dataset = ImageDataset(world_records(tmp_path, rig, frames, kind), CROP, H36M_17)
    views = dataset.read(torch.arange(len(dataset)))
    # 2D: the pose seen by the crop's camera, and the joints of the world through rotation and translation
    seen = ~views.keypoints.isnan().any(-1)
    assert seen.float().mean() > 0.9
    pixels = project(views.pose.double(), views.intrinsics.double())
    assert (pixels - views.keypoints)[seen].abs().max() < 0.01
    joints = torch.from_numpy(np.stack([f.joints for f in frames])).double()[views.frame]
    again = torch.einsum("nij,nkj->nki", views.rotation.double(), joints) + views.translation.double()[:, None]
    assert (again - views.pose).abs().max() < 0.01  # mm
    assert torch.allclose(views.up, views.rotation[:, :, 2])
    # pixels: each row is the crop of its own full image
    for i in range(len(views)):
        full = frames[int(views.frame[i])].image[int(views.view[i])]
        row = dataset.records
        expected = crop_view(full, row.intrinsics[i], None, row.box[i], CROP, keypoints=row.keypoints[i]).image[0]
        off = (views.image[i].float() - expected.float()).abs().mean()
        assert off < {"png": 0.01, "jpg": 3, "mp4": 6}[kind]
        others = [f.image[1 - int(views.view[i])] for f in frames]
        wrong = crop_view(others[0], row.intrinsics[i], None, row.box[i], CROP, keypoints=row.keypoints[i]).image[0]
        assert (views.image[i].float() - wrong.float()).abs().mean() > 3 * off


@pytest.mark.parametrize("mode", ["virtual", "rectangular"])
def test_the_index_is_that_of_crop_view(scene, records, mode):
    """All rows at once give what one crop at a time gives, lenses and unknown intrinsics included."""
    rng = np.random.default_rng(0)
    distortion = np.stack([rng.normal(0, s, len(records)) for s in (0.1, 0.02, 1e-3, 1e-3, 1e-3)], 1)
    distortion[0] = np.nan
    intrinsics = records.intrinsics.copy()
    intrinsics[1] = np.nan
    changed = dataclasses.replace(records, distortion=distortion, intrinsics=intrinsics)
    index = ImageDataset(changed, CROP, H36M_17, mode).index
    names = ("intrinsics", "keypoints", "confidence", "pose", "rotation", "translation", "up", "crop")
    names += ("turn", "full_intrinsics", "size")
    for i in range(len(records)):
        one = crop_view(
            read_image(records.images[i].path), intrinsics[i], np.nan_to_num(distortion[i]), records.box[i], CROP,
            keypoints=records.keypoints[i], pose=records.pose[i], rotation=records.rotation[i],
            translation=records.translation[i], up=records.up[i], mode=mode,
        )  # fmt: skip
        for name in names:
            got, expected = getattr(index, name)[i], getattr(one, name)[0]
            assert torch.allclose(got, expected, rtol=1e-5, atol=2e-4, equal_nan=True), (i, name)
    assert index.intrinsics[1].isnan().all()
    assert index.metric.all()


def test_rows_are_read_in_any_order_and_repeated(records):
    dataset = ImageDataset(records, CROP, H36M_17)
    whole = dataset.read(torch.arange(len(dataset)))
    rows = torch.tensor([4, 0, 4, 5, 1])
    part = dataset.read(rows)
    for name, value in part.items():
        assert torch.equal(value.nan_to_num(-7), getattr(whole, name)[rows].nan_to_num(-7)), name
    groups, mask = dataset.index.groups()
    assert groups.shape == (3, 2)
    assert mask.all()
    assert dataset.index.image.numel() == 0
    assert withhold(dataset.index, make_source()).pose.isnan().all()


def test_few_videos_stay_open(scene, tmp_path):
    rig, frames = scene
    parts = [world_records(tmp_path / str(i), rig, frames, "mp4", subject=i) for i in range(OPEN_VIDEOS)]
    dataset = ImageDataset(Records.cat(parts), CROP, H36M_17)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    shuffled = dataset.read(order)
    assert len(dataset._files._videos) == OPEN_VIDEOS < len({p.path for p in dataset.records.images})
    again = pickle.loads(pickle.dumps(dataset))
    assert not again._files._videos
    assert torch.equal(again.read(order[:3]).image, shuffled.image[:3])


def test_places_of_images_are_a_sequence():
    a, b, film = Path("a.png"), Path("b.png"), Path("film.mp4")
    images = [ImageRef(b), ImageRef(film, 7), ImageRef(a), ImageRef(film, 0), ImageRef(b)]
    found = ImageRefs.of(images)
    assert found == images
    assert [*found] == images
    assert [found[i] for i in (0, 1, -1)] == [images[0], images[1], images[-1]]
    assert found[1:3] == images[1:3]
    assert found[np.array([3, 0])] == [images[3], images[0]]
    assert found != images[:4]
    assert (len(found), found.paths) == (5, (b, film, a))
    both = ImageRefs.cat([found[2:], ImageRefs.of(images[:2])])
    assert both == [*images[2:], *images[:2]]
    assert len(both.paths) == 3
    assert ImageRefs.of(both) is both
    assert len(ImageRefs.of([])) == 0


def test_records_are_chosen_joined_and_converted(records):
    mask = records.view == 1
    assert len(records[mask]) == 3
    assert records[mask].groups["camera"].tolist() == ["cam1"] * 3
    assert records[2:4].images == tuple(records.images[2:4])
    both = Records.cat([records[mask], records[~mask]])
    assert both.frame.tolist() == [0, 1, 2, 0, 1, 2]
    assert both.report == {"skipped": {"nobody": 0}, "assumed": "no lens distortion"}
    other = records.convert(COCO_17)
    assert np.isnan(other.keypoints[:, COCO_17.index("left_eye")]).all()
    knee = COCO_17.index("left_knee"), H36M_17.index("left_knee")
    assert np.array_equal(other.pose[:, knee[0]], records.pose[:, knee[1]])
    with pytest.raises(VergenceError, match="cannot be joined"):
        Records.cat([records, other])


def test_reports_are_added_up():
    parts = [{"a": 1, "b": {"c": 2}, "d": "x", "e": ["p"]}, {"a": 3, "b": {"c": 1, "f": 1}, "d": "y", "e": ["q", "p"]}]
    assert joined_report(parts) == {"a": 4, "b": {"c": 3, "f": 1}, "d": ["x", "y"], "e": ["p", "q"]}


def test_wrong_shapes_and_boxes_are_refused_by_name(records):
    with pytest.raises(VergenceError, match=r"translation of shape \(6, 2\)"):
        dataclasses.replace(records, translation=records.translation[:, :2])
    with pytest.raises(VergenceError, match="time_step of type float64"):
        dataclasses.replace(records, time_step=records.time)
    with pytest.raises(VergenceError, match="group action of shape"):
        dataclasses.replace(records, groups={"action": ["a"]})
    for bad in ([0, 0, -3, 4], [400, 0, 20, 20], [0, 0, np.nan, 4]):
        box = records.box.copy()
        box[3] = bad
        changed = dataclasses.replace(records, box=box)
        assert record_crops(changed, CROP).good.tolist() == [True] * 3 + [False] + [True] * 2
        with pytest.raises(VergenceError, match=r"1 boxes .*/cam1_000001\.jpg"):
            ImageDataset(changed, CROP, H36M_17)


def test_missing_and_resized_images_are_refused_by_name(records, tmp_path):
    gone = dataclasses.replace(records, images=[ImageRef(Path("nowhere.jpg"))] * 6)
    with pytest.raises(VergenceError, match=r"no image nowhere\.jpg"):
        ImageDataset(gone, CROP, H36M_17).read(torch.tensor([1]))
    other = dataclasses.replace(records, size=records.size * 2)
    with pytest.raises(VergenceError, match="160x160, its labels are for 320x320"):
        ImageDataset(other, CROP, H36M_17).read(torch.tensor([1]))


def test_crop_pixels_lead_back_to_the_full_image(records):
    """The crop's camera undone: keypoints of the index land on those of the records."""
    index = ImageDataset(records, CROP, H36M_17).index
    for i in range(len(records)):
        camera = crop_camera(records.intrinsics[i], None, records.box[i], CROP)
        back = keypoints_from_crop(index.keypoints[i].double().numpy(), camera)
        assert np.nanmax(np.abs(back - records.keypoints[i])) < 0.01


def test_one_value_and_one_camera_stand_for_all_rows():
    k, box = np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]), np.array([[1.0, 2, 30, 40], [5, 6, 70, 80]])
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    camera = Camera("c", (640, 480), k, rotation=turn)
    groups = {"camera": "c", "action": np.array(["walk", "sit"])}
    found = make_records(
        ["a.png", "b.png"], COCO_17, box=box, camera=camera, up=turn[2], view=3, frame=[4, 9], groups=groups
    )
    np.testing.assert_array_equal(found.intrinsics, [k, k])
    np.testing.assert_array_equal(found.rotation, [turn, turn])
    assert np.isnan(found.translation).all()  # the camera does not say
    np.testing.assert_array_equal(found.distortion, np.zeros((2, 5)))
    np.testing.assert_array_equal(found.size, [[640, 480]] * 2)
    np.testing.assert_array_equal(found.up, [turn[2]] * 2)
    assert found.view.tolist() == [3, 3]
    assert found.frame.tolist() == [4, 9]
    assert found.subject.tolist() == found.time_step.tolist() == [0, 1]
    assert {name: value.tolist() for name, value in found.groups.items()} == {
        "camera": ["c", "c"],
        "action": ["walk", "sit"],
    }
    found.intrinsics[0] = 0  # each row has its own
    np.testing.assert_array_equal(found.intrinsics[1], k)
    with pytest.raises(VergenceError, match="up of shape"):
        make_records(["a.png"], COCO_17, box=box[:1], camera=camera, up=np.zeros(4))


def test_no_records_are_no_crops_of_as_many_joints(records):
    found = crop_index(records[:0], CROP)
    assert found.keypoints.shape == (0, len(H36M_17), 2)
    assert found.pose.shape == (0, len(H36M_17), 3)
