"""Keypoints that lie beside a video, under the names that the tools give them.

Of several that fit, the most telling name is taken; of DeepLabCut's the filtered one, and CSV and HDF5 of one name hold the
same. Files of one video by different models are for the user to choose from. Capitals make no difference, but where two
names differ in nothing else: programs and cameras of Windows write `CAM01_JSON` beside `cam01.MP4`.
"""

from __future__ import annotations

import re
from pathlib import Path

from vergence.errors import VergenceError
from vergence.footage.keypoint_formats.deeplabcut import is_table

PLACES = ("keypoints", "openpose", "pose", "alphapose", "predictions", "video_preds", "pose-2d-filtered", "pose-2d")
ALPHAPOSE = "alphapose-results.json"
# `STEM` is the video's name without its suffix; the first pattern that something fits is taken.
PATTERNS = (
    r"STEM_json|STEM\.json|STEM",
    r"STEM_(alphapose|mmpose|dlc|sleap)",
    r"STEM[-_.]alphapose-results\.json|(alphapose-results|AlphaPose|results)[-_.]STEM\.json",
    r"STEMDLC.*_filtered\.(csv|h5)",
    r"STEMDLC.*\.(csv|h5)",
    r"(.*[-_. ])?STEM(\.\w+)?(\.predictions)?\.analysis\.h5",
    r"STEM(_predictions)?\.(csv|h5)",
)


def keypoints_beside(folder: Path, video: str) -> Path | None:
    """The keypoint file or folder of a video of that name (without suffix) in or near a folder; None without one.

    Raises:
        VergenceError: several files that may be meant.
    """
    places = [*([folder] if folder.is_dir() else []), *_places(folder)]
    if folder.name == "videos-raw":  # Anipose's session
        places += _places(folder.parent)
    for place in places:
        entries = sorted(entry for entry in place.iterdir() if not entry.name.startswith("."))
        entries.sort(key=lambda entry: video not in entry.name)
        for pattern in PATTERNS:
            wanted = re.compile(pattern.replace("STEM", re.escape(video)), re.IGNORECASE)
            found = [kept for entry in entries if wanted.fullmatch(entry.name) and (kept := _keypoints(entry))]
            stems = {path.with_suffix("") for path in found}
            if len(stems) > 1 and "DLC" in pattern:
                raise VergenceError(
                    f"keypoints of {video} may be {' or '.join(sorted(path.name for path in found))}",
                    "Name one as `keypoints` in capture.toml.",
                )
            if found:
                return found[0]
    return None


def _places(folder: Path) -> list[Path]:
    """The folders of keypoints in a folder, in the order of `PLACES`."""
    there = [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    there.sort(key=lambda entry: (entry.name not in PLACES, entry.name))
    return [entry for name in PLACES for entry in there if entry.name.lower() == name]


def _keypoints(entry: Path) -> Path | None:
    """What of a file or folder holds keypoints; None for other things of such a name."""
    if entry.is_dir():
        inner = entry / ALPHAPOSE
        return (
            inner if inner.is_file() else entry if any(e.suffix.lower() == ".json" for e in entry.iterdir()) else None
        )
    return entry if entry.suffix.lower() != ".csv" or is_table(entry) else None
