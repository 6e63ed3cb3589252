"""What a signature and a docstring make of a command line."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from vergence.cli import VERBS, function_of, functions, main
from vergence.commands.console.options import parameters, parse, parser_of, sections
from vergence.errors import VergenceError

FUNCTIONS = functions()


def verb(
    source: Path,
    many: list[str] = [],  # noqa: B006
    out: Path = Path("there"),
    how: Literal["fast", "well"] = "fast",
    only_half: bool = False,
    overlay: bool = True,
    flip: bool | None = None,
    count: int | None = None,
    share: float = 0.5,
    overrides: list[str] = [],  # noqa: B006
    command: str = "",
) -> None:
    """Does something with a source, in two
    lines.

    Example: vergence verb here

    Args:
        source: what is read.
        many (NAME): more of them.

    How it is done (--how well):
        out (FOLDER): for all.
        how: fast or well, 50 % each.
        only_half: of it.
        overlay: no overlay.
        flip: as in a mirror.
        count: of things.
        share: of each.
    """


verb.placed = ("many",)  # type: ignore[attr-defined]
verb.formerly = {"half": "only_half"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a"], {"source": Path("a")}),
        (["a", "b", "c"], {"many": ["b", "c"]}),
        (["--only-half", "a"], {"only_half": True, "source": Path("a")}),
        (["a", "--only_half", "false"], {"only_half": False}),
        (["a", "--half"], {"only_half": True}),
        (["a", "--no-overlay", "b"], {"overlay": False, "many": ["b"]}),
        (["a", "--overlay=no"], {"overlay": False}),
        (["a", "--flip"], {"flip": True}),
        (["a", "--no-flip"], {"flip": False}),
        (["a", "--count", "-3", "--share=1e-2"], {"count": -3, "share": 0.01}),
        (["a", "--how", "well"], {"how": "well"}),
        (["a", "--stages.pose.train.steps", "7", "--seed=3"], {"overrides": ["--stages.pose.train.steps=7", "--seed=3"]}),
        (["a b", "--out", "o"], {"command": "vergence verb 'a b' --out o", "out": Path("o")}),
    ],
)  # fmt: skip
def test_words_become_arguments(words, found):
    got = parse(verb, "verb", words)
    assert {name: got[name] for name in found} == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "source is not given"),
        (["a", "--how", "slow"], "--how slow. Give fast or well"),
        (["a", "--count", "2.5"], "--count 2.5. Give a whole number"),
        (["a", "--share", "nan"], "--share nan. Give a number"),
        (["a", "--only-half=perhaps"], "--only-half perhaps. Give true or false"),
        (["a", "--out"], "expected one argument"),
        (["a", "--out", ""], "--out is empty. Give a path"),
        ([""], "source is empty. Give a path"),
    ],
)
def test_words_that_fit_nothing_are_named_as_they_are_written(words, said):
    with pytest.raises(VergenceError) as caught:
        parse(verb, "verb", words)
    assert said in str(caught.value)


def test_a_word_near_an_option_is_told():
    def plain(out: Path = Path("o"), held_out: float = 0.2) -> None:
        """Does.

        Args:
            out: there.
            held_out: share.
        """

    with pytest.raises(VergenceError, match=r"no option --held-uot\. Did you mean --held-out\?"):
        parse(plain, "plain", ["--held-uot", "0.1"])
    with pytest.raises(VergenceError, match=r"'a' is one too many"):
        parse(plain, "plain", ["a"])


def test_what_is_given_by_its_place_is_no_option_to_mean():
    with pytest.raises(VergenceError, match=r"no option --out\. It is given by its place, without a name\."):
        parse(function_of("synth"), "synth", ["--out", "somewhere"])


def test_the_help_tells_no_types_and_one_spelling():
    text = parser_of(verb, "verb").format_help()
    assert text.startswith(
        "usage: vergence verb SOURCE [NAME ...] [options]\n\nDoes something with a source, in two lines."
    )
    assert "How it is done (--how well):" in text
    assert re.search(r"--only-half {2,}of it\n", text)
    assert re.search(r"--no-overlay {2,}no overlay", text)
    assert re.search(r"--flip, --no-flip {2,}as in", text)
    assert re.search(r"--share X {2,}of each \(default: 0\.5\)", text)
    assert re.search(r"--threads N {2,}threads of the libraries", text)
    assert re.search(r"--how fast\|well {2,}fast or well, 50 % each \(default: fast\)", text)
    assert "_half" not in text
    assert "overrides" not in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_verb_is_in_its_help_and_no_python(name, monkeypatch):
    function = FUNCTIONS[name]
    about, groups = sections(inspect.getdoc(function) or "")
    documented = {entry for _, entries in groups for entry in entries}
    assert documented == set(parameters(function)) - {"overrides", "command"}
    assert "Example: vergence" in about or name in ("doctor", "completion")
    assert all("(--" in title or title == "arguments" for title, _ in groups)
    for columns in ("80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        text = parser_of(function, name).format_help()
        assert not re.search(r"<class|Optional|Literal|\bnull\b|\{true", text)
        assert not re.findall(r"--[a-z]+_[a-z_]+", text)


def test_a_shells_completion_knows_verbs_and_options(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in (*VERBS, "--ignore-extrinsics", "--skip-unreadable", "--no-overlay"))
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=20)
    assert done.returncode == 0, (done.stderr, sys.platform)
