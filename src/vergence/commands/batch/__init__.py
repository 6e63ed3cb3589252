"""`vergence batch`: a verb over many recordings."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 10  # failures that are told; the manifest has all


def batch(words: Sequence[str]) -> int:
    """`vergence batch detect|reconstruct|predict MANIFEST --out DIR [--workers N] [--any_option_of_the_verb value]`."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="vergence batch",
        description="A verb over many recordings, each by itself: what crashes or does not end fails alone, and the same "
        "command again does what is missing. All other options are the verb's own, as in --formats npz,trc.",
    )
    parser.add_argument("verb", help="detect, reconstruct or predict")
    parser.add_argument(
        "manifest", help="text file: a recording's path, or JSON with path, name and options, on each line"
    )
    parser.add_argument(
        "--out", required=True, help="folder or URL; a recording's results are in the folder of its name"
    )
    parser.add_argument("--root", help="folder or URL that the recordings lie in (default: the manifest's)")
    parser.add_argument("--workers", type=int, help="recordings at once (default: the cores)")
    parser.add_argument("--engine", default="processes", choices=("processes", "ray"), help="default: processes")
    parser.add_argument("--timeout", type=float, help="seconds after which a recording is given up")
    parser.add_argument(
        "--keep_failed", "--keep-failed", action="store_true", help="do not try those again that failed"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    given, rest = parser.parse_known_args(list(words))
    options = own_options(rest)

    from rich.console import Console

    import vergence
    from vergence.report.bars import bars

    with bars(given.quiet) as progress:
        found = vergence.batch(
            given.verb, given.manifest, given.out, options=options, root=given.root, workers=given.workers,
            engine=given.engine, timeout=given.timeout, keep_failed=given.keep_failed, progress=progress,
        )  # fmt: skip
    console = Console(quiet=given.quiet, highlight=False, markup=False)
    for name, reason in list(found.failed.items())[:SHOWN]:
        console.print(f"{name}: {reason}")
    before = f" ({found.before} of them before)" if found.before else ""
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    console.print(f"{len(found.done)} of {len(found.outcomes)} done{before}{failed}: {found.path}/batch/manifest.json")
    return 1 if found.failed else 0


def own_options(words: Sequence[str]) -> dict[str, str | bool]:
    """`--name value`, `--name=value` and switches, as the verb's options."""
    from vergence.errors import VergenceError

    options: dict[str, str | bool] = {}
    at = 0
    while at < len(words):
        name, equals, value = words[at].removeprefix("--").partition("=")
        if not words[at].startswith("--") or not name:
            raise VergenceError(f"{words[at]!r} is no option", "`vergence batch --help` shows how it is called.")
        follows = at + 1 < len(words) and not words[at + 1].startswith("--")
        options[name.replace("-", "_")] = value if equals else words[at + 1] if follows else True
        at += 1 + (not equals and follows)
    return options


batch.takes_words = True  # type: ignore[attr-defined]
