import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import multilabel_confusion_matrix

from ignite.metrics import MultiLabelConfusionMatrix
from support.classification_oracles import check, check_refused, elsewhere, label_cases, zeros

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@pytest.mark.parametrize("normalized", [False, True])
@given(case=label_cases(["multilabel"]), dtypes=st.tuples(*[st.sampled_from(INTEGERS)] * 2))
def test_it_is_that_of_scikit_learn(normalized, case, dtypes):
    def expected(true, predicted):
        matrix = multilabel_confusion_matrix(true, predicted, labels=case.classes)
        return matrix / len(true) if normalized else matrix

    case.batches = [(y_pred.to(dtypes[0]), y.to(dtypes[1])) for y_pred, y in case.batches]
    check(
        lambda: MultiLabelConfusionMatrix(case.num_classes, normalized=normalized), expected, case
    )


FIRST = (torch.tensor([[1, 0, 1], [0, 0, 1]]), torch.tensor([[1, 1, 0], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            (zeros(2), zeros(2, 3)),
            r"y_pred must at least have shape .*set to 3.*given y_pred of shape \(2,\)",
        ),
        ((zeros(2, 3), zeros(2)), r"y must at least have shape .*set to 3.* and y of shape \(2,\)"),
        ((zeros(2, 3), zeros(4, 3)), "y and y_pred have different batch size: 4 vs 2"),
        ((zeros(2, 4), zeros(2, 3)), "y_pred does not have correct number of classes: 4 vs 3"),
        ((zeros(2, 3), zeros(2, 2)), "y does not have correct number of classes: 2 vs 3"),
        ((zeros(2, 3, 4), zeros(2, 3)), r"shapes must match: \(2, 3\) vs \(2, 3, 4\)"),
        (
            (torch.zeros(2, 3), zeros(2, 3)),
            "y_pred must be of any type: .*torch.int64.*, but given torch.float32",
        ),
        (
            (zeros(2, 3), zeros(2, 3).bool()),
            "y must be of any type: .*torch.int64.*, but given torch.bool",
        ),
        ((zeros(2, 3) + 2, zeros(2, 3)), "y_pred must be a binary tensor: .*but given 2"),
        ((zeros(2, 3), zeros(2, 3) - 1), "y must be a binary tensor: .*but given -1"),
    ],
)
def test_invalid_outputs_are_refused_and_change_nothing(wrong, words):
    check_refused(MultiLabelConfusionMatrix(3), FIRST, wrong, ValueError, words)


def test_compute_refuses_invalid_values_on_an_accelerator():
    metric = MultiLabelConfusionMatrix(3)
    metric.update(elsewhere(FIRST[0] * 2, FIRST[1] - 1))
    with pytest.raises(
        ValueError, match="must be binary tensors, but 6 values are neither 0 nor 1"
    ):
        metric.compute()


@pytest.mark.parametrize("num_classes", [1, 0, -1])
def test_one_class_is_not_enough(num_classes):
    with pytest.raises(
        ValueError, match=f"Argument num_classes needs to be > 1, but given {num_classes}"
    ):
        MultiLabelConfusionMatrix(num_classes)
