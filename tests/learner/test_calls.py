"""Python calls that ``fit`` makes for each iteration in addition to those of torch."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ignite
from ignite import Learner

ROOT = str(Path(ignite.__file__).parent)
# Measured. A loop by hand calls zero_grad, the loss and two methods of the optimizer instead.
MOST_OF_LOADER, MOST_OF_ARRAYS = 22, 30


def num_calls(data):
    model = torch.nn.Linear(3, 2)
    learner = Learner(model, "cross_entropy", optimizer="sgd", lr=0.1, device="cpu")
    found = 0

    def count(frame, event, arg):
        nonlocal found
        found += event == "call" and frame.f_code.co_filename.startswith(ROOT)

    sys.setprofile(count)
    try:
        size = None if isinstance(data, DataLoader) else 4
        learner.fit(data, epochs=1, progress=False, batch_size=size)
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(("is_loader", "most"), [(True, MOST_OF_LOADER), (False, MOST_OF_ARRAYS)])
def test_an_iteration_makes_few_calls_of_the_library(is_loader, most):
    def data(num_batches):
        x, y = torch.zeros(4 * num_batches, 3), torch.zeros(4 * num_batches, dtype=torch.long)
        return DataLoader(TensorDataset(x, y), batch_size=4) if is_loader else (x, y)

    num_calls(data(2))  # caches are filled
    per_iteration = (num_calls(data(40)) - num_calls(data(10))) / 30
    assert per_iteration <= most
