import gc
import itertools

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from ignite.data import ArrayLoader
from ignite.engine import Engine, Events, State
from ignite.engine._cursor import Cursor
from ignite.engine._fetch import _LAST_SET, ends_epoch, iterate, length_of


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(4))


def test_lengths_are_known_where_there_is_one():
    assert length_of([1, 2]) == 2
    assert length_of(iter([1])) is None
    assert length_of(None) is None
    assert length_of(DataLoader(Stream())) is None


def test_without_data_there_is_none_forever():
    assert list(itertools.islice(iterate(None), 3)) == [None] * 3


def test_the_first_end_of_data_of_unknown_length_sets_the_length():
    state = State(iteration=7, max_iters=20)
    assert ends_epoch(state, Cursor(iteration=7))
    assert (state.epoch_length, state.max_epochs) == (7, 3)
    with pytest.raises(ValueError, match="data should have at least one batch"):
        ends_epoch(State(), Cursor())


def test_whether_the_end_of_the_data_is_that_of_the_epoch():
    def at(iteration, **kwargs):
        return ends_epoch(
            State(iteration=iteration, epoch_length=5),
            Cursor(iteration=iteration, planned_length=5, **kwargs),
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
        self.sampler, self.dataset, self.batch_sampler = (
            Told(epoch=0),
            Told(epoch=-1),
            Told(epoch=0),
        )
        self.batch_sampler.sampler = self.sampler

    def __iter__(self):
        return iter(range(3))

    def __len__(self):
        return 3


def test_set_epoch_of_samplers_and_datasets_is_called_once_per_pass():
    loader = Loader()
    Engine(lambda engine, batch: None).run(loader, max_epochs=3)
    assert loader.sampler.seen == loader.batch_sampler.seen == loader.dataset.seen == [0, 1, 2]


def order_of(sampler, tell, num_runs=3, **limits):
    """The orders of the passes of runs over a loader with this sampler; ``tell(engine, sampler, run)`` before each."""
    loader, orders = DataLoader(range(8), sampler=sampler, batch_size=8), []
    engine = Engine(lambda engine, batch: orders.append(batch.tolist()))
    for index in range(num_runs):
        tell(engine, sampler, index)
        engine.run(loader, **limits)
    return orders


def distributed_sampler():
    return DistributedSampler(range(8), num_replicas=1, rank=0, shuffle=True, seed=3)


def plain_orders(epochs):
    """The orders of the sampler itself, told these epochs."""
    sampler, orders = distributed_sampler(), []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    return orders


def on(event, told):
    def tell(engine, sampler, index):
        if index == 0:
            engine.add_event_handler(event, lambda: sampler.set_epoch(told(engine.state.epoch)))

    return tell


def five_before_and_zero_in_each_epoch(engine, sampler, index):
    sampler.set_epoch(5)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: sampler.set_epoch(0))


@pytest.mark.parametrize(
    ("tell", "limits", "epochs"),
    [
        (lambda engine, sampler, index: sampler.set_epoch(index), {"num_runs": 3}, [0, 1, 2]),
        (lambda engine, sampler, index: sampler.set_epoch(10 - index), {"num_runs": 3}, [10, 9, 8]),
        (lambda engine, sampler, index: sampler.set_epoch(5), {"num_runs": 1, "max_epochs": 3}, [5, 5, 5]),
        (lambda engine, sampler, index: None, {"num_runs": 3}, [0, 0, 0]),
        (on(Events.EPOCH_STARTED, lambda epoch: epoch - 1), {"num_runs": 1, "max_epochs": 3}, [0, 1, 2]),
        (on(Events.EPOCH_STARTED, lambda epoch: 7), {"num_runs": 1, "max_epochs": 3}, [7, 7, 7]),
        (on(Events.EPOCH_STARTED(every=2), lambda epoch: 4 + epoch), {"num_runs": 1, "max_epochs": 5}, [0, 6, 6, 8, 8]),
        (on(Events.EPOCH_COMPLETED, lambda epoch: 10 * epoch), {"num_runs": 1, "max_epochs": 4}, [0, 10, 20, 30]),
        (on(Events.STARTED, lambda epoch: 2), {"num_runs": 1, "max_epochs": 3}, [2, 2, 2]),
        (on(Events.EPOCH_STARTED, lambda epoch: [3, 0, 0][epoch - 1]), {"num_runs": 1, "max_epochs": 3}, [3, 0, 0]),
        (five_before_and_zero_in_each_epoch, {"num_runs": 1, "max_epochs": 3}, [0, 0, 0]),
    ],
    ids=["before each run", "counting down", "once before", "never, one epoch each", "each epoch", "one order",
         "every second epoch", "at the end of epochs", "when a run starts",
         "back to that of a new one", "another one before"],
)  # fmt: skip
def test_a_program_that_calls_set_epoch_gets_the_orders_of_its_epochs(tell, limits, epochs, caplog):
    assert order_of(distributed_sampler(), tell, **limits) == plain_orders(epochs)
    assert "set_epoch" not in caplog.text


def test_if_the_program_never_calls_set_epoch_orders_change_and_one_warning_is_logged(caplog):
    sampler = distributed_sampler()
    assert order_of(sampler, lambda *_: None, num_runs=1, max_epochs=3) == plain_orders([0, 1, 2])
    (record,) = [record for record in caplog.records if "set_epoch" in record.getMessage()]
    assert record.levelname == "WARNING"
    # What was told here is not what the program has told: another engine begins anew.
    assert order_of(sampler, lambda *_: None, num_runs=1, max_epochs=2) == plain_orders([0, 1])


def test_without_an_epoch_that_can_be_read_it_is_left_to_the_program():
    loader = Loader()
    loader.sampler = loader.batch_sampler.sampler = Told()
    engine = Engine(lambda engine, batch: None)
    for index in range(3):
        loader.sampler.set_epoch(10 + index)
        engine.run(loader, max_epochs=2)
    assert loader.sampler.seen == [10, 11, 12]


def test_set_epoch_of_our_own_loaders_is_called_without_a_warning(caplog):
    Engine(lambda engine, batch: None).run(
        ArrayLoader(torch.arange(4), batch_size=2, shuffle=True), max_epochs=3
    )
    assert caplog.text == ""


def test_the_epoch_of_a_sampler_is_dropped_with_it():
    sampler = Told(epoch=0)
    loader = Loader()
    loader.sampler = loader.batch_sampler.sampler = sampler
    Engine(lambda engine, batch: None).run(loader)
    number = id(sampler)
    assert _LAST_SET[number] == 0
    del sampler, loader
    gc.collect()
    assert number not in _LAST_SET


def test_what_cannot_be_kept_in_mind_is_left_to_the_program():
    class Slots:
        __slots__ = ("epoch",)

        def set_epoch(self, epoch):
            self.epoch = epoch

    loader = Loader()
    loader.sampler = loader.batch_sampler.sampler = Slots()
    loader.sampler.epoch = 0
    Engine(lambda engine, batch: None).run(loader, max_epochs=2)
    assert loader.sampler.epoch == 0


def test_a_resumed_run_calls_set_epoch_with_its_current_epoch():
    loader, engine = Loader(), Engine(lambda engine, batch: None)
    engine.load_state_dict({"iteration": 6, "epoch_length": 3, "max_epochs": 4})
    engine.run(loader)
    assert loader.sampler.seen == [2, 3]


def test_passes_within_an_epoch_have_numbers_of_their_own():
    loader = Loader()
    Engine(lambda engine, batch: None).run(loader, max_epochs=2, epoch_length=6)
    assert loader.sampler.seen == [0, 1, 2, 3]


def test_epochs_that_the_program_sets_are_not_changed():
    loader, engine = Loader(), Engine(lambda engine, batch: None)
    orders = []

    @engine.on(Events.EPOCH_STARTED)
    def tell(engine):
        loader.sampler.set_epoch(engine.state.epoch)

    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: orders.append(loader.sampler.epoch))
    engine.run(loader, max_epochs=3)
    assert orders == [1, 2, 3]


def test_set_epoch_of_data_that_counts_its_passes_is_only_called_when_a_run_begins():
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
