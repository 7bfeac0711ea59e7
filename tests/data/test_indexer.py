import pytest
import torch
from torch.utils.data import RandomSampler

from ignite.data import ShardedBatchSampler
from ignite.data._map_style import Indexer
from ignite.data._passes import Position
from ignite.data.order import Cutting
from ignite.data.sampler import OwnBatches, StreamedBatches
from ignite.data.seeding import Key


def armed(batches, start, is_single=False, is_understood=True, seed=1):
    indexer = Indexer(batches, is_single, is_understood, num_recent=3)
    indexer.arm(start, seed)
    return indexer


def test_it_starts_at_the_given_position():
    sampler = ShardedBatchSampler(7, 2, shuffle=False)
    assert list(armed(sampler, Position(0, 2, 4))) == [[4, 5], [6]]
    assert list(armed(sampler, Position(0, 2, 4, is_complete=True))) == []


def test_an_iterator_that_is_never_asked_takes_nothing_from_the_next():
    indexer = armed(ShardedBatchSampler(4, 2, shuffle=False), Position())
    unused = iter(indexer)
    assert list(indexer) == [[0, 1], [2, 3]]
    del unused


def test_seeds_depend_on_the_number_of_the_batch_in_its_pass_not_on_where_one_began():
    sampler = ShardedBatchSampler(8, 2, shuffle=False)
    whole = [batch.seed for batch in armed(sampler, Position())]
    assert len(set(whole)) == 4
    assert [batch.seed for batch in armed(sampler, Position(0, 2, 4))] == whole[2:]
    assert not set(whole) & {batch.seed for batch in armed(sampler, Position(1))}
    assert not set(whole) & {batch.seed for batch in armed(sampler, Position(), seed=2)}


def test_the_last_batches_are_known_for_messages():
    indexer = armed(ShardedBatchSampler(9, 2, shuffle=False), Position())
    assert len(list(indexer)) == len(indexer) == 5
    assert list(indexer.recent) == [(2, [4, 5], 6), (3, [6, 7], 8), (4, [8], 9)]


def test_single_indices_and_other_keys_are_given_as_the_dataset_understands_them():
    sampler = ShardedBatchSampler(2, 1, shuffle=False)
    assert [key.value for key in armed(sampler, Position(), is_single=True)] == [0, 1]
    assert list(armed(sampler, Position(), is_single=True, is_understood=False)) == [0, 1]
    tensors = OwnBatches([torch.tensor([1, 2])], seed=0)
    assert isinstance(next(iter(armed(tensors, Position()))), Key)
    assert isinstance(next(iter(armed(tensors, Position(), is_understood=False))), torch.Tensor)


def test_batches_of_the_user_are_skipped_by_their_number():
    assert list(armed(OwnBatches([[1], [2, 3], [4]], seed=0), Position(0, 1, 1))) == [[2, 3], [4]]
    assert len(OwnBatches([[1], [2]], 0)) == 2


def test_a_sampler_without_length_is_cut_without_knowing_it():
    batches = StreamedBatches(iter(range(5)), 0, Cutting(2))
    assert list(batches.batches(0, num_seen=1)) == [[1, 2], [3, 4]]
    with pytest.raises(TypeError, match="range_iterator has no length"):
        len(batches)


def test_the_seed_of_the_batches_is_what_a_sampler_draws_with():
    batches = OwnBatches([RandomSampler(range(50))], seed=1)
    assert batches.seed == 1
