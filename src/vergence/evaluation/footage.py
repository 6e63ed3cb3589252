"""`vergence.evaluate(RUN, footage=F)`: a run on footage of several cameras of which nobody knows the truth.

What the run learned from is kept in its config (lifting models: recordings, cameras, frames, and digests of the files) or its
recipe (image runs). Where the footage is among it, only frames that were held out are measured, and cameras that were held
out are named; other footage is measured whole. The reconstruction that stands for the truth is looked for where `learn` and
`reconstruct` put it, and made where it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.evaluation.without_truth import PROTOCOL, Held, flat_poses, measure, scene_of
from vergence.files import from_plain, plain
from vergence.footage.capture import Capture, load_capture
from vergence.footage.detectors.detect import content
from vergence.footage.detectors.footage import with_keypoints
from vergence.footage.observations import Observations, observe
from vergence.footage.video import wanted_frames
from vergence.geometry.body import stature
from vergence.geometry.cameras import Camera
from vergence.inference.estimator import Estimator
from vergence.inference.people import Track
from vergence.inference.predict import open_model, predict
from vergence.lifting import SHIPPED_RUN
from vergence.lifting.model import LiftingModel, load_lifting, stretches
from vergence.outputs import height_mm
from vergence.outputs.world import HEIGHT, PROPORTIONS_SIGMA
from vergence.progress import Progress, silent
from vergence.recipes.load import load_recipe
from vergence.reconstruction.footage import HEIGHT_TOLERANCE, reconstruct
from vergence.reconstruction.inputs import check_views
from vergence.reconstruction.result import Reconstruction
from vergence.skeleton import Skeleton

Array = np.ndarray
FILES = ("poses.npz", "rig.toml", "results.json")


@dataclass(frozen=True)
class Recording:
    """Footage with the reconstruction that stands for the truth."""

    capture: Capture
    found: Reconstruction
    seen: Observations


def measure_footage(
    run: str | Path | LiftingModel | Estimator,
    footage: str | Path,
    *,
    frames: str = "",
    reconstruction: str | Path = "",
    height: float | None = None,
    detector: str = "",
    model: str = "",
    keypoints: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """The results of a run on footage, beside those of simple answers.

    Args:
        run: folder of a lifting model or of an image run, `lifting` for the model that comes with the package, or either
            one loaded.
        footage: folder of a capture, or a recording's folder in what `learn` wrote.
        frames: as `35-64`; where not given, those that the run did not learn from.
        reconstruction: folder that `reconstruct` wrote of this footage.
        height: of the person, metres: the figures' scale, where cameras do not give one.
        detector, model: of 2D keypoints, where a video has none (`vergence.detect`).
        keypoints: folder for what is detected; the user's cache where not given.
        device: of an image run and the detector.
        progress: reports every image.

    Raises:
        VergenceError: no such run, footage or detector, or a reconstruction of another recording.
    """
    height_mm(height)
    opened = open_model(run, device)
    own, place = Path(footage), None if keypoints is None else Path(keypoints)
    whole = partial(with_keypoints, folder=place, detector=detector, model=model, device=device, progress=progress)
    one = _recording(own, opened, Path(reconstruction) if reconstruction else None, height, whole)
    taught, hidden = _learned(opened, one)
    count = len(one.seen.keypoints)
    rows = np.zeros(count, dtype=bool)
    rows[wanted_frames(frames, count)] = True
    if not frames and not taught.all():
        rows &= ~taught
    ways, skeleton, upright = _ways(opened, one, rows, progress)
    held = measure(ways, scene_of(one.found, one.seen, skeleton), rows, taught & ~rows, hidden, upright)
    return {
        "footage": {
            "run": str(opened.folder or SHIPPED_RUN),
            "path": str(own),
            "frames": words(rows),
            "frames_learned_from": int((rows & taught).sum()),
            "verdict": one.found.verdict,
            "reasons": one.found.reasons,
            "figures": plain(held),
        },
        "protocol": {"footage": PROTOCOL},
    }


def identity(capture: Capture) -> list[str]:
    """Digests of a recording's videos and keypoint files, by which it is known again."""
    files = [capture.keypoint_file, *(f for camera in capture.cameras for f in (camera.video, camera.keypoints))]
    return sorted({content(file) for file in files if file is not None})


def words(rows: Bool[Array, " T"]) -> str:
    """Frames as options name them: `0-34,65-99`."""
    return ",".join(f"{run.start}-{run.stop - 1}" for run in stretches(rows))


def held_from(results: dict[str, Any]) -> Held:
    """The figures that `measure_footage` put into results."""
    return from_plain(Held, results["footage"]["figures"])


def lifted(
    model: LiftingModel, found: Reconstruction, seen: Observations, before: LiftingModel | None = None
) -> dict[str, Float[Array, "V T K 3"]]:
    """What lifting models make of every camera's own keypoints, as `predict` takes them, and these without depth."""
    cameras, fps, frames = found.rig.cameras, found.poses.fps, len(seen.keypoints)
    tracks = [Track.of(seen.keypoints[:, v], seen.skeleton).steady(fps)[0] for v in range(len(cameras))]
    keypoints = np.stack([track.window(0, frames) for track in tracks], 1)

    def each(camera: Camera, view: int, one: LiftingModel) -> Array:
        return one(keypoints[:, view], seen.skeleton, camera, fps)

    ways = {"model": np.stack([each(camera, v, model) for v, camera in enumerate(cameras)])}
    if before is not None:
        ways["without the footage"] = np.stack([each(camera, v, before) for v, camera in enumerate(cameras)])
    points = seen.skeleton.convert(keypoints[..., :2].astype(np.float64), model.skeleton)
    ways["zero depth"] = np.stack([flat_poses(camera.normalise(points[:, v])) for v, camera in enumerate(cameras)])
    return ways


def _recording(
    own: Path,
    run: LiftingModel | Estimator,
    given: Path | None,
    height: float | None,
    whole: Callable[[Capture], Capture],
) -> Recording:
    """The footage and its reconstruction from where they are; `whole` gives it the keypoints that it lacks."""
    capture = load_capture(own)
    if given and not all((given / file).is_file() for file in FILES):
        raise VergenceError(f"{given} holds no reconstruction", "Give a folder that vergence reconstruct wrote.")
    for folder in [given] if given else _places(own, run):
        if (there := _at_one_time(folder, capture)) is not None:
            return _fitting(whole(there), _by_height(Reconstruction.load(folder), height_mm(height), folder), folder)
    if given:
        raise VergenceError(f"{given} is of other footage than {own}", "Give the reconstruction of this very footage.")
    check_views(len(capture.cameras))
    found = reconstruct(whole(capture), height=height)
    assert found.capture is not None
    assert found.observations is not None
    return Recording(found.capture, found, found.observations)


def _by_height(found: Reconstruction, tall: float | None, folder: Path) -> Reconstruction:
    """A reconstruction at the scale of the person's height, where it has none of its own; that must agree."""
    if tall is None:
        return found
    if found.poses.unit == "reference_bone":
        world = replace(found.poses.in_world(tall), scale_from=HEIGHT, scale_sigma=PROPORTIONS_SIGMA)
        return replace(found, poses=replace(found.poses, world=world))
    own = stature(found.poses.pose, found.skeleton) * found.poses.in_world().mm_per_unit
    if abs(own / tall - 1) > HEIGHT_TOLERANCE:
        raise VergenceError(
            f"the person is {own / 1000:.2f} m tall in the reconstruction in {folder}, by --height {tall / 1000:.2f} m",
            "Leave --height out, or reconstruct anew with it.",
        )
    return found


def _places(own: Path, run: LiftingModel | Estimator) -> list[Path]:
    """Where a reconstruction may lie: in the footage's folder, that itself, and beside the run that learned from it."""
    beside = [] if run.folder is None else sorted(run.folder.resolve().parent.glob("*/reconstruction"))
    folder = own if own.is_dir() else own.parent
    return [folder / "reconstruction", folder, *beside]


def _at_one_time(folder: Path, capture: Capture) -> Capture | None:
    """The capture as a reconstruction has it, whose cameras may have been brought to one time; None where there is no
    reconstruction, or one of other footage."""
    if not all((folder / file).is_file() for file in FILES):
        return None
    ours = set(identity(capture))
    beside = [place / "capture.toml" for place in (folder, folder.parent)]
    for file in [file for file in beside if file.is_file()]:
        other = load_capture(file)
        if other.names == capture.names and ours & set(identity(other)):
            return other
    return None if beside[0].is_file() or (folder.name == "reconstruction" and beside[1].is_file()) else capture


def _fitting(capture: Capture, found: Reconstruction, folder: Path) -> Recording:
    seen = observe(capture)
    if len(seen.keypoints) != len(found.poses.pose) or capture.names != found.rig.names:
        raise VergenceError(
            f"{folder} has {len(found.poses.pose)} frames of cameras {', '.join(found.rig.names)}, the footage "
            f"{len(seen.keypoints)} of {', '.join(capture.names)}",
            "Reconstruct this very footage, whole.",
        )
    return Recording(capture, found, seen)


def _learned(run: LiftingModel | Estimator, one: Recording) -> tuple[Bool[Array, " T"], tuple[str, ...]]:
    """The rows that a run learned from, and, where there are any, the cameras that it did not."""
    count, names = len(one.seen.keypoints), one.capture.names
    taught, shown, ours = np.zeros(count, dtype=bool), set[str](), set(identity(one.capture))
    for frames, cameras, files in _lessons(run, count):
        if ours & set(files):
            taught[wanted_frames(frames, count)] = True
            shown |= set(cameras)
    return taught, tuple(name for name in names if name not in shown) if taught.any() else ()


def _lessons(run: LiftingModel | Estimator, count: int) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Frames, cameras and digests of every recording that a run learned from."""
    if isinstance(run, LiftingModel):
        for one in run.config.get("recordings", {}).values():
            yield one["frames"], one["cameras"], one["files"]
        return
    recipe = run.folder / "recipe.yaml" if run.folder else Path()
    if not recipe.is_file():
        return
    for source in load_recipe(str(recipe)).sources.values():
        if source.kind == "capture" and Path(source.path).exists():
            capture = load_capture(source.path)
            yield vars(source)["frames"], capture.names, identity(capture)


def _ways(
    run: LiftingModel | Estimator, one: Recording, rows: Bool[Array, " T"], progress: Progress
) -> tuple[dict[str, Array], Skeleton, bool]:
    """Poses of the run and of zero depth, their joints, and whether they are in the cameras' frames."""
    if isinstance(run, LiftingModel):
        before = load_lifting() if run.config.get("recordings") else None
        return lifted(run, one.found, one.seen, before), run.skeleton, True
    capture = replace(
        one.capture,
        cameras=tuple(
            replace(camera, intrinsics=known.K, distortion=known.distortion)
            for camera, known in zip(one.capture.cameras, one.found.rig.cameras, strict=True)
        ),
    )
    shape = (len(capture.cameras), len(rows), len(run.skeleton))
    poses, points, upright = np.full((*shape, 3), np.nan), np.full((*shape, 2), np.nan), True
    for view, camera in enumerate(capture.cameras):
        if camera.video is None:
            raise VergenceError(f"camera {camera.name} has no images", "An image run needs the videos.")
        own = camera.own_frames(np.flatnonzero(rows))
        own = np.round(own[np.isfinite(own)]).astype(int)
        asked = ",".join(map(str, own[own >= 0]))
        if not asked:
            continue
        frames = predict(run, camera.video, capture=capture, camera=camera.name, frames=asked, progress=progress)
        for frame in frames:
            row = np.flatnonzero(rows & (np.round(camera.own_frames(np.arange(len(rows)))) == frame.frame))
            poses[view, row] = frame.pose
            points[view, row] = camera.normalise(frame.keypoints)
        upright = not frames.canonical
    return {"model": poses, "zero depth": flat_poses(points)}, run.skeleton, upright
