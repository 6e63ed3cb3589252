"""Where networks run: `auto` made a device that is there."""

from __future__ import annotations

from vergence.errors import VergenceError

NAMES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> str:
    """`cpu`, `cuda` or `mps` from one of `NAMES`; `auto` takes a GPU where there is one.

    Raises:
        VergenceError: another word, or a device that this machine does not have.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if name not in there:
        raise VergenceError(f"no device is called {name!r}", f"Use one of {', '.join(NAMES)}.")
    if not there[name]:
        raise VergenceError(
            f"this machine has no device {name!r}", "Use auto or cpu; `vergence doctor` says what there is."
        )
    return name
