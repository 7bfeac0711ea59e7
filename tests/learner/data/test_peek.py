import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.data import ArrayLoader, ShardedBatchSampler, resumable
from ignite.learner._data.inspection import Peekable, first_batch


class Numbers(IterableDataset):
    def __init__(self, num=5):
        self.num = num

    def __iter__(self):
        return iter(range(self.num))


class OnlyOnce(IterableDataset):
    def __init__(self):
        self.numbers = iter(range(4))

    def __iter__(self):
        return self.numbers


class Doubling(DataLoader):
    def __iter__(self):
        return (2 * batch for batch in super().__iter__())


def orders(loader):
    return [
        torch.cat([torch.as_tensor(batch).flatten() for batch in loader]).tolist() for _ in range(2)
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(torch.arange(6), batch_size=2, shuffle=True),
        lambda: DataLoader(
            torch.arange(6), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(3)
        ),
        lambda: DataLoader(torch.arange(6), batch_size=None, shuffle=True),
        lambda: DataLoader(Numbers(), batch_size=2),
        lambda: DataLoader(Numbers(), batch_size=None),
        lambda: Doubling(torch.arange(6), batch_size=2, shuffle=True),
        lambda: ArrayLoader(torch.arange(6), batch_size=2, shuffle=True),
        lambda: resumable(DataLoader(torch.arange(6), batch_size=2, shuffle=True)),
        lambda: [torch.arange(3), torch.arange(2)],
    ],
)
def test_looking_at_the_first_batch_changes_nothing_that_follows(make):
    torch.manual_seed(4)
    untouched = orders(make())
    torch.manual_seed(4)
    loader = make()
    torch.testing.assert_close(first_batch(loader), first_batch(loader))
    assert orders(loader) == untouched


def test_the_first_batch_of_a_loader_is_collated_by_the_loader():
    loader = DataLoader(range(5), batch_size=2, collate_fn=sum)
    assert first_batch(loader) == 1
    assert first_batch(DataLoader(Numbers(), batch_size=3)).tolist() == [0, 1, 2]


def test_a_dataset_that_can_be_iterated_only_once_is_not_inspected():
    loader = DataLoader(OnlyOnce(), batch_size=2)
    assert first_batch(loader) is None
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("empty", [[], DataLoader(Numbers(0), batch_size=2), DataLoader(Numbers(0), batch_size=None),
                                   Peekable(iter([])), DataLoader([], batch_size=2)])  # fmt: skip
def test_no_batch_at_all_is_an_error(empty):
    with pytest.raises(ValueError, match="at least one batch, but given none"):
        first_batch(empty)


def test_the_position_of_a_sampler_does_not_move():
    sampler = ShardedBatchSampler(6, batch_size=2, shuffle=False)
    sampler.load_state_dict(sampler.state_dict() | {"num_seen": 2})
    loader = DataLoader(torch.arange(6), batch_sampler=sampler)
    assert first_batch(loader).tolist() == [2, 3]
    assert [batch.tolist() for batch in loader] == [[2, 3], [4, 5]]
