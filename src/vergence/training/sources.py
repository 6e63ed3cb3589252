"""A recipe's sources opened: the built-in world, captures, prepared crops and datasets on equal footing; and those named
on the command line: a recipe's, a recipe line, or a folder that says itself what it is."""

from __future__ import annotations

import dataclasses
import logging
import math
import shlex
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from vergence import plugins
from vergence.batches.dataset import Dataset, MemoryDataset, numbered_apart
from vergence.batches.views import Views
from vergence.datasets.records import ImageDataset, Records
from vergence.errors import VergenceError, refusing
from vergence.footage.images import spans
from vergence.protocols.base import get_protocol
from vergence.recipes.load import FORMS, check_source, load_recipe, recipe_from
from vergence.recipes.recipe import Recipe
from vergence.recipes.sources import Files, Source
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17, Skeleton, get_skeleton
from vergence.world.faults import Faults
from vergence.world.scenes import recordings, single_images, static_clips

log = logging.getLogger(__name__)


def protocol_source(name: str, data: str) -> Source:
    """The images of a named protocol: in a dataset's folder, in shards, or in what `parse_source` reads.

    Raises:
        VergenceError: no such protocol; none of those.
    """
    kind = get_protocol(name).dataset
    folder = Path(data)
    if data.lstrip().startswith("{") or (not folder.exists() and ":" in data):
        source = parse_source(data)
        if "protocol" not in vars(source):
            raise VergenceError(f"protocol {name} is measured on {kind}, not on {source.kind}", "Give its data.")
        return replace(source, protocol=name)  # type: ignore[call-arg]
    shards = (folder / "manifest.json").is_file() or (folder / "plan.json").is_file()
    return make_source("shards" if shards else kind, path=data, protocol=name)


def parse_source(text: str) -> Source:
    """The source that a word of the command line means; all labels of one that is given so are visible.

    Raises:
        VergenceError: none of `FORMS`, or settings that a source does not have.
    """
    check_source(text)
    folder = Path(text)
    if folder.is_dir():
        for kind, name in (("capture", "capture.toml"), ("shards", "manifest.json")):
            if (folder / name).is_file():
                return make_source(kind, path=text)
        raise VergenceError(f"{text} is neither a capture nor shards", FORMS)
    if text.lstrip().startswith("{"):
        with refusing(f"{text} is not a recipe's line", FORMS, yaml.YAMLError):
            raw = yaml.safe_load(text)
        return recipe_from({"sources": {"source": raw}}, "the source").sources["source"]
    recipe, _, name = text.rpartition(":")
    loaded = load_recipe(recipe)
    known = {**loaded.sources, **loaded.test}
    if name not in known:
        raise VergenceError(f"recipe {recipe} has no source {name!r}", f"It has {', '.join(known) or 'none'}.")
    return known[name]


ANY_PROTOCOL = ("kind", "keypoints", "pose", "path", "protocol", "scale")  # keys that no protocol sets
SEEDS_APART = 100_000  # between the world seeds of a source's several rigs; a recipe's own seeds lie below


def open_source(source: Source, image_size: int, skeleton: str) -> Dataset:
    """Images with the whole truth about them, at the run's crop size and in its skeleton."""
    if source.protocol and source.kind != "shards":
        source = as_protocol(source)
    with plugins.blaming():
        found = source.open(image_size, get_skeleton(skeleton))
    if hasattr(found, "read") and hasattr(found, "index"):
        return cast(Dataset, found)
    if not isinstance(found, Records):
        raise VergenceError(
            f"a source of kind {source.kind} opens as {type(found).__name__}",
            "Its open() must give what vergence.make_records makes, or a dataset with `index`, a length and `read`.",
        )
    return ImageDataset(found, image_size, get_skeleton(skeleton))


def check_present(recipes: Collection[Recipe]) -> None:
    """Refuses recipes of which a source's files are not there, before anything is trained.

    Raises:
        VergenceError: names each dataset that is missing and its folder.
    """
    missing: dict[str, str] = {}
    keys: dict[str, None] = {}
    for recipe in recipes:
        for part, sources in (("sources", recipe.sources), ("test", recipe.test)):
            for name, source in sources.items():
                if source.path and not Path(source.path).exists():
                    missing[source.path] = source.kind
                    keys[f"--{part}.{name}.path FOLDER"] = None
    if missing:
        raise VergenceError(
            "; ".join(f"{kind} is not there: no {path}" for path, kind in missing.items()),
            f"Put it there, or a link to it, or say where it lies (--data ROOT, {', '.join(keys)}); "
            "docs/datasets.md says what the folder holds.",
        )
    for recipe in recipes:
        for name, source in (*recipe.sources.items(), *recipe.test.items()):
            if source.reconstruction and not (Path(source.reconstruction) / "poses.npz").is_file():
                raise VergenceError(
                    f"{name} has no reconstruction in {source.reconstruction}",
                    "Make it: " + shlex.join(["vergence", "reconstruct", source.path, "--out", source.reconstruction]),
                )


def check_readable(recipe: Recipe, of_run: Callable[[str], object], open_: Callable[..., object]) -> None:
    """Opens what is read from files, so that what is wrong with it is known before hours of training.

    Args:
        recipe: to be carried out.
        of_run: opens a source by its name, and keeps it.
        open_: opens a test, and keeps it.

    Raises:
        VergenceError: with the name of the source or the test in front.
    """
    read = {name for stage in recipe.stages.values() for name in stage.sources}
    for name in (name for name, source in recipe.sources.items() if name in read and not source.of_world):
        with refusing(f"source {name}", "", VergenceError):
            of_run(name)
    for name, source in recipe.test.items():
        if not source.of_world:
            with refusing(f"test {name}", "", VergenceError):
                open_(source, recipe.image_size, recipe.skeleton)
    warn_of_old_images(recipe)


def old_images(recipe: Recipe) -> dict[str, list[str]]:
    """By test set the sources that a stage reads of which it has images."""
    read = sorted({name for stage in recipe.stages.values() for name in stage.sources})
    found = {name: [n for n in read if same_images(test, recipe.sources[n])] for name, test in recipe.test.items()}
    return {name: sources for name, sources in found.items() if sources}


def warn_of_old_images(recipe: Recipe) -> None:
    """Says which tests have images that a stage reads."""
    for name, sources in old_images(recipe).items():
        for source in sources:
            log.warning("the test %s has images of the source %s: its figures are not of new images", name, source)


EVERY = [(0, math.inf)]  # frame


def same_images(a: Source, b: Source) -> bool:
    """Whether two sources may have people in common: same kind, world and seed; of files: the same part of a folder; of a
    kind from outside: the same keys, whatever they are called, beside the visible labels."""
    if a.kind != b.kind:
        return False
    if a.of_world and b.of_world:
        return a.seed == b.seed
    if not isinstance(a, Files):
        images = [{**vars(source), "keypoints": None, "pose": None} for source in (a, b)]
        return images[0] == images[1]
    part = [(Path(source.path).resolve(), source.split, source.protocol) for source in (a, b)]
    return part[0] == part[1] and any(
        low <= last and first <= high
        for low, high in spans(a.frames) or EVERY
        for first, last in spans(b.frames) or EVERY
    )


def as_protocol(source: Source) -> Source:
    """A source with the images that its protocol is measured on.

    Raises:
        VergenceError: the protocol is another dataset's, or the source asks for other images.
    """
    protocol = get_protocol(source.protocol)
    if source.kind != protocol.dataset:
        raise VergenceError(
            f"protocol {protocol.name} is measured on {protocol.dataset}, not on {source.kind}",
            "Choose another protocol, or give its data.",
        )
    for field in dataclasses.fields(source):
        if field.name in ANY_PROTOCOL or field.default is dataclasses.MISSING:
            continue
        name, value = field.name, protocol.source.get(field.name, field.default)
        if getattr(source, name) not in (value, field.default):
            raise VergenceError(
                f"protocol {protocol.name} has {name}: {value}, the source {name}: {getattr(source, name)}",
                f"Leave {name} out, or the protocol.",
            )
    return dataclasses.replace(source, **protocol.source)


def open_world(source: Any, size: int, skeleton: Skeleton) -> MemoryDataset:
    """People of the built-in world, drawn into memory; `source` is a `recipes.sources.World`."""
    if skeleton != H36M_17:
        raise VergenceError(f"the built-in world has no skeleton {skeleton.name!r}", "Use skeleton: h36m_17 with it.")
    faults = Faults(occlusion=source.occlusion, truncation=source.truncation)
    if source.kind == "world_images":
        return MemoryDataset(single_images(source.count, size, look=source.look, seed=source.seed, faults=faults))
    share = len(source.views)
    parts = []
    for i, views in enumerate(source.views):
        subjects = source.subjects // share + (i < source.subjects % share)
        seed = source.seed + i * SEEDS_APART
        if subjects and source.kind == "world_static":
            parts.append(static_clips(subjects, views, size, look=source.look, seed=seed, faults=faults))
        elif subjects:
            frames = source.frames_per_subject
            parts.append(recordings(subjects, frames, views, size, look=source.look, seed=seed, faults=faults))
    return MemoryDataset(Views.cat(numbered_apart(parts)))
