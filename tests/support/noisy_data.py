"""Datasets that draw from every generator, and a comparison of their samples."""

import itertools
import random

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset


def noise(i):
    """A sample whose number stands first, followed by draws from all generators; normal ones keep a number waiting."""
    return torch.tensor(
        [
            float(i),
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.randn(),
            torch.rand(()).item(),
        ]
    )


class Counting(Dataset):
    """Gives the index, and counts who asks."""

    def __init__(self, num_samples):
        self.num_samples = num_samples
        self.num_calls = 0

    def __len__(self):
        return self.num_samples

    def __getitem__(self, i):
        self.num_calls += 1
        return i


class Noisy(Counting):
    def __init__(self, num_samples=11):
        super().__init__(num_samples)

    def __getitem__(self, i):
        return noise(super().__getitem__(i))


class NoisyStream(IterableDataset):
    def __init__(self, num_samples=11):
        self.num_samples = num_samples

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for i in range(first, self.num_samples, step):
            yield noise(i)


class StatefulStream(IterableDataset):
    """Knows where it is, and counts what it makes."""

    def __init__(self, num_samples=11):
        self.num_samples = num_samples
        self.num_made = 0
        self._next = 0

    def __iter__(self):
        while self._next < self.num_samples:
            self._next += 1
            self.num_made += 1
            yield noise(self._next - 1)
        self._next = 0

    def state_dict(self):
        return {"next": self._next}

    def load_state_dict(self, state):
        self._next = state["next"]


def random_states():
    """Where the generators of the program stand, as something that can be compared."""
    kind, key, *rest = np.random.get_state()
    return random.getstate(), torch.get_rng_state().tolist(), (kind, key.tolist(), *rest)


def take(loader, num_batches):
    """So many batches, over as many passes as it needs."""
    batches = itertools.chain.from_iterable(iter(loader) for _ in range(100))
    return list(itertools.islice(batches, num_batches))


def states_along(loader, num_batches):
    """The state before the first batch and behind each, over as many passes as it needs."""
    states, iterator = [loader.state_dict()], iter(loader)
    while len(states) <= num_batches:
        try:
            next(iterator)
        except StopIteration:
            iterator = iter(loader)
            continue
        states.append(loader.state_dict())
    return states


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b))
        for a, b in zip(left, right, strict=True)
    )
