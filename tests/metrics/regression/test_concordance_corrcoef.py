import numpy as np
import pytest
import torch
from hypothesis import given

from ignite.metrics.regression import ConcordanceCorrCoef
from support.regression_oracles import cases, check, check_needs_examples, eighths


def by_definition(p, a):
    p, a = np.asarray(p, dtype=np.float64), np.asarray(a, dtype=np.float64)
    covariance = np.mean((p - p.mean()) * (a - a.mean()))
    spread = p.var() + a.var() + (p.mean() - a.mean()) ** 2
    return 2 * covariance / spread if spread > 0 else 1.0


@given(cases(eighths, eighths))
def test_it_is_its_definition(case):
    check(ConcordanceCorrCoef, by_definition, case)


def test_without_examples():
    check_needs_examples(ConcordanceCorrCoef)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_it_does_not_depend_on_the_unit_and_a_common_offset(scale, offset):
    generator = torch.Generator().manual_seed(0)
    p, a = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    metric = ConcordanceCorrCoef()
    metric.update(((p + offset) * scale, (a + offset) * scale))
    assert metric.compute() == pytest.approx(by_definition(p, a), rel=1e-9)


def test_constants_agree_only_if_they_are_equal():
    for prediction, expected in ((2.0, 1.0), (3.0, 0.0)):
        metric = ConcordanceCorrCoef()
        metric.update((torch.full((4,), prediction), torch.full((4,), 2.0)))
        assert metric.compute() == expected
