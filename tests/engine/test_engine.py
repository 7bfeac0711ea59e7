import functools
import threading
from unittest.mock import MagicMock

import pytest
import torch

from ignite.engine import Engine, Events


def count(engine, batch):
    return batch


def epochs_and_iterations(engine):
    return engine.state.epoch, engine.state.iteration


@pytest.mark.parametrize(
    "step",
    [
        lambda *args: 1,
        functools.partial(lambda x, engine, batch: 1, 0),
        MagicMock(),
        torch.nn.Bilinear(2, 2, 2),
    ],
)
def test_anything_that_accepts_engine_and_batch_is_a_step(step):
    Engine(step)


def test_a_step_that_does_not_is_refused():
    with pytest.raises(ValueError, match="must be given a processing function.*given None"):
        Engine(None)
    with pytest.raises(
        ValueError,
        match=r"'process_function': should accept \(engine, batch\), but takes \(batch\)",
    ):
        Engine(lambda batch: None)


class TestRunAndResume:
    """The table of section 2.1 of the specification."""

    def test_a_fresh_engine_begins(self):
        engine = Engine(count)
        assert engine.run([0, 1], max_epochs=5) is engine.state
        assert epochs_and_iterations(engine) == (5, 10)

    def test_a_higher_limit_continues(self):
        engine, started = Engine(count), []
        engine.run([0, 1], max_epochs=5)
        engine.add_event_handler(Events.STARTED, lambda engine: started.append(engine.state.epoch))
        engine.run([0, 1], max_epochs=7)
        assert started == [5]
        assert epochs_and_iterations(engine) == (7, 14)

    def test_a_lower_limit_is_refused_and_changes_nothing(self):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        with pytest.raises(
            ValueError, match=r"greater than or equal to the start epoch.*4 vs 7.*max_epochs = None"
        ):
            engine.run([0, 1], max_epochs=4)
        assert (engine.state.epoch, engine.state.max_epochs) == (7, 7)

    @pytest.mark.parametrize(("limit", "num_epochs"), [({}, 1), ({"max_epochs": 7}, 7)])
    def test_an_engine_that_has_finished_starts_again(self, limit, num_epochs):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        engine.run([0, 1, 2], **limit)
        assert epochs_and_iterations(engine) == (num_epochs, 3 * num_epochs)

    def test_without_a_limit_in_the_state_it_starts_again(self):
        engine = Engine(count)
        engine.run([0, 1], max_epochs=7)
        engine.state.max_epochs = None
        engine.run([0, 1], max_epochs=5)
        assert epochs_and_iterations(engine) == (5, 10)

    def test_a_terminated_run_continues_with_the_next_epoch_and_the_start_of_the_data(self):
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
        engine.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: started.append(epochs_and_iterations(engine))
        )
        engine.run(range(4))
        assert started == [(2, 6), (3, 8)]
        assert len(batches) == 2 + 4
        assert batches[2:] == [
            0,
            1,
            2,
            3,
        ]  # the epoch after the resumed one begins at the beginning of the data

    def test_loaded_progress_that_is_finished_leaves_nothing_to_do(self, caplog):
        finished = Engine(count)
        finished.run(range(4), max_epochs=3)
        engine = Engine(lambda engine, batch: pytest.fail("trained again"))
        engine.load_state_dict(finished.state_dict())
        with caplog.at_level("INFO", logger=engine.logger.name):
            assert engine.run(range(4), max_epochs=3).iteration == 12
        assert [(record.levelname, record.message) for record in caplog.records] == [
            (
                "WARNING",
                "Nothing to run: the loaded state is finished (epoch 3, iteration 12, up to epoch 3, epoch_length 4). "
                "To continue, give run() a larger max_epochs or max_iters; to begin a new run, set "
                "engine.state.max_epochs = None before",
            )
        ]
        anew = Engine(count)
        anew.load_state_dict(finished.state_dict())
        anew.state.max_epochs = None
        assert anew.run(range(4), max_epochs=2).iteration == 8
        more = Engine(count)
        more.load_state_dict(finished.state_dict())
        assert more.run(range(4), max_epochs=4).iteration == 16
        assert (
            more.run(range(4)).iteration == 4
        )  # from here on it has finished by itself, and begins anew

    def test_counters_set_by_hand_are_gone_on_with(self):
        engine, started = Engine(count), []

        @engine.on(Events.STARTED)
        def resume(engine):
            engine.state.epoch, engine.state.iteration = 2, 9

        engine.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: started.append(epochs_and_iterations(engine))
        )
        engine.run(range(4), max_epochs=4)
        assert started == [(3, 9), (4, 12)]


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
        with pytest.raises(
            ValueError, match="epoch_length should be same as in the state, but given 3 vs 4"
        ):
            engine.run(range(4), max_epochs=2, epoch_length=3)

    def test_a_running_engine_cannot_be_run(self):
        engine = Engine(count)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.run([0]))
        with pytest.raises(
            RuntimeError, match=r"run\(\) should be called on an engine that is not running"
        ):
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
    assert seen == [
        {"EPOCH_COMPLETED": 3.0, "COMPLETED": 0.0},
        {"EPOCH_COMPLETED": 5.0, "COMPLETED": 5.0},
    ]
    assert engine.state.times == {"EPOCH_COMPLETED": 5.0, "COMPLETED": 7.0}


def test_the_run_is_logged_at_level_info(caplog):
    engine = Engine(count)
    with caplog.at_level("INFO", logger="ignite.engine.engine.Engine"):
        engine.run([0])
    messages = [record.message for record in caplog.records]
    assert messages[0] == "Engine run starting with max_epochs=1."
    assert messages[1].startswith("Epoch[1] Complete. Time taken: 00:00:00.")
    assert messages[2].startswith("Engine run finished. Time taken: 00:00:00.")
    assert engine.logger.handlers == []


def test_an_engine_is_generic_in_batch_and_output():
    engine: Engine[int, str] = Engine(lambda engine, batch: str(batch))
    assert engine.run([1]).output == "1"
