"""Losses alone: the table of mistakes in whole programs is in test_checks.py."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ignite.learner._data.fitting import check_fit
from ignite.learner._data.task import KnownLoss, known_loss

LOSSES = {"cross_entropy": F.cross_entropy, "nll": F.nll_loss, "bce_with_logits": F.binary_cross_entropy_with_logits,
          "bce": F.binary_cross_entropy, "mse": F.mse_loss}  # fmt: skip
SHAPES = st.sampled_from([(4,), (4, 1), (4, 2), (4, 3), (4, 3, 2), (4, 2, 3)])


@given(st.sampled_from(sorted(LOSSES)), SHAPES, SHAPES, st.booleans())
def test_what_torch_cannot_compute_is_refused_and_what_is_right_is_not(name, shape, y_shape, is_float):
    """What torch refuses is refused here, with a better text; of what it computes, only known traps are."""
    generator = torch.Generator().manual_seed(1)
    output = torch.randn(shape, generator=generator, requires_grad=True)
    output = (
        output.sigmoid() * 0.9
        if name == "bce"
        else output.log_softmax(1)
        if len(shape) > 1 and name == "nll"
        else output
    )
    y = torch.randint(0, 2, y_shape, generator=generator)
    y = y.float() if is_float else y
    try:
        list(check_fit(known_loss(name), output, y, y))
    except (TypeError, ValueError) as refusal:
        assert "should" in str(refusal)  # noqa: PT017
    else:
        LOSSES[name](output, y).backward()


def check(loss, output, y, **options):
    return list(check_fit(KnownLoss(loss, options), output, y, y))


def test_classes_in_the_last_dimension_are_told_to_be_in_the_wrong_place():
    with pytest.raises(ValueError, match=r"shape \(4, 3\) for cross_entropy, .* use output.transpose\(1, 2\)"):
        check("cross_entropy", torch.zeros(4, 5, 3), torch.zeros(4, 5, dtype=torch.int64))


def test_ignored_indices_are_in_range():
    y = torch.tensor([0, -100, 1])
    assert check("cross_entropy", torch.randn(3, 2), y) == []
    assert check("cross_entropy", torch.randn(3, 2), y.clamp(min=-1), ignore_index=-1) == []
    with pytest.raises(ValueError, match=r"given 1 of them, the first is -1 in row 1 \(they go from -1 to 1\): number"):
        check("cross_entropy", torch.randn(3, 2), y.clamp(min=-1))


def test_soft_targets_should_sum_to_one():
    assert check("cross_entropy", torch.randn(2, 2), torch.tensor([[0.3, 0.7], [1.0, 0.0]])) == []
    assert "the first to 2)" in check("cross_entropy", torch.randn(2, 2), torch.ones(2, 2))[0]


def test_log_probabilities_may_come_from_any_operation_if_they_sum_to_one():
    assert check("nll", torch.full((2, 4), 0.25).log(), torch.tensor([0, 3])) == []
    assert "does not sum to 1" in check("nll", torch.full((2, 4), -5.0), torch.tensor([0, 3]))[0]


def test_weights_of_the_loss_are_as_many_as_classes():
    with pytest.raises(ValueError, match="weight should have 3 values, .* but given 2"):
        check("cross_entropy", torch.randn(2, 3), torch.tensor([0, 1]), weight=torch.ones(2))


def test_gaussian_nll_is_left_alone():
    assert check("gaussian_nll", torch.randn(3), torch.randn(3, 1)) == []
