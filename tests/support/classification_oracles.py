"""Examples of classifications, definitions of their metrics, and checks of each metric against them."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from sklearn.metrics import multilabel_confusion_matrix

KINDS = ("binary", "multiclass", "multilabel")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
seeds = st.integers(0, 2**16)
batch_sizes = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any)


class Elsewhere(torch.Tensor):
    """A tensor that says it is not on the host, so that nobody may look into it while updating."""

    is_cpu = False


def elsewhere(*tensors):
    return tuple(tensor.as_subclass(Elsewhere) for tensor in tensors)


@dataclass
class Case:
    kind: str
    num_classes: int
    batches: list
    true: np.ndarray
    """(M,), or of multilabel (M, C)."""
    predicted: np.ndarray
    rows_per_item: int

    @property
    def classes(self):
        return np.arange(self.num_classes)

    @property
    def is_multilabel(self):
        return self.kind == "multilabel"

    def until(self, num_items):
        """The true and predicted rows of so many items of the batches."""
        return self.true[: num_items * self.rows_per_item], self.predicted[
            : num_items * self.rows_per_item
        ]


def labels_of(rng, kind, num_classes, shape):
    """Classes, or labels; often without some of them."""
    if kind != "multilabel":
        present = rng.permutation(num_classes)[: rng.integers(1, num_classes, endpoint=True)]
        return rng.choice(present, size=shape)
    shares = rng.choice([0.0, 0.3, 0.6, 1.0], size=(num_classes, *[1] * (len(shape) - 1)))
    return (rng.random((shape[0], num_classes, *shape[1:])) < shares).astype(np.int64)


def scores_for(rng, labels, num_classes):
    """Scores in halves, with ties: mostly, but not always, highest for the labels."""
    scores = rng.integers(-2, 2, size=(labels.shape[0], num_classes, *labels.shape[1:])) / 2
    np.put_along_axis(
        scores, labels[:, None], rng.choice([0.5, 1.0], size=labels[:, None].shape), axis=1
    )
    return scores


def as_rows(labels, kind):
    return (
        np.moveaxis(labels, 1, -1).reshape(-1, labels.shape[1])
        if kind == "multilabel"
        else labels.reshape(-1)
    )


@st.composite
def label_cases(draw, kinds=KINDS, extras=((), (3,), (2, 2))):
    """Predictions and targets of any kind and shape, and what they mean, cut into batches."""
    kind, extra, sizes = (
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from(extras)),
        draw(batch_sizes),
    )
    num_classes = 2 if kind == "binary" else draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(seeds))
    shape = (sum(sizes), *extra)
    true, predicted = (labels_of(rng, kind, num_classes, shape) for _ in range(2))
    y_pred, y = torch.from_numpy(predicted), torch.from_numpy(true)
    if kind == "multiclass":
        scores = scores_for(rng, predicted, num_classes)
        predicted = scores.argmax(axis=1)  # the first of several
        y_pred = torch.from_numpy(scores).to(draw(st.sampled_from(DTYPES)))
    elif kind == "binary" and draw(st.booleans()):
        y_pred = y_pred.unsqueeze(1)
    batches = list(zip(y_pred.split(sizes), y.split(sizes), strict=True))
    return Case(
        kind, num_classes, batches, as_rows(true, kind), as_rows(predicted, kind), math.prod(extra)
    )


def check(create, oracle, case, rel=1e-9):
    """After the first and the last batch, and from tensors that may not be looked into; `oracle(true, predicted)`."""
    metric, other, seen = create(), create(), 0
    for i, batch in enumerate(case.batches):
        metric.update(batch)
        other.update(elsewhere(*batch))
        seen += len(batch[0])
        if seen and i in (0, len(case.batches) - 1):
            assert_same(metric.compute(), oracle(*case.until(seen)), rel)
    assert_same(plain(other.compute()), plain(metric.compute()), 0.0)


def plain(value):
    """Without subclasses of tensors."""
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value.as_subclass(torch.Tensor) if isinstance(value, torch.Tensor) else value


def assert_same(value, expected, rel=1e-9):
    """A number for a number, a float64 or integer tensor for an array, and all of a tuple or dictionary."""
    if isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for name, item in expected.items():
            assert_same(value[name], item, rel)
    elif isinstance(expected, tuple):
        assert len(value) == len(expected)
        for pair in zip(value, expected, strict=True):
            assert_same(*pair, rel)
    elif isinstance(expected, np.ndarray | torch.Tensor):
        assert isinstance(value, torch.Tensor)
        if isinstance(expected, np.ndarray):
            expected = torch.from_numpy(np.array(expected, order="C"))
        assert value.dtype == expected.dtype
        assert value.shape == expected.shape
        np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=rel, atol=rel)
    else:
        assert isinstance(value, float)
        assert value == pytest.approx(expected, rel=rel, abs=rel, nan_ok=True)


def check_refused(metric, first, wrong, error, words):
    """After ``first``, ``wrong`` raises, and what was accumulated goes on as if it had not been there."""
    metric.update(first)
    before, state = metric.compute(), repr(metric.state_dict())
    with pytest.raises(error, match=words):
        metric.update(wrong)
    assert repr(metric.state_dict()) == state
    assert_same(metric.compute(), before, 0.0)
    metric.update(first)
    after = metric.compute()
    metric.reset()
    metric.update(first)
    metric.update(first)
    assert_same(after, metric.compute(), 0.0)


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.int64)


FIRST = {
    "binary": (torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])),
    "multiclass": (torch.eye(3), torch.tensor([0, 1, 1])),
    "multilabel": (torch.eye(3).long(), torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0]])),
}
"""A batch of each kind, after which come the wrong ones."""

_REFUSED = [
    ("multiclass", (zeros(2, 3, 4, 5), zeros(2)), ValueError, r"given y_pred of shape \(2, 3, 4, 5\) and y .* \(2,\)"),
    ("multiclass", (zeros(2, 3), zeros(4)), ValueError, r"compatible shapes.*\(2, 3\) and y of shape \(4,\)"),
    ("multiclass", (zeros(2, 3, 4), zeros(2, 5)), ValueError, r"compatible shapes.*\(2, 3, 4\) and .* \(2, 5\)"),
    ("multiclass", (torch.eye(3), torch.tensor([0, 3, 255])), ValueError, "from 0 to 2, but 2 of those given are not"),
    ("multiclass", (torch.eye(3), torch.tensor([0, 1, -1])), ValueError, "from 0 to 2, but 1 of those given are not"),
    ("multiclass", (torch.eye(4), torch.arange(4)), ValueError, "number of classes has changed from 3 to 4"),
    ("multiclass", (zeros(2), zeros(2)), RuntimeError, "type has changed from multiclass to binary"),
    ("binary", (torch.eye(3), torch.arange(3)), RuntimeError, "type has changed from binary to multiclass"),
    ("binary", (zeros(2), torch.tensor([1, 2])), ValueError, "y must be comprised of 0's and 1's., but given 2"),
    ("binary", (torch.tensor([1, -1]), zeros(2)), ValueError, "y_pred must be comprised of 0's and 1's., but given -1"),
    ("multiclass", (torch.eye(3), torch.tensor([0.0, 1.5, 1.0])), ValueError, "whole numbers, but given 1.5"),
    ("multiclass", (torch.eye(3), torch.tensor([0.0, -0.9, 1.0])), ValueError, "whole numbers, but given -0.8999"),
    ("multiclass", (torch.eye(3), torch.tensor([0.0, math.nan, 1.0])), ValueError, "whole numbers, but given nan"),
    ("multiclass", (torch.eye(3), torch.tensor([0.0, math.inf, 1.0])), ValueError, "whole numbers, but given inf"),
    ("multiclass", (torch.eye(3), torch.tensor([0, -100, 1])), ValueError, r"output_transform, .*ignore_index=-100"),
    ("multiclass", (torch.eye(3) * math.nan, torch.arange(3)), ValueError, "NaN in 3 of 3 examples"),
    ("binary", (torch.tensor([0.0, math.inf]), zeros(2)), ValueError, "y_pred must be comprised .*, but given inf"),
    ("binary", (torch.tensor([0.0, -math.inf]), zeros(2)), ValueError, "y_pred must be comprised .*, but given -inf"),
    ("binary", (torch.tensor([0.0, 0.5]), zeros(2)), ValueError, "but given 0.5; turn scores .* output_transform"),
    ("binary", (torch.tensor([0.0, math.nan]), zeros(2)), ValueError, "y_pred must be comprised .*, but given nan"),
    ("binary", (zeros(2), zeros(3)), ValueError, r"compatible shapes.*\(2,\) and y of shape \(3,\)"),
    ("binary", (zeros(2), torch.zeros((), dtype=torch.int64)), ValueError, r"y of shape \(1,\)"),
    ("multilabel", (zeros(2), zeros(2)), ValueError, r"num_categories > 1., but given y_pred of shape \(2,\)"),
    ("multilabel", (zeros(2, 1), zeros(2, 1)), ValueError, r"num_categories > 1., but given y_pred of shape \(2, 1\)"),
    ("multilabel", (zeros(2, 3), zeros(2)), ValueError, r"same shape.*\(2, 3\) and y of shape \(2,\)"),
    ("multilabel", (zeros(2, 4), zeros(2, 4)), ValueError, "number of classes has changed from 3 to 4"),
    ("multilabel", (zeros(2, 3), zeros(2, 3) + 7), ValueError, "y must be comprised of 0's and 1's., but given 7"),
]  # fmt: skip


def refused_labels(*kinds):
    """The test for each wrong batch of labels."""
    cases = [case for case in _REFUSED if case[0] in kinds]
    return pytest.mark.parametrize(("kind", "wrong", "error", "words"), cases)


OUTSIDE = [
    (
        FIRST["multiclass"][0],
        torch.tensor([0, 3, -100]),
        "from 0 to 2, but 2 of those given are not",
    ),
    (torch.tensor([0, 2, 1]), torch.tensor([0, 1, 1]), "comprised of 0's and 1's., but 1 are not"),
]
"""Wrong values, which for tensors elsewhere only ``compute`` can see."""


def check_refused_late(create):
    for y_pred, y, words in OUTSIDE:
        metric = create()
        metric.update(elsewhere(y_pred, y))
        with pytest.raises(ValueError, match=words):
            metric.compute()


@dataclass
class Counts:
    """Of each class, shape (C,), as floats."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def counts_of(true, predicted, num_classes):
    found = multilabel_confusion_matrix(true, predicted, labels=np.arange(num_classes)).astype(
        float
    )  # (C, 2, 2)
    return Counts(found[:, 1, 1], found[:, 0, 1], found[:, 1, 0], found[:, 0, 0])


def quotients(numerator, denominator):
    """0 where the denominator is."""
    numerator, denominator = (
        np.asarray(numerator, dtype=float),
        np.asarray(denominator, dtype=float),
    )
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def num_kept(metric):
    """How many numbers a metric remembers."""
    parts = [
        part for statistic in metric._statistics_in_use() for part in statistic.parts().values()
    ]
    return sum(part.numel() if isinstance(part, torch.Tensor) else 1 for part in parts)


def check_constant_memory(create, batch_of, num_elements):
    """``num_elements`` of tensors at most, and some numbers, after few and after many examples."""
    metric, sizes = create(), []
    for num_examples in (3, 1000, 5000):
        metric.update(batch_of(num_examples))
        metric.compute()
        sizes.append(num_kept(metric))
    assert sizes == [sizes[0]] * 3
    assert num_elements <= sizes[0] <= num_elements + 3
