import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from ignite.data import ShardedBatchSampler
from ignite.data._map_style import MapSource
from ignite.data._passes import Position


def source_of(loader, rank=0, world_size=1, seed=1):
    return MapSource(loader, seed, rank, world_size)


def test_what_a_position_depends_on_is_its_fingerprint():
    assert source_of(
        DataLoader(range(7), batch_size=2, drop_last=True, num_workers=2)
    ).fingerprint() == {
        "kind": "map",
        "length": 7,
        "batch_size": 2,
        "drop_last": True,
        "world_size": 1,
    }
    own = source_of(DataLoader(range(7), batch_sampler=[[1]])).fingerprint()
    assert (own["kind"], own["batch_size"]) == ("batches", None)


def test_the_users_loader_and_its_sampler_stay_as_they_are():
    loader = DataLoader(range(7), batch_size=2, shuffle=True)
    before = dict(vars(loader))
    list(source_of(loader).begin(Position()))
    assert vars(loader) == before


def test_seeds_of_workers_are_a_function_of_seed_and_epoch():
    source = source_of(DataLoader(range(7)))
    seeds = [source.begin(Position(epoch))._base_seed for epoch in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    assert source_of(DataLoader(range(7)), rank=1).begin(Position())._base_seed != seeds[0]


def test_batches_left_and_samples_seen_are_counted():
    source = source_of(DataLoader(range(11), batch_size=2), rank=0, world_size=2)
    assert len(source) == source.num_left(Position()) == 3
    assert source.num_left(Position(0, 1, 4)) == 2
    assert [source.num_samples_after(Position(0, 1, 4), num) for num in (0, 1, 2)] == [4, 8, 11]


class Shares(Sampler):
    """A sampler of the user's that knows about processes."""

    def __init__(self, rank):
        self.rank, self.num_replicas = rank, 2

    def __len__(self):
        return 25

    def __iter__(self):
        return iter(torch.randperm(50).tolist()[self.rank :: 2])


def test_a_sampler_that_divides_samples_among_processes_draws_the_same_in_all_of_them():
    sources = [
        source_of(DataLoader(range(50), sampler=Shares(rank)), rank=rank) for rank in range(2)
    ]
    drawn = [torch.cat(list(source.begin(Position()))).tolist() for source in sources]
    assert sorted(drawn[0] + drawn[1]) == list(range(50))


def test_the_seed_of_a_distributed_sampler_counts_unless_another_is_given():
    def source(seed):
        sampler = DistributedSampler(range(4), num_replicas=1, rank=0, seed=5)
        return source_of(DataLoader(range(4), sampler=sampler), seed=seed)

    assert source(None).seed == 5
    assert source(3).seed == 3


def test_a_sharded_sampler_is_copied_so_that_its_own_position_stays():
    sampler = ShardedBatchSampler(9, 2, shuffle=False)
    sampler.load_state_dict({"epoch": 0, "num_seen": 4, "seed": 0, "num_samples": 9})
    assert len(list(source_of(DataLoader(range(9), batch_sampler=sampler)).begin(Position()))) == 5
    assert next(iter(sampler)) == [4, 5]


@pytest.mark.parametrize("number", [0, 7])
def test_samples_of_a_batch_are_named_as_long_as_they_are_known(number):
    source = source_of(DataLoader(range(40), batch_size=2))
    list(source.begin(Position()))
    text = source.describe(19 - number)
    assert text == ("with the samples [38, 39]" if number == 0 else "with unknown samples")
