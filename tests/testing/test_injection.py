import pytest

from ignite.engine import Engine, Events
from ignite.testing import Fault, Raise, Slow, inject


class Note(Fault):
    def __init__(self, place):
        self.place = place

    def strike(self, engine):
        self.place.append((engine.state.epoch, engine.state.iteration))


def make_engine():
    return Engine(lambda engine, batch: batch)


@pytest.mark.parametrize(
    ("at", "count", "expected"),
    [
        (Events.ITERATION_STARTED, 3, [(2, 3)]),
        (Events.GET_BATCH_STARTED, 3, [(2, 3)]),
        (Events.EPOCH_COMPLETED, 2, [(2, 4)]),
        (Events.EPOCH_STARTED, None, [(1, 0), (2, 2)]),
        (Events.ITERATION_COMPLETED(every=2), None, [(1, 2), (2, 4)]),
        (Events.STARTED | Events.COMPLETED, None, [(0, 0), (2, 4)]),
    ],
)
def test_a_fault_strikes_at_its_event_and_count(at, count, expected):
    struck, engine = [], make_engine()
    with inject(engine, Note(struck), at=at, count=count) as injection:
        engine.run([1, 2], max_epochs=2)
    assert struck == expected
    assert injection.fault.fired == len(expected)


def test_after_the_block_the_fault_is_gone():
    struck, engine = [], make_engine()
    with inject(engine, Note(struck)):
        engine.run([1])
    engine.run([1])
    assert len(struck) == 1


def test_a_fault_that_never_strikes_fails_the_block():
    engine = make_engine()
    with (
        pytest.raises(AssertionError, match=r"Slow should have struck at .*once=5.*, but did not"),
        inject(engine, Slow(0), count=5),
    ):
        engine.run([1, 2])


def test_an_exception_of_the_block_is_not_hidden_by_a_fault_that_never_struck():
    engine = make_engine()
    with pytest.raises(OSError, match="disk") as caught, inject(engine, Slow(0), count=5):
        raise OSError("disk")
    assert (
        "Slow should have struck at Events.ITERATION_COMPLETED(once=5), but did not"
        in caught.value.__notes__[0]
    )


def test_a_fault_of_another_rank_does_not_strike_here_and_is_not_missed():
    engine = make_engine()
    fault = Raise()
    with inject(engine, fault, rank=1):
        engine.run([1])
    assert fault.fired == 0
    with inject(engine, fault, rank=0), pytest.raises(RuntimeError, match="injected"):
        engine.run([1])


def test_the_priority_decides_whether_other_handlers_come_first():
    order, engine = [], make_engine()
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: order.append("handler"))
    with inject(engine, Note(order), priority=1):
        engine.run([1])
    assert order == [(1, 1), "handler"]


def test_a_count_and_a_filter_do_not_go_together():
    with pytest.raises(
        ValueError, match="count should be None for an event with a filter, but given 3"
    ):
        inject(make_engine(), Slow(0), at=Events.ITERATION_COMPLETED(every=2), count=3)
