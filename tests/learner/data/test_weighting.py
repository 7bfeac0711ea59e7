import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from ignite.learner._data.weighting import balanced, class_table


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_balanced_is_what_scikit_learn_computes_and_1_for_classes_that_do_not_occur(labels):
    occurring = np.unique(labels)
    expected = np.ones(max(labels) + 1)
    expected[occurring] = compute_class_weight("balanced", classes=occurring, y=labels)
    np.testing.assert_allclose(balanced(torch.tensor(labels)).numpy(), expected, rtol=1e-12)
    images = torch.tensor(labels).reshape(1, 1, -1)
    np.testing.assert_allclose(balanced(images).numpy(), expected, rtol=1e-12)


def test_balanced_counts_neither_what_is_ignored_nor_more_of_a_class_than_its_probability():
    assert balanced(torch.tensor([[0, 255], [255, 1]]), 255).tolist() == [1, 1]
    assert balanced(torch.tensor([0.0, 0.0, 0.5, 1.0]), is_binary=True).tolist() == [
        4 / (2 * 2.5),
        4 / (2 * 1.5),
    ]
    assert balanced(torch.tensor([[0.0, 1.0], [0.5, 0.5]])).tolist() == [
        2 / (2 * 0.5),
        2 / (2 * 1.5),
    ]
    assert balanced(torch.tensor([[0, 1], [0, 0]]), is_binary=True).tolist() == pytest.approx(
        [4 / (2 * 3), 4 / 2]
    )


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (
            torch.tensor([0.5, 1]),
            TypeError,
            r"class indices for class_weight='balanced', but given shape \(2,\), torch",
        ),
        (
            {"a": torch.ones(2)},
            TypeError,
            "class indices for class_weight='balanced', but given a dict",
        ),
        (
            torch.tensor([0, -1]),
            ValueError,
            "class indices of at least 0 for class_weight, but given -1",
        ),
        (
            torch.tensor([-100, -100]),
            ValueError,
            "should hold at least one class for class_weight='balanced', but given none",
        ),
    ],
)
def test_targets_that_are_no_classes_are_refused(y, error, match):
    with pytest.raises(error, match=match):
        balanced(y, -100)


def test_weights_come_in_the_order_of_classes_or_by_index_or_name():
    assert class_table([1.0, 2.0, 3.0], 3).tolist() == [1, 2, 3]
    assert class_table(pl.Series([1.0, 2.0]), 2).tolist() == [1, 2]
    assert class_table({2: 0.5}, 3).tolist() == [1, 1, 0.5]
    assert class_table({"c": 4}, 3, ("a", "b", "c")).tolist() == [1, 1, 4]
    assert class_table(pd.Series({"b": 4.0}), 2, ("a", "b")).tolist() == [1, 4]
    assert class_table(pd.Series([2.0, 3.0]), 2, (10, 20)).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], "class_weight should have 2 weights, one for each class, but given 1"),
        ([1.0, -1.0], r"finite and at least 0, but given \[1.0, -1.0\]"),
        ({1: float("nan")}, r"finite and at least 0, but given \{1: nan\}"),
        ({5: 1.0}, "one of an index below 2, but given 5"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        class_table(weight, 2)


def test_a_number_is_a_name_where_classes_are_called_by_numbers_and_else_an_index():
    assert class_table({1: 5.0}, 2, ("a", "b")).tolist() == [1, 5]
    assert class_table({1: 5.0}, 2, (1, 3)).tolist() == [5, 1]
    with pytest.raises(ValueError, match=r"one of \[1, 3\], but given 0"):
        class_table({0: 5.0}, 2, (1, 3))
