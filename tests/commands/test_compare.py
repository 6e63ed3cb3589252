"""`vergence compare` from words to files: made once, resumed, refused where it would mislead."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from transformers import AutoBackbone, ResNetConfig

import vergence.training.run as runs
from vergence.batches.sampler import Mixture
from vergence.cli import main
from vergence.commands.compare import compare
from vergence.commands.console.options import split_overrides
from vergence.comparison import runner
from vergence.errors import VergenceError, refusing
from vergence.training import stage_cache

SET = """
base:
  image_size: 32
  network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8, pose_embedding: 8, pose_hidden: 8}
  sources:
    wild: {kind: world_images, count: 16, seed: 1, keypoints: true}
    studio: {kind: world_recordings, look: studio, subjects: 2, frames_per_subject: 6, views: [3], seed: 2}
  test:
    studio: {kind: world_recordings, look: studio, subjects: 3, frames_per_subject: 2, views: [2], seed: 3,
             pose: all, keypoints: true}
    wild: {kind: world_images, count: 5, seed: 4, pose: all, keypoints: true}
  stages:
    keypoints: {train: {steps: 4, batch: {wild: 4}, losses: {heatmap: 1.0, coordinates: 0.1}}}
  checkpoint_every: 2
methods:
  supervised:
    method: supervised
    sources: {studio: {keypoints: true, pose: all}}
    stages: {pose: {train: {steps: 5, batch: {wild: 2, studio: 3}, losses: {heatmap: 1.0, depth: 1.0}}}}
  epipolar_pose:
    method: epipolar_pose
    stages:
      labels: {label: {source: studio, stores: keypoints}}
      pose: {train: {steps: 3, batch: {studio: 3}, labels: [labels], losses: {heatmap: 1.0}, start: scratch}}
  mcss:
    method: mcss
    sources: {studio: {pose: "1"}}
    stages:
      pose:
        train:
          steps: 3
          batch: {labelled: 4}
          draw: {labelled: {source: studio, labelled: true}}
          losses: {pose: 1.0}
          frozen: [network]
"""


class Killed(BaseException):
    pass


def words(where, *more: str) -> list[str]:
    return ["compare", str(where / "set.yaml"), "--out", str(where / "out"), "--device", "cpu", "--quiet", *more]


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """A comparison of two seeds that was killed in the middle of its second method and went on; with its count of steps."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "set.yaml").write_text(SET)
    real, drawn = Mixture.batch, []

    def batch(self, step):
        drawn.append(step)
        if len(drawn) == 4 + 5 + 1:
            raise Killed
        return real(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mixture, "batch", batch)
        with pytest.raises(Killed):
            main(words(folder, "--seeds", "2"))
        assert not (folder / "out" / "results.json").exists()
        assert main(words(folder, "--seeds", "2")) == 0
    (folder / "steps").write_text(str(len(drawn)))
    return folder


@pytest.fixture(scope="module")
def results(where):
    return json.loads((where / "out" / "results.json").read_text())


def test_what_is_shared_and_what_is_finished_is_not_done_again(where):
    """Each seed: four steps of 2D for all, then 5, 3 and 3; one was lost when it was killed, and the next was read already."""
    assert int((where / "steps").read_text()) == 2 + 2 * (4 + 5 + 3 + 3)


def test_every_method_has_its_figures_with_their_spread(results):
    methods = results["methods"]
    assert list(methods) == ["supervised", "epipolar_pose", "mcss"]
    for found in methods.values():
        assert found["n_mpjpe"]["mean"] > 0
        assert found["n_mpjpe"]["std"] >= 0
        assert found["n_mpjpe"] == found["by_look"]["studio"]["n_mpjpe"]
        assert {"p_mpjpe", "pck", "auc", "left_right_mm", "depth_correlation", "keypoints_2d"} <= set(found)
        assert set(found["by_look"]) == {"studio", "wild"}
        assert set(found["seeds"]) == {"0", "1"}
        for clock in ("seconds", "cpu_seconds"):
            assert found[clock]["mean"] == pytest.approx(sum(stage[clock] for stage in found["stages"].values()))
        assert ("detection_1" in found) == (found is methods["mcss"])  # an embedding ranks, and nothing else
    assert 0 <= methods["mcss"]["detection_1"]["mean"] <= 100
    assert [found["labels_3d"] for found in methods.values()] == [36, 0, 18]
    assert methods["mcss"]["parameters"] > methods["supervised"]["parameters"]
    keypoints = {found["stages"]["keypoints"]["seconds"] for found in methods.values()}
    assert len(keypoints) == 1  # one stage, counted for each


def test_seeds_bring_other_people_and_weights(where, results):
    one, other = (results["methods"]["supervised"]["seeds"][seed]["n_mpjpe"] for seed in ("0", "1"))
    assert one != other
    recipe = yaml.safe_load((where / "out" / "runs" / "mcss-1" / "recipe.yaml").read_text())
    assert (recipe["seed"], recipe["sources"]["studio"]["seed"], recipe["test"]["wild"]["seed"]) == (1, 12, 14)


def test_differences_baselines_and_protocol(results):
    pair = results["differences"]["studio"]["p_mpjpe"]["mcss - supervised"]
    p = [results["methods"][name]["p_mpjpe"]["mean"] for name in ("mcss", "supervised")]
    assert pair["difference"]["mean"] == pytest.approx(p[0] - p[1], abs=0.01)
    assert pair["difference"]["low"] <= pair["difference"]["mean"] <= pair["difference"]["high"]
    assert (pair["people"], pair["images"]) == (6, 24)
    assert results["reference"] == "supervised"
    assert results["baselines"]["studio"]["mean_pose"]["n_mpjpe"] > 0
    about = results["protocol"]
    assert about["seeds"] == [0, 1]
    assert about["studio"]["images"] == 12
    assert about["methods"]["mcss"]["studio"]["frame"] == "canonical"
    assert about["methods"]["supervised"]["studio"]["frame"] == "camera"


def test_the_page_and_the_markdown_hold_the_table(where, results):
    html, text = (where / "out" / "report.html").read_text(), (where / "out" / "results.md").read_text()
    for name, found in results["methods"].items():
        cell = f"{found['p_mpjpe']['mean']:.1f} ± {found['p_mpjpe']['std']:.1f}"
        assert cell in html
        assert f"| {name} |" in text
        assert cell in text
    assert html.count('class="beside"') > 3
    assert 'src="http' not in html


def test_runs_are_whole_by_themselves(where):
    import vergence

    run = where / "out" / "runs" / "mcss-0"
    assert vergence.load(run).image_size == 32
    assert (run / "report.html").exists()
    assert json.loads((run / "results.json").read_text())["tests"]["studio"]["model"]["n_mpjpe"] > 0


def test_a_finished_comparison_is_only_told_again(where, monkeypatch, capsys):
    for name in ("train_stage", "find_keypoints"):
        monkeypatch.setattr(runs, name, None)
    monkeypatch.setattr(runner, "of_run", None)
    monkeypatch.setattr(stage_cache, "open_source", None)  # no image of any test or source is needed
    before = json.loads((where / "out" / "results.json").read_text())
    assert main(words(where, "--seeds", "2")) == 0
    assert json.loads((where / "out" / "results.json").read_text()) == before
    assert "supervised, seed 1: studio" in capsys.readouterr().out


def test_a_finished_row_needs_its_backbones_folder_no_more(tmp_path, capsys):
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    AutoBackbone.from_config(config).save_pretrained(tmp_path / "weights")
    raw = yaml.safe_load(SET)
    raw["methods"] = {"supervised": raw["methods"]["supervised"]}
    raw["methods"]["supervised"]["network"] = {"backbone": str(tmp_path / "weights")}
    raw["base"]["test"].pop("wild")
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(raw))
    assert main(words(tmp_path)) == 0
    before = json.loads((tmp_path / "out" / "results.json").read_text())
    shutil.rmtree(tmp_path / "weights")
    assert main(words(tmp_path)) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["methods"] == before["methods"]
    assert main(words(tmp_path, "--seeds", "2")) == 2  # the second seed has to be trained
    assert "weights' could not be loaded" in capsys.readouterr().err


def test_a_finished_run_is_measured_on_the_tests_of_its_seed_and_left_alone(where, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "train_stage", None)
    run = where / "out" / "runs" / "mcss-1"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    more = ["--seeds", "2", "--only", "supervised,mcss-1", "--reference", "mcss-1"]
    (tmp_path / "set.yaml").write_text(SET)
    import shutil

    shutil.copytree(where / "out", tmp_path / "out")
    assert main([*words(tmp_path, *more), str(run)]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    kept = json.loads((where / "out" / "measured" / "mcss-1.json").read_text())["results"]["tests"]
    assert found["methods"]["mcss-1"]["seeds"]["1"]["p_mpjpe"] == pytest.approx(kept["studio"]["model"]["p_mpjpe"])
    assert found["reference"] == "mcss-1"
    assert found["differences"]["studio"]["p_mpjpe"]["mcss-1 - supervised"]["people"] == 3  # of one seed
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_error_against_the_number_of_3d_labels(where, tmp_path, capsys):
    (tmp_path / "set.yaml").write_text(SET)
    assert main(words(tmp_path, "--labels", "1,all", "--only", "supervised,epipolar_pose")) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    curves = found["label_efficiency"]
    assert [(p["people"], p["labels_3d"]) for p in curves["supervised"]] == [("1", 18), ("all", 36)]
    assert [p["labels_3d"] for p in curves["epipolar_pose"]] == [0]
    for point in curves["supervised"]:
        assert point["by_look"]["wild"]["n_mpjpe"]["mean"] == point["seeds"]["0"]["wild"]["n_mpjpe"]
    assert list(found["methods"]) == ["supervised@1", "supervised@all", "epipolar_pose"]
    assert found["reference"] == "supervised@all"
    assert [(p["people_3d"]) for p in curves["supervised"]] == [1, 2]
    worth = found["label_crossings"]
    assert [(one["method"], one["reaches"], one["test"], one["measure"], one["most"]) for one in worth] == [
        ("supervised", "epipolar_pose", test, measure, 2)
        for test in ("studio", "wild")
        for measure in ("n_mpjpe", "p_mpjpe")
    ]
    page = (tmp_path / "out" / "report.html").read_text().replace("<wbr>", "")
    assert "Error and 3D labels" in page
    assert "supervised reaches epipolar_pose" in page
    assert "supervised reaches epipolar_pose" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "figures").glob("error-and-3d-labels-*.svg"))) == 4
    head, first, second = (
        (tmp_path / "out/tables/n-mpjpe-mm-by-people-with-3d-labels-studio.csv").read_text().splitlines()
    )
    assert head == "name,0,1,2"
    assert first.startswith("supervised,,")
    assert second.endswith(",,")


def test_error_against_any_key(where, tmp_path, capsys):
    (tmp_path / "set.yaml").write_text(SET)
    varied = ["--vary", "sources.studio.occlusion=0,0.5", "--only", "supervised,epipolar_pose"]
    assert main(words(tmp_path, *varied)) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["methods"]) == [f"{name}@{v}" for name in ("supervised", "epipolar_pose") for v in ("0", "0.5")]
    assert found["reference"] == "supervised@0"
    assert found["varied"]["key"] == "sources.studio.occlusion"
    means = {name: one["n_mpjpe"]["mean"] for name, one in found["methods"].items()}
    change = next(one for one in found["varied"]["changes"] if one["method"] == "epipolar_pose" and one["other"])
    rises = [means[f"{name}@0.5"] - means[f"{name}@0"] for name in ("epipolar_pose", "supervised")]
    assert change["other"] == "supervised"
    assert change["mean"] == pytest.approx(rises[0] - rises[1], abs=1e-3)
    page = (tmp_path / "out" / "report.html").read_text().replace("<wbr>", "")
    assert "Error and sources.studio.occlusion" in page
    assert "epipolar_pose less supervised" in page
    assert "epipolar_pose less supervised" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "figures").glob("error-and-sources-studio-occlusion-*.svg"))) == 4


BROKEN = """
from vergence import Supervised, plugins

@plugins.methods.register("{name}")
class Broken(Supervised):
    def losses(self, views):
        if len(views) > 3 and {when}:
            raise {error}
        return super().losses(views)
"""


def test_a_row_that_fails_does_not_stop_the_others_and_is_tried_again(tmp_path, capsys):
    raw = yaml.safe_load(SET)
    own = raw["methods"]["supervised"]
    raw["methods"] = {"first": {**own, "method": "refused"}, "supervised": own, "last": {**own, "method": "broken"}}
    for name, error in (("refused", "__import__('vergence').VergenceError('no such joint', 'Give one.')"),
                        ("broken", "ZeroDivisionError('by zero')")):  # fmt: skip
        when = f"not __import__('pathlib').Path({str(tmp_path / 'mended')!r}).exists()"
        (tmp_path / f"{name}.py").write_text(BROKEN.format(name=name, when=when, error=error))
    raw["base"]["plugins"] = [str(tmp_path / "refused.py"), str(tmp_path / "broken.py")]
    for stage in ("first", "last"):
        raw["methods"][stage]["stages"] = {
            "pose": {"train": {**own["stages"]["pose"]["train"], "batch": {"studio": 5}}}
        }
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(raw))
    assert main([*words(tmp_path)[:-1]]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "failed: first, seed 0: " in shown
    assert "no such joint. Give one." in shown
    assert "failed: last, seed 0: " in shown
    assert "The same command tries again what failed." in shown
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["methods"]) == ["supervised"]
    assert [(one["name"], one["seed"]) for one in found["failed"]] == [("first", 0), ("last", 0)]
    assert "no such joint" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "mended").write_text("")
    assert main(words(tmp_path)) == 0
    told = " ".join(capsys.readouterr().out.split()).split("seed 0: ")[1:]
    assert "; 2 more rows, about " in told[0]
    assert "; 1 more row, about " in told[1]
    assert "more row" not in told[2]
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["methods"]) == ["first", "last", "supervised"]
    assert "failed" not in found


def test_where_every_row_fails_there_is_one_sentence_and_no_folder(tmp_path, capsys, monkeypatch):
    (tmp_path / "set.yaml").write_text(SET)
    monkeypatch.setattr(runner, "Run", raising(VergenceError("the images are gone", "Bring them back.")))
    assert main(words(tmp_path)) == 2
    told = "vergence compare: supervised, seed 0: the images are gone. Bring them back. (and 2 more rows failed)"
    assert capsys.readouterr().err.strip() == told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("number", [28, 13])
def test_a_full_disk_or_a_folder_that_may_not_be_written_to_stops_all_rows(
    tmp_path, capsys, monkeypatch, wrapped, number
):
    (tmp_path / "set.yaml").write_text(SET)
    full = OSError(28, "No space") if number == 28 else OSError(13, "No leave", str(tmp_path / "out" / "runs" / "a"))
    tried = []

    def run(recipe, *_):
        tried.append(recipe)
        if wrapped:
            with refusing("a could not be written", "Free some space.", OSError):
                raise full
        raise full

    monkeypatch.setattr(runner, "Run", run)
    assert main(words(tmp_path)) == 2
    assert "supervised, seed 0: " in (error := capsys.readouterr().err)
    assert str(full.strerror) in error
    assert len(tried) == 1


def raising(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["nosuch"], "no recipe 'nosuch'"),
        (["--only", "x"], "nothing to compare is called 'x'"),
        (["--seed", "0"], "there is no option --seed"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--labels", "few"], "--labels has 'few'"),
        (["--vary", "sources.studio.occlusion=0.3"], "--vary is 'sources.studio.occlusion=0.3'"),
        (["--vary", "sources.studio.oclusion=0,1"], "sources.studio.oclusion"),
        (["--labels", "3", "--only", "mcss"], "3D of 3 people: mcss's 'studio' has 2"),
        (["--reference", "x"], "the reference 'x' is not compared"),
        (["--test.studio.subjects", "4"], "holds another comparison: test.studio.subjects is 3 there and 4 here"),
        (["--stages.keypoints.train.steps=9"], "supervised, seed 0: "),
        (["demo"], "supervised and demo are not comparable: test.studio.subjects is 3 in supervised and 40 in demo"),
    ],
)
def test_bad_words_are_one_line_and_status_2(where, capsys, more, said):
    assert main(words(where, *more)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("vergence compare: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_options_of_recipes_are_told_from_the_verbs_own():
    own, overrides = split_overrides(
        ["a", "--seeds", "2", "--test.x.count", "3", "b", "--network.width=4", "--sources.y.pose"], compare.keys
    )
    assert own == ["a", "--seeds", "2", "b"]
    assert overrides == ["--test.x.count=3", "--network.width=4", "--sources.y.pose"]
