"""Losses alone; mistakes in whole programs are in test_checks.py."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ignite.learner._data.schema import KnownLoss, known_loss
from ignite.learner._data.targets import (
    check_fit,
    hard_labels,
    one_row,
    same_shape,
    without_ignored,
)

LOSSES = {"cross_entropy": F.cross_entropy, "nll": F.nll_loss, "bce_with_logits": F.binary_cross_entropy_with_logits,
          "bce": F.binary_cross_entropy, "mse": F.mse_loss}  # fmt: skip
SHAPES = st.sampled_from([(4,), (4, 1), (4, 2), (4, 3), (4, 3, 2), (4, 2, 3)])


@given(st.sampled_from(sorted(LOSSES)), SHAPES, SHAPES, st.booleans())
def test_what_torch_cannot_compute_is_refused_and_what_is_right_is_not(
    name, shape, y_shape, is_float
):
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


def test_classes_in_the_last_dimension_are_reported():
    with pytest.raises(
        ValueError, match=r"shape \(4, 3\) for cross_entropy, .* use output.transpose\(1, 2\)"
    ):
        check("cross_entropy", torch.zeros(4, 5, 3), torch.zeros(4, 5, dtype=torch.int64))


def test_ignored_indices_are_in_range():
    y = torch.tensor([0, -100, 1])
    assert check("cross_entropy", torch.randn(3, 2), y) == []
    assert check("cross_entropy", torch.randn(3, 2), y.clamp(min=-1), ignore_index=-1) == []
    with pytest.raises(
        ValueError,
        match=r"given 1 of them, the first is -1 in row 1 \(the range is -1 to 1\): number",
    ):
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


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_only_dimensions_of_size_one_come_and_go_and_samples_stay_samples(shape, y_shape):
    y_pred, y = torch.zeros(shape), torch.arange(torch.Size(y_shape).numel()).reshape(y_shape)
    fitted = same_shape(y_pred, y)[1]
    ones_differ = [n for n in shape if n != 1] == [n for n in y_shape if n != 1]
    if ones_differ and shape[0] == y_shape[0]:
        assert fitted.shape == y_pred.shape
        assert fitted.flatten().tolist() == y.flatten().tolist()
    elif torch.Size(shape).numel() > 1:
        assert fitted is y


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3), (2, 3, 4), (1, 1)])
@pytest.mark.parametrize("num_samples", [1, 2])
def test_a_squeezed_output_for_one_sample_is_a_row_again(num_samples, shape):
    whole = torch.zeros(num_samples, *shape)
    squeezed = whole.squeeze()
    assert one_row(whole, num_samples).shape == whole.shape
    if num_samples == 1 and [n for n in shape if n != 1]:
        assert one_row(squeezed, 1).shape == (1, *squeezed.shape)
        assert [leaf.shape for leaf in one_row({"a": squeezed}, 1).values()] == [
            (1, *squeezed.shape)
        ]
    if num_samples == 1 and shape == (1, 1):
        assert one_row(squeezed, 1).shape == (1,)
    if num_samples == 2:
        assert one_row(squeezed, 2) is squeezed
    assert one_row("text", 1) == "text"


def test_hard_labels_and_those_that_count():
    y_pred, y = torch.arange(24.0).reshape(2, 3, 4), torch.tensor([[0, -1, 2, 1], [-1, -1, 0, 2]])
    scores, labels = without_ignored(y_pred, y, -1)
    assert labels.tolist() == [0, 2, 1, 0, 2]
    assert scores.tolist() == [
        y_pred[n, :, i].tolist() for n, i in [(0, 0), (0, 2), (0, 3), (1, 2), (1, 3)]
    ]
    assert hard_labels(torch.tensor([0.5, 0.51, 0.49, -1.0, 2.0])).tolist() == [0, 1, 0, -1, 2], (
        "others stay wrong"
    )
    assert hard_labels(y) is y
    numbers = torch.tensor([1.0, 2.0])
    assert hard_labels(numbers, torch.zeros(2, 3)) is numbers


def test_three_samples_are_not_one_sample_of_three():
    y = torch.zeros(3)
    assert same_shape(torch.zeros(1, 3), y)[1] is y
