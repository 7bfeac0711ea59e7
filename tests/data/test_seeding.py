import copy
import pickle

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from ignite.data import resumable, seeded
from ignite.data.seeding import (
    BatchSeeds,
    CollateSeeds,
    Indices,
    Key,
    draws_nothing,
    is_seeded,
    seeded_inside,
    tag,
)
from support.noisy_data import Noisy, NoisyStream, noise, random_states, same


def by_sample(batches):
    """Samples by their number, which stands first."""
    return {int(sample[0]): sample.tolist() for batch in batches for sample in batch}


def test_a_sample_depends_on_seed_epoch_and_index_only():
    data = seeded(Noisy(), seed=1)
    before = random_states()
    first = data[3].tolist()
    assert random_states() == before
    torch.rand(1)
    assert data[3].tolist() == first
    assert seeded(Noisy(), seed=1)[3].tolist() == first
    assert seeded(Noisy(), seed=2)[3].tolist() != first
    data.set_epoch(1)
    assert data[3].tolist() != first
    assert data[4].tolist()[1:] != data[3].tolist()[1:]


def test_samples_are_the_same_for_all_batch_sizes_workers_and_processes():
    data = seeded(Noisy(), seed=1)
    expected = by_sample([[data[i] for i in range(11)]])
    for batch_size, num_workers in ((1, 0), (4, 2), (3, 1)):
        loader = resumable(
            DataLoader(data, batch_size=batch_size, shuffle=True, num_workers=num_workers), seed=9
        )
        assert by_sample(loader) == expected
    parts = [
        resumable(DataLoader(data, batch_size=2), rank=rank, world_size=2, seed=9)
        for rank in range(2)
    ]
    assert by_sample([*parts[0], *parts[1]]) == expected


@pytest.mark.parametrize("persistent_workers", [False, True])
def test_in_a_plain_loader_workers_see_the_epoch(persistent_workers):
    data = seeded(Noisy(), seed=1)
    loader = DataLoader(data, batch_size=4, num_workers=1, persistent_workers=persistent_workers)
    for epoch in (0, 1, 5):
        data.set_epoch(epoch)
        assert by_sample(loader) == by_sample([[data[i] for i in range(11)]])


@pytest.mark.parametrize(
    "wrap", [lambda data: Subset(data, range(11)), lambda data: ConcatDataset([data])]
)
def test_inside_other_datasets_the_epoch_is_that_of_the_loader(wrap):
    data = seeded(Noisy(), seed=1)
    loader = resumable(DataLoader(wrap(data), batch_size=4, shuffle=True, num_workers=1), seed=9)
    passes = [by_sample(loader) for _ in range(2)]
    for epoch, seen in enumerate(passes):
        data.set_epoch(epoch)
        assert seen == by_sample([[data[i] for i in range(11)]])


class InBatches(Noisy):
    def __getitems__(self, indices):
        return [-noise(i) for i in indices]


def test_a_dataset_that_makes_batches_is_asked_for_one_sample_at_a_time():
    data = seeded(InBatches(), seed=1)
    [alone] = data.__getitems__([3])
    assert alone[0] == -3
    assert same(data.__getitems__([2, 3])[1:], [alone])


def test_indices_may_be_anything():
    class ByName(Dataset):
        def __getitem__(self, name):
            return torch.rand(1)

    data = seeded(ByName())
    assert data["a"] == data["a"]
    assert data["a"] != data["b"]
    assert data[torch.tensor(3)] == data[3]


def test_a_seeded_dataset_passes_for_the_one_inside():
    data = seeded(Noisy(7))
    assert len(data) == 7
    assert data.num_samples == 7
    data.num_samples = 5
    assert len(data) == 5
    assert "Noisy" in repr(data)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = data.nonsense


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))]
)
def test_it_can_be_copied(duplicate):
    data = seeded(Noisy(), seed=4)
    data.set_epoch(2)
    assert same([duplicate(data)[3]], [data[3]])


@pytest.mark.parametrize("dataset", [NoisyStream(), iter([1])])
def test_what_has_no_items_cannot_be_seeded_by_item(dataset):
    with pytest.raises(
        TypeError, match=f"dataset should be map-style, .* but given {type(dataset).__name__}"
    ):
        seeded(dataset)


def test_batches_are_seeded_by_the_seed_that_comes_with_their_indices():
    data = BatchSeeds(Noisy())
    before = random_states()
    first = data.__getitems__(tag([1, 2], 0, seed=5))
    assert random_states() == before
    assert same(data.__getitems__(tag([1, 2], 9, seed=5)), first)
    assert not same(data.__getitems__(tag([1, 2], 0, seed=6)), first)
    assert torch.equal(data[tag((1,), 0, 5)._replace(value=1)], first[0])
    assert data.last_seed == 5


def test_collating_is_seeded_too_and_differs_from_the_samples():
    data = BatchSeeds(Noisy())
    collate = CollateSeeds(lambda samples: noise(samples[0][0]), data)
    samples = data.__getitems__(tag([1], 0, seed=5))
    batch = collate(samples)
    assert torch.equal(collate(samples), batch)
    assert batch[0] == samples[0][0]
    assert (batch[1:] != samples[0][1:]).all()


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (TensorDataset(torch.arange(3)), True),
        (Subset(Subset(TensorDataset(torch.arange(3)), [1]), [0]), True),
        ([1, 2], True),
        (torch.arange(3), True),
        (Noisy(), False),
        (Subset(Noisy(), [1]), False),
        (type("MyTensors", (TensorDataset,), {})(torch.arange(3)), False),
    ],
)
def test_only_what_is_known_to_draw_nothing_goes_without_seeds(dataset, expected):
    assert draws_nothing(dataset) is expected


def test_seeded_datasets_are_found_wherever_they_are():
    inner = seeded(Noisy())
    assert is_seeded(inner)
    assert list(seeded_inside(Subset(ConcatDataset([Noisy(), inner]), [1]))) == [inner]
    assert not is_seeded(Noisy())
    assert not is_seeded([inner])


class Sharded(NoisyStream):
    """Is told by ``worker_init_fn`` which part is its own."""

    first = 0

    def __iter__(self):
        return (noise(i) for i in range(self.first, 11, 2))


def tell_worker(worker_id):
    torch.utils.data.get_worker_info().dataset.first = worker_id


def test_worker_init_fn_finds_the_users_dataset():
    loader = DataLoader(Sharded(), batch_size=3, num_workers=2, worker_init_fn=tell_worker)
    assert sorted(by_sample(resumable(loader, seed=1))) == list(range(11))


def test_a_list_stays_a_list_with_its_pass_and_seed():
    indices = tag([3, 1], 5, 2**63)
    assert isinstance(indices, Indices)
    assert indices == [3, 1]
    assert (indices.epoch, indices.seed) == (5, 2**63)


def test_it_recognizes_them_after_a_pipe_too():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(tag([3, 1], 5, 7), protocol))
        assert copy == [3, 1]
        assert (type(copy), copy.epoch, copy.seed) == (Indices, 5, 7)


def test_anything_else_becomes_a_key_that_holds_it():
    tensor = torch.arange(3)
    assert tag("a", 1, 2) == Key("a", 1, 2)
    assert tag(tensor, 1, 2).value is tensor
    assert pickle.loads(pickle.dumps(tag((1, 2), 3, 4))) == Key((1, 2), 3, 4)
