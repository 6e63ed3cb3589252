"""Bodies keep their bones, bend only as joints do, and stand on the floor."""

import numpy as np
import torch

from vergence.skeleton import H36M_17
from vergence.world.body import (
    ANGLES,
    COLUMN,
    HEIGHT_LIMITS_MM,
    clamp,
    draw_bodies,
    forward_kinematics,
    limits,
    stand_on_ground,
)
from vergence.world.figure import PARTS, draw_outfits, make_figures
from vergence.world.poses import draw_headings, draw_poses

RNG = np.random.default_rng(0)
BODIES = draw_bodies(500, RNG)
ANGLE_SET = draw_poses(500, RNG)
POSED = stand_on_ground(forward_kinematics(BODIES, ANGLE_SET, draw_headings(500, RNG)), BODIES)


def at(posed, name):
    return posed.joints[:, H36M_17.index(name)]


def test_heights_and_proportions_are_human():
    assert BODIES.height.min() >= HEIGHT_LIMITS_MM[0]
    assert BODIES.height.max() <= HEIGHT_LIMITS_MM[1]
    assert 50 < BODIES.height.std() < 150
    leg = (BODIES.bones["thigh"] + BODIES.bones["shin"]) / BODIES.height
    arm = (BODIES.bones["upper_arm"] + BODIES.bones["forearm"]) / BODIES.height
    assert 0.43 < leg.min() < leg.max() < 0.54
    assert 0.26 < arm.min() < arm.max() < 0.36


def test_upright_a_body_is_as_tall_as_it_says():
    rest = stand_on_ground(forward_kinematics(BODIES, np.zeros((500, len(ANGLES))), np.zeros(500)), BODIES)
    stature = at(rest, "head_top")[:, 2].numpy()
    assert np.abs(stature / BODIES.height - 1).max() < 0.03
    assert (at(rest, "left_hip")[:, 1] > 0).all()
    assert (rest.face[:, 0] > 0.99).all()


def test_bones_keep_their_length_and_sides_are_alike():
    for group, pairs in H36M_17.limb_groups.items():
        right, left = ((POSED.joints[:, a] - POSED.joints[:, b]).norm(dim=-1) for a, b in pairs)
        assert (right - left).abs().max() < 1e-6, group
    thigh = (at(POSED, "left_hip") - at(POSED, "left_knee")).norm(dim=-1).numpy()
    assert np.abs(thigh - BODIES.bones["thigh"]).max() < 1e-6


def within_limits(angles) -> bool:
    low, high = limits()
    return bool(((angles >= low - 1e-9) & (angles <= high + 1e-9)).all())


def test_drawn_poses_are_within_limits_and_use_them():
    assert within_limits(ANGLE_SET)
    low, high = limits()
    used = np.ptp(ANGLE_SET, axis=0) / (high - low)
    arms = [
        COLUMN[f"left_{name}"] for name in ("shoulder_flexion", "shoulder_abduction", "elbow", "hip_flexion", "knee")
    ]
    assert used[arms].min() > 0.85
    assert not within_limits(high[None] + 0.01)
    assert within_limits(clamp(RNG.normal(0, 4, (100, len(ANGLES)))))


def test_knees_bend_backward_and_elbows_forward():
    straight = np.zeros((1, len(ANGLES)))
    one = draw_bodies(1, RNG)
    for joint, tip, sign in (("knee", "ankle", -1), ("elbow", "wrist", 1)):
        bent = straight.copy()
        bent[0, COLUMN[f"left_{joint}"]] = 1.0
        posed = forward_kinematics(one, bent, np.zeros(1))
        ahead = at(posed, f"left_{tip}")[0] - at(posed, f"left_{joint}")[0]
        assert sign * ahead[0] > 100
        assert abs(ahead[1]) < 1e-6
    for side in ("left", "right"):
        thigh = at(POSED, f"{side}_knee") - at(POSED, f"{side}_hip")
        shin = at(POSED, f"{side}_ankle") - at(POSED, f"{side}_knee")
        thigh = thigh / thigh.norm(dim=-1, keepdim=True)
        off = shin - (shin * thigh).sum(-1, keepdim=True) * thigh
        toes = POSED.feet[:, int(side == "right")]
        toes = toes - (toes * thigh).sum(-1, keepdim=True) * thigh
        flexed = torch.from_numpy(ANGLE_SET[:, COLUMN[f"{side}_knee"]])
        clear = (flexed > 0.3) & (flexed < 0.9)
        assert clear.sum() > 50
        assert ((off * toes).sum(-1)[clear] < 0).all()


def test_arms_lift_forward_and_outward_on_their_own_side():
    one = draw_bodies(1, RNG)
    for side, sign in (("left", 1), ("right", -1)):
        lifted, spread, turned = (np.zeros((1, len(ANGLES))) for _ in range(3))
        lifted[0, COLUMN[f"{side}_shoulder_flexion"]] = 1.2
        spread[0, COLUMN[f"{side}_shoulder_abduction"]] = 1.2
        turned[0, [COLUMN[f"{side}_shoulder_twist"], COLUMN[f"{side}_elbow"]]] = 0.8, 1.5
        shoulder, elbow = f"{side}_shoulder", f"{side}_elbow"
        forward = forward_kinematics(one, lifted, np.zeros(1))
        outward = forward_kinematics(one, spread, np.zeros(1))
        inward = forward_kinematics(one, turned, np.zeros(1))
        assert (at(forward, elbow) - at(forward, shoulder))[0, 0] > 150
        assert sign * (at(outward, elbow) - at(outward, shoulder))[0, 1] > 150
        assert sign * (at(inward, f"{side}_wrist") - at(inward, elbow))[0, 1] < -50


def test_nothing_is_below_the_floor_and_something_touches_it():
    lowest = POSED.joints[..., 2].amin(1)
    assert lowest.min() > -1e-6
    assert lowest.max() < 0.12 * 2000


def test_left_and_right_are_drawn_alike():
    index = {name: i for i, (name, _, _) in enumerate(PARTS)}
    pairs = [(index[name], index["right" + name[4:]]) for name in index if name.startswith("left")]
    assert len(pairs) == 6
    assert all(PARTS[a][1:] == PARTS[b][1:] for a, b in pairs)
    few = torch.arange(20)
    one = POSED[few]
    figures = make_figures(one.joints, one.face, one.feet, torch.ones(20), draw_outfits(20, RNG))
    left, right = torch.tensor(pairs).T
    assert (figures.radius[:, left] - figures.radius[:, right]).abs().max() < 1e-3
