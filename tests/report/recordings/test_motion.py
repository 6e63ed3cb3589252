"""Charts of angles and paths: their values and bands, what is left out, and what a page of a reconstruction holds."""

import numpy as np

from vergence.report.charts import curve_svg
from vergence.report.recordings.motion import motion_curves
from vergence.skeleton import COCO_17

UP = np.array([0.0, -1.0, 0.0])


def charts(frames=30, missing=(), ground=float("nan")):
    pose = np.random.default_rng(0).normal(0, 300, (frames, 17, 3))
    for joint in missing:
        pose[:, COCO_17.index(joint)] = np.nan
    return pose, {
        c.title: c for c in motion_curves(pose, np.full(pose.shape[:2], 7.0), COCO_17, UP, "mm", 10.0, ground)
    }


def test_heights_are_along_up_with_two_deviations_around_them():
    pose, found = charts()
    chart = found["Height of the ankles over the origin"]
    x, y = chart.series["left"]
    np.testing.assert_allclose(y, -pose[:, COCO_17.index("left_ankle"), 1])
    low, high = chart.spread["left"]
    np.testing.assert_allclose([y - low, high - y], 14)
    assert (chart.y_label, chart.x_label, chart.clock) == ("mm", "time, s", "time")
    np.testing.assert_allclose(x, np.arange(30) / 10)
    low, high = found["Path of the root in the 3D view, up from the origin"].spread["up"]
    np.testing.assert_allclose(high - low, 4 * 7 / np.sqrt(2))


def test_heights_are_over_the_floor_where_there_is_one():
    bare, found = charts()[1], charts(ground=-900.0)[1]
    over = found["Height of the wrists over the floor"].series["right"][1]
    np.testing.assert_allclose(over, bare["Height of the wrists over the origin"].series["right"][1] + 900)


def test_a_chart_of_what_nobody_saw_is_left_out():
    found = charts(missing=("left_ankle", "right_ankle"))[1]
    assert not {"Knee flexion", "Height of the ankles over the origin", "Ankle dorsiflexion"} & set(found)
    assert list(charts(missing=("left_ankle",))[1]["Knee flexion"].series) == ["right"]


def test_a_long_recording_is_thinned_and_keeps_its_times():
    x = charts(frames=2000)[1]["Knee flexion"].series["left"][0]
    assert len(x) <= 900
    np.testing.assert_allclose([x[0], x[1], x[-1]], [0, 0.3, 199.8])


def test_a_band_is_broken_where_values_are_missing():
    pose, _ = charts()
    pose[10:12] = np.nan
    chart = next(iter(motion_curves(pose, np.full(pose.shape[:2], 7.0), COCO_17, UP, "mm", 10.0)))
    svg = curve_svg(chart)
    bands = [part.split('d="')[1].split('"')[0] for part in svg.split("<path ")[1:] if 'class="band' in part]
    assert [band.count("Z") for band in bands] == [2, 2]
