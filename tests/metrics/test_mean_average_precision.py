"""MeanAveragePrecision against scikit-learn and the definition, for all kinds of classification."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ignite.metrics import MeanAveragePrecision
from ignite.metrics.mean_average_precision import select_scores
from support.effort import few

# Few distinct scores, so that ties are common.
score = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])
KINDS = ("binary", "multiclass", "multilabel")


@st.composite
def examples(draw, kind):
    """Scores and targets as the metric takes them, and the targets as columns of 0 and 1."""
    size, num_classes = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    shape = (size,) if kind == "binary" else (size, num_classes)
    numbers = st.lists(score, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    y_pred = torch.tensor(draw(numbers), dtype=torch.float64).reshape(shape)
    highest = num_classes - 1 if kind == "multiclass" else 1
    num_targets = size if kind == "multiclass" else y_pred.numel()
    y = torch.tensor(
        draw(st.lists(st.integers(0, highest), min_size=num_targets, max_size=num_targets))
    )
    columns = torch.eye(num_classes).long()[y] if kind == "multiclass" else y.reshape(shape)
    return y_pred, y if kind == "multiclass" else y.reshape(shape), columns


def of_column(targets, scores, recalls=None):
    """Average precision of one class: scikit-learn's, or the definition, threshold by threshold."""
    if not targets.any():
        return 0.0
    if recalls is None:
        return average_precision_score(targets, scores)
    total = previous = 0.0
    for recall in sorted(recalls):
        for threshold in sorted(set(scores), reverse=True):
            hits = targets[scores >= threshold]
            if hits.sum() / targets.sum() >= recall:
                total += (recall - previous) * hits.mean()
                break
        previous = recall
    return total


def expected(y_pred, columns, class_mean, recalls=None):
    scores, targets = y_pred.numpy(), columns.numpy()
    if scores.ndim == 1:
        return of_column(targets, scores, recalls)
    if class_mean == "micro":
        return of_column(targets.ravel(), scores.ravel(), recalls)
    values = np.array(
        [of_column(targets[:, i], scores[:, i], recalls) for i in range(scores.shape[1])]
    )
    if class_mean == "weighted":
        support = targets.sum(0)
        return (values * support).sum() / support.sum() if support.any() else 0.0
    return values.mean() if class_mean == "macro" else values


class_means = st.sampled_from(["macro", "micro", "weighted", None])
recalls = st.lists(st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.8, 1.0]), min_size=1, unique=True)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), class_mean=class_means, recalls=st.one_of(st.none(), recalls))
@few(50)
def test_it_is_that_of_scikit_learn_and_at_recalls_that_of_the_definition(
    kind, data, class_mean, recalls
):
    y_pred, y, columns = data.draw(examples(kind))
    metric = MeanAveragePrecision(recalls, class_mean, kind == "multilabel")
    metric.update((y_pred, y))
    value = metric.compute()
    assert isinstance(value, float if kind == "binary" else torch.Tensor)
    assert np.asarray(value) == pytest.approx(
        np.asarray(expected(y_pred, columns, class_mean, recalls)), abs=1e-12
    )


def test_further_dimensions_hold_further_examples():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(4, 3, 2, 5, generator=generator)
    classes = torch.randint(3, (4, 2, 5), generator=generator)
    labels = torch.randint(2, (4, 3, 2, 5), generator=generator)
    rows = scores.permute(0, 2, 3, 1).reshape(-1, 3)
    for output, flat, is_multilabel in (
        ((scores, classes), (rows, classes.reshape(-1)), False),
        ((scores, labels), (rows, labels.permute(0, 2, 3, 1).reshape(-1, 3)), True),
        ((scores, labels), (scores.reshape(-1), labels.reshape(-1)), False),
        (
            (scores[:, :1], labels[:, 0]),
            (scores[:, 0].reshape(-1), labels[:, 0].reshape(-1)),
            False,
        ),
    ):
        metric = MeanAveragePrecision(class_mean=None, is_multilabel=is_multilabel)
        other = MeanAveragePrecision(class_mean=None, is_multilabel=is_multilabel)
        metric.update(output)
        other.update(flat)
        assert torch.equal(torch.as_tensor(metric.compute()), torch.as_tensor(other.compute()))


def test_the_kind_of_data_is_known_after_the_first_batch():
    metric = MeanAveragePrecision()
    assert (metric._type, metric._num_classes) == (None, None)
    metric.update((torch.rand(2, 3), torch.tensor([0, 2])))
    assert (metric._type, metric._num_classes) == ("multiclass", 3)
    with pytest.raises(ValueError, match=r"should be of shape \(batch_size, 3\) as before"):
        metric.update((torch.rand(2, 4), torch.tensor([0, 2])))
    metric.reset()
    metric.update((torch.rand(2), torch.tensor([0, 1])))
    assert (metric._type, metric._num_classes) == ("binary", 1)
    metric = MeanAveragePrecision(is_multilabel=True)
    metric.update((torch.rand(2, 3), torch.ones(2, 3)))
    assert (metric._type, metric._num_classes) == ("multilabel", 3)


INTEGERS, SCORES = torch.tensor([1, 0]), torch.tensor([[0.3, 0.7], [0.6, 0.4]])


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        ((INTEGERS, INTEGERS), TypeError, "`y_pred` should be a float .*, but given torch.int64"),
        ((SCORES, torch.tensor([0, 2])), ValueError, "class indices from 0 to 1, but 1 of those"),
        ((SCORES[0], torch.tensor([0, 2])), ValueError, "Targets should be 0 or 1, but given 2"),
        ((SCORES[0] / 0 * 0, INTEGERS), ValueError, "Scores should be numbers, but given 2"),
        ((SCORES, torch.ones(2, 2, 4, 5)), ValueError, r"but given y_pred of shape \(2, 2\)"),
    ],
)
def test_what_are_no_scores_is_refused_and_changes_nothing(output, error, words):
    for select in (MeanAveragePrecision()._check_type, lambda each: select_scores(each, False)):
        with pytest.raises(error, match=words):
            select(output)
    metric = MeanAveragePrecision()
    metric.update((SCORES, torch.tensor([1, 1])))
    before = metric.compute()
    with pytest.raises(error, match=words):
        metric.update(output)
    assert torch.equal(metric.compute(), before)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"class_mean": "mean"}, ValueError, "Wrong `class_mean` parameter, .* but given 'mean'"),
        ({"rec_thresholds": [0.5, 1.5]}, ValueError, r"values .* but given \[0.5, 1.5\]"),
        ({"rec_thresholds": [[0.5]]}, ValueError, r"should be a one-dimensional .* \(1, 1\)"),
        ({"rec_thresholds": 3}, TypeError, "rec_thresholds should be .* given <class 'int'>"),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        MeanAveragePrecision(**arguments)
