"""Lengths of epochs, ends of data, and pauses."""

import warnings
import weakref

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.engine import Engine, Events


def count(engine, batch):
    return batch


class Loader:
    """Data that says it has ``length`` batches, and has ``size``."""

    def __init__(self, length, size):
        self.length, self.size = length, size

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(range(self.size))


class TestLengths:
    @pytest.mark.parametrize("length", [2, 5, 7])
    def test_a_given_length_goes_over_the_end_of_the_data_and_does_not_wait_for_it(self, length):
        batches = []
        Engine(lambda engine, batch: batches.append(batch)).run(
            range(5), max_epochs=3, epoch_length=length
        )
        assert batches == [i % 5 for i in range(3 * length)]

    def test_an_unknown_length_is_found_at_the_first_end(self):
        engine = Engine(count)
        engine.run(i for i in range(6))
        assert (engine.state.epoch_length, engine.state.iteration) == (6, 6)

    def test_an_unknown_length_gives_max_iters_its_epochs(self):
        class Stream(IterableDataset):
            def __iter__(self):
                return iter(range(10))

        engine = Engine(count)
        engine.run(DataLoader(Stream(), batch_size=2), max_iters=13)
        assert (engine.state.epoch_length, engine.state.max_epochs, engine.state.iteration) == (
            5,
            3,
            13,
        )

    def test_without_data_the_step_is_given_none_as_often_as_asked(self):
        seen, fetched = [], []
        engine = Engine(lambda engine, batch: seen.append(batch))
        engine.add_event_handler(
            Events.GET_BATCH_STARTED | Events.GET_BATCH_COMPLETED, lambda: fetched.append(1)
        )
        engine.run(epoch_length=3, max_epochs=2)
        assert seen == [None] * 6
        assert fetched == []
        with pytest.raises(
            ValueError, match="epoch_length should be provided if data is None, but given None"
        ):
            Engine(count).run()

    @pytest.mark.parametrize("data", [[], iter([]), (x for x in ())])
    def test_empty_data_is_refused(self, data):
        with pytest.raises(ValueError, match=r"zero size|at least one batch"):
            Engine(count).run(data)

    def test_data_shorter_than_its_length_ends_the_epoch_and_is_reported_once(self):
        loader = Loader(5, 3)
        engine, completed = Engine(count), []
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: completed.append(engine.state.iteration)
        )
        with pytest.warns(UserWarning, match="should have 5 iterations.*ended after 3") as warned:
            engine.run(loader, max_epochs=3)
        assert completed == [3, 6, 9]
        assert len(warned) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Engine(count).run(loader, epoch_length=5, max_epochs=2).iteration == 10

    @pytest.mark.parametrize("actual", [5, 100])
    def test_data_longer_than_its_length_is_reported_once(self, actual):
        loader = Loader(3, actual)
        batches = []
        with pytest.warns(UserWarning, match="should have 3 iterations.*has more than 3") as warned:
            Engine(lambda engine, batch: batches.append(batch)).run(loader, max_epochs=3)
        assert len(warned) == 1
        assert batches == [i % actual for i in range(9)]

    def test_an_iterator_that_is_used_up_ends_the_epoch_with_a_warning(self):
        engine = Engine(count)
        with pytest.warns(UserWarning, match="can not provide data anymore.*7 of 20 iterations"):
            engine.run(iter(range(7)), max_epochs=4, epoch_length=5)
        assert engine.state.iteration == 7

    def test_a_handler_may_put_new_data_in_the_place_of_data_that_is_used_up(self):
        batches = []
        engine = Engine(lambda engine, batch: batches.append(batch))

        @engine.on(Events.DATALOADER_STOP_ITERATION)
        def renew(engine):
            engine.state.dataloader = iter("cd")

        engine.run(iter("ab"), max_epochs=2)
        assert batches == [*"abcd"]

    def test_set_data_takes_effect_with_the_next_batch(self):
        batches = []
        engine = Engine(lambda engine, batch: batches.append(batch))
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(once=3), lambda engine: engine.set_data("xy")
        )
        engine.run(range(6))
        assert batches == [0, 1, 2, "x", "y", "x"]

    def test_set_data_from_the_step_takes_effect_with_the_next_batch(self):
        batches = []

        def step(engine, batch):
            batches.append(batch)
            if batch == 1:
                engine.set_data("xyz")

        Engine(step).run(range(4))
        assert batches == [0, 1, "x", "y"]

    def test_an_iterator_that_begins_again_after_its_end_is_not_asked_twice(self):
        class Cycler:
            def __init__(self):
                self.i = 0

            def __len__(self):
                return 3

            def __iter__(self):
                return self

            def __next__(self):
                self.i += 1
                if self.i % 4 == 0:
                    raise StopIteration
                return self.i

        batches = []
        Engine(lambda engine, batch: batches.append(batch)).run(Cycler(), max_epochs=3)
        assert batches == [1, 2, 3, 5, 6, 7, 9, 10, 11]


class TestInterrupt:
    def test_no_batch_is_lost_or_repeated(self):
        batches = []
        engine = Engine(lambda engine, batch: batches.append(batch))
        engine.add_event_handler(Events.GET_BATCH_COMPLETED(every=2), engine.interrupt)
        num_runs = 1
        engine.run(iter(range(7)), epoch_length=7)
        while engine.state.iteration < 7:
            engine.run(["other data is not looked at"])
            num_runs += 1
        assert batches == [*range(7)]
        assert num_runs == 5

    def test_a_pause_is_dropped_when_the_limit_is_taken_away(self):
        engine = Engine(count)
        handle = engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
        engine.run(range(4), max_epochs=2)
        assert engine.state.iteration == 2
        handle.remove()
        engine.state.max_epochs = None
        assert engine.run(range(3)).iteration == 3

    def test_a_call_that_is_refused_leaves_the_pause_unchanged(self):
        engine = Engine(count)
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
        engine.run(range(4))
        with pytest.raises(
            ValueError, match="epoch_length should be same as in the state, but given 3 vs 4"
        ):
            engine.run(range(4), epoch_length=3)
        assert engine.run(range(4)).iteration == 4

    def test_it_can_be_switched_off(self):
        class Plain(Engine):
            interrupt_resume_enabled = False

        engine = Plain(count)
        engine.add_event_handler(Events.ITERATION_COMPLETED, engine.interrupt)
        with pytest.raises(RuntimeError, match="'interrupt/resume' feature is disabled"):
            engine.run([0])

    def test_time_spent_paused_does_not_count(self, monkeypatch):
        from ignite._core import clock

        times = {"now": 0.0}
        monkeypatch.setattr(clock, "now", lambda: times["now"])
        engine = Engine(lambda engine, batch: times.update(now=times["now"] + 1))
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
        engine.run(range(4))
        times["now"] += 100
        engine.run()
        assert engine.state.times == {"EPOCH_COMPLETED": 4.0, "COMPLETED": 4.0}


class TestLastBatch:
    """At EPOCH_COMPLETED the batch is the last one of the epoch, whatever is known about their number."""

    class Unknown:
        def __iter__(self):
            yield from "abc"

    class TooLong(Unknown):
        def __len__(self):
            return 5

    class Exact(Unknown):
        def __len__(self):
            return 3

    class Stream(IterableDataset):
        def __iter__(self):
            return iter("abc")

    @pytest.mark.filterwarnings("ignore:An epoch should have")
    @pytest.mark.parametrize(
        "listens", [None, Events.ITERATION_COMPLETED, Events.GET_BATCH_STARTED]
    )
    @pytest.mark.parametrize(
        "data",
        [
            Unknown(),
            TooLong(),
            Exact(),
            DataLoader(Stream(), batch_size=None),
            DataLoader("abc", batch_size=None),
            "abc",
        ],
    )
    def test_it_is_there_when_the_epoch_is_over(self, data, listens):
        engine, last = Engine(count), []
        if listens is not None:
            engine.add_event_handler(listens, lambda: None)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: last.append(engine.state.batch))
        engine.run(data, max_epochs=2)
        assert last == ["c", "c"]

    def test_it_is_there_for_a_generator(self):
        engine, last = Engine(count), []
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: last.append(engine.state.batch))
        engine.run(letter for letter in "abc")
        assert last == ["c"]

    @pytest.mark.parametrize("length", [None, 3])
    @pytest.mark.parametrize("listens", [False, True])
    @pytest.mark.parametrize("kind", ["exact", "unknown"])
    def test_two_are_never_in_the_memory_of_an_accelerator_or_where_the_end_is_known(
        self, length, listens, kind
    ):
        class Batch:
            """A tensor on an accelerator, as far as the loop can see."""

            device = torch.device("meta")

        alive, last = [], []

        def batches():
            ref = None
            for _ in range(3):
                alive.append(ref is not None and ref() is not None)
                batch = Batch()
                ref = weakref.ref(batch)
                yield {"x": [batch]}
                del batch

        class Sized:
            def __len__(self):
                return 3

            def __iter__(self):
                return batches()

        engine = Engine(lambda engine, batch: None)
        if listens:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: last.append(engine.state.batch is not None)
        )
        engine.run(Sized() if kind == "exact" else batches(), epoch_length=length)
        assert alive == [False] * 3
        assert last == [length is not None or kind == "exact"]
