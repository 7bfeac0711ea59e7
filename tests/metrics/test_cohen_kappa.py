import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from ignite.metrics import CohenKappa
from support.classification_oracles import (
    check,
    check_constant_memory,
    check_refused,
    elsewhere,
    label_cases,
    zeros,
)

each_weights = pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
FIRST = (torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))


def kappa(true, predicted, weights):
    """Written out: scikit-learn gives NaN where there is no chance, which is 0 here, and takes places for labels."""
    labels = sorted(set(true) | set(predicted))
    table = confusion_matrix(true, predicted).tolist() if len(labels) > 1 else [[1]]
    n, power = sum(map(sum, table)), {None: 0, "linear": 1, "quadratic": 2}[weights]
    rows, columns = (
        [sum(row) for row in table],
        [sum(column) for column in zip(*table, strict=True)],
    )
    places = range(len(labels))
    pairs = [(i, j, abs(labels[i] - labels[j]) ** power) for i in places for j in places if i != j]
    observed = sum(weight * table[i][j] for i, j, weight in pairs)
    chance = sum(weight * rows[i] * columns[j] / n for i, j, weight in pairs)
    return 1 - observed / chance if chance else 0.0


@st.composite
def labellings(draw, step=1):
    """Two labellings, by classes from 0 on; with `step`, others are between them."""
    case = draw(label_cases(["multiclass"], extras=[()]))
    predicted = torch.from_numpy(case.predicted * step).split([len(y) for _, y in case.batches])
    is_column = draw(st.booleans())
    case.batches = [
        (y_pred.unsqueeze(1) if is_column else y_pred, y * step)
        for y_pred, (_, y) in zip(predicted, case.batches, strict=True)
    ]
    case.true, case.predicted = case.true * step, case.predicted * step
    return case


@each_weights
@given(case=labellings())
def test_counted_it_is_its_definition(weights, case):
    check(
        lambda: CohenKappa(weights=weights, num_classes=case.num_classes),
        lambda true, predicted: kappa(true, predicted, weights),
        case,
    )


@each_weights
@given(case=labellings(step=-7))
def test_of_any_labels_it_is_its_definition(weights, case):
    check(
        lambda: CohenKappa(weights=weights),
        lambda true, predicted: kappa(true, predicted, weights),
        case,
    )


@each_weights
@given(case=labellings())
def test_it_is_that_of_scikit_learn(weights, case):
    metrics = [
        CohenKappa(weights=weights),
        CohenKappa(weights=weights, num_classes=case.num_classes),
    ]
    for metric in metrics:
        for batch in case.batches:
            metric.update(batch)
    if len({*case.true}) > 1 or len({*case.predicted}) > 1:
        expected = cohen_kappa_score(
            case.true, case.predicted, weights=weights, labels=case.classes
        )
        assert [metric.compute() for metric in metrics] == [pytest.approx(expected, abs=1e-12)] * 2


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_weights_depend_on_the_values_of_labels(weights):
    # Predicted 0, 5, 5, 1 for 0, 1, 5, 5: distances 0, 4, 0, 4, in all 8, squared 32. By chance, each of the four
    # with each of the four, in quarters: of 0 with 0, 1, 5, 5 it is 11 (51), of 5 twice 9 (41), of 1 9 (33).
    distances, chance = {
        "linear": (8, (11 + 2 * 9 + 9) / 4),
        "quadratic": (32, (51 + 2 * 41 + 33) / 4),
    }[weights]
    expected = 1 - distances / chance
    predicted, true = torch.tensor([0, 5, 5, 1]), torch.tensor([0, 1, 5, 5])
    for metric in (CohenKappa(weights=weights), CohenKappa(weights=weights, num_classes=6)):
        metric.update((predicted, true))
        assert metric.compute() == pytest.approx(expected)
    shifted = CohenKappa(weights=weights)
    shifted.update((predicted - 2, true - 2))
    assert shifted.compute() == pytest.approx(expected)


def test_all_of_one_class_agree_by_chance():
    for metric in (CohenKappa(), CohenKappa(num_classes=3)):
        metric.update((torch.ones(4).long(), torch.ones(4).long()))
        assert metric.compute() == 0.0


WRONG = [
    (
        (zeros(2, 3), zeros(2, 3)),
        r"multilabel-indicator is not supported.*given \(2, 3\) and \(2, 3\)",
    ),
    ((zeros(2), zeros(2, 3)), r"multilabel-indicator is not supported.*given \(2,\) and \(2, 3\)"),
    ((zeros(2), zeros(3)), r"same number of rows, but given shapes \(2,\) and \(3,\)"),
    ((zeros(2, 1, 1), zeros(2)), r"Predictions should be of shape .*, but given \(2, 1, 1\)"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
@pytest.mark.parametrize("num_classes", [None, 3])
def test_invalid_outputs_are_refused_and_change_nothing(num_classes, wrong, words):
    check_refused(CohenKappa(num_classes=num_classes), FIRST, wrong, ValueError, words)


def test_labels_out_of_range_are_refused_and_change_nothing():
    for y_pred, y, number in (([0, 3], [0, 1], 1), ([0, -1], [0, 7], 2)):
        wrong, words = (
            (torch.tensor(y_pred), torch.tensor(y)),
            f"from 0 to 2, but {number} of those given are not",
        )
        check_refused(CohenKappa(num_classes=3), FIRST, wrong, ValueError, words)
        metric = CohenKappa(num_classes=3)
        metric.update(elsewhere(*wrong))
        with pytest.raises(ValueError, match=words):
            metric.compute()


def test_another_dtype_is_refused_and_changes_nothing():
    wrong = (FIRST[0].int(), FIRST[1])
    check_refused(
        CohenKappa(),
        FIRST,
        wrong,
        ValueError,
        "should be of torch.int64 as before, but given torch.int32",
    )


def test_counted_its_memory_does_not_grow():
    def batch_of(n):
        return torch.arange(n) % 4, torch.arange(n) % 3

    check_constant_memory(lambda: CohenKappa(num_classes=4), batch_of, 4 * 4)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="must be None or linear or quadratic., but given 'cubic'"):
        CohenKappa(weights="cubic")
