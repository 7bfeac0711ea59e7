import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics import EpochMetric
from ignite.metrics.epoch_metric import EpochMetricWarning


def keep():
    """A metric, and the tensors that its function was given."""
    seen = []

    def function(y_pred, y):
        seen.append((y_pred, y))
        return len(seen)

    return EpochMetric(function, check_compute_fn=False), seen


@given(
    st.lists(st.lists(st.floats(-5, 5, width=32), max_size=4), min_size=1, max_size=5).filter(any)
)
def test_the_function_is_given_all_in_order_once(batches):
    metric, seen = keep()
    for batch in batches:
        metric.update((torch.tensor(batch), -torch.tensor(batch)))
    assert (metric.compute(), metric.compute()) == (1, 1)
    ((y_pred, y),) = seen
    everything = [value for batch in batches for value in batch]
    assert (y_pred.tolist(), y.tolist()) == (everything, [-value for value in everything])


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((3,), (6,)), ((3, 1), (6,)), ((3, 2), (6, 2)), ((1, 1), (2,)), ((1,), (2,))],
)
def test_shapes(shape, kept):
    metric, seen = keep()
    for _ in range(2):
        metric.update((torch.ones(shape), torch.zeros(shape[0], dtype=torch.long)))
    metric.compute()
    y_pred, y = seen[0]
    assert (tuple(y_pred.shape), tuple(y.shape), y.dtype) == (kept, kept[:1], torch.long)


def test_what_is_kept_does_not_change_with_the_output():
    metric, seen = keep()
    y_pred, y = torch.ones(2), torch.zeros(2)
    metric.update((y_pred, y))
    y_pred.fill_(7)
    y.fill_(7)
    metric.compute()
    assert [tensor.tolist() for tensor in seen[0]] == [[1.0, 1.0], [0.0, 0.0]]


def test_what_is_kept_has_no_graph():
    metric, seen = keep()
    metric.update((torch.ones(2, requires_grad=True) * 2, torch.zeros(2)))
    metric.compute()
    assert not seen[0][0].requires_grad


@pytest.mark.parametrize(
    ("y_pred", "y", "words"),
    [
        (
            (2, 1, 1),
            (2,),
            r"Predictions should be of shape \(batch_size, n_targets\) or .* but given \(2, 1, 1\)",
        ),
        ((), (2,), r"the same number of rows, but given shapes \(1,\) and \(2,\)"),
        (
            (2,),
            (2, 1, 1),
            r"Targets should be of shape \(batch_size, n_targets\) or .* but given \(2, 1, 1\)",
        ),
        ((2,), (), r"y_pred should be of shape \(batch_size, \) as before, but given \(1, 2\)"),
        ((2, 3), (3,), r"the same number of rows, but given shapes \(2, 3\) and \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_and_change_nothing(y_pred, y, words):
    metric, seen = keep()
    metric.update((torch.ones(2), torch.ones(2)))
    with pytest.raises(ValueError, match=words):
        metric.update((torch.ones(y_pred), torch.ones(y)))
    metric.compute()
    assert [tensor.tolist() for tensor in seen[0]] == [[1.0, 1.0]] * 2


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            torch.int32,
            torch.float32,
            "input y_pred and stored predictions: .* torch.float32 .* but given torch.int32",
        ),
        (
            torch.float32,
            torch.int32,
            "input y and stored targets: .* torch.float32 .* but given torch.int32",
        ),
    ],
)
def test_dtypes_that_change_are_refused_and_change_nothing(first, second, words):
    metric, seen = keep()
    metric.update((torch.ones(2), torch.ones(2)))
    with pytest.raises(ValueError, match="Incoherent types between " + words):
        metric.update((torch.ones(2, dtype=first), torch.ones(2, dtype=second)))
    metric.compute()
    assert [len(tensor) for tensor in seen[0]] == [2, 2]
    metric.reset()
    metric.update((torch.ones(2, dtype=first), torch.ones(2, dtype=second)))
    assert metric.compute() == 2


def fails(y_pred, y):
    raise RuntimeError(f"cannot do with {len(y)}")


def test_a_function_that_fails_for_the_first_batch_is_warned_of_once():
    metric = EpochMetric(fails)
    with pytest.warns(
        EpochMetricWarning, match="Probably, there can be a problem with `compute_fn`:\n .*with 2"
    ):
        metric.update((torch.ones(2), torch.ones(2)))
    metric.update((torch.ones(3), torch.ones(3)))
    with pytest.raises(RuntimeError, match="cannot do with 5"):
        metric.compute()


def test_each_function_is_checked_though_samples_are_shared():
    engine = Engine(lambda engine, batch: (torch.ones(2), torch.ones(2)))
    EpochMetric(lambda y_pred, y: 1).attach(engine, "good")
    bad = EpochMetric(lambda y_pred, y: 1 if len(y) > 2 else fails(y_pred, y))
    bad.attach(engine, "bad")
    with pytest.warns(EpochMetricWarning, match="cannot do with 2") as warned:
        engine.run([0, 0], max_epochs=2)
    assert len(warned) == 2  # once an epoch
    assert engine.state.metrics == {"good": 1, "bad": 1}


def test_without_the_check_a_function_is_called_at_the_end_only():
    metric, seen = keep()
    engine = Engine(lambda engine, batch: (torch.ones(2), torch.ones(2)))
    metric.attach(engine, "value")
    engine.run([0, 0, 0])
    assert [len(y) for _, y in seen] == [6]


def test_metrics_of_an_engine_keep_samples_once():
    engine = Engine(lambda engine, batch: (torch.ones(2), torch.ones(2)))
    metrics = [EpochMetric(lambda y_pred, y, i=i: i * len(y)) for i in range(3)]
    for i, metric in enumerate(metrics):
        metric.attach(engine, str(i))
    assert engine.run([0, 0]).metrics == {"0": 0, "1": 4, "2": 8}
    kept = {metric._statistics_in_use()[0].first.data_ptr() for metric in metrics}
    assert len(kept) == 1
    assert [len(metric._predictions[0]) for metric in metrics] == [4] * 3
    assert [len(metric._targets[0]) for metric in metrics] == [4] * 3


def test_an_empty_first_batch_is_no_reason_to_warn():
    metric = EpochMetric(lambda y_pred, y: (y_pred - y).abs().max().item())
    metric.update((torch.ones(0), torch.ones(0)))
    metric.update((torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])))
    assert metric.compute() == 3.0


def test_the_function_is_one():
    with pytest.raises(TypeError, match="compute_fn should be callable, but given <class 'int'>"):
        EpochMetric(3)
