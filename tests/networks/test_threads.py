"""Threads: chosen by what is free, never against what somebody set."""

from __future__ import annotations

import time

import pytest

from vergence import cli
from vergence.errors import VergenceError
from vergence.networks import threads


@pytest.fixture
def machine(monkeypatch):
    def of(others: float | None, count: int = 4):
        monkeypatch.setattr(threads, "cores", lambda: count)
        monkeypatch.setattr(threads.os, "cpu_count", lambda: count)
        monkeypatch.setattr(threads, "others_running", lambda: others)

    return of


@pytest.mark.parametrize(
    ("others", "count", "wanted", "asleep"),
    [(0.1, 4, 0, False), (1.2, 4, 3, False), (3, 4, 1, True), (9, 4, 1, True), (0.2, 2, 0, False), (1, 2, 1, True),
     (5, 1, 0, False), (None, 4, 0, False)],
)  # fmt: skip
def test_what_is_free_is_taken(machine, others, count, wanted, asleep):
    machine(others, count)
    found = threads.choose(environ={})
    assert (found.threads, found.asleep) == (wanted, asleep)


def test_what_somebody_set_stays(machine):
    machine(9.0)
    environ = {"OMP_NUM_THREADS": "3"}
    threads.settle(environ=environ)
    assert environ["OMP_NUM_THREADS"] == "3"
    assert "OMP_WAIT_POLICY" not in environ
    threads.settle(2, environ)
    assert environ["OMP_NUM_THREADS"] == environ["OPENBLAS_NUM_THREADS"] == "2"
    environ = {"OMP_WAIT_POLICY": "active"}
    threads.settle(environ=environ)
    assert (environ["OMP_NUM_THREADS"], environ["OMP_WAIT_POLICY"]) == ("1", "active")


def test_a_pool_has_the_threads_that_were_settled_or_set(machine, monkeypatch):
    machine(0.0, 8)
    monkeypatch.setattr(threads, "settled", None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.workers() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.workers() == 3
    for chosen, wanted in ((0, 8), (1, 1), (2, 2)):
        monkeypatch.setattr(threads, "settled", threads.Choice(chosen, False, ""))
        assert threads.workers() == wanted


def test_a_quota_is_a_limit(monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(threads.Path, "read_text", lambda _: "250000 100000\n")
    assert threads.cores() == 2
    monkeypatch.setattr(threads.Path, "read_text", lambda _: "max 100000\n")
    assert threads.cores() == 64


def test_every_verb_takes_threads(monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    assert cli.settled(["a", "--threads", "2", "--b"]) == ["a", "--b"]
    assert cli.settled(["a", "--threads=2", "--b"]) == ["a", "--b"]
    for words in (["--threads"], ["--threads", "none"], ["--threads=0"]):
        with pytest.raises(VergenceError, match="--threads"):
            cli.settled(words)


def test_what_others_take_is_tried(monkeypatch):
    passing = iter(i / 1000 for i in range(10**6))
    monkeypatch.setattr(threads.time, "perf_counter", lambda: next(passing))
    worked = iter([0.0, 0.05, 0.0, 0.05])
    monkeypatch.setattr(threads.time, "thread_time", lambda: next(worked))
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert threads.others_running() == pytest.approx(0.5, abs=0.02)  # half of the time is another's

    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads.ThreadPoolExecutor, "submit", refused)
    assert threads.others_running() is None


def test_a_helper_leaves_the_cores_to_its_caller():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads.helper("reading") as pool:
            assert pool.submit(lambda: (torch.rand(400_000).exp().sum(), torch.get_num_threads())[1]).result() == 1
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_was_asked_for_is_taken_and_waits_asleep_where_there_are_fewer_cores(machine):
    machine(0.0)
    for given, asleep in ((1, False), (4, False), (5, True), (1024, True)):
        found = threads.choose(given, environ={"OMP_NUM_THREADS": "3"})
        assert (found.threads, found.asleep) == (given, asleep)
    for given in (-1, 1025):
        with pytest.raises(VergenceError, match=f"--threads {given}"):
            threads.choose(given)


def test_a_core_is_looked_at_for_a_moment():
    begun = time.perf_counter()
    assert 0 < threads._share_of_a_core(0) <= 1.01
    assert time.perf_counter() - begun >= threads.LOOK_S
