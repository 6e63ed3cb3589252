"""Sources opened: sizes, several rigs in one source, people that never meet."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from vergence.errors import VergenceError
from vergence.recipes.load import recipe_from
from vergence.recipes.recipe import Source
from vergence.recipes.typed import make_source
from vergence.training.sources import as_protocol, check_readable, open_source, same_images


def film(**settings) -> Source:
    return make_source(
        **{"kind": "world_recordings", "look": "studio", "subjects": 3, "frames_per_subject": 2, **settings}
    )


def test_images_of_the_world():
    dataset = open_source(make_source(count=4, seed=1), 24, "h36m_17")
    read = dataset.read(torch.arange(4))
    assert read.image.shape == (4, 3, 24, 24)
    assert read.image.dtype == torch.uint8
    assert len(set(read.time_step.tolist())) == 4
    assert read.pose.isfinite().all()


def test_recordings_of_rigs_of_different_sizes():
    index = open_source(film(views=[2, 4]), 16, "h36m_17").index
    assert len(index) == 2 * 2 * 2 + 1 * 2 * 4
    cameras = [int(index.view[index.sequence == s].max()) + 1 for s in index.sequence.unique()]
    assert cameras == [2, 2, 4]
    assert len(index.subject.unique()) == 3
    groups, mask = index.groups()
    assert sorted(mask.sum(1).tolist()) == [2] * 4 + [4] * 2
    for row, keep in zip(groups, mask):
        assert len(set(index.sequence[row[keep]].tolist())) == 1
        assert len(set(index.view[row[keep]].tolist())) == int(keep.sum())


def test_views_of_a_time_step_agree_whatever_the_rig():
    index = open_source(film(views=[2, 3]), 16, "h36m_17").index
    world = (index.pose - index.translation[:, None]).double() @ index.rotation.double()
    groups, mask = index.groups()
    for row, keep in zip(groups, mask):
        assert (world[row[keep]] - world[row[0]]).abs().max() < 0.05


def test_fewer_people_than_kinds_of_rigs():
    index = open_source(film(subjects=1, views=[2, 3]), 16, "h36m_17").index
    assert len(index) == 2 * 2


def test_people_and_cameras_of_different_seeds_never_meet_whatever_the_rigs():
    """Also where one source has several rigs: its second rig's people are nobody's of another seed."""
    sets = [open_source(film(seed=seed, views=views), 16, "h36m_17").index
            for seed, views in ((1, [2, 3]), (2, [2]), (3, [3]))]  # fmt: skip
    for i, a in enumerate(sets):
        for b in sets[:i]:
            bones_a, bones_b = (torch.round((s.pose[:, 1] - s.pose[:, 2]).norm(dim=-1), decimals=2) for s in (a, b))
            assert not set(bones_a.tolist()) & set(bones_b.tolist())


def test_the_same_source_is_the_same_world():
    a, b = (open_source(film(seed=4), 16, "h36m_17").read(torch.arange(6)) for _ in range(2))
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.pose, b.pose)


def test_the_world_has_one_skeleton():
    with pytest.raises(VergenceError, match="no skeleton 'coco_17'"):
        open_source(make_source(count=1), 16, "coco_17")
    with pytest.raises(VergenceError, match="no skeleton is called 'x'"):
        open_source(make_source(count=1), 16, "x")


def test_a_capture_that_is_not_there_is_one_error(tmp_path):
    with pytest.raises(VergenceError, match="nowhere"):
        open_source(make_source(kind="capture", path=str(tmp_path / "nowhere")), 16, "h36m_17")


def test_clips_of_people_who_stand_still():
    """One time step and one camera's lens a clip; the person stands in one place of the world, the camera in many."""
    index = open_source(make_source("world_static", look="wild", subjects=3, views=[8, 5], seed=6), 16, "h36m_17").index
    groups, mask = index.groups()
    assert sorted(mask.sum(1).tolist()) == [5, 8, 8]
    for row, keep in zip(groups, mask):
        clip = index[row[keep]]
        world = (clip.pose - clip.translation[:, None]).double() @ clip.rotation.double()
        assert (world - world[:1]).abs().max() < 0.1
        eye = -(clip.rotation.mT.double() @ clip.translation[..., None].double())[..., 0]
        step = (eye[1:] - eye[:-1]).norm(dim=-1)
        assert step.min() > 100
        assert step.max() < 3500
        assert len(clip.sequence.unique()) == 1
    again = open_source(make_source("world_static", look="wild", subjects=3, views=[8, 5], seed=6), 16, "h36m_17").index
    assert (again.pose == index.pose).all()


def test_occlusion_and_truncation_are_a_sources_own():
    hidden = open_source(film(occlusion=1.0, seed=7), 32, "h36m_17").views.image
    plain = open_source(film(seed=7), 32, "h36m_17").views.image
    assert ((hidden.int() - plain.int()).abs().sum((1, 2, 3)) > 0).float().mean() > 0.9
    cut = open_source(film(truncation=1.0, seed=7), 32, "h36m_17").index
    whole = open_source(film(truncation=0.0, seed=7), 32, "h36m_17").index
    assert cut.keypoints.isnan().any(-1).float().mean() > whole.keypoints.isnan().any(-1).float().mean() + 0.05
    with pytest.raises(VergenceError, match=r"occlusion is 1\.5"):
        open_source(film(occlusion=1.5), 16, "h36m_17")
    with pytest.raises(VergenceError, match="kind capture has no key occlusion"):
        make_source(kind="capture", path="x", occlusion=0.2)


def test_a_protocol_says_which_images_and_contradicts_nobody():
    source = make_source(kind="human36m", path="x", protocol="h36m-hmr-frontal")
    found = as_protocol(source)
    assert (found.split, found.step, found.cameras, found.faulty) == ("test", 5, "frontal", "keep")
    with pytest.raises(VergenceError, match="step: 5, the source step: 2"):
        as_protocol(make_source(kind="human36m", path="x", protocol="h36m-hmr", step=2))
    with pytest.raises(VergenceError, match="measured on human36m"):
        as_protocol(make_source(kind="coco", path="x", protocol="h36m"))
    with pytest.raises(VergenceError, match="no path"):
        make_source(kind="human36m")
    with pytest.raises(VergenceError, match="step is 0"):
        make_source(kind="human36m", path="x", step=0)


@pytest.mark.parametrize(
    ("frames", "others", "same"),
    [
        ("", "5", True),
        ("0-9", "10-19", False),
        ("0-9,30", "25-40", True),
        ("0-9", "9", True),
        ("12", "0-9,13-20", False),
    ],
)
def test_two_parts_of_a_capture_have_images_in_common_where_their_frames_meet(tmp_path, frames, others, same):
    a, b = (make_source("capture", path=str(tmp_path), frames=text) for text in (frames, others))
    assert same_images(a, b) is same
    assert same_images(b, a) is same
    assert not same_images(a, make_source("capture", path=str(tmp_path / "other")))


def test_sources_from_outside_have_images_in_common_where_their_own_keys_are_equal():
    @dataclasses.dataclass
    class Lab(Source):
        path: str = ""
        room: str = ""

    one = Lab("lab", path="x", room="A", pose="all")
    assert same_images(one, Lab("lab", path="x", room="A", keypoints=True))
    assert not same_images(one, Lab("lab", path="x", room="B", pose="all"))
    assert not same_images(one, Lab("lab", path="y", room="A", pose="all"))


def test_what_a_test_shares_with_training_is_a_warning_and_what_cannot_be_read_names_its_source(tmp_path, caplog):
    film = {"kind": "world_recordings", "look": "studio", "seed": 2, "pose": "all"}
    stages = {"only": {"train": {"batch": {"film": 4}, "losses": {"depth": 1.0}}}}
    raw = {"sources": {"film": film, "unread": film}, "test": {"new": {**film, "seed": 3}}, "stages": stages}
    check_readable(recipe_from(raw, "x"), opened := [].append, open_source)
    assert not caplog.records
    check_readable(recipe_from({**raw, "test": {"old": film}}, "x"), opened, open_source)
    (line,) = caplog.messages
    assert line == "the test old has images of the source film: its figures are not of new images"
    raw["sources"]["film"] = {"kind": "coco", "path": str(tmp_path), "keypoints": True}

    def fails(name):
        raise VergenceError("no annotations", "Add them.")

    with pytest.raises(VergenceError, match=r"^source film: no annotations\. Add them"):
        check_readable(recipe_from(raw, "x"), fails, open_source)
