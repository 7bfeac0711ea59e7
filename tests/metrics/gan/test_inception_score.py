"""The inception score against scipy's relative entropy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr, rel_entr, xlogy
from torch import nn

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import InceptionScore

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
EVEN = torch.full((3, 4), 0.25)


def score_by_scipy(probabilities):
    p = probabilities.double().numpy()
    return float(np.exp(rel_entr(p, p.mean(axis=0)).sum(axis=1).mean()))


@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_it_is_the_value_of_scipy_for_any_batches(seed, num_classes, sizes, certainty):
    generator = torch.Generator().manual_seed(seed)
    logits = certainty * torch.randn(
        sum(sizes), num_classes, generator=generator, dtype=torch.float64
    )
    probabilities = logits.softmax(dim=1)
    metric = InceptionScore(num_classes)
    for batch in probabilities.split(sizes):
        metric.update(batch)
    assert metric.compute() == pytest.approx(score_by_scipy(probabilities), rel=1e-12)


def of_any_sum(probabilities):
    """The score of rows that do not add up to 1 because they are rounded."""
    p = probabilities.double().numpy()
    return float(np.exp(xlogy(p, p).sum(axis=1).mean() + entr(p.mean(axis=0)).sum()))


@given(st.integers(0, 2**32), st.sampled_from(DTYPES), st.sampled_from([10, 900]))
def test_narrow_dtypes_lose_no_more_than_they_have(seed, dtype, n):
    """In small batches, which are joined, and in one that is not."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(n, 6, generator=generator)).softmax(dim=1).to(dtype)
    metric = InceptionScore(6)
    metric.update(probabilities)
    assert metric.compute() == pytest.approx(of_any_sum(probabilities), rel=1e-6)


def test_sure_and_diverse_samples_have_the_number_of_classes():
    metric = InceptionScore(5)
    metric.update(torch.eye(5))
    assert metric.compute() == pytest.approx(5, rel=1e-14)


def test_samples_that_look_alike_have_1():
    metric = InceptionScore(4)
    metric.update(EVEN)
    assert metric.compute() == 1


def test_probabilities_come_from_the_extractor_in_evaluation_mode():
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Dropout(0.9), nn.Softmax(dim=1))
    images = torch.rand(8, 3, 2, 2)
    engine = Engine(lambda engine, batch: batch)
    InceptionScore(4, extractor).attach(engine, "score")
    found = engine.run(images.split(3)).metrics["score"]
    assert extractor.training
    assert found == pytest.approx(score_by_scipy(extractor.eval()(images).detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (2 * EVEN, ValueError, "should be probabilities.* from 0.5 to 0.5 that adds up to 2; apply softmax"),
        (torch.tensor([[0.5, -0.5, 0.5, 0.5]]), ValueError, "should be probabilities.* from -0.5 to 0.5"),
        (EVEN * math.nan, ValueError, "should be probabilities.* that adds up to nan"),
        (EVEN[0], ValueError, "a tensor of dim 2, got: 1"),
        (EVEN[:, :3], ValueError, "num_features returned by feature_extractor should be 4, got: 3"),
        (EVEN + 0j, TypeError, "must be real, got: torch.complex64"),
        ((EVEN, EVEN), TypeError, "one tensor of shape .* <class 'tuple'>; choose it in output_transform"),
        ([EVEN], TypeError, "one tensor .* <class 'list'>; choose it in output_transform"),
        (0.5, TypeError, "one tensor .* <class 'float'>; choose it in output_transform"),
        (torch.tensor(0.5), TypeError, "one tensor .* <class 'torch.Tensor'>"),
        ({"y_pred": EVEN, "y": EVEN}, TypeError, "one tensor .* <class 'dict'>; choose it in output_transform"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_and_change_nothing(batch, error, message):
    metric = InceptionScore(4)
    metric.update(EVEN)
    before = repr(metric.state_dict())
    with pytest.raises(error, match=message):
        metric.update(batch)
    assert repr(metric.state_dict()) == before
    engine = Engine(lambda engine, _: batch)
    InceptionScore(4).attach(engine, "score")
    with pytest.raises(error, match=message):
        engine.run([0])


def test_two_scores_of_one_engine_extract_once():
    calls = []

    class Extractor(nn.Identity):
        def forward(self, x):
            calls.append(1)
            return x.reshape(len(x), 4)

    extractor = nn.Sequential(Extractor())
    engine = Engine(lambda engine, batch: batch)
    for name in ("a", "b"):
        InceptionScore(4, extractor).attach(engine, name)
    metrics = engine.run([EVEN[:, None]] * 3).metrics
    assert metrics["a"] == metrics["b"] == 1
    assert len(calls) == 3


def test_without_samples_there_is_no_value():
    with pytest.raises(NotComputableError, match="InceptionScore must have at least one example"):
        InceptionScore(4).compute()
