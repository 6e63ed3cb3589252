"""A source named on the command line: a recipe's, a recipe line, or a folder that says itself what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from vergence.errors import VergenceError
from vergence.recipes.load import load_recipe, recipe_from
from vergence.recipes.sources import Source
from vergence.recipes.typed import make_source

FORMS = (
    "Give a recipe's line, as '{kind: capture, path: FOLDER}' (`vergence data check FOLDER` prints it), a recipe and the "
    "name of its source, as epipolar_pose:footage, or the folder of a capture or of shards."
)


def protocol_source(name: str, data: str) -> Source:
    """The images of a named protocol: in a dataset's folder, in shards, or in what `parse_source` reads.

    Raises:
        VergenceError: no such protocol; none of those.
    """
    from vergence.protocols.base import get_protocol

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
    folder = Path(text)
    if folder.is_dir():
        for kind, name in (("capture", "capture.toml"), ("shards", "manifest.json")):
            if (folder / name).is_file():
                return make_source(kind, path=text)
        raise VergenceError(f"{text} is neither a capture nor shards", FORMS)
    if text.lstrip().startswith("{"):
        try:
            raw = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise VergenceError(f"{text} is not a recipe's line: {str(error).splitlines()[0]}", FORMS) from error
        return recipe_from({"sources": {"source": raw}}, "the source").sources["source"]
    recipe, colon, name = text.rpartition(":")
    if not colon:
        raise VergenceError(f"there is no folder {text}", FORMS)
    loaded = load_recipe(recipe)
    known = {**loaded.sources, **loaded.test}
    if name not in known:
        raise VergenceError(f"recipe {recipe} has no source {name!r}", f"It has {', '.join(known) or 'none'}.")
    return known[name]
