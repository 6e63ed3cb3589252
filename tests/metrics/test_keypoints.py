"""PCKh and OKS against loops, and average precision against COCO's procedure written out once more, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.metrics import COCO_SIGMAS, FoundPerson, TruePerson, head_size, keypoint_precision, oks, pckh
from vergence.skeleton import COCO_17


def people(count=12, joints=16, seed=0, spread=8.0):
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 200, (count, joints, 2))
    target[rng.random((count, joints)) < 0.2] = np.nan
    prediction = np.nan_to_num(target) + rng.normal(0, spread, target.shape)
    return prediction, target, rng.uniform(10, 30, count)


def test_a_head_by_hand():
    assert head_size(np.array([[1.0, 1, 4, 5], [0, 0, 6, 8]])).tolist() == pytest.approx([3, 6])


@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_pckh_by_loops(threshold):
    prediction, target, heads = people()
    prediction[3, 2] = np.nan  # a miss, if it is labelled
    heads[5] = np.nan  # nobody can be measured by it
    found = pckh(prediction, target, heads, threshold, joints=[0, 1, 2, 3, 15])
    hits, counts = [0] * 16, [0] * 16
    for i in range(len(target)):
        for j in range(16):
            if math.isnan(target[i, j, 0]) or math.isnan(heads[i]):
                continue
            counts[j] += 1
            distance = math.dist(prediction[i, j], target[i, j])
            hits[j] += (not math.isnan(distance)) and distance <= threshold * heads[i]
    assert found.counts.tolist() == counts
    assert found.joints == pytest.approx([100 * h / c for h, c in zip(hits, counts)])
    chosen = [0, 1, 2, 3, 15]
    assert found.mean == pytest.approx(100 * sum(hits[j] for j in chosen) / sum(counts[j] for j in chosen))
    assert 0 < found.mean < 100


def test_pckh_at_its_threshold_and_at_the_truth():
    target = np.zeros((1, 2, 2))
    prediction = np.array([[[5.0, 0], [5.001, 0]]])
    assert pckh(prediction, target, np.array([10.0])).joints.tolist() == [100, 0]
    assert pckh(target, target, np.array([10.0])).mean == 100
    unlabelled = pckh(target, np.full((1, 2, 2), np.nan), np.array([10.0]))
    assert math.isnan(unlabelled.mean)
    assert np.isnan(unlabelled.joints).all()


def test_pckh_refuses_shapes_and_heads():
    prediction, target, heads = people()
    with pytest.raises(VergenceError, match="shape"):
        pckh(prediction[:3], target, heads)
    with pytest.raises(VergenceError, match="head sizes"):
        pckh(prediction, target, -heads)


def one_oks(prediction, target, area):
    total, labelled = 0.0, 0
    for p, t, sigma in zip(prediction, target, COCO_SIGMAS):
        if not math.isnan(t[0]):
            labelled += 1
            total += math.exp(-(math.dist(p, t) ** 2) / (2 * area * (2 * sigma) ** 2))
    return total / labelled


def test_oks_by_loops():
    prediction, target, _ = people(joints=17)
    area = np.random.default_rng(1).uniform(500, 9000, len(target))
    expected = [one_oks(p, t, a) for p, t, a in zip(prediction, target, area)]
    assert oks(prediction, target, area) == pytest.approx(expected)
    assert oks(np.nan_to_num(target), target, area) == pytest.approx(1)
    every = oks(prediction[:, None], target[None], area)
    assert every.shape == (12, 12)
    assert every[3, 7] == pytest.approx(one_oks(prediction[3], target[7], area[7]))
    lost = prediction.copy()
    lost[0, 0] = np.nan
    target[0, 0] = 5.0
    assert oks(lost, target, area)[0] < oks(prediction, target, area)[0] + 1e-9
    with pytest.raises(VergenceError, match="sigma"):
        oks(prediction[:, :5], target[:, :5], area)


@pytest.mark.parametrize(
    ("joint", "sigma"),
    [("nose", 26), ("eye", 25), ("ear", 35), ("shoulder", 79), ("elbow", 72), ("wrist", 62), ("hip", 107), ("knee", 87),
     ("ankle", 89)],
)  # fmt: skip
def test_joints_are_as_strict_as_coco_says(joint, sigma):
    """In thousandths; off by twice sigma times the root of the area, a joint scores exp(-1/2)."""
    for side in ("",) if joint == "nose" else ("left_", "right_"):
        target = np.full((1, 17, 2), np.nan)
        target[0, COCO_17.index(side + joint)] = 100
        assert oks(target + [0, 2e-3 * sigma * 50], target, np.array([2500.0])) == pytest.approx(math.exp(-0.5))


def crowd_scene(seed, images=8):
    """Images with people of all sizes, unlabelled people, crowds; detections near, far, double and false."""
    rng = np.random.default_rng(seed)
    truth, found = {}, {}
    for image in range(images):
        truth[image], found[image] = [], []
        for _ in range(rng.integers(0, 5)):
            size = rng.choice([20.0, 60.0, 150.0])
            corner = rng.uniform(0, 300, 2)
            points = corner + rng.uniform(0, size, (17, 2))
            labels = points.copy()
            labels[rng.random(17) < 0.3] = np.nan
            kind = rng.random()
            if kind < 0.15:
                labels[:] = np.nan
            box = np.array([*corner, size, size])
            truth[image].append(TruePerson(labels, 0.6 * size**2, box, crowd=0.15 < kind < 0.25))
            for _ in range(rng.integers(0, 3)):
                off = rng.choice([0.01, 0.05, 0.15]) * size
                found[image].append(FoundPerson(points + rng.normal(0, off, (17, 2)), float(rng.random())))
        for _ in range(rng.integers(0, 3)):
            found[image].append(FoundPerson(rng.uniform(0, 400, (17, 2)), float(rng.random())))
    return truth, found


def slow_precision(truth, found, low, high):
    """COCO's evaluation for keypoints and one range of areas, one threshold and one detection at a time."""
    precisions, recalls = [], []
    for threshold in [0.5 + 0.05 * i for i in range(10)]:
        rows, people = [], 0
        for image in sorted(truth):
            best = sorted(found[image], key=lambda d: -d.score)[:20]
            idle = {i: p.crowd or np.isnan(p.keypoints).all() or not low <= p.area <= high
                    for i, p in enumerate(truth[image])}  # fmt: skip
            people += sum(not value for value in idle.values())
            taken = set()
            for detection in best:
                candidates = []
                for i, person in enumerate(truth[image]):
                    if i in taken and not person.crowd:
                        continue
                    if np.isnan(person.keypoints).all():
                        x, y, w, h = person.box
                        nearest = np.clip(detection.keypoints, [x - w, y - h], [x + 2 * w, y + 2 * h])
                        value = one_oks(detection.keypoints, nearest, person.area)
                    else:
                        value = one_oks(detection.keypoints, person.keypoints, person.area)
                    if value >= threshold:
                        candidates.append((idle[i], -value, -i))  # of equals the last, as COCO has it
                if candidates:
                    ignored, _, chosen = min(candidates)
                    taken.add(-chosen)
                    rows.append((detection.score, None if ignored else True))
                else:
                    area = np.prod(np.ptp(detection.keypoints, axis=0))
                    rows.append((detection.score, False if low <= area <= high else None))
        if not people:
            return math.nan, math.nan
        rows = [hit for _, hit in sorted(rows, key=lambda row: -row[0]) if hit is not None]
        curve = [(sum(rows[: n + 1]) / people, sum(rows[: n + 1]) / (n + 1)) for n in range(len(rows))]
        precisions.append(np.mean([max([p for r, p in curve if r >= recall], default=0.0)
                                   for recall in np.linspace(0, 1, 101)]))  # fmt: skip
        recalls.append(curve[-1][0] if curve else 0.0)
    return np.mean(precisions), np.mean(recalls)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_step_by_step(seed):
    truth, found = crowd_scene(seed)
    result = keypoint_precision(truth, found)
    for suffix, limits in (("", (0, 1e10)), ("_medium", (32**2, 96**2)), ("_large", (96**2, 1e10))):
        expected = slow_precision(truth, found, *limits)
        assert (result[f"AP{suffix}"], result[f"AR{suffix}"]) == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert 0 < result["AP"] < 1
    assert result["AP50"] >= result["AP75"]


def test_the_truth_has_a_precision_of_one():
    truth, _ = crowd_scene(0)
    perfect = {
        image: [FoundPerson(np.nan_to_num(p.keypoints, nan=5.0), 0.9) for p in row if not p.ignored]
        for image, row in truth.items()
    }
    result = keypoint_precision(truth, perfect)
    assert result["AP"] == result["AR"] == result["AP_medium"] == result["AP_large"] == 1
    nothing = keypoint_precision(truth, {})
    assert nothing["AP"] == nothing["AR"] == 0
    assert math.isnan(keypoint_precision({0: []}, perfect)["AP"])


@pytest.mark.parametrize(
    ("area", "classes"), [(32.0**2, {"_medium"}), (96.0**2, {"_medium", "_large"}), (32.0**2 - 1, set())]
)
def test_a_person_at_the_limit_of_two_sizes_is_of_both(area, classes):
    """As COCO has it: a class holds its limits."""
    points = np.random.default_rng(0).uniform(0, 30, (17, 2))
    truth = {0: [TruePerson(points, area, np.array([0.0, 0, 30, 30]))]}
    result = keypoint_precision(truth, {0: [FoundPerson(points, 0.9)]})
    assert {suffix for suffix in ("_medium", "_large") if result[f"AP{suffix}"] == 1} == classes
