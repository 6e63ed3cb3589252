"""What is told where nobody sees bars: how long it will take, and a sign of life."""

from __future__ import annotations

import io

import pytest
import rich
from rich.console import Console

from vergence.progress import Pace, about
from vergence.report import bars as module
from vergence.report.bars import bars


@pytest.fixture
def screen(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(rich, "_console", Console(file=text, width=120, force_terminal=False))
    return text


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("done", "total", "seconds", "told"),
    [(50, 1000, 0.5, "pose: 6 of 1000, about 8 min left\n"), (11, 10, 0.8, "")],
    ids=["once, as soon as it can be", "not what is done in seconds"],
)
def test_the_time_that_is_left_is_told(screen, clock, done, total, seconds, told):
    with bars() as progress:
        for step in range(done):
            progress("pose", step, total)
            clock[0] += seconds
    assert screen.getvalue() == told


def test_a_line_a_minute_also_where_nothing_is_told_for_longer(screen, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    with bars() as progress:
        progress("reading [a]", 0, None)
        for _ in range(100):
            if screen.getvalue().count("\n") >= 2:
                break
            module.time.sleep(0.05)
    assert screen.getvalue().startswith("reading [a], about 1 s so far\nreading [a], ")


def test_a_thing_is_named_once_after_some_seconds(screen, clock):
    lines = module._Lines()
    lines("reading", 0, None)
    lines("reading: a", 0, 2)
    lines.look()
    assert screen.getvalue() == ""
    clock[0] = 3.5
    lines.look()
    lines.look()
    assert screen.getvalue() == "reading: a: 0 of 2\n"
    lines("reading: a", 2, 2)
    lines("writing", 0, None)
    clock[0] = 7.0
    lines.look()
    lines("writing", 1, 1)
    clock[0] = 20.0
    lines.look()
    assert screen.getvalue() == "reading: a: 0 of 2\nwriting, about 4 s so far\n"


def test_a_time_that_the_name_came_with_is_not_told_again(screen, clock):
    lines = module._Lines()
    for step in range(12):
        lines("pose", step, 4000)
        clock[0] += 0.25
    lines.look()
    lines("pose", 12, 4000)
    assert screen.getvalue() == "pose: 11 of 4000, about 18 min left\n"


def test_what_will_soon_be_done_is_not_named(screen, clock):
    lines = module._Lines()
    for step in range(4):
        lines("pose", step, 9)
        clock[0] += 1
    lines.look()
    assert screen.getvalue() == ""


def test_of_short_things_in_a_row_one_is_named_in_ten_seconds(screen, clock):
    """Four videos of 8 s each were half a minute without a word."""
    lines = module._Lines()
    for video in "abcd":
        for step in range(9):
            lines(video, step, 8)
            lines.look()
            clock[0] += step < 8
    assert screen.getvalue() == "b: 3 of 8, about 5 s left\nc: 5 of 8, about 3 s left\nd: 7 of 8, about 1 s left\n"


def test_a_sign_of_life_between_two_things(screen, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    with bars() as progress:
        progress("reading", 3, 3)
        for _ in range(100):
            if screen.getvalue():
                break
            module.time.sleep(0.05)
    assert screen.getvalue().startswith("still at work, about 1 s so far\n")


def test_a_resumed_thing_is_paced_by_what_this_process_did(screen, clock):
    with bars() as progress:
        for step in range(900, 910):
            progress("pose", step, 1000)
            clock[0] += 1
    assert screen.getvalue() == "pose: 903 of 1000, about 2 min left\n"


def test_quiet_says_nothing(screen, clock):
    with bars(quiet=True) as progress:
        progress("pose", 1, 2)
    assert screen.getvalue() == ""


def test_the_whole_time_of_several_stages_is_told_once(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr("vergence.progress.time.monotonic", lambda: now[0])
    pace = Pace(lambda *_: None, {"first": 100.0, "second": 800.0}, said.append)
    for step in range(12):
        pace("first", step, 50)
        now[0] += 10.0 if step == 0 else 1.0
    assert said == ["training takes about 7 min"]  # 46 steps of 1 s, and 400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "about 1 s"), (7, "about 7 s"), (43, "about 45 s"), (80, "about 1 min"), (5000, "about 83 min"),
     (9000, "about 2.5 h")],
)  # fmt: skip
def test_times_are_said_as_people_do(seconds, said):
    assert about(seconds) == said
