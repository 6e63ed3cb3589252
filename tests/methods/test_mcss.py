"""MCSS: the canonical pose, the metric loss against a slow reference, and what degenerates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.camera import rotate
from vergence.geometry.canonical import canonical_pose, canonical_rotation
from vergence.methods.base import Prediction, pose_descriptor
from vergence.methods.mcss import MCSS, canonical_target, metric_loss, negatives, pairs
from vergence.methods.registry import build_method
from vergence.recipes.recipe import MetricLoss, NetworkSettings, TrainStage
from vergence.skeleton import H36M_17
from vergence.world import recordings

PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")
HIPS = H36M_17.index("right_hip"), H36M_17.index("left_hip")
SHOULDERS = H36M_17.index("right_shoulder"), H36M_17.index("left_shoulder")
NETWORK = NetworkSettings(
    embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8, pose_embedding=8, pose_hidden=12
)


@pytest.fixture(scope="module")
def views() -> Views:
    return recordings(2, 6, 3, 32, seed=71)


@pytest.fixture
def method() -> MCSS:
    torch.manual_seed(0)
    built = build_method("mcss", NETWORK, "h36m_17")
    assert isinstance(built, MCSS)
    return built


def quaternion_rotation(q: torch.Tensor) -> torch.Tensor:
    w, x, y, z = (q / q.norm()).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


# The canonical pose


def test_a_canonical_pose_faces_the_camera_upright(views):
    pose = canonical_pose(views.pose, views.up, H36M_17)
    hips = pose[:, HIPS[1]] - pose[:, HIPS[0]]
    assert float(hips[:, 2].abs().max()) < 1e-2  # mm: parallel to the image plane
    assert bool((hips[:, 0] > 0).all())
    rotation = canonical_rotation(views.pose, views.up, H36M_17)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(len(views)), atol=1e-5)
    down = rotate(-views.up[:, None], rotation)[:, 0]
    assert torch.allclose(down, torch.tensor([0.0, 1.0, 0.0]).expand_as(down), atol=1e-5)
    assert float(pose[:, PELVIS].abs().max()) < 1e-2


def test_all_views_of_a_time_step_have_one_canonical_pose(views):
    pose = canonical_pose(views.pose, views.up, H36M_17)
    index, _ = views.groups()
    assert index.shape == (12, 3)
    for other in (1, 2):
        assert torch.allclose(pose[index[:, 0]], pose[index[:, other]], atol=0.05)  # mm
    assert float((views.pose[index[:, 0]] - views.pose[index[:, 1]]).abs().max()) > 300


@given(q=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.01))
@settings(max_examples=30, deadline=None)
def test_the_camera_does_not_count(q):
    g = torch.Generator().manual_seed(3)
    pose = torch.randn(5, 17, 3, generator=g)
    up = torch.nn.functional.normalize(torch.randn(5, 3, generator=g), dim=1)
    turn = quaternion_rotation(torch.tensor(q)).expand(5, 3, 3)
    before = canonical_pose(pose, up, H36M_17)
    after = canonical_pose(rotate(pose, turn) + 7.0, rotate(up[:, None], turn)[:, 0], H36M_17)
    assert torch.allclose(before, after, atol=1e-4, equal_nan=True)


def slow_heading(pose, up):
    """Yaw by arctangent in a gravity-aligned frame, as the idea is written down: `psi = atan2(h_z, h_x)`."""
    down = [-float(u) for u in up]
    x0 = [1.0, 0.0, 0.0] if abs(down[0]) < 0.9 else [0.0, 0.0, 1.0]
    dot = sum(a * b for a, b in zip(x0, down))
    x0 = [a - dot * b for a, b in zip(x0, down)]
    size = math.sqrt(sum(a * a for a in x0))
    x0 = [a / size for a in x0]
    z0 = [x0[1] * down[2] - x0[2] * down[1], x0[2] * down[0] - x0[0] * down[2], x0[0] * down[1] - x0[1] * down[0]]
    local = [[sum(a * b for a, b in zip(axis, joint)) for axis in (x0, down, z0)] for joint in pose.tolist()]
    h = [local[HIPS[1]][i] - local[HIPS[0]][i] for i in range(3)]
    psi = math.atan2(h[2], h[0])
    c, s = math.cos(psi), math.sin(psi)
    return [[c * x + s * z, y, -s * x + c * z] for x, y, z in local]


def test_the_heading_against_a_slow_reference(views):
    pose = (views.pose - views.pose[:, PELVIS : PELVIS + 1]).double()
    fast = canonical_pose(pose, views.up.double(), H36M_17)
    for i in range(0, len(views), 5):
        assert torch.allclose(fast[i], torch.tensor(slow_heading(pose[i], views.up[i].double()), dtype=torch.float64))


def test_vertical_hips_leave_it_to_the_shoulders_and_both_to_nobody():
    up = torch.tensor([[0.0, -1.0, 0.0]])
    pose = torch.randn(1, 17, 3, generator=torch.Generator().manual_seed(0))
    pose[0, HIPS[0]], pose[0, HIPS[1]] = torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.1, 1.0, 0.1])
    pose[0, SHOULDERS[0]], pose[0, SHOULDERS[1]] = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 0.3, 1.0])
    turned = canonical_pose(pose, up, H36M_17)
    line = turned[0, SHOULDERS[1]] - turned[0, SHOULDERS[0]]
    assert float(line[2].abs()) < 1e-6
    assert float(line[0]) == pytest.approx(2.0)
    pose[0, SHOULDERS[1]] = pose[0, SHOULDERS[0]] + torch.tensor([0.0, 1.0, 0.1])
    assert bool(canonical_pose(pose, up, H36M_17).isnan().all())


def test_labels_without_heading_or_pose_weigh_nothing(views):
    hidden = views.pose.clone()
    hidden[:4] = math.nan
    up = views.up.clone()
    up[4:6] = math.nan
    target, weight = canonical_target(views.replace(pose=hidden, up=up), H36M_17)
    assert bool((weight[:6] == 0).all())
    assert bool((weight[6:] == 1).all())
    assert bool(target.isfinite().all())
    bone = (target[6:, THORAX] - target[6:, PELVIS]).norm(dim=-1)
    assert torch.allclose(bone, torch.ones_like(bone), atol=1e-5)


def test_labels_of_which_none_knows_the_vertical_are_an_error(views):
    blind = views.replace(up=torch.full_like(views.up, math.nan))
    with pytest.raises(VergenceError, match="vertical"):
        canonical_target(blind, H36M_17)
    unlabelled = blind.replace(pose=torch.full_like(views.pose, math.nan))
    assert float(canonical_target(unlabelled, H36M_17)[1].sum()) == 0


def test_descriptors_of_camera_frame_poses_do_not_depend_on_the_view(views):
    bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1)[:, None, None]
    relative = (views.pose - views.pose[:, PELVIS : PELVIS + 1]) / bone
    found = pose_descriptor(Prediction(relative, "camera"), H36M_17)
    index, _ = views.groups()
    assert torch.allclose(found[index[:, 0]], found[index[:, 1]], atol=1e-3)
    assert float((found[index[0, 0]] - found[index[1, 0]]).norm()) > 0.01
    canonical = pose_descriptor(Prediction(relative, "canonical"), H36M_17)
    assert torch.equal(canonical, relative.flatten(1))


# The metric loss


def slow_metric_loss(a, p, allowed, s: MetricLoss) -> float:
    m = len(a)
    d = [[math.sqrt(max(1e-12, sum((x - y) ** 2 for x, y in zip(a[i], p[j])))) for j in range(m)] for i in range(m)]
    terms = []
    for i in range(m):
        others = [j for j in range(m) if allowed[i][j]]
        if not others:
            continue
        if s.kind == "hardnet":
            hardest = min(min(d[i][j] for j in others), min(d[j][i] for j in others))
            terms.append(max(0.0, s.margin + d[i][i] - hardest))
        else:
            cosine = [[1 - d[r][c] ** 2 / 2 for c in range(m)] for r in range(m)]
            e = [[math.exp(value / s.temperature) for value in row] for row in cosine]
            rows = e[i][i] / (e[i][i] + sum(e[i][j] for j in others))
            columns = e[i][i] / (e[i][i] + sum(e[j][i] for j in others))
            terms.append(-(math.log(rows) + math.log(columns)) / 2)
    return sum(terms) / len(terms) if terms else 0.0


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


def some_allowed(m: int, seed: int) -> torch.Tensor:
    allowed = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)) < 0.6
    return (allowed | allowed.T) & ~torch.eye(m, dtype=torch.bool)


CASES = [MetricLoss(), MetricLoss(margin=0.3), MetricLoss(kind="infonce"), MetricLoss(kind="infonce", temperature=0.5)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind}-{c.margin}-{c.temperature}")
@pytest.mark.parametrize("seed", range(4))
def test_the_metric_loss_against_a_slow_reference(case, seed):
    a, p, allowed = unit(9, 5, seed=seed), unit(9, 5, seed=seed + 50), some_allowed(9, seed)
    allowed[2], allowed[:, 2] = False, False  # a time step without a negative counts nowhere
    found = float(metric_loss(a, p, allowed, case))
    assert found == pytest.approx(slow_metric_loss(a.tolist(), p.tolist(), allowed.tolist(), case), rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind}-{c.margin}-{c.temperature}")
def test_the_metric_loss_has_the_gradient_of_its_value(case):
    a, p, allowed = unit(6, 4, seed=1), unit(6, 4, seed=2), some_allowed(6, 3)
    assert gradcheck(lambda x, y: metric_loss(x, y, allowed, case), (a.requires_grad_(), p.requires_grad_()))


def test_equal_embeddings_have_a_finite_gradient():
    a = unit(4, 3).requires_grad_()
    metric_loss(a, a.detach().clone(), ~torch.eye(4, dtype=torch.bool), MetricLoss(margin=2.0)).backward()
    assert bool(a.grad.isfinite().all())


def test_no_negatives_no_loss():
    a = unit(3, 4).requires_grad_()
    loss = metric_loss(a, a, torch.zeros(3, 3, dtype=torch.bool), MetricLoss())
    assert float(loss.detach()) == 0
    loss.backward()
    assert float(a.grad.abs().sum()) == 0


def clips(sequences: list[int], times: list[float]) -> Views:
    """Two views of each time step, side by side."""
    n = len(times)
    return Views.empty(2 * n, 17, 2, 2).replace(
        time_step=torch.arange(n).repeat_interleave(2),
        sequence=torch.tensor(sequences).repeat_interleave(2),
        time=torch.tensor(times).repeat_interleave(2),
    )


def negatives_of(batch: Views, **changes) -> list[list[int]]:
    anchor, _ = pairs(batch)
    target, weight = torch.zeros(len(batch), 17, 3), torch.zeros(len(batch), 17)
    return negatives(batch, anchor, MetricLoss(**changes), target, weight).int().tolist()


def test_negatives_are_of_the_clip_and_apart_in_time():
    batch = clips([0, 0, 0, 1, 1], [0.0, 0.4, 1.0, 0.0, 5.0])
    assert negatives_of(batch) == [
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
    ]
    assert negatives_of(batch, negatives="others")[1] == [0, 0, 0, 1, 1]
    assert negatives_of(batch, negatives="all")[0] == [0, 0, 1, 1, 1]
    assert negatives_of(batch, apart=0.0)[0] == [0, 1, 1, 0, 0]  # never itself
    other = batch.replace(source=torch.tensor([0] * 8 + [1] * 2))
    assert negatives_of(other)[3] == [0, 0, 0, 0, 0]  # recordings of two sources may share a number


def test_labelled_poses_that_are_alike_are_no_negatives():
    batch = clips([0, 0, 0], [0.0, 2.0, 4.0])
    anchor, _ = pairs(batch)
    target = torch.zeros(6, 17, 3)
    target[4:, :, 0] = 1.0
    weight = torch.ones(6, 17)
    found = negatives(batch, anchor, MetricLoss(floor=0.1), target, weight)
    assert found.int().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    weight[2] = 0  # unlabelled: nothing is known of it
    found = negatives(batch, anchor, MetricLoss(floor=0.1), target, weight)
    assert found.int().tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    # by hand: joints of the first two time steps lie 5 apart on average, those of the others 10
    target, weight = torch.zeros(6, 17, 3), torch.ones(6, 17)
    target[0:2], target[2:4], target[4:] = (
        torch.tensor([8.0, 0, 0]),
        torch.tensor([5.0, 4, 0]),
        torch.tensor([-2.0, 0, 0]),
    )
    for floor, alike in ((4.9, False), (5.1, True)):
        found = negatives(batch, anchor, MetricLoss(floor=floor), target, weight)
        assert found.int().tolist() == [[0, int(not alike), 1], [int(not alike), 0, 1], [1, 1, 0]]


def test_pairs_are_two_views_of_one_time_step(views):
    shuffled = views[torch.randperm(len(views), generator=torch.Generator().manual_seed(1))]
    a, p = pairs(shuffled)
    assert len(a) == 12
    assert torch.equal(shuffled.time_step[a], shuffled.time_step[p])
    assert bool((shuffled.view[a] != shuffled.view[p]).all())
    assert len(pairs(views[::3])[0]) == 0


# What degenerates


def full_objective(batch: Views, embedding: torch.Tensor, pose: torch.Tensor, s: MetricLoss) -> float:
    """`pose + metric` of embeddings and canonical poses that are given."""
    target, weight = canonical_target(batch, H36M_17)
    a, p = pairs(batch)
    metric = metric_loss(embedding[a], embedding[p], negatives(batch, a, s, target, weight), s)
    return float(metric + (pose - target).abs().mean())


def distinct(keys: torch.Tensor) -> torch.Tensor:
    """A unit vector of its own for every number."""
    _, code = torch.unique(keys, return_inverse=True)
    return torch.eye(int(code.max()) + 1)[code]


@pytest.mark.parametrize("kind", ["hardnet", "infonce"])
def test_degenerate_solutions_cost_more_than_the_truth(views, kind):
    s = MetricLoss(kind=kind, apart=0.3)
    target, _ = canonical_target(views, H36M_17)
    truth = full_objective(views, distinct(views.time_step), target, s)
    margin = 0.5
    collapsed = torch.zeros(len(views), 8)
    collapsed[:, 0] = 1
    assert full_objective(views, collapsed, target, s) > truth + margin
    assert full_objective(views, distinct(views.subject), target, s) > truth + margin  # who, and not which pose
    assert full_objective(views, distinct(views.subject * 10 + views.view), target, s) > truth + margin  # which place
    mean = target.mean(0).expand_as(target)
    assert full_objective(views, distinct(views.time_step), mean, s) > truth + 0.02  # one pose for everybody
    mirrored = target[:, list(H36M_17.mirror)] * torch.tensor([-1.0, 1.0, 1.0])
    assert full_objective(views, distinct(views.time_step), mirrored, s) > truth + 0.02
    assert full_objective(views, distinct(views.time_step), target * torch.tensor([1.0, 1.0, -1.0]), s) > truth + 0.05


def test_negatives_of_other_clips_only_are_satisfied_by_knowing_people(views):
    """The stated direction of the switch: with `others` the person alone costs nothing, with `clip` the whole margin."""
    target, _ = canonical_target(views, H36M_17)
    who = distinct(views.subject)
    assert full_objective(views, who, target, MetricLoss(negatives="others")) == pytest.approx(0, abs=1e-5)
    assert full_objective(views, who, target, MetricLoss(negatives="clip", apart=0.3)) == pytest.approx(1, abs=1e-5)


# The method


def test_embeddings_are_of_unit_length_and_poses_rooted_with_bones_of_one(method, views):
    method.eval()
    found = method.predict(views.image, views.intrinsics)
    assert found.frame == "canonical"
    assert found.keypoints is None  # no heatmap was learned
    assert torch.allclose(found.embedding.norm(dim=1), torch.ones(len(views)), atol=1e-5)
    assert float(found.pose[:, PELVIS].abs().max()) < 1e-5
    bone = (found.pose[:, THORAX] - found.pose[:, PELVIS]).norm(dim=-1)
    assert float(bone.max()) < 1 + 1e-4


def test_a_mirrored_image_has_the_mirrored_pose_when_flip_averaged(method, views):
    method.eval()
    one = method.predict(views.image, views.intrinsics, flip=True).pose
    other = method.predict(views.image.flip(-1), views.intrinsics, flip=True).pose
    mirrored = other[:, list(H36M_17.mirror)] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(one, mirrored, atol=1e-4)
    assert not torch.allclose(one, method.predict(views.image, views.intrinsics, flip=False).pose, atol=1e-4)


def test_keypoints_are_told_where_a_stage_learned_them_and_kept_them(method, views):
    method.eval()
    method.prepare(TrainStage(losses={"heatmap": 1.0}), {})
    assert method.predict(views.image, views.intrinsics).keypoints.shape == (len(views), 17, 2)
    method.prepare(TrainStage(losses={"pose": 1.0}, frozen=["network"]), {})
    assert method.predict(views.image, views.intrinsics).keypoints is not None
    method.prepare(TrainStage(losses={"pose": 1.0}), {})
    assert method.predict(views.image, views.intrinsics).keypoints is None
    again = build_method("mcss", NETWORK, "h36m_17")
    method.prepare(TrainStage(losses={"heatmap": 1.0}), {})
    again.load_state_dict(method.state_dict())
    assert bool(again.finds_joints)


def test_terms_without_labels_are_zero_and_every_part_learns_from_its_own(method, views):
    nothing = Views.empty(6, 17, 32, 32)
    terms = method.losses(nothing)
    assert {name: float(term.detach()) for name, term in terms.items()} == dict.fromkeys(
        ("pose", "metric", "heatmap", "coordinates"), 0.0
    )
    method.metric = MetricLoss(apart=0.3)
    terms = method.losses(views)
    assert all(float(term.detach()) > 0 for term in terms.values())

    def moved(term: torch.Tensor) -> set[str]:
        method.zero_grad()
        term.backward(retain_graph=True)
        return {
            name.split(".")[0] if not name.startswith("network") else ".".join(name.split(".")[:2])
            for name, p in method.named_parameters()
            if p.grad is not None and float(p.grad.abs().sum()) > 0
        }

    assert moved(terms["metric"]) == {"network.backbone", "embed"}
    assert moved(terms["pose"]) == {"network.backbone", "embed", "pose"}
    assert moved(terms["heatmap"]) == {"network.backbone", "network.neck", "network.head"}


def test_unlabelled_images_change_no_pose_loss(method, views):
    """Rows that belong to no term are not seen by the embedding's batch statistics."""
    extra = Views.empty(5, 17, 32, 32).replace(time_step=torch.arange(5) + 10**9)
    method.network.eval()  # whose statistics the extra images do change
    alone = method.losses(views)["pose"]
    beside = method.losses(Views.cat([views, extra]))["pose"]
    assert float(alone.detach()) == pytest.approx(float(beside.detach()), rel=1e-5)


def test_one_labelled_image_teaches_2d(method, views):
    one = views.keypoints.clone()
    one[1:] = torch.nan
    terms = method.losses(views.replace(keypoints=one))
    assert float(terms["heatmap"].detach()) > 0
