"""Processes that run out of memory at different times; run by test_split_step.py."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignite.engine import CountedLoss, create_supervised_trainer
from support.scarce_memory import ScarceMemory, above

F = torch.nn.functional
IGNORED = -1
SIZES = (7, 12)
"""Rows of the batches of each process."""
LIMITS = ((3, "backward"), (5, "forward"))


def plain(y_pred, y):
    return F.cross_entropy(y_pred, y, ignore_index=IGNORED)


def counted(y_pred, y):
    num = (y != IGNORED).sum()
    total = F.cross_entropy(y_pred, y, ignore_index=IGNORED, reduction="sum")
    return CountedLoss(total / num.clamp(min=1), num)


def batches(rank):
    generator = torch.Generator().manual_seed(rank)
    return [
        (
            torch.randn(SIZES[rank], 3, generator=generator, dtype=torch.float64),
            torch.randint(IGNORED, 4, (SIZES[rank],), generator=generator),
        )
        for _ in range(2)
    ]


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def expected(kind):
    """The weights after two steps, from one process that has the rows of both."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for pairs in zip(batches(0), batches(1), strict=True):
        losses = [counted(model(x), y) for x, y in pairs]
        counts = [loss.num_counted.item() for loss in losses]
        shares = [count / sum(counts) for count in counts] if kind == "counted" else [0.5, 0.5]
        optimizer.zero_grad()
        sum(loss.loss * share for loss, share in zip(losses, shares, strict=True)).backward()
        optimizer.step()
    return flat(model)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train(rank):
    found = {}
    for kind, loss_fn in (("plain", plain), ("counted", counted)):
        inner = ScarceMemory(network(), above(*LIMITS[rank]))
        model = DistributedDataParallel(inner)
        trainer = create_supervised_trainer(
            model,
            torch.optim.SGD(model.parameters(), lr=0.5),
            loss_fn,
            gradient_accumulation_steps="auto",
        )
        with Counting() as counting:
            trainer.run(batches(rank))
        found |= {
            kind: flat(inner),
            f"{kind}, expected": expected(kind),
            f"{kind}, collectives": counting.number,
            f"{kind}, passes": str(inner.passes),
        }
    return found | {"buffers": buffers(rank), "refused": refused()}


def buffers(rank):
    """Running statistics are those of the first process before each step, as with DDP."""
    norm = nn.BatchNorm1d(3).double()
    model = DistributedDataParallel(
        ScarceMemory(nn.Sequential(norm, nn.Linear(3, 4).double()), lambda *args: False)
    )
    trainer = create_supervised_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), plain, gradient_accumulation_steps="auto"
    )
    seen = []
    model.module.model.register_forward_pre_hook(
        lambda *args: seen.append(norm.running_mean.tolist())
    )
    trainer.run(batches(rank))
    assert norm.num_batches_tracked == 2
    return str(seen)


def refused():
    model = nn.SyncBatchNorm(3)
    with pytest.raises(ValueError, match="does not wait for other processes") as caught:
        create_supervised_trainer(
            model,
            torch.optim.SGD(model.parameters(), 0.1),
            plain,
            gradient_accumulation_steps="auto",
        )
    return str(caught.value).rpartition("given ")[2]


class Counting:
    """Counts the collectives within a ``with`` block."""

    NAMES = ("all_reduce", "broadcast")

    def __enter__(self):
        self.number = 0
        self.own = {name: getattr(dist, name) for name in self.NAMES}
        for name, function in self.own.items():
            setattr(dist, name, self.counted(function))
        return self

    def counted(self, function):
        def call(*args, **options):
            self.number += 1
            return function(*args, **options)

        return call

    def __exit__(self, *error):
        for name, function in self.own.items():
            setattr(dist, name, function)
