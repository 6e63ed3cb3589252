"""Keypoints found beside a video under the names that the tools give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures_keypoint_files import write_dlc_csv

from vergence.errors import VergenceError
from vergence.footage.keypoint_formats.beside import keypoints_beside


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv" and "boxes" not in str(folder):
            write_dlc_csv(path, np.ones((1, 1, 1, 3)), ["nose"])
        else:
            path.write_text("{}")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["cam1_json/0.json"], "cam1_json"),
        (["cam1.json", "cam10.json"], "cam1.json"),
        (["cam1/0.json"], "cam1"),
        (["cam1/alphapose-results.json"], "cam1/alphapose-results.json"),
        (["alphapose/cam1/alphapose-results.json", "alphapose/cam10/alphapose-results.json"],
         "alphapose/cam1/alphapose-results.json"),
        (["cam1_alphapose/alphapose-results.json"], "cam1_alphapose/alphapose-results.json"),
        (["alphapose-results_cam1.json"], "alphapose-results_cam1.json"),
        (["predictions/cam1.json"], "predictions/cam1.json"),
        (["results_cam1.json"], "results_cam1.json"),
        (["cam1DLC_resnet50_walkshuffle1_100000.csv", "cam10DLC_resnet50_walkshuffle1_100000.csv"],
         "cam1DLC_resnet50_walkshuffle1_100000.csv"),
        (["cam1DLC_net.h5", "cam1DLC_net.csv"], "cam1DLC_net.csv"),
        (["cam1DLC_net.h5", "cam1DLC_net_filtered.h5"], "cam1DLC_net_filtered.h5"),
        (["cam1.predictions.analysis.h5", "cam10.predictions.analysis.h5"], "cam1.predictions.analysis.h5"),
        (["cam1.mp4.predictions.analysis.h5"], "cam1.mp4.predictions.analysis.h5"),
        (["labels.v001.000_cam1.analysis.h5", "labels.v001.001_cam10.analysis.h5"], "labels.v001.000_cam1.analysis.h5"),
        (["pose-2d/cam1.h5", "pose-2d-filtered/cam1.h5"], "pose-2d-filtered/cam1.h5"),
        (["video_preds/cam1.csv"], "video_preds/cam1.csv"),
        (["CAM1_JSON/0.JSON"], "CAM1_JSON"),
        (["OpenPose/Cam1_json/0.json"], "OpenPose/Cam1_json"),
        (["CAM1.json", "cam1.json"], "cam1.json"),
        (["cam10_json/0.json", "xcam1.json", "cam1.txt", "cam1.wav"], None),
    ],
)  # fmt: skip
def test_names_of_tools(names: list[str], found: str | None, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert keypoints_beside(tmp_path, "cam1") == (None if found is None else tmp_path / found)


def test_aniposes_session_keeps_videos_in_a_folder_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "pose-2d/cam1.h5", "videos-raw/cam1.mp4")
    assert keypoints_beside(tmp_path / "videos-raw", "cam1") == tmp_path / "pose-2d" / "cam1.h5"


def test_a_csv_of_boxes_is_no_keypoints(tmp_path: Path) -> None:
    touch(tmp_path / "boxes", "cam1.csv")
    assert keypoints_beside(tmp_path / "boxes", "cam1") is None


def test_two_models_ask(tmp_path: Path) -> None:
    touch(tmp_path, "cam1DLC_a.csv", "cam1DLC_b.csv")
    with pytest.raises(VergenceError, match=r"may be cam1DLC_a\.csv or cam1DLC_b\.csv"):
        keypoints_beside(tmp_path, "cam1")
