import inspect
import operator
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics import Average, Metric, MetricsLambda


class Fixed(Metric):
    """Has the value that it is given."""

    def __init__(self, value):
        self.value = value
        super().__init__()

    def reset(self): ...

    def update(self, output): ...

    def compute(self):
        return self.value


BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]
named = {"ids": lambda value: getattr(value, "__name__", None)}


@pytest.mark.parametrize("operation", BINARY, **named)
@given(a=st.integers(-9, 9), b=st.integers(1, 9))
def test_operators_between_metrics_and_numbers_on_either_side(operation, a, b):
    if operation is operator.pow and a == 0:
        return
    expected = operation(a, b)
    for metric in (operation(Fixed(a), Fixed(b)), operation(Fixed(a), b), operation(a, Fixed(b))):
        assert isinstance(metric, MetricsLambda)
        assert metric.compute() == expected


VECTOR, OTHER = [4.0, -9.0, 2.5], [2.0, 2.0, 4.0]


@pytest.mark.parametrize("operation", [*BINARY, operator.matmul], **named)
def test_operators_between_metrics_and_tensors_on_either_side(operation):
    expected = (
        sum(a * b for a, b in zip(VECTOR, OTHER, strict=True))
        if operation is operator.matmul
        else [operation(a, b) for a, b in zip(VECTOR, OTHER, strict=True)]
    )
    left, right = torch.tensor(VECTOR), torch.tensor(OTHER)
    for metric in (
        operation(Fixed(left), Fixed(right)),
        operation(Fixed(left), right),
        operation(left, Fixed(right)),
    ):
        assert isinstance(metric, MetricsLambda)
        assert metric.compute().tolist() == expected


@pytest.mark.parametrize("operation", BINARY, **named)
@pytest.mark.parametrize("number", [np.float64, np.float32, np.int64])
def test_operators_between_metrics_and_numbers_of_numpy_on_either_side(operation, number):
    expected = operation(5.0, 2.0)
    for metric in (operation(Fixed(5.0), number(2)), operation(number(5), Fixed(2.0))):
        assert isinstance(metric, MetricsLambda)
        assert metric.compute() == expected
    with_tensor = operation(number(5), Fixed(torch.tensor([2.0, 2.0])))
    assert isinstance(with_tensor, MetricsLambda)
    assert with_tensor.compute().tolist() == [expected, expected]


@pytest.mark.parametrize("operation", BINARY, **named)
def test_operators_between_metrics_and_arrays_on_either_side(operation):
    expected = [operation(a, b) for a, b in zip(VECTOR, OTHER, strict=True)]
    left, right = np.array(VECTOR), np.array(OTHER)
    for metric in (operation(Fixed(left), right), operation(left, Fixed(right))):
        assert isinstance(metric, MetricsLambda)
        assert metric.compute().tolist() == expected


@pytest.mark.parametrize("operation", [operator.neg, operator.pos, operator.abs], **named)
@pytest.mark.parametrize("value", [-3, 0.0, 2.5])
def test_operators_of_one_metric(operation, value):
    assert operation(Fixed(value)).compute() == operation(value)
    assert operation(Fixed(torch.tensor([value, -value]))).compute().tolist() == [
        operation(value),
        operation(-value),
    ]


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, None), slice(None, None, 2), ..., [2, 0]], ids=str
)
def test_indexing_a_value(index):
    expected = np.array(VECTOR)[index].tolist()
    metric = Fixed(torch.tensor(VECTOR))[index]
    assert metric.compute().tolist() == expected
    assert pickle.loads(pickle.dumps(metric)).compute().tolist() == expected


def test_indexing_by_several_and_by_name():
    assert Fixed(torch.arange(6).reshape(2, 3))[1, 2].compute().item() == 5
    assert Fixed({"f1": 0.5})["f1"].compute() == 0.5
    with pytest.raises(KeyError, match="f2"):
        Fixed({"f1": 0.5})["f2"].compute()


def test_methods_of_values_are_called_when_computed():
    value = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    metric = Fixed(value)
    assert metric.mean().compute().item() == 3.0
    assert metric.sum(dim=1).compute().tolist() == [3.0, 9.0]
    assert metric.diag().sum().item().compute() == 7.0
    assert metric.to(torch.float64).compute().dtype == torch.float64
    assert metric.mul(metric).compute().tolist() == [[1.0, 4.0], [9.0, 36.0]]
    assert Fixed("word").upper().compute() == "WORD"


def test_a_composed_metric_follows_its_ingredients():
    mean = Average()
    metric = (mean - 1) ** 2
    mean.update(4.0)
    assert metric.compute() == 9.0
    mean.update(6.0)
    assert metric.compute() == 16.0


def test_composed_and_attached():
    engine, mean = Engine(lambda engine, batch: torch.tensor([batch, 2 * batch])), Average()
    mean.max().attach(engine, "max")
    (1 - mean[0] / mean.sum()).attach(engine, "share")
    (mean > 2.5).any().attach(engine, "any")
    found = engine.run([1.0, 2.0]).metrics
    assert found == {"max": 3.0, "share": pytest.approx(2 / 3), "any": True}


def test_an_unknown_method_fails_in_compute_with_the_place_of_access():
    line = inspect.currentframe().f_lineno + 1
    metric = Fixed(torch.ones(2)).meen()
    with pytest.raises(AttributeError, match="Tensor'> has no attribute 'meen'") as raised:
        metric.compute()
    assert "Note: 'meen' was accessed on the metric at" in str(raised.value)
    assert f'test_arithmetic.py", line {line}, in test_an_unknown_method' in str(raised.value)


def test_private_and_special_names_are_not_methods_of_values():
    for name in ("_missing", "__missing__", "__len__", "__float__", "__torch_function__"):
        with pytest.raises(AttributeError, match=f"'Fixed' object has no attribute '{name}'"):
            getattr(Fixed(1), name)


def test_python_asks_for_signatures():
    class Called(Fixed):
        def __call__(self, engine, *, name="x"):
            return name

    assert str(inspect.signature(Called(1))) == "(engine, *, name='x')"
    assert not callable(Fixed(1))
    with pytest.raises(TypeError, match="not a callable object"):
        inspect.signature(Fixed(1))


def test_a_metric_cannot_be_iterated_over():
    metric = Fixed(torch.ones(2))
    with pytest.raises(TypeError, match="'Fixed' object is not iterable"):
        iter(metric)
    with pytest.raises(TypeError, match="Fixed"):
        _, _ = metric
    with pytest.raises(TypeError, match="Fixed"):
        assert 1.0 in metric


def test_metrics_are_equal_to_themselves_only():
    one, other = Fixed(1), Fixed(1)
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize("operation", [*BINARY, operator.matmul], **named)
def test_composed_metrics_are_pickled(operation):
    left, right = torch.tensor(VECTOR), torch.tensor(OTHER)
    for metric in (
        operation(Fixed(left), Fixed(right)),
        operation(Fixed(left), right),
        operation(left, Fixed(right)),
    ):
        assert (
            pickle.loads(pickle.dumps(metric)).compute().tolist() == operation(left, right).tolist()
        )


def test_methods_of_values_and_operators_of_one_are_pickled():
    metric = -abs(Fixed(torch.tensor(VECTOR))).sum(dim=0).item()
    assert pickle.loads(pickle.dumps(metric)).compute() == -15.5
    unknown = pickle.loads(pickle.dumps(Fixed(1.0).meen()))
    with pytest.raises(AttributeError, match="'meen' was accessed on the metric at"):
        unknown.compute()
