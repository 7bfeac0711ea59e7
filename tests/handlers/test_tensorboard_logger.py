import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint, TensorboardLogger
from ignite.handlers.tensorboard_logger import (
    GradsHistHandler,
    GradsScalarHandler,
    OutputHandler,
    WeightsHistHandler,
    WeightsScalarHandler,
)


def read(folder):
    files = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    files.Reload()
    return files


def scalars(folder, name):
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


def make_training():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    return trainer, model, optimizer, [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(5)]


def test_a_later_file_is_read_last(tmp_path):
    second = int(time.time())
    for later in range(3):
        (tmp_path / f"events.out.tfevents.{second + later}.zzz.99999.9").touch()
    earlier = {path.name for path in tmp_path.glob(f"*.{second}.*")}
    with TensorboardLogger(log_dir=tmp_path):
        (written,) = (path.name for path in tmp_path.iterdir() if "zzz" not in path.name)
    assert written > max(earlier)


def test_files_are_read_back(tmp_path):
    trainer, model, optimizer, data = make_training()
    losses, event = [], Events.ITERATION_COMPLETED
    with TensorboardLogger(log_dir=tmp_path) as logger:
        logger.attach_output_handler(
            trainer, event, tag="training", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED(every=2), optimizer)
        for kind in (
            WeightsScalarHandler,
            GradsScalarHandler,
            WeightsHistHandler,
            GradsHistHandler,
        ):
            logger.attach(trainer, kind(model, tag="m"), Events.EPOCH_COMPLETED)
        trainer.add_event_handler(
            event, lambda: losses.append((trainer.state.iteration, trainer.state.output))
        )
        trainer.run(data, max_epochs=2)
        logger.add_text("note", "of the writer")
        logger.params({"lr": 0.5})
        logger.image("picture", torch.rand(3, 4, 4), 1)
    assert scalars(tmp_path, "training/loss") == [
        (step, pytest.approx(loss)) for step, loss in losses
    ]
    assert scalars(tmp_path, "lr/group_0") == [(step, 0.5) for step in (2, 4, 6, 8, 10)]
    assert scalars(tmp_path, "m/weights_norm/weight")[1] == (
        2,
        pytest.approx(model.weight.norm().item()),
    )
    assert scalars(tmp_path, "m/grads_norm/bias")[1] == (
        2,
        pytest.approx(model.bias.grad.norm().item()),
    )
    tags = read(tmp_path).Tags()
    assert tags["histograms"] == [
        "m/weights/weight",
        "m/weights/bias",
        "m/grads/weight",
        "m/grads/bias",
    ]
    assert [
        event.histogram_value.num for event in read(tmp_path).Histograms("m/weights/weight")
    ] == [2, 2]
    assert set(tags["tensors"]) == {"note/text_summary", "params/text_summary"}
    assert tags["images"] == ["picture"]


def test_a_resumed_run_shows_each_step_once(tmp_path):
    def run(fails):
        trainer, _, _, data = make_training()
        Checkpoint.of(trainer, tmp_path / "checkpoints")
        with TensorboardLogger(log_dir=tmp_path / "events") as logger:
            event = Events.ITERATION_COMPLETED
            logger.attach_output_handler(
                trainer, event, tag="training", output_transform=lambda loss: {"loss": loss}
            )
            if fails:
                trainer.add_event_handler(event(once=13), lambda: 1 / 0, priority=-1)
            trainer.run(data, max_epochs=4, resume="latest")

    with pytest.raises(ZeroDivisionError):
        run(fails=True)
    run(fails=False)
    trainer, _, _, data = make_training()
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: losses.append((trainer.state.iteration, trainer.state.output)),
    )
    Checkpoint.of(trainer, tmp_path / "other")
    trainer.run(data, max_epochs=4)
    assert scalars(tmp_path / "events", "training/loss") == [
        (step, pytest.approx(loss)) for step, loss in losses
    ]


def test_without_tensorboard(monkeypatch):
    for name in ("tensorboardX", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reignition\[tensorboard\]"'):
        TensorboardLogger()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as caught:
        TensorboardLogger(log_dir=tmp_path / "file")
    assert "log_dir of TensorboardLogger should be a folder" in caught.value.__notes__[0]


def test_handlers_work_with_their_logger_only():
    with pytest.raises(RuntimeError, match="OutputHandler works only with TensorboardLogger"):
        OutputHandler("t", "all")(Engine(lambda engine, batch: batch), 3, Events.COMPLETED)


def test_unknown_attributes_are_errors(tmp_path):
    with (
        TensorboardLogger(log_dir=tmp_path) as logger,
        pytest.raises(AttributeError, match="add_nothing"),
    ):
        logger.add_nothing()
