"""One image and all that is known of it, moved into the crop of a box: what crops and datasets are held against."""

import numpy as np
import torch

from vergence.batches.crops import crop_image, moved_labels


def crop_view(image, intrinsics, distortion, box, size, *, joints=None, mode="virtual", **labels):
    """Views of one. `labels` are `moved_labels`' of the full image; a known keypoint has confidence 1."""
    pixels, camera = crop_image(image, intrinsics, distortion, box, size, mode)
    joints = joints or len(next(labels[name] for name in ("keypoints", "pose") if name in labels))
    shapes = {"keypoints": (joints, 2), "pose": (joints, 3), "rotation": (3, 3), "translation": (3,), "up": (3,)}
    known = {name: np.full((1, *shape), np.nan) for name, shape in shapes.items()}
    known |= {name: np.asarray(value, dtype=float)[None] for name, value in labels.items()}
    size = np.array([image.shape[1::-1]])
    view = moved_labels(camera[None], size, confidence=np.ones((1, joints)), **known)
    return view.replace(image=torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous())
