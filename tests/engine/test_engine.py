import functools
import threading
import warnings
from unittest.mock import MagicMock

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.engine import Engine, Events


def count(engine, batch):
    return batch


def epochs_and_iterations(engine):
    return engine.state.epoch, engine.state.iteration


@pytest.mark.parametrize(
    "step", [lambda *args: 1, functools.partial(lambda x, engine, batch: 1, 0), MagicMock(), torch.nn.Bilinear(2, 2, 2)]
)
def test_anything_that_accepts_engine_and_batch_is_a_step(step):
    Engine(step)


def test_a_step_that_does_not_is_refused():
    with pytest.raises(ValueError, match="must be given a processing function.*given None"):
        Engine(None)
    with pytest.raises(ValueError, match=r"'process_function': should accept \(engine, batch\), but takes \(batch\)"):
        Engine(lambda batch: None)


class TestRunAndResume:
    """The table of section 2.1 of the specification."""

    def test_a_fresh_engine_begins(self):
        engine = Engine(count)
        assert engine.run([0, 1], max_epochs=5) is engine.state
        assert epochs_and_iterations(engine) == (5, 10)

    def test_a_higher_limit_goes_on(self):
        engine, started = Engine(count), []
        engine.run([0, 1], max_epochs=5)
        engine.add_event_handler(Events.STARTED, lambda engine: started.append(engine.state.epoch))
        engine.run([0, 1], max_epochs=7)
        assert started == [5]
        assert epochs_and_iterations(engine) == (7, 14)

    def test_a_lower_limit_is_refused_and_changes_nothing(self):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        with pytest.raises(ValueError, match=r"greater than or equal to the start epoch.*4 vs 7.*max_epochs = None"):
            engine.run([0, 1], max_epochs=4)
        assert (engine.state.epoch, engine.state.max_epochs) == (7, 7)

    @pytest.mark.parametrize(("limit", "num_epochs"), [({}, 1), ({"max_epochs": 7}, 7)])
    def test_an_engine_that_has_finished_by_itself_begins_anew(self, limit, num_epochs):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        engine.run([0, 1, 2], **limit)
        assert epochs_and_iterations(engine) == (num_epochs, 3 * num_epochs)

    def test_without_a_limit_in_the_state_it_begins_anew(self):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        engine.state.max_epochs = None
        engine.run([0, 1], max_epochs=5)
        assert epochs_and_iterations(engine) == (5, 10)

    def test_a_terminated_run_goes_on_with_the_next_epoch_and_the_beginning_of_the_data(self):
        batches = []
        engine = Engine(lambda engine, batch: batches.append(batch))
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=6), engine.terminate)
        engine.run(range(4), max_epochs=5)
        assert epochs_and_iterations(engine) == (2, 6)
        assert engine.should_terminate
        del batches[:]
        engine.run(range(4), max_epochs=5)
        assert epochs_and_iterations(engine) == (5, 18)
        assert batches == [*range(4)] * 3

    def test_user_attributes_and_metrics_survive_a_new_run(self):
        engine = Engine(count)
        engine.state.alpha, engine.state.metrics["x"] = 1, 2
        engine.run([0])
        assert (engine.state.alpha, engine.state.metrics) == (1, {"x": 2})

    def test_loaded_progress_is_gone_on_with(self):
        engine, started, batches = Engine(lambda engine, batch: batches.append(batch)), [], []
        engine.load_state_dict({"iteration": 6, "max_epochs": 3, "epoch_length": 4})
        engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(epochs_and_iterations(engine)))
        engine.run(range(4))
        assert started == [(2, 6), (3, 8)]
        assert len(batches) == 2 + 4
        assert batches[2:] == [0, 1, 2, 3]  # the epoch after the resumed one begins at the beginning of the data

    def test_loaded_progress_that_is_finished_leaves_nothing_to_do(self, caplog):
        finished = Engine(count)
        finished.run(range(4), max_epochs=3)
        engine = Engine(lambda engine, batch: pytest.fail("trained again"))
        engine.load_state_dict(finished.state_dict())
        with caplog.at_level("INFO", logger=engine.logger.name):
            assert engine.run(range(4), max_epochs=3).iteration == 12
        assert [record.message for record in caplog.records] == [
            "Nothing to run: the loaded state is finished (epoch 3, iteration 12, up to epoch 3, epoch_length 4)"
        ]
        more = Engine(count)
        more.load_state_dict(finished.state_dict())
        assert more.run(range(4), max_epochs=4).iteration == 16
        assert more.run(range(4)).iteration == 4  # from here on it has finished by itself, and begins anew

    def test_counters_set_by_hand_are_gone_on_with(self):
        engine, started = Engine(count), []

        @engine.on(Events.STARTED)
        def resume(engine):
            engine.state.epoch, engine.state.iteration = 2, 9

        engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(epochs_and_iterations(engine)))
        engine.run(range(4), max_epochs=4)
        assert started == [(3, 9), (4, 12)]

    def test_after_an_exception_the_next_run_finishes_the_epoch(self):
        engine = Engine(lambda engine, batch: 1 / (engine.state.iteration - 6))
        with pytest.raises(ZeroDivisionError):
            engine.run(range(4), max_epochs=3)
        assert epochs_and_iterations(engine) == (2, 6)
        started = []
        engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(epochs_and_iterations(engine)))
        engine.run(range(4))
        assert started == [(2, 6), (3, 8)]
        assert epochs_and_iterations(engine) == (3, 12)


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


class TestLengths:
    @pytest.mark.parametrize("length", [2, 5, 7])
    def test_a_given_length_goes_over_the_end_of_the_data_and_does_not_wait_for_it(self, length):
        batches = []
        Engine(lambda engine, batch: batches.append(batch)).run(range(5), max_epochs=3, epoch_length=length)
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
        assert (engine.state.epoch_length, engine.state.max_epochs, engine.state.iteration) == (5, 3, 13)

    def test_without_data_the_step_is_given_none_as_often_as_asked(self):
        seen, fetched = [], []
        engine = Engine(lambda engine, batch: seen.append(batch))
        engine.add_event_handler(Events.GET_BATCH_STARTED | Events.GET_BATCH_COMPLETED, lambda: fetched.append(1))
        engine.run(epoch_length=3, max_epochs=2)
        assert seen == [None] * 6
        assert fetched == []
        with pytest.raises(ValueError, match="epoch_length should be provided if data is None, but given None"):
            Engine(count).run()

    @pytest.mark.parametrize("data", [[], iter([]), (x for x in ())])
    def test_empty_data_is_refused(self, data):
        with pytest.raises(ValueError, match=r"zero size|at least one batch"):
            Engine(count).run(data)

    def test_data_shorter_than_it_says_ends_the_epoch_and_is_reported_once(self):
        class Loader:
            def __len__(self):
                return 5

            def __iter__(self):
                return iter(range(3))

        engine, completed = Engine(count), []
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: completed.append(engine.state.iteration))
        with pytest.warns(UserWarning, match="should have 5 iterations.*ended after 3") as warned:
            engine.run(Loader(), max_epochs=3)
        assert completed == [3, 6, 9]
        assert len(warned) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Engine(count).run(Loader(), epoch_length=5, max_epochs=2).iteration == 10

    def test_data_longer_than_it_says_is_reported_once(self):
        class Loader:
            def __len__(self):
                return 3

            def __iter__(self):
                return iter(range(5))

        batches = []
        with pytest.warns(UserWarning, match="should have 3 iterations.*has more than 3") as warned:
            Engine(lambda engine, batch: batches.append(batch)).run(Loader(), max_epochs=4)
        assert len(warned) == 1
        assert batches[:3] == [0, 1, 2]

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
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.set_data("xy"))
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


class TestBadArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"max_epochs": 2, "max_iters": 3}, "mutually exclusive.*max_epochs=2 and max_iters=3"),
            ({"max_epochs": 0}, "max_epochs should be at least 1, but given 0"),
            ({"max_iters": -1}, "max_iters should be at least 1, but given -1"),
            ({"epoch_length": -5}, "epoch_length should be at least 1, but given -5"),
        ],
    )
    def test_impossible_limits_are_refused(self, arguments, words):
        engine = Engine(count)
        with pytest.raises(ValueError, match=words):
            engine.run([0], **arguments)
        assert engine.state_dict() == Engine(count).state_dict()

    def test_data_that_cannot_be_iterated_over_is_refused(self):
        with pytest.raises(TypeError, match="Argument data should be iterable, but given int"):
            Engine(count).run(5)

    def test_the_kind_of_limit_can_only_be_switched_explicitly(self):
        engine = Engine(count)
        engine.run([0], max_iters=3)
        with pytest.raises(ValueError, match=r"max_iters=3.*'engine.state.max_iters = None'"):
            engine.run([0], max_epochs=5)
        engine.state.max_iters = None
        engine.run([0], max_epochs=2)
        with pytest.raises(ValueError, match=r"max_epochs=2.*'engine.state.max_epochs = None'"):
            engine.run([0], max_iters=5)

    def test_a_resumed_run_keeps_its_epoch_length(self):
        engine = Engine(count)
        engine.run(range(4), max_epochs=1)
        with pytest.raises(ValueError, match="epoch_length should be same as in the state, but given 3 vs 4"):
            engine.run(range(4), max_epochs=2, epoch_length=3)

    def test_a_running_engine_cannot_be_run(self):
        engine = Engine(count)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.run([0]))
        with pytest.raises(RuntimeError, match=r"run\(\) should be called on an engine that is not running"):
            engine.run([0, 1])
        assert engine.state.iteration == 1

    def test_a_running_engine_cannot_be_run_by_another_thread(self):
        errors = []

        def step(engine, batch):
            def run_again():
                with pytest.raises(RuntimeError, match="not running") as info:
                    engine.run([0])
                errors.append(info.value)

            thread = threading.Thread(target=run_again)
            thread.start()
            thread.join()

        Engine(step).run([0])
        assert len(errors) == 1


class TestExceptions:
    def test_without_a_handler_it_goes_on_with_notes_that_say_where(self):
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

    def test_the_traceback_ends_in_the_users_code_after_three_frames_of_the_library(self):
        def step(engine, batch):
            raise KeyError("mine")

        with pytest.raises(KeyError) as info:
            Engine(step).run([0])
        names = [entry.name for entry in info.traceback]
        assert names[-1] == "step"
        assert len(names) <= 8

    def test_a_stop_iteration_of_the_step_stays_what_it_is(self):
        with pytest.raises(StopIteration):
            Engine(lambda engine, batch: next(iter([]))).run([0])

    def test_all_handlers_run_before_an_error_goes_on(self):
        engine, calls = Engine(lambda engine, batch: 1 / 0), []

        @engine.on(Events.EXCEPTION_RAISED)
        def raise_again(engine, error):
            calls.append("first")
            raise error

        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: calls.append(type(error).__name__))
        with pytest.raises(ZeroDivisionError):
            engine.run([0])
        assert calls == ["first", "ZeroDivisionError"]

    def test_an_error_that_a_handler_takes_over_costs_the_epoch(self):
        engine, trace = Engine(lambda engine, batch: 1 / (engine.state.iteration - 2)), []
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: trace.append(type(error).__name__))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: trace.append(epochs_and_iterations(engine)))
        engine.run(range(3), max_epochs=2)
        assert trace == ["ZeroDivisionError", (1, 2), (2, 5)]

    def test_a_handler_may_give_up_the_batch_and_let_the_epoch_go_on(self):
        engine, steps, completed = Engine(lambda engine, batch: steps.append(1 / batch) or 1), [], []

        @engine.on(Events.EXCEPTION_RAISED)
        def give_up_batch(engine, error):
            engine.skip_iteration()

        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: completed.append(engine.state.iteration))
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
            engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: engine.skip_iteration())
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
        assert "Current run is terminating due to exception: ZeroDivisionError: division by zero" in caplog.text

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


def test_times_are_there_when_the_handlers_run_and_include_them_afterwards(monkeypatch):
    from ignite._core import clock

    times, seen = {"now": 0.0}, []
    monkeypatch.setattr(clock, "now", lambda: times["now"])
    engine = Engine(lambda engine, batch: times.update(now=times["now"] + 1))
    assert engine.state.times == {"EPOCH_COMPLETED": None, "COMPLETED": None}

    @engine.on(Events.EPOCH_COMPLETED | Events.COMPLETED)
    def take_two_seconds(engine):
        seen.append(dict(engine.state.times))
        times["now"] += 2

    engine.run(range(3))
    assert seen == [{"EPOCH_COMPLETED": 3.0, "COMPLETED": 0.0}, {"EPOCH_COMPLETED": 5.0, "COMPLETED": 5.0}]
    assert engine.state.times == {"EPOCH_COMPLETED": 5.0, "COMPLETED": 7.0}


def test_the_run_is_logged_at_level_info(caplog):
    engine = Engine(count)
    with caplog.at_level("INFO", logger="ignite.engine.engine.Engine"):
        engine.run([0])
    messages = [record.message for record in caplog.records]
    assert messages[0].startswith("Engine run begin at the beginning: epoch 0, iteration 0, up to epoch 1")
    assert messages[1].startswith("Epoch[1] Complete. Time taken: 00:00:00.")
    assert messages[2].startswith("Engine run finished. Time taken: 00:00:00.")
    assert engine.logger.handlers == []


def test_an_engine_is_generic_in_batch_and_output():
    engine: Engine[int, str] = Engine(lambda engine, batch: str(batch))
    assert engine.run([1]).output == "1"
