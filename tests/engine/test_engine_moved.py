"""Counters that handlers set, and states that they load, at any event: each run ends at the right position."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.engine import Engine, Events

EVENTS = [
    event
    for event in Events
    if event.name not in ("EXCEPTION_RAISED", "INTERRUPT", "TERMINATE_SINGLE_EPOCH")
]
REPEATED = [Events.EPOCH_STARTED, Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED, Events.ITERATION_STARTED,
            Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED]  # fmt: skip
TOO_MANY = 3000


class Endless(AssertionError):
    """No run in here is as long as this one."""


class GivenUp(Exception):
    """The model leaves the epoch at hand."""


class Model:
    """What a user sees of a run over ``size`` batches. Counts the iterations of an epoch, whatever number they have."""

    def __init__(self, size, max_epochs, max_iters, actions):
        self.size, self.actions, self.trace = size, actions, []
        self.now = {
            "iteration": 0, "epoch": 0, "epoch_length": size, "max_epochs": max_epochs, "max_iters": max_iters
        }  # fmt: skip
        self.known = (0, 0)  # epoch and iteration as the run itself has left them
        self.is_set = self.is_loaded = False
        self.next_batch = None  # the data is not begun
        self.done_before = 0  # iterations of the coming epoch

    def see(self, name, batch=None):
        self.trace.append((name, self.now["epoch"], self.now["iteration"], batch))
        kind, value = self.actions.get(len(self.trace) - 1, (None, None))
        if kind == "load":
            self.now = {"max_epochs": None, "max_iters": None} | value
            length = value["epoch_length"]
            self.now["epoch"], self.done_before = divmod(value["iteration"], length)
            self.known, self.is_set, self.next_batch = self.counters(), False, None
            self.is_loaded = True
        elif kind is not None:
            self.now[kind] = value
        if self.is_loaded and name != "step":  # what a step asks for is done after the iteration
            self.is_loaded = False
            if name not in ("TERMINATE", "COMPLETED"):
                raise GivenUp

    def counters(self):
        return self.now["epoch"], self.now["iteration"]

    def is_done(self):
        now, is_set = self.now, self.is_set or self.counters() != self.known
        if now["max_iters"] is not None and now["iteration"] >= now["max_iters"]:
            return True
        if now["max_epochs"] is None:
            return False
        return (is_set and now["iteration"] >= now["epoch_length"] * now["max_epochs"]) or (
            now["epoch"] >= now["max_epochs"]
        )

    def run(self):
        with contextlib.suppress(GivenUp):
            self.see("STARTED")
        while not (self.is_done() and not self.done_before):
            if self.now["max_epochs"] is self.now["max_iters"] is None:
                raise ValueError("no limit")
            if self.now["epoch_length"] < 1:
                raise ValueError("no length")
            try:
                if self.epoch() == "terminated":
                    self.see("TERMINATE")
                    break
            except GivenUp:
                continue
        self.see("COMPLETED")
        return self.trace

    def epoch(self):
        now, is_first = self.now, self.next_batch is None
        done, self.done_before = self.done_before, 0
        self.is_set = self.is_set or self.counters() != self.known
        if is_first and now["iteration"] != self.known[1]:
            done = now["iteration"] % now["epoch_length"]
        now["epoch"] += 1
        number = self.counters()
        self.see("EPOCH_STARTED")
        if is_first and now["iteration"] != number[1]:
            done = now["iteration"] % now["epoch_length"] if now["epoch_length"] else 0
        self.is_set = self.is_set or self.counters() != number
        begins_in_the_middle = done > 0
        if is_first:
            self.next_batch = 0
        while done < now["epoch_length"]:
            if now["max_iters"] is not None and now["iteration"] >= now["max_iters"]:
                return "terminated"
            self.iteration()
            done += 1
        if begins_in_the_middle:
            self.next_batch = None
        self.known = self.counters()
        self.see("EPOCH_COMPLETED")
        return "over"

    def iteration(self):
        now = self.now
        before = self.counters()
        self.see("GET_BATCH_STARTED")
        if self.next_batch == self.size:
            self.see("DATALOADER_STOP_ITERATION")
            self.next_batch = 0
        batch, self.next_batch = self.next_batch, self.next_batch + 1
        self.see("GET_BATCH_COMPLETED")
        self.is_set = self.is_set or self.counters() != before
        now["iteration"] += 1
        before = self.counters()
        self.see("ITERATION_STARTED")
        self.see("step", batch)
        self.see("ITERATION_COMPLETED")
        self.is_set = self.is_set or self.counters() != before


def drive(size, limits, actions):
    """The same with an engine."""
    trace = []

    def see(engine, name, batch=None):
        state = engine.state
        trace.append((name, state.epoch, state.iteration, batch))
        if len(trace) > TOO_MANY:
            raise Endless
        kind, value = actions.get(len(trace) - 1, (None, None))
        if kind == "load":
            engine.load_state_dict(value)
        elif kind is not None:
            setattr(state, kind, value)

    engine = Engine(lambda engine, batch: see(engine, "step", batch))
    for event in EVENTS:
        engine.add_event_handler(event, lambda engine, name=event.name: see(engine, name))
    engine.run(list(range(size)), **limits)
    return trace


@st.composite
def states(draw):
    length = draw(st.integers(1, 5))
    if draw(st.booleans()):
        limit = draw(st.integers(0, 5))
        iteration = draw(st.integers(0, limit * length))
        return {"iteration": iteration, "epoch_length": length, "max_epochs": limit}
    limit = draw(st.integers(0, 15))
    return {"iteration": draw(st.integers(0, limit)), "epoch_length": length, "max_iters": limit}


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["epoch", "iteration"]), st.integers(0, 12)),
    st.tuples(st.just("epoch_length"), st.integers(0, 6)),
    st.tuples(st.just("max_epochs"), st.none() | st.integers(0, 6)),
    st.tuples(st.just("max_iters"), st.none() | st.integers(0, 20)),
    st.tuples(st.just("load"), states()),
)


def outcome(function, *args):
    try:
        return function(*args)
    except ValueError as error:
        return type(error)


@settings(max_examples=1000)
@given(
    size=st.integers(1, 5),
    limits=st.sampled_from(
        [{"max_epochs": n} for n in (1, 2, 4)] + [{"max_iters": n} for n in (1, 7, 10)]
    ),
    actions=st.dictionaries(st.integers(0, 60), ACTIONS, max_size=4),
)
def test_each_run_ends_with_the_trace_of_the_model_whatever_handlers_set_or_load(
    size, limits, actions
):
    model = Model(size, limits.get("max_epochs"), limits.get("max_iters"), actions)
    assert outcome(drive, size, limits, actions) == outcome(model.run)


FINISHED = {"iteration": 40, "epoch_length": 8, "max_epochs": 5}


def guard(engine):
    """Ends a run that has too many events."""
    fired = []

    def see():
        fired.append(1)
        if len(fired) > TOO_MANY:
            raise Endless

    engine.add_event_handler(Events.EPOCH_STARTED | Events.ITERATION_STARTED, see)


def epochs_of(engine):
    epochs = []
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: epochs.append((engine.state.epoch, engine.state.iteration))
    )
    return epochs


@pytest.mark.parametrize(
    "event", [event for event in EVENTS if event.name not in ("COMPLETED", "TERMINATE")]
)
def test_a_finished_state_that_is_loaded_within_a_run_continues_up_to_a_higher_limit(event):
    engine = Engine(lambda engine, batch: batch)
    epochs, calls = epochs_of(engine), []

    @engine.on(event)
    def load(engine):
        if not calls:
            calls.append(event)
            engine.load_state_dict(FINISHED)
            engine.state.max_epochs = 8

    engine.run(list(range(8)), max_epochs=2)
    assert epochs[-3:] == [(6, 48), (7, 56), (8, 64)]
    assert (engine.state.epoch, engine.state.iteration) == (8, 64)


@pytest.mark.parametrize("event", [Events.TERMINATE, Events.COMPLETED])
def test_a_state_that_is_loaded_when_the_run_is_over_is_for_the_next_run(event):
    engine = Engine(lambda engine, batch: batch)
    loading = engine.add_event_handler(
        event, lambda: engine.load_state_dict(FINISHED | {"max_epochs": 7})
    )
    engine.run(list(range(8)), max_iters=4)
    assert engine.state.iteration == 40
    loading.remove()
    epochs = epochs_of(engine)
    engine.run(list(range(8)))
    assert epochs == [(6, 48), (7, 56)]


def test_a_state_that_is_loaded_when_the_run_pauses_takes_the_place_of_the_pause():
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.interrupt)
    engine.add_event_handler(
        Events.INTERRUPT, lambda: engine.load_state_dict(FINISHED | {"max_epochs": 6})
    )
    engine.run(list(range(8)), max_epochs=2)
    epochs = epochs_of(engine)
    assert engine.run(list(range(8))).iteration == 48
    assert epochs == [(6, 48)]


@pytest.mark.parametrize("takes_over", [True, False])
def test_a_state_that_is_loaded_after_an_exception_is_gone_on_with(takes_over):
    """A run that goes back to its last checkpoint when something fails."""
    engine, seen = (
        Engine(lambda engine, batch: seen.append(batch) or 1 // (engine.state.iteration != 6)),
        [],
    )
    saved = {}
    engine.add_event_handler(
        Events.EPOCH_COMPLETED(once=1), lambda: saved.update(engine.state_dict())
    )

    @engine.on(Events.EXCEPTION_RAISED)
    def go_back(error):
        engine.load_state_dict(saved)
        engine.state.iteration = (
            engine.state.iteration + 100
        )  # not to fail at the same number again
        engine.state.epoch = 1
        if not takes_over:
            raise error

    if takes_over:
        engine.run(list(range(4)), max_epochs=2)
    else:
        with pytest.raises(ZeroDivisionError):
            engine.run(list(range(4)), max_epochs=2)
        assert engine.state_dict()["iteration"] == 104
    assert seen == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("event", REPEATED)
@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_iters": 10}])
def test_a_state_that_is_loaded_again_and_again_is_an_error_and_no_endless_run(event, limits):
    engine = Engine(lambda engine, batch: batch)
    guard(engine)
    engine.add_event_handler(
        event, lambda: engine.load_state_dict({"iteration": 4, "epoch_length": 4} | limits)
    )
    with pytest.raises(
        RuntimeError, match="should approach max_(epochs|iters).*the run would never end"
    ):
        engine.run(list(range(4)), **limits)


@pytest.mark.parametrize("event", REPEATED)
@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_iters": 10}])
@pytest.mark.parametrize(
    "counters",
    [{"epoch": 0}, {"iteration": 0}, {"epoch": 0, "iteration": 0}, {"epoch": 2, "iteration": 3}],
)
def test_counters_that_are_set_back_again_and_again_end_the_run_or_are_an_error(
    event, limits, counters
):
    engine = Engine(lambda engine, batch: batch)
    guard(engine)
    engine.add_event_handler(event, lambda: vars(engine.state).update(counters))
    # As long as the counter of the limit is left alone, or, for max_epochs, one of the two, the run comes to its end.
    ends = "iteration" not in counters or ("max_epochs" in limits and "epoch" not in counters)
    if ends:
        engine.run(list(range(4)), **limits)
    else:
        with pytest.raises(
            RuntimeError, match=r"after having been \d+ it was no higher than before 100 times"
        ):
            engine.run(list(range(4)), **limits)


@pytest.mark.parametrize("listens", [False, True])
def test_a_step_that_sets_the_iteration_back_ends_too(listens):
    def step(engine, batch):
        engine.state.iteration = 0

    engine = Engine(step)
    if listens:
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    engine.run(list(range(4)), max_epochs=3)
    assert engine.state.epoch == 3


def test_an_epoch_that_is_ended_at_once_again_and_again_is_an_error():
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.GET_BATCH_STARTED, engine.terminate_epoch)
    with pytest.raises(RuntimeError, match="iteration should approach max_iters=10"):
        engine.run(list(range(4)), max_iters=10)
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.GET_BATCH_STARTED, engine.terminate_epoch)
    assert engine.run(list(range(4)), max_epochs=200).epoch == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_epochs": None}, "max_epochs or max_iters should be set during a run"),
        ({"epoch_length": 0}, "epoch_length should be at least 1, but it has been set to 0"),
        ({"epoch_length": -3}, "epoch_length should be at least 1, but it has been set to -3"),
    ],
)
@pytest.mark.parametrize(
    "event",
    [Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_STARTED, Events.EPOCH_COMPLETED],
)
def test_counters_that_contradict_each_other_are_named(event, changes, words):
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(event, lambda: vars(engine.state).update(changes))
    with pytest.raises(ValueError, match=words):
        engine.run(list(range(4)), max_epochs=3)


@pytest.mark.parametrize(
    "event",
    [Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_STARTED, Events.EPOCH_COMPLETED],
)
def test_without_data_an_epoch_needs_a_length(event):
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(event, lambda: vars(engine.state).update(epoch_length=None))
    with pytest.raises(
        ValueError,
        match="epoch_length should be provided if data is None, but it has been set to None",
    ):
        engine.run(max_epochs=3, epoch_length=4)


def test_a_length_that_is_taken_away_is_that_of_the_data_again():
    engine = Engine(lambda engine, batch: batch)
    epochs = epochs_of(engine)
    engine.add_event_handler(
        Events.EPOCH_COMPLETED(once=1), lambda: vars(engine.state).update(epoch_length=None)
    )
    engine.run(list(range(4)), max_epochs=3)
    assert epochs == [(1, 4), (2, 8), (3, 12)]


@pytest.mark.parametrize(
    "moment", [Events.ITERATION_STARTED(once=6), Events.ITERATION_COMPLETED(once=6)]
)
def test_a_position_that_is_saved_beside_another_number_is_the_true_one(moment):
    """The number is the program's; how much of the epoch is done is not."""
    engine, saved = Engine(lambda engine, batch: batch), {}

    @engine.on(moment)
    def renumber(engine):
        engine.state.iteration = 1000
        saved.update(engine.state_dict())

    engine.run(list(range(4)), max_epochs=5)
    other, seen = Engine(lambda engine, batch: seen.append(engine.state.iteration)), []
    other.load_state_dict(saved)
    epochs = epochs_of(other)
    other.run(list(range(4)))
    assert epochs[0] == (2, 1002)


def test_epochs_that_differ_in_length_do_not_end_a_run_that_counts_iterations():
    lengths = iter([5, 2, 2, 2, 2, 2])

    class Stream:
        def __iter__(self):
            return iter(range(next(lengths)))

    engine = Engine(lambda engine, batch: batch)
    with pytest.warns(UserWarning, match="should have 5 iterations.*ended after 2"):
        engine.run(Stream(), max_iters=13)
    assert engine.state.iteration == 13
