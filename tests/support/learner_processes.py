"""Process functions for the tests of the learner."""

import torch
from torch import nn

from ignite import distributed
from ignite.engine import Events
from ignite.learner import Learner


def fail_on_one(rank):
    """Returns what a dry run raises where one process fails, and what stays of it."""
    torch.manual_seed(1)
    learner = Learner(nn.Linear(4, 3), "cross_entropy", "sgd", lr=0.1, device="cpu")
    before = learner.model.weight.tolist()

    @learner.trainer.on(Events.COMPLETED)
    def fail():
        if rank == 1:
            raise InterruptedError("here")

    try:
        learner.fit((X[:48], Y[:48]), dry_run=True)
    except Exception as error:
        return type(error).__name__, error.__notes__, learner.model.weight.tolist() == before
    return None, [], learner.model.weight.tolist() == before


X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def train(folder, rank, *, batch_size=8, is_tried=False):
    """Returns the weights, the figures and the predictions; ``is_tried`` after a dry run."""
    torch.manual_seed(1)
    learner = Learner(
        nn.Linear(4, 3), "cross_entropy", "sgd", lr=0.1, metrics=["accuracy"], device="cpu"
    )
    how = {
        "valid": (X, Y),
        "epochs": 2,
        "batch_size": batch_size,
        "run_dir": folder,
        "resume": "latest",
    }
    if is_tried:
        learner.fit((X[:48], Y[:48]), **how, dry_run=True)
        assert not folder.exists()
        distributed.barrier()
    history = learner.fit((X[:48], Y[:48]), **how)
    figures = {name: history[name] for name in ("valid_loss", "valid_accuracy")}
    return (
        learner.model.weight.tolist(),
        figures,
        learner.predict(X).argmax(1).tolist(),
        learner.evaluate((X, Y)),
    )


IGNORED = -100
NUM_TOKENS, CLASS_WEIGHT = 3, (0.5, 2.0, 1.0)


class Tokens(nn.Module):
    """Scores of classes for each token: (N, T, F) to (N, C, T)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.linear = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, x):
        return self.linear(x).transpose(1, 2)


def token_data(num_samples=19, seed=3):
    """Sequences of tokens of which many are ignored, some as a whole, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_samples, NUM_TOKENS, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (num_samples, NUM_TOKENS), generator=generator)
    y[torch.rand(y.shape, generator=generator) < 0.4] = IGNORED
    y[::5] = IGNORED
    weight = torch.randint(0, 3, (num_samples,), generator=generator).double()
    return x, y, weight


def train_tokens(rank, *, batch_size, accumulation, weighted, class_weight):
    """Returns the weights and the figures of a learner that goes over the tokens twice."""
    model = Tokens()
    learner = Learner(model, "cross_entropy", "sgd", lr=0.5, device="cpu", accumulation=accumulation,
                      class_weight=class_weight)  # fmt: skip
    x, y, weight = token_data()
    data = (x, y, weight) if weighted else (x, y)
    held = token_data(11, seed=4)
    history = learner.fit(
        data,
        held if weighted else held[:2],
        epochs=2,
        batch_size=batch_size,
        shuffle=False,
        progress=False,
    )
    figures = {name: history[name] for name in ("loss", "valid_loss")}
    found = learner.evaluate(held if weighted else held[:2], batch_size=2)["loss"]
    return [p.tolist() for p in model.parameters()], figures, found


class TwoHeads(nn.Module):
    """Scores of three classes, and a number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.kind, self.size = (nn.Linear(4, num, dtype=torch.float64) for num in (3, 1))

    def forward(self, x):
        return {"kind": self.kind(x), "size": self.size(x)}


def share_of_first(y_pred, y):
    """A metric of all predictions together."""
    return (y_pred.argmax(1) == 0).double().mean()


def train_heads(rank, *, batch_size):
    """Returns the weights, the rows of epochs and validations, and the rate at the end."""
    learner = Learner(
        TwoHeads(), {"kind": "cross_entropy", "size": "mse"}, "sgd", lr=0.1, device="cpu",
        loss_weights={"size": 0.5}, metrics={"kind": ["accuracy", share_of_first], "size": "rmse"},
    )  # fmt: skip
    data = (X[:48].double(), {"kind": Y[:48], "size": X[:48, 0].double()})
    held = (X.double(), {"kind": Y, "size": X[:, 1].double()})
    history = learner.fit(
        data, held, epochs=2, batch_size=batch_size, shuffle=False, validate_every=2,
        schedule="plateau", early_stopping=9, min_delta=0.01, progress=False,
    )  # fmt: skip
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]
    weights = [p.tolist() for p in learner.model.parameters()]
    return weights, rows, history.validations, learner.optimizer.param_groups[0]["lr"]
