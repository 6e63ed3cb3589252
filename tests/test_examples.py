"""The examples run as they are written, at toy sizes: a method from outside trained, evaluated and compared; an own dataset."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
import yaml

import vergence
from vergence import plugins
from vergence.cli import main
from vergence.errors import VergenceError
from vergence.recipes.load import load_recipe
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.sources import open_source

EXAMPLES = Path(__file__).parent.parent / "examples" / "plugin"
RECIPE = EXAMPLES / "recipe.yaml"
TINY = ["--image_size=32", "--network.embedding_size=4", "--network.hidden_sizes=[4, 8]", "--network.depths=[1, 1]",
        "--network.width=8", "--sources.wild.count=8", "--sources.studio.subjects=1",
        "--sources.studio.frames_per_subject=2", "--test.studio.subjects=1", "--test.studio.frames_per_subject=2",
        "--stages.all.train.steps=2", "--stages.all.train.batch={wild: 2, studio: 4}"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ordinal") / "run"
    assert main(["train", str(RECIPE), "--out", str(out), "--device", "cpu", "--quiet", *TINY]) == 0
    return out


def test_a_method_from_outside_is_trained_and_evaluated(run):
    config = json.loads((run / "config.json").read_text())
    assert (config["method"], config["plugins"]) == ("ordinal_depth", ["my_method.py"])
    assert yaml.safe_load((run / "recipe.yaml").read_text())["plugins"] == [str(EXAMPLES / "my_method.py")]
    metrics = (run / "stages" / "pose" / "metrics.jsonl").read_text()
    assert "order" in metrics
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert (run / "evaluation" / "results.json").exists()
    assert type(vergence.load(run).method).__name__ == "OrdinalDepth"


def test_the_estimator_of_the_readme_reads_an_image(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vergence.synthesize("people", kind="images", subjects=2)
    (tmp_path / "vergence-demo").mkdir()
    (tmp_path / "vergence-demo" / "run").symlink_to(run)
    found = (EXAMPLES.parent.parent / "README.md").read_text("utf-8").split("```python\n")
    (block,) = [one.split("```")[0] for one in found if "vergence.load(" in one]
    names: dict = {}
    exec(block, names)
    assert names["poses"].pose.shape == (1, 17, 3)
    assert "pelvis" in capsys.readouterr().out


def test_its_loss_asks_for_the_order_alone():
    plugins.load_plugins([EXAMPLES / "my_method.py"])
    order = plugins.methods["ordinal_depth"].order
    method = type("Any", (), {"skeleton": H36M_17})()
    true = torch.arange(17.0)[None]
    true[0, 3] = float("nan")
    found = (100 * torch.arange(17.0))[None].requires_grad_()
    right, wrong = order(method, true, found), order(method, -true, found)
    assert right < 1e-3 < 10 < wrong
    wrong.backward()
    assert found.grad.isfinite().all()


def test_a_run_that_somebody_sent_runs_no_code(run, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(plugins.methods, "_found", {})
    with pytest.raises(VergenceError, match="no method is called 'ordinal_depth'"):
        vergence.load(run)
    assert not plugins._loaded
    text = (run / "recipe.yaml").read_text().replace("kind: world_images", "kind: theirs")
    for name, content in (("recipe.yaml", text), ("config.json", "{}")):
        (tmp_path / name).write_text(content)
    with pytest.raises(VergenceError, match=r"add --plugins .*my_method\.py"):
        load_recipe(str(tmp_path / "recipe.yaml"))
    assert not plugins._loaded
    assert load_recipe(str(run / "recipe.yaml")).plugins == [str(EXAMPLES / "my_method.py")]
    assert not plugins._loaded
    load_recipe(str(run / "recipe.yaml"), ["--plugins", str(EXAMPLES / "my_method.py")])
    assert plugins._loaded


def test_it_is_compared_with_a_method_of_ours(tmp_path):
    plain = yaml.safe_load(RECIPE.read_text())
    plain |= {"method": "supervised", "plugins": []}
    del plain["stages"]["pose"]["train"]["losses"]["order"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    words = ["compare", str(RECIPE), str(tmp_path / "plain.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, *TINY]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"recipe", "plain"} <= set(json.dumps(results).replace('"', " ").split())


def test_a_dataset_from_outside_is_a_source(tmp_path):
    truth = open_source(make_source(count=3, seed=1), 64, "h36m_17").read(torch.arange(3))
    people = []
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), truth.image[i].permute(1, 2, 0).numpy()[..., ::-1])
        joints = dict(zip(H36M_17.joint_names, truth.keypoints[i].tolist()))
        joints.pop("head_top")
        people.append({"image": f"{i}.png", "box": [0, 0, 64, 64], "joints": joints if i else {}})
    (tmp_path / "people.json").write_text(json.dumps(people))
    recipe = load_recipe(
        str(RECIPE),
        ["--plugins", ",".join(str(EXAMPLES / name) for name in ("my_method.py", "my_dataset.py")),
         "--sources.wild", f"{{kind: my_dataset, path: {tmp_path}, keypoints: true}}"],
    )  # fmt: skip
    source = recipe.sources["wild"]
    assert (source.kind, source.keypoints, source.pose) == ("my_dataset", True, "none")
    dataset = open_source(source, 64, "h36m_17")
    assert len(dataset) == 2
    missing = dataset.index.keypoints.isnan().any(-1)
    assert missing.sum() == 2
    assert missing[:, H36M_17.index("head_top")].all()
    assert dataset.read(torch.arange(2)).image.shape == (2, 3, 64, 64)
    with pytest.raises(VergenceError, match=r"of kind my_dataset has no key sources\.wild\.step"):
        load_recipe(str(RECIPE), ["--sources.wild", "{kind: my_dataset, step: 5}"])


def test_a_run_on_an_own_dataset_is_trained_and_measured_to_its_page(tmp_path, capsys):
    for name, seed in (("people", 1), ("new", 2)):
        truth = open_source(make_source(count=4, seed=seed), 32, "h36m_17").read(torch.arange(4))
        (tmp_path / name).mkdir()
        for i in range(4):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), truth.image[i].permute(1, 2, 0).numpy()[..., ::-1])
        people = [
            {
                "image": f"{i}.png",
                "box": [0, 0, 32, 32],
                "joints": dict(zip(H36M_17.joint_names, truth.keypoints[i].tolist())),
            }
            for i in range(4)
        ]
        (tmp_path / name / "people.json").write_text(json.dumps(people))
    own = ",".join(str(EXAMPLES / name) for name in ("my_method.py", "my_dataset.py"))
    words = ["--sources.wild", f"{{kind: my_dataset, path: {tmp_path / 'people'}, keypoints: true}}", *TINY]
    words.remove("--sources.wild.count=8")
    out = tmp_path / "run"
    assert main(["train", str(RECIPE), "--plugins", own, "--out", str(out), "--device", "cpu", *words]) == 0
    assert f"my_dataset, path {tmp_path / 'people'}, joints 4" in (out / "report.html").read_text().replace("<wbr>", "")
    assert "not of new images" not in capsys.readouterr().out
    assert main(["evaluate", str(out), "--plugins", own, "--device", "cpu"]) == 0
    assert (out / "evaluation" / "report.html").exists()
