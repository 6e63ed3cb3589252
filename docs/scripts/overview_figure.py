"""Draws `docs/images/overview.svg` from the built-in world: footage, what is found in it, and one image to 3D.

    python docs/scripts/overview_figure.py vergence-demo/run

The third part is the prediction of that run for a person it has never seen; without a run it is left out. Everything drawn
was computed.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import vergence
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.report.overlay import ON_IMAGE, draw_skeleton
from vergence.report.viewer import bone_sides
from vergence.skeleton import H36M_17
from vergence.world import draw_rigs, render_capture, single_images

OUT = Path(__file__).parent.parent / "images" / "overview.svg"
WIDTH, HEIGHT, TILE = 1180, 400, 132
COLOURS = {"l": "#0072b2", "r": "#d55e00", "c": "#3c404a"}
CAMERA = "#7a5195"
SEED, FRAMES, SHOWN, NEW_PERSON = 12, 100, 85, 23


def jpeg(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def tile(image: np.ndarray, points: np.ndarray | None, x: float, y: float, side: float = TILE) -> str:
    """A square image, with a 2D skeleton where one is given."""
    canvas = np.array(Image.fromarray(image).resize((264, 264), Image.Resampling.LANCZOS))
    if points is not None:
        scale = 264 / image.shape[0]
        draw_skeleton(canvas, (points + 0.5) * scale - 0.5, H36M_17, ON_IMAGE, 3, halo=True)
    return (
        f'<image x="{x}" y="{y}" width="{side}" height="{side}" href="{jpeg(canvas)}"/>'
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="#c9ccd3" rx="3"/>'
    )


class Eye:
    """Where the drawing is seen from: a camera that looks at `target` from `distance` in a direction; z is up."""

    def __init__(
        self, target: np.ndarray, turn: float, lift: float, distance: float, focal: float, at: tuple[int, int]
    ):
        a, b = np.radians(turn), np.radians(lift)
        back = np.array([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)])
        right = np.array([-np.sin(a), np.cos(a), 0.0])
        self.axes = np.stack([right, np.cross(right, back), -back])
        self.place, self.focal, self.at = target + distance * back, focal, np.array(at)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        seen = (np.asarray(points) - self.place) @ self.axes.T
        return self.focal * seen[..., :2] / seen[..., 2:] + self.at


def line(a: np.ndarray, b: np.ndarray, colour: str, width: float, opacity: float = 1.0) -> str:
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-linecap="round" opacity="{opacity}"/>'
    )


def skeleton(pose: np.ndarray, eye: Eye, width: float, opacity: float = 1.0) -> str:
    points = eye(pose)
    depth = (pose - eye.place) @ eye.axes[2]
    bones = sorted(bone_sides(H36M_17), key=lambda bone: -(depth[bone[0]] + depth[bone[1]]))
    return "".join(
        line(points[a], points[b], COLOURS[side], width, opacity)
        for a, b, side in bones
        if np.isfinite(points[[a, b]]).all()
    )


def floor(eye: Eye, height: float, reach: float, step: float) -> str:
    ticks = np.arange(-reach, reach + step / 2, step)
    lines = []
    for s in ticks:
        for a, b in (((s, -reach), (s, reach)), ((-reach, s), (reach, s))):
            lines.append(line(eye(np.array([*a, height])), eye(np.array([*b, height])), "#dcdee3", 0.8))
    return "".join(lines)


def frustum(centre: np.ndarray, rotation: np.ndarray, eye: Eye, size: float) -> str:
    corners = np.array([[-0.45, -0.45, 1], [0.45, -0.45, 1], [0.45, 0.45, 1], [-0.45, 0.45, 1]]) * size
    world = eye(corners @ rotation + centre)
    tip = eye(centre)
    return "".join(line(tip, c, CAMERA, 1.3) + line(c, world[(i + 1) % 4], CAMERA, 1.3) for i, c in enumerate(world))


def crop_around(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.nanmin(points, 0), np.nanmax(points, 0)
    side = int((high - low).max() * 1.25)
    x, y = ((low + high) / 2 - side / 2).astype(int)
    padded = np.pad(image, ((side, side), (side, side), (0, 0)), mode="edge")
    return padded[y + side : y + 2 * side, x + side : x + 2 * side], points - [x, y]


def footage() -> tuple[list[tuple[np.ndarray, np.ndarray]], Solution, np.ndarray]:
    """Crops of one moment by four cameras, the reconstruction of the whole recording, and the true up in its world."""
    rig = draw_rigs(1, 4, seed=SEED)[0]
    frames = list(render_capture(rig, FRAMES, seed=SEED))
    points = np.stack([frame.keypoints for frame in frames])
    noisy = points + np.random.default_rng(0).normal(0, 3, points.shape)
    size = np.tile(np.array(rig.size[::-1]), (4, 1))
    found = reconstruct_keypoints(noisy, intrinsics=rig.intrinsics.numpy(), image_size=size, skeleton=H36M_17)
    print(f"reconstruction: {found.report.verdict}, {found.report.reprojection_median:.1f} px")
    crops = [crop_around(frames[SHOWN].image[v], noisy[SHOWN, v]) for v in range(4)]
    return crops, found, rig.rotation[0].numpy()[:, 2]


def upright(up: np.ndarray) -> np.ndarray:
    """Rotation from the first camera's frame to one with z up."""
    x = np.cross([0.0, 0.0, 1.0], up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def rig_part(found: Solution, up: np.ndarray) -> str:
    turn = upright(up)
    pose = found.pose @ turn.T
    centres = np.stack([-r.T @ t for r, t in zip(found.rotation, found.translation)]) @ turn.T
    middle = np.nanmean(pose, (0, 1))
    pose, centres = pose - middle, centres - middle
    low = np.nanpercentile(pose[..., 2], 1)
    eye = Eye(np.array([0.0, 0.0, 0.2]), -48, 22, 25, 580, (560, 190))
    parts = [floor(eye, low, 7, 2)]
    for t in range(0, FRAMES, 20):
        parts.append(skeleton(pose[t], eye, 1.5, 0.25))
    parts += [frustum(c, r @ turn.T, eye, 1.3) for c, r in zip(centres, found.rotation)]
    parts.append(skeleton(pose[SHOWN], eye, 2.4))
    return "".join(parts)


def single_part(run: str) -> str:
    estimator = vergence.load(run)
    views = single_images(8, estimator.image_size, seed=NEW_PERSON)
    row = 0
    result = estimator(views.image[row : row + 1], views.intrinsics[row : row + 1])
    assert result.keypoints is not None
    image = views.image[row].permute(1, 2, 0).numpy()
    pose = result.pose[0].double().numpy() @ upright(views.up[row].double().numpy()).T
    low = pose[:, 2].min() - 0.15
    parts = [tile(image, result.keypoints[0].numpy(), 820, 130, 150)]
    for turn, x in ((-90, 1030), (-25, 1120)):
        eye = Eye(np.array([0, 0, 0.2]), turn, 12, 16, 640, (x, 205))
        parts += [floor(eye, low, 1.2, 0.6), skeleton(pose, eye, 3)]
    return "".join(parts)


def main() -> None:
    torch.manual_seed(0)
    crops, found, up = footage()
    parts = [tile(*crops[i], 20 + (i % 2) * (TILE + 8), 70 + (i // 2) * (TILE + 8)) for i in range(4)]
    parts.append(rig_part(found, up))
    captions = [(20, "Uncalibrated cameras"), (400, "Rig and 3D, found from the person")]
    arrows = [320]
    if len(sys.argv) > 1:
        parts.append(single_part(sys.argv[1]))
        captions.append((820, "... teach a network that needs one image"))
        arrows.append(785)
    for x, text in captions:
        parts.append(f'<text x="{x}" y="42" font-size="16" fill="#23262d">{text}</text>')
    for x in arrows:
        parts.append(f'<path d="M{x} 205 h22 m-8 -7 l8 7 l-8 7" fill="none" stroke="#8a8f99" stroke-width="2.5"/>')
    width = WIDTH if len(sys.argv) > 1 else 790
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="system-ui, sans-serif">'
        f'<rect width="{width}" height="{HEIGHT}" rx="10" fill="#fbfbf9"/>{"".join(parts)}</svg>\n'
    )
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
