"""Makes the pictures of `docs/gallery.md` from the built-in world: drawn people, cameras, overlays, pages.

    python docs/scripts/gallery.py

Takes about two minutes. The pages are photographed by Chromium; without it they are left as they are. Everything that is
drawn on an image was computed: 2D and 3D by the package's own reconstruction and its own lifting model.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import vergence
from vergence.cli import main
from vergence.report.overlay import ON_IMAGE, draw_skeleton, overlay
from vergence.skeleton import H36M_17
from vergence.world import single_images

OUT = Path(__file__).parent.parent / "images"
TILE, SEED, FRAME = 160, 5, 60
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PAGES = {"inspect": (820, 1000), "reconstruct": (820, 1000), "phone": (390, 844)}


def keep(name: str, image: np.ndarray) -> None:
    Image.fromarray(image).save(OUT / f"gallery-{name}.jpg", quality=80, optimize=True)


def row(images: list[np.ndarray]) -> np.ndarray:
    """Images side by side, two white pixels between."""
    gap = np.full((images[0].shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)


def people() -> np.ndarray:
    """Six people of each look, the second row of a look with their true 2D."""
    rows = []
    for look in ("studio", "wild"):
        views = single_images(6, TILE, look=look, seed=SEED)
        plain = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in views.image]
        drawn = [image.copy() for image in plain]
        for image, points in zip(drawn, views.keypoints.numpy()):
            draw_skeleton(image, points, H36M_17, ON_IMAGE, 2, halo=True)
        rows += [row(plain), row(drawn)]
    return np.concatenate(rows)


def cameras(capture: vergence.Capture, found: vergence.Reconstruction) -> np.ndarray:
    """One moment by every camera, with the 3D pose that was found projected into each."""
    images = []
    for view, camera in enumerate(found.rig):
        image = np.ascontiguousarray(capture.image(view, FRAME))
        draw_skeleton(image, camera.project(camera.to_camera(found.poses.pose[FRAME])), H36M_17, ON_IMAGE, 2, halo=True)
        images.append(image)
    return row(images)


def lifted(folder: Path) -> np.ndarray:
    """A frame of `predict`'s overlay: one camera, and the model that comes with the package."""
    capture = vergence.load_capture(folder)
    frames = vergence.predict("lifting", folder / "cam01.mp4", capture=folder, camera="cam01")
    skeleton = frames.skeleton
    shown = list(frames)[FRAME]
    return overlay(capture.image(0, FRAME), skeleton, shown.keypoints, shown.confidence, shown.pose)


def photograph(page: Path, name: str) -> None:
    """A page in Chromium, as a JPEG."""
    width, height = PAGES[name]
    with tempfile.TemporaryDirectory() as place:
        flags = [
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--enable-unsafe-swiftshader",
            f"--user-data-dir={place}/p",
        ]
        shot = f"--screenshot={place}/shot.png"
        size = f"--window-size={width},{height}"
        subprocess.run([CHROMIUM, *flags, shot, size, page.resolve().as_uri()], check=True, capture_output=True)
        keep(name, np.asarray(Image.open(f"{place}/shot.png").convert("RGB")))


def make() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (folder,) = vergence.synthesize(root / "footage", subjects=1, frames=100, views=4, size=360, seed=SEED,
                                        faults=vergence.Faults(noise_px=1.0))  # fmt: skip
        keep("people", people())
        main(["reconstruct", str(folder), "--out", str(root / "rec"), "--quiet"])
        keep("cameras", cameras(vergence.load_capture(folder), vergence.Reconstruction.load(root / "rec")))
        keep("overlay", lifted(folder))
        if CHROMIUM:
            main(["inspect", str(folder), "--out", str(root / "inspection"), "--quiet"])
            photograph(root / "inspection" / "report.html", "inspect")
            photograph(root / "rec" / "report.html", "reconstruct")
            photograph(root / "rec" / "report.html", "phone")


if __name__ == "__main__":
    make()
