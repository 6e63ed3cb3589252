"""One clock: 3D, every camera's image and the charts show one moment, whatever moves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures_browser import Browser, driven, with_browser
from fixtures_pages import odd_file

from vergence.geometry.cameras import Camera
from vergence.report import viewer
from vergence.report.page import CameraView, Curve, Page, RigScene
from vergence.report.render import write_page
from vergence.report.viewer import rig_data
from vergence.skeleton import H36M_17

FRAMES, ROWS, SIZE = 40, [0, 10, 20, 30], (960, 720)


def scene(bare: bool = False) -> RigScene:
    """A person who goes right; of the first of two cameras there are images, each as grey as its frame's number."""
    body = np.random.default_rng(3).normal(0, 300, (17, 3))
    poses = np.stack([body + [10 * t, 0, 4000] for t in range(FRAMES)])
    K = np.array([[800.0, 0, 480], [0, 800.0, 360], [0, 0, 1]])
    cameras = [Camera(odd_file(f"cam{i}"), SIZE, K, rotation=np.eye(3), translation=np.array([900.0 - 1800 * i, 0, 0]))
               for i in range(2)]  # fmt: skip
    views = []
    for i, camera in enumerate(cameras):
        rows = ROWS if i == 0 and not bare else list(range(FRAMES))
        points = poses[rows] + camera.translation
        points = points[..., :2] / points[..., 2:] * 800 + [480, 360]
        images = [np.full((360, 480, 3), 5 * t, np.uint8) if rows is ROWS else None for t in rows]
        views.append(CameraView(SIZE, rows, images, points, points + 2))
    return RigScene(cameras, poses, 20.0, frames=np.arange(FRAMES) + 100, views=views)


def page(bare: bool = False) -> Page:
    x = np.arange(FRAMES) + 100
    curves = [Curve("Knee", "frame", "degrees", {"left": (x, np.sin(x / 5))}, clock="frame"),
              Curve("Way", "time, s", "mm", {"left": ((x - 100) / 20, x * 1.0)}, clock="time"),
              Curve("Training", "step", "loss", {"a": ([0, 1], [1.0, 0.5])})]  # fmt: skip
    return Page("Clock", "", H36M_17, curves=curves, rig=scene(bare), sections=("rig", "curves"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Browser:
    browser.said.clear()
    browser.open(write_page(tmp_path / "page.html", page()).as_uri(), 1440)
    return browser


def moment(browser: Browser) -> dict:
    """What the page shows: the frame of the 3D, the words of clock and tiles, the images' grey, the charts' lines."""
    return browser.value("""(async () => {
      const tiles = [...document.querySelectorAll(".tile")], one = document.querySelector(".tile img");
      await one.decode();
      const c = document.createElement("canvas"), g = c.getContext("2d");
      c.width = c.height = 1; g.drawImage(one, 0, 0, 1, 1);
      return { frame: +document.body.dataset.frame, label: document.getElementById("label").textContent,
        tiles: tiles.map((t) => t.querySelector("figcaption").textContent), grey: g.getImageData(0, 0, 1, 1).data[0],
        drawn: tiles.map((t) => t.querySelectorAll(".bones path").length),
        lines: [...document.querySelectorAll(".now")].map((e) => parseFloat(e.getAttribute("x1"))) };
    })()""")


@with_browser
def test_the_slider_moves_3d_images_and_charts(opened):
    opened.value(
        """{ const e = document.getElementById("frame"); e.value = 22; e.dispatchEvent(new Event("input")); }"""
    )
    found, share = moment(opened), 100 * 22 / 39
    assert (found["frame"], found["label"]) == (22, "frame 122 · 1.10 s")
    assert found["tiles"] == [f"{odd_file('cam0')} · frame 120, 1.00 s", f"{odd_file('cam1')} · no image"]
    assert found["grey"] == pytest.approx(100, abs=2)
    assert min(found["drawn"]) > 3
    assert found["lines"] == pytest.approx([share, share], abs=0.01)
    assert opened.said == []


@with_browser
def test_at_an_images_own_moment_nothing_is_added(opened):
    opened.value(
        """{ const e = document.getElementById("frame"); e.value = 30; e.dispatchEvent(new Event("input")); }"""
    )
    found = moment(opened)
    assert found["tiles"][0] == odd_file("cam0")
    assert found["grey"] == pytest.approx(150, abs=2)


@with_browser
def test_a_click_and_a_key_in_a_chart_move_the_clock(opened):
    opened.value("""{ const e = document.querySelector(".chart[data-clock=time]"), box = e.getBoundingClientRect();
      e.dispatchEvent(new MouseEvent("click", { clientX: box.left + 0.5 * box.width })); }""")
    assert moment(opened)["frame"] in (19, 20)
    opened.value("document.querySelector('.chart[data-clock=frame]').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        opened.key(key)
    assert moment(opened)["frame"] == 2
    assert opened.value("document.querySelectorAll('.chart:not([data-clock]) .now').length") == 0


@with_browser
def test_playing_moves_on_and_the_clock_stays_in_view(opened):
    opened.value("document.getElementById('play').click()")
    opened.value("""new Promise((done) => {
      const look = () => +document.body.dataset.frame > 1 ? done() : requestAnimationFrame(look); look(); })""")
    opened.value("document.getElementById('play').click()")
    found = moment(opened)
    assert found["frame"] > 1
    assert found["lines"] == pytest.approx([100 * found["frame"] / 39] * 2, abs=0.01)
    inside = """(id) => { document.querySelector(id).scrollIntoView();
      const box = document.getElementById("transport").getBoundingClientRect();
      return box.top > 0 && box.bottom <= innerHeight + 1; }"""
    assert [opened.value(f"({inside})('{place}')") for place in ("#rig", "#curves")] == [True, True]


@with_browser
def test_a_tile_grows_when_it_is_pressed(opened):
    width = "document.querySelector('.tile .stack').clientWidth"
    before = opened.value(width)
    opened.value("document.querySelector('.tile button').click()")
    assert opened.value(width) > 1.3 * before
    assert opened.value("document.querySelector('.tile button').getAttribute('aria-pressed')") == "true"


def test_images_keep_within_their_bytes(monkeypatch):
    every = rig_data(scene(), H36M_17)["views"][0]
    total = sum(map(len, every["images"]))
    assert (every["rows"], every["size"]) == (ROWS, [480, 360])
    monkeypatch.setattr(viewer, "STILLS_BYTES", total - 1)
    views = rig_data(scene(), H36M_17)["views"]
    assert [view["rows"] for view in views] == [ROWS[::2], list(range(0, FRAMES, 2))]
    assert all(len(view["kp"]) == len(view["images"]) == len(view["rows"]) for view in views)


def test_keypoints_of_a_view_are_in_its_images_pixels():
    view, found = scene().views[0], rig_data(scene(), H36M_17)["views"][0]
    np.testing.assert_allclose(found["kp"][1], (view.keypoints[1] + 0.5) / 2 - 0.5, atol=0.051)
    np.testing.assert_allclose(found["kpTrue"][1], (view.keypoints_true[1] + 0.5) / 2 - 0.5, atol=0.051)
