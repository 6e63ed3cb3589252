"""The index and its search against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.inference.moments.index import Index, Shot, build_index, file_identity
from vergence.inference.moments.nearest import find_hits
from vergence.methods.base import Prediction
from vergence.skeleton import H36M_17


def index(n: int = 60, cameras: int = 2, step: float = 0.1, seed: int = 0, size: int = 6) -> Index:
    rng = np.random.default_rng(seed)
    each = n // cameras
    return Index(
        kind="embedding",
        descriptor=rng.normal(size=(n, size)).astype(np.float32),
        pose=np.zeros((n, 17, 3), np.float32),
        frame_of_pose="canonical",
        camera=np.repeat(np.arange(cameras), each),
        frame=np.tile(np.arange(each), cameras),
        time=np.tile(np.arange(each) * step, cameras),
        cameras=tuple(f"cam{i}" for i in range(cameras)),
        joint_names=H36M_17.joint_names,
        made_by={"weights": "abc"},
    )


def slow_search(found: Index, query, offsets, count: int, apart: float) -> list[tuple[int, float]]:
    """Every start, frame by frame; offsets in rows."""
    scores = []
    for row in range(len(found)):
        total = 0.0
        for q, offset in zip(query, offsets):
            other = row + offset
            if other >= len(found) or found.camera[other] != found.camera[row]:
                total = math.inf
                break
            total += math.dist(q.tolist(), found.descriptor[other].tolist()) ** 2
        scores.append((math.sqrt(total / len(query)), row))
    hits: list[tuple[int, float]] = []
    for distance, row in sorted(scores):
        near = [h for h, _ in hits if found.camera[h] == found.camera[row]]
        if math.isfinite(distance) and all(abs(found.time[h] - found.time[row]) >= apart - 1e-6 for h in near):
            hits.append((row, distance))
    return hits[:count]


@pytest.mark.parametrize("apart", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_image_against_a_slow_reference(apart, seed):
    found = index(seed=seed)
    query = np.random.default_rng(seed + 9).normal(size=(1, 6)).astype(np.float32)
    hits = find_hits(found, query, count=8, apart=apart)
    expected = slow_search(found, query, [0], 8, apart)
    assert [h.row for h in hits] == [row for row, _ in expected]
    assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-6)
    first = hits[0]
    assert (first.camera, first.frame) == (f"cam{found.camera[first.row]}", found.frame[first.row])


@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_a_clip_against_a_slow_reference(apart):
    found = index(seed=3)
    query = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
    hits = find_hits(found, query, np.array([5.0, 5.2, 5.4, 5.6]), count=6, apart=apart)
    expected = slow_search(found, query, [0, 2, 4, 6], 6, apart)
    assert [h.row for h in hits] == [row for row, _ in expected]
    assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-6)


def test_a_clip_of_the_footage_finds_itself_at_any_frame_rate():
    found = index(200, 2)
    rows = np.arange(40, 60)
    hit = find_hits(found, found.descriptor[rows], found.time[rows], count=1)[0]
    assert (hit.row, hit.distance) == (40, 0)
    slower = rows[::3]
    assert find_hits(found, found.descriptor[slower], found.time[slower] + 100, count=1)[0].row == 40


def test_hits_that_lie_apart_are_found_behind_thousands_of_neighbours():
    found = index(3000, 1, step=0.01, size=1)
    found.descriptor[:, 0] = np.abs(np.arange(3000) - 100) / 100  # one valley: the best thousand are neighbours
    hits = find_hits(found, np.zeros((1, 1)), count=4, apart=5.0)
    assert [h.row for h in hits] == [100, 600, 1100, 1600]


def test_an_index_comes_back_from_its_file_as_it_was(tmp_path):
    one = index()
    one.save(tmp_path / "index.npz")
    two = Index.load(tmp_path / "index.npz")
    for name in ("descriptor", "pose", "camera", "frame", "time"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (two.cameras, two.joint_names, two.made_by, two.kind) == (
        one.cameras,
        one.joint_names,
        one.made_by,
        one.kind,
    )


def test_files_that_are_no_index_are_one_error(tmp_path):
    path = tmp_path / "index.npz"
    index().save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for content in (b"", b"no", whole[: len(whole) // 2], (tmp_path / "other.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(VergenceError, match="Delete it"):
            Index.load(path)


@pytest.mark.parametrize(
    ("query", "time", "said"),
    [
        (np.zeros((1, 5)), None, "6"),
        (np.full((1, 6), np.nan), None, "NaN"),
        (np.zeros((3, 6)), None, "time"),
        (np.zeros((2, 6)), np.array([0.0, 99.0]), "longer than any stretch"),
    ],
)
def test_queries_that_cannot_be_answered(query, time, said):
    with pytest.raises(VergenceError, match=said):
        find_hits(index(), query, time)


class Eyes:
    """Embeds an image as its mean colour."""

    skeleton = H36M_17

    def __init__(self, embeds: bool) -> None:
        self.embeds = embeds

    def __call__(self, image, intrinsics):
        colour = torch.from_numpy(image).float().mean((1, 2))
        pose = torch.randn(len(image), 17, 3, generator=torch.Generator().manual_seed(0))
        return Prediction(pose, "canonical", embedding=colour if self.embeds else None)


def shots(n: int) -> list[Shot]:
    return [Shot(i % 2, i // 2, i // 2 / 10, np.full((4, 4, 3), i % 251, np.uint8), np.eye(3)) for i in range(n)]


@pytest.mark.parametrize("embeds", [True, False])
def test_an_index_is_ordered_by_camera_and_time_and_says_what_it_holds(embeds):
    made = build_index(Eyes(embeds), iter(shots(150)), ["a", "b"], {"x": 1})
    assert made.kind == ("embedding" if embeds else "pose")
    assert made.descriptor.shape == ((150, 3) if embeds else (150, 51))
    assert made.camera.tolist() == [0] * 75 + [1] * 75
    assert made.frame.tolist() == [*range(75)] * 2
    if embeds:
        assert made.descriptor[:, 0].tolist() == [i * 2 % 251 for i in range(75)] + [
            (i * 2 + 1) % 251 for i in range(75)
        ]


def test_footage_in_which_nobody_was_seen_is_an_error():
    with pytest.raises(VergenceError, match="nobody"):
        build_index(Eyes(True), iter(()), ["a"], {})


def test_a_file_that_changed_has_another_identity(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    before = file_identity([file])
    assert file_identity([file]) == before
    file.write_bytes(b"other")
    assert file_identity([file]) != before
