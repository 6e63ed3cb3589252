"""One page of each kind that a verb writes, small, of names that are markup: of files, cameras, joints, sources, methods.

Everything is made by what the verbs call; figures that would take a training are made up.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fixtures_told import SIDE, Told, write_videos
from PIL import Image

import vergence
from vergence.comparison.efficiency import efficiency
from vergence.comparison.results import Measured, summary
from vergence.datasets.make_records import make_records
from vergence.datasets.validation.finding import Finding
from vergence.evaluation.evaluate import Evaluation
from vergence.evaluation.run_tests import measure_tests
from vergence.evaluation.without_truth import Figures, Held
from vergence.files import plain
from vergence.geometry.cameras import Camera
from vergence.inference.moments.index import Index
from vergence.inference.moments.nearest import Hit
from vergence.learning.learn import Learned, Recording
from vergence.methods.registry import build_method
from vergence.recipes.load import recipe_from
from vergence.reconstruction.inspection.inspect import Inspection
from vergence.report.comparison import comparison_page
from vergence.report.data_check import check_page
from vergence.report.learned import show_footage
from vergence.report.page import Curve, Dots, Page, Panel, RigScene, Sample, Strip, Table, Verdict
from vergence.report.papers.published import published_page
from vergence.report.reconstruction import page_of
from vergence.report.recordings.inspection import inspection_page
from vergence.report.recordings.learning import learned_page
from vergence.report.recordings.prediction import prediction_html
from vergence.report.render import write_page
from vergence.report.run_page import run_page
from vergence.report.search import write_search
from vergence.skeleton import H36M_17, Skeleton


def odd_file(name: str) -> str:
    """A name as a file may have it."""
    return f"{name}<img src=x onerror=hurt()>&amp;\"'"


def odd(name: str) -> str:
    """A name as JSON or YAML may have it, which closes scripts and attributes, and is a template."""
    return f"{name}</script><script>hurt()</script>\"' onload=hurt() {{{{ 7 * 7 }}}}<!-- \\u003c"


ODD_JOINTS = replace(H36M_17, name="odd", joint_names=tuple(f"{n}<u>&lt;" for n in H36M_17.joint_names))


def held() -> Held:
    """Of three cameras, one hidden."""
    cameras = tuple(odd_file(f"cam{i}") for i in range(3))
    own = Figures(*[(81.2, 70.4, 99.0)] * 4, (1.0, 0.9, 1.0), 0.61, 110.0, 70.0, 0.4, 0.05, 3.1, 0.9)
    ways = {"model": own, "zero depth": replace(own, score=1.0), "mean pose": replace(own, limbs=0.0, jitter=-0.0)}
    return Held(cameras, cameras[:1], ways, (20, 19, 20), 0.012, 2.9)


def inspected(folder: Path, scene: Any) -> Inspection:
    """Three videos of odd names, with one person by a detector that knows."""
    Told.keypoints = scene.keypoints * SIDE / 1000
    write_videos(folder, (24, 24, 24))
    for i in range(3):
        (folder / f"cam{i}.mp4").rename(folder / f"{odd_file(f'cam{i}')}.mp4")
    return vergence.inspect(folder, detector="told", frames=24)


def recorded(found: Inspection, out: Path) -> dict[str, Path]:
    """What `inspect`, `reconstruct`, `learn` and `evaluate --footage` write of a recording."""
    made, out_page = found.reconstruction, out / "page"
    assert made is not None
    assert made.capture is not None
    one = Recording(odd("walk"), made.capture, made, np.ones(20, bool), held().hidden, made.poses, held(), None)
    learned = Learned(Path(odd("out")), (one,), None, None, True)
    about = {"path": odd("walk"), "run": odd("run"), "frames": "0-19", "frames_learned_from": 3, "verdict": "doubtful",
             "reasons": [odd("reason")], "figures": plain(held())}  # fmt: skip
    show_footage(Evaluation({"footage": about}), out_page)
    return {
        "inspect": write_page(out / "inspect.html", inspection_page(found)),
        "reconstruct": write_page(out / "reconstruct.html", page_of(made)),
        "learn": write_page(out / "learn.html", learned_page(learned)),
        "footage": (out_page / "report.html").rename(out / "footage.html"),
    }


def predicted(video: Path, keypoints: Path, out: Path) -> Path:
    """What `predict` writes of two people in a video of an odd name."""
    other = out / f"{odd_file('two')}.mp4"
    other.write_bytes(video.read_bytes())
    found = vergence.predict("lifting", other, keypoints=keypoints, fov=60, people="all")
    vergence.save_predicted(found, out / "predicted", formats=["npz"], page=prediction_html)
    return out / "predicted" / "report.html"


def evaluated(out: Path) -> dict[str, Path]:
    """What `train`, `demo`, `evaluate` and `compare` write: an untrained network on a small world, under two names."""
    look = {"kind": "world_recordings", "look": "studio", "subjects": 2, "frames_per_subject": 2, "views": [2]}
    recipe = recipe_from({
        "method": "supervised", "image_size": 32,
        "network": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "width": 8},
        "sources": {odd("studio"): {**look, "pose": "all", "keypoints": True}},
        "test": {odd("test"): {**look, "seed": 3, "pose": "all", "keypoints": True}},
        "stages": {odd("pose"): {"train": {"steps": 2, "batch": {odd("studio"): 2}, "losses": {"heatmap": 1.0}}}},
    }, odd("recipe"))  # fmt: skip
    torch.manual_seed(0)
    method = build_method(recipe.method, recipe.network, recipe.skeleton)
    results, tests = measure_tests(recipe, method, "cpu")
    metrics = out / "metrics.jsonl"
    metrics.write_text("".join(f'{{"step": {i}, "loss": {9 / (i + 1)}, "heatmap": {1 / (i + 1)}}}\n' for i in range(9)))
    page = run_page(Evaluation(results, recipe, tests, {odd("pose"): metrics}), odd("vergence train"))
    name, test = next(iter(tests.items()))
    images = {f"{name}.{key}": getattr(test.scores, key) for key in ("n_mpjpe", "p_mpjpe")}
    images |= {f"{name}.pose": test.prediction.pose.numpy(), f"{name}.subject": test.dataset.index.subject.numpy()}
    about = {
        "results": plain(results),
        "labels_3d": 0,
        "people_3d": 0,
        "seconds": {"pose": 1.0},
        "cpu_seconds": {"pose": 2.0},
    }
    measured = {
        n: Measured(n, 0, {**about, "labels_3d": k, "people_3d": k}, images) for n, k in ((odd("a"), 8), (odd("b"), 0))
    }
    compared = comparison_page(_compared(measured, name), measured, {name: test.dataset}, H36M_17)
    return {"run": write_page(out / "run.html", page), "compare": write_page(out / "compare.html", compared)}


def _compared(measured: dict[str, Measured], look: str) -> dict[str, Any]:
    methods = {name: summary([one]) for name, one in measured.items()}
    a, b = methods
    near = {"mean": -0.04, "low": -3.0, "high": 2.0}
    pair = {f"{b} - {a}": {"difference": near, "ratio": {"mean": 1.0, "low": 0.9, "high": 1.1}, "people": 3}}
    entries: Any = [SimpleNamespace(name=name, of="", subjects="") for name in methods]
    return {
        "command": odd("vergence compare"), "methods": methods, "reference": a,
        "label_efficiency": efficiency(entries, methods),
        "label_crossings": [{"method": a, "reaches": b, "test": look, "measure": "n_mpjpe", "people": None, "low": 0.0,
                             "high": None, "fewest": 8, "most": 8, "between": None}],
        "baselines": {look: {"mean_pose": {"n_mpjpe": 150.0}}}, "differences": {look: {"n_mpjpe": pair, "p_mpjpe": pair}},
        "protocol": {
            "seeds": [0], "figures_of": look, "world_version": "4", look: {"images": 8, "subjects": 2, "look": "studio"},
            "methods": {name: {look: {"frame": "camera"}} for name in methods},
        },
    }  # fmt: skip


def reproduced(out: Path) -> Path:
    """What `reproduce` writes."""
    figure = {"heading": "MPJPE mm", "ours": {"mean": 61.0, "std": 0.4}, "published": 61.02, "difference": -0.02}
    one = {"figures": {"mpjpe": figure}, "comparable": False, "source": odd("paper"), "left_out": {"no_person": 3}, "poses": 9,
           "not_comparable": [odd("why")]}  # fmt: skip
    words = {"title": odd("protocol"), "dataset": "d", "images": {"split": "test"}, "figures": {"mpjpe": "mean distance"},
             "root": "pelvis", "average": "over poses", "truth": "motion capture"}  # fmt: skip
    how = {"protocol": words, "left_out": {}, "scale": "none"}
    rows = {odd(name): {"labels_3d": 100, "protocols": {odd("protocol"): {**one, "measured": how}}} for name in "ab"}
    results = {
        "title": odd("title"),
        "command": odd("command"),
        "version": "1",
        "seeds": [0],
        "table": odd("t"),
        "rows": rows,
    }
    return write_page(out / "reproduce.html", published_page(results, H36M_17))


def searched(out: Path) -> Path:
    """What `search` writes."""
    rng, cameras = np.random.default_rng(0), (odd_file("cam0"), odd_file("cam1"))
    index = Index("pose", rng.normal(size=(4, 8)), rng.normal(size=(4, 17, 3)), "camera", np.array([0, 0, 1, 1]),
                  np.arange(4), np.arange(4) / 25, cameras, H36M_17.joint_names, {"weights": odd("w")})  # fmt: skip
    hits = tuple(Hit(row, cameras[index.camera[row]], row, row / 25, 0.1 * row) for row in range(4))
    image = rng.integers(0, 255, (160, 160, 3)).astype(np.uint8)
    protocol = {"distance": "Euclidean", "descriptor": "poses", "search": "exhaustive"}
    found: Any = SimpleNamespace(
        index=index, hits=hits, query=Path(odd_file("query")), query_pose=index.pose[0], skeleton=H36M_17, run=odd("run"),
        footage=Path(odd("footage")), values=lambda: {"protocol": protocol}, query_image=lambda size: (0, image),
        hit_images=lambda size: {(hit.camera, hit.frame): image for hit in hits[1:]},
        image_name=lambda hit: odd_file("hit"),
    )  # fmt: skip
    write_search(out / "search.html", found)
    return out / "search.html"


def checked(out: Path) -> Path:
    """What `data check` writes."""
    rng, path = np.random.default_rng(0), out / f"{odd_file('image')}.png"
    Image.fromarray(rng.integers(0, 255, (200, 160, 3)).astype(np.uint8)).save(path)
    K = np.array([[300.0, 0, 80], [0, 300, 100], [0, 0, 1]])
    pose = rng.normal(0, 250, (2, 17, 3)) + [0, 0, 2000]
    keypoints = pose[..., :2] / pose[..., 2:] * 300 + [80, 100]
    records = make_records([path] * 2, H36M_17, box=np.tile([20.0, 20, 120, 160], (2, 1)), keypoints=keypoints, pose=pose,
                           camera=Camera("one", (160, 200), K))  # fmt: skip
    reader: Any = SimpleNamespace(read=lambda image: np.asarray(Image.open(image.path)))
    findings = [Finding("sides", "wrong", odd("found"), odd("do this")), Finding("units", "good", "millimetres", "")]
    page = check_page(records, findings, {"folder": odd("folder"), "what it is": odd("kind")}, reader)
    return write_page(out / "check.html", page)


def everything(out: Path) -> Path:
    """Each part that a page can have, in a skeleton of odd joints, with a camera that is zero by a hair."""
    rng = np.random.default_rng(3)
    skeleton: Skeleton = ODD_JOINTS
    pose, image = rng.normal(0, 300, (17, 3)) + [0, 0, 4000], np.zeros((300, 200, 3), np.uint8)
    K = np.array([[1000.0, 0, 500], [0, 1000.0, 400], [0, 0, 1]])
    cameras = [Camera(odd_file(f"cam{i}"), (1000, 800), K, rotation=np.eye(3), translation=np.array([x, 1e-9, 1e-4]))
               for i, x in enumerate((900.0, 0.0, -900.0))]  # fmt: skip
    keypoints = pose[:, :2] / 10 + [100, 150]
    samples = [Sample(odd("sample"), odd_file(group), image, keypoints, keypoints + 2, pose, pose + 5, odd("note"),
                      {odd_file("error"): odd("5 mm")}) for group in "aabbcde"]  # fmt: skip
    names, wide = list(skeleton.joint_names), [[odd(n), *[-0.0001, 0.3] * 4] for n in "xy"]
    page = Page(
        odd("title"), odd("subtitle"), skeleton, facts={odd("fact"): odd("value") * 3, "notes": "a\nb"},
        tables=[Table(odd("table"), ["", *map(odd_file, "abcdefgh")], wide, odd("how"), odd("note")),
                Table("Joints", ["", "mm"], [[n, 1.0 * i] for i, n in enumerate(names)], odd("how"), heat=True)],
        curves=[Curve(odd("curve"), odd("x"), odd("y"), {odd("s"): ([0, 1, 2], [-3e-9, 1e6, 2e6]), "t": ([0, 2], [1, 2])})],
        dots=[Dots(odd("dots"), odd("x"), {odd("a"): [1.0, 2.0], odd("b"): [3.0]})],
        strips=[], samples=samples, samples_protocol=odd("protocol"), labels=(odd("one"), odd("other")),
        rig=RigScene(cameras, np.stack([pose, pose + 100]), 30.0, note=odd("note"), up_note=odd("up")),
        verdict=Verdict("good", [odd("reason")]),
    )  # fmt: skip
    return write_page(out / "everything.html", page)


def stripped(out: Path) -> Path:
    """Strips stand where samples would."""
    pose = np.stack([np.linspace(-300, 300, 17), np.linspace(700, -800, 17), np.linspace(50, -90, 17)], 1)
    strip = Strip(
        odd("strip"), np.zeros((8, 8, 3), np.uint8), pose, [Panel(odd(n), pose, odd("N 0 mm")) for n in "abc"]
    )
    page = Page(odd("strips"), "", H36M_17, strips=[strip], samples_protocol=odd("protocol"))
    return write_page(out / "strips.html", page)
