import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.exceptions import NotComputableError
from ignite.metrics import CosineSimilarity, Entropy, MeanAbsoluteError, MeanSquaredError
from ignite.metrics._distances import (
    NARROW,
    middle_value,
    read_fitting,
    read_rows,
    rows_of_logits,
    squared_distances,
    sum_errors,
    widened,
)
from ignite.metrics._views import View
from ignite.metrics.statistics import Totals


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64]
)
@pytest.mark.parametrize("other", [torch.float32, torch.uint8, torch.int64])
@pytest.mark.parametrize("num", [1, 5000])
def test_errors_are_computed_in_a_dtype_that_is_wide_enough(dtype, other, num):
    pair = (torch.tensor([1, 200] * num).to(dtype), torch.tensor([3, 5] * num).to(other))
    rel = 1e-6 if dtype in NARROW and other in NARROW else 0.0
    assert sum_errors(pair, 1) == (2 * num, pytest.approx(num * 197.0, rel=rel))
    assert sum_errors(pair, 2) == (2 * num, pytest.approx(num * (4 + 195.0**2), rel=rel))


@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e18, 1e30])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("num", [7, 300_000])
def test_sums_of_float32_may_exceed_float32(scale, degree, num):
    """Their squares may be too large or too small, and of their sum too little may be left."""
    generator = torch.Generator().manual_seed(0)
    y_pred, y = (scale * (3 + torch.rand(2, num, generator=generator, dtype=torch.float64))).float()
    expected = math.fsum(
        abs(a - b) ** degree for a, b in zip(y_pred.tolist(), y.tolist(), strict=True)
    )
    assert float(sum_errors((y_pred, y), degree)[1]) == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("hole", [1, 20])
def test_a_large_sum_of_which_some_squares_overflow_is_finite(hole):
    y_pred, y = torch.zeros(hole), torch.full((hole,), 1e25)
    assert float(sum_errors((y_pred, y), 2)[1]) == pytest.approx(hole * float(y[0]) ** 2, rel=1e-12)


def test_targets_that_are_not_contiguous_get_the_shape_of_predictions():
    targets = torch.arange(6.0).reshape(2, 3).t()  # (3, 2), not contiguous
    _, y = read_fitting((torch.zeros(3, 1, 2), targets))
    assert y.tolist() == [[[0, 3]], [[1, 4]], [[2, 5]]]


SHAPES = [
    shape for num_dims in (1, 2, 3) for shape in itertools.product((1, 2, 3), repeat=num_dims)
]


def test_only_further_dimensions_of_size_one_may_differ():
    """Over all pairs of shapes, by a rule that knows no reshape: the places of the numbers that go together."""
    for first, second in itertools.product(SHAPES, repeat=2):
        fits = first[0] == second[0] and squeezed(first) == squeezed(second)
        pair = (torch.zeros(first), torch.arange(math.prod(second)).float().reshape(second))
        if fits:
            y = read_fitting(pair)[1]
            assert (y.shape, y.flatten().tolist()) == (first, pair[1].flatten().tolist())
        else:
            with pytest.raises(ValueError, match=re.escape(f"but given {first} and {second}")):
                read_fitting(pair)


def squeezed(shape):
    return [size for size in shape[1:] if size > 1]


def test_rows_are_flat_examples_also_when_there_are_none():
    y_pred, y = read_rows((torch.ones(2, 3, 4), torch.zeros(2, 3, 4)))
    assert (y_pred.shape, y.shape) == ((2, 12), (2, 12))
    assert read_rows((torch.ones(0, 3, 4), torch.zeros(0, 3, 4)))[0].shape == (0, 12)


def test_further_dimensions_of_logits_are_further_examples():
    logits = torch.arange(24.0).reshape(2, 3, 4)
    rows = rows_of_logits(logits, "y_pred")
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
        read_fitting((torch.ones(2), torch.ones(3)))
    with pytest.raises(ValueError, match=r"\(2, 1\) != \(2,\)"):
        read_rows((torch.ones(2, 1), torch.ones(2)))
    with pytest.raises(ValueError, match=r"y_pred must be in the shape of \(B, C\) .*, got \(2,\)"):
        Entropy().update((torch.ones(2), torch.ones(2)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 2**16))
def test_rows_of_logits_are_those_of_each_place(further, seed):
    logits = torch.randn(2, 4, *further, generator=torch.Generator().manual_seed(seed))
    rows = rows_of_logits(logits, "y")
    expected = [logits[i, :, *place].tolist() for i in range(2) for place in np.ndindex(*further)]
    assert rows.shape == (2 * math.prod(further), 4)
    assert rows.tolist() == expected


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (0, 0), (2, 0, 3)])
def test_logits_without_classes_are_named(shape):
    with pytest.raises(
        ValueError, match=r"y must be in the shape of \(B, C\) .*, got " + re.escape(str(shape))
    ):
        rows_of_logits(torch.ones(shape), "y")


@pytest.mark.parametrize("read", [read_fitting, read_rows])
def test_read_tensors_are_detached_and_the_output_is_unchanged(read):
    y_pred, y = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.float64)
    found = read((y_pred, y))
    for tensor in found if isinstance(found, tuple) else [found]:
        assert not tensor.requires_grad
    for metric in (MeanAbsoluteError(), MeanSquaredError(), CosineSimilarity()):
        metric.update((y_pred, y))
        metric.update((y.float(), y_pred))
    assert y_pred.tolist() == [[1.0] * 3] * 2
    assert y.tolist() == [[0.0] * 3] * 2


class Bits(View):
    """The mean number of ones."""

    def _declare(self):
        return [Totals(lambda output: (len(output[0]), output[0].sum()))]

    def _value(self, totals):
        return totals.mean

    def _read_output(self, output):
        return output


@given(st.lists(st.lists(st.booleans()), max_size=5))
def test_the_mean_is_over_all_examples(batches):
    metric = Bits()
    for batch in batches:
        metric.update((torch.tensor(batch, dtype=torch.int64), torch.zeros(len(batch))))
    seen = [bit for batch in batches for bit in batch]
    if seen:
        assert metric.compute() == sum(seen) / len(seen)
        assert isinstance(metric.compute(), float)
    else:
        with pytest.raises(NotComputableError, match="Bits must have at least one"):
            metric.compute()


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("variance", [1e-3, 1.0, None])
def test_distances_by_products_equal_those_by_differences(offset, spread, variance):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40, 3, generator=generator, dtype=torch.float64)
    a[:20] *= spread
    b[:20] = a[:20] + b[:20] / 100  # near to each other, far from the middle
    a, b = a + offset, b + offset
    expected = ((a[:, None] - b) ** 2).sum(dim=2)
    found = squared_distances(a, b, variance)
    width = float(np.median(expected)) if variance is None else variance
    assert torch.allclose(
        (-found / (2 * width)).exp(), (-expected / (2 * width)).exp(), rtol=0, atol=1e-9
    )


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30))
def test_the_middle_value_is_the_median(values):
    assert middle_value(torch.tensor(values, dtype=torch.float64)).item() == np.median(values)
