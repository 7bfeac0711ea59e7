"""Faults in data, step and handlers: nothing is lost silently, and an engine can be used again."""

import itertools
import logging
import math
import time
import warnings
import weakref
from contextlib import contextmanager

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers.early_stopping import EarlyStopping
from ignite.handlers.spike_guard import SpikeGuard
from ignite.handlers.time_limit import TimeLimit
from ignite.testing import Nan, Raise, inject
from support.garbage import no_garbage_collection
from support.runs import Seen, row, rows_of

LENGTH, EPOCHS = 4, 3
mse = torch.nn.functional.mse_loss


class Injected(Exception):
    """Nothing else raises it."""


@contextmanager
def log_of(engine):
    """The lines that an engine logs."""
    lines, handler, level = [], logging.Handler(logging.INFO), engine.logger.level
    handler.emit = lambda record: lines.append(record.getMessage())
    engine.logger.addHandler(handler)
    engine.logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        engine.logger.removeHandler(handler)
        engine.logger.setLevel(level)


def tally(is_well, cases):
    """Each case is a tuple of arguments."""
    cases = list(cases)
    failed = [case for case in cases if not is_well(*case)]
    return Seen(len(cases) - len(failed), len(cases), f"failed: {failed[:3]}" if failed else "")


# 36: an exception, and another run

# The event, at which counts it can strike, and whether the step of that iteration has not been done by then.
PLACES = [
    (Events.STARTED, [0], False),
    (Events.EPOCH_STARTED, range(1, EPOCHS + 1), False),
    (Events.GET_BATCH_STARTED, range(LENGTH * EPOCHS), False),
    (Events.GET_BATCH_COMPLETED, range(LENGTH * EPOCHS), False),
    (Events.ITERATION_STARTED, range(1, LENGTH * EPOCHS), True),
    (Events.ITERATION_COMPLETED, range(1, LENGTH * EPOCHS), False),
    (Events.EPOCH_COMPLETED, range(1, EPOCHS), False),
]
AT_THE_END = [
    (Events.ITERATION_STARTED, LENGTH * EPOCHS, True),
    (Events.ITERATION_COMPLETED, LENGTH * EPOCHS, False),
    (Events.EPOCH_COMPLETED, EPOCHS, False),
]


def goes_on_after(error, event, count, costs_a_step):
    steps, epochs = [], []
    engine = Engine(lambda engine, batch: steps.append(engine.state.iteration))
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: epochs.append(engine.state.epoch)
    )
    fault = Raise(error)
    is_due = (
        event
        if event is Events.STARTED
        else event(event_filter=lambda engine, found: found == count)
    )
    with inject(engine, fault, at=is_due):
        with pytest.raises(error):
            engine.run(range(LENGTH), max_epochs=EPOCHS)
        num_before = len(steps)
    engine.run(range(LENGTH), max_epochs=EPOCHS)
    expected = [i for i in range(1, LENGTH * EPOCHS + 1) if not (costs_a_step and i == count)]
    is_silent = len(steps) == num_before and num_before < len(expected)
    return (
        (fault.fired, steps, is_silent) == (1, expected, False)
        and (engine.state.iteration, engine.state.epoch) == (LENGTH * EPOCHS, EPOCHS)
        and epochs == [*range(1, EPOCHS + 1)]
    )


@row(36, "a handler raises, run() is called again", small=1, full=1)
def handler_raises(count, folder):
    errors = (Injected, KeyboardInterrupt)
    return tally(
        goes_on_after,
        (
            (error, event, at, costs)
            for error in errors
            for event, counts, costs in PLACES
            for at in counts
        ),
    )


@row(36, "the step raises, run() is called again", small=1, full=1)
def step_raises(count, folder):
    def is_well(failing):
        steps, fired = [], []

        def step(engine, batch):
            if engine.state.iteration == failing and not fired:
                fired.append(failing)
                raise Injected
            steps.append(engine.state.iteration)

        engine = Engine(step)
        with pytest.raises(Injected):
            engine.run(range(LENGTH), max_epochs=EPOCHS)
        engine.run(range(LENGTH), max_epochs=EPOCHS)
        return steps == [i for i in range(1, LENGTH * EPOCHS + 1) if i != failing] and fired == [
            failing
        ]

    return tally(is_well, ((i,) for i in range(1, LENGTH * EPOCHS + 1)))


@row(36, "run() is called again and again while each run raises", small=20, full=200)
def every_run_raises(count, folder):
    steps, num_raised = [], 0
    engine = Engine(lambda engine, batch: steps.append(engine.state.iteration))
    with inject(engine, Raise(Injected), at=Events.ITERATION_COMPLETED) as injection:
        while engine.state.iteration < count:
            with pytest.raises(Injected):
                engine.run(range(5), max_epochs=math.ceil(count / 5))
            num_raised += 1
    assert injection.fault.fired == num_raised == count
    return tally(int.__eq__, zip(steps, range(1, count + 1), strict=True))


# 37: handlers of EXCEPTION_RAISED


def raising_engine(origin):
    """An engine that raises in iteration 2, and how often it has."""
    fired = []

    def fail():
        fired.append(origin)
        raise Injected("here")

    class Data:
        def __len__(self):
            return LENGTH

        def __iter__(self):
            for i in range(LENGTH):
                if (origin, i) == ("data", 1) and not fired:
                    fail()
                yield i

    def step(engine, batch):
        if origin == "step" and engine.state.iteration == 2:
            fail()

    engine = Engine(step)
    if origin == "handler":
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    return engine, Data(), fired


@row(
    37,
    "EXCEPTION_RAISED: handlers that swallow, raise it again or raise another one",
    small=1,
    full=1,
)
def exception_handlers(count, folder):
    def is_well(origin, behaviours):
        engine, data, fired = raising_engine(origin)
        called, completed = [], []

        def behave(engine, error, behaviour):
            called.append(behaviour)
            if behaviour == "again":
                raise error
            if behaviour == "another":
                raise LookupError("another") from error

        for behaviour in behaviours:
            engine.add_event_handler(Events.EXCEPTION_RAISED, behave, behaviour)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: completed.append(engine.state.epoch)
        )
        raising = [behaviour for behaviour in behaviours if behaviour != "swallow"]
        expected = {"again": Injected, "another": LookupError}[raising[0]] if raising else None
        with log_of(engine) as lines:
            if expected is None:
                engine.run(data, max_epochs=2)
            else:
                with pytest.raises(expected):
                    engine.run(data, max_epochs=2)
        num_said = sum("has taken the exception over: Injected: here" in line for line in lines)
        return (
            fired == [origin]
            and called == list(behaviours)  # each once
            and num_said == (expected is None)
            and completed == ([1, 2] if expected is None else [])
        )

    all_behaviours = [
        behaviours
        for number in (1, 2, 3)
        for behaviours in itertools.product(("swallow", "again", "another"), repeat=number)
    ]
    return tally(is_well, itertools.product(("step", "handler", "data"), all_behaviours))


@row(37, "EXCEPTION_RAISED of nested engines", small=1, full=1)
def exception_in_evaluator(count, folder):
    def is_well(inner_swallows):
        trainer, (evaluator, data, fired) = (
            Engine(lambda engine, batch: None),
            raising_engine("step"),
        )
        called = []
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
        trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda error: called.append("trainer"))

        @evaluator.on(Events.EXCEPTION_RAISED)
        def inner(error):
            called.append("evaluator")
            if not inner_swallows:
                raise error

        trainer.run([0])
        return fired == ["step"] and called == (
            ["evaluator"] if inner_swallows else ["evaluator", "trainer"]
        )

    return tally(is_well, [(False,), (True,)])


# 38: a finished run is restored


@row(38, "a finished run is restored and run again", small=1, full=1)
def finished_run(count, folder):
    def is_well(limit, says_limit):
        done, steps, events = Engine(lambda engine, batch: None), [], []
        done.run(range(LENGTH), **limit)
        again = Engine(lambda engine, batch: steps.append(batch))
        again.load_state_dict(done.state_dict())
        assert again.state.iteration == done.state.iteration > 0
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_STARTED):
            again.add_event_handler(event, lambda engine: events.append(engine.last_event_name))
        with log_of(again) as lines:
            state = again.run(range(LENGTH), **(limit if says_limit else {}))
        num_said = sum("Nothing to run: the loaded state is finished" in line for line in lines)
        return steps == events == [] and num_said == 1 and state.iteration == done.state.iteration

    limits = [{"max_epochs": 3}, {"max_epochs": 1}, {"max_iters": 5}, {"max_iters": 8}]
    return tally(is_well, itertools.product(limits, (False, True)))


# 42: empty data


class Stream(IterableDataset):
    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return iter(range(self.size))


EMPTY = {
    "list": list,
    "loader": lambda: DataLoader([]),
    "drop_last": lambda: DataLoader([1, 2, 3], batch_size=4, drop_last=True),
    "generator": lambda: (x for x in ()),
    "IterableDataset": lambda: DataLoader(Stream(0)),
}


@row(42, "empty data", small=1, full=1)
def empty_data(count, folder):
    def is_well(make_data, limit):
        called = []
        engine = Engine(lambda engine, batch: called.append("step"))
        for event in (Events.EPOCH_COMPLETED, Events.COMPLETED, Events.ITERATION_STARTED):
            engine.add_event_handler(event, lambda engine: called.append(engine.last_event_name))
        with pytest.raises(
            ValueError, match=r"Please provide non-empty data|should have at least one batch"
        ):
            engine.run(make_data(), **limit)
        assert called == []
        engine.run([1, 2], **limit)  # it can be used with other data
        return "step" in called

    limits = ({}, {"max_epochs": 2}, {"max_iters": 2})
    return tally(is_well, itertools.product(EMPTY.values(), limits))


@row(42, "a generator dries up before the last epoch", small=1, full=1)
def dries_up(count, folder):
    def is_well(size):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")  # once for each text
            engine = Engine(lambda engine, batch: None)
            engine.run((x for x in range(size)), max_epochs=4, epoch_length=5)
        texts = [str(warning.message) for warning in warned]
        return (
            engine.state.iteration == size
            and len(texts) == 1
            and f"{size} of 20 iterations" in texts[0]
        )

    return tally(is_well, ((size,) for size in range(1, 15)))


# 43, 44: numbers that are none


def make_training(policy, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(model, optimizer, mse, **options)
    SpikeGuard({"model": model, "optimizer": optimizer}, policy=policy, every=2).attach(trainer)
    return model, trainer


@row(43, "the loss is NaN or infinite", small=1, full=1)
def nan_loss(count, folder):
    batches = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(6)]

    def is_well(policy, value, iteration, steps):
        model, trainer = make_training(policy, gradient_accumulation_steps=steps)
        with inject(
            trainer, Nan("batch", value=value), at=Events.ITERATION_STARTED, count=iteration
        ) as injection:
            if policy == "raise":
                with pytest.raises(FloatingPointError, match=f"iteration {iteration}: the loss is"):
                    trainer.run(batches)
            else:
                trainer.run(batches)
                assert trainer.state.iteration == len(batches)
        assert injection.fault.fired == 1
        return all(bool(parameter.isfinite().all()) for parameter in model.parameters())

    cases = itertools.product(
        ("skip", "rollback", "raise"), (math.nan, math.inf, -math.inf), range(1, 7), (1, 2)
    )
    return tally(is_well, cases)


@row(44, "early stopping is given NaN", small=1, full=1)
def nan_score(count, folder):
    def is_well(scores, mode, last):
        given, fired = iter(scores), []
        trainer = Engine(lambda engine, batch: None)

        def score(engine):
            value = next(given)
            fired.extend([value] * math.isnan(value))
            return value

        stopper = EarlyStopping(2, score, trainer, mode=mode)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, stopper)
        trainer.run([0], max_epochs=len(scores))
        assert fired
        return trainer.state.epoch == last and (
            stopper.best_score is None or math.isfinite(stopper.best_score)
        )

    nan = math.nan
    cases = [
        ([0.5, nan, 0.4, 0.3], "max", 3),
        ([0.5, nan, 0.6, 0.7], "min", 3),
        ([nan, nan, 0.9, 0.9], "max", 2),
        ([nan, 0.5, nan, 0.6, nan, nan, 0.9], "max", 6),
        ([0.5, 0.6, nan, nan, 0.9], "max", 4),
    ]
    return tally(is_well, cases)


# 46: out of memory


@row(46, "MemoryError or torch.OutOfMemoryError in the step", small=1, full=1)
def out_of_memory(count, folder):
    return tally(recovers, itertools.product((MemoryError, torch.OutOfMemoryError), (1, 3, 6)))


def recovers(kind, failing):
    error, batches, activations, told = kind("no memory"), [], [], []
    model = torch.nn.Linear(3, 3)

    class Data:
        def __len__(self):
            return 6

        def __iter__(self):
            for _ in range(6):
                batch = torch.ones(2, 3)
                batches.append(weakref.ref(batch))
                yield batch, batch

    def call(model, x):
        hidden = model(x)
        activations.append(weakref.ref(hidden))
        if len(activations) == failing:
            raise error
        return hidden

    trainer = create_supervised_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), mse, model_fn=call
    )
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, raised: told.append(raised))

    @trainer.on(Events.EXCEPTION_RAISED)
    def raise_again(engine, raised):
        raise raised

    with no_garbage_collection():  # what is in a cycle stays
        with pytest.raises(kind) as info:
            trainer.run(Data())
        is_the_same = info.value is error and told == [error]
        told.clear()
        del info
        error.__traceback__ = None
        is_free = [reference() is None for reference in activations] == [True] * failing
        alive = [batch for reference in batches if (batch := reference()) is not None]
        holds_one = len(alive) == 1 and alive[0] is trainer.state.batch[0]  # to look at
        del alive
        trainer.run(Data())
        begins_anew = (
            len(activations) == failing + 6 and trainer.state.iteration == 6
        )  # over other data
        return is_the_same and is_free and holds_one and begins_anew


# 47: clocks


@row(47, "the wall clock jumps", small=1, full=1)
def clock_jumps(count, folder):
    def is_well(jump, iteration):
        engine, num_asked, wall = Engine(lambda engine, batch: None), [], time.time
        before = time.monotonic()

        def jumped():
            num_asked.append(1)
            return wall() + jump

        def strike():
            time.time = jumped

        engine.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(3000))
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), strike)
        try:
            engine.run(range(LENGTH), max_epochs=2)
            has_fired = abs(time.time() - wall() - jump) < 60
        finally:
            time.time = wall
        assert has_fired
        longest = time.monotonic() - before
        return engine.state.iteration == 2 * LENGTH and all(
            0 <= t <= longest for t in engine.state.times.values()
        )

    return tally(is_well, itertools.product((3600, -3600), range(1, 8)))


# 48: handlers that meddle with what is running


@row(48, "a handler runs the engine that it is called by", small=1, full=1)
def runs_itself(count, folder):
    def is_well(event, catches):
        steps, refused = [], []
        engine = Engine(lambda engine, batch: steps.append(engine.state.iteration))

        @engine.on(event)
        def run_again(engine):
            if refused and not catches:
                return
            try:
                engine.run(range(2), max_epochs=7)
            except RuntimeError as error:
                refused.append(str(error))
                if not catches:
                    raise

        if catches:
            engine.run(range(LENGTH), max_epochs=2)
        else:
            with pytest.raises(
                RuntimeError, match="run\\(\\) should be called on an engine that is not running"
            ):
                engine.run(range(LENGTH), max_epochs=2)
            engine.run(range(LENGTH), max_epochs=2)
        assert refused
        return (engine.state.iteration, engine.state.max_epochs) == (2 * LENGTH, 2) and len(
            steps
        ) >= 2 * LENGTH - 1

    events = [event for event, *_ in PLACES]
    return tally(is_well, itertools.product(events, (False, True)))


@row(48, "a handler takes itself off, or another one", small=1, full=1)
def removes_itself(count, folder):
    def is_well(event):
        engine, calls = Engine(lambda engine, batch: None), []

        def first(engine):
            calls.append("first")
            engine.remove_event_handler(first, event)
            engine.remove_event_handler(last, event)

        def last(engine):
            calls.append("last")

        engine.add_event_handler(event, first)
        engine.add_event_handler(event, lambda: calls.append("middle"))
        engine.add_event_handler(event, last)
        engine.run(range(LENGTH), max_epochs=EPOCHS)
        num_firings = (
            1 if event is Events.STARTED else EPOCHS if "EPOCH" in event.name else LENGTH * EPOCHS
        )
        # The firing at hand is finished as it began.
        return calls == ["first", "middle", "last"] + ["middle"] * (num_firings - 1)

    return tally(is_well, ((event,) for event, *_ in PLACES))


@row(48, "a handler adds handlers", small=1, full=1)
def adds_handlers(count, folder):
    def is_well(event, where):
        engine, calls = Engine(lambda engine, batch: None), []

        @engine.on(event)
        def add(engine):
            if not calls:
                calls.append("added")
                engine.add_event_handler(where, lambda: calls.append("called"))

        engine.run(range(LENGTH), max_epochs=EPOCHS)
        num_firings = EPOCHS if "EPOCH" in where.name else LENGTH * EPOCHS
        return calls == ["added"] + ["called"] * num_firings

    # Into the same event: called in the same firing. Into a later one of the same iteration: from this one on.
    pairs = [
        (Events.ITERATION_COMPLETED, Events.ITERATION_COMPLETED),
        (Events.EPOCH_COMPLETED, Events.EPOCH_COMPLETED),
        (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED),
        (Events.STARTED, Events.ITERATION_STARTED),
        (Events.EPOCH_STARTED, Events.GET_BATCH_STARTED),
    ]
    return tally(is_well, pairs)


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)


@pytest.mark.parametrize(
    ("event", "count", "costs_a_step"), AT_THE_END, ids=["started", "completed", "epoch"]
)
def test_a_run_that_fails_at_its_very_end_is_finished_by_the_next(event, count, costs_a_step):
    assert goes_on_after(Injected, event, count, costs_a_step)


def test_a_generator_that_dries_up_in_the_last_epoch_is_reported():
    with pytest.warns(UserWarning, match="19 of 20 iterations"):
        Engine(lambda engine, batch: None).run((x for x in range(19)), max_epochs=4, epoch_length=5)


def test_a_handler_that_adds_itself_does_not_hang_the_run():
    engine, num_calls = Engine(lambda engine, batch: None), 0

    @engine.on(Events.ITERATION_COMPLETED)
    def add_itself(engine):
        nonlocal num_calls
        num_calls += 1
        if num_calls > 1000:
            raise RecursionError("there is no end")
        engine.add_event_handler(Events.ITERATION_COMPLETED, add_itself)

    engine.run(range(3))
