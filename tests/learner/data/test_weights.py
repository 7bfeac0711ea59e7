import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from ignite.learner._data.weights import per_sample


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_balanced_is_what_scikit_learn_computes(labels):
    expected = compute_sample_weight("balanced", labels)
    np.testing.assert_allclose(per_sample("balanced", torch.tensor(labels)).numpy(), expected, rtol=1e-6)


def test_weights_come_in_the_order_of_classes_or_by_index_or_name():
    y = torch.tensor([[2], [0]])
    assert per_sample([1.0, 2.0, 3.0], y).tolist() == [3, 1]
    assert per_sample({2: 0.5}, y).tolist() == [0.5, 1]
    assert per_sample({"c": 4}, y, ("a", "b", "c")).tolist() == [4, 1]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("balance", "class_weight should be 'balanced', or weights by class, but given 'balance'"),
        ([1.0], "class_weight should have 2 weights, one for each class, but given 1"),
        ([1.0, -1.0], r"finite and at least 0, but given \[1.0, -1.0\]"),
        ({5: 1.0}, "one of an index below 2, but given 5"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        per_sample(weight, torch.tensor([0, 1]))


def test_targets_that_are_no_classes_are_refused():
    with pytest.raises(
        TypeError, match=r"class indices, shape \(N,\), for class_weight, but given shape \(2,\), torch.float32"
    ):
        per_sample("balanced", torch.tensor([0.5, 1]))
    with pytest.raises(ValueError, match="class indices from 0 on for class_weight, but given -1"):
        per_sample("balanced", torch.tensor([0, -1]))


def test_a_number_is_a_name_where_classes_are_called_by_numbers_and_else_an_index():
    y = torch.tensor([0, 1])
    assert per_sample({1: 5.0}, y, ("a", "b")).tolist() == [1, 5]
    assert per_sample({1: 5.0}, y, (1, 3)).tolist() == [5, 1]
    with pytest.raises(ValueError, match=r"one of \[1, 3\], but given 0"):
        per_sample({0: 5.0}, y, (1, 3))
