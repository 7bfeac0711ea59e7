import itertools

import pytest
from torch.utils.data import DataLoader, IterableDataset

from ignite.engine import Engine, Events, State
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
    assert ends_epoch(state, Cursor(iteration=7))
    assert (state.epoch_length, state.max_epochs) == (7, 3)
    with pytest.raises(ValueError, match="data should give at least one batch"):
        ends_epoch(State(), Cursor())


def test_whether_the_end_of_the_data_is_that_of_the_epoch():
    def at(iteration, **kwargs):
        return ends_epoch(
            State(iteration=iteration, epoch_length=5), Cursor(iteration=iteration, planned_length=5, **kwargs)
        )

    assert not at(3, length_is_given=True)
    assert not at(5, epoch_start=5)
    assert not at(3, is_aligned=False)
    with pytest.warns(UserWarning, match="should have 5 iterations.*ended after 3"):
        assert at(3)


class Told:
    """A sampler or data set that is told which pass begins."""

    def __init__(self, epoch=None):
        self.seen = []
        if epoch is not None:
            self.epoch = epoch

    def set_epoch(self, epoch):
        self.seen.append(epoch)
        if hasattr(self, "epoch"):
            self.epoch = epoch


class Loader:
    """Data with a sampler, a batch sampler and a data set, all of which want to know."""

    def __init__(self):
        self.sampler, self.dataset, self.batch_sampler = Told(epoch=0), Told(), Told()
        self.batch_sampler.sampler = self.sampler

    def __iter__(self):
        return iter(range(3))

    def __len__(self):
        return 3


def test_samplers_and_data_sets_are_told_which_pass_begins_each_once():
    loader = Loader()
    Engine(lambda engine, batch: None).run(loader, max_epochs=3)
    assert loader.sampler.seen == loader.batch_sampler.seen == loader.dataset.seen == [0, 1, 2]


def test_a_resumed_run_tells_the_epoch_that_it_is_in():
    loader, engine = Loader(), Engine(lambda engine, batch: None)
    engine.load_state_dict({"iteration": 6, "epoch_length": 3, "max_epochs": 4})
    engine.run(loader)
    assert loader.sampler.seen == [2, 3]


def test_passes_within_an_epoch_have_numbers_of_their_own():
    loader = Loader()
    Engine(lambda engine, batch: None).run(loader, max_epochs=2, epoch_length=6)
    assert loader.sampler.seen == [0, 1, 2, 3]


def test_what_the_program_tells_itself_is_left_alone():
    loader, engine = Loader(), Engine(lambda engine, batch: None)
    orders = []

    @engine.on(Events.EPOCH_STARTED)
    def tell(engine):
        loader.sampler.set_epoch(engine.state.epoch)

    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: orders.append(loader.sampler.epoch))
    engine.run(loader, max_epochs=3)
    assert orders == [1, 2, 3]


def test_data_that_counts_its_passes_is_only_told_when_a_run_begins():
    class Counting(Told):
        def __iter__(self):
            return iter(range(2))

        def state_dict(self): ...

        def load_state_dict(self, state): ...

    data, engine = Counting(), Engine(lambda engine, batch: None)
    engine.run(data, max_epochs=3)
    assert data.seen == [0]
    engine.run(data, max_epochs=4)
    assert data.seen == [0]


def test_an_epoch_that_is_ended_early_ends_the_pass():
    class Ending(Told):
        ended = 0

        def __iter__(self):
            return iter(range(5))

        def state_dict(self): ...

        def load_state_dict(self, state): ...

        def end_pass(self):
            Ending.ended += 1

    engine = Engine(lambda engine, batch: engine.terminate_epoch() if batch == 1 else None)
    engine.run(Ending(), max_epochs=2)
    assert Ending.ended == 2
