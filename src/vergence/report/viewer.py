"""The numbers that the page's 3D viewer and image overlays draw, as JSON-ready values.

Everything that needs thought about frames happens here, in numpy, where it is tested: the browser gets display
coordinates (x right, y away from the viewer, z up) and pixel coordinates, and only turns and draws them. A pose is
shown with its root at the origin, because a single camera does not know how far away a person is; a rig's poses stay
where they are. NaN becomes null, and a bone with a null end is not drawn. An image is made smaller before it is
embedded, which moves the keypoints: `encode_image` returns the factor, and `rescale_keypoints` applies it with the
centre of the top-left pixel at (0, 0).

Why not plotly: its script is 4.8 MB in every page, its 3D needs WebGL (which many machines of a lab's cluster and every
headless browser lack or emulate), and it turns y down into y up only by tricks. A skeleton is twenty lines.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vergence.geometry.cameras import Camera
from vergence.report.page import CameraView, Clip, Page, RigScene, Sample, format_number
from vergence.skeleton import Skeleton

LONGEST_SIDE_PX = 720  # an image fills at most half a laptop's screen
PNG_BELOW_PX = 160  # small crops: JPEG's blocks would show, and PNG costs nothing
JPEG_QUALITY = 85
STILL_SIDE_PX, STILL_QUALITY = 480, 70  # a clip or rig holds many images
STILLS_BYTES = 6_000_000  # of a rig's images together; where they are more, every second is left out, and again
MAX_FRAMES = 900  # of a rig scene in a page; longer ones are shown every n-th frame, and the page says so

CAMERA_TO_DISPLAY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def display_rotation(up: Any) -> Float[np.ndarray, "3 3"]:
    """Rotation from a camera's frame (x right, y down, z forward) to display axes (x right, y away, z up).

    Args:
        up: gravity's opposite in the camera's frame, of any length above 0; None or NaN reads -y as up.

    Returns:
        proper rotation whose third row is `up`, and which keeps the camera's right as level as it can be.
    """
    vector = np.full(3, np.nan) if up is None else np.asarray(up, dtype=float)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length < 1e-9:
        return CAMERA_TO_DISPLAY.copy()
    z = vector / length
    away = np.array([0.0, 0.0, 1.0])
    if abs(z @ away) > 0.99:  # looking straight down or up: the image's top is away, or towards
        away = np.array([0.0, -1.0, 0.0]) * -np.sign(z @ away)
    y = away - (away @ z) * z
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])


def bone_sides(skeleton: Skeleton) -> list[tuple[int, int, str]]:
    """Limbs to draw as (joint, joint, side); side is `l`, `r`, or `c` for those on or across the middle."""
    bones = []
    for a, b in skeleton.limbs:
        sides = {name.split("_")[0][0] for name in (skeleton.joint_names[a], skeleton.joint_names[b])
                 if name.startswith(("left_", "right_"))}  # fmt: skip
        bones.append((a, b, sides.pop() if len(sides) == 1 else "c"))
    return bones


def numbers(array: np.ndarray, decimals: int) -> Any:
    """Nested lists of rounded numbers in which NaN is None and whole numbers are ints: short in JSON."""
    rounded = np.round(np.asarray(array, dtype=float), max(decimals, 0))
    out = rounded.astype(object)
    whole = (rounded == np.rint(rounded)) & (np.abs(rounded) < 2**53)
    out[whole] = rounded[whole].astype(np.int64).astype(object)
    out[~np.isfinite(rounded)] = None
    return out.tolist()


def decimals_for(extent: float) -> int:
    """Decimals that keep four significant digits of lengths about as long as `extent`."""
    return max(0, 4 - int(np.ceil(np.log10(extent)))) if np.isfinite(extent) and extent > 0 else 3


def points_only(points: Float[np.ndarray, "... D"]) -> Float[np.ndarray, "... D"]:
    """A copy in floats in which a point with any NaN or infinite coordinate is wholly NaN."""
    out = np.array(points, dtype=float)
    out[~np.isfinite(out).all(axis=-1)] = np.nan
    return out


def root_position(pose: Float[np.ndarray, "... J 3"], skeleton: Skeleton) -> Float[np.ndarray, "... 3"]:
    """The root where its joints are known, else the mean of the joints that are; NaN where there are none."""
    known = np.isfinite(pose).all(axis=-1, keepdims=True)
    count = known.sum(axis=-2)
    mean = np.where(known, pose, 0.0).sum(axis=-2) / np.where(count > 0, count, np.nan)
    root = pose[..., list(skeleton.root), :].mean(axis=-2)
    return np.where(np.isfinite(root).all(axis=-1, keepdims=True), root, mean)


def centred(pose: np.ndarray, true: np.ndarray | None, skeleton: Skeleton) -> np.ndarray:
    """A pose with its root at the origin; without a root, the joints it shares with `true` centred as there.

    So that a prediction whose pelvis is missing still lies on its truth rather than beside it.
    """
    root = pose[list(skeleton.root)].mean(axis=0)
    if np.isfinite(root).all() or true is None:
        return pose - root_position(pose, skeleton)
    shared = np.isfinite(pose).all(axis=-1) & np.isfinite(true).all(axis=-1)
    if not shared.any():
        return pose - root_position(pose, skeleton)
    return pose - pose[shared].mean(axis=0) + (true[shared].mean(axis=0) - root_position(true, skeleton))


def shown_size(size: Sequence[int], longest: int) -> tuple[int, int]:
    """(width, height) of an image in a page: its longer side is at most `longest` px."""
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def encode_image(
    pixels: UInt8[np.ndarray, "H W 3"], longest: int = LONGEST_SIDE_PX, quality: int = JPEG_QUALITY
) -> tuple[str, tuple[int, int], tuple[float, float]]:
    """An image as a data URI, its width and height there, and the factors by which x and y were scaled."""
    height, width = pixels.shape[:2]
    size = shown_size((width, height), longest)
    factors = size[0] / width, size[1] / height
    if pixels.strides[:2] == (0, 0):  # one colour, broadcast
        return _one_colour(tuple(int(c) for c in pixels[0, 0]), size, quality), size, factors
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return _data_uri(image, quality), size, factors


@lru_cache(8)
def _one_colour(colour: tuple[int, ...], size: tuple[int, int], quality: int) -> str:
    return _data_uri(Image.new("RGB", size, colour), quality)


def _data_uri(image: Image.Image, quality: int) -> str:
    kind = "png" if max(image.size) <= PNG_BELOW_PX else "jpeg"
    buffer = io.BytesIO()
    options = {"optimize": True} if kind == "png" else {"quality": quality, "optimize": True}
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def rescale_keypoints(keypoints: Float[np.ndarray, "J 2"], scale: tuple[float, float]) -> Float[np.ndarray, "J 2"]:
    """Keypoints of an image in the pixels of the same image resized by `scale`."""
    return (np.asarray(keypoints, dtype=float) + 0.5) * np.asarray(scale) - 0.5


def sample_data(sample: Sample, skeleton: Skeleton) -> dict[str, Any]:
    """One sample for the viewer."""
    data: dict[str, Any] = {"title": sample.title, "group": sample.group, "note": sample.note}
    data["errors"] = [[k, v if isinstance(v, str) else "–" if v is None else format_number(v)]
                      for k, v in sample.errors.items()]  # fmt: skip
    scale = (1.0, 1.0)
    if sample.image is not None:
        data["image"], data["size"], scale = encode_image(sample.image)
    for key, points in (("kp", sample.keypoints), ("kpTrue", sample.keypoints_true)):
        if points is not None:
            data[key] = numbers(rescale_keypoints(points_only(points), scale), 1)
    turn = display_rotation(sample.up)
    true = None if sample.pose_true is None else points_only(sample.pose_true)
    for key, pose, other in (("pose", sample.pose, true), ("poseTrue", true, None)):
        if pose is not None:
            shown = centred(points_only(pose), other, skeleton) @ turn.T
            extent = float(np.nanmax(np.abs(shown), initial=0.0)) if np.isfinite(shown).any() else 0.0
            data[key] = numbers(shown, decimals_for(extent))
    return data


def frustum(camera: Camera) -> Float[np.ndarray, "5 3"]:
    """A camera's centre, and where the rays of its image's four corners are at depth 1, in the world."""
    width, height = camera.image_size or (0, 0)
    corners = np.array(
        [[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [width - 0.5, height - 0.5, 1], [-0.5, height - 0.5, 1]]
    )
    rays = corners @ np.linalg.inv(camera.K).T
    in_camera = np.vstack([np.zeros(3), rays])
    return camera.to_world(in_camera)


def rig_data(rig: RigScene, skeleton: Skeleton) -> dict[str, Any]:
    """The rig scene for the viewer; frames beyond `MAX_FRAMES` are thinned evenly."""
    turn = display_rotation(rig.up)
    stride = max(1, -(-len(rig.poses) // MAX_FRAMES))
    poses = points_only(rig.poses[::stride]) @ turn.T
    frames = np.arange(len(rig.poses)) if rig.frames is None else np.asarray(rig.frames)
    cameras = {c.name: frustum(c) @ turn.T for c in rig.cameras}
    known = np.concatenate([poses.reshape(-1, 3), *[c[:1] for c in cameras.values()]])
    known = known[np.isfinite(known).all(axis=-1)]
    extent = float(np.ptp(known, axis=0).max()) if len(known) else 1.0
    digits = decimals_for(extent)
    data = {
        "unit": rig.unit,
        "fps": rig.fps / stride,
        "frames": [int(f) for f in frames[::stride]],
        "poses": numbers(poses, digits),
        "path": numbers(root_position(poses, skeleton), digits),
        "cameras": [{"name": name, "points": numbers(c, digits + 3)} for name, c in cameras.items()],
    }
    if rig.poses_true is not None:
        data["posesTrue"] = numbers(points_only(rig.poses_true[::stride]) @ turn.T, digits)
    if rig.views:
        data["views"] = _views_data(rig.views, stride)
    return data


def _views_data(views: Sequence[CameraView], stride: int) -> list[dict[str, Any]]:
    """What the cameras saw, in images of `STILLS_BYTES` at most."""
    every = [[None if image is None else encode_image(image, STILL_SIDE_PX, STILL_QUALITY)[0] for image in one.images]
             for one in views]  # fmt: skip
    step = 1
    while sum(len(image or "") for own in every for image in own[::step]) > STILLS_BYTES:
        step *= 2
    found = []
    for one, images in zip(views, every):
        size = list(shown_size(one.size, STILL_SIDE_PX))
        scale = size[0] / one.size[0], size[1] / one.size[1]
        points = {
            key: [numbers(rescale_keypoints(points_only(own), scale), 1) for own in many[::step]]
            for key, many in (("kp", one.keypoints), ("kpTrue", one.keypoints_true))
        }
        rows = [int(row) // stride for row in one.rows[::step]]
        found.append({"size": size, "rows": rows, "images": images[::step], **points})
    return found


def clip_data(clip: Clip) -> dict[str, Any]:
    """The clip for the viewer: everybody's poses with the root at the origin, and where the roots are."""
    turn = display_rotation(clip.up)
    poses = points_only(clip.poses) @ turn.T
    known = poses[np.isfinite(poses).all(-1)]
    digits = decimals_for(float(np.ptp(known, axis=0).max()) if len(known) else 1.0)
    stills = []
    for still in clip.stills:
        image, size, scale = encode_image(still.image, STILL_SIDE_PX, STILL_QUALITY)
        points = [numbers(rescale_keypoints(points_only(own), scale), 1) for own in still.keypoints]
        stills.append({"row": still.row, "image": image, "size": size, "kp": points})
    data = {
        "unit": clip.unit, "fps": clip.fps, "people": list(clip.people), "frames": [int(f) for f in clip.frames],
        "times": numbers(np.asarray(clip.times, dtype=float), 3), "starts": list(clip.starts), "stills": stills,
        "poses": numbers(poses, digits),
    }  # fmt: skip
    if clip.roots is not None:
        data["roots"] = numbers(points_only(clip.roots) @ turn.T, digits)
        data["camera"] = numbers(frustum(clip.camera) @ turn.T, digits + 3)
    return data


def page_data(page: Page) -> dict[str, Any]:
    """Everything that the page's script draws."""
    return {
        "joints": list(page.skeleton.joint_names),
        "bones": bone_sides(page.skeleton),
        "labels": list(page.labels),
        "unit": page.pose_unit,
        "samples": [sample_data(sample, page.skeleton) for sample in page.samples],
        "rig": None if page.rig is None else rig_data(page.rig, page.skeleton),
        "clip": None if page.clip is None else clip_data(page.clip),
    }
