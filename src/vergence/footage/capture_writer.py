"""Writing a `capture.toml` from a capture."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vergence.files import write_text
from vergence.footage.capture import SCALE_FREE, Capture


def write_capture(path: Path | str, capture: Capture) -> None:
    """Writes a `capture.toml` (to that folder or file) from which `load_capture` gives the same capture.

    Raises:
        VergenceError: the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix == ".toml" else path / "capture.toml"
    base = path.parent.resolve()

    def relative(target: Path) -> str:
        target = target.resolve()
        return json.dumps(str(target.relative_to(base) if target.is_relative_to(base) else target))

    lines = ["[capture]", f"fps = {float(capture.fps)}", f'unit = "{"mm" if capture.unit == "mm" else SCALE_FREE}"']
    if capture.keypoint_file is not None:
        lines += [f"keypoints = {relative(capture.keypoint_file)}"]
    if capture.skeleton is not None:
        lines += [f"skeleton = {json.dumps(capture.skeleton.name)}"]
    if capture.up is not None:
        lines += [f"up = {capture.up.tolist()}"]
    if capture.synchronised:
        lines += ["synchronised = true"]
    for camera in capture.cameras:
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", camera.name)
        lines += ["", f"[cameras.{camera.name if bare else json.dumps(camera.name, ensure_ascii=False)}]"]
        if camera.video is not None:
            lines += [f"{'frames' if camera.video.is_dir() else 'video'} = {relative(camera.video)}"]
        lines += [f"image_size = {list(camera.image_size)}"]
        if camera.intrinsics is not None:
            lines += [f"intrinsics = {camera.intrinsics.tolist()}"]
        if camera.distortion.any():
            lines += [f"distortion = {camera.coefficients.tolist()}", *["fisheye = true"] * camera.fisheye]
        if camera.keypoints is not None:
            lines += [f"keypoints = {relative(camera.keypoints)}"]
        if camera.has_extrinsics:
            lines += [f"R = {camera.R.tolist()}", f"t = {camera.t.tolist()}"]
        if camera.offset:
            lines += [f"offset = {float(camera.offset)}"]
        if camera.drift:
            lines += [f"drift = {float(camera.drift)}"]
        if camera.video is None and camera.stamps is not None:
            lines += [f"fps = {float(capture.fps / camera.frame_steps)}"]
    write_text(path, "\n".join(lines) + "\n")
