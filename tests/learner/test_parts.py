import torch

from ignite.learner._parts import choose_device


def test_devices():
    assert choose_device("meta").type == "meta"
    expected = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert choose_device(None) == expected
