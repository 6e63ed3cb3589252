"""Prepared shards: the same index, pixels within JPEG's rounding, kills and damage, other sizes and skeletons."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fixtures_world import world, world_records

from vergence.batches.dataset import MemoryDataset
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.datasets.records import ImageDataset, ImageRef
from vergence.datasets.shards import reader as shards
from vergence.datasets.shards.reader import ShardDataset, _with_full_cameras
from vergence.datasets.shards.writer import Joined, prepare
from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.geometry.camera import project
from vergence.recipes.typed import make_source
from vergence.skeleton import COCO_17, H36M_17
from vergence.training.sources import open_source
from vergence.world import single_images

SIZE = 64


def equal(a: Views, b: Views, but: tuple[str, ...] = ("image",)) -> None:
    for name, value in a.items():
        if name not in but:
            assert torch.equal(value.nan_to_num(-7), getattr(b, name).nan_to_num(-7)), name


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ImageDataset:
    rig, frames = world(frames=4, views=3)
    return ImageDataset(world_records(tmp_path_factory.mktemp("world"), rig, frames, "mp4"), SIZE, H36M_17)


def written(dataset, out: Path, **options) -> dict:
    return prepare(dataset, out, SIZE, H36M_17, {"source": "world"}, rows_per_shard=5, **options)


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    written(dataset, out)
    return out


def test_shards_are_the_dataset_again(dataset, folder):
    again = ShardDataset(folder, SIZE, H36M_17)
    equal(again.index, dataset.index)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.h5", "manifest.json", "plan.json", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5",
    ]  # fmt: skip
    rows = torch.tensor([11, 0, 7, 7, 3])
    ours, theirs = again.read(rows), dataset.read(rows)
    equal(ours, theirs)
    off = (ours.image.float() - theirs.image.float()).abs()
    assert off.mean() < 2  # grey levels
    for i in range(len(rows)):
        wrong = (ours.image[i].float() - theirs.image[0 if i else 1].float()).abs().mean()
        assert off[i].mean() * 3 < wrong
    seen = ~ours.keypoints.isnan().any(-1)
    assert (project(ours.pose, ours.intrinsics) - ours.keypoints)[seen].abs().max() < 0.01
    assert again.groups["action"].tolist() == dataset.groups["action"].tolist()
    assert again.groups["camera"].tolist() == dataset.groups["camera"].tolist()
    assert again.report == {"skipped": {"nobody": 0}, "assumed": "no lens distortion"}


def test_colours_stay_in_their_channels(tmp_path):
    plain = Views.empty(2, 17, SIZE, SIZE)
    plain.image[:, 0], plain.image[:, 1], plain.image[:, 2] = 200, 100, 20
    prepare(MemoryDataset(plain), tmp_path / "out", SIZE, H36M_17, {})
    image = ShardDataset(tmp_path / "out", SIZE, H36M_17).read(torch.tensor([1])).image[0].float()
    assert (image.mean((1, 2)) - torch.tensor([200.0, 100, 20])).abs().max() < 2


def test_smaller_crops_keep_their_geometry(dataset, folder):
    small = ShardDataset(folder, SIZE // 2, H36M_17)
    views = small.read(torch.arange(12))
    assert views.image.shape == (12, 3, SIZE // 2, SIZE // 2)
    seen = ~views.keypoints.isnan().any(-1)
    assert (project(views.pose, views.intrinsics) - views.keypoints)[seen].abs().max() < 0.01
    direct = ImageDataset(dataset.records, SIZE // 2, H36M_17)
    for name in ("intrinsics", "keypoints", "crop"):
        assert torch.allclose(getattr(views, name), getattr(direct.index, name), atol=2e-3, equal_nan=True), name
    assert (views.image.float() - direct.read(torch.arange(12)).image.float()).abs().mean() < 4
    with pytest.raises(VergenceError, match="crops of 64 px, the recipe wants 96"):
        ShardDataset(folder, 96, H36M_17)


def test_other_skeletons_are_converted(dataset, folder):
    index = ShardDataset(folder, SIZE, COCO_17).index
    equal(index, ImageDataset(dataset.records, SIZE, COCO_17).index, but=("image", "pose_weight"))


def test_threads_give_the_same(folder, two_threads):
    both = ShardDataset(folder, SIZE, H36M_17).read(torch.arange(12)).image
    torch.set_num_threads(1)
    assert torch.equal(both, ShardDataset(folder, SIZE, H36M_17).read(torch.arange(12)).image)


def test_a_recipes_source_opens_them_and_batches_are_drawn(folder):
    source = make_source(kind="shards", path=str(folder), keypoints=True)
    opened = open_source(source, SIZE, "h36m_17")
    batch = Mixture([Part("a", opened, opened.index, 6, whole=True)], 0).batch(0)
    assert batch.image.float().std() > 5
    assert len(torch.unique(batch.time_step)) == 2
    with pytest.raises(VergenceError, match="no path"):
        make_source(kind="shards")


def test_changing_an_index_leaves_the_file_alone(folder):
    first = ShardDataset(folder, SIZE, H36M_17)
    before = first.index.pose.clone()
    first.index.pose[:] = 0
    assert torch.equal(ShardDataset(folder, SIZE, H36M_17).index.pose, before)


class Dying:
    """A dataset whose process is killed in the middle of the second shard."""

    def __init__(self, dataset, after: int) -> None:
        self.dataset, self.index, self.after, self.count = dataset, dataset.index, after, 0

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, rows):
        self.count += len(rows)
        if self.count > self.after:
            raise KeyboardInterrupt
        return self.dataset.read(rows)


def test_a_stopped_preparation_goes_on(dataset, folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        written(Dying(dataset, 5), out)
    assert (out / "shard-00000.h5").is_file()
    with pytest.raises(VergenceError, match="not finished: 1 shards"):
        ShardDataset(out, SIZE, H36M_17)
    (out / ".shard-00001.0123abcd.h5").write_bytes(b"half")
    first = (out / "shard-00000.h5").stat().st_mtime_ns
    rest = Dying(dataset, 7)
    written(rest, out)
    assert rest.count == 7
    assert (out / "shard-00000.h5").stat().st_mtime_ns == first
    assert not list(out.glob(".*"))
    equal(ShardDataset(out, SIZE, H36M_17).index, dataset.index)


KILLED = """
import os, signal, sys
from pathlib import Path
from vergence.datasets.shards.writer import prepare
from vergence.batches.dataset import MemoryDataset
from vergence.skeleton import H36M_17
from vergence.batches.views import Views

replace = os.replace

def kill(partial, path):
    if str(path).endswith("shard-00001.h5"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(partial, path)

os.replace = kill
prepare(MemoryDataset(Views.empty(4, 17, 32, 32)), Path(sys.argv[1]), 32, H36M_17, {}, rows_per_shard=2)
"""


def test_a_killed_process_leaves_only_whole_files(tmp_path):
    """SIGKILL at the moment a shard's bytes are written but not yet named."""
    out, blank = tmp_path / "out", MemoryDataset(Views.empty(4, 17, 32, 32))
    died = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert died.returncode == -signal.SIGKILL
    names = sorted(path.name for path in out.iterdir())
    assert [name for name in names if not name.startswith(".")] == ["plan.json", "shard-00000.h5"]
    assert len(names) == 3
    prepare(blank, out, 32, H36M_17, {}, rows_per_shard=2)
    assert len(ShardDataset(out, 32, H36M_17)) == 4
    assert not list(out.glob(".*"))


def test_a_folder_of_something_else_is_refused(dataset, folder, tmp_path):
    with pytest.raises(VergenceError, match="other settings"):
        prepare(dataset, folder, SIZE, H36M_17, {"source": "another"}, rows_per_shard=5)
    moved = MemoryDataset(dataset.read(torch.arange(12)).replace(time=dataset.index.time + 1))
    with pytest.raises(VergenceError, match="other labels"):
        written(moved, folder)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(VergenceError, match="is not empty"):
        written(dataset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(VergenceError, match="no prepared crops"):
        ShardDataset(tmp_path, SIZE, H36M_17)


def test_damage_is_found_and_named(dataset, tmp_path):
    out = tmp_path / "out"
    written(dataset, out)
    written(dataset, out)  # finished: only checked
    path = out / "shard-00001.h5"
    data = bytearray(path.read_bytes())
    good = ShardDataset(out, SIZE, H36M_17)
    row = int(np.flatnonzero(np.array(good._shard) == 1)[0])
    with shards.open_h5(path) as file:
        start = file["jpeg"].id.get_offset() + int(good._start[row])
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(VergenceError, match=r"row .*/shard-00001\.h5 cannot be decoded"):
        ShardDataset(out, SIZE, H36M_17).read(torch.tensor([row]))
    with pytest.raises(VergenceError, match=r"shard-00001\.h5 missing or changed"):
        written(dataset, out)
    path.write_bytes(data[:-100])
    with pytest.raises(VergenceError, match="not as long as it was"):
        ShardDataset(out, SIZE, H36M_17)
    path.unlink()
    (out / "manifest.json").unlink()
    written(dataset, out)
    assert ShardDataset(out, SIZE, H36M_17).read(torch.tensor([row])).image.float().std() > 5
    (out / "manifest.json").write_text("{")
    with pytest.raises(VergenceError, match=r"manifest\.json is not readable JSON"):
        ShardDataset(out, SIZE, H36M_17)


def test_unreadable_images_stop_or_are_counted(dataset, tmp_path):
    rig, frames = world(frames=2, views=2)
    records = world_records(tmp_path / "world", rig, frames, "png")
    broken = Path(records.images[2].path)
    broken.write_bytes(broken.read_bytes()[:200])
    source = ImageDataset(
        dataclasses.replace(records, images=[*records.images[:3], ImageRef(Path("gone.png"))]), SIZE, H36M_17
    )
    with pytest.raises(VergenceError, match=broken.name):
        prepare(source, tmp_path / "a", SIZE, H36M_17, {})
    manifest = prepare(source, tmp_path / "b", SIZE, H36M_17, {}, skip_unreadable=True)
    assert manifest["rows"] == 2
    assert manifest["report"]["unreadable"]["images"] == 2
    assert broken.name in json.dumps(manifest["report"])
    kept = ShardDataset(tmp_path / "b", SIZE, H36M_17)
    equal(kept.index, source.index[:2])
    assert kept.groups["camera"].tolist() == ["cam0", "cam1"]
    everything = dataclasses.replace(records, images=[ImageRef(Path("gone.png"))] * 4)
    with pytest.raises(VergenceError, match="none of the images"):
        prepare(ImageDataset(everything, SIZE, H36M_17), tmp_path / "c", SIZE, H36M_17, {}, skip_unreadable=True)
    assert not (tmp_path / "c" / "manifest.json").exists()


def test_several_sources_are_joined(dataset, tmp_path):
    other = MemoryDataset(single_images(3, SIZE, seed=5))
    joined = Joined({"footage": dataset, "singles": other})
    prepare(joined, tmp_path / "out", SIZE, H36M_17, {})
    again = ShardDataset(tmp_path / "out", SIZE, H36M_17)
    assert len(again) == 15
    equal(again.index[:12], dataset.index)
    equal(again.index[12:], other.index, but=("image", "subject", "sequence", "time_step"))
    assert len(torch.unique(again.index.time_step)) == 4 + 3
    assert again.groups["source"].tolist() == ["footage"] * 12 + ["singles"] * 3
    assert again.groups["camera"].tolist()[12:] == [""] * 3
    rows = torch.tensor([13, 1, 14])
    off = (again.read(rows).image.float() - joined.read(rows).image.float()).abs().mean()
    assert off < 5
    assert torch.equal(joined.read(rows).image[0], other.views.image[1])


def test_several_processes_write_the_same_bytes(dataset, folder, tmp_path):
    """One shard is there already, one image cannot be read."""
    records = dataset.records
    broken = dataclasses.replace(records, images=[*records.images[:11], ImageRef(Path("gone.png"))])
    source = ImageDataset(broken, SIZE, H36M_17)
    with pytest.raises(VergenceError, match=r"gone\.png"):
        written(source, tmp_path / "stops", workers=2)
    assert not (tmp_path / "stops" / "manifest.json").exists()
    alone = written(source, tmp_path / "alone", skip_unreadable=True)
    out, told = tmp_path / "several", []
    dying = Dying(source, 5)
    dying.groups, dying.report, dying.order = source.groups, source.report, source.order
    with pytest.raises(KeyboardInterrupt):
        written(dying, out, skip_unreadable=True)
    several = written(source, out, skip_unreadable=True, workers=2, advance=told.append)
    assert alone["files"] == several["files"]
    assert sorted(told) == [2, 5, 5]
    assert alone["report"]["unreadable"]["images"] == 1


def test_numbers_of_people_and_old_folders(dataset, folder, tmp_path):
    """Measures travel; a folder of the format before has none, and is read as ever."""
    heads = np.arange(12.0)
    heads[3] = np.nan
    source = ImageDataset(dataclasses.replace(dataset.records, measures={"head_px": heads}), SIZE, H36M_17)
    written(source, tmp_path / "out")
    again = ShardDataset(tmp_path / "out", SIZE, H36M_17)
    assert np.array_equal(again.measures["head_px"], heads, equal_nan=True)
    assert Joined({"a": source, "b": dataset}).measures["head_px"][[1, 12]].tolist()[0] == 1
    assert np.isnan(Joined({"a": source, "b": dataset}).measures["head_px"][12:]).all()
    with pytest.raises(VergenceError, match="other labels"):
        written(dataset, tmp_path / "out")
    with pytest.raises(VergenceError, match="measure head_px of shape"):
        dataclasses.replace(dataset.records, measures={"head_px": heads[1:]})
    manifest = tmp_path / "out" / "manifest.json"
    old = json.loads(manifest.read_text()) | {"format": 1}
    del old["measures"]
    manifest.write_text(json.dumps(old))
    assert ShardDataset(tmp_path / "out", SIZE, H36M_17).measures == {}
    manifest.write_text(json.dumps(old | {"format": 4}))
    with pytest.raises(VergenceError, match="has format 4; this version reads 3"):
        ShardDataset(tmp_path / "out", SIZE, H36M_17)


@pytest.mark.parametrize("known", [True, False])
def test_a_folder_of_the_words_before_tells_its_full_cameras_by_its_crops(dataset, tmp_path, known):
    """Formats 1 and 2 said `instant` and `made`, and nothing of the full image."""
    records = dataset.records
    if not known:
        records = dataclasses.replace(records, intrinsics=np.full_like(records.intrinsics, np.nan))
    source = ImageDataset(records, SIZE, H36M_17)
    written(source, tmp_path / "out")
    index = tmp_path / "out" / "index.h5"
    with h5py.File(index, "r+") as file:
        for new, old in (("time_step", "instant"), ("pseudo", "made")):
            file.move(new, old)
        for name in ("turn", "full_intrinsics", "size"):
            del file[name]
    manifest = tmp_path / "out" / "manifest.json"
    found = json.loads(manifest.read_text()) | {"format": 2}
    found["files"]["index.h5"]["bytes"] = index.stat().st_size
    manifest.write_text(json.dumps(found))
    again = ShardDataset(tmp_path / "out", SIZE, H36M_17).index
    equal(again, source.index, but=("image", "turn", "full_intrinsics", "size"))
    assert torch.allclose(again.turn, source.index.turn, atol=1e-4)
    if known:
        assert torch.allclose(again.full_intrinsics, source.index.full_intrinsics, atol=0.05)
        assert torch.allclose(again.size, source.index.size, atol=0.1)
    else:
        assert again.full_intrinsics.isnan().all()
        assert again.size.isnan().all()


def test_the_size_of_an_image_that_is_wide_follows_from_its_crop():
    full = torch.tensor([[200.0, 0, 79.5], [0, 200, 44.5], [0, 0, 1]])
    crop = torch.tensor([[100.0, 0, 15.5], [0, 100, 15.5], [0, 0, 1]])
    index = Views.empty(2, 17, 0, 0).replace(
        intrinsics=crop.repeat(2, 1, 1), crop=(crop @ full.inverse()).repeat(2, 1, 1)
    )
    found = _with_full_cameras(index)
    torch.testing.assert_close(found.size, torch.tensor([[160.0, 90.0]] * 2))
    torch.testing.assert_close(found.full_intrinsics, full.repeat(2, 1, 1))


def test_nothing_to_prepare_is_refused(tmp_path):
    with pytest.raises(VergenceError, match="no images"):
        prepare(MemoryDataset(Views.empty(0, 17, 8, 8)), tmp_path / "out", 8, H36M_17, {})
    assert not (tmp_path / "out").exists()
    assert shards.OPEN_SHARDS >= 8


def test_a_disk_that_fills_up_under_a_shard_is_one_sentence(tmp_path):
    """HDF5 writes again and again while it closes, and does not always survive it."""
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        with pytest.raises(VergenceError, match="could not be written: File too large"):  # noqa: SIM117, PT012
            with atomic_path(tmp_path / "a.h5") as partial, shards.new_h5(partial) as file:
                for i in range(300):
                    file[f"x{i}"] = np.zeros(2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    assert list(tmp_path.iterdir()) == []
