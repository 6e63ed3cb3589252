"""The page of a reconstruction: its figures against plain loops, its images against the projections they show."""

import functools
import warnings
from dataclasses import replace

import cv2
import numpy as np

from vergence.errors import VergenceError
from vergence.geometry.vertical import level_up
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.report.page import Page, Verdict
from vergence.report.reconstruction import (
    _moments,
    _quality_table,
    cut_out,
    median,
    projections,
    reconstruction_page,
    relabelled,
)
from vergence.report.render import render_page
from vergence.skeleton import COCO_17

NAMES = ("front", "left", "right")
SIZE = (800, 600)
FRAMES = 24


def look_at(eye, at):
    """A camera that is not rolled in a world whose z is up."""
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@functools.cache
def recording() -> tuple[Solution, np.ndarray]:
    """A person walking in front of three known cameras with some lens distortion, px noise and gaps."""
    generator = np.random.default_rng(0)
    shape = generator.normal(0, 250, (17, 3)) * [1, 0.6, 1.6]
    pose = (
        shape + generator.normal(0, 25, (FRAMES, 17, 3)) + np.linspace(-400, 400, FRAMES)[:, None, None] * [1, 0.5, 0]
    )
    eyes = np.array([[0, -4000, 700], [-3500, -2500, 900], [3600, -1500, 200.0]])
    rotation = np.stack([look_at(eye, [0, 0, 0]) for eye in eyes])
    translation = -np.einsum("vij,vj->vi", rotation, eyes)
    K = np.tile([[700.0, 0, 400], [0, 700, 300], [0, 0, 1]], (3, 1, 1))
    lens = np.tile([-0.1, 0.02, 1e-3, -1e-3, 0.0], (3, 1))
    keypoints = np.zeros((FRAMES, 3, 17, 3))
    for t in range(FRAMES):
        for v in range(3):
            turn = cv2.Rodrigues(rotation[v])[0]
            keypoints[t, v, :, :2] = cv2.projectPoints(pose[t], turn, translation[v], K[v], lens[v])[0][:, 0]
    keypoints[..., :2] += generator.normal(0, 2, keypoints.shape[:-1] + (2,))
    keypoints[..., 2] = generator.uniform(0.1, 1, keypoints.shape[:-1])
    keypoints[5, 1] = np.nan
    keypoints[:, :, 3] = np.nan
    found = reconstruct_keypoints(
        keypoints[..., :2], keypoints[..., 2], intrinsics=K, image_size=np.tile(SIZE, (3, 1)), skeleton=COCO_17,
        distortion=lens, rotation=rotation, translation=translation, repair=False,
    )  # fmt: skip
    return found, keypoints


def page(**changes) -> Page:
    found, keypoints = recording()
    values = {
        "names": NAMES,
        "image_size": [SIZE] * 3,
        "fps": 25.0,
        "title": "walk",
        "facts": {"command": "reconstruct"},
    }
    return reconstruction_page(found, keypoints, **{**values, **changes})


def errors_slowly():
    """Distances by camera and joint, one point at a time, with OpenCV's projection."""
    found, keypoints = recording()
    out = {}
    for v in range(3):
        turn = cv2.Rodrigues(found.rotation[v])[0]
        for j in range(17):
            out[v, j] = []
            for t in range(FRAMES):
                x, y, confidence = keypoints[t, v, j]
                if confidence > 0.3 and np.isfinite(found.pose[t, j]).all():
                    args = (
                        found.pose[t, j][None],
                        turn,
                        found.translation[v],
                        found.intrinsics[v],
                        found.distortion[v],
                    )
                    out[v, j].append(np.hypot(*(cv2.projectPoints(*args)[0][0, 0] - [x, y])))
    return out


def test_projections_are_opencvs():
    found, _ = recording()
    ours = projections(found)
    for v in range(3):
        turn = cv2.Rodrigues(found.rotation[v])[0]
        theirs = cv2.projectPoints(found.pose[2], turn, found.translation[v], found.intrinsics[v], found.distortion[v])[
            0
        ]
        np.testing.assert_allclose(ours[2, v], theirs[:, 0], atol=1e-6)


def test_each_camera_has_its_errors_and_when_it_began():
    slow, (_, keypoints) = errors_slowly(), recording()
    table = page().tables[1]
    assert table.columns == ["camera", "reprojection, px", "90 %, px", "person seen"]
    later = page(offsets={"front": 0.0, "left": -8.39, "right": 2.5}).tables[1]
    assert [row[4] for row in later.rows] == ["+0.00", "+8.39", "-2.50"]
    for v, row in enumerate(table.rows):
        own = np.concatenate([slow[v, j] for j in range(17)])
        np.testing.assert_allclose(row[1:3], np.percentile(own, [50, 90]), atol=1e-6)
        seen = [bool((keypoints[t, v, :, 2] > 0.3).any()) for t in range(FRAMES)]
        assert row[3] == f"{np.mean(seen):.0%}"
        assert later.rows[v][:4] == row


def test_the_joint_table_is_the_median_of_every_distance():
    table, slow = page().details[0], errors_slowly()
    assert table.columns == ["", *NAMES, "all cameras"]
    for j, row in enumerate(table.rows[1:]):
        assert row[0] == COCO_17.joint_names[j].replace("_", " ")
        for v in range(3):
            expected = np.median(slow[v, j]) if slow[v, j] else np.nan
            np.testing.assert_allclose(row[1 + v], expected, atol=1e-6)
    everything = np.concatenate([np.array(d) for d in slow.values()])
    np.testing.assert_allclose(table.rows[0][4], np.median(everything), atol=1e-6)
    assert np.isnan(table.rows[1 + 3][1])


def test_the_table_of_figures_is_the_reports():
    found, _ = recording()
    rows = {row[0]: row[1] for row in page().tables[0].rows}
    assert rows["reprojection, median"] == f"{found.report.reprojection_median:.1f} px"
    assert rows["coverage"] == f"{100 * found.report.coverage:.1f} %"
    assert "starts that agree" not in rows, "the cameras were given"
    for gap, said in ((1.5, "costs 1.50 times"), (1.5e11, "costs over 1,000 times"), (np.inf, "no other rig")):
        known = replace(found, report=replace(found.report, starts=3, agreeing_starts=3, gap=gap))
        assert said in next(row[2] for row in _quality_table(known).rows if row[0] == "starts that agree")


def test_samples_show_every_camera_at_the_same_moments_and_the_worst():
    samples = page().samples
    frames = {name: [s.title.split("frame ")[1] for s in samples if s.group == name] for name in NAMES}
    assert len(frames["front"]) == 4
    assert frames["front"] == frames["left"] == frames["right"]
    assert 0 < sum(s.group == "worst" for s in samples) <= 6


def test_the_worst_moments_are_the_worst_and_apart():
    error = np.ones((100, 2, 5))
    error[47:51, 1], error[88, 0], error[10] = 9.0, 7.0, np.nan
    even, worst = _moments(error)
    assert worst[:2] == [(47, 1), (88, 0)]
    assert all(abs(a - b) > 5 for (a, v) in worst for (b, w) in worst if v == w and a != b)
    assert not {frame for frame, _ in worst} & set(even)
    assert _moments(np.full((5, 2, 3), np.nan)) == ([], [])


def test_cut_outs_carry_their_keypoints():
    """Images that hold their own coordinates: what a cut-out shows under a keypoint is where the keypoint was."""
    asked = []

    def images(view, frame):
        asked.append((view, frame))
        rows, columns = np.indices(SIZE[::-1])
        return np.stack([columns // 4, rows // 4, np.full_like(rows, view)], axis=-1).astype(np.uint8)

    made = page(images=images)
    reprojected = projections(recording()[0])
    assert asked == sorted(set(asked)), "read in order, each once"
    for sample in made.samples:
        view, frame = NAMES.index(sample.title.split(",")[0]), int(sample.title.split("frame ")[1])
        column, row = np.round(sample.keypoints[0]).astype(int)
        assert sample.image[row, column, 2] == view
        np.testing.assert_allclose(sample.image[row, column, :2] * 4.0, reprojected[frame, view, 0], atol=4)
        inside = reprojected[frame, view][np.isfinite(reprojected[frame, view]).all(1)]
        shown = sample.keypoints[np.isfinite(sample.keypoints).all(1)]
        height, width = sample.image.shape[:2]
        assert ((shown >= 0) & (shown < [width, height])).all() or not ((inside >= 0) & (inside < SIZE)).all()


def test_a_damaged_frame_costs_its_image_only():
    def images(view, frame):
        if view == 1:
            raise VergenceError("frame 7 of left.mp4 is damaged", "Re-encode it.")
        return np.zeros((*SIZE[::-1], 3), np.uint8)

    for sample in page(images=images).samples:
        damaged = sample.title.startswith("left")
        assert sample.note == ("No image: frame 7 of left.mp4 is damaged." if damaged else "")
        assert (sample.image.max() > 0) == damaged


def test_poses_are_in_the_samples_camera_frame():
    found, _ = recording()
    sample = next(s for s in page().samples if s.group == "right")
    frame = int(sample.title.split("frame ")[1])
    back = (sample.pose - found.translation[2]) @ found.rotation[2]
    np.testing.assert_allclose(back, found.pose[frame], atol=1e-6)


def test_cut_out_follows_the_reconstruction_and_stays_in_the_image():
    nowhere, person = np.full((17, 2), np.nan), np.full((17, 2), np.nan)
    person[[0, 1]] = [[100, 100], [140, 300]]
    astray = person.copy()
    astray[0] = [700, 500]
    assert cut_out(person, astray, SIZE) == (60, 60, 181, 341)
    assert cut_out(nowhere, person, SIZE) == cut_out(person, nowhere, SIZE)
    assert cut_out(nowhere, nowhere, SIZE) == (0, 0, *SIZE)
    left, top, right, bottom = cut_out(np.array([[2.0, 3.0], [799.0, 599.0]]), nowhere, SIZE)
    assert (left, top, right, bottom) == (0, 0, 800, 600)


def test_up_is_found_from_cameras_that_are_not_rolled():
    generator = np.random.default_rng(1)
    for _ in range(20):
        eyes = generator.normal(0, 3000, (3, 3)) + [0, 0, 1500]
        rotation = np.stack([look_at(eye, generator.normal(0, 100, 3)) for eye in eyes])
        world = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        world *= np.sign(np.linalg.det(world))
        up = level_up(rotation @ world.T)
        assert np.degrees(np.arccos(np.clip(up @ world @ [0, 0, 1], -1, 1))) < 12
    same = np.stack([look_at([x, -4000, 0], [x, 0, 0]) for x in (-300, 300)])
    np.testing.assert_allclose(level_up(same), [0, 0, 1], atol=1e-9)


def test_exchanged_sides_are_exchanged_on_the_page_too():
    keypoints = np.arange(2 * 1 * 3 * 3, dtype=float).reshape(2, 1, 3, 3)
    side = np.array([[[0, 2, 1]], [[0, 1, 2]]])
    changed = relabelled(keypoints, side)
    np.testing.assert_array_equal(changed[0, 0], keypoints[0, 0][[0, 2, 1]])
    np.testing.assert_array_equal(changed[1], keypoints[1])


def test_medians_of_nothing_are_nan():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(median(values, 0), [2, np.nan])
        assert np.isnan(median(values[2]))
        assert median(values) == 2


def test_the_verdict_stands_with_its_reasons():
    found, _ = recording()
    assert page().verdict.word == found.report.verdict
    assert page().verdict.reasons
    other = page(verdict=Verdict("doubtful", ["the subject may be the wrong person"]))
    assert "the subject may be the wrong person" in render_page(other)
    assert 'class="verdict doubtful"' in render_page(other)
