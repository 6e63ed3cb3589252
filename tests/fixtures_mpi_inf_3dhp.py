"""MPI-INF-3DHP in small: the built-in world written in the dataset's own files, and the truth they were written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import h5py
import numpy as np
from fixtures_world import world
from PIL import Image
from scipy.io import savemat

from vergence.skeleton import H36M_17, MPI_INF_17, MPI_INF_28

# The dataset's world has y up, the built-in one z: x, y, z become y, z, x.
TO_Y_UP = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
BETWEEN = {  # of the 28 joints, those that Human3.6M does not have: from, towards, how far
    "spine2": ("spine", "thorax", 0.4), "spine3": ("spine", "thorax", 0.6), "spine4": ("spine", "thorax", 0.8),
    "neck": ("thorax", "head_top", 0.0), "head": ("thorax", "head_top", 0.6),
    "left_clavicle": ("thorax", "left_shoulder", 0.3), "right_clavicle": ("thorax", "right_shoulder", 0.3),
    "left_hand": ("left_elbow", "left_wrist", 1.2), "right_hand": ("right_elbow", "right_wrist", 1.2),
    "left_foot": ("left_knee", "left_ankle", 1.1), "right_foot": ("right_knee", "right_ankle", 1.1),
    "left_toe": ("left_knee", "left_ankle", 1.15), "right_toe": ("right_knee", "right_ankle", 1.15),
}  # fmt: skip


@dataclass
class Truth:
    """Of one sequence: world joints F 28 3 (mm, y up), cameras by number, and the images written, by camera and frame."""

    joints: np.ndarray
    k: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    size: int
    images: dict[tuple[int, int], np.ndarray]

    def pose(self, camera: int) -> np.ndarray:
        """F 28 3 in the camera's frame."""
        return self.joints @ self.rotation[camera].T + self.translation[camera]

    def pixels(self, camera: int) -> np.ndarray:
        """F 28 2."""
        pose = self.pose(camera)
        return (pose / pose[..., 2:] @ self.k[camera].T)[..., :2]


def joints_28(h36m: np.ndarray) -> np.ndarray:
    """F 17 3 of Human3.6M as F 28 3."""
    at = {name: h36m[:, i] for i, name in enumerate(H36M_17.joint_names)}
    for name, (start, end, share) in BETWEEN.items():
        at[name] = at[start] + share * (at[end] - at[start])
    return np.stack([at[name] for name in MPI_INF_28.joint_names], 1)


def universal(pose: np.ndarray, factor: float = 1.1) -> np.ndarray:
    """Another body size about the pelvis."""
    pelvis = pose[:, [MPI_INF_28.index("pelvis")]] if pose.shape[1] == 28 else pose[:, [MPI_INF_17.index("pelvis")]]
    return pelvis + factor * (pose - pelvis)


def studio(frames: int = 4, size: int = 128, seed: int = 3, views: int = 3) -> Truth:
    """14 cameras, of which the first few differ: camera c stands where camera c modulo `views` does."""
    rig, seen = world(frames, views, size, seed)
    which = np.arange(14) % views
    images = {(v, t): frame.image[v] for t, frame in enumerate(seen) for v in range(views)}
    return Truth(
        joints_28(np.stack([f.joints for f in seen]).astype(float)) @ TO_Y_UP.T,
        rig.intrinsics.numpy()[which],
        (rig.rotation.numpy() @ TO_Y_UP.T)[which],
        rig.translation.numpy()[which],
        size,
        images,
    )


def write_avi(path: Path, images: Sequence[np.ndarray], fps: int = 25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"qscale": "2"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def calibration(truth: Truth) -> str:
    """A `camera.calibration`: 14 columns of key, row-major 4 x 4, a blank before the line's end."""
    lines = ["Skeletool Camera Calibration File V1.0"]
    for c in range(14):
        k, m = np.eye(4), np.eye(4)
        k[:3, :3], m[:3, :3], m[:3, 3] = truth.k[c], truth.rotation[c], truth.translation[c]
        k[2] = [0, 0, 1, 0]
        words = [" ".join(f"{v:.9f}".rstrip("0").rstrip(".") for v in matrix.ravel()) for matrix in (k, m)]
        lines += [
            f"name          {c}", "  sensor      10 10", f"  size        {truth.size} {truth.size}", "  animated    0",
            f"  intrinsic   {words[0]} ", f"  extrinsic   {words[1]} ", "  radial      0",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def write_train(folder: Path, truth: Truth, cameras: Sequence[int] = (0, 2), extra: int = 0) -> None:
    """S*/Seq*: annotations of all cameras (`extra` rows past the videos' end), videos of some."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "camera.calibration").write_text(calibration(truth))
    cells = {name: np.empty((14, 1), dtype=object) for name in ("annot2", "annot3", "univ_annot3")}
    more = [*range(len(truth.joints)), *[len(truth.joints) - 1] * extra]
    for c in range(14):
        cells["annot2"][c, 0] = truth.pixels(c)[more].reshape(len(more), 56)
        cells["annot3"][c, 0] = truth.pose(c)[more].reshape(len(more), 84)
        cells["univ_annot3"][c, 0] = universal(truth.pose(c))[more].reshape(len(more), 84)
    counts = {"cameras": np.arange(14.0)[None], "frames": np.arange(float(len(more)))[:, None]}
    savemat(folder / "annot.mat", {**cells, **counts}, oned_as="column")
    for c in cameras:
        write_avi(folder / "imageSequence" / f"video_{c}.avi", [truth.images[c, t] for t in range(len(truth.joints))])


def write_hdf5_mat(path: Path, variables: dict[str, np.ndarray]) -> None:
    """A MAT file of version 7.3: HDF5 behind MATLAB's 512 bytes; arrays with their axes reversed, as h5py sees them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file.create_dataset(name, data=value).attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def write_test(
    base: Path, number: int, truth: Truth, camera: int, valid: Sequence[int], activity: Sequence[int]
) -> None:
    """TS*: `annot_data.mat`, images from img_000001.jpg on."""
    folder = base / f"TS{number}"
    chosen = [MPI_INF_28.index(name) for name in MPI_INF_17.joint_names]
    pose, n = truth.pose(camera)[:, chosen], len(truth.joints)
    write_hdf5_mat(
        folder / "annot_data.mat",
        {
            "annot2": truth.pixels(camera)[:, chosen][:, None],
            "annot3": pose[:, None],
            "univ_annot3": universal(pose)[:, None],
            "valid_frame": np.isin(np.arange(n), valid).astype(float)[:, None],
            "activity_annotation": np.asarray(activity, dtype=float)[:, None],
            "bb_crop": np.zeros((n, 34)),
        },
    )
    (folder / "imageSequence").mkdir()
    for t in range(n):
        Image.fromarray(truth.images[camera, t]).save(folder / "imageSequence" / f"img_{t + 1:06d}.jpg", quality=95)


def write_calib(base: Path, truth: Truth, camera: int) -> None:
    """`test_util/camera_calibration/*.calib` with one camera: rows of its rotation are right, -up and up x right."""
    rotation = truth.rotation[camera]
    origin = -rotation.T @ truth.translation[camera]
    text = "camera\n" + "".join(
        f"\t{key}\t{' '.join(f'{v:.9f}' for v in value)}\n"
        for key, value in {"sensorSize": [10, 10], "focalLength": [7.3], "pixelAspect": [1], "centerOffset": [0, 0],
                           "origin": origin, "up": -rotation[1], "right": rotation[0]}.items()
    )  # fmt: skip
    folder = base / "test_util" / "camera_calibration"
    folder.mkdir(parents=True)
    for name in ("ts1-4cameras.calib", "ts5-6cameras.calib"):
        (folder / name).write_text(text)
