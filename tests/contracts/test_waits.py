"""Synchronizations with an accelerator, counted on a fake one; ``tests/gpu`` counts them on a real one."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ignite import Learner
from ignite.engine import (
    CountedLoss,
    Events,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.handlers import (
    BasicTimeProfiler,
    CosineAnnealingScheduler,
    EMAHandler,
    EpochOutputStore,
    HandlersTimeProfiler,
    SpikeGuard,
    SWAHandler,
    TerminateOnNan,
    Timer,
    trackers,
)
from ignite.metrics import Accuracy, Average, ConfusionMatrix, Loss, Max, RunningAverage, Sum
from ignite.utils import apply_to_tensor
from support.cases import OF_TENSORS, batch_of, close, cut, fed, value_of
from support.fake_accelerator import DEVICE, FakeAccelerator, pretend

ON_HOST = {
    "adapt": "calls a function of the user on arrays",
    "EpochMetric": "calls a function of the user, which reads",
}
ONCE_A_BATCH = {
    "SubgroupMetric of errors",
    "SubgroupDifference of errors",
    "SubgroupMetric of products",
}
"""Select the examples of each group, and have to know how many there are."""


@pytest.fixture
def accelerator(monkeypatch):
    pretend(monkeypatch)
    with FakeAccelerator() as found:
        yield found


def on_device(x, device):
    return apply_to_tensor(x, lambda tensor: tensor.to(device))


def waits_of(x):
    """What makes the host wait for the device of ``x``."""
    return {
        "item": lambda: x.sum().item(),
        "bool": lambda: bool(x.sum()),
        "float": lambda: float(x[0]),
        "tolist": x.tolist,
        "cpu": x.cpu,
        "to": lambda: x.to("cpu"),
        "copy_": lambda: torch.empty(4).copy_(x),
        "mask": lambda: x[x > 0],
        "nonzero": lambda: torch.nonzero(x),
        "bincount": lambda: (x > 0.5).long().bincount(minlength=2),
        "tensor": lambda: torch.tensor([1.0], device=x.device),
        "to device": lambda: torch.ones(2).to(x.device),
        "equal": lambda: torch.equal(x, x),
        "index by a tensor of one index": lambda: x[
            torch.zeros((), dtype=torch.long, device=x.device)
        ],
    }


def test_the_fake_device_records_synchronizations(accelerator):
    x = torch.rand(4).to(DEVICE)
    assert (x.device, x.is_cpu, (x * 2).device) == (DEVICE, False, DEVICE)
    unseen = {  # by the debug mode of CUDA
        "unique": lambda: x.unique(),
        "from paged memory": lambda: torch.ones(2).to(DEVICE, non_blocking=True),
    }
    for name, wait in {**waits_of(x), **unseen}.items():
        accelerator.waits.clear()
        wait()
        assert accelerator.waits, name
        assert "test_waits.py" in accelerator.waits[0]


def test_the_fake_device_computes_without_synchronization(accelerator):
    x, model = torch.rand(4, 3).to(DEVICE), nn.Linear(3, 2).to(DEVICE)
    pinned = torch.ones(4, 2).pin_memory()
    accelerator.waits.clear()
    target = pinned.to(DEVICE, non_blocking=True)
    loss = F.mse_loss(model(x), target)
    loss.backward()
    assert model.weight.grad.device == DEVICE
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    x[x < 0] = 0.0
    torch.zeros(3, device=DEVICE).scatter_add_(0, x.argmax(1), x[:, 0])
    host = torch.empty(4, 3, pin_memory=True).copy_(x, non_blocking=True)
    assert accelerator.waits == []
    assert torch.equal(host, x.cpu())
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(3)
    assert (x + torch.tensor(1.0)).device == DEVICE  # a single number may be on the host


def one_of_each_kind():
    """All metrics; what has the name of one before, with other arguments or examples, is slow."""
    known = set()
    for name, case in OF_TENSORS.items():
        kind = re.match(r"\w+", name)[0]
        yield pytest.param(case, id=name, marks=[pytest.mark.slow] if kind in known else [])
        known.add(kind)


@pytest.mark.parametrize("case", list(one_of_each_kind()))
def test_update_never_waits_and_values_are_those_of_the_host(case, accelerator):
    if case.name in ON_HOST:
        pytest.skip(ON_HOST[case.name])
    batches = cut(batch_of(case, 20), [9, 11])
    given = [on_device(batch, accelerator.device) for batch in batches]
    if "Subgroup" in case.name or "Parity" in case.name:
        case.make().update(given[0])  # the groups are copied once for each device
    metric = case.make()
    accelerator.waits.clear()
    for batch in given:
        metric.update(batch)
    if case.name not in ONCE_A_BATCH:
        assert accelerator.waits == []
    assert value_of(metric) == close(value_of(fed(case, batches)), accelerator.tolerance)


def pinned_batches(num_batches):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(8, 6, generator=generator).pin_memory(),
            torch.randint(3, (8,), generator=generator).pin_memory(),
        )
        for _ in range(num_batches)
    ]


def make_model():
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3)
    )


def counted_cross_entropy(y_pred, y):
    count = (y != 0).sum()
    total = F.cross_entropy(y_pred, y, ignore_index=0, reduction="sum")
    return CountedLoss(total / count.clamp(min=1), count)


def keep_loss(x, y, y_pred, loss):
    return loss.detach()


def make_trainer(device, optimizer=torch.optim.SGD, loss_fn=F.cross_entropy, **options):
    model = make_model().to(device)
    options = {"output_transform": keep_loss, "non_blocking": True} | options
    return create_supervised_trainer(
        model, optimizer(model.parameters(), lr=0.01), loss_fn, device=device, **options
    ), model


def waits_of_each_iteration(accelerator, trainer, data):
    """What is attached to the trainer is called between the two handlers of this function."""
    found = []
    trainer.add_event_handler(Events.GET_BATCH_STARTED, accelerator.waits.clear)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: found.append(list(accelerator.waits)), priority=-1000
    )
    trainer.run(data)
    assert len(found) == len(data)
    return found


def quiet(num):
    return [[]] * num


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": torch.optim.AdamW},
        {"clip_grad_norm": 1.0, "clip_grad_value": 0.5},
        {"gradient_accumulation_steps": 4},
        {"loss_fn": counted_cross_entropy, "gradient_accumulation_steps": 4},
    ],
    ids=["plain", "adamw", "clipped", "accumulated", "counted"],
)
def test_a_step_never_waits_if_its_output_stays_on_the_device(options, accelerator):
    trainer, _ = make_trainer(accelerator.device, **options)
    assert waits_of_each_iteration(accelerator, trainer, pinned_batches(6)) == quiet(6)


def test_ignites_default_output_waits_once_an_iteration(accelerator):
    """The loss as a number."""
    model = make_model().to(accelerator.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, device=accelerator.device, non_blocking=True
    )
    found = waits_of_each_iteration(accelerator, trainer, pinned_batches(3))
    assert [len(each) for each in found] == [1, 1, 1]


def test_batches_in_memory_that_can_be_paged_wait_for_each_copy(accelerator):
    trainer, _ = make_trainer(accelerator.device, non_blocking=False)
    data = [(x.clone(), y.clone()) for x, y in pinned_batches(2)]
    found = waits_of_each_iteration(accelerator, trainer, data)
    assert [len(each) for each in found] == [2, 2]


class Rows:
    """A tracker."""

    def __init__(self):
        self.rows = []

    def scalars(self, values, step):
        self.rows.append((step, values))

    def histogram(self, name, values, step):
        pass

    def close(self):
        pass


def attach_ema(trainer, model):
    EMAHandler(model, 0.01, momentum_warmup=0.1, warmup_iters=4).attach(trainer)


def attach_swa(trainer, model):
    SWAHandler(model).attach(trainer, Events.ITERATION_COMPLETED)


def attach_logger(trainer, model):
    logger = trackers.TrackerLogger(Rows())
    logger.attach_output_handler(
        trainer,
        Events.ITERATION_COMPLETED,
        tag="t",
        output_transform=lambda loss: {"loss": loss, "twice": [2 * loss, 3.0]},
    )


def attach_lr_logger(trainer, model):
    logger = trackers.TrackerLogger(Rows())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logger.attach_opt_params_handler(trainer, Events.ITERATION_COMPLETED, optimizer)


def attach_metrics(trainer, model):
    for name, metric in {"sum": Sum(), "mean": Average(), "best": Max()}.items():
        metric.attach(trainer, name)


def attach_timers(trainer, model):
    BasicTimeProfiler().attach(trainer)
    HandlersTimeProfiler().attach(trainer)
    Timer().attach(trainer, step=Events.ITERATION_COMPLETED)


def attach_schedule(trainer, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer.add_event_handler(
        Events.ITERATION_STARTED, CosineAnnealingScheduler(optimizer, "lr", 1.0, 0.1, 4)
    )


def attach_outputs(trainer, model):
    EpochOutputStore().attach(trainer, "losses")


QUIET = [
    attach_ema,
    attach_swa,
    attach_logger,
    attach_lr_logger,
    attach_metrics,
    attach_timers,
    attach_schedule,
    attach_outputs,
]


@pytest.mark.parametrize("attach", QUIET)
def test_handlers_never_wait_within_an_epoch(attach, accelerator):
    trainer, model = make_trainer(accelerator.device)
    attach(trainer, model)
    assert waits_of_each_iteration(accelerator, trainer, pinned_batches(6))[:-1] == quiet(5)


def attach_nan(trainer, model):
    trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())


def attach_running_average(trainer, model):
    """``state.metrics`` holds numbers."""
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")


@pytest.mark.parametrize("attach", [attach_nan, attach_running_average])
def test_handlers_that_need_a_number_wait_once_an_iteration(attach, accelerator):
    trainer, model = make_trainer(accelerator.device)
    attach(trainer, model)
    found = waits_of_each_iteration(accelerator, trainer, pinned_batches(4))
    assert [len(each) for each in found] == [1] * 4


def test_a_check_for_spikes_waits_when_it_is_due(accelerator):
    trainer, _ = make_trainer(accelerator.device)
    SpikeGuard().attach(trainer, check_every=3)
    found = waits_of_each_iteration(accelerator, trainer, pinned_batches(6))
    assert [bool(each) for each in found] == [False, False, True, False, False, True]
    assert max(map(len, found)) <= 2


def test_an_evaluation_waits_as_often_for_many_batches_as_for_few(accelerator):
    model = make_model().to(accelerator.device)
    metrics = {
        "accuracy": Accuracy(),
        "loss": Loss(F.cross_entropy),
        "confusion": ConfusionMatrix(3),
    }
    evaluator = create_supervised_evaluator(
        model, metrics, device=accelerator.device, non_blocking=True
    )
    counts = []
    for num in (2, 7):
        data = pinned_batches(num)
        accelerator.waits.clear()
        evaluator.run(data)
        counts.append(len(accelerator.waits))
    assert counts[0] == counts[1] <= 12, accelerator.waits


def test_a_training_by_the_learner_waits_as_often_for_many_steps_as_for_few(
    accelerator, monkeypatch
):
    """With arrays on the device; epochs read their losses and metrics at the end."""
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    data = (x.to(accelerator.device), (x[:, 0] > 0).long().to(accelerator.device))
    counts = []
    for batch_size in (32, 4):
        learner = Learner(
            make_model(), loss="cross_entropy", optimizer="sgd", lr=0.1, metrics=["accuracy"],
            device=accelerator.device,
        )  # fmt: skip
        learner.fit(data, epochs=1, batch_size=batch_size, progress=False)
        accelerator.waits.clear()
        learner.fit(data, valid=data, epochs=2, batch_size=batch_size, progress=False)
        counts.append(len(accelerator.waits))
    assert counts[0] == counts[1], accelerator.waits
