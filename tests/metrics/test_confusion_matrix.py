import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from ignite.engine import Engine
from ignite.metrics import (
    Accuracy,
    ConfusionMatrix,
    DiceCoefficient,
    IoU,
    JaccardIndex,
    Precision,
    cmAccuracy,
    cmPrecision,
    cmRecall,
    mIoU,
)
from support.classification_oracles import (
    FIRST,
    assert_same,
    check,
    check_refused,
    elsewhere,
    label_cases,
    quotients,
    zeros,
)

IGNORED = (255, -100, -1, 5)
multiclass = label_cases(["multiclass"])

UNTOLD = pytest.mark.filterwarnings("ignore:.*exclude_index=")


def matrix_of(true, predicted, case):
    return confusion_matrix(true, predicted, labels=case.classes)


@given(case=multiclass)
def test_counts_are_those_of_scikit_learn(case):
    check(lambda: ConfusionMatrix(case.num_classes), lambda *rows: matrix_of(*rows, case), case)


@pytest.mark.parametrize(("average", "dim"), [("recall", 1), ("precision", 0)])
@given(case=multiclass)
def test_rows_or_columns_are_normalized(average, dim, case):
    def expected(true, predicted):
        matrix = matrix_of(true, predicted, case)
        return quotients(matrix, np.broadcast_to(matrix.sum(axis=dim, keepdims=True), matrix.shape))

    check(lambda: ConfusionMatrix(case.num_classes, average=average), expected, case)
    assert_same(
        ConfusionMatrix.normalize(torch.eye(2) * 4, average), torch.eye(2, dtype=torch.float64)
    )


@given(case=multiclass)
def test_samples_are_items_of_batches_not_pixels(case):
    metric = ConfusionMatrix(case.num_classes, average="samples")
    for batch in case.batches:
        metric.update(batch)
    num_items = sum(len(y) for _, y in case.batches)
    expected = matrix_of(case.true, case.predicted, case) / num_items
    np.testing.assert_allclose(metric.compute().double().numpy(), expected, rtol=1e-6)


@given(case=multiclass, seed=st.integers(0, 1000))
def test_targets_that_are_not_a_class_are_ignored(case, seed):
    rng, metric, other = (
        np.random.default_rng(seed),
        *(ConfusionMatrix(case.num_classes) for _ in range(2)),
    )
    masks = [torch.from_numpy(rng.random(y.shape) < 0.3) for _, y in case.batches]
    for (y_pred, y), is_ignored in zip(case.batches, masks, strict=True):
        y = torch.where(is_ignored, torch.from_numpy(rng.choice(IGNORED, size=tuple(y.shape))), y)
        metric.update((y_pred, y))
        other.update(elsewhere(y_pred, y))
    counts = ~torch.cat([mask.flatten() for mask in masks]).numpy()
    if counts.any():
        expected = matrix_of(case.true[counts], case.predicted[counts], case)
    else:
        expected = np.zeros((case.num_classes, case.num_classes), dtype=np.int64)
    assert_same(metric.compute(), expected)
    assert other.compute().tolist() == expected.tolist()


@pytest.mark.parametrize("outside", [255, -100])
def test_targets_that_it_ignores_are_an_error_for_other_metrics(outside):
    batch = (torch.eye(3), torch.tensor([0, 1, outside]))
    for create in (Accuracy, Precision):
        check_refused(
            create(),
            FIRST["multiclass"],
            batch,
            ValueError,
            "from 0 to 2, but 1 of those given are not",
        )
    engine = Engine(lambda engine, batch: batch)
    for name, metric in {"matrix": ConfusionMatrix(3), "accuracy": Accuracy()}.items():
        metric.attach(engine, name)
    with pytest.raises(ValueError, match="from 0 to 2, but 1 of those given are not"):
        engine.run([batch])
    alone = Engine(lambda engine, batch: batch)
    ConfusionMatrix(3).attach(alone, "matrix")
    assert alone.run([batch]).metrics["matrix"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_with_accuracy_and_precision_it_shares_one_count():
    engine = Engine(lambda engine, batch: batch)
    metrics = [ConfusionMatrix(3), Accuracy(), Precision(), ConfusionMatrix(3, "recall")]
    for i, metric in enumerate(metrics):
        metric.attach(engine, str(i))
    found = engine.run([FIRST["multiclass"]] * 2).metrics
    statistics = [statistic for metric in metrics for statistic in metric._statistics_in_use()]
    assert len(statistics) == 4
    assert all(statistic is statistics[0] for statistic in statistics)
    assert found["0"].tolist() == [[2, 0, 0], [0, 2, 2], [0, 0, 0]]
    assert found["1"] == pytest.approx(2 / 3)
    assert found["2"].tolist() == [1.0, 1.0, 0.0]


DERIVED = {
    "IoU": (IoU, lambda t, p, c: jaccard_score(t, p, labels=c, average=None, zero_division=0)),
    "mIoU": (mIoU, lambda t, p, c: jaccard_score(t, p, labels=c, average="macro", zero_division=0)),
    "Dice": (
        DiceCoefficient,
        lambda t, p, c: f1_score(t, p, labels=c, average=None, zero_division=0),
    ),
    "accuracy": (cmAccuracy, lambda t, p, c: accuracy_score(t, p)),
    "precision": (
        cmPrecision,
        lambda t, p, c: precision_score(t, p, labels=c, average="macro", zero_division=0),
    ),
    "recall": (
        cmRecall,
        lambda t, p, c: recall_score(t, p, labels=c, average="macro", zero_division=0),
    ),
    "precisions": (
        lambda matrix: cmPrecision(matrix, average=False),
        lambda t, p, c: precision_score(t, p, labels=c, average=None, zero_division=0),
    ),
    "recalls": (
        lambda matrix: cmRecall(matrix, average=False),
        lambda t, p, c: recall_score(t, p, labels=c, average=None, zero_division=0),
    ),
}


@pytest.mark.parametrize("name", DERIVED)
@given(case=multiclass)
def test_derived_metrics_equal_those_of_scikit_learn(name, case):
    create, oracle = DERIVED[name]

    def expected(true, predicted):
        return np.asarray(oracle(true, predicted, case.classes), dtype=float)

    check(lambda: create(ConfusionMatrix(case.num_classes)), expected, case)
    of_shares = create(ConfusionMatrix(case.num_classes, average="samples"))
    for batch in case.batches:
        of_shares.update(batch)
    assert_same(of_shares.compute(), expected(case.true, case.predicted), rel=1e-6)


@UNTOLD
def test_the_jaccard_index_is_the_iou():
    for ignore_index in (None, 1):
        metrics = [create(ConfusionMatrix(3), ignore_index) for create in (IoU, JaccardIndex)]
        for metric in metrics:
            metric.update(FIRST["multiclass"])
        assert_same(*(metric.compute() for metric in metrics))


@pytest.mark.parametrize("create", [IoU, mIoU, JaccardIndex, DiceCoefficient])
def test_an_ignored_class_warns_because_ignite_counts_it(create):
    with pytest.warns(
        UserWarning,
        match=rf"{create.__name__}\(ignore_index=1\).*use exclude_index=1 for the same value",
    ) as told:
        create(ConfusionMatrix(3), 1)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create(ConfusionMatrix(3), exclude_index=1)
        create(ConfusionMatrix(3))


@UNTOLD
@pytest.mark.parametrize("argument", ["ignore_index", "exclude_index"])
@given(case=multiclass, data=st.data())
def test_a_class_can_be_ignored_or_only_removed_from_the_result(argument, case, data):
    left_out = data.draw(st.integers(0, case.num_classes - 1))
    arguments = {argument: left_out}

    def expected(true, predicted):
        if argument == "ignore_index":
            true, predicted = true[true != left_out], predicted[true != left_out]
        if not len(true):
            return np.zeros(case.num_classes - 1)
        ious = jaccard_score(true, predicted, labels=case.classes, average=None, zero_division=0)
        return np.delete(ious, left_out)

    def dice(*rows):
        return 2 * expected(*rows) / (1 + expected(*rows))

    for create, oracle in ((IoU, expected), (JaccardIndex, expected), (DiceCoefficient, dice)):
        check(
            lambda create=create: create(ConfusionMatrix(case.num_classes), **arguments),
            oracle,
            case,
        )
    check(
        lambda: mIoU(ConfusionMatrix(case.num_classes), **arguments),
        lambda *rows: np.asarray(expected(*rows).mean()),
        case,
    )


@UNTOLD
def test_pixels_of_an_ignored_class_do_not_count():
    # True 0 0 1 1, predicted 1 0 1 1: of class 1, two of two are found; the pixel of class 0 taken for it is judged
    # only if class 0 is, and is then one of three.
    y_pred, y = torch.eye(2)[torch.tensor([1, 0, 1, 1])], torch.tensor([0, 0, 1, 1])
    for arguments, expected in (({"ignore_index": 0}, 1.0), ({"exclude_index": 0}, 2 / 3)):
        metric = IoU(ConfusionMatrix(2), **arguments)
        metric.update((y_pred, y))
        assert metric.compute().tolist() == pytest.approx([expected])
    with pytest.raises(
        ValueError, match="One of ignore_index and exclude_index should be given, but given 0 and 1"
    ):
        IoU(ConfusionMatrix(2), 0, exclude_index=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            (zeros(2), zeros(2)),
            r"y_pred must have shape \(batch_size, num_classes, ...\), but given \(2,\)",
        ),
        ((zeros(2, 4), zeros(2)), "y_pred does not have correct number of classes: 4 vs 3"),
        ((zeros(2, 3), zeros(2, 3)), r"y must have shape of .*, but given \(2, 3\) vs \(2, 3\)"),
        ((zeros(2, 3), zeros(3)), r"compatible shapes.*\(2, 3\) and y of shape \(3,\)"),
        ((zeros(2, 3, 4), zeros(2, 5)), r"compatible shapes.*\(2, 3, 4\) and y of shape \(2, 5\)"),
        (
            (zeros(2, 3, 4, 4), zeros(2)),
            r"given y_pred of shape \(2, 3, 4, 4\) and y of shape \(2,\)",
        ),
    ],
)
def test_invalid_outputs_are_refused_and_change_nothing(wrong, words):
    metric = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=words):
        metric.update(wrong)
    later = f"{words}|number of classes has changed from 3 to 4|type has changed from multiclass to binary"
    check_refused(metric, FIRST["multiclass"], wrong, (RuntimeError, ValueError), later)


def test_wrong_arguments():
    for num_classes in (1, 0, -2):
        with pytest.raises(
            ValueError, match=f"Argument num_classes needs to be > 1, but given {num_classes}"
        ):
            ConfusionMatrix(num_classes)
    with pytest.raises(ValueError, match="'samples', 'recall', 'precision', but given 'macro'"):
        ConfusionMatrix(3, average="macro")
    with pytest.raises(ValueError, match="'samples', 'recall', 'precision', but given 'samples'"):
        ConfusionMatrix.normalize(torch.eye(3), "samples")
    for create in (IoU, mIoU, JaccardIndex, DiceCoefficient, cmAccuracy, cmPrecision, cmRecall):
        with pytest.raises(
            TypeError, match="cm should be instance of ConfusionMatrix, but given <class 'int'>"
        ):
            create(3)
    for create in (IoU, mIoU, JaccardIndex, DiceCoefficient, cmPrecision, cmRecall):
        for average in ("recall", "precision"):
            with pytest.raises(
                ValueError,
                match=f"average attribute either None or 'samples', but given '{average}'",
            ):
                create(ConfusionMatrix(3, average=average))
    for create in (IoU, mIoU, JaccardIndex, DiceCoefficient):
        for index in (-1, 3, 1.5, "1"):
            with pytest.raises(
                ValueError, match=rf"integer and in the range of \[0, 3\), but given {index}"
            ):
                create(ConfusionMatrix(3), ignore_index=index)
            with pytest.raises(
                ValueError, match=rf"exclude_index should be .* of \[0, 3\), but given {index}"
            ):
                create(ConfusionMatrix(3), exclude_index=index)


@pytest.mark.parametrize("wrong", [0.5, math.nan, math.inf])
def test_targets_that_are_not_whole_numbers_are_not_ignored(wrong):
    batch = (torch.eye(3), torch.tensor([0.0, wrong, 1.0]))
    check_refused(ConfusionMatrix(3), FIRST["multiclass"], batch, ValueError, "whole numbers")
    for output in (batch, (torch.tensor([[0.1, math.nan, 0.2]]), torch.tensor([0]))):
        metric = ConfusionMatrix(3)
        metric.update(elsewhere(*output))
        with pytest.raises(
            ValueError,
            match="y_pred should be scores and y labels, but 1 of those given are NaN or no",
        ):
            metric.compute()
    left_out = ConfusionMatrix(3)
    left_out.update((torch.eye(3), torch.tensor([0.0, 255.0, -100.0])))
    assert left_out.compute().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
