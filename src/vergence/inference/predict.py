"""`predict`: a run, or the lifting model that comes with the package, on images of one camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.footage.detectors.base import PACKAGES, PREFERRED, open_detector
from vergence.inference.estimator import Estimator, exported_file, load
from vergence.inference.frames import PredictedFrames
from vergence.inference.inputs import ASSUMED_FPS, RGB, find_lens, open_footage
from vergence.inference.lifted import LiftedFrames
from vergence.inference.live import LiveFrames
from vergence.inference.takes import Take, open_take
from vergence.lifting import SHIPPED_RUN
from vergence.lifting.model import LiftingModel, is_lifting, load_lifting
from vergence.methods.exported import SUFFIX, check_engine
from vergence.networks.devices import resolve_device
from vergence.plugins import load_plugins
from vergence.progress import Progress, followed, silent


def predict(
    run: str | Path | Estimator | LiftingModel,
    source: str | Path | Iterable[RGB],
    *,
    box: str | Sequence[float] | None = None,
    boxes: str | Path | Mapping[int, Sequence[float]] | None = None,
    keypoints: str | Path | None = None,
    capture: str | Path | Capture | None = None,
    camera: str = "",
    fov: float | None = None,
    frames: str = "",
    fps: float | None = None,
    whole_image: bool = False,
    detector: str | None = None,
    detector_model: str = "",
    people: Literal["one", "all"] = "one",
    flip: bool | None = None,
    device: str = "auto",
    precision: str = "fp32",
    engine: str = "",
    plugins: Sequence[str | Path] = (),
    progress: Progress = silent,
) -> PredictedFrames:
    """3D poses of one person, or of everybody, in images of one camera.

        for frame in vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv"): print(frame.time, frame.pose)
        poses = vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv").collect()

    Args:
        run: folder of a trained run, a file that `vergence export` wrote of one, or its estimator (`vergence.load`);
            `lifting`: the model that comes with the package, which lifts 2D keypoints and was trained on motion
            capture.
        source: path of an image, a folder of images or a video; or RGB arrays, H W 3 of uint8, whose iterator may be endless.
        box: x, y, width, height of the person in every frame, px.
        boxes: COCO-style JSON or CSV (frame,x,y,w,h), or a box for each frame number; of several people one is followed.
        keypoints: of the person, px: OpenPose folder, COCO-style JSON or what a plug-in reads.
        capture: with the camera: intrinsics, lens distortion, up and, of its own video, the subject.
        camera: its name there, where there are several.
        fov: angle of view along the longer side, degrees, where no capture gives it; default: 55.
        frames: which frames, as in `0-34,65-99`; all where empty.
        fps: frames per second; the video's own, else 30. Images of an iterator that a detector looks at: as they come.
        whole_image: every image is a crop of one person. Images of the run's own crop size are always taken as such;
            for others an argument or a detector must give the person's place.
        detector: finds people where no other argument says where they are (`vergence.detect`): its name; empty for the
            first that is installed. None does the same for files where a run needs the person's place, and for a lifting
            model. In arrays it looks at each image as it comes, and a pose knows nothing of later images.
        detector_model: its local weights.
        people: `one`: who is longest, largest and most surely in view; `all`: everybody, each with a number and a result in
            every frame.
        flip: average with the mirrored image; None where the training saw mirrored images.
        device: `auto`, `cpu`, `cuda` or `mps`; an estimator stays where it is.
        precision: of a run: `fp32`, or `bf16`, faster where the processor has it; an estimator keeps its own.
        engine: of a run or a lifting model: `torch`, or `onnxruntime` for the `model.onnx` in its folder, on the CPU; an
            exported file is run by ONNX Runtime.
        plugins: files with the run's method or the reader of the keypoints.
        progress: reports every image.

    Returns:
        An iterator of frames, with `notes` and `collect`.

    Raises:
        VergenceError: inputs that cannot be read or do not fit together.
    """
    load_plugins(plugins)
    model = open_model(run, device, plugins, precision, engine)
    given: dict[str, Any] = {
        "box": box, "boxes": boxes, "keypoints": keypoints, "capture": capture, "camera": camera, "fov": fov,
        "frames": frames, "fps": fps, "whole_image": whole_image, "detector_model": detector_model, "device": device,
        "people": people, "progress": progress,
    }  # fmt: skip
    placed = whole_image or any(place is not None for place in (box, boxes, keypoints))
    looked_for = isinstance(model, LiftingModel) or detector is not None or bool(detector_model)
    if looked_for and not placed and not isinstance(source, str | Path):
        if frames:
            raise VergenceError(
                f"frames {frames} of arrays that are taken as they come", "Leave out the others yourself."
            )
        rate = fps or (ASSUMED_FPS if isinstance(source, Sized) else 0.0)
        images = followed((image for _, image in open_footage(source, fps).images(None)), "images", None, progress)
        finds, lens = open_detector(detector or "", detector_model, device), find_lens(capture, camera, fov)
        return LiveFrames(model, images, finds, lens, people == "all", flip, fps=rate)
    if isinstance(model, LiftingModel):
        return LiftedFrames(model, open_take(source, detector=detector or "", **given), flip, progress)
    take = open_take(source, detector=detector, **given)
    if take.footage.path is not None and take.person.whole is None:
        try:  # refused here, before a file is begun
            take.check_person(take.size, model.image_size)
        except VergenceError as unknown:
            take = _looked_for(source, given, unknown)
    if people == "all" and take.person.track is None:
        raise VergenceError(f"nothing tells people apart in {take.name}", "Give --keypoints or --detector.")
    return PredictedFrames(model, take, flip, progress)


def open_model(
    run: str | Path | Estimator | LiftingModel,
    device: str,
    plugins: Sequence[str | Path] = (),
    precision: str = "fp32",
    engine: str = "",
) -> Estimator | LiftingModel:
    """What predicts; what ONNX Runtime is for takes the CPU unless another device was asked for by name."""
    if not isinstance(run, str | Path):
        return run
    graph = engine == "onnxruntime" or Path(run).suffix == SUFFIX
    shipped = str(run) == SHIPPED_RUN
    if shipped or is_lifting(run):
        check_engine(engine or "torch", "cpu", "fp32")
        resolve_device(device)  # of the detector; refused also where none is needed
        if shipped and graph:
            again = f"Give the file: `vergence export {SHIPPED_RUN} --out lifting.onnx` writes it."
            raise VergenceError("the model that comes with the package has no ONNX file beside it", again)
        return load_lifting(exported_file(Path(run)) if graph else None if shipped else run)
    return load(run, "cpu" if graph and device == "auto" else resolve_device(device), plugins, precision, engine)


def _looked_for(source: str | Path | Iterable[RGB], given: dict[str, Any], unknown: VergenceError) -> Take:
    """The take with people whom a detector found, where one is installed that was made for it."""
    if not any(find_spec(PACKAGES[name]) for name in PREFERRED if name != "vitpose"):
        raise unknown
    try:
        return open_take(source, detector="", **given)
    except VergenceError as error:
        problem = f"{unknown.problem}; a detector was asked: {error.problem}"
        raise VergenceError(problem, f"{unknown.remedy} {error.remedy}") from error
