import contextlib
import multiprocessing
import os

import pytest
import torch
from torch.utils.data import DataLoader

from ignite.data import resumable
from ignite.data._passes import Pass, WatchedPass
from support.garbage import no_garbage_collection
from support.noisy_data import Counting


class Breaks(Counting):
    """Cannot make its sample 3 the first time."""

    def __getitem__(self, i):
        if i == 3 and self.num_calls < 10:
            self.num_calls = 10
            raise OSError("disk")
        return i


def failure(iterator):
    """The error instead of the next batch, without the frames that would keep workers alive."""
    try:
        next(iterator)
    except Exception as error:
        return error.with_traceback(None)
    return None


def loader_of(dataset, **options):
    return resumable(DataLoader(dataset, batch_size=2, **options), seed=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_that_could_not_be_made_is_tried_again_by_who_resumes_there(num_workers):
    loader = loader_of(Breaks(8), num_workers=num_workers)
    iterator = iter(loader)
    next(iterator)
    error = failure(iterator)
    assert isinstance(error, OSError)
    assert "in batch 1 of epoch 0, with the samples [2, 3]" in error.__notes__
    assert loader.state_dict()["num_batches"] == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_if_the_iterator_continues_without_a_batch_it_counts_as_seen(num_workers):
    loader = loader_of(Breaks(8), num_workers=num_workers)
    iterator = iter(loader)
    next(iterator)
    assert isinstance(failure(iterator), OSError)
    assert next(iterator).tolist() == [4, 5]
    assert loader.state_dict()["num_batches"] == 3
    other = loader_of(Counting(8))
    other.load_state_dict(loader.state_dict())
    assert [batch.tolist() for batch in other] == [[6, 7]]


def test_a_timeout_is_no_batch_that_failed():
    hanging = torch.multiprocessing.Event()

    class Hangs(Counting):
        def __getitem__(self, i):
            if i == 2:
                hanging.wait(10)
            return i

    loader = loader_of(Hangs(6), num_workers=1, timeout=0.2)
    iterator = iter(loader)
    next(iterator)
    assert "timed out" in str(failure(iterator))
    hanging.set()
    assert next(iterator).tolist() == [2, 3]
    assert loader.state_dict()["num_batches"] == 2


def test_an_error_while_stacking_names_the_samples_too():
    dataset = [torch.zeros(1), torch.zeros(2)]
    with pytest.raises(RuntimeError, match="equal size") as error:
        next(iter(loader_of(dataset)))
    assert error.value.__notes__ == ["in batch 0 of epoch 0, with the samples [0, 1]"]


def test_passes_are_watched_only_with_workers_and_if_warnings_are_enabled():
    assert type(iter(loader_of(range(4)))) is Pass
    assert type(iter(loader_of(range(4), num_workers=1))) is WatchedPass
    loader = resumable(DataLoader(range(4), num_workers=1), seed=1, stall_warning_s=0)
    assert type(iter(loader)) is Pass


def test_the_iterator_passes_for_the_loader_s_own():
    iterator = iter(loader_of(range(4)))
    assert iter(iterator) is iterator
    assert iterator._num_workers == 0
    with pytest.raises(AttributeError, match="nonsense"):
        _ = iterator.nonsense


def test_after_a_worker_has_died_the_loader_can_be_used_again():
    class Dies(Counting):
        def __getitem__(self, i):
            if i == 0 and not survived.is_set():
                os._exit(1)
            return i

    survived = torch.multiprocessing.Event()
    loader = loader_of(Dies(4), num_workers=1, persistent_workers=True)
    error = failure(iter(loader))
    assert isinstance(error, RuntimeError)
    assert any("out of memory" in note for note in error.__notes__)
    survived.set()
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]


def test_an_error_of_a_worker_does_not_keep_the_workers():
    iterator = iter(loader_of(Breaks(8), num_workers=1))
    next(iterator)
    with no_garbage_collection():
        with contextlib.suppress(OSError):
            next(iterator)
        assert multiprocessing.active_children()
        del iterator
        assert multiprocessing.active_children() == []
