"""Human3.6M's cameras: four in one hall, their extrinsics measured anew for each subject.

They come as numbers in `metadata.xml` of the official code, or as mmpose's `cameras.pkl`; both say the same (metres and
camera-to-world there, the Euler angles of a world-to-camera rotation here).

**The lens is not OpenCV's.** With x, y normalised and r2 = x^2 + y^2, the dataset's authors have

    g = 1 + k1 r2 + k2 r2^2 + k3 r2^3 + p1 y + p2 x,     u = fx (x g + p2 r2) + cx,     v = fy (y g + p1 r2) + cy,

which has half of OpenCV's tangential terms in g. Read as OpenCV's, five coefficients put joints up to 0.19 px off. It is
OpenCV's model of twelve exactly: half of p1 and p2 is tangential, the other half is a thin prism (s1 = p2/2, s3 = p1/2).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.pickles import load_pickle
from vergence.errors import VergenceError, refusing
from vergence.geometry.cameras import Camera

CAMERAS = (
    "54138969",
    "55011271",
    "58860488",
    "60457274",
)  # the order of metadata.xml and of the papers' ca_01 to ca_04
FRONTAL = ("60457274",)
SUBJECTS = tuple(range(1, 12))
TALL_SUBJECTS = (4, 7, 10)  # 1002 px high in all cameras; the others in the first and the last only
WIDTH, HEIGHTS = 1000, (1002, 1000, 1000, 1002)


# By subject and name: a camera as it stood for one subject, mm, with twelve coefficients; the world's z points up.
Cameras = Mapping[tuple[int, str], Camera]


def lens(radial: ndarray, tangential: ndarray) -> Float[ndarray, " 12"]:
    """Human3.6M's k1 k2 k3 and p1 p2 as OpenCV's twelve coefficients."""
    (k1, k2, k3), (p1, p2) = np.asarray(radial, float).ravel(), np.asarray(tangential, float).ravel()
    return np.array([k1, k2, p1 / 2, p2 / 2, k3, 0, 0, 0, p2 / 2, 0, p1 / 2, 0])


def _pinhole(focal: ndarray, centre: ndarray) -> Float[ndarray, "3 3"]:
    (fx, fy), (cx, cy) = np.asarray(focal, float).ravel(), np.asarray(centre, float).ravel()
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def euler_rotation(a: float, b: float, c: float) -> Float[ndarray, "3 3"]:
    """Rx(a) Ry(b) Rz(c), radians, right-handed: world to camera."""
    (sa, sb, sc), (ca, cb, cc) = np.sin([a, b, c]), np.cos([a, b, c])
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return x @ y @ z


def find_cameras(root: Path) -> tuple[Cameras, Path]:
    """The cameras in a dataset's folder, and the file they were read from.

    Raises:
        VergenceError: neither `metadata.xml` nor `cameras.pkl` is there, or what is there is damaged.
    """
    places = ("", "Release-v1.2/", "annotation_body3d/", "extracted/", "metadata/", "code-v1.2/Release-v1.2/")
    for name, read in (("metadata.xml", read_metadata), ("cameras.pkl", read_camera_pickle)):
        for place in places:
            if (path := root / place / name).is_file():
                return read(path), path
    remedy = "Put metadata.xml (Release-v1.2 of the official code-v1.2.zip) or mmpose's cameras.pkl there."
    raise VergenceError(f"{root} has no cameras: neither metadata.xml nor cameras.pkl", remedy)


def read_metadata(path: Path) -> Cameras:
    """The cameras of the official `metadata.xml`: element `w0`, 264 extrinsic and 36 intrinsic numbers."""
    with refusing(f"{path} is not readable XML", "Copy it again from code-v1.2.zip."):
        node = ElementTree.parse(path).getroot().find("w0")
    words = re.findall(r"[^\s,;\[\]]+", (node.text or "") if node is not None else "")
    with refusing(f"{path}: w0 holds what is no number", "Copy it again.", ValueError):
        numbers = np.array([float(word) for word in words])
    if numbers.shape != (300,) or not np.isfinite(numbers).all():
        raise VergenceError(
            f"{path} holds {len(numbers)} camera numbers in w0, not 300", "Copy it again from code-v1.2.zip."
        )
    outer, inner = numbers[:264].reshape(4, 11, 6), numbers[264:].reshape(4, 9)
    found = {}
    for v, name in enumerate(CAMERAS):
        fx, fy, cx, cy, *coefficients = inner[v]
        k = _pinhole(np.array([fx, fy]), np.array([cx, cy]))
        bend = lens(np.array(coefficients[:3]), np.array(coefficients[3:]))
        for i, subject in enumerate(SUBJECTS):
            rotation = euler_rotation(*outer[v, i, :3])
            found[subject, name] = Camera(
                name, image_size(subject, name), k, bend, rotation, -rotation @ outer[v, i, 3:]
            )
    return found


def read_camera_pickle(path: Path) -> Cameras:
    """The cameras of mmpose's `cameras.pkl`: camera-to-world R and the centre T in metres, read without running anything."""
    content = load_pickle(path)
    form, kinds = "It maps ('S1', '54138969') to R, T, c, f, k, p.", (KeyError, ValueError, TypeError, AttributeError)
    found = {}
    with refusing(f"{path} is not mmpose's camera file", form, *kinds):
        for (subject, name), one in content.items():
            rotation = np.asarray(one["R"], float).reshape(3, 3).T
            centre = 1000 * np.asarray(one["T"], float).reshape(3)
            k, bend, number = _pinhole(one["f"], one["c"]), lens(one["k"], one["p"]), int(subject.removeprefix("S"))
            size = image_size(number, name) if name in CAMERAS else None
            found[number, str(name)] = Camera(str(name), size, k, bend, rotation, -rotation @ centre)
    for (subject, name), camera in found.items():
        turned = camera.R @ camera.R.T - np.eye(3)
        if name not in CAMERAS:
            problem = f"{path} has a camera {name} of S{subject}; Human3.6M's are {', '.join(CAMERAS)}"
            raise VergenceError(problem, "Take mmpose's own file.")
        if not np.abs(turned).max() < 1e-4 or not np.isfinite(camera.t).all():
            problem = f"R of camera {name} of S{subject} in {path} is no rotation, or its T is not finite"
            raise VergenceError(problem, "Take mmpose's own file.")
    return found


def image_size(subject: int, camera: str) -> tuple[int, int]:
    """(width, height) as the metadata has it, where no image says so."""
    return WIDTH, 1002 if subject in TALL_SUBJECTS else HEIGHTS[CAMERAS.index(camera)]
