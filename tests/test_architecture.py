"""The layout of the house: imports lead downward, nothing goes in a circle, files stay readable, nothing is written twice."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

import vergence

SOURCE = Path(vergence.__file__).parent
REPOSITORY = SOURCE.parent.parent
FILES = sorted(SOURCE.rglob("*.py"))

# From the ground up. A room imports from lower floors and from its neighbours, as long as neighbours make no circle.
FLOORS = [
    {"recipes", "geometry", "networks", "metrics"},
    {"footage", "outputs", "batches"},
    {"reconstruction"},
    {"methods", "lifting", "datasets", "world"},
    {"protocols"},
    {"inference"},
    {"training"},
    {"evaluation"},
    {"comparison", "learning", "bulk"},
    {"report"},
    {"commands"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ROOT = {"cli", "errors", "files", "folders", "plugins", "progress", "skeleton"}  # anybody may import these
PAPERS = {"epipolar_pose", "multiview_consistency", "geometric_constraint", "mcss"}  # only built_in.toml names them

MOST_LINES = 400
MOST_LINES_OF_A_COMMAND = 120
MOST_MODULES_OF_A_ROOM = 14  # beside __init__.py; sub-rooms are counted by themselves
EQUAL_LINES = 6
MOST_COPIES = 10


def name_of(file: Path) -> str:
    """`vergence.geometry.camera` of its file, `vergence.geometry` of the room's `__init__.py`."""
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def room_of(module: str) -> str:
    """`geometry` of `vergence.geometry.camera`; the file's name in the root."""
    return module.split(".")[1]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def unread(tree: ast.Module) -> set[int]:
    """Nodes that only a type checker reads."""
    tests = (n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING"))
    return {id(inner) for test in tests for child in test.body for inner in ast.walk(child)}


def deferred(tree: ast.Module) -> set[int]:
    """Nodes that run only when a function is called."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {id(inner) for function in functions for child in function.body for inner in ast.walk(child)}


def home(name: str) -> str:
    """The module in which an imported name lives: names of the public table lead to where they are defined."""
    package, _, last = name.rpartition(".")
    if package == "vergence" and name not in MODULES:
        return vergence.PUBLIC.get(last) or "vergence"
    return name if name in MODULES else package


def imported(tree: ast.Module, skip: set[int]) -> Iterator[str]:
    """What a tree imports, Vergence's modules by the module and others by their full name."""
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vergence":
            names = [f"vergence.{node.attr}"]
        else:
            continue
        yield from (home(name) if name.split(".")[0] == "vergence" else name for name in names)


def graph(top_level: bool = False) -> dict[str, set[str]]:
    """Module -> Vergence modules that it imports anywhere in it (or only while it is imported itself)."""
    found = {}
    for module, file in MODULES.items():
        tree = tree_of(file)
        skip = unread(tree) | (deferred(tree) if top_level else set())
        found[module] = {name for name in imported(tree, skip) if name in MODULES} - {module, "vergence"}
    return found


GRAPH = graph()
EDGES = sorted((a, b) for a, others in GRAPH.items() if a != "vergence" for b in others)


def circle(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that are left when those are taken away, again and again, that nothing leads to or on from."""
    left = set(edges)
    while True:
        sources, targets = {a for a, _ in left}, {b for _, b in left}
        kept = {(a, b) for a, b in left if a in targets and b in sources}
        if kept == left:
            return sorted(left)
        left = kept


def test_the_walk_sees_the_imports():
    assert ("vergence.cli", "vergence.errors") in EDGES
    assert len(EDGES) > 300
    assert circle([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]) == [("b", "c"), ("c", "b")]
    tree = ast.parse("from vergence import VergenceError\ndef f():\n    import torch.nn\n    vergence.load('x')")
    assert set(imported(tree, set())) == {"vergence.errors", "torch.nn", vergence.PUBLIC["load"]}
    assert set(imported(tree, deferred(tree))) == {"vergence.errors"}


def test_every_module_has_a_place():
    root = {file.stem for file in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert root == ROOT
    rooms = {folder.name for folder in SOURCE.iterdir() if folder.is_dir() and any(folder.glob("*.py"))}
    assert rooms == set(FLOOR)


def test_imports_lead_downward():
    rooms = [(a, b, room_of(a), room_of(b)) for a, b in EDGES]
    assert [(a, b) for a, b, x, y in rooms if x in FLOOR and y in FLOOR and FLOOR[x] < FLOOR[y]] == []
    assert [(a, b) for a, b, x, y in rooms if x in ROOT - {"cli"} and y in FLOOR] == []


def test_no_circle_between_rooms():
    pairs = {(room_of(a), room_of(b)) for a, b in EDGES}
    assert circle((a, b) for a, b in pairs if a != b) == []


def test_no_circle_between_modules():
    assert circle(EDGES) == []


def test_only_pages_and_verbs_know_the_screen():
    drawn = [(a, b) for a, b in EDGES if room_of(b) == "report" and room_of(a) not in {"report", "commands", "cli"}]
    assert drawn == []
    written = [
        module
        for module, file in MODULES.items()
        if module != "vergence" and room_of(module) not in {"report", "commands", "cli"}
        if any(name.split(".")[0] == "rich" for name in imported(tree_of(file), unread(tree_of(file))))
    ]
    assert written == []


def test_nobody_prints_but_pages_and_verbs():
    printing = [
        f"{module}:{node.lineno}"
        for module, file in MODULES.items()
        if module != "vergence" and room_of(module) not in {"report", "commands", "cli"}
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_papers_are_known_by_name_only():
    papers = {f"vergence.methods.{paper}" for paper in PAPERS}
    assert papers <= set(MODULES)
    assert [(a, b) for a, b in EDGES if b in papers and room_of(a) != "methods"] == []


def test_recipes_and_the_command_line_import_no_torch():
    """Neither they nor what they import: `--help` must not wait for it."""
    arrows = graph(top_level=True)
    todo = [m for m in MODULES if m != "vergence" and room_of(m) in {"recipes", "cli", "plugins", "errors", "progress"}]
    reached: set[str] = set()
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += arrows[module]
    heavy = [
        (module, name)
        for module in sorted(reached)
        for tree in [tree_of(MODULES[module])]
        for name in imported(tree, unread(tree) | deferred(tree))
        if name.split(".")[0] in {"torch", "lightning", "transformers"}
    ]
    assert heavy == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_files_are_short_and_say_what_they_are(file):
    lines = file.read_text().splitlines()
    assert len(lines) <= (MOST_LINES_OF_A_COMMAND if file.parent.name == "commands" else MOST_LINES)
    if len(lines) > 3:
        assert ast.get_docstring(tree_of(file)), "no module docstring"


def test_rooms_hold_few_modules():
    rooms = Counter(str(file.parent.relative_to(SOURCE)) for file in FILES if file.stem != "__init__")
    assert {room: count for room, count in rooms.items() if count > MOST_MODULES_OF_A_ROOM} == {}


def telling_lines(text: str) -> list[tuple[int, str]]:
    """Numbers and words of the lines that say something: no imports, comments, blank lines or lone brackets."""
    imports = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = ((number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1))
    return [(n, line) for n, line in lines if n not in imports and re.search(r"\w", line) and not line.startswith("#")]


def copies(texts: dict[str, str], length: int = EQUAL_LINES) -> list[tuple[str, str]]:
    """Pairs of places (`file:line`) from which on at least `length` telling lines are equal; each run once."""
    lines = {name: telling_lines(text) for name, text in texts.items()}
    windows: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for name, found in lines.items():
        for start in range(len(found) - length + 1):
            windows.setdefault(tuple(line for _, line in found[start : start + length]), []).append((name, start))
    pairs = {pair for places in windows.values() for pair in combinations(places, 2)}
    starts = sorted((a, b) for a, b in pairs if ((a[0], a[1] - 1), (b[0], b[1] - 1)) not in pairs)
    return [tuple(f"{name}:{lines[name][start][0]}" for name, start in pair) for pair in starts]  # type: ignore[misc]


def test_the_search_for_copies_finds_them():
    body = "\n".join(f"x{i} = {i}" for i in range(6))
    spread = body.replace("\n", "\n\n    # a word\n")
    assert copies({"a": "import os\n" + body, "b": "y = 1\n" + spread.replace("    ", "")}) == [("a:2", "b:2")]
    assert copies({"a": body, "b": body.replace("x3", "z3")}) == []
    assert len(copies({"a": body + "\ny = 1\n" + body})) == 1
    longer = body + "\nx6 = 6"
    assert copies({"a": longer, "b": longer}) == [("a:1", "b:1")]  # one run, not two


def test_little_is_written_twice():
    found = copies({str(file.relative_to(SOURCE)): file.read_text() for file in FILES})
    assert len(found) <= MOST_COPIES, found


def test_the_wheel_carries_every_file_that_is_not_code():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["vergence"]
    others = [
        str(p.relative_to(SOURCE))
        for p in SOURCE.rglob("*")
        if p.is_file() and p.suffix not in (".py", ".pyc") and ".mypy_cache" not in str(p)
    ]
    assert len(others) > 3
    assert [name for name in others if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []


def pages() -> list[Path]:
    folders = [REPOSITORY / "docs", REPOSITORY / "findings"]
    return [*REPOSITORY.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]


def anchors(text: str) -> set[str]:
    """A page's headings as the links to them are spelled."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere():
    broken = []
    for page in pages():
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text()):
            there = page.parent / target if target else page
            if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
                broken.append((page.name, target, anchor))
    assert broken == []


def test_the_first_command_of_the_readme_is_the_one_that_is_tested():
    text = (REPOSITORY / "README.md").read_text()
    block = text.split("<!-- test command -->")[1].split("<!-- end -->")[0]
    lines = [line for line in block.splitlines() if line and not line.startswith("```")]
    assert len(lines) == 1
    assert lines[0].endswith("scripts/check.py")
    assert "README.md" in (REPOSITORY / ".ci" / "run").read_text()
