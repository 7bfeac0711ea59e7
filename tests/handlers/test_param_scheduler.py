"""All schedulers together: in runs that are stopped and resumed, in memory, in copies."""

import copy
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.handlers import param_scheduler as front
from ignite.handlers.param_scheduler import (
    ConcatScheduler,
    CosineAnnealingScheduler,
    LinearCyclicalScheduler,
    LRScheduler,
    ParamGroupScheduler,
    PiecewiseLinear,
    ReduceLROnPlateauScheduler,
    create_lr_scheduler_with_warmup,
)
from ignite.handlers.state_param_scheduler import ExpStateScheduler
from support.garbage import no_garbage_collection

MAKERS = {
    "linear": lambda o: LinearCyclicalScheduler(
        o, "lr", 0.1, 0.01, 5, cycle_mult=1.5, start_value_mult=0.8
    ),
    "cosine": lambda o: CosineAnnealingScheduler(o, "lr", 0.1, 0.01, 4, warmup_duration=2),
    "piecewise": lambda o: PiecewiseLinear(o, "lr", [(2, 0.1), (9, 0.01)]),
    "torch": lambda o: LRScheduler(schedules.ExponentialLR(o, 0.8)),
    "one cycle": lambda o: LRScheduler(schedules.OneCycleLR(o, 0.1, total_steps=12)),
    "sequential": lambda o: LRScheduler(
        schedules.SequentialLR(
            o, [schedules.ConstantLR(o, 0.1, 3), schedules.ExponentialLR(o, 0.8)], [4]
        )
    ),
    "warmup": lambda o: create_lr_scheduler_with_warmup(schedules.StepLR(o, 2, 0.5), 0.001, 4),
    "groups": lambda o: ParamGroupScheduler(
        [PiecewiseLinear(o, "lr", [(0, 0.1), (9, 0.01)], param_group_index=i) for i in range(2)]
    ),
    "concat": lambda o: ConcatScheduler(
        [PiecewiseLinear(o, "lr", [(0, 0.1)]), LRScheduler(schedules.ExponentialLR(o, 0.8))], [3]
    ),
}


class Killed(BaseException):
    """Nothing catches this."""


class Run:
    """A training of eleven iterations, in three epochs."""

    def __init__(self, make, folder=None):
        torch.manual_seed(3)
        body, head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.model = nn.Sequential(body, head)
        self.optimizer = torch.optim.SGD(
            [{"params": body.parameters()}, {"params": head.parameters(), "lr": 0.2}],
            lr=0.1,
            momentum=0.9,
        )
        self.trainer = create_supervised_trainer(self.model, self.optimizer, nn.CrossEntropyLoss())
        self.trainer.add_event_handler(Events.ITERATION_STARTED, make(self.optimizer))
        ExpStateScheduler(1.0, 0.5, "weight", create_new=True).attach(self.trainer)
        self.used = []
        self.trainer.add_event_handler(Events.ITERATION_STARTED, self.look)
        if folder is not None:
            event = Events.ITERATION_COMPLETED
            self.checkpoint = Checkpoint.of(self.trainer, folder, event=event, background=False)

    def look(self):
        groups = [(group["lr"], group["momentum"]) for group in self.optimizer.param_groups]
        self.used.append((groups, self.trainer.state.weight))

    def run(self, **options):
        generator = torch.Generator().manual_seed(5)
        data = [(torch.randn(4, generator=generator), i % 2) for i in range(7)]
        self.trainer.run(DataLoader(data, batch_size=2, shuffle=True), max_iters=11, **options)
        return self


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("killed_in", [1, 5, 8])
def test_a_run_that_was_killed_is_resumed_exactly(tmp_path, name, killed_in):
    whole = Run(MAKERS[name], tmp_path / "whole").run()

    first = Run(MAKERS[name], tmp_path / "cut")

    def kill():
        raise Killed

    first.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=killed_in + 1), kill, priority=1e9
    )
    with pytest.raises(Killed):
        first.run()
    second = Run(MAKERS[name], tmp_path / "cut").run(resume="latest")
    assert len(second.used) == 11 - killed_in
    assert first.used[:killed_in] + second.used == whole.used
    for key, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[key], value), key


def test_a_plateau_is_resumed_with_the_evaluators_handler(tmp_path):
    losses = [1.0, 0.5, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6]

    def make(num_epochs, **options):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        trainer, evaluator = (Engine(lambda engine, batch: None) for _ in range(2))
        seen = []

        def validate(engine):
            evaluator.run([0])
            seen.append(optimizer.param_groups[0]["lr"])

        @evaluator.on(Events.ITERATION_COMPLETED)
        def compute(engine):
            engine.state.metrics["loss"] = losses[trainer.state.epoch - 1]

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        scheduler = ReduceLROnPlateauScheduler(
            optimizer, "loss", trainer=trainer, factor=0.5, patience=1
        )
        scheduler.attach(evaluator, Events.COMPLETED)
        checkpoint = Checkpoint.of(trainer, tmp_path / "run", optimizer=optimizer, background=False)
        trainer.run([0], max_epochs=num_epochs, **options)
        return seen, checkpoint

    first, _ = make(3)
    second, _ = make(8, resume="latest")
    assert first + second == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("name", MAKERS)
def test_a_trainer_and_its_scheduler_go_without_the_garbage_collector(name):
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1)]} for _ in range(2)], lr=0.1, momentum=0.9
    )
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.ITERATION_STARTED, MAKERS[name](optimizer))
    trainer.run([0] * 3)
    gone = weakref.ref(trainer)
    with no_garbage_collection():
        del trainer
        assert gone() is None


@pytest.mark.parametrize("name", ["linear", "cosine", "piecewise", "groups"])
def test_a_copy_goes_its_own_way(name):
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(2)], lr=0.5)
    scheduler = MAKERS[name](optimizer)
    for twin in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        twin(None)
        twin(None)
        assert twin.state_dict() != scheduler.state_dict()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_attached_twice_it_counts_twice():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (10, 10.0)])
    trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"])
    scheduler.attach(trainer)
    scheduler.attach(trainer)
    assert trainer.run([0] * 3).output == 5.0


def test_the_front_has_all_schedulers():
    assert [name for name in front.__all__ if not hasattr(front, name)] == []
    assert all(
        issubclass(getattr(front, name), front.BaseParamScheduler)
        for name in front.__all__
        if is_class(name)
    )


def is_class(name):
    return name[0].isupper() and name != "ParamGroupScheduler"


@pytest.mark.parametrize("name", MAKERS)
def test_there_is_no_history_unless_asked_for(name):
    trainer = Engine(lambda engine, batch: None)
    scheduler = MAKERS[name](
        torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(2)], lr=0.1, momentum=0.9)
    )
    scheduler(trainer)
    assert scheduler.save_history is False
    assert not hasattr(trainer.state, "param_history")


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer, name: LinearCyclicalScheduler(optimizer, name, 1.0, 0.0, 4),
        lambda optimizer, name: CosineAnnealingScheduler(optimizer, name, 1.0, 0.0, 4),
        lambda optimizer, name: PiecewiseLinear(optimizer, name, [(0, 1.0), (2, 0.0)]),
        lambda optimizer, name: PiecewiseLinear(
            optimizer, name, [(0, 1.0), (2, 0.0)], param_group_index=0
        ),
    ],
    ids=["linear", "cosine", "piecewise", "piecewise of a group"],
)
def test_a_parameter_that_no_group_has_is_refused_and_a_group_stands_for_its_optimizer(make):
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=0.5
    )
    with pytest.raises(
        ValueError,
        match="param_name should be a key of the parameter groups .*lr.* given 'lrr'",
    ):
        make(optimizer, "lrr")
    assert all("lrr" not in group for group in optimizer.param_groups)
    make(optimizer, "momentum")(None)
    with pytest.warns(DeprecationWarning, match="Pass the optimizer and param_group_index") as said:
        scheduler = make(optimizer.param_groups[0], "lr")
    assert len(said) == 1
    scheduler(None)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]


@pytest.mark.filterwarnings("ignore:Passing a parameter group as optimizer:DeprecationWarning")
def test_schedulers_of_one_group_follow_each_other_and_those_of_two_do_not():
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=0.5
    )
    first, second = optimizer.param_groups
    falling, rising, other = (
        PiecewiseLinear(group, "lr", [(0, start), (2, end)])
        for group, start, end in ((first, 2.0, 0.0), (first, 0.0, 2.0), (second, 0.0, 2.0))
    )
    both = ConcatScheduler([falling, rising], [2])
    seen = []
    for _ in range(4):
        both(None)
        seen.append(first["lr"])
    assert seen == [2.0, 1.0, 0.0, 1.0]
    assert second["lr"] == 0.5
    with pytest.raises(ValueError, match="related to same optimizer"):
        ConcatScheduler([falling, other], [2])
