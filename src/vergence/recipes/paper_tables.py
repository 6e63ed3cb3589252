"""Tables of papers: their rows as recipes, each beside what was published of it.

A table is one file: `title`, `base` (a recipe), and `rows`, each written over the base key by key (`merged`), with a list
`published`: one entry for each protocol that the row is measured by. The row's test sets follow from that list, so what
is measured is what was published. Paths of datasets are relative to the folder in which all of them lie
(`Recipe.under`), each in a folder of its kind's name.

A figure is a number only where somebody could read it; `~` is one that is measured here and stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from vergence.errors import VergenceError
from vergence.files import read_yaml
from vergence.recipes.sources import Scale

DATASETS = {"h36m": "human36m", "3dhp": "mpi_inf_3dhp"}  # of a protocol's name the first word; other words are kinds


@dataclass(frozen=True)
class Published:
    """What a paper says of a row under one protocol.

    Attributes:
        protocol: its name (`data/protocols.py`).
        figures: value by figure, in the paper's unit, None where it could not be read. Names are the protocol's in small
            letters (`p_mpjpe`), or lead to a row of its tables (`scene.outdoor.PCK`) or to another figure of the test's
            results (`left_right.mm.upper_arm`).
        source: where the figures were read.
        scale: how scale-free predictions are converted to mm (`Source.scale`).
        images: test images that the paper counts, about; 0 where it does not say.
        differs: why the figures are not comparable with ours even on the same data; empty where they are.
    """

    protocol: str
    figures: dict[str, float | None] = field(default_factory=dict)
    source: str = ""
    scale: str = "training"
    images: int = 0
    differs: str = ""

    @property
    def test(self) -> dict[str, Any]:
        """The test set, as a recipe has it."""
        kind = dataset_of(self.protocol)
        return {"kind": kind, "path": kind, "protocol": self.protocol, "scale": self.scale}


@dataclass(frozen=True)
class Row:
    """One row: `recipe` in plain values, its test sets among them, by the protocols' names."""

    name: str
    recipe: dict[str, Any]
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Table:
    """A table of a paper; `path` is its file."""

    name: str
    title: str
    rows: dict[str, Row]
    path: Path


def dataset_of(protocol: str) -> str:
    """The kind of the dataset that a protocol is measured on: its name begins with it."""
    word = protocol.partition("-")[0]
    return DATASETS.get(word, word)


def built_in_tables() -> dict[str, Path]:
    """Tables that come with the package, by name."""
    folder = Path(str(resources.files("vergence"))) / "recipes" / "tables"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_table(table: str | Path) -> Table:
    """A table from its file or built-in name.

    Raises:
        VergenceError: no such table, or the file is none; names the row and the key.
    """
    path = built_in_tables().get(str(table), Path(table))
    if not path.is_file():
        raise VergenceError(f"no table {str(table)!r}", f"Give a file or one of: {', '.join(built_in_tables())}.")
    raw = read_yaml(path)
    if not is_table(raw):
        raise VergenceError(
            f"{path} is no table", "It has `title:`, `base:`, a recipe, and `rows:`, recipes by name with `published:`."
        )
    return Table(
        path.stem, str(raw["title"]), {str(n): _row(path, raw["base"], str(n), r) for n, r in raw["rows"].items()}, path
    )


def is_table(raw: Any) -> bool:
    """Whether plain values are those of a table."""
    return (
        isinstance(raw, Mapping)
        and set(raw) == {"title", "base", "rows"}
        and all(isinstance(raw[part], Mapping) and raw[part] for part in ("base", "rows"))
    )


def _row(path: Path, base: Mapping[str, Any], name: str, own: Any) -> Row:
    where = f"{path.name}, row {name}"
    if not isinstance(own, Mapping) or not isinstance(own.get("published"), list) or not own["published"]:
        raise VergenceError(
            f"{where} has no list `published:`", "Give one entry for each protocol: {protocol: NAME, figures: {}}."
        )
    published = tuple(_published(where, entry) for entry in own["published"])
    names = [entry.protocol for entry in published]
    if len(set(names)) < len(names):
        raise VergenceError(f"{where} has two entries of one protocol", f"It has {', '.join(names)}.")
    recipe = merged(base, {key: value for key, value in own.items() if key != "published"})
    tests = {entry.protocol: entry.test for entry in published}
    return Row(name, {**recipe, "test": {**tests, **(recipe.get("test") or {})}}, published)


def _published(where: str, entry: Any) -> Published:
    known = {one.name for one in fields(Published)}
    if not isinstance(entry, Mapping) or "protocol" not in entry or set(entry) - known:
        raise VergenceError(
            f"{where}: an entry of `published:` is {entry!r}", f"It has the keys {', '.join(sorted(known))}."
        )
    scale = "true" if entry.get("scale") is True else entry.get("scale", "training")  # YAML's true is ours as well
    if scale not in get_args(Scale):
        raise VergenceError(f"{where}: the scale is {scale!r}", f"Give {', '.join(get_args(Scale))}.")
    found = Published(**{"figures": {}, **entry, "scale": scale})
    for name, value in found.figures.items():
        if value is not None and not isinstance(value, int | float):
            raise VergenceError(
                f"{where}: the published {name} is {value!r}", "Give a number, or ~ where none could be read."
            )
    return found


def is_row(recipe: str) -> bool:
    """Whether a recipe's name is `TABLE/ROW`."""
    table, _, row = recipe.rpartition("/")
    if not row or Path(recipe).exists():
        return False
    return table in built_in_tables() or (Path(table).is_file() and is_table(read_yaml(Path(table))))


def read_row(recipe: str) -> Row:
    """The row that `TABLE/ROW` names."""
    name, _, row = recipe.rpartition("/")
    table = read_table(name)
    if row not in table.rows:
        raise VergenceError(f"table {table.name} has no row {row!r}", f"Its rows are {', '.join(table.rows)}.")
    return table.rows[row]


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` written over `base`, mapping by mapping; None takes a key out."""
    out = {key: deepcopy(value) for key, value in base.items() if key not in own}
    both = {key: value for key, value in own.items() if value is not None}
    for key, value in both.items():
        old = base.get(key)
        out[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else deepcopy(value)
    return {key: out[key] for key in [*(k for k in base if k in out), *(k for k in out if k not in base)]}


def overview() -> str:
    """The tables there are, their rows with the published figures, and the datasets that they need."""
    lines = ["usage: vergence reproduce TABLE --data ROOT [--only ROW,...] [--out DIR] [--seeds N] [--any.key value]"]
    for name in built_in_tables():
        table = read_table(name)
        lines += ["", f"{name}: {table.title}", f"  needs {', '.join(f'ROOT/{d}' for d in datasets(table))}"]
        for row in table.rows.values():
            told = []
            for published in row.published:
                known = [f"{name} {value:g}" for name, value in published.figures.items() if value is not None]
                told.append(f"{published.protocol}: {', '.join(known) or 'no published figure could be read'}")
            lines.append(f"  {row.name:<20} {'; '.join(told)}")
    return "\n".join(lines)


def datasets(table: Table) -> list[str]:
    """The folders below the data root that a table's rows read."""
    parts = [{**row.recipe.get("sources", {}), **row.recipe["test"]} for row in table.rows.values()]
    return sorted({str(source["path"]) for part in parts for source in part.values() if source.get("path")})


def data_root(table: str, data: str | Path | None) -> Path:
    """The folder in which a table's datasets lie, as it was given; refuses to go on without one."""
    needed = ", ".join(f"ROOT/{name}" for name in datasets(read_table(table)))
    if data is None:
        raise VergenceError(
            f"where the datasets of {table} lie is not said",
            f"Give --data ROOT, the folder in which they lie: {needed} (docs/datasets.md).",
        )
    return Path(data)
