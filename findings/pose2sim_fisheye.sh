#!/bin/sh
# Pose2Sim reads calibrations in anipose's TOML, where `fisheye = true` marks lenses of OpenCV's fisheye model, and it passes over
# that mark: with undistort_points it takes k1 k2 k3 k4 for k1 k2 p1 p2 of an ordinary lens. Exact keypoints of four such
# cameras give joints more than 10 cm off, without a warning; through ordinary lenses they are exact. Undistort the keypoints
# and give Pose2Sim a calibration without distortion.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet rtoml==0.13.0 anytree==2.13.0 c3d==0.6.0 tqdm==4.70.1 matplotlib==3.11.2 \
    pandas==3.1.1 scipy==1.17.1 opencv-python-headless==5.0.0.93 numpy==2.4.6 || exit 2
# without what only other stages of Pose2Sim need (OpenSim, OpenVINO, Qt, ...)
"$folder/venv/bin/python" -m pip install --quiet --no-deps pose2sim==0.10.49 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import io
import json
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from anytree import RenderTree
from Pose2Sim import skeletons, triangulation

FRAMES, SIZE = 12, (1920, 1080)
MATRIX = np.array([[800.0, 0, 960], [0, 800, 540], [0, 0, 1]])
NODES = [node for _, _, node in RenderTree(skeletons.HALPE_26) if node.id is not None]
BODY = np.random.default_rng(0).uniform((-0.3, -0.3, 0), (0.3, 0.3, 1.8), (len(NODES), 3))  # metres, z up


def person(frame: int) -> np.ndarray:
    return BODY + (0.9 - 0.15 * frame, 0.5, 0)


def project(points: np.ndarray, turn: np.ndarray, shift: np.ndarray, lens: list[float], fisheye: bool) -> np.ndarray:
    if fisheye:
        return cv2.fisheye.projectPoints(points[:, None], turn, shift, MATRIX, np.array(lens))[0].reshape(-1, 2)
    return cv2.projectPoints(points, turn, shift, MATRIX, np.array(lens))[0].reshape(-1, 2)


def worst(lens: list[float], fisheye: bool, undistort: bool) -> float:
    """Metres between a joint's true place and that of Pose2Sim's TRC, at most; four cameras 3 m away."""
    project_folder = Path(f"trial_{fisheye}_{undistort}")
    (project_folder / "calibration").mkdir(parents=True)
    rig = ""
    for number in range(4):
        angle = np.pi / 2 * number + 0.3
        centre = np.array([3 * np.cos(angle), 3 * np.sin(angle), 1.2])
        forward = np.array([0, 0, 0.9]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0, 0, 1.0))
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        turn, shift = cv2.Rodrigues(rotation)[0].ravel(), -rotation @ centre
        rig += f'[cam{number}]\nname = "cam{number}"\nsize = [{SIZE[0]}.0, {SIZE[1]}.0]\nmatrix = {MATRIX.tolist()}\n'
        rig += f"distortions = {lens}\nrotation = {turn.tolist()}\ntranslation = {shift.tolist()}\n"
        rig += f"fisheye = {str(fisheye).lower()}\n\n"
        images = project_folder / "pose" / f"cam{number}_json"
        images.mkdir(parents=True)
        for frame in range(FRAMES):
            row = np.zeros((26, 3))
            row[[node.id for node in NODES]] = np.c_[project(person(frame), turn, shift, lens, fisheye), np.ones(len(NODES))]
            people = [{"person_id": [-1], "pose_keypoints_2d": row.ravel().tolist()}]
            (images / f"cam{number}_{frame:06d}.json").write_text(json.dumps({"version": 1.3, "people": people}))
    (project_folder / "calibration" / "Calib.toml").write_text(rig + "[metadata]\nadjusted = false\nerror = 0.0\n")
    (project_folder / "Config.toml").write_text("")
    config = {
        "project": {"project_dir": str(project_folder), "multi_person": False, "frame_rate": 30, "frame_range": "all"},
        "pose": {"pose_model": "HALPE_26", "vid_img_extension": "mp4"},
        "triangulation": {
            "reproj_error_threshold_triangulation": 1000,  # pixels: no camera is left out, as none errs
            "likelihood_threshold_triangulation": 0.3,
            "min_cameras_for_triangulation": 2,
            "undistort_points": undistort,
            "interpolation": "none",
            "make_c3d": False,
        },
    }
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        triangulation.triangulate_all(config)
    (file,) = project_folder.glob("pose-3d/*.trc")
    found = pd.read_csv(file, sep="\t", skiprows=5, header=None).iloc[:, 2 : 2 + len(NODES) * 3].to_numpy(float).reshape(-1, len(NODES), 3)
    true = np.stack([person(frame) for frame in range(FRAMES)])[..., [1, 2, 0]]  # its TRC is y up
    return float(np.linalg.norm(found - true, axis=-1).max())


logging.disable()
print("pose2sim", version("pose2sim"), "opencv", cv2.__version__)
lenses = {"ordinary": (False, [-0.05, 0.01, 0.0, 0.0]), "fisheye": (True, [0.02, -0.01, 0.01, -0.004])}
seen = {}
for name, (fisheye, lens) in lenses.items():
    for undistort in (True, False):
        error = seen[name, undistort] = worst(lens, fisheye, undistort)
        words = f"fisheye = {str(fisheye).lower()}, undistort_points = {str(undistort).lower()}"
        print(f"  {words}: joints are up to {1000 * error:.1f} mm from the truth")
held = seen["ordinary", True] < 0.001 and min(seen["fisheye", True], seen["fisheye", False]) > 0.05
raise SystemExit(0 if held else "changed: this finding no longer holds as described")
PYTHON
