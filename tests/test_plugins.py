"""Registries: what is added from outside is found by its name, and nothing runs that the user did not name."""

from __future__ import annotations

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
    with pytest.raises(VergenceError, match="another kind of source is called 'mine'"):
        plugins.load_plugins([plugin(tmp_path / "other")])
    with pytest.raises(VergenceError, match="is called 'coco'"):
        plugins.datasets.register("coco")(type("Coco", (), {}))


@pytest.mark.parametrize(
    ("text", "said"),
    [("x = 1\nx.y\n", r"failed, line 2 of bad\.py: AttributeError"), ("x = (", "failed.*SyntaxError")],
)
def test_a_file_that_fails_is_one_sentence_with_its_line(tmp_path, text, said):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(VergenceError, match=said):
        plugins.load_plugins([tmp_path / "bad.py"])
    with pytest.raises(VergenceError, match="no plug-in nothing"):
        plugins.load_plugins(["nothing.py"])


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


def test_changed_code_is_another_digest(tmp_path):
    file = plugin(tmp_path)
    plugins.load_plugins([file])
    before = plugins.code_of(plugins.datasets["mine"])
    file.write_text(file.read_text() + "# more\n")
    assert len(before) == 12
    assert plugins.code_of(plugins.datasets["mine"]) != before
    assert plugins.code_of(plugins.datasets["coco"]) == ""
