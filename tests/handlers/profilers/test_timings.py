"""Profiler times with a clock advanced by hand, so that all times are simple sums."""

import copy
import pickle
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import DeterministicEngine, Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from ignite.handlers._profilers import timings as module
from ignite.handlers._profilers.timings import Timings
from support.fake_clock import FakeClock
from support.garbage import no_garbage_collection, watched_batches


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock(now=1_000)
    monkeypatch.setattr(module, "perf_counter_ns", fake)
    return fake


def measured_engine(step, engine_type=Engine, **options):
    engine, timings = engine_type(step), Timings(**{"num_slices": 1000, "sync": False, **options})
    engine._frames.append(lambda engine, is_beginning: timings.running(engine))
    return engine, timings


def owns(timings):
    """Own nanoseconds by path."""
    found = {}

    def visit(part, path):
        found[path] = part.own
        for child in part.children:
            visit(child, f"{path}/{child.path}")

    visit(timings.run, "run")
    return found


def test_data_step_handlers_and_the_rest_add_up_to_the_whole(clock):
    def data():
        for _ in range(3):
            clock.spend(7)
            yield 0
        clock.spend(1)  # to find out that there is no more

    engine, timings = measured_engine(lambda engine, batch: clock.spend(100))

    @engine.on(Events.ITERATION_COMPLETED)
    def log():
        clock.spend(10)

    @engine.on(Events.ITERATION_COMPLETED(every=2))
    def rarely(engine):
        clock.spend(1000)

    engine.run(data())
    assert owns(timings) == {
        "run": 0,
        "run/data": 22,
        "run/step": 300,
        "run/handlers/log": 30,
        "run/handlers/rarely": 1000,
    }
    assert timings.whole == timings.run.sum == 22 + 300 + 30 + 1000
    calls = {part.name: part.calls for part in timings.run.children}
    assert calls == {"data": 4, "step": 3, "log": 3, "rarely": 1}


def test_a_nested_run_is_shown_within_the_handler_that_runs_it(clock):
    evaluator = Engine(lambda engine, batch: clock.spend(50))
    trainer, timings = measured_engine(lambda engine, batch: clock.spend(100))

    @evaluator.on(Events.COMPLETED)
    def report():
        clock.spend(3)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        clock.spend(1)
        evaluator.run([0, 0])
        clock.spend(1)

    trainer.run([0], max_epochs=2)
    (validation,) = [part for part in timings.run.children if part.name == "validate"]
    (run,) = validation.children
    assert (validation.own, run.sum, validation.sum) == (4, 206, 210)
    assert {part.name: part.own for part in run.children} == {"data": 0, "step": 200, "report": 6}
    assert timings.run.sum == timings.whole == 200 + 210
    before = timings.run.sum
    evaluator.run([0])  # on its own, it is not measured
    assert evaluator._meters == ()
    assert timings.run.sum == before


def test_two_evaluators_in_a_handler_are_distinguished_and_deleted_ones_dropped(clock):
    trainer, timings = measured_engine(lambda engine, batch: None)

    def step(engine, batch):
        clock.spend(100)

    kept = [Engine(step), Engine(step)]

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        kept[0].run([0])
        kept[1].run([0, 0])

    @trainer.on(Events.EPOCH_COMPLETED)
    def fresh():
        Engine(step).run([0])

    trainer.run([0], max_epochs=3)
    validation, other = (part for part in timings.run.children if part.kind == "handlers")
    assert [(run.name, run.track, run.sum) for run in validation.children] == [
        ("step", 2, 300),
        ("step 2", 3, 600),
    ]
    assert [(run.name, run.track, run.calls) for run in other.children] == [("step", 4, 3)]


def test_handlers_of_events_fired_within_the_step_are_not_counted_twice(clock):
    def step(engine, batch):
        clock.spend(5)
        engine.fire_event("inner")
        clock.spend(5)

    engine, timings = measured_engine(step)
    engine.register_events("inner", "innermost")
    engine.add_event_handler(
        "inner", lambda engine: (clock.spend(20), engine.fire_event("innermost"))
    )

    @engine.on("innermost")
    def deep():
        clock.spend(300)

    engine.run([0, 0])
    found = {(part.event or part.name): part.own for part in timings.run.children}
    assert found == {"data": 0, "step": 20, "inner": 40, "innermost": 600}
    assert timings.whole == 660


def test_handlers_added_removed_and_calling_themselves_again_are_measured_as_they_are(clock):
    engine, timings = measured_engine(lambda engine, batch: None)
    engine.register_events("again")

    def late():
        clock.spend(8)

    @engine.on(Events.ITERATION_STARTED(once=2))
    def change():
        engine.add_event_handler(Events.ITERATION_COMPLETED, late)

    @engine.on(Events.ITERATION_STARTED(once=4))
    def restore():
        engine.remove_event_handler(late, Events.ITERATION_COMPLETED)

    @engine.on("again")
    def again(engine):
        clock.spend(1)
        if clock.now % 4:
            engine.fire_event("again")

    @engine.on(Events.COMPLETED)
    def start():
        engine.fire_event("again")

    engine.run(range(6))
    found = owns(timings)
    assert found["run/handlers/late"] == 16
    assert engine.has_event_handler(late) is False
    assert found["run/handlers/again"] == clock.now - 1000 - 16
    assert timings.whole == timings.run.sum == clock.now - 1000


@pytest.mark.parametrize("where", ["step", "handler", "data", "evaluator"])
def test_after_an_exception_the_sums_are_whole_and_nothing_is_left(clock, where):
    def fail(name):
        clock.spend(10)
        if where == name:
            raise KeyError(name)

    def data():
        fail("none")
        yield 0
        fail("data")

    evaluator = Engine(lambda engine, batch: fail("evaluator"))
    engine, timings = measured_engine(lambda engine, batch: fail("step"))
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: fail("handler"))
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: evaluator.run([0]))
    with pytest.raises(KeyError, match=where) as caught:
        engine.run(data())
    assert timings.whole == timings.run.sum == clock.now - 1000
    assert timings.open.kind == "outside"
    assert engine._meters == evaluator._meters == ()
    handlers = [call[0] for table in engine._tables.values() for call in table.calls]
    assert handlers == [
        call[-1].handler for table in engine._tables.values() for call in table.calls
    ]
    assert all("called" not in note for note in getattr(caught.value, "__notes__", ()))


def test_notes_of_exceptions_name_the_users_handler(clock):
    engine, _ = measured_engine(lambda engine, batch: None)

    @engine.on(Events.ITERATION_COMPLETED)
    def broken():
        raise ValueError

    with pytest.raises(ValueError) as caught:
        engine.run([0])
    assert "broken" in caught.value.__notes__[0]


def test_an_interrupted_run_continues_to_accumulate(clock):
    engine, timings = measured_engine(lambda engine, batch: clock.spend(10))

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def pause():
        engine.interrupt()

    engine.run(range(5))
    clock.spend(10**6)  # between the two calls nothing runs
    engine.run(range(5))
    assert owns(timings)["run/step"] == timings.whole == 50
    assert timings.run.calls == 2


def test_a_trace_sees_the_same_handlers_and_both_measure(clock):
    engine, timings = measured_engine(lambda engine, batch: None)

    @engine.on(Events.ITERATION_COMPLETED)
    def log():
        clock.spend(10)

    with engine.trace() as trace:
        engine.run([0, 0])
    assert owns(timings)["run/handlers/log"] == 20
    assert [moment.handler.split(".")[-1] for moment in trace if moment.handler] == ["log", "log"]


def test_two_books_on_one_engine_agree(clock):
    engine, timings = measured_engine(lambda engine, batch: clock.spend(10))
    other = Timings(10, sync=False)
    engine._frames.append(lambda engine, is_beginning: other.running(engine))
    engine.run([0, 0])
    assert owns(timings) == owns(other) == {"run": 0, "run/step": 20, "run/data": 0}


def test_deterministic_engines_are_measured_with_what_they_skip(clock):
    class Data:
        def __len__(self):
            return 4

        def __iter__(self):
            for i in range(4):
                clock.spend(5)
                yield i

    engine, timings = measured_engine(lambda engine, batch: None, DeterministicEngine)
    engine.load_state_dict(
        {"iteration": 2, "epoch_length": 4, "max_epochs": 1, "rng_states": None, "seed": 0}
    )
    engine.run(Data())
    assert engine.state.iteration == 4
    assert owns(timings)["run/data"] == 20


def test_a_stretch_without_handlers_fires_no_events_and_an_iterator_may_continue_after_an_exception(
    clock,
):
    class Unsteady:
        def __init__(self):
            self.count = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.count += 1
            clock.spend(1)
            if self.count == 2:
                raise OSError("once")
            return self.count

    seen = []
    engine, timings = measured_engine(lambda engine, batch: seen.append(batch))

    @engine.on(Events.EXCEPTION_RAISED)
    def go_on(engine, error):
        engine.skip_iteration()

    engine.run(Unsteady(), epoch_length=4)
    assert seen == [1, 3, 4]
    assert owns(timings)["run/data"] == 4


def test_waiting_for_the_accelerator_belongs_to_the_step(clock, monkeypatch):
    monkeypatch.setattr(module.torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(module.torch.accelerator, "synchronize", lambda: clock.spend(1000))
    engine, timings = measured_engine(lambda engine, batch: clock.spend(1) or "out", sync=True)
    engine.run([0, 0])
    assert owns(timings)["run/step"] == 2002
    assert engine.state.output == "out"


def test_the_ring_keeps_the_last_slices_and_the_sums_all(clock):
    engine, timings = measured_engine(lambda engine, batch: clock.spend(1), num_slices=5)
    engine.run(range(100))
    assert len(timings.slices) == 5
    assert [part.kind for part, *_ in timings.slices][-1] == "run"
    assert owns(timings)["run/step"] == 100


def test_batches_are_not_held_while_the_next_is_made(clock):
    alive = []
    engine, _ = measured_engine(lambda engine, batch: None)
    engine.run(
        watched_batches(3, alive), epoch_length=3
    )  # of unknown length, each could be the last, which the end of the epoch shows
    assert alive == [False, False, False]


def test_an_engine_is_freed_without_the_collector(clock):
    engine, timings = measured_engine(lambda engine, batch: None)
    engine.run([0])
    ref = weakref.ref(engine)
    with no_garbage_collection():
        del engine
        assert ref() is None
    assert timings.run.calls == 1


def test_copies_of_it_and_pickles_before_the_run_work(clock):
    engine, timings = measured_engine(lambda engine, batch: clock.spend(1))
    assert pickle.loads(pickle.dumps(Timings(3, sync=False))).slices == []
    engine.run([0])
    assert owns(copy.deepcopy(timings)) == owns(timings)


def test_checkpoints_and_lambdas_have_names_of_their_own(clock, tmp_path):
    class Object:
        def state_dict(self):
            clock.spend(40)
            return {}

    engine, timings = measured_engine(lambda engine, batch: None)
    saver = Checkpoint({"object": Object()}, DiskSaver(tmp_path, create_dir=True))
    engine.add_event_handler(Events.EPOCH_COMPLETED, saver)
    Checkpoint.of(engine, dirname=tmp_path / "run")
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.spend(1))
    engine.run([0])
    found = {
        part.path: part.own for part in timings.run.children if part.event == "EPOCH_COMPLETED"
    }
    kinds = sorted(path.split("/")[0] for path in found)
    assert kinds == ["checkpoints", "checkpoints", "handlers"]
    assert found["checkpoints/Checkpoint"] == 40
    (name,) = [path for path in found if path.startswith("handlers/")]
    assert name.startswith("handlers/lambda at test_timings.py:")


@given(st.lists(st.tuples(st.sampled_from(["ITERATION_STARTED", "ITERATION_COMPLETED", "EPOCH_COMPLETED"]),
                          st.integers(1, 4), st.integers(0, 50), st.booleans()), max_size=5),
       st.integers(1, 9), st.integers(1, 3))  # fmt: skip
def test_whatever_is_attached_the_parts_are_what_was_spent(handlers, num_batches, num_epochs):
    clock = FakeClock(now=1_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "perf_counter_ns", clock)
        spent = {"step": 0}

        def spend(name, ns):
            spent[name] = spent.get(name, 0) + ns
            clock.spend(ns)

        engine, timings = measured_engine(lambda engine, batch: spend("step", 7))
        inner = Engine(lambda engine, batch: spend("inner", batch))
        for i, (event, every, ns, nests) in enumerate(handlers):

            def handler(*, name=f"h{i}", ns=ns, nests=nests):
                spend(name, ns)
                if nests:
                    inner.run([1, 2])

            handler.__qualname__ = f"h{i}"
            engine.add_event_handler(Events[event](every=every), handler)
        engine.run(range(num_batches), max_epochs=num_epochs)
    parts = list(timings.run.walk())
    found = {part.name: part.own for part in parts if part.kind == "handlers"}
    assert {name: ns for name, ns in found.items() if ns} == {
        k: v for k, v in spent.items() if k[0] == "h" and v
    }
    assert sum(p.own for p in parts if p.kind == "step") == spent["step"] + spent.get("inner", 0)
    assert sum(part.own for part in parts) == timings.whole == clock.now - 1000


def test_a_handler_of_an_own_event_gets_all_that_the_event_is_fired_with(clock):
    seen = []
    engine, timings = measured_engine(
        lambda engine, batch: engine._fire_event("told", "this", why="that")
    )
    engine.register_events("told")
    engine.add_event_handler("told", lambda engine, *args, **kwargs: seen.append((args, kwargs)))
    engine.run([0])
    assert seen == [(("this",), {"why": "that"})]
    assert [child.calls for child in timings.run.children if child.kind == "handlers"] == [1]
