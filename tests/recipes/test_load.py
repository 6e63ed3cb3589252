"""Recipes from files: what is read, overridden and refused."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml

from vergence import plugins
from vergence.errors import VergenceError
from vergence.recipes.load import built_in_recipes, load_recipe
from vergence.recipes.recipe import Draw, Recipe
from vergence.recipes.typed import make_source

TEXT = """
method: supervised
image_size: 64
network: {width: 16, hidden_sizes: [8, 16]}
sources:
  wild: {kind: world_images, count: 10, keypoints: true}
  rig: {kind: world_recordings, views: [2, 4], pose: 1}
stages:
  pose:
    train: {steps: 5, batch: {wild: 4}, losses: {heatmap: 1}, augmentation: {mirror: 0.5}}
  labels:
    label: {source: rig, keypoints: labelled}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_a_file_becomes_typed_settings(file):
    recipe = load_recipe(str(file))
    assert isinstance(recipe, Recipe)
    assert (recipe.method, recipe.image_size, recipe.network.width) == ("supervised", 64, 16)
    assert recipe.network.hidden_sizes == [8, 16]
    assert recipe.sources["rig"].pose == "1"
    assert recipe.sources["rig"].views == [2, 4]
    assert recipe.stages["pose"].train.losses == {"heatmap": 1.0}
    assert recipe.stages["pose"].train.augmentation.mirror == 0.5
    assert recipe.stages["pose"].label is None
    assert recipe.stages["labels"].label.source == "rig"
    assert list(recipe.stages) == ["pose", "labels"]  # their order is the order of work
    assert recipe.seed == 0


def test_what_is_written_is_read_back_the_same(file, tmp_path):
    recipe = load_recipe(str(file))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump({"vergence": "0.0", **asdict(recipe)}, sort_keys=False))
    assert load_recipe(str(tmp_path / "again.yaml")) == recipe


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--seed", "7"], lambda r: r.seed == 7),
        (["--seed=7", "--image_size=48"], lambda r: (r.seed, r.image_size) == (7, 48)),
        (["--network.width", "12"], lambda r: r.network.width == 12 and r.network.hidden_sizes == [8, 16]),
        (["--sources.wild.count", "3"], lambda r: r.sources["wild"].count == 3 and r.sources["wild"].keypoints),
        (["--sources.rig.views", "[3]"], lambda r: r.sources["rig"].views == [3]),
        (["--stages.pose.train.steps", "9"], lambda r: r.stages["pose"].train.steps == 9),
        (["--stages.pose.train.batch.wild", "2"], lambda r: r.stages["pose"].train.batch == {"wild": 2}),
        (
            ["--stages.pose.train.losses.depth", "2"],
            lambda r: r.stages["pose"].train.losses == {"heatmap": 1, "depth": 2},
        ),
        (["--stages.pose.train.losses.depth=2", "--seed=3"], lambda r: r.stages["pose"].train.losses["depth"] == 2),
        (
            ["--stages.pose.train.augmentation.mirror", "0"],
            lambda r: r.stages["pose"].train.augmentation.mirror == 0,
        ),
        (["--stages.labels.label.per_frame", "true"], lambda r: r.stages["labels"].label.per_frame is True),
        (["--seed", "1", "--seed", "2"], lambda r: r.seed == 2),
    ],
)
def test_any_key_may_be_overridden_and_the_rest_stays(file, words, read):
    recipe = load_recipe(str(file), words)
    assert read(recipe)
    assert recipe.method == "supervised"
    assert recipe.stages["labels"].label.source == "rig"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sed", "7"], "no key sed.*Did you mean seed"),
        (["--network.widht", "7"], r"no key network\.widht.*network\.width"),
        (["--stages.pose.train.step", "7"], r"no key stages\.pose\.train\.step.*steps"),
        (["--stages.poes.train.steps", "7"], r"no stages\.poes.*There are pose, labels"),
        (["--sources.x.count=1"], r"no sources\.x.*wild, rig"),
        (["--seed.more", "7"], "seed is a single value"),
        (["--seed", "many"], "seed.*many"),
        (["--sources.wild.kind", "film"], "film"),
        (["--sources.wild.pose", "some"], r"source\.pose is 'some'"),
        (["--stages.pose.train.augmentation.mirror", "3"], r"augmentation\.mirror is 3"),
        (["word"], "word"),
        (["--config", "x.yaml"], "no key config"),
        (["--stages.pose.train.losses.depth"], "has no value"),
        (["--stages.pose.train.losses.depth", "much"], "much"),
    ],
)
def test_a_wrong_option_is_one_sentence_that_names_it(file, words, said):
    with pytest.raises(VergenceError, match=said) as caught:
        load_recipe(str(file), words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metod: supervised", "no key metod.*Did you mean method"),
        ("sources: {a: {cuont: 3}}", r"no key sources\.a\.cuont.*sources\.a\.count"),
        ("stages: {a: {train: {augmentation: {flip: 1}}}}", r"no key stages\.a\.train\.augmentation\.flip"),
        ("network: 7", "recipe key network is 7"),
        ("[1, 2]", "top level"),
        ("only words", "top level"),
        ("a: [1", "not readable YAML"),
        ("image_size: big", "image_size"),
        ("stages: {a: {}}", "exactly one"),
        ("stages: {a: {train: {batch: {b: 3}}}}", "reads source 'b'"),
        ("sources: {a: {kind: capture}}", "no path"),
        ("precision: 8-bit", "precision"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_it(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(VergenceError, match=said) as caught:
        load_recipe(str(tmp_path / "bad.yaml"))
    assert "\n" not in str(caught.value)


def test_a_draw_lies_in_a_mapping_within_a_mapping(file):
    text = file.read_text().replace(
        "losses: {heatmap: 1}", "losses: {heatmap: 1}, draw: {wild: {time_steps: 4, views: 1}}"
    )
    file.write_text(text)
    at = "--stages.pose.train.draw.wild"
    recipe = load_recipe(str(file), [f"{at}.time_steps", "2", f"{at}.apart=0.5"])
    assert recipe.stages["pose"].train.draw == {"wild": Draw(time_steps=2, apart=0.5, views=1)}
    for words, said in (
        ([f"{at}.time_stepz", "2"], "time_steps"),
        ([f"{at}.time_steps", "few"], "few"),
        (["--stages.pose.train.draw.studio.views", "2"], r"no stages\.pose\.train\.draw\.studio"),
    ):
        with pytest.raises(VergenceError, match=said):
            load_recipe(str(file), words)


OLD = """
vergence: 0.1.0
sources:
  wild: {kind: world_pictures, keypoints: true, pose: none, path: '', split: train, step: 1, count: 5, subjects: 10, views: [4]}
  files: {kind: coco, path: x, split: val, step: 1, seed: 20, count: 1000, views: [4]}
stages:
  pose:
    train: {batch: {wild: 4}, average: 0.5, clip: 2, kernel_rate: 0.1, drops: [0.5], schedule: steps, unchanged: [wild],
            draw: {wild: {instants: 3}}}
  unit:
    refine: {sources: [wild], pictures: 7}
"""


def test_a_recipe_of_the_version_before_is_read_with_one_warning(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD)
    with pytest.warns(FutureWarning) as caught:
        recipe = load_recipe(str(tmp_path / "old.yaml"), ["--stages.pose.train.clip=3"])
    assert len(caught) == 1
    told = str(caught[0].message)
    for now in ("average is now ema_decay", "instants is now time_steps", "world_pictures is now world_images"):
        assert now in told
    assert told.startswith("old.yaml")
    train = recipe.stages["pose"].train
    assert (train.ema_decay, train.grad_clip, train.muon_rate, train.milestones) == (0.5, 3.0, 0.1, [0.5])
    assert (train.no_augment, train.draw["wild"].time_steps, recipe.stages["unit"].refine.images) == (["wild"], 3, 7)
    assert recipe.sources["wild"] == make_source(count=5, keypoints=True)
    assert recipe.sources["files"] == make_source("coco", path="x", split="val")


def test_only_a_runs_own_recipe_may_have_keys_that_did_nothing(tmp_path):
    (tmp_path / "own.yaml").write_text("sources: {a: {kind: coco, path: x, step: 5}}")
    with pytest.raises(VergenceError, match=r"of kind coco has no key sources\.a\.step.*Keys there: kind, keypoints"):
        load_recipe(str(tmp_path / "own.yaml"))
    (tmp_path / "both.yaml").write_text("stages: {a: {train: {clip: 1, grad_clip: 2}}}")
    with pytest.raises(VergenceError, match=r"train\.grad_clip stands there under its old name"):
        load_recipe(str(tmp_path / "both.yaml"))


def test_options_of_sources(file):
    words = ["--sources.rig.path", "007", "--sources.rig.kind", "shards", "--sources.all.keypoints=true"]
    recipe = load_recipe(str(file), words)
    assert recipe.sources["rig"] == make_source("shards", path="007", keypoints=True, pose="1")
    assert recipe.sources["wild"].count == 10
    recipe = load_recipe(
        str(file), ["--sources.all.count=3", "--sources.rig", "{kind: coco, path: x}", "--test.all.seed=1"]
    )
    assert (recipe.sources["wild"].count, recipe.sources["rig"]) == (3, make_source("coco", path="x"))
    assert load_recipe(str(file), ["--sources.all.step=5"]).sources == load_recipe(str(file)).sources
    with pytest.raises(VergenceError, match=r"no key sources\.wild\.stepz"):
        load_recipe(str(file), ["--sources.all.stepz=5"])
    with pytest.raises(VergenceError, match=r"kind world_images has no key sources\.wild\.views"):
        load_recipe(str(file), ["--sources.wild.views=[3]"])


def test_options_write_settings_over_and_replace_the_rest(file):
    words = [
        "--network",
        "{width: 12}",
        "--stages.pose.train.batch",
        "{rig: 2}",
        "--stages.pose.train.labels",
        "labels",
    ]
    recipe = load_recipe(str(file), words)
    assert (recipe.network.width, recipe.network.hidden_sizes) == (12, [8, 16])
    assert (recipe.stages["pose"].train.batch, recipe.stages["pose"].train.labels) == ({"rig": 2}, ["labels"])
    assert (
        load_recipe(str(file), ["--stages.pose.train.learning_rate", "1e-3"]).stages["pose"].train.learning_rate
        == 0.001
    )


def test_plug_ins_lie_beside_the_recipe(file, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("from vergence import plugins\nplugins.methods.register('beside')(object)\n")
    monkeypatch.setattr(plugins.methods, "_found", dict(plugins.methods._found))
    file.write_text("plugins: [beside.py]\n" + TEXT)
    assert load_recipe(str(file)).plugins == [str(tmp_path / "beside.py")]
    assert "beside" in plugins.methods
    for text, said in (("plugins: [nowhere.py]", "no plug-in nowhere.py"), ("plugins: beside.py", "must be a list")):
        file.write_text(text)
        with pytest.raises(VergenceError, match=said):
            load_recipe(str(file))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"\xff\x00\x81\x00")
    with pytest.raises(VergenceError, match="not readable YAML"):
        load_recipe(str(tmp_path / "bad.yaml"))


def test_no_such_recipe_names_those_there_are():
    with pytest.raises(VergenceError, match=r"no recipe 'dmo'.*demo"):
        load_recipe("dmo")


@pytest.mark.parametrize("name", built_in_recipes())
def test_built_in_recipes_are_sound(name):
    recipe = load_recipe(name)
    assert any(stage.train for stage in recipe.stages.values())
    head = built_in_recipes()[name].read_text().splitlines()[0]
    assert head.startswith("# ")


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_is_no_recipe(text, tmp_path):
    (tmp_path / "empty.yaml").write_text(text)
    with pytest.raises(VergenceError, match=r"empty\.yaml is empty\. .*--print-config"):
        load_recipe(str(tmp_path / "empty.yaml"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sources.rig.frames", "5"],
         r"no key sources\.rig\.frames\. .*sources\.rig\.frames_per_subject\? It holds a whole number.*given is '5'"),
        (["--stages.pose.train.steps", "-5"], r"stages\.pose\.train\.steps is -5; it must be 1 or more"),
        (["--stages.pose.train.batch.wild", "-1"], r"stages\.pose\.train\.batch is -1; it must be 0 or more"),
        (["--sources.rig.subjects", "0"], r"sources\.rig\.subjects is 0; it must be 1 or more"),
        (["--sources.rig.views", "[4, 0]"], r"sources\.rig\.views is 0"),
        (["--sources.wild.count", "0"], r"sources\.wild\.count is 0.*default is 1000"),
        (["--stages.pose.train.ema_decay", "1.5"], r"ema_decay is 1\.5; it must lie from 0 to 1"),
        (["--network.width", "0"], r"network\.width is 0"),
        (["--checkpoint-every", "0"], "checkpoint_every is 0"),
        (["--stages.pose.train.augmentation.mirror", "3"], r"stages\.pose\.train\.augmentation: augmentation\.mirror is 3"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_place_and_its_limit(file, words, said):
    with pytest.raises(VergenceError, match=said):
        load_recipe(str(file), words)


def test_options_are_spelled_with_dashes_too(file):
    assert load_recipe(str(file), ["--image-size", "48", "--stages.pose.train.learning-rate=0.5"]).image_size == 48
