import types

import numpy as np
import pytest

from vergence.inference.frames import PredictedFrame, preview_size
from vergence.report.overlay import COLOURS, ON_IMAGE, REACH, draw_skeleton, overlay, overlay_of_people, pose_view
from vergence.skeleton import H36M_17


def standing():
    """A person upright in display axes (x right, y away, z up), left wrist a bone towards the viewer."""
    pose = np.zeros((17, 3))
    for name, at in {
        "right_hip": (-0.3, 0, 0), "left_hip": (0.3, 0, 0), "right_knee": (-0.3, 0, -0.9), "left_knee": (0.3, 0, -0.9),
        "right_ankle": (-0.3, 0, -1.8), "left_ankle": (0.3, 0, -1.8), "spine": (0, 0, 0.5), "thorax": (0, 0, 1),
        "neck_nose": (0, 0, 1.2), "head_top": (0, 0, 1.5), "left_shoulder": (0.4, 0, 1), "left_elbow": (0.5, -0.5, 1),
        "left_wrist": (0.5, -1.0, 1), "right_shoulder": (-0.4, 0, 1), "right_elbow": (-0.9, 0, 1),
        "right_wrist": (-1.4, 0, 1),
    }.items():  # fmt: skip
        pose[H36M_17.index(name)] = at
    return pose


def at(image, x, y):
    return tuple(int(v) for v in image[round(y), round(x)])


def test_joints_are_drawn_where_the_keypoints_are_and_nowhere_else():
    image = np.zeros((400, 300, 3), np.uint8)
    keypoints = np.full((17, 2), np.nan)
    wrist, elbow = H36M_17.index("left_wrist"), H36M_17.index("right_elbow")
    keypoints[wrist], keypoints[elbow] = [50, 60], [200, 300]
    frame = overlay(image, H36M_17, keypoints, np.ones(17))
    assert at(frame, 50, 60) == ON_IMAGE["l"]
    assert at(frame, 200, 300) == ON_IMAGE["r"]
    inside = frame[:, :300]
    assert 0 < (inside > 0).any(2).sum() < 100
    assert (overlay(image, H36M_17)[:, :300] == 0).all()


def test_a_large_image_is_shown_smaller_with_its_keypoints_on_it():
    image = np.zeros((1080, 1920, 3), np.uint8)
    keypoints = np.full((17, 2), np.nan)
    keypoints[H36M_17.index("left_wrist")] = [1000.5, 600.5]
    frame = overlay(image, H36M_17, keypoints)
    assert frame.shape == (540, 960 + 270, 3)
    assert at(frame, 500, 300) == ON_IMAGE["l"]


def test_an_image_of_another_shape_is_fitted_into_the_same_frame():
    keypoints = np.full((17, 2), np.nan)
    keypoints[H36M_17.index("left_wrist")] = [100, 100]
    frame = overlay(np.full((200, 200, 3), 9, np.uint8), H36M_17, keypoints, size=(320, 160))
    assert frame.shape == (160, 320 + 80, 3)
    assert at(frame, 80 + 80, 80) == ON_IMAGE["l"]
    assert at(frame, 10, 80) == (0, 0, 0)
    assert at(frame, 100, 20) == (9, 9, 9)


def test_uncertain_joints_are_drawn_thinner():
    keypoints = np.full((17, 2), np.nan)
    keypoints[H36M_17.index("left_wrist")], keypoints[H36M_17.index("left_elbow")] = [50, 300], [250, 300]
    drawn = []
    for confidence in (0.9, 0.05):
        canvas = np.zeros((1000, 300, 3), np.uint8)
        draw_skeleton(canvas, keypoints, H36M_17, ON_IMAGE, 5, np.full(17, confidence))
        drawn.append((canvas > 0).any(2).sum())
    assert drawn[1] < 0.6 * drawn[0]


def test_the_side_view_shows_depth_across():
    """What is a bone nearer to the camera lies to the left, seen from the camera's right."""
    front = pose_view(standing(), H36M_17, 520, 0.0)
    side = pose_view(standing(), H36M_17, 520, np.pi / 2)
    scale, middle = 100, 259.5
    assert at(front, middle + 0.5 * scale, middle - scale) == COLOURS["l"]
    assert at(side, middle - 1.0 * scale, middle - scale) == COLOURS["l"]
    assert at(front, middle - 1.4 * scale, middle - scale) == COLOURS["r"]
    assert at(front, middle - 0.3 * scale, middle + 1.8 * scale) == COLOURS["r"]


def test_the_nearer_limb_hides_the_farther():
    pose = np.full((17, 3), np.nan)
    left, right = (
        [H36M_17.index(f"left_{n}") for n in ("elbow", "wrist")],
        [H36M_17.index("right_elbow"), H36M_17.index("right_wrist")],
    )
    pose[left], pose[right] = [[-1, -1, 0], [1, -1, 0]], [[-1, 1, 0], [1, 1, 0]]
    assert at(pose_view(pose, H36M_17, 400, 0.0), 199.5, 199.5) == COLOURS["l"]
    assert at(pose_view(pose, H36M_17, 400, np.pi), 199.5, 199.5) == COLOURS["r"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (101, 57)])
def test_odd_images_give_frames_a_video_can_hold(shape):
    image = np.zeros((*shape, 3), np.uint8)
    frame = overlay(
        image, H36M_17, np.zeros((17, 2)), None, standing() @ [[1, 0, 0], [0, 0, 1], [0, -1, 0]], caption="frame 3"
    )
    assert frame.shape[0] % 2 == 0
    assert frame.shape[1] % 2 == 0
    assert frame.shape[0] == preview_size(image.shape[1::-1])[1]


def test_wild_numbers_do_not_break_the_drawing():
    pose = standing() * 1e9
    pose[3] = np.nan
    frame = overlay(np.zeros((60, 60, 3), np.uint8), H36M_17, np.full((17, 2), 1e12), np.full(17, np.nan), pose)
    assert frame.shape == (60, 90, 3)


def people(*places):
    """Results of one frame: somebody at each place, or nobody where it is None."""
    image, frames = np.zeros((400, 600, 3), np.uint8), []
    for number, place in enumerate(places, 1):
        pose = standing() @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up to y down
        points = np.full((17, 2), np.nan) if place is None else pose[:, :2] * 50 + place
        pose = np.full((17, 3), np.nan) if place is None else pose
        box = None if place is None else np.zeros(4)
        frames.append(PredictedFrame(0, 0.0, pose, points, np.ones(17), None, box, (600, 400), image, number))
    return frames


def test_everybody_is_drawn_with_a_number_and_a_view_of_his_own():
    take = types.SimpleNamespace(lens=types.SimpleNamespace(up=None), everybody=True)
    found = types.SimpleNamespace(take=take, skeleton=H36M_17)
    both = overlay_of_people(people((150, 200), (450, 200)), found, (600, 400))
    assert both.shape == (400, 800, 3)
    assert both[:, :300].any()
    assert both[:360, 300:600].any()
    one = overlay_of_people(people((150, 200), None), found, (600, 400))
    np.testing.assert_array_equal(one[:, :600], np.where(np.arange(600)[:, None] < 300, both[:, :600], one[:, :600]))
    assert not one[:360, 320:600].any()
    np.testing.assert_array_equal(one[:200, 600:], both[:200, 600:])
    blank = pose_view(None, H36M_17, 200, 0.0, "2 from the right", width=200)
    np.testing.assert_array_equal(one[200:, 600:], blank)
    nine = overlay_of_people(people(*[(60 * n, 200) for n in range(1, 10)]), found, (600, 400))
    assert nine.shape == both.shape


def test_the_radius_is_a_ring_around_a_joint_of_the_3d_view():
    pose = np.zeros((17, 3))
    bare = pose_view(pose, H36M_17, 260, 0.0)
    ringed = pose_view(pose, H36M_17, 260, 0.0, radius=np.array([1.0, *[np.nan] * 16]))
    changed = np.argwhere((bare != ringed).any(2)) - 129.5
    np.testing.assert_allclose(np.linalg.norm(changed, axis=1), 260 / 2 / REACH, atol=2)
    assert len(changed) > 200
