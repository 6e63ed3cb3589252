"""What the documentation offers to copy is what the package takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vergence.recipes.load import load_recipe

SCRIPTS = Path(__file__).parent.parent / "docs" / "scripts"


@pytest.mark.parametrize("number", [0, 1])
def test_recipes_in_the_documentation_are_recipes(number, tmp_path):
    blocks = (SCRIPTS.parent / "training.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 2
    (tmp_path / "recipe.yaml").write_text(blocks[number].split("```")[0])
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.stages["pose"].train.labels == ["labels"]
    assert recipe.test
