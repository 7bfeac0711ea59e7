"""Cost of Learner.fit: 784-128-10 net, 20,000 rows, batch 64, one thread; compared with a loop by hand and others."""

import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

BUDGET_ARRAYS, BUDGET_LOADER = 0.65, 1.02
NUM_ROWS, BATCH_SIZE, EPOCHS, ROUNDS, PEER_ROUNDS = 20_000, 64, 2, 31, 7
PEERS = ("pytorch-ignite", "lightning", "accelerate", "skorch", "keras", "torchtnt")


def make_data():
    import torch

    torch.manual_seed(0)
    return torch.randn(NUM_ROWS, 784), torch.randint(0, 10, (NUM_ROWS,))


def make_net():
    import torch
    from torch import nn

    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def make_loader(data):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(
        TensorDataset(*data), BATCH_SIZE, shuffle=True, generator=torch.Generator().manual_seed(2)
    )


def by_hand(data):
    import torch
    from torch import nn

    net, loader, loss_fn = make_net(), make_loader(data), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
    return loss.item()


def learner(data, **options):
    from ignite import Learner

    return Learner(make_net(), "cross_entropy", lr=1e-3, **options)


def arrays(data):
    return learner(data).fit(data, epochs=EPOCHS, batch_size=BATCH_SIZE, progress=False).steps[-1]


def loader(data):
    import torch

    # The optimizer of the hand-written loop: given by name, it would be fused and faster.
    made = learner(data, optimizer=torch.optim.AdamW)
    return made.fit(make_loader(data), epochs=EPOCHS, progress=False).steps[-1]


def pytorch_ignite(data):
    import torch
    from torch import nn

    from ignite.engine import create_supervised_trainer

    net = make_net()
    trainer = create_supervised_trainer(
        net, torch.optim.AdamW(net.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    )
    return trainer.run(make_loader(data), max_epochs=EPOCHS).output


def lightning(data):
    import logging
    import warnings

    import lightning as pl
    import torch
    from torch import nn

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.loss_fn = make_net(), nn.CrossEntropyLoss()

        def training_step(self, batch, index):
            self.loss = self.loss_fn(self.net(batch[0]), batch[1])
            return self.loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    module = Module()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", devices=1, **quiet).fit(
        module, make_loader(data)
    )
    return module.loss.item()


def accelerate(data):
    import torch
    from accelerate import Accelerator
    from torch import nn

    accelerator, net, loss_fn = Accelerator(cpu=True), make_net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net, optimizer, batches = accelerator.prepare(net, optimizer, make_loader(data))
    for _ in range(EPOCHS):
        for x, y in batches:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            accelerator.backward(loss)
            optimizer.step()
    return loss.item()


def skorch(data):
    import torch
    from skorch import NeuralNetClassifier
    from torch import nn

    net = NeuralNetClassifier(
        make_net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=1e-3, max_epochs=EPOCHS,
        batch_size=BATCH_SIZE, train_split=None, iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    net.fit(*data)
    return net.history[-1]["train_loss"]


def keras(data):
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras as k

    k.utils.set_random_seed(1)
    net = k.Sequential([k.layers.Input((784,)), k.layers.Dense(128, "relu"), k.layers.Dense(10)])
    net.compile(k.optimizers.AdamW(1e-3), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = (part.numpy() for part in data)
    return net.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0).history["loss"][-1]


def torchtnt(data):
    import torch
    from torch import nn
    from torchtnt.framework.auto_unit import AutoUnit
    from torchtnt.framework.train import train

    class Unit(AutoUnit):
        def compute_loss(self, state, batch):
            y_pred = self.module(batch[0])
            self.loss = nn.functional.cross_entropy(y_pred, batch[1])
            return self.loss, y_pred

        def configure_optimizers_and_lr_scheduler(self, module):
            return torch.optim.AdamW(module.parameters(), lr=1e-3), None

    unit = Unit(module=make_net(), device=torch.device("cpu"))
    train(unit, make_loader(data), max_epochs=EPOCHS)
    return unit.loss.item()


def measure(cases, num_rounds):
    """Returns seconds by round and the last loss of each case; the order of cases differs by round."""
    import torch

    torch.set_num_threads(1)
    data = make_data()
    found = {case.__name__: ([], case(data)) for case in cases}  # which warms up, too
    draw = random.Random(0)
    for _ in range(num_rounds):
        for case in draw.sample(cases, len(cases)):
            started = time.perf_counter()
            case(data)
            found[case.__name__][0].append(time.perf_counter() - started)
    return found


def ratio(found, name):
    """Returns the ratio to the hand-written loop: the median over the rounds of one run."""
    pairs = zip(found[name][0], found["by_hand"][0], strict=True)
    return statistics.median(one / by_hand for one, by_hand in pairs)


def show(name, found, case):
    print(
        f"  {name:<18}{min(found[case][0]):>8.3f} s{ratio(found, case):>8.3f}   last loss {found[case][1]:.4f}"
    )


def main():
    from _peers import peer_python

    ours = measure([by_hand, arrays, loader], ROUNDS)
    print(
        f"  {EPOCHS} epochs of {NUM_ROWS:,} rows, best of {ROUNDS} rounds ({PEER_ROUNDS} of the others); ratio to the "
        "loop by hand in the same process, median of the rounds"
    )
    for case in ours:
        show(
            {"by_hand": "loop by hand", "arrays": "fit((x, y))", "loader": "fit(loader)"}[case],
            ours,
            case,
        )
    for peer in sys.argv[1:] or PEERS:
        command = [peer_python(peer), Path(__file__), "--worker", peer.replace("-", "_")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"  {peer:<18} could not be run: {done.stderr.strip().splitlines()[-1]}")
            continue
        show(peer, json.loads(done.stdout.splitlines()[-1]), peer.replace("-", "_"))
    checks = {
        f"arrays {ratio(ours, 'arrays'):.3f}, budget {BUDGET_ARRAYS}": ratio(ours, "arrays")
        <= BUDGET_ARRAYS,
        f"loader {ratio(ours, 'loader'):.3f}, budget {BUDGET_LOADER}": ratio(ours, "loader")
        <= BUDGET_LOADER,
        "the same last loss as by hand": ours["loader"][1] == ours["by_hand"][1],
    }
    for text, is_met in checks.items():
        print(f"{text}  {'PASS' if is_met else 'FAIL'}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(measure([by_hand, globals()[sys.argv[-1]]], PEER_ROUNDS)))
    else:
        raise SystemExit(main())
