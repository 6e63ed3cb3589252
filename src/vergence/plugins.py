"""Everything that can be added from outside, each kind in one registry: decorate it, name it, use it by that name.

    from vergence import plugins

    @plugins.methods.register("my_method")
    class MyMethod(Method): ...

A file with such lines is named in a recipe (`plugins: [my_method.py]`) or on the command line; an installed package
declares it as an entry point of the registry's group (`vergence.methods`, ...), and needs no such line; `module:Class`
of an installed package is a name by itself. What comes with Vergence stands in `built_in.toml` in the same form and is
imported when it is first asked for. Code runs only where the user names it: a run's folder tells which plug-ins it was
made with, and never loads them (`needed_by`). Examples: `examples/plugin/`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from vergence.errors import VergenceError, meant, refusing, several

T = TypeVar("T")
_loaded: dict[str, Path] = {}  # plug-in files by the name of their module
_digests: dict[str, str] = {}  # of their code as it was when it was loaded


class Registry:
    """Named things of one kind; walked through, it gives their names, built-in ones first.

    Args:
        what: the kind in words, for errors.
        group: entry points of this name belong to it.
        built_in: name to `module:attribute`; of a tuple there, what has that name in it.
    """

    def __init__(self, what: str, group: str, **built_in: str) -> None:
        self.what = what
        self.group = group
        self._built_in = built_in
        self._found: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives a function, class or instance its name.

        Raises:
            VergenceError: the name belongs to something else.
        """

        def keep(thing: T) -> T:
            if name in self and (name not in self._found or _place(self._found[name]) != _place(thing)):
                where = f" ({_file(self._found[name])})" if name in self._found else " (it comes with the package)"
                raise VergenceError(f"another {self.what} is called {name!r}{where}", "Give yours another name.")
            self._found[name] = thing
            return thing

        return keep

    def __getitem__(self, name: str) -> Any:
        """What has that name.

        Raises:
            VergenceError: nothing has; names what is near, or all.
        """
        if name not in self:
            if re.fullmatch(r"[\w.]+:\w+", name):
                return imported(name)
            known = f"There are {', '.join(self)}. Give your own as `module:Class`, or its file under `plugins:`."
            raise VergenceError(f"no {self.what} is called {name!r}", meant(name, self, known))
        if name not in self._found:
            self._found[name] = self._named[name]()
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found or name in self._named

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._named, *self._found]))

    def name_of(self, thing: Any) -> str:
        """The name that something was registered by; empty where it was not."""
        return next((name for name, found in self._found.items() if found is thing), "")

    @cached_property
    def _named(self) -> dict[str, Callable[[], Any]]:
        outside = {point.name: point.load for point in entry_points(group=self.group)}
        own = {name: partial(_built_in, place, name) for name, place in self._built_in.items()}
        return own | outside | own


def imported(place: str) -> Any:
    """What `module:attribute` names.

    Raises:
        VergenceError: no such module, or it has no such attribute.
    """
    module, _, attribute = place.partition(":")
    remedy = "Install its package, or mend the name."
    with refusing(f"{place} cannot be imported", remedy, ModuleNotFoundError, AttributeError):
        return getattr(import_module(module), attribute)


def load_plugins(files: str | Path | Sequence[str | Path]) -> None:
    """Imports plug-in files, each once, and again when it has changed; what they register is found from then on.

    Raises:
        VergenceError: no such file, or it fails; names the line.
    """
    for file in several(files):
        path = Path(file).resolve()
        name = f"vergence_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        code = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
        if name in _loaded and _digests[name] == code:
            continue
        spec = importlib.util.spec_from_file_location(name, path) if path.suffix == ".py" and path.is_file() else None
        if spec is None or spec.loader is None:
            raise VergenceError(f"there is no plug-in {file}", "Give the path of a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it is being imported
        _loaded[name], _digests[name] = path, code
        try:
            with blaming():
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name], _loaded[name], _digests[name]
            raise


@contextmanager
def blaming() -> Iterator[None]:
    """Within it an error that passed through a plug-in's file becomes one that names the file and its innermost line; the
    whole trace is its `__cause__`. Other errors pass as they are."""
    try:
        yield
    except VergenceError:
        raise
    except Exception as error:
        own = {str(path) for path in _loaded.values()}
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):  # the file was never run: it has no frame
            places.append((str(error.filename), error.lineno))
        if not (ours := [place for place in places if place[0] in own]):
            raise
        file, line = ours[-1]
        said = f"plug-in {file} failed, line {line}: {type(error).__name__}: {error}"
        raise VergenceError(said, "Mend the file.") from error


def _built_in(place: str, name: str) -> Any:
    found = imported(place)
    return next(one for one in found if one.name == name) if isinstance(found, tuple) else found


@contextmanager
def needed_by(run: Path | str, files: Sequence[str]) -> Iterator[None]:
    """Opens something of a run that was made with plug-in files: where it fails and one of them is not loaded, the error
    says what to type."""
    try:
        yield
    except VergenceError as error:
        there = {path.name for path in _loaded.values()}
        missing = [str(file) for file in files if Path(file).name not in there]
        if not missing:
            raise
        raise VergenceError(
            f"{error.problem.rstrip('.')}; {run} was made with plug-ins that are not loaded, as no run loads code by itself",
            f"If you trust them, add --plugins {','.join(missing)}, or in Python plugins={missing}.",
        ) from error


def code_of(thing: Any) -> str:
    """A digest of the plug-in file that something stands in, so that results of changed code are not taken for its own;
    empty for what is installed, which has a version."""
    return _digests.get(getattr(thing, "__module__", ""), "")


def _place(thing: Any) -> tuple[str, str]:
    return getattr(thing, "__module__", ""), getattr(thing, "__qualname__", repr(thing))


def _file(thing: Any) -> str:
    """The file that a part is written in, else its module."""
    module = getattr(thing, "__module__", "")
    return getattr(sys.modules.get(module), "__file__", None) or module


def _registry(what: str, name: str) -> Registry:
    return Registry(what, f"vergence.{name}", **_BUILT_IN[name])


_BUILT_IN = tomllib.loads((files("vergence") / "built_in.toml").read_text("utf-8"))

methods = _registry("method", "methods")

# Functions of (NetworkSettings, pretrained) to a module with `channels`, from images to maps, the coarsest last.
backbones = _registry("backbone", "backbones")

# Classes of NetworkSettings: `maps` a joint, and a call that reads them (`networks.heads`).
heads = _registry("head", "heads")

# Dataclasses of a source's settings, which open it (`recipes.sources.Source`).
datasets = _registry("kind of source", "datasets")

# write(path, poses, **options) -> note: a file format by its suffix; the note says what had to be assumed, if anything.
exporters = _registry("exporter", "exporters")

# Readers of files and folders (`footage.readers.Reader`), asked whether a path fits.
keypoint_readers = _registry("keypoint reader", "keypoint_readers")
calibration_readers = _registry("calibration reader", "calibration_readers")

# Functions of (model, device) to something that finds people's joints in images (`footage.detectors.base.Detector`).
detectors = _registry("detector", "detectors")

# A function of poses that a protocol's column asks for by its name (`protocols.figures`).
metrics = _registry("metric", "metrics")

# Which images are measured, and how (`protocols.base.Protocol`).
protocols = _registry("protocol", "protocols")
