import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.learner._data import inspection
from ignite.learner._data.inspection import is_finite, not_finite, out_of_range

NUMBERS = st.lists(
    st.sampled_from([0.0, 1.0, -3.0, 3e38, -3e38, float("nan"), float("inf"), -float("inf")]),
    min_size=1,
    max_size=12,
)


@given(NUMBERS)
def test_the_first_value_that_is_not_finite_is_found_and_all_are_counted(numbers):
    bad = [row for row, value in enumerate(numbers) if value != value or abs(value) == float("inf")]
    tensor = torch.tensor(numbers)
    finding = not_finite(tensor)
    assert is_finite(tensor) == (not bad)
    assert (finding is None) if not bad else (finding.count, finding.row) == (len(bad), bad[0])


@given(st.lists(st.integers(-3, 6), min_size=1, max_size=12))
def test_values_out_of_range_are_found_unless_ignored(numbers):
    bad = [row for row, value in enumerate(numbers) if not 0 <= value <= 4 and value != -2]
    finding = out_of_range(torch.tensor(numbers), 0, 4, ignored=-2)
    assert (
        (finding is None)
        if not bad
        else (finding.count, finding.row, finding.value) == (len(bad), bad[0], numbers[bad[0]])
    )


def test_pieces_are_put_together(monkeypatch):
    monkeypatch.setattr(inspection, "_NUM_AT_ONCE", 4)
    tensor = torch.zeros(7, 2)
    tensor[3, 1] = tensor[6, 0] = float("nan")
    finding = inspection._find_values(tensor, torch.isnan)
    assert (finding.count, finding.row, finding.column) == (2, 3, 1)
    assert (
        finding.describe(["age", "size"]) == "2 of them, the first is nan in row 3, column 'size'"
    )
    assert finding.describe() == "2 of them, the first is nan in row 3, column 1"


def test_nan_is_out_of_no_range_but_integers_and_nothing_are_finite():
    assert is_finite(torch.tensor([1]))
    assert is_finite(torch.zeros(0))
    assert out_of_range(torch.zeros(0), 0, 1) is None
