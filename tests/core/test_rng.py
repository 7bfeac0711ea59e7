import random

import numpy as np
import torch

from ignite._core.rng import capture_random_state, manual_seed, restore_random_state


def draw():
    return random.random(), torch.rand(1).item(), np.random.rand()


def test_a_seed_sets_all_generators():
    manual_seed(5)
    first = draw()
    manual_seed(5)
    assert draw() == first
    manual_seed(6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_seeds_beyond_numpys_range_are_accepted():
    manual_seed(2**40 + 3)
    expected = np.random.rand()
    np.random.seed(3)
    assert np.random.rand() == expected


def test_a_saved_random_state_is_loaded_safely_and_restored(tmp_path):
    manual_seed(1)
    random.gauss(0, 1), np.random.randn()  # both generators store a second value
    torch.save(capture_random_state(), tmp_path / "state.pt")
    expected = draw(), random.gauss(0, 1), np.random.randn()
    manual_seed(2)
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (draw(), random.gauss(0, 1), np.random.randn()) == expected
