"""What the fork server imports last, so that its processes find done what is done once.

Python's collector would write to every object that was imported, and the system then copies its page for each process:
they are set aside.
"""

from __future__ import annotations

import gc
import sys

from PIL import Image

Image.preinit()
if pages := sys.modules.get("vergence.report.templates"):
    for name in ("page.html", "parts.html"):
        pages.templates().get_template(name)
gc.collect()
gc.freeze()
