import math

import pytest

from ignite.exceptions import CheckpointError
from ignite.handlers._checkpoints.tracked_files import (
    check_custom_name,
    items_from_rows,
    merge_items,
    read_items,
    read_names,
    shift_before,
    state_of_items,
)
from ignite.storage import Item, Note, Row, check_name

NAN = math.nan


def test_both_lists_are_merged_and_the_first_one_takes_precedence():
    assert merge_items([Item(5, "a"), Item(NAN, "n")], [Item(1, "a"), Item(2, "b")])[1:] == [
        Item(2, "b"),
        Item(5, "a"),
    ]


def test_files_of_an_earlier_run_have_the_scores_and_steps_of_their_notes():
    rows = [Row("a", Note(step=10, score=0.5)), Row("b", Note(step=20))]
    assert items_from_rows(rows, has_scores=False) == [Item(10, "a"), Item(20, "b")]
    a, b = items_from_rows(rows, has_scores=True)
    assert a == Item(0.5, "a")
    assert math.isnan(b.priority)


@pytest.mark.parametrize(("first", "shift"), [(100, 0), (13, 0), (12, 1), (1, 12), (0.5, 12.5)])
def test_they_are_older_than_the_first_file_of_this_run(first, shift):
    moved = shift_before([Item(10, "a"), Item(12, "b")], first)
    assert moved == [Item(10 - shift, "a"), Item(12 - shift, "b")]
    assert shift_before([], first) == []


@pytest.mark.parametrize(
    "state",
    [3, "ab", None, [1], [(1,)], [(1, "a", 2)], [("x", "a")], [(1, 2)], [(1, "../../victim")], [(1, "/etc/passwd")],
     [(1, "a\0b")], [(1, "")], [(1, "~/a")], [[0.5, ".."]], {"a": 1}],
)  # fmt: skip
def test_a_state_that_names_no_files_of_one_folder_is_refused(state):
    with pytest.raises(CheckpointError, match="_saved should "):
        read_items(state, check_name)


def test_a_state_is_read_as_it_was_written():
    items = [Item(1, "a"), Item(2.5, "b")]
    assert state_of_items(items) == {"_saved": [(1, "a"), (2.5, "b")]}
    assert read_items(state_of_items(items)["_saved"], check_name) == items
    assert read_items([[2.5, "b"], [1, "a"]], check_name) == items


def test_handlers_of_users_may_have_folders_in_names_but_not_leave_theirs():
    check_custom_name("runs/1/model.pt")
    for name in ("../x", "a/../../x", "a\\..\\x", "a\nb", 3):
        with pytest.raises(ValueError, match="a printable string without '..'"):
            check_custom_name(name)


def test_other_names_of_files_are_read_as_they_were_written():
    state = state_of_items([Item(1, "a"), Item(2, "b")], {"b": "best.pt"})
    assert state == {"_saved": [(1, "a"), (2, "b")], "_real": {"b": "best.pt"}}
    assert read_names(state["_real"]) == {"b": "best.pt"}
    assert read_names(None) == {}


@pytest.mark.parametrize("state", [["best.pt"], {"a": "../best.pt"}, {"a": 3}])
def test_other_names_of_files_lead_nowhere_else(state):
    with pytest.raises(CheckpointError, match="_real should"):
        read_names(state)
