"""One of two processes that train the same model with DDP; run by test_accumulation.py, writes its results."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ignite.engine import BackpropEvents, CountedLoss, Events, create_supervised_trainer

STEPS = 2
NUM_COUNTED = ((2, 1, 2, 0, 0), (0, 2, 1, 2, 1))
"""Rows that count, of the two that each batch has, by process and batch."""

mse = torch.nn.functional.mse_loss


class Counted:
    """A loss whose gradient exchanges are counted by DDP's own hook."""

    def __init__(self, ddp):
        self.num_exchanges = 0
        self.group = ddp.process_group
        ddp.register_comm_hook(self, Counted.exchange)

    def exchange(self, bucket):
        self.num_exchanges += 1
        mean = bucket.buffer().div_(dist.get_world_size(self.group))
        future = dist.all_reduce(mean, group=self.group, async_op=True).get_future()
        return future.then(lambda done: done.value()[0])


class Branches(torch.nn.Module):
    """The second branch is taken for positive batches only, the third never."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (
            torch.nn.Linear(2, 1, dtype=torch.float64) for _ in range(3)
        )

    def forward(self, x):
        return self.first(x) + self.second(x) if x.sum() > 0 else self.first(x)


def counted(rank, is_sum):
    """A loss of which the first rows count."""
    numbers = iter(NUM_COUNTED[rank])

    def loss_fn(y_pred, y):
        number = next(numbers)
        total = (y_pred - y)[:number].square().sum()
        return CountedLoss(total if is_sum else total / max(number, 1), number, is_sum)

    return loss_fn


def train(model, batches, knows_length, group=None, stop=None, wrap=lambda ddp: ddp, loss_fn=mse):
    ddp = DistributedDataParallel(
        model, find_unused_parameters=isinstance(model, Branches), process_group=group
    )
    counted = Counted(ddp)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        wrap(ddp), optimizer, loss_fn, gradient_accumulation_steps=STEPS, clip_grad_norm=1e9
    )
    gradients = []

    @trainer.on(BackpropEvents.OPTIM_STEP_STARTED)
    def record():
        gradients.append(
            [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]
        )

    if stop is not None:
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=stop), lambda: trainer.terminate()
        )
    trainer.run(batches if knows_length else iter(batches))
    return {
        "gradients": gradients,
        "num_exchanges": counted.num_exchanges,
        "weights": [p.flatten().tolist() for p in model.parameters()],
    }


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    data = torch.load(folder / "data.pt", weights_only=True)
    batches = list(
        zip(data["x"][rank], data["y"][rank], strict=True)
    )  # 5 batches: the last window has one

    def linear():
        torch.manual_seed(0)
        return torch.nn.Linear(2, 1, dtype=torch.float64)

    def branches():
        torch.manual_seed(0)
        return Branches()

    sign = 1.0 if rank == 0 else -1.0
    signed = [(sign * x.abs(), y) for x, y in batches]
    alone = [dist.new_group([index]) for index in range(2)][rank]
    results = {
        "known": train(linear(), batches, knows_length=True),
        "unknown": train(linear(), batches, knows_length=False),
        "stopped": train(linear(), batches, knows_length=True, stop=3),
        "branches": train(branches(), signed, knows_length=False),
        "compiled": train(
            linear(), batches, True, wrap=lambda ddp: torch.compile(ddp, backend="eager")
        ),
        "alone": train(linear(), batches, knows_length=False, group=alone),
    }
    for knows_length in (True, False):
        for kind in ("mean", "sum"):
            results[f"counted {kind} {knows_length}"] = train(
                linear(), batches, knows_length, loss_fn=counted(rank, kind == "sum")
            )
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
