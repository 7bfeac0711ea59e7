"""What all tests share: repeatable randomness, and one thread a worker."""

import os
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# The same examples in each run, so that a failure is the change's fault; HYPOTHESIS_PROFILE=thorough looks further.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=50)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=1000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seeds python, numpy and torch before each test; a test that needs the number asks for it by name."""
    value = 20240229
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value
