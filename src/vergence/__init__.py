"""Vergence: from uncalibrated multi-camera footage to a single-camera 3D human pose estimator.

reconstruction = vergence.reconstruct("my_capture")
run = vergence.train("capture", "runs/mine", overrides=["--sources.footage.path", "my_capture"])
for pose in vergence.predict("runs/mine", "video.mp4", box=(600, 200, 400, 800)): ...
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
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
    "Batch": "vergence.bulk.batch",
    "batch": "vergence.bulk.batch",
    "check_dataset": "vergence.datasets.validation.check_dataset",
    "compare": "vergence.comparison.compare",
    "evaluate": "vergence.evaluation.evaluate",
    "export": "vergence.inference.export",
    "Learned": "vergence.learning.learn",
    "learn": "vergence.learning.learn",
    "LiftingModel": "vergence.lifting.model",
    "load_lifting": "vergence.lifting.model",
    "load": "vergence.inference.estimator",
    "make_records": "vergence.datasets.make_records",
    "metrics": "",
    "outputs": "",
    "inspect": "vergence.reconstruction.inspection.inspect",
    "Inspection": "vergence.reconstruction.inspection.inspect",
    "load_capture": "vergence.footage.capture",
    "detect": "vergence.footage.detectors.footage",
    "observe": "vergence.footage.observations",
    "plugins": "",
    "PoseSequence": "vergence.outputs.sequence",
    "reconstruct": "vergence.reconstruction.footage",
    "Reconstruction": "vergence.reconstruction.result",
    "predict": "vergence.inference.predict",
    "save_predicted": "vergence.inference.saving",
    "search": "vergence.inference.search",
    "prepare": "vergence.training.prepare",
    "reproduce": "vergence.comparison.reproduce",
    "synthesize": "vergence.world.synthesize",
    "train": "vergence.training.train",
    "triangulate": "vergence.geometry.triangulation",
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


# Modules and names of 0.1's first months, with where they went: they are read as before, with one warning each.
_ROOMS = {
    "data": ("datasets", "datasets.formats", "datasets.validation", "protocols"),
    "geometry": ("reconstruction",),
    "posefiles": ("outputs",),
    "synthetic": ("world",),
}
_NAMES = {
    "PictureDataset": "datasets.records.ImageDataset",
    "PictureFolder": "footage.images.ImageFolder",
    "picture_size": "datasets.formats.media.image_size",
    "read_picture": "footage.images.read_image",
    "geometry.reconstruction.Reconstruction": "reconstruction.solve.Solution",
    "geometry.reconstruction.reconstruct": "reconstruction.solve.reconstruct_keypoints",
    "geometry.reconstruction.stature": "geometry.body.stature",
}


def moved_name(module: str, name: str) -> Any:
    """What `vergence.<module>` had under this name, from where it is now; a FutureWarning says where.

    Raises:
        AttributeError: nothing of this name was there.
    """
    new = _NAMES.get(f"{module}.{name}") or _NAMES.get(name) or f"{_moved_to(module) or module}.{name}"
    home, _, own = new.rpartition(".")
    found = home != module and not name.startswith("__") and vars(importlib.import_module(f"vergence.{home}"))
    if not found or own not in found:
        raise AttributeError(f"module 'vergence.{module}' has no attribute {name!r}")
    warnings.warn(f"vergence.{module}.{name} is now vergence.{new}", FutureWarning, stacklevel=3)
    return found[own]


def _moved_to(module: str) -> str | None:
    room, _, rest = module.partition(".")
    places = [f"{new}.{rest}".rstrip(".") for new in _ROOMS.get(room, ())]
    if module == "geometry.reconstruction":
        return "reconstruction.solve"
    return next((place for place in places if importlib.util.find_spec(f"vergence.{place}")), None)


class _Moved(MetaPathFinder, Loader):
    """Finds modules under the names that they had, after every other finder has failed."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        if package != "vergence" or not _moved_to(module):
            return None
        return ModuleSpec(name, self, is_package="." not in module)

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.removeprefix("vergence.")
        module.__getattr__ = lambda name: moved_name(old, name)  # type: ignore[method-assign]


sys.meta_path.append(_Moved())
