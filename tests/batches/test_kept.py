"""Crops kept in a file: the same pixels, each image read once, nothing of it in memory or in a copy of the process."""

from __future__ import annotations

import pickle

import pytest
import torch

from vergence.batches import kept
from vergence.batches.kept import Kept
from vergence.batches.views import Views

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


def test_neighbours_in_the_file_are_read_together():
    dataset = Counted()
    Kept(dataset).read(torch.tensor([150]))
    assert (dataset.times > 0).nonzero()[:, 0].tolist() == list(range(72, 200))


@pytest.mark.parametrize("most", [0, 70 * 3 * SIDE * SIDE])
def test_what_has_no_room_is_read_anew(monkeypatch, most):
    monkeypatch.setattr(kept, "MOST_BYTES", most)
    dataset = Counted()
    store = Kept(dataset)
    for _ in range(2):
        assert torch.equal(store.read(rows()).image, dataset.pixels[rows()])
    assert int((dataset.times == 2).sum()) == N - most // (3 * SIDE * SIDE)


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
