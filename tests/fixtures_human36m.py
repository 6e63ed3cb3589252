"""Human3.6M as it lies on disk, in three layouts, of people of the built-in world: images, 2D, 3D and cameras are known.

Nothing here uses the package's reader: joint indices, Euler angles and the lens are written down again from the
dataset's own description.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import cdflib.cdfwrite
import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from vergence.footage.video import VideoWriter
from vergence.world.rigs import Rig, draw_rigs
from vergence.world.scenes import render_capture
from vergence.world.synthesize import resized

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SIZE = 128
FRAMES = 6
# of the official 32 joints those that are our 17, by name: Hips, RightUpLeg, RightLeg, RightFoot, LeftUpLeg, LeftLeg,
# LeftFoot, Spine1, Neck, Head, Site, LeftArm, LeftForeArm, LeftHand, RightArm, RightForeArm, RightHand
SEVENTEEN = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# official names; S1 has TakingPhoto and WalkingDog where others have Photo and WalkDog
SEQUENCES = {
    1: ["TakingPhoto 1", "Directions"],
    5: ["Directions 1"],
    6: ["Walking"],
    7: ["Sitting 1"],
    8: ["SittingDown 1"],
    9: ["Greeting", "Walking 1"],
    11: ["Directions 1", "Sitting"],
}
RADIAL = np.array([-0.21, 0.24, -0.02])
TANGENTIAL = np.array([-0.0031, 0.0014])  # p1 p2, of the size that the real ones have
HALL = {
    s: np.array([[12.0 * s, -5.0 * s, 3.0 * s]]) for s in range(1, 12)
}  # cameras are measured anew for each subject


@dataclass(frozen=True)
class Truth:
    """World joints `F 17 3` (mm), pixels `F 17 2` and images by (subject, canonical stem, camera); cameras by subject."""

    world: dict[tuple[int, str], np.ndarray]
    pixels: dict[tuple[int, str, str], np.ndarray]
    images: dict[tuple[int, str, str], list[np.ndarray]]
    rotation: np.ndarray
    translation: dict[int, np.ndarray]
    intrinsics: np.ndarray

    def camera_frame(self, subject: int, stem: str, view: int) -> np.ndarray:
        return self.world[subject, stem] @ self.rotation[view].T + self.translation[subject][view]


def canonical(name: str) -> str:
    return name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def theirs(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The dataset's own projection of camera-frame points, as its authors wrote it."""
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    r2 = x * x + y * y
    g = 1 + RADIAL[0] * r2 + RADIAL[1] * r2**2 + RADIAL[2] * r2**3 + TANGENTIAL[0] * y + TANGENTIAL[1] * x
    u = k[0, 0] * (x * g + TANGENTIAL[1] * r2) + k[0, 2]
    v = k[1, 1] * (y * g + TANGENTIAL[0] * r2) + k[1, 2]
    return np.stack([u, v], -1)


def bent(image: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A pinhole image as the lens shows it; `source` is `bent_from` of the camera."""
    import cv2

    return cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def bent_from(k: np.ndarray) -> np.ndarray:
    """`SIZE SIZE 2`: where each pixel's ray came from (fixed-point inverse of the lens)."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    goal = np.stack([x, y], -1)
    ray = (goal - k[:2, 2]) / k[[0, 1], [0, 1]]
    for _ in range(30):
        ones = np.ones_like(ray[..., :1])
        ray = ray + (goal - theirs(np.concatenate([ray, ones], -1), k)) / k[[0, 1], [0, 1]]
    return (ray * k[[0, 1], [0, 1]] + k[:2, 2]).astype(np.float32)


def marked(image: np.ndarray, point: np.ndarray, frame: int) -> np.ndarray:
    """A disc on the thorax whose green tells the frame."""
    import cv2

    return cv2.circle(image.copy(), np.round(point).astype(int).tolist(), 4, (200, 40 * frame, 0), -1)


def make_truth(frames: int = FRAMES) -> Truth:
    rig = resized(draw_rigs(1, 4, look="studio", seed=5)[0], SIZE)
    k = rig.intrinsics.double().numpy().copy()
    k[:, 0, 1] = 0
    rotation = Rotation.from_matrix(rig.rotation.double().numpy()).as_matrix()
    world, pixels, images, translation = {}, {}, {}, {}
    lens = [bent_from(k[v]) for v in range(4)]
    for subject, names in SEQUENCES.items():
        translation[subject] = rig.translation.double().numpy() + HALL[subject]
        moved = Rig(torch.tensor(k).float(), rig.rotation, torch.tensor(translation[subject]).float(), rig.size)
        for i, name in enumerate(names):
            stem = canonical(name)
            shown = list(render_capture(moved, frames, seed=100 * subject + i))
            world[subject, stem] = np.stack([f.joints for f in shown]).astype(float)
            for v, camera in enumerate(CAMERAS):
                pose = world[subject, stem] @ rotation[v].T + translation[subject][v]
                pixels[subject, stem, camera] = theirs(pose, k[v])
                marks = pixels[subject, stem, camera][:, 8]
                images[subject, stem, camera] = [
                    marked(bent(f.image[v], lens[v]), marks[t], t) for t, f in enumerate(shown)
                ]
    return Truth(world, pixels, images, rotation, translation, k)


def joints_32(points: np.ndarray) -> np.ndarray:
    """17 joints among 32, the others nowhere near: a wrong index shows."""
    whole = 9e3 + 100.0 * np.arange(32)[None, :, None] + np.zeros((len(points), 32, points.shape[-1]))
    whole[:, SEVENTEEN] = points
    return whole


def write_cdf(path: Path, points: np.ndarray, double: bool = True) -> None:
    """One variable `Pose` of one record, `(1, F, 32 D)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = points.reshape(1, len(points), -1).astype(np.float64 if double else np.float32)
    file = cdflib.cdfwrite.CDF(path, delete=True)
    spec = {
        "Variable": "Pose", "Data_Type": 45 if double else 44, "Num_Elements": 1, "Rec_Vary": True, "Var_Type": "zVariable",
        "Dim_Sizes": list(flat.shape[1:]),
    }  # fmt: skip
    file.write_var(spec, var_attrs={}, var_data=flat)
    file.close()


def write_metadata(path: Path, truth: Truth) -> None:
    """The elements of `metadata.xml` that readers use: w0 holds 4 x 11 x 6 extrinsic and 4 x 9 intrinsic numbers."""
    outer = np.zeros((4, 11, 6))
    inner = np.zeros((4, 9))
    for v in range(4):
        angles = Rotation.from_matrix(truth.rotation[v]).as_euler("XYZ")  # Rx(a) Ry(b) Rz(c)
        for s in range(1, 12):
            centre = -truth.rotation[v].T @ truth.translation.get(s, truth.translation[1])[v]
            outer[v, s - 1] = [*angles, *centre]
        k = truth.intrinsics[v]
        inner[v] = [k[0, 0], k[1, 1], k[0, 2], k[1, 2], *RADIAL, *TANGENTIAL]
    numbers = " ".join(repr(float(x)) for x in [*outer.ravel(), *inner.ravel()])
    ids = "".join(f"<item>{name}</item>" for name in CAMERAS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<?xml version='1.0' encoding='utf-8'?>\n<a><mapping><tr><td>Action</td></tr></mapping>"
        f"<w0>[{numbers}]</w0><dbcameras><index2id>{ids}</index2id></dbcameras></a>\n"
    )


def write_videos(root: Path, truth: Truth, more: int = 1) -> None:
    """`S1/Videos/Directions 1.54138969.mp4`; each has `more` frames than there are poses, as some real ones do."""
    for subject, names in SEQUENCES.items():
        for name in names:
            for camera in CAMERAS:
                with VideoWriter(root / f"S{subject}" / "Videos" / f"{name}.{camera}.mp4", 50.0) as video:
                    images = truth.images[subject, canonical(name), camera]
                    for image in [*images, *images[-1:] * more]:
                        video.write(image)


def write_images(root: Path, truth: Truth, apart: int = 1, times: int = 1) -> None:
    """mmpose's images: `images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg`."""
    for subject, names in SEQUENCES.items():
        for name in names:
            for camera in CAMERAS:
                for i, image in enumerate(truth.images[subject, canonical(name), camera] * times):
                    path = root / "images" / image_name(subject, name, camera, i * apart)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(path, quality=95)


def image_name(subject: int, name: str, camera: str, frame: int) -> str:
    clip = f"S{subject}_{name.replace(' ', '_')}.{camera}"
    return f"S{subject}/{clip}/{clip}_{frame + 1:06d}.jpg"


def write_official(root: Path, truth: Truth, mono: bool = True, world: bool = False, flat: bool = True) -> Path:
    """The official download: CDF files, videos, metadata.xml."""
    for subject, names in SEQUENCES.items():
        base = root / f"S{subject}" / "MyPoseFeatures"
        for name in names:
            stem = canonical(name)
            if world:
                write_cdf(base / "D3_Positions" / f"{name}.cdf", joints_32(truth.world[subject, stem]))
            for v, camera in enumerate(CAMERAS):
                if mono:
                    pose = joints_32(truth.camera_frame(subject, stem, v))
                    write_cdf(base / "D3_Positions_mono" / f"{name}.{camera}.cdf", pose)
                if flat:
                    points = joints_32(truth.pixels[subject, stem, camera])
                    write_cdf(base / "D2_Positions" / f"{name}.{camera}.cdf", points, double=False)
    write_videos(root, truth)
    write_metadata(root / "Release-v1.2" / "metadata.xml", truth)
    return root


def write_videopose(root: Path, truth: Truth) -> Path:
    """VideoPose3D's NPZ: world, metres, single precision, canonical names; the cameras and videos beside it."""
    poses: dict[str, dict[str, np.ndarray]] = {}
    for (subject, stem), world in truth.world.items():
        poses.setdefault(f"S{subject}", {})[stem] = (joints_32(world) / 1000).astype(np.float32)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=poses)  # type: ignore[arg-type]
    write_videos(root, truth)
    write_metadata(root / "metadata.xml", truth)
    return root


def write_mmpose(root: Path, truth: Truth, steps: tuple[int, ...] = (1, 5), apart: int = 1, times: int = 1) -> Path:
    """mmpose's annotation_body3d: one row per image, camera frame, metres; cameras.pkl: camera-to-world, metres.

    The frames that are written lie `apart`, and the truth's are repeated so many `times`: long recordings of few images.
    """
    base = root / "annotation_body3d"
    for step in steps:
        for part, subjects in (("train", (1, 5, 6, 7, 8)), ("test", (9, 11))):
            rows: dict[str, list] = {"imgname": [], "center": [], "scale": [], "part": [], "S": []}
            for subject in subjects:
                for name in SEQUENCES[subject]:
                    for v, camera in enumerate(CAMERAS):
                        pose = truth.camera_frame(subject, canonical(name), v) / 1000
                        points = truth.pixels[subject, canonical(name), camera]
                        for number in range(0, len(pose) * times, step):
                            i = number % len(pose)
                            rows["imgname"].append(image_name(subject, name, camera, number * apart))
                            rows["center"].append((points[i].min(0) + points[i].max(0)) / 2)
                            rows["scale"].append(1.2 * np.ptp(points[i], axis=0).max() / 200)
                            rows["part"].append(np.c_[points[i], np.ones(17)])
                            rows["S"].append(np.c_[pose[i], np.ones(17)])
            folder = base / f"fps{50 // step}"
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(folder / f"h36m_{part}.npz", **{name: np.array(values) for name, values in rows.items()})
    cameras = {}
    for subject, translation in truth.translation.items():
        for v, camera in enumerate(CAMERAS):
            r, k = truth.rotation[v], truth.intrinsics[v]
            cameras[f"S{subject}", camera] = {
                "R": r.T, "T": (-r.T @ translation[v] / 1000)[:, None], "c": k[:2, 2:], "f": np.array([[k[0, 0]], [k[1, 1]]]),
                "k": RADIAL[:, None], "p": TANGENTIAL[:, None], "w": SIZE, "h": SIZE, "name": f"camera{v + 1}", "id": camera,
            }  # fmt: skip
    (base / "cameras.pkl").write_bytes(pickle.dumps(cameras))
    write_images(root, truth, apart, times)
    return root
