import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.exceptions import NotComputableError
from ignite.metrics import CosineSimilarity, Entropy, MeanAbsoluteError, MeanSquaredError
from ignite.metrics._distances import MeanOfExamples, read_errors, read_rows, row_of_logits, widened
from ignite.metrics.statistics import Totals


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((torch.float16, torch.float16), torch.float32),
        ((torch.bfloat16, torch.float32), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
        ((torch.float32, torch.int64), torch.float64),
        ((torch.uint8, torch.uint8), torch.float64),
    ],
)
def test_errors_are_as_wide_as_they_have_to_be(dtypes, expected):
    errors = read_errors((torch.tensor([1, 200]).to(dtypes[0]), torch.tensor([3, 5]).to(dtypes[1])))
    assert errors.dtype == expected
    assert errors.tolist() == [-2, 195]


def test_targets_take_the_shape_of_predictions_even_if_they_do_not_lie_in_order():
    targets = torch.arange(6.0).reshape(2, 3).t()  # (3, 2), not contiguous
    assert read_errors((torch.zeros(6, 1), targets)).flatten().tolist() == [0, -3, -1, -4, -2, -5]


def test_rows_are_flat_examples_also_when_there_are_none():
    y_pred, y = read_rows((torch.ones(2, 3, 4), torch.zeros(2, 3, 4)))
    assert (y_pred.shape, y.shape, y.dtype) == ((2, 12), (2, 12), torch.float64)
    assert read_rows((torch.ones(0, 3, 4), torch.zeros(0, 3, 4)))[0].shape == (0, 12)


def test_further_dimensions_of_logits_are_further_examples():
    logits = torch.arange(24.0).reshape(2, 3, 4)
    rows = row_of_logits((logits,), 0, "y_pred")
    assert rows.shape == (8, 3)
    assert rows[1].tolist() == logits[0, :, 1].tolist()


def test_complex_numbers_are_refused_and_change_nothing():
    with pytest.raises(TypeError, match="should be real, but given torch.complex64"):
        widened(torch.ones(1, dtype=torch.complex64))
    metric = MeanAbsoluteError()
    metric.update((torch.ones(2), torch.zeros(2)))
    with pytest.raises(TypeError, match="should be real"):
        metric.update((torch.ones(2, dtype=torch.complex64), torch.zeros(2)))
    assert metric.compute() == 1.0


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"given \(2,\) and \(3,\)"):
        read_errors((torch.ones(2), torch.ones(3)))
    with pytest.raises(ValueError, match=r"\(2, 1\) != \(2,\)"):
        read_rows((torch.ones(2, 1), torch.ones(2)))
    with pytest.raises(ValueError, match=r"y_pred must be in the shape of \(B, C\) .*, got \(2,\)"):
        Entropy().update((torch.ones(2), torch.ones(2)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 2**16))
def test_rows_of_logits_are_those_of_each_place(further, seed):
    logits = torch.randn(2, 4, *further, generator=torch.Generator().manual_seed(seed))
    rows = row_of_logits((None, logits), 1, "y")
    expected = [logits[i, :, *place].tolist() for i in range(2) for place in np.ndindex(*further)]
    assert (rows.shape, rows.dtype) == ((2 * math.prod(further), 4), torch.float64)
    assert rows.tolist() == expected


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (0, 0), (2, 0, 3)])
def test_logits_without_classes_are_named(shape):
    with pytest.raises(ValueError, match=r"y must be in the shape of \(B, C\) .*, got " + re.escape(str(shape))):
        row_of_logits((None, torch.ones(shape)), 1, "y")


@pytest.mark.parametrize("read", [read_errors, read_rows])
def test_what_is_read_has_no_gradients_and_leaves_the_output_as_it_is(read):
    y_pred, y = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.float64)
    found = read((y_pred, y))
    for tensor in found if isinstance(found, tuple) else [found]:
        assert not tensor.requires_grad
    for metric in (MeanAbsoluteError(), MeanSquaredError(), CosineSimilarity()):
        metric.update((y_pred, y))
        metric.update((y.float(), y_pred))
    assert y_pred.tolist() == [[1.0] * 3] * 2
    assert y.tolist() == [[0.0] * 3] * 2


class Bits(MeanOfExamples):
    """The mean number of ones."""

    def _declare(self):
        return [Totals(lambda output: (len(output), output.sum()))]

    def _read_output(self, output):
        return output


@given(st.lists(st.lists(st.booleans()), max_size=5))
def test_the_mean_is_over_all_examples(batches):
    metric = Bits()
    for batch in batches:
        metric.update(torch.tensor(batch, dtype=torch.int64))
    seen = [bit for batch in batches for bit in batch]
    if seen:
        assert metric.compute() == sum(seen) / len(seen)
        assert isinstance(metric.compute(), float)
    else:
        with pytest.raises(NotComputableError, match="Bits must have at least one"):
            metric.compute()
