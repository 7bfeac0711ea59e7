"""State that samplers, datasets and iterables of the program keep for themselves is resumed, or named in a warning."""

import logging
import os
import random
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    TensorDataset,
)

from ignite.data import resumable
from ignite.data.seeding import WorkerWatch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, Preemption
from ignite.learner import Learner

NUM_SAMPLES, BATCH_SIZE, NUM_EPOCHS = 10, 2, 3


def numpy_draw(rng):
    return int(rng.integers(1000)) if isinstance(rng, np.random.Generator) else rng.randint(1000)


GENERATORS = {
    "python": (lambda: random.Random(3), lambda rng: rng.randrange(1000)),
    "numpy": (lambda: np.random.default_rng(3), numpy_draw),
    "old numpy": (lambda: np.random.RandomState(3), numpy_draw),
    "torch": (
        lambda: torch.Generator().manual_seed(3),
        lambda rng: int(torch.randint(1000, (1,), generator=rng)),
    ),
}


class AttributeState:
    """A generator in an attribute."""

    def __init__(self, kind):
        make, self.draw = GENERATORS[kind]
        self.rng = make()

    def next(self):
        return self.draw(self.rng)


class LazyState(AttributeState):
    """A generator that is made when it is first used."""

    def __init__(self, kind):
        self.make, self.draw = GENERATORS[kind]
        self.rng = None

    def next(self):
        if self.rng is None:
            self.rng = self.make()
        return super().next()


class UnknownState:
    """Attributes that are made when they are first used."""

    def __init__(self, kind):
        pass

    def next(self):
        if not hasattr(self, "rng"):
            self.rng, self.history = random.Random(7), []
        self.history.append(self.rng.randrange(1000))
        return sum(self.history) % 1009


class CountState:
    """Counters of many kinds."""

    def __init__(self, kind):
        self.kind, self.count = kind, 0
        self.values = {"list": [0, 5], "array": np.zeros(2), "tensor": torch.zeros(2)}.get(kind)
        self.total = {"numpy": np.int64(2), "tuple": (1, 2), "set": {1}, "text": "a"}.get(kind)

    def next(self):
        self.count += 1
        if self.values is not None:
            self.values[self.count % 2] += 7
            return int(self.values[0]) * 3 + int(self.values[1])
        if self.kind == "numpy":
            self.total = self.total * 3 % 101
            return int(self.total)
        if self.kind == "tuple":
            self.total = (self.total[1], sum(self.total) % 101)
            return self.total[0]
        if self.kind == "set":
            self.total.add(max(self.total) * 2 % 101)
            return sum(self.total)
        if self.kind == "text":
            self.total = self.total[-5:] + "ab"[self.count % 2]
            return sum(map(ord, self.total))
        return self.count


class StatefulState:
    """State that is saved by methods of its own."""

    def __init__(self, kind):
        self.rng = random.Random(kind)

    def next(self):
        return self.rng.randrange(1000)

    def state_dict(self):
        version, numbers, gauss = self.rng.getstate()
        return {"version": version, "numbers": list(numbers), "gauss": gauss}

    def load_state_dict(self, state):
        self.rng.setstate((state["version"], tuple(state["numbers"]), state["gauss"]))


def closure_state(kind):
    make, draw = GENERATORS[kind]
    rng, count = make(), 0

    class State:
        def next(self):
            nonlocal count
            count += 1
            return draw(rng) + count

    return State()


def class_state(kind):
    class State:
        count = 0
        history: ClassVar = [1]

        def next(self):
            type(self).count += 1
            self.history.append(type(self).count * 3 % 7)
            return sum(self.history)

    return State()


STATES = {
    **{f"generator of {kind}": (AttributeState, kind) for kind in GENERATORS},
    **{f"lazy generator of {kind}": (LazyState, kind) for kind in GENERATORS},
    **{f"closure with {kind}": (closure_state, kind) for kind in GENERATORS},
    **{
        f"counter {kind}": (CountState, kind)
        for kind in ("int", "list", "array", "tensor", "numpy", "tuple", "set", "text")
    },
    "object with state_dict": (StatefulState, 5),
    "class": (class_state, None),
    "attributes that are made late": (UnknownState, None),
}


def shuffled(state, num):
    """An order of the numbers that depends on the state."""
    return sorted(range(num), key=lambda i: ((i + 1) * (state.next() + 17) % 31, i))


class Order(Sampler):
    def __init__(self, state):
        self.state = state

    def __iter__(self):
        return iter(shuffled(self.state, NUM_SAMPLES))

    def __len__(self):
        return NUM_SAMPLES


class OrderWithoutLength(Order):
    __len__ = None


class Batches:
    def __init__(self, state):
        self.state = state

    def __iter__(self):
        order = shuffled(self.state, NUM_SAMPLES)
        for i in range(0, NUM_SAMPLES, BATCH_SIZE):
            yield order[i : i + BATCH_SIZE]

    def __len__(self):
        return NUM_SAMPLES // BATCH_SIZE


class BatchesWithoutLength(Batches):
    __len__ = None


class Samples(Dataset):
    def __init__(self, state, num=NUM_SAMPLES):
        self.state, self.num = state, num

    def __getitem__(self, i):
        return float(i + self.state.next())

    def __len__(self):
        return self.num


class Collate:
    def __init__(self, state):
        self.state = state

    def __call__(self, samples):
        return torch.tensor(samples, dtype=torch.float64) + self.state.next()


class Stream(IterableDataset):
    def __init__(self, state):
        self.state = state

    def __iter__(self):
        for i in range(NUM_SAMPLES):
            yield float(i + self.state.next())


class Iterable:
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        for batch in self.data:
            yield batch * 2

    def __len__(self):
        return NUM_SAMPLES // BATCH_SIZE


class OwnIterable(Iterable):
    def __init__(self, state):
        self.state = state

    def __iter__(self):
        for _ in range(len(self)):
            yield torch.tensor([float(self.state.next())])


def numbers():
    return [float(i) for i in range(NUM_SAMPLES)]


def over_order(state):
    return DataLoader(numbers(), batch_size=BATCH_SIZE, sampler=Order(state))


def everywhere(state):
    samples = ConcatDataset([Subset(Samples(state, 20), range(5)), Samples(state, 5)])
    return DataLoader(
        samples, batch_size=BATCH_SIZE, sampler=Order(state), collate_fn=Collate(state)
    )


DATA = {
    "sampler": over_order,
    "sampler without length": lambda state: DataLoader(
        numbers(), batch_size=BATCH_SIZE, sampler=OrderWithoutLength(state)
    ),
    "batch sampler": lambda state: DataLoader(numbers(), batch_sampler=Batches(state)),
    "batch sampler without length": lambda state: DataLoader(
        numbers(), batch_sampler=BatchesWithoutLength(state)
    ),
    "dataset": lambda state: DataLoader(Samples(state), batch_size=BATCH_SIZE, shuffle=True),
    "collate": lambda state: DataLoader(
        numbers(), batch_size=BATCH_SIZE, shuffle=True, collate_fn=Collate(state)
    ),
    "everywhere": everywhere,
    "stream": lambda state: DataLoader(Stream(state), batch_size=BATCH_SIZE),
    "iterable": OwnIterable,
    "iterable over a loader": lambda state: Iterable(over_order(state)),
}


def run(folder, kind, data, stop_at=None, changes=False):
    """A run of a fresh program; returns its batches by iteration and its weights."""
    make, argument = STATES[kind]
    state = make(argument)
    loader = DATA[data](state)
    weights = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    seen = {}

    def step(engine, batch):
        seen[engine.state.iteration] = batch.tolist()
        with torch.no_grad():
            weights.mul_(0.9).add_(batch.double().mean())

    trainer = Engine(step)
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED, background=False)
    if changes:

        @trainer.on(Events.EPOCH_STARTED | Events.EPOCH_COMPLETED)
        def draw():
            state.next()

    if stop_at is not None:
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=stop_at), lambda: 1 / 0, priority=-1e9
        )
    torch.manual_seed(0)
    try:
        trainer.run(loader, max_epochs=NUM_EPOCHS, resume="latest")
    except ZeroDivisionError:
        assert stop_at is not None
    return seen, float(weights.detach())


@settings(max_examples=10)
@given(
    kind=st.sampled_from(sorted(STATES)),
    data=st.sampled_from(sorted(DATA)),
    stop_at=st.integers(1, NUM_EPOCHS * NUM_SAMPLES // BATCH_SIZE),
    changes=st.booleans(),
)
def test_a_run_that_is_stopped_anywhere_has_the_batches_and_weights_of_one_that_is_not(
    tmp_path_factory, kind, data, stop_at, changes
):
    folder = tmp_path_factory.mktemp("run")
    expected = run(folder / "whole", kind, data, changes=changes)
    first = run(folder / "cut", kind, data, stop_at, changes=changes)
    second = run(folder / "cut", kind, data, changes=changes)
    assert ({**first[0], **second[0]}, second[1]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(STATES))
@pytest.mark.parametrize("data", sorted(DATA))
def test_each_kind_of_state_in_each_kind_of_data(tmp_path, kind, data):
    expected = run(tmp_path / "whole", kind, data, changes=True)
    for stop_at in (2, 5, 8):
        cut = tmp_path / str(stop_at)
        first = run(cut, kind, data, stop_at, changes=True)
        second = run(cut, kind, data, changes=True)
        assert ({**first[0], **second[0]}, second[1]) == expected


# What evaluations use.


def run_with_evaluation(folder, kind, data, stop_at=None):
    """A run with an evaluation over the data after each epoch; returns what it has seen by iteration."""
    make, argument = STATES[kind]
    loader, seen = DATA[data](make(argument)), {}
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)

    @evaluator.on(Events.ITERATION_COMPLETED)
    def note():
        key = (trainer.state.iteration, evaluator.state.iteration)
        seen[key] = evaluator.state.batch.tolist()

    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: evaluator.run(loader))
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED, background=False)
    if stop_at is not None:
        stop = Events.ITERATION_COMPLETED(once=stop_at)
        trainer.add_event_handler(stop, lambda: 1 / 0, priority=-1e9)
    torch.manual_seed(0)
    try:
        trainer.run([0, 1, 2], max_epochs=3, resume="latest")
    except ZeroDivisionError:
        assert stop_at is not None
    return seen


@settings(max_examples=5)
@given(
    kind=st.sampled_from(sorted(STATES)),
    data=st.sampled_from(sorted({*DATA} - {"iterable", "iterable over a loader"})),
    stop_at=st.integers(1, 8),
)
def test_an_evaluation_has_the_batches_of_a_run_that_is_not_stopped(
    tmp_path_factory, kind, data, stop_at
):
    folder = tmp_path_factory.mktemp("run")
    expected = run_with_evaluation(folder / "whole", kind, data)
    first = run_with_evaluation(folder / "cut", kind, data, stop_at)
    assert {**first, **run_with_evaluation(folder / "cut", kind, data)} == expected


# What cannot be saved is named.


class Buffered(Samples):
    """Holds what no checkpoint saves."""

    def __init__(self, make, change):
        super().__init__(None)
        self.held, self.change = make(), change

    def __getitem__(self, i):
        self.change(self)
        return float(i)


def endless():
    while True:
        yield 1.0


def weak(x):
    return x


def strong(x):
    return 2 * x


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (endless, lambda data: next(data.held)),
        (lambda: [torch.zeros(2)], lambda data: data.held.append(torch.zeros(2))),
        (lambda: bytearray(2), lambda data: data.held.__setitem__(0, 7)),
        (lambda: weak, lambda data: setattr(data, "held", strong)),
        (lambda: np.random.SeedSequence(3), lambda data: data.held.spawn(1)),
        (lambda: np.zeros(1 << 18), lambda data: data.held.__iadd__(1)),
        (lambda: torch.zeros(1 << 19), lambda data: data.held.add_(1)),
        (lambda: list(range(150_000)), lambda data: data.held.insert(0, data.held.pop())),
    ],
    ids=["iterator", "buffer", "bytes", "function", "seeds", "array", "tensor", "long list"],
)
def test_what_changes_and_cannot_be_saved_is_named_with_what_to_write(
    tmp_path, caplog, make, change
):
    trainer = Engine(lambda engine, batch: None)
    Checkpoint.of(trainer, tmp_path, background=False)
    with caplog.at_level(logging.WARNING):
        trainer.run(DataLoader(Buffered(make, change), batch_size=2), max_epochs=3)
    named = [one.getMessage() for one in caplog.records if "dataset.held" in one.getMessage()]
    assert len(named) == 1
    assert "state_dict" in named[0]
    assert "set_epoch" in named[0]


def test_what_does_not_change_is_the_programs_and_is_neither_saved_nor_named(tmp_path, caplog):
    class Configured(Samples):
        def __init__(self, root):
            super().__init__(None)
            self.root, self.sizes, self.values = root, [1, 2], np.arange(NUM_SAMPLES)

        def __getitem__(self, i):
            return float(self.values[i])

    for root, max_epochs in (("here", 1), ("there", 2)):
        data = Configured(root)
        trainer = Engine(lambda engine, batch: None)
        Checkpoint.of(trainer, tmp_path, background=False)
        with caplog.at_level(logging.WARNING):
            trainer.run(DataLoader(data, batch_size=2), max_epochs=max_epochs, resume="latest")
        assert data.root == root
    assert caplog.text == ""


class HiddenOrder(Order):
    """Draws from where nothing looks."""

    def __init__(self):
        self.state = memoryview(bytearray(1))

    def __iter__(self):
        self.state[0] += 1
        return iter(sorted(range(NUM_SAMPLES), key=lambda i: i * self.state[0] % 11))


class HiddenIterable(OwnIterable):
    def __init__(self):
        self.state = memoryview(bytearray(1))

    def __iter__(self):
        for _ in range(len(self)):
            self.state[0] += 1
            yield torch.tensor([float(self.state[0])])


@pytest.mark.parametrize("kind", ["sampler", "iterable"])
def test_other_batches_for_a_reason_that_was_not_found_are_told(tmp_path, caplog, kind):
    for stop_at in (8, None):
        data = (
            DataLoader(numbers(), batch_size=BATCH_SIZE, sampler=HiddenOrder())
            if kind == "sampler"
            else HiddenIterable()
        )
        trainer = Engine(lambda engine, batch: None)
        Checkpoint.of(trainer, tmp_path, event=Events.ITERATION_COMPLETED, background=False)
        if stop_at is not None:
            trainer.add_event_handler(
                Events.ITERATION_STARTED(once=stop_at), lambda engine: engine.interrupt()
            )
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            trainer.run(data, max_epochs=2, resume="latest")
    assert "has other batches than before it was stopped" in caplog.text


# With workers.


class Drawing(Dataset):
    def __init__(self, kind, is_lazy=False):
        self.make, self.draw = GENERATORS[kind]
        self.rng = None if is_lazy else self.make()

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, i):
        if self.rng is None:
            self.rng = self.make()
        return 1000 * i + self.draw(self.rng)


def batches_of(state=None, kind="python", is_lazy=False):
    loader = resumable(DataLoader(Drawing(kind, is_lazy), batch_size=2, num_workers=1), seed=1)
    if state is not None:
        loader.load_state_dict(state)
    for batch in loader:
        yield batch.tolist(), loader.state_dict()


@pytest.mark.parametrize(("kind", "is_lazy"), [("python", False), ("numpy", True)])
def test_generators_of_a_dataset_are_seeded_for_each_batch_in_workers(kind, is_lazy):
    whole = list(batches_of(kind=kind, is_lazy=is_lazy))
    for stop in (1, 3):
        rest = [batch for batch, _ in batches_of(whole[stop - 1][1], kind, is_lazy)]
        assert rest == [batch for batch, _ in whole[stop:]]
    assert len({tuple(batch) for batch, _ in whole}) == len(whole)


def test_another_way_to_seed_than_before_is_told(caplog):
    state = list(batches_of())[1][1]
    loader = resumable(DataLoader(Drawing("python"), batch_size=2))
    with caplog.at_level(logging.WARNING):
        loader.load_state_dict(state)
    assert "are seeded for each batch in workers, and not without" in caplog.text


def test_what_changes_in_a_worker_is_named():
    counting = Samples(CountState("int"))
    watch = WorkerWatch(counting)
    assert watch.compare() == []
    counting.state.next()
    assert watch.compare() == ["dataset.state.count"]


# Signals.


def run_with_signals(folder, at=None, in_evaluation=False):
    """A run whose handler draws from generators of its own, around an evaluation over data that do, too."""
    rng, generator = random.Random(3), torch.Generator().manual_seed(1)
    loader = DataLoader(
        Samples(AttributeState("numpy"), 3), shuffle=True, generator=generator, batch_size=1
    )
    seen, now = [], []
    trainer = Engine(lambda engine, batch: batch)

    def evaluate(engine, batch):
        now.append((batch.item(), rng.random()))
        if in_evaluation and (trainer.state.iteration, engine.state.iteration) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    evaluator = Engine(evaluate)

    @trainer.on(Events.ITERATION_COMPLETED)
    def draw(engine):
        now.clear()
        evaluator.run(loader)
        now.append(rng.random())
        if not in_evaluation and engine.state.iteration == at:
            os.kill(os.getpid(), signal.SIGTERM)
        now.append(int(torch.randint(1000, (1,), generator=generator)))
        seen.append(list(now))

    Checkpoint.of(trainer, folder, background=False)
    Preemption(raise_exit=False).attach(trainer)
    trainer.run([1, 2], max_epochs=2, resume="latest")
    return seen


@pytest.mark.parametrize("at", [1, 2, 3, (1, 1), (2, 3), (3, 2)])
def test_a_signal_finds_generators_as_they_are_between_two_handlers(tmp_path, at):
    in_evaluation = isinstance(at, tuple)
    first = run_with_signals(tmp_path / "cut", at, in_evaluation)
    assert len(first) == (at[0] - 1 if in_evaluation else at)
    second = run_with_signals(tmp_path / "cut")
    assert first + second == run_with_signals(tmp_path / "whole")


class Numbered(Samples):
    def __init__(self):
        super().__init__(None)
        self.epoch, self.numbers = 0, []

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.numbers.append(epoch)

    def __getitem__(self, i):
        return i + 100 * self.epoch


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_dataset_is_told_the_number_of_the_pass(tmp_path, is_saved):
    data = Numbered()
    trainer = Engine(lambda engine, batch: None)
    if is_saved:
        Checkpoint.of(trainer, tmp_path, background=False)
    trainer.run(DataLoader(data, batch_size=2), max_epochs=3)
    assert data.numbers == [0, 1, 2]


def test_a_dataset_that_the_program_numbers_is_left_to_it(tmp_path):
    data = Numbered()
    trainer = Engine(lambda engine, batch: None)
    Checkpoint.of(trainer, tmp_path, background=False)
    trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: data.set_epoch(2 * engine.state.epoch)
    )
    trainer.run(DataLoader(data, batch_size=2), max_epochs=3)
    assert data.numbers == [2, 4, 6]


# Other ways to give data to a run.


def run_learner(folder, stop_at=None):
    """A fit over a loader and with a validation that draw from generators of their own."""
    torch.manual_seed(2)
    x, y = torch.randn(NUM_SAMPLES, 3), torch.randn(NUM_SAMPLES, 1)
    data = TensorDataset(x, y)
    training = DataLoader(data, batch_size=2, sampler=Order(AttributeState("python")))
    valid = DataLoader(data, batch_size=4, sampler=Order(AttributeState("numpy")), drop_last=True)
    learner = Learner(torch.nn.Linear(3, 1), loss="mse", optimizer="sgd", lr=0.1)
    if stop_at is not None:
        stop = Events.ITERATION_COMPLETED(once=stop_at)
        learner.trainer.add_event_handler(stop, lambda: 1 / 0)
    try:
        history = learner.fit(
            training,
            valid=valid,
            epochs=3,
            run_dir=folder,
            resume="latest",
            save_every=1,
            progress=False,
        )
    except ZeroDivisionError:
        return None
    return history["valid_loss"], learner.model.weight.tolist()


def test_a_fit_that_is_stopped_has_the_batches_of_one_that_is_not(tmp_path):
    expected = run_learner(tmp_path / "whole")
    assert run_learner(tmp_path / "cut", stop_at=8) is None
    assert run_learner(tmp_path / "cut") == expected


def test_data_that_a_handler_of_started_sets_have_their_state_too(tmp_path):
    def run(folder, stop_at=None):
        loader, seen = over_order(AttributeState("python")), {}
        trainer = Engine(
            lambda engine, batch: seen.update({engine.state.iteration: batch.tolist()})
        )
        trainer.add_event_handler(Events.STARTED, lambda engine: engine.set_data(loader))
        Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED, background=False)
        if stop_at is not None:
            stop = Events.ITERATION_COMPLETED(once=stop_at)
            trainer.add_event_handler(stop, lambda: 1 / 0, priority=-1e9)
        try:
            trainer.run([0] * 5, max_epochs=3, resume="latest")
        except ZeroDivisionError:
            assert stop_at is not None
        return seen

    for stop_at in (5, 7):
        cut = tmp_path / str(stop_at)
        assert {**run(cut, stop_at), **run(cut)} == run(tmp_path / f"whole {stop_at}")


# Optimizers of the program.


class Wrapping(torch.optim.Optimizer):
    """An optimizer that counts its steps, keeps slow weights, and leaves the step to another one."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})
        self.num_steps, self.slow = 0, [torch.zeros(2)]
        self.base = torch.optim.Adam(self.param_groups, lr=0.1)

    def step(self):
        self.num_steps += 1
        self.slow[0].add_(1)
        self.base.step()


def test_what_an_optimizer_keeps_beside_its_state_is_named(tmp_path, caplog):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = Wrapping([weight])

    def step(engine, batch):
        weight.grad = torch.ones(2)
        optimizer.step()

    trainer = Engine(step)
    Checkpoint.of(trainer, tmp_path, background=False)
    with caplog.at_level(logging.WARNING):
        trainer.run([1, 2], max_epochs=3)
    for name in ("optimizer.num_steps", "optimizer.slow.0", "optimizer.base.state"):
        assert name in caplog.text
