"""Blocks of code in the documentation, and a small house in which they run: the folders and files that the pages speak of."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

import vergence
from vergence.cli import main
from vergence.recipes.load import load_recipe
from vergence.recipes.sources import Source
from vergence.recipes.typed import make_source

NETWORK = ["--image_size=32", "--network.embedding_size=4", "--network.hidden_sizes=[4, 8]", "--network.depths=[1, 1]",
           "--network.width=8", "--network.backbone=resnet", "--network.neck=top_down"]  # fmt: skip
DEMO = ["--sources.wild.count=8", "--sources.studio.subjects=2", "--sources.studio.frames_per_subject=6",
        "--test.studio.subjects=2", "--test.studio.frames_per_subject=2", "--test.wild.count=8",
        "--stages.keypoints.train.steps=2", "--stages.pose.train.steps=2",
        "--stages.keypoints.train.batch={wild: 4}", "--stages.pose.train.batch={wild: 2, studio: 2}"]  # fmt: skip
CAPTURE = ["--stages.pose.train.steps=2"]
# What pages say, and what is run in its place: the same at a size that takes seconds.
SMALLER = (
    (r"\b800-999\b", "30-39"), (r"\b0-799\b", "0-29"), (r"\b1920, 1080\b", "96, 96"),
    (r"\b(959|539)\.5\b", "47.5"), (r"\b1450(\.0)?\b", "110.0"), (r"\(600, 200, 400, 800\)", "(20, 10, 50, 80)"),
    (r"80,40,200,420", "10,5,70,85"), (r"\(80, 40, 200, 420\)", "(10, 5, 70, 85)"), (r"--subjects (1000|3)\b", "--subjects 1"),
    (r"frames=100\b", "frames=20"), (r"recordings\(subjects=10, frames=20", "recordings(subjects=1, frames=2"),
    (r"single_images\(1000", "single_images(4"), (r"--views 8\b", "--views 2"), (r"steps: 3000", "steps: 2"),
    (r"batch: \{mine: 32\}", "batch: {mine: 4}"), (r'calibration = "calib.toml".*', ""),
    (r"--workers \d+ --timeout \d+", "--workers 1"),
)  # fmt: skip
CLIP = '{"path": "walk.mp4", "options": {"box": "20,10,50,80"}}\n'
EMPTY = ("learn", "synth", "train")  # verbs that want an empty folder
PERSON = {"--box", "--boxes", "--keypoints", "--capture", "--whole-image"}
MORE = {
    "learn": ["--steps", "2", "--anyway"],
    "train": [*NETWORK, *CAPTURE],
    "synth": ["--size", "48", "--frames", "10"],
}


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, what stands in it, and why it is not run ("" where it is)."""

    language: str
    text: str
    line: int
    why_not: str


def blocks_of(page: Path) -> list[Block]:
    """All blocks of code on a page; `<!-- not run: REASON -->` before one says why it is not run."""
    text = page.read_text("utf-8")
    found = []
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        why = re.search(r"<!-- not run: (.+) -->\n(?: *<!--.*-->\n)*\Z", text[: match.start()])
        line = text[: match.start()].count("\n") + 1
        found.append(Block(match[2], inspect.cleandoc("\n" + match[3]), line, why[1] if why else ""))
    return found


def smaller(text: str) -> str:
    for what, instead in SMALLER:
        text = re.sub(what, instead, text)
    return text


def build_house(root: Path) -> None:
    """`my_capture`, `my_videos`, `rec`, videos with keypoints, a run under several names, what `learn` leaves."""
    (made,) = vergence.synthesize(root / "made", subjects=1, frames=40, views=3, size=96, known="cameras")
    capture = made.rename(root / "my_capture")
    shutil.copytree(capture, root / "my_videos")
    for name in ("takes/one", "takes/two"):
        shutil.copytree(capture, root / name)
    seen = np.load(capture / "keypoints.npz")
    for name in ("walk", "video", "new_video"):
        shutil.copy(capture / "cam01.mp4", root / f"{name}.mp4")
        (root / f"{name}.json").write_text(json.dumps(coco(seen["keypoints"][:, 0], list(seen["joint_names"]))))
    for name in ("cam01", "cam02"):
        shutil.copy(root / "walk.json", capture / f"{name}.json")
    (capture / "openpose" / "cam01_json").mkdir(parents=True)
    image = vergence.load_capture(capture).image(0, 0)
    from PIL import Image

    for name in ("pose.jpg", "image.jpg"):
        Image.fromarray(image).save(root / name)
    vergence.train("demo", root / "runs" / "demo", overrides=[*NETWORK, *DEMO], device="cpu")
    for name in ("runs/mcss", "runs/old", "runs/mine", "vergence-demo/run"):
        shutil.copytree(root / "runs" / "demo", root / name)
    vergence.reconstruct(str(capture)).save(root / "rec")
    vergence.learn([str(root / "my_videos")], root / "learned", steps=2, anyway=True)
    vergence.synthesize(root / "people", kind="images", subjects=2)
    (root / "my_recipe.yaml").write_text("sources: {footage: {kind: capture, path: my_capture, keypoints: true}}\n")
    for name in ("list.txt", "clips.txt"):
        (root / name).write_text("takes/one\n" if name == "list.txt" else CLIP)


def coco(points: np.ndarray, names: list[str]) -> dict:
    """Keypoints `T J 3` of one person as COCO-style JSON."""
    rows = [np.nan_to_num(p).ravel().tolist() for p in points]
    return {
        "images": [{"id": i, "file_name": f"{i:06d}.jpg", "width": 96, "height": 96} for i in range(len(rows))],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "keypoints": r} for i, r in enumerate(rows)],
        "categories": [{"id": 1, "name": "person", "keypoints": [str(name) for name in names]}],
    }


def run_block(block: Block) -> None:
    """Runs a block in the current folder, with smaller numbers; a first line `# NAME` names the file that it is."""
    text = smaller(block.text)
    named = re.match(r"# ([\w./]+\.(?:yaml|toml|py|txt))\b", text)
    if named:
        Path(named[1]).parent.mkdir(exist_ok=True, parents=True)
        Path(named[1]).write_text(text)
    {"sh": run_commands, "python": run_python, "yaml": read_yaml, "toml": read_toml}[block.language](text)


def run_python(text: str) -> None:
    exec(compile(text, "block", "exec"), {"__name__": "__main__"})


def run_commands(text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] == "pip":  # a test installs nothing
            continue
        assert words[0] == "vergence", line
        if words[1] in EMPTY and (words[1] == "synth" or "--out" in words):
            shutil.rmtree(words[words.index("--out") + 1] if "--out" in words else words[2], ignore_errors=True)
        if words[1] == "predict" and not PERSON & set(words):  # no detector in a test
            words += ["--keypoints", str(Path(words[-1]).with_suffix(".json"))]
        try:
            status = main([*words[1:], *MORE.get(words[1], [])])
        except SystemExit as end:  # of --help
            status = end.code
        assert status == 0, (line, status)


def read_yaml(text: str) -> None:
    """A recipe is read as one; of a part with sources each source is."""
    content = yaml.safe_load(text)
    if "stages" in content and "sources" in content:
        Path("recipe.yaml").write_text(text)
        recipe = load_recipe("recipe.yaml")
        assert recipe.stages
        assert recipe.test
    for part in ("sources", "test"):
        for settings in content.get(part, {}).values():
            assert isinstance(make_source(**settings), Source)


def read_toml(text: str) -> None:
    Path("my_capture/capture.toml").write_text(text)
    assert vergence.load_capture("my_capture").names
