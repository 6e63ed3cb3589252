"""Everything that can be added from outside, each kind in one registry: decorate it, name it, use it by that name.

    from vergence import plugins

    @plugins.methods.register("my_method")
    class MyMethod(Method): ...

A file with such lines is named in a recipe (`plugins: [my_method.py]`) or on the command line; an installed package declares
it as an entry point of the registry's group (`vergence.methods`, ...), and needs no line anywhere. What comes with Vergence
stands below in the same form and is imported when it is first asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from vergence.errors import VergenceError

T = TypeVar("T")


class Registry:
    """Named things of one kind.

    Args:
        what: the kind in one word, for errors.
        group: entry points of this name belong to it.
        built_in: name to `module:attribute`; of a tuple there, what has that name in it.
    """

    def __init__(self, what: str, group: str, **built_in: str) -> None:
        self.what = what
        self.group = group
        self._found: dict[str, Any] = {}
        self._named: dict[str, Callable[[], Any]] = {n: _importer(place, n) for n, place in built_in.items()}
        self._asked = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives a function, class or instance its name.

        Raises:
            VergenceError: the name belongs to something else.
        """

        def keep(thing: T) -> T:
            if name in self and (name not in self._found or _place(self._found[name]) != _place(thing)):
                raise VergenceError(f"two {self.what}s are called {name!r}", "Give yours another name.")
            self._found[name] = thing
            return thing

        return keep

    def __getitem__(self, name: str) -> Any:
        """What has that name.

        Raises:
            VergenceError: nothing has; names what is near, or all.
        """
        if name not in self:
            near = difflib.get_close_matches(name, self, n=1)
            raise VergenceError(
                f"no {self.what} is called {name!r}",
                f"Did you mean {near[0]}?" if near else f"There are {', '.join(self)}. Yours is found by `plugins:`.",
            )
        if name not in self._found:
            self._found[name] = self._named[name]()
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        self._ask()
        return name in self._found or name in self._named

    def __iter__(self) -> Iterator[str]:
        """All names: built-in ones first, in their order."""
        self._ask()
        return iter(dict.fromkeys([*self._named, *self._found]))

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            for point in entry_points(group=self.group):
                self._named.setdefault(point.name, point.load)


def load_plugins(files: Sequence[str | Path]) -> None:
    """Imports plug-in files, each once; what they register is found from then on.

    Raises:
        VergenceError: no such file, or it fails; names the line.
    """
    for file in files:
        path = Path(file).resolve()
        name = f"vergence_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(name, path) if path.suffix == ".py" and path.is_file() else None
        if spec is None or spec.loader is None:
            raise VergenceError(f"there is no plug-in {file}", "Give the path of a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it is being imported
        try:
            spec.loader.exec_module(module)
        except VergenceError:
            del sys.modules[name]
            raise
        except Exception as error:
            del sys.modules[name]
            raise VergenceError(f"plug-in {file} failed: {type(error).__name__}: {error}", "Mend the file.") from error


def _importer(place: str, name: str) -> Callable[[], Any]:
    module, _, attribute = place.partition(":")

    def load() -> Any:
        found = getattr(import_module(module), attribute)
        return next(one for one in found if one.name == name) if isinstance(found, tuple) else found

    return load


def _place(thing: Any) -> tuple[str, str]:
    return getattr(thing, "__module__", ""), getattr(thing, "__qualname__", repr(thing))


methods = Registry(
    "method",
    "vergence.methods",
    supervised="vergence.methods.supervised:Supervised",
    epipolar_pose="vergence.methods.epipolar_pose:EpipolarPose",
    multiview_consistency="vergence.methods.multiview_consistency:MultiViewConsistency",
    geometric_constraint="vergence.methods.geometric_constraint:GeometricConstraint",
    mcss="vergence.methods.mcss:MCSS",
)

# A function of poses that a protocol's column asks for by its name (`protocols.figures`).
metrics = Registry(
    "metric",
    "vergence.metrics",
    error="vergence.protocols.figures:error",
    pck="vergence.protocols.figures:within",
    auc="vergence.protocols.figures:within",
    left_right="vergence.protocols.figures:left_right",
    left_right_px="vergence.protocols.figures:left_right",
)

# Which images are measured, and how (`protocols.base.Protocol`).
protocols = Registry(
    "protocol",
    "vergence.protocols",
    **{
        name: f"vergence.protocols.{module}:PROTOCOLS"
        for module, names in {
            "human36m": "h36m h36m-16 h36m-14 h36m-sound h36m-64 h36m-64-epipolar h36m-64-epipolar-16 h36m-s11 h36m-s11-14 "
            "h36m-hmr h36m-hmr-frontal",
            "mpi_inf_3dhp": "3dhp 3dhp-true-size 3dhp-scaled",
            "zhou_2017": "h36m-zhou 3dhp-zhou mpii-zhou",
            "mcss_2020": "h36m-retrieval h36m-retrieval-same 3dhp-retrieval 3dhp-retrieval-same",
            "keypoints": "mpii-pckh coco-oks coco-oks-body",
        }.items()
        for name in names.split()
    },
)
