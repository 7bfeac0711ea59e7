"""Ignite's API as used by programs, and its pitfalls. The rest is in the tests of the private modules."""

import copy
import os
import warnings
import weakref
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from ignite import storage
from ignite.engine import Engine, Events, State
from ignite.handlers import Checkpoint, DiskSaver, ModelCheckpoint, global_step_from_engine
from ignite.handlers.checkpoint import BaseSaveHandler, CheckpointEvents, Item
from support.counter import Counter
from support.garbage import no_garbage_collection


def trainer(iteration=1, epoch=1, **metrics):
    engine = Engine(lambda engine, batch: None)
    engine.state = State(iteration=iteration, epoch=epoch, metrics=metrics)
    return engine


def names_in(folder):
    return sorted(os.listdir(folder))


def nothing(checkpoint, filename):
    pass


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((12, nothing), {}, TypeError, "Argument `to_save` should be a dictionary"),
        (
            ({"m": 1}, nothing),
            {},
            TypeError,
            "Object <class 'int'> should have `state_dict` method",
        ),
        (
            ({"m": Counter()}, 5),
            {},
            TypeError,
            "Argument `save_handler` should be a string or Path object or callable o",
        ),
        (
            ({"m": Counter()}, lambda c: 0),
            {},
            TypeError,
            r"Argument `save_handler` should accept \(checkpoint, filename",
        ),
        (
            ({"m": Counter()}, nothing),
            {"global_step_transform": 3},
            TypeError,
            "global_step_transform should be a funct",
        ),
        (
            ({"m": Counter()}, nothing),
            {"n_saved": 0},
            ValueError,
            "n_saved must be a positive integer or None",
        ),
        (
            ({"m": Counter()}, nothing),
            {"n_saved": -1},
            ValueError,
            "n_saved must be a positive integer or None",
        ),
        (
            ({"m": Counter()}, nothing),
            {"n_saved": 1.5},
            ValueError,
            "n_saved must be a positive integer or None",
        ),
        (
            ({"checkpointer": Counter()}, nothing),
            {"include_self": True},
            ValueError,
            "Cannot have key 'checkpointer'",
        ),
    ],
)
def test_wrong_arguments_are_refused(args, options, error, message):
    with pytest.raises(error, match=message):
        Checkpoint(*args, **options)


def test_names_out_of_the_folder_are_refused_at_once_but_other_handlers_may_have_any(tmp_path):
    for options in (
        {"filename_prefix": "../evil"},
        {"score_name": "/abs"},
        {"filename_pattern": "../{name}.{ext}"},
    ):
        with pytest.raises(ValueError, match="plain name of a file"):
            Checkpoint({"m": Counter()}, tmp_path, **options)
        with pytest.raises(ValueError, match="plain name of a file"):
            ModelCheckpoint(tmp_path, **options)
    saved = []
    Checkpoint({"m": Counter()}, lambda c, f: saved.append(f), filename_prefix="runs/1")(trainer())
    assert saved == ["runs/1_m_1.pt"]
    with pytest.raises(KeyError, match="random_key"):
        Checkpoint({"m": Counter()}, tmp_path, filename_pattern="{random_key}.{ext}")


def test_a_single_object_stands_in_the_file_as_it_is_and_several_by_their_names():
    handler = MagicMock(spec=BaseSaveHandler)
    Checkpoint({"m": Counter(3)}, handler)(trainer(5))
    handler.assert_called_once_with(
        {"count": 3}, "m_5.pt", {"basename": "m", "score_name": None, "priority": 5}
    )
    handler = MagicMock(spec=BaseSaveHandler)
    checkpoint = Checkpoint(
        {"m": Counter(3), "o": [Counter(4)]}, handler, filename_prefix="best", score_name="acc",
        global_step_transform=lambda engine, event: engine.state.epoch,
    )  # fmt: skip
    checkpoint(trainer(5, 2, acc=0.25))
    handler.assert_called_once_with(
        {"m": {"count": 3}, "o": [{"count": 4}]}, "best_checkpoint_2_acc=0.2500.pt",
        {"basename": "best_checkpoint", "score_name": "acc", "priority": 0.25},
    )  # fmt: skip


@pytest.mark.parametrize("score", ["a", None, torch.tensor(0.5), [1]])
def test_scores_are_numbers(score):
    with pytest.raises(ValueError, match="Output of score_function should be a number"):
        Checkpoint({"m": Counter()}, nothing, score_function=lambda engine: score)(trainer())


def test_steps_are_numbers_and_without_one_it_is_the_iteration():
    with pytest.raises(
        ValueError, match="Output of global_step_transform should be a number, but given 'x'"
    ):
        Checkpoint({"m": Counter()}, nothing, global_step_transform=lambda engine, event: "x")(
            trainer()
        )
    checkpoint = Checkpoint(
        {"m": Counter()}, nothing, global_step_transform=lambda engine, event: None
    )
    checkpoint(trainer(7))
    assert checkpoint.last_checkpoint == "m_7.pt"


@pytest.mark.parametrize(("greater_or_equal", "last"), [(False, "m_0_1.pt"), (True, "m_2_1.pt")])
def test_an_equal_score_replaces_a_file_if_that_is_asked_for(greater_or_equal, last):
    checkpoint = Checkpoint(
        {"m": Counter()}, nothing, score_function=lambda engine: 1, greater_or_equal=greater_or_equal,
        global_step_transform=lambda engine, event: engine.state.iteration,
    )  # fmt: skip
    for i in range(3):
        checkpoint(trainer(i))
    assert checkpoint.last_checkpoint == last


def test_the_last_checkpoint_is_the_best_one(tmp_path):
    checkpoint = Checkpoint({"m": Counter()}, tmp_path, n_saved=None, score_name="acc")
    assert checkpoint.last_checkpoint is None
    for score in (0.1, 0.9, 0.5):
        checkpoint(trainer(acc=score))
    assert checkpoint.last_checkpoint == tmp_path / "m_acc=0.9000.pt"
    assert [type(item) for item in checkpoint._saved] == [Item] * 3 == [Checkpoint.Item] * 3
    checkpoint.reset()
    assert checkpoint.last_checkpoint is None
    assert len(names_in(tmp_path)) == 3


def test_the_state_lists_the_kept_files_and_loads_safely(tmp_path):
    checkpoint = Checkpoint({"m": Counter()}, tmp_path, n_saved=2, include_self=True)
    for i in (1, 2):
        checkpoint(trainer(i))
    assert checkpoint.state_dict() == {"_saved": [(1, "m_1.pt"), (2, "m_2.pt")]}
    state = torch.load(checkpoint.last_checkpoint, weights_only=True)
    assert state["checkpointer"] == checkpoint.state_dict()
    assert checkpoint.to_save.keys() == {"m"}
    again = Checkpoint({"m": Counter()}, DiskSaver(tmp_path, require_empty=False), n_saved=2)
    Checkpoint.load_objects({"m": Counter(), "checkpointer": again}, state)
    again(trainer(3))
    assert names_in(tmp_path) == ["m_2.pt", "m_3.pt"]
    with pytest.raises(ValueError, match="should have the key '_saved'"):
        again.load_state_dict({})
    with pytest.raises(TypeError, match="should be a dictionary"):
        again.load_state_dict([])


def test_more_files_than_are_to_be_kept_go_with_the_next_save(tmp_path):
    checkpoint = Checkpoint({"m": Counter()}, tmp_path, n_saved=None)
    for i in range(5):
        checkpoint(trainer(i))
    checkpoint.n_saved = Checkpoint(
        {}, nothing, n_saved=2.0
    ).n_saved  # as some programs read it from a file
    checkpoint(trainer(5))
    assert names_in(tmp_path) == ["m_4.pt", "m_5.pt"]


def test_a_program_may_set_what_is_kept():
    checkpoint = Checkpoint({"m": Counter()}, nothing)
    checkpoint._saved = [Item(3, "m_3.pt")]
    checkpoint(trainer(2))
    assert checkpoint.last_checkpoint == "m_3.pt"


def test_listeners_hear_of_each_file_after_the_first_call_or_after_registering():
    engine, heard = Engine(lambda engine, batch: None), []
    checkpoint = Checkpoint({"m": Counter()}, nothing)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), checkpoint)
    with pytest.raises(ValueError, match="SAVED_CHECKPOINT is not a valid event"):
        engine.add_event_handler(Checkpoint.SAVED_CHECKPOINT, heard.append)
    engine.register_events(*CheckpointEvents)
    engine.add_event_handler(
        CheckpointEvents.SAVED_CHECKPOINT, lambda e: heard.append(e.state.iteration)
    )
    engine.run([0] * 5)
    assert heard == [2, 4]


def test_a_second_handler_of_the_same_event_sees_that_event():
    engine, other, checkpoints, events = Engine(lambda engine, batch: None), trainer(50, 5), [], []
    for _ in range(2):
        checkpoint = Checkpoint(
            {"m": Counter()}, nothing, global_step_transform=global_step_from_engine(other)
        )
        engine.add_event_handler(Events.ITERATION_COMPLETED, checkpoint)
        checkpoints.append(checkpoint)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: events.append(e.last_event_name))
    engine.run([0])
    assert [one.last_checkpoint for one in checkpoints] == ["m_50.pt", "m_50.pt"]
    assert events == [Events.ITERATION_COMPLETED]
    by_hand = trainer(1)
    Checkpoint({"m": Counter()}, nothing)(by_hand)
    assert by_hand.last_event_name is None


def test_a_file_has_the_progress_of_the_run_around_an_evaluator(tmp_path):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    checkpoint = Checkpoint(
        {"m": Counter()}, tmp_path, score_function=lambda engine: trainer.state.epoch / 2, score_name="acc",
        filename_prefix="best", global_step_transform=global_step_from_engine(trainer),
    )  # fmt: skip
    evaluator.add_event_handler(Events.COMPLETED, checkpoint)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([0] * 4, max_epochs=3)
    assert names_in(tmp_path) == ["best_m_3_acc=1.5000.pt"]
    note = storage.read_note(checkpoint.last_checkpoint)
    assert (note.step, note.epoch, note.score, note.score_name) == (12, 3, 1.5, "acc")


@pytest.mark.parametrize(
    "components", [{"score": "0.7700"}, {"score": 0.77}, {"score": 0.77, "name": "m"}]
)
def test_a_file_is_reloaded_by_what_its_name_is_made_of(tmp_path, components):
    checkpoint = Checkpoint(
        {"m": Counter(7)}, tmp_path, n_saved=None, score_name="acc",
        global_step_transform=lambda engine, event: engine.state.epoch,
    )  # fmt: skip
    checkpoint(trainer(4, 2, acc=0.77))
    target = Counter()
    checkpoint.reload_objects({"m": target}, global_step=2, **components)
    assert target.count == 7
    with pytest.raises(FileNotFoundError):
        checkpoint.reload_objects({"m": target}, global_step=3, **components)


def test_files_are_reloaded_by_step_with_options_for_loading(tmp_path):
    checkpoint = Checkpoint(
        {"m": nn.Linear(1, 1), "c": Counter(3)}, DiskSaver(tmp_path, background=True)
    )
    checkpoint(trainer(5))
    checkpoint.reload_objects({"m": nn.Linear(1, 1, bias=False)}, {"strict": False}, global_step=5)
    checkpoint.reload_objects({"c": (counter := Counter())}, global_step=5, name="checkpoint")
    assert counter.count == 3
    with pytest.raises(
        AttributeError, match="Checkpoint's `save_handler` should be of type `DiskSaver`"
    ):
        Checkpoint({"m": Counter()}, nothing).reload_objects({"m": Counter()}, global_step=5)


def test_an_exchanged_handler_is_called_with_what_it_takes():
    saved = []
    checkpoint = Checkpoint({"m": Counter()}, lambda c, f, metadata: saved.append((f, metadata)))
    checkpoint.save_handler = lambda c, f: saved.append(f)
    checkpoint(trainer())
    assert saved == ["m_1.pt"]


def test_mocks_are_save_handlers():
    for spec in (None, BaseSaveHandler, DiskSaver):
        handler = MagicMock(spec=spec)
        checkpoint = Checkpoint({"m": Counter()}, handler)
        for i in (1, 2):
            checkpoint(trainer(i))
        assert handler.call_count == 2
        if spec is not None:
            handler.remove.assert_called_once_with("m_1.pt")


def test_checkpoints_are_copied_with_what_holds_them(tmp_path):
    checkpoint = Checkpoint({"m": Counter()}, lambda c, f: None)
    checkpoint(trainer(1))
    assert copy.deepcopy(checkpoint).state_dict() == checkpoint.state_dict()


def test_a_url_is_a_folder_too():
    pytest.importorskip("fsspec")
    checkpoint = Checkpoint(
        {"m": Counter(8)}, DiskSaver("memory://test-of-checkpoint/run"), n_saved=2
    )
    for i in (1, 2, 3):
        checkpoint(trainer(i))
    assert checkpoint.last_checkpoint == "memory://test-of-checkpoint/run/m_3.pt"
    Checkpoint.load_objects({"m": (counter := Counter())}, checkpoint.last_checkpoint)
    assert counter.count == 8
    again = Checkpoint(
        {"m": Counter()},
        DiskSaver("memory://test-of-checkpoint/run", require_empty="resume"),
        n_saved=2,
    )
    again(trainer(4))
    assert [name for _, name in again._saved] == ["m_3.pt", "m_4.pt"]
    assert again.save_handler._opened.names() == ["m_3.pt", "m_4.pt"]


def test_a_model_checkpoint_is_given_what_to_save_when_it_is_called(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, "run", n_saved=2)
    assert checkpoint.last_checkpoint is None
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.ITERATION_COMPLETED, checkpoint, {"m": Counter()})
    engine.run([0] * 3)
    assert names_in(tmp_path) == ["run_m_2.pt", "run_m_3.pt"]
    assert checkpoint.last_checkpoint == tmp_path / "run_m_3.pt"
    again = ModelCheckpoint(
        str(tmp_path), "run", n_saved=2, require_empty="resume", background=True
    )
    again(trainer(4), {"m": Counter()})
    again.wait()
    assert names_in(tmp_path) == ["run_m_3.pt", "run_m_4.pt"]


def test_a_model_checkpoint_refuses_what_it_cannot_save(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, include_self=True)
    for nothing_to_save in ({}, []):
        with pytest.raises(RuntimeError, match="No objects to checkpoint found"):
            checkpoint(trainer(), nothing_to_save)
    with pytest.raises(TypeError, match="Object <class 'int'> should have `state_dict` method"):
        checkpoint(trainer(), {"a": 3})
    with pytest.raises(ValueError, match="Cannot have key 'checkpointer'"):
        checkpoint(trainer(), {"checkpointer": Counter()})
    checkpoint(trainer(), {"m": Counter()})
    checkpoint.save_handler = lambda c, f: None
    with pytest.raises(RuntimeError, match="Internal error, save_handler should be DiskSaver"):
        _ = checkpoint.last_checkpoint
    with pytest.raises(ValueError, match="are already present"):
        ModelCheckpoint(tmp_path)


def test_a_handler_of_single_objects_is_part_of_a_saved_run(tmp_path):
    for max_epochs in (2, 3):
        engine, model = Engine(lambda engine, batch: batch), nn.Linear(1, 1)
        best = Checkpoint(
            {"model": model}, DiskSaver(tmp_path / "best", require_empty=False), n_saved=2
        )
        engine.add_event_handler(Events.EPOCH_COMPLETED, best)
        Checkpoint.of(engine, tmp_path / "run", background=False)
        engine.run([0, 0], max_epochs=max_epochs, resume="latest")
    assert best.state_dict()["_saved"] == [(4, "model_4.pt"), (6, "model_6.pt")]
    assert names_in(tmp_path / "best") == ["model_4.pt", "model_6.pt"]


def test_saving_holds_neither_the_engine_nor_the_state(tmp_path):

    model, engine = nn.Linear(1, 1), trainer()
    checkpoint = Checkpoint({"m": model}, DiskSaver(tmp_path, background=True))
    with no_garbage_collection():
        checkpoint(engine)
        checkpoint.wait()
        gone = weakref.ref(engine)
        del engine
        assert gone() is None


def test_nothing_is_warned_of_in_an_ordinary_run(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        engine = Engine(lambda engine, batch: None)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, Checkpoint({"m": nn.Linear(1, 1)}, Path(tmp_path))
        )
        engine.run([0], max_epochs=3)
    assert caught == []
