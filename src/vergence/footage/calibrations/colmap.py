"""COLMAP's reconstructions, text and binary: `cameras` (lenses) and `images` (poses), each `.txt` or `.bin`.

COLMAP puts (0, 0) at the top-left pixel's corner, so its principal points are half a pixel larger than ours. Quaternions are
w x y z and poses world to camera, as ours are. Its scale is arbitrary: the rig is free of scale unless a unit is given. One
camera of the footage is one image, called by its file's name, or one folder of images, which then have one pose: a rig
stands still. Lens models that are not OpenCV's (FOV, thin prism) are refused by name.

Formats: https://colmap.github.io/format.html, read with the tables below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError, refusing
from vergence.footage.calibration import checked_camera, rig_of
from vergence.footage.readers import Reader
from vergence.geometry.cameras import Camera, Rig, rotation_angle

# Name and number of parameters of each lens model, by COLMAP's numbers.
MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8), 6: ("FULL_OPENCV", 12), 7: ("FOV", 5), 8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12), 11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}  # fmt: skip
ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
REFUSED = ("FOV", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE")
MOST_TURN_DEG, MOST_SHIFT = 1.0, 0.02  # of one camera's images; the shift as a share of the rig

Image = tuple[np.ndarray, np.ndarray, int, str]  # quaternion w x y z, translation, number of its camera, name


def read_colmap(path: Path | str, unit: str | None = None) -> Rig:
    """Cameras of a COLMAP model: its folder, or its `cameras` file.

    Args:
        path: folder or file.
        unit: of the translations; None: the rig is free of scale.

    Raises:
        VergenceError: a file is missing or damaged, a lens model is not OpenCV's, or a camera moves.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    endings = [path.suffix] if path.is_file() else [e for e in (".bin", ".txt") if (folder / f"cameras{e}").is_file()]
    if not endings or not (folder / f"images{endings[0]}").is_file():
        missing = "images" if endings else "cameras"
        raise VergenceError(f"{folder} has no {missing}.txt or .bin", "Give COLMAP's model folder, such as sparse/0.")
    ending = endings[0]
    lenses, images = folder / f"cameras{ending}", folder / f"images{ending}"
    with refusing(f"{folder} holds a damaged COLMAP model", "Export it again."):
        found = dict(_binary_cameras(lenses) if ending == ".bin" else _text_cameras(lenses))
        views = list(_binary_images(images) if ending == ".bin" else _text_images(images))
    if not views:
        raise VergenceError(f"{images} holds no image", "Give a model with registered images.")
    if lost := sorted({number for _, _, number, _ in views} - set(found)):
        raise VergenceError(f"{lenses} has no camera {lost[0]}, which {images.name} names", "Export both together.")
    return rig_of(folder, _cameras(views, found, folder), unit, "COLMAP units")


def _cameras(views: list[Image], lenses: dict[int, Camera], folder: Path) -> list[Camera]:
    groups: dict[str, list[tuple[np.ndarray, np.ndarray, int]]] = {}
    for q, t, number, name in views:
        place = PurePosixPath(name.replace("\\", "/"))
        key = str(place.parent) if len(place.parts) > 1 else place.stem
        if not np.isfinite([*q, *t]).all() or not np.linalg.norm(q) > 0:
            raise VergenceError(f"image {name} of {folder} has no sound pose", "Export the model again.")
        groups.setdefault(key, []).append((Rotation.from_quat(np.roll(q, -1)).as_matrix(), t, number))
    centres = np.array([-r.T @ t for poses in groups.values() for r, t, _ in poses])
    span = float(np.linalg.norm(np.ptp(centres, axis=0)))
    cameras = []
    for name, poses in groups.items():
        turns, shifts = np.stack([r for r, _, _ in poses]), np.stack([-r.T @ t for r, t, _ in poses])
        turned = float(np.degrees(rotation_angle(turns, turns[:1]).max()))
        moved = float(np.linalg.norm(shifts - shifts[0], axis=1).max())
        if turned > MOST_TURN_DEG or moved > MOST_SHIFT * span:
            raise VergenceError(
                f"camera {name} of {folder} moves: its {len(poses)} images turn by up to {turned:.1f} degrees",
                "A rig stands still; register one image of each camera, called by the camera's name.",
            )
        rotation, translation, number = poses[0]
        lens = lenses[number]
        cameras.append(Camera(name, lens.image_size, lens.intrinsics, lens.distortion, rotation, translation))
    return cameras


def _lens(number: int, model: str, size: tuple[int, int], values: list[float], path: Path) -> Camera:
    where = f"camera {number} of {path.name}"
    if model in REFUSED or model not in {name for name, _ in MODELS.values()}:
        raise VergenceError(
            f"{where} has the lens model {model}, which is not OpenCV's",
            "Undistort with COLMAP (image_undistorter), or calibrate with OPENCV or OPENCV_FISHEYE.",
        )
    focal = [values[0], values[0]] if model in ONE_FOCAL else values[:2]
    cx, cy, *lens = values[1:] if model in ONE_FOCAL else values[2:]
    matrix = [[focal[0], 0.0, cx - 0.5], [0.0, focal[1], cy - 0.5], [0.0, 0.0, 1.0]]
    radial = model in ("SIMPLE_RADIAL", "RADIAL")
    fisheye = model.endswith("FISHEYE")
    lens = [*lens, *[0.0] * (4 - len(lens))] if radial else lens
    return checked_camera(str(number), where, size, matrix, lens, None, None, fisheye=fisheye)


def _text_cameras(path: Path) -> Iterator[tuple[int, Camera]]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip() and not line.startswith("#"):
            words = line.split()
            if len(words) < 4:
                raise ValueError(
                    f"{line.strip()!r} of {path.name} has {len(words)} words, a camera's line 4 and its parameters"
                )
            number, model, width, height, *values = words
            size = int(width), int(height)
            counts = {name: count for _, (name, count) in MODELS.items()}
            if model in counts and len(values) != counts[model]:
                raise ValueError(f"camera {number} has {len(values)} parameters, {model} has {counts[model]}")
            yield int(number), _lens(int(number), model, size, [float(v) for v in values], path)


def _text_images(path: Path) -> Iterator[Image]:
    """Every other line is an image; the line behind it are its points, and may be empty."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if not line.startswith("#")]
    i = 0
    while i < len(lines):
        words = lines[i].split(maxsplit=9)
        if not words:
            i += 1
            continue
        if len(words) < 10:
            raise ValueError(f"{lines[i].strip()!r} of {path.name} has {len(words)} words, an image's line 10")
        values = np.array([float(word) for word in words[1:8]])
        yield values[:4], values[4:], int(words[8]), words[9].strip()
        i += 2


def _binary_cameras(path: Path) -> Iterator[tuple[int, Camera]]:
    data = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", data, 0), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        if model not in MODELS:
            raise VergenceError(f"camera {number} of {path} has lens model {model}", "Known are COLMAP's 0 to 11.")
        name, size = MODELS[model]
        values = struct.unpack_from(f"<{size}d", data, at + 24)
        at += 24 + 8 * size
        yield number, _lens(number, name, (width, height), list(values), path)


def _binary_images(path: Path) -> Iterator[Image]:
    data = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", data, 0), 8
    for _ in range(count):
        values = np.array(struct.unpack_from("<7d", data, at + 4))
        (number,) = struct.unpack_from("<i", data, at + 60)
        end = data.index(b"\0", at + 64)
        (points,) = struct.unpack_from("<Q", data, end + 1)
        yield values[:4], values[4:], number, data[at + 64 : end].decode("utf-8")
        at = end + 9 + 24 * points


def _fits(path: Path) -> bool:
    if path.is_dir():
        return any((path / f"cameras{ending}").is_file() for ending in (".bin", ".txt"))
    return path.name in ("cameras.txt", "cameras.bin")


def _holds(path: Path) -> bool:
    folder = path if path.is_dir() else path.parent
    return any((folder / f"images{ending}").is_file() for ending in (".bin", ".txt"))


COLMAP = Reader(_fits, read_colmap, holds=_holds)
