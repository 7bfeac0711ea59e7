"""Exceptions: which handlers are called, and how the run continues."""

import pytest

from ignite.engine import Engine, Events


def count(engine, batch):
    return batch


def epochs_and_iterations(engine):
    return engine.state.epoch, engine.state.iteration


class TestExceptions:
    def test_without_a_handler_the_exception_propagates_with_notes(self):
        engine = Engine(count)

        @engine.on(Events.ITERATION_COMPLETED(once=3))
        def divide(engine):
            return 1 / 0

        with pytest.raises(ZeroDivisionError) as info:
            engine.run(range(2), max_epochs=2)
        assert info.value.__notes__[0].startswith("in handler TestExceptions.")
        assert info.value.__notes__[0].endswith("divide of Events.ITERATION_COMPLETED (3)")
        assert info.value.__notes__[1] == "in epoch 2, iteration 3 of Engine"
        assert engine._dataloader_iter is None

    def test_the_traceback_ends_in_the_users_code_after_few_frames_of_the_library(self):
        def step(engine, batch):
            raise KeyError("mine")

        with pytest.raises(KeyError) as info:
            Engine(step).run([0])
        names = [entry.name for entry in info.traceback]
        assert names[-1] == "step"
        assert len(names) <= 9  # one of them takes arguments of earlier versions

    def test_a_stop_iteration_of_the_step_stays_what_it_is(self):
        with pytest.raises(StopIteration):
            Engine(lambda engine, batch: next(iter([]))).run([0])

    def test_all_handlers_run_before_an_error_continues(self):
        engine, calls = Engine(lambda engine, batch: 1 / 0), []

        @engine.on(Events.EXCEPTION_RAISED)
        def raise_again(engine, error):
            calls.append("first")
            raise error

        engine.add_event_handler(
            Events.EXCEPTION_RAISED, lambda error: calls.append(type(error).__name__)
        )
        with pytest.raises(ZeroDivisionError):
            engine.run([0])
        assert calls == ["first", "ZeroDivisionError"]

    def test_an_error_that_a_handler_takes_over_costs_the_epoch(self):
        engine, trace = Engine(lambda engine, batch: 1 / (engine.state.iteration - 2)), []
        engine.add_event_handler(
            Events.EXCEPTION_RAISED, lambda engine, error: trace.append(type(error).__name__)
        )
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: trace.append(epochs_and_iterations(engine))
        )
        engine.run(range(3), max_epochs=2)
        assert trace == ["ZeroDivisionError", (1, 2), (2, 5)]

    def test_a_handler_may_skip_the_batch_and_continue_the_epoch(self):
        engine, steps, completed = (
            Engine(lambda engine, batch: steps.append(1 / batch) or 1),
            [],
            [],
        )

        @engine.on(Events.EXCEPTION_RAISED)
        def give_up_batch(engine, error):
            engine.skip_iteration()

        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: completed.append(engine.state.iteration)
        )
        engine.run([1, 0, 2])
        assert completed == [1, 3]
        assert steps == [1.0, 0.5]

    def test_a_batch_that_cannot_be_fetched_may_be_given_up_too(self):
        class Data:
            def __init__(self):
                self.items = iter([1, None, 3])

            def __len__(self):
                return 3

            def __iter__(self):
                return self

            def __next__(self):
                item = next(self.items)
                if item is None:
                    raise OSError("torn file")
                return item

        for listens in (False, True):
            batches = []
            engine = Engine(lambda engine, batch, batches=batches: batches.append(batch))
            engine.add_event_handler(
                Events.EXCEPTION_RAISED, lambda engine, error: engine.skip_iteration()
            )
            if listens:
                engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
            engine.run(Data())
            assert batches == [1, 3]
            assert engine.state.iteration == 3

    def test_a_handler_may_end_the_run(self):
        engine, completed = Engine(lambda engine, batch: 1 / 0), []
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: engine.terminate())
        engine.add_event_handler(Events.COMPLETED, lambda: completed.append(True))
        engine.run(range(3), max_epochs=5)
        assert engine.state.epoch == 1
        assert completed == [True]

    def test_an_error_outside_the_batches_that_is_taken_over_ends_the_run_without_completed(self):
        engine, calls = Engine(count), []
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: 1 / 0)
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: calls.append("taken over"))
        engine.add_event_handler(Events.COMPLETED, lambda: calls.append("completed"))
        engine.run(range(3))
        assert calls == ["taken over"]

    def test_with_the_last_handler_removed_nothing_is_swallowed(self, caplog):
        engine = Engine(lambda engine, batch: 1 / 0)
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None).remove()
        with pytest.raises(ZeroDivisionError):
            engine.run([0])
        assert (
            "Current run is terminating due to exception: ZeroDivisionError: division by zero"
            in caplog.text
        )

    def test_taking_over_is_logged(self, caplog):
        engine = Engine(lambda engine, batch: 1 / 0)
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
        engine.run([0])
        assert "has taken the exception over: ZeroDivisionError" in caplog.text

    def test_ctrl_c_is_handed_over_and_not_handled_twice(self):
        def step(engine, batch):
            raise KeyboardInterrupt

        engine, seen = Engine(step), []
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: seen.append(type(error)))
        engine.run(range(3), max_epochs=2)
        assert seen == [KeyboardInterrupt]
        assert engine.state.iteration == 1

        @engine.on(Events.EXCEPTION_RAISED)
        def raise_again(error):
            raise error

        with pytest.raises(KeyboardInterrupt):
            engine.run(range(3), max_epochs=2)
        assert seen == [KeyboardInterrupt] * 2

    def test_an_error_raised_again_reaches_the_handlers_once(self):
        engine, seen = Engine(lambda engine, batch: 1 / 0), []

        @engine.on(Events.EXCEPTION_RAISED)
        def raise_another(error):
            seen.append(error)
            raise RuntimeError("another") from error

        with pytest.raises(RuntimeError, match="another") as info:
            engine.run([0])
        assert isinstance(info.value.__cause__, ZeroDivisionError)
        assert len(seen) == 1
