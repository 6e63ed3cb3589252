"""A trained lifting network as files, and applied to whole recordings of keypoints.

config.json         what it is for: joints, frame rate, network, what taught it
model.safetensors   its weights
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.torch import load_file

from vergence import __version__
from vergence.errors import VergenceError, refusing
from vergence.files import read_json, write_json
from vergence.geometry.cameras import Camera
from vergence.lifting.exported import ExportedLifter, of_lifting
from vergence.lifting.network import Lifter, LifterSettings, lift
from vergence.networks.graphs import SUFFIX, opened
from vergence.networks.saved import save_weights
from vergence.skeleton import Skeleton, skeleton_from_names

# Of a joint; rarer ones mislead more than they help.
LEAST_CONFIDENCE = 0.2
LEAST_JOINTS = 5
CHUNK = 512  # frames at a time; neighbours within the network's reach are added
SHIPPED = Path(__file__).parent / "data"


@dataclass(frozen=True)
class LiftingModel:
    """2D keypoints to 3D poses.

    Attributes:
        network: trained; an exported file in its place where that was loaded.
        fps: frame rate of its training.
        config: what `config.json` holds.
        folder: where it was loaded from, or the exported file.
    """

    network: Lifter | ExportedLifter
    fps: float
    config: dict[str, Any]
    folder: Path | None = None

    @property
    def skeleton(self) -> Skeleton:
        return self.network.skeleton

    def __call__(
        self,
        keypoints: Float[np.ndarray, "T J 3"],
        skeleton: Skeleton,
        camera: Camera,
        fps: float,
        flip: bool | None = None,
    ) -> Float[np.ndarray, "T K 3"]:
        """One person's poses over time.

        Args:
            keypoints: x, y in px of the image as displayed, confidence; NaN where missing.
            skeleton: of the keypoints.
            camera: with intrinsics; its lens is undone.
            fps: frames per second of the keypoints.
            flip: average with the mirrored keypoints' poses; None does, but in an exported file that does not.

        Returns:
            In the camera's frame, root-relative, in reference bones, in the joints of `self.skeleton`; NaN in frames with
            fewer than five joints.
        """
        confidence = skeleton.convert_confidence(np.nan_to_num(keypoints[..., 2]), self.skeleton)
        points = skeleton.convert(keypoints[..., :2].astype(np.float64), self.skeleton)
        image = camera.normalise(points)
        seen = np.isfinite(image).all(-1) & (confidence > LEAST_CONFIDENCE)
        enough = seen.sum(-1) >= LEAST_JOINTS
        out = np.full((*seen.shape, 3), np.nan)
        step = max(1, round(fps / self.fps))
        for phase in range(step):
            rows = np.arange(phase, len(seen), step)
            for run in stretches(enough[rows]):
                for want, have in _chunks(run, self.network.settings.reach):
                    poses = self._lift(image[rows[have]], seen[rows[have]], flip)
                    out[rows[want]] = poses[want.start - have.start : want.stop - have.start]
        return out

    def _lift(self, image: np.ndarray, seen: np.ndarray, flip: bool | None) -> np.ndarray:
        if isinstance(self.network, ExportedLifter):
            return self.network(image, seen, flip)
        return lift(self.network, image, seen, flip is not False)

    def save(self, folder: Path | str) -> None:
        """Writes the folder, each file atomically; a `VergenceError` where this is an exported file."""
        folder = Path(folder)
        if isinstance(self.network, ExportedLifter):
            raise VergenceError(f"{self.folder} is an exported file, which cannot be saved again", "Copy it.")
        save_weights(self.network, folder / "model.safetensors")
        write_json(folder / "config.json", self.config)


def describe(network: Lifter, fps: float, **more: Any) -> LiftingModel:
    """A trained network with what its files say of it."""
    config = {
        "vergence": __version__,
        "method": "lifting",
        "joint_names": list(network.skeleton.joint_names),
        "fps": fps,
        "network": asdict(network.settings),
        "unit": "reference bone (pelvis to thorax)",
        **more,
    }
    return LiftingModel(network, fps, config)


def is_lifting(folder: Path | str) -> bool:
    """Whether a folder holds a lifting model, or a file is an exported one."""
    if Path(folder).suffix == SUFFIX and Path(folder).is_file():
        return of_lifting(opened(Path(folder)))
    try:
        return bool(json.loads((Path(folder) / "config.json").read_text())["method"] == "lifting")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_lifting(folder: Path | str | None = None) -> LiftingModel:
    """A lifting model from its folder or its exported file; by default the one that comes with the package.

    Raises:
        VergenceError: no such model, or files of different models.
    """
    folder = SHIPPED if folder is None else Path(folder)
    if folder.suffix == SUFFIX:
        graph = opened(folder)
        if not of_lifting(graph):
            raise VergenceError(f"{folder} is not of a lifting model", "Open it with `vergence.load`.")
        exported = ExportedLifter(graph)
        return LiftingModel(exported, exported.fps, exported.config, folder)
    config = read_json(folder / "config.json")
    remedy = "config.json and model.safetensors must come from the same training, whole."
    with refusing(f"the lifting model in {folder} cannot be read", remedy):
        settings = LifterSettings(**{**config["network"], "dilations": tuple(config["network"]["dilations"])})
        network = Lifter(skeleton_from_names(config["joint_names"]), settings)
        weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        network.load_state_dict(weights)
        return LiftingModel(network.eval(), float(config["fps"]), config, folder)


def stretches(wanted: np.ndarray) -> list[range]:
    """The stretches of neighbouring frames that are all wanted."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.astype(int), [0]])))
    return [range(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _chunks(run: range, reach: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a run: the frames that are wanted, and those that are looked at for them."""
    for start in range(run.start, run.stop, CHUNK):
        stop = min(start + CHUNK, run.stop)
        yield slice(start, stop), slice(max(run.start, start - reach), min(run.stop, stop + reach))
