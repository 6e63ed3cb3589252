"""Whether a model's weights can be had: from a folder, from this machine's cache, or from the hub if it can be reached.

transformers asks the hub first, five times with growing pauses, and looks into its cache after that: a minute and a half
without a network, in which a traceback's worth of warnings is printed. One short question comes before.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 5.0


def hub_options(name: str) -> dict[str, Any]:
    """What `from_pretrained(name)` must be told.

    Raises:
        ConnectionError: no folder, not in the cache, and the hub cannot be reached.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if Path(name).is_dir() or reachable(constants.ENDPOINT):
        return {}
    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except ValueError:  # a name that the hub cannot have
        cached = False
    if cached:
        return {"local_files_only": True}
    raise ConnectionError(f"{name} is no folder and in no cache here, and {constants.ENDPOINT} cannot be reached")


def reachable(address: str) -> bool:
    """Whether anybody answers there within seconds; an answer that refuses is one."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
