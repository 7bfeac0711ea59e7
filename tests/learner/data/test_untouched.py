"""A model that changes its inputs in place changes copies, never the arrays that were passed."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ignite import Learner
from ignite.data import ArrayLoader
from ignite.engine import Events


class InPlace(nn.Module):
    """Begins, as some models do, with a change of its inputs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))

    def forward(self, x, z=None):
        if z is not None:
            z.zero_()
        return self.inner(x.mul_(2))


def changing_loss(y_pred, y):
    loss = nn.functional.cross_entropy(y_pred, y.clone())
    y.zero_()
    return loss


def arrays():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(30, 4, generator=generator), torch.arange(30) % 2


def learner(loss="cross_entropy"):
    torch.manual_seed(0)
    metrics = ["accuracy"] if loss == "cross_entropy" else []
    return Learner(InPlace(), loss, lr=0.1, metrics=metrics)


FORMS = {
    "tensors": lambda x, y: (x, y),
    "numpy": lambda x, y: (x.numpy(), y.numpy()),
    "two inputs": lambda x, y: ({"x": x, "z": x}, y),
}
CALLS = {
    "fit": lambda one, data: one.fit(data, epochs=2, batch_size=8, progress=False),
    "fit in order": lambda one, data: one.fit(data, batch_size=8, shuffle=False, progress=False),
    "fit with a part": lambda one, data: one.fit(data, valid=0.3, batch_size=8, progress=False),
    "fit with itself": lambda one, data: one.fit(data, valid=data, progress=False),
    "dry run": lambda one, data: one.fit(data, dry_run=True, progress=False),
    "evaluate": lambda one, data: one.evaluate(data),
    "predict": lambda one, data: one.predict(data[0]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_arrays_stay_as_they_are(form, call):
    (x, y), (x_before, y_before) = arrays(), arrays()
    one = learner()
    if call in ("evaluate", "predict"):
        one.fit(FORMS[form](*arrays()), progress=False)
    CALLS[call](one, FORMS[form](x, y))
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


def test_targets_stay_as_they_are():
    (x, y), (_, y_before) = arrays(), arrays()
    learner(changing_loss).fit((x, y), valid=(x, y), shuffle=False, batch_size=8, progress=False)
    assert torch.equal(y, y_before)


def test_the_checks_before_the_first_step_change_no_batch_of_a_list():
    batches = [(x, y) for x, y in zip(*(part.split(10) for part in arrays()), strict=True)]
    kept = [(x.clone(), y.clone()) for x, y in batches]
    seen = []

    class Noting(InPlace):
        def forward(self, x):
            if self.training and len(x) == 10:
                seen.append(x.clone())
            return super().forward(x)

    torch.manual_seed(0)
    Learner(Noting(), "cross_entropy", lr=0.1).fit(batches, progress=False)
    assert [x.tolist() for x in seen[-3:]] == [x.tolist() for x, _ in kept]


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_an_array_loader_are_copies(shuffle):
    x = np.arange(6.0)
    for batch in ArrayLoader(x, batch_size=4, shuffle=shuffle):
        batch.zero_()
    assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_first_batch_is_loaded_twice_at_most_before_the_first_step():
    class Counting(Dataset):
        num_read = 0

        def __len__(self):
            return 32

        def __getitem__(self, index):
            Counting.num_read += 1
            return torch.ones(4), index % 2

    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    one = Learner(model, "cross_entropy", lr=0.1)
    at_first_step = []
    one.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: at_first_step.append(Counting.num_read)
    )
    one.fit(DataLoader(Counting(), batch_size=8), progress=False)
    assert at_first_step[0] == 8 + 8  # for the checks, and to train on
