"""A finished run as an estimator: images in, 3D poses out."""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor

from vergence import __version__, plugins
from vergence.batches.labelled import Labelled
from vergence.errors import VergenceError, refusing
from vergence.files import read_yaml, write_json
from vergence.footage.images import read_image
from vergence.inference.domain import Domain, domain_of
from vergence.lifting import SHIPPED_RUN
from vergence.lifting.model import is_lifting
from vergence.methods.base import Method, Prediction
from vergence.methods.exported import FILE, SUFFIX, check_engine, read_exported
from vergence.methods.refinement import Refined, RefinementUnit
from vergence.methods.registry import build_method
from vergence.methods.uncertainty import UNCERTAINTY, Uncertainty
from vergence.networks.graphs import opened
from vergence.networks.pose_network import PoseNetwork
from vergence.networks.quick import check_precision
from vergence.networks.saved import save_weights
from vergence.plugins import load_plugins, needed_by
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import Skeleton

BATCH = 64
NEARLY_SQUARE = 1.25  # longer over shorter side, up to which an image may be a crop
BACKBONE = "backbone"  # folder of a run with the description of a backbone that is not ours

Images = np.ndarray | Tensor | str | Path | Image.Image


class Estimator:
    """Sees 3D with one camera.

    Attributes:
        method: the trained module.
        image_size: side of the crops it was trained on.
        config: what `config.json` holds.
        folder: the run's, or the exported file; None where it was not loaded from one.
        precision: `fp32` or `bf16`, of what sees the image.
    """

    def __init__(
        self,
        method: Method,
        config: dict[str, Any],
        device: str = "cpu",
        folder: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        check_precision(precision, device)
        self.folder, self.precision = folder, precision
        self.method = method.eval().to(device)
        self.config = config
        self.image_size = int(config["image_size"])
        self.device = device

    @cached_property
    def _quick(self) -> Method:
        """What predicts: the method, made quick once its weights are final (`networks.quick`)."""
        return self.method.quick(self.device, self.precision)

    @property
    def skeleton(self) -> Skeleton:
        return self.method.skeleton

    @property
    def absent(self) -> tuple[str, ...]:
        """Joints that no label ever showed the run; they are NaN in its predictions."""
        return self.method.absent()

    @property
    def domain(self) -> Domain:
        """What the run was trained on, and the verdict of that."""
        return domain_of(self.config, self.folder)

    @property
    def strangest(self) -> float | None:
        """The mean strangeness that no recording like those of the training exceeded; None where the run does not say."""
        return self.method.strangest

    def __repr__(self) -> str:
        place = f" of {self.folder}" if self.folder else ""
        missing = f", without {', '.join(self.absent)}" if self.absent else ""
        what = f"{self.config.get('method', type(self.method).__name__)}, {self.image_size} px, {self.skeleton.name}"
        return f"Estimator({what}{missing}, on {self.device}{place})"

    def __call__(
        self, image: Images | Sequence[Images], intrinsics: np.ndarray | Tensor | None = None, flip: bool | None = None
    ) -> Prediction:
        """3D poses from crops that show one person each.

        Args:
            image: `H W 3` or `N H W 3` uint8 array, or `N 3 H W` tensor (uint8, or float from 0 to 1); the path of an image, a
                PIL image, or a list of any of these, also of different sizes. Another size than `image_size` is resized; the
                crop should be square around the person (`vergence.batches.crops`). A warning tells of one that plainly is
                not, as a whole image.
            intrinsics: `3 3` or `N 3 3` of these crops, in their pixels; None assumes a field of view of 25 degrees, as
                of a person cropped from a usual image.
            flip: average with the mirrored image; None does so where the training saw mirrored images.

        Returns:
            Prediction on the CPU; keypoints in the pixels of the images given. NaN where no label showed a joint (`absent`).

        Raises:
            VergenceError: no image, or of another form; a file that is none; intrinsics of another number.
        """
        if isinstance(image, list | tuple):
            return self._each([_opened(one) for one in image], intrinsics, flip)
        images = _as_batch(_opened(image))
        n, _, height, width = images.shape
        k = _as_intrinsics(intrinsics, n, height, width)
        size = self.image_size
        scale = torch.tensor([size / width, size / height])
        resized = (height, width) != (size, size)
        if max(height, width) > NEARLY_SQUARE * min(height, width):
            warnings.warn(
                f"images of {width} x {height} px are no square crops of one person: squeezed to {size} x {size} px, they give "
                "wrong poses. Crop them around the person, or use vergence.predict(run, image, box=(x, y, w, h)).",
                stacklevel=2,
            )
        if resized:
            images = torch.nn.functional.interpolate(
                images.float() / (255.0 if images.dtype == torch.uint8 else 1.0),
                size=(size, size),
                mode="bilinear",
                antialias=True,
            )
            k = k.clone()
            k[:, :2, 2] = (k[:, :2, 2] + 0.5) * scale - 0.5
            k[:, :2, :2] = k[:, :2, :2] * scale[:, None]
        parts = [
            self._quick.predict(images[i : i + BATCH].to(self.device), k[i : i + BATCH].to(self.device), flip)
            for i in range(0, n, BATCH)
        ]
        whole = self.method.learned(Prediction.cat(parts))
        if resized and whole.keypoints is not None:
            whole.keypoints = (whole.keypoints + 0.5) / scale - 0.5
        whole.joint_names = self.skeleton.joint_names
        return whole

    def _each(
        self, images: list[np.ndarray | Tensor], intrinsics: np.ndarray | Tensor | None, flip: bool | None
    ) -> Prediction:
        """Single images of any sizes, those of one size together."""
        batches = [_as_batch(image) for image in images]
        if not batches or {len(batch) for batch in batches} != {1}:
            raise VergenceError(f"a list of {len(batches)} images", "Give one at least, each of them single.")
        k = None if intrinsics is None else torch.as_tensor(intrinsics, dtype=torch.float32)
        if k is not None and k.shape not in ((3, 3), (len(batches), 3, 3)):
            raise VergenceError(f"intrinsics of shape {tuple(k.shape)} for {len(batches)} images", "Give 3 3 or N 3 3.")
        kinds = [(batch.shape, batch.dtype) for batch in batches]
        rows = [[i for i, own in enumerate(kinds) if own == kind] for kind in dict.fromkeys(kinds)]
        parts = [
            self(torch.cat([batches[i] for i in some]), k if k is None or k.ndim == 2 else k[some], flip)
            for some in rows
        ]
        return Prediction.cat(parts).rows(torch.tensor([i for some in rows for i in some]).argsort())


def _opened(image: Any) -> np.ndarray | Tensor:
    """A path or a PIL image as an array; others as they are."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return image


def _as_batch(image: np.ndarray | Tensor) -> Tensor:
    if not isinstance(image, np.ndarray | Tensor):
        raise VergenceError(
            f"an image of type {type(image).__name__}", "Give a path, a PIL image, an array or a tensor."
        )
    if 0 in image.shape:
        raise VergenceError(f"images of shape {tuple(image.shape)}: there is nothing to see", "Give one at least.")
    if isinstance(image, np.ndarray):
        array = image[None] if image.ndim == 3 else image
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
            raise VergenceError(
                f"an image of shape {image.shape} and type {image.dtype}", "Give H W 3 or N H W 3 of uint8, RGB."
            )
        return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
    tensor = image[None] if image.ndim == 3 else image
    if tensor.ndim != 4 or tensor.shape[1] != 3:
        raise VergenceError(f"a tensor of shape {tuple(image.shape)}", "Give N 3 H W.")
    return tensor


def _as_intrinsics(intrinsics: np.ndarray | Tensor | None, n: int, height: int, width: int) -> Tensor:
    if intrinsics is None:
        focal = width / 2 / np.tan(np.radians(25 / 2))
        k = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float32)
    else:
        k = torch.as_tensor(intrinsics, dtype=torch.float32)
    k = k.expand(n, 3, 3) if k.shape == (3, 3) else k
    if k.shape != (n, 3, 3) or not torch.isfinite(k).all():
        raise VergenceError(f"intrinsics of shape {tuple(k.shape)} for {n} images", "Give finite 3 3 or N 3 3.")
    return k


def save(method: Method, folder: Path, name: str, network: NetworkSettings, image_size: int, **more: Any) -> None:
    """Writes all that `load` needs: `model.safetensors`, `config.json` and, where there are any, `refinement.safetensors` and
    `uncertainty.safetensors`."""
    config = {
        "vergence": __version__,
        "method": name,
        "skeleton": method.skeleton.name,
        "joint_names": list(method.skeleton.joint_names),
        "image_size": image_size,
        "network": asdict(network),
        "mirrored": method.mirrored,
        "unit": "reference bone (pelvis to thorax)",
        **more,
    }
    if method.labelled is not None:
        config["labelled"] = method.labelled.plain(method.skeleton)
    if method.uncertainty is not None:
        method.uncertainty.save(folder / UNCERTAINTY)
    else:
        (folder / UNCERTAINTY).unlink(missing_ok=True)
    if isinstance(method, Refined):
        config["refinement"] = method.made_with
        save_weights(method.unit, folder / "refinement.safetensors")
        method = method.method
    save_weights(method, folder / "model.safetensors")
    _save_backbone(method, folder / BACKBONE, network.backbone)
    write_json(folder / "config.json", config)


def _save_backbone(method: Method, folder: Path, name: str) -> None:
    """The description of a backbone of the hub or of a local folder: neither may be at hand where the run is loaded."""
    if isinstance(method.network, PoseNetwork) and name not in plugins.backbones:
        write_json(folder / "config.json", method.network.backbone.model.config.to_dict())


def load(
    run: str | Path,
    device: str = "cpu",
    plugins: Sequence[str | Path] = (),
    precision: str = "fp32",
    engine: str = "",
) -> Estimator:
    """The estimator of a run's folder. No code of the run is executed: the caller names the plug-ins that it needs.

    Args:
        run: folder that `vergence train` wrote, or a file that `vergence export` wrote of one.
        device: of torch.
        plugins: Python files that register what the run was trained with.
        precision: `fp32`, or `bf16`, which is faster and less exact, where the processor has it.
        engine: `torch`, or `onnxruntime` for the `model.onnx` in the run's folder; default: what the file needs.

    Raises:
        VergenceError: no finished model, files of different runs, or a plug-in that is not named, or no
            such precision or engine.
    """
    with refusing(f"no device is called {device!r}", "Use cpu, cuda or mps.", RuntimeError):
        torch.device(device)
    check_precision(precision, device)
    load_plugins(plugins)
    folder = Path(run)
    engine = engine or ("onnxruntime" if folder.suffix == SUFFIX else "torch")
    check_engine(engine, device, precision)
    if is_lifting(folder) or (str(run) == SHIPPED_RUN and not folder.exists()):
        raise VergenceError(
            f"{folder} is a lifting model, which sees no image",
            "Open it with `vergence.load_lifting`, or give `vergence.predict` the images: a detector looks at them.",
        )
    if engine == "onnxruntime":
        path = exported_file(folder)
        exported, config = read_exported(path)
        return Estimator(exported, config, folder=path)
    files = folder / "config.json", folder / "model.safetensors"
    for file in files:
        if not file.is_file():
            raise VergenceError(
                f"{folder} is not a finished run: it has no {file.name}",
                "Give the folder that `vergence train` or `vergence demo` wrote (its model is in OUT/run), "
                "or OUT/model of `vergence learn`.",
            )
    remedy = "config.json and model.safetensors must come from the same run, whole."
    with refusing(f"the model in {folder} cannot be read", remedy):
        config = json.loads(files[0].read_text())
        network = NetworkSettings(**config["network"])
        if (folder / BACKBONE / "config.json").is_file():
            network.backbone = str(folder / BACKBONE)
        with needed_by(folder, _plugin_files(folder, config)):
            method = build_method(config["method"], network, config["skeleton"], pretrained=False)
        method.load_state_dict(load_file(files[1]))
        method.mirrored = bool(config["mirrored"])
        method.labelled = Labelled.read(config.get("labelled"))
        if made_with := config.get("refinement"):
            unit = RefinementUnit(method.skeleton, made_with["width"], made_with["dropout"], made_with["correct"])
            unit.load_state_dict(load_file(folder / "refinement.safetensors"))
            method = Refined(method, unit, made_with)
        if (folder / UNCERTAINTY).is_file():
            method.uncertainty = Uncertainty.load(folder / UNCERTAINTY)
        return Estimator(method, config, device, folder, precision)


def exported_file(run: Path) -> Path:
    """An exported file, or the one in a run's folder, which must be of the weights there."""
    path = run / FILE if run.is_dir() else run
    again = f"Write it with `vergence export {shlex.quote(str(run))}`."
    if run.is_dir() and not path.is_file():
        raise VergenceError(f"{run} has no {FILE} for ONNX Runtime", again)
    if run.is_dir() and opened(path).metadata["weights"] != weights_identity(run):
        raise VergenceError(f"{path} was not exported from the weights that are in {run} now", again)
    return path


def weights_identity(run: Path) -> str:
    """Twelve hex digits of a run's model: its weights and its settings, byte for byte; of an exported file that file's."""
    digest = hashlib.sha256()
    for path in (run / "model.safetensors", run / "config.json") if run.is_dir() else (run,):
        digest.update(path.read_bytes())
    if (run / UNCERTAINTY).is_file():
        digest.update((run / UNCERTAINTY).read_bytes())
    return digest.hexdigest()[:12]


def _plugin_files(folder: Path, config: dict[str, Any]) -> list[str]:
    """The plug-in files that a run was trained with: their paths where its recipe is there, else their names."""
    recipe = read_yaml(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else {}
    files = (recipe.get("plugins") if isinstance(recipe, dict) else None) or config.get("plugins") or []
    return [str(file) for file in files]
