"""Retention policies for checkpoints."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.storage import Item, Note, Row, best, kept, place_in
from ignite.storage.ledger import ranked


def rows_of(*scores, mode="max"):
    return [
        Row(f"{step}.pt", Note(step=step, score=score, mode=mode))
        for step, score in enumerate(scores)
    ]


def files(rows):
    return [row.file for row in rows]


@pytest.mark.parametrize(
    ("scores", "mode", "expected"),
    [
        ([0.1, 0.9, 0.5], "max", "1.pt"),
        ([0.1, 0.9, 0.5], "min", "0.pt"),
        ([math.nan, 0.1, None], "max", "1.pt"),
        ([0.1, math.nan], "min", "0.pt"),
        ([0.5, 0.5], "max", "1.pt"),
        ([-math.inf, math.nan], "max", "0.pt"),
    ],
)
def test_the_best_row_has_the_best_score(scores, mode, expected):
    assert best(rows_of(*scores, mode=mode)).file == expected


@pytest.mark.parametrize("scores", [[], [None], [math.nan, None]])
def test_without_a_score_there_is_no_best_checkpoint(scores):
    assert best(rows_of(*scores)) is None
    assert ranked(rows_of(*scores)) == []


@pytest.mark.parametrize(
    ("num_best", "num_last", "expected"),
    [
        (1, 1, [1, 4]),
        (2, 1, [1, 3, 4]),
        (0, 2, [3, 4]),
        (1, 0, [1]),
        (0, 0, []),
        (9, 0, [0, 1, 3]),
        (0, 9, [0, 1, 2, 3, 4]),
    ],
)
def test_the_best_and_the_newest_rows_are_kept(num_best, num_last, expected):
    rows = rows_of(0.1, 0.9, math.nan, 0.5, None)
    for some_order in itertools.permutations(rows):
        assert files(kept(some_order, num_best, num_last)) == [f"{i}.pt" for i in expected]


def test_a_checkpoint_saved_after_a_restart_is_newer():
    rows = [Row("old", Note(step=9)), Row("new", Note(step=3, restarts=1))]
    assert files(kept(rows, 0, 1)) == ["new"]


def follow(priorities, n_saved, greater_or_equal=False, names=None):
    """Returns the items kept after each call, and all that were dropped."""
    saved, dropped = [], []
    for i, priority in enumerate(priorities):
        decision = place_in(
            saved, priority, names[i] if names else str(i), n_saved, greater_or_equal
        )
        if decision is not None:
            saved = decision.kept
            dropped += decision.dropped
    return [item.filename for item in saved], dropped


@pytest.mark.parametrize(
    ("priorities", "n_saved", "greater_or_equal", "expected"),
    [
        ([3, 1, 2], 2, False, ["2", "0"]),
        ([3, 1, 2], None, False, ["1", "2", "0"]),
        ([1, 1], 1, False, ["0"]),
        ([1, 1], 1, True, ["1"]),
        ([1, 2, 3], 1, False, ["2"]),
        ([3, 2, 1], 1, False, ["0"]),
        ([2, 2, 2], 2, True, ["1", "2"]),
        ([1, math.nan], 1, False, ["0"]),
        ([1, math.nan], 1, True, ["0"]),
        ([math.nan, 0.1, 0.9, 0.95], 1, False, ["3"]),
        ([math.nan, -math.inf], 1, False, ["1"]),
        ([math.nan, math.nan], 1, False, ["0"]),
        ([0.5, math.nan, 0.1], 2, False, ["2", "0"]),
        ([0.5, math.nan], 2, False, ["1", "0"]),
    ],
)
def test_the_best_items_are_kept(priorities, n_saved, greater_or_equal, expected):
    assert follow(priorities, n_saved, greater_or_equal)[0] == expected


def test_a_file_of_the_same_name_is_replaced_and_not_dropped():
    assert follow([1, 2, 3], 1, names=["m", "m", "m"]) == (["m"], [])
    saved = [Item(1, "a"), Item(2, "b")]
    assert place_in(saved, 3, "a", 2, False) == ([Item(2, "b"), Item(3, "a")], [])
    assert place_in(saved, 3, "c", 2, False) == ([Item(2, "b"), Item(3, "c")], ["a"])
    assert place_in(saved, 0, "b", 2, False) is None


def test_after_a_restart_with_a_lower_number_the_worst_items_are_dropped():
    saved = [Item(priority, str(priority)) for priority in (1, 5, 6)]
    assert place_in(saved, 7, "7", 2, False) == ([Item(6, "6"), Item(7, "7")], ["1", "5"])
    assert place_in(saved, 2, "2", 1, False) is None, "it would be dropped at once"
    assert place_in(saved, 9, "5", 1, False) == ([Item(9, "5")], ["1", "6"])


@given(
    st.lists(st.tuples(st.floats(), st.integers(0, 5)), max_size=12),
    st.none() | st.integers(1, 4),
    st.booleans(),
)
def test_kept_items_are_sorted_and_dropped_ones_were_kept_before(calls, n_saved, greater_or_equal):
    saved = []
    for priority, name in calls:
        decision = place_in(saved, priority, str(name), n_saved, greater_or_equal)
        if decision is None:
            assert len(saved) == n_saved
            continue
        names = [item.filename for item in decision.kept]
        assert names.count(str(name)) == 1
        assert len(set(names)) == len(names) <= (n_saved or 99)
        assert {*names, *decision.dropped} == {str(name), *(item.filename for item in saved)}
        numbers = [item.priority for item in decision.kept if item.priority == item.priority]
        assert numbers == sorted(numbers)
        assert all(
            item.priority != item.priority for item in decision.kept[: len(names) - len(numbers)]
        ), "NaN first"
        saved = decision.kept
