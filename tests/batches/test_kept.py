"""Crops kept in a file: the same pixels, each image read once, nothing of it in memory or in a copy of the process."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch

from vergence.batches import kept
from vergence.batches.kept import Kept
from vergence.batches.views import Views
from vergence.errors import VergenceError

N, SIDE = 200, 8


class Counted:
    """Images of random pixels, stored backwards, that count how often they are read."""

    image_size, report, groups, measures = SIDE, {"a": 1}, {}, {}

    def __init__(self):
        self.index = Views.empty(N, 17, 0, 0)
        self.pixels = torch.randint(0, 256, (N, 3, SIDE, SIDE), dtype=torch.uint8)
        self.times = torch.zeros(N, dtype=torch.long)

    def __len__(self):
        return N

    def order(self):
        return torch.arange(N).flip(0)

    def read(self, rows):
        self.times[rows] += 1
        return self.index[rows].replace(image=self.pixels[rows])


def rows():
    return torch.randperm(N, generator=torch.Generator().manual_seed(0))


def test_the_pixels_are_the_datasets_and_each_is_read_once():
    dataset = Counted()
    store = Kept(dataset)
    for some in (*rows().split(24), torch.tensor([3, 3, 199])):
        found = store.read(some)
        assert torch.equal(found.image, dataset.pixels[some])
        assert torch.equal(found.time_step, some)
    assert (dataset.times == 1).all()


def test_the_first_batch_reads_its_own_rows_and_later_ones_read_on_from_the_beginning(monkeypatch):
    clock = iter(range(10**6))  # every look at it is a second later
    monkeypatch.setattr(kept.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(kept, "AHEAD", 1)
    dataset = Counted()
    store = Kept(dataset)
    store.read(torch.tensor([150, 3]))
    assert dataset.times.nonzero()[:, 0].tolist() == [3, 150]
    store.read(torch.tensor([150]))
    assert (dataset.times > 0).nonzero()[:, 0].tolist() == [3, *range(72, 200)]  # stored backwards
    assert (dataset.times <= 1).all()
    store.read(torch.tensor([3]))  # nothing was read one by one since
    assert int((dataset.times > 0).sum()) == 129
    store.read(torch.tensor([4]))
    store.read(torch.tensor([4]))
    assert (dataset.times == 1).all()


def test_an_image_that_nobody_asks_for_may_be_damaged():
    class Damaged(Counted):
        def read(self, rows):
            if 199 in rows.tolist():
                raise VergenceError("row 199 is damaged")
            return super().read(rows)

    store = Kept(Damaged())
    for some in torch.arange(150).split(10):
        store.read(some)
    with pytest.raises(VergenceError, match="199"):
        store.read(torch.tensor([199]))


@pytest.mark.parametrize("most", [0, 70 * 3 * SIDE * SIDE])
def test_what_has_no_room_is_read_anew(monkeypatch, most):
    monkeypatch.setattr(kept, "MOST_BYTES", most)
    dataset = Counted()
    store = Kept(dataset)
    for _ in range(2):
        assert torch.equal(store.read(rows()).image, dataset.pixels[rows()])
    assert int((dataset.times == 2).sum()) == N - most // (3 * SIDE * SIDE)


def test_footage_of_a_hundred_thousand_crops_has_room():
    dataset = SimpleNamespace(index=range(100_000), groups={}, measures={}, report={}, image_size=96)
    assert kept.MOST_BYTES // Kept(dataset)._row_bytes > 100_000


@pytest.mark.parametrize(("free", "kept_there"), [(2.1, True), (1.9, False)])
def test_at_most_half_of_what_is_free_is_taken(monkeypatch, free, kept_there):
    need = N + N * 3 * SIDE * SIDE
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda _: SimpleNamespace(free=free * need))
    dataset = Counted()
    store = Kept(dataset)
    for _ in range(2):
        assert torch.equal(store.read(rows()).image, dataset.pixels[rows()])
    assert (dataset.times == (1 if kept_there else 2)).all()


def test_a_full_disk_costs_time_only(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "pwrite", full)
    dataset = Counted()
    assert torch.equal(Kept(dataset).read(rows()).image, dataset.pixels[rows()])


def test_another_process_keeps_its_own():
    store = Kept(Counted())
    store.read(torch.arange(5))
    other = pickle.loads(pickle.dumps(store))
    assert torch.equal(other.read(rows()).image, store.dataset.pixels[rows()])
