"""The lifting model that comes with the package on motion capture it has not seen: by camera pitch and by distance.

    VERGENCE_DATA=DIR python benchmarks/lifting.py [MODEL] [--cameras 24] [--noise 3] [--single] [--out table.json]

`DIR/cmu/*.npz` are clips of the CMU motion capture database; those held out from the training are of subjects 08, 39, 43 and 55
and of the last trials (`HELD`), 28 clips. First under Human3.6M's cameras (`DIR/rigs`), as docs/learning.md says it; then under
cameras of the same lens (focal length 1,145 px) all around, from 10 degrees below the person's level to straight above, from
2 to 16 m away: each frame counts where the person then was. Keypoints are the twelve limb joints with Gaussian noise in
pixels, so far away people are seen worse. N and P in mm, 14 joints (no spine), mean over frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vergence import metrics
from vergence.geometry.camera import look_at
from vergence.geometry.cameras import Camera
from vergence.lifting.model import LiftingModel, load_lifting
from vergence.lifting.train import LIFTED
from vergence.skeleton import H36M_17, skeleton_from_names
from vergence.world import read_motion

SUBJECTS, TRIALS = ("asf_08", "asf_39", "asf_43", "asf_55"), ("_5", "signal_4")
LIMBS = skeleton_from_names([n for n in LIFTED.joint_names if n.startswith(("left_", "right_"))])
MEASURED = [i for i, name in enumerate(LIFTED.joint_names) if name != "spine"]
FOCAL, SIZE = 1145.0, (1000, 1000)
PITCH = (-15, -5, 5, 15, 30, 45, 60, 75, 90)  # degrees that the camera looks down at the person
METRES = (1.5, 2.5, 3.5, 5, 7, 10, 14, 20)


def held_out(name: str) -> bool:
    """Whether the training of the package's model left a clip out."""
    return name.startswith(SUBJECTS) or (name.startswith("exp") and name.endswith(TRIALS))


def clips(data: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, limb joints (T 12 3, mm, z up) and frame rate."""
    for path in sorted((data / "cmu").glob("*.npz")):
        if held_out(path.stem):
            motion = read_motion(path)
            yield path.stem, H36M_17.convert(np.asarray(motion.joints, dtype=float), LIMBS), motion.fps


def lifted_errors(
    model: LiftingModel,
    joints: np.ndarray,
    camera: Camera,
    fps: float,
    noise: float,
    single: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """N, P, pitch (degrees) and distance (m) of every frame."""
    there = camera.to_camera(joints)
    pixels = camera.project(there) + rng.normal(0, noise, (*joints.shape[:2], 2))
    seen = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 0.9)], -1)
    if single:
        poses = np.concatenate([model(seen[i : i + 1], LIMBS, camera, fps) for i in range(0, len(seen), 10)])
        there, joints = there[::10], joints[::10]
    else:
        poses = model(seen, LIMBS, camera, fps)
    truth = LIMBS.convert(there, LIFTED)[:, MEASURED]
    root = [MEASURED.index(joint) for joint in LIFTED.root]
    line = joints.mean(1) - camera.centre
    pitch = np.degrees(np.arcsin(-line[:, 2] / np.linalg.norm(line, axis=1)))
    errors = metrics.n_mpjpe(poses[:, MEASURED], truth, root), metrics.p_mpjpe(poses[:, MEASURED], truth)
    return np.stack([*errors, pitch, np.linalg.norm(line, axis=1) / 1000], 1)


def human36m(data: Path, joints: np.ndarray, rng: np.random.Generator) -> Iterator[Camera]:
    """The cameras of one of Human3.6M's subjects, the person's middle under theirs."""
    rigs = json.loads((data / "rigs" / "h36m_camera_parameters.json").read_text())
    subject = ("S1", "S5", "S6", "S7")[rng.integers(4)]
    middle = np.append(joints[len(joints) // 2].mean(0)[:2], 0)
    for name, inner in rigs["intrinsics"].items():
        outer = rigs["extrinsics"][subject][name]
        rotation = np.array(outer["R"])
        shift = np.array(outer["t"])[:, 0] - rotation @ middle
        yield Camera(name, SIZE, np.array(inner["calibration_matrix"]), np.zeros(5), rotation, shift)


def around(joints: np.ndarray, count: int, rng: np.random.Generator) -> Iterator[Camera]:
    """Cameras all around, at every pitch and distance alike, none with the person behind it."""
    lens = np.array([[FOCAL, 0, 499.5], [0, FOCAL, 499.5], [0, 0, 1]])
    middle = joints[len(joints) // 2].mean(0)
    while count:
        pitch, yaw = np.radians(rng.uniform(-10, 85)), rng.uniform(-np.pi, np.pi)
        distance = 1000 * np.exp(rng.uniform(np.log(2), np.log(16)))
        eye = middle + distance * np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
        aim, up = torch.from_numpy(middle), torch.tensor([0.0, 0, 1], dtype=torch.float64)
        rotation, translation = look_at(torch.from_numpy(eye), aim, up)
        camera = Camera("c", SIZE, lens, np.zeros(5), rotation.numpy(), translation.numpy())
        if camera.to_camera(joints)[..., 2].min() > 1000:
            count -= 1
            yield camera


def binned(found: np.ndarray, column: int, edges: tuple[float, ...], unit: str) -> list[dict[str, float | str]]:
    """Mean N and P of the frames between two edges."""
    rows: list[dict[str, float | str]] = []
    for low, high in itertools.pairwise(edges):
        chosen = found[(found[:, column] >= low) & (found[:, column] < high)]
        if len(chosen):
            rows.append(
                {
                    "from": f"{low:g} to {high:g} {unit}",
                    "frames": len(chosen),
                    "N": chosen[:, 0].mean(),
                    "P": chosen[:, 1].mean(),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--cameras", type=int, default=24)
    parser.add_argument("--noise", type=float, default=3.0)
    parser.add_argument("--single", action="store_true", help="every frame by itself")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = Path(os.environ.get("VERGENCE_DATA", "."))
    model, rng = load_lifting(options.model), np.random.default_rng(options.seed)
    rig, free = [], []
    for _, joints, fps in clips(data):
        for into, cameras in ((rig, human36m(data, joints, rng)), (free, around(joints, options.cameras, rng))):
            into += [lifted_errors(model, joints, c, fps, options.noise, options.single, rng) for c in cameras]
    if not rig:
        sys.exit("no clips: set VERGENCE_DATA to a folder that holds cmu/*.npz and rigs/")
    clip_means = np.array([one[:, :2].mean(0) for one in rig]).mean(0)
    print(
        f"{len(rig) // 4} clips, Human3.6M's cameras, {options.noise:g} px: {clip_means[0]:.1f} / {clip_means[1]:.1f} (N / P)"
    )
    found = np.concatenate(free)
    usual = found[(found[:, 3] < 7) & (found[:, 2] < 45)]
    tables = {
        "pitch": binned(found, 2, PITCH, "degrees"),
        "distance": binned(found, 3, METRES, "m"),
        "pitch, nearer than 7 m": binned(found[found[:, 3] < 7], 2, PITCH, "degrees"),
        "distance, looking down by less than 45 degrees": binned(found[found[:, 2] < 45], 3, METRES, "m"),
    }
    for title, rows in tables.items():
        print(f"\n{title:48}{'frames':>8}{'N':>8}{'P':>8}")
        for row in rows:
            print(f"{row['from']:48}{row['frames']:8}{row['N']:8.1f}{row['P']:8.1f}")
    print(f"\nnearer than 7 m and below 45 degrees: {usual[:, 0].mean():.1f} / {usual[:, 1].mean():.1f}")
    if options.out:
        options.out.write_text(json.dumps({"human36m": clip_means.tolist(), **tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
