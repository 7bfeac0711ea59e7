"""Handlers that decide together; with processes in handlers/test_attached."""

import functools
import sys

import pytest

from ignite.distributed import rollcall
from ignite.engine import Engine, Events, together


class Decider:
    decides_together = True

    def __call__(self, engine):
        self.answer = together.any_process(engine, self, True)

    def other(self, engine):
        pass


class Needed:
    needs_all_processes = "Needed"

    def on_start(self, engine):
        pass


class FakeRoll:
    """Takes down what it is asked."""

    def __init__(self, run, names):
        self.run, self.names, self.log = run, list(names), []

    def __getattr__(self, name):
        return lambda *args: self.log.append((name, *args)) or True


@pytest.fixture
def rolls(monkeypatch):
    made = []
    monkeypatch.setattr(sys.modules["ignite.engine.engine"], "get_world_size", lambda: 2)
    monkeypatch.setattr(
        rollcall, "call_roll", lambda run, names: made.append(FakeRoll(run, names)) or made[-1]
    )
    return made


def step(engine, batch):
    return batch


def test_a_single_process_uses_no_collective(monkeypatch):
    monkeypatch.setattr(rollcall, "call_roll", lambda *_: pytest.fail("the store was touched"))
    engine, decider = Engine(step), Decider()
    engine.add_event_handler(Events.ITERATION_COMPLETED, decider)
    engine.run([1])
    assert decider.answer is True
    assert together.is_everywhere(engine, decider)


def test_handlers_that_decide_are_identified_by_class_event_and_number(rolls):
    engine, needed = Engine(step), Needed()
    for event in (
        Events.EPOCH_COMPLETED,
        Events.ITERATION_COMPLETED(every=2),
        Events.ITERATION_COMPLETED,
    ):
        engine.add_event_handler(event, Decider())
    engine.add_event_handler(Events.STARTED, functools.partial(Decider().other))
    engine.add_event_handler(Events.STARTED, needed.on_start)
    engine.add_event_handler(Events.COMPLETED, needed.on_start)
    engine.add_event_handler(Events.COMPLETED, lambda: None)
    engine.run([1, 2])
    assert sorted(rolls[0].names) == [
        "Decider@EPOCH_COMPLETED", "Decider@ITERATION_COMPLETED", "Decider@ITERATION_COMPLETED#2", "Decider@STARTED",
        "Needed",
    ]  # fmt: skip
    assert rolls[0].log[0] == ("require", "Needed", "Needed")


def test_decisions_in_iterations_belong_to_their_epoch_and_others_to_the_run(rolls):
    engine = Engine(step)
    decider = Decider()
    engine.add_event_handler(Events.ITERATION_COMPLETED, decider)
    engine.add_event_handler(Events.EPOCH_COMPLETED, decider)
    engine.run([1], max_epochs=2)
    of_iteration, of_epoch = "Decider@ITERATION_COMPLETED", "Decider@EPOCH_COMPLETED"
    assert rolls[0].log == [
        ("any", of_iteration, 1, True), ("leave", of_iteration, 1), ("any", of_epoch, 0, True),
        ("any", of_iteration, 2, True), ("leave", of_iteration, 2), ("any", of_epoch, 0, True),
        ("end", {of_iteration: 2, of_epoch: 0}),
    ]  # fmt: skip


def test_a_run_that_fails_is_ended_too(rolls):
    engine = Engine(lambda engine, batch: 1 / 0)
    engine.add_event_handler(Events.ITERATION_COMPLETED, Decider())
    with pytest.raises(ZeroDivisionError):
        engine.run([1])
    assert rolls[0].log == [("end", {"Decider@ITERATION_COMPLETED": 1})]
    assert engine._attendance is None


def test_one_that_was_not_there_when_the_run_began_is_alone(rolls):
    engine, late = Engine(step), Decider()
    engine.add_event_handler(
        Events.STARTED, lambda: engine.add_event_handler(Events.ITERATION_COMPLETED, late)
    )
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(together.is_everywhere(engine, late))
    )
    seen = []
    engine.run([1])
    assert late.answer is True
    assert seen == [False]
    assert [entry for entry in rolls[0].log if entry[0] == "any"] == []


def test_engines_are_distinguished_by_their_steps(rolls):
    class Step:
        def __call__(self, engine, batch):
            return batch

    for process_function in (step, functools.partial(step), Step(), lambda engine, batch: batch):
        Engine(process_function).run([1])
    first, second, third, fourth = (roll.run for roll in rolls)
    assert first == second == f"Engine of step in line {step.__code__.co_firstlineno}"
    assert third.endswith("Step")
    assert "lambda" in fourth
