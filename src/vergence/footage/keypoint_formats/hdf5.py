"""HDF5 files of keypoints: SLEAP's analysis export, and pandas' tables as DeepLabCut and Anipose write them.

SLEAP's `tracks` come in more than one order of axes: its own export turns them for MATLAB (track, xy, node, frame), sleap-io
also writes (frame, track, node, xy) and says so in the attribute `dims`. Where nothing is said, the order is the one whose
lengths fit the names of nodes and tracks. A point that a person set by hand has no score and is sure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError, refusing
from vergence.files import check_growth
from vergence.footage.keypoint_formats.deeplabcut import read_deeplabcut_h5
from vergence.footage.keypoint_formats.tables import detections
from vergence.footage.keypoints import Detections
from vergence.footage.readers import Reader
from vergence.skeleton import Skeleton

if TYPE_CHECKING:
    import h5py

AXES = ("frame", "track", "node", "xy")
# In the order in which they are tried where the file does not say.
ORDERS = (("track", "xy", "node", "frame"), AXES, ("frame", "node", "xy", "track"))


def read_hdf5(path: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """One camera's keypoints from an HDF5 file of SLEAP, DeepLabCut or Anipose.

    Raises:
        VergenceError: missing, damaged, or of something else.
    """
    import h5py  # a tenth of a second, which other formats' users need not wait

    path = Path(path)
    if not path.is_file():
        raise VergenceError(f"there is no keypoint file {path}", "Check the path.")
    with refusing(f"{path} is not readable as HDF5 of keypoints", "Write it again."), h5py.File(path) as file:
        _check_size(file, path)
        if "tracks" in file and "node_names" in file:
            return _sleap(file, path, skeleton)
        return read_deeplabcut_h5(file, path, skeleton)


def _check_size(file: h5py.File, path: Path) -> None:
    """A few bytes may claim any shape: values that were never written take no room in the file."""
    sizes = []
    file.visititems(lambda name, item: sizes.append(getattr(item, "nbytes", 0)))
    check_growth(path, sum(sizes))


def _sleap(file: h5py.File, path: Path, skeleton: Skeleton | None) -> Detections:
    names = [
        word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in file["node_names"][:]
    ]
    tracks = max(len(file["track_names"]) if "track_names" in file else 1, 1)
    order = _order(file["tracks"], {"node": len(names), "track": tracks, "xy": 2}, path)
    places = _turned(file["tracks"], order, AXES)
    points = np.concatenate([places, np.ones_like(places[..., :1])], axis=-1).astype(np.float64)
    if "point_scores" in file:
        kept = [axis for axis in order if axis != "xy"]
        scores = _turned(file["point_scores"], _said(file["point_scores"]) or kept, AXES[:3])
        if scores.shape != points.shape[:3]:
            raise VergenceError(
                f"{path}: scores {scores.shape} and points {points.shape[:3]} differ", "Export it again."
            )
        points[..., 2] = np.where(np.isnan(scores).all(axis=2, keepdims=True), 1.0, scores)
    points[~np.isfinite(points[..., :2]).all(-1)] = np.nan
    return detections(enumerate(points), names, path, skeleton, last_known=False)


def _said(data: h5py.Dataset) -> tuple[str, ...]:
    """The names of a dataset's axes, where it has them; sleap-io writes JSON."""
    said = data.attrs.get("dims", "")
    return tuple(json.loads(said)) if said else ()


def _order(data: h5py.Dataset, lengths: dict[str, int], path: Path) -> tuple[str, ...]:
    """The names of the axes of `tracks`, as said or as fits."""
    said = _said(data)
    for order in [said] if said else ORDERS:
        if sorted(order) == sorted(AXES) and all(
            length == lengths.get(axis, length) for axis, length in zip(order, data.shape, strict=True)
        ):
            return order
    raise VergenceError(
        f"{path}: `tracks` of shape {data.shape} do not fit {lengths['node']} nodes and {lengths['track']} tracks",
        "Export the analysis file again.",
    )


def _turned(data: h5py.Dataset, order: tuple[str, ...] | list[str], wanted: tuple[str, ...]) -> Float[np.ndarray, ...]:
    return np.transpose(data[:], [list(order).index(axis) for axis in wanted])


HDF5 = Reader(lambda path: path.suffix.lower() in (".h5", ".hdf5") and not path.is_dir(), read_hdf5)
