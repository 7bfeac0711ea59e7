import copy
import functools
import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite._core.differences import first_difference
from ignite.engine import (
    Engine,
    EventEnum,
    Events,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.exceptions import DryRunError
from ignite.handlers import EarlyStopping, EMAHandler
from ignite.metrics import Accuracy, Loss, RunningAverage


def program():
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=5, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    trainer = create_supervised_trainer(model, optimizer, nn.functional.cross_entropy)
    loss = Loss(nn.functional.cross_entropy)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": loss})
    return loader, model, optimizer, trainer, evaluator


def plain(state):
    return {
        name: copy.deepcopy(value)
        for name, value in vars(state).items()
        if name not in ("dataloader", "batch")
    }


def validate(evaluator, loader, engine):
    evaluator.run(loader)


def random_numbers():
    return random.random(), np.random.rand(), torch.rand(1).item()


def random_state():
    return random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()


@pytest.mark.parametrize("num_epochs_before", [0, 1])
def test_everything_is_unchanged(num_epochs_before):
    loader, model, optimizer, trainer, evaluator = program()
    ema, scheduler, losses, num_seen = (
        EMAHandler(model),
        torch.optim.lr_scheduler.StepLR(optimizer, 1),
        [],
        0,
    )
    stopping = EarlyStopping(2, lambda engine: engine.state.metrics["accuracy"], trainer)
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "average")
    ema.attach(trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: (evaluator.run(loader), scheduler.step())
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def note(engine):
        nonlocal num_seen
        num_seen += 1
        losses.append((engine.state.output, random_numbers()))

    if num_epochs_before:
        trainer.run(loader, max_epochs=num_epochs_before)

    def everything():
        objects = (model, optimizer, ema, scheduler, stopping, trainer)
        states = [copy.deepcopy(one.state_dict()) for one in objects]
        return [states, plain(trainer.state), plain(evaluator.state), list(losses), num_seen, random_state(),
                [module.training for module in model.modules()]]  # fmt: skip

    before, description = everything(), str(trainer.describe())
    report = trainer.dry_run(loader)
    assert first_difference(everything(), before, "everything") is None
    assert str(trainer.describe()) == description
    counts = {(row.engine, row.event, row.handler.split(".")[-1]): row.calls for row in report}
    assert counts["trainer", "step", "TrainingStep"] == 2
    assert counts["evaluator", "EPOCH_COMPLETED", "completed"] == 1


def test_a_run_after_it_is_the_run_without_it():
    results = []
    for is_tried in (False, True):
        loader, model, optimizer, trainer, evaluator = program()
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, functools.partial(validate, evaluator, loader)
        )
        if is_tried:
            trainer.dry_run(loader)
        trainer.run(loader, max_epochs=2)
        results.append(
            [dict(model.state_dict()), optimizer.state_dict(), plain(trainer.state)["metrics"]]
        )
    assert first_difference(*results) is None


class Own(EventEnum):
    PASSED = "passed"
    NEVER = "never"


def test_each_handler_is_called_whatever_its_filter():
    called = []

    def step(engine, batch):
        engine.fire_event(Own.PASSED)

    trainer = Engine(step)
    trainer.register_events(*Own)
    events = [
        Events.STARTED(event_filter=lambda engine, count: False), Events.EPOCH_STARTED(every=3),
        Events.GET_BATCH_STARTED(once=50), Events.GET_BATCH_COMPLETED(after=9), Events.ITERATION_STARTED(every=100),
        Events.ITERATION_COMPLETED(before=2), Events.ITERATION_COMPLETED(every=1000), Own.PASSED(every=7),
        Events.EPOCH_COMPLETED(every=10), Events.COMPLETED(once=4), Events.COMPLETED, Own.NEVER,
        Events.EXCEPTION_RAISED, Events.TERMINATE, Events.INTERRUPT,
    ]  # fmt: skip
    for number, event in enumerate(events):
        trainer.add_event_handler(event, lambda *args, number=number: called.append(number))
    report = trainer.dry_run(range(100_000))
    assert called == []  # put back
    never = {"NEVER", "EXCEPTION_RAISED", "TERMINATE", "INTERRUPT"}
    assert {row.event for row in report.not_called} == never
    handlers = [row for row in report if row.event != "step"]
    assert [row.calls for row in handlers] == [1] * len(handlers)
    assert len(handlers) == len(events) - len(never)
    assert str(report).startswith(f"Dry run of 2 batches: {len(report)} called, 4 not")
    trainer.run(range(10))
    assert called == [5, 7, 9, 10] or called.count(10) == 1  # filters count as before


def test_handlers_of_iterations_come_before_the_end_of_the_epoch():
    order = []
    trainer = Engine(lambda engine, batch: None)

    def record(name):
        def handler(engine):
            trainer.logger.info(name)
            names.append((name, engine.last_event_name, engine.state.iteration))

        return handler

    names = _Unseen()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, record("end"))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=100), record("log"))
    trainer.dry_run([0, 1, 2, 3], batches=3)
    order = names.kept
    assert order == [("log", Events.ITERATION_COMPLETED, 3), ("end", Events.EPOCH_COMPLETED, 3)]


class _Unseen:
    """Keeps what it is given where a dry run does not put it back: at the class."""

    kept: list = []  # noqa: RUF012

    def append(self, one):
        type(self).kept.append(one)


def test_all_faults_are_found_at_once():
    loader, model, optimizer, trainer, evaluator = program()
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics["f1"])

    @trainer.on(Events.EPOCH_COMPLETED(every=5))
    def validate():
        evaluator.run(DataLoader(TensorDataset(torch.zeros(8, 3), torch.zeros(8).long())))

    @trainer.on(Events.ITERATION_COMPLETED(every=500))
    def log(engine):
        engine.state.output.item_()

    @trainer.on(Events.COMPLETED)
    def save():
        raise OSError("no space left")

    before = [
        copy.deepcopy(model.state_dict()),
        copy.deepcopy(optimizer.state_dict()),
        random_state(),
    ]
    with pytest.raises(
        DryRunError, match=r"log of ITERATION_COMPLETED: AttributeError.*step of evaluator: Runtime"
    ) as info:
        trainer.dry_run(loader)
    kinds = [type(error) for error in info.value.exceptions]
    assert kinds == [AttributeError, RuntimeError, OSError]
    assert "no space left" in str(info.value)
    assert all(
        any("dry run" in note for note in error.__notes__) for error in info.value.exceptions
    )
    assert any(row.handler.endswith("save") for row in info.value.report)
    found = [model.state_dict(), optimizer.state_dict(), random_state()]
    assert first_difference(found, before, "everything") is None
    assert info.value.split(OSError)[0].report is info.value.report


def test_a_fault_in_the_step_is_found_also_where_a_handler_takes_it_over():
    def step(engine, batch):
        raise KeyError("x")

    trainer = Engine(step)
    with pytest.raises(DryRunError, match="the step of trainer: KeyError"):
        trainer.dry_run([1])
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
    with pytest.raises(DryRunError, match="KeyError"):
        trainer.dry_run([1])
    assert not trainer._is_running
    assert trainer._watcher is None
    assert trainer._meters == ()


def test_a_fault_in_the_data_is_named():
    class Broken:
        def __iter__(self):
            yield 1
            raise OSError("gone")

    with pytest.raises(DryRunError, match="the data of trainer: OSError: gone") as info:
        Engine(lambda engine, batch: None).dry_run(Broken())
    assert len(info.value.exceptions) == 1


def test_evaluators_see_a_few_batches_only():
    class Counted(list):
        taken = 0

        def __iter__(self):
            for one in super().__iter__():
                Counted.taken += 1
                yield one

    evaluator = Engine(lambda engine, batch: batch)
    trainer = Engine(lambda engine, batch: batch)
    valid = Counted(range(10_000))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid))
    trainer.add_event_handler(Events.STARTED, lambda: evaluator.run(i for i in range(9)))
    trainer.dry_run(valid, batches=3)
    assert Counted.taken <= 2 * 4  # one more may be asked for to see the end
    trainer.run([0], max_epochs=1)
    assert Counted.taken > 10_000


def test_data_of_unknown_length_and_no_data():
    seen = _Unseen()
    trainer = Engine(lambda engine, batch: seen.append(batch))
    type(seen).kept = []

    class Stream:
        def __iter__(self):
            return iter([1, 2, 3])

    trainer.dry_run(Stream())
    trainer.dry_run(batches=3)
    assert type(seen).kept == [1, 2, None, None, None]
    type(seen).kept = []


def test_handlers_that_come_and_go_during_the_run_leave_no_trace():
    trainer = Engine(lambda engine, batch: None)

    def other():
        pass

    def first():
        trainer.remove_event_handler(first, Events.STARTED)
        trainer.add_event_handler(Events.COMPLETED, other)

    trainer.add_event_handler(Events.STARTED, first)
    trainer.dry_run([1])
    assert trainer.has_event_handler(first, Events.STARTED)
    assert not trainer.has_event_handler(other)


def test_ctrl_c_puts_everything_back_too():
    model = nn.Linear(1, 1)
    trainer = Engine(lambda engine, batch: nn.init.zeros_(model.weight))
    before = model.weight.item()

    def stop():
        raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.dry_run([1])
    assert model.weight.item() == before
    assert not trainer._is_running


@pytest.mark.parametrize("batches", [0, -1, 1.5, "2"])
def test_bad_numbers_of_batches(batches):
    with pytest.raises(ValueError, match="batches should be a positive integer"):
        Engine(lambda engine, batch: None).dry_run([1], batches)


def test_an_iterator_would_lose_its_batches():
    data = iter([1, 2, 3])
    with pytest.raises(ValueError, match="given an iterator"):
        Engine(lambda engine, batch: None).dry_run(data)
    assert list(data) == [1, 2, 3]


def test_not_within_a_run():
    trainer = Engine(lambda engine, batch: engine.dry_run([1]))
    with pytest.raises(RuntimeError, match="not running"):
        trainer.run([1])


class Meter:
    """As scripts have them: neither a handler nor with a state."""

    def __init__(self):
        self.total, self.values = 0, []

    def update(self, value):
        self.total += value
        self.values.append(value)


METER = Meter()


def test_generators_of_data_and_what_handlers_use_are_unchanged():
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        TensorDataset(torch.arange(10)), batch_size=2, shuffle=True, generator=generator
    )
    valid = DataLoader(
        TensorDataset(torch.arange(10)), shuffle=True, generator=torch.Generator().manual_seed(1)
    )
    evaluator = Engine(lambda engine, batch: None)
    trainer, before = Engine(lambda engine, batch: METER.update(1)), generator.get_state()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid))
    trainer.dry_run(loader)
    assert (generator.get_state() == before).all()
    assert (valid.generator.get_state() == torch.Generator().manual_seed(1).get_state()).all()
    assert (METER.total, METER.values) == (0, [])


def test_engines_that_cannot_be_found_in_advance_are_not_watched_later():
    hidden = Engine(lambda engine, batch: None)
    box = itertools.cycle([hidden])  # an object of a library
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: next(box).run([1, 2, 3]))
    report = trainer.dry_run([1])
    assert [row.calls for row in report if row.engine == "engine 1"] == [2]
    assert hidden._watcher is None
    assert hidden._meters == ()
