from unittest.mock import patch

import pytest
from torch import nn

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, _run_checkpoint


def test_a_run_is_saved_and_goes_on(tmp_path):
    def program():
        trainer, model = Engine(lambda engine, batch: batch), nn.Linear(1, 1)
        return trainer, Checkpoint.of(trainer, tmp_path, model=model, background=False)

    for max_epochs in (2, 5):
        trainer, checkpoint = program()
        num_iterations = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: num_iterations.append(1))
        trainer.run([0, 0], max_epochs=max_epochs, resume="latest")
    assert (trainer.state.iteration, len(num_iterations)) == (10, 6)
    assert checkpoint.last_checkpoint == "checkpoint_00000010.pt"


def test_all_arguments_are_passed_on(tmp_path):
    options = {
        "event": Events.ITERATION_COMPLETED, "score": "acc", "mode": "min", "n_saved": 3, "keep_last": 4,
        "background": False, "model": 1,
    }  # fmt: skip
    with patch.object(_run_checkpoint, "of") as made:
        found = Checkpoint.of("trainer", tmp_path, **options)
    made.assert_called_once_with("trainer", tmp_path, **options)
    assert found is made.return_value


def test_a_handler_of_single_objects_is_part_of_the_run(tmp_path):
    for max_epochs in (2, 3):
        trainer, model = Engine(lambda engine, batch: batch), nn.Linear(1, 1)
        best = Checkpoint({"model": model}, DiskSaver(tmp_path / "best", require_empty=False), n_saved=2)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, best)
        Checkpoint.of(trainer, tmp_path / "run", background=False)
        trainer.run([0, 0], max_epochs=max_epochs, resume="latest")
    assert best.state_dict()["_saved"] == [(4, "model_4.pt"), (6, "model_6.pt")]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["model_4.pt", "model_6.pt"]


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="mode should be 'max' or 'min', but given 'best'"):
        Checkpoint.of(Engine(lambda engine, batch: batch), tmp_path, mode="best")
