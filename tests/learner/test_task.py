import pytest
import torch
from torch import nn

from ignite.learner._task import check_kind, infer


def own_loss(y_pred, y):
    return ((y_pred - y) ** 2).mean()


@pytest.mark.parametrize(
    ("loss", "target", "kind"),
    [
        (nn.CrossEntropyLoss(), None, "multiclass"),
        (nn.NLLLoss(), None, "multiclass"),
        (nn.MSELoss(), None, "regression"),
        (nn.HuberLoss(), None, "regression"),
        (nn.BCEWithLogitsLoss(), torch.zeros(3), "binary"),
        (nn.BCEWithLogitsLoss(), torch.zeros(3, 1), "binary"),
        (nn.BCELoss(), torch.zeros(3, 4), "multilabel"),
        (own_loss, torch.zeros(3), "regression"),
        (own_loss, torch.zeros(3, dtype=torch.long), "multiclass"),
    ],
)
def test_loss_and_targets_tell(loss, target, kind):
    task = infer(loss, target)
    assert task.kind == kind
    assert str(task).startswith(f"{kind} (")


def test_the_reason_is_said():
    assert infer(nn.BCELoss(), torch.zeros(3, 4)).reason == "BCELoss, and targets have the shape (N, 4)"


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), own_loss])
def test_without_targets_some_losses_do_not_tell(loss):
    with pytest.raises(
        ValueError, match=r"without looking at targets: give Learner\(..., task=...\), one of multiclass"
    ):
        infer(loss, None)


def test_kinds_are_checked():
    assert check_kind("binary") == "binary"
    with pytest.raises(ValueError, match="task should be one of multiclass, .* but given 'classes'"):
        check_kind("classes")
