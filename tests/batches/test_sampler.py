"""A batch is a function of its step; shares, labels and time steps are those of its sources."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vergence.batches.dataset import MemoryDataset
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.recipe import Draw


def part(name: str, n: int, count: int) -> Part:
    views = Views.empty(n, 17, 2, 2).replace(
        frame=torch.arange(n), image=torch.full((n, 3, 2, 2), n, dtype=torch.uint8)
    )
    return Part(name, MemoryDataset(views), views.replace(keypoints=torch.ones(n, 17, 2)), count)


def test_each_source_has_its_share_in_every_batch():
    mixture = Mixture([part("a", 7, 3), part("b", 4, 6), part("none", 5, 0)], seed=0)
    for step in (0, 1, 2, 9, 1000):
        batch = mixture.batch(step)
        assert batch.source.tolist() == [0] * 3 + [1] * 6
        assert (batch.image[:3] == 7).all()
        assert (batch.image[3:] == 4).all()


@given(n=st.integers(1, 23), count=st.integers(1, 40), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_image_comes_once_before_any_comes_again(n, count, seed):
    mixture = Mixture([part("a", n, count)], seed)
    drawn: list[int] = []
    for step in range(5):
        drawn += mixture.batch(step).frame.tolist()
        times = Counter(drawn)
        counts = [times[i] for i in range(n)]
        assert max(counts) - min(counts) <= 1


def test_steps_may_be_asked_in_any_order():
    one, two = (Mixture([part("a", 7, 5), part("b", 3, 4)], seed=2) for _ in range(2))
    forward = {step: one.batch(step).frame.tolist() for step in range(20)}
    for step in (19, 3, 0, 11, 12, 3):
        assert two.batch(step).frame.tolist() == forward[step]


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 7), (6, 9), (0, 9)])
def test_one_process_of_several_gets_its_rows_of_the_same_batch(start, stop):
    mixture = Mixture([part("a", 7, 5), part("b", 3, 4)], seed=2)
    for step in (0, 5):
        whole, own = mixture.batch(step), mixture.batch(step, slice(start, stop))
        for name in ("frame", "source", "time_step"):
            assert torch.equal(getattr(own, name), getattr(whole, name)[start:stop])


def test_seeds_and_sources_have_orders_of_their_own():
    a, b = (Mixture([part("a", 50, 50)], seed=s).batch(0).frame.tolist() for s in (0, 1))
    assert a != b
    both = Mixture([part("a", 50, 50), part("b", 50, 50)], seed=0).batch(0).frame.tolist()
    assert both[:50] == a
    assert both[50:] != a


def test_a_source_draws_the_same_whatever_stands_beside_it():
    alone = Mixture([part("a", 9, 4)], seed=0).batch(5).frame.tolist()
    beside = Mixture([part("b", 20, 2), part("a", 9, 4)], seed=0).batch(5).frame.tolist()
    assert beside[2:] == alone


def test_only_what_is_visible_is_seen():
    hidden = part("a", 6, 6)
    hidden.dataset.views.keypoints[:] = math.pi  # the truth, which the recipe withholds
    assert (Mixture([hidden], seed=0).batch(0).keypoints == 1).all()


def test_time_steps_of_different_sources_are_never_one():
    batch = Mixture([part("a", 5, 5), part("b", 5, 5)], seed=0).batch(0)
    _, mask = batch.groups()
    assert mask.sum(1).tolist() == [1] * 10
    film = part("c", 6, 6)
    film.visible = film.visible.replace(time_step=torch.tensor([0, 0, 0, 1, 1, 1]))
    _, mask = Mixture([film, part("a", 5, 5)], seed=0).batch(0).groups()
    assert sorted(mask.sum(1).tolist()) == [1] * 5 + [3, 3]


# Clips


def film(name: str, sequences: int, time_steps: int, views: int, count: int, draw: Draw, step: float = 0.4) -> Part:
    """Recordings of `time_steps` time steps, `step` seconds apart, by `views` cameras; the first one's 3D is shown."""
    n = sequences * time_steps * views
    row = torch.arange(n)
    index = Views.empty(n, 17, 2, 2).replace(
        frame=row,
        time_step=row // views,
        view=row % views,
        sequence=row // (views * time_steps),
        time=(row // views % time_steps * step).float(),
    )
    pose = index.pose.clone()
    pose[index.sequence == 0] = 1.0
    return Part(name, MemoryDataset(index), index.replace(pose=pose), count, draw)


@given(
    time_steps=st.integers(1, 5), apart=st.floats(0, 2), views=st.integers(1, 3), clips=st.integers(1, 6),
    seed=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_clips_hold_time_steps_apart_each_by_different_views(time_steps, apart, views, clips, seed):
    draw = Draw(time_steps=time_steps, apart=apart, views=views)
    mixture = Mixture([film("a", 4, 21, 3, clips * time_steps * views, draw)], seed)
    for step in (0, 1, 50):
        batch = mixture.batch(step)
        assert len(batch) == clips * time_steps * views
        for i in range(clips):
            clip = batch[slice(i * time_steps * views, (i + 1) * time_steps * views)]
            assert len(set(clip.sequence.tolist())) == 1
            times = clip.time[::views]
            assert bool((times[1:] - times[:-1] >= max(apart - 1e-3, 0.3)).all())
            for j in range(time_steps):
                one = clip[slice(j * views, (j + 1) * views)]
                assert len(set(one.time_step.tolist())) == 1
                assert len(set(one.view.tolist())) == views


def test_every_choice_of_time_steps_is_equally_likely():
    """7 time steps 0.4 s apart, 3 of them at least 0.8 s apart: 10 choices."""
    mixture = Mixture([film("a", 1, 7, 1, 3, Draw(time_steps=3, apart=0.8, views=1))], seed=0)
    drawn = Counter(tuple(mixture.batch(step).frame.tolist()) for step in range(2000))
    every = [(a, b, c) for a in range(7) for b in range(a + 2, 7) for c in range(b + 2, 7)]
    assert set(drawn) == set(every)
    assert len(every) == 10
    assert all(abs(n - 200) < 60 for n in drawn.values())  # more than four standard deviations


def test_clips_come_once_before_any_comes_again():
    mixture = Mixture([film("a", 5, 8, 2, 8, Draw(time_steps=2, apart=0.5, views=2))], seed=1)
    drawn = [s for step in range(5) for s in mixture.batch(step).sequence[::4].tolist()]
    assert Counter(drawn) == dict.fromkeys(range(5), 2)


def test_clips_may_be_asked_in_any_order():
    def made():
        return Mixture([film("a", 3, 9, 3, 12, Draw(time_steps=3, apart=0.8, views=2)), part("b", 5, 2)], seed=4)

    one, two = made(), made()
    forward = {step: one.batch(step).frame.tolist() for step in range(12)}
    for step in (11, 2, 0, 7, 2):
        assert two.batch(step).frame.tolist() == forward[step]
    assert forward[0] != forward[3]


def test_labelled_images_can_be_drawn_alone_from_a_source_that_is_drawn_twice():
    whole = film("a", 4, 6, 2, 8, Draw(time_steps=2, apart=0.4, views=2))
    few = Part("labelled", whole.dataset, whole.visible, 7, Draw(source="a", labelled=True))
    batch = Mixture([whole, few], seed=0).batch(3)
    assert batch.source.tolist() == [0] * 8 + [1] * 7
    assert set(batch.sequence[8:].tolist()) == {0}
    assert not batch.pose[8:].isnan().any()


def test_time_steps_that_too_few_cameras_saw_and_short_recordings_are_left_out():
    whole = film("a", 3, 6, 2, 4, Draw(time_steps=2, apart=1.0, views=2))
    keep = torch.ones(36, dtype=torch.bool)
    keep[0:24:2] = False  # recordings 0 and 1 by one camera only
    keep[0:2] = True
    rows = keep.nonzero()[:, 0]
    part = Part("a", MemoryDataset(whole.dataset.views[rows]), whole.visible[rows], 4, whole.draw)
    mixture = Mixture([part], seed=0)
    assert {s for step in range(9) for s in mixture.batch(step).sequence.tolist()} == {2}


@pytest.mark.parametrize(
    ("draw", "count", "said"),
    [
        (Draw(time_steps=4, apart=1.0), 10, "Take a multiple of 8"),
        (Draw(time_steps=4, apart=1.0), 8, "the most is 2"),
        (Draw(time_steps=2, apart=0.4, views=3), 6, "each by 3 views"),
    ],
)
def test_clips_that_cannot_be_drawn_are_an_error(draw, count, said):
    with pytest.raises(VergenceError, match=said):
        Mixture([film("a", 2, 5, 2, count, draw)], seed=0)


def test_labelled_images_of_a_source_without_labels_are_an_error():
    with pytest.raises(VergenceError, match="no 3D of its source is visible"):
        Mixture([Part("a", part("a", 4, 2).dataset, part("a", 4, 2).visible, 2, Draw(labelled=True))], seed=0)


# Whole time steps


def film_part(time_step: torch.Tensor, count: int, whole: bool = True) -> Part:
    made = part("film", len(time_step), count)
    dataset = MemoryDataset(made.dataset.views.replace(time_step=time_step))
    return Part("film", dataset, made.visible.replace(time_step=time_step), count, whole=whole)


@given(seed=st.integers(0, 20), views=st.integers(2, 5), fit=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_whole_time_steps_stay_together_and_come_once_an_epoch(seed, views, fit):
    time_step = torch.arange(7).repeat_interleave(views)[
        torch.randperm(7 * views, generator=torch.Generator().manual_seed(1))
    ]
    mixture = Mixture([film_part(time_step, fit * views)], seed)
    drawn: list[int] = []
    for step in range(7):
        batch = mixture.batch(step)
        _, mask = batch.groups()
        if fit == 1 or 7 % fit == 0:
            assert mask.all()
            assert mask.shape == (fit, views)
        drawn += batch.frame.tolist()
    assert sorted(drawn[: 7 * views]) == list(range(7 * views))


def test_time_steps_of_other_sizes_are_divided_between_two_batches_and_none_is_lost():
    time_step = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    mixture = Mixture([film_part(time_step, 4)], seed=0)
    drawn = [f for step in range(9) for f in mixture.batch(step).frame.tolist()]
    for epoch in range(4):
        assert sorted(drawn[9 * epoch : 9 * epoch + 9]) == list(range(9))
        order = time_step[drawn[9 * epoch : 9 * epoch + 9]].tolist()
        assert len([a for a, b in itertools.pairwise(order) if a != b]) == 2


def test_single_images_come_in_the_same_order_whole_or_not():
    one = Mixture([film_part(torch.arange(11), 5)], seed=4)
    other = Mixture([film_part(torch.arange(11), 5, whole=False)], seed=4)
    assert all(one.batch(s).frame.tolist() == other.batch(s).frame.tolist() for s in range(6))


def test_labelled_images_too_are_drawn_by_whole_time_steps():
    made = film("a", 3, 4, 3, 6, Draw(labelled=True))
    mixture = Mixture([Part("a", made.dataset, made.visible, 6, made.draw, whole=True)], seed=2)
    batches = [mixture.batch(step) for step in range(2)]
    assert all(batch.groups()[1].shape == (2, 3) for batch in batches)
    assert sorted(f for batch in batches for f in batch.frame.tolist()) == list(range(12))


def test_clips_are_drawn_alike_by_whole_time_steps_or_not():
    made = film("a", 3, 9, 3, 12, Draw(time_steps=3, apart=0.8, views=2))
    one = Mixture([made], seed=4)
    other = Mixture([Part("a", made.dataset, made.visible, 12, made.draw, whole=True)], seed=4)
    assert all(one.batch(s).frame.tolist() == other.batch(s).frame.tolist() for s in range(6))
