"""Registries: what is added from outside is found by its name, and nothing runs that the user did not name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from vergence import plugins
from vergence.errors import VergenceError

FILE = """
from dataclasses import dataclass
from vergence import Source, plugins

@plugins.datasets.register({name!r})
@dataclass
class Mine(Source):
    path: str = ""
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Registries as they were."""
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    monkeypatch.setattr(plugins, "_digests", dict(plugins._digests))
    for registry in (plugins.methods, plugins.datasets, plugins.heads, plugins.backbones):
        monkeypatch.setattr(registry, "_found", dict(registry._found))
        monkeypatch.setattr(registry, "_named", dict(registry._named))


def plugin(tmp_path, name: str = "mine"):
    path = tmp_path / f"{name}.py"
    path.write_text(FILE.format(name=name))
    return path


def test_a_file_registers_once(tmp_path):
    file = plugin(tmp_path)
    assert "mine" not in plugins.datasets
    plugins.load_plugins([file])
    found = plugins.datasets["mine"]
    plugins.load_plugins([str(file)])
    assert plugins.datasets["mine"] is found
    assert plugins.datasets.name_of(found) == "mine"
    assert found(path="x").kind == "mine"
    assert list(plugins.datasets)[-1] == "mine"


def test_two_of_one_name_are_refused(tmp_path):
    plugins.load_plugins([plugin(tmp_path)])
    (tmp_path / "other").mkdir()
    with pytest.raises(VergenceError, match=f"another kind of source is called 'mine' .{tmp_path}/"):
        plugins.load_plugins([plugin(tmp_path / "other")])
    with pytest.raises(VergenceError, match="is called 'coco'"):
        plugins.datasets.register("coco")(type("Coco", (), {}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nx.y\n", r"bad\.py failed, line 2: AttributeError: 'int' object has no attribute 'y'\. Mend the file"),
        ("x = 1\n\nx = (\n", r"bad\.py failed, line 3: SyntaxError: '\(' was never closed"),
    ],
)
def test_a_file_that_fails_is_one_sentence_with_its_line(tmp_path, text, said):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(VergenceError, match=said):
        plugins.load_plugins([tmp_path / "bad.py"])
    with pytest.raises(VergenceError, match="no plug-in nothing"):
        plugins.load_plugins(["nothing.py"])


def test_an_error_in_a_plug_ins_code_names_its_line_and_other_errors_pass(tmp_path):
    (tmp_path / "deep.py").write_text("import numpy as np\n\n\ndef add(a, b):\n    return np.add(a, b)\n")
    plugins.load_plugins([tmp_path / "deep.py"])
    (name,) = [name for name, path in plugins._loaded.items() if path.name == "deep.py"]
    add = sys.modules[name].add
    with (
        pytest.raises(VergenceError, match=r"deep\.py failed, line 5: ValueError: operands") as caught,
        plugins.blaming(),
    ):
        add([1, 2], [1, 2, 3])
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ZeroDivisionError), plugins.blaming():
        _ = 1 / 0


def test_unknown_names_say_what_is_near_or_all():
    with pytest.raises(VergenceError, match="Did you mean supervised"):
        plugins.methods["supervize"]
    with pytest.raises(VergenceError, match=r"There are supervised, epipolar_pose.*module:Class"):
        plugins.methods["x"]


def test_a_name_may_be_a_module_and_its_attribute():
    assert plugins.datasets["vergence.recipes.sources:Coco"] is plugins.datasets["coco"]
    with pytest.raises(VergenceError, match="cannot be imported"):
        plugins.methods["no_such_package:Method"]
    with pytest.raises(VergenceError, match="cannot be imported"):
        plugins.methods["vergence.skeleton:Method"]


def test_entry_points_are_found_by_their_group(monkeypatch):
    point = SimpleNamespace(name="theirs", load=lambda: "a method")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "vergence.methods" else [])
    registry = plugins.Registry("method", "vergence.methods", ours="vergence.skeleton:H36M_17")
    assert list(registry) == ["ours", "theirs"]
    assert registry["theirs"] == "a method"


def test_what_needs_a_plug_in_says_what_to_type(tmp_path):
    with pytest.raises(VergenceError, match=r"^broken\. Mend it"), plugins.needed_by("run", []):
        raise VergenceError("broken.", "Mend it.")
    with (
        pytest.raises(
            VergenceError, match=r"run was made with plug-ins.*add --plugins a/mine\.py, or in Python plugins="
        ),
        plugins.needed_by("run", ["a/mine.py"]),
    ):
        plugins.datasets["mine"]
    plugins.load_plugins([plugin(tmp_path)])
    with pytest.raises(VergenceError, match=r"^broken"), plugins.needed_by("run", ["a/mine.py"]):
        raise VergenceError("broken")


def test_changed_code_is_another_digest_once_it_is_loaded(tmp_path):
    file = plugin(tmp_path)
    plugins.load_plugins([file])
    first = plugins.datasets["mine"]
    before = plugins.code_of(first)
    file.write_text(file.read_text().replace("path: str", "steps: int = 7\n    path: str"))
    assert len(before) == 12
    assert plugins.code_of(plugins.datasets["mine"]) == before  # the code that runs is still the old one
    plugins.load_plugins([file])
    assert plugins.datasets["mine"](path="x").steps == 7
    assert plugins.code_of(plugins.datasets["mine"]) not in (before, "")
    assert plugins.code_of(plugins.datasets["coco"]) == ""
