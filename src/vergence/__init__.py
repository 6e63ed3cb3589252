"""Vergence: from uncalibrated multi-camera footage to a single-camera 3D human pose estimator.

reconstruction = vergence.reconstruct("my_capture")
run = vergence.train("capture", "runs/mine", overrides=["--sources.footage.path", "my_capture"])
for pose in vergence.predict("runs/mine", "video.mp4", box=(600, 200, 400, 800)): ...
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Every public name and where it lives; what is not here may change without notice.
PUBLIC = {
    "Evaluation": "vergence.evaluation.evaluate",
    "Faults": "vergence.world.faults",
    "ImageRef": "vergence.datasets.records",
    "Method": "vergence.methods.base",
    "Run": "vergence.training.run",
    "Source": "vergence.recipes.sources",
    "Supervised": "vergence.methods.supervised",
    "Camera": "vergence.geometry.cameras",
    "Capture": "vergence.footage.capture",
    "Observations": "vergence.footage.observations",
    "Rig": "vergence.geometry.cameras",
    "VergenceError": "vergence.errors",
    "check_dataset": "vergence.datasets.validation.check_dataset",
    "compare": "vergence.comparison.compare",
    "evaluate": "vergence.evaluation.evaluate",
    "Learned": "vergence.learning.learn",
    "learn": "vergence.learning.learn",
    "LiftingModel": "vergence.lifting.model",
    "load_lifting": "vergence.lifting.model",
    "load": "vergence.inference.estimator",
    "make_records": "vergence.datasets.make_records",
    "metrics": "",
    "outputs": "",
    "load_capture": "vergence.footage.capture",
    "detect": "vergence.footage.detectors.footage",
    "observe": "vergence.footage.observations",
    "plugins": "",
    "PoseSequence": "vergence.outputs.sequence",
    "reconstruct": "vergence.reconstruction.footage",
    "Reconstruction": "vergence.reconstruction.result",
    "predict": "vergence.inference.predict",
    "search": "vergence.inference.search",
    "prepare": "vergence.training.prepare",
    "reproduce": "vergence.comparison.reproduce",
    "synthesize": "vergence.world.synthesize",
    "train": "vergence.training.train",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `vergence --help` must not wait for it.
    if name not in PUBLIC:
        raise AttributeError(f"module 'vergence' has no attribute {name!r}")
    module = importlib.import_module(PUBLIC[name] or f"vergence.{name}")
    return getattr(module, name) if PUBLIC[name] else module


def __dir__() -> list[str]:
    return list(__all__)
