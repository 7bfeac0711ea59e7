"""Runs that stop, saved, at the last safe point before a time limit."""

import math
import os
import random
import stat
from datetime import UTC, datetime, timedelta

import pytest
import torch

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, Deadline
from ignite.handlers.deadline import end_of_job, expected_s
from ignite.learner import Learner
from ignite.testing import run_processes
from support import control_processes
from support.fake_clock import FakeClock


@pytest.fixture
def now(monkeypatch):
    """The clock of the library, put forward by hand."""
    fake = FakeClock(1000.0)
    monkeypatch.setattr(clock, "now", fake)
    return fake


class Program:
    """A training whose iterations, evaluations and saves take random times, and slow and fast epochs."""

    def __init__(self, now, seed, folder, **options):
        draw = self.draw = random.Random(seed)
        self.now = now
        self.length = draw.randint(1, 20)
        self.iteration_s, self.evaluation_s, self.save_s = (
            draw.uniform(0.1, 5),
            draw.uniform(0, 20),
            draw.uniform(0, 10),
        )
        self.limit_s = draw.uniform(4, 9) * self.epoch_s + draw.uniform(0, 20)
        self.factor, self.end = 1.0, now() + self.limit_s
        self.trainer = Engine(lambda engine, batch: self.spend(self.iteration_s * self.factor))
        self.trainer.add_event_handler(Events.EPOCH_STARTED, self.begin)
        self.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: self.spend(self.evaluation_s)
        )
        self.checkpoint = Checkpoint.of(
            self.trainer,
            folder,
            event=Events.EPOCH_COMPLETED(every=draw.randint(1, 3)),
            background=False,  # a thread would see the time of the run pass
        )
        self.write, self.checkpoint._write = self.checkpoint._write, self.slow_write
        self.deadline = Deadline(after=self.limit_s, **options)
        self.deadline.attach(self.trainer)

    @property
    def epoch_s(self):
        return self.length * self.iteration_s + self.evaluation_s + self.save_s

    def begin(self):
        self.factor = self.draw.uniform(0.85, 1.15)

    def slow_write(self, *args):
        self.spend(self.save_s)
        self.write(*args)

    def spend(self, mean_s):
        self.now.spend(mean_s * self.draw.uniform(0.8, 1.2))

    def run(self):
        self.trainer.run(range(self.length), max_epochs=10_000)


@pytest.mark.parametrize(("finish_epochs", "number"), [(False, 50), (True, 20)])
def test_all_runs_with_random_times_stop_in_time_saved_and_not_too_early(
    finish_epochs, number, now, tmp_path
):
    num_in_time = num_saved = num_late_enough = num_at_end = 0
    for seed in range(number):
        program = Program(now, seed, tmp_path / str(seed), finish_epochs=finish_epochs)
        program.run()
        state, left = program.trainer.state, program.end - now()
        num_in_time += left >= 0
        num_saved += program.checkpoint.last_checkpoint.name.endswith(f"{state.iteration:08d}.pt")
        # One epoch and save, as long as they may be, and the margin.
        num_late_enough += left <= 1.4 * program.epoch_s + 1.2 * program.save_s + 5
        num_at_end += state.iteration % program.length == 0
        assert program.deadline.is_reached
    assert (num_in_time, num_saved, num_late_enough) == (number,) * 3
    assert not finish_epochs or num_at_end >= number / 2


def test_a_stopped_run_goes_on_where_it_was(now, tmp_path):
    seen = []

    def program(after):
        def step(engine, batch):
            seen.append((engine.state.epoch, batch))
            now.spend(1)

        trainer, fired = Engine(step), []
        Checkpoint.of(trainer, tmp_path, background=False)
        for event in (Events.TERMINATE, Events.COMPLETED):
            trainer.add_event_handler(event, lambda engine, name: fired.append(name), event.name)
        Deadline(after=after, margin=0).attach(trainer)
        trainer.run(range(4), max_epochs=3, resume="latest")
        return fired

    assert program(8.5) == ["TERMINATE"]
    num_first = len(seen)
    assert 5 <= num_first <= 8
    assert program(timedelta(hours=1)) == ["COMPLETED"]
    assert seen == [(epoch, batch) for epoch in (1, 2, 3) for batch in range(4)]


def test_time_in_a_pause_is_not_taken_for_an_iteration(now, tmp_path, monkeypatch):
    trainer = Engine(lambda engine, batch: now.spend(1))
    Checkpoint.of(trainer, tmp_path, background=False)
    Deadline(after=100, margin=0).attach(trainer)
    looks = []

    def clock_in_a_pause():
        if trainer.control.is_paused:
            looks.append(now())
            if len(looks) == 2:  # in the middle of the pause
                now.spend(30)
        return now()

    monkeypatch.setattr(clock, "now", clock_in_a_pause)

    @trainer.on(Events.ITERATION_COMPLETED(once=3))
    def pause():
        trainer.control.pause()
        trainer.control.go()

    assert trainer.run(range(30)).iteration == 30
    assert trainer.control.paused_s == 30


def test_without_a_checkpoint_the_run_stops_and_says_so(now, caplog):
    trainer = Engine(lambda engine, batch: now.spend(1))
    deadline = Deadline(after=10, margin=2)
    deadline.attach(trainer)
    assert trainer.run(range(100)).iteration < 10
    assert deadline.left_s >= 2
    assert "not saved: the run has no Checkpoint.of" in caplog.text


def test_a_run_that_ends_in_time_is_not_stopped(now, tmp_path):
    trainer = Engine(lambda engine, batch: now.spend(1))
    deadline = Deadline(after=1000)
    deadline.attach(trainer)
    assert trainer.run(range(100)).iteration == 100
    assert not deadline.is_reached


def test_decisions_are_rare_while_there_is_time(now, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "ignite.handlers.deadline.Deadline._decide",
        _counted(Deadline._decide, calls),
    )
    trainer = Engine(lambda engine, batch: now.spend(1))
    Deadline(after=100_000, margin=0).attach(trainer)
    trainer.run(range(200_000))
    assert trainer.state.iteration > 99_000
    assert len(calls) < 200


def _counted(function, calls):
    def call(*args):
        calls.append(1)
        return function(*args)

    return call


def test_a_learner_stops_in_time_and_resumes_to_the_same_weights(now, tmp_path):
    def fit(folder, after, epochs=4):
        torch.manual_seed(0)
        x = torch.randn(40, 3)
        learner = Learner(torch.nn.Linear(3, 1), "mse", lr=0.1)
        learner.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: now.spend(1))
        Deadline(after=after, margin=0).attach(learner.trainer)
        learner.fit((x, x[:, :1]), epochs=epochs, batch_size=10, run_dir=folder, resume="latest")
        return learner.trainer.state.iteration, learner.model.weight.detach().clone()

    stopped, _ = fit(tmp_path / "one", 11)
    assert 7 <= stopped < 12
    _, weight = fit(tmp_path / "one", 1000)
    assert torch.equal(weight, fit(tmp_path / "other", 1000)[1])


def test_the_estimate():
    assert expected_s([]) == 0
    assert expected_s([2.0]) == 4
    assert expected_s([1.0, 3.0]) == 3 * 1.5 + 1
    assert expected_s([2.0] * 50) == pytest.approx(2.04)


def test_times_are_taken_as_they_are_given(now, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5000.0)
    assert Deadline(datetime.fromtimestamp(5060)).left_s == 60
    assert Deadline(datetime.fromtimestamp(5060, UTC)).left_s == 60
    assert Deadline(after=timedelta(minutes=2)).left_s == 120
    assert Deadline(after=7).left_s == 7


@pytest.mark.parametrize(("args", "options", "error", "message"), [
    ((), {}, ValueError, "Either at or after should be given"),
    ((datetime(2999, 1, 1),), {"after": 3}, ValueError, "Either at or after should be given"),
    ((datetime(1999, 1, 1),), {}, ValueError, "The deadline should be in the future"),
    ((), {"after": -1}, ValueError, "The deadline should be in the future, but given -1"),
    ((), {"after": "3"}, TypeError, "after should be a timedelta or a number of seconds"),
    (("noon",), {}, TypeError, "at should be a datetime or 'slurm', but given 'noon'"),
    ((), {"after": 3, "margin": -1}, ValueError, "margin should be at least 0"),
    ((), {"after": 3, "margin": "1"}, TypeError, "margin should be a number of seconds"),
])  # fmt: skip
def test_wrong_arguments(args, options, error, message):
    with pytest.raises(error, match=message):
        Deadline(*args, **options)


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_end_of_a_slurm_job(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    end = datetime(2031, 5, 6, 7, 8, 9)
    job = {"SLURM_JOB_ID": "17"}
    assert end_of_job({"SLURM_JOB_END_TIME": "1900000000", **job}) == 1900000000
    with pytest.raises(RuntimeError, match="in a Slurm job, but SLURM_JOB_ID is not set"):
        end_of_job({})
    with pytest.raises(RuntimeError, match="Slurm should tell when job 17 ends, but scontrol: "):
        end_of_job(job)
    script(tmp_path, "squeue", f'[ "$3" = 17 ] && echo {end.isoformat()}')
    assert end_of_job(job) == end.timestamp()
    script(tmp_path, "scontrol", "echo JobId=17 EndTime=2032-01-01T00:00:00 Deadline=N/A")
    assert end_of_job(job) == datetime(2032, 1, 1).timestamp()
    script(tmp_path, "scontrol", "echo JobId=17 EndTime=UNLIMITED")
    assert end_of_job(job) == math.inf
    script(tmp_path, "scontrol", "exit 1")
    script(tmp_path, "squeue", "echo later")
    with pytest.raises(RuntimeError, match="the end should be a date and time, but is 'later'"):
        end_of_job(job)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1")
    with pytest.raises(ValueError, match="The deadline should be in the future, but given slurm"):
        Deadline("slurm")


def test_processes_stop_in_the_same_iteration_with_few_collectives(tmp_path):
    first, second = run_processes(control_processes.deadline, 2, str(tmp_path))
    assert first == second
    assert first["iteration"] == first["saved"]
    assert first["left"] >= 0
    assert first["collectives"] < first["iteration"] / 3
