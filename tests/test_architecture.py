"""The layout of the house: imports lead downward, rooms of a floor do not know each other, files stay readable."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

import vergence

SOURCE = Path(vergence.__file__).parent
REPOSITORY = SOURCE.parent.parent
FILES = sorted(p for p in SOURCE.rglob("*.py"))
MOST_LINES = 450

# From the ground up. A name is a room: a folder or a file of the package. Rooms in one tuple are one room.
FLOORS: list[list[tuple[str, ...]]] = [
    [
        ("version",),
        ("errors",),
        ("files",),
        ("devices",),
        ("skeleton",),
        ("recipes",),
        ("geometry",),
        ("networks",),
    ],
    [
        ("footage", "posefiles"),
        ("metrics",),
        ("views", "crops", "augment", "dataset", "labels", "mixture"),
    ],
    [("methods",), ("data",), ("synthetic",)],
    [("sources",), ("training", "optimizers"), ("estimator",), ("runs", "shared")],
    [("evaluation", "benchmark", "predictions"), ("comparison", "reproduction"), ("search",)],
    [("report",)],
    [("cli", "commands")],
]

# What may be imported by anybody on the same floor or below it: names that mean nothing by themselves.
COMMON = {"version", "errors", "files", "devices", "skeleton", "recipe", "settings"}

# Imports between rooms of one floor that there is a reason for.
SIDEWAYS = {
    ("networks", "recipe"): "the sizes of a network are settings",
    ("shared", "sources"): "runs share the images that they open",
    ("runs", "sources"): "a run opens its sources, trains its stages and saves its estimator",
    ("runs", "training"): "as above",
    ("runs", "estimator"): "as above",
}


def floor_of(room: str) -> int:
    for number, rooms in enumerate(FLOORS, 1):
        if any(room in names for names in rooms):
            return number
    raise AssertionError(f"{room} stands on no floor: give it a place in FLOORS")


def same_room(a: str, b: str) -> bool:
    return any(a in names and b in names for rooms in FLOORS for names in rooms)


def room_of(module: str) -> str:
    """`geometry` of `vergence.geometry.camera`."""
    return module.split(".")[1]


def imports_of(file: Path) -> set[str]:
    """Vergence modules that a file imports anywhere in it, but for those that only a type checker reads."""
    tree = ast.parse(file.read_text())
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in node.body
        for inner in ast.walk(child)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [f"vergence.{a.name}" for a in node.names] if node.module == "vergence" else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in names if name.startswith("vergence.")}
    return found


def relative(file: Path) -> str:
    return str(file.relative_to(SOURCE))


EDGES = [
    (relative(file), room_of("vergence." + relative(file).removesuffix(".py").replace("/", ".")), room_of(module))
    for file in FILES
    if file.parent != SOURCE or file.stem != "__init__"
    for module in sorted(imports_of(file))
    if not module.endswith("__version__")
]


def test_the_walk_sees_the_imports():
    assert ("cli.py", "cli", "errors") in EDGES
    assert len(EDGES) > 100


def test_every_room_has_a_place():
    for file in FILES:
        if relative(file) != "__init__.py":
            floor_of(room_of("vergence." + relative(file).removesuffix(".py").replace("/", ".")))


def test_imports_lead_downward():
    upward = [(file, to) for file, room, to in EDGES if floor_of(to) > floor_of(room)]
    assert upward == []


def test_rooms_of_a_floor_do_not_know_each_other():
    sideways = {
        (file, to)
        for file, room, to in EDGES
        if floor_of(to) == floor_of(room) and not same_room(room, to) and to not in COMMON
        if (room, to) not in SIDEWAYS
    }
    assert sideways == set()


def test_every_exception_is_used():
    used = {(room, to) for _, room, to in EDGES}
    assert set(SIDEWAYS) - used == set()


def test_settings_import_no_torch():
    for name in ("recipe.py", "settings.py", "errors.py", "cli.py"):
        tree = ast.parse((SOURCE / name).read_text())
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not any(str(m).split(".")[0] in ("torch", "numpy", "lightning") for m in modules), name


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_files_are_short_and_say_what_they_are(file):
    text = file.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    if len(text.splitlines()) > 3:
        assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_the_wheel_carries_every_file_that_is_not_code():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["vergence"]
    others = [
        p for p in SOURCE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc") and ".mypy_cache" not in str(p)
    ]
    assert len(others) > 3
    missing = [relative(p) for p in others if not any(fnmatch.fnmatch(relative(p), pattern) for pattern in patterns)]
    assert missing == []


def test_links_between_documents_lead_somewhere():
    broken = []
    for page in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append((page.name, target))
    assert broken == []


def test_the_first_command_of_the_readme_is_the_one_that_is_tested():
    text = (REPOSITORY / "README.md").read_text()
    block = text.split("<!-- test command -->")[1].split("<!-- end -->")[0]
    lines = [line for line in block.splitlines() if line and not line.startswith("```")]
    assert len(lines) == 1
    assert lines[0].endswith("scripts/check.py")
    assert "README.md" in (REPOSITORY / ".ci" / "run").read_text()
