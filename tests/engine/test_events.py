import pickle
from enum import Enum

import pytest

from ignite.engine import CallableEventWithFilter, Engine, EventEnum, Events, EventsList


class MyEvents(EventEnum):
    FOO = "foo"
    BAR = "bar"


def test_members_are_those_of_ignite_in_its_order():
    assert [event.name for event in Events] == [
        "EPOCH_STARTED", "EPOCH_COMPLETED", "STARTED", "COMPLETED", "ITERATION_STARTED", "ITERATION_COMPLETED",
        "EXCEPTION_RAISED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED", "DATALOADER_STOP_ITERATION", "TERMINATE",
        "TERMINATE_SINGLE_EPOCH", "INTERRUPT",
    ]  # fmt: skip
    assert [event.value for event in Events] == [event.name.lower() for event in Events]
    assert isinstance(Events.STARTED, CallableEventWithFilter)
    assert Events("started") is Events.STARTED


def test_events_are_equal_and_hash_alike_by_name():
    assert Events.STARTED == "STARTED"
    assert Events.ITERATION_STARTED(every=3) == Events.ITERATION_STARTED
    assert Events.STARTED != Events.COMPLETED
    assert Events.STARTED != 1
    assert {Events.STARTED: 1}["STARTED"] == 1
    assert hash(MyEvents.FOO(once=2)) == hash(MyEvents.FOO)


def test_a_filtered_event_leaves_the_original_alone():
    filtered = MyEvents.FOO(every=2)
    assert MyEvents.FOO.filter is None
    assert filtered.filter is not None
    assert (filtered.name, filtered.value) == ("FOO", "foo")
    assert MyEvents.FOO(every=1).filter is None


def test_members_of_a_plain_enum_take_no_filter():
    class Plain(Enum):
        FOO = "foo"

    with pytest.raises(TypeError):
        Plain.FOO(every=2)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Events.STARTED, "Events.STARTED"),
        (MyEvents.BAR(every=5, last=True), "MyEvents.BAR(every=5, last=True)"),
        (Events.EPOCH_COMPLETED(once=[1, 2]), "Events.EPOCH_COMPLETED(once=[1, 2])"),
        (Events.EPOCH_COMPLETED(before=9, after=2), "Events.EPOCH_COMPLETED(before=9, after=2)"),
        (Events.EPOCH_COMPLETED(every_seconds=60), "Events.EPOCH_COMPLETED(every_seconds=60)"),
        (~Events.EPOCH_COMPLETED(every=2), "Events.EPOCH_COMPLETED(not (every=2))"),
        (Events.STARTED | Events.COMPLETED, "Events.STARTED | Events.COMPLETED"),
    ],
)
def test_repr_is_what_the_user_would_write(event, text):
    assert repr(event) == text


@pytest.mark.parametrize(
    "event", [Events.STARTED, Events.ITERATION_COMPLETED(every=3), MyEvents.FOO(last=True)]
)
def test_events_survive_pickling(event):
    loaded = pickle.loads(pickle.dumps(event))
    assert loaded == event
    assert repr(loaded) == repr(event)


def test_joining_events_never_changes_a_list():
    two = Events.STARTED | Events.COMPLETED
    three = two | Events.EPOCH_STARTED(every=2)
    assert (len(two), len(three)) == (2, 3)
    assert list(three)[2].filter is not None
    assert len(two | three) == 5
    with pytest.raises(
        TypeError, match="should be Events or CallableEventWithFilter, but given 'STARTED'"
    ):
        two | "STARTED"
    with pytest.raises(TypeError, match="but given 1"):
        Events.STARTED | 1
    assert len(EventsList()) == 0


def test_an_event_listed_twice_calls_its_handler_twice():
    engine, calls = Engine(lambda engine, batch: None), []
    engine.add_event_handler(Events.STARTED | Events.STARTED, lambda: calls.append(1))
    engine.run([0])
    assert calls == [1, 1]


def test_and_joins_two_filters_on_one_event():
    engine, epochs = Engine(lambda engine, batch: None), []
    both = Events.EPOCH_COMPLETED(every=2) & Events.EPOCH_COMPLETED(after=3)
    engine.add_event_handler(both, lambda engine: epochs.append(engine.state.epoch))
    engine.run([0], max_epochs=7)
    assert epochs == [4, 6]
    assert (Events.STARTED & Events.STARTED).filter is None
    with pytest.raises(
        ValueError, match=r"same event, but given Events.STARTED and Events.COMPLETED"
    ):
        Events.STARTED & Events.COMPLETED
    with pytest.raises(TypeError):
        Events.STARTED & 3


def test_not_turns_a_filter_round():
    engine, epochs = Engine(lambda engine, batch: None), []
    engine.add_event_handler(
        ~Events.EPOCH_COMPLETED(every=3), lambda engine: epochs.append(engine.state.epoch)
    )
    engine.run([0], max_epochs=4)
    assert epochs == [1, 2, 4]
    with pytest.raises(
        ValueError, match=r"should be put on an event with a filter, but given Events.STARTED"
    ):
        _ = ~Events.STARTED


def test_the_filters_of_the_static_helpers():
    assert [n for n in range(7) if Events.every_event_filter(3)(None, n)] == [0, 3, 6]
    assert Events.every_event_filter(1)(None, 5)
    assert [n for n in range(7) if Events.once_event_filter([2, 5])(None, n)] == [2, 5]
    assert [n for n in range(7) if Events.before_and_after_event_filter(5, 2)(None, n)] == [3, 4]
    assert Events.before_and_after_event_filter()(None, 5)
    window = Events.every_before_and_after_event_filter(every=5, before=25, after=8)
    assert [n for n in range(40) if window(None, n)] == [9, 14, 19, 24]
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert Events.default_event_filter(None, 1)
