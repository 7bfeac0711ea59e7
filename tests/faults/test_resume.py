"""A run that is stopped anywhere and resumed equals one that was never stopped."""

import itertools
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ignite.data import seeded
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint, EarlyStopping
from ignite.metrics import Average, RunningAverage
from ignite.metrics.metric import RunningBatchWise
from ignite.testing import Resumption, Run, assert_resume_is_exact
from support import training
from support.runs import Seen, row, rows_of
from support.training import EPOCH_LENGTH, Plan, make_training

NUM_ITERATIONS = 3 * EPOCH_LENGTH


def make_run(folder, plan, loader=None):
    train = make_training(folder, plan)
    return Run(train.trainer, loader or train.loader, train.objects, max_epochs=plan.max_epochs)


def spread(count, last):
    """That many numbers from 1 to ``last``, both among them."""
    return sorted({1 + round(i * (last - 1) / max(1, count - 1)) for i in range(count)})


def outcome(make, points, **options):
    """How many of the points a run can be stopped at and resumed."""
    texts, points = [], list(points)
    try:
        assert_resume_is_exact(make, at=points, **options)
        return Seen(len(points), len(points))
    except AssertionError:
        for point in points:
            try:
                assert_resume_is_exact(make, at=[point], **options)
            except AssertionError as error:
                texts.append(f"at {point}: {error}")
    return Seen(len(points) - len(texts), len(points), "; ".join(texts[:2]))


@row(49, "stopped at every iteration of a run of 3 epochs", small=4, full=NUM_ITERATIONS)
def stopped_at_every_iteration(count, folder):
    return outcome(partial(make_run, plan=Plan(save_every=1)), spread(count, NUM_ITERATIONS))


@row(49, "the same, with a checkpoint every 5 iterations", small=2, full=30)
def stopped_between_checkpoints(count, folder):
    points = [point + 5 for point in spread(count, NUM_ITERATIONS - 5)]
    return outcome(partial(make_run, plan=Plan(save_every=5)), points)


WORKERS = [
    {"num_workers": number, "persistent_workers": persistent, "prefetch_factor": factor}
    for number, persistent, factor in itertools.product((1, 2), (False, True), (2, 4))
]


@row(50, "workers x persistent x prefetch x interrupt, changed on resume", small=2, full=32)
def loaders_with_workers(count, folder):
    cells = list(itertools.product(range(len(WORKERS)), (0, 1, 10, EPOCH_LENGTH)))
    chosen = cells if count >= len(cells) else random.Random(0).sample(cells[1:], count)
    texts = []
    for number, point in chosen:
        # The reference without workers, then one kind of workers until it stops, and another kind afterwards.
        kinds = iter([{}, WORKERS[number], WORKERS[-1 - number]])

        def make(folder, kinds=kinds, point=point):
            options = next(kinds)
            loader = DataLoader(
                seeded(training.Augmented(), seed=5), batch_size=8, shuffle=True, **options
            )
            return make_run(folder, Plan(save_every=max(1, point), max_epochs=2), loader)

        try:
            # A run that is stopped before its first iteration has nothing to be resumed from, and begins anew.
            (resumption,) = resume_even_from_nothing(make, point)
            if resumption.resumed_at != point:
                texts.append(
                    f"{WORKERS[number]}: stopped at {point}, resumed at {resumption.resumed_at}"
                )
        except AssertionError as error:
            texts.append(f"{WORKERS[number]} at {point}: {error}")
    return Seen(len(chosen) - len(texts), len(chosen), "; ".join(texts[:2]))


def resume_even_from_nothing(make, point):
    try:
        return assert_resume_is_exact(make, at=[point])
    except AssertionError as error:
        if point == 0 and "No run was resumed" in str(error):
            return [Resumption(0, 0)]
        raise


def make_part(folder, part):
    """A small run with one thing that has a state."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    options, objects = {}, {"model": model, "optimizer": optimizer}
    if part == "accumulation":
        options["gradient_accumulation_steps"] = 5
    if part == "scaler":
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=3)
        options |= {"amp_mode": "amp", "amp_dtype": "float16", "scaler": scaler}
        objects["scaler"] = scaler
    trainer = create_supervised_trainer(
        model, optimizer, torch.nn.functional.cross_entropy,
        prepare_batch=lambda batch, device, non_blocking: batch[:2], **options,
    )  # fmt: skip
    if part in SCHEDULES:
        scheduler = objects[part] = SCHEDULES[part](optimizer)
        takes_score = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: scheduler.step(engine.state.output) if takes_score else scheduler.step(),
        )
    elif part in PARTS:
        PARTS[part](trainer, objects)
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED(every=4))
    loader = DataLoader(seeded(training.Augmented(), seed=5), batch_size=8, shuffle=True)
    return Run(trainer, loader, objects, max_epochs=2)


def add_average(trainer, objects):
    ema = objects["ema"] = AveragedModel(objects["model"], multi_avg_fn=get_ema_multi_avg_fn(0.9))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: ema.update_parameters(objects["model"])
    )


def add_early_stopping(trainer, objects):
    evaluator = objects["evaluator"] = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.COMPLETED, EarlyStopping(4, lambda engine: -trainer.state.output, trainer)
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: evaluator.run([0]))


def add_metrics(trainer, objects):
    Average().attach(trainer, "mean")
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "running")
    RunningAverage(Average()).attach(trainer, "running_mean", RunningBatchWise())


PARTS = {"ema": add_average, "early stopping": add_early_stopping, "metrics": add_metrics}
SCHEDULES = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 4),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 15),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
    "warm-up": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=7),
            lr_scheduler.ExponentialLR(optimizer, 0.9),
        ],
        [7],
    ),
}
NAMES = ("accumulation", "scaler", *PARTS, *SCHEDULES)


@row(51, "each thing that has a state, alone; windows cut", small=len(NAMES), full=len(NAMES) * 18)
def each_part(count, folder):
    num_points = max(1, count // len(NAMES))
    points = [point + 4 for point in spread(num_points + 1, 19)[1:]]
    seen = [(name, outcome(partial(make_part, part=name), points)) for name in NAMES]
    text = "; ".join(f"{name} {each.text}" for name, each in seen if each.text)
    return Seen(sum(each.passed for _, each in seen), sum(each.total for _, each in seen), text)


@row(51, "all of them together, in float16 with a scaler", small=2, full=NUM_ITERATIONS)
def all_parts(count, folder):
    plan = Plan(precision="float16", save_every=1)
    return outcome(partial(make_run, plan=plan), spread(count + 1, NUM_ITERATIONS)[1:])


@row(51, "mean over an epoch that was interrupted: 4.5, not 2.5", small=9, full=9)
def metric_of_an_interrupted_epoch(count, folder):
    def make(folder):
        trainer = Engine(lambda engine, batch: float(batch))
        Average().attach(trainer, "mean")
        Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)
        means = []
        trainer.add_event_handler(
            Events.COMPLETED, lambda engine: means.append(engine.state.metrics["mean"])
        )
        return Run(trainer, list(range(10)), {"means": means}, max_epochs=1)

    seen = outcome(make, range(1, count + 1))
    assert make_and_run(make, folder).objects["means"] == [4.5]
    return seen


def make_and_run(make, folder):
    run = make(folder)
    run.trainer.run(run.data, **run.arguments)
    return run


@row(52, "next 1000 draws of python, numpy and torch; safe to load", small=2, full=20)
def random_numbers(count, folder):
    def make(folder):
        draws = []
        trainer = Engine(
            lambda engine, batch: (
                random.random(),
                np.random.rand(),
                torch.rand(1),
                random.gauss(0, 1),
            )
        )

        @trainer.on(Events.COMPLETED)
        def draw(engine):
            numbers = [[random.random(), random.gauss(0, 1)] for _ in range(1000)]
            arrays = [np.random.rand(1000), np.random.standard_normal(1000)]
            draws.extend(
                [numbers, *map(torch.as_tensor, arrays), torch.rand(1000), torch.randn(1000)]
            )

        Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        return Run(trainer, list(range(7)), {"draws": draws}, max_epochs=3)

    seen = outcome(make, spread(count + 1, 20)[1:])
    make_and_run(make, folder)
    for path in folder.glob("*.pt"):
        torch.load(path, weights_only=True)
    return seen


# A scheduler's step before the first one of the optimizer, whose window is not full or whose gradients overflowed.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of")


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)


def test_a_part_that_is_not_saved_is_found():
    def make(folder):
        run = make_run(folder, replace(Plan(save_every=1), max_epochs=1))
        run.trainer.run_saver.given["ema"] = None
        return run

    seen = outcome(make, [5])
    assert seen.passed == 0
    assert "['ema']" in seen.text
