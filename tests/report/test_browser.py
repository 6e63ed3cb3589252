"""The page in headless Chromium: it draws what it should, says no error, and asks for nothing."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from fixtures_browser import browse, with_browser, with_script
from PIL import Image

from vergence.geometry.cameras import Camera
from vergence.report.page import Curve, Page, RigScene, Sample, Table, Verdict
from vergence.report.render import write_page
from vergence.skeleton import H36M_17

pytestmark = with_browser


def attributes(dom: str) -> dict[str, str]:
    return dict(re.findall(r'data-([\w-]+)="([^"]*)"', re.search(r"<body[^>]*>", dom)[0]))


@functools.cache
def person() -> np.ndarray:
    """A person in the camera's frame, mm: every joint somewhere else."""
    return np.random.default_rng(3).normal(0, 300, (17, 3)) + [0, 0, 4000]


def full_page() -> Page:
    pose = person()
    lame = pose.copy()
    lame[H36M_17.index("left_knee")] = np.nan
    K = np.array([[1000.0, 0, 500], [0, 1000.0, 400], [0, 0, 1]])
    keypoints = np.clip(pose[:, :2] / 15 + 64, 5, 120)
    black = np.zeros((128, 128, 3), np.uint8)
    samples = [
        Sample("first", "random", black, keypoints, keypoints + 2, pose, pose + 5, errors={"N-MPJPE": "5 mm"}),
        Sample("no truth", "random", black, keypoints, None, pose, None),
        Sample("no image", "worst", None, None, None, pose, pose),
        Sample("lame <b>", "worst", black, keypoints, None, lame, None, up=(0, -1, 0.1)),
        Sample("image only", "best", black),
    ]
    cameras = [
        Camera(name, (1000, 800), K, rotation=np.eye(3), translation=np.array([x, 0.0, 0.0]))
        for name, x in (("left", 800.0), ("right", -800.0))
    ]
    return Page(
        "Test", "A page with everything on it", H36M_17, facts={"seed": "0"},
        tables=[Table("T", ["", "mm"], [["a", 1.0], ["b", 2.0]], "root-aligned")],
        curves=[Curve("loss", "step", "loss", {"a": ([0, 1], [1.0, 0.5])})], samples=samples, samples_protocol="root-aligned",
        rig=RigScene(cameras, np.stack([pose, lame, pose]), 30.0, frames=[10, 12, 14]), verdict=Verdict("good"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("page") / "report.html", full_page()).as_uri()


def lost_bones() -> int:
    knee = H36M_17.index("left_knee")
    return sum(knee in limb for limb in H36M_17.limbs)


def test_it_runs_without_errors_and_draws_both_skeletons(tmp_path: Path, address: str):
    dom, console = browse(tmp_path, address, ["--dump-dom"])
    state = attributes(dom)
    assert console == ""
    assert state["ready"] == "1"
    assert "error" not in state
    assert state["bones"] == str(2 * len(H36M_17.limbs))
    assert state["rig-bones"] == str(len(H36M_17.limbs))
    assert 'alt="first, prediction drawn on it, truth drawn on it"' in dom
    assert dom.count('class="thumb"') == 5


def test_the_address_chooses_sample_and_frame_and_nan_joints_are_left_out(tmp_path: Path, address: str):
    dom, console = browse(tmp_path, f"{address}#sample=3&frame=1", ["--dump-dom"])
    state = attributes(dom)
    assert console == ""
    assert (state["sample"], state["frame"]) == ("3", "1")
    assert state["bones"] == state["rig-bones"] == str(len(H36M_17.limbs) - lost_bones())
    assert lost_bones() == 2
    assert "frame 12 · 0.03 s" in dom
    assert "lame &lt;b&gt;" in dom


@pytest.mark.parametrize(("number", "bones"), [(1, 1), (2, 2), (4, None)])
def test_samples_with_parts_missing_are_shown(tmp_path: Path, address: str, number: int, bones: int | None):
    dom, console = browse(tmp_path, f"{address}#sample={number}", ["--dump-dom"])
    assert console == ""
    assert attributes(dom)["sample"] == str(number)
    if bones is not None:
        assert attributes(dom)["bones"] == str(bones * len(H36M_17.limbs))


def test_a_page_of_words_alone_and_a_rig_without_people_run(tmp_path: Path):
    scene = RigScene(full_page().rig.cameras, np.zeros((0, 17, 3)), 30.0)
    for name, page in (("words", Page("W", "", H36M_17)), ("rig", Page("R", "", H36M_17, rig=scene))):
        dom, console = browse(tmp_path, write_page(tmp_path / f"{name}.html", page).as_uri(), ["--dump-dom"])
        assert console == ""
        assert attributes(dom)["ready"] == "1"


def test_keys_and_clicks_step_turn_and_play(tmp_path: Path):
    """A script added to a copy of the page presses keys as a reader would and writes down what follows."""
    probe = """{
      const log = [], canvas = document.getElementById("pose"), pixels = () => canvas.toDataURL();
      const press = (k) => new KeyboardEvent("keydown", {key: k, bubbles: true, cancelable: true});
      const key = (target, k) => target.dispatchEvent(press(k)), at = () => document.body.dataset.sample;
      key(document.body, "ArrowRight"); log.push(at());
      key(document.body, "ArrowLeft"); key(document.body, "ArrowLeft"); log.push(at());
      document.getElementById("next").click(); log.push(at());
      const before = pixels(); key(canvas, "ArrowRight"); log.push(at(), before !== pixels());
      document.querySelector("[data-group=worst]").click(); log.push(at());
      document.getElementById("next").click(); document.getElementById("next").click(); log.push(at());
      const slider = document.getElementById("frame"); slider.value = 2; slider.dispatchEvent(new Event("input"));
      log.push(document.body.dataset.frame, location.hash);
      const box = document.querySelector("#legend input"); box.checked = false; box.dispatchEvent(new Event("change"));
      log.push(document.body.dataset.bones);
      document.body.dataset.log = log.join(" ");
    }"""
    path = write_page(tmp_path / "report.html", full_page())
    path.write_text(with_script(path.read_text(), probe))
    dom, console = browse(tmp_path, path.as_uri(), ["--dump-dom"])
    assert console == ""
    half = len(H36M_17.limbs)
    assert attributes(dom)["log"] == f"1 4 0 0 true 2 2 2 #sample=2 {half}"


def test_keypoints_lie_on_their_pixels_and_both_themes_draw(tmp_path: Path):
    """An image whose lit pixels are the joints: on the screenshot, the overlay covers them."""
    image = np.zeros((128, 128, 3), np.uint8)
    keypoints = np.full((17, 2), np.nan)
    keypoints[[2, 3]] = [[40, 30], [90, 100]]
    for x, y in ((40, 30), (90, 100)):
        image[y - 1 : y + 2, x - 1 : x + 2] = [0, 0, 255]
    blue = {}
    for name, points in (("with", keypoints), ("without", None)):
        page = Page("O", "", H36M_17, samples=[Sample("one", "all", image, points)])
        address = write_page(tmp_path / f"{name}.html", page).as_uri()
        shot = tmp_path / f"{name}.png"
        browse(tmp_path, address, [f"--screenshot={shot}", "--window-size=1200,900"])
        pixels = np.asarray(Image.open(shot).convert("RGB"), dtype=int)
        rows, columns = np.nonzero((pixels[..., 2] > 200) & (pixels[..., 0] < 60) & (pixels[..., 1] < 60))
        wide = (rows > 250) & (columns > 100)
        blue[name] = rows[wide], columns[wide], pixels
    rows, columns, _ = blue["without"]
    assert len(rows) > 100
    with_overlay = blue["with"][2]
    middle = rows < rows.mean()
    for spot in (middle, ~middle):
        y, x = round(rows[spot].mean()), round(columns[spot].mean())
        assert with_overlay[y, x].min() > 200, "the joint's white dot covers the middle of its lit pixels"
    dark = tmp_path / "dark.png"
    options = [f"--screenshot={dark}", "--blink-settings=preferredColorScheme=0"]
    browse(tmp_path, (tmp_path / "with.html").as_uri(), options)
    assert np.asarray(Image.open(dark).convert("L"))[2, 2] < 60 < 200 < with_overlay[2, 2].mean()
