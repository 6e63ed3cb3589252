"""The refinement unit against a plain reading of the paper, its error model, and that it corrects what can be corrected."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.methods.base import Method, Prediction
from vergence.methods.refinement import (
    ErrorModel,
    Refined,
    RefinementUnit,
    comparable,
    limb_lengths,
    make_pairs,
    train_unit,
)
from vergence.metrics import p_mpjpe
from vergence.recipes.recipe import RefineStage
from vergence.skeleton import COCO_17, H36M_17
from vergence.world import recordings

PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


@pytest.fixture(scope="module")
def poses():
    """Training and test poses, of different people, in reference bones."""
    found = []
    for seed, people in ((80, 20), (81, 8)):
        pose = recordings(people, 10, 4, 16, seed=seed).pose
        bone = (pose[:, THORAX] - pose[:, PELVIS]).norm(dim=-1)
        found.append((pose - pose[:, :1]) / bone[:, None, None])
    return found


def wrong(pose, seed):
    """Depth shrunk to two thirds, one arm drawn in, noise: what a network might do, in a unit of its own."""
    out = pose.clone()
    out[..., 2] *= 0.66
    out[:, 13] = 0.6 * out[:, 13] + 0.4 * out[:, 11]
    return 1.3 * (out + 0.04 * torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)))


def goals(pose, pseudo=False):
    index = Views.empty(len(pose), 17, 0, 0)
    return index.replace(pose=pose, pose_weight=torch.ones(pose.shape[:2]), pseudo=torch.full((len(pose),), pseudo))


def unit(width=32, dropout=0.0, skeleton=H36M_17, correct=True):
    torch.manual_seed(0)
    return RefinementUnit(skeleton, width, dropout, correct)


def test_comparable_poses_have_a_mean_limb_of_1(poses):
    pose = comparable(poses[0] * 470 + 3, H36M_17)
    for p in pose[::90]:
        lengths = [math.dist(p[a].tolist(), p[b].tolist()) for a, b in H36M_17.limbs]
        assert sum(lengths) / len(lengths) == pytest.approx(1, abs=1e-4)
        assert p[PELVIS].abs().max() < 1e-6


def test_a_pose_with_unknown_joints_keeps_its_size(poses):
    whole = comparable(poses[0], H36M_17)
    usual = limb_lengths(poses[0], H36M_17).nanmedian(0).values
    holes = poses[0].clone()
    holes[:, H36M_17.index("left_elbow")] = math.nan
    found = comparable(holes, H36M_17, usual)
    known = found.isfinite().all(-1)
    assert known.sum(1).tolist() == [16] * len(holes)
    size = (found / whole)[known[:, :, None].expand_as(found) & (whole.abs() > 0.1)]
    assert (size - 1).abs().median() < 0.01
    assert (size - 1).abs().max() < 0.1
    assert torch.allclose(comparable(poses[0], H36M_17, usual), whole, atol=1e-5)  # with all joints nothing changes


@pytest.mark.parametrize("correct", [True, False])
def test_the_network_by_hand(correct):
    """Section 3.3 without dropout, batch normalisation at its running statistics."""
    net = unit(correct=correct).eval()
    for layer in net.answers:
        nn.init.normal_(layer.weight)
    net.target_mean += 0.1
    net.input_std *= 2
    base = 0
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))

    def layer(modules, value):
        linear, norm = modules[0], modules[1]
        value = value @ linear.weight.T + linear.bias
        value = (value - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        return torch.where(value > 0, value, 0.01 * value)

    def stage(blocks, value):
        for block in blocks:
            value = value + layer(block.layers[4:], layer(block.layers[:4], value))
        return value

    if correct:
        base = x - 0.1
    start = layer(net.enter, x / 2)
    first = stage(net.stages[0], start)
    p1 = base + first @ net.answers[0].weight.T + net.answers[0].bias
    back = p1 @ net.back.weight.T + net.back.bias
    second = stage(net.stages[1], back + first + start)
    p2 = base + second @ net.answers[1].weight.T + net.answers[1].bias
    found = net.answer(x)
    assert torch.allclose(found[0], p1, atol=1e-5)
    assert torch.allclose(found[1], p2, atol=1e-5)


def test_published_sizes():
    net = RefinementUnit(H36M_17)
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert sorted({m.in_features for m in linear} | {m.out_features for m in linear}) == [
        48,
        1024,
    ]  # the hip is left out
    assert len(linear) == 1 + 4 + 4 + 2 + 1
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert len(RefinementUnit(COCO_17, 16).joints) == 17  # its root is no joint


def test_both_losses_by_loops_and_their_gradient():
    net = unit(8).double().eval()
    g = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randn(7, 48, generator=g, dtype=torch.double) for _ in range(2))
    net.fit_scales(inputs, targets)
    for column in (0, 20):
        values = targets[:, column].tolist()
        mean = sum(values) / 7
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / 6)
        assert float(net.target_mean[column]) == pytest.approx(mean)
        assert float(net.target_std[column]) == pytest.approx(std)
    for layer in net.answers:
        nn.init.normal_(layer.weight)
    weight = torch.rand(7, 48, generator=g, dtype=torch.double)
    targets[2, 5:9], known = math.nan, torch.ones(7, 48)
    known[2, 5:9] = 0
    expected, total = 0.0, float((weight * known).sum())
    for answer in net.answer(inputs):
        answer = answer.detach()
        for i in range(7):
            for d in range(48):
                if known[i, d]:
                    goal = (float(targets[i, d]) - float(net.target_mean[d])) / float(net.target_std[d])
                    expected += float(weight[i, d]) * (float(answer[i, d]) - goal) ** 2 / total
    assert net.loss(inputs, targets, weight).item() == pytest.approx(expected)
    first = inputs[1:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net.loss(x, targets[1:3], weight[1:3]), (first,))


def test_the_truth_costs_less_than_any_degenerate_answer(poses):
    net = unit()
    flat = net.flat(poses[0])
    net.fit_scales(flat, flat)
    goal = (flat - net.target_mean) / net.target_std
    answers = {
        "truth": goal,
        "one pose": torch.zeros_like(goal),
        "one point": (0 * flat - net.target_mean) / net.target_std,
    }
    mirrored = (flat.view(-1, 16, 3) * torch.tensor([1.0, 1.0, -1.0])).flatten(1)
    answers["mirrored"] = (mirrored - net.target_mean) / net.target_std
    cost = {}
    for name, answer in answers.items():
        net.answer = lambda inputs, answer=answer: (answer, answer)
        cost[name] = float(net.loss(flat, flat, torch.ones_like(flat)))
    assert cost["truth"] < 1e-10
    assert min(value for name, value in cost.items() if name != "truth") > 1


def test_an_untrained_unit_changes_nothing(poses):
    net = unit().eval()
    net.fit_scales(net.flat(poses[0]), net.flat(poses[0]) + 1)
    assert torch.allclose(net(poses[1]), poses[1], atol=1e-4)
    paper = unit(correct=False).eval()
    assert not torch.allclose(paper(poses[1]), poses[1], atol=0.1)


def test_output_is_root_relative_with_a_reference_bone_of_1(poses):
    net = unit().eval()
    out = net(poses[1])
    assert out[:, PELVIS].abs().max() < 1e-6
    assert torch.allclose((out[:, THORAX] - out[:, PELVIS]).norm(dim=-1), torch.ones(len(out)), atol=1e-4)
    assert torch.allclose(net(poses[1] * 7), out, atol=1e-4)


def test_the_error_model_finds_a_linear_error_and_keeps_the_rest(poses):
    net = unit()
    truth = net.flat(poses[0])
    g = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(truth.shape, generator=g)
    noise[::50] *= 20  # now and then a wild pose
    predicted = truth * 0.7 + 0.2 + noise
    model = ErrorModel.fit(predicted, truth)
    drawn = model.sample(truth, torch.Generator().manual_seed(1))
    assert (drawn - predicted).mean(0).abs().max() < 0.1
    assert (drawn.std(0) / predicted.std(0) - 1).abs().mean() < 0.1
    size = (drawn - truth @ model.weight - model.bias).norm(dim=1)
    assert 0.005 < float((size > 5 * size.median()).float().mean()) < 0.05  # wild as often
    again = model.sample(truth, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)


def test_pairs_without_images_are_drawn_and_counted(poses):
    net = unit()
    predicted = wrong(poses[0], 0)
    truth = poses[0].clone()
    truth[3, 5] = math.nan
    truth[7] = math.nan
    pairs = make_pairs(net, predicted, goals(truth), poses[1], torch.Generator().manual_seed(0))
    assert pairs.report == {
        "images": len(truth) - 1, "labels_made": 0, "poses_without_images": len(poses[1])
    }  # fmt: skip
    assert len(pairs.inputs) == len(pairs.targets) == len(pairs.weight) == len(truth) - 1 + len(poses[1])
    assert torch.equal(pairs.inputs[: len(truth) - 1], net.flat(predicted)[torch.arange(len(truth)) != 7])
    assert torch.equal(pairs.targets[len(truth) - 1 :], net.flat(poses[1]))
    assert pairs.targets[3].isnan().sum() == 3
    assert pairs.inputs.isfinite().all()
    with pytest.raises(VergenceError, match="20 images"):
        make_pairs(net, predicted[:20], goals(poses[0][:20]), poses[1], torch.Generator())


def test_mirrored_pairs_are_those_of_mirrored_people(poses):
    net = unit()
    truth = poses[0].clone()
    truth[3, 5] = math.nan
    predicted, across = wrong(poses[0], 0), torch.tensor([-1.0, 1.0, 1.0])
    other = [pose[:, list(H36M_17.mirror)] * across for pose in (predicted, truth)]
    both = make_pairs(net, predicted, goals(truth), poses[1], torch.Generator().manual_seed(0), mirror=True)
    ours = make_pairs(net, predicted, goals(truth), poses[1][:0], torch.Generator())
    theirs = make_pairs(net, other[0], goals(other[1]), poses[1][:0], torch.Generator())
    n, half = len(truth), len(both.inputs) // 2
    for name in ("inputs", "targets"):
        found = getattr(both, name)
        assert torch.equal(found[:n].nan_to_num(-9), getattr(ours, name).nan_to_num(-9))
        assert torch.allclose(found[half : half + n].nan_to_num(-9), getattr(theirs, name).nan_to_num(-9), atol=1e-5)


@pytest.mark.parametrize("images", [800, 100])
def test_it_corrects_new_people(poses, images):
    """All pairs from images, or an eighth of them and the rest from poses alone."""
    net = unit(64, 0.1)
    predicted = wrong(poses[0], 0)
    g = torch.Generator().manual_seed(0)
    pairs = make_pairs(net, predicted[:images], goals(poses[0][:images]), poses[0][images:], g)
    curve = train_unit(net, pairs, RefineStage(steps=150, batch=64), seed=0)
    assert curve[-1] < 0.7 * curve[0]
    test = wrong(poses[1], 1)
    before, after = (float(p_mpjpe(p, poses[1] * 476).mean()) for p in (test, net(test)))
    assert after < 0.8 * before


def test_training_is_a_function_of_the_seed(poses):
    results = []
    for seed in (0, 0, 1):
        net = unit(16, 0.2)
        pairs = make_pairs(net, wrong(poses[0], 0), goals(poses[0]), poses[1][:0], torch.Generator().manual_seed(0))
        train_unit(net, pairs, RefineStage(steps=20, batch=32), seed)
        results.append(net(poses[1][:4]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_refined_method_changes_the_pose_alone_and_says_that_it_saw_labels(poses):
    class Fixed(Method):
        def predict(self, image, intrinsics, flip=None):
            n = len(image)
            return Prediction(poses[1][:n], "camera", torch.ones(n, 17, 2), torch.ones(n, 17), torch.full((n,), 9.0))

    method = Fixed(nn.Identity(), H36M_17)  # type: ignore[arg-type]
    net = unit().eval()
    about = {"sources": ["labelled"], "images": 5, "labels_made": 0, "poses_without_images": 0}
    refined = Refined(method, net, about)
    found = refined.predict(torch.zeros(3, 3, 8, 8), torch.eye(3).expand(3, 3, 3))
    assert torch.equal(found.pose, net(poses[1][:3]))
    assert found.root_depth.tolist() == [9.0] * 3
    assert refined.protocol["refinement_unit"] == {"uses_3d_labels": True, **about}
    for made, bare, labelled in ((5, 0, False), (4, 0, True), (5, 1, True)):
        other = Refined(method, net, {**about, "labels_made": made, "poses_without_images": bare})
        assert other.protocol["refinement_unit"]["uses_3d_labels"] is labelled
    with pytest.warns(
        FutureWarning, match="pictures is now images, poses_without_pictures is now poses_without_images"
    ):
        old = Refined(method, net, {"sources": ["x"], "pictures": 5, "labels_made": 0, "poses_without_pictures": 0})
    assert old.made_with == {**about, "sources": ["x"]}
    assert method.protocol == {}
    with pytest.raises(VergenceError, match="finished"):
        refined.losses(None)


def test_a_coordinate_that_was_never_known_has_no_scale():
    net = unit()
    known = torch.randn(9, 48, generator=torch.Generator().manual_seed(0))
    known[:, 5], known[0, 7] = math.nan, math.nan
    net.fit_scales(known, known)
    for mean, std in ((net.input_mean, net.input_std), (net.target_mean, net.target_std)):
        assert (float(mean[5]), float(std[5])) == (0.0, pytest.approx(1e-3))
        assert float(mean[7]) == pytest.approx(float(known[1:, 7].mean()), rel=1e-5)
        assert float(std[7]) == pytest.approx(float(known[1:, 7].std()), rel=1e-5)
