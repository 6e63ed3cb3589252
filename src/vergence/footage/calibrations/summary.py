"""What was understood of a rig, in lines that a person can compare with the room."""

from __future__ import annotations

import numpy as np

from vergence.geometry.cameras import Camera, Rig


def described(rig: Rig) -> list[str]:
    """A line on the rig, and one on each camera: sizes, fields of view, lenses, and where it stands and looks.

    Heights are along `rig.up`; where that is not known, along what is up in the cameras' images on average, which the line
    says.
    """
    posed = [camera for camera in rig if camera.has_extrinsics]
    lensed = sum(camera.intrinsics is not None for camera in rig)
    head = f"{len(rig)} cameras, {lensed} with intrinsics, {len(posed)} with extrinsics"
    if len(posed) < 2:
        return [head, *(_line(camera) for camera in rig)]
    scale, unit = (1e-3, "m") if rig.unit == "mm" else (1.0, str(rig.unit))
    centres = np.stack([camera.centre for camera in posed]) * scale
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(len(posed), 1)]
    up = np.mean([-camera.R[1] for camera in posed], axis=0) if rig.up is None else np.asarray(rig.up)
    up = up / max(float(np.linalg.norm(up)), 1e-12)
    heights = centres @ up
    lowest = heights.min() if rig.up is None else 0.0
    head += f"; {distances.min():.2f} to {distances.max():.2f} {unit} apart"
    head += "; up not known, taken from the cameras' images" if rig.up is None else ""
    places = {c.name: f"{h - lowest:.2f} {unit} {'above the lowest' if rig.up is None else 'high'}"
              for c, h in zip(posed, heights)}  # fmt: skip
    return [head, *(_line(camera, places.get(camera.name, ""), up) for camera in rig)]


def _line(camera: Camera, place: str = "", up: np.ndarray | None = None) -> str:
    parts = [] if camera.image_size is None else [f"{camera.image_size[0]} x {camera.image_size[1]} px"]
    across, down = np.degrees(camera.field_of_view)
    if np.isfinite([across, down]).all():
        parts.append(f"{across:.0f} x {down:.0f} degrees of view")
    elif camera.intrinsics is not None:
        parts.append(f"focal length {camera.K[0, 0]:.0f} px")
    else:
        parts.append("no intrinsics")
    if camera.fisheye:
        parts.append("fisheye lens")
    elif camera.distortion.any():
        parts.append(f"lens k1 {camera.distortion[0]:.3g}")
    if camera.has_extrinsics and up is not None:
        tilt = float(np.degrees(np.arcsin(np.clip(-camera.R[2] @ up, -1, 1))))
        roll = float(np.degrees(np.arctan2(camera.R[0] @ up, -camera.R[1] @ up)))
        parts += [place, f"looks {abs(tilt):.0f} degrees {'down' if tilt >= 0 else 'up'}"]
        parts += [f"turned by {roll:.0f} degrees"] if abs(roll) > 10 else []
    elif not camera.has_extrinsics:
        parts.append("place not known")
    return f"{camera.name}: " + ", ".join(part for part in parts if part)
