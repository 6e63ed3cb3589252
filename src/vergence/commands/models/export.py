"""`vergence export`: a run as one file for programs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def export(
    run: Path,
    out: Path | None = None,
    format: Literal["onnx"] = "onnx",
    flip: bool | None = None,
    plugins: str = "",
) -> None:
    """Writes a run as one ONNX file: crop and intrinsics in, 3D pose out (of a lifting model: joints in the image plane in).

    Example: vergence export runs/mine --format onnx, then: vergence predict runs/mine walk.mp4 --engine onnxruntime

    Args:
        run: folder of a trained run or of a lifting model; `lifting` is the one that comes with the package.
        out (FILE): to write; default: model.onnx in the run's folder.
        format: of the file.
        flip: the file averages with the mirrored image, which is slower; default: as in training; on for lifting
            models.
        plugins (FILE,FILE): Python files, joined by commas, with the run's method.
    """
    import json

    import vergence
    from vergence.networks.graphs import Graph

    path = vergence.export(run, out, format=format, flip=flip, plugins=plugins.split(",") if plugins else ())
    about = Graph(path).metadata
    joints = len(json.loads(about["joint_names"]))
    mirrored = ", averaged with the mirrored image" if about["flip"] == "true" else ""
    size = f"{about['image_size']} px" if "image_size" in about else f"{float(about['fps']):g} frames per second"
    print(f"{path}: {size}, {joints} joints, {path.stat().st_size / 1e6:.1f} MB{mirrored}")
    print("the same predictions as the run's, within 1e-4, through ONNX Runtime")


export.writes_file = True  # type: ignore[attr-defined]
export.takes = "writing it and comparing it with the run takes mostly 5 to 20 s"  # type: ignore[attr-defined]
