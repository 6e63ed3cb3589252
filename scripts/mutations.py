"""The single faults that `scripts/mutants.py` can plant, and which of them a seed draws.

A mutant is one change of one expression: an arithmetic operator, a comparison, a number, an index, a sign, two arguments of
one type or a pair as `width, height` in the other order. All places for one are found in the syntax tree. A hash of the seed,
the module, the function and the line says which are taken, so each seed is a sample of its own, and an edit elsewhere does not
draw new ones. Left out is what is no behaviour: messages, annotations, defaults, numbers that stand alone at a module's or
class's top (settings, of which a neighbour is as right), and those below 1e-4 (tolerances).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPERATORS = {ast.Add: "+-", ast.Sub: "-+", ast.Mult: "*/", ast.Div: "/*"}
COMPARISONS: dict[type, tuple[str, list[str]]] = {
    ast.Lt: ("<", ["<=", ">"]), ast.LtE: ("<=", ["<", ">="]), ast.Gt: (">", [">=", "<"]), ast.GtE: (">=", [">", "<="]),
    ast.Eq: ("==", ["!="]),
}  # fmt: skip
FLOATS = {0.5: "0.0", 0.0: "1.0", 1.0: "2.0"}
ORDERED = {"cross": 0, "arctan2": 0, "where": 1}  # functions of others whose arguments, from this one on, have an order
MESSAGES = {"VergenceError", "warn", "round", "isinstance"}
SETTINGS = "timeout decimals digits indent width maxsize maxlen stacklevel max_iter iterations seed atol rtol".split()
PAIRS = [set(pair.split()) for pair in "width height,w h,x y,u v,row column,rows columns,fx fy,cx cy".split(",")]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from `start` to `end` of a module become `new`."""

    module: str
    function: str
    number: int
    before: str
    after: str
    start: int
    end: int
    new: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from others, whatever lines stand above it."""
        return self.module, self.before, self.after


class Source:
    """A module's text with places in it by syntax node."""

    def __init__(self, module: str, text: bytes) -> None:
        self.module, self.text, self.tree = module, text, ast.parse(text)
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def start(self, node: Any) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node: Any) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: Any) -> str:
        return self.text[self.start(node) : self.end(node)].decode()

    def statement(self, number: int) -> list[str]:
        """The lines of the innermost statement at a line; of one with a body, those before it."""
        around = (n for n in ast.walk(self.tree) if isinstance(n, ast.stmt) and n.lineno <= number <= n.end_lineno)
        inner = max(around, key=lambda n: (n.lineno, -n.end_lineno))
        body = getattr(inner, "body", [])
        last = max(number, body[0].lineno - 1) if body else inner.end_lineno
        return [line.strip() for line in self.text.decode().splitlines()[inner.lineno - 1 : last]]

    def on_import(self, number: int) -> bool:
        """Whether a line is of no function's body: whoever imports the module first runs it, and nobody after that."""
        bodies = (n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        return not any(n.body[0].lineno <= number <= (n.end_lineno or 0) for n in bodies)

    def mutant(self, function: str, start: int, end: int, new: str) -> Mutant:
        number = next(n for n, at in enumerate(self.lines) if at > start)
        first, last = self.lines[number - 1], self.lines[number]
        stop = max(last, end)
        before = self.text[first:last].decode().strip()
        after = (self.text[first:start] + new.encode() + self.text[end:stop]).decode().split("\n")[0].strip()
        return Mutant(self.module, function, number, before, after, start, end, new)


def number_of(node: ast.AST | None) -> int | float | None:
    """The number that a node is, without its sign."""
    while isinstance(node, ast.UnaryOp):
        node = node.operand
    known = isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return node.value if known else None  # type: ignore[union-attr]


def is_setting(node: ast.Assign | ast.AnnAssign, value: ast.AST) -> bool:
    """Whether a module's or class's name gets a plain number, or several names get one each."""
    several = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(value, ast.Tuple)
    return all(number_of(part) is not None for part in (value.elts if several else [value]))  # type: ignore[attr-defined]


def called(node: ast.Call) -> str:
    """`f` of `f()` and of `a.b.f()`."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def inner(node: ast.AST, top: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The parts of a node that are behaviour, and whether an integer in them is an index."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "defaults", "kw_defaults", "type_params", "format_spec"}:
            continue
        if top and name == "value" and isinstance(node, ast.Assign | ast.AnnAssign) and is_setting(node, value):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield part, name in {"slice", "lower", "upper", "step", "args"} or isinstance(node, ast.keyword)


def silent(node: ast.AST) -> bool:
    """Whether a node is a message or a setting."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name in {"__repr__", "__str__"}
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return (isinstance(node, ast.keyword) and node.arg in SETTINGS) or (
        isinstance(node, ast.Call) and called(node) in MESSAGES
    )


def numbers(source: Source, node: ast.AST, index: bool) -> str:
    """What stands instead of a number; empty for a tolerance."""
    value: Any = number_of(node)
    if isinstance(node, ast.UnaryOp):  # an index from the end moves by one, any other number loses its sign
        moved = "-2" if value == 1 else f"-{value - 1}"
        return moved if index and isinstance(value, int) else source.of(node.operand)
    if isinstance(value, float):
        return FLOATS.get(value, f"({source.of(node)} * 2)") if value == 0 or abs(value) >= TOLERANCE else ""
    return str({0: 1, 1: 0}.get(value, value - 1) if index else value + 1)


def exchanged(source: Source, node: Any, signatures: dict[str, list[str]]) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Neighbours in a call or a list that could stand in the other order: `height, width` for `width, height`."""
    if not isinstance(node, ast.Call):
        for a, b in zip(node.elts, node.elts[1:]):
            if {source.of(a).rpartition(".")[2], source.of(b).rpartition(".")[2]} in PAIRS:
                yield a, b
    elif not any(isinstance(arg, ast.Starred) for arg in node.args):
        name = called(node)
        kinds = [""] * ORDERED[name] + ["array"] * 2 if name in ORDERED else signatures.get(name, [])
        for a, b, kind, other in zip(node.args, node.args[1:], kinds, kinds[1:]):
            if kind and kind == other and source.of(a) != source.of(b):
                yield a, b


def changes(source: Source, node: Any, index: bool, signatures: dict[str, list[str]]) -> Iterator[tuple[int, int, str]]:
    """All changes at one node: from where to where, and what stands there instead."""
    between: list[tuple[Any, Any, str, list[str]]] = []
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        left, right = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
        texts = (
            isinstance(s, ast.JoinedStr | ast.List) or isinstance(getattr(s, "value", 0), str) for s in (left, right)
        )
        if not any(texts):  # nor lists, nor paths
            old, new = OPERATORS[type(node.op)]
            between.append((left, right, old, [new]))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield source.start(node), source.end(node), f"(({source.of(node.right)}) @ ({source.of(node.left)}))"
    elif isinstance(node, ast.Compare):
        sides = zip([node.left, *node.comparators], node.comparators, node.ops)
        between += [(a, b, *COMPARISONS[type(op)]) for a, b, op in sides if type(op) in COMPARISONS]
    elif number_of(node) is not None:
        if new := numbers(source, node, index):
            yield source.start(node), source.end(node), new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield source.start(node), source.start(node) + 1, ""
    elif isinstance(node, ast.Call | ast.Tuple | ast.List):
        for a, b in exchanged(source, node, signatures):
            middle = source.text[source.end(a) : source.start(b)].decode()
            yield source.start(a), source.end(b), source.of(b) + middle + source.of(a)
    for left, right, old, instead in between:
        at = source.text.index(old.encode(), source.end(left), source.start(right))
        yield from ((at, at + len(old), new) for new in instead)


def candidates(source: Source, signatures: dict[str, list[str]]) -> Iterator[Mutant]:
    """Every mutant of a module."""

    def walk(node: ast.AST, function: str, index: bool, top: bool) -> Iterator[Mutant]:
        if silent(node):
            return
        yield from (source.mutant(function, *change) for change in changes(source, node, index, signatures))
        if number_of(node) is not None:
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function, top = f"{function}.{node.name}".lstrip("."), isinstance(node, ast.ClassDef)
        for part, place in inner(node, top):
            container = isinstance(node, ast.Tuple | ast.UnaryOp) and index
            yield from walk(part, function, place or container, top)

    yield from walk(source.tree, "", False, True)


def signatures_of(trees: list[ast.Module]) -> dict[str, list[str]]:
    """Annotations of the positional arguments by function name; those of one name that differ are left out."""
    found: dict[str, list[str]] = {}
    for node in (n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        kinds = [
            ast.unparse(a.annotation) if a.annotation else "" for a in node.args.args if a.arg not in {"self", "cls"}
        ]
        found[node.name] = kinds if found.get(node.name, kinds) == kinds else []
    return found


def draw(source_root: Path, seed: int, count: int, rooms: dict[str, int]) -> list[Mutant]:
    """The mutants of a seed, one a line at most; each room has its share."""
    package = source_root / "vergence"
    signatures = signatures_of([ast.parse(file.read_bytes()) for file in sorted(package.rglob("*.py"))])
    drawn: list[Mutant] = []

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.function} {mutant.place}".encode()).digest()

    for room, share in rooms.items():
        found = [
            mutant
            for file in sorted((package / room).rglob("*.py"))
            for mutant in candidates(Source(str(file.relative_to(package)), file.read_bytes()), signatures)
        ]
        found.sort(key=rank)
        lines: dict[tuple[str, int], Mutant] = {}
        for mutant in found:
            lines.setdefault((mutant.module, mutant.number), mutant)
        drawn += list(lines.values())[: round(count * share / sum(rooms.values()))]
    return sorted(drawn, key=rank)  # all rooms mixed: what has run when it is stopped is a sample too
