"""`predict`: a run, or the lifting model that comes with the package, on images of one camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vergence.footage.capture import Capture
from vergence.inference.estimator import Estimator, load
from vergence.inference.frames import PredictedFrames
from vergence.inference.inputs import RGB
from vergence.inference.lifted import LiftedFrames
from vergence.inference.takes import open_take
from vergence.lifting.model import LiftingModel, is_lifting, load_lifting
from vergence.networks.devices import resolve_device
from vergence.plugins import load_plugins
from vergence.progress import Progress, silent

SHIPPED_RUN = "lifting"


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
    flip: bool | None = None,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    progress: Progress = silent,
) -> PredictedFrames:
    """3D poses of one person in images of one camera.

        for frame in vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv"): print(frame.time, frame.pose)
        poses = vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv").collect()

    Args:
        run: folder of a trained run, or its estimator (`vergence.load`); `lifting`: the model that comes with the package,
            which lifts 2D keypoints and was taught by motion capture.
        source: path of an image, a folder of images or a video; or RGB arrays, H W 3 of uint8, whose iterator may be endless.
        box: x, y, width, height of the person in every frame, px.
        boxes: COCO-style JSON or CSV (frame,x,y,w,h), or a box for each frame number; of several people one is followed.
        keypoints: of the person, px: OpenPose folder, COCO-style JSON or what a plug-in reads.
        capture: that knows the camera: intrinsics, lens distortion, up and, of its own video, the subject.
        camera: its name there, where there are several.
        fov: angle that the longer side spans, degrees, where no capture says; 55 where nothing does.
        frames: which frames, as in `0-34,65-99`; all where empty.
        fps: frames per second; the video's own, else 30.
        whole_image: every image is a crop of one person. Images of the run's own crop size are taken so anyway; of all others
            something must say where the person is.
        detector: finds the person's 2D keypoints where nothing else says where the person is (`vergence.detect`); empty: the
            first that is installed, as lifting models do by themselves.
        detector_model: its local weights.
        flip: average with the mirrored image; None where the training saw mirrored images.
        device: `auto`, `cpu`, `cuda` or `mps`; an estimator stays where it is.
        plugins: files that the run's method, or the reader of the keypoints, stands in.
        progress: told of every image.

    Returns:
        An iterator of frames, with `notes` and `collect`.

    Raises:
        VergenceError: what was given cannot be read or does not fit together.
    """
    load_plugins(plugins)
    lifting = run if isinstance(run, LiftingModel) else None
    if isinstance(run, str | Path) and (str(run) == SHIPPED_RUN or is_lifting(run)):
        lifting = load_lifting(None if str(run) == SHIPPED_RUN else run)
    take = open_take(
        source,
        box=box,
        boxes=boxes,
        keypoints=keypoints,
        capture=capture,
        camera=camera,
        fov=fov,
        frames=frames,
        fps=fps,
        whole_image=whole_image,
        detector="" if detector is None and lifting is not None else detector,
        detector_model=detector_model,
        device=device,
        progress=progress,
    )
    if lifting is not None:
        return LiftedFrames(lifting, take, flip, progress)
    assert not isinstance(run, LiftingModel)
    estimator = load(run, resolve_device(device), plugins) if isinstance(run, str | Path) else run
    if take.footage.path is not None and take.person.whole is None:  # refused here, before a file is begun
        for _, image in take.footage.images((take.rows or [0])[:1]):
            take.check_person((image.shape[1], image.shape[0]), estimator.image_size)
    return PredictedFrames(estimator, take, flip, progress)
