import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.statistics._counts import Tally


@given(st.lists(st.lists(st.integers(0, 6), max_size=3000), max_size=8), st.integers(0, 9))
def test_counts_do_not_depend_on_the_batches(batches, looked_at):
    """Also if somebody looks at them in between."""
    tally, seen = Tally(torch.zeros(7, dtype=torch.int64)), []
    for i, batch in enumerate(batches):
        tally.add(torch.tensor(batch, dtype=torch.int64))
        seen += batch
        if i == looked_at:
            assert tally.counts().tolist() == [seen.count(index) for index in range(7)]
    assert tally.counts().tolist() == [seen.count(index) for index in range(7)]


def test_floats_are_indices_too_and_what_was_there_is_added_to():
    tally = Tally(torch.tensor([5, 0, 1]))
    tally.add(torch.tensor([2.0, 2.0, 0.0]))
    assert tally.counts().tolist() == [6, 0, 3]


def test_the_number_of_pending_indices_is_limited():
    tally = Tally(torch.zeros(1, dtype=torch.int64))
    for _ in range(100):
        tally.add(torch.zeros(100, dtype=torch.int64))
        assert tally._num_pending < 4096
    assert tally.counts().tolist() == [10_000]
