"""What a library raises becomes one sentence; what is not meant passes as it is."""

from __future__ import annotations

from pathlib import Path
from socket import gaierror
from urllib.error import URLError

import pytest

from vergence.errors import VergenceError, check_choice, check_seed, meant, refusing, several


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no float\nand more"), "a.json is damaged: no float. Write it again."),
        (KeyError("pose"), "a.json is damaged: there is no 'pose' in it. Write it again."),
        (KeyError("Unable to open object"), "a.json is damaged: Unable to open object. Write it again."),
        (IndexError("list index out of range"), "a.json is damaged: it ends too soon. Write it again."),
        (PermissionError(13, "Permission denied", "a.json"), "a.json is damaged: Permission denied. Write it again."),
        (EOFError(), "a.json is damaged: it ends too soon. Write it again."),
        (
            URLError(OSError(-2, "Name or service not known")),
            "a.json is damaged: Name or service not known. Write it again.",
        ),
        (
            URLError(gaierror(-2, "Name or service not known")),
            "a.json is damaged: no network, or no such server there (Name or service not known). Write it again.",
        ),
        (RuntimeError(), "a.json is damaged: RuntimeError. Write it again."),
    ],
)
def test_what_a_library_raises_is_one_sentence(error, words):
    with pytest.raises(VergenceError) as found, refusing("a.json is damaged", "Write it again."):
        raise error
    assert str(found.value) == words
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", [TypeError("a bug"), VergenceError("told already"), KeyboardInterrupt()])
def test_what_is_not_meant_passes(error):
    with pytest.raises(type(error)) as found, refusing("a.json is damaged", "", ValueError):
        raise error
    assert found.value is error


def test_what_was_told_already_keeps_its_remedy_behind_where_it_happened():
    with pytest.raises(VergenceError) as found, refusing("row 3", "Look there.", VergenceError):
        raise VergenceError("the unit is 'x'", "Give mm.")
    assert str(found.value) == "row 3: the unit is 'x'. Give mm."


@pytest.mark.parametrize(
    ("word", "said"),
    [("BVH", "Did you mean bvh?"), (" bvh", "Did you mean bvh?"), ("Pose", "Did you mean POSE?"), ("fbx", "none")],
)
def test_capital_letters_and_spaces_hide_no_name(word, said):
    assert meant(word, ["npz", "bvh", "POSE"], "none") == said


def test_a_word_that_is_no_choice_is_told_with_the_nearest_and_all():
    check_choice("sync", "auto", ("auto", "off"))
    with pytest.raises(VergenceError) as found:
        check_choice("sync", "of", ("auto", "off"))
    assert str(found.value) == "sync is 'of'. Did you mean off? It is one of auto, off."


@pytest.mark.parametrize("seed", [-1, 0.5, "3", None])
def test_what_is_no_seed_is_refused(seed):
    check_seed(0)
    with pytest.raises(VergenceError, match="seed is "):
        check_seed(seed)


@pytest.mark.parametrize("given", ["a", Path("a"), ["a", Path("b")], ("a",)])
def test_one_path_stands_for_a_list_of_one(given: object) -> None:
    assert several(given) == ([given] if isinstance(given, str | Path) else list(given))  # type: ignore[call-overload]
