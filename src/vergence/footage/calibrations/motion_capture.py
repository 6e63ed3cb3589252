"""Calibrations of motion-capture systems: Qualisys' XML (`.qca.txt`), Theia's of the same tags, and Vicon's XCP.

Qualisys counts the sensor in 64ths of a pixel, and its camera looks along -z with y up: `x_cam = diag(1, -1, -1) r (x - c)`,
with c in mm. Its distortion coefficients are OpenCV's, of normalised coordinates, and are not counted in 64ths (Pose2Sim's
converter divides them too). Theia's file has pixels and OpenCV's pose. Checked on Pose2Sim's demo, whose published TOML it
gives back; nobody said where in the pixel (0, 0) is, so that half a pixel is open.

Vicon's XCP, from its documentation: ORIENTATION is a quaternion x y z w, world to camera in OpenCV's axes; POSITION the
camera's place in mm; FOCAL_LENGTH and PRINCIPAL_POINT in pixels; a pixel is PIXEL_ASPECT_RATIO times as wide as high;
VICON_RADIAL `k1 k2` and VICON_RADIAL2 `ViconRadial2 x y k1 k2 k3` **remove** distortion: p + (q - p)(1 + k1 r^2 + k2 r^4 +
k3 r^6) with r in px about the principal point, or about x, y. Our lens model adds it, so the coefficients are fitted over
the image, and the misfit is said. No real file could be tried: the note says that too.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError, refusing
from vergence.files import beginning, read_bytes
from vergence.footage.calibration import check_array, check_intrinsics, check_rotation, check_size, numbers, rig_of
from vergence.footage.readers import Reader
from vergence.geometry.cameras import Camera, Rig

SUBPIXELS = 64
MOST_PIXELS = 20_000  # a sensor that counts further counts in 64ths
MISFIT_PX = 0.5


def _tree(path: Path) -> ElementTree.Element:
    data = read_bytes(path)
    with refusing(f"{path} is not readable XML", "Export it again.", ElementTree.ParseError, ValueError):
        return ElementTree.fromstring(data)


def _number(element: ElementTree.Element | None, key: str, where: str, default: float | None = None) -> float:
    value = None if element is None else element.get(key)
    if value is None and default is not None:
        return default
    return float(check_array(_words(value, f"{key} of {where}", 1)[0], (), f"{key} of {where}"))


def _words(value: str | None, what: str, least: int) -> list[str]:
    words = (value or "").split()
    if len(words) < least:
        raise VergenceError(f"{what} is {value!r}", f"It has {least} number{'s' if least > 1 else ''}.")
    return words


def read_qualisys(path: Path | str, unit: str | None = None) -> Rig:
    """Cameras of a Qualisys (or Theia) calibration; those without video are left out where others have one.

    Raises:
        VergenceError: missing, not XML, no cameras in it, or values that are no camera.
    """
    path = Path(path)
    elements = [e for e in _tree(path).iter("camera") if e.find("intrinsic") is not None]
    video = [e for e in elements if any(word in (e.get("model") or "none").lower() for word in ("video", "none"))]
    if not elements:
        raise VergenceError(f"{path} holds no camera", "Each needs <transform> and <intrinsic>.")
    rig = rig_of(path, [_qualisys_camera(element, path.name) for element in video or elements], unit, "mm")
    left = len(elements) - len(video or elements)
    note = f"{path.name}: {left} cameras without video are left out"
    return replace(rig, notes=(note, *rig.notes)) if left else rig


def _qualisys_camera(element: ElementTree.Element, file: str) -> Camera:
    name = element.get("serial") or element.get("name") or ""
    where = f"camera {name} of {file}"
    lens, pose, image = element.find("intrinsic"), element.find("transform"), element.find("fov_video")
    counts = [_number(lens, f"sensorMax{axis}", where) - _number(lens, f"sensorMin{axis}", where, 0.0) for axis in "UV"]
    fine = max(counts) > MOST_PIXELS
    step = SUBPIXELS if fine else 1
    left, top = (_number(image, key, where) if image is not None and fine else 0.0 for key in ("left", "top"))
    if image is not None and fine:
        size = [_number(image, "right", where) - left + 1, _number(image, "bottom", where) - top + 1]
    else:
        size = [(count + 1) // step if fine else count for count in counts]
    focal, centre = (
        [_number(lens, f"{key}{axis}", where) / step for axis in "UV"] for key in ("focalLength", "centerPoint")
    )
    skew = _number(lens, "skew", where, 0.0) / step
    matrix = [[focal[0], skew, centre[0] - left], [0.0, focal[1], centre[1] - top], [0.0, 0.0, 1.0]]
    radial = [_number(lens, f"radialDistortion{i}", where, 0.0) for i in (1, 2, 3)]
    # "Tangental" is Qualisys' own spelling.
    bent = [_number(lens, f"tangentalDistortion{i}", where, 0.0) for i in (1, 2)]
    camera = Camera(
        name, check_size(size, where), check_intrinsics(matrix, where), np.array([*radial[:2], *bent, radial[2]])
    )
    if pose is None:
        return camera
    turn = np.array([[_number(pose, f"r{i}{j}", where) for j in (1, 2, 3)] for i in (1, 2, 3)])
    place = np.array([_number(pose, axis, where) for axis in "xyz"])
    if not turn.any():
        return camera
    if not fine:
        return replace(camera, rotation=check_rotation(turn, where), translation=place)
    rotation = check_rotation(np.diag([1.0, -1.0, -1.0]) @ turn, where)
    return replace(camera, rotation=rotation, translation=-rotation @ place)


def read_vicon(path: Path | str, unit: str | None = None) -> Rig:
    """Cameras of a Vicon XCP; those without video are left out where others have one.

    Raises:
        VergenceError: missing, not XML, no calibrated camera in it, or values that are no camera.
    """
    path = Path(path)
    elements = [e for e in _tree(path).iter("Camera") if e.find("KeyFrames/KeyFrame") is not None]
    video = [e for e in elements if any("video" in (e.get(k) or "").lower() for k in ("TYPE", "DISPLAY_TYPE"))]
    video = video or [e for e in elements if (e.get("DISPLAY_TYPE") or "").lower().startswith("vue")]
    if not elements:
        raise VergenceError(f"{path} holds no calibrated camera", "Each needs a KeyFrame.")
    notes: list[str] = []
    cameras = [_vicon_camera(element, path.name, notes) for element in video or elements]
    left = len(elements) - len(cameras)
    if left:
        notes.append(f"{path.name}: {left} cameras without video are left out")
    notes.append(
        f"{path.name}: Vicon's file is read by its documentation; look at the reprojection before you trust it"
    )
    aliases = [element.get("USERID") or element.get("NAME") or "" for element in video or elements]
    rig = rig_of(path, cameras, unit, "mm", aliases)
    return replace(rig, notes=(*notes, *rig.notes))


def _vicon_camera(element: ElementTree.Element, file: str, notes: list[str]) -> Camera:
    name = element.get("DEVICEID") or element.get("NAME") or ""
    where = f"camera {name} of {file}"
    frames = element.findall("KeyFrames/KeyFrame")
    if len({tuple(sorted(f.attrib.items())) for f in frames}) > 1:
        notes.append(f"{file}: camera {name} moves; its first pose is taken")

    def read(key: str, count: int, source: ElementTree.Element) -> np.ndarray:
        words = _words(source.get(key), f"{key} of {where}", count)
        return check_array(numbers(words[:count], f"{key} of {where}", "It is numbers."), (count,), f"{key} of {where}")

    size = check_size(read("SENSOR_SIZE", 2, element), where)
    focal, centre = read("FOCAL_LENGTH", 1, frames[0])[0], read("PRINCIPAL_POINT", 2, frames[0])
    aspect = _number(element, "PIXEL_ASPECT_RATIO", where, 1.0)
    matrix = [[focal, 0.0, centre[0]], [0.0, focal / (aspect or 1.0), centre[1]], [0.0, 0.0, 1.0]]
    k = check_intrinsics(matrix, where)
    lens = np.zeros(5)
    if radial := frames[0].get("VICON_RADIAL2") or frames[0].get("VICON_RADIAL"):
        lens = _added_distortion(radial.split(), k, size, where, notes)
    quaternion = read("ORIENTATION", 4, frames[0])
    if not np.linalg.norm(quaternion) > 0:
        return Camera(name, size, k, lens)
    rotation = Rotation.from_quat(quaternion).as_matrix()
    return Camera(name, size, k, lens, rotation, -rotation @ read("POSITION", 3, frames[0]))


def _added_distortion(
    words: list[str], k: np.ndarray, size: tuple[int, int], where: str, notes: list[str]
) -> np.ndarray:
    """k1 k2 p1 p2 k3 whose lens adds what Vicon's polynomial removes, by least squares over the image."""
    words = words[1:] if words and words[0].lower().startswith("vicon") else words
    values = check_array(numbers(words, f"lens of {where}", "It is numbers."), (len(words),), f"lens of {where}")
    about, radial = (values[:2], values[2:5]) if len(values) >= 4 else (k[:2, 2], values)
    if not radial.any():
        return np.zeros(5)
    grid = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 31) for n in size)), -1).reshape(-1, 2)
    r2 = ((grid - about) ** 2).sum(1, keepdims=True)
    scale = 1 + sum(value * r2 ** (i + 1) for i, value in enumerate(radial))
    if not ((scale > 0.5) & (scale < 2)).all():
        raise VergenceError(
            f"lens of {where} would move pixels by a factor of up to {scale.max():.3g}",
            "Its coefficients are not in pixels as documented; give `distortion` in capture.toml.",
        )
    ideal = (about + (grid - about) * scale - k[:2, 2]) / np.diag(k)[:2]
    seen = (grid - k[:2, 2]) / np.diag(k)[:2]
    x, y = ideal.T
    q = x * x + y * y
    columns = np.stack([
        np.concatenate([x * q, y * q]), np.concatenate([x * q**2, y * q**2]),
        np.concatenate([2 * x * y, q + 2 * y * y]), np.concatenate([q + 2 * x * x, 2 * x * y]),
        np.concatenate([x * q**3, y * q**3]),
    ], axis=1)  # fmt: skip
    wanted = (seen - ideal).T.reshape(-1)
    lens = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    off = np.abs(columns @ lens - wanted).max() * k[0, 0]
    if off > MISFIT_PX:
        notes.append(f"the lens of {where} is met to within {off:.1f} px")
    return np.asarray(lens)


def _fits_qualisys(path: Path) -> bool:
    return path.name.lower().endswith((".qca.txt", ".qca")) or (
        path.suffix.lower() in (".xml", ".txt") and b"<calibration" in beginning(path)
    )


QUALISYS = Reader(_fits_qualisys, read_qualisys, holds=lambda path: b"<calibration" in beginning(path))
VICON = Reader(
    lambda path: path.suffix.lower() == ".xcp", read_vicon, holds=lambda path: b"<Cameras" in beginning(path)
)
