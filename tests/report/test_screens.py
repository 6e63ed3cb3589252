"""Every kind of page on a phone, a tablet and a desk, by day and by night, by touch and by keys; and names that are markup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fixtures_pages as pages
import numpy as np
import pytest
from fixtures_browser import Browser, driven, with_browser
from fixtures_scene import Scene
from fixtures_told import Told

from vergence.plugins import detectors

KINDS = ("inspect", "reconstruct", "learn", "footage", "predict", "run", "compare", "reproduce", "search", "check",
         "everything", "strips")  # fmt: skip
AUDIT = Path(__file__).with_name("audit.js").read_text()
pytestmark = with_browser


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_scene: Callable[..., Scene], two_people) -> dict[str, Path]:
    """A page of each kind."""
    out, footage = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("footage")
    detectors.register("told")(Told)
    scene = make_scene(views=3, frames=24, distortion=(0.0,) * 5, noise=1.0)
    found = pages.recorded(pages.inspected(footage, scene), out)
    found |= pages.evaluated(out) | {"predict": pages.predicted(*two_people, out)}
    return found | {
        "reproduce": pages.reproduced(out), "search": pages.searched(out), "check": pages.checked(out),
        "everything": pages.everything(out), "strips": pages.stripped(out),
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven(tmp_path_factory.mktemp("profile")) as found:
        yield found


def test_there_is_a_page_of_every_kind(made):
    assert set(made) == set(KINDS)


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_and_can_be_read(made, browser, kind, width):
    browser.said.clear()
    browser.open(made[kind].as_uri(), width)
    light, wrong = browser.value("getComputedStyle(document.documentElement).backgroundColor"), browser.value(AUDIT)
    browser.look(dark=True)
    dark = browser.value("getComputedStyle(document.documentElement).backgroundColor")
    assert wrong == []
    assert light != dark
    assert browser.value(AUDIT) == []
    assert browser.said == []


def without_ring(browser: Browser) -> list[str]:
    """The focused element if nothing shows that it is; a busy machine draws the ring a little later."""
    found: list[str] = []
    for _ in range(20):
        found = browser.value("""(() => {
          const e = document.activeElement, style = getComputedStyle(e);
          window.left.delete(e);
          const ring = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
          const shown = e === document.body || (e.matches(":focus-visible") && ring);
          return shown ? [] : [e.outerHTML.slice(0, 120)];
        })()""")
        if not found:
            break
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_keys_reach_all_that_can_be_used(made, browser, kind):
    """Tab goes to each control, scrolled table, chart and view, and where it is can be seen."""
    browser.open(made[kind].as_uri(), 390)
    left = browser.value("""{
      const all = [...document.querySelectorAll("button, input, a[href], summary, [tabindex]")];
      window.left = new Set(all.filter((e) => e.checkVisibility() && e.getClientRects().length && !e.disabled));
      window.left.size;
    }""")
    unseen = []
    for _ in range(left + 3):
        browser.key("Tab")
        unseen += without_ring(browser)
    assert browser.value("[...window.left].map((e) => e.outerHTML.slice(0, 120))") == []
    assert unseen == []


def place(browser: Browser, view: str) -> tuple[float, float]:
    """The middle of a view that was brought to the middle of the screen."""
    script = f"""{{ const e = document.getElementById("{view}"); e.scrollIntoView({{ block: "center" }});
      const box = e.getBoundingClientRect(); [box.x + box.width / 2, box.y + box.height / 2] }}"""
    return tuple(browser.value(script))


def state(browser: Browser, view: str) -> tuple[float, np.ndarray]:
    """How far the page was scrolled, and the view's yaw, pitch, zoom and place, when nothing moves any more."""
    script = f"""new Promise((done) => {{ let last = -1, still = 0; const look = () => {{
        still = scrollY === last ? still + 1 : 0; last = scrollY;
        if (still > 8) done([scrollY, visualViewport.scale, document.getElementById("{view}").dataset.look]);
        else requestAnimationFrame(look); }}; look(); }})"""
    scrolled, scale, look = browser.value(script)
    assert scale == 1
    return scrolled, np.array(look.split(), float)


def swipe(browser: Browser, *paths: tuple[tuple[float, float], tuple[float, float]], steps: int = 12) -> None:
    """Fingers that go straight from one place to another."""
    browser.touch("touchStart", *(start for start, _ in paths))
    for i in range(1, steps + 1):
        share = i / steps
        browser.touch("touchMove", *((a + (c - a) * share, b + (d - b) * share) for (a, b), (c, d) in paths))
    browser.touch("touchEnd")


@pytest.mark.parametrize(
    ("kind", "view"), [("everything", "pose"), ("everything", "rig-canvas"), ("predict", "clip-canvas")]
)
def test_one_finger_scrolls_the_page_and_two_move_the_3d(made, browser, kind, view):
    browser.open(made[kind].as_uri(), 390, height=700)
    x, y = place(browser, view)
    at, start = state(browser, view)
    swipe(browser, ((x, y + 60), (x + 4, y - 90)))
    down, look = state(browser, view)
    assert down - at > 60
    np.testing.assert_array_equal(look, start)

    x, y = place(browser, view)
    at, start = state(browser, view)
    swipe(browser, ((x - 60, y), (x + 60, y)))
    still, look = state(browser, view)
    assert still == at
    assert look[0] == pytest.approx(start[0] - 120 * 0.008, abs=0.15)  # what the finger goes before it counts is lost
    assert look[2] == 1

    swipe(browser, ((x - 30, y - 30), (x - 60, y - 60)), ((x + 30, y + 30), (x + 60, y + 60)))
    still, apart = state(browser, view)
    assert still == at
    assert apart[2] == pytest.approx(2, abs=0.1)
    np.testing.assert_allclose(apart[:2], look[:2])

    swipe(browser, ((x - 30, y + 60), (x - 30, y)), ((x + 30, y + 60), (x + 30, y)))
    still, moved = state(browser, view)
    assert still == at
    np.testing.assert_allclose(moved[:3], apart[:3], atol=0.05)
    np.testing.assert_allclose(moved[3:] - apart[3:], [0, -60], atol=6)


def test_mouse_and_keys_turn_move_and_zoom(made, browser):
    browser.open(made["everything"].as_uri(), 1440)
    x, y = place(browser, "pose")

    def drag(modifiers: int, button: str) -> np.ndarray:
        held = {"modifiers": modifiers, "button": button, "buttons": 2 if button == "right" else 1, "clickCount": 1}
        browser("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **held)
        browser("Input.dispatchMouseEvent", type="mouseMoved", x=x + 50, y=y - 20, **held)
        browser("Input.dispatchMouseEvent", type="mouseReleased", x=x + 50, y=y - 20, **held)
        return state(browser, "pose")[1]

    start = state(browser, "pose")[1]
    turned = drag(0, "left")
    np.testing.assert_allclose(turned - start, [-0.4, -0.16, 0, 0, 0], atol=2e-3)
    moved = drag(8, "left")  # Shift
    np.testing.assert_allclose(moved - turned, [0, 0, 0, 50, -20], atol=1e-3)
    np.testing.assert_allclose(drag(0, "right") - moved, [0, 0, 0, 50, -20], atol=1e-3)
    where = f"""(() => {{ const c = document.getElementById("pose"), box = c.getBoundingClientRect();
        return [{x} + 50 - box.x, {y} - 20 - box.y]; }})()"""
    before, point = state(browser, "pose")[1], np.array(browser.value(where))
    browser("Input.dispatchMouseEvent", type="mouseWheel", x=x + 50, y=y - 20, deltaX=0, deltaY=-200)
    after = state(browser, "pose")[1]
    middle = browser.value(
        "(({ clientWidth, clientHeight }) => [clientWidth / 2, 30 + (clientHeight - 70) / 2])(document.getElementById('pose'))"
    )
    assert after[2] == pytest.approx(np.exp(0.3), abs=2e-3)
    under = [(point - middle - look[3:]) / look[2] for look in (before, after)]
    np.testing.assert_allclose(*under, atol=0.5)  # what lies under the pointer stays there
    browser.key("ArrowLeft", modifiers=8)
    np.testing.assert_allclose(state(browser, "pose")[1] - after, [0, 0, 0, -30, 0], atol=1e-2)
    browser.key("0")
    np.testing.assert_allclose(state(browser, "pose")[1], start)


def test_nothing_that_is_shown_leaves_a_view_however_it_is_turned(made, browser):
    """The floor's corners, cameras and joints lie within the canvas at every yaw and pitch."""
    probe = """(() => {
      const drawn = [], real = View3D.prototype.project;
      const canvas = document.getElementById("rig-canvas");
      const key = (k) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: k }));
      View3D.prototype.project = function (p) {
        const q = real.call(this, p);
        if (q && this.canvas === canvas) drawn.push([q[0] / this.width, q[1] / this.height]);
        return q;
      };
      for (let i = 0; i < 40; i++) key("ArrowLeft");
      for (let i = 0; i < 12; i++) { key("ArrowUp"); key("ArrowLeft"); }
      View3D.prototype.project = real;
      const [x, y] = [0, 1].map((i) => drawn.map((p) => p[i]));
      return [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
    })()"""
    for kind, width in (("everything", 390), ("inspect", 390), ("inspect", 1440)):
        browser.open(made[kind].as_uri(), width)
        left, right, top, bottom = browser.value(probe)
        assert 0 < left < right < 1
        assert 0 < top < bottom < 1


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("kind", ["inspect", "reconstruct", "predict"])
def test_the_time_bar_never_lies_over_the_3d(made, browser, kind, width):
    browser.open(made[kind].as_uri(), width, height=844)
    apart, stuck = browser.value("""(() => {
      const bar = document.querySelector(".play"), pane = document.querySelector("canvas").parentElement;
      let apart = true, stuck = 0;
      for (let y = 0; y < document.documentElement.scrollHeight; y += 50) {
        scrollTo({ top: y, behavior: "instant" });
        const top = bar.getBoundingClientRect();
        apart = apart && top.top >= pane.getBoundingClientRect().bottom - 1;
        stuck += Math.abs(top.bottom - innerHeight) < 2;
      }
      return [apart, stuck];
    })()""")
    assert apart
    assert stuck > 15 or kind == "inspect"  # from below the 3D to the last chart, where there are charts


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_numbers_in_the_3d_are_whole_and_apart(made, browser, width):
    """However it is turned; names of cameras may lie over others."""
    browser.open(made["everything"].as_uri(), width)
    assert (
        browser.value("""(() => {
      const canvas = document.getElementById("pose"), real = CanvasRenderingContext2D.prototype.fillText, wrong = [];
      let now = [];
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        if (this.canvas !== canvas || text.startsWith("grid")) return;
        const wide = this.measureText(text).width, from = { center: wide / 2, end: wide, right: wide }[this.textAlign] || 0;
        now.push([x - from, x - from + wide, y, text]);
      };
      for (let i = 0; i < 60; i++) {
        now = [];
        canvas.dispatchEvent(new KeyboardEvent("keydown", { key: i % 10 === 9 ? "ArrowUp" : "ArrowLeft" }));
        for (const [from, to, , text] of now) if (from < 0 || to > canvas.clientWidth) wrong.push("cut: " + text);
        now.forEach((a, i) => {
          for (const b of now.slice(i + 1))
            if (a[0] < b[1] && b[0] < a[1] && Math.abs(a[2] - b[2]) < 10) wrong.push(a[3] + " over " + b[3]);
        });
        if (!now.length) wrong.push("no number");
      }
      CanvasRenderingContext2D.prototype.fillText = real;
      return wrong;
    })()""")
        == []
    )


def test_long_tables_are_folded_on_a_phone_only(made, browser):
    for width, opened in ((390, False), (768, True), (1440, True)):
        browser.open(made["run"].as_uri(), width)
        assert browser.value("document.querySelector('#details details').open") is opened
    browser.open(made["inspect"].as_uri(), 390)
    wide = "[...document.querySelectorAll('#details .scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
    browser.value("document.querySelector('summary').click(); new Promise((done) => setTimeout(done, 100))")
    assert browser.value(f"{wide}.length") > 0
    assert browser.value(f"{wide}.every((e) => e.parentElement.matches('.cut'))")


def test_labels_alone_fill_the_width_and_have_no_key_of_a_prediction(browser, tmp_path):
    image, points = np.zeros((60, 40, 3), np.uint8), np.random.default_rng(0).uniform(5, 35, (17, 2))
    page = pages.Page("t", "s", pages.H36M_17, samples=[pages.Sample("one", "all", image, keypoints_true=points)])
    browser.open(pages.write_page(tmp_path / "page.html", page).as_uri(), 1440)
    browser.value("dispatchEvent(new Event('resize'))")
    pane, whole = browser.value("[...document.querySelectorAll('#image, .panes')].map((e) => e.clientWidth)")[::-1]
    assert abs(pane - whole) < 3
    assert browser.value("document.getElementById('legend').textContent") == "truth (green)"


def test_curves_are_read_by_keys(made, browser):
    browser.open(made["everything"].as_uri(), 390)
    browser.value("document.querySelector('svg.chart').focus()")
    browser.key("ArrowRight")
    browser.key("ArrowRight")
    read = browser.value("[...document.querySelectorAll('.reading text')].map((e) => e.textContent)")
    assert read == [f"{pages.odd('s')} 1,000,000 at 1.00", "t 1.00 at 0"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_markup_are_shown_as_they_are(made, browser, kind):
    """Also where the page's policy would not stop them: nothing of them becomes an element or runs."""
    browser("Page.setBypassCSP", enabled=True)
    try:
        browser("Page.addScriptToEvaluateOnNewDocument", source="window.hurt = () => { window.hit = true; alert(1); };")
        browser.said.clear()
        browser.open(made[kind].as_uri(), 1440)
        browser.value("for (const b of document.querySelectorAll('button, input[type=checkbox]')) b.click()")
        moved = "new PointerEvent('pointermove', { clientX: 9 })"
        browser.value(f"for (const e of document.querySelectorAll('.chart')) e.dispatchEvent({moved})")
        browser.value("new Promise((done) => setTimeout(done, 50))")
        assert not browser.value("window.hit")
        assert browser.said == []
        assert browser.value("document.querySelectorAll('script, main style, main link').length") == 2
        assert (
            browser.value("document.querySelectorAll('[onerror], [onload], img[src=x], main u, main meta').length") == 0
        )
        shown = browser.value("document.querySelector('main').textContent")
    finally:
        browser("Page.setBypassCSP", enabled=False)
    names = NAMES[kind]
    assert [name for name in names if name not in shown] == []


CAMERAS = [pages.odd_file(f"cam{i}") for i in range(3)]
NAMES = {
    "inspect": CAMERAS, "reconstruct": CAMERAS, "predict": [pages.odd_file("two") + ".mp4"],
    "learn": [*CAMERAS, pages.odd("walk"), pages.odd("out")],
    "footage": [*CAMERAS, pages.odd("walk"), pages.odd("run"), pages.odd("reason")],
    "run": [pages.odd(name) for name in ("studio", "test", "pose", "vergence train")],
    "compare": [pages.odd(name) for name in ("a", "b", "test", "vergence compare")],
    "reproduce": [pages.odd(name) for name in ("a", "b", "protocol", "title", "paper", "why", "command", "t")],
    "search": [CAMERAS[0], CAMERAS[1], pages.odd_file("query"), pages.odd("run"), pages.odd("footage")],
    "check": [pages.odd_file("image") + ".png", *(pages.odd(n) for n in ("found", "do this", "folder", "kind"))],
    "everything": [*CAMERAS, *pages.ODD_JOINTS.joint_names, pages.odd("sample"), pages.odd("note"), pages.odd("s"),
                   *(pages.odd(name) for name in ("x", "y", "curve", "dots", "a", "one", "other", "up", "reason", "fact"))],
    "strips": [pages.odd(name) for name in ("strip", "a", "N 0 mm", "protocol")],
}  # fmt: skip


def test_a_name_that_is_no_text_does_not_stop_a_page(tmp_path):
    name = b"bad\xff.mp4".decode("utf8", "surrogateescape")
    page = pages.Page(f"3D of {name}", "\ud800", pages.H36M_17)
    assert "bad\ufffd.mp4" in pages.write_page(tmp_path / "page.html", page).read_text(encoding="utf-8")
