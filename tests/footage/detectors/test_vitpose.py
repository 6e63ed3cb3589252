"""ViTPose's real code on tiny untrained models, saved locally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vergence
from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.detectors import vitpose
from vergence.footage.keypoints import read_keypoints
from vergence.footage.video import VideoWriter
from vergence.skeleton import COCO_17


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


def test_keypoints_by_vitpose_are_what_a_capture_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitpose, "SURE", 0.0)  # an untrained detector is sure of nothing
    tiny_detector(tmp_path / "model" / "detector")
    tiny_poser(tmp_path / "model" / "pose")
    folder = tmp_path / "capture"
    rng = np.random.default_rng(0)
    for name in ("cam01", "cam02"):
        with VideoWriter(folder / f"{name}.mp4", 25.0) as video:
            for _ in range(2):
                video.write(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
    found = vergence.detect(folder, detector="vitpose", model=str(tmp_path / "model"), device="cpu")
    assert [(one.path.name, one.frames) for one in found] == [("cam01.json", 2), ("cam02.json", 2)]
    read = read_keypoints(folder / "cam01.json")
    assert read.skeleton == COCO_17
    assert sum(len(people) for people in read.people.values()) > 0
    assert all((people[np.isfinite(people[..., 2])][:, 2] <= 1).all() for people in read.people.values())
    cameras = load_capture(folder).cameras
    assert [camera.keypoints.name for camera in cameras if camera.keypoints] == ["cam01.json", "cam02.json"]


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match=r"detector holds no model.*detector and pose"):
        vitpose.ViTPose(str(tmp_path), "cpu")
