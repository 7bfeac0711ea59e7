"""Runs that are controlled from outside, by files in their folders and from Python."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from ignite.cli import main
from ignite.engine import Engine, Events
from ignite.handlers import (
    Checkpoint,
    CosineAnnealingScheduler,
    LiveControl,
    LRScheduler,
    Preemption,
)
from ignite.learner import Learner
from ignite.storage.mailbox import Mailbox
from ignite.testing import run_processes
from support import control_processes

CTL = """
import json, sys
from ignite.cli import main
for command in json.loads(sys.argv[1]):
    print(main(["ctl", *command]), flush=True)
"""


class Program:
    """A training in a folder that can be controlled; each step waits until it is wanted."""

    def __init__(self, folder, saves=True):
        self.folder = folder
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.trainer = Engine(self.step)
        self.began = threading.Event()
        if saves:
            self.checkpoint = Checkpoint.of(self.trainer, folder / "checkpoints")
        LiveControl(folder, poll_s=0.01).attach(self.trainer)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), self.began.set)

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        self.model(torch.full((1, 2), 0.01)).sum().backward()
        self.optimizer.step()

    def run(self, control):
        """Runs while ``control(self)`` runs in a thread; what that returns."""
        found = []

        def work():
            self.began.wait()
            found.append(control(self))

        thread = threading.Thread(target=work)
        thread.start()
        self.trainer.run(range(1000), max_epochs=100_000)
        thread.join()
        return found[0]

    @property
    def record(self):
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def ask(program, command, **arguments):
    return Mailbox(program.folder / "control").ask(command, arguments, timeout_s=30)


def test_commands_are_obeyed_in_order_and_recorded(tmp_path):
    def control(program):
        box = Mailbox(tmp_path / "control")
        keys = [
            box.send(command, arguments)
            for command, arguments in (
                ("pause", {}), ("set", {"lr": 0.05}), ("save", {}), ("go", {}), ("count", {"by": 2}), ("stop", {}),
            )
        ]  # fmt: skip
        for key in keys:
            while (answer := box.answer_to(key)) is None:
                threading.Event().wait(0.01)
            yield answer

    program = Program(tmp_path)
    program.trainer.control.add("count", lambda engine, by: {"half": by / 2})
    answers = program.run(lambda one: list(control(one)))
    assert [one.is_done for one in answers] == [True] * 6
    assert answers[1].text == "lr changed from 0.1 to 0.05"
    assert answers[4].text == "half 1"
    saved = program.checkpoint.last_checkpoint
    assert answers[5].text == f"stopped; saved {saved}"
    record = program.record
    assert [one["command"] for one in record] == ["pause", "set", "save", "go", "count", "stop"]
    assert len({one["step"] for one in record[:4]}) == 1, "the run has waited"
    assert record[5]["step"] == program.trainer.state.iteration
    assert program.trainer.control.record[1].text == record[1]["text"]
    assert os.listdir(tmp_path / "control") == []
    assert program.optimizer.param_groups[0]["lr"] == 0.05

    other = Program(tmp_path)  # resumes with the rate that was set
    other.trainer.add_event_handler(Events.STARTED, lambda engine: engine.terminate())
    other.trainer.run(range(1000), max_epochs=100_000, resume="latest")
    assert other.optimizer.param_groups[0]["lr"] == 0.05


def test_what_cannot_be_obeyed_is_refused_and_the_run_goes_on(tmp_path):
    def fail(engine):
        raise OSError("no such disk")

    def control(program):
        program.trainer.control.add("fail", fail)
        folder = tmp_path / "control"
        for name, text in (
            ("command-1", "{"), ("command-2", "[]"), ("command-3", '{"format": 9}'), ("command-4", "x" * 70_000),
            ("command-5", '{"format": 1, "command": 5}'), ("other", "{}"),
        ):  # fmt: skip
            (folder / f"{name}.json").write_text(text)
        if hasattr(os, "mkfifo"):
            os.mkfifo(folder / "command-6.json")  # opening it would wait for ever
        found = [
            ask(program, "fly"), ask(program, "set"), ask(program, "set", speed=3), ask(program, "set", lr="fast"),
            ask(program, "set", lr=-1), ask(program, "pause", until=3), ask(program, "fail"), ask(program, "validate"),
        ]  # fmt: skip
        ask(program, "stop")
        return found

    program = Program(tmp_path)
    answers = program.run(control)
    assert not any(one.is_done for one in answers)
    texts = [one.text for one in answers]
    assert texts[0].startswith("command should be one of fail, go, pause, save, set, stop, but")
    assert texts[1:5] == [
        "set knows lr, but given nothing", "set knows lr, but given speed",
        "lr should be a positive number, but given 'fast'", "lr should be a positive number, but given -1",
    ]  # fmt: skip
    assert "unexpected keyword argument 'until'" in texts[5]
    assert texts[6] == "OSError: no such disk"
    faults = [one["text"] for one in program.record if one["command"] == ""]
    assert len(faults) == 5
    assert all("file" in text for text in faults), faults
    assert program.optimizer.param_groups[0]["lr"] == 0.1


def test_commands_of_before_the_run_and_after_it_are_refused(tmp_path):
    box = Mailbox(tmp_path / "control")
    box.begin()
    key = box.send("stop")
    program = Program(tmp_path, saves=False)
    program.trainer.add_event_handler(Events.COMPLETED, lambda: late.append(box.send("pause")))
    late = []
    assert program.trainer.run(range(5)).iteration == 5
    assert box.answer_to(key) == (False, "it was given before this run began")
    assert box.answer_to(late[0]) == (False, "the run has ended before")
    assert program.trainer.control.record[0].is_done is False
    with pytest.raises(RuntimeError, match="should be called during a run"):
        program.trainer.control.pause()


def test_a_command_is_taken_by_one_only(tmp_path):
    box = Mailbox(tmp_path)
    key = box.send("pause")
    assert box.withdraw(key)
    assert not box.withdraw(key)
    assert box.take() == []
    box.send("go")
    assert [one.command for one in box.take()] == ["go"]
    assert Mailbox(tmp_path).take() == []
    with pytest.raises(TimeoutError, match="nobody has taken the command, which is withdrawn"):
        box.ask("go", timeout_s=0.0)
    assert os.listdir(tmp_path) == []


def test_the_folder_is_listed_once_per_poll_and_never_without_one(tmp_path, monkeypatch):
    looks, own = [], os.scandir

    def counted(path):
        looks.append(str(path))
        return own(path)

    monkeypatch.setattr(os, "scandir", counted)
    plain = Engine(lambda engine, batch: None)
    num_threads = threading.active_count()
    plain.run(range(1000))
    assert looks == []
    assert threading.active_count() == num_threads

    trainer = Engine(lambda engine, batch: None)
    LiveControl(tmp_path, poll_s=60).attach(trainer)
    trainer.run(range(1000))
    # At the start to refuse and to sweep, at most once by the thread, and at the end.
    assert len([one for one in looks if "control" in one]) <= 5
    assert not trainer._tables["ITERATION_COMPLETED"].calls
    assert threading.active_count() == num_threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")
def test_a_pause_uses_no_processor_and_ends_with_ctrl_c(tmp_path):
    program = Program(tmp_path, saves=False)
    used = []

    def control(program):
        before = time.process_time()
        assert ask(program, "pause").is_done
        threading.Event().wait(0.3)  # what it uses meanwhile is what is measured
        used.append(time.process_time() - before)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        program.run(control)
    assert used[0] < 0.25
    assert not program.trainer.control.is_paused


def test_a_signal_in_a_pause_saves_and_stops(tmp_path):
    program = Program(tmp_path)
    preemption = Preemption(raise_exit=False)
    preemption.attach(program.trainer)

    def control(program):
        assert ask(program, "pause").is_done
        os.kill(os.getpid(), signal.SIGTERM)

    program.run(control)
    iteration = program.trainer.state.iteration
    assert preemption.received == signal.SIGTERM
    assert program.checkpoint.last_checkpoint.name == f"checkpoint_{iteration:08d}.pt"
    assert [one["step"] for one in program.record] == [iteration]


def test_a_save_on_a_signal_leaves_the_run_paused(tmp_path):
    program = Program(tmp_path)
    Preemption(stop_on=[], save_on=[signal.SIGTERM]).attach(program.trainer)

    def control(program):
        assert ask(program, "pause").is_done
        os.kill(os.getpid(), signal.SIGTERM)
        assert ask(program, "count").is_done
        saved = program.checkpoint.last_checkpoint.name
        assert ask(program, "stop").is_done
        return saved

    program.trainer.control.add("count", lambda engine: None)
    saved = program.run(control)
    assert len({one["step"] for one in program.record}) == 1
    assert saved == f"checkpoint_{program.trainer.state.iteration:08d}.pt"


def test_random_numbers_of_an_action_do_not_change_the_run():
    def run(asks):
        torch.manual_seed(0)
        drawn = []
        trainer = Engine(lambda engine, batch: drawn.append(torch.rand(()).item()))
        trainer.control.add("draw", lambda engine: torch.rand(3))
        if asks:
            trainer.add_event_handler(
                Events.ITERATION_COMPLETED, lambda engine: engine.control.do("draw")
            )
        trainer.run(range(5))
        return drawn

    assert run(asks=True) == run(asks=False)


@pytest.mark.parametrize("groups", [1, 2])
def test_rates_keep_their_ratios_and_schedules_go_on_from_the_new_rate(groups):
    model = torch.nn.Linear(2, 1)
    parameters = [{"params": [one], "lr": 0.1 * 10**i} for i, one in enumerate(model.parameters())]
    optimizer = torch.optim.SGD(
        parameters if groups == 2 else model.parameters(), lr=0.1, momentum=0.9
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    seen = []

    def step(engine, batch):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()

    trainer = Engine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, LRScheduler(schedule))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: engine.control.set(lr=seen[-1][0] * 2)
    )
    trainer.run(range(4))
    assert [rates[0] for rates in seen] == pytest.approx([0.1, 0.1, 0.2, 0.1])
    if groups == 2:
        assert [rates[1] / rates[0] for rates in seen] == pytest.approx([10.0] * 4)
    assert "its schedule goes on from there" in trainer.control.record[0].text


def test_a_handler_that_sets_rates_of_its_own_is_named():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Engine(lambda engine, batch: optimizer.step())
    scheduler = CosineAnnealingScheduler(optimizer, "lr", 0.1, 0.01, 10)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, scheduler)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: engine.control.set(lr=1.0)
    )
    trainer.run(range(3))
    assert trainer.control.record[0].text == (
        "lr should not be set beside a CosineAnnealingScheduler, which sets it to values of its own"
    )


def test_settings_and_actions_of_the_program():
    trainer, seen = Engine(lambda engine, batch: None), []
    control = trainer.control
    control.add_setting("temperature", lambda engine, value: seen.append(value))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=1), lambda engine: engine.control.set(temperature=3)
    )
    trainer.run(range(2))
    assert seen == [3]
    assert control.record[0][3:] == ("set", {"temperature": 3}, True, "done")
    control.remove("save")
    assert control.actions == ["go", "pause", "set", "stop"]


def test_a_learner_is_controlled_by_another_program_and_resumes_to_the_same_weights(tmp_path):
    def learner():
        torch.manual_seed(0)
        return Learner(torch.nn.Linear(3, 1), "mse", "sgd", lr=0.01, metrics=["mae"])

    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    data, options = (x, x[:, :1]), {"valid": (x, x[:, :1]), "epochs": 3, "batch_size": 10}
    folder, told = str(tmp_path / "run"), []

    def work():
        began.wait()
        commands = [[folder, "validate"], [folder, "set", "lr=0.02"], [folder, "stop"]]
        found = subprocess.run(
            [sys.executable, "-c", CTL, json.dumps(commands)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told.extend(found.stdout.splitlines())

    one, began = learner(), threading.Event()

    @one.trainer.on(Events.ITERATION_COMPLETED(once=2))
    def begin(engine):
        engine.control.pause()  # until the commands come: the validation below goes on in the pause
        began.set()

    thread = threading.Thread(target=work)
    thread.start()
    one.fit(data, run_dir=tmp_path / "run", **options)
    thread.join()
    assert one.trainer.state.iteration == 2
    assert told[1::2] == ["0", "0", "0"]
    assert told[0].startswith("validate: loss ")
    assert ", mae " in told[0]
    assert told[2] == "set: lr changed from 0.01 to 0.02"
    assert told[4].startswith("stop: stopped; saved ")
    two = learner()
    two.fit(data, run_dir=tmp_path / "run", resume="latest", **options)

    other = learner()
    other.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: engine.control.set(lr=0.02)
    )
    history = other.fit(data, **options)
    assert torch.equal(two.model.weight, other.model.weight)
    assert two.optimizer.param_groups[0]["lr"] == 0.02
    assert two.history["valid_mae"] == history["valid_mae"]
    assert "validate" not in two.trainer.control.actions


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["ctl", str(tmp_path), "pause"]) == 2
    assert "has no control/" in capsys.readouterr().out
    assert main(["ctl", str(tmp_path), "set", "lr"]) == 2
    assert "set takes name=value, such as lr=0.01, but given 'lr'" in capsys.readouterr().out
    (tmp_path / "control").mkdir()
    assert main(["ctl", str(tmp_path), "pause", "--timeout", "0"]) == 1
    assert "is the run going on?" in capsys.readouterr().out


def test_a_copy_of_an_engine_has_a_control_of_its_own():
    trainer = Engine(print)
    trainer.control.add("one", print)
    commands = trainer.control._commands
    copied = type(commands)()
    copied.__setstate__(commands.__getstate__())
    assert "one" in copied.actions
    assert copied.alarm is not commands.alarm


def test_intervals_are_positive(tmp_path):
    with pytest.raises(ValueError, match="poll_s should be positive, but given 0"):
        LiveControl(tmp_path, poll_s=0)


def test_processes_obey_in_the_same_iteration_and_a_signal_to_one_ends_a_pause_of_all(tmp_path):
    first, second = run_processes(control_processes.both, 2, str(tmp_path), timeout_s=100.0)
    assert first["record"] == second["record"]
    assert [command for command, _, _ in first["record"]] == [
        "sum", "pause", "set", "save", "unknown", "go", "sum", "stop",
    ]  # fmt: skip
    assert len({iteration for _, iteration, _ in first["record"][1:6]}) == 1
    assert first["iteration"] == second["iteration"]
    assert first["lr"] == second["lr"] == 0.05
    assert "sum 2" in first["told"]
    lines = (tmp_path / "controlled" / "events.jsonl").read_text().splitlines()
    assert len(lines) == 8, "one process writes"

    assert first["signalled"] == second["signalled"]
    assert first["signalled"]["record"] == ["pause", "go"]
    assert first["signalled"]["received"] == signal.SIGTERM
