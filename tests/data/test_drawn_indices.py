import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler, Sampler

from ignite.data._passes import has_length
from ignite.data.order import Cutting, cut
from ignite.data.sampler import DrawnOrder, cut_stream, draw, generators_of
from support.noisy_data import random_states


class Told(Sampler):
    """Knows its epoch, and draws from numpy; without length if it is told so."""

    def __init__(self, num=5):
        self.num = num
        self.epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        for _ in range(self.num):
            yield 1000 * self.epoch + int(np.random.randint(1000))


class Sized(Told):
    def __len__(self):
        return self.num


@pytest.mark.parametrize("sampler", [Told(2500), Sized(2500)], ids=["in chunks", "at once"])
def test_set_epoch_of_a_sampler_is_called_and_it_draws_the_same_again(sampler):
    before = random_states()
    first = list(draw(sampler, 1, epoch=2))
    assert len(first) == 2500
    assert {i // 1000 for i in first} == {2}
    assert list(draw(sampler, 1, epoch=2)) == first
    assert list(draw(sampler, 2, epoch=2)) != first
    assert random_states() == before


def test_what_is_drawn_in_chunks_does_not_depend_on_what_the_program_draws_in_between():
    indices, alone = draw(Told(3000), 1, 0), list(draw(Told(3000), 1, 0))
    taken = []
    for index in indices:
        np.random.rand()
        taken.append(index)
    assert taken == alone


def test_an_order_of_numbers_is_a_tensor_and_any_other_a_list():
    assert isinstance(DrawnOrder([1, 2]).of(0), torch.Tensor)
    assert DrawnOrder(["a", "b"]).of(0) == ["a", "b"]
    assert DrawnOrder([]).of(0) == []
    assert DrawnOrder([1, 2]).num_samples == 2


def test_generators_are_found_in_nested_samplers():
    generator = torch.Generator()
    inner = RandomSampler(range(3), generator=generator)
    assert generators_of(BatchSampler(inner, 2, False)) == [generator]
    inner.sampler = inner  # a ring ends the search
    assert generators_of(inner) == [generator]
    assert generators_of([1, 2]) == []


def test_only_a_length_that_can_be_asked_for_is_one():
    class Unsized:
        def __len__(self):
            raise TypeError("none")

    assert has_length([])
    assert not has_length(Unsized())
    assert not has_length(iter([]))


@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 7), st.booleans(), st.integers(0, 60))
def test_a_stream_is_cut_like_an_order(num, batch_size, world_size, drop_last, num_seen):
    num_seen = min(num, num_seen)
    for rank in range(world_size):
        cutting = Cutting(batch_size, rank, world_size, drop_last)
        assert list(cut_stream(iter(range(num)), cutting, num_seen)) == list(
            cut(range(num), cutting, num_seen)
        )
