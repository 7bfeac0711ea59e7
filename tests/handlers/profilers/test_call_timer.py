import functools

import pytest

from ignite.engine import Engine, Events
from ignite.handlers._profilers import timings as module
from ignite.handlers._profilers.timings import CallTimer, index_of, name_in_results


@pytest.fixture
def clock(monkeypatch):
    times = {"now": 0.0}
    monkeypatch.setattr(module, "perf_counter", lambda: times["now"])
    return times


def call_timer(engine):
    notes, known = [], []
    return (
        CallTimer(
            engine.state, lambda *note: notes.append(note), lambda *known_: known.append(known_)
        ),
        notes,
        known,
    )


def test_it_notes_what_ended_well_with_the_index_that_it_began_with(clock):
    def data():
        for i in range(2):
            clock["now"] += 4
            yield i

    def step(engine, batch):
        clock["now"] += 1
        if batch:
            raise KeyError(batch)

    engine = Engine(step)
    meter, notes, known = call_timer(engine)

    @engine.on(Events.ITERATION_COMPLETED)
    def move(engine):
        clock["now"] += 2

    with engine.measured(meter), pytest.raises(KeyError):
        engine.run(data())
    name = move.__qualname__
    assert known == [(Events.ITERATION_COMPLETED, name)]
    assert notes == [("data", "", 0, 4.0), ("step", "", 0, 1.0), (Events.ITERATION_COMPLETED, name, 0, 2.0),
                     ("data", "", 1, 4.0)]  # fmt: skip


def test_beginning_to_iterate_counts_with_the_first_batch(clock):
    class Data:
        def __iter__(self):
            clock["now"] += 10  # workers are started
            return map(self.fetch, range(2))

        def fetch(self, i):
            clock["now"] += 1

    engine = Engine(lambda engine, batch: None)
    meter, notes, _ = call_timer(engine)
    with engine.measured(meter):
        engine.run(Data(), max_epochs=2)
    assert [note for note in notes if note[0] == "data"] == [
        ("data", "", 0, 11.0), ("data", "", 1, 1.0), ("data", "", 2, 11.0), ("data", "", 3, 1.0)
    ]  # fmt: skip


def test_indices_count_from_zero():
    engine = Engine(lambda engine, batch: None)
    seen = {}
    for event in (*Events,):
        if event.name not in ("EXCEPTION_RAISED", "INTERRUPT"):
            engine.add_event_handler(
                event,
                lambda engine, event=event: seen.setdefault(event.name, []).append(
                    index_of(event, engine.state)
                ),
            )
    engine.run(range(2), max_epochs=2)
    assert seen["EPOCH_STARTED"] == seen["EPOCH_COMPLETED"] == [0, 1]
    for name in (
        "GET_BATCH_STARTED",
        "GET_BATCH_COMPLETED",
        "ITERATION_STARTED",
        "ITERATION_COMPLETED",
    ):
        assert seen[name] == [0, 1, 2, 3]
    assert seen["STARTED"] == seen["COMPLETED"] == [0]


def test_names_are_those_of_pytorch_ignite():
    class Handler:
        def __call__(self): ...

        def method(self): ...

    assert name_in_results(Handler()) == "Handler"  # recorded: without what is around it
    assert name_in_results(Handler().method).endswith("<locals>.Handler.method")
    assert name_in_results(lambda: None).endswith("<lambda>")
    assert name_in_results(functools.partial(print)) == "partial"


def test_an_iterator_in_a_buffer_continues_after_an_exception_and_ends_once():
    answers = iter([1, OSError("once"), 2])

    class Data:
        def __iter__(self):
            return self

        def __next__(self):
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

    meter, notes, _ = call_timer(Engine(lambda engine, batch: None))
    iterator = meter.data(lambda: iter(Data()))
    assert next(iterator) == 1
    with pytest.raises(OSError, match="once"):
        next(iterator)
    assert next(iterator) == 2
    with pytest.raises(StopIteration):
        next(iterator)
    assert len(notes) == 2  # of the batches that came
