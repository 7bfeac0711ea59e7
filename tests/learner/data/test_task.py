from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ignite.learner._data.schema import infer_task, known_loss

INTS, BITS, FLOATS = torch.tensor([0, 3, 1]), torch.tensor([0, 1, 1]), torch.tensor([0.2, 3.0])
MANY = torch.tensor([[0, 1, 1], [1, 0, 0]])


class Halved(nn.CrossEntropyLoss):
    def forward(self, y_pred, y):
        return super().forward(y_pred, y) / 2


class Renamed(nn.CrossEntropyLoss):
    pass


@pytest.mark.parametrize(
    ("loss", "y", "kind", "num_classes"),
    [
        ("cross_entropy", INTS, "multiclass", 4),
        (nn.CrossEntropyLoss(), torch.rand(2, 5), "multiclass", 5),
        (F.cross_entropy, torch.zeros(2, 4, 4, dtype=torch.int64), "multiclass", 1),
        (Renamed(), INTS, "multiclass", 4),
        (nn.NLLLoss(), INTS, "multiclass", 4),
        (partial(F.nll_loss, ignore_index=3), INTS, "multiclass", 4),
        (nn.BCEWithLogitsLoss(), BITS, "binary", 2),
        ("bce", BITS.unsqueeze(1).float(), "binary", 2),
        (F.binary_cross_entropy_with_logits, MANY, "multilabel", 3),
        *[
            (loss, FLOATS, "regression", None)
            for loss in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.SmoothL1Loss())
        ],
        *[
            (loss, BITS, "regression", None)
            for loss in ("mse", "mae", F.gaussian_nll_loss, nn.GaussianNLLLoss())
        ],
        (lambda a, b: 0, FLOATS, "regression", None),
        (lambda a, b: 0, INTS, "multiclass", 4),
        (Halved(), INTS, "multiclass", 4),
        (lambda a, b: 0, MANY, "multilabel", 3),
        (lambda a, b: 0, BITS, "unknown", None),
        (lambda a, b: 0, BITS.float(), "unknown", None),
        (lambda a, b: 0, -INTS, "unknown", None),
        (lambda a, b: 0, MANY * 2, "unknown", None),
        (lambda a, b: 0, None, "unknown", None),
        (lambda a, b: 0, {"a": INTS}, "unknown", None),
    ],
)
def test_the_task_is_determined_by_the_loss_or_else_by_the_targets(loss, y, kind, num_classes):
    task = infer_task(loss, y)
    assert (task.kind, task.num_classes) == (kind, num_classes)
    assert task.reason.startswith(kind)


def test_the_output_determines_the_meaning_of_zeros_and_ones_for_a_custom_loss():
    assert infer_task(len, BITS, output=torch.zeros(3, 1)).kind == "binary"
    assert infer_task(len, BITS, output=torch.zeros(3)).kind == "binary"
    task = infer_task(len, BITS, output=torch.zeros(3, 6))
    assert (task.kind, task.num_classes) == ("multiclass", 6)


def test_the_number_of_classes_comes_from_names_output_or_all_targets():
    assert infer_task("cross_entropy", INTS, classes="abcde").num_classes == 5
    assert (
        infer_task("cross_entropy", INTS, is_whole=False, output=torch.zeros(3, 9)).num_classes == 9
    )
    assert infer_task("cross_entropy", INTS, is_whole=False).num_classes is None


def test_the_reason_is_a_sentence():
    assert infer_task(nn.CrossEntropyLoss(), INTS).reason == (
        "multiclass with 4 classes, because the loss is CrossEntropyLoss and y has integers from 0 to 3, shape (3,)"
    )
    assert infer_task("bce_with_logits", MANY).reason.startswith(
        "multilabel with 3 labels, because"
    )
    assert infer_task(len, BITS.float()).reason == (
        "unknown, because the loss is your own and y has float32 numbers, shape (3,); there are no metrics by name"
    )


def test_options_of_the_loss_are_known():
    assert known_loss(nn.CrossEntropyLoss(ignore_index=7)).options["ignore_index"] == 7
    assert known_loss(partial(F.nll_loss, ignore_index=3)).options == {"ignore_index": 3}
    assert known_loss("hinge") is None
    assert known_loss(Halved()) is None
    assert known_loss(partial(max, 1)) is None
