import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import (
    Accuracy,
    Average,
    BatchFiltered,
    BatchWise,
    EpochWise,
    Loss,
    RunningAverage,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
)
from ignite.metrics.regression import MeanAbsoluteRelativeError
from ignite.metrics.regression._base import ZeroTargetError

DATA = [3.0, 8.0, -1.0, 6.0, 10.0, 2.0]


def echo():
    return Engine(lambda engine, batch: batch)


def same(output):
    return output


def smoothed(values, alpha):
    """The definition."""
    average = None
    for value in values:
        average = value if average is None else alpha * average + (1 - alpha) * value
    return average


def mean(values):
    return sum(values) / len(values)


def both(alpha):
    """Of outputs, and of a metric whose value over one batch is the output."""
    yield RunningAverage(alpha=alpha, output_transform=same)
    yield RunningAverage(Average(), alpha)


@pytest.mark.parametrize("of", [0, 1], ids=["outputs", "metric"])
@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=15), alpha=st.floats(0.001, 1.0))
def test_after_each_batch_it_is_the_average_of_all_so_far(of, values, alpha):
    engine, seen = echo(), []
    list(both(alpha))[of].attach(engine, "average")
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.metrics["average"])
    )
    engine.run(values)
    assert seen == pytest.approx(
        [smoothed(values[: i + 1], alpha) for i in range(len(values))], abs=1e-9
    )


EPOCHS = [DATA[:3], DATA[3:]]
USAGES = [
    (RunningBatchWise(), [smoothed(DATA[: i + 1], 0.7) for i in range(6)]),
    (
        SingleEpochRunningBatchWise(),
        [smoothed(epoch[: i + 1], 0.7) for epoch in EPOCHS for i in range(3)],
    ),
    (BatchWise(), DATA),
    (EpochWise(), [None, None, smoothed(EPOCHS[0], 0.7), None, None, smoothed(EPOCHS[1], 0.7)]),
]


@pytest.mark.parametrize(
    ("usage", "expected"), USAGES, ids=lambda value: getattr(value, "usage_name", None)
)
@pytest.mark.parametrize("of", [0, 1], ids=["outputs", "metric"])
@pytest.mark.parametrize("by_name", [False, True])
def test_every_usage_resets_and_computes_at_its_events(usage, expected, of, by_name):
    engine, seen, metric = echo(), [], list(both(0.7))[of]
    metric.attach(engine, "average", usage.usage_name if by_name else usage)
    events = Events.ITERATION_COMPLETED(lambda engine, i: i % 3 != 0) | Events.EPOCH_COMPLETED
    engine.add_event_handler(events, lambda: seen.append(engine.state.metrics.pop("average", None)))
    engine.run(iter(DATA), max_epochs=2, epoch_length=3)
    if usage.usage_name == "epoch_wise":
        expected = [None, None, expected[2], None, None, expected[5]]
    assert seen == [value if value is None else pytest.approx(value) for value in expected]


@pytest.mark.parametrize("of", [0, 1], ids=["outputs", "metric"])
def test_over_epochs_it_takes_one_value_an_epoch(of):
    """The last output; of a metric, its value over the epoch."""
    values = [[epoch[-1] for epoch in EPOCHS], [mean(epoch) for epoch in EPOCHS]][of]
    engine, seen, metric = echo(), [], list(both(0.7))[of]
    metric.attach(engine, "average", RunningEpochWise())
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(engine.state.metrics["average"])
    )
    engine.run(iter(DATA), max_epochs=2, epoch_length=3)
    assert seen == pytest.approx([values[0], smoothed(values, 0.7)])


def test_with_a_filter_the_metric_is_over_the_batches_since_the_last_value():
    engine, metric = echo(), RunningAverage(Average(), 0.7)
    metric.attach(engine, "average", BatchFiltered(every=2))
    expected = smoothed([mean(DATA[0:2]), mean(DATA[2:4]), mean(DATA[4:6])], 0.7)
    assert engine.run(DATA).metrics["average"] == pytest.approx(expected)


def test_of_metrics_computed_from_others():
    """Each with its own transform, as if it were attached itself."""
    engine = Engine(lambda engine, batch: {"loss": batch, "size": 2.0})
    loss, size = Average(lambda output: output["loss"]), Average(lambda output: output["size"])
    RunningAverage(loss / size + 1, 0.5).attach(engine, "average")
    (loss / size + 1).attach(engine, "plain", "batch_wise")
    found = engine.run(DATA).metrics
    assert found["plain"] == DATA[-1] / 2 + 1
    assert found["average"] == pytest.approx(smoothed([value / 2 + 1 for value in DATA], 0.5))


def test_of_a_classification():
    outputs = [
        (torch.tensor([1, 1, 0, 0]), torch.tensor(y))
        for y in ([1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0])
    ]
    engine, accuracy = Engine(lambda engine, batch: outputs[batch]), Accuracy()
    RunningAverage(accuracy, 0.9).attach(engine, "average")
    accuracy.attach(engine, "accuracy")
    found = engine.run([0, 1, 2]).metrics
    assert found["average"] == pytest.approx(smoothed([1.0, 0.75, 0.25], 0.9))
    assert found["accuracy"] == pytest.approx(mean([1.0, 0.75, 0.25]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_averages_of_tensors_are_tensors_that_share_no_memory(dtype):
    outputs = [
        torch.tensor([value, -value], dtype=dtype, requires_grad=True) for value in (1.0, 3.0, 4.0)
    ]
    engine, metric = (
        Engine(lambda engine, batch: outputs[batch]),
        RunningAverage(alpha=0.5, output_transform=same),
    )
    metric.attach(engine, "average")
    average = engine.run([0, 1, 2]).metrics["average"]
    assert (average.tolist(), average.dtype, average.requires_grad) == ([3.0, -3.0], dtype, False)
    average.fill_(7)
    assert metric.compute().tolist() == [3.0, -3.0]
    assert [output[0].item() for output in outputs] == [1.0, 3.0, 4.0]


def test_many_small_steps_add_up():
    """In float32, 1 - 0.9999 of a value near the average would be rounded off."""
    metric = RunningAverage(alpha=0.9999, output_transform=same)
    values = torch.cat([torch.zeros(1), torch.ones(3000)])
    for value in values:
        metric.update(value)
    assert metric.compute().item() == pytest.approx(1 - 0.9999**3000, rel=1e-6)


def test_numbers_of_whole_tensors_become_floats():
    engine = echo()
    RunningAverage(alpha=0.5, output_transform=same).attach(engine, "average")
    assert engine.run([torch.tensor(3), torch.tensor(6)]).metrics == {"average": 4.5}


@pytest.mark.parametrize(
    ("bound", "usage"), [(True, SingleEpochRunningBatchWise()), (False, RunningBatchWise())]
)
def test_epoch_bound_is_deprecated_and_overrides_the_usage(bound, usage):
    with pytest.warns(
        UserWarning, match="`epoch_bound` is deprecated and will be removed in the future."
    ):
        metric = RunningAverage(alpha=0.7, output_transform=same, epoch_bound=bound)
    engine = echo()
    metric.attach(engine, "average", EpochWise())
    assert metric.is_attached(engine, usage)
    engine.run(iter(DATA), max_epochs=2, epoch_length=3)
    assert engine.state.metrics["average"] == pytest.approx(
        smoothed(EPOCHS[1] if bound else DATA, 0.7)
    )
    metric.detach(engine, EpochWise())
    assert not metric.is_attached(engine, usage)


@pytest.mark.parametrize("of", [0, 1], ids=["outputs", "metric"])
def test_several_are_attached_and_detached_independently(of):
    engine, metric = echo(), list(both(0.7))[of]
    metric.attach(engine, "so_far")
    metric.attach(engine, "again")
    metric.attach(engine, "epoch", EpochWise())
    list(both(0.2))[of].attach(engine, "other")
    so_far, other = (pytest.approx(smoothed(DATA, alpha)) for alpha in (0.7, 0.2))
    assert engine.run(DATA).metrics == {
        "so_far": so_far,
        "again": so_far,
        "epoch": so_far,
        "other": other,
    }
    metric.detach(engine)
    assert not metric.is_attached(engine)
    assert metric.is_attached(engine, EpochWise())
    engine.state.metrics.clear()
    assert engine.run(DATA).metrics == {"epoch": so_far, "other": other}
    metric.detach(engine, EpochWise())
    engine.state.metrics.clear()
    assert engine.run(DATA).metrics == {"other": other}


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, y_pred, y):
        return (self.scale * y_pred - y).mean()


def test_a_loss_with_parameters_is_the_users_own_under_every_usage():
    """Parameters may be trained on while the metric is attached."""
    engine, criterion = Engine(lambda engine, batch: (torch.ones(2), torch.zeros(2))), Scaled()
    metric = RunningAverage(Loss(criterion))
    metric.attach(engine, "batch")
    metric.attach(engine, "epoch", EpochWise())
    with torch.no_grad():
        criterion.scale.fill_(5.0)
    assert engine.run([0]).metrics == {"batch": 5.0, "epoch": 5.0}


@pytest.mark.parametrize("of", [0, 1], ids=["outputs", "metric"])
def test_a_run_after_an_exception_in_mid_epoch_restarts(of):
    engine, failures, metric = echo(), [ValueError("once")], list(both(0.5))[of]

    def fail():
        if failures:
            raise failures.pop()

    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    metric.attach(engine, "average")
    with pytest.raises(ValueError, match="once"):
        engine.run([100.0, 100.0])
    engine.state.max_epochs = None
    assert engine.run([1.0, 3.0]).metrics["average"] == 2.0


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: RunningAverage(alpha=0.5, output_transform=same), torch.ones(2)),
        (lambda: RunningAverage(Average(), 0.5), torch.tensor(1.0)),
    ],
    ids=["outputs", "metric"],
)
def test_state_dicts_and_pickles_continue(make, value):
    metric, loaded = make(), make()
    metric.update(value)
    loaded.load_state_dict(metric.state_dict())
    for other in (loaded, pickle.loads(pickle.dumps(metric))):
        assert torch.equal(other.compute(), metric.compute())
        assert other.compute().dtype == metric.compute().dtype
        other.update(3 * value)
        assert torch.equal(other.compute().double(), 2 * value.double())


def test_without_values_there_is_no_average():
    for metric in both(0.5):
        with pytest.raises(
            NotComputableError, match="RunningAverage must have at least one example"
        ):
            metric.compute()
        metric.update(2.0)
        metric.reset()
        with pytest.raises(
            NotComputableError, match="RunningAverage must have at least one example"
        ):
            metric.compute()


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, float("nan")])
def test_alpha_is_checked(alpha):
    with pytest.raises(
        ValueError, match=f"alpha should be a float between 0.0 and 1.0., but given {alpha}"
    ):
        RunningAverage(alpha=alpha, output_transform=same)


def test_arguments_that_exclude_each_other_are_refused():
    with pytest.raises(TypeError, match="src should be a Metric or None., but given <class 'str'>"):
        RunningAverage("loss")
    with pytest.raises(
        ValueError, match="Argument output_transform should be None if src is a Metric"
    ):
        RunningAverage(Average(), output_transform=same)
    with pytest.raises(ValueError, match="Argument device should be None if src is a Metric"):
        RunningAverage(Average(), device="cpu")
    with pytest.raises(
        ValueError, match="output_transform should not be None if src corresponds to the output"
    ):
        RunningAverage()
    with pytest.raises(ValueError, match="but given 'weekly'"):
        RunningAverage(Average()).attach(echo(), "average", "weekly")


SCORES = torch.eye(3)
EMPTY = (torch.empty(0, 3), torch.empty(0, dtype=torch.long))
ALL_RIGHT, ONE_WRONG = (SCORES, torch.tensor([0, 1, 2])), (SCORES, torch.tensor([0, 1, 1]))
VALUES = {"accuracy": (Accuracy, [2 / 3, 1.0]), "doubled": (lambda: 2 * Accuracy(), [4 / 3, 2.0])}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1), (1, 2, 3), (0, 2, 4)])
def test_an_empty_batch_adds_nothing(name, places):
    """Wherever it comes, and under all usages that have a value for each batch."""
    make, values = VALUES[name]
    outputs = [ONE_WRONG, ALL_RIGHT]
    for place in places:
        outputs.insert(place, EMPTY)
    engine = Engine(lambda engine, batch: outputs[batch])
    RunningAverage(make(), 0.5).attach(engine, "average")
    for usage in (
        "batch_wise",
        "running_batch_wise",
        "single_epoch_running_batch_wise",
        "epoch_wise",
    ):
        make().attach(engine, usage, usage)
    found = engine.run(range(len(outputs))).metrics
    overall = pytest.approx(mean(values))
    assert found["average"] == pytest.approx(smoothed(values, 0.5))
    assert found["batch_wise"] == pytest.approx(values[1])
    assert [found[usage] for usage in found if usage not in ("average", "batch_wise")] == [
        overall
    ] * 3


def test_before_the_first_example_there_is_no_value():
    seen = []
    engine = Engine(lambda engine, batch: (EMPTY, ALL_RIGHT)[batch])
    RunningAverage(Accuracy(), 0.5).attach(engine, "average")
    Accuracy().attach(engine, "batch", "batch_wise")
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(dict(engine.state.metrics))
    )
    engine.run([0, 1])
    assert seen == [{}, {"average": 1.0, "batch": 1.0}]


def test_an_epoch_without_examples_is_an_error():
    engine = Engine(lambda engine, batch: EMPTY)
    Accuracy().attach(engine, "accuracy")
    with pytest.raises(NotComputableError, match="Accuracy must have at least one example"):
        engine.run([0])


def test_a_target_of_zero_is_not_an_empty_batch():
    """Elsewhere than on the CPU it is seen when the value is computed: here as in a state that was saved there."""
    engine = Engine(lambda engine, batch: None)
    metric = MeanAbsoluteRelativeError(lambda output: (torch.ones(1), torch.ones(1)))
    metric.attach(engine, "value", "running_batch_wise")

    def find_zero():
        (state,) = metric.state_dict()["__metric_state_per_rank"]
        metric.load_state_dict(
            {"__metric_state_per_rank": [{**state, "0.total_1": torch.tensor(1)}]}
        )

    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), find_zero)
    with pytest.raises(NotComputableError, match="The ground truth has 0"):
        engine.run([0, 1, 2, 3])


class Refusing(Average):
    def compute(self):
        raise ZeroTargetError


def test_an_average_does_not_pass_over_it_either():
    metric = RunningAverage(Refusing())
    with pytest.raises(NotComputableError, match="The ground truth has 0"):
        metric.update(1.0)
