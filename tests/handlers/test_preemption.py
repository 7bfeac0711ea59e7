"""Signals, which take effect between two iterations. Whole programs: tests/faults/test_signals.py."""

import logging
import os
import signal
import threading

import pytest

from ignite.engine import Engine, Events
from ignite.handlers import Preemption, preemption

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]


def kill(signum):
    os.kill(os.getpid(), signum)


def make(signum=signal.SIGTERM, at=3, **options):
    """A trainer that is sent a signal in the step of an iteration, and the iterations at which it was saved."""
    trainer, saved = (
        Engine(lambda engine, batch: kill(signum) if engine.state.iteration == at else None),
        [],
    )
    preemption = Preemption(**options)
    preemption.attach(trainer, checkpoint=lambda engine: saved.append(engine.state.iteration))
    return trainer, preemption, saved


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_the_run_is_saved_and_exits_with_the_code_of_the_signal(signum):
    trainer, preemption, saved = make(signum)
    events = []
    for event in (Events.TERMINATE, Events.COMPLETED):
        trainer.add_event_handler(event, events.append, event.name)
    with pytest.raises(SystemExit) as exit_info:
        trainer.run(range(9))
    assert exit_info.value.code == 128 + signum
    assert (saved, preemption.received, trainer.state.iteration) == ([3], signum, 3)
    assert [name for name in events if isinstance(name, str)] == ["TERMINATE"]


def test_control_c_is_a_keyboard_interrupt_that_is_not_handled():
    trainer, _, saved = make(signal.SIGINT)
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, exception: None)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(range(9))
    assert saved == [3]


def test_without_an_exit_run_returns_and_can_continue():
    trainer, preemption, saved = make(raise_exit=False)
    assert trainer.run(range(9)).iteration == 3
    assert preemption.received == signal.SIGTERM
    assert trainer.run().iteration == 9
    assert (preemption.received, saved) == (None, [3])


def test_a_signal_may_only_save():
    trainer, preemption, saved = make(
        signal.SIGUSR1, stop_on=[signal.SIGTERM], save_on=[signal.SIGUSR1]
    )
    assert trainer.run(range(9)).iteration == 9
    assert (saved, preemption.received) == ([3], None)


@pytest.mark.parametrize("signum", SIGNALS)
def test_earlier_handlers_are_called_and_put_back(signum):
    seen = []
    before = signal.signal(signum, mine := lambda signum, frame: seen.append(signum))
    try:
        trainer, _, _ = make(signum, raise_exit=False)
        trainer.run(range(9))
        assert seen == [signum]
        assert signal.getsignal(signum) is mine
    finally:
        signal.signal(signum, before)


@pytest.mark.parametrize("signum", SIGNALS)
def test_handlers_are_restored_after_failures(signum):
    before = signal.getsignal(signum)
    trainer = Engine(lambda engine, batch: 1 / 0)
    Preemption().attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([0])
    assert signal.getsignal(signum) is before


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        trainer, _, saved = make(signal.SIGUSR1)
        assert trainer.run(range(9)).iteration == 9
        assert saved == []
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_elsewhere_than_in_the_main_thread_nothing_is_installed(caplog):
    trainer = Engine(lambda engine, batch: seen.append(signal.getsignal(signal.SIGTERM)))
    seen = []
    Preemption().attach(trainer)
    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=trainer.run, args=([0],))
        thread.start()
        thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
    assert "not in the main thread" in caplog.text


def test_an_evaluation_is_cut_off_or_waited_for():
    for cut, expected in ((True, [1]), (False, [1, 2, 3])):
        trainer, batches = Engine(lambda engine, batch: None), []
        preemption = Preemption(cut_evaluation=cut, raise_exit=False)
        preemption.attach(trainer)
        evaluator = Engine(
            lambda engine, batch, seen=batches: (
                seen.append(batch),
                batch == 1 and kill(signal.SIGTERM),
            )
        )
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine, other: other.run([1, 2, 3]), evaluator
        )
        trainer.run([0], max_epochs=3)
        assert batches == expected
        assert trainer.state.epoch == 1


class Program:
    """A trainer with an evaluator; the signal comes in the second iteration of the trainer, or of the evaluator."""

    def __init__(self, at):
        self.saved = []
        self.trainer = Engine(
            lambda engine, batch: kill(signal.SIGTERM) if (at, batch) == ("trainer", 2) else None
        )
        self.evaluator = Engine(
            lambda engine, batch: kill(signal.SIGTERM) if (at, batch) == ("evaluator", 2) else None
        )
        self.trainer.add_event_handler(
            Events.ITERATION_COMPLETED(every=2), lambda: self.evaluator.run([1, 2, 3])
        )

    def save(self, engine):
        self.saved.append(
            ("trainer" if engine is self.trainer else "evaluator", engine.state.iteration)
        )


ATTACHED = {
    "one, twice": lambda program, one, other: [
        one.attach(program.trainer, program.save) for _ in range(2)
    ],
    "one, to both engines": lambda program, one, other: [
        one.attach(engine, program.save) for engine in (program.evaluator, program.trainer)
    ],
    "two, to one": lambda program, one, other: [
        each.attach(program.trainer, program.save) for each in (one, other)
    ],
    "one each": lambda program, one, other: [
        one.attach(program.trainer, program.save),
        other.attach(program.evaluator, program.save),
    ],
    "two to both": lambda program, one, other: [
        each.attach(engine, program.save)
        for each in (one, other)
        for engine in (program.trainer, program.evaluator, program.trainer)
    ],
}


@pytest.mark.parametrize("at", ["trainer", "evaluator"])
@pytest.mark.parametrize("attached", list(ATTACHED))
def test_one_signal_is_one_request_of_the_outermost_run(attached, at):
    program, one, other = Program(at), Preemption(), Preemption()
    before = signal.getsignal(signal.SIGTERM)
    ATTACHED[attached](program, one, other)
    with pytest.raises(SystemExit) as exit_info:
        program.trainer.run([1, 2, 3, 4])
    assert exit_info.value.code == 128 + signal.SIGTERM
    assert program.saved == [("trainer", 2)]
    assert one.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_each_function_that_was_given_for_the_run_saves_it():
    trainer, saved = Engine(lambda engine, batch: kill(signal.SIGTERM) if batch == 2 else None), []
    first, second = (
        Preemption(raise_exit=False),
        Preemption(raise_exit=False, stop_on=[signal.SIGTERM]),
    )
    first.attach(trainer, lambda engine: saved.append("first"))
    second.attach(trainer, lambda engine: saved.append("second"))
    assert trainer.run([1, 2, 3]).iteration == 2
    assert saved == ["first", "second"]
    assert first.received == second.received == signal.SIGTERM


def test_each_engine_has_the_signals_that_no_run_around_it_heeds():
    trainer, saved = Engine(lambda engine, batch: None), []
    evaluator = Engine(lambda engine, batch: kill(signal.SIGUSR1) if batch == 2 else None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([1, 2, 3]))
    Preemption(stop_on=[signal.SIGTERM]).attach(trainer, lambda engine: saved.append("trainer"))
    only_saves = Preemption(stop_on=[], save_on=[signal.SIGUSR1, signal.SIGTERM])
    only_saves.attach(evaluator, lambda engine: saved.append("evaluator"))
    assert trainer.run([1]).epoch == 1
    assert (saved, evaluator.state.iteration) == (["evaluator"], 3)


def test_a_signal_just_after_another_process_has_had_it_is_not_a_second_one(monkeypatch):
    """All processes get it; the agreement is a little faster than the scheduler."""
    monkeypatch.setattr(preemption.idist, "get_world_size", lambda: 2)
    answers = iter([0, signal.SIGTERM])
    monkeypatch.setattr(preemption.idist, "all_reduce", lambda flag, op: next(answers))
    trainer, saved = Engine(lambda engine, batch: None), []

    def save(engine):
        kill(signal.SIGTERM)
        saved.append(engine.state.iteration)

    Preemption().attach(trainer, save)
    with pytest.raises(SystemExit):
        trainer.run([1, 2, 3])
    assert saved == [2]


def test_a_handler_that_the_program_installs_within_the_run_may_call_the_one_before():
    heard = []
    original = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append("original"))
    try:
        trainer, saved = Engine(lambda engine, batch: None), []
        evaluator = Engine(lambda engine, batch: kill(signal.SIGTERM))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: evaluator.run([1]))

        @trainer.on(Events.STARTED)
        def install():
            before = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *args: (heard.append("own"), before(*args)))

        for engine in (trainer, evaluator):
            Preemption(raise_exit=False).attach(
                engine, lambda engine: saved.append(engine.state.iteration)
            )
        trainer.run([1, 2])
        assert saved == [1]
        assert heard == ["own", "original"]
    finally:
        signal.signal(signal.SIGTERM, original)


def test_slurm_is_asked_to_queue_the_job_again(tmp_path, monkeypatch):
    log = tmp_path / "log"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    make(requeue=True, raise_exit=False)[0].run(range(9))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    make(requeue=True, raise_exit=False)[0].run(range(9))
    assert log.read_text().splitlines() == ["requeue 17", "requeue 40_2"]


def test_without_slurm_the_request_to_queue_again_is_answered_in_the_log(monkeypatch, caplog):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    make(requeue=True, raise_exit=False)[0].run(range(9))
    assert "SLURM_JOB_ID is not set" in caplog.text


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="should be in stop_on or in save_on"):
        Preemption(stop_on=[signal.SIGTERM], save_on=[signal.SIGTERM])
    with pytest.raises(ValueError, match="agree_every should be at least 1, but given 0"):
        Preemption(agree_every=0)
