"""`vergence doctor`: what is installed, what is wrong, how to fix it."""

from __future__ import annotations


def doctor(device: str = "auto") -> int:
    """Looks at Python, libraries, devices, video, disk and threads; exit status 1 where something is wrong.

    Example: vergence doctor --device cuda

    Args:
        device: auto, or one that must work: cpu, cuda or mps.
    """
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vergence import __version__
    from vergence.progress import about
    from vergence.report.installation import COLOURS, examine

    console = Console()
    console.print("tries every library in a process of its own, mostly 5 to 20 s:", highlight=False)
    begun: dict[str, float] = {}

    def tell(what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        said = f"has answered after {about(now - begun[what])}" if done else "is tried"
        begun.setdefault(what, now)
        console.print(f"  {what} {said}", highlight=False, markup=False)

    findings = examine(device, progress=tell)
    table = Table(title=f"vergence {__version__}")
    for column in ("what", "state", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for f in findings:
        table.add_row(escape(f.what), f"[{COLOURS[f.state]}]{f.state}[/]", escape(f.found), escape(f.remedy))
    console.print(table)
    wrong = [f.what for f in findings if f.state == "wrong"]
    console.print(f"wrong: {escape(', '.join(wrong))}" if wrong else "nothing is wrong")
    return 1 if wrong else 0
