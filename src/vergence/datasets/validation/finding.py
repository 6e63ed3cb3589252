"""What a check found, in words. Imports nothing, so that `vergence doctor` can use it where nothing else can be imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["good", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, in a dataset or in an installation.

    Attributes:
        what: that was looked at.
        state: `good`; `note`: usable, but worth knowing; `wrong`: mend it first.
        found: what was found, with its number and limit.
        remedy: what to do about it, where something is to be done.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def is_valid(findings: Sequence[Finding]) -> bool:
    """Nothing is wrong; notes do not count."""
    return all(finding.state != "wrong" for finding in findings)


def percent(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
