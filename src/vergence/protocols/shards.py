"""Named protocols on prepared shards: which of their rows a protocol is measured on, told by what they were prepared from.

Shards carry what a protocol averages over (groups) and measures by (measures), and their manifest says which dataset they
were made of, with which settings. Shards of the protocol's own images are taken whole. Of a wider preparation of
Human3.6M (all frames, all cameras) every narrower protocol takes its rows, so that one folder serves all of them. Anything
else is refused by name: other images would give another figure under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from vergence.batches.dataset import Selected
from vergence.datasets.shards.reader import ShardDataset
from vergence.errors import VergenceError
from vergence.protocols.base import Protocol, get_protocol

USUAL: dict[str, Any] = {"step": 1, "cameras": "all", "universal": False, "faulty": "keep"}


def under_protocol(dataset: ShardDataset, name: str) -> Selected:
    """The rows of shards that a protocol is measured on.

    Raises:
        VergenceError: shards of another dataset, of several, or without the protocol's images.
    """
    protocol = get_protocol(name)
    prepared = _prepared(dataset, protocol)
    wanted = USUAL | dict(protocol.source)
    differ = {key: value for key, value in wanted.items() if prepared.get(key) != value}
    rows = np.ones(len(dataset), dtype=bool)
    for key, value in differ.items():
        own = _narrowed(dataset, key, prepared.get(key), value) if protocol.dataset == "human36m" else None
        if own is None:
            raise _other(dataset, protocol, f"{key}: {prepared.get(key)}", f"{key}: {value}")
        rows &= own
    return Selected(dataset, torch.from_numpy(np.flatnonzero(rows)))


def _prepared(dataset: ShardDataset, protocol: Protocol) -> Mapping[str, Any]:
    """The settings of the one source that shards were made of."""
    settings = dataset.manifest.get("settings", {})
    sources = settings.get("sources") if isinstance(settings, Mapping) else None
    if not isinstance(sources, list) or not all(isinstance(source, Mapping) and "kind" in source for source in sources):
        raise _other(dataset, protocol, "images of which it does not say where they are from", protocol.dataset)
    kinds = [str(source["kind"]) for source in sources]
    if kinds != [protocol.dataset]:
        raise _other(dataset, protocol, " and ".join(kinds), protocol.dataset)
    source = USUAL | dict(sources[0])
    return source | dict(get_protocol(source["protocol"]).source) if source.get("protocol") else source


def _narrowed(dataset: ShardDataset, key: str, prepared: Any, wanted: Any) -> Bool[ndarray, " N"] | None:
    """Which rows of a preparation of Human3.6M have the wanted setting; None where it does not hold all of them."""
    from vergence.datasets.human36m import FAULTY, cameras_of, subjects_of

    def among(group: str, names: set[str]) -> Bool[ndarray, " N"]:
        return np.isin(np.asarray(dataset.groups[group]), sorted(names))

    if key == "split" and set(subjects_of(wanted)) <= set(subjects_of(prepared)):
        return among("subject", {f"S{subject}" for subject in subjects_of(wanted)})
    if key == "cameras" and set(cameras_of(wanted)) <= set(cameras_of(prepared)):
        return among("camera", set(cameras_of(wanted)))
    if key == "step" and wanted % prepared == 0:
        return np.asarray(dataset.index.frame.numpy() % wanted == 0)
    if key == "faulty" and (prepared, wanted) == ("keep", "drop"):
        return ~among("sequence", {f"S{subject} {stem}" for subject, stem in FAULTY})
    return None


def _other(dataset: ShardDataset, protocol: Protocol, found: str, wanted: str) -> VergenceError:
    return VergenceError(
        f"protocol {protocol.name} is measured on {wanted}, and {dataset.path} holds {found}",
        f"Prepare its images: vergence data prepare '{{kind: {protocol.dataset}, path: FOLDER, protocol: "
        f"{protocol.name}}}' --out SHARDS.",
    )
