"""`vergence batch`: a verb over many recordings."""

from __future__ import annotations

from typing import Literal

SHOWN = 10  # failures that are told; the manifest has all


def batch(
    verb: str,
    manifest: str,
    out: str,
    root: str | None = None,
    workers: int | None = None,
    engine: Literal["processes", "ray"] = "processes",
    timeout: float | None = None,
    keep_failed: bool = False,
    quiet: bool = False,
    overrides: list[str] = [],  # noqa: B006
) -> int:
    """Runs a verb over many recordings, each by itself. A recording that crashes or does not end fails alone. The same
    command again does what is missing. All other options are the verb's own, as in --formats npz,trc.

    Example: vergence batch reconstruct list.txt --out results --formats npz,trc

    Args:
        verb: detect, reconstruct or predict.
        manifest: text file: a recording's path, or JSON with path, name and options, on each line.

    Where recordings and results are (--out results):
        out (FOLDER|URL): a recording's results are in the folder of its name.
        root (FOLDER|URL): folder of the recordings (default: the manifest's).

    How it runs (--workers 4 --timeout 600):
        workers: recordings at once (default: the cores).
        engine: of this machine, or the cluster of RAY_ADDRESS.
        timeout (SECONDS): time limit for each recording.
        keep_failed: do not try failed recordings again.
        quiet: no progress.
    """
    from rich.console import Console

    import vergence
    from vergence.report.bars import bars

    pairs = (word.removeprefix("--").partition("=") for word in overrides)
    options = {name.replace("-", "_"): value if equals else True for name, equals, value in pairs}
    with bars(quiet) as progress:
        found = vergence.batch(
            verb, manifest, out, options=options, root=root, workers=workers, engine=engine, timeout=timeout,
            keep_failed=keep_failed, progress=progress,
        )  # fmt: skip
    console = Console(highlight=False, markup=False)
    for name, reason in list(found.failed.items())[:SHOWN]:
        console.print(f"{name}: {reason}")
    before = f" ({found.before} of them before)" if found.before else ""
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    console.print(f"{len(found.done)} of {len(found.outcomes)} done{before}{failed}: {found.path}/batch/manifest.json")
    return 1 if found.failed else 0


batch.named = ("out",)  # type: ignore[attr-defined]
batch.takes = "each recording as long as the verb alone; the first ones tell how long"  # type: ignore[attr-defined]
