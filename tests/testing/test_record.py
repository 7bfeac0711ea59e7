import numpy as np
import pytest
import torch

from ignite.engine import Engine, Events
from ignite.testing.resume import Recorder, digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2).double()),
        (torch.zeros(2), torch.tensor([0.0, -0.0])),
        (torch.zeros(4), torch.zeros(2, 2)),
        ([1, 2], [12]),
        ([[1], 2], [[1, 2]]),
        ("1", 1),
        ({"a": 1}, {"a": 2}),
        (np.zeros(2), np.zeros(2, dtype=int)),
    ],
)
def test_different_batches_have_different_digests(one, other):
    assert digest(one) != digest(other)


def test_equal_batches_have_equal_digests_wherever_they_lie_in_memory():
    batch = torch.arange(6.0).reshape(2, 3)
    assert digest((batch.t(), "a", None)) == digest([batch.t().contiguous(), "a", None])
    assert digest(torch.zeros(0)) == digest(torch.zeros(0))


def test_batches_and_metrics_are_written_down_with_their_iteration():
    told = []
    trainer = Engine(lambda engine, batch: batch)
    evaluator = Engine(lambda engine, batch: batch)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update(score=engine.state.output)
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine):
        engine.state.metrics["loss"] = engine.state.epoch
        evaluator.run([5])
        evaluator.run([6])

    recorder = Recorder(
        trainer, {"trainer": trainer, "val": evaluator}, lambda *entry: told.append(entry)
    )
    trainer.run([1, 2], max_epochs=2)
    assert recorder.started_at == 0
    assert dict(told) == recorder.entries
    assert list(recorder.entries)[:5] == [
        "batch of iteration 1",
        "batch of iteration 2",
        "metrics of val after iteration 2",
        "metrics of val, run 2, after iteration 2",
        "metrics of trainer after iteration 2",
    ]
    assert recorder.entries["metrics of val, run 2, after iteration 4"] == {"score": 6}
    assert recorder.entries["metrics of trainer after iteration 4"] == {"loss": 2}
    state = recorder.final_state()
    assert list(state) == ["trainer", "val", "random_state"]
    assert (state["trainer"]["iteration"], state["trainer"]["metrics"]) == (4, {"loss": 2})
