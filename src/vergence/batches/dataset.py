"""What a dataset owes the rest: rows of Views, and which rows belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.progress import followed, hearing
from vergence.recipes.recipe import Source


class Dataset(Protocol):
    """N images that can be read in any order. `read` gives the whole truth; `withhold` hides what may not be used."""

    index: Views  # every field of every row, images of size 0

    def __len__(self) -> int: ...

    def read(self, rows: Int[Tensor, " n"]) -> Views: ...


class MemoryDataset:
    """Views that fit in memory."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.index = views.replace(image=views.image[:, :, :0, :0])

    def __len__(self) -> int:
        return len(self.views)

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        return self.views[rows]


class Selected:
    """Some rows of a dataset, with their groups, measures and its report."""

    def __init__(self, dataset: Dataset, rows: Int[Tensor, " n"]) -> None:
        self.dataset = dataset
        self.rows = torch.as_tensor(rows, dtype=torch.long)
        self.index = dataset.index[self.rows]
        chosen = self.rows.numpy()
        self.groups = {name: value[chosen] for name, value in getattr(dataset, "groups", {}).items()}
        self.measures = {name: value[chosen] for name, value in getattr(dataset, "measures", {}).items()}
        self.report = dict(getattr(dataset, "report", {}))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        return self.dataset.read(self.rows[torch.as_tensor(rows, dtype=torch.long)])


def batches(dataset: Dataset, size: int) -> Iterator[Views]:
    """All rows in order."""
    starts = range(0, len(dataset), size)
    for start in followed(starts, f"batches of {size} images", len(starts), hearing()):
        yield dataset.read(torch.arange(start, min(start + size, len(dataset))))


def visible_labels(dataset: Dataset, source: Source) -> Views:
    """What a recipe lets a method see of a dataset (`withhold`)."""
    return withhold(dataset.index, source, getattr(dataset, "groups", {}).get("subject"))


def withhold(index: Views, source: Source, people: Sequence[str] | np.ndarray | None = None) -> Views:
    """The labels that a recipe lets a method see: everything else becomes unknown.

    The 3D of `source.pose` subjects is kept (the lowest subject numbers, or those named); where 3D is withheld, so are the
    rotation, translation and up direction, which only a calibrated rig knows.

    Args:
        index: the whole truth.
        source: what the recipe says of it.
        people: name of the subject on each row, where there are names.

    Raises:
        VergenceError: the recipe names somebody whom the images do not show.
    """
    nan = float("nan")
    changes: dict[str, Tensor] = {}
    if not source.keypoints:
        changes["keypoints"] = index.keypoints.new_tensor(nan).expand_as(index.keypoints)
        changes["confidence"] = index.confidence.new_tensor(0.0).expand_as(index.confidence)
    if source.pose != "all":
        if source.named:
            names = np.asarray([] if people is None else people, dtype=np.str_)
            if missing := [name for name in source.named if name not in names]:
                raise VergenceError(
                    f"pose: {source.pose} names {missing[0]}, whom the images do not show",
                    f"They show {', '.join(sorted(set(names.tolist()))) or 'nobody with a name'}.",
                )
            hidden = ~torch.from_numpy(np.isin(names, source.named))
        else:
            subjects = torch.unique(index.subject)[: 0 if source.pose == "none" else int(source.pose)]
            hidden = ~torch.isin(index.subject, subjects)
        for name in ("pose", "rotation", "translation", "up"):
            value = getattr(index, name)
            unknown = value.new_tensor(nan).expand_as(value)  # in one number's memory
            rows = hidden.reshape(-1, *[1] * (value.ndim - 1))
            changes[name] = unknown if hidden.all() else torch.where(rows, unknown, value)
    return index.replace(**changes)


def numbered_apart(parts: Sequence[Views]) -> list[Views]:
    """Sequences, subjects and time steps of several sets numbered on from each other."""
    out: list[Views] = []
    for part in parts:
        if out:
            last = out[-1]
            part = part.replace(
                sequence=part.sequence - part.sequence.min() + last.sequence.max() + 1,
                subject=part.subject - part.subject.min() + last.subject.max() + 1,
                time_step=part.time_step - part.time_step.min() + last.time_step.max() + 1,
            )
        out.append(part)
    return out
