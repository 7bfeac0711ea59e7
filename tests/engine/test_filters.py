import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.engine._handlers import compile_filter


def calls_at(event, data=range(3), setup=None, **kwargs):
    engine, counts = Engine(lambda engine, batch: None), []
    engine.add_event_handler(
        event, lambda engine: counts.append(engine.state.get_event_attrib_value(event))
    )
    if setup is not None:
        setup(engine)
    engine.run(data, **kwargs)
    return counts


@pytest.mark.parametrize(
    "given_arguments",
    [{}, {"every": 2, "once": 1}, {"event_filter": lambda e, n: True, "every": 2}, {"once": 1, "before": 3},
     {"every_seconds": 2, "every": 2}, {"event_filter": lambda e, n: True, "once": 1}],
)  # fmt: skip
def test_conditions_that_do_not_go_together_are_refused(given_arguments):
    with pytest.raises(ValueError, match="Only one of the input arguments should be specified"):
        Events.ITERATION_STARTED(**given_arguments)


def test_what_was_given_is_named():
    with pytest.raises(ValueError, match=r"but given \{'every': 2, 'once': 1\}$"):
        Events.ITERATION_STARTED(every=2, once=1)
    with pytest.raises(ValueError, match="but given none$"):
        Events.ITERATION_STARTED()


@pytest.mark.parametrize(
    ("given_arguments", "words"),
    [
        ({"every": 0}, "every should be integer and greater than zero, but given 0"),
        ({"every": 2.5}, "every should be integer and greater than zero, but given 2.5"),
        ({"once": -1}, r"positive integer or a list of positive integers, got -1"),
        ({"once": []}, r"positive integer or a list of positive integers, got \[\]"),
        ({"once": [1, "2"]}, r"got \[1, '2'\]"),
        ({"once": "12"}, "got '12'"),
        ({"before": -1}, "before should be integer and greater or equal to zero, but given -1"),
        ({"after": "x"}, "after should be integer and greater or equal to zero, but given 'x'"),
        ({"every_seconds": 0}, "every_seconds should be a positive number of seconds, but given 0"),
        ({"event_filter": lambda engine: True}, "should accept .engine, count."),
    ],
)
def test_impossible_conditions_are_refused_with_the_value(given_arguments, words):
    with pytest.raises(ValueError, match=words):
        Events.ITERATION_STARTED(**given_arguments)


def test_a_filter_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="event_filter should be a callable, but given 3"):
        Events.ITERATION_STARTED(event_filter=3)


def test_numbers_of_numpy_are_numbers():
    assert calls_at(Events.EPOCH_STARTED(every=np.int64(2)), max_epochs=4) == [2, 4]
    assert calls_at(Events.EPOCH_STARTED(once=np.int32(3)), max_epochs=4) == [3]
    assert calls_at(Events.EPOCH_STARTED(before=np.int64(3)), max_epochs=4) == [1, 2]


def test_true_counts_as_one_as_it_did_in_ignite():
    assert calls_at(Events.EPOCH_STARTED(once=True), max_epochs=3) == [1]
    assert calls_at(Events.EPOCH_STARTED(every=True), max_epochs=3) == [1, 2, 3]


def test_a_predicate_is_given_engine_and_count():
    seen = []
    event = Events.EPOCH_STARTED(
        lambda engine, count: seen.append((engine.state.epoch, count)) or count == 2
    )
    assert calls_at(event, max_epochs=3) == [2]
    assert seen == [(1, 1), (2, 2), (3, 3)]


@given(
    st.integers(1, 9),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 30),
    st.integers(0, 40),
)
def test_the_next_due_count_is_the_first_that_passes(every, after, before, count):
    event = Events.ITERATION_STARTED(every=every, after=after, before=before)
    if event.filter is None:
        return
    condition = compile_filter(event.filter, "ITERATION_STARTED")
    passing = [n for n in range(count, 100) if event.filter(None, n)]
    assert condition.is_arithmetic
    assert condition.next_due(count) == passing[0] if passing else condition.next_due(count) > 10**9


def test_every_five_and_the_last_one():
    assert calls_at(Events.EPOCH_COMPLETED(every=5, last=True), max_epochs=12) == [5, 10, 12]
    assert calls_at(Events.EPOCH_COMPLETED(every=5, last=True), max_epochs=10) == [5, 10]
    assert calls_at(Events.EPOCH_COMPLETED(last=True), max_epochs=3) == [3]
    assert calls_at(Events.EPOCH_STARTED(last=True), max_epochs=3) == [3]
    assert calls_at(Events.ITERATION_COMPLETED(every=4, last=True), max_epochs=3) == [4, 8, 9]
    assert calls_at(Events.ITERATION_STARTED(last=True), max_iters=5) == [5]
    assert calls_at(Events.GET_BATCH_STARTED(last=True), max_epochs=2) == [5]
    assert calls_at(Events.STARTED(last=True)) == [0]


def test_the_last_one_is_made_up_for_when_a_run_ends_early_and_only_once():
    def stop_in_epoch_3(engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=3), engine.terminate)

    assert calls_at(
        Events.EPOCH_COMPLETED(every=2, last=True), setup=stop_in_epoch_3, max_epochs=9
    ) == [2, 3]
    assert calls_at(
        Events.EPOCH_COMPLETED(every=3, last=True), setup=stop_in_epoch_3, max_epochs=9
    ) == [3]

    def stop_in_iteration_4(engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=4), engine.terminate)

    assert calls_at(
        Events.ITERATION_COMPLETED(last=True), setup=stop_in_iteration_4, max_epochs=9
    ) == [4]
    assert calls_at(Events.ITERATION_COMPLETED(last=True), data=iter("abcde")) == [5]


def test_a_made_up_call_comes_before_the_end_of_the_run():
    engine, order = Engine(lambda engine, batch: None), []
    engine.add_event_handler(Events.EPOCH_COMPLETED(last=True), lambda: order.append("last"))
    engine.add_event_handler(Events.EPOCH_COMPLETED(once=1), engine.terminate)
    engine.add_event_handler(Events.TERMINATE, lambda: order.append("terminate"))
    engine.run([0], max_epochs=5)
    assert order == ["last", "terminate"]


def test_an_error_in_a_trial_call_names_its_origin():
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED(last=True))
    def fail(engine):
        raise OSError("disk full")

    engine.add_event_handler(Events.EPOCH_COMPLETED(once=3), engine.terminate)
    with pytest.raises(OSError, match="disk full") as info:
        engine.run([0], max_epochs=5)
    assert info.value.__notes__[0].endswith("fail of Events.EPOCH_COMPLETED (3)")


def test_a_run_that_fails_makes_nothing_up():
    engine, calls = Engine(lambda engine, batch: 1 / (3 - engine.state.epoch)), []
    engine.add_event_handler(Events.EPOCH_COMPLETED(last=True), lambda: calls.append(1))
    with pytest.raises(ZeroDivisionError):
        engine.run([0], max_epochs=5)
    assert calls == []


def test_every_seconds_keeps_its_own_time_for_each_handler(monkeypatch):
    times = {"now": 100.0}
    monkeypatch.setattr(clock, "now", lambda: times["now"])
    engine = Engine(lambda engine, batch: times.update(now=times["now"] + 1.0))
    event, calls = Events.ITERATION_COMPLETED(every_seconds=2.5, last=True), {"a": [], "b": []}
    engine.add_event_handler(event, lambda engine: calls["a"].append(engine.state.iteration))
    engine.add_event_handler(event, lambda engine: calls["b"].append(engine.state.iteration))
    engine.run(range(8))
    # Asked first after iteration 1, at time 101; then due at 104 and 107.
    assert calls == {"a": [4, 7, 8], "b": [4, 7, 8]}


@pytest.mark.parametrize("event", [Events.STARTED(last=True), Events.STARTED(every_seconds=1)])
def test_a_filter_with_a_memory_is_asked_on_an_engine_only(event):
    with pytest.raises(TypeError, match="attach the event to an engine"):
        event.filter(None, 1)
