"""What a recipe is told before its first step, and what a refused or failed run leaves behind."""

from __future__ import annotations

import json
import zlib

import pytest

import vergence
from vergence import plugins
from vergence.batches.sampler import Mixture
from vergence.errors import VergenceError
from vergence.recipes.load import recipe_from
from vergence.training.checks import check_recipe

BASE = {
    "method": "supervised",
    "image_size": 32,
    "network": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "width": 8},
    "sources": {
        "wild": {"kind": "world_images", "count": 12, "keypoints": True, "pose": "all"},
        "rig": {"kind": "world_recordings", "subjects": 1, "frames_per_subject": 4, "views": [2], "keypoints": True},
    },
    "stages": {
        "first": {"train": {"steps": 2, "batch": {"wild": 2}, "losses": {"heatmap": 1}}},
        "second": {"train": {"steps": 3, "batch": {"wild": 2}, "losses": {"depth": 1}}},
    },
}


def recipe(*words: str):
    return recipe_from(BASE, "the recipe", [f"--{word}" for word in words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stages.second.train.losses.dept=1"],
         r"no loss term is called 'dept' \(stages\.second\.train\.losses\)\. Did you mean depth\?"),
        (["stages.second.train.losses.consistency=1"], "The method has heatmap, coordinates, depth"),
        (["stages.second.train.frozen=[newtork]"], r"stages\.second\.train\.frozen names 'newtork'.*network"),
        (["stages.second.train.labels=[made]"], "no label stage 'made' comes before stage 'second'"),
        (["stages.second.train.start=third"], "wants the network of stage 'third'"),
        (["network.backbone=no_such_net"], "backbone 'no_such_net' could not be loaded"),
        (["network.head=no_such_head"], "no head is called 'no_such_head'"),
        (["method=no_such_method"], "no method is called"),
        (["skeleton=no_such_skeleton"], "no_such_skeleton"),
        (["sources.wild.keypoints=false", "sources.wild.pose=none"],
         "stage 'first' learns nothing: no label of wild is visible to it.*keypoints: true"),
        (["stages.first.train.batch.wild=0"], r"stages.first.train.batch names no images.*\{wild: 48\}"),
    ],
)  # fmt: skip
def test_what_a_later_stage_could_not_do_is_told_before_the_first_and_leaves_no_folder(
    words, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(Mixture, "batch", lambda *_: pytest.fail("a step was made"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(VergenceError, match=said):
        vergence.train(recipe(*words), tmp_path / "runs" / "mine", device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "network", "cells"),
    [(33, {}, 9), (66, {}, 17), (48, {"neck": "deconvolution", "hidden_sizes": [4, 8, 8, 8], "depths": [1] * 4}, 16)],
)
def test_images_that_maps_do_not_divide_evenly_are_refused(size, network, cells):
    """48 px leave 12 cells and 1.5, that is 2, which become 16: each cell is 4 px wide and would be read as 3."""
    made = recipe_from({**BASE, "image_size": size, "network": {**BASE["network"], **network}}, "the recipe", [])
    said = rf"image_size is {size}, which the network's heatmaps of {cells} x {cells} cells .* multiple of 32"
    with pytest.raises(VergenceError, match=said):
        check_recipe(made)


@pytest.mark.parametrize("size", [32, 36, 48, 96])
def test_images_that_maps_divide_evenly_pass(size):
    check_recipe(recipe(f"image_size={size}"))


@pytest.mark.parametrize(
    ("method", "terms"),
    [
        ("supervised", "heatmap coordinates depth"),
        ("epipolar_pose", "heatmap coordinates depth"),
        ("multiview_consistency", "heatmap coordinates depth consistency limbs bend"),
        ("geometric_constraint", "heatmap coordinates depth geometry geometry_3d"),
        ("mcss", "pose metric heatmap coordinates"),
    ],
)
def test_every_method_tells_its_terms_without_labels(method, terms):
    for term in terms.split():
        check_recipe(recipe(f"method={method}", f"stages.second.train.losses={{{term}: 1}}"))
    with pytest.raises(VergenceError, match="no loss term is called 'none'"):
        check_recipe(recipe(f"method={method}", "stages.second.train.losses={none: 1}"))


def test_a_failed_run_gives_way_to_a_mended_recipe_and_keeps_what_is_right(tmp_path, monkeypatch):
    real, drawn = Mixture.batch, []

    def batch(self, step):
        drawn.append(step)
        if len(drawn) == 3:  # the second stage's first
            raise VergenceError("an image is broken", "Mend it.")
        return real(self, step)

    monkeypatch.setattr(Mixture, "batch", batch)
    with pytest.raises(VergenceError, match="an image is broken"):
        vergence.train(recipe(), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "stages" / "first" / "done.json").exists()
    run = vergence.train(recipe("stages.second.train.steps=4"), tmp_path / "run", device="cpu")
    assert drawn == [0, 1, 0, 1, 0, 1, 2, 3]  # one is read ahead; the first stage was not made again
    assert json.loads((run.folder / "config.json").read_text())["method"] == "supervised"
    with pytest.raises(VergenceError, match=r"another recipe: stages\.second\.train\.steps is 4 there and 3 here"):
        vergence.train(recipe(), tmp_path / "run", device="cpu")


def test_a_finished_stage_is_not_lost_to_another_recipe(tmp_path, monkeypatch):
    real = Mixture.batch

    def batch(self, step):
        if len(self.parts) and step == 2:
            raise VergenceError("an image is broken", "Mend it.")
        return real(self, step)

    monkeypatch.setattr(Mixture, "batch", batch)
    with pytest.raises(VergenceError, match="an image is broken"):
        vergence.train(recipe(), tmp_path / "run", device="cpu")
    with pytest.raises(VergenceError, match="another recipe"):
        vergence.train(recipe("stages.first.train.steps=1"), tmp_path / "run", device="cpu")


def test_somebody_elses_recipe_file_is_not_written_over(tmp_path):
    (tmp_path / "recipe.yaml").write_text("method: supervised\n")
    with pytest.raises(VergenceError, match="another recipe"):
        vergence.train(recipe(), tmp_path, device="cpu")
    assert (tmp_path / "recipe.yaml").read_text() == "method: supervised\n"


HELD = {"kind": "capture", "path": "footage"}


@pytest.mark.parametrize(
    ("part", "name", "values", "said"),
    [
        ("stages", "third", {"label": {"source": "wild", "keypoints": "labelled"}},
         r"stage 'third' makes 3D of several views, but source 'wild' \(world_images\) has single images"),
        ("sources", "mine", {"kind": "coco", "path": "footage", "pose": "all"},
         r"sources\.mine\.pose is all, but a source of kind coco has no 3D labels\. Leave pose out"),
        ("test", "held", {**HELD, "reconstruction": "rec"},
         r"held has no reconstruction in rec\. Make it: vergence reconstruct footage --out rec"),
        ("test", "held", {**HELD, "path": "gone"}, r"capture is not there: no gone\..*ROOT, --test\.held\.path FOLDER\)"),
        ("test", "held", HELD, "^test held: .*footage"),
    ],
)  # fmt: skip
def test_what_a_source_lacks_is_told_before_the_first_step(part, name, values, said, tmp_path, monkeypatch):
    monkeypatch.setattr(Mixture, "batch", lambda *_: pytest.fail("a step was made"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "footage").mkdir()
    with pytest.raises(VergenceError, match=said):
        vergence.train({**BASE, part: {**BASE.get(part, {}), name: values}}, "run", device="cpu")
    assert not (tmp_path / "run").exists()


PLUGIN = """
import torch
from torch import nn

from vergence import Supervised, plugins

@plugins.methods.register("{name}")
class Mine(Supervised):
    def terms(self, views, maps):
        {body}

@plugins.backbones.register("{name}_net")
class Net(nn.Module):
    def __init__(self, settings, pretrained):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        {channels}

    def forward(self, image):
        return {maps}
"""
GOOD = {"body": "return {**super().terms(views, maps), 'own': maps.depth.square().mean()}",
        "channels": "self.channels = [4]", "maps": "[self.layer(image)]"}  # fmt: skip


def with_plugin(tmp_path, monkeypatch, name, *words, **parts):
    """A recipe of a plug-in of these parts."""
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    monkeypatch.setattr(plugins, "_digests", dict(plugins._digests))
    for registry in (plugins.methods, plugins.backbones):
        monkeypatch.setattr(registry, "_found", dict(registry._found))
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(name=name, **GOOD | parts))
    own = [f"plugins=[{file}]", f"method={name}", f"network.backbone={name}_net", "stages.second.train.losses.own=1"]
    return recipe(*own, *words)


def test_a_plug_in_of_method_and_backbone_trains(tmp_path, monkeypatch):
    run = vergence.train(with_plugin(tmp_path, monkeypatch, "good"), tmp_path / "run", device="cpu")
    assert type(run.method).__name__ == "Mine"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"body": "return {'own': maps.depth.square()}"},
            r"loss term 'own' of Mine is a tensor of shape \(2, 17\)\. .*mean",
        ),
        ({"body": "return {'own': 0.5}"}, "loss term 'own' of Mine is of type float.*tensor of one number"),
        (
            {"body": "return maps.depth.mean()"},
            r"Mine gives as its loss terms is a tensor of shape \(\)\. .*dictionary",
        ),
        ({"body": "pass"}, "Mine gives as its loss terms is of type NoneType"),
        ({"channels": "self.channels = [5]"}, r"says channels \[5\].*\(1, 4, 32, 32\).*Set self\.channels = \[4\]"),
        ({"channels": "pass"}, r"has no `channels`.*Set self\.channels = \[4\]"),
        ({"maps": "self.layer(image)"}, r"maps of \[\(4, 32, 32\)\].*list of maps N C h w"),
        ({"maps": "[self.layer(image).flatten(1)]"}, r"maps of \[\(1, 4096\)\].*list of maps N C h w"),
        ({"maps": "[self.layer(image), image]", "channels": "self.channels = [4, 3]"}, "the coarsest last"),
        ({"channels": "self.channels = [four]"}, r"mine\.py failed, line 17: NameError: name 'four' is not defined"),
        ({"maps": "[self.layer(image) @ image]"}, r"mine\.py failed, line 20: RuntimeError"),
    ],
)
def test_a_plug_in_that_breaks_its_contract_is_one_sentence_before_the_first_step(parts, said, tmp_path, monkeypatch):
    name = f"bad{zlib.crc32(said.encode())}"
    monkeypatch.setattr(Mixture, "batch", lambda *_: pytest.fail("a step was made"))
    with pytest.raises(VergenceError, match=said):
        vergence.train(with_plugin(tmp_path, monkeypatch, name, **parts), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_error_in_a_loss_names_the_plug_ins_line_and_a_nan_the_term(tmp_path, monkeypatch):
    body = "return {**super().terms(views, maps), 'own': (maps.depth @ maps.depth).mean()}"
    with pytest.raises(VergenceError, match=r"mine\.py failed, line 10: RuntimeError: mat1 and mat2.*Mend the file"):
        vergence.train(with_plugin(tmp_path, monkeypatch, "shapes", body=body), tmp_path / "run", device="cpu")
    body = "return {**super().terms(views, maps), 'own': (maps.depth * float('nan')).mean()}"
    with pytest.raises(VergenceError, match=r"loss at step 0 is nan.*own must leave out labels that are NaN"):
        vergence.train(with_plugin(tmp_path, monkeypatch, "nans", body=body), tmp_path / "run2", device="cpu")
