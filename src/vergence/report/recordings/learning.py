"""The page of `learn`: what the model is worth, what to do next, what it was taught by, and its 3D over the footage.

Whether the model is good is told by time that it did not learn from, held against the reconstruction, which is no truth:
so the reconstruction's own verdict stands first, and its page is one click away.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vergence.evaluation.footage import lifted
from vergence.evaluation.without_truth import Held, scene_of
from vergence.footage.observations import observe
from vergence.learning.learn import Learned, Recording
from vergence.learning.motions import motions_of
from vergence.lifting.model import LiftingModel
from vergence.lifting.train import LIFTED
from vergence.report.learned import held_tables, measured_of, uses
from vergence.report.page import Cell, Dots, Link, Page, Sample, Table, Verdict, format_number
from vergence.report.reconstruction import cut_out
from vergence.report.recordings.cameras import read_images
from vergence.report.run_page import at_scale_of

Array = np.ndarray
USES = {
    "lifting": "3D from one camera, with a page, files and an overlay",
    "image": "the image model, for these cameras",
}
MOMENTS, MOST_SAMPLES = 3, 24  # of each recording's held-out time; of all recordings and cameras
SAMPLES = (
    "time that the model did not learn from, evenly spread; N-MPJPE: root-aligned, one least-squares scale, against the "
    "reconstruction by all cameras, which is no truth. The model's pose is shown at the reconstruction's size"
)


def learned_page(learned: Learned) -> Page:
    """The page of a finished `learn`."""
    measured = measured_of(learned)
    tables = [table for title, held in measured for table in held_tables(held, title)]
    reasons = [reason for one in learned.recordings for reason in one.reconstruction.reasons]
    many, names = len(learned.recordings), ", ".join(one.name for one in learned.recordings)
    return Page(
        title=f"Model of {names or 'motion capture'}",
        subtitle="A single-camera model from "
        + (f"{many} recordings" if many != 1 else "one recording" if many else "motion capture")
        + ", without 3D labels. Nobody knows the truth here: it is held against what all cameras together say.",
        skeleton=LIFTED,
        facts=_facts(learned),
        tables=[*tables[::3], _next_steps(learned), *([_recordings(learned)] if many else [])],
        dots=[Dots(f"{title}: N-MPJPE of each camera", "mm", _by_camera(held)) for title, held in measured],
        verdict=Verdict("doubtful" if learned.doubtful else "good", [*(_worth(*one) for one in measured), *reasons]),
        links=_links(learned),
        samples=_samples(learned),
        samples_protocol=SAMPLES,
        labels=("model (in the image what it saw)", "reconstruction"),
        details=[table for i, table in enumerate(tables) if i % 3],
        sections=("results", "links", "samples", "details", "run"),
    )


def _by_camera(held: Held) -> dict[str, Sequence[float]]:
    return {way: figures.n_mpjpe for way, figures in held.ways.items()}


def _worth(title: str, held: Held) -> str:
    """The figures that matter, as a sentence."""

    def off(way: str) -> str:
        n, p = held.mean(way)
        return f"{format_number(n)} / {format_number(p)} mm"

    told = f"{title}: the model is {off('model')} from the reconstruction (N-MPJPE / P-MPJPE)"
    if "without the footage" in held.ways:
        told += f", {off('without the footage')} before it saw this footage"
    return f"{told}, its 2D without depth {off('zero depth')}."


def _next_steps(learned: Learned) -> Table:
    """Commands, and why."""
    rows: list[list[Cell]] = [[words, USES[student]] for student, words in uses(learned).items()]
    for one in learned.recordings:
        if one.reconstruction.verdict != "good":
            why = "says what to film again: the cameras of this recording are not known well enough to rely on them"
            rows.append([f"vergence inspect {shlex.quote(str(learned.folder / one.name))}", why])
    for name, held in measured_of(learned):
        score = {way: figures.score for way, figures in held.ways.items()}
        if score["model"] >= min(score["zero depth"], score.get("mean pose", np.inf)):
            rows.append(
                ["do not use this model", f"{name}: an answer that knows nothing is as near to the reconstruction"]
            )
        elif score["model"] >= score.get("without the footage", np.inf):
            rows.append(["vergence predict VIDEO", f"{name}: the model that comes with the package is as near"])
    if learned.recordings and not any(one.hidden for one in learned.recordings):
        camera = learned.recordings[0].capture.names[-1]
        rows.append(
            [
                f"vergence learn ... --hold-out {shlex.quote(camera)} --out ANOTHER",
                "how good it is where no camera taught it",
            ]
        )
    if learned.recordings:
        rows.append(
            ["vergence learn THESE MORE --out ANOTHER", "recordings of other people in other rooms make it better"]
        )
    return Table("What to do next", ["do this", "why"], rows, "commands as typed where learn was called", words=True)


def _recordings(learned: Learned) -> Table:
    """What taught it."""
    rows: list[list[Cell]] = []
    for one in learned.recordings:
        found, held = one.reconstruction, int(one.held_out.sum())
        used = len(one.held_out) - held
        if learned.model is not None:  # what is not whole teaches it nothing
            used = sum(len(stretch.pose) for stretch in motions_of(one.labels, ~one.held_out))
        taught = [name for name in one.capture.names if name not in one.hidden]
        rows.append([one.name, found.verdict, used, held, ", ".join(taught), ", ".join(one.hidden) or None,
                     found.report.rotation_noise_deg, found.report.coverage_of_seen * 100])  # fmt: skip
    columns = [
        "",
        "verdict",
        "frames learned from",
        "kept for measuring",
        "cameras",
        "cameras left out",
        "rotation, °",
        "joints, %",
    ]
    protocol = (
        "frames that were learned from (by a lifting model those in which the person is whole) and kept to measure; "
        "rotation: predicted error of the worst pair of cameras by noise, which the verdict goes by; joints: of those that "
        "two cameras see, the share "
        "that was reconstructed"
    )
    return Table("What taught it", columns, rows, protocol)


def _facts(learned: Learned) -> dict[str, str]:
    model = learned.model
    facts = {"folder": str(learned.folder)}
    if model is not None:
        made = model.config.get("made_of", {}).get("training", {})
        facts["taught by"] = str(model.config.get("taught_by", ""))
        if made:
            facts["training"] = (
                f"{made['steps']:,} steps of {made['batch']} x {made['frames']} frames, rate {made['rate']:g}"
            )
    if learned.image_run is not None:
        facts["image model"] = str(learned.image_run)
    return facts


def _links(learned: Learned) -> list[Link]:
    """What is there of what `learn` writes."""
    wanted = []
    for one in learned.recordings:
        wanted += [
            Link(f"{one.name}: cameras and 3D", f"{one.name}/reconstruction/report.html",
                 "the reconstruction that taught the model, to turn and play beside the images, with joint angles"),
            Link(f"{one.name}: its files", f"{one.name}/reconstruction/", "poses, cameras and angles for other programs"),
            Link(f"{one.name}: 2D keypoints", f"{one.name}/keypoints/", "as the detector found them"),
        ]  # fmt: skip
    wanted += [
        Link("the model", "model/", "weights, and config.json, which says what they were taught by"),
        Link("the image model's page", "image/report.html", "its training and tests"),
        Link("all figures", "results.json", "of this page, for programs"),
    ]
    return [one for one in wanted if (learned.folder / one.path).exists() or one.path == "results.json"]


def _samples(learned: Learned) -> list[Sample]:
    """The lifting model's poses of held-out moments over the reconstruction's, by every camera."""
    measured = [one for one in learned.recordings if one.figures is not None]
    if learned.model is None:
        return []
    each = max(1, MOST_SAMPLES // max(1, sum(len(one.capture.cameras) for one in measured)))
    samples = [sample for one in measured for sample in _of_recording(one, learned.model, min(MOMENTS, each))]
    return samples[:MOST_SAMPLES]


def _of_recording(one: Recording, model: LiftingModel, moments: int) -> list[Sample]:
    found, capture = one.reconstruction, one.capture
    seen = observe(capture)
    poses, scene = lifted(model, found, seen)["model"], scene_of(found, seen, model.skeleton)
    whole = np.flatnonzero(one.held_out & np.isfinite(scene.reference).all((1, 2)))
    if not len(whole):
        return []
    rows = whole[np.unique(np.linspace(0, len(whole) - 1, moments + 2).round().astype(int)[1:-1])].tolist()
    views = range(len(capture.cameras))
    points = seen.skeleton.convert(seen.keypoints[..., :2].astype(float), model.skeleton)
    placed = found.skeleton.convert(np.asarray(found.poses.pose, dtype=float), model.skeleton)
    drawn = {v: found.rig.cameras[v].project(found.rig.cameras[v].to_camera(placed[rows])) for v in views}
    cuts = {(v, row): cut_out(drawn[v][i], points[row, v], capture.cameras[v].image_size)
            for v in views for i, row in enumerate(rows)}  # fmt: skip
    images = read_images(cuts, (), capture.image if any(camera.video for camera in capture.cameras) else None)
    root, samples = list(model.skeleton.root), []
    for v in views:
        for i, row in enumerate(rows):
            true = scene.reference[row] @ found.rig.rotation[v].T
            true = true - true[root].mean(0)
            pose = at_scale_of(true, poses[v, row] - poses[v, row][root].mean(0))
            corner = cuts[v, row][:2]
            samples.append(
                Sample(
                    title=f"{one.name}, {capture.names[v]}, frame {row}",
                    group=capture.names[v],
                    image=images.cuts[v, row],
                    keypoints=points[row, v] - corner,
                    keypoints_true=drawn[v][i] - corner,
                    pose=pose,
                    pose_true=true,
                    errors={"N-MPJPE": _off(pose, true)},
                    up=None if found.poses.up is None else found.rig.rotation[v] @ found.poses.up,
                    note=images.missing.get((v, row), ""),
                )
            )
    return samples


def _off(pose: Float[Array, "J 3"], true: Float[Array, "J 3"]) -> str:
    distance = np.linalg.norm(pose - true, axis=-1)
    return f"{np.nanmean(distance):.0f} mm" if np.isfinite(distance).any() else "no pose"
