"""Workers that are not forked get pickles: the error says what cannot be pickled, and what to do."""

import functools
import multiprocessing
import sys
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ignite._core.pickles import check_picklable, iterate
from ignite.data import resumable
from ignite.engine import Engine


class Squares(Dataset):
    def __init__(self, transform=None):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor(index)


def collate(samples):
    return torch.stack(samples)


def loader(context="forkserver", dataset=None, **options):
    return DataLoader(
        Squares() if dataset is None else dataset, num_workers=1, multiprocessing_context=context, **options
    )  # fmt: skip


def local():
    return lambda samples: samples


def local_dataset():
    class Local(Squares):
        pass

    return Local()


UNPICKLABLE = {
    "collate_fn, local.<locals>.<lambda> of ": lambda: {"collate_fn": local()},
    "collate_fn.func, local.<locals>.<lambda> of ": lambda: {"collate_fn": functools.partial(local())},
    "worker_init_fn, local.<locals>.<lambda> of ": lambda: {"worker_init_fn": local()},
    "dataset.transform, local.<locals>.<lambda> of ": lambda: {"dataset": Squares(local())},
    "dataset.transform[1]['x'], local.<locals>.<lambda> of ": lambda: {"dataset": Squares([1, {"x": local()}])},
    "dataset, local_dataset.<locals>.Local, ": lambda: {"dataset": local_dataset()},
    "dataset.transform, lock, ": lambda: {"dataset": Squares(threading.Lock())},
}  # fmt: skip


def note_of(error):
    (note,) = error.__notes__[:1]
    return note


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("start", UNPICKLABLE)
def test_what_cannot_be_pickled_is_named(start, method):
    with pytest.raises(Exception, match="pickle") as caught:
        iterate(loader(method, **UNPICKLABLE[start]()))
    note = note_of(caught.value)
    assert note.startswith(start), note
    assert f"because they are started with '{method}'" in note
    assert note.endswith(
        'Define it at the top level of a module, or pass multiprocessing_context="fork" to the DataLoader'
    )


def test_where_processes_are_not_forked_fork_is_no_advice(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Exception, match="pickle") as caught:
        iterate(loader(collate_fn=local()))
    assert note_of(caught.value).endswith("Define it at the top level of a module")


@pytest.mark.parametrize("make", [lambda data: data, resumable])
def test_an_engine_reports_it(make):
    data = make(loader(collate_fn=local()))
    with pytest.raises(Exception, match="pickle") as caught:
        Engine(lambda engine, batch: None).run(data)
    assert any("local.<locals>.<lambda> of " in note for note in caught.value.__notes__)


def test_other_errors_and_data_are_left_alone():
    class Broken(DataLoader):
        def __iter__(self):
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        iterate(Broken(Squares()))
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(TypeError, match="not iterable") as caught:
        iterate(3)
    assert not hasattr(caught.value, "__notes__")
    assert list(iterate([1, 2])) == [1, 2]


@pytest.mark.slow
def test_workers_of_another_start_method_run():
    assert multiprocessing.get_start_method(allow_none=True) != "spawn"
    found = []
    data = loader(collate_fn=collate)
    Engine(lambda engine, batch: found.append(batch.item())).run(data)
    Engine(lambda engine, batch: found.append(batch.item())).run(resumable(data))
    assert found == [0, 1, 2, 3] * 2


def test_tensors_are_not_copied_to_see_whether_they_can_be_pickled():
    check_picklable({"weight": torch.zeros(2**20), "names": ["a"]})
    with pytest.raises(Exception, match="local"):  # Python 3.13 has other words for it
        check_picklable(local())
