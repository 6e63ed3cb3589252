"""A prediction drawn on its image, and beside it the same pose in 3D: what one watches to see whether to believe it.

The 2D skeleton shows whether the joints were found; it cannot show a wrong depth, which always projects onto the right
pixels. So the pose is drawn again from where the camera does not stand: once as the camera sees it, and once from the
person's side, where depth lies across the image. Both are orthographic and at one fixed scale, so that a pose that
shrinks or jumps is seen to do so. Left is blue and right is orange, as on the report page; what is far is drawn first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vergence.inference.frames import PredictedFrame, PredictedFrames, preview_size
from vergence.report.viewer import bone_sides, display_rotation
from vergence.skeleton import Skeleton

COLOURS = {"l": (0, 114, 178), "r": (213, 94, 0), "c": (60, 64, 74)}
ON_IMAGE = {"l": (86, 180, 233), "r": (240, 137, 58), "c": (236, 238, 242)}
BACKGROUND, GRID, INK = (251, 251, 249), (228, 228, 223), (92, 97, 107)
RING = (176, 178, 186)
# Half the height of what a 3D view shows, in reference bones: a person of 1.8 m with arms up is 4.6 of 480 mm.
REACH = 2.6
FAINT_CONFIDENCE = 0.2
SUBPIXEL_BITS = 4
MOST_PEOPLE = 6  # whose poses are shown on the right, those of the lowest numbers

RGB = UInt8[np.ndarray, "H W 3"]


def overlay(
    image: RGB,
    skeleton: Skeleton,
    keypoints: Float[np.ndarray, "J 2"] | None = None,
    confidence: Float[np.ndarray, " J"] | None = None,
    pose: Float[np.ndarray, "J 3"] | None = None,
    up: Float[np.ndarray, " 3"] | None = None,
    caption: str = "",
    size: tuple[int, int] | None = None,
    radius: Float[np.ndarray, " J"] | None = None,
) -> RGB:
    """One frame of the overlay: the image with its 2D skeleton, and two views of the pose stacked on its right.

    Args:
        image: RGB.
        skeleton: of keypoints and pose.
        keypoints: px of the image; NaN joints are not drawn. None where nobody was looked for.
        confidence: joints below 0.2 are drawn thin.
        pose: root-relative, in the camera's frame, in reference bones.
        up: gravity's opposite in the camera's frame; where unknown, the image's top is up.
        caption: a line of text on the image.
        size: (width, height) of the image's part; its own, at most 960 px, where not given. An image of another
            shape is fitted into it on black.
        radius: that nine of ten joints stay within, in reference bones: drawn around them in 3D.

    Returns:
        The frame, of even width and height.
    """
    width, height = size or preview_size(image.shape[1::-1])
    canvas, scale, shift = _fitted(image, width, height)
    if keypoints is not None:
        points = (np.asarray(keypoints, dtype=float) + 0.5) * scale - 0.5 + shift
        draw_skeleton(canvas, points, skeleton, ON_IMAGE, thickness(height), confidence, halo=True)
    if caption:
        _text(canvas, caption, (10, height - 12), height, (255, 255, 255), halo=True)
    side = height // 2
    turn = display_rotation(up)
    shown = None if pose is None else np.asarray(pose, dtype=float) @ turn.T
    views = [
        pose_view(shown, skeleton, side, 0.0, "as the camera sees it", radius=radius),
        pose_view(shown, skeleton, height - side, np.pi / 2, "from the right", width=side, radius=radius),
    ]
    return np.ascontiguousarray(np.concatenate([canvas, np.concatenate(views)], axis=1))


def overlay_of_people(frames: Sequence[PredictedFrame], found: PredictedFrames, size: tuple[int, int]) -> RGB:
    """One frame of the overlay of everybody: the image with all 2D skeletons and their numbers, and each one's pose from the
    side on its right; of one person as `overlay` draws it.

    Args:
        frames: of one image, everybody's.
        found: of which they are.
        size: (width, height) of the image's part.
    """
    first, up, skeleton = frames[0], found.take.lens.up, found.skeleton
    image = first.image
    points = [(one.keypoints + 0.5) * (np.array(image.shape[1::-1]) / one.size) - 0.5 for one in frames]
    nobody = "" if any(one.box is not None for one in frames) else "  nobody seen"
    unlike = "  unlike the training" if any((one.strangeness or 0.0) > 1 for one in frames) else ""
    caption = f"frame {first.frame}  {first.time:.2f} s{nobody}{unlike}"
    if not found.take.everybody:
        return overlay(image, skeleton, points[0], first.confidence, first.pose, up, caption, size, first.error_90)
    canvas, scale, shift = _fitted(image, *size)
    turn, side = display_rotation(up), size[1] // 2
    for one, own in zip(frames, points):
        placed = (own + 0.5) * scale - 0.5 + shift
        draw_skeleton(canvas, placed, skeleton, ON_IMAGE, thickness(size[1]), one.confidence, halo=True)
        if np.isfinite(placed).any():
            x, y = np.nanmean(placed[:, 0]), np.nanmin(placed[:, 1])
            _text(canvas, str(one.person), (int(x) - 6, max(16, int(y) - 10)), 2 * size[1], (255, 255, 255), halo=True)
    _text(canvas, caption, (10, size[1] - 12), size[1], (255, 255, 255), halo=True)
    edges = np.linspace(0, size[1], max(2, min(len(frames), MOST_PEOPLE)) + 1).round().astype(int)
    shown = [*frames[:MOST_PEOPLE], None, None]
    views = [
        pose_view(
            None if one is None or not one.seen else one.pose @ turn.T, skeleton, int(b - a), np.pi / 2,
            "" if one is None else f"{one.person} from the right", width=side, radius=None if one is None else one.error_90,
        )
        for one, a, b in zip(shown, edges, edges[1:])
    ]  # fmt: skip
    return np.ascontiguousarray(np.concatenate([canvas, np.concatenate(views)], axis=1))


def pose_view(
    pose: Float[np.ndarray, "J 3"] | None,
    skeleton: Skeleton,
    height: int,
    azimuth: float,
    title: str = "",
    width: int | None = None,
    radius: Float[np.ndarray, " J"] | None = None,
) -> RGB:
    """A pose seen without perspective.

    Args:
        pose: display axes (x right, y away from the viewer, z up), its root at the origin; None leaves the view empty.
        skeleton: its joints.
        height: px.
        azimuth: where the viewer stands, radians from the camera's place towards its right.
        title: written in the corner.
        width: px; `height` where not given.
        radius: that nine of ten joints stay within, as the pose: rings around them.
    """
    width = width or height
    canvas = _grid(height, width).copy()
    scale = min(height, width) / 2 / REACH
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    if pose is not None:
        cosine, sine = np.cos(azimuth), np.sin(azimuth)
        across = cosine * pose[:, 0] + sine * pose[:, 1]
        away = cosine * pose[:, 1] - sine * pose[:, 0]
        points = middle + scale * np.stack([across, -pose[:, 2]], axis=1)
        for at, far in zip(points, () if radius is None else scale * np.nan_to_num(radius)):
            if far > 0 and np.isfinite(at).all():
                ring = round(min(far, 2 * height) * (1 << SUBPIXEL_BITS))
                cv2.circle(canvas, _fixed(at).tolist(), ring, RING, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        draw_skeleton(canvas, points, skeleton, COLOURS, thickness(2 * height), depth=away)
    if title:
        _text(canvas, title, (8, round(8 + 0.05 * height)), height * 2, INK)
    return canvas


@lru_cache(8)
def _grid(height: int, width: int) -> RGB:
    """An empty view, with lines one reference bone apart."""
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    scale = min(height, width) / 2 / REACH
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    for at in _fixed(middle + scale * np.arange(-int(REACH), int(REACH) + 1)[:, None]).tolist():
        ends = ((at[0], 0), (at[0], height << SUBPIXEL_BITS)), ((0, at[1]), (width << SUBPIXEL_BITS, at[1]))
        for start, end in ends:
            cv2.line(canvas, start, end, GRID, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def draw_skeleton(
    canvas: RGB,
    points: Float[np.ndarray, "J 2"],
    skeleton: Skeleton,
    colours: dict[str, tuple[int, int, int]],
    width: int,
    confidence: Float[np.ndarray, " J"] | None = None,
    depth: Float[np.ndarray, " J"] | None = None,
    halo: bool = False,
) -> None:
    """Draws limbs and joints into `canvas`, the farthest first where a depth is given; NaN joints are left out."""
    known = np.isfinite(points).all(axis=1)
    sure = np.ones(len(points)) if confidence is None else np.nan_to_num(np.asarray(confidence, dtype=float))
    bones = [bone for bone in bone_sides(skeleton) if known[bone[0]] and known[bone[1]]]
    if depth is not None:
        bones.sort(key=lambda bone: -(depth[bone[0]] + depth[bone[1]]))
    fixed = _fixed(np.where(known[:, None], points, 0.0))
    for a, b, side in bones:
        thick = width if min(sure[a], sure[b]) >= FAINT_CONFIDENCE else max(1, width // 3)
        if halo:
            cv2.line(canvas, fixed[a], fixed[b], (20, 20, 24), thick + 2, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.line(canvas, fixed[a], fixed[b], colours[side], thick, cv2.LINE_AA, SUBPIXEL_BITS)
    for joint in np.flatnonzero(known):
        radius = (width if sure[joint] >= FAINT_CONFIDENCE else max(1, width // 2)) << SUBPIXEL_BITS
        name = skeleton.joint_names[joint]
        colour = colours["l" if name.startswith("left_") else "r" if name.startswith("right_") else "c"]
        cv2.circle(canvas, fixed[joint], radius, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def thickness(height: int) -> int:
    """Width of a limb's line for an image of this height, px."""
    return max(1, round(height / 200))


def _fixed(points: np.ndarray) -> np.ndarray:
    """Fixed-point coordinates for OpenCV; far outside any image they are clipped, so that they fit in its integers."""
    return np.round(np.clip(points, -10_000, 20_000) * (1 << SUBPIXEL_BITS)).astype(int)


def _fitted(image: RGB, width: int, height: int) -> tuple[RGB, np.ndarray, np.ndarray]:
    """The image in the middle of a black one of the size asked, the factors on x and y, and where its corner is."""
    factor = min(width / image.shape[1], height / image.shape[0])
    inner = []
    for side, full in ((image.shape[1], width), (image.shape[0], height)):
        part = max(1, min(full, round(side * factor)))
        # Rounding to multiples of 4 stretches by a pixel or two: not worth a black border.
        inner.append(full if full - part < 4 else part)
    small = image if inner == [*image.shape[1::-1]] else cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = small
    scale = np.array([inner[0] / image.shape[1], inner[1] / image.shape[0]])
    return canvas, scale, np.array([left, top], dtype=float)


def _text(
    canvas: RGB, text: str, at: tuple[int, int], height: int, colour: tuple[int, int, int], halo: bool = False
) -> None:
    size = max(0.35, height / 1000)
    if halo:
        shadow = (at[0] + 1, at[1] + 1)
        cv2.putText(canvas, text, shadow, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 24), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
