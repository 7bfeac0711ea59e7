"""The extension surface: everything that the library's handlers use of an engine has a public name."""

from contextlib import contextmanager

import pytest

from ignite.engine import Engine, Events
from ignite.engine.extension import Meter


def make():
    return Engine(lambda engine, batch: batch)


def announced(seen, name):
    @contextmanager
    def context(engine, is_new):
        seen.append(("enter", name, is_new, engine.is_running))
        try:
            yield
        finally:
            seen.append(("leave", name, is_new, engine.is_running))

    return context


def test_run_contexts_are_entered_in_order_and_the_outermost_first():
    engine, seen = make(), []
    inner, outer = announced(seen, "inner"), announced(seen, "outer")
    engine.add_run_context(inner)
    engine.add_run_context(outer, outermost=True)
    assert engine.run_contexts == (outer, inner)
    engine.run([0])
    assert [entry[:2] for entry in seen] == [
        ("enter", "outer"), ("enter", "inner"), ("leave", "inner"), ("leave", "outer"),
    ]  # fmt: skip


def test_run_contexts_get_whether_the_run_is_new_and_exit_after_an_error():
    engine, seen = make(), []
    engine.add_run_context(announced(seen, "it"))
    handle = engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
    engine.run([0, 1, 2])
    handle.remove()
    engine.run([0, 1, 2])
    assert [is_new for what, _, is_new, _ in seen if what == "enter"] == [True, False]
    engine.add_event_handler(Events.STARTED, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.run([0])
    assert seen[-1][:2] == ("leave", "it")


def test_a_run_that_has_nothing_to_do_enters_no_context():
    engine, seen = make(), []
    engine.load_state_dict({"iteration": 2, "epoch_length": 2, "max_epochs": 1})
    engine.add_run_context(announced(seen, "it"))
    engine.run([0, 1])
    assert seen == []


def test_a_run_context_can_be_removed():
    engine, seen = make(), []
    context = announced(seen, "it")
    engine.add_run_context(context)
    engine.remove_run_context(context)
    engine.run([0])
    assert seen == []
    with pytest.raises(ValueError, match="should be one of the engine's run_contexts"):
        engine.remove_run_context(context)


def test_handlers_of_an_event_are_listed_in_the_order_of_calls():
    engine = make()

    def first(): ...
    def second(): ...
    def third(): ...

    engine.add_event_handler(Events.STARTED, second)
    engine.add_event_handler(Events.COMPLETED, third)
    engine.add_event_handler(Events.STARTED(once=1), first, priority=1)
    assert [entry.handler for entry in engine.handlers_of(Events.STARTED)] == [first, second]
    assert [entry.handler for entry in engine.handlers_of(Events.COMPLETED | Events.STARTED)] == [
        third,
        first,
        second,
    ]
    assert {entry.handler for entry in engine.handlers_of()} == {first, second, third}
    with pytest.raises(ValueError, match="is not a valid event for this Engine"):
        engine.handlers_of("unknown")


def test_registered_events_are_those_of_all_engines_and_ones_own():
    engine = make()
    engine.register_events("mine")
    assert engine.registered_events == [*Events, "mine"]


def test_the_iteration_in_the_epoch_restarts_with_each_epoch():
    engine, seen = make(), []
    engine.add_event_handler(
        Events.EPOCH_STARTED | Events.EPOCH_COMPLETED,
        lambda: seen.append(engine.iteration_in_epoch),
    )
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: engine.terminate_epoch())
    engine.run([0, 1, 2], max_epochs=2)
    assert seen[1::2] == [1, 3]


def test_the_state_and_the_position_in_the_data_are_restored():
    engine = make()
    handle = engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
    engine.run([0, 1, 2, 3])
    handle.remove()
    with engine.state_kept():
        engine.state.max_epochs = None
        engine.run([7, 8, 9], max_epochs=3)
        assert engine.state.iteration == 9
    assert (engine.state.iteration, engine.state.output) == (2, 1)
    seen = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.output))
    engine.run([0, 1, 2, 3])
    assert seen == [2, 3]


def test_the_length_of_an_epoch_is_given_or_that_of_the_data():
    engine = make()
    engine.run([0, 1])
    assert not engine.is_epoch_length_given
    engine.run([0, 1], epoch_length=3)
    assert engine.is_epoch_length_given


def test_a_meter_of_ones_own_counts_calls_and_is_gone_after_the_block():
    class Counter(Meter):
        def __init__(self):
            self.counts = {}

        def _counted(self, name, function):
            def called(*args, **kwargs):
                self.counts[name] = self.counts.get(name, 0) + 1
                return function(*args, **kwargs)

            return called

        def step(self, step):
            return self._counted("step", step)

        def handler(self, event, entry, handler):
            return self._counted(event.name, handler)

    engine, counter = make(), Counter()
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: None)
    with engine.measured(counter):
        engine.run([0, 1, 2], max_epochs=2)
    engine.run([0, 1, 2], max_epochs=2)
    assert counter.counts == {"step": 6, "EPOCH_COMPLETED": 2}


def test_a_custom_object_describes_its_handlers_and_writes_elsewhere_in_a_dry_run(
    tmp_path,
):
    class Writer:
        def __init__(self, folder):
            self.folder, self.is_checked = folder, False

        def __call__(self, engine):
            (self.folder / "last.txt").write_text(str(engine.state.output))

        def describe_handler(self, engine, handler):
            return f"{handler} -> {self.folder.name}"

        @contextmanager
        def dry_run_in(self, folder):
            before, self.folder = self.folder, folder
            try:
                yield lambda: checked.append((folder / "last.txt").read_text())
            finally:
                self.folder = before

    checked, writer = [], Writer(tmp_path)
    engine = make()
    engine.add_event_handler(Events.COMPLETED, writer)
    assert f"__call__ -> {tmp_path.name}" in str(engine.describe())
    engine.dry_run([1, 2, 3])
    assert checked == ["2"]
    assert list(tmp_path.iterdir()) == []
