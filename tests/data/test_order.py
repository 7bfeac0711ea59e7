import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.data.order import Cutting, SampleOrder, cut

numbers = st.integers(0, 60)
sizes = st.integers(1, 7)


def cut_all(order, batch_size, world_size, num_seen=0, drop_last=False):
    """Batches by rank."""
    return [
        list(cut(order, Cutting(batch_size, rank, world_size, drop_last), num_seen))
        for rank in range(world_size)
    ]


def joined(by_rank):
    """Samples in the order in which all processes together see them."""
    num_batches = max(map(len, by_rank))
    return [
        i for k in range(num_batches) for batches in by_rank if k < len(batches) for i in batches[k]
    ]


@given(numbers, sizes, sizes, st.booleans())
def test_all_processes_together_see_each_sample_once_in_the_same_number_of_batches(
    num, batch_size, world_size, shuffle
):
    order = SampleOrder(num, seed=3, shuffle=shuffle).of(5)
    by_rank = cut_all(order, batch_size, world_size)
    assert joined(by_rank) == list(map(int, order))
    if num >= world_size:
        assert len(set(map(len, by_rank))) == 1
        for together in zip(*by_rank, strict=True):
            lengths = [len(batch) for batch in together]
            assert min(lengths) > 0
            assert max(lengths) <= min(min(lengths) + 1, batch_size + 1)


@given(numbers, sizes, sizes, st.data())
def test_from_any_position_with_other_processes_the_samples_continue_in_the_same_order(
    num, batch_size, world_size, data
):
    order = SampleOrder(num, seed=1).of(0)
    global_size = batch_size * world_size
    divisors = [size for size in range(1, global_size + 1) if global_size % size == 0]
    other_world_size = data.draw(st.sampled_from(divisors))
    by_rank = cut_all(order, batch_size, world_size)
    num_done = data.draw(st.integers(0, len(by_rank[0])))
    num_seen = Cutting(batch_size, 0, world_size).num_seen(num, num_done)
    before = joined([batches[:num_done] for batches in by_rank])
    after = joined(cut_all(order, global_size // other_world_size, other_world_size, num_seen))
    if len(set(map(len, by_rank))) == 1:
        assert len(before) == num_seen
        assert before + after == order.tolist()


@given(numbers, sizes, sizes, sizes, sizes, st.data())
def test_with_another_global_batch_no_sample_is_lost_and_none_comes_twice(
    num, batch_size, world_size, b, w, data
):
    order = SampleOrder(num, seed=1).of(0)
    num_seen = data.draw(st.integers(0, num))
    after = joined(cut_all(order, b, w, num_seen))
    assert order[:num_seen].tolist() + after == order.tolist()


@given(numbers, sizes, sizes, numbers)
def test_drop_last_leaves_out_the_incomplete_global_batch_only(
    num, batch_size, world_size, num_seen
):
    num_seen = min(num, num_seen)
    order = SampleOrder(num, seed=1).of(0)
    by_rank = cut_all(order, batch_size, world_size, num_seen, drop_last=True)
    num_full = (num - num_seen) // (batch_size * world_size)
    assert all(len(batches) == num_full for batches in by_rank)
    assert (
        joined(by_rank) == order[num_seen : num_seen + num_full * batch_size * world_size].tolist()
    )


@given(numbers, sizes, sizes, st.booleans(), numbers)
def test_the_predicted_numbers_are_the_actual_ones(
    num, batch_size, world_size, drop_last, num_seen
):
    num_seen = min(num, num_seen)
    by_rank = cut_all(range(num), batch_size, world_size, num_seen, drop_last)
    for rank, batches in enumerate(by_rank):
        cutting = Cutting(batch_size, rank, world_size, drop_last)
        assert cutting.num_batches(num - num_seen) == len(batches)
    for num_done in range(len(by_rank[0]) + 1):
        told = Cutting(batch_size, 0, world_size, drop_last).num_seen(num - num_seen, num_done)
        assert told == sum(len(batch) for batches in by_rank for batch in batches[:num_done])


def test_a_small_remainder_joins_the_batch_before_and_a_larger_one_is_shared():
    assert cut_all(range(9), 2, 2) == [[[0, 1], [4, 5, 6]], [[2, 3], [7, 8]]]
    assert cut_all(range(11), 2, 2) == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10]]]


def test_with_fewer_samples_than_processes_the_first_ones_have_them():
    assert cut_all(range(2), 3, 4) == [[[0]], [[1]], [], []]


@pytest.mark.parametrize(
    "order", [range(1000), list(range(1000)), torch.arange(1000)], ids=["range", "list", "tensor"]
)
def test_every_kind_of_order_is_cut_alike(order):
    assert joined(cut_all(order, 7, 3)) == list(range(1000))
    assert all(type(i) is int for i in cut_all(order, 7, 3)[0][0])


def test_an_order_longer_than_what_is_read_at_once_is_cut_without_gaps():
    order = SampleOrder(20_011, seed=2).of(1)
    assert joined(cut_all(order, 8, 2)) == order.tolist()


def test_orders_differ_by_seed_and_epoch_and_by_nothing_else():
    torch.manual_seed(1)
    first = SampleOrder(50, seed=4).of(2)
    state = torch.get_rng_state()
    assert torch.equal(SampleOrder(50, seed=4).of(2), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(SampleOrder(50, seed=4).of(3), first)
    assert not torch.equal(SampleOrder(50, seed=5).of(2), first)
    assert sorted(first.tolist()) == list(range(50))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), "batch_size should be at least 1, but given 0"),
        ((2, 0, 0), "world_size should be at least 1, but given 0"),
        ((2, 3, 3), "rank should be from 0 to 2, but given 3"),
        ((2, -1, 3), "rank should be from 0 to 2, but given -1"),
    ],
)
def test_impossible_cuttings_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Cutting(*arguments)


def test_a_negative_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="num_samples should be at least 0, but given -1"):
        SampleOrder(-1)
