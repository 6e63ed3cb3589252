"""`vergence data prepare`: sources from the command line to shards that a recipe reads."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from vergence.cli import main
from vergence.commands.synth import synth
from vergence.errors import VergenceError
from vergence.recipes.load import recipe_from
from vergence.training.sources import open_source, parse_source

LINE = "{kind: world_images, count: 5, look: studio, seed: 2}"


def test_sources_are_prepared_and_the_recipe_line_reads_them(tmp_path, capsys):
    synth(tmp_path / "c", frames=3, views=2, size=64, known="cameras", seed=6, device="cpu", quiet=True)
    capsys.readouterr()
    out = tmp_path / "out"
    words = ["data", "prepare", LINE, str(tmp_path / "c"), "--out", str(out), "--size", "32", "--quiet"]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("11 crops of 32 px in 1 shards")
    source = recipe_from({"sources": {"a": yaml.safe_load(printed[-1])}}, "line").sources["a"]
    dataset = open_source(source, 32, "h36m_17")
    first = open_source(parse_source(LINE), 32, "h36m_17")
    assert torch.equal(dataset.index.pose[:5], first.index.pose)
    assert (dataset.read(torch.arange(5)).image.float() - first.read(torch.arange(5)).image.float()).abs().mean() < 6
    assert main(words) == 0  # finished: checked
    assert json.loads((out / "manifest.json").read_text())["groups"]["source"] == sorted([LINE, str(tmp_path / "c")])
    assert parse_source(str(out)).kind == "shards"
    assert main([*words[:-2], "48"]) == 2
    assert "other" in capsys.readouterr().err


def test_what_is_no_source_is_refused(tmp_path):
    for text, match in (
        ("nowhere", "no folder nowhere"),
        (str(tmp_path), "neither a capture nor shards"),
        ("{kind: worlds}", "kind"),
        ("{kind: [}", "not a recipe's line"),
        ("{knd: capture}", "no key sources.source.knd"),
        ("epipolar_pose:nobody", "has no source 'nobody'"),
        ("nothing:wild", "no recipe 'nothing'"),
    ):
        with pytest.raises(VergenceError, match=match):
            parse_source(text)


def test_actions_are_named(capsys):
    assert main(["data", "--help"]) == 0
    assert "prepare" in capsys.readouterr().out
    assert main(["data", "prepar"]) == 2
    assert "Actions: check, prepare" in capsys.readouterr().err
    assert main(["data", "prepare", LINE, "--out", "x", "--size", "4"]) == 2
    assert "size is 4" in capsys.readouterr().err
