"""Who is told how far a call has come, where it has no callback of its own."""

from __future__ import annotations

from threading import Thread

import pytest

from vergence.progress import followed, heard, hearing, silent


def test_what_stands_behind_a_contract_is_heard():
    told = []
    with heard(lambda *what: told.append(what), "source wild"):
        assert list(followed("ab", "clips", 2, hearing())) == ["a", "b"]
    assert told == [
        ("source wild", 0, None), ("source wild: clips", 0, 2), ("source wild: clips", 1, 2), ("source wild: clips", 2, 2),
        ("source wild", 1, 1),
    ]  # fmt: skip
    assert hearing() is silent


def test_blocks_stand_in_each_other_and_what_fails_is_never_told_done():
    told = []

    def run() -> None:
        with heard(lambda *what: told.append(what), "run"):
            with heard(hearing(), "labels"):
                hearing()("images", 1, 2)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run()
    assert told == [
        ("run", 0, None), ("run: labels", 0, None), ("run: labels: images", 1, 2), ("run: labels", 1, 1)
    ]  # fmt: skip
    assert hearing() is silent


def test_another_thread_is_not_heard():
    found = []
    with heard(lambda *what: None, "source"):
        thread = Thread(target=lambda: found.append(hearing()))
        thread.start()
        thread.join()
    assert found == [silent]
