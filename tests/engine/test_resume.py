"""What ``run(resume=...)`` accepts, restores and says; whole runs in tests/handlers/test_run_checkpoint.py."""

import contextlib
import logging

import pytest
import torch

from ignite import storage
from ignite.engine import Engine, Events
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, DiskSaver
from ignite.metrics import Average


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
    for source, expected in ((tmp_path, [2, 3, 4]), (tmp_path / "checkpoint_00000002.pt", [3, 4, 1, 2, 3, 4])):
        engine, seen = make()
        assert engine.run([1, 2, 3, 4], max_epochs=2, resume=source).metrics["mean"] == 2.5
        assert seen == expected


def test_metrics_of_the_epoch_at_hand_go_on_where_ignite_began_anew(tmp_path):
    save_run(tmp_path, stop_at=2)
    engine, seen = make()
    assert engine.run([1, 2, 3, 4], max_epochs=1, resume=tmp_path).metrics == {"mean": 2.5}
    assert seen == [3, 4]


def test_handlers_of_the_first_events_see_the_restored_state_and_what_they_change_is_put_back(tmp_path):
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
    with pytest.raises(ValueError, match="max_epochs should be greater than or equal to the start epoch"):
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
    torch.save({"trainer": trainer, "model": {"weight": torch.ones(1)}}, tmp_path / "checkpoint_6.pt")
    engine, seen = make()
    engine.run([1, 2, 3, 4], resume=tmp_path)
    assert engine.state.epoch == 2
    assert len(seen) == 2
    assert "model" in caplog.text
    assert "NOT RESTORED: in the checkpoint, but not in this program" in caplog.text


def test_what_is_not_there_and_what_cannot_be_found_is_said(tmp_path):
    engine, _ = make()
    with pytest.raises(FileNotFoundError, match="resume should be 'latest', 'best' or a path, but given .*nowhere"):
        engine.run([1], resume=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="resume='latest' needs to know the folder: attach Checkpoint.of"):
        engine.run([1], resume="latest")


def test_a_folder_in_which_all_is_damaged_is_no_folder_in_which_nothing_is(tmp_path):
    save_run(tmp_path)
    for file in tmp_path.glob("checkpoint_*.pt"):
        file.write_bytes(file.read_bytes()[:-50])
    engine, seen = make()
    with pytest.raises(CheckpointError, match="a checkpoint that can be read, but each of checkpoint_00000005"):
        engine.run([1, 2, 3, 4], resume=tmp_path)
    assert seen == []


def test_without_a_best_one_the_run_begins_at_the_beginning(tmp_path):
    engine, seen = make()
    Checkpoint.of(engine, tmp_path)
    engine.run([1, 2], resume="best")
    assert seen == [1, 2]


def test_a_run_that_fails_goes_on_in_the_same_process_with_the_next_batch(tmp_path):
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
    text = caplog.text[caplog.text.index("Resuming from checkpoint_00000005.pt (epoch 1, iteration 5") :]
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
def test_a_stream_of_unknown_length_goes_on_in_its_first_pass_and_in_later_ones(tmp_path, fail_at):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(6))

    def program(fail_at, folder):
        seen = []
        trainer = Engine(lambda engine, batch: seen.append(batch.tolist()))
        Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)

        @trainer.on(Events.ITERATION_STARTED(once=fail_at))
        def fail():
            raise InterruptedError

        with contextlib.suppress(InterruptedError):
            trainer.run(torch.utils.data.DataLoader(Stream(), batch_size=2), max_epochs=3, resume="latest")
        return seen

    parts = program(fail_at, tmp_path / "parts") + program(1000, tmp_path / "parts")
    assert parts == program(1000, tmp_path / "whole")


@pytest.mark.parametrize("resume", ["latest", "folder"])
def test_other_files_with_higher_numbers_are_not_taken_for_the_newest_checkpoint(tmp_path, resume):
    save_run(tmp_path, stop_at=5)
    torch.save({"weight": torch.ones(1)}, tmp_path / "weights_99999.pt")
    other = Engine(lambda engine, batch: None)
    other.state.iteration = 777
    Checkpoint({"model": torch.nn.Linear(1, 1)}, lambda state, name: torch.save(state, tmp_path / name))(other)
    DiskSaver(tmp_path, require_empty=False)({"a": 1}, "best_888.pt", {"basename": "best"})
    engine, seen = make()
    Checkpoint.of(engine, tmp_path)
    engine.run([1, 2, 3, 4], max_epochs=2, resume="latest" if resume == "latest" else tmp_path)
    assert seen == [2, 3, 4]
