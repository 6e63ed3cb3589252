"""Keypoint files as other people's tools write them, made without these tools."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np


def write_dlc_csv(
    path: Path,
    points: np.ndarray,
    names: Sequence[str],
    individuals: Sequence[str] = (),
    index: Sequence[str] = (),
    columns: int = 1,
    extra: bool = False,
) -> Path:
    """T P J 3 as DeepLabCut's CSV; P is 1 without `individuals`, the index has `columns`, `extra` are an ensemble's."""
    coords = ["x", "y", "likelihood", *(["x_ens_var"] if extra else [])]
    heads = [("DLC_net", who, name, c) for who in (individuals or [""]) for name in names for c in coords]
    keys = ["scorer", *(["individuals"] if individuals else []), "bodyparts", "coords"]
    picked = [0, 1, 2, 3] if individuals else [0, 2, 3]
    rows = [[key, *[""] * (columns - 1), *(head[i] for head in heads)] for key, i in zip(keys, picked)]
    for t, people in enumerate(points):
        values = np.concatenate([people, np.full((*people.shape[:-1], len(coords) - 3), 7.0)], -1).ravel()
        words = ["" if np.isnan(value) else repr(float(value)) for value in values]
        rows.append([*(index[t].split("/") if columns > 1 else [index[t] if index else str(t)]), *words])
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


def write_pandas_h5(
    path: Path, points: np.ndarray, names: Sequence[str], kind: str = "table", index: Sequence = ()
) -> Path:
    """T J 3 as pandas' HDF5 of DeepLabCut's table, in its format `table` or `fixed`."""
    heads = [("DLC_net", name, coordinate) for name in names for coordinate in ("x", "y", "likelihood")]
    values = points.reshape(len(points), -1)
    rows = np.array(index) if len(index) else np.arange(len(points))
    rows = rows.astype("S") if rows.dtype.kind == "U" else rows
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        if kind == "table":
            group.attrs["pandas_type"] = np.bytes_("frame_table")
            data = np.zeros(len(rows), [("index", rows.dtype), ("values_block_0", float, values.shape[1:])])
            data["index"], data["values_block_0"] = rows, values
            group["table"] = data
            group["table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(heads, protocol=0))
            return path
        group.attrs.update(pandas_type=np.bytes_("frame"), nblocks=1, block0_items_nlevels=3)
        group.attrs.update(block0_items_variety=np.bytes_("multi"), axis1_variety=np.bytes_("regular"))
        group["axis1"], group["block0_values"] = rows, values
        for level, words in enumerate(zip(*heads)):
            known = sorted(set(words))
            group[f"block0_items_level{level}"] = np.array(known, dtype="S")
            group[f"block0_items_label{level}"] = np.array([known.index(word) for word in words], dtype=np.int8)
    return path


def write_sleap(
    path: Path, points: np.ndarray, names: Sequence[str], order: str = "matlab", dims: bool = False
) -> Path:
    """T P J 3 as SLEAP's analysis file; `order` is matlab or standard, `dims` whether it says so."""
    axes = {"matlab": ("track", "xy", "node", "frame"), "standard": ("frame", "track", "node", "xy")}[order]
    own = ("frame", "track", "node", "xy")
    kept = tuple(axis for axis in axes if axis != "xy")
    with h5py.File(path, "w") as file:
        file["tracks"] = points[..., :2].transpose([own.index(axis) for axis in axes])
        file["point_scores"] = points[..., 2].transpose([own.index(axis) for axis in kept])
        file["node_names"] = np.array(names, dtype="S")
        tracks = points.shape[1]
        file["track_names"] = np.array([f"track_{i}" for i in range(tracks)] if tracks > 1 else [], dtype="S")
        if dims:
            file["tracks"].attrs["dims"] = json.dumps(axes)
            file["point_scores"].attrs["dims"] = json.dumps(kept)
    return path


def write_mmpose(path: Path, frames: dict[int, np.ndarray], names: Sequence[str] = ()) -> Path:
    """P K 3 by frame: as MMPose's demo writes it, or without names as its inferencer does."""
    found = [
        {"frame_id": number, "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(),
                                            "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9} for p in people]}
        for number, people in frames.items()
    ]  # fmt: skip
    meta = {"dataset_name": "any", "keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    path.write_text(json.dumps({"meta_info": meta, "instance_info": found} if names else found, indent="\t"))
    return path


def write_alphapose(path: Path, frames: dict[int, np.ndarray]) -> Path:
    """P K 3 by frame as AlphaPose's results, with a score above 1 and a track's number."""
    rows = [
        {"image_id": f"{number}.jpg", "category_id": 1, "keypoints": person.ravel().tolist(), "score": 2.9,
         "box": [1.0, 2.0, 3.0, 4.0], "idx": [1.0]}
        for number, people in frames.items() for person in people
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    return path
