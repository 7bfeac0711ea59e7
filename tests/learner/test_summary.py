import torch
from torch import nn

from ignite.learner._prediction import summary


def test_without_an_example_there_are_no_shapes():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)
    assert summary(model).splitlines() == [
        "layer  kind         parameters  trained",
        "0      Linear                9        3",
        "1      BatchNorm1d           6        6",
        "       Sequential           15        9",
        "parameters and buffers: 92 bytes",  # 15 + 6 numbers of four bytes, and a count of eight
    ]


def test_several_outputs_and_nothing_left_behind():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Linear(2, 2)

        def forward(self, x):
            return self.part(x), {"b": x[:, :1]}

    model = Two()
    assert "(3, 2), (3, 1)" in summary(model, torch.zeros(3, 2))
    assert model.training
    assert not model.part._forward_hooks
