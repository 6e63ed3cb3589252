"""All datasets side by side in their own formats, each in the folder of its kind, as `vergence reproduce --data` wants them.

Recordings are long and have few frames: every so many of the dataset's frames has an image, so that clips of time steps
seconds apart, steps of 5 and of 64 all find some.
"""

from __future__ import annotations

from pathlib import Path

import fixtures_human36m as h36m
import fixtures_mannequin as mannequin
import numpy as np
from fixtures_flat import coco, mpii_rows, shots, write_coco, write_mpii_json
from fixtures_mpi_inf_3dhp import Truth, calibration, studio, universal, write_calib, write_test
from PIL import Image
from scipy.io import savemat

TIME_STEPS = 8
APART_H36M = 320  # frames: a multiple of 5 and of 64, 6.4 s
APART_3DHP = 50  # frames: 1 s at 50 a second, 2 s at 25
VIEWS_3DHP = 4
CAMERAS_3DHP = (0, 1, 2, 7)  # of those that papers train on; camera c stands where c modulo 4 does


def write_root(root: Path) -> Path:
    """Everything; some seconds."""
    h36m.write_mmpose(root / "human36m", h36m.make_truth(TIME_STEPS // 2), steps=(1,), apart=APART_H36M, times=2)
    write_3dhp(root / "mpi_inf_3dhp")
    flat = shots()
    for split in ("train", "valid"):
        write_mpii_json(root / "mpii", flat, mpii_rows(flat), split)
    for split in ("train", "val"):
        write_coco(root / "coco", flat, coco(flat), split)
    for i in range(2):
        mannequin.write_clip(root / "mannequin_challenge", f"{i:016x}", *mannequin.truth(12, seed=5 + i))
    return root


def write_3dhp(root: Path) -> None:
    """Two people of the training set, one sequence each, of whom retrieval holds out the second; all six test sequences."""
    for subject in (1, 7):
        write_studio(root / f"S{subject}" / "Seq1", studio(TIME_STEPS, seed=subject, views=VIEWS_3DHP))
    shown = studio(3, seed=9)
    for number in range(1, 7):
        write_test(root / "mpi_inf_3dhp_test_set", number, shown, number % 3, valid=range(3), activity=[1, 2, number])
    write_calib(root / "mpi_inf_3dhp_test_set", shown, 0)


def write_studio(folder: Path, truth: Truth) -> None:
    """S*/Seq*: labels of every frame, images of some: `imageSequence/img_<camera>_000001.jpg`."""
    (folder / "imageSequence").mkdir(parents=True)
    (folder / "camera.calibration").write_text(calibration(truth))
    cells = {name: np.empty((14, 1), dtype=object) for name in ("annot2", "annot3", "univ_annot3")}
    for c in range(14):
        pose, pixels = (np.repeat(values, APART_3DHP, 0) for values in (truth.pose(c), truth.pixels(c)))
        cells["annot2"][c, 0] = pixels.reshape(len(pixels), 56)
        cells["annot3"][c, 0] = pose.reshape(len(pose), 84)
        cells["univ_annot3"][c, 0] = universal(pose).reshape(len(pose), 84)
    frames = len(truth.joints) * APART_3DHP
    savemat(
        folder / "annot.mat", {**cells, "cameras": np.arange(14.0)[None], "frames": np.arange(float(frames))[:, None]}
    )
    for c in CAMERAS_3DHP:
        for t in range(len(truth.joints)):
            name = f"img_{c}_{t * APART_3DHP + 1:06d}.jpg"
            Image.fromarray(truth.images[c % VIEWS_3DHP, t]).save(folder / "imageSequence" / name, quality=95)
