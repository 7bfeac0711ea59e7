"""Arguments, results and log lines of ``run(resume=...)``; whole runs in tests/handlers/test_run_checkpoint.py."""

import contextlib
import copy
import logging

import pytest
import torch

from ignite import storage
from ignite._core.differences import first_difference
from ignite._core.rng import capture_random_state
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, DiskSaver, JSONLLogger
from ignite.metrics import Average
from support.effort import diagonal
from support.interrupted_runs import run_until


def save_run(folder, max_epochs=2, stop_at=5, **state):
    """A run over four batches, saved after each iteration and stopped."""
    engine, seen = Engine(lambda engine, batch: seen.append(batch) or float(batch)), []
    Average().attach(engine, "mean")
    engine.state_dict_user_keys.extend(state)
    for name, value in state.items():
        setattr(engine.state, name, value)
    Checkpoint.of(engine, folder, event=Events.ITERATION_COMPLETED, background=False, keep_last=99)
    engine.add_event_handler(Events.ITERATION_STARTED(once=stop_at + 1), lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.run([1, 2, 3, 4], max_epochs=max_epochs)
    return engine


def make():
    engine, seen = Engine(lambda engine, batch: seen.append(batch) or float(batch)), []
    Average().attach(engine, "mean")
    return engine, seen


def test_the_path_of_a_file_or_folder_needs_no_checkpoint_handler(tmp_path):
    save_run(tmp_path)
    for source, expected in (
        (tmp_path, [2, 3, 4]),
        (tmp_path / "checkpoint_00000002.pt", [3, 4, 1, 2, 3, 4]),
    ):
        engine, seen = make()
        assert engine.run([1, 2, 3, 4], max_epochs=2, resume=source).metrics["mean"] == 2.5
        assert seen == expected


def test_a_finished_run_that_is_resumed_is_no_surprise(tmp_path, caplog):
    engine, _ = make()
    Checkpoint.of(engine, tmp_path, background=False)
    engine.run([1, 2], max_epochs=1)
    caplog.clear()
    again, seen = make()
    with caplog.at_level("INFO"):
        again.run([1, 2], max_epochs=1, resume=tmp_path)
    assert seen == []
    (said,) = [record for record in caplog.records if "Nothing to run" in record.getMessage()]
    assert said.levelname == "INFO"


def test_metrics_of_the_current_epoch_continue_where_ignite_started_again(tmp_path):
    save_run(tmp_path, stop_at=2)
    engine, seen = make()
    assert engine.run([1, 2, 3, 4], max_epochs=1, resume=tmp_path).metrics == {"mean": 2.5}
    assert seen == [3, 4]


def test_handlers_of_the_first_events_see_the_restored_state_and_what_they_change_is_restored(
    tmp_path,
):
    save_run(tmp_path, stop_at=3, best=0.75)
    engine, _ = make()
    engine.state_dict_user_keys.append("best")
    engine.state.best = 0.0
    seen = []

    @engine.on(Events.STARTED)
    def begin(engine):
        seen.append(engine.state.best)
        engine.state.best = 0.0

    engine.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(engine.state.best))
    engine.run([1, 2, 3, 4], max_epochs=1, resume=tmp_path)
    assert seen == [0.75, 0.75]


def test_lower_limits_than_what_is_done_are_refused(tmp_path):
    save_run(tmp_path, max_epochs=4, stop_at=13)
    engine, _ = make()
    with pytest.raises(
        ValueError, match="max_epochs should be greater than or equal to the start epoch"
    ):
        engine.run([1, 2, 3, 4], max_epochs=2, resume=tmp_path)


def test_other_data_are_refused_with_old_and_new_length_and_nothing_is_changed(tmp_path):
    save_run(tmp_path)
    engine, seen = make()
    with pytest.raises((ValueError, CheckpointError), match="4"):
        engine.run([1, 2, 3, 4, 5], max_epochs=2, resume=tmp_path)
    assert (engine.state.iteration, seen) == (0, [])


def test_the_file_of_a_single_object_is_no_run(tmp_path):
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "model_7.pt")
    engine, _ = make()
    with pytest.raises(CheckpointError, match="should be the checkpoint of a run, .*load_objects"):
        engine.run([1], resume=tmp_path / "model_7.pt")


def test_files_in_the_form_of_ignite_are_resumed_as_far_as_they_go(tmp_path, caplog):
    trainer = {"epoch_length": 4, "iteration": 6, "max_epochs": 2}
    torch.save(
        {"trainer": trainer, "model": {"weight": torch.ones(1)}}, tmp_path / "checkpoint_6.pt"
    )
    engine, seen = make()
    engine.run([1, 2, 3, 4], resume=tmp_path)
    assert engine.state.epoch == 2
    assert len(seen) == 2
    assert "model" in caplog.text
    assert "NOT RESTORED: in the checkpoint, but not in this program" in caplog.text


def test_what_is_not_there_and_what_cannot_be_found_is_said(tmp_path):
    engine, _ = make()
    with pytest.raises(
        FileNotFoundError, match="resume should be 'latest', 'best' or a path, but given .*nowhere"
    ):
        engine.run([1], resume=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="resume='latest' needs a folder: attach Checkpoint.of"):
        engine.run([1], resume="latest")


def test_a_folder_in_which_all_is_damaged_is_no_folder_in_which_nothing_is(tmp_path):
    save_run(tmp_path)
    for file in tmp_path.glob("checkpoint_*.pt"):
        file.write_bytes(file.read_bytes()[:-50])
    engine, seen = make()
    with pytest.raises(
        CheckpointError, match="a readable checkpoint, but all of checkpoint_00000005"
    ):
        engine.run([1, 2, 3, 4], resume=tmp_path)
    assert seen == []


def test_without_a_best_one_the_run_begins_at_the_beginning(tmp_path):
    engine, seen = make()
    Checkpoint.of(engine, tmp_path)
    engine.run([1, 2], resume="best")
    assert seen == [1, 2]


def test_a_run_that_fails_continues_in_the_same_process_with_the_next_batch(tmp_path):
    engine, seen = make()
    Checkpoint.of(engine, tmp_path)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: 1 / 0)
    data = [1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        engine.run(data)
    engine.run(data)
    assert seen == [1, 2, 3, 4]


def test_a_table_names_all_that_was_restored(tmp_path, caplog):
    save_run(tmp_path)
    engine, _ = make()
    with caplog.at_level(logging.INFO):
        engine.run([1, 2, 3, 4], resume=tmp_path)
    text = caplog.text[
        caplog.text.index("Resuming from checkpoint_00000005.pt (epoch 1, iteration 5") :
    ]
    for name in ("trainer", "Average.mean", "data", "random"):
        assert f"{name:{len('Average.mean')}}  restored" in text


def test_nothing_is_executed_and_damage_is_named(tmp_path):
    save_run(tmp_path)
    file = tmp_path / "checkpoint_00000003.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    engine, _ = make()
    with pytest.raises(CheckpointError, match="checkpoint_00000003.pt"):
        engine.run([1, 2, 3, 4], resume=file)
    assert storage.load_latest(storage.open_place(tmp_path)).name == "checkpoint_00000005.pt"


@pytest.mark.parametrize("fail_at", [2, 3, 4, 5, 6, 9])
def test_a_stream_of_unknown_length_continues_in_its_first_pass_and_in_later_ones(
    tmp_path, fail_at
):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(6))

    def program(fail_at, folder):
        loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
        return run_until(fail_at, loader, folder, max_epochs=3)

    parts = program(fail_at, tmp_path / "parts") + program(1000, tmp_path / "parts")
    assert parts == program(1000, tmp_path / "whole")


@pytest.mark.parametrize("resume", ["latest", "folder"])
def test_other_files_with_higher_numbers_are_not_taken_for_the_newest_checkpoint(tmp_path, resume):
    save_run(tmp_path, stop_at=5)
    torch.save({"weight": torch.ones(1)}, tmp_path / "weights_99999.pt")
    other = Engine(lambda engine, batch: None)
    other.state.iteration = 777
    Checkpoint(
        {"model": torch.nn.Linear(1, 1)}, lambda state, name: torch.save(state, tmp_path / name)
    )(other)
    DiskSaver(tmp_path, require_empty=False)({"a": 1}, "best_888.pt", {"basename": "best"})
    engine, seen = make()
    Checkpoint.of(engine, tmp_path)
    engine.run([1, 2, 3, 4], max_epochs=2, resume="latest" if resume == "latest" else tmp_path)
    assert seen == [2, 3, 4]


class Program:
    """Everything that a program has when it calls ``run``, with two batches accumulated, and a log file."""

    def __init__(self, folder, saves):
        torch.manual_seed(1)
        self.place, self.given = storage.open_place(folder / "run"), {}
        self.seen = []
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.trainer = create_supervised_trainer(
            self.model,
            self.optimizer,
            torch.nn.MSELoss(),
            gradient_accumulation_steps=2,
            prepare_batch=self.prepare,
        )
        Average(output_transform=float).attach(self.trainer, "mean")
        self.trainer.state_dict_user_keys.append("note")
        self.trainer.state.note = "mine"
        self.log = folder / "log.jsonl"
        self.logger = JSONLLogger(self.log)
        self.logger.attach_output_handler(
            self.trainer,
            Events.ITERATION_COMPLETED,
            tag="train",
            output_transform=lambda loss: {"loss": loss},
        )
        if saves:
            Checkpoint.of(
                self.trainer,
                folder / "run",
                event=Events.ITERATION_COMPLETED,
                background=False,
                keep_last=99,
            )
        generator = torch.Generator().manual_seed(5)
        x = torch.randn(10, 3, generator=generator)
        self.loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=2, shuffle=True
        )

    def prepare(self, batch, device, non_blocking):
        self.seen.append(batch[0].flatten().tolist())
        return batch

    def run(self, **arguments):
        self.trainer.run(self.loader, **arguments)

    def digest(self):
        state = {
            name: value
            for name, value in vars(self.trainer.state).items()
            if name not in ("times", "dataloader")
        }
        loader = self.trainer.state.dataloader
        return {
            "state": {name: copy.deepcopy(value) for name, value in state.items()},
            "counters": self.trainer.state_dict(),
            "cursor": copy.copy(self.trainer._cursor),
            "model": copy.deepcopy(self.model.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "gradients": [
                None if p.grad is None else p.grad.clone() for p in self.model.parameters()
            ],
            "window": self.trainer._process_function.num_accumulated,
            "position": loader.state_dict() if hasattr(loader, "state_dict") else None,
            "random": capture_random_state(),
            "log": self.log.read_bytes(),
            "pending": self.trainer._resumption,
        }


def raise_at_load(kind):
    errors = []

    class Refuses:
        def state_dict(self):
            return {"a": 1}

        def load_state_dict(self, state):
            if not errors:
                errors.append(kind("while it is loaded"))
                raise errors[0]

    return Refuses()


def add_frame(program):
    @contextlib.contextmanager
    def frame(engine, is_new):
        raise OSError("no such device")
        yield

    program.trainer._frames.append(frame)
    return lambda: program.trainer._frames.remove(frame)


def add_refusing(kind):
    def add(program):
        refusing = raise_at_load(kind)
        handle = program.trainer.add_event_handler(
            Events.COMPLETED, lambda engine, one: None, refusing
        )
        change_file(program, lambda state: state.update(Refuses={"a": 1}))
        return handle.remove

    return add


def change_file(program, change):
    found = storage.load_latest(program.place)
    change(found.state)
    storage.save(program.place, found.name, found.state, found.note)


def damage(program):
    for path in program.place.path.glob("checkpoint_*.pt"):
        path.write_bytes(path.read_bytes()[:-60])


def widen(program):
    change_file(program, lambda state: state["model"].update({"2.weight": torch.ones(1, 7)}))


def regroup(program):
    change_file(program, lambda state: state["optimizer"]["param_groups"].append({"params": []}))


REFUSALS = {
    "a lower limit": ({"max_epochs": 1}, None),
    "a limit of another kind": ({"max_iters": 100}, None),
    "two limits": ({"max_epochs": 4, "max_iters": 100}, None),
    "no epochs": ({"max_epochs": 0}, None),
    "another epoch length": ({"epoch_length": 3}, None),
    "no data": ({"data": None}, None),
    "no iterable": ({"data": 5}, None),
    "empty data": ({"data": []}, None),
    "longer data": ({"data": [(torch.ones(2, 3), torch.ones(2, 1))] * 6}, None),
    "an iterator": ({"data": iter([(torch.ones(2, 3), torch.ones(2, 1))] * 5)}, None),
    "no such file": ({"resume": "/nowhere/at/all.pt"}, None),
    "damage": ({}, damage),
    "another model": ({}, widen),
    "another optimizer": ({}, regroup),
    "an object that raises": ({}, add_refusing(ValueError)),
    "Ctrl-C": ({}, add_refusing(KeyboardInterrupt)),
    "a frame that raises": ({}, add_frame),
}


@pytest.mark.parametrize(
    ("why", "before"), diagonal(REFUSALS, ["nothing", "a run", "a pause", "a failure"])
)
def test_a_resume_that_is_refused_changes_nothing_and_the_next_run_is_as_without_it(
    tmp_path, why, before
):
    arguments, prepare = REFUSALS[why]
    finals = []
    for is_tried in (True, False):
        folder = tmp_path / str(is_tried)
        folder.mkdir()
        first = Program(folder, saves=True)
        first.trainer.add_event_handler(Events.ITERATION_STARTED(once=13), lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.run(max_epochs=3)
        first.logger.close()
        program = Program(folder, saves=False)
        if before == "a run":
            program.run(max_epochs=1)
        elif before == "a pause":
            with program.trainer.add_event_handler(
                Events.ITERATION_COMPLETED(once=2), program.trainer.interrupt
            ):
                program.run(max_epochs=2)
        elif before == "a failure":
            with (
                program.trainer.add_event_handler(
                    Events.ITERATION_COMPLETED(once=3), lambda: 1 / 0
                ),
                pytest.raises(ZeroDivisionError),
            ):
                program.run(max_epochs=2)
        if is_tried:
            undo = prepare(program) if prepare is not None else None
            expected = program.digest()
            kwargs = {"resume": folder / "run", **arguments}
            data = kwargs.pop("data", program.loader)
            error = KeyboardInterrupt if why == "Ctrl-C" else Exception
            with pytest.raises(error):
                program.trainer.run(data, **kwargs)
            found = program.digest()
            if (
                why == "a frame that raises"
            ):  # comes after the file was cut back to where the run goes on
                del found["log"], expected["log"]
            assert first_difference(found, expected, "program") is None
            if undo is not None:
                undo()
        torch.manual_seed(77)
        program.run(max_epochs=3)
        digest = program.digest()
        digest.pop("log")
        finals.append((digest, program.seen))
    assert first_difference(*finals, "end") is None


def test_a_folder_in_which_another_program_writes_is_refused_and_nothing_is_changed(tmp_path):
    first = Program(tmp_path, saves=True)
    first.run(max_epochs=1)
    first.logger.close()
    program = Program(tmp_path, saves=True)
    expected = program.digest()
    with (
        storage.hold(program.place.path),
        pytest.raises(CheckpointError, match="should be written to by one program"),
    ):
        program.run(max_epochs=2, resume="latest")
    assert first_difference(program.digest(), expected, "program") is None
    program.run(max_epochs=2, resume="latest")
    assert program.trainer.state.iteration == 10
