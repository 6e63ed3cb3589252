"""`vergence.learn`: recordings of several cameras in, a model that sees 3D with one camera out.

    OUT/NAME/keypoints/       2D keypoints, where the recording had none (`vergence detect`)
    OUT/NAME/capture.toml     the recording with them
    OUT/NAME/reconstruction/  cameras and 3D (`vergence reconstruct`)
    OUT/NAME/without-CAMERA/  3D by the other cameras, where one is held out
    OUT/model/                the lifting model (`vergence predict OUT/model VIDEO`)
    OUT/image/                the image model's run, where it was asked for
    OUT/results.json          verdicts, figures in held-out time, what was decided

Every step leaves what its own verb would, and what is there already is not made again: a stopped call goes on where it was, and
ends with the same bytes (so no file says how long anything took). A
recording that cannot be reconstructed ends it; a `doubtful` one does so too, until somebody says `anyway`, and its model
says so for ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool

from vergence.errors import VergenceError, check_choice, check_seed, refusing, several
from vergence.evaluation.footage import held_from, identity, lifted, measure_footage, words
from vergence.evaluation.without_truth import PROTOCOL, Held, measure, scene_of
from vergence.files import plain, read_json, remove_leftovers, write_json
from vergence.folders import check_apart, claim, held
from vergence.footage.capture import Capture, load_capture
from vergence.footage.capture_writer import write_capture
from vergence.footage.detectors.detect import content
from vergence.footage.detectors.footage import with_keypoints
from vergence.footage.observations import observe
from vergence.learning.hidden import capture_without, check_hidden, labels_without
from vergence.learning.motions import SHORTEST_S, motions_of, read_motions
from vergence.lifting.exported import ExportedLifter
from vergence.lifting.model import LiftingModel, describe, is_lifting, load_lifting
from vergence.lifting.train import LifterTraining, train_lifter
from vergence.lifting.virtual import Motion, VirtualCameras
from vergence.networks.devices import NAMES
from vergence.outputs import PoseSequence, height_mm
from vergence.progress import Progress, silent
from vergence.reconstruction.footage import reconstruct
from vergence.reconstruction.result import Reconstruction
from vergence.training.processes import check_alone
from vergence.training.train import train

Student = Literal["lifting", "image", "both"]
HELD_OUT = 0.2  # of a recording's time, from its middle on
# Of a training that starts from a model and sees footage; from nothing it takes `LifterTraining`'s own.
STEPS, RATE, GESTURES = 600, 5e-4, 0.3
MOTION_SHARE = 0.5  # of the samples, where there is motion capture beside footage


@dataclass(frozen=True)
class Recording:
    """One recording as it was understood.

    Attributes:
        name: of its folder in OUT.
        capture: with keypoints.
        reconstruction: as it was loaded from its folder.
        held_out: rows that no model was trained on.
        hidden: cameras that no model was trained on.
        labels: the poses that teach: the reconstruction's, or by the cameras that are not hidden.
        figures: of the lifting model in these rows; None where nothing was held out or it was not asked for.
        image_figures: of the image model, likewise.
    """

    name: str
    capture: Capture
    reconstruction: Reconstruction
    held_out: Bool[np.ndarray, " T"]
    hidden: tuple[str, ...]
    labels: PoseSequence
    figures: Held | None = None
    image_figures: Held | None = None


@dataclass(frozen=True)
class Learned:
    """The result of `learn`.

    Attributes:
        folder: OUT.
        recordings: in the order given.
        model: the lifting model; None where only an image model was asked for.
        image_run: folder of the image model's run; None where it was not asked for.
        doubtful: a recording's verdict was `doubtful`.
    """

    folder: Path
    recordings: tuple[Recording, ...]
    model: LiftingModel | None
    image_run: Path | None
    doubtful: bool


def learn(
    footage: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    student: Student = "lifting",
    detector: str = "",
    model: str = "",
    motion: str | Path | None = None,
    height: float | None = None,
    held_out: float = HELD_OUT,
    hold_out: str | Sequence[str] = (),
    steps: int | None = None,
    anyway: bool = False,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
    each: Callable[[Reconstruction, Path], object] = lambda found, folder: None,
) -> Learned:
    """A single-camera model from recordings of several uncalibrated cameras.

    Args:
        footage: one folder of videos or capture, or several, each one recording of one person.
        out: folder for everything; after a stop the same call continues there.
        student: `lifting`: 2D keypoints to 3D, minutes on a CPU, for any camera. `image`: an image network (recipe
            `capture`) for these cameras. `both`.
        detector, model: of the 2D keypoints, where a recording has none (`vergence.detect`).
        motion: folder of motion capture to learn from as well; without footage, only from it.
        height: of the people, metres, where no calibration gives a length.
        held_out: share of each recording's time, in its middle, that is kept for measuring; 0 trains on everything.
        hold_out: name or names of cameras that are held out of training, to measure the model on a new camera.
        steps: of the lifting model's training; default: 600 with footage, 4000 with motion alone.
        anyway: also use recordings whose verdict is `doubtful`.
        device: of detector and image network.
        seed: of everything.
        progress: reports every step.
        each: called with every reconstruction that was made now and its folder, for its page.

    Raises:
        VergenceError: a recording cannot be reconstructed, or is `doubtful` without `anyway`; says why, and of which.
    """
    check_alone()
    out, footage, hidden = Path(out), several(footage), tuple(several(hold_out) if hold_out else ())
    check_seed(seed)
    check_choice("student", student, get_args(Student))
    check_choice("device", device, NAMES)
    if not 0 <= held_out < 0.9:
        raise VergenceError(f"{held_out:g} of the time is held out", "Give a share from 0 to 0.9.")
    height_mm(height)
    if steps is not None and steps < 1:
        raise VergenceError(f"{steps} steps of training", f"Give 1 or more; {STEPS} are usual with footage.")
    if motion is not None and not Path(motion).is_dir():
        raise VergenceError(f"there is no folder {motion}", "Give --motion a folder of BVH or NPZ files.")
    if not footage and motion is None:
        raise VergenceError("there is nothing to learn from", "Give recordings, or --motion.")
    if not footage and student != "lifting":
        raise VergenceError(
            "an image model cannot be trained on motion alone", "Give recordings, or --student lifting."
        )
    places = [Path(one).resolve() for one in footage]
    if twice := next((one for one in places if places.count(one) > 1), None):
        raise VergenceError(f"{twice} is given twice", "Give each recording once.")
    for one in places:
        check_apart(out, one)
    names = _names([Path(one) for one in footage])
    captures = [load_capture(one) for one in footage]
    if hidden:
        check_hidden(hidden, {name: one.names for name, one in zip(names, captures, strict=True)})
    with held(out):
        remove_leftovers(out)
        made_with = (detector, model, height, device, seed)
        recordings = [
            _understood(Path(one), capture, out / name, made_with, held_out, hidden, progress, each)
            for one, capture, name in zip(footage, captures, names, strict=True)
        ]
        doubtful = [one for one in recordings if one.reconstruction.verdict != "good"]
        if doubtful and not anyway:
            told = "; ".join(f"{one.name}: {_first(one.reconstruction.reasons)}" for one in doubtful)
            raise VergenceError(
                f"not every recording is good enough to learn from. {told}",
                f"Look at {out / doubtful[0].name / 'reconstruction'}; film again, or use --anyway.",
            )
        lifted = None
        if student != "image":
            lifted = _lifting(recordings, motion, out / "model", steps, bool(doubtful), seed, progress)
            before = load_lifting()
            recordings = [
                dataclasses.replace(one, figures=_measured(one, lifted, before)) if one.held_out.any() else one
                for one in recordings
            ]
            config = _tell_error(out / "model", {one.name: one.figures for one in recordings})
            lifted = dataclasses.replace(lifted, config=config)
        image = _image(recordings, out / "image", device, progress) if student != "lifting" else None
        if image is not None:
            recordings = [
                dataclasses.replace(one, image_figures=held_from(measure_footage(image, out / one.name, device=device)))
                if one.held_out.any()
                else one
                for one in recordings
            ]
            _tell_error(image, {one.name: one.image_figures for one in recordings})
        learned = Learned(out, tuple(recordings), lifted, image, bool(doubtful))
        write_json(out / "results.json", results_of(learned))
    return learned


def _first(reasons: Sequence[str]) -> str:
    """The first reason, and how many more there are: a page has all."""
    more = len(reasons) - 1
    return reasons[0].rstrip(".") + (f" (and {more} more reason{'s' * (more > 1)})" if more else "")


def results_of(learned: Learned) -> dict[str, Any]:
    """What results.json holds."""
    return {
        "protocol": PROTOCOL,
        "doubtful": learned.doubtful,
        "recordings": {
            one.name: {
                "synchronisation": one.reconstruction.synchronisation,
                "verdict": one.reconstruction.verdict,
                "reasons": one.reconstruction.reasons,
                "frames": len(one.held_out),
                "held_out": words(one.held_out),
                "held_out_cameras": list(one.hidden),
                "figures": plain(one.figures),
                **({} if one.image_figures is None else {"image_figures": plain(one.image_figures)}),
                "notes": one.reconstruction.notes,
            }
            for one in learned.recordings
        },
        "model": None if learned.model is None else learned.model.config,
        "image_run": None if learned.image_run is None else learned.image_run.name,
    }


def _names(footage: Sequence[Path]) -> list[str]:
    """A folder's name for every recording, none twice."""
    stems = [(one if one.suffix != ".toml" else one.parent).resolve().name for one in footage]
    return [stem if stems.count(stem) == 1 else f"{stem}-{i + 1}" for i, stem in enumerate(stems)]


def _understood(
    footage: Path,
    capture: Capture,
    folder: Path,
    made_with: tuple[str, str, float | None, str, int],
    held_out: float,
    hidden: tuple[str, ...],
    progress: Progress,
    each: Callable[[Reconstruction, Path], object],
) -> Recording:
    """Keypoints and reconstruction of one recording, made where they are not there."""
    detector, model, height, device, seed = made_with
    name = folder.name
    seen = with_keypoints(
        capture, folder / "keypoints", detector=detector, model=model, device=device, progress=progress
    )
    write_capture(folder, seen)
    capture = dataclasses.replace(load_capture(folder), notes=capture.notes)
    done = folder / "reconstruction"
    each_camera = [camera.keypoints for camera in capture.cameras]
    files = [file for file in (capture.keypoint_file, *each_camera, folder / "capture.toml") if file is not None]
    made_of = {"footage": str(footage.resolve()), "files": [content(file) for file in files]}
    claim(folder / "made_of.yaml", {**made_of, "height": height, "seed": seed}, "another recording's results")
    progress(f"{name}: reconstruction", 0, 1)
    if not (done / "results.json").is_file():
        with refusing(f"{name} cannot be reconstructed", "", VergenceError):
            made = reconstruct(capture, height=height, seed=seed)
        made = dataclasses.replace(made, seconds=float("nan"))
        each(made, done)  # before results.json, which says that the step is done
        made.save(done)
    progress(f"{name}: reconstruction", 1, 1)
    kept = Reconstruction.load(done)
    if (done / "capture.toml").is_file():  # cameras were brought to one time
        capture = load_capture(done)
    own = tuple(camera for camera in capture.names if camera in hidden)
    labels = labels_without(kept, capture, own, folder)
    return Recording(name, capture, kept, middle(len(kept.poses.pose), held_out), own, labels)


def middle(frames: int, share: float) -> Bool[np.ndarray, " T"]:
    """The rows held out: one stretch of this share, that ends two thirds through."""
    held = np.zeros(frames, dtype=bool)
    count = round(frames * share)
    stop = round(frames * (1 + share) / 2)
    held[stop - count : stop] = True
    return held


def _lifting(
    recordings: Sequence[Recording],
    motion: str | Path | None,
    folder: Path,
    steps: int | None,
    doubtful: bool,
    seed: int,
    progress: Progress,
) -> LiftingModel:
    """The lifting model, trained where it is not there."""
    taught = [motions_of(one.labels, ~one.held_out) for one in recordings]
    if empty := [one.name for one, found in zip(recordings, taught, strict=True) if not found]:
        raise VergenceError(
            f"nothing can be learned from {', '.join(empty)}: the person is never whole (hips, knees, ankles, shoulders, "
            f"elbows and wrists) for {SHORTEST_S:g} s",
            "Film so that all of the body is in view of two cameras at least, or leave the recording out.",
        )
    own = [stretch for found in taught for stretch in found]
    other = {} if motion is None else read_motions(motion)
    settings = LifterTraining() if not own else LifterTraining(rate=RATE, cameras=VirtualCameras(varied=GESTURES))
    settings = dataclasses.replace(settings, steps=steps if steps is not None else STEPS if own else settings.steps)
    made_of = {
        "recordings": {one.name: content(folder.parent / one.name / "made_of.yaml") for one in recordings},
        "held_out": [words(one.held_out) for one in recordings],
        **({"hold_out": [list(one.hidden) for one in recordings]} if any(one.hidden for one in recordings) else {}),
        "motion": sorted(other),
        "training": plain(settings),
        "seed": seed,
    }
    claim(folder / "made_of.yaml", made_of, "another model")
    if is_lifting(folder):
        return load_lifting(folder)
    start = load_lifting().network if own else None
    assert not isinstance(start, ExportedLifter)
    network = train_lifter(
        [*own, *other.values()],
        settings,
        weights=_weights(own, list(other.values())),
        start=start,
        checkpoint=folder / "checkpoint.pt",
        seed=seed,
        progress=progress,
    )
    teachers = "poses are lifted from 2D keypoints by a model trained on " + " and ".join(
        [f"the multi-view reconstruction of {one.name} ({one.reconstruction.verdict})" for one in recordings]
        + ([f"{len(other)} files of motion capture"] if other else [])
        + (["the model that comes with the package (CMU motion capture)"] if own else [])
    )
    learned_from = {
        one.name: {
            "cameras": [name for name in one.capture.names if name not in one.hidden],
            "frames": words(~one.held_out),
            "files": identity(one.capture),
        }
        for one in recordings
    }
    made = describe(
        network, settings.fps, taught_by=teachers, doubtful=doubtful, made_of=made_of, recordings=learned_from
    )
    made.save(folder)
    return load_lifting(folder)


def _weights(own: Sequence[Motion], other: Sequence[Motion]) -> list[float]:
    """How often each motion is drawn: by the square root of its length, footage and motion capture alike in sum."""
    parts = [np.array([len(m.pose) ** 0.5 for m in part]) for part in (own, other)]
    shares = (1.0, 0.0) if not len(other) else (1 - MOTION_SHARE, MOTION_SHARE) if len(own) else (0.0, 1.0)
    return [float(w) for part, share in zip(parts, shares) for w in (part / part.sum() * share if len(part) else part)]


def _measured(one: Recording, model: LiftingModel, before: LiftingModel) -> Held:
    found, seen = one.reconstruction, observe(one.capture)
    scene = scene_of(found, seen, model.skeleton)
    return measure(lifted(model, found, seen, before), scene, one.held_out, ~one.held_out, one.hidden)


def _tell_error(folder: Path, found: Mapping[str, Held | None]) -> dict[str, Any]:
    """Adds to a model's config.json how far it is from the reconstruction on held-out time, for who uses it later: what that
    holds then. Where cameras were held out, it is by them, from the reconstruction by the others."""
    path = folder / "config.json"
    config: dict[str, Any] = read_json(path)
    errors = {
        name: dict(zip(("n_mpjpe", "p_mpjpe"), held.mean("model", held.hidden, others=bool(held.hidden))))
        | {"held_out_cameras": list(held.hidden)}
        for name, held in found.items()
        if held is not None
    }
    if errors:
        config["held_out_error"] = errors
        write_json(path, config)
    return config


def _image(recordings: Sequence[Recording], folder: Path, device: str, progress: Progress) -> Path:
    """The run of the recipe `capture` on one recording; others would need a recipe of their own."""
    if len(recordings) != 1:
        raise VergenceError(
            f"an image model of {len(recordings)} recordings needs a recipe that mixes them",
            "Give one recording, --student lifting, or write a recipe with a source for each.",
        )
    one = recordings[0]
    path = capture_without(one.capture, one.hidden, folder.parent / one.name).resolve()
    options = ["--sources.footage.path", str(path), "--sources.footage.frames", words(~one.held_out)]
    train("capture", folder, overrides=options, device=device, progress=progress)
    return folder
