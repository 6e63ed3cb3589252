"""Freed memory is used again and not asked for anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from vergence.networks.memory import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
for _ in range(20):
    bytearray(48 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(word: str) -> int:
    return int(subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_an_array_that_is_freed_makes_room_for_the_next():
    assert 4 * faults("kept") < faults("plain")
