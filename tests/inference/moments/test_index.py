"""The index: its file, what is refused as one, and how it is built."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fixtures_moments import index

from vergence.errors import VergenceError
from vergence.inference.moments.index import Index, Shot, build_index, file_identity
from vergence.inference.moments.nearest import find_hits
from vergence.methods.base import Prediction
from vergence.skeleton import H36M_17


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


def old_file(path, **changed):
    """As indices were written before they had sketches."""
    one = index()
    names = ("kind", "frame_of_pose", "cameras", "joint_names", "made_by")
    arrays = {name: getattr(one, name) for name in ("descriptor", "pose", "camera", "frame", "time")}
    np.savez(path, head=json.dumps({name: getattr(one, name) for name in names}), **arrays | changed)
    return one


def test_arrays_are_mapped_from_the_file_and_plain_numpy_reads_it(tmp_path):
    one, path = index(), tmp_path / "index.npz"
    one.save(path)
    two = Index.load(path)
    for name in ("descriptor", "pose", "camera", "frame", "time", "axes", "sketch"):
        mapped = getattr(two, name)
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable
        assert mapped.ctypes.data % 64 == 0  # else each search would copy the sketches
    assert two.sketched[1] is two.sketch
    with np.load(path) as file:
        np.testing.assert_array_equal(file["descriptor"], one.descriptor)
        np.testing.assert_array_equal(file["sketch"], one.sketched[1])


def test_an_index_of_before_sketches_is_searched_alike(tmp_path):
    one = old_file(tmp_path / "index.npz")
    two = Index.load(tmp_path / "index.npz")
    assert two.sketch is None
    query = np.zeros((1, 6))
    assert find_hits(two, query) == find_hits(one, query)
    two.save(tmp_path / "index.npz")
    assert find_hits(Index.load(tmp_path / "index.npz"), query) == find_hits(one, query)


@pytest.mark.parametrize(
    "changed",
    [
        {"pose": np.zeros((59, 17, 3), np.float32)},
        {"time": np.zeros(61)},
        {"descriptor": np.zeros(60, np.float32)},
        {"camera": np.repeat([0, 7], 30)},
        {"camera": np.repeat([-1, 1], 30)},
        {"axes": np.zeros((3, 6)), "sketch": np.zeros((4, 50), np.float32)},
        {"axes": np.zeros((3, 5)), "sketch": np.zeros((4, 60), np.float32)},
        {"axes": np.zeros((9, 6)), "sketch": np.zeros((4, 60), np.float32)},
    ],
)
def test_arrays_that_do_not_fit_together_are_no_index(changed, tmp_path):
    old_file(tmp_path / "index.npz", **changed)
    with pytest.raises(VergenceError, match=r"do not fit together.*Delete it"):
        Index.load(tmp_path / "index.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_half_an_index_is_none(share, tmp_path):
    path = tmp_path / "index.npz"
    index(3000).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(VergenceError, match="Delete it"):
        Index.load(path)


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


def test_building_keeps_rows_in_files_that_nobody_sees(tmp_path):
    made = build_index(Eyes(True), iter(shots(150)), ["a", "b"], {}, tmp_path)
    assert all(isinstance(getattr(made, name), np.memmap) for name in ("descriptor", "pose", "camera", "time"))
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_broken_off_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "index.npz"
    index().save(path)
    before = path.read_bytes()

    def stopped(rows, array, **_):
        rows.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", stopped)
    with pytest.raises(KeyboardInterrupt):
        index(80).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["index.npz"]


def test_footage_that_cannot_be_read_is_not_told_as_a_full_disk(tmp_path):
    def footage():
        yield from shots(70)
        raise OSError("damaged")

    with pytest.raises(OSError, match=r"^damaged$"):
        build_index(Eyes(True), footage(), ["a", "b"], {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_one_error(tmp_path):
    with pytest.raises(VergenceError, match="could not be written"):
        build_index(Eyes(True), iter(shots(3)), ["a", "b"], {}, tmp_path / "nowhere")
