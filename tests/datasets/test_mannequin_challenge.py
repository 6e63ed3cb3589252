"""MannequinChallenge written in its real format from the built-in world and read back; people, parallax, bad files."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import fixtures_mannequin as fixtures
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vergence.datasets.mannequin_challenge import (
    farthest_first,
    find_clips,
    joined_tracks,
    parallax_angles,
    read_mannequin_challenge,
    still_person,
)
from vergence.datasets.mannequin_clips import read_cameras
from vergence.datasets.validation.checks import check_images, check_records
from vergence.datasets.validation.finding import is_valid
from vergence.errors import VergenceError
from vergence.geometry.triangulation import triangulate_linear
from vergence.outputs.world import ASSUMED_STATURE_MM
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.sources import open_source

NAME = "0123456789abcdef"
PARALLAX = 8.0


@pytest.fixture(scope="module")
def shown():
    return fixtures.truth(people=2)


@pytest.fixture(scope="module")
def root(shown, tmp_path_factory):
    out = tmp_path_factory.mktemp("clips") / "MannequinChallenge"
    fixtures.write_clip(out, NAME, *shown)
    return out


@pytest.fixture(scope="module")
def records(root):
    return read_mannequin_challenge(root, PARALLAX)


def copied(root: Path, to: Path) -> Path:
    shutil.copytree(root, to / "clips")
    return to / "clips"


def test_the_text_says_what_the_cameras_were(root, shown):
    clip = read_cameras(root / "train" / f"{NAME}.txt")
    rig = shown[0].rig
    assert clip.video_id == "abc_DEF-123"
    assert np.abs(clip.intrinsics(rig.size[::-1]) - rig.intrinsics.numpy()).max() < 1e-6
    assert np.abs(clip.rotation - rig.rotation.numpy()).max() < 1e-8
    assert np.abs(clip.translation * fixtures.UNIT_MM - rig.translation.numpy()).max() < 1e-5
    assert abs(clip.fps - 1e6 / fixtures.STEP_US) < 1e-9


def test_every_row_is_a_person_where_the_world_has_it(records, shown):
    truth = shown[0]
    who = {}
    for i in range(len(records)):
        points = truth.keypoints[records.view[i]]
        error = [np.nanmax(np.abs(points[p] - records.keypoints[i])) for p in range(2)]
        assert min(error) < 0.01
        who.setdefault(int(records.time_step[i]), set()).add(int(np.argmin(error)))
        assert records.images[i].path.stem == str(truth.times[records.view[i]])
    assert sorted(map(sorted, who.values())) == [[0], [1]]
    assert records.report["people"] == 2
    assert records.report["clips used"] == 1
    assert np.isnan(records.pose).all()
    assert records.skeleton == H36M_17
    assert set(records.groups["split"]) == {"train"}


def test_cameras_are_the_worlds_up_to_one_scale_and_joints_meet_in_points(records, shown):
    rig = shown[0].rig
    ratio = records.translation / rig.translation.numpy()[records.view]
    assert np.ptp(ratio) < 1e-6
    assert np.abs(records.intrinsics - rig.intrinsics.numpy()[records.view]).max() < 1e-6
    body = shown[0].people[0]
    own = records[records.time_step == records.time_step[0]]
    k = own.intrinsics[:, None]
    rays = (own.keypoints - k[..., :2, 2]) / k[..., [0, 1], [0, 1]]
    matrix = np.concatenate([own.rotation, own.translation[..., None]], -1)
    world = triangulate_linear(torch.from_numpy(rays).transpose(0, 1).double(), torch.from_numpy(matrix)).numpy()
    assert np.abs(world / ratio.mean() - body).max() < 0.5  # float32 pixels, a few of them: 0.1 mm along a ray
    pixel = fixtures.project(rig, world[None] / ratio.mean())[own.view, 0]
    assert np.nanmax(np.abs(pixel - own.keypoints)) < 0.01


def test_the_scale_is_that_of_people_of_an_assumed_stature(records, shown):
    from vergence.geometry.body import stature

    tall = np.median([stature(body[None], H36M_17) for body in shown[0].people])
    ratio = np.median(records.translation / shown[0].rig.translation.numpy()[records.view])
    assert abs(ratio * tall - ASSUMED_STATURE_MM) < 1.0


def test_views_kept_of_a_person_lie_apart_and_no_other_could_be_added(records, shown):
    truth = shown[0]
    for time_step in np.unique(records.time_step):
        own = records[records.time_step == time_step]
        angle = angles_by_triangles(truth, own.view, 0 if time_step == records.time_step[0] else 1)
        off = angle[~np.eye(len(own), dtype=bool)]
        assert off.min() > PARALLAX - 0.5  # the medians of joints of which some are cut off differ a little
        assert len(own) >= 4


@pytest.mark.parametrize(("start", "tracks"), [(25, 1), (15, 2)])
def test_a_track_is_another_s_going_on_where_most_of_it_lies_beside_that_one(root, shown, start, tracks):
    """The same person, seen in lines 0 to 29 and from `start` to 39: two people at once, if mostly both are there."""
    truth, size = shown[0], (96, 96)
    pixels = fixtures.project(truth.rig, truth.people[:1])[:, 0]
    track = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    lines = np.arange(len(track))[:, None, None]
    first, second = np.where(lines < 30, track, np.nan), np.where(lines >= start, track, np.nan)
    cameras = read_cameras(root / "train" / f"{NAME}.txt")
    found = joined_tracks([first, second], cameras, size)
    assert len(found) == tracks
    assert np.isfinite(found[0]).all(-1).any(1).sum() == (40 if tracks == 1 else 30)


def angles_by_triangles(truth, lines, person) -> np.ndarray:
    """Median over joints of the angle between the directions from a joint to two camera centres, degrees."""
    turn, shift = truth.rig.rotation.numpy()[lines], truth.rig.translation.numpy()[lines]
    centres = -np.einsum("vji,vj->vi", turn, shift)
    out = np.zeros((len(lines), len(lines)))
    for a, b in itertools.product(range(len(lines)), repeat=2):
        angles = []
        for joint in truth.people[person]:
            u, v = centres[a] - joint, centres[b] - joint
            cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        out[a, b] = np.median(angles)
    return out


def test_parallax_without_triangulation_is_the_angle_of_the_triangles(shown):
    truth = shown[0]
    lines = np.array([0, 3, 11, 39])
    k = truth.rig.intrinsics.numpy()[lines][:, None]
    camera = np.einsum("vij,kj->vki", truth.rig.rotation.numpy()[lines], truth.people[0])
    camera += truth.rig.translation.numpy()[lines][:, None]
    pixels = np.einsum("vij,vkj->vki", k[:, 0], camera / camera[..., 2:])[..., :2]
    points = (pixels - k[..., :2, 2]) / k[..., [0, 1], [0, 1]]
    found = parallax_angles(points, truth.rig.rotation.numpy()[lines])
    assert np.allclose(found, angles_by_triangles(truth, lines, 0), atol=1e-6)
    points[2, 3:] = np.nan
    assert np.isnan(parallax_angles(points, truth.rig.rotation.numpy()[lines])[2]).all()


@pytest.mark.parametrize("seed", range(5))
def test_farthest_first_keeps_views_that_lie_apart_and_leaves_none_that_would(seed):
    places = np.random.default_rng(seed).uniform(0, 40, 15)
    apart = np.abs(places[:, None] - places)
    kept = farthest_first(apart, 5.0)
    assert list(kept) == sorted(set(kept))
    assert apart[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)].min() >= 5.0
    others = [i for i in range(15) if i not in kept]
    assert all(apart[i, kept].min() < 5.0 for i in others)
    assert {int(places.argmin()), int(places.argmax())} <= set(kept.tolist())
    assert len(farthest_first(apart, 60.0)) < 2


def layout_in_order(root: Path, truth, image) -> None:
    names = [f"frame_{i + 1:04d}" for i in range(len(truth.rig))]
    fixtures.write_images(root / "frames" / "train" / NAME, image.image, names)
    fixtures.write_openpose(root / "openpose" / "train" / f"{NAME}_json", truth.keypoints, names)


def layout_video_cut_out(root: Path, truth, image) -> None:
    fixtures.write_video(root / "train" / f"{NAME}.mp4", image.image)
    names = [f"{NAME}_{i:012d}" for i in range(len(truth.rig))]
    fixtures.write_openpose(root / "train" / f"{NAME}_json", truth.keypoints, names)


def layout_whole_download(root: Path, truth, image) -> None:
    fixtures.write_video(root / "videos" / "abc_DEF-123.mp4", image.image, before=30)
    names = [f"{NAME}_{i + 30:012d}" for i in range(len(truth.rig))]
    fixtures.write_coco(root / "keypoints" / "train" / f"{NAME}.json", truth.keypoints, names, truth.rig.size)


@pytest.mark.parametrize("layout", [layout_in_order, layout_video_cut_out, layout_whole_download])
def test_images_and_keypoints_are_found_where_people_put_them(layout, shown, tmp_path):
    truth, image = shown
    fixtures.write_text(tmp_path / "train" / f"{NAME}.txt", truth.rig, truth.times)
    layout(tmp_path, truth, image)
    found = read_mannequin_challenge(tmp_path / "train", PARALLAX)
    assert found.report["people"] == 2
    for i in range(len(found)):
        points = H36M_17.convert(truth.keypoints[found.view[i]], found.skeleton)
        assert min(np.nanmax(np.abs(points[p] - found.keypoints[i])) for p in range(2)) < 0.01
    assert is_valid(check_images(found))
    if layout is layout_whole_download:
        assert {p.frame - v for p, v in zip(found.images, found.view)} == {30}


def test_a_source_gives_several_views_of_each_person(root, records):
    dataset = open_source(make_source(kind="mannequin_challenge", path=str(root), parallax=PARALLAX), 48, "h36m_17")
    groups, mask = dataset.index.groups()
    assert len(dataset) == len(records)
    assert groups.shape[0] == 2
    assert mask.sum(1).min() >= 2
    views = dataset.read(torch.arange(3))
    assert views.image.shape == (3, 3, 48, 48)
    assert views.image.float().std() > 5
    inside = views.keypoints[~views.keypoints.isnan().any(-1)]
    assert ((inside > 0) & (inside < 47)).all()
    key = torch.stack([dataset.index.sequence, dataset.index.view, dataset.index.frame], 1)
    assert len(torch.unique(key, dim=0)) == len(dataset)


def test_the_records_are_sound(records):
    assert is_valid(check_records(records) + check_images(records))


def test_clips_with_too_little_parallax_are_dropped_and_counted(root, shown, tmp_path):
    truth, image = shown
    again = copied(root, tmp_path)
    still = slice(0, 2)
    rig = type(truth.rig)(
        truth.rig.intrinsics[still], truth.rig.rotation[still], truth.rig.translation[still], truth.rig.size
    )
    short = fixtures.Truth(rig, truth.people, truth.keypoints[still])
    fixtures.write_clip(again, "00000000000000aa", short, dataclasses.replace(image, image=image.image[still]))
    found = read_mannequin_challenge(again, PARALLAX)
    assert found.report["clips"] == 2
    assert found.report["clips used"] == 1
    assert found.report["clips dropped"] == {"too little parallax": 1}
    assert found.report["people dropped"]["too little parallax"] >= 2


def test_a_camera_that_only_turns_has_no_parallax(root, shown):
    clip = read_cameras(root / "train" / f"{NAME}.txt")
    rng = np.random.default_rng(0)
    turn = Rotation.from_rotvec(rng.normal(0, 0.2, (len(clip), 3))).as_matrix() @ clip.rotation[0]
    centre = -clip.rotation[0].T @ clip.translation[0]
    panning = dataclasses.replace(clip, rotation=turn, translation=-turn @ centre)
    world = shown[0].people[0] / fixtures.UNIT_MM
    size = shown[0].rig.size[::-1]
    track = seen_by(panning, world, size)
    assert still_person(track, panning, size, H36M_17, 1.0) == "too little parallax"


def seen_by(clip, world, size) -> np.ndarray:
    """A track `F J 3` of world joints (`J 3`, or `F J 3` for somebody who moves)."""
    world = np.broadcast_to(world, (len(clip), 17, 3))
    camera = np.einsum("fij,fkj->fki", clip.rotation, world) + clip.translation[:, None]
    pixels = np.einsum("fij,fkj->fki", clip.intrinsics(size), camera / camera[..., 2:])
    return np.concatenate([pixels[..., :2], np.ones((len(clip), 17, 1))], -1)


def test_who_moves_is_no_mannequin_and_a_single_bad_frame_is_left_out(root, shown):
    clip = read_cameras(root / "train" / f"{NAME}.txt")
    size = shown[0].rig.size[::-1]
    world = shown[0].people[0] / fixtures.UNIT_MM
    away = np.linspace(0, 1.5, len(clip))[:, None, None] * [0, 1, 0]
    assert still_person(seen_by(clip, world + away, size), clip, size, H36M_17) == "moved or mixed up"
    track = seen_by(clip, world, size)
    whole = still_person(track, clip, size, H36M_17)
    bad = int(whole.lines[1])
    track[bad, :, :2] += 40
    without = still_person(track, clip, size, H36M_17)
    assert bad not in without.lines
    assert len(without.lines) >= len(whole.lines) - 2


def test_noise_of_a_detector_keeps_people_and_scale(root, shown):
    clip = read_cameras(root / "train" / f"{NAME}.txt")
    size = shown[0].rig.size[::-1]
    track = seen_by(clip, shown[0].people[0] / fixtures.UNIT_MM, size)
    exact = still_person(track, clip, size, H36M_17)
    track[..., :2] += np.random.default_rng(1).normal(0, 0.4, track[..., :2].shape)  # 0.4 px of a person of 40
    noisy = still_person(track, clip, size, H36M_17)
    assert len(noisy.lines) >= len(exact.lines) - 2
    assert abs(noisy.stature / exact.stature - 1) < 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [lines[0], lines[1] + " 1"], "20 words"),
        (lambda lines: [*lines[:2], lines[2].replace("0.0", "x", 1)], "line 3"),
        (lambda lines: [*lines[:3], lines[1]], "not later"),
        (lambda lines: lines[:1], "0 frames"),
        (lambda lines: [lines[0], *(" ".join([*row.split()[:7], *["1"] * 12]) for row in lines[1:])], "no rotation"),
        (
            lambda lines: [lines[0], *(" ".join([*row.split()[:5], "0.1", *row.split()[6:]]) for row in lines[1:])],
            "lens",
        ),
    ],
)
def test_a_damaged_text_names_its_line(root, tmp_path, change, words):
    file = tmp_path / "clip.txt"
    file.write_text("\n".join(change((root / "train" / f"{NAME}.txt").read_text().splitlines())))
    with pytest.raises(VergenceError, match=words):
        read_cameras(file)


def test_blank_lines_do_no_harm(root, tmp_path):
    text = (root / "train" / f"{NAME}.txt").read_text()
    (tmp_path / "clip.txt").write_text(text.replace("\n", "\n\n") + "\n \n")
    assert len(read_cameras(tmp_path / "clip.txt")) == len(text.splitlines()) - 1


def test_missing_images_leave_gaps_and_other_counts_are_refused(root, tmp_path):
    timed = copied(root, tmp_path)
    files = sorted((timed / "train" / NAME).glob("*.jpg"))
    for file in files[:6]:
        file.unlink()
    found = read_mannequin_challenge(timed, PARALLAX)
    assert found.view.min() >= 6
    for i, file in enumerate(files[6:]):
        file.rename(file.with_name(f"{i:04d}.jpg"))
    with pytest.raises(VergenceError, match="has 34 images, the clip 40 frames"):
        read_mannequin_challenge(timed, PARALLAX)


def test_a_truncated_download_gives_what_it_has_or_says_that_it_ends_too_early(shown, tmp_path):
    truth, image = shown
    fixtures.write_text(tmp_path / "train" / f"{NAME}.txt", truth.rig, truth.times)
    names = [f"{NAME}_{i + 30:012d}" for i in range(len(truth.rig))]
    fixtures.write_coco(tmp_path / "train" / f"{NAME}.json", truth.keypoints, names, truth.rig.size)
    fixtures.write_video(tmp_path / "train" / f"{NAME}.mp4", image.image[:25], before=30)
    found = read_mannequin_challenge(tmp_path, PARALLAX)
    assert found.view.max() < 25
    fixtures.write_video(tmp_path / "train" / f"{NAME}.mp4", image.image[:8])
    with pytest.raises(VergenceError, match=r"ends after 8 frames, before the clip begins at 1\.0 s"):
        read_mannequin_challenge(tmp_path, PARALLAX)


def test_stretched_images_are_refused(root, tmp_path):
    from PIL import Image

    wide = copied(root, tmp_path)
    for file in (wide / "train" / NAME).glob("*.jpg"):
        with Image.open(file) as image:
            image.resize((128, 96)).save(file)
    with pytest.raises(VergenceError, match=r"fx 1\.33 times fy"):
        read_mannequin_challenge(wide, PARALLAX)


def test_clips_without_frames_or_keypoints_are_counted(root, tmp_path):
    some = copied(root, tmp_path)
    text = some / "train" / f"{NAME}.txt"
    shutil.copy(text, some / "train" / "bare.txt")
    text_other = text.read_text().replace("abc_DEF-123", "another-one")
    (some / "train" / "nobody.txt").write_text(text_other)
    shutil.copytree(some / "train" / NAME, some / "train" / "nobody")
    (some / "train" / "broken.txt").write_text("\n".join([*text.read_text().splitlines()[:2], "1 2 3"]))
    found = read_mannequin_challenge(some, PARALLAX)
    assert found.report["clips dropped"] == {"no frames": 1, "no keypoints": 1, "unusable files": 1}
    assert "line 3" in found.report["unusable"][0]
    (some / "train" / f"{NAME}.json").unlink()
    with pytest.raises(VergenceError, match="none of the 4 clips"):
        read_mannequin_challenge(some, PARALLAX)


def test_folders_without_clips_and_silly_limits_are_refused(root, tmp_path):
    with pytest.raises(VergenceError, match="holds no clips"):
        find_clips(tmp_path)
    with pytest.raises(VergenceError, match="parallax is 0"):
        read_mannequin_challenge(root, 0.0)
    with pytest.raises(VergenceError, match="no path"):
        make_source(kind="mannequin_challenge")
