"""`vergence reproduce`: every row of every table, end to end on small datasets in their real formats."""

from __future__ import annotations

import json
import math

import pytest
import torch
from fixtures_root import write_root

import vergence.training.run as runs
from vergence.cli import main
from vergence.commands.console import rows as _rows
from vergence.comparison import runner
from vergence.recipes.paper_tables import built_in_tables, read_table

TINY = (
    "--image_size=32 --precision=32-true --checkpoint_every=50 --network.embedding_size=4 --network.hidden_sizes=[4,8] "
    "--network.depths=[1,1] --network.width=8 --network.depth_bins=4 --network.stacks=1 --network.modules=1 "
    "--network.pose_embedding=8 --network.pose_hidden=8 --network.pose_grid=1 --stages.all.train.steps=2 "
    "--stages.all.refine.steps=2 --stages.all.refine.width=8 --stages.all.refine.batch=8"
).split()
CLIPS = [
    "--stages.pose.train.draw.film.time_steps=4",
    "--stages.pose.train.batch.film=8",
]  # as long as the recordings are
MORE = {"mcss_h36m": CLIPS, "mcss_3dhp": CLIPS}
FIGURES_MM = ("mpjpe", "p_mpjpe", "n_mpjpe")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def trained_eyes(monkeypatch):
    """Two steps teach no 2D: behind the real function stands what a trained network would find."""
    real = runs.find_keypoints

    def find_keypoints(method, dataset, *args, **kwargs):
        points, trust = real(method, dataset, *args, **kwargs)
        known = ~dataset.index.keypoints.isnan().any(-1)
        points[:, :, 0] = torch.where(known[..., None], dataset.index.keypoints, points[:, :, 0])
        trust[:, :, 0] = known.float()
        return points, trust

    monkeypatch.setattr(runs, "find_keypoints", find_keypoints)


def words(table: str, root, out, *more: str) -> list[str]:
    return ["reproduce", table, "--data", str(root), "--out", str(out), "--device", "cpu", "--quiet", *TINY, *more]


def groups(table: str) -> list[tuple[str, list[str]]]:
    """Rows that can be made tiny in the same way: a hourglass stays one, other networks become the smallest ResNet."""
    rows = read_table(table).rows.values()
    hourglass = [row.name for row in rows if row.recipe["network"].get("backbone") == "hourglass"]
    others = [row.name for row in rows if row.name not in hourglass]
    found = [(",".join(others), ["--network.backbone=resnet"]), (",".join(hourglass), [])]
    return [(names, more) for names, more in found if names]


@pytest.mark.parametrize("table", built_in_tables())
def test_every_row_runs_and_stands_beside_its_published_figures(table, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_rows, "write_run_page", lambda *args: None)  # each run's own page is tested with `train`
    for only, more in groups(table):
        arguments = words(table, root, tmp_path, "--only", only, *more, *MORE.get(table, []))
        assert main(arguments) == 0, capsys.readouterr().err
        found = json.loads((tmp_path / table / "results.json").read_text())
        assert list(found["rows"]) == [name for name in read_table(table).rows if name in only.split(",")]
        for name, row in found["rows"].items():
            check_row(read_table(table).rows[name], row)
        text = (tmp_path / table / "results.md").read_text()
        assert all(f"| {name} |" in text for name in found["rows"])
        assert "Not comparable: The row was trained with other settings than its own" in text
        assert (tmp_path / table / "report.html").is_file()
        with monkeypatch.context() as patch:  # the same command has nothing left to do
            for name in ("train_stage", "find_keypoints"):
                patch.setattr(runs, name, None)
            patch.setattr(runner, "of_run", None)
            assert main(arguments) == 0
        assert json.loads((tmp_path / table / "results.json").read_text()) == found


def check_row(row, found) -> None:
    assert list(found["protocols"]) == [published.protocol for published in row.published]
    for published in row.published:
        beside = found["protocols"][published.protocol]
        assert beside["comparable"] is False
        measured = 0
        for name, figure in beside["figures"].items():
            ours, theirs = figure["ours"]["mean"], published.figures.get(name)
            assert figure["published"] == theirs
            if ours is not None:
                measured += 1
                assert math.isfinite(ours)
                assert name not in FIGURES_MM or 1 < ours < 5000
                assert figure["difference"] == (None if theirs is None else pytest.approx(ours - theirs))
        assert measured > 0, f"{row.name}: nothing was measured by {published.protocol}"
        assert set(published.figures) <= set(beside["figures"])


def test_a_missing_dataset_is_one_sentence_before_any_training(root, tmp_path, capsys):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mpii").symlink_to(root / "mpii")
    assert main(words("epipolar_pose_h36m", tmp_path / "root", tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert f"human36m is not there: no {tmp_path / 'root' / 'human36m'}." in error
    assert "docs/datasets.md" in error
    assert "mpii is not there" not in error
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_cannot_be_read_is_known_before_any_training(root, tmp_path, capsys):
    (tmp_path / "root" / "human36m").mkdir(parents=True)
    (tmp_path / "root" / "mpii").symlink_to(root / "mpii")
    assert main(words("epipolar_pose_h36m", tmp_path / "root", tmp_path / "out", "--only", "full_r18")) == 2
    assert "full_r18, film (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_alone_it_lists_tables_rows_and_datasets(capsys):
    assert main(["reproduce"]) == 0
    text = capsys.readouterr().out
    assert "epipolar_pose_h36m: EpipolarPose (Kocabas 2019) on Human3.6M" in text
    assert "needs ROOT/human36m, ROOT/mpii" in text
    assert "full_r50             h36m-64-epipolar: mpjpe 51.8" in text


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["nothing"], "no table 'nothing'"),
        (["epipolar_pose_h36m"], "Give --data ROOT"),
        (["epipolar_pose_h36m", "--data", ".", "--only", "full_r51"], "no row 'full_r51'"),
        (["epipolar_pose_h36m", "--data", ".", "--seeds", "0"], "--seeds is 0"),
        (["epipolar_pose_h36m", "--data", ".", "--onyl", "x"], "there is no option --onyl"),
        (
            ["epipolar_pose_h36m", "--data", ".", "--stages.all.train.stepz", "2"],
            "did you mean stages.keypoints.train.steps",
        ),
    ],
)
def test_wrong_words_are_told(more, error, capsys):
    assert main(["reproduce", *more]) == 2
    assert error.lower() in capsys.readouterr().err.lower()


def test_a_row_alone_is_a_recipe(root, tmp_path, capsys):
    out = tmp_path / "run"
    tiny = [word for word in TINY if "refine" not in word]
    command = [
        "train",
        "epipolar_pose_h36m/full_r18",
        "--data",
        str(root),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--quiet",
    ]
    assert main([*command, *tiny, "--network.backbone=resnet"]) == 0, capsys.readouterr().err
    found = json.loads((out / "results.json").read_text())["protocols"]["h36m-64-epipolar"]
    assert found["protocol"]["name"] == "h36m-64-epipolar"
    assert found["true_depth_or_scale_used"] is True
    assert main(["train", "epipolar_pose_h36m/full_r18", "--data", str(tmp_path), "--out", str(out)]) == 2
    assert "human36m is not there" in capsys.readouterr().err
