"""ViTPose on the boxes of RT-DETR, both from transformers: 17 joints (COCO), from the hub or a local folder.

Its scores may pass 1, its own threshold would drop joints, and it takes boxes as x, y, width, height. A GPU is worth having:
a CPU takes seconds for an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vergence.errors import VergenceError, refusing
from vergence.footage.detectors.base import People, inside
from vergence.footage.images import RGB
from vergence.networks.hub import hub_options
from vergence.skeleton import COCO_17

BOXES, POSE = "PekingU/rtdetr_r50vd_coco_o365", "usyd-community/vitpose-base-simple"
FOLDERS = ("detector", "pose")
SURE = 0.3


class ViTPose:
    """See `base.Detector`."""

    skeleton = COCO_17

    def __init__(self, model: str = "", device: str = "auto") -> None:
        import torch
        import transformers
        from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation
        from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
        from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

        boxes, pose = (str(Path(model) / name) for name in FOLDERS) if model else (BOXES, POSE)
        for folder in (boxes, pose) if model else ():
            if not Path(folder, "config.json").is_file():
                raise VergenceError(
                    f"{folder} holds no model",
                    f"--detector-model of vitpose is a folder with {' and '.join(FOLDERS)} in it.",
                )
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        weights = f"{' and '.join(FOLDERS)}: snapshots of {BOXES} and {POSE}."
        remedy = f"Without a network give --detector-model, a folder with {weights}"
        with refusing("ViTPose cannot be opened", remedy, OSError, ValueError):
            ask_boxes, ask_pose = hub_options(boxes), hub_options(pose)
            self._read_boxes: Any = RTDetrImageProcessorPil.from_pretrained(boxes, **ask_boxes)
            self._boxes: Any = AutoModelForObjectDetection.from_pretrained(boxes, **ask_boxes).eval().to(self._device)
            self._read_pose: Any = VitPoseImageProcessorPil.from_pretrained(pose, **ask_pose)
            self._pose: Any = VitPoseForPoseEstimation.from_pretrained(pose, **ask_pose).eval().to(self._device)
        labels = {str(name).lower(): number for number, name in self._boxes.config.id2label.items()}
        self._person = labels.get("person", 0)
        commits = [getattr(m.config, "_commit_hash", None) or m.config.name_or_path for m in (self._boxes, self._pose)]
        self.identity = f"vitpose {transformers.__version__} {' '.join(map(str, commits))}"

    def __call__(self, images: Sequence[RGB]) -> list[People]:
        import torch

        with torch.inference_mode():
            inputs = self._read_boxes(images=list(images), return_tensors="pt").to(self._device)
            found = self._read_boxes.post_process_object_detection(
                self._boxes(**inputs), target_sizes=[image.shape[:2] for image in images], threshold=SURE
            )
            return [self._joints(image, one) for image, one in zip(images, found, strict=True)]

    def _joints(self, image: RGB, found: Any) -> People:
        corners = found["boxes"][found["labels"] == self._person].double().cpu().numpy()
        if not len(corners):
            return np.empty((0, len(self.skeleton), 3))
        boxes = [np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)]
        inputs = self._read_pose(image, boxes=boxes, return_tensors="pt").to(self._device)
        poses = self._read_pose.post_process_pose_estimation(self._pose(**inputs), boxes=boxes)[0]
        rows = [np.c_[pose["keypoints"].double().cpu(), pose["scores"].double().cpu()] for pose in poses]
        return inside(np.stack(rows), image)
