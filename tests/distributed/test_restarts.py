"""A training whose processes are killed and restarted ends with the same result as an undisturbed one."""

import random

import pytest
import torch

from ignite._core.differences import first_difference
from ignite.distributed import Parallel
from support import harness, parallel_processes

NUM_ITERATIONS = 60


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    final = trained(folder, [])
    assert noted(folder, "resumed") == [0]
    return final


def trained(folder, kills):
    with Parallel("gloo", 2, max_restarts=3, start_method=harness.START_METHOD) as parallel:
        parallel.run(parallel_processes.train, folder, kills)
    return torch.load(folder / "final.pt", weights_only=True)


def noted(folder, what):
    """What each attempt has noted, in the order of attempts."""
    return [int(path.read_text()) for path in sorted(folder.glob(f"{what} *"))]


def random_kills(seed):
    """One to three kills of a random process, after 4 to 10 iterations and up to 10 ms."""
    generator = random.Random(seed)
    return [
        (generator.randrange(2), generator.randint(4, 10), generator.uniform(0, 0.01))
        for _ in range(generator.randint(1, 3))
    ]


@pytest.mark.parametrize(
    "seed",
    # Seed 4 has a single kill, and is the fastest.
    [pytest.param(seed, marks=[pytest.mark.slow] * (seed != 4)) for seed in range(20)],
)
def test_a_killed_and_restarted_training_ends_bit_identical(seed, undisturbed, tmp_path):
    kills = random_kills(seed)
    final = trained(tmp_path, kills)
    killed, resumed = noted(tmp_path, "killed"), noted(tmp_path, "resumed")
    assert len(killed) == len(kills), "each kill has happened"
    assert any(iteration % 20 for iteration in killed)  # not only at the start of an epoch
    # It has gone on from the latest checkpoint, and not from the start, which would end alike.
    assert resumed[0] == 0
    assert all(at >= until - 3 for until, at in zip(killed, resumed[1:], strict=True))
    assert final["iteration"] == NUM_ITERATIONS
    assert first_difference(undisturbed, final) is None
