"""Two gloo processes train as one does: the same samples, the same losses up to rounding, kept and taken up by either."""

from __future__ import annotations

import dataclasses
import json
from itertools import chain

import fixtures_together as cases
import pytest
import torch

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.training import processes
from vergence.training.loop import read_metrics
from vergence.training.processes import ALONE, Team
from vergence.training.run import Run
from vergence.training.split import Split, drawing

SAME = 1e-4  # of a loss; what rounding leaves of it after 20 steps is about a hundredth of that


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def found(folder):
    """Of each of two processes."""
    return cases.together(folder)


@pytest.fixture(scope="module")
def alone(folder):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield cases.trained(folder / "alone")
    torch.set_num_threads(threads)


def test_two_processes_read_the_rows_of_one_each_row_once(found, alone):
    for name, steps in alone["rows"].items():
        first, second = (one["whole"]["rows"].get(name, []) for one in found)
        if name == "bare":  # the last 5 of 17 rows, all of them the second process's
            assert first == []
            assert second == steps
        else:
            assert [a + b for a, b in zip(first, second, strict=True)] == steps
            assert all(len(a) == 9 for a in first)


def test_their_losses_are_those_of_one_process(found, alone):
    for one in found:
        assert one["whole"]["losses"] == pytest.approx(alone["losses"], rel=SAME)
    assert found[0]["whole"]["losses"] == found[1]["whole"]["losses"]
    for name, value in found[0]["whole"]["weights"].items():
        assert torch.equal(value, found[1]["whole"]["weights"][name]), name
        assert torch.allclose(value, alone["weights"][name], rtol=1e-2, atol=1e-3), name


@pytest.mark.parametrize("method", [name for name in cases.WEIGHTS if name != "supervised"])
def test_losses_between_views_and_over_labelled_joints_too(found, tmp_path, method, one_thread):
    whole = cases.trained(tmp_path, name=method, steps=6)
    assert found[0][method]["losses"] == pytest.approx(whole["losses"], rel=SAME)


def test_killed_and_resumed_they_equal_the_uninterrupted_bit_for_bit(found, folder):
    for one in found:
        assert one["resumed"]["losses"] == one["whole"]["losses"][8:]
        for name, value in one["whole"]["weights"].items():
            assert torch.equal(value, one["resumed"]["weights"][name]), name
    lines = (folder / "whole" / "metrics.jsonl").read_text()
    assert (folder / "cut" / "metrics.jsonl").read_text() == lines
    assert [step for step, _ in read_metrics(folder / "whole" / "metrics.jsonl")["loss"]] == [0, 10]


def test_one_process_goes_on_where_two_were(found, folder, alone, one_thread):
    assert found
    resumed = cases.trained(folder / "other")
    assert len(resumed["losses"]) == 12
    assert resumed["losses"] == pytest.approx(alone["losses"][8:], rel=SAME)


def test_a_signal_that_one_of_them_hears_stops_both_behind_the_same_step(found):
    assert [one["told"] for one in found] == [6, 6]


def test_a_run_of_several_stages_is_written_once_and_is_the_same(found, folder, tmp_path, one_thread):
    method = Run(cases.recipe(), tmp_path, "cpu").execute()
    for one in found:
        for name, value in one["run"]["weights"].items():
            assert torch.equal(value, found[0]["run"]["again"][name]), name
            assert torch.allclose(value, method.state_dict()[name], rtol=1e-2, atol=1e-3), name
    files = [{p.relative_to(f) for p in f.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
             for f in (tmp_path, folder / "run")]  # fmt: skip
    assert files[0] == files[1]
    assert json.loads((folder / "run" / "config.json").read_text())["processes"] == 2


def test_what_cannot_be_divided_or_is_not_the_same_is_refused_by_all(found):
    for one in found:
        assert "a batch of 17 images for 40 processes" in one["small"]
        assert "the recipe of process 1 is not that of process 0" in one["other recipe"]
        assert "holds a run of another recipe: seed is 0 there and 5 here" in one["taken"]


def test_who_started_the_processes(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "8")  # a batch script's own process, not started by srun
    assert processes.started() == 1
    assert processes.join("cpu") is ALONE
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert processes.started() == 8
    with pytest.raises(VergenceError, match="--ntasks-per-node"):
        processes.join("cpu")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    environment, here = processes._environment(8)
    assert (environment.world_size(), here) == (8, 4)
    with pytest.raises(VergenceError, match="a GPU each"):
        processes.join("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(VergenceError, match=r"4 processes .* shows 3"):
        processes.join("cuda")
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    with pytest.raises(VergenceError, match="6 processes, 4 on this machine"):
        processes.join("cpu")


def test_work_that_several_processes_would_only_repeat_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(VergenceError, match="2 processes were started"):
        Run(cases.recipe(), tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("count", "size"), [(17, 2), (6, 3), (5, 5), (23, 4)])
def test_rows_are_divided_evenly(count, size):
    rows = [Split(Team(rank, size), count).rows for rank in range(size)]
    assert list(chain.from_iterable(range(r.start, r.stop) for r in rows)) == list(range(count))
    assert {r.stop - r.start for r in rows} <= {count // size, count // size + 1}


def test_the_whole_batch_is_put_together_from_own_rows(monkeypatch):
    views = cases.people()[:5]
    views = views.replace(image=views.image / 255, time_step=views.time_step + (3 << 40))
    split = Split(Team(1, 2), 5)
    other = Split(Team(0, 2), 5)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda own: own.add_(sent.pop() if sent else 0))
    sent: list[torch.Tensor] = []
    kept = []
    monkeypatch.setattr(other, "gathered", lambda own: kept.append(own) or torch.zeros(5, *own.shape[1:]).double())
    other.whole(views[other.rows])
    half = torch.zeros(5, kept[0].shape[1], dtype=torch.double)
    half[other.rows] = kept[0]
    sent.append(half)
    whole = split.whole(views[split.rows])
    for field in dataclasses.fields(Views):
        got, wanted = getattr(whole, field.name), getattr(views, field.name)
        rows = split.rows if field.name == "image" else slice(None)
        assert got.dtype == wanted.dtype
        assert torch.equal(got[rows].nan_to_num(-9), wanted[rows].nan_to_num(-9)), field.name
    assert whole.image[other.rows].isnan().all()


def test_a_network_that_draws_numbers_is_named():
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.0))
    assert drawing(plain) == ""
    assert drawing(torch.nn.Sequential(plain, torch.nn.Dropout(0.1))) == "Dropout"
