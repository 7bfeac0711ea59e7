import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from ignite.metrics import MatthewsCorrCoef
from ignite.metrics.matthews_corrcoef import matthews_corrcoef_compute_fn
from support.classification_oracles import (
    check,
    check_constant_memory,
    check_refused,
    elsewhere,
    label_cases,
    zeros,
)

FIRST = (torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))


def mcc(true, predicted):
    """0 of a single label, where scikit-learn warns."""
    return 0.0 if len({*true, *predicted}) == 1 else float(matthews_corrcoef(true, predicted))


@st.composite
def labellings(draw):
    """Scores or labels, with labels or one-hot vectors."""
    case = draw(label_cases(["multiclass"], extras=[()]))
    as_scores, as_one_hot = draw(st.booleans()), draw(st.booleans())
    if as_scores:
        targets = [torch.eye(case.num_classes)[y] if as_one_hot else y for _, y in case.batches]
        case.batches = [(y_pred, y) for (y_pred, _), y in zip(case.batches, targets, strict=True)]
    else:
        predicted = torch.from_numpy(case.predicted).split([len(y) for _, y in case.batches])
        case.batches = [(y_pred, y) for y_pred, (_, y) in zip(predicted, case.batches, strict=True)]
    return case


@given(case=labellings())
def test_it_is_that_of_scikit_learn(case):
    check(MatthewsCorrCoef, mcc, case)


@given(case=labellings())
def test_counted_it_is_that_of_scikit_learn(case):
    check(lambda: MatthewsCorrCoef(num_classes=case.num_classes), mcc, case)


@given(st.lists(st.tuples(*[st.sampled_from([-3, 0, 7, 1000])] * 2), min_size=1))
def test_labels_may_be_any_integers(pairs):
    predicted, true = np.array(pairs).T
    metric = MatthewsCorrCoef()
    metric.update((torch.tensor(predicted), torch.tensor(true)))
    assert metric.compute() == pytest.approx(mcc(true, predicted), abs=1e-12)
    value = matthews_corrcoef_compute_fn(torch.tensor(predicted), torch.tensor(true))
    assert value == metric.compute()


def test_many_examples_do_not_overflow():
    rng = np.random.default_rng(0)
    table = rng.integers(10**9, size=(3, 3)).astype(object)  # exact integers
    n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
    numerator = sum(table.diagonal()) * n - sum(rows * columns)
    expected = (
        float(numerator)
        / (float(n * n - sum(rows * rows)) * float(n * n - sum(columns * columns))) ** 0.5
    )
    metric = MatthewsCorrCoef(num_classes=3)
    metric.update(FIRST)
    (state,) = metric.state_dict()["__metric_state_per_rank"]
    counted = {**state, "0.total_0": torch.tensor(table.astype(np.int64)), "0.num_examples": int(n)}
    metric.load_state_dict({"__metric_state_per_rank": [counted]})
    assert metric.compute() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_labels_for_one_hot_vectors_are_refused(num_classes):
    wrong, words = (
        (zeros(2), zeros(2, 3)),
        r"as many dimensions as y, but given shapes \(2,\) and \(2, 3\)",
    )
    check_refused(MatthewsCorrCoef(num_classes=num_classes), FIRST, wrong, ValueError, words)
    with pytest.raises(ValueError, match=words):
        matthews_corrcoef_compute_fn(*wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((zeros(2), zeros(3)), r"same number of rows, but given shapes \(2,\) and \(3,\)"),
        ((zeros(2, 3, 4), zeros(2)), r"Predictions should be of shape .*, but given \(2, 3, 4\)"),
        ((zeros(2), zeros(2, 3, 4)), r"Targets should be of shape .*, but given \(2, 3, 4\)"),
        ((zeros(2).int(), zeros(2)), "should be of torch.int64 as before, but given torch.int32"),
        ((torch.eye(3).long(), torch.arange(3)), r"given \(3, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(wrong, words):
    check_refused(MatthewsCorrCoef(), FIRST, wrong, ValueError, words)


def test_another_number_of_classes_is_refused_and_changes_nothing():
    first = (torch.eye(3), torch.tensor([0, 1, 1]))
    check_refused(
        MatthewsCorrCoef(), first, (torch.eye(4), torch.arange(4)), ValueError, r"\(4, 4\)"
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((zeros(2), zeros(3)), "same number of labels, but given 2 and 3"),
        (
            (zeros(2, 3, 4), zeros(2)),
            r"In MatthewsCorrCoef, y_pred should be of shape .*, but given \(2, 3, 4\)",
        ),
        ((torch.tensor([0, 3]), torch.tensor([0, 1])), "from 0 to 2, but 1 of those given are not"),
        (
            (torch.tensor([-1, 0]), torch.tensor([0, 7])),
            "from 0 to 2, but 2 of those given are not",
        ),
        ((torch.eye(4), torch.arange(4)), "from 0 to 2, but 2 of those given are not"),
    ],
)
def test_counted_what_does_not_fit_is_refused_and_changes_nothing(wrong, words):
    check_refused(MatthewsCorrCoef(num_classes=3), FIRST, wrong, ValueError, words)


def test_labels_elsewhere_out_of_range_are_refused_by_compute():
    metric = MatthewsCorrCoef(num_classes=3)
    metric.update(elsewhere(torch.tensor([0, 3, 1]), torch.tensor([0, 1, -1])))
    with pytest.raises(ValueError, match="from 0 to 2, but 2 of those given are not"):
        metric.compute()


def test_counted_its_memory_does_not_grow():
    def batch_of(n):
        return torch.arange(n) % 4, torch.arange(n) % 3

    check_constant_memory(lambda: MatthewsCorrCoef(num_classes=4), batch_of, 4 * 4)
