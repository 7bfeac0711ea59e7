import gc
import weakref

from ignite.engine import Engine, Events, RemovableEventHandle


def make_engine():
    return Engine(lambda engine, batch: None)


def test_a_handle_takes_its_handler_off_once_and_then_does_nothing():
    engine, calls = make_engine(), []

    def handler():
        calls.append(1)

    handle = engine.add_event_handler(Events.STARTED | Events.COMPLETED(every=1), handler)
    other = engine.add_event_handler(Events.EPOCH_STARTED, handler)
    handle.remove()
    handle.remove()
    engine.run([0])
    assert calls == [1]
    assert isinstance(other, RemovableEventHandle)


def test_a_handle_is_a_context_that_can_be_entered_again():
    engine, calls = make_engine(), []

    def handler():
        calls.append(1)

    with engine.add_event_handler("STARTED", handler) as handle:
        engine.run([0])
    engine.run([0])
    assert calls == [1]
    with handle:
        pass


def test_a_handle_keeps_neither_handler_nor_engine_alive():
    engine = make_engine()

    def handler(): ...

    handle = engine.add_event_handler(Events.STARTED, handler)
    engine_ref, handler_ref = weakref.ref(engine), weakref.ref(handler)
    del engine, handler
    gc.collect()
    assert (engine_ref(), handler_ref()) == (None, None)
    assert (handle.engine(), handle.handler()) == (None, None)
    handle.remove()


def test_bound_methods_and_objects_without_weak_references_can_be_taken_off():
    class Slotted:
        __slots__ = ()

        def __call__(self): ...

        def method(self): ...

    engine, thing = make_engine(), Slotted()
    for handler in (thing, thing.method):
        handle = engine.add_event_handler(Events.STARTED, handler)
        assert engine.has_event_handler(handler)
        handle.remove()
        assert not engine.has_event_handler(handler)
