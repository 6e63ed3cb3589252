"""Scripts that the documentation offers are run, on tiny untrained models where they would download large ones."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from vergence.footage.capture import load_capture
from vergence.footage.video import VideoWriter
from vergence.recipes.load import load_recipe

SCRIPTS = Path(__file__).parent.parent / "docs" / "scripts"


def tiny_detector(folder: Path) -> None:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        decoder_in_channels=[32, 32, 32],
        encoder_hidden_dim=32,
        d_model=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_layers=1,
        num_queries=5,
        num_denoising=0,
        num_labels=1,  # so whatever it finds is a person
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    )
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def tiny_poser(folder: Path) -> None:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    backbone = VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=1,
        out_features=["stage1"],
    )
    VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17)).save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("vitpose_keypoints", SCRIPTS / "vitpose_keypoints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SURE", 0.0)  # an untrained detector is sure of nothing
    return module


def test_keypoints_by_vitpose_are_what_a_capture_reads(script, tmp_path, monkeypatch):
    tiny_detector(tmp_path / "detector")
    tiny_poser(tmp_path / "pose")
    folder = tmp_path / "capture"
    rng = np.random.default_rng(0)
    for name in ("cam01", "cam02"):
        with VideoWriter(folder / f"{name}.mp4", 25.0) as video:
            for _ in range(2):
                video.write(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
    words = ["--detector", str(tmp_path / "detector"), "--pose", str(tmp_path / "pose"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["vitpose_keypoints.py", str(folder), *words])
    script.main()
    rows = json.loads((folder / "cam01.json").read_text())
    assert {row["image_id"] for row in rows} == {0, 1}
    assert all(len(row["keypoints"]) == 51 for row in rows)
    cameras = load_capture(folder).cameras
    assert [camera.keypoints.name for camera in cameras] == ["cam01.json", "cam02.json"]


@pytest.mark.parametrize("number", [0, 1])
def test_recipes_in_the_documentation_are_recipes(number, tmp_path):
    blocks = (SCRIPTS.parent / "training.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 2
    (tmp_path / "recipe.yaml").write_text(blocks[number].split("```")[0])
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.stages["pose"].train.labels == ["labels"]
    assert recipe.test
