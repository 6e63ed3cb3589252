"""What is said of figures: each limit from both sides, and who is named."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vergence.reconstruction.inputs import MIN_MOVING_FRAMES
from vergence.reconstruction.inspection import findings as module
from vergence.reconstruction.inspection.measure import CameraFigures, JointFigures, PairFigures
from vergence.skeleton import H36M_17

NAN = float("nan")
FINE: dict[str, Any] = {
    "image_size": (1000, 800), "frames": 300, "rate": 30.0, "stamped": False, "begins": 0.0, "holes": 0, "lens": "given",
    "view_deg": 60.0, "focal_deviation": 0.0, "turn": 0, "filmed": True, "moves": 0.0, "people": 1, "seen": 1.0,
    "height_px": 400.0,
}  # fmt: skip
CAPTURE: Any = SimpleNamespace(fps=20.0, cameras=[SimpleNamespace(frame_count=0)] * 3)
SURE: Any = SimpleNamespace(subject=SimpleNamespace(verdict="good", reason=""))


def cameras(*changes: dict[str, Any]) -> list[CameraFigures]:
    """Cameras a, b, c ... that are fine but for these."""
    return [CameraFigures(name, **FINE | own) for name, own in zip("abcdefghijk", changes)]


def told(found: Iterable[module.Finding]) -> list[tuple[str, str]]:
    return [(one.state, one.found) for one in found]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [("wrong", "One camera gives no depth"), ("note", "From one video 3D can be")]),
        (2, [("note", "Two cameras")]),
        (3, [("good", "3 cameras")]),
        (4, [("good", "4 cameras")]),
    ],
)
def test_one_camera_is_too_few_and_two_are_few(count: int, expected: list[tuple[str, str]]) -> None:
    found = told(module._number(cameras(*[{}] * count)))
    assert [state for state, _ in found] == [state for state, _ in expected]
    assert all(words.startswith(begin) for (_, words), (_, begin) in zip(found, expected))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{}, {}], [("good", "One person, in view of every camera")]),
        ([{}], [("good", "One person, in view of the camera")]),
        ([{"seen": 0.0}, {"seen": 0.0}], [("wrong", "Nobody is seen in any camera")]),
        ([{}, {"seen": 0.0, "people": 0}], [("wrong", "b: nobody is seen there")]),
        (
            [{"seen": 0.0, "people": 1}, {"seen": 0.0, "people": 0}, {}],
            [
                ("wrong", "b: nobody is seen there"),
                ("wrong", "a: people are seen there, but none who fits the subject of the other cameras"),
            ],
        ),
        ([{"seen": 0.5}, {}], [("good", "One person, in view of every camera")]),
        (
            [{"seen": 0.49}, {"seen": 0.01}, {}],
            [("doubtful", "The person is seen in part of the time only: a 49%, b 1% (limit 50%)")],
        ),
        ([{"height_px": 100.0}, {}], [("good", "One person, in view of every camera")]),
        (
            [{"height_px": 99.0}, {"height_px": 60.0}, {"height_px": NAN}],
            [
                ("note", "The person is small in the image: a 99 px, b 60 px (limit 100 px)"),
                ("good", "One person, in view of every camera"),
            ],
        ),
        (
            [{}, {"height_px": 59.9}],
            [
                ("doubtful", "The person is small in the image: b 60 px (limit 100 px)"),
                ("good", "One person, in view of every camera"),
            ],
        ),
        (
            [{"people": 1}, {"people": 3}, {"people": 2}],
            [("note", "Several people are in view at once (b 3, c 2); one of them was chosen")],
        ),
    ],
)
def test_who_is_seen_where_and_how_large(changes: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert told(module._people(CAPTURE, cameras(*changes), SURE)) == expected


def test_a_subject_that_is_not_sure_is_said_instead_of_how_many_there_are() -> None:
    unsure: Any = SimpleNamespace(subject=SimpleNamespace(verdict="doubtful", reason="two walk alike"))
    found = told(module._people(CAPTURE, cameras({"people": 2}, {}), unsure))
    assert found == [("doubtful", "Who the subject is, is not sure: two walk alike")]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([0.01, 0.0], ("good", "The cameras stand still")),
        ([0.01], ("good", "The camera stands still")),
        (
            [0.02, 0.01, 0.04],
            ("doubtful", "Cameras move while they film: a by 2.0% of the image's longer side, c by 4.0%"),
        ),
        ([0.041, 0.0], ("wrong", "Cameras move while they film: a by 4.1% of the image's longer side (limit 1%)")),
        ([0.02], ("doubtful", "The camera moves while it films: a by 2.0%")),
        ([0.0, NAN], ("note", "Whether the camera stands still is not known: b")),
    ],
)
def test_cameras_that_move(moves: list[float], expected: tuple[str, str]) -> None:
    ((state, words),) = told(module._still(cameras(*({"moves": move} for move in moves))))
    assert state == expected[0]
    assert words.startswith(expected[1])


def test_nothing_is_said_of_how_cameras_stand_that_were_not_looked_at() -> None:
    assert told(module._still(cameras({"moves": NAN, "filmed": False}, {"moves": NAN, "filmed": False}))) == []


def test_cameras_that_lie_on_their_side_are_named_with_the_turn() -> None:
    found = told(module._turned(cameras(*({"turn": turn} for turn in (0, 1, None, 2, 3)))))
    begins = ["b lies on its side", "d is upside down", "e lies on its side"]
    assert [words.partition(":")[0] for _, words in found] == begins
    assert [words.split("turned by ")[1].split(" ")[0] for _, words in found] == ["90", "180", "270"]


def test_lost_frames_and_rates_that_differ() -> None:
    (lost,) = told(module._times(cameras({"holes": 1}, {}, {"holes": 2})))
    assert lost == (
        "note",
        "Frames were dropped while filming: a at 1 place, c at 2 places; their time stamps show where",
    )
    (rates,) = told(module._times(cameras({"rate": 60.0}, {}, {"rate": 25.0})))
    assert rates == ("note", "Cameras have different frame rates (25, 30, 60)")
    limit = 1 + module.SAME_RATE
    assert told(module._times(cameras({"rate": 100.0}, {"rate": 100 * (2 + limit) / 3}))) == []
    assert len(told(module._times(cameras({"rate": 100.0}, {"rate": 100 * (1 + 2 * (limit - 1))})))) == 1


@pytest.mark.parametrize(
    ("frames", "rate", "named"), [(300, 121.0, True), (300, 120.0, False), (303, 121.0, False), (150, 60.0, False)]
)
def test_a_video_is_too_brief_that_is_a_quarter_as_long_and_four_times_as_fast(
    frames: int, rate: float, named: bool
) -> None:
    """The others are 10 s of 30 frames a second."""
    own = cameras({}, {}, {"frames": frames, "rate": rate})
    assert [c.name for c in module._brief(own)] == (["c"] if named else [])
    assert own[2].seconds == pytest.approx(frames / rate)


def points(*seen: int, frames: int = 100) -> Any:
    """Observations in which camera v sees the person in its first `seen[v]` frames, by one joint."""
    table = np.full((frames, len(seen), 17, 3), np.nan)
    for v, count in enumerate(seen):
        table[:count, v, 3] = 1.0
    return SimpleNamespace(keypoints=table, skeleton=H36M_17)


@pytest.mark.parametrize(
    ("count", "state", "words"),
    [(60, "good", "in 60% of the time, 3.0 s"), (59, "note", "in 59% of the time, 3.0 s: that is")],
)
def test_how_long_one_camera_sees_the_person(count: int, state: str, words: str) -> None:
    found = told(module._alone(CAPTURE, points(count), cameras({})[0]))
    assert found[0][0] == state
    assert found[0][1].startswith(f"The camera sees the person {words}")
    assert found[1] == ("good", "The lens is given")
    assert told(module._alone(CAPTURE, points(count), cameras({"lens": "unknown"})[0]))[1][0] == "note"


@pytest.mark.parametrize(
    ("seen", "frames", "expected"),
    [
        ((MIN_MOVING_FRAMES - 1, 99, 0), 1000, ("wrong", "0% of the time, 0.2 s (at least 5 frames are needed)")),
        ((MIN_MOVING_FRAMES, 99, 0), 1000, ("doubtful", "limit 30%")),
        ((99, 29, 29), 100, ("doubtful", "29% of the time, 1.4 s (limit 30%)")),
        ((99, 30, 20), 100, ("note", "30% of the time, 1.5 s: that is short")),
        ((59, 59, 59), 100, ("note", "59% of the time, 3.0 s: that is short")),
        ((60, 60, 60), 100, ("good", "60% of the time, 3.0 s")),
        ((100, 0, 70), 100, ("good", "70% of the time, 3.5 s")),
    ],
)
def test_how_long_two_cameras_see_the_person(seen: tuple[int, ...], frames: int, expected: tuple[str, str]) -> None:
    ((state, words),) = told(module._together(CAPTURE, points(*seen, frames=frames)))
    assert (state, expected[1] in words) == (expected[0], True), words


def joint(
    name: str, seen: float = 1.0, together: float = 1.0, noise_px: float = NAN, noise: float = NAN
) -> JointFigures:
    return JointFigures(name, seen, together, noise_px, noise)


def test_limbs_that_are_seldom_seen() -> None:
    """Of one camera how often it sees them, of several how often two do; the head and the trunk do not count."""
    joints = [
        joint("left_wrist", 0.5, 0.49), joint("right_knee", 0.4, 0.8), joint("right_ankle", 0.9, 0.2), joint("head", 0.0, 0.0)
    ]  # fmt: skip
    (several,) = told(module._joints(joints, 2))
    words = "Two cameras seldom see these joints together: left wrist 49%, right ankle 20% (limit 50%)"
    assert several == ("doubtful", words)
    (one,) = told(module._joints(joints, 1))
    assert one == ("doubtful", "These joints are seldom seen: right knee 40% (limit 50%)")
    (good,) = told(module._joints([joint("left_wrist", 0.9, 0.5), joint("right_knee", 0.7, 0.8)], 3))
    assert good == ("good", "Two cameras see every joint together; the rarest is the left wrist, 50% of the time")
    (alone,) = told(module._joints([joint("left_wrist", 0.9, 0.5), joint("right_knee", 0.7, 0.8)], 1))
    assert alone == ("good", "Every joint of the limbs is seen; the rarest is the right knee, 70% of the time")
    assert told(module._joints([joint("head")], 2)) == []


def test_how_far_joints_tremble() -> None:
    joints = [joint("nose", noise_px=1.0, noise=0.01), joint("left_knee", noise_px=4.0, noise=0.04),
              joint("neck", noise_px=2.0, noise=0.02), joint("right_knee")]  # fmt: skip
    (found,) = told(module._trembling(joints))
    assert found == ("note", "Joints tremble by 2.0 px (2.0% of the person), most the left knee, by 4.0 px")
    assert told(module._trembling(joints[3:])) == []


def pairs(**angles: float) -> list[PairFigures]:
    """By the two letters of its cameras."""
    return [PairFigures((names[0], names[1]), 10.0, 1.0, angle) for names, angle in angles.items()]


@pytest.mark.parametrize(
    ("angles", "solved", "expected"),
    [
        ({"ab": 20.0}, True, [("good", "Seen from the person, a and b are 20 degrees apart")]),
        ({"ab": 20.0}, False, []),
        ({"ab": 19.9, "ac": 12.0}, True, [("doubtful", "All cameras look from nearly one side (at most 20 degrees apart, a")]),
        ({"ab": 160.0}, True, [("good", "Seen from the person, a and b are 160 degrees apart")]),
        ({"ab": 161.0, "ac": 170.0}, True, [("doubtful", "The cameras face each other (161 degrees apart, a and b)")]),
        ({"ab": 79.0, "ac": 100.0, "bc": NAN}, True, [("good", "Seen from the person, a and c are 100 degrees apart")]),
        (
            {"ab": 90.0, "ac": 10.0, "bc": 9.9, "bd": 4.0},
            True,
            [
                ("good", "Seen from the person, a and b are 90 degrees apart"),
                ("note", "Cameras stand side by side and count as one (degrees apart): b and c (10), b and d (4)"),
            ],
        ),
        ({"ab": NAN}, True, []),
    ],
)  # fmt: skip
def test_angles_between_cameras(angles: dict[str, float], solved: bool, expected: list[tuple[str, str]]) -> None:
    """Of 79 and 100 degrees the latter is nearer to a right angle."""
    found = told(module._angles(pairs(**angles), solved))
    assert [state for state, _ in found] == [state for state, _ in expected]
    assert all(words.startswith(begin) for (_, words), (_, begin) in zip(found, expected))


def sync(state: str, *offsets: float, reason: str = "too short") -> dict[str, Any]:
    own = {name: {"offset": offset, "deviation": 0.1 + 0.1 * i} for i, (name, offset) in enumerate(zip("abc", offsets))}
    return {"state": state, "reason": reason, "cameras": own}


def test_what_the_motion_tells_of_times_that_are_not_sure() -> None:
    """Twice the largest deviation is what it shows; who begins later has its frames counted from below 0."""
    (found,) = told(module._sync(sync("unsure", 0.0, 0.0, 0.0), False))
    assert found[1].endswith("the motion shows it to about 0.6 frames")
    (found,) = told(module._sync(sync("unsure", 0.0, 1.0), False))
    assert found[1].endswith("the motion cannot show it: too short")
    (found,) = told(module._sync(sync("unsure", 0.0, 0.0), True))
    assert found == ("note", "The cameras' times are not sure: too short")
    assert told(module._sync({"state": "not asked"}, False)) == []
    (found,) = told(module._sync(sync("found", 0.0, -1.26, 2.0), True))
    assert found[1].endswith("by how much: b 1.3 frames later, c 2.0 frames earlier")


def made(**report: Any) -> Any:
    usual = {"focal_deviation": (0.1, NAN), "travel": 2.0, "motion": module.MIN_MOTION, "reasons": (), "verdict": "good",
             "predicted_rotation_deg": 0.5, "rotation_words": "0.50 degrees"}  # fmt: skip
    result = {name: report.pop(name) for name in ("intrinsics", "poses") if name in report}
    return SimpleNamespace(
        **{"intrinsics": "estimated", "poses": SimpleNamespace(unit="bone", pose=None), "skeleton": H36M_17} | result,
        report=SimpleNamespace(**usual | report),
    )


def test_how_well_lenses_are_known() -> None:
    limit = module.MAX_FOCAL_DEVIATION
    assert told(module._lenses(made(intrinsics="given"))) == [("good", "The lenses are given")]
    for deviations, expected in (
        ((0.01, limit, NAN), "note"),
        ((0.01, 1.01 * limit), "doubtful"),
        ((NAN,), "doubtful"),
    ):
        ((state, words),) = told(module._lenses(made(focal_deviation=deviations)))
        assert state == expected
        assert (f"to {limit:.0%}" in words) == (len(deviations) > 1)


def test_whether_the_person_walks_about_in_trunk_lengths() -> None:
    """In mm the way is divided by the trunk, here 500 mm."""
    assert told(module._moved(made())) == [("good", "The person walks about (2.0 trunk lengths)")]
    assert told(module._moved(made(travel=1.9))) == [
        ("note", "The person moves but stays in place (1.9 trunk lengths)")
    ]
    assert told(module._moved(made(motion=0.99 * module.MIN_MOTION))) == []
    assert told(module._moved(made(motion=0.99 * module.MIN_MOTION, travel=1.0))) == []
    body = np.zeros((4, 17, 3))
    body[:, list(H36M_17.reference_bone[1])] = [0.0, 500.0, 0.0]
    poses = SimpleNamespace(unit="mm", pose=body)
    assert told(module._moved(made(poses=poses, travel=1500.0))) == [
        ("good", "The person walks about (3.0 trunk lengths)")
    ]


@pytest.mark.parametrize(
    ("angles", "height", "expected"),
    [
        ({"ab": 39.0, "ac": 145.0}, 400.0, module.AROUND),
        ({"ab": 40.0, "ac": 145.0}, 400.0, module.LONGER),
        ({"ab": 20.0, "ac": 130.0}, 99.0, module.NEARER),
        ({"ab": 90.0}, 100.0, module.LONGER),
        ({}, 400.0, module.LONGER),
    ],
)
def test_what_would_help_most(angles: dict[str, float], height: float, expected: str) -> None:
    assert module._cause(cameras({}, {"height_px": height}), pairs(**angles)) == expected


def test_what_a_reconstruction_says_against_itself_is_passed_on() -> None:
    reasons = (f"{module.NOT_SYNCHRONOUS} by 1 frame.", "The person hardly moves.", "Sides are exchanged.")
    found = list(module._geometry(made(reasons=reasons, verdict="doubtful"), 3, "Do better"))
    assert [one.found for one in found] == [
        f"{reasons[0][:-1]} (one frame here is 3 frames of the recording)", reasons[1][:-1], reasons[2][:-1]
    ]  # fmt: skip
    assert [one.again for one in found] == [module.TELL_TIME, "Do better", ""]
    first = next(module._geometry(made(reasons=reasons, verdict="doubtful"), 1, ""))
    assert first.found == reasons[0][:-1]
    for error, words in ((0.5, "rotations of cameras are known to 0.50 degrees"), (NAN, "nothing speaks against them")):
        ((state, found_words),) = told(module._geometry(made(predicted_rotation_deg=error), 1, ""))
        assert (state, found_words) == ("good", f"Cameras and person agree: {words}")


def test_long_lists_are_cut_where_that_saves_words() -> None:
    """Seven are shorter than six and "1 more"."""
    words = list("abcdefgh")
    assert module._list(words[:7]) == "a, b, c, d, e, f, g"
    assert module._list(words) == "a, b, c, d, e, f and 2 more"
