"""The page's data, orientation and HTML, without a browser."""

import base64
import hashlib
import html.parser
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.report.charts import curve_svg
from vergence.report.page import Curve, Page, Picture, RigScene, Sample, Table, Verdict, choose_samples, format_number
from vergence.report.render import render_page, write_page
from vergence.report.templates import _across
from vergence.report.viewer import (
    MAX_FRAMES,
    bone_sides,
    display_rotation,
    encode_image,
    frustum,
    page_data,
    rescale_keypoints,
    root_position,
    sample_data,
)
from vergence.skeleton import BODY_25B, COCO_17, H36M_17

STANDING = np.zeros((17, 3))
for _name, _at in {
    "right_hip": (-130, 0, 0), "right_knee": (-130, 450, 0), "right_ankle": (-130, 900, 0),
    "left_hip": (130, 0, 0), "left_knee": (130, 450, 0), "left_ankle": (130, 900, 0),
    "spine": (0, -250, 0), "thorax": (0, -500, 0), "neck_nose": (0, -600, -60), "head_top": (0, -720, 0),
    "left_shoulder": (180, -500, 0), "left_elbow": (200, -250, 0), "left_wrist": (220, 0, 0),
    "right_shoulder": (-180, -500, 0), "right_elbow": (-200, -250, 0), "right_wrist": (-220, 0, 0),
}.items():  # fmt: skip
    STANDING[H36M_17.index(_name)] = _at


def table(**changes):
    values = {"title": "T", "columns": ["", "mm"], "rows": [["a", 1.0]], "protocol": "root-aligned, 3 frames"}
    return Table(**{**values, **changes})


def page(**changes):
    return Page(**{"title": "A page", "subtitle": "of a test", "skeleton": H36M_17, **changes})


def sample(**changes):
    image = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(64, 48, 3)
    values = {"image": image, "keypoints": STANDING[:, :2] / 30 + 24, "pose": STANDING + [0, 0, 4000]}
    return Sample(**{"title": "one", "group": "random", **values, **changes})


def rig(count=3, **changes):
    K = np.array([[1000.0, 0, 499.5], [0, 1000.0, 399.5], [0, 0, 1]])
    camera = Camera("north", (1000, 800), K, rotation=np.eye(3), translation=np.array([0.0, 0.0, 3000.0]))
    return RigScene(**{"cameras": [camera], "poses": np.tile(STANDING, (count, 1, 1)), "fps": 30.0, **changes})


class Reader(html.parser.HTMLParser):
    """Collects the document's structure: unclosed tags, attributes that load, texts by tag."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.loads, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.loads += [v for k, v in attributes if k in ("src", "href", "xlink:href", "action", "srcset", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, *skip):
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style", *skip))


def test_a_long_name_breaks_between_its_words_and_stays_text():
    rows = [["multiview_consistency_60", 1.0], ["<b>_of_somebody</b>", 2.0], ["one_two", 3.0]]
    html_text = render_page(page(tables=[table(rows=rows)]))
    assert ">multiview_<wbr>consistency_<wbr>60</th>" in html_text
    assert ">&lt;b&gt;_<wbr>of_<wbr>somebody&lt;/b&gt;</th>" in html_text
    assert ">one_two</th>" in html_text


def test_a_table_without_its_protocol_is_refused():
    with pytest.raises(VergenceError, match="protocol"):
        table(protocol="  ")


def test_samples_with_errors_and_no_protocol_are_refused():
    with pytest.raises(VergenceError, match="samples_protocol"):
        page(samples=[sample(errors={"N-MPJPE": "3 mm"})])
    page(samples=[sample(errors={"N-MPJPE": "3 mm"})], samples_protocol="root-aligned")
    page(samples=[sample()])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: table(rows=[["a"]]), "2 columns and a row of 1"),
        (lambda: page(samples=[sample(pose=np.zeros((16, 3)))]), r"\(16, 3\)"),
        (lambda: page(samples=[sample(keypoints=np.zeros((17, 3)))]), r"keypoints of sample 'one'"),
        (lambda: sample(image=np.zeros((4, 4, 3))), "float64"),
        (lambda: Curve("c", "x", "y", {"s": ([1, 2], [1])}), r"'s' has x \(2,\)"),
        (lambda: rig(fps=0), "frame rate is 0"),
        (lambda: rig(frames=[1]), "3 poses and 1 frame"),
        (lambda: rig(poses_true=np.zeros((2, 17, 3))), r"\(2, 17, 3\)"),
        (lambda: page(rig=rig(poses=np.zeros((3, 5, 3)))), r"\(3, 5, 3\)"),
        (lambda: page(sections=["results", "jokes"]), "jokes"),
    ],
)
def test_bad_content_is_one_sentence(build, words):
    with pytest.raises(VergenceError, match=words):
        build()


def test_the_page_is_well_formed_loads_nothing_and_forbids_loading():
    full = page(
        tables=[table(note="n", heat=True)], details=[table()], facts={"command": "vergence demo <x> & co"},
        curves=[Curve("loss", "step", "loss", {"a": ([0, 1, 2], [3.0, np.nan, 1.0])}, log_y=True)],
        samples=[sample()], rig=rig(), verdict=Verdict("doubtful", ["it </script><b>might"]),
    )  # fmt: skip
    text = render_page(full)
    reader = Reader(text)
    assert reader.open == []
    assert "http://" not in text
    assert "https://" not in text
    assert [load for load in reader.loads if not load.startswith("data:")] == []
    assert "url(" not in text
    assert "@import" not in text
    policy = next(m["content"] for m in reader.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    script = next(data for tag, data in reader.texts if tag == "script" and not data.startswith("{"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}'" in policy
    assert re.findall(r"(\w+)-src (?!'none'|data:|'unsafe-inline'|'sha256-)", policy) == []
    assert re.findall(r"'unsafe-inline'", policy.split("style-src")[0] + policy.split(";")[-1]) == []
    assert "vergence demo <x> & co" in reader.text()
    assert "it </script><b>might" in reader.text()


def test_text_that_closes_a_script_stays_text():
    text = render_page(page(samples=[sample(title="</script><script>alert(1)</script>", note="<!-- & -->")]))
    reader = Reader(text)
    assert len(reader.named("script")) == 2
    data = json.loads(next(d for tag, d in reader.texts if tag == "script" and d.startswith("{")))
    assert data["samples"][0]["title"] == "</script><script>alert(1)</script>"
    assert data["samples"][0]["note"] == "<!-- & -->"


def test_an_empty_page_has_no_empty_sections():
    assert Reader(render_page(page())).named("section") == []
    sections = Reader(render_page(page(rig=rig(), tables=[table()], sections=["rig", "results"]))).named("section")
    assert [s["id"] for s in sections] == ["rig", "results"]


def test_every_figure_stands_with_its_protocol():
    text = Reader(
        render_page(page(tables=[table(protocol="P1 protocol")], details=[table(protocol="P2 protocol")]))
    ).text()
    assert "P1 protocol" in text
    assert "P2 protocol" in text


def test_what_a_table_says_of_its_figures_is_said_once():
    how = "N-MPJPE: root-aligned, one least-squares scale per pose. Millimetres, mean over images."
    protocols = (f"{how} test: 36 images.", how, f"{how} In brackets: 95 %.", f"{how} test: 36 images.", "of 3 frames")
    tables = [table(title=f"T{i}", protocol=words) for i, words in enumerate(protocols)]
    text = render_page(page(tables=tables, samples=[sample(errors={"N": "3 mm"})], samples_protocol=f"{how} Shown so."))
    assert text.count("one least-squares scale") == 1
    link = '<a href="#table-1">T0</a>'
    said = re.findall(r'<span class="tag">protocol</span> (.*?)</(?:figcaption|p)>', text)
    assert said == [f"{how} test: 36 images.", f"figures as of {link}", f"figures as of {link}. In brackets: 95 %.",
                    f"as of {link}", "of 3 frames", f"figures as of {link}. Shown so."]  # fmt: skip


def test_the_verdict_stands_above_all_sections():
    text = render_page(page(verdict=Verdict("doubtful", ["why"]), sections=("run", "results"), facts={"a": "b"}))
    assert text.index('class="verdict doubtful"') < text.index("<section")
    assert 'id="results"' not in text


def test_pictures_stand_in_full_rows():
    assert [_across(count) for count in (1, 2, 3, 4, 5, 6, 7, 8, 9)] == [1, 2, 3, 4, 3, 3, 4, 4, 3]
    pictures = [Picture(f"cam{i}", np.zeros((8, 8, 3), np.uint8)) for i in range(6)]
    assert '<div class="gallery" style="--many:3">' in render_page(page(pictures=pictures))


def test_a_columns_numbers_share_their_decimals_where_they_are_alike():
    text = render_page(page(tables=[table(rows=[["a", 268.0], ["b", 98.24], ["c", None], ["d", float("nan")]])]))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert cells == ["268.0", "98.2", "–", "–"]
    mixed = render_page(page(tables=[table(rows=[["px", 8.123], ["share", 0.0123], ["frames", 1700]])]))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", mixed) == ["8.12", "0.0123", "1,700"]


def test_write_page_replaces_whole_files_and_leaves_nothing_else(tmp_path: Path):
    target = tmp_path / "new" / "report.html"
    assert write_page(target, page(title="first")) == target
    write_page(target, page(title="second ü"))
    assert "second ü" in target.read_text(encoding="utf-8")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_write_page_names_a_folder_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        write_page(tmp_path / "file" / "report.html", page())


def test_a_camera_frame_is_shown_upright_and_not_mirrored():
    turn = display_rotation(None)
    np.testing.assert_allclose(turn @ [0, -1, 0], [0, 0, 1])
    np.testing.assert_allclose(turn @ [1, 0, 0], [1, 0, 0])
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, 1, 0])
    np.testing.assert_allclose(np.linalg.det(turn), 1)


@given(arrays(float, 3, elements=st.floats(-5, 5)).filter(lambda v: np.linalg.norm(v) > 0.01))
@settings(deadline=None)
def test_display_rotation_is_proper_and_takes_up_to_z(up):
    turn = display_rotation(up)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-9)
    np.testing.assert_allclose(turn @ up, [0, 0, np.linalg.norm(up)], atol=1e-6)


@pytest.mark.parametrize("pitch", [-80, -30, 0, 20, 60, 85, 90])
def test_a_pitched_camera_keeps_its_right_and_looks_away(pitch):
    angle = np.radians(pitch)  # 90: straight down
    up = np.array([0, -np.cos(angle), -np.sin(angle)])
    turn = display_rotation(up)
    np.testing.assert_allclose(turn @ [1, 0, 0], [1, 0, 0], atol=1e-9)
    assert (turn @ [0, 0, 1])[1] > 0.05 or (turn @ [0, -1, 0])[1] > 0.9


@pytest.mark.parametrize("up", [[np.nan] * 3, [0, 0, 0]])
def test_an_unknown_up_reads_the_cameras(up):
    np.testing.assert_array_equal(display_rotation(up), display_rotation(None))


def test_sample_poses_are_upright_root_centred_and_skip_nan():
    pose = STANDING + [300.0, -50.0, 4000.0]
    pose[H36M_17.index("left_wrist")] = np.nan
    shown = sample_data(sample(pose=pose), H36M_17)["pose"]
    assert shown[H36M_17.index("pelvis")] == [0, 0, 0]
    assert shown[H36M_17.index("head_top")] == [0, 0, 720]
    assert shown[H36M_17.index("left_hip")][0] == 130
    assert shown[H36M_17.index("left_wrist")] == [None, None, None]


def test_a_prediction_without_its_root_lies_on_its_truth():
    pose = STANDING + [1.0, 2.0, 3000.0]
    pose[0] = np.nan
    data = sample_data(sample(pose=pose, pose_true=STANDING + [9.0, 9.0, 4000.0]), H36M_17)
    np.testing.assert_allclose(np.array(data["pose"][1:], float), np.array(data["poseTrue"][1:], float), atol=0.2)


def test_root_position_is_the_mid_hips_else_what_there_is():
    pose = np.full((2, 17, 3), np.nan)
    pose[0, [11, 12]] = [[0, 0, 0], [2, 4, 6]]
    pose[1, list(COCO_17.root)] = [[1, 0, 0], [3, 0, 0]]
    pose[1, 0] = 100
    np.testing.assert_allclose(root_position(pose, COCO_17), [[1, 2, 3], [2, 0, 0]])
    assert np.isnan(root_position(np.full((17, 3), np.nan), COCO_17)).all()


def test_bones_have_the_persons_sides():
    bones = {(H36M_17.joint_names[a], H36M_17.joint_names[b]): side for a, b, side in bone_sides(H36M_17)}
    assert bones["left_knee", "left_ankle"] == "l"
    assert bones["pelvis", "right_hip"] == "r"
    assert bones["spine", "thorax"] == "c"
    across = {side for a, b, side in bone_sides(COCO_17) if {a, b} == {11, 12}}
    assert across == {"c"}
    assert len(bone_sides(BODY_25B)) == len(BODY_25B.limbs)


def test_a_frustum_is_the_cameras_centre_and_the_rays_of_its_corners():
    generator = np.random.default_rng(0)
    R = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    R *= np.sign(np.linalg.det(R))
    t, K = generator.normal(size=3), np.array([[800.0, 0, 300], [0, 700.0, 200], [0, 0, 1]])
    points = frustum(Camera("one", (640, 480), K, rotation=R, translation=t))
    np.testing.assert_allclose(R @ points[0] + t, 0, atol=1e-12)
    seen = (points[1:] @ R.T + t) @ K.T
    np.testing.assert_allclose(seen[:, 2], 1)
    np.testing.assert_allclose(seen[:, :2], [[-0.5, -0.5], [639.5, -0.5], [639.5, 479.5], [-0.5, 479.5]], atol=1e-9)


def test_a_long_scene_is_thinned_and_says_so():
    long = rig(count=2 * MAX_FRAMES + 5)
    data = page_data(page(rig=long))["rig"]
    assert len(data["poses"]) <= MAX_FRAMES
    assert data["frames"][:3] == [0, 3, 6]
    assert data["fps"] == 10
    assert "one frame in 3" in Reader(render_page(page(rig=long))).text()


def test_unknown_numbers_are_null_in_the_data():
    scene = rig(poses=np.full((2, 17, 3), np.nan))
    data = json.loads(
        json.dumps(page_data(page(rig=scene, samples=[sample(pose=np.full((17, 3), np.nan))])), allow_nan=False)
    )
    assert data["rig"]["poses"][0][0] == [None, None, None]
    assert data["samples"][0]["pose"][3] == [None, None, None]


@pytest.mark.parametrize("shape", [(64, 48), (1500, 600), (700, 2000)])
def test_keypoints_follow_the_images_resizing(shape):
    image = np.zeros((*shape, 3), np.uint8)
    y, x = int(shape[0] * 0.7), int(shape[1] * 0.3)
    image[y - 8 : y + 9, x - 8 : x + 9] = 255
    uri, size, scale = encode_image(image)
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L"), dtype=float)
    assert decoded.shape == size[::-1]
    assert max(size) <= 720
    weight = np.where(decoded > 40, decoded, 0)
    rows, columns = np.indices(decoded.shape)
    blob = [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
    np.testing.assert_allclose(rescale_keypoints(np.array([[x, y]]), scale)[0], blob, atol=0.12)


def test_small_images_are_kept_exactly():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    uri, _, scale = encode_image(image)
    assert scale == (1, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))), image)


def test_a_curve_that_cannot_be_drawn_has_no_key():
    series = {"loss": ([0, 1], [3.0, 2.0]), "depth": ([0, 1], [0.0, 0.0]), "unknown": ([0], [np.nan])}
    for log, shown in ((True, ["loss"]), (False, ["loss", "depth"])):
        curve = Curve("c", "step", "loss", series, log_y=log)
        text = render_page(page(curves=[curve]))
        assert re.findall(r'class="swatch s(\d)" aria-hidden="true"></span>(\w+)', text) == [
            (str(i), name) for i, name in enumerate(shown)
        ]
        assert f"against step; {', '.join(shown)}" in curve_svg(curve)


def test_numbers_are_short():
    assert [format_number(v) for v in (0.01234, 1.234, 12.34, 123.4, 12345.6, 7, 0.0)] == [
        "0.0123", "1.23", "12.3", "123", "12,346", "7", "0"
    ]  # fmt: skip


def test_chosen_samples_are_the_worst_the_best_and_some_others():
    error = np.array([5.0, 1, 9, np.nan, 3, 7, 2, 8, 4, 6])
    chosen = choose_samples(error, each=2)
    groups = {g: [i for group, i in chosen if group == g] for g in ("worst", "best", "random")}
    assert groups["worst"] == [2, 7]
    assert groups["best"] == [1, 6]
    assert len(groups["random"]) == 2
    assert len({i for _, i in chosen}) == 6
    assert 3 not in {i for _, i in chosen}
    assert choose_samples(error, each=2) == chosen
    assert choose_samples(np.array([2.0, 1.0]), each=3) == [("worst", 0), ("worst", 1)]
    assert choose_samples(np.full(3, np.nan)) == []


def test_images_charts_and_views_have_words():
    reader = Reader(render_page(page(samples=[sample()], rig=rig(), curves=[Curve("c", "x", "y", {"a": ([0], [1])})])))
    for attributes in reader.named("canvas"):
        assert attributes["aria-label"]
        assert attributes["tabindex"] == "0"
    assert all(a["aria-label"] for a in reader.named("svg") if a.get("class") == "chart")
    assert dict(reader.tags)["html"]["lang"] == "en"
