import pytest
import torch

from ignite import metrics
from ignite.distributed.fused_reduction import SAME
from ignite.metrics.regression import PearsonCorrelation
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import copied, wide_dtype


class Sum(Statistic):
    """Of positive numbers."""

    PARTS = {"num_examples": "SUM", "total": "SUM", "unit": SAME}  # noqa: RUF012 - as in the library

    def __init__(self, unit="m", device=None):
        self.unit = unit
        super().__init__(device)

    def _parameters(self):
        return (self.unit,)

    def reset(self):
        self.num_examples, self.total = 0, torch.zeros(2)

    def _update(self, reading):
        if reading.output < 0:
            raise ValueError(f"no positive number: {reading.output}")
        self.total += reading.output
        self.num_examples += 1


def test_derived_values_are_cached():
    calls = []

    def scaled(output, factor):
        calls.append(factor)
        return [output * factor]

    reading = Reading(5)
    assert reading.derive(scaled, 2) is reading.derive(scaled, 2)
    assert (reading.derive(scaled, 3), reading.derive(scaled, 2)) == ([15], [10])
    assert calls == [2, 3]


def test_exceptions_are_not_cached():
    calls = []

    def fail(output):
        calls.append(output)
        raise ValueError(f"not {output}")

    reading = Reading("x")
    for ask in (
        lambda: reading.derive(fail),
        lambda: reading.once(lambda found: fail(found.output)),
    ):
        for _ in range(2):
            with pytest.raises(ValueError, match="not x"):
                ask()
    assert calls == ["x"] * 4


def test_once_is_once_for_each_argument():
    calls = []

    def remember(reading, word):
        calls.append((reading.output, word))

    reading = Reading(1)
    for word in "aba":
        reading.once(remember, word)
    assert calls == [(1, "a"), (1, "b")]


def test_equal_kinds_with_equal_parameters_have_equal_keys():
    other = type("Other", (Sum,), {})
    keys = [Sum().key, Sum("km").key, Sum(device=torch.device("cpu")).key, other().key]
    assert len(set(keys)) == 4
    assert Sum().key == keys[0]


def test_the_version_changes_with_what_is_accumulated_and_only_then():
    statistic = Sum()
    versions = [statistic.version]
    statistic.update(Reading(1.0))
    versions.append(statistic.version)
    with pytest.raises(ValueError, match="no positive number: -1"):
        statistic.update(Reading(-1.0))
    assert statistic.version == versions[-1]
    statistic.take({"total": torch.ones(2)})
    versions.append(statistic.version)
    assert len(set(versions)) == 3


def test_copies_are_independent():
    statistic = Sum("km")
    statistic.update(Reading(1.0))
    for other in (statistic.clone(), statistic.narrowed(Sum("km"))):
        other.update(Reading(2.0))
        assert (other.num_examples, other.total.tolist(), other.unit) == (2, [3.0, 3.0], "km")
    fresh = statistic.fresh()
    assert (fresh.num_examples, fresh.total.tolist(), fresh.key) == (0, [0.0, 0.0], statistic.key)
    replaced = statistic.replaced({"total": torch.full((2,), 7.0)})
    assert (replaced.num_examples, replaced.total.tolist()) == (1, [7.0, 7.0])
    assert (statistic.num_examples, statistic.total.tolist()) == (1, [1.0, 1.0])


def test_parts_have_names_and_operations():
    statistic = Sum()
    statistic.update(Reading(1.0))
    found = [(part.op, part.name) for part in statistic.to_combine()]
    assert found == [
        ("SUM", "num_examples of Sum"),
        ("SUM", "total of Sum"),
        ("SAME", "unit of Sum"),
    ]
    assert list(statistic.parts()) == ["num_examples", "total", "unit"]


def test_saved_tensors_are_loaded_to_the_device():
    values = {"num_examples": 2, "total": torch.ones(2), "unit": "m"}
    anywhere, elsewhere = Sum(), Sum(device=torch.device("meta"))
    for statistic in (anywhere, elsewhere):
        statistic.load(values)
    assert (anywhere.total.device.type, elsewhere.total.device.type) == ("cpu", "meta")
    assert elsewhere.num_examples == 2


def test_the_default_device_is_that_of_the_tensors():
    tensor = torch.ones(2, device="meta")
    assert Sum().where(tensor) == torch.device("meta")
    assert Sum(device=torch.device("cpu")).where(tensor) == torch.device("cpu")
    assert wide_dtype(tensor) == torch.float64


def test_tensors_and_lists_are_copied():
    for value in (torch.ones(2), [1, 2]):
        other = copied(value)
        other[0] = 9
        assert value[0] == 1
    assert copied("word") == "word"


SCORES = (torch.tensor([0.25, 0.75, 0.5]), torch.tensor([0.0, 1.0, 1.0]))
CLASSES = (torch.eye(3), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize(
    ("create", "batch"),
    [
        (metrics.Accuracy, CLASSES),
        (metrics.Precision, CLASSES),
        (lambda: metrics.ConfusionMatrix(3), CLASSES),
        (lambda: metrics.CalibrationError(5), SCORES),
        (lambda: metrics.CohenKappa(num_classes=3), (CLASSES[1], CLASSES[1])),
        (lambda: metrics.ROC_AUC(num_bins=5), SCORES),
        (metrics.ROC_AUC, SCORES),
        (metrics.MeanSquaredError, SCORES),
        (metrics.Average, SCORES[0]),
        (PearsonCorrelation, SCORES),
    ],
    ids=[
        "correct",
        "classes",
        "matrix",
        "bins",
        "table",
        "scores",
        "samples",
        "total",
        "accumulation",
        "moments",
    ],
)
def test_a_loaded_state_moves_to_the_device_of_the_outputs(create, batch):
    """As a checkpoint does that was read with ``map_location="cpu"``. Tensors on meta fail if anyone waits for them."""
    metric = create()
    metric.update(batch)
    saved = metric.state_dict()
    metric.load_state_dict(saved)
    metric.update(
        tuple(tensor.to("meta") for tensor in batch)
        if isinstance(batch, tuple)
        else batch.to("meta")
    )
    (statistic,) = metric._statistics_in_use()
    assert statistic.num_examples == 2 * saved["__metric_state_per_rank"][0]["0.num_examples"]
