"""`vergence synth`: a dataset from the built-in world on disk, with everything that is true about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vergence.errors import VergenceError

if TYPE_CHECKING:
    import numpy as np

    from vergence.synthetic import Faults, Rig
    from vergence.views import Views

PICTURES_AT_ONCE = 1000  # drawn together; bounds the memory
JPEG_QUALITY = 95


def synth(
    out: Path,
    kind: Literal["capture", "pictures"] = "capture",
    subjects: int | None = None,
    frames: int | None = None,
    views: int = 4,
    size: int | None = None,
    fps: float = 25.0,
    look: Literal["studio", "wild"] | None = None,
    known: Literal["nothing", "intrinsics", "cameras"] = "intrinsics",
    noise_px: float = 0.0,
    missing_joints: float = 0.0,
    swapped_sides: float = 0.0,
    dropped_views: float = 0.0,
    focal_error: float = 0.0,
    occlusion: float | None = None,
    truncation: float | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Writes captures (a video per camera, capture.toml, keypoints.npz, truth.npz) or pictures with keypoints.

    A capture is what `vergence reconstruct` reads; with several subjects each has a folder, person01 and on, else OUT is
    the capture. Pictures are JPEG crops of one person each, with COCO-style keypoints.json and truth.npz.

    Args:
        out: folder, new or empty.
        kind: capture, or pictures.
        subjects: people; default: 1 for a capture, 1000 for pictures. Person i of seed s is person 0 of seed s + i.
        frames: of each capture (default 250), or pictures of each person (default 1).
        views: cameras of a capture.
        size: side of the square pictures, px; default: 640 for a capture, 256 for pictures.
        fps: frames per second of a capture.
        look: studio or wild; default: studio for a capture, wild for pictures.
        known: what capture.toml tells of the cameras: nothing, intrinsics, or cameras (intrinsics, R and t).
        noise_px: standard deviation of the keypoints' error, px.
        missing_joints: share of keypoints that are not found.
        swapped_sides: share of pictures whose keypoints have left and right exchanged.
        dropped_views: share of a capture's pictures without any keypoint.
        focal_error: standard deviation of the error of a capture's stated focal lengths, as a share; one for each camera.
        occlusion: share of pictures with an object before the person; default: the look's own. Only for pictures.
        truncation: share of pictures that cut the person off; default: the look's own. Only for pictures.
        seed: of people, motion, cameras and faults.
        device: where to draw: auto, cpu, cuda or mps.
        quiet: no progress bar.
    """
    from vergence.synthetic import Faults

    capture = kind == "capture"
    _refuse_foreign(capture, occlusion=occlusion, truncation=truncation)
    _refuse_foreign(not capture, dropped_views=dropped_views or None, focal_error=focal_error or None)
    faults = Faults(occlusion, truncation, noise_px, missing_joints, swapped_sides, dropped_views, 0.0, focal_error)
    people = subjects if subjects is not None else (1 if capture else 1000)
    each = frames if frames is not None else (250 if capture else 1)
    side = size if size is not None else (640 if capture else 256)
    for name, value in (("subjects", people), ("frames", each), ("views", views)):
        if value < 1:
            raise VergenceError(f"--{name} is {value}", "Give at least 1.")
    if not 16 <= side <= 2048:
        raise VergenceError(f"--size is {side}", "Give 16 to 2048 px.")
    _claim(out)
    look = look or ("studio" if capture else "wild")
    device = _device(device)
    with _progress(people * each, quiet) as advance:
        if capture:
            for i in range(people):
                folder = out if people == 1 else out / f"person{i + 1:02d}"
                write_recording(folder, each, views, side, fps, look, known, faults, seed + i, device, advance)
        else:
            write_pictures(out, people, each, side, look, faults, seed, device, advance)


def _refuse_foreign(foreign: bool, **options: float | None) -> None:
    for name, value in options.items():
        if foreign and value is not None:
            kind = "pictures" if name in ("occlusion", "truncation") else "capture"
            raise VergenceError(f"--{name} {value:g} is for --kind {kind} only", f"Use --kind {kind}, or leave it out.")


def _claim(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise VergenceError(f"cannot write to {out}: {error.strerror}", "Choose another folder.") from error
    if taken:
        raise VergenceError(f"{out} is not empty", "Choose a new folder, or empty it.")


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _progress(total: int, quiet: bool) -> Any:
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def shown() -> Iterator[Callable[[int], None]]:
        with Progress(disable=quiet) as progress:
            task = progress.add_task("drawing", total=total)
            yield lambda steps: progress.advance(task, steps)

    return shown()


def write_recording(
    folder: Path,
    frames: int,
    views: int,
    size: int,
    fps: float,
    look: str,
    known: str,
    faults: Faults,
    seed: int,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """One person filmed by one rig: videos, capture.toml, keypoints.npz (2D, with faults), truth.npz (3D, cameras, 2D)."""
    from contextlib import ExitStack

    import numpy as np

    from vergence.footage.video import VideoWriter
    from vergence.synthetic import draw_rigs, render_capture

    rig = resized(draw_rigs(1, views, look=look, seed=seed)[0], size)
    names = [f"cam{v + 1:02d}" for v in range(views)]
    joints, keypoints = [], []
    with ExitStack() as stack:
        videos = [stack.enter_context(VideoWriter(folder / f"{name}.mp4", fps)) for name in names]
        for frame in render_capture(rig, frames, look=look, seed=seed, fps=fps, device=device):
            for video, picture in zip(videos, frame.image, strict=True):
                video.write(picture)
            joints.append(frame.joints)
            keypoints.append(frame.keypoints)
            advance(1)
    rng = np.random.default_rng([seed, 21])
    true = np.stack(keypoints)
    _write_keypoints(folder / "keypoints.npz", faulty(true, faults, rng), fps)
    _write_truth(folder / "truth.npz", np.stack(joints), true, rig, names, fps)
    error = np.exp(rng.normal(0, faults.focal_error, views)) if faults.focal_error else np.ones(views)
    _write_toml(folder, rig, names, fps, known, error)


def resized(rig: Rig, size: int) -> Rig:
    """The same cameras with pictures of another size; pixel (0, 0) stays the centre of the first pixel."""
    from vergence.synthetic import Rig

    factor = size / rig.size[1]
    k = rig.intrinsics.clone()
    k[:, :2, :2] *= factor
    k[:, :2, 2] = (k[:, :2, 2] + 0.5) * factor - 0.5
    return Rig(k, rig.rotation, rig.translation, (round(rig.size[0] * factor), size))


def faulty(true: np.ndarray, faults: Faults, rng: np.random.Generator) -> np.ndarray:
    """Keypoints `T V J 3` (x, y, confidence) as a detector with these faults gives them, from true ones `T V J 2`."""
    import numpy as np

    from vergence.skeleton import H36M_17

    frames, views, joints, _ = true.shape
    points = true + rng.normal(0, faults.noise_px, true.shape) if faults.noise_px else true.copy()
    points[rng.random((frames, views, joints)) < faults.missing_joints] = np.nan
    swapped = rng.random((frames, views)) < faults.swapped_sides
    points[swapped] = points[swapped][:, list(H36M_17.mirror)]
    points[rng.random((frames, views)) < faults.dropped_views] = np.nan
    seen = np.isfinite(points).all(-1, keepdims=True)
    return np.concatenate([points, np.where(seen, 1.0, np.nan)], axis=-1)


def _write_keypoints(path: Path, keypoints: np.ndarray, fps: float) -> None:
    import numpy as np

    from vergence.files import atomic_path
    from vergence.skeleton import H36M_17

    names = np.array(H36M_17.joint_names)
    with atomic_path(path) as partial:
        np.savez_compressed(partial, keypoints=keypoints, joint_names=names, fps=np.float64(fps))


def _write_truth(path: Path, joints: np.ndarray, keypoints: np.ndarray, rig: Rig, names: list[str], fps: float) -> None:
    """The keys of every pose file, and the cameras beside them."""
    import numpy as np

    from vergence.files import atomic_path
    from vergence.skeleton import H36M_17
    from vergence.synthetic import WORLD_VERSION

    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            pose=joints,
            joint_names=np.array(H36M_17.joint_names),
            fps=np.float64(fps),
            unit=np.array("mm"),
            up=np.array([0.0, 0.0, 1.0]),
            frame=np.arange(len(joints)),
            time=np.arange(len(joints)) / fps,
            keypoints_2d=keypoints,
            cameras=np.array(names),
            R=rig.rotation.numpy(),
            t=rig.translation.numpy(),
            K=rig.intrinsics.numpy(),
            world=np.array(WORLD_VERSION),
        )


def _write_toml(folder: Path, rig: Rig, names: list[str], fps: float, known: str, focal_error: np.ndarray) -> None:
    import numpy as np

    from vergence.footage.capture import Capture, CaptureCamera, write_capture

    cameras = []
    for v, name in enumerate(names):
        k = rig.intrinsics[v].numpy().copy()
        k[[0, 1], [0, 1]] *= focal_error[v]
        cameras.append(
            CaptureCamera(
                name,
                (rig.size[1], rig.size[0]),
                intrinsics=None if known == "nothing" else k,
                rotation=rig.rotation[v].numpy() if known == "cameras" else None,
                translation=rig.translation[v].numpy() if known == "cameras" else None,
                video=folder / f"{name}.mp4",
            )
        )
    up = np.array([0.0, 0.0, 1.0]) if known == "cameras" else None
    write_capture(folder, Capture(folder, fps, tuple(cameras), folder / "keypoints.npz", up=up))


def write_pictures(
    out: Path,
    subjects: int,
    each: int,
    size: int,
    look: str,
    faults: Faults,
    seed: int,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """Crops as JPEG, keypoints.json (COCO) and truth.npz: `pose` N J 3 (mm, the picture's camera), `intrinsics`, `up`."""
    import numpy as np

    from vergence.files import atomic_path, write_json
    from vergence.skeleton import H36M_17
    from vergence.synthetic import WORLD_VERSION, single_pictures

    step = max(1, PICTURES_AT_ONCE // each)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    truth: dict[str, list[np.ndarray]] = {"pose": [], "intrinsics": [], "up": [], "subject": []}
    for first in range(0, subjects, step):
        people = min(step, subjects - first)
        views = single_pictures(
            people * each, size, look=look, seed=seed + first, subjects=people, faults=faults, device=device
        )
        number = first + np.arange(people * each) % people
        for i in range(len(views)):
            _write_picture(out, views, i, int(number[i]), images, annotations)
        for name in ("pose", "intrinsics", "up"):
            truth[name].append(getattr(views, name).numpy())
        truth["subject"].append(number)
        advance(len(views))
    category = {"id": 1, "name": "person", "keypoints": list(H36M_17.joint_names), "skeleton": _bones()}
    write_json(out / "keypoints.json", {"images": images, "annotations": annotations, "categories": [category]})
    with atomic_path(out / "truth.npz") as partial:
        np.savez_compressed(
            partial,
            joint_names=np.array(H36M_17.joint_names),
            unit=np.array("mm"),
            world=np.array(WORLD_VERSION),
            **{name: np.concatenate(parts) for name, parts in truth.items()},  # type: ignore[arg-type]
        )


def _bones() -> list[list[int]]:
    from vergence.skeleton import H36M_17

    return [[parent + 1, child + 1] for parent, child in H36M_17.limbs]  # COCO counts joints from 1


def _write_picture(
    out: Path, views: Views, row: int, subject: int, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    """One JPEG and its two entries; v is 2 where the joint is given, else x, y and v are 0, as COCO has it."""
    import numpy as np
    from PIL import Image

    from vergence.files import atomic_path

    number = len(images)
    name = f"images/{number:06d}.jpg"
    picture = views.image[row].permute(1, 2, 0).numpy()
    with atomic_path(out / name) as partial:
        Image.fromarray(picture).save(partial, quality=JPEG_QUALITY)
    size = picture.shape[0]
    images.append({"id": number, "file_name": name, "width": size, "height": size,
                   "intrinsics": views.intrinsics[row]})  # fmt: skip
    points = views.keypoints[row].numpy().astype(np.float64)
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    low, high = (points[seen].min(0), points[seen].max(0)) if seen.any() else (np.zeros(2), np.zeros(2))
    box = [*low, *(high - low)]
    triples = np.where(seen[:, None], np.c_[points, np.full(len(points), 2.0)], 0.0)
    annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "subject": subject, "bbox": box,
                        "area": box[2] * box[3], "num_keypoints": int(seen.sum()), "keypoints": triples.ravel()})  # fmt: skip
