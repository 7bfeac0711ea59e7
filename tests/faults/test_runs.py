from pathlib import Path

import pytest

from support.runs import Row, Seen


def make_row(seen):
    return Row(0, "a fault", 3, 30, lambda count, folder: seen._replace(text=f"{count} times"))


def test_a_row_runs_with_its_small_count_unless_another_is_given():
    row = make_row(Seen(2, 2))
    assert (row.check(Path()).text, row.check(Path(), 7).text) == ("3 times", "7 times")


@pytest.mark.parametrize(
    ("seen", "words"),
    [(Seen(0, 0), "no fault fired"), (Seen(1, 2), r"row 0 \(a fault\): 1 of 2; 3 times")],
)
def test_a_row_without_a_fault_or_below_its_bar_fails(seen, words):
    with pytest.raises(AssertionError, match=words):
        make_row(seen).check(Path())
