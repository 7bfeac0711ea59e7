import pytest
from torch.utils.data import DataLoader, SubsetRandomSampler

from ignite.data import ShardedBatchSampler


def test_passes_differ_and_can_be_had_again():
    sampler = ShardedBatchSampler(20, 3, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert first != second
    assert list(sampler) == first
    assert len(first) == len(sampler) == 7


def test_it_serves_any_loader():
    sampler = ShardedBatchSampler(20, 3, seed=1)
    for num_workers in (0, 1):
        loader = DataLoader(range(20), batch_sampler=sampler, num_workers=num_workers)
        assert [batch.tolist() for batch in loader] == list(sampler.batches(0))
        assert len(loader) == 7


def test_processes_share_the_samples():
    samplers = [ShardedBatchSampler(11, 2, seed=1, rank=rank, world_size=3) for rank in range(3)]
    assert sorted(i for sampler in samplers for batch in sampler for i in batch) == list(range(11))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loaded_position_counts_once(num_workers):
    sampler = ShardedBatchSampler(8, 2, shuffle=False)
    sampler.load_state_dict({"epoch": 3, "num_seen": 4, "seed": 1, "num_samples": 8})
    assert sampler.epoch == 3
    loader = DataLoader(range(8), batch_sampler=sampler, num_workers=num_workers)
    assert [batch.tolist() for batch in loader] == [[4, 5], [6, 7]]
    assert len(list(loader)) == 4


def test_the_state_counts_what_all_processes_have_been_given():
    sampler = ShardedBatchSampler(11, 2, seed=5, rank=1, world_size=2)
    counts = [sampler.state_dict()["num_seen"]] + [
        sampler.state_dict()["num_seen"] for _ in sampler
    ]
    assert counts == [0, 4, 8, 11]
    assert sampler.state_dict() == {"epoch": 0, "num_seen": 11, "seed": 5, "num_samples": 11}


def test_setting_the_same_epoch_keeps_a_loaded_position_and_another_does_not():
    sampler = ShardedBatchSampler(8, 2, shuffle=False)
    state = {"epoch": 3, "num_seen": 4, "seed": 1, "num_samples": 8}
    sampler.load_state_dict(state)
    sampler.set_epoch(3)
    assert list(sampler) == [[4, 5], [6, 7]]
    sampler.load_state_dict(state)
    sampler.set_epoch(4)
    assert len(list(sampler)) == 4


def test_a_position_among_other_samples_is_refused():
    sampler = ShardedBatchSampler(8, 2)
    with pytest.raises(ValueError, match="num_samples of the state should be 8, .* but given 9"):
        sampler.load_state_dict(ShardedBatchSampler(9, 2).state_dict())


def test_the_indices_of_another_sampler_are_cut():
    samplers = [
        ShardedBatchSampler(SubsetRandomSampler(range(5, 16)), 2, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    assert sorted(i for sampler in samplers for batch in sampler for i in batch) == list(
        range(5, 16)
    )
    assert samplers[0].state_dict()["num_samples"] == 11


def test_the_seed_can_be_changed():
    sampler = ShardedBatchSampler(20, 3, seed=1)
    sampler.seed = 2
    assert list(sampler) == list(ShardedBatchSampler(20, 3, seed=2))
