"""Objects with a state, run with the library imported as ``ignite``: first half, save, second half.

A case takes None, or a saved state to begin the second half from, and returns the state after the first half
and what the second half gives.
"""

import copy
import importlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from conformance.stateful_metrics import CASES as METRICS
from conformance.stateful_metrics import RUNNING, next_output
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.engine.deterministic import DeterministicEngine
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping, ModelCheckpoint
from ignite.handlers.checkpoint import BaseSaveHandler
from ignite.metrics import Loss

NUM_EVENTS = 4


def as_json(value):
    """Writes tensors as dictionaries; leaves out functions, which Ignite saves with a scheduler of torch."""
    if type(value).__module__ == "numpy" and not value.shape:  # a number
        return value.item()
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {
            f"int {key}" if isinstance(key, int) else key: as_json(item)
            for key, item in value.items()
            if not callable(item)
        }
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value):
    if isinstance(value, dict):
        if set(value) == {"tensor", "dtype"}:
            return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
        return OrderedDict((key_from_json(key), from_json(item)) for key, item in value.items())
    return [from_json(item) for item in value] if isinstance(value, list) else value


def key_from_json(key):
    """JSON has no keys that are numbers, as torch's MultiStepLR saves them."""
    return int(key.removeprefix("int ")) if key.startswith("int ") else key


def schedulers(name):
    for module in ("ignite.handlers.param_scheduler", "ignite.contrib.handlers.param_scheduler"):
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            pass
    raise AttributeError(f"there has no {name}")


def optimizer_with(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def halves(first, second, target, state):
    """Runs the first half on ``target`` and saves it, or loads ``state``, then runs the second half."""
    if not hasattr(type(target), "state_dict"):
        raise AttributeError(f"{type(target).__name__} has no state")
    if state is None:
        first()
        state = copy.deepcopy(target.state_dict())
    else:
        target.load_state_dict(state)
    return state, second()


def scheduler_case(make):
    def case(state):
        if state is not None:
            state = dict(state)
        optimizer = optimizer_with()
        scheduler, engine = make(optimizer), Engine(lambda engine, batch: None)
        if state is not None:  # programs load both
            optimizer.param_groups[0]["lr"] = state.pop("lr of the optimizer")
        engine.state.metrics["loss"] = 1.0

        def run():
            values = []
            for _ in range(NUM_EVENTS):
                scheduler(engine)
                values.append(optimizer.param_groups[0]["lr"])
            return values

        between = []

        def first():
            between.append(run()[-1])

        saved, rest = halves(first, run, scheduler, state)
        return {**saved, "lr of the optimizer": between[0] if between else None}, rest

    return case


def state_scheduler_case(name, *args):
    def case(state):
        module = importlib.import_module("ignite.handlers.state_param_scheduler")
        scheduler, engine = getattr(module, name)(*args, "p"), Engine(lambda engine, batch: None)
        scheduler.attach(engine, Events.ITERATION_COMPLETED)

        def run():
            values = []
            for _ in range(NUM_EVENTS):
                engine.fire_event(Events.ITERATION_COMPLETED)
                values.append(engine.state.p)
            return values

        return halves(run, run, scheduler, state)

    return case


def torch_scheduler(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)


def halved(index):
    return 0.5**index


def with_second_group(optimizer):
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.2})
    return optimizer


def warmup(scheduler, duration=3):
    return schedulers("create_lr_scheduler_with_warmup")(scheduler, 0.0, duration)


def linear(optimizer, **kwargs):
    return schedulers("LinearCyclicalScheduler")(optimizer, "lr", 1.0, 0.0, 4, **kwargs)


def cosine(optimizer, **kwargs):
    return schedulers("CosineAnnealingScheduler")(optimizer, "lr", 0.5, 2.0, 6, **kwargs)


def piecewise(optimizer):
    return schedulers("PiecewiseLinear")(optimizer, "lr", [(1, 1.0), (5, 0.5), (7, 0.0)])


SCHEDULERS = {
    "LinearCyclicalScheduler": lambda optimizer: linear(optimizer, cycle_mult=2),
    "CosineAnnealingScheduler": lambda optimizer: cosine(optimizer, start_value_mult=0.5),
    "PiecewiseLinear": piecewise,
    "ConcatScheduler": lambda optimizer: schedulers("ConcatScheduler")(
        [linear(optimizer), cosine(optimizer)], [6]
    ),
    "ParamGroupScheduler": lambda optimizer: schedulers("ParamGroupScheduler")(
        [linear(optimizer), cosine(optimizer_with())]
    ),
    "LRScheduler": lambda optimizer: schedulers("LRScheduler")(torch_scheduler(optimizer)),
    "LRScheduler, use_legacy": lambda optimizer: schedulers("LRScheduler")(
        torch_scheduler(optimizer), use_legacy=True
    ),
    "warmup": lambda optimizer: warmup(torch_scheduler(optimizer)),
    "warmup before a cosine": lambda optimizer: warmup(cosine(optimizer)),
    "warmup, not over yet": lambda optimizer: warmup(cosine(optimizer), 6),
    "warmup of two groups": lambda optimizer: warmup(torch_scheduler(with_second_group(optimizer))),
    "ConcatScheduler of three": lambda optimizer: schedulers("ConcatScheduler")(
        [linear(optimizer), piecewise(optimizer), cosine(optimizer)], [2, 3]
    ),
    "LinearCyclicalScheduler, warmup_duration": lambda optimizer: linear(
        optimizer, warmup_duration=2, monotonic=True
    ),
    "CosineAnnealingScheduler, save_history": lambda optimizer: cosine(
        optimizer, save_history=True
    ),
    **{
        f"LRScheduler, {name}": lambda optimizer, name=name, args=args: schedulers("LRScheduler")(
            getattr(torch.optim.lr_scheduler, name)(optimizer, *args)
        )
        for name, *args in (
            ("ExponentialLR", 0.5),
            ("CosineAnnealingLR", 6),
            ("MultiStepLR", [2, 5]),
            ("LambdaLR", halved),
            ("CyclicLR", 0.1, 1.0, 3),
            ("OneCycleLR", 1.0, 9),
        )
    },
    "ReduceLROnPlateauScheduler": lambda optimizer: schedulers("ReduceLROnPlateauScheduler")(
        optimizer, "loss", factor=0.5, patience=2
    ),
}


def early_stopping(state):
    engine = Engine(lambda engine, batch: batch)
    stopping = EarlyStopping(3, lambda engine: engine.state.output, engine)

    def first():
        for engine.state.output in (1.0, 2.0, 1.5):
            stopping(engine)

    def second():
        counters = []
        for engine.state.output in (1.9, 2.5, 2.5):
            stopping(engine)
            counters.append([stopping.counter, stopping.best_score])
        return counters

    return halves(first, second, stopping, state)


def checkpoint_file(state):
    """What a run has, in a file that Checkpoint has written."""
    model = torch.nn.Linear(2, 1)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    loss = Loss(torch.nn.functional.mse_loss)
    loss.reset()
    trainer = create_supervised_trainer(
        model,
        optimizer,
        torch.nn.functional.mse_loss,
        output_transform=lambda x, y, y_pred, loss: (y_pred, y),
    )
    scheduler = piecewise(optimizer)
    trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: loss.update(trainer.state.output))
    data = [
        (torch.tensor([[1.0, 2.0]]), torch.ones(1, 1)),
        (torch.tensor([[2.0, 0.5]]), torch.zeros(1, 1)),
    ]
    objects = {"trainer": trainer, "model": model, "optimizer": optimizer, "scheduler": scheduler}
    if hasattr(Loss, "load_state_dict") and (
        state is None or "loss" in state
    ):  # from Ignite 0.4.13 on
        objects["loss"] = loss
    if state is None:
        trainer.run(data, max_epochs=2)
        with TemporaryDirectory() as folder:
            handler = Checkpoint(objects, DiskSaver(folder, require_empty=False))
            handler(trainer)
            state = torch.load(Path(folder) / handler.last_checkpoint, weights_only=True)
    else:
        Checkpoint.load_objects(objects, state)
    trainer.run(data, max_epochs=3)
    weights = [value for parameter in model.parameters() for value in parameter.flatten().tolist()]
    return state, [*weights, trainer.state.iteration, loss.compute() if "loss" in objects else None]


def checkpoint(state):
    engine, written = Engine(lambda engine, batch: batch), []

    class Saver(BaseSaveHandler):
        def __call__(self, checkpoint, filename, metadata=None):
            written.append(filename)

        def remove(self, filename):
            written.append(f"removed {filename}")

    handler = Checkpoint({"model": torch.nn.Linear(1, 1)}, Saver(), n_saved=2)

    def save(*iterations):
        written.clear()
        for engine.state.iteration in iterations:
            handler(engine)
        return sorted(written)

    return halves(lambda: save(1, 2), lambda: save(3, 4), handler, state)


def model_checkpoint(state):
    engine = Engine(lambda engine, batch: batch)
    with TemporaryDirectory() as folder:
        handler = ModelCheckpoint(folder, "run", n_saved=2, require_empty=False)

        def save(*iterations):
            for engine.state.iteration in iterations:
                handler(engine, {"model": torch.nn.Linear(1, 1)})
            return sorted(path.name for path in Path(folder).iterdir())

        if state is not None:  # the files are there, too
            for name in ("run_model_1.pt", "run_model_2.pt"):
                (Path(folder) / name).touch()
        return halves(lambda: save(1, 2), lambda: save(3, 4), handler, state)


def ema(state):
    """The average is saved as a model, and the momentum with the engine, as Ignite's documentation has it."""
    engine, model = Engine(lambda engine, batch: batch), torch.nn.Linear(1, 1)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.0)
    from ignite.handlers import EMAHandler  # not in Ignite 0.4.2

    handler = EMAHandler(model, momentum=0.25, momentum_warmup=0.125, warmup_iters=6)
    handler.attach(engine, event=Events.ITERATION_COMPLETED)
    engine.state_dict_user_keys.append("ema_momentum")
    seen = []

    @engine.on(Events.ITERATION_STARTED)
    def step():
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, float(engine.state.iteration))

    @engine.on(Events.ITERATION_COMPLETED)
    def note():
        seen.append([float(handler.ema_model.weight), engine.state.ema_momentum])

    class Both:
        def state_dict(self):
            return {"average": handler.ema_model.state_dict(), "trainer": engine.state_dict()}

        def load_state_dict(self, state):
            handler.ema_model.load_state_dict(state["average"])
            engine.load_state_dict(state["trainer"])

    def second():
        seen.clear()
        engine.run([0] * 3, max_epochs=2)
        return seen

    return halves(lambda: engine.run([0] * 3, max_epochs=1), second, Both(), state)


def engine_with_user_keys():
    engine = Engine(lambda engine, batch: batch)
    engine.state_dict_user_keys.append("alpha")
    engine.state.alpha = 0.5
    return engine


def engine_case(make, **limits):
    """An engine that is stopped in its second epoch."""

    def case(state):
        engine, seen = make(), []
        stops = state is None

        @engine.on(Events.ITERATION_COMPLETED)
        def note():
            seen.append([engine.state.epoch, engine.state.iteration])
            if stops and engine.state.iteration == 4:
                engine.terminate()

        if not stops:
            engine.load_state_dict(state)
        engine.run([0] * 3, **({} if state else limits or {"max_epochs": 3}))
        if not stops:
            return state, seen
        saved = copy.deepcopy(engine.state_dict())
        return saved, case(saved)[1]

    return case


def metric_case(make, output):
    def case(state):
        metric = make()
        metric.reset()

        def second():
            metric.update(next_output(output))
            return metric.compute()

        return halves(lambda: metric.update(output), second, metric, state)

    return case


def running_case(make, output):
    def case(state):
        metric, engine = make(), Engine(lambda engine, batch: batch)
        metric.attach(engine, "average")

        def run(each):
            engine.state.output = each
            engine.fire_event(Events.ITERATION_COMPLETED)
            return engine.state.metrics["average"]

        return halves(lambda: run(output), lambda: run(next_output(output)), metric, state)

    return case


CASES = {
    **{name: scheduler_case(make) for name, make in SCHEDULERS.items()},
    "ExpStateScheduler": state_scheduler_case("ExpStateScheduler", 0.1, 0.9),
    "StepStateScheduler": state_scheduler_case("StepStateScheduler", 1.0, 0.5, 3),
    "MultiStepStateScheduler": state_scheduler_case("MultiStepStateScheduler", 1.0, 0.5, [2, 6]),
    "PiecewiseLinearStateScheduler": state_scheduler_case(
        "PiecewiseLinearStateScheduler", [(1, 1.0), (7, 0.0)]
    ),
    "EarlyStopping": early_stopping,
    "file of Checkpoint": checkpoint_file,
    "Checkpoint": checkpoint,
    "ModelCheckpoint": model_checkpoint,
    "EMAHandler": ema,
    "engine": engine_case(lambda: Engine(lambda engine, batch: batch)),
    "engine, user keys": engine_case(engine_with_user_keys),
    "engine, max_iters": engine_case(lambda: Engine(lambda engine, batch: batch), max_iters=5),
    "DeterministicEngine": engine_case(lambda: DeterministicEngine(lambda engine, batch: batch)),
    **{name: metric_case(make, output) for name, (make, output) in METRICS.items()},
    **{name: running_case(make, output) for name, (make, output) in RUNNING.items()},
}
