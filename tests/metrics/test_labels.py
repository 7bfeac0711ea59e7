import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ignite.metrics import _output_arrays
from ignite.metrics._output_arrays import (
    argmax,
    as_classes,
    count_outside,
    is_binary,
    ratio,
    read_labels,
)
from support.classification_oracles import elsewhere

inf, nan = math.inf, math.nan
few_values = st.sampled_from([-inf, -1.0, -0.0, 0.0, 0.5, inf, nan])
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
shapes = arrays.array_shapes(min_dims=2, max_dims=4, max_side=5)


@pytest.fixture
def no_numpy(monkeypatch):
    """As with a torch that was built without numpy."""

    def numpy(tensor):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    _output_arrays.has_numpy.cache_clear()
    yield
    _output_arrays.has_numpy.cache_clear()


def first_of_the_highest(values):
    """The first NaN, or else the first of the highest."""
    best = 0
    for i, value in enumerate(values):
        if math.isnan(values[best]):
            break
        if math.isnan(value) or value > values[best]:
            best = i
    return best


@given(
    arrays.arrays(np.float64, shapes, elements=few_values),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_argmax_is_that_of_torch(values, dtype):
    scores = torch.from_numpy(values).to(dtype)
    found = argmax(scores)
    assert torch.equal(found, scores.argmax(dim=1))
    assert found.dtype == torch.int64
    rows = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])
    assert found.flatten().tolist() == [first_of_the_highest(row) for row in rows.tolist()]


def test_argmax_without_numpy(no_numpy):
    values = torch.tensor(list(itertools.product([-inf, 0.0, 1.0, inf, nan], repeat=3)))  # (125, 3)
    for scores in (values, values.reshape(5, 5, 5, 3).movedim(-1, 1)):
        with pytest.raises(RuntimeError, match="Numpy is not available"):
            scores.numpy()
        found = argmax(scores)
        assert found.flatten().tolist() == [first_of_the_highest(row) for row in values.tolist()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_argmax_of_dtypes_that_numpy_lacks_or_handles_slowly(dtype):
    scores = torch.tensor([[1, 3, 3], [2, 0, 1]]).to(dtype)
    assert argmax(scores).tolist() == [1, 0]


def test_argmax_of_views_and_of_empty_tensors():
    scores = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(argmax(scores.transpose(1, 2)), scores.transpose(1, 2).argmax(dim=1))
    assert torch.equal(argmax(scores[:, ::2]), scores[:, ::2].argmax(dim=1))
    assert argmax(torch.empty(0, 3, 2)).shape == (0, 2)


def test_predictions_that_need_gradients_are_read():
    scores = torch.eye(3, requires_grad=True)
    labels = read_labels((scores, torch.tensor([0, 1, 1])))
    assert (labels.y_pred.tolist(), labels.y_pred.requires_grad) == ([0, 1, 2], False)


@pytest.mark.parametrize(
    ("shape", "true_shape", "is_multilabel", "expected"),
    [
        ((4,), (4,), False, ("binary", 1, 4, 4)),
        ((4, 1), (4,), False, ("binary", 1, 4, 4)),
        ((4,), (4, 1), False, ("binary", 1, 4, 4)),
        ((4, 3), (4, 3), False, ("binary", 1, 4, 12)),
        ((4, 1, 2, 2), (4, 2, 2), False, ("binary", 1, 4, 16)),
        ((4, 3), (4,), False, ("multiclass", 3, 4, 4)),
        ((4, 3, 2, 5), (4, 2, 5), False, ("multiclass", 3, 4, 40)),
        ((4, 3), (4, 3), True, ("multilabel", 3, 4, 4)),
        ((4, 3, 2, 5), (4, 3, 2, 5), True, ("multilabel", 3, 4, 40)),
        ((0, 3), (0,), False, ("multiclass", 3, 0, 0)),
    ],
)
def test_the_kind_follows_from_the_shapes(shape, true_shape, is_multilabel, expected):
    labels = read_labels(
        (torch.zeros(shape), torch.zeros(true_shape, dtype=torch.int64)), is_multilabel
    )
    assert (labels.kind, labels.num_classes, labels.num_items, labels.num_examples) == expected
    assert labels.y_pred.shape == labels.y.shape
    assert labels.num_outside == 0


@given(st.lists(st.integers(-3, 5), max_size=20), st.integers(2, 4))
def test_targets_that_are_not_a_class_are_counted(values, num_classes):
    y = torch.tensor(values, dtype=torch.int64)
    expected = sum(not 0 <= value < num_classes for value in values)
    assert count_outside(y, num_classes) == expected
    assert int(count_outside(*elsewhere(y), num_classes)) == expected


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5, nan, inf, -inf]), min_size=1, max_size=10)
)
def test_values_other_than_0_and_1_are_counted_on_an_accelerator(values):
    y = torch.tensor(values)
    expected = sum(value not in (0.0, 1.0) for value in values)
    assert int(read_labels(elsewhere(torch.zeros(len(values)), y)).num_outside) == expected
    if expected:
        wrong = next(value for value in values if value not in (0.0, 1.0))
        with pytest.raises(
            ValueError, match=f"y must be comprised of 0's and 1's., but given {wrong}"
        ):
            read_labels((torch.zeros(len(values)), y))


def test_ratios_over_zero_are_zero():
    found = ratio(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.0, 2.0]))
    assert found.tolist() == [0.0, 0.0, 1.5]


@given(
    st.lists(st.sampled_from([-0.0, 0.0, 1.0, 1.0, 2.0, -1.0, 0.5, 1e-4, nan, inf, -inf])),
    st.sampled_from(FLOATS),
)
def test_binary_values_are_0_or_1(values, dtype):
    assert is_binary(torch.tensor(values, dtype=dtype)) == all(
        value in (0.0, 1.0) for value in values
    )


def test_binary_values_whose_sum_overflows_are_binary():
    values = torch.ones(2**17, dtype=torch.float16)
    assert values.sum().isinf()
    assert is_binary(values)
    values[-1] = inf
    assert not is_binary(values)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64])
def test_integers_are_binary_if_they_are_0_or_1(dtype):
    every = torch.arange(-128, 256).to(dtype)
    assert every[[is_binary(each) for each in every]].unique().tolist() == [0, 1]


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, -0.9, 0.5, nan, inf, -inf]), max_size=6),
    st.sampled_from(FLOATS),
)
def test_labels_are_whole_numbers(values, dtype):
    y = torch.tensor(values, dtype=dtype)
    is_whole = [math.isfinite(value) and value == int(value) for value in values]
    classes, num_wrong = as_classes("y", *elsewhere(y))
    assert int(num_wrong) == is_whole.count(False)
    assert classes[torch.tensor(is_whole, dtype=torch.bool)].tolist() == [
        int(value) for value, whole in zip(values, is_whole, strict=True) if whole
    ]
    if all(is_whole):
        assert as_classes("y", y)[1] == 0
    else:
        with pytest.raises(
            ValueError, match="y should be labels, whole numbers, but given .* in output_transform"
        ):
            as_classes("y", y)
    with pytest.raises(TypeError, match="y should be labels, but given torch.complex64"):
        as_classes("y", torch.zeros(2, dtype=torch.complex64))


@given(arrays.arrays(np.float64, shapes, elements=few_values), st.sampled_from(FLOATS))
def test_nan_scores_are_refused_on_the_host_and_counted_on_an_accelerator(values, dtype):
    scores = torch.from_numpy(values).to(dtype)
    if scores.shape[1] == 1:
        scores = scores.repeat_interleave(2, dim=1)
    y = torch.zeros(scores[:, 0].shape, dtype=torch.int64)
    expected = int(np.isnan(values).any(axis=1).sum())
    assert int(read_labels(elsewhere(scores, y)).num_invalid) == expected
    if expected:
        with pytest.raises(
            ValueError,
            match=f"y_pred should be scores, but given NaN in {expected} of {y.numel()} ex",
        ):
            read_labels((scores, y))
    else:
        assert read_labels((scores, y)).num_invalid == 0


def test_lazily_negated_tensors_are_read_correctly():
    parts = torch.complex(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    scores = parts.conj().imag  # the negatives of what is in memory
    assert scores.is_neg()
    assert read_labels((scores, torch.tensor([0, 0]))).y_pred.tolist() == [0, 2]
