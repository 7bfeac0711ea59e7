import itertools

import pytest
from torch.utils.data import DataLoader, IterableDataset

from ignite.engine import State
from ignite.engine._cursor import Cursor
from ignite.engine._fetch import ends_epoch, iterate, length_of


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(4))


def test_lengths_are_known_where_there_is_one():
    assert length_of([1, 2]) == 2
    assert length_of(iter([1])) is None
    assert length_of(None) is None
    assert length_of(DataLoader(Stream())) is None


def test_without_data_there_is_none_for_ever():
    assert list(itertools.islice(iterate(None), 3)) == [None] * 3


def test_the_first_end_of_data_of_unknown_length_sets_the_length():
    state = State(iteration=7, max_iters=20)
    assert ends_epoch(state, Cursor())
    assert (state.epoch_length, state.max_epochs) == (7, 3)
    with pytest.raises(ValueError, match="data should give at least one batch"):
        ends_epoch(State(), Cursor())


def test_whether_the_end_of_the_data_is_that_of_the_epoch():
    assert not ends_epoch(State(iteration=3, epoch_length=5), Cursor(length_is_given=True))
    assert not ends_epoch(State(iteration=5, epoch_length=5), Cursor(epoch_start=5))
    assert not ends_epoch(State(iteration=3, epoch_length=5), Cursor(is_aligned=False))
    with pytest.warns(UserWarning, match="should have 5 iterations.*ended after 3"):
        assert ends_epoch(State(iteration=3, epoch_length=5), Cursor())
