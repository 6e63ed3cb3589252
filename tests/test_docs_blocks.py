"""Every block of code in the documentation is run, or the page says why not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from fixtures_docs import CAPTURE, DEMO, NETWORK, blocks_of, build_house, run_block

import vergence
from vergence import plugins

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from build_docs import EQUATION, line_of  # noqa: E402

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "findings" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
RUN = [page for page in PAGES if any(b.language != "text" and not b.why_not for b in blocks_of(page))]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = tmp_path_factory.mktemp("house")
    build_house(root)
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page):
    assert [
        (b.line, b.language) for b in blocks_of(page) if b.language not in ("sh", "python", "yaml", "toml", "text")
    ] == []


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, house, tmp_path, monkeypatch):
    shutil.copytree(house, tmp_path / "house")
    monkeypatch.chdir(tmp_path / "house")
    whole = vergence.train

    def train(recipe, out, overrides=(), **more):
        shutil.rmtree(out, ignore_errors=True)
        return whole(recipe, out, overrides=[*overrides, *NETWORK, *(DEMO if recipe == "demo" else CAPTURE)], **more)

    monkeypatch.setattr(vergence, "train", train)
    for registry in (plugins.methods, plugins.datasets):  # what a page registers is gone after it
        monkeypatch.setattr(registry, "_found", dict(registry._found))
    for block in blocks_of(page):
        if block.language != "text" and not block.why_not:
            try:
                run_block(block)
            except Exception as error:
                raise AssertionError(f"{page.name}, line {block.line}: {error!r}\n{block.text}") from error


def test_every_equation_stands_beside_a_function_and_a_line_that_are_there():
    rows = EQUATION.findall((ROOT / "docs" / "equations.md").read_text("utf-8"))
    assert len(rows) > 40
    assert [row for row in rows if line_of(*row) is None] == []
    assert line_of("lift", "src/vergence/geometry/lifting.py", "nothing of it") is None
    assert line_of("lifted", "src/vergence/geometry/lifting.py", "a, b, c = ") is None
