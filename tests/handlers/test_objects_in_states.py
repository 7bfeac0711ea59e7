"""Objects in states are saved and loaded by all checkpoint handlers, and keep their class."""

import datetime
import pathlib

import numpy as np
import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, ModelCheckpoint


class History:
    """Scores of a run, with the objects that programs keep in them."""

    def __init__(self):
        self.scores = np.zeros(0, dtype=np.float32)
        self.best = np.float64(0)
        self.since = datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.UTC)
        self.path = pathlib.Path("none")
        self.other = None

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

    def add(self, score):
        self.scores = np.append(self.scores, np.float32(score))
        self.best = self.scores.astype(np.float64).max()
        self.path = pathlib.Path(f"epoch_{len(self.scores)}")


def assert_same(found, expected):
    for name, value in vars(expected).items():
        assert type(vars(found)[name]) is type(value)
        assert np.array_equal(vars(found)[name], value)
    assert found.scores.dtype == expected.scores.dtype


def trained(attach, num_epochs=2):
    """Runs a trainer, to which ``attach`` adds a checkpoint; returns the history and the checkpoint."""
    history, model = History(), torch.nn.Linear(1, 1)
    trainer = Engine(lambda engine, batch: batch)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: history.add(engine.state.epoch / 3)
    )
    checkpoint = attach(trainer, {"model": model, "history": history})
    trainer.run([0.0], max_epochs=num_epochs)
    return history, checkpoint


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("kind", ["Checkpoint", "ModelCheckpoint", "single", "include_self"])
def test_states_with_objects_are_saved_and_loaded(kind, background, tmp_path):
    def attach(trainer, objects):
        if kind == "ModelCheckpoint":
            handler = ModelCheckpoint(tmp_path, "run", n_saved=1, background=background)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, handler, objects)
            return handler
        if kind == "single":
            objects = {"history": objects["history"]}
        saver = DiskSaver(tmp_path, background=background)
        handler = Checkpoint(objects, saver, include_self=kind == "include_self")
        trainer.add_event_handler(Events.EPOCH_COMPLETED, handler)
        return handler

    history, checkpoint = trained(attach)
    checkpoint.wait()
    path = checkpoint.last_checkpoint
    for source in (path, torch.load(path, weights_only=True)):
        found = History()
        Checkpoint.load_objects({"history": found}, source)
        assert_same(found, history)
        assert found.scores.tolist() == [np.float32(1 / 3), np.float32(2 / 3)]
    if kind != "ModelCheckpoint":
        found = History()
        whole = (
            {"history": found}
            if kind == "single"
            else {"history": found, "model": torch.nn.Linear(1, 1)}
        )
        checkpoint.reload_objects(whole, global_step=2)
        assert_same(found, history)


@pytest.mark.parametrize("background", [False, True])
def test_a_run_with_objects_is_resumed(background, tmp_path):
    def run(num_epochs):
        history = History()
        trainer = Engine(lambda engine, batch: batch)
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: history.add(engine.state.epoch / 3)
        )
        trainer.state.metrics["curve"] = np.arange(3)
        Checkpoint.of(trainer, tmp_path, background=background, history=history)
        trainer.run([0.0], max_epochs=num_epochs, resume="latest")
        return history, trainer

    run(1)
    history, trainer = run(3)
    assert history.scores.tolist() == [np.float32(i / 3) for i in (1, 2, 3)]
    assert history.scores.dtype == np.float32
    assert type(history.path) is type(pathlib.Path())
    assert history.since.tzinfo is datetime.UTC
    assert trainer.state.metrics["curve"].tolist() == [0, 1, 2]


class Custom:
    """An object of a class that is not known."""

    def __init__(self, value=0):
        self.value = value


@pytest.mark.parametrize("background", [False, True])
def test_other_objects_are_refused_unless_both_sides_ask_for_them(background, tmp_path):
    history, engine = History(), Engine(lambda engine, batch: batch)
    history.other = [Custom(3)]
    with pytest.raises(
        TypeError, match=r"^state\['other'\]\[0\] should be .*Custom: .* or save with DiskSaver"
    ):
        Checkpoint({"history": history}, DiskSaver(tmp_path / "a", background=background))(engine)
    assert list((tmp_path / "a").iterdir()) == []
    for handler in (
        Checkpoint(
            {"history": history},
            DiskSaver(tmp_path / "b", weights_only=False, background=background),
        ),
        ModelCheckpoint(tmp_path / "c", weights_only=False, background=background),
    ):
        handler(engine, {"history": history}) if isinstance(handler, ModelCheckpoint) else handler(
            engine
        )
        handler.wait()
        found = History()
        Checkpoint.load_objects({"history": found}, handler.last_checkpoint, weights_only=False)
        assert found.other[0].value == 3
        assert type(found.scores) is np.ndarray
        with pytest.raises(Exception, match="cannot be loaded safely: it refers to .*Custom"):
            Checkpoint.load_objects({"history": History()}, handler.last_checkpoint)


def test_a_run_with_other_objects_is_resumed_if_its_checkpoint_allows_it(tmp_path):
    def run(num_epochs, weights_only):
        history = History()
        trainer = Engine(lambda engine, batch: batch)

        @trainer.on(Events.EPOCH_COMPLETED)
        def count(engine):
            history.other = Custom(history.other.value + 1 if history.other else 1)

        checkpoint = Checkpoint.of(trainer, tmp_path, history=history, model=None)
        checkpoint.weights_only = weights_only
        trainer.run([0.0], max_epochs=num_epochs, resume="latest")
        return history

    with pytest.raises(TypeError, match=r"^state\['history'\]\['other'\] should be"):
        run(1, weights_only=True)
    assert run(1, weights_only=False).other.value == 1
    assert run(3, weights_only=False).other.value == 3


def test_a_score_of_numpy_is_a_plain_number_in_the_state_of_the_handler(tmp_path):
    engine = Engine(lambda engine, batch: batch)
    handler = Checkpoint(
        {"history": History()},
        tmp_path,
        score_function=lambda engine: np.float64(0.5),
        include_self=True,
    )
    handler(engine)
    written = torch.load(handler.last_checkpoint, weights_only=True)
    assert written["checkpointer"]["_saved"] == [(0.5, handler.last_checkpoint.name)]
    assert type(handler.state_dict()["_saved"][0][0]) is float
