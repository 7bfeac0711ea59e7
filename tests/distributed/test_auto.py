import logging
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import (
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from ignite import distributed as idist
from ignite.distributed import DistributedProxySampler
from support import harness, parallel_processes
from support.effort import few


class Listed(Sampler):
    def __init__(self, samples, length=None):
        self.samples = samples
        self.length = len(samples) if length is None else length

    def __iter__(self):
        return iter(self.samples)

    def __len__(self):
        return self.length


@given(st.lists(st.integers(0, 99), max_size=30), st.integers(1, 7))
@few(50)
def test_shares_are_equally_long_and_together_the_samples_and_few_repeats(samples, size):
    shares = [
        list(DistributedProxySampler(Listed(samples), num_replicas=size, rank=rank))
        for rank in range(size)
    ]
    lengths = {len(share) for share in shares}
    assert lengths == {math.ceil(len(samples) / size)}
    in_order = [share[i] for i in range(max(lengths)) for share in shares]
    assert in_order[: len(samples)] == samples
    repeated = in_order[len(samples) :]
    assert len(repeated) < size
    assert all(repeated[i] == samples[i % len(samples)] for i in range(len(repeated)))


# Recorded from pytorch-ignite 0.5.5 with torch 2.13: samples of rank 0 of 3 in epochs 0 and 1.
DRAWN = {
    "random": (lambda: RandomSampler(range(11)), [[1, 8, 3, 5], [9, 2, 6, 8]]),
    "weighted": (lambda: WeightedRandomSampler([1.0] * 11, 7), [[10, 10, 1], [0, 1, 5]]),
    "subset": (lambda: SubsetRandomSampler([1, 2, 3]), [[3], [2]]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_random_samplers_draw_the_same_as_in_ignite_and_random_numbers_continue(name):
    make, expected = DRAWN[name]
    sampler = DistributedProxySampler(make(), num_replicas=3, rank=0)
    torch.manual_seed(5)
    random.seed(5)
    undisturbed = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    drawn = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    assert drawn == expected
    assert (torch.rand(1), random.random()) == undisturbed


class NoLength(Sampler):
    def __iter__(self):
        return iter([1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: [1, 2], "Argument sampler should be instance of torch Sampler, but .*'list'"),
        (
            lambda: DistributedSampler(range(3), 2, 0),
            "must not be a distributed sampler already, but given DistributedSampler",
        ),
        (NoLength, "Argument sampler should have length, but given NoLength"),
    ],
)
def test_what_is_no_sampler_with_a_length_is_refused(make, words):
    with pytest.raises(TypeError, match=words):
        DistributedProxySampler(make(), 2, 0)


def test_a_sampler_that_yields_more_than_its_length_is_refused():
    sampler = DistributedProxySampler(Listed([1, 2, 3], length=2), 2, 0)
    with pytest.raises(RuntimeError, match="but given 3 from a Listed of length 2"):
        list(sampler)


def test_in_a_single_process_arguments_are_those_of_a_data_loader(caplog):
    caplog.set_level(logging.INFO)
    sampler = SequentialSampler(range(10))
    loader = idist.auto_dataloader(range(10), batch_size=7, sampler=sampler, drop_last=True)
    assert (loader.batch_size, loader.sampler, loader.drop_last) == (7, sampler, True)
    (record,) = caplog.records
    assert record.name == "ignite.distributed.auto.auto_dataloader"
    assert record.getMessage().startswith(
        "Use data loader kwargs for dataset 'range(0, 10)': \n\t{"
    )
    assert "'batch_size': 7" in record.getMessage()
    assert "'pin_memory': False" in record.getMessage()


def test_in_a_single_process_models_and_optimizers_stay_what_they_are():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert idist.auto_model(model, sync_bn=True) is model
    assert idist.auto_optim(optimizer) is optimizer


def test_a_model_is_moved_to_the_device_of_the_process(monkeypatch):
    monkeypatch.setattr("ignite.distributed.auto.device", lambda: torch.device("meta"))
    model = idist.auto_model(nn.Linear(2, 1))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_what_is_neither_model_nor_optimizer_is_refused():
    with pytest.raises(TypeError, match="model should be a torch.nn.Module, but given int"):
        idist.auto_model(3)
    with pytest.raises(TypeError, match="optimizer should be a torch.optim.Optimizer, .* str"):
        idist.auto_optim("adam")


@pytest.fixture(scope="module")
def of_two():
    return harness.run(parallel_processes.auto)


FOREIGN = [
    "Found distributed sampler with rank=3, but process rank is 0",
    "Found distributed sampler with num_replicas=5, but world size is 2",
]
BATCHES = [
    "Found batch_sampler in provided kwargs. Please, make sure that it is compatible with "
    "distributed configuration"
]


def test_loaders_of_two_processes_share_batch_sizes_workers_and_samples(of_two):
    expected = {
        "plain": [1, 0, False, "DistributedSampler", True, []],
        "even": [4, 2, False, "DistributedSampler", True, []],
        "odd": [3, 0, False, "DistributedSampler", False, []],
        "single": [1, 0, False, "DistributedSampler", True, []],
        "unbatched": [None, 0, False, "DistributedSampler", True, []],
        "wrapped": [4, 0, False, "DistributedProxySampler", False, []],
        "kept": [4, 0, False, "DistributedSampler", True, []],
        "foreign": [4, 0, False, "DistributedSampler", True, FOREIGN],
        "batches": [None, 0, False, "SequentialSampler", None, BATCHES],
        "stream": [2, 0, False, "_InfiniteConstantSampler", None, []],
        "both": "sampler option is mutually exclusive with shuffle",
    }
    assert {name: of_two[0][name] for name in expected} == expected


def test_ranks_draw_the_same_order_and_share_it(of_two):
    (first, again), (second, _) = of_two[0]["drawn"], of_two[1]["drawn"]
    assert first == again
    in_order = [sample for pair in zip(first, second, strict=True) for sample in pair]
    assert sorted(in_order[:11]) == list(range(11))
    assert in_order[11] == in_order[0]
    assert of_two[0]["drawn later"] != first
    assert all(found["random state is kept"] for found in of_two)


def test_gradients_of_a_model_are_averaged(of_two):
    assert [found["model"] for found in of_two] == [
        ["SGD", "DistributedDataParallel", True, [[1.5, 0.0]]]
    ] * 2


def test_a_computation_model_does_what_the_functions_do(of_two):
    expected = ["native-dist", "gloo", True, 2, True, [2, 1, 0], 3, [2.0], [0, 1]]
    expected += [["rank 0", "rank 1"], 0.1, "one", 1, [0, 1], 1, 3, [0, 1], False]
    assert [found["computation model"] for found in of_two] == [expected] * 2


def test_a_batch_size_that_changes_over_all_processes_is_logged(monkeypatch, caplog):
    monkeypatch.setattr("ignite.distributed.auto.get_world_size", lambda: 4)
    monkeypatch.setattr("ignite.distributed.auto.get_nproc_per_node", lambda: 2)
    for batch_size, each in ((8, 2), (10, 2), (3, 3)):
        loader = idist.auto_dataloader(range(20), batch_size=batch_size)
        assert loader.batch_size == each
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "batch_size should be a multiple of the number of processes, but given 10 for 4 "
        "processes: each process gets 2, all together 8",
        "batch_size should be a multiple of the number of processes, but given 3 for 4 "
        "processes: each process gets 3, all together 12",
    ]
