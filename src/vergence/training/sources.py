"""A recipe's sources opened: the built-in world, captures, prepared crops and datasets on equal footing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vergence.batches.dataset import Dataset, MemoryDataset, numbered_apart
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.recipe import Recipe, Source
from vergence.skeleton import H36M_17, get_skeleton

if TYPE_CHECKING:
    from vergence.datasets.records import Records

SEEDS_APART = 100_000  # between the world seeds of a source's several rigs; a recipe's own seeds lie below


def open_source(source: Source, image_size: int, skeleton: str) -> Dataset:
    """Images with the whole truth about them, at the run's crop size and in its skeleton."""
    if source.protocol and source.kind != "shards":
        source = as_protocol(source)
    if source.kind == "capture":
        from vergence.datasets.capture import read_capture

        return read_capture(source, image_size, get_skeleton(skeleton))
    if source.kind == "shards":
        from vergence.datasets.shards.reader import ShardDataset

        shards = ShardDataset(source.path, image_size, get_skeleton(skeleton))
        if not source.protocol:
            return shards
        from vergence.protocols.shards import under_protocol

        return under_protocol(shards, source.protocol)
    if (records := _records(source)) is not None:
        from vergence.datasets.records import ImageDataset

        return ImageDataset(records, image_size, get_skeleton(skeleton))
    if get_skeleton(skeleton) != H36M_17:
        raise VergenceError(f"the built-in world has no skeleton {skeleton!r}", "Use skeleton: h36m_17 with it.")
    return MemoryDataset(_world(source, image_size))


def check_present(recipes: Iterable[Recipe]) -> None:
    """Refuses recipes of which a source's files are not there, before anything is trained.

    Raises:
        VergenceError: names each dataset that is missing and its folder.
    """
    missing = {}
    for recipe in recipes:
        for source in (*recipe.sources.values(), *recipe.test.values()):
            if source.path and not Path(source.path).exists():
                missing[source.path] = source.kind
    if missing:
        raise VergenceError(
            "; ".join(f"{kind} is not there: no {path}" for path, kind in missing.items()),
            "Put it there, or a link to it, or say where it lies (--data ROOT, --sources.NAME.path FOLDER); "
            "docs/datasets.md says what the folder holds.",
        )


def _records(source: Source) -> Records | None:
    """What a dataset's reader says; None where the source is no dataset."""
    if source.kind == "human36m":
        from vergence.datasets.human36m import read_human36m

        return read_human36m(source.path, source.split, source.step, source.cameras, source.faulty)
    if source.kind == "mpi_inf_3dhp":
        from vergence.datasets.mpi_inf_3dhp import read_mpi_inf_3dhp

        return read_mpi_inf_3dhp(source.path, source.split, source.step, source.cameras, source.universal)
    if source.kind == "mpii":
        from vergence.datasets.mpii import read_mpii

        return read_mpii(source.path, source.split)
    if source.kind == "coco":
        from vergence.datasets.coco import read_coco

        return read_coco(source.path, source.split)
    if source.kind == "mannequin_challenge":
        from vergence.datasets.mannequin_challenge import read_mannequin_challenge

        return read_mannequin_challenge(source.path, source.parallax)
    return None


def as_protocol(source: Source) -> Source:
    """A source with the images that its protocol is measured on.

    Raises:
        VergenceError: the protocol is another dataset's, or the source asks for other images.
    """
    from vergence.protocols.base import get_protocol

    protocol = get_protocol(source.protocol)
    if source.kind != protocol.dataset:
        raise VergenceError(
            f"protocol {protocol.name} is measured on {protocol.dataset}, not on {source.kind}",
            "Choose another protocol, or give its data.",
        )
    usual = {f.name: f.default for f in dataclasses.fields(Source)}
    for name in ("split", "step", "cameras", "universal", "faulty"):
        value = protocol.source.get(name, usual[name])
        if getattr(source, name) not in (value, usual[name]):
            raise VergenceError(
                f"protocol {protocol.name} has {name}: {value}, the source {name}: {getattr(source, name)}",
                f"Leave {name} out, or the protocol.",
            )
    return dataclasses.replace(source, **protocol.source)


def world_version() -> str:
    """Version of the built-in world; figures of different versions are not comparable."""
    from vergence.world.scenes import WORLD_VERSION

    return WORLD_VERSION


def _world(source: Source, size: int) -> Views:
    from vergence.world.faults import Faults
    from vergence.world.scenes import recordings, single_images, static_clips

    faults = Faults(occlusion=source.occlusion, truncation=source.truncation)
    if source.kind == "world_images":
        return single_images(source.count, size, look=source.look, seed=source.seed, faults=faults)
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
    return Views.cat(numbered_apart(parts))
