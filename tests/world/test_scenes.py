"""The world's truth agrees with itself, with the crops' geometry and with the pixels."""

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.geometry.crops import crop_camera
from vergence.skeleton import H36M_17
from vergence.world import Faults, draw_rigs, recordings, render_capture, single_images

SINGLES = single_images(40, 32, seed=3)
FILM = recordings(3, 4, 3, 32, seed=3)


def projected(views):
    homogeneous = views.pose.double() @ views.intrinsics.double().mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.mark.parametrize("views", [SINGLES, FILM], ids=["singles", "recordings"])
def test_pose_projects_onto_keypoints(views):
    known = torch.isfinite(views.keypoints).all(-1)
    assert known.float().mean() > 0.9
    assert (projected(views) - views.keypoints)[known].abs().max() < 1e-3
    assert torch.equal(views.confidence > 0, known)


def test_views_of_a_time_step_agree_in_the_rig():
    index, mask = FILM.groups()
    assert index.shape == (12, 3)
    assert mask.all()
    world = (FILM.pose - FILM.translation[:, None]).double() @ FILM.rotation.double()
    assert (world[index] - world[index][:, :1]).abs().max() < 1e-2


def test_ordered_by_sequence_frame_view():
    key = FILM.sequence * 10_000 + FILM.frame * 10 + FILM.view
    assert torch.equal(key, key.sort().values)
    assert FILM.frame.unique().tolist() == [0, 10, 20, 30]
    assert torch.allclose(FILM.time, FILM.frame / 25)
    with pytest.raises(VergenceError):
        recordings(2, 2, 2, 32, seed=1, rigs=draw_rigs(3, 2, seed=1))


def test_crop_maps_the_full_image_as_crops_does():
    rig = draw_rigs(3, 3, seed=3)[1]
    rows = (FILM.sequence == FILM.sequence.unique()[1]).nonzero()[:, 0][:3]
    for v, i in enumerate(rows):
        inverse = torch.linalg.inv(FILM.crop[i].double())
        centre = torch.tensor([15.5, 15.5, 1]).double() @ inverse.T
        centre = (centre[:2] / centre[2]).numpy()
        made = crop_camera(rig.intrinsics[v].numpy(), None, [*(centre - 50), 100, 100], 32)
        turn = FILM.rotation[i].double().numpy() @ rig.rotation[v].numpy().T
        assert np.abs(turn - made.rotation).max() < 1e-4
        full = FILM.intrinsics[i].double().numpy() @ turn @ np.linalg.inv(rig.intrinsics[v].numpy())
        assert np.abs(full / full[2, 2] - FILM.crop[i].double().numpy()).max() < 1e-2


def test_crops_know_their_full_cameras():
    for number, rig in enumerate(draw_rigs(3, 3, seed=3)):
        rows = FILM[FILM.sequence == FILM.sequence.unique()[number]]
        assert torch.equal(rows.full_intrinsics, rig.intrinsics.float()[rows.view])
        assert (rows.turn.double() @ rig.rotation[rows.view] - rows.rotation).abs().max() < 1e-6
        assert (rows.size == torch.tensor(rig.size[::-1])).all()
        crop = rows.intrinsics.double() @ rows.turn.double() @ torch.linalg.inv(rig.intrinsics)[rows.view]
        assert (crop / crop[:, 2:, 2:] - rows.crop).abs().max() < 1e-3
    assert SINGLES.full_intrinsics.isfinite().all()
    assert (SINGLES.size == 1000).all()


def test_same_seed_same_world_other_seed_other_people():
    again = single_images(40, 32, seed=3)
    assert all(
        torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for (_, a), (_, b) in zip(again.items(), SINGLES.items())
    )
    other = single_images(40, 32, seed=4)
    assert not set(other.subject.tolist()) & set(SINGLES.subject.tolist())
    assert not set(other.time_step.tolist()) & set(SINGLES.time_step.tolist()) & set(FILM.time_step.tolist())
    assert not torch.equal(other.image, SINGLES.image)


def test_faults_are_refused_out_of_range():
    with pytest.raises(VergenceError, match=r"swapped_sides = 2"):
        Faults(swapped_sides=2)


def world(views):
    """Joints in the rig's frame, mm."""
    return (views.pose - views.translation[:, None]).double() @ views.rotation.double()


def test_studio_backgrounds_do_not_change_and_cameras_differ():
    """Along the crops' borders, what one camera sees at a place of its full image never changes."""
    film = recordings(2, 8, 2, 64, seed=5)
    border = torch.tensor([(x, y) for x in range(64) for y in range(64) if min(x, y, 63 - x, 63 - y) < 3])
    spots = torch.cat([border, torch.ones(len(border), 1)], 1).double()
    agree, total = 0, 0
    for sequence in film.sequence.unique():
        for view in range(2):
            seen: dict[tuple[int, int], torch.Tensor] = {}
            for i in ((film.sequence == sequence) & (film.view == view)).nonzero()[:, 0]:
                full = spots @ torch.linalg.inv(film.crop[i].double()).T
                cell = (full[:, :2] / full[:, 2:] / 3).round().int().tolist()  # cells of 3 px, texels have 8.75
                for (x, y), place in zip(border.tolist(), map(tuple, cell)):
                    colour = film.image[i, :, y, x].int()
                    if place in seen:
                        agree += int((seen[place] - colour).abs().max() <= 25)
                        total += 1
                    else:
                        seen[place] = colour
    assert total > 500
    assert agree / total > 0.9
    same_time_step = film.image[0, :, :3].int() - film.image[1, :, :3].int()
    assert same_time_step.abs().float().mean() > 10


def test_clothes_and_light_stay_through_a_recording():
    film = recordings(1, 6, 1, 96, seed=8, faults=Faults(occlusion=0.0))
    chest = film.keypoints[:, [7]].round().long().clamp(0, 95)
    colours = torch.stack([film.image[i, :, chest[i, 0, 1], chest[i, 0, 0]] for i in range(6)]).float()
    share = colours / colours.sum(1, keepdim=True).clamp(min=1)
    assert share.std(0).max() < 0.12


def test_noise_and_missing_joints_touch_labels_only():
    noisy = recordings(3, 4, 3, 32, seed=3, faults=Faults(noise_px=2.0, missing_joints=0.2))
    assert torch.equal(noisy.image, FILM.image)
    assert torch.equal(noisy.pose, FILM.pose)
    known = torch.isfinite(noisy.keypoints).all(-1)
    assert 0.72 < known.float().mean() / torch.isfinite(FILM.keypoints).all(-1).float().mean() < 0.88
    assert torch.equal(noisy.confidence > 0, known)
    error = (noisy.keypoints - FILM.keypoints)[known]
    assert 1.7 < error[torch.isfinite(error)].std() < 2.3


def test_swapped_sides_swap_whole_images():
    swapped = recordings(3, 4, 3, 32, seed=3, faults=Faults(swapped_sides=0.5))
    mirror = FILM.keypoints[:, H36M_17.mirror]
    same = (swapped.keypoints - FILM.keypoints).abs().nan_to_num().amax((1, 2)) < 1e-4
    turned = (swapped.keypoints - mirror).abs().nan_to_num().amax((1, 2)) < 1e-4
    assert (same | turned).all()
    assert 8 < turned.sum() < 28
    assert torch.equal(swapped.pose, FILM.pose)


def test_dropped_views_are_gone_and_the_rest_is_as_before():
    thin = recordings(3, 4, 3, 32, seed=3, faults=Faults(dropped_views=0.3))
    assert 15 < len(thin) < 34
    kept = torch.isin(FILM.time_step * 3 + FILM.view, thin.time_step * 3 + thin.view)
    assert torch.equal(FILM.image[kept], thin.image)
    assert thin.groups()[0].shape[0] <= 12


def test_time_offsets_shift_each_camera_by_a_constant():
    walk = torch.zeros(200, 17, 3, dtype=torch.float64) + SINGLES.pose[:1].double() @ SINGLES.rotation[0].double()
    walk[..., 0] += torch.arange(200)[:, None] * 2.0  # mm a frame
    film = recordings(1, 3, 3, 32, seed=2, motion=[walk], frame_step=20, faults=Faults(time_offset_s=0.5))
    place = world(film)[:, 0, 0].view(3, 3)
    assert ((place - place[:, :1]) - (place - place[:, :1])[:1]).abs().max() < 0.05
    assert (place[0].max() - place[0].min()) > 3
    assert (place.diff(dim=0) - 40).abs().max() < 0.05


def test_wrong_focal_lengths_are_constant_per_camera():
    wrong = recordings(3, 4, 3, 32, seed=3, faults=Faults(focal_error=0.1))
    ratio = (wrong.intrinsics[:, 0, 0] / FILM.intrinsics[:, 0, 0]).view(3, 4, 3)
    assert (ratio - ratio[:, :1]).abs().max() < 1e-5
    assert 0.03 < ratio[:, 0].std() < 0.25
    assert torch.equal(wrong.keypoints.nan_to_num(), FILM.keypoints.nan_to_num())
    crop = wrong.intrinsics.double() @ wrong.turn.double() @ torch.linalg.inv(wrong.full_intrinsics.double())
    assert (crop / crop[:, 2:, 2:] - wrong.crop).abs().max() < 1e-2
    assert not torch.allclose(wrong.full_intrinsics, FILM.full_intrinsics, rtol=0.02)


def test_occlusion_and_truncation_do_what_they_say():
    free, hidden, cut = (
        single_images(200, 32, seed=6, faults=f) for f in (Faults(0.0, 0.0), Faults(1.0, 0.0), Faults(0.0, 1.0))
    )
    changed = (free.image != hidden.image).any(1).float().mean((1, 2))
    assert (changed > 0.01).float().mean() > 0.9
    assert changed.mean() < 0.4
    assert torch.isfinite(free.keypoints).all()
    assert (torch.isfinite(cut.keypoints).all(-1).all(-1)).float().mean() < 0.2
    assert torch.isfinite(cut.keypoints).float().mean() > 0.5
    usual = single_images(600, 16, seed=7)
    assert 0.02 < (~torch.isfinite(usual.keypoints).all(-1)).any(1).float().mean() < 0.1


def test_given_motion_drives_the_body():
    clip = world(recordings(1, 30, 1, 16, seed=9, frame_step=1))
    film = recordings(2, 10, 2, 32, seed=4, motion=[clip, clip.numpy()], frame_step=2, rigs=1)
    moved = world(film).view(2, 10, 2, 17, 3)
    shape = clip[:20:2] - clip[:20:2, :1]
    assert (moved[:, :, 0] - moved[:, :, 0, :1] - shape).abs().max() < 0.05
    with pytest.raises(VergenceError, match="asked for"):
        recordings(1, 20, 1, 32, seed=4, motion=[clip], frame_step=2)
    with pytest.raises(VergenceError, match="motions"):
        recordings(3, 2, 1, 32, seed=4, motion=[clip])


def test_rigs_given_or_drawn_are_the_ones_used():
    rigs = draw_rigs(3, 3, seed=3)
    again = recordings(3, 4, 3, 32, seed=3, rigs=rigs)
    assert torch.equal(again.image, FILM.image)
    centre = -(FILM.rotation.mT @ FILM.translation[..., None])[..., 0].view(3, 4, 3, 3)
    expected = torch.stack([-(r.rotation.mT @ r.translation[..., None])[..., 0] for r in rigs])
    assert (centre.double() - expected[:, None]).abs().max() < 0.05
    one = recordings(3, 2, 2, 32, seed=3, rigs=1)
    centres = -(one.rotation.mT @ one.translation[..., None])[..., 0].view(3, 2, 2, 3)
    assert (centres - centres[:1, :1]).abs().max() < 0.05


def test_up_and_scale_are_true():
    assert (FILM.up.norm(dim=1) - 1).abs().max() < 1e-5
    assert (FILM.up - FILM.rotation[:, :, 2]).abs().max() < 1e-6
    upright = (FILM.pose[:, 10] - FILM.pose[:, 0]).mul(FILM.up).sum(1)
    assert (upright > 0).float().mean() > 0.8
    assert FILM.metric.all()
    assert not FILM.pseudo.any()


def test_capture_frames_have_their_truth_and_a_still_background():
    rig = draw_rigs(1, 2, seed=1)[0]
    frames = list(render_capture(rig, 3, seed=1, fps=5.0))
    assert frames[0].image[0].shape == (1000, 1000, 3)
    for frame in frames:
        camera = torch.from_numpy(frame.joints) @ rig.rotation.mT + rig.translation[:, None]
        pixels = camera @ rig.intrinsics.mT
        pixels = (pixels[..., :2] / pixels[..., 2:]).numpy()
        known = np.isfinite(frame.keypoints)
        assert known.mean() > 0.8
        assert np.abs(pixels - frame.keypoints)[known].max() < 1e-6
    for v in range(2):
        changed = (frames[0].image[v] != frames[2].image[v]).any(-1)
        assert 0.0005 < changed.mean() < 0.3
        rows, columns = np.nonzero(changed)
        both = np.concatenate([frames[0].keypoints[v], frames[2].keypoints[v]])
        low, high = np.nanmin(both, 0) - 60, np.nanmax(both, 0) + 60
        assert columns.min() > low[0]
        assert columns.max() < high[0]
        assert rows.min() > low[1]
        assert rows.max() < high[1]


def n_mpjpe(prediction, target):
    """Mean error after the least-squares scale, kept >= 0."""
    scale = (prediction * target).sum((1, 2)) / (prediction * prediction).sum((1, 2))
    return (scale.clamp(min=0)[:, None, None] * prediction - target).norm(dim=-1).mean()


@pytest.mark.parametrize("look", ["wild", "studio"])
def test_the_world_is_no_easier_than_it_claims(look):
    """Held-out people and cameras: the mean pose scores at least 250 mm, true 2D without depth at least 160 mm."""
    train, test = single_images(1500, 16, seed=20, look=look), recordings(40, 6, 4, 16, seed=21, look=look)
    relative = [v.pose - v.pose[:, :1] for v in (train, test)]
    mean = relative[0].mean(0, keepdim=True).expand(len(test), -1, -1)
    flat = test.pose / test.pose[..., 2:]
    flat = flat - flat[:, :1]
    scores = float(n_mpjpe(mean, relative[1])), float(n_mpjpe(flat, relative[1]))
    print(f"{look}: mean pose {scores[0]:.0f} mm, true 2D with zero depth {scores[1]:.0f} mm")
    assert 250 < scores[0] < 330
    assert 160 < scores[1] < 210
