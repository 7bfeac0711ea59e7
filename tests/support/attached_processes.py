"""Runs over several processes, of which only some have a handler; see test_attached.py."""

import logging
import math
from pathlib import Path

import torch
from torch import nn

from ignite import distributed as idist
from ignite.contrib.engines import common
from ignite.engine import Engine, Events
from ignite.handlers import (
    BasicTimeProfiler,
    BatchSizeScheduler,
    Checkpoint,
    ConcatScheduler,
    CosineAnnealingScheduler,
    CSVLogger,
    Deadline,
    DiskSaver,
    EarlyStopping,
    EMAHandler,
    EpochOutputStore,
    ExpStateScheduler,
    FastaiLRFinder,
    FBResearchLogger,
    HandlersTimeProfiler,
    JSONLLogger,
    LambdaStateScheduler,
    LinearCyclicalScheduler,
    LiveControl,
    LiveProgress,
    LRScheduler,
    ModelCheckpoint,
    MultiStepStateScheduler,
    NoImprovementHandler,
    ParamGroupScheduler,
    PiecewiseLinear,
    PiecewiseLinearStateScheduler,
    Preemption,
    ProgressBar,
    ReduceLROnPlateauScheduler,
    RunProfiler,
    SpikeGuard,
    StepStateScheduler,
    SWAHandler,
    TensorboardLogger,
    TerminateOnNan,
    TimeLimit,
    Timer,
    TorchProfiler,
    TrackerLogger,
    create_lr_scheduler_with_warmup,
    global_step_from_engine,
)
from ignite.metrics import Average

NUM_EPOCHS, EPOCH_LENGTH = 2, 3
CASES = {}


class Program:
    """A training whose processes wait for each other in each step, as under DDP, and a validation after each epoch."""

    def __init__(self, folder):
        torch.manual_seed(0)
        self.folder = folder
        self.model = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.5)
        self.trainer, self.evaluator = (
            Engine(self.step),
            Engine(lambda engine, batch: float(batch.sum())),
        )
        Average().attach(self.evaluator, "score")
        Average().attach(self.trainer, "loss")
        self.batches = [torch.full((2, 2), float(i)) for i in range(EPOCH_LENGTH)]

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        loss = self.model(batch).square().mean()
        loss.backward()
        for parameter in self.model.parameters():
            torch.distributed.all_reduce(parameter.grad)
        self.optimizer.step()
        return loss.item()

    def validate(self):
        self.evaluator.run(self.batches)

    def run(self):
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.validate)
        self.trainer.run(self.batches, max_epochs=NUM_EPOCHS)
        return (
            self.trainer.state.epoch,
            self.trainer.state.iteration,
            self.evaluator.state.metrics["score"],
        )


def case(attach):
    CASES[attach.__name__] = attach
    return attach


def score(engine):
    return engine.state.metrics["score"]


def on(program, event, handler, *args):
    program.trainer.add_event_handler(event, handler, *args)


@case
def checkpoint(program):
    on(
        program,
        Events.EPOCH_COMPLETED,
        Checkpoint({"model": program.model}, str(program.folder), n_saved=1),
    )


@case
def checkpoint_with_score(program):
    handler = Checkpoint(
        {"model": program.model}, str(program.folder), score_function=score, score_name="score"
    )
    program.evaluator.add_event_handler(Events.COMPLETED, handler)


@case
def checkpoint_in_background(program):
    saver = DiskSaver(program.folder, background=True, require_empty="resume")
    handler = Checkpoint(
        {"model": program.model, "trainer": program.trainer}, saver, include_self=True
    )
    on(program, Events.ITERATION_COMPLETED, handler)
    on(program, Events.COMPLETED, handler.wait)


@case
def model_checkpoint(program):
    on(
        program,
        Events.EPOCH_COMPLETED,
        ModelCheckpoint(program.folder, "run"),
        {"model": program.model},
    )


@case
def model_checkpoint_with_score(program):
    handler = ModelCheckpoint(
        program.folder, "best", score_function=score, n_saved=2, require_empty="resume"
    )
    program.evaluator.add_event_handler(Events.COMPLETED, handler, {"model": program.model})


@case
def best_model_by_val_score(program):
    common.save_best_model_by_val_score(
        str(program.folder), program.evaluator, program.model, "score", trainer=program.trainer
    )


@case
def early_stopping_by_val_score(program):
    common.add_early_stopping_by_val_score(5, program.evaluator, program.trainer, "score")


@case
def common_training_handlers(program):
    common.setup_common_training_handlers(
        program.trainer, to_save={"model": program.model}, output_path=str(program.folder), save_every_iters=2,
        lr_scheduler=torch.optim.lr_scheduler.StepLR(program.optimizer, 100), log_every_iters=1, with_pbars=False,
    )  # fmt: skip


@case
def tb_logging(program):
    logger = common.setup_tb_logging(
        str(program.folder), program.trainer, program.optimizer, {"valid": program.evaluator}
    )
    on(program, Events.COMPLETED, logger.close)


@case
def terminate_on_nan(program):
    on(program, Events.ITERATION_COMPLETED, TerminateOnNan())


@case
def time_limit(program):
    on(program, Events.ITERATION_COMPLETED, TimeLimit(3600))
    on(program, Events.EPOCH_COMPLETED, TimeLimit(3600))


@case
def stops_of_an_evaluator(program):
    program.evaluator.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    program.evaluator.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(3600))


@case
def early_stopping(program):
    EarlyStopping(5, score, program.trainer).attach(program.evaluator)


@case
def no_improvement(program):
    program.evaluator.add_event_handler(
        Events.COMPLETED, NoImprovementHandler(1, score, lambda engine: None)
    )


@case
def ema(program):
    handler = EMAHandler(program.model, momentum=0.1)
    handler.attach(program.trainer)
    handler.swap_for(program.evaluator)


@case
def swa(program):
    SWAHandler(program.model).attach(program.trainer)


@case
def schedulers(program):
    optimizer = program.optimizer
    on(program, Events.ITERATION_STARTED, LinearCyclicalScheduler(optimizer, "lr", 0.1, 0.01, 4))
    on(
        program,
        Events.ITERATION_STARTED,
        CosineAnnealingScheduler(optimizer, "momentum", 0.1, 0.01, 4),
    )
    on(program, Events.ITERATION_STARTED, PiecewiseLinear(optimizer, "lr", [(0, 0.1), (3, 0.01)]))
    two = [LinearCyclicalScheduler(optimizer, "lr", 0.1, 0.01, 4) for _ in range(2)]
    on(program, Events.ITERATION_STARTED, ConcatScheduler(two, [3]))
    on(
        program,
        Events.ITERATION_STARTED,
        LRScheduler(torch.optim.lr_scheduler.StepLR(optimizer, 2)),
    )
    warm = create_lr_scheduler_with_warmup(
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), 0.0, 2
    )
    on(program, Events.ITERATION_STARTED, warm)
    group = ParamGroupScheduler(
        [LinearCyclicalScheduler(optimizer, "lr", 0.1, 0.01, 4, param_group_index=0)]
    )
    on(program, Events.ITERATION_STARTED, group)


@case
def plateau(program):
    handler = ReduceLROnPlateauScheduler(program.optimizer, "score", program.trainer, patience=0)
    program.evaluator.add_event_handler(Events.COMPLETED, handler)


@case
def batch_size(program):
    loader = torch.utils.data.DataLoader(torch.zeros(6, 2), batch_size=2)
    on(program, Events.EPOCH_STARTED, BatchSizeScheduler(loader, lambda event: 2))


@case
def state_schedulers(program):
    for handler in (
        ExpStateScheduler(1.0, 0.9, "a", create_new=True),
        LambdaStateScheduler(lambda event: event, "b", create_new=True),
        MultiStepStateScheduler(1.0, 0.9, [2, 4], "c", create_new=True),
        PiecewiseLinearStateScheduler([(1, 1.0), (5, 0.0)], "d", create_new=True),
        StepStateScheduler(1.0, 0.9, 2, "e", create_new=True),
    ):
        handler.attach(program.trainer, Events.ITERATION_COMPLETED)


@case
def profilers(program):
    for profiler in (BasicTimeProfiler(), HandlersTimeProfiler(), RunProfiler()):
        profiler.attach(program.trainer)


@case
def torch_profiler(program):
    TorchProfiler(program.folder, wait=1, warmup=0, active=1, repeat=1).attach(program.trainer)


@case
def bars(program):
    ProgressBar(file=(program.folder / "bar.txt").open("w")).attach(program.trainer, ["loss"])
    LiveProgress().attach(program.trainer)


@case
def file_loggers(program):
    for logger in (
        CSVLogger(program.folder / "log.csv"),
        JSONLLogger(program.folder / "log.jsonl"),
    ):
        log(program, logger)


@case
def tensorboard(program):
    log(program, TensorboardLogger(str(program.folder)))


class Tracker:
    def scalars(self, values, step):
        pass

    def histogram(self, name, values, step):
        pass

    def close(self):
        pass


@case
def own_tracker(program):
    log(program, TrackerLogger(Tracker()))


@case
def fbresearch_logger(program):
    FBResearchLogger(logging.getLogger("train")).attach(
        program.trainer, "train", every=1, optimizer=program.optimizer
    )


@case
def stores_and_timers(program):
    EpochOutputStore().attach(program.trainer, "outputs")
    Timer(average=True).attach(program.trainer, step=Events.ITERATION_COMPLETED)


def log(program, logger):
    logger.attach_output_handler(
        program.trainer, Events.ITERATION_COMPLETED, tag="train", metric_names="all"
    )
    logger.attach_output_handler(
        program.evaluator, Events.COMPLETED, tag="valid", metric_names=["score"],
        global_step_transform=global_step_from_engine(program.trainer),
    )  # fmt: skip
    logger.attach_opt_params_handler(
        program.trainer, Events.ITERATION_STARTED, optimizer=program.optimizer
    )
    on(program, Events.COMPLETED, logger.close)


def all_cases(rank, names, folder):
    """What each run has come to: with the handler on the first process only, on the last, and on all."""
    found = {}
    for name in names:
        for where, ranks in {
            "first": [0], "last": [idist.get_world_size() - 1], "all": range(idist.get_world_size()),
        }.items():  # fmt: skip
            program = Program(Path(folder, name, where, str(rank)))
            program.folder.mkdir(parents=True)
            if rank in ranks:
                CASES[name](program)
            found[name, where] = program.run()
    return found


def lr_finder(rank, where):
    program = Program(Path("."))
    program.trainer = Engine(program.step)  # without a metric: a test ends within its last epoch
    if rank not in where:
        return program.trainer.run(program.batches, max_epochs=NUM_EPOCHS).iteration
    finder = FastaiLRFinder()
    kept = {"model": program.model, "optimizer": program.optimizer}
    with finder.attach(program.trainer, kept, end_lr=0.02, diverge_th=1e9) as training:
        training.run(program.batches, max_epochs=NUM_EPOCHS)
    return len(finder.get_results()["lr"])


def lr_finders(rank):
    return {
        where: lr_finder(rank, ranks)
        for where, ranks in (("first", [0]), ("last", [1]), ("all", [0, 1]))
    }


def stop_of_one(rank, make, where, at=2):
    """Processes that do not wait for each other in the step; the output of the last one is NaN in iteration ``at``."""
    is_last = rank == idist.get_world_size() - 1
    engine = Engine(lambda engine, batch: math.nan if is_last and batch == at else 1.0)
    if rank in where:
        engine.add_event_handler(Events.ITERATION_COMPLETED, make())
    return engine.run(range(1, 6)).iteration


def stops(rank):
    world = range(idist.get_world_size())
    return {
        "all": stop_of_one(rank, TerminateOnNan, world),
        "first": stop_of_one(rank, TerminateOnNan, [0]),
        "last": stop_of_one(rank, TerminateOnNan, [world[-1]]),
        "in two epochs": two_epochs_of_different_lengths(rank),
        "failed": one_fails(rank),
        "evaluator of the first": evaluator_of_the_first(rank),
        "scores of their own": scores_of_their_own(rank),
    }


def scores_of_their_own(rank):
    """The score of the first process gets better, that of the others worse."""
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    sign = 1 if rank == 0 else -1
    EarlyStopping(2, lambda engine: sign * trainer.state.epoch, trainer).attach(evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    return trainer.run([0], max_epochs=8).epoch


def two_epochs_of_different_lengths(rank):
    """With a metric, which waits for all processes at the end of each epoch."""
    engine = Engine(
        lambda engine, batch: math.nan if (rank, engine.state.iteration) == (0, 6) else 1.0
    )
    Average().attach(engine, "mean")
    for event in (Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED):
        engine.add_event_handler(event, TerminateOnNan())
        engine.add_event_handler(event, TimeLimit(3600))
    engine.run(range(3 + rank), max_epochs=2)
    return engine.state.epoch, engine.state.iteration


def one_fails(rank):
    """The first process leaves its run in the second iteration: nobody waits for it."""

    def step(engine, batch):
        if (rank, batch) == (0, 2):
            raise ZeroDivisionError
        return 1.0

    engine = Engine(step)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    try:
        engine.run(range(1, 6), max_epochs=2)
    except ZeroDivisionError:
        return "failed"
    return engine.state.iteration


def evaluator_of_the_first(rank):
    """Run in one process only, twice: it is waited for once at most."""
    trainer, evaluator = (
        Engine(lambda engine, batch: 1.0),
        Engine(lambda engine, batch: float("nan")),
    )
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    if rank == 0:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([1, 2]))
    trainer.run([1], max_epochs=2)
    return trainer.state.epoch, evaluator.state.iteration


NEEDED_BY_ALL = {
    "Checkpoint.of": lambda trainer, folder: Checkpoint.of(trainer, folder),
    "Deadline": lambda trainer, folder: Deadline(after=3600).attach(trainer),
    "LiveControl": lambda trainer, folder: LiveControl(folder).attach(trainer),
    "Preemption": lambda trainer, folder: Preemption().attach(trainer),
    "SpikeGuard": lambda trainer, folder: SpikeGuard(policy="raise").attach(trainer),
}


def needs(rank, folder):
    """What the first process, which has it alone, and the others are told; then all have it."""
    found = {}
    for name, attach in NEEDED_BY_ALL.items():
        for where, ranks in (("first", [0]), ("all", range(idist.get_world_size()))):
            trainer = Engine(lambda engine, batch: 1.0)
            if rank in ranks:
                attach(trainer, f"{folder}/{name}")
            try:
                found[name, where] = trainer.run([1, 2]).iteration
            except RuntimeError as error:
                found[name, where] = str(error).partition(" (")[0]
    return found
