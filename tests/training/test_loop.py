from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import threading
from typing import Literal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from vergence.batches.augment import augment
from vergence.batches.dataset import MemoryDataset
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.methods.base import Watch
from vergence.methods.registry import build_method
from vergence.methods.supervised import Supervised
from vergence.recipes.recipe import NetworkSettings, TrainStage
from vergence.recipes.settings import Augmentation
from vergence.training import keeping
from vergence.training.loop import _Module, _Steps, read_metrics, stage_rate, train_stage

NETWORK = NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8)
STAGE = TrainStage(
    steps=12,
    losses={"heatmap": 1.0, "coordinates": 0.1, "depth": 1.0},
    augmentation=Augmentation(mirror=0.5, rotation=10, scale=0.1, gain=0.1, occlusion=0.5),
)


def random_views(n: int = 20, size: int = 32) -> Views:
    g = torch.Generator().manual_seed(0)
    pose = torch.randn(n, 17, 3, generator=g) * 300 + torch.tensor([0.0, 0, 4000])
    k = torch.tensor([[100.0, 0, 15.5], [0, 100, 15.5], [0, 0, 1]]).expand(n, 3, 3).clone()
    uv = (pose / pose[..., 2:]) @ k[0].T
    return Views.empty(n, 17, size, size).replace(
        image=torch.randint(0, 256, (n, 3, size, size), generator=g, dtype=torch.uint8),
        pose=pose,
        keypoints=uv[..., :2],
        confidence=torch.ones(n, 17),
        intrinsics=k,
        metric=torch.ones(n, dtype=torch.bool),
    )


class Killed(Exception):
    pass


class KillAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise Killed


def train(folder, kill_at: int | None = None, optimizer: Literal["adamw", "muon", "rmsprop"] = "adamw", callback=None):
    views = random_views()
    torch.manual_seed(0)
    method = build_method("supervised", NETWORK, "h36m_17")
    mixture = Mixture([Part("a", MemoryDataset(views), views, 6)], seed=3)
    callbacks = (KillAt(kill_at),) if kill_at is not None else (callback,) if callback else ()
    train_stage(
        method,
        mixture,
        dataclasses.replace(STAGE, optimizer=optimizer),
        folder,
        seed=3,
        device="cpu",
        checkpoint_every=5,
        callbacks=callbacks,
    )
    return method.state_dict()


@pytest.mark.parametrize(
    ("optimizer", "kill_at"), [(name, at) for name in ("adamw", "muon") for at in (3, 5, 7, 11)] + [("rmsprop", 7)]
)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, kill_at, optimizer):
    whole = train(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Killed):
        train(tmp_path / "cut", kill_at, optimizer)
    resumed = train(tmp_path / "cut", optimizer=optimizer)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == lines
    assert {"step", "loss", "heatmap", "depth"} <= set(json.loads(lines.splitlines()[0]))
    assert [step for step, _ in read_metrics(tmp_path / "whole" / "metrics.jsonl")["loss"]] == [0, 10]


def test_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, 7)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5


def test_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(VergenceError, match=r"last\.ckpt cannot be read"):
        train(tmp_path)


def test_learning_rate_rises_then_falls():
    rates = [stage_rate(s, TrainStage(steps=100)) for s in range(100)]
    assert rates[2] == max(rates) == 1
    assert rates[-1] < 0.02
    assert all(b <= a for a, b in itertools.pairwise(rates[3:]))


def test_a_schedule_of_steps_is_constant_but_for_its_drops():
    stage = TrainStage(steps=50, schedule="steps", milestones=[0.5, 0.8])
    rates = [stage_rate(s, stage) for s in range(50)]
    assert rates == pytest.approx([1.0] * 25 + [0.1] * 15 + [0.01] * 10)
    assert {stage_rate(s, dataclasses.replace(stage, milestones=[])) for s in range(50)} == {1.0}


def test_images_of_unchanged_sources_are_as_they_were():
    """Two sources in a batch, of which the second is augmented: images, keypoints and poses of the first stay."""
    views = random_views(4)
    stage = dataclasses.replace(STAGE, batch={"none": 0, "lab": 4, "wild": 4}, no_augment=["lab"])
    parts = [Part(name, MemoryDataset(views), views, count) for name, count in stage.batch.items()]
    batch = Mixture(parts, seed=1).batch(0)
    module = _Module(build_method("supervised", NETWORK, "h36m_17"), stage, 0)
    found = module._augmented(batch, torch.Generator().manual_seed(3))
    whole = augment(batch, stage.augmentation, module.method.skeleton, torch.Generator().manual_seed(3))
    assert torch.allclose(found.image[:4], batch.image[:4] / 255)
    for name, value in found.items():
        if name != "image":
            assert torch.equal(value[:4].nan_to_num(-1), getattr(batch, name)[:4].nan_to_num(-1)), name
        assert torch.equal(value[4:].nan_to_num(-1), getattr(whole, name)[4:].nan_to_num(-1)), name
    assert not torch.allclose(found.keypoints[4:], batch.keypoints[4:])


def test_batches_are_a_function_of_the_step_and_cover_an_epoch_once():
    views = random_views(10).replace(frame=torch.arange(10))
    make = lambda: Mixture([Part("a", MemoryDataset(views), views, 4)], seed=1)
    one, two = make(), make()
    frames = [one.batch(s).frame.tolist() for s in range(5)]
    assert [two.batch(s).frame.tolist() for s in (4, 0, 2)] == [frames[4], frames[0], frames[2]]
    drawn = [frame for batch in frames for frame in batch]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_what_a_method_warns_of_is_filed_and_said_once_it_lasts(tmp_path):
    views = random_views()
    method = build_method("supervised", NETWORK, "h36m_17")
    seen: list[float] = []

    def watch() -> Watch:
        seen.append(method.progress)
        return Watch({"tilt": 0.9}, {"bone": "the bone is turned"} if len(seen) < 5 else {})

    method.watch = watch
    said: list[str] = []
    stage = dataclasses.replace(STAGE, steps=60)
    mixture = Mixture([Part("a", MemoryDataset(views), views, 4)], seed=0)
    train_stage(method, mixture, stage, tmp_path, seed=0, device="cpu", say=said.append)
    assert said == ["step 20: the bone is turned", "step 40: over: bone"]
    assert seen == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "alarms" in r] == [0, 10, 20, 30]
    assert rows[1]["alarms"] == {"bone": "the bone is turned"}
    curves = read_metrics(tmp_path / "metrics.jsonl")
    assert [v for _, v in curves["tilt"]] == [0.9] * 6
    assert "alarms" not in curves


def test_a_loss_that_was_always_0_is_told_and_another_number_of_threads_too(tmp_path, monkeypatch):
    views, said = random_views(), list[str]()
    method = build_method("supervised", NETWORK, "h36m_17")
    terms = method.terms
    method.terms = lambda views, maps: {**terms(views, maps), "idle": 0.0 * maps.depth.mean()}
    mixture = Mixture([Part("a", MemoryDataset(views), views, 4)], seed=0)
    stage = dataclasses.replace(STAGE, losses={**STAGE.losses, "idle": 2.0})
    settings = {"seed": 0, "device": "cpu", "checkpoint_every": 5, "say": said.append}
    with pytest.raises(Killed):
        train_stage(method, mixture, stage, tmp_path, callbacks=(KillAt(7),), **settings)
    assert not said
    now = torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: now + 1)
    train_stage(method, mixture, stage, tmp_path, **settings)
    assert said == [
        f"step 5: begun with --threads {now}, goes on with {now + 1}: equal up to rounding",
        "the loss idle was 0 from the first step to the last, and had no effect",
    ]


def test_unknown_loss_is_named(tmp_path):
    views = random_views()
    stage = TrainStage(steps=2, losses={"heatmaps": 1.0})
    mixture = Mixture([Part("a", MemoryDataset(views), views, 4)], seed=0)
    method = build_method("supervised", NETWORK, "h36m_17")
    with pytest.raises(VergenceError, match="heatmaps"):
        train_stage(method, mixture, stage, tmp_path, seed=0, device="cpu")


def test_source_without_images_is_refused():
    empty = random_views(3)[:0]
    with pytest.raises(VergenceError, match="has no images"):
        Mixture([Part("a", MemoryDataset(empty), empty, 4)], seed=0)


def test_the_next_batch_is_read_while_a_step_is_computed():
    asked = {step: threading.Event() for step in range(2, 6)}

    class Slow:
        def batch(self, step: int) -> int:
            asked[step].set()
            if step == 5:
                raise VergenceError("image 5 is damaged")
            return step

    steps = _Steps(Slow(), 6)  # type: ignore[arg-type]
    steps.start = 2
    batches = iter(steps)
    assert next(batches) == 2
    assert asked[3].wait(10)
    assert not asked[4].wait(0.05)  # one, no more: memory
    assert [next(batches), next(batches)] == [3, 4]
    with pytest.raises(VergenceError, match="image 5"):
        next(batches)


class SignalAt(Callback):
    """Sends this process a signal at a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_step_and_the_same_call_goes_on(tmp_path, number):
    whole = train(tmp_path / "whole")
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", callback=SignalAt(7, number))
    assert signal.getsignal(number) == handler
    assert torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["global_step"] == 8
    resumed = train(tmp_path / "cut")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert [p.name for p in (tmp_path / "cut").glob(".*")] == []


def test_a_checkpoint_is_due_by_the_clock_too(tmp_path, monkeypatch):
    """Steps of 15 s each: after four of them a kill must not cost more than a minute."""
    now = itertools.count(0.0, 15.0)
    monkeypatch.setattr(keeping.time, "monotonic", lambda: next(now))
    with pytest.raises(Killed):
        train(tmp_path, 4)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] >= 2


def test_what_a_kill_left_half_written_is_passed_over(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, 7)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    (tmp_path / ".last.0123abcd.ckpt").write_bytes(b"half")
    train(tmp_path)
    assert [step for step, _ in read_metrics(tmp_path / "metrics.jsonl")["loss"]] == [0, 10]
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_loss_that_is_no_number_leaves_no_checkpoint_to_fail_again_from(tmp_path, monkeypatch):
    real = Supervised.losses

    def losses(self, views):
        terms = real(self, views)
        return {**terms, "depth": terms["depth"] * (float("nan") if self.progress > 0.7 else 1)}

    monkeypatch.setattr(Supervised, "losses", losses)
    with pytest.raises(VergenceError, match=r"loss at step 9 is nan.*Lower learning_rate"):
        train(tmp_path)
    assert not (tmp_path / "last.ckpt").exists()
