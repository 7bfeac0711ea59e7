import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ignite.engine import Engine, Events
from ignite.handlers.logger_utils import setup_tb_logging


def make_engines():
    trainer, evaluator = Engine(lambda engine, batch: batch), Engine(lambda engine, batch: batch)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: trainer.state.metrics.update(a=trainer.state.output)
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        evaluator.state.metrics = {"b": 10.0, "c": 20.0}
        evaluator.run([0, 0, 0])

    return trainer, evaluator


def read(folder):
    files = EventAccumulator(str(folder))
    files.Reload()
    return {
        tag: [(event.step, event.value) for event in files.Scalars(tag)]
        for tag in files.Tags()["scalars"]
    }


def test_one_line(tmp_path):
    trainer, evaluator = make_engines()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    with setup_tb_logging(str(tmp_path), trainer, optimizer, evaluator, log_every_iters=2):
        trainer.run([1.0, 2.0, 3.0, 4.0], max_epochs=2)
    assert read(tmp_path) == {
        "training/a": [(2, 2.0), (4, 4.0), (6, 2.0), (8, 4.0)],
        "lr/group_0": [(2, 0.5), (4, 0.5), (6, 0.5), (8, 0.5)],
        "validation/b": [(1, 10.0), (2, 10.0)],
        "validation/c": [(1, 20.0), (2, 20.0)],
    }


def test_dictionaries_and_names(tmp_path):
    trainer, evaluator = make_engines()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    names = {"trainer_metric_names": [], "evaluator_metric_names": ["c"]}
    with setup_tb_logging(
        str(tmp_path), trainer, {"o": optimizer}, {"v": evaluator}, None, **names
    ):
        trainer.run([1.0])
    assert read(tmp_path) == {"o/lr/group_0": [(1, 0.5)], "v/c": [(1, 20.0)]}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            {"optimizers": 3},
            "Argument optimizers should be either a single optimizer or .* given int",
        ),
        (
            {"evaluators": {"a": 3}},
            "Argument evaluators should be either a single engine or .* given int",
        ),
    ],
)
def test_bad_input(tmp_path, arguments, match):
    trainer, _ = make_engines()
    with pytest.raises(TypeError, match=match):
        setup_tb_logging(str(tmp_path), trainer, **arguments)
