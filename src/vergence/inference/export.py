"""`export`: a finished run as one ONNX file, which predicts the same without torch and without Vergence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vergence.errors import VergenceError
from vergence.files import atomic_path, read_yaml
from vergence.inference.estimator import Estimator, load, weights_identity
from vergence.lifting.exported import METHOD, ExportedLifter, WholeLift
from vergence.lifting.model import LEAST_JOINTS, LiftingModel, is_lifting, load_lifting
from vergence.lifting.network import Lifter, lift
from vergence.methods.base import Method, Prediction
from vergence.methods.exported import FILE, read_exported
from vergence.networks.graphs import SUFFIX, check_installed, write

FORMATS = ("onnx",)
TOLERANCE = 1e-4  # of an answer, absolute and relative, on images of the built-in world
PROBES, PROBE_FRAMES = 3, 30
UNITS = {
    "pose": "reference bones (pelvis to thorax), root at 0; x right, y down, z forward",
    "keypoints": "px of the crop; the centre of the first pixel is 0, 0",
    "confidence": "0 to 1",
    "root_depth": "reference bones",
    "reliable": "false where the depth had to be guessed",
    "embedding": "unit length",
    "error": "reference bones; expected distance from the truth, root-relative",
    "error_90": "reference bones; nine of ten joints are nearer",
    "strangeness": "above 1 the image is unlike those that the poses were learned from",
}


class _Whole(nn.Module):
    """Image and intrinsics to the tensors of a prediction."""

    def __init__(self, method: Method, outputs: Sequence[str], flip: bool) -> None:
        super().__init__()
        self.method, self.outputs, self.flip = method, outputs, flip

    def forward(self, image: Tensor, intrinsics: Tensor) -> tuple[Tensor, ...]:
        found = self.method.learned(self.method.predict(image, intrinsics, self.flip))
        return tuple(getattr(found, name) for name in self.outputs)


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    format: str = "onnx",
    flip: bool | None = None,
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Writes a run as one ONNX file, for ONNX Runtime and other programs; `load` reads it too.

    Inputs: `image` `N 3 S S`, float32, RGB, 0 to 1 (the normalisation is inside), square around one person, and
    `intrinsics` `N 3 3` of the crop. Outputs: what `Prediction` has of the run. The metadata holds crop size, joint
    names, units, normalisation and the run's whole config. Before it is kept, the file is compared with the network on
    rendered images.

    A lifting model's inputs: `points` `T J 2`, joints over time in the image plane (x/z, y/z, lens undone), at the metadata's
    `fps`, and `seen` `T J`, 1 or 0 for each, at least one in every frame; its output is `pose` `T J 3`.

    Args:
        run: folder of a finished run, or of a lifting model; `lifting` is the one that comes with the package.
        out: the file; `model.onnx` in the run's folder where not given.
        format: `onnx`.
        flip: the file averages with the mirrored image, which is slower; None does so where the training saw such, and in
            lifting models.
        plugins: Python files that register what the run was trained with.

    Returns:
        The file.

    Raises:
        VergenceError: no finished run, another format, missing packages, a network with operations that ONNX lacks, or
            a file whose outputs differ from the network's.
    """
    if format not in FORMATS:
        raise VergenceError(f"a format of {format}", f"Use {' or '.join(FORMATS)}.")
    check_installed("onnx", "onnxscript", "onnxruntime")
    folder, shipped = Path(run), str(run) == METHOD
    if shipped and out is None:
        raise VergenceError("the model that comes with the package is not written into the package", "Give --out.")
    path = Path(out) if out is not None else folder / FILE
    if path.suffix != SUFFIX or path.is_dir():
        raise VergenceError(f"--out {path}", f"Give a file that ends in {SUFFIX}.")
    if folder.suffix == SUFFIX and folder.is_file():
        raise VergenceError(f"{folder} is an exported file already", "Give the folder of the run.")
    if shipped or is_lifting(folder):
        return _lifting(load_lifting(None if shipped else folder), path, flip is not False)
    estimator = load(folder, plugins=plugins)
    flip = estimator.method.mirrored if flip is None else flip
    images, intrinsics = _probes(estimator.image_size)
    expected = estimator.method.learned(estimator.method.predict(images, intrinsics, flip))
    outputs = [f.name for f in fields(expected) if isinstance(getattr(expected, f.name), Tensor)]
    with atomic_path(path) as partial:
        write(
            _Whole(estimator.method, outputs, flip), {"image": images, "intrinsics": intrinsics}, outputs, {0: "N"},
            _metadata(estimator, expected, outputs, flip), partial,
        )  # fmt: skip
        for some in (slice(None), slice(1)):
            found = read_exported(partial)[0].predict(images[some], intrinsics[some])
            _check_same(found, expected.rows(torch.arange(PROBES)[some]), outputs)
    return path


def _lifting(model: LiftingModel, path: Path, flip: bool) -> Path:
    """A lifting model's file, run beside the model on joints of people who stand anywhere in the image."""
    rng, joints = np.random.default_rng(0), len(model.skeleton)
    seen = rng.random((PROBE_FRAMES, joints)) > 0.2
    seen[:, 0] = True
    points = rng.normal(0, 0.15, (PROBE_FRAMES, joints, 2)) + rng.normal(0, 0.3, (PROBE_FRAMES, 1, 2))
    given = torch.from_numpy(points.astype(np.float32)), torch.from_numpy(seen.astype(np.float32))
    assert isinstance(model.network, Lifter)
    with atomic_path(path) as partial:
        names = dict(zip(("points", "seen"), given, strict=True))
        write(WholeLift(model.network, flip), names, ["pose"], {0: "T"}, _about_lifting(model, flip), partial)
        exported = load_lifting(partial).network
        assert isinstance(exported, ExportedLifter)
        for some in (slice(None), slice(1)):
            ours = torch.from_numpy(lift(model.network, points[some].astype(np.float32), seen[some], flip))
            found = torch.from_numpy(exported(points[some], seen[some], flip))
            _check_same(Prediction(found, "camera"), Prediction(ours, "camera"), ["pose"])
    return path


def _about_lifting(model: LiftingModel, flip: bool) -> dict[str, str]:
    assert model.folder is not None
    return {
        "method": METHOD,
        "config": json.dumps(model.config, default=str),
        "weights": weights_identity(model.folder),
        "fps": str(model.fps),
        "input_points": "T J 2, float32, x/z and y/z of one person's joints over time, lens undone",
        "input_seen": f"T J, float32, 1 where a joint is seen, else 0; at least {LEAST_JOINTS} of a frame are wanted",
        "normalisation": "inside: the camera is turned to the person, and its size divided out",
        "joint_names": json.dumps(list(model.skeleton.joint_names)),
        "units": json.dumps({"pose": UNITS["pose"]}),
        "frame": "camera",
        "flip": "true" if flip else "false",
    }


def _probes(size: int) -> tuple[Tensor, Tensor]:
    """Images of drawn people, 0 to 1, with their intrinsics."""
    from vergence.world.scenes import single_images

    views = single_images(PROBES, size, seed=0)
    image = views.image.float() / 255 if views.image.dtype == torch.uint8 else views.image
    return image.contiguous(), views.intrinsics.float().contiguous()


def _metadata(estimator: Estimator, found: Prediction, outputs: Sequence[str], flip: bool) -> dict[str, str]:
    """All that one must know to use the file; `config` is the run's own."""
    config, folder = dict(estimator.config), estimator.folder
    assert folder is not None
    if (folder / "recipe.yaml").is_file() and isinstance(recipe := read_yaml(folder / "recipe.yaml"), dict):
        config = {**{key: recipe[key] for key in ("sources", "plugins") if key in recipe}, **config}
    size = estimator.image_size
    return {
        "config": json.dumps(config, default=str),
        "weights": weights_identity(folder),
        "image_size": str(size),
        "input_image": f"N 3 {size} {size}, float32, RGB, 0 to 1, a square crop around one person",
        "input_intrinsics": "N 3 3, float32, of the crop, px",
        "normalisation": "inside: ImageNet mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225",
        "skeleton": estimator.skeleton.name,
        "joint_names": json.dumps(list(estimator.skeleton.joint_names)),
        "absent_joints": json.dumps(list(estimator.absent)),
        "units": json.dumps({name: UNITS.get(name, "") for name in outputs}),
        "frame": found.frame,
        "flip": "true" if flip else "false",
        "strangest": json.dumps(estimator.strangest),  # mean strangeness of a recording
    }


def _check_same(found: Prediction, expected: Prediction, outputs: Sequence[str]) -> None:
    """Refuses a file that answers otherwise; where the depth had to be guessed, a pose may turn on the last bit."""
    sure = torch.ones(len(expected.pose), dtype=torch.bool) if expected.reliable is None else expected.reliable
    for name in outputs:
        ours, other = getattr(expected, name), getattr(found, name)
        if name in ("pose", "root_depth"):
            ours, other = ours[sure], other[sure]
        if name != "reliable" and not torch.allclose(other, ours, atol=TOLERANCE, rtol=TOLERANCE, equal_nan=True):
            error = float((other - ours).abs().nan_to_num(torch.inf).max())
            raise VergenceError(
                f"the exported file's {name} is {error:.2g} away from the run's, above {TOLERANCE}",
                "Use the run's folder.",
            )
