"""The public API: what is public is documented, and what is documented is there, typed and with a docstring."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import vergence

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def signatures(thing: object) -> dict[str, inspect.Signature]:
    """Of a function its own, of a class its constructor's and those of the public methods that it defines."""
    if not inspect.isclass(thing):
        return {thing.__name__: inspect.signature(thing)}  # type: ignore[attr-defined, arg-type]
    own = {name: getattr(thing, name) for name in vars(thing) if not name.startswith("_")}
    methods = {name: inspect.signature(one) for name, one in own.items() if inspect.isroutine(one)}
    return {thing.__name__: inspect.signature(thing)} | methods


def test_the_page_has_a_section_for_each_public_name_and_no_other():
    assert sorted(SECTIONS) == sorted(vergence.PUBLIC)
    assert sorted(vergence.__all__) == sorted(["__version__", *vergence.PUBLIC])
    assert sorted(dir(vergence)) == sorted(vergence.__all__)


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("data.coco", "read_coco", "datasets.coco.read_coco"),
        ("data.media", "picture_size", "datasets.formats.media.image_size"),
        ("footage.video", "read_picture", "footage.images.read_image"),
        ("geometry.quality", "Report", "reconstruction.quality.Report"),
        ("geometry.reconstruction", "reconstruct", "reconstruction.solve.reconstruct_keypoints"),
        ("geometry.reconstruction", "stature", "geometry.body.stature"),
        ("posefiles", "read_npz", "outputs.read_npz"),
    ],
)
def test_old_names_are_read_with_a_warning(old: str, name: str, new: str):
    home, _, own = new.rpartition(".")
    with pytest.warns(FutureWarning, match=f"vergence.{old}.{name} is now vergence.{new}"):
        found = getattr(importlib.import_module(f"vergence.{old}"), name)
    assert found is getattr(importlib.import_module(f"vergence.{home}"), own)
    with pytest.raises(AttributeError, match="nothing"):
        _ = importlib.import_module(f"vergence.{old}").nothing


def test_a_module_that_never_was_is_not_found():
    for name in ("vergence.data.nothing", "vergence.nothing"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vergence.nothing


def test_the_package_is_imported_without_what_is_heavy():
    code = "import sys, vergence; print([m for m in ('torch', 'numpy', 'lightning', 'cv2') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", vergence.PUBLIC)
def test_a_public_name_is_typed_and_says_what_it_is(name):
    thing = getattr(vergence, name)
    assert inspect.getdoc(thing), "no docstring"
    if isinstance(thing, ModuleType) or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return
    for method, signature in signatures(thing).items():
        untyped = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
        ]
        assert untyped == [], method
        if method != thing.__name__ or not inspect.isclass(thing):
            assert signature.return_annotation is not signature.empty, method


@pytest.mark.parametrize("name", vergence.PUBLIC)
def test_the_section_names_every_parameter_of_a_function(name):
    thing = getattr(vergence, name)
    if not inspect.isfunction(thing):
        return
    words = set(re.findall(r"\w+", SECTIONS[name]))
    assert [parameter for parameter in inspect.signature(thing).parameters if parameter not in words] == []


def test_the_examples_of_the_page_are_python_and_use_public_names():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= len(SECTIONS) / 2
    for block in blocks:
        tree = ast.parse(block)
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vergence"
        }
        assert used <= set(vergence.__all__), block
