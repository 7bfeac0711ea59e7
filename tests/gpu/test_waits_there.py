"""The cases of ``contracts/test_waits`` on a real GPU, compared with the fake device."""

import pytest
import torch

from contracts import test_waits
from support.device import HAS_CUDA, Waits

if not HAS_CUDA:
    pytest.skip("counts waits of an NVIDIA GPU", allow_module_level=True)

globals().update(
    {
        name: value
        for name, value in vars(test_waits).items()
        if name.startswith("test_") and "pretended" not in name
    }
)


@pytest.fixture
def accelerator():
    with Waits() as found:
        yield found


def test_waits_are_noticed(accelerator):
    x = torch.rand(4, device=accelerator.device)
    for name, wait in test_waits.waits_of(x).items():
        accelerator.waits.clear()
        wait()
        assert accelerator.waits, name
