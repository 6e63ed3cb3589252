"""A capture whose cameras began at different times: brought to one time, said, kept for later steps, or left."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import vergence
from vergence.footage.capture import load_capture
from vergence.footage.observations import observe
from vergence.reconstruction.checks import timing
from vergence.reconstruction.inputs import check_joints, known_cameras
from vergence.reconstruction.sync import footage
from vergence.reconstruction.sync.find import Sync
from vergence.reconstruction.sync.footage import synchronise, words
from vergence.skeleton import H36M_17

LATE = 9


@pytest.fixture(scope="module")
def walk(request):
    scene = request.getfixturevalue("make_scene")(
        views=3, frames=160, missing=0.05, outliers=0.02, noise=2.0, distortion=(0.0,) * 5
    )
    return scene


def write(folder: Path, scene, starts: tuple[int, ...], head: str = "") -> Path:
    points = np.stack([scene.keypoints[s : s + 150, v] for v, s in enumerate(starts)], axis=1)
    points[(points < 0).any(-1) | (points > 999).any(-1)] = np.nan
    points = np.concatenate([points, np.where(np.isfinite(points[..., :1]), 0.9, np.nan)], axis=-1)
    np.savez(folder / "keypoints.npz", keypoints=points, joint_names=H36M_17.joint_names, fps=30.0)
    text = f'[capture]\nfps = 30.0\nkeypoints = "keypoints.npz"\n{head}'
    for v in range(points.shape[1]):
        text += f"[cameras.c{v}]\nimage_size = [1000, 1000]\n"
        text += "intrinsics = [[1100.0, 0, 499.5], [0, 1100.0, 499.5], [0, 0, 1]]\n"
    (folder / "capture.toml").write_text(text)
    return folder


def test_a_late_camera_is_brought_in_time_and_kept_so(tmp_path: Path, walk) -> None:
    found = vergence.reconstruct(write(tmp_path, walk, (0, LATE, 0)))
    told = found.synchronisation
    assert told["state"] == "found"
    assert told["cameras"]["c1"]["offset"] == pytest.approx(-LATE, abs=0.25)
    assert told["cameras"]["c0"]["offset"] == 0
    assert any("c1 by -" in note for note in found.notes)
    found.save(tmp_path / "out")
    assert json.loads((tmp_path / "out/results.json").read_text())["synchronisation"]["state"] == "found"
    again = load_capture(tmp_path / "out")
    assert again.synchronised
    assert again.cameras[1].offset == pytest.approx(-LATE, abs=0.25)
    same = vergence.reconstruct(again)
    np.testing.assert_array_equal(same.poses.pose, found.poses.pose)


def test_synchronous_footage_keeps_its_results_bit_for_bit(tmp_path: Path, walk) -> None:
    folder = write(tmp_path, walk, (0, 0, 0))
    ours, plain = vergence.reconstruct(folder), vergence.reconstruct(folder, sync="off")
    np.testing.assert_array_equal(ours.poses.pose, plain.poses.pose)
    assert ours.verdict == plain.verdict
    assert ours.synchronisation["state"] == "not asked"
    assert not (tmp_path / "capture_out").exists()


@pytest.mark.parametrize("stated", ["synchronised = true\n", ""])
def test_what_is_stated_is_believed(tmp_path: Path, walk, stated: str) -> None:
    capture = load_capture(write(tmp_path, walk, (0, LATE, 0), stated))
    moved, _, found = synchronise(capture, observe(capture))
    assert (moved is capture) == (found is None) == bool(stated)


def test_offsets_that_fit_alike_are_named(tmp_path: Path, walk) -> None:
    capture = load_capture(write(tmp_path, walk, (0, 0, 0)))
    nothing = np.zeros(3)
    found = Sync("ambiguous", nothing, nothing, nothing + 0.1, 1.0, ((0.0, 0.0, 0.0), (0.0, 31.5, 0.0)), "they fit")
    notes, doubts = words(found, capture)
    assert "c1 +31.5" in notes[0]
    assert not doubts
    moved = replace(found, offset=np.array([0, -9.0, 0]), zero_fits=False)
    assert "c1 +31.5" in words(moved, capture)[1][0]


def test_the_uncertainty_told_holds_nineteen_in_twenty_and_a_doubt_has_its_remedy(tmp_path: Path, walk) -> None:
    capture = load_capture(write(tmp_path, walk, (0, LATE, 0)))
    offset, deviation = np.array([0, -9.04, 0]), np.array([0, 0.41, 0.2])
    vague = "the motion shows offsets to 0.8 frames only, and 0.5 is needed"
    unsure = Sync("unsure", offset, 0 * offset, deviation, reason=vague, zero_fits=False)
    (note,), (doubt,) = words(unsure, capture)
    assert "c1 by -9.04 frames (began later, within 0.82)" in note
    assert f"and {vague}: taken as c1 by -9.04" in doubt
    assert "a clap or a flash that all of them film tells it" in doubt
    assert not words(replace(unsure, state="found"), capture)[1]


def test_a_piece_of_a_track_is_nobody_to_ask() -> None:
    whole, half, piece = (np.full((100, 3, 3), np.nan) for _ in range(3))
    whole[:], half[:50], piece[60:68] = 1, 1, 1
    assert [np.isfinite(t[:, 0, 0]).sum() for t in footage._long([piece, whole, half])] == [100, 50]
    assert footage._long([]) == []


def placed(folder: Path, scene) -> Path:
    """The capture with the true extrinsics."""
    lines = (folder / "capture.toml").read_text().splitlines()
    for v in range(scene.keypoints.shape[1]):
        at = lines.index(f"[cameras.c{v}]")
        lines.insert(at + 1, f"R = {scene.rotation[v].tolist()}\nt = {scene.translation[v].tolist()}")
    (folder / "capture.toml").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("moves", [-12.0, -31.0])
def test_what_the_motion_moves_must_leave_less_noise_under_given_cameras(
    tmp_path: Path, walk, monkeypatch, moves: float
) -> None:
    folder = placed(write(tmp_path, walk, (0, 0, 0)), walk)
    offset = np.array([0.0, moves, 0.0])
    sync = Sync("found", offset, 0 * offset, np.full(3, 0.2))
    told = "Cameras are not synchronous: against the others, ..."

    def synchronised(capture, seen, seed):
        cameras = tuple(replace(c, offset=c.offset + o) for c, o in zip(capture.cameras, offset.tolist()))
        moved = replace(capture, cameras=cameras, synchronised=True)
        return moved, observe(moved), sync

    monkeypatch.setattr("vergence.reconstruction.footage.synchronise", synchronised)
    monkeypatch.setattr("vergence.reconstruction.checks.doubts.late_words", lambda *given: told)
    found, plain = vergence.reconstruct(folder), vergence.reconstruct(folder, sync="off")
    np.testing.assert_array_equal(found.poses.pose, plain.poses.pose)
    assert plain.reasons == (told,)
    why = " They were left as they are, since the person's motion does not tell it surely: cameras fit better without the "
    assert found.reasons == (f"{told}{why}offsets of the motion.",)
    assert not any(camera["offset"] for camera in found.synchronisation["cameras"].values())
    assert not any("synchronous" in note for note in found.notes)  # that would say it again, or otherwise


@pytest.mark.parametrize(("late", "in_time"), [(0, True), (1, False), (3, False)])
def test_given_cameras_have_a_say_in_whether_one_is_late(walk, late: int, in_time: bool) -> None:
    points = walk.keypoints.copy()
    points[: len(points) - late or None, 1] = points[late:, 1]
    given = check_joints(
        points, None, walk.intrinsics, walk.distortion, walk.image_size, H36M_17, None, False, "shared", 0.05
    )
    assert timing._in_time(known_cameras(walk.rotation, walk.translation, given), given.image) is in_time


def test_a_late_camera_is_brought_in_time_under_given_cameras_too(tmp_path: Path, walk) -> None:
    found = vergence.reconstruct(placed(write(tmp_path, walk, (0, LATE, 0)), walk))
    assert found.synchronisation["cameras"]["c1"]["offset"] == pytest.approx(-LATE, abs=0.25)
    assert found.verdict == "good"


def test_how_much_a_track_tells_is_the_sum_of_its_joints_steps_without_strays() -> None:
    rng = np.random.default_rng(0)
    track = np.dstack([rng.normal(0, 100, (6, 5, 2)), np.ones((6, 5))])
    track[:, :, :2] = track[0, :, :2] + np.cumsum(rng.normal(0, 8, (6, 5, 2)), 0)
    track[3:, 1] = np.nan
    track[2, 4, :2] += 500  # a stray: twice the most
    size = np.median([np.hypot(*np.ptp(one[np.isfinite(one[:, 0]), :2], axis=0)) for one in track])
    told = 0.0
    for before, after in pairwise(track):
        for a, b in zip(before, after):
            if np.isfinite(a[0]) and np.isfinite(b[0]):
                told += min(np.hypot(b[0] - a[0], b[1] - a[1]) / size, footage.MOST_STEP)
    assert footage._movement(track) == pytest.approx(told)
