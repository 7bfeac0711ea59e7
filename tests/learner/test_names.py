import pytest
import torch
from torch import nn

from ignite.learner._by_name import LOSSES, OPTIMIZERS, find


@pytest.mark.parametrize("name", ["cross_entropy", "Cross-Entropy", "cross entropy"])
def test_case_hyphens_and_spaces_do_not_matter(name):
    assert find("loss", name, LOSSES) is nn.CrossEntropyLoss


def test_an_unknown_name_lists_the_near_ones_and_all():
    with pytest.raises(
        ValueError,
        match=r"optimizer 'adamww' is not known: did you mean 'adamw' or .*Known names are ada",
    ):
        find("optimizer", "adamww", OPTIMIZERS)
    with pytest.raises(ValueError, match=r"loss 'zzz' is not known. Known names are bce, "):
        find("loss", "zzz", LOSSES)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_each_loss_can_be_made_with_and_without_a_mean(name):
    assert LOSSES[name](reduction="none").reduction == "none"


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_each_optimizer_moves_a_parameter(name):
    parameter = nn.Parameter(torch.ones(2, 2))  # muon is for matrices only
    optimizer = OPTIMIZERS[name]([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    assert bool((parameter < 1).all())
