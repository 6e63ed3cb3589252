"""All that a change must pass: style, formatting, types, tests. Words given are passed to pytest.

    python scripts/check.py [tests/geometry -k camera]

All are run, whatever the ones before said; the exit status is 0 only if all passed. `JOBS` sets the test processes (2).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Benchmarks are run by hand, so only their names and arguments are checked: that they still fit the package.
LOOSE = (
    "arg-type,union-attr,operator,method-assign,var-annotated,list-item,type-var,misc,index,call-overload,assignment"
)
BENCHMARKS = [
    "benchmarks",
    "--allow-untyped-defs",
    "--no-warn-unused-ignores",
    *(f"--disable-error-code={code}" for code in LOOSE.split(",")),
]
TOOLS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["mypy", *BENCHMARKS])


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    # Test processes share the cores: more threads than cores make them several times slower.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    tests = ["pytest", "-n", os.environ.get("JOBS", "2"), *sys.argv[1:]]
    failed = []
    for words in (*TOOLS, tests):
        print(f"+ {' '.join(words)}", flush=True)
        if subprocess.run([sys.executable, "-m", *words], cwd=root, env=environment).returncode:
            failed.append(" ".join(words[:2]) if words[0] != "pytest" else words[0])
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
