import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.statistics._statistic import LARGE, Copies, PendingBatches


def copies_of(values, dtype=torch.float32):
    x = torch.tensor(values, dtype=dtype)
    return Copies(x, -x), len(values)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-9, 9), max_size=4),
            st.sampled_from([torch.float32, torch.float64]),
        )
    )
)
def test_pending_batches_are_joined_by_kind_and_removed(batches):
    waiting = PendingBatches()
    for values, dtype in batches:
        assert not waiting.add(*copies_of(values, dtype))
    taken = waiting.taken()
    for dtype in (torch.float32, torch.float64):
        expected = [value for values, kind in batches if kind == dtype for value in values]
        found = [pair for pair in taken if pair[0].dtype == dtype]
        assert len(found) == any(kind == dtype for _, kind in batches)
        assert sorted(value for pair in found for value in pair[0].tolist()) == sorted(expected)
        assert all(torch.equal(x, -y) for x, y in found)
    assert waiting.taken() == []


def test_copies_do_not_change_with_the_output():
    x, y = torch.ones(2), torch.zeros(2)
    waiting = PendingBatches()
    waiting.add(Copies(x, y), 2)
    x.fill_(7)
    y.fill_(7)
    assert [tensor.tolist() for tensor in waiting.taken()[0]] == [[1.0, 1.0], [0.0, 0.0]]


def test_add_returns_whether_it_is_full():
    waiting, num = PendingBatches(), LARGE - 1
    answers = [waiting.add(*copies_of([0.0] * num)) for _ in range(9)]
    assert answers == [False] * 8 + [True]  # 8 times 4095 are less than 2 ** 15


def test_additions_are_rolled_back():
    waiting = PendingBatches()
    waiting.add(*copies_of([1.0]))
    undo = waiting._rollback_point()
    waiting.add(*copies_of([2.0]))
    waiting.add(*copies_of([3.0], torch.float64))
    undo()
    assert [x.tolist() for x, _ in waiting.taken()] == [[1.0]]
    undo = waiting._rollback_point()
    waiting.add(*copies_of([4.0]))
    waiting.taken()
    undo()
    assert waiting.taken() == []
