"""Scenarios of programs written for Ignite, which run with the library imported as ``ignite``.

Each gives a record of plain values: events with epoch and iteration, batches, what came out.
"""

import itertools
import warnings

import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler, WeightedRandomSampler

from ignite.engine import DeterministicEngine, Engine, EventEnum, Events

SKIPPED = ("EXCEPTION_RAISED", "TERMINATE_SINGLE_EPOCH")
CHECKED = ("STARTED", "EPOCH_STARTED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED", "ITERATION_STARTED",
           "ITERATION_COMPLETED", "EPOCH_COMPLETED", "DATALOADER_STOP_ITERATION", "TERMINATE", "COMPLETED")  # fmt: skip


class Recording:
    """An engine with a handler on every event, and what they saw."""

    def __init__(self, engine_class=Engine, fails_at=None):
        self.trace, self.actions, self.num_seen = [], {}, {}
        self.fails_at = fails_at
        self.engine = engine_class(self.step)
        for event in Events:
            if event.name not in SKIPPED:
                self.engine.add_event_handler(event, self.see, event.name)
        self.engine.add_event_handler(Events.TERMINATE_SINGLE_EPOCH, self.see_end_of_epoch)

    def step(self, engine, batch):
        self.trace.append(f"step {batch}")
        self.act("step", engine)
        if engine.state.iteration == self.fails_at:
            raise ValueError("step")
        return batch

    def see(self, engine, name):
        self.trace.append(f"{name} {engine.state.epoch}/{engine.state.iteration}")
        self.act(name, engine)

    def see_end_of_epoch(self, engine, iter_counter):
        self.see(engine, "TERMINATE_SINGLE_EPOCH")
        self.trace.append(f"iter_counter {iter_counter}")

    def act(self, name, engine):
        count = self.num_seen[name] = self.num_seen.get(name, 0) + 1
        if (name, count) in self.actions:
            self.actions[name, count](engine)

    def run(self, *args, **kwargs):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                self.engine.run(*args, **kwargs)
            except BaseException as error:
                self.trace.append(f"raised {type(error).__name__}")
        state = self.engine.state
        self.trace.append(
            f"end epoch={state.epoch} iteration={state.iteration} epoch_length={state.epoch_length} "
            f"max_epochs={state.max_epochs} max_iters={state.max_iters} output={state.output} "
            f"should_terminate={self.engine.should_terminate} "
            f"warnings={sum(issubclass(w.category, UserWarning) for w in warned)}"
        )
        return self


def generator(n):
    yield from range(n)


class Stream:
    """Data without a length."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def plain_runs():
    for name, data, kwargs in (
        ("list one epoch", lambda: [7, 8], {}),
        ("list three epochs", lambda: [7, 8], {"max_epochs": 3}),
        ("stream", lambda: Stream(3), {}),
        ("stream two epochs", lambda: Stream(3), {"max_epochs": 2}),
        ("stream three epochs", lambda: Stream(2), {"max_epochs": 3}),
        ("stream max_iters", lambda: Stream(3), {"max_iters": 5}),
        ("generator", lambda: generator(3), {}),
        ("no data", lambda: None, {"epoch_length": 2, "max_epochs": 2}),
        ("shorter epochs", lambda: range(5), {"epoch_length": 2, "max_epochs": 4}),
        ("longer epochs", lambda: range(3), {"epoch_length": 5, "max_epochs": 2}),
        ("iterator exact", lambda: iter(range(4)), {"epoch_length": 2, "max_epochs": 2}),
        ("max_iters inside", lambda: range(3), {"max_iters": 2}),
        ("max_iters equal", lambda: range(3), {"max_iters": 3}),
        ("max_iters between", lambda: range(3), {"max_iters": 5}),
        ("max_iters multiple", lambda: range(3), {"max_iters": 6}),
        (
            "iterator too short for its epoch",
            lambda: iter(range(3)),
            {"epoch_length": 5, "max_epochs": 1},
        ),
        ("empty list", lambda: [], {}),
        ("not iterable", lambda: 3, {}),
        ("both limits", lambda: [1], {"max_epochs": 1, "max_iters": 1}),
        ("nothing", lambda: None, {}),
    ):
        yield (
            f"run: {name}",
            lambda data=data, kwargs=kwargs: Recording().run(data(), **kwargs).trace,
        )


VERBS = {
    "terminate": lambda engine: engine.terminate(),
    "terminate skip": lambda engine: engine.terminate(skip_completed=True),
    "terminate_epoch": lambda engine: engine.terminate_epoch(),
    "terminate_epoch skip": lambda engine: engine.terminate_epoch(skip_epoch_completed=True),
    "interrupt": lambda engine: engine.interrupt(),
}


def stops():
    """Each verb at each event, early and in a middle epoch, and two more runs."""
    for verb, event, count in itertools.product(VERBS, (*CHECKED, "step"), (1, 2, 4)):
        if event in ("STARTED", "COMPLETED", "TERMINATE") and count > 1:
            continue

        def scenario(verb=verb, event=event, count=count):
            recording = Recording()
            recording.actions[event, count] = VERBS[verb]
            recording.run(range(3), max_epochs=3)
            return recording.run(range(3), max_epochs=3).trace

        yield f"{verb} at {event} {count}", scenario


def exceptions():
    def handler_that(raises):
        def handle(engine, error):
            if raises:
                raise error

        return handle

    for where, count in itertools.product((*CHECKED, "step"), (1, 2)):
        if (where in ("STARTED", "COMPLETED") and count > 1) or where == "TERMINATE":
            continue
        for handlers in ((), (False,), (True,)):

            def scenario(where=where, count=count, handlers=handlers):
                recording, seen = Recording(), []

                def fail(engine):
                    raise ValueError(where)

                recording.actions[where, count] = fail
                for raises in handlers:
                    recording.engine.add_event_handler(
                        Events.EXCEPTION_RAISED, handler_that(raises)
                    )
                    recording.engine.add_event_handler(
                        Events.EXCEPTION_RAISED, lambda error: seen.append(1)
                    )
                return recording.run(range(3), max_epochs=2).trace

            label = {(): "no handler", (False,): "taken over", (True,): "raised again"}[handlers]
            yield f"error at {where} {count}, {label}", scenario


def resumes():
    def twice(first, second, data=range(3), before=None):
        def scenario():
            recording = Recording()
            recording.run(data, **first)
            if before:
                before(recording.engine)
            del recording.trace[:]
            return recording.run(data, **second).trace

        return scenario

    def forget(engine):
        engine.state.max_epochs = None

    yield "again: larger", twice({"max_epochs": 1}, {"max_epochs": 2})
    yield "again: same", twice({"max_epochs": 2}, {"max_epochs": 2})
    yield "again: none", twice({"max_epochs": 2}, {})
    yield "again: smaller", twice({"max_epochs": 2}, {"max_epochs": 1})
    yield "again: forgotten", twice({"max_epochs": 2}, {"max_epochs": 1}, before=forget)
    yield "again: other kind", twice({"max_epochs": 2}, {"max_iters": 9})
    yield "again: max_iters larger, from inside", twice({"max_iters": 4}, {"max_iters": 8})
    yield "again: max_iters same", twice({"max_iters": 4}, {"max_iters": 4})
    yield (
        "again: other epoch_length",
        twice({"max_epochs": 1}, {"max_epochs": 2, "epoch_length": 2}),
    )
    for name, state in (
        ("inside", {"iteration": 4, "max_epochs": 3, "epoch_length": 3}),
        ("at a border", {"iteration": 3, "max_epochs": 3, "epoch_length": 3}),
        ("by epoch", {"epoch": 2, "max_epochs": 3, "epoch_length": 3}),
        ("max_iters", {"iteration": 4, "max_iters": 8, "epoch_length": 3}),
        ("fresh", {"iteration": 0, "max_epochs": None, "epoch_length": None}),
        ("both counters", {"iteration": 3, "epoch": 1, "max_epochs": 3, "epoch_length": 3}),
        ("both limits", {"iteration": 3, "max_iters": 4, "max_epochs": 3, "epoch_length": 3}),
        ("no limit", {"iteration": 3, "epoch_length": 3}),
        ("passed limit", {"iteration": 9, "max_epochs": 2, "epoch_length": 3}),
    ):

        def scenario(state=state):
            recording = Recording()
            try:
                recording.engine.load_state_dict(state)
            except (ValueError, TypeError) as error:
                return [type(error).__name__]
            return recording.run(range(3)).trace

        yield f"load: {name}", scenario


def filters():
    cases = {
        "every": {"every": 3}, "once": {"once": 2}, "once list": {"once": [1, 4]}, "before": {"before": 3},
        "after": {"after": 2}, "window": {"after": 1, "before": 5}, "every after": {"every": 2, "after": 1},
        "every before": {"every": 2, "before": 6}, "every window": {"every": 2, "after": 2, "before": 8},
        "predicate": {"event_filter": lambda engine, count: count in (2, 5)},
    }  # fmt: skip
    bases = ("ITERATION_COMPLETED", "GET_BATCH_STARTED", "EPOCH_STARTED")
    for (name, arguments), base in itertools.product(cases.items(), bases):

        def scenario(arguments=arguments, base=base):
            engine, seen = Engine(lambda engine, batch: None), []

            @engine.on(Events[base](**arguments))
            def see(engine):
                seen.append([engine.state.epoch, engine.state.iteration])

            engine.run(range(3), max_epochs=4)
            return seen

        yield f"filter: {name} on {base}", scenario
    for name, arguments in {
        "none": {}, "two": {"once": 1, "every": 1}, "zero": {"every": 0}, "negative": {"once": -1},
        "text": {"every": "1"}, "empty": {"once": []}, "number": {"event_filter": 3},
        "arity": {"event_filter": lambda engine: True},
    }.items():  # fmt: skip

        def refused(arguments=arguments):
            try:
                Events.EPOCH_STARTED(**arguments)
            except (ValueError, TypeError) as error:
                return type(error).__name__
            return "accepted"

        yield f"filter refused: {name}", refused


class Custom(EventEnum):
    HALF = "half"


def other():  # noqa: C901 - a list of small functions
    def handlers_and_arguments():
        engine, seen = Engine(lambda engine, batch: None), []
        engine.add_event_handler(Events.STARTED, lambda: seen.append("bare"))
        engine.add_event_handler(Events.STARTED, lambda engine: seen.append("engine"))
        engine.add_event_handler(Events.STARTED, lambda *args: seen.append(len(args)), 1, 2)
        engine.add_event_handler(
            Events.STARTED, lambda a, b=0: seen.append([isinstance(a, Engine), b]), 5
        )
        engine.add_event_handler(Events.STARTED | Events.STARTED, lambda: seen.append("twice"))
        engine.run([0])
        return seen

    def refused_handlers():
        engine, seen = Engine(lambda engine, batch: None), []
        for event, handler in (
            ("nope", lambda: None),
            (Events.STARTED, lambda a, b: None),
            (Custom.HALF, lambda: None),
        ):
            try:
                engine.add_event_handler(event, handler)
            except (ValueError, TypeError) as error:
                seen.append(type(error).__name__)
        return seen

    def custom_events():
        def step(engine, batch):
            engine.state.halves += 1
            engine.fire_event(Custom.HALF)

        engine, seen = Engine(step), []
        engine.register_events(*Custom, event_to_attr={Custom.HALF: "halves"})
        engine.add_event_handler(
            Custom.HALF(every=2), lambda engine: seen.append(engine.state.halves)
        )
        engine.run(range(5))
        return seen

    def added_and_removed_while_firing():
        engine, seen = Engine(lambda engine, batch: None), []

        def late():
            seen.append("late")

        @engine.on(Events.EPOCH_STARTED(once=1))
        def change(engine):
            seen.append("change")
            engine.add_event_handler(Events.EPOCH_STARTED, late)

        engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append("other"))
        engine.run([0], max_epochs=2)
        return seen

    def set_data():
        recording = Recording()
        recording.actions["ITERATION_COMPLETED", 2] = lambda engine: engine.set_data([70, 80])
        return recording.run(range(5), max_epochs=1).trace

    def replaced_batch():
        recording = Recording()
        recording.actions["ITERATION_STARTED", 2] = lambda engine: setattr(
            engine.state, "batch", "mine"
        )
        return recording.run(range(3)).trace

    def renewed_data():
        recording = Recording()
        recording.actions["DATALOADER_STOP_ITERATION", 1] = lambda engine: setattr(
            engine.state, "dataloader", iter([8, 9])
        )
        return recording.run(iter([6, 7]), max_epochs=2).trace

    def state_dicts():
        recording, saved = Recording(), []
        for event in (
            "STARTED",
            "EPOCH_STARTED",
            "ITERATION_STARTED",
            "EPOCH_COMPLETED",
            "COMPLETED",
        ):
            recording.actions[event, 1] = lambda engine: saved.append(dict(engine.state_dict()))
        recording.run(range(3), max_epochs=2)
        return saved

    def ctrl_c():
        recording = Recording()

        def fail(engine):
            raise KeyboardInterrupt

        recording.actions["step", 2] = fail
        recording.engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: None)
        return recording.run(range(3), max_epochs=2).trace

    def deterministic():
        recording = Recording(DeterministicEngine)
        return recording.run(range(3), max_epochs=2).trace

    for function in (
        handlers_and_arguments, refused_handlers, custom_events, added_and_removed_while_firing, set_data,
        replaced_batch, renewed_data, state_dicts, ctrl_c, deterministic,
    ):  # fmt: skip
        yield function.__name__.replace("_", " "), function


class WithReplacement(Sampler):
    """Draws each index when it is asked for."""

    def __iter__(self):
        return (int(torch.randint(7, (1,))) for _ in range(7))

    def __len__(self):
        return 7


ITEMS = torch.arange(7)
LOADERS = {
    "in order": {"batch_size": 2},
    "shuffled": {"batch_size": 2, "shuffle": True},
    "shuffled, last batch dropped": {"batch_size": 2, "shuffle": True, "drop_last": True},
    "shuffled, single items": {"batch_size": None, "shuffle": True},
    "weighted": {"batch_size": 3, "sampler": WeightedRandomSampler(ITEMS + 1.0, 8)},
    "with replacement": {
        "batch_size": 2,
        "sampler": RandomSampler(ITEMS, replacement=True, num_samples=40),
    },
    "own sampler": {"batch_size": 2, "sampler": WithReplacement()},
}


def deterministic_orders():
    """The batches of a deterministic engine, whose step draws random numbers, too."""

    def run(loader, state=None, save_at=None, cut_at=None, **kwargs):
        batches, saved = [], {}

        def step(engine, batch):
            torch.rand(3)
            batches.append(batch.tolist())

        engine = DeterministicEngine(step)
        if state is not None:
            engine.load_state_dict(state)
        if save_at is not None:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED(once=save_at), lambda: saved.update(engine.state_dict())
            )
        if cut_at is not None:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED(once=cut_at), engine.terminate_epoch
            )
        torch.manual_seed(5)
        engine.run(DataLoader(ITEMS, **loader), **kwargs)
        return saved or [engine.state.seed, batches]

    for (name, loader), workers in itertools.product(LOADERS.items(), (0, 2)):
        loader = {**loader, "num_workers": workers}
        for length in (None, 2, 6) if workers == 0 else (6,):
            yield (
                f"batches: {name}, {workers} workers, epoch_length={length}",
                lambda loader=loader, length=length: run(loader, max_epochs=3, epoch_length=length),
            )
        yield (
            f"batches: {name}, {workers} workers, resumed",
            lambda loader=loader: run(
                loader, state=run(loader, save_at=5, max_epochs=3, epoch_length=3)
            ),
        )
    for num_epochs in (2, 3):
        yield (
            f"batches: shuffled, epoch cut short, {num_epochs} epochs",
            lambda num_epochs=num_epochs: run(LOADERS["shuffled"], cut_at=2, max_epochs=num_epochs),
        )


SCENARIOS = dict(
    itertools.chain(
        plain_runs(), stops(), exceptions(), resumes(), filters(), other(), deterministic_orders()
    )
)
