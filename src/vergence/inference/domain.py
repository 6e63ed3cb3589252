"""What a model is good for, from its own config: what it was taught by, and the verdict of those who made it.

A model does not know that an image is unlike all that it was shown: it answers, and the answer looks like any other. So whoever
uses one is told what it has seen, first of all where that was drawn people only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vergence.files import read_yaml

DRAWN = "world_"  # kinds of sources that the built-in world draws begin so
UNPAIRED = "poses are lifted from 2D keypoints by a model trained on motion capture, without images"


@dataclass(frozen=True)
class Domain:
    """What a model was made of.

    Attributes:
        words: a sentence; empty where nothing is known.
        drawn: it saw drawn people only.
        verdict: of its training: `good`, `doubtful`, or empty where nobody gave one.
        reasons: of the verdict.
        error: a sentence on how far it was from its teachers on time that it did not learn from; empty where nobody measured.
    """

    words: str = ""
    drawn: bool = False
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    error: str = ""


def domain_of(config: Mapping[str, Any], folder: Path | None = None) -> Domain:
    """Of a lifting model or a run, from what `config.json` holds; from the recipe in a run's folder where that is older."""
    if config.get("method") == "lifting":
        doubtful = config.get("doubtful")
        why = ("it was trained on a doubtful reconstruction (--anyway)",)
        verdict = "" if doubtful is None else "doubtful" if doubtful else "good"
        words = str(config.get("taught_by", UNPAIRED))
        return Domain(words, False, verdict, why if doubtful else (), _error(config))
    sources = config.get("sources")
    if sources is None and folder is not None and (folder / "recipe.yaml").is_file():
        recipe = read_yaml(folder / "recipe.yaml")
        sources = recipe.get("sources") if isinstance(recipe, dict) else None
    seen = dict.fromkeys(_shown(source) for source in (sources or {}).values() if isinstance(source, Mapping))
    drawn = bool(seen) and set(seen) == {_shown({"kind": DRAWN})}
    words = f"the run was trained on {' and '.join(seen)}" if seen else ""
    if drawn:
        words += " only: on real images its poses are wrong"
    return Domain(words, drawn, *_verdict(config.get("labels")), _error(config))


def _error(config: Mapping[str, Any]) -> str:
    """What `learn` measured."""
    parts = []
    for name, one in (config.get("held_out_error") or {}).items():
        where = f" by {', '.join(one['held_out_cameras'])}" if one["held_out_cameras"] else ""
        parts.append(f"{name}{where} {one['n_mpjpe']:.0f} / {one['p_mpjpe']:.0f} mm (N-MPJPE / P-MPJPE)")
    told = "on held-out time the model was this far from the reconstruction of several cameras"
    return f"{told}: {'; '.join(parts)}; other people and rooms may differ" if parts else ""


def _shown(source: Mapping[str, Any]) -> str:
    kind = str(source.get("kind", ""))
    if kind.startswith(DRAWN):
        return "drawn people of the built-in world"
    path = Path(str(source.get("path") or "")).name
    return "the footage " + path if kind == "capture" else " ".join(filter(None, (kind, path)))


def _verdict(labels: Any) -> tuple[str, tuple[str, ...]]:
    """Of the reconstructions whose 3D was learned from: the one that most recordings have."""
    found: Counter[str] = Counter()
    for one in labels.values() if isinstance(labels, Mapping) else ():
        found.update(one.get("verdicts", {}) if isinstance(one, Mapping) else {})
    if not found:
        return "", ()
    word = "good" if found["good"] > found.total() / 2 else "doubtful"
    count = found["good"] if word == "good" else found.total() - found["good"]
    return word, (f"{count} of the {found.total()} recordings whose 3D it learned from are {word}",)
