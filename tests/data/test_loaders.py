import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler

from ignite.data import update_dataloader

OPTIONS = {
    "num_workers": 1,
    "collate_fn": list,
    "pin_memory": False,
    "timeout": 7,
    "worker_init_fn": print,
    "multiprocessing_context": "fork",
    "prefetch_factor": 3,
    "persistent_workers": True,
    "in_order": False,
}


def test_all_but_the_sampling_stays():
    generator = torch.Generator()
    loader = DataLoader(range(5), batch_size=2, drop_last=True, generator=generator, **OPTIONS)
    copy = update_dataloader(loader, [[1], [2, 3]])
    for name in OPTIONS:
        assert getattr(copy, name) == getattr(loader, name)
    assert copy.generator is generator
    assert copy.dataset is loader.dataset
    assert list(copy) == [[1], [2, 3]]
    assert len(loader) == 2


def test_other_parts_are_exchanged_while_the_sampling_stays():
    loader = DataLoader(range(5), batch_size=2, drop_last=True)
    copy = update_dataloader(loader, collate_fn=sum)
    assert list(copy) == [1, 5]


def test_a_sampler_takes_the_place_of_another():
    loader = DataLoader(torch.arange(5), batch_size=None)
    assert list(update_dataloader(loader, sampler=[3, 1])) == [3, 1]


class Scaling(DataLoader):
    """Takes other arguments than a loader does."""

    def __init__(self, numbers, factor, batch_size=1):
        super().__init__(numbers, batch_size=batch_size, sampler=SequentialSampler(numbers))
        self._scale = factor

    def __iter__(self):
        return (self._scale * batch for batch in super().__iter__())


class Named(DataLoader):
    """Keeps its further argument under the same name."""

    def __init__(self, *args, name, **kwargs):
        super().__init__(*args, **kwargs)
        self.name = name


def test_a_class_with_its_own_arguments_keeps_them():
    copy = update_dataloader(Named(range(4), name="mine"), [[2, 3]])
    assert (type(copy), copy.name) == (Named, "mine")
    copy = update_dataloader(Scaling(range(4), 10), [[2, 3]])
    assert isinstance(copy, Scaling)
    assert [batch.tolist() for batch in copy] == [[20, 30]]
    assert copy.batch_size is None
    copy = update_dataloader(Scaling(range(4), 10, batch_size=None), sampler=[3])
    assert list(copy) == [30]
    copy = update_dataloader(Scaling(range(4), 10, batch_size=4), collate_fn=sum)
    assert list(copy) == [60]


def test_the_copy_refuses_to_be_changed_like_any_loader():
    copy = update_dataloader(Scaling(range(4), 10), [[2, 3]])
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        copy.batch_size = 3
