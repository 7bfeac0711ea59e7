from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine._cursor import Course, Cursor, Request, is_done, is_last_in_epoch, plan_run


def counters(iteration=0, epoch=0, epoch_length=None, max_epochs=None, max_iters=None):
    return SimpleNamespace(
        iteration=iteration,
        epoch=epoch,
        epoch_length=epoch_length,
        max_epochs=max_epochs,
        max_iters=max_iters,
    )


def advance(state, cursor, num_iterations):
    """As the loop does."""
    state.iteration += num_iterations
    cursor.iteration += num_iterations


@pytest.mark.parametrize(
    ("state", "done"),
    [
        (counters(), False),
        (counters(5, 1, 5, 2), False),
        (counters(10, 1, 5, 2), True),
        (counters(3, 2, 5, 2), True),
        (counters(7, 2, 5, None, 8), False),
        (counters(8, 2, 5, None, 8), True),
        (counters(3, 1, None, 2), False),
    ],
)
def test_a_run_is_done_when_a_limit_is_reached(state, done):
    assert is_done(state) is done


def test_planning_changes_nothing():
    state, cursor = counters(10, 2, 5, 2), Cursor()
    before, position = vars(state).copy(), cursor.position(state)
    plan_run(state, cursor, Request(max_epochs=4, data_length=5))
    assert (vars(state), cursor.position(state)) == (before, position)


@pytest.mark.parametrize(
    ("state", "cursor", "request_", "course"),
    [
        (counters(), Cursor(), Request(data_length=3), Course.BEGIN),
        (counters(10, 2, 5, 2), Cursor(), Request(data_length=5), Course.BEGIN),
        (counters(10, 2, 5, 2), Cursor(is_loaded=True), Request(data_length=5), Course.NOTHING),
        (
            counters(10, 2, 5, 2),
            Cursor(is_loaded=True),
            Request(max_epochs=3, data_length=5),
            Course.RESUME,
        ),
        (counters(7, 2, 5, 2), Cursor(is_paused=True), Request(data_length=5), Course.CONTINUE),
        (counters(10, 2, 5, 2), Cursor(is_paused=True), Request(data_length=5), Course.CONTINUE),
        (counters(7, 2, 5), Cursor(is_paused=True), Request(data_length=5), Course.BEGIN),
        (counters(7, 1, 5, 2), Cursor(), Request(data_length=5), Course.RESUME),
    ],
)
def test_what_a_call_of_run_does(state, cursor, request_, course):
    assert plan_run(state, cursor, request_).course is course


def test_sources_of_the_epoch_length():
    assert plan_run(counters(), Cursor(), Request(epoch_length=5, data_length=5)).length_is_given
    assert plan_run(counters(), Cursor(), Request(epoch_length=5, has_data=False)).length_is_given
    assert not plan_run(counters(), Cursor(), Request(data_length=5)).length_is_given
    assert not plan_run(counters(4, 0, 5, 3), Cursor(), Request(data_length=5)).length_is_given
    assert plan_run(counters(4, 0, 5, 3), Cursor(), Request(data_length=9)).length_is_given


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_the_position_is_where_the_epochs_have_brought_it(length, num_epochs, rest):
    state, cursor = counters(epoch_length=length), Cursor()
    cursor.begin_run(state)
    for _ in range(num_epochs):
        cursor.begin_epoch(state)
        advance(state, cursor, length)
        cursor.end_epoch(state)
    assert cursor.position(state) == (num_epochs, 0)
    cursor.begin_epoch(state)
    advance(state, cursor, rest)
    assert cursor.position(state) == (num_epochs, rest)


@pytest.mark.parametrize(
    ("state", "start", "is_last"),
    [(counters(5, 1, 5), 0, True), (counters(4, 1, 5), 0, False), (counters(9, 2, 5), 4, True),
     (counters(4, 1, None), 0, False), (counters(4, 1, None, None, 4), 0, True)],
)  # fmt: skip
def test_the_last_iteration_of_an_epoch(state, start, is_last):
    assert is_last_in_epoch(state, start) is is_last
