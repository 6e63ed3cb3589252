#!/bin/sh
# A C3D file that ezc3d makes from nothing has an empty POINT:UNITS unless one is set; kineticstoolkit, which reads C3D
# files by ezc3d, then fails with an IndexError that names neither the file nor the unit. A writer should set
# POINT:UNITS itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet ezc3d==1.7.2 kineticstoolkit==0.17.0 numpy==2.4.6 pandas==3.1.1 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
import warnings
from importlib.metadata import version

import ezc3d
import kineticstoolkit
import numpy as np


def read(unit: str | None) -> str:
    """What kineticstoolkit makes of two points in ten frames, 1,000 of the unit from the origin along x."""
    file = ezc3d.c3d()
    points = np.zeros((4, 2, 10))
    points[0] = 1000
    file["parameters"]["POINT"]["RATE"]["value"] = [50.0]
    file["parameters"]["POINT"]["LABELS"]["value"] = ("a", "b")
    if unit is not None:
        file["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    file["data"]["points"] = points
    file.write("points.c3d")
    stored = ezc3d.c3d("points.c3d")["parameters"]["POINT"]["UNITS"]["value"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kineticstoolkit.read_c3d("points.c3d")["Points"].data
    except IndexError as error:
        return f"POINT:UNITS {stored}: IndexError: {error}"
    return f"POINT:UNITS {stored}: points {sorted(found)}, the first at {found['a'][0, 0]:.1f} m"


print("ezc3d", version("ezc3d"), "kineticstoolkit", version("kineticstoolkit"))
seen = [read(None), read("mm")]
for line in seen:
    print("  " + line)
expected = [
    "POINT:UNITS []: IndexError: list index out of range",
    "POINT:UNITS ['mm']: points ['a', 'b'], the first at 1.0 m",
]
raise SystemExit(0 if seen == expected else "changed: this finding no longer holds as described")
PYTHON
