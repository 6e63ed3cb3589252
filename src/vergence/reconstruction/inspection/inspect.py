"""`vergence.inspect`: whether footage will do, in under a minute, and what to film again.

It asks what the real steps ask, by calling them: keypoints (of few images, where there are none: `look`), the choice of the
subject, the cameras' times, the reconstruction with its verdict. What they refuse is a finding here, and what was understood
up to there is told all the same. Nothing is kept but what `save` writes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from vergence import __version__
from vergence.errors import VergenceError, check_choice, check_seed
from vergence.files import plain, write_json
from vergence.footage.capture import Capture, load_capture, make_capture
from vergence.footage.detectors.base import open_detector
from vergence.footage.images import VIDEO_SUFFIXES
from vergence.footage.observations import Observations, observe
from vergence.footage.subject import NobodySeen
from vergence.networks.devices import NAMES
from vergence.progress import Progress, silent
from vergence.reconstruction.footage import reconstruct
from vergence.reconstruction.inspection.findings import Finding, findings_of
from vergence.reconstruction.inspection.look import Look, common_time, look, spread_steps
from vergence.reconstruction.inspection.measure import (
    CameraFigures,
    JointFigures,
    PairFigures,
    cameras_of,
    joints_of,
    pairs_of,
)
from vergence.reconstruction.inspection.still import Scene, scene
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.sync.footage import described, synchronise

FRAMES = 100  # of each camera's stretch
LEAST_FRAMES = 12
MOST = 0.75  # of the images: as good as all


@dataclass(frozen=True, eq=False)
class Inspection:
    """The figures of a recording, and whether it is good enough.

    Attributes:
        verdict: `go`; `doubtful`: there will be results, but they may be wrong; `no-go`: there will be none.
        findings: all findings, the worst first.
        cameras, pairs, joints: figures of each.
        basis: the images that were used, in words.
        notes: decisions and corrections while reading.
        synchronisation: of the cameras' times, as a reconstruction's results.json says it, in time steps of the recording.
        look: what was looked at, with its images.
        observations: the subject's keypoints; None where nobody is seen.
        reconstruction: None where nothing could be reconstructed.
        version: of Vergence.
    """

    verdict: Literal["go", "doubtful", "no-go"]
    findings: tuple[Finding, ...]
    cameras: tuple[CameraFigures, ...]
    pairs: tuple[PairFigures, ...]
    joints: tuple[JointFigures, ...]
    basis: str
    notes: tuple[str, ...]
    synchronisation: dict[str, Any] = field(repr=False)
    look: Look = field(repr=False)
    observations: Observations | None = field(default=None, repr=False)
    reconstruction: Reconstruction | None = field(default=None, repr=False)
    version: str = __version__

    @property
    def film_again(self) -> tuple[str, ...]:
        """What to do about what is wrong or doubtful, each once."""
        return tuple(dict.fromkeys(f.again for f in self.findings if f.again and f.state in ("wrong", "doubtful")))

    @property
    def capture(self) -> Capture:
        """The capture whose time steps are those of the observations."""
        made = self.reconstruction
        return self.look.capture if made is None or made.capture is None else made.capture

    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        kept = (
            "verdict",
            "film_again",
            "findings",
            "cameras",
            "pairs",
            "joints",
            "basis",
            "notes",
            "synchronisation",
            "version",
        )
        return dict(plain({name: getattr(self, name) for name in kept}))

    def save(self, folder: str | Path) -> dict[str, Any]:
        """Writes `results.json`, and returns what it holds.

        Raises:
            VergenceError: it cannot be written.
        """
        found = self.results()
        write_json(Path(folder) / "results.json", found)
        return found


def inspect(
    footage: str | Path | Capture,
    *,
    detector: str = "",
    model: str = "",
    frames: int = FRAMES,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Inspection:
    """Says whether a recording of several cameras is good enough, and what to film again.

    Given keypoints are all used. Where a camera has none, a detector looks at few images: some spread over the
    recording, and one stretch of `frames` images in each camera.

    Args:
        footage: folder of videos, one with a capture.toml, or what `load_capture` read; or one video: the result then
            says what one camera shows, and that a second one is missing.
        detector, model: of 2D keypoints where there are none (`vergence.detect`).
        frames: images of each camera's stretch, 12 and more.
        device: of the detector.
        seed: of subsets and starts.
        progress: reports every step.

    Raises:
        VergenceError: the footage cannot be read. Unusable footage is not an error: the verdict is then `no-go`.
    """
    if frames < LEAST_FRAMES:
        raise VergenceError(f"frames is {frames}", f"Give {LEAST_FRAMES} or more; {FRAMES} are usual.")
    check_seed(seed)
    check_choice("device", device, NAMES)
    if not isinstance(footage, Capture):
        path = Path(footage)
        alone = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
        footage = make_capture(path) if alone else load_capture(path)
    capture = footage
    with TemporaryDirectory() as folder:
        if capture.keypoint_file is not None or all(camera.keypoints is not None for camera in capture.cameras):
            looked = Look(capture, capture)
        else:
            looked = look(capture, Path(folder), open_detector(detector, model, device), frames, progress)
        return _inspected(looked, seed, progress)


def _inspected(looked: Look, seed: int, progress: Progress) -> Inspection:
    progress("cameras and person", 0, 2)
    refused: list[Finding] = []
    seen = _seen(looked)
    if seen is not None and not looked.scenes:
        looked = replace(looked, scenes=_scenes(looked.capture, seen))
    made, sync = None, {"state": "not asked"}
    if seen is not None and len(looked.capture.cameras) > 1:
        made = _made(looked.capture, seed, refused)
    progress("cameras and person", 1, 2)
    capture = looked.capture if made is None or made.capture is None else made.capture
    now = seen if made is None else made.observations
    if now is not None and len(capture.cameras) > 1:
        sync = made.synchronisation if made is not None else sync
        if (
            sync.get("state") == "not asked"
        ):  # nothing speaks against one time; whether the motion could tell is asked here
            sync = described(synchronise(capture, now, seed)[2], capture)
    sync = _in_steps(sync, looked.stride)
    solution = None if made is None else made.solution
    report = None if made is None else made.report
    cameras = cameras_of(looked, capture, now, solution, () if report is None else report.reprojection_per_camera)
    pairs = pairs_of(capture, now, solution, sync) if now is not None and len(cameras) > 1 else ()
    joints = joints_of(now, {} if report is None else report.reprojection_per_joint) if now is not None else ()
    findings = findings_of(capture, cameras, pairs, joints, now, made, sync, looked.stride)
    if not any(finding.state == "wrong" for finding in findings):
        findings = (*refused, *findings)  # else what is wrong says it plainer
    states = {finding.state for finding in findings}
    progress("cameras and person", 2, 2)
    return Inspection(
        verdict="no-go" if "wrong" in states else "doubtful" if "doubtful" in states else "go",
        findings=findings,
        cameras=cameras,
        pairs=pairs,
        joints=joints,
        basis=_basis(looked),
        notes=_notes(looked, now, made),
        synchronisation=sync,
        look=looked,
        observations=now,
        reconstruction=made,
    )


def _seen(looked: Look) -> Observations | None:
    """The subject's keypoints; None where nobody is seen."""
    try:
        return observe(looked.capture)
    except NobodySeen:
        return None


def _made(capture: Capture, seed: int, refused: list[Finding]) -> Reconstruction | None:
    """The reconstruction; None, and why, where there is none."""
    try:
        return reconstruct(capture, seed=seed)
    except VergenceError as error:
        refused.append(
            Finding("geometry", "wrong", f"Nothing can be reconstructed: {error.problem}", error.remedy or "")
        )
        return None


def _in_steps(sync: dict[str, Any], stride: int) -> dict[str, Any]:
    """The cameras' times in time steps of the recording."""
    if stride == 1 or "cameras" not in sync:
        return sync
    steps = {"offset", "deviation"}
    pairs = [{**pair, "deviation": pair["deviation"] * stride} for pair in sync["pairs"]]
    cameras = {
        name: {key: value * stride if key in steps else value for key, value in one.items()}
        for name, one in sync["cameras"].items()
    }
    others = [{name: value * stride for name, value in one.items()} for one in sync["alternatives"]]
    return {**sync, "cameras": cameras, "pairs": pairs, "alternatives": others}


def _scenes(capture: Capture, seen: Observations) -> tuple[tuple[Scene, ...], ...]:
    """Images spread over the recording, where it has any, with the people that keypoints say are there."""
    filmed = tuple(camera for camera in capture.cameras if camera.video is not None and camera.frame_count)
    if not filmed:
        return ()
    try:
        steps = spread_steps(*common_time(replace(capture, cameras=filmed))).astype(int)
    except VergenceError:
        return ()
    out: list[tuple[Scene, ...]] = []
    for v, camera in enumerate(capture.cameras):
        own = []
        for step in steps if camera in filmed else ():
            with suppress(VergenceError):
                people = [track[step] for track in seen.people[v] if step < len(track)]
                own.append(scene(capture.image(v, int(step)), people))
        out.append(tuple(own))
    return tuple(out)


def _basis(looked: Look) -> str:
    steps = max(len(own) for own in looked.frames) if looked.frames is not None else 0
    if looked.frames is None:
        return "the given 2D keypoints of all images"
    start, rate = looked.start / looked.source.fps, looked.capture.fps
    spread = "" if looked.share > MOST else "a few spread over each video, and "
    return (
        f"2D keypoints of {looked.share:.0%} of the images: {spread}{steps} from {start:.1f} to {start + steps / rate:.1f} s, "
        f"{rate:.3g} a second" + ("" if looked.share > MOST else " (vergence detect finds those of all)")
    )


def _notes(looked: Look, seen: Observations | None, made: Reconstruction | None) -> tuple[str, ...]:
    every = (*looked.source.notes, *(() if seen is None else seen.notes), *(() if made is None else made.notes))
    return tuple(dict.fromkeys(every))
