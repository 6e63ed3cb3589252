"""Limbs that are held: which are constant, who breaks them, and single steps against dense matrices and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_bundle import scene
from scipy.linalg import block_diag

from vergence.reconstruction import consensus, limbs
from vergence.reconstruction.bundle import SYMMETRIC
from vergence.reconstruction.checks import limb_lens
from vergence.reconstruction.limbs import Limbs, constant_limbs, loose_joints, wild_joints
from vergence.skeleton import H36M_17

CHAIN = Limbs(np.array([[0, 1], [1, 2], [2, 3]]), np.array([1.0, 2.0, 1.0]), np.array([0.01, 0.02, 0.01]))


def chain(*lengths: float) -> np.ndarray:
    """One frame of joints in a line, these far apart."""
    return np.stack([np.concatenate([[0.0], np.cumsum(lengths)]), *np.zeros((2, len(lengths) + 1))], -1)[None]


def walk(frames: int = 200, noise: float = 0.0) -> np.ndarray:
    """A body whose limbs are bones of 100 + 10 j mm to its joints' parents, each frame pointing another way."""
    rng = np.random.default_rng(0)
    pose = np.zeros((frames, 17, 3))
    for j in sorted(range(17), key=lambda j: depth(j)):
        parent = H36M_17.parents[j]
        if parent >= 0:
            way = rng.normal(size=(frames, 3))
            mirror = min(j, H36M_17.mirror[j])
            pose[:, j] = pose[:, parent] + (100 + 10 * mirror) * way / np.linalg.norm(way, axis=1)[:, None]
    return pose + rng.normal(0, noise, pose.shape) if noise else pose


def depth(joint: int) -> int:
    return 0 if H36M_17.parents[joint] < 0 else 1 + depth(H36M_17.parents[joint])


def test_limbs_of_constant_length_are_found_with_their_lengths() -> None:
    """Left and right share one; what varies by its own noise alone has the least spread there is."""
    found = constant_limbs(walk(), np.zeros((200, 17)), H36M_17)
    bones = {
        (min(j, p), max(j, p)): 100.0 + 10 * min(j, H36M_17.mirror[j]) for j, p in enumerate(H36M_17.parents) if p >= 0
    }
    lengths = dict(zip(map(tuple, found.ends.tolist()), found.length))
    for pair, length in bones.items():
        assert lengths[pair] == pytest.approx(length)
    np.testing.assert_allclose(found.spread, limbs.LEAST_SPREAD * found.length)


def test_the_spread_of_a_length_is_what_its_noise_does_not_explain() -> None:
    """Joints that tremble by 3 mm in each coordinate: a length varies by 3 sqrt(2)."""
    pose, pair = walk(2000, 3.0), (0, H36M_17.index("right_hip"))
    own = tuple(sorted(pair))
    wide = 3.0 * np.sqrt(2)
    for known in (0.0, 2.0):
        found = constant_limbs(pose, np.full((2000, 17), known), H36M_17)
        spread = dict(zip(map(tuple, found.ends.tolist()), found.spread))[own]
        assert spread == pytest.approx(np.sqrt(wide**2 - 2 * known**2), rel=0.1)
    few = pose[: limbs.MIN_FRAMES]
    assert len(constant_limbs(few, np.zeros((len(few), 17)), H36M_17).length) > 0
    assert len(constant_limbs(few[:-1], np.zeros((len(few) - 1, 17)), H36M_17).length) == 0


def test_of_a_broken_limbs_ends_the_one_with_more_broken_limbs_is_wild() -> None:
    deviation = np.full((1, 4), 0.001)
    assert not wild_joints(chain(1.0, 2.0, 1.0), deviation, CHAIN).any()
    assert wild_joints(chain(1.0, 2.0, 1.9), deviation, CHAIN).tolist() == [[False, False, False, True]]
    deviation[0, 2] = 0.002  # of two ends all of whose limbs are broken it is the less certain one
    assert wild_joints(chain(1.0, 3.9, 0.1), deviation, CHAIN).tolist() == [[False, False, True, False]]
    assert wild_joints(chain(1.9, 2.0, 1.0), deviation, CHAIN).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("far", [-1, 1])
def test_a_limb_is_broken_beyond_its_noise_and_a_share_of_its_length(far: int) -> None:
    """The noise of both ends and of the length itself; and never less than the share."""
    share = limbs.WILD_SHARE
    for beyond, broken in ((1.05, True), (0.95, False)):
        assert wild_joints(chain(1.0, 2.0, 1 + far * beyond * share), np.full((1, 4), 1e-6), CHAIN).any() == broken
    uncertain = np.array([[0.001, 0.001, 0.03, 0.04]])
    noise = np.sqrt(0.03**2 + 0.04**2 + 0.01**2)
    assert limbs.WILD_SIGMA * noise > share
    for beyond, broken in ((1.05, True), (0.95, False)):
        length = 1 + far * beyond * limbs.WILD_SIGMA * noise
        assert wild_joints(chain(1.0, 2.0, max(length, 0.001)), uncertain, CHAIN).any() == (broken and length > 0)


def test_joints_without_a_limb_that_holds_them_are_loose_where_nothing_else_does() -> None:
    """Half of the median length, 1, is what a lone joint's place may be unsure by; a contested one is loose at once."""
    pose = chain(1.0, 2.0, 1.0)
    pose[0, 1] = np.nan
    sure, unsure = np.full((1, 4), 0.49), np.full((1, 4), 0.51)
    none = np.zeros((1, 4), bool)
    assert loose_joints(pose, sure, none, CHAIN).tolist() == [[False] * 4]
    assert loose_joints(pose, unsure, none, CHAIN).tolist() == [[True, False, False, False]]
    assert loose_joints(pose, sure, ~none, CHAIN).tolist() == [[True, False, False, False]]


def test_a_step_of_joints_that_limbs_link_is_that_of_the_dense_system() -> None:
    """Points' own equations and those of limbs under a Cauchy loss; a missing joint does not move, nor pull."""
    rng = np.random.default_rng(0)
    frames, joints = 3, 4
    half = rng.normal(size=(frames * joints, 3, 3))
    own = half @ half.transpose(0, 2, 1) + 2 * np.eye(3)
    slope, current = rng.normal(size=(3, frames * joints)), rng.normal(size=(frames, joints, 3))
    known, bend = np.ones((frames, joints), bool), rng.uniform(0.5, 2, (frames, 3))
    known[2, 3] = False
    slope[:, 11], own[11] = 0.0, 0.0
    usable, sigma = known[:, [0, 1, 2]] & known[:, [1, 2, 3]], 0.05
    six = np.array([own[:, i, j] for i, j in SYMMETRIC])
    found = limbs._move((six, slope), current, known, usable, bend, CHAIN, sigma)
    for t in range(frames):
        matrix = block_diag(*own[t * joints : (t + 1) * joints])
        right = slope.T[t * joints : (t + 1) * joints].reshape(-1).copy()
        for e, (a, b) in enumerate(CHAIN.ends):
            if not usable[t, e]:
                continue
            vector = current[t, a] - current[t, b]
            length = np.linalg.norm(vector)
            row = np.zeros(12)
            row[3 * a : 3 * a + 3], row[3 * b : 3 * b + 3] = vector / length, -vector / length
            off = length - CHAIN.length[e]
            pull = sigma**2 / CHAIN.spread[e] ** 2 / (1 + (off / bend[t, e]) ** 2)
            matrix += pull * np.outer(row, row)
            right += pull * off * row
        seen = np.repeat(known[t], 3)
        expected = np.zeros(12)
        expected[seen] = -np.linalg.solve(matrix[np.ix_(seen, seen)], right[seen])
        np.testing.assert_allclose(found[t].reshape(-1), expected, rtol=1e-4, atol=1e-5)


def test_steps_that_shrink_by_a_share_are_mixed_into_their_limit() -> None:
    """Of a course to 8 that halves its distance: 0, 4, 6 ... one step beyond two is the end; no frame minds another."""
    reached0, reached = np.array([4.0, 1.0]), np.array([6.0, 2.0])
    move0, move = np.array([4.0, 1.0]), np.array([2.0, 1.0])
    wide = (np.tile(x[:, None, None], (1, 2, 3)) for x in (move, reached, move0, reached0))
    found = limbs._mixed(*wide)
    np.testing.assert_allclose(found[0], 8.0)
    np.testing.assert_allclose(found[1], 2.0)  # the same move again tells nothing


def test_the_focal_lengths_that_limbs_prefer_descend_by_their_costs_slope() -> None:
    """By differences: of all points of a frame, of what cameras may do, and of limbs' lengths but the last."""
    truth, _, _ = scene(points=8, views=2, noise=0.0)
    rng = np.random.default_rng(0)
    observed = limb_lens.project_points(truth)[0] + rng.normal(0, 2, (2, 2, 8))
    film = limb_lens._Film(
        observed, np.ones((2, 8)), 1.5, 4, CHAIN.ends, np.array([0, 1, 0]), np.array([0.1, 0.2, 0.1])
    )
    length, free = np.array([1.0, 1.5]), limb_lens.free_parameters(2, "each")
    normal = limb_lens._normal(film, truth, length, free)
    step = 1e-6

    def cost(cameras: np.ndarray, points: np.ndarray, longer: np.ndarray) -> float:
        moved = limb_lens.stepped(truth, (free @ cameras).reshape(2, -1), points)
        return limb_lens._normal(film, moved, length + longer, free).cost

    poses = free.shape[1]
    still, same, fixed = np.zeros(poses), np.zeros((8, 3)), np.zeros(2)
    for i in range(poses):
        each = [cost(still + s * np.eye(poses)[i], same, fixed) for s in (-step, step)]
        assert (each[1] - each[0]) / (2 * step) == pytest.approx(normal.slope[i], rel=1e-4, abs=1e-2)
    each = [cost(still, same, np.array([s, 0.0])) for s in (-step, step)]
    assert (each[1] - each[0]) / (2 * step) == pytest.approx(normal.slope[poses], rel=1e-4, abs=1e-3)
    assert len(normal.slope) == poses + 1
    for n in range(8):
        for axis in range(3):
            moved = np.zeros((8, 3))
            moved[n, axis] = step
            each = [cost(still, s * moved, fixed) for s in (-1, 1)]
            own = normal.own_slope[n // 4, 3 * (n % 4) + axis]
            assert (each[1] - each[0]) / (2 * step) == pytest.approx(own, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("views", [3, 4])
def test_views_whose_sides_are_exchanged_are_those_whose_pairs_agree_better_so(views: int) -> None:
    """View 1 against all others: each of its pairs gains as much as it would lose, and the others lose. The opposite
    explains the pairs alike: the fewer are exchanged."""
    pairs = [(a, b) for a in range(views) for b in range(a + 1, views)]
    for wrong in range(views):
        gain = np.array([2.0 * consensus.SWAP_MARGIN if wrong in pair else -1.0 for pair in pairs])
        keep, swap = np.maximum(gain, 0)[None], np.maximum(-gain, 0)[None]
        expected = [v == wrong for v in range(views)]
        assert consensus.exchanged_views(keep, swap, views).tolist() == [expected]
        chosen, total = consensus._descended_sides((keep - swap), views)
        assert total[0] == pytest.approx((views - 1) * 2 * consensus.SWAP_MARGIN)
        assert chosen[0].tolist() in (expected, [not one for one in expected])
    weak = np.full((1, len(pairs)), consensus.SWAP_MARGIN / len(pairs) / 1.01)
    assert not consensus.exchanged_views(weak, np.zeros_like(weak), views).any()


def test_pairs_of_sides_are_of_the_body_the_arms_and_the_legs() -> None:
    names = H36M_17.joint_names
    pairs, arms, legs = consensus.limb_sets(H36M_17)
    assert {names[a].removeprefix("right_") for a, _ in pairs} == {"hip", "knee", "ankle", "shoulder", "elbow", "wrist"}
    assert all(names[b] == names[a].replace("right", "left") for a, b in pairs)
    assert {names[a].removeprefix("right_") for a, _ in arms} == {"shoulder", "elbow", "wrist"}
    assert {names[a].removeprefix("right_") for a, _ in legs} == {"hip", "knee", "ankle"}
    assert consensus.side_groups(H36M_17) == [pairs, arms, legs, *([pair] for pair in pairs)]


def test_reprojection_is_in_pixels_and_says_what_lies_behind() -> None:
    truth, _, _ = scene(points=4, noise=0.0)
    observed = limb_lens.project_points(truth)[0]
    observed[:, :, 1] += [3.0, 4.0]
    points = truth.points.copy()
    points[2] = -truth.rotation[0].T @ truth.translation[0] - truth.rotation[0, 2]  # one unit behind the first camera
    points[3] = np.nan
    error, front = consensus.reprojection(truth, points, observed)
    np.testing.assert_allclose(error[:, 0], 0, atol=1e-9)
    np.testing.assert_allclose(error[:, 1], 5.0)
    assert np.isnan(error[:, 3]).all()
    assert front[:, :2].all()
    assert not front[0, 2]
    assert not front[:, 3].any()


def test_limbs_that_are_not_seen_cost_nothing() -> None:
    """A frame in which a joint is missing costs what its other limbs do."""
    points = chain(1.1, 2.0, 0.7)[0]
    weight = np.ones((2, 4))
    ends = {"ends": CHAIN.ends, "group": np.array([0, 1, 0]), "spread": CHAIN.spread}

    def cost(weight: np.ndarray, some: int = 3) -> float:
        film = limb_lens._Film(np.zeros((2, 2, 4)), weight, 1.0, 4, *(value[:some] for value in ends.values()))
        held = limb_lens._Normal(0.0, *(np.zeros(shape) for shape in ((1, 12, 12), (1, 12), (1, 2, 12), (2, 2), 2)))
        scene_ = limb_lens.Bundle(np.eye(3)[None], np.zeros((1, 3)), np.ones((1, 2)), points)
        return limb_lens._add_limbs(film, scene_, np.array([1.0, 2.0]), 0, held)

    unseen = weight.copy()
    unseen[1, 3] = 0.0
    assert cost(unseen) == pytest.approx(cost(weight, 2))
    assert cost(weight) > cost(unseen) > 0
