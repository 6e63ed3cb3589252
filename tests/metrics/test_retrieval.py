"""Retrieval against plain loops; the truth finds everything, chance what chance finds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.metrics import retrieval
from vergence.metrics.retrieval import Gallery

KS = (1, 3, 10)


def gallery(subjects: int = 3, time_steps: int = 6, views: int = 3, seed: int = 0, drop: float = 0.0) -> Gallery:
    """Each subject filmed once; every view sees the time step's pose turned by a rotation of its own."""
    rng = np.random.default_rng(seed)
    rows, poses = [], []
    for s, i in itertools.product(range(subjects), range(time_steps)):
        pose = rng.normal(0, 300, (5, 3))
        for v in range(views):
            if rng.random() >= drop:
                turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
                rows.append((s * 100 + i, s, s, v, 0.4 * i))
                poses.append(pose @ (turn * np.sign(np.linalg.det(turn))).T + rng.normal(0, 100, 3))
    order = rng.permutation(len(rows))
    time_step, subject, sequence, view, time = (torch.tensor(c) for c in zip(*[rows[i] for i in order]))
    return Gallery(time_step, subject, sequence, view, time, torch.from_numpy(np.stack(poses)[order]))


def slow_error(p: np.ndarray, t: np.ndarray) -> float:
    """P-MPJPE by numpy's own decomposition, one pose at a time."""
    p, t = p - p.mean(0), t - t.mean(0)
    u, s, vt = np.linalg.svd(t.T @ p)
    d = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * d).sum() / (p**2).sum()
    return float(np.linalg.norm(scale * p @ (u * d @ vt).T - t, axis=1).mean())


def errors_of(g: Gallery) -> np.ndarray:
    """Error of every item (column) for every query (row)."""
    poses = g.pose.numpy()
    return np.array([[slow_error(item, query) for item in poses] for query in poses])


def slow(rank, g: Gallery, database: str, ks, window: float, errors=None) -> dict:
    """Query by query, pair of cameras by pair of cameras; `rank(query, items)` gives the items in order."""
    n, pairs, table = len(g.time_step), {}, errors_of(g) if errors is None else errors
    time_step, subject, sequence, view, time = (
        getattr(g, name).tolist() for name in ("time_step", "subject", "sequence", "view", "time")
    )
    for v, u in itertools.permutations(sorted(set(view)), 2):
        found = {name: {k: [] for k in ks} for name in ("detection", "window", "error")}
        person = []
        for q in range(n):
            if view[q] != v:
                continue
            items = [i for i in range(n) if view[i] == u and (database == "all" or subject[i] == subject[q])]
            if not items:
                continue
            ordered = rank(q, items)
            person.append(100.0 * (subject[ordered[0]] == subject[q]))
            for k in ks:
                top = ordered[:k]
                same = [time_step[i] == time_step[q] for i in top]
                near = [sequence[i] == sequence[q] and abs(time[i] - time[q]) <= window + 1e-6 for i in top]
                found["detection"][k].append(100.0 * any(same))
                found["window"][k].append(100.0 * (any(same) or any(near)))
                found["error"][k].append(sum(table[q, i] for i in top) / len(top))
        if person:
            pairs[v, u] = {name: {k: np.mean(x) for k, x in by_k.items()} for name, by_k in found.items()}
            pairs[v, u]["person"] = np.mean(person)
    return pairs


def compare(found: retrieval.Retrieval, expected: dict, ks=KS) -> None:
    assert set(found.by_pair) == {f"{v}-{u}" for v, u in expected}
    for (v, u), pair in expected.items():
        one = found.by_pair[f"{v}-{u}"]
        for ours, theirs in (
            (one.detection, pair["detection"]),
            (one.detection_window, pair["window"]),
            (one.mean_pa_mpjpe, pair["error"]),
        ):
            assert [ours[k] for k in ks] == pytest.approx([theirs[k] for k in ks], abs=1e-5)
        assert one.same_person_at_1 == pytest.approx(pair["person"])
    for k in ks:
        assert found.detection[k] == pytest.approx(np.mean([p["detection"][k] for p in expected.values()]))
        assert found.mean_pa_mpjpe[k] == pytest.approx(np.mean([p["error"][k] for p in expected.values()]), abs=1e-5)


@pytest.mark.parametrize("database", ["same", "all"])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_a_descriptor_against_a_slow_reference(database, drop):
    g = gallery(drop=drop, seed=4)
    x = torch.randn(len(g.time_step), 4, generator=torch.Generator().manual_seed(1))

    def rank(q, items):
        return sorted(items, key=lambda i: math.dist(x[q].tolist(), x[i].tolist()))

    compare(retrieval.measure(x, g, database, KS, 0.4), slow(rank, g, database, KS, 0.4))


@pytest.mark.parametrize("database", ["same", "all"])
def test_the_oracle_against_a_slow_reference(database):
    g = gallery(subjects=2, seed=5)
    errors = errors_of(g)

    def rank(q, items):
        return sorted(items, key=lambda i: errors[q, i])

    found = retrieval.oracle(g, database, KS, 0.4)
    compare(found, slow(rank, g, database, KS, 0.4))
    assert list(retrieval.oracle(g, database).detection) == [1, 5, 10]
    assert found.detection[1] == 100
    assert found.mean_pa_mpjpe[1] < 1e-3


@pytest.mark.parametrize("database", ["same", "all"])
def test_random_is_the_mean_over_orders(database):
    g = gallery(subjects=2, time_steps=5, seed=6)
    rng = np.random.default_rng(0)
    errors = errors_of(g)
    drawn = [slow(lambda q, items: rng.permutation(items).tolist(), g, database, KS, 0.4, errors) for _ in range(60)]
    found = retrieval.random(g, database, KS, 0.4)
    for pair in drawn[0]:
        one = found.by_pair[f"{pair[0]}-{pair[1]}"]
        for k in KS:
            assert one.detection[k] == pytest.approx(np.mean([d[pair]["detection"][k] for d in drawn]), abs=10)
            assert one.detection_window[k] == pytest.approx(np.mean([d[pair]["window"][k] for d in drawn]), abs=10)
            assert one.mean_pa_mpjpe[k] == pytest.approx(np.mean([d[pair]["error"][k] for d in drawn]), rel=0.08)
    size = 5 if database == "same" else 10
    assert found.detection[1] == pytest.approx(100 / size)
    assert found.detection[3] == pytest.approx(300 / size)
    assert found.same_person_at_1 == pytest.approx(100 if database == "same" else 50)
    assert found.database == size


def test_perfect_embeddings_find_everything_and_those_of_people_the_person():
    g = gallery(subjects=4, time_steps=8)
    time_steps = torch.nn.functional.one_hot(torch.unique(g.time_step, return_inverse=True)[1]).float()
    perfect = retrieval.measure(time_steps, g, "all")
    assert perfect.detection[1] == 100
    assert perfect.mean_pa_mpjpe[1] < 1e-3
    people = torch.nn.functional.one_hot(g.subject).float() + 1e-3 * torch.randn(len(g.subject), 4)
    who = retrieval.measure(people, g, "all")
    assert who.same_person_at_1 == 100
    assert retrieval.random(g, "all").same_person_at_1 == pytest.approx(25)
    assert who.detection[1] > retrieval.random(g, "all").detection[1]  # it only looks better ...
    assert retrieval.measure(people, g, "same").detection[1] < 40  # ... and is not


def test_a_window_forgives_neighbours_of_the_recording_only():
    g = gallery(subjects=2, time_steps=6)
    shifted = torch.nn.functional.one_hot(g.time_step % 100 + 6 * g.subject, 13).float()
    shifted[g.view == 1] = shifted[g.view == 1].roll(1, 1)  # camera 1 is one time step early
    strict = retrieval.measure(shifted, g, "same", (1,), window=0.0).by_pair["0-1"]
    assert strict.detection[1] == 0
    assert strict.detection_window[1] == 0
    loose = retrieval.measure(shifted, g, "same", (1,), window=0.4).by_pair["0-1"]
    assert loose.detection[1] == 0
    assert loose.detection_window[1] == pytest.approx(100, abs=20)


def test_equal_descriptors_rank_by_row_and_blocks_change_nothing(monkeypatch):
    g = gallery(subjects=2, time_steps=20)
    x = torch.zeros(len(g.time_step), 2)
    whole = retrieval.measure(x, g, "all", (1, 2))
    first = {int(u): int((g.view == u).nonzero()[0]) for u in (0, 1, 2)}
    hits = [g.time_step[first[1]] == g.time_step[q] for q in (g.view == 0).nonzero()[:, 0]]
    assert whole.by_pair["0-1"].detection[1] == pytest.approx(100 * np.mean([bool(h) for h in hits]))
    monkeypatch.setattr(retrieval, "BLOCK", 100)
    monkeypatch.setattr(retrieval, "POSE_BLOCK", 7)
    monkeypatch.setattr(retrieval, "KEPT", 0)
    again = gallery(subjects=2, time_steps=20)
    assert retrieval.measure(x, again, "all", (1, 2)) == whole
    y = torch.randn(len(g.time_step), 3, generator=torch.Generator().manual_seed(0))
    blocked = retrieval.measure(y, again, "all", (1, 2))
    monkeypatch.undo()
    assert blocked == retrieval.measure(y, g, "all", (1, 2))


def test_the_few_nearest_are_those_of_a_whole_sort():
    g = torch.Generator().manual_seed(0)
    for trial in range(20):
        d = torch.randint(0, 5, (7, 60), generator=g).double()  # many ties
        k = 1 + trial % 12
        expected = torch.sort(d, dim=1, stable=True).indices[:, :k]
        assert torch.equal(retrieval._smallest(d, k), expected)


def test_fewer_images_than_k_are_all_hits():
    g = gallery(subjects=1, time_steps=4, views=2)
    found = retrieval.measure(torch.randn(8, 2), g, "same", (1, 10))
    assert found.detection[10] == 100
    assert found.mean_pa_mpjpe[10] == pytest.approx(retrieval.random(g, "same", (10,)).mean_pa_mpjpe[10])


def test_unknown_joints_are_left_out_of_the_errors():
    g = gallery(subjects=1, time_steps=5, views=2)
    poses = g.pose.clone()
    poses[g.time_step == 2, 4] = math.nan
    poses[g.time_step == 3, 1:] = math.nan  # one joint only: no error to tell
    g = Gallery(g.time_step, g.subject, g.sequence, g.view, g.time, poses)
    found = retrieval.measure(torch.eye(5)[g.time_step], g, "same", (1, 5))
    assert found.detection[1] == 100
    assert math.isfinite(found.mean_pa_mpjpe[5])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g, x: (x[:-1], g, "same"), "descriptors for"),
        (lambda g, x: (x * math.nan, g, "same"), "NaN"),
        (lambda g, x: (x, g, "others"), "no database is called"),
        (
            lambda g, x: (x, Gallery(g.time_step, g.subject, g.sequence, g.view * 0, g.time, g.pose), "same"),
            "two views",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(change, said):
    g = gallery()
    with pytest.raises(VergenceError, match=said):
        retrieval.measure(*change(g, torch.zeros(len(g.time_step), 2)))


def test_fields_of_different_lengths_are_refused():
    g = gallery()
    with pytest.raises(VergenceError, match="different lengths"):
        Gallery(g.time_step[:-1], g.subject, g.sequence, g.view, g.time, g.pose)


def test_one_image_in_each_of_two_cameras_find_each_other():
    g = gallery(subjects=1, time_steps=1, views=2)
    for found in (retrieval.oracle(g, ks=(1,)), retrieval.random(g, ks=(1,))):
        assert (found.queries, found.detection[1], found.database) == (2, 100, 1)


def test_random_finds_the_person_as_often_as_the_person_is_in_the_database():
    """People of whom unequally much is filmed: each query counts once, by its own person's share of the other cameras'."""
    g = gallery(subjects=3, time_steps=7, views=3, seed=4, drop=0.45)
    found, shares = retrieval.random(g, "all", KS, 0.4), []
    for a, b in itertools.permutations(range(3), 2):
        queries, items = (np.flatnonzero(g.view.numpy() == v) for v in (a, b))
        own = [float((g.subject[items] == g.subject[q]).double().mean()) for q in queries]
        one = found.by_pair[f"{a}-{b}"]
        assert one.same_person_at_1 == pytest.approx(100 * np.mean(own))
        assert (one.queries, one.database) == (len(queries), len(items))
        shares.append(np.mean(own))
    assert found.same_person_at_1 == pytest.approx(100 * np.mean(shares))
