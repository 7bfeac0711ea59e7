"""Cost of Learner.fit on rows (dense net) and tokens (transformer), one thread; beside a loop by hand and others."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

BUDGET_ARRAYS, BUDGET_LOADER, BUDGET_METRICS = 0.65, 1.02, 1.05
PEERS = ("pytorch-ignite", "lightning", "accelerate", "skorch", "keras", "torchtnt", "transformers")
VOCABULARY, WIDTH, HEADS, LENGTH = 100, 64, 4, 32


def make_rows():
    import torch

    return torch.randn(20_000, 784), torch.randint(0, 10, (20_000,))


def make_tokens():
    import torch

    return torch.randint(0, VOCABULARY, (2_048, LENGTH)), torch.randint(0, 10, (2_048,))


def make_dense_net():
    from torch import nn

    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def make_transformer():
    from torch import nn

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True
            )
            self.layers = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(WIDTH, 10)

        def forward(self, tokens):
            return self.head(self.layers(self.embedding(tokens)).mean(1))

    return Transformer()


def make_dense_net_of_keras(k):
    return k.Sequential([k.layers.Input((784,)), k.layers.Dense(128, "relu"), k.layers.Dense(10)])


def make_transformer_of_keras(k):
    x = tokens = k.layers.Input((LENGTH,), dtype="int32")
    x = k.layers.Embedding(VOCABULARY, WIDTH)(x)
    for _ in range(2):
        attended = k.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
        x = k.layers.LayerNormalization(epsilon=1e-5)(x + attended)
        inner = k.layers.Dense(WIDTH)(k.layers.Dense(2 * WIDTH, "relu")(x))
        x = k.layers.LayerNormalization(epsilon=1e-5)(x + inner)
    return k.Model(tokens, k.layers.Dense(10)(k.layers.GlobalAveragePooling1D()(x)))


WORKLOADS = {
    "rows": SimpleNamespace(
        make_data=make_rows, make=make_dense_net, make_of_keras=make_dense_net_of_keras,
        batch_size=64, epochs=2, rounds=31, peer_rounds=7,
    ),
    "tokens": SimpleNamespace(
        make_data=make_tokens, make=make_transformer, make_of_keras=make_transformer_of_keras,
        batch_size=32, epochs=2, rounds=15, peer_rounds=5,
    ),
}  # fmt: skip
WORK = WORKLOADS["rows"]


def make_net():
    import torch

    torch.manual_seed(1)
    return WORK.make()


def make_loader(data):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    order = torch.Generator().manual_seed(2)
    return DataLoader(TensorDataset(*data), WORK.batch_size, shuffle=True, generator=order)


def by_hand(data):
    import torch
    from torch import nn

    net, loader, loss_fn = make_net(), make_loader(data), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(WORK.epochs):
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
    return (
        learner(data)
        .fit(data, epochs=WORK.epochs, batch_size=WORK.batch_size, progress=False)
        .steps[-1]
    )


def loader(data):
    import torch

    # The optimizer of the hand-written loop: given by name, it would be fused and faster.
    made = learner(data, optimizer=torch.optim.AdamW)
    return made.fit(make_loader(data), epochs=WORK.epochs, progress=False).steps[-1]


def metrics(data):
    import torch

    made = learner(data, optimizer=torch.optim.AdamW, metrics="accuracy")
    return made.fit(make_loader(data), epochs=WORK.epochs, progress=False).steps[-1]


def pytorch_ignite(data):
    import torch
    from torch import nn

    from ignite.engine import create_supervised_trainer

    net = make_net()
    trainer = create_supervised_trainer(
        net, torch.optim.AdamW(net.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    )
    return trainer.run(make_loader(data), max_epochs=WORK.epochs).output


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
    pl.Trainer(max_epochs=WORK.epochs, accelerator="cpu", devices=1, **quiet).fit(
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
    for _ in range(WORK.epochs):
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
        make_net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=1e-3, max_epochs=WORK.epochs,
        batch_size=WORK.batch_size, train_split=None, iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    net.fit(*data)
    return net.history[-1]["train_loss"]


def keras(data):
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras as k

    k.utils.set_random_seed(1)
    net = WORK.make_of_keras(k)
    net.compile(k.optimizers.AdamW(1e-3), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = (part.numpy() for part in data)
    return net.fit(x, y, batch_size=WORK.batch_size, epochs=WORK.epochs, verbose=0).history["loss"][
        -1
    ]


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
    train(unit, make_loader(data), max_epochs=WORK.epochs)
    return unit.loss.item()


def transformers(data):
    import logging

    import torch
    from torch import nn
    from transformers import Trainer, TrainingArguments

    logging.getLogger("transformers").setLevel(logging.ERROR)

    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make_net()

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(data[0])

        def __getitem__(self, index):
            return {"x": data[0][index], "labels": data[1][index]}

    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder, per_device_train_batch_size=WORK.batch_size, num_train_epochs=WORK.epochs,
            learning_rate=1e-3, weight_decay=0.01, lr_scheduler_type="constant", max_grad_norm=0.0,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer = Trainer(WithLoss(), options, train_dataset=Rows())
        torch.set_num_threads(1)
        return trainer.train().training_loss


def measure(cases, num_rounds):
    """Returns seconds by round and the last loss of each case; the order of cases differs by round."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = WORK.make_data()
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


def compare(name, peers):
    """Prints the table of one workload, and returns its checks."""
    from _peers import peer_python

    ours = measure([by_hand, arrays, loader, metrics], WORK.rounds)
    print(
        f"{name}: {WORK.epochs} epochs, best of {WORK.rounds} rounds ({WORK.peer_rounds} of the others); ratio to the "
        "loop by hand in the same process, median of the rounds"
    )
    titles = {"by_hand": "loop by hand", "arrays": "fit((x, y))", "loader": "fit(loader)"}
    for case in ours:
        show(titles.get(case, "... with accuracy"), ours, case)
    for peer in peers:
        case = peer.replace("-", "_")
        command = [peer_python(peer), Path(__file__), "--worker", name, case]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"  {peer:<18} could not be run: {done.stderr.strip().splitlines()[-1]}")
            continue
        show(peer, json.loads(done.stdout.splitlines()[-1]), case)
    budgets = {"loader": BUDGET_LOADER, "metrics": BUDGET_METRICS}
    if name == "rows":  # where loading dominates
        budgets["arrays"] = BUDGET_ARRAYS
    checks = {
        f"{name}, {case} {ratio(ours, case):.3f}, budget {budget}": ratio(ours, case) <= budget
        for case, budget in budgets.items()
    }
    checks[f"{name}: the same last loss as by hand"] = ours["loader"][1] == ours["by_hand"][1]
    return checks


def main():
    """Arguments: workloads and peers, all by default; ``none`` for no peer."""
    global WORK
    names = [name for name in sys.argv[1:] if name in WORKLOADS] or list(WORKLOADS)
    peers = [name for name in sys.argv[1:] if name not in WORKLOADS] or PEERS
    checks = {}
    for name in names:
        WORK = WORKLOADS[name]
        checks |= compare(name, [peer for peer in peers if peer != "none"])
    for text, is_met in checks.items():
        print(f"{text}  {'PASS' if is_met else 'FAIL'}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        WORK = WORKLOADS[sys.argv[-2]]
        print(json.dumps(measure([by_hand, globals()[sys.argv[-1]]], WORK.peer_rounds)))
    else:
        raise SystemExit(main())
