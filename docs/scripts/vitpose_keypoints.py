"""2D keypoints of everybody in a folder's videos, by RT-DETR and ViTPose from transformers, as COCO-style JSON.

    python docs/scripts/vitpose_keypoints.py my_capture

writes `cam01.json` beside `cam01.mp4`, and so on: `vergence reconstruct my_capture` finds them there. The weights come from
the Hugging Face hub on first use and are kept (read their licences there); give local folders where there is no network.
A GPU is worth having: a CPU takes seconds for an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from vergence.files import write_json
from vergence.footage.video import VIDEO_SUFFIXES, open_video

DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"
POSE = "usyd-community/vitpose-base-simple"
PERSON = 0  # RT-DETR's label
SURE = 0.3


@torch.inference_mode()
def find_people(image: np.ndarray, models: tuple[Any, Any, Any, Any], device: str) -> list[dict[str, Any]]:
    """Keypoints (17 x, y, score; pixels from the centre of the first) of every person in an RGB image."""
    box_processor, detector, pose_processor, poser = models
    inputs = box_processor(images=image, return_tensors="pt").to(device)
    found = box_processor.post_process_object_detection(
        detector(**inputs), target_sizes=[image.shape[:2]], threshold=SURE
    )[0]
    corners = found["boxes"][found["labels"] == PERSON].cpu().numpy()
    if not len(corners):
        return []
    boxes = [np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)]
    inputs = pose_processor(image, boxes=boxes, return_tensors="pt").to(device)
    poses = pose_processor.post_process_pose_estimation(poser(**inputs), boxes=boxes)[0]
    people = []
    for pose in poses:
        points, scores = pose["keypoints"].double().numpy(), pose["scores"].double().numpy()
        people.append({"keypoints": np.c_[points, scores.clip(0, 1)].ravel().tolist(), "score": float(scores.mean())})
    return people


def load_models(detector: str, pose: str, device: str) -> tuple[Any, Any, Any, Any]:
    return (
        RTDetrImageProcessorPil.from_pretrained(detector),
        AutoModelForObjectDetection.from_pretrained(detector).eval().to(device),
        VitPoseImageProcessorPil.from_pretrained(pose),
        VitPoseForPoseEstimation.from_pretrained(pose).eval().to(device),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default=DETECTOR, help="hub name or local folder")
    parser.add_argument("--pose", default=POSE, help="hub name or local folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    models = load_models(options.detector, options.pose, options.device)
    for path in sorted(p for p in options.folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES):
        rows = []
        with open_video(path) as video:
            for frame, image in video:
                people = find_people(image, models, options.device)
                rows += [{"image_id": frame, "category_id": 1, **person} for person in people]
        write_json(path.with_suffix(".json"), rows)
        print(f"{path.name}: {len(rows)} people")


if __name__ == "__main__":
    main()
