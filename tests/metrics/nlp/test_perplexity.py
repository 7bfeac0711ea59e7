import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Perplexity
from ignite.metrics.nlp import perplexity

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@st.composite
def batches(draw, dtypes=FLOATS):
    """Logits and targets: rows, sequences and grids, some targets ignored."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size, ignore_index = draw(st.sampled_from([2, 7, 40])), draw(st.sampled_from([-100, 0, -1]))
    dtype, found = draw(st.sampled_from(dtypes)), []
    for n in draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)):
        rest = draw(st.sampled_from([(), (3,), (2, 2)]))
        scale = draw(st.sampled_from([0.1, 1.0, 30.0]))
        logits = (scale * torch.randn(n, *rest, size, generator=generator)).to(dtype).movedim(-1, 1)
        y = torch.randint(size, (n, *rest), generator=generator)
        y[torch.rand(y.shape, generator=generator) < 0.3] = ignore_index
        y.view(-1)[0] = 1
        kind = draw(st.sampled_from([torch.int64, torch.int32]))
        found.append((logits if draw(st.booleans()) else logits.contiguous(), y.to(kind)))
    return found, ignore_index


def expected_of(found, ignore_index):
    """The definition, in float64 by scipy."""
    terms = []
    for logits, y in found:
        rows = logits.double().movedim(1, -1).flatten(0, -2).numpy()
        targets = y.flatten().numpy()
        counted = targets != ignore_index
        picked = log_softmax(rows, axis=1)[np.arange(len(rows))[counted], targets[counted]]
        terms += (-picked).tolist()
    return (
        math.exp(math.fsum(terms) / len(terms)) if math.fsum(terms) / len(terms) < 700 else math.inf
    )


def value_of(found, *args, **kwargs):
    metric = Perplexity(*args, **kwargs)
    for batch in found:
        metric.update(batch)
    return metric.compute()


@given(batches())
def test_it_is_the_exponential_of_the_mean_cross_entropy(case):
    found, ignore_index = case
    is_wide = found[0][0].dtype == torch.float64
    # A sum of terms of about 30 is right to 1e-7 of them in single precision.
    expected = pytest.approx(expected_of(found, ignore_index), rel=1e-11 if is_wide else 2e-5)
    assert value_of(found, ignore_index=ignore_index) == expected


@given(batches((torch.float32,)))
def test_large_logits_are_handled_in_pieces(case):
    found, ignore_index = case
    whole = value_of(found, ignore_index=ignore_index)
    kept, perplexity._PIECE = perplexity._PIECE, 7
    try:
        assert value_of(found, ignore_index=ignore_index) == pytest.approx(whole, rel=1e-6)
    finally:
        perplexity._PIECE = kept


def test_single_precision_sums_over_many_batches_lose_nothing():
    logits, y = torch.zeros(2**14, 2), torch.zeros(2**14, dtype=torch.int64)
    logits[:, 0] = -0.1
    term = math.log1p(math.exp(-0.1)) + 0.1
    expected = math.exp(term)
    assert value_of([(logits, y)] * 200) == pytest.approx(expected, rel=1e-7)


def test_even_logits_are_as_perplexing_as_the_vocabulary():
    assert value_of([(torch.zeros(2, 5, 3), torch.ones(2, 3).long())]) == pytest.approx(5.0)


def test_what_is_ruled_out_or_no_number():
    y = torch.tensor([0])
    assert value_of([(torch.tensor([[0.0, -math.inf]]), y)]) == 1.0
    assert value_of([(torch.tensor([[-math.inf, 0.0]]), y)]) == math.inf
    assert value_of([(torch.tensor([[0.0, 1000.0]]), y)]) == math.inf
    assert math.isnan(value_of([(torch.tensor([[0.0, math.nan]]), y)]))


def test_ignored_tokens_alone_are_no_example():
    metric = Perplexity()
    metric.update((torch.zeros(2, 3), torch.tensor([-100, -100])))
    with pytest.raises(NotComputableError, match="must have at least one example .* not -100"):
        metric.compute()
    metric.update((torch.zeros(1, 3), torch.tensor([2])))
    assert metric.compute() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (
            (torch.zeros(2), torch.tensor([0, 1])),
            ValueError,
            r"at least 2-dimensional.*given \(2,\)",
        ),
        ((torch.zeros(2, 4), torch.zeros(3).long()), ValueError, r"given \(2, 4\) and \(3,\)"),
        ((torch.zeros(2, 4), torch.zeros(2, 4).long()), ValueError, r"given \(2, 4\) and \(2, 4\)"),
        (
            (torch.zeros(2, 3, 4), torch.zeros(2, 3).long()),
            ValueError,
            r"given \(2, 3, 4\) and \(2, 3\): the vocabulary .* y_pred.movedim\(-1, 1\)",
        ),
        (
            (torch.zeros(2, 4), torch.tensor([0, 4])),
            ValueError,
            r"in \[0, 4\), or -100 .* given 0 to 4",
        ),
        ((torch.zeros(2, 4), torch.tensor([-1, 0])), ValueError, r"in \[0, 4\).* given -1 to 0"),
        ((torch.zeros(2, 4), torch.tensor([0.0, 1.0])), TypeError, "y should be integers.*float32"),
        ((torch.zeros(2, 4), torch.tensor([True, False])), TypeError, "y should be integers.*bool"),
        ((torch.zeros(2, 4).long(), torch.tensor([0, 1])), TypeError, "floating point.*int64"),
    ],
)
def test_what_are_no_logits_and_targets_is_refused(output, error, words):
    metric = Perplexity()
    metric.update((torch.zeros(2, 3), torch.tensor([0, 1])))
    with pytest.raises(error, match=words):
        metric.update(output)
    assert metric.compute() == pytest.approx(3.0)
    engine = Engine(lambda engine, batch: output)
    metric.attach(engine, "value")
    with pytest.raises(error, match=words):
        engine.run([0])


@pytest.mark.parametrize("shape", [(3, 2000), (3, 2000, 2)])
def test_targets_out_of_range_of_large_batches_are_refused(shape):
    metric = Perplexity()
    metric.update((torch.zeros(2, 3), torch.tensor([0, 1])))
    for wrong in (-1, 2000):
        y = torch.full((3, *shape[2:]), 1)
        y.view(-1)[1] = wrong
        with pytest.raises(ValueError, match=rf"in \[0, 2000\), or -100 .* but given .*{wrong}"):
            metric.update((torch.zeros(shape), y))
    assert metric.compute() == pytest.approx(3.0)


def test_targets_out_of_range_on_an_accelerator_are_refused_by_compute():
    """They are counted there, as no update may wait for their number."""
    metric = Perplexity()
    metric.update((torch.zeros(2, 3), torch.tensor([0, 1])))
    state = metric.state_dict()
    state["__metric_state_per_rank"][0]["0.total_2"] = torch.tensor(1)
    metric.load_state_dict(state)
    with pytest.raises(ValueError, match="below the size of the vocabulary, or -100, but given 1"):
        metric.compute()


def test_the_index_to_ignore_is_an_integer():
    with pytest.raises(TypeError, match="ignore_index should be an integer, but given None"):
        Perplexity(ignore_index=None)
