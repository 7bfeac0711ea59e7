import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from ignite.metrics.regression.kendall_correlation import num_inversions, num_tied_pairs
from ignite.metrics.regression.spearman_correlation import mid_ranks

integers = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(integers)
def test_equal_values_share_the_mean_of_their_ranks(values):
    assert (
        mid_ranks(torch.tensor(values, dtype=torch.float64)).tolist() == rankdata(values).tolist()
    )


@given(integers)
def test_inversions_are_pairs_in_falling_order(values):
    expected = sum(values[i] > values[j] for j in range(len(values)) for i in range(j))
    assert num_inversions(torch.tensor(values)) == expected


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 1024, 1025])
def test_inversions_of_any_number_of_falling_values(n):
    assert num_inversions(torch.arange(n).flip(0)) == n * (n - 1) // 2


def test_tied_pairs_are_those_within_groups():
    assert num_tied_pairs(torch.tensor([1, 2, 4])) == 0 + 1 + 6
