"""A training whose processes are killed and restarted ends as if nothing had happened."""

import random

import pytest
import torch

from ignite._core.differences import first_difference
from ignite.distributed import Parallel
from support import parallel_processes

NUM_ITERATIONS = 18


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return trained(folder, [])


def trained(folder, kills):
    with Parallel("gloo", nproc_per_node=2, max_restarts=3) as parallel:
        parallel.run(parallel_processes.train, folder, kills)
    return torch.load(folder / "final.pt", weights_only=True)


def random_kills(seed):
    """One to three kills, later ones at later iterations, at any moment within some 20 ms."""
    generator = random.Random(seed)
    iterations = sorted(generator.sample(range(2, NUM_ITERATIONS), generator.randint(1, 3)))
    return [(generator.randrange(2), i, generator.uniform(0, 0.02)) for i in iterations]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]
)
def test_a_killed_and_restarted_training_ends_bit_identical(seed, undisturbed, tmp_path):
    kills = random_kills(seed)
    final = trained(tmp_path, kills)
    # All kills have happened, at least the first one in the middle of an epoch or at its start.
    marks = [(tmp_path / f"killed {i}").read_text().split() for i in range(len(kills))]
    assert [int(iteration) for _, iteration in marks] == [iteration for _, iteration, _ in kills]
    assert final["iteration"] == NUM_ITERATIONS
    assert first_difference(undisturbed, final) is None
