import functools
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.engine._emitter import call_each, call_handlers
from ignite.engine._handlers import Payload, Table, can_take, register

NOTHING = Payload()


def make_table(*handlers, payload=NOTHING, priorities=None):
    table = Table("EVENT", payload)
    for handler, priority in zip(handlers, priorities or [0] * len(handlers), strict=True):
        table.add(register(table, "EVENT", handler, (), {}, priority))
    return table


@given(st.lists(st.sampled_from([-1, 0, 0, 1, 2]), max_size=12))
def test_the_order_is_that_of_a_stable_sort_by_priority(priorities):
    order = []
    handlers = [lambda i=i: order.append(i) for i in range(len(priorities))]
    # A default argument has room for the engine, so bind it away.
    table = make_table(
        *[(lambda h: lambda: h())(handler) for handler in handlers], priorities=priorities
    )
    call_handlers(table.calls, None, "EVENT", 1)
    assert order == sorted(range(len(priorities)), key=lambda i: -priorities[i])


def test_what_an_event_hands_over_goes_before_the_handlers_own_arguments():
    table, seen = Table("EVENT", Payload(args=("exception",))), []
    for handler in (
        lambda engine, error, x: seen.append((engine, error, x)),
        lambda error, x: seen.append((error, x)),
    ):
        table.add(register(table, "EVENT", handler, ("own",), {}, 0))
    call_each(table.calls, "ENGINE", "EVENT", 1, ("ERROR",))
    assert seen == [("ENGINE", "ERROR", "own"), ("ERROR", "own")]


def test_what_comes_by_keyword_may_be_left_out():
    seen = []
    table = make_table(
        lambda engine, iter_counter: seen.append(("both", iter_counter)),
        lambda iter_counter: seen.append(("one", iter_counter)),
        lambda engine: seen.append("engine"),
        lambda: seen.append("bare"),
        payload=Payload(kwargs=("iter_counter",)),
    )
    call_handlers(table.calls, "ENGINE", "EVENT", 1, (), {"iter_counter": 3})
    assert seen == [("both", 3), ("one", 3), "engine", "bare"]


def test_call_each_continues_after_an_error_but_not_after_ctrl_c():
    calls = []

    def fail():
        calls.append("fail")
        raise ValueError("first")

    def fail_too():
        calls.append("fail too")
        raise KeyError("second")

    table = make_table(fail, fail_too, lambda: calls.append("fine"))
    with pytest.raises(ValueError, match="first"):
        call_each(table.calls, None, "EVENT", 1)
    assert calls == ["fail", "fail too", "fine"]

    def interrupt():
        raise KeyboardInterrupt

    table = make_table(interrupt, lambda: calls.append("never"))
    with pytest.raises(KeyboardInterrupt):
        call_each(table.calls, None, "EVENT", 1)
    assert "never" not in calls


def test_a_note_names_the_handler_once():
    engine, inner = Engine(lambda engine, batch: None), Engine(lambda engine, batch: 1 / 0)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: inner.run([0]))
    with pytest.raises(ZeroDivisionError) as info:
        engine.run([0])
    notes = info.value.__notes__
    assert [note.split(" of ")[-1] for note in notes] == ["Engine", "Events.EPOCH_COMPLETED (1)"]
    assert len(set(notes)) == len(notes)


def test_a_table_computes_when_it_must_be_fired():
    table = Table("EVENT", Payload())
    table.refresh(is_watched=False)
    assert (table.active, table.is_busy) == (False, False)
    table.add(register(table, Events.STARTED(every=3), lambda: None, (), {}, 0))
    table.add(register(table, Events.STARTED(once=[4, 8]), lambda: None, (), {}, 0))
    table.refresh(is_watched=False)
    assert (table.active, table.is_busy) == (True, False)
    assert [table.next_due(n) for n in range(1, 9)] == [3, 3, 3, 4, 6, 6, 8, 8]
    table.add(register(table, Events.STARTED(lambda engine, n: False), lambda: None, (), {}, 0))
    table.refresh(is_watched=False)
    assert table.is_busy


@given(
    st.lists(
        st.tuples(
            st.integers(1, 6),  # the epoch in which it happens
            st.sampled_from(["add", "remove"]),
            st.integers(0, 3),  # the handler
            st.sampled_from([-1, 0, 0, 1]),  # its priority
        ),
        max_size=12,
    )
)
def test_handlers_added_and_removed_by_other_handlers_are_those_of_a_list(changes):
    engine, called, expected = Engine(lambda engine, batch: None), [], []
    handlers = [lambda engine, i=i: called.append((engine.state.epoch, i)) for i in range(4)]

    @engine.on(Events.EPOCH_STARTED)
    def change(engine):
        for _, verb, i, priority in (row for row in changes if row[0] == engine.state.epoch):
            if verb == "add":
                engine.add_event_handler(Events.ITERATION_COMPLETED, handlers[i], priority=priority)
            elif engine.has_event_handler(handlers[i], Events.ITERATION_COMPLETED):
                engine.remove_event_handler(handlers[i], Events.ITERATION_COMPLETED)

    engine.run([0], max_epochs=6)
    listed = []
    for epoch in range(1, 7):
        for _, verb, i, priority in (row for row in changes if row[0] == epoch):
            listed = (
                [*listed, (-priority, i)]
                if verb == "add"
                else [entry for entry in listed if entry[1] != i]
            )
        expected += [(epoch, i) for _, i in sorted(listed, key=lambda entry: entry[0])]
    assert called == expected


class Callables:
    def __call__(self, engine, x=1): ...

    def method(self, engine): ...

    def of_any(*args): ...

    def with_key(self, engine, *, key): ...

    @staticmethod
    def static(engine, x): ...

    @classmethod
    def of_class(cls, engine, x=1): ...


def wrapping(engine, x): ...


@functools.wraps(wrapping)
def wrapped(*args): ...


@pytest.mark.parametrize(
    "handler",
    [
        lambda: 0,
        lambda engine: 0,
        lambda engine, x=1: 0,
        lambda engine, x, /, y=1, z=2: 0,
        lambda *args: 0,
        lambda engine, *args, key=1: 0,
        lambda engine, *, key: 0,
        lambda engine, **kwargs: 0,
        *(getattr(Callables(), n) for n in ("method", "of_any", "with_key", "static", "of_class")),
        Callables(),
        Callables.method,
        wrapped,
        functools.partial(wrapping, 1),
    ],
)
def test_what_a_handler_accepts_is_what_its_signature_says(handler):
    for num in range(5):
        args = ("x",) * num
        for kwargs in ({}, {"key": 1}):
            try:
                inspect.signature(handler).bind(*args, **kwargs)
            except TypeError:
                expected = False
            else:
                expected = True
            assert can_take(handler, args, kwargs) is expected, (num, kwargs)
