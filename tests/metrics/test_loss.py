import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Loss


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_any_cut_into_batches_gives_the_loss_over_all(sizes):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(sum(sizes), 3, generator=generator)
    targets = torch.randint(3, (sum(sizes),), generator=generator)
    metric = Loss(F.cross_entropy)
    for batch in zip(scores.split(sizes), targets.split(sizes), strict=True):
        metric.update(batch)
    assert metric.compute() == pytest.approx(F.cross_entropy(scores.double(), targets).item(), rel=1e-5)


def test_arguments_of_the_loss_come_with_the_output():
    metric = Loss(F.mse_loss)
    metric.update((torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), {"reduction": "sum"}))
    assert metric.compute() == 10.0


@pytest.mark.parametrize("kwargs", [{}, {"criterion_kwargs": {}}, {"criterion_kwargs": {"reduction": "mean"}, "x": 1}])
def test_outputs_may_be_mappings_with_or_without_arguments(kwargs):
    engine = Engine(lambda engine, batch: {"y": torch.zeros(2), "y_pred": torch.ones(2), **kwargs})
    Loss(F.mse_loss).attach(engine, "loss")
    assert engine.run([0]).metrics == {"loss": 1.0}


def test_a_loss_that_is_no_mean_is_refused_and_changes_nothing():
    metric = Loss(lambda y_pred, y: y_pred - y if len(y) == 3 else F.mse_loss(y_pred, y))
    metric.update((torch.ones(2), torch.zeros(2)))
    with pytest.raises(ValueError, match=r"did not return the average loss.*but given one of shape \(3,\)"):
        metric.update((torch.ones(3), torch.zeros(3)))
    assert metric.compute() == 1.0


def test_a_loss_that_needs_gradients_works_outside_an_engine():
    def penalty(y_pred, y):
        x = torch.ones(1, requires_grad=True)
        return torch.autograd.grad((x * y_pred).sum(), x)[0].sum()

    metric = Loss(penalty)
    metric.update((torch.tensor([1.0, 2.0]), torch.zeros(2)))
    assert metric.compute() == 3.0


def test_the_batch_size_can_be_counted_otherwise():
    metric = Loss(F.mse_loss, batch_size=lambda y: y.numel())
    metric.update((torch.ones(1, 3), torch.zeros(1, 3)))
    metric.update((torch.ones(1, 1) * 3, torch.zeros(1, 1)))
    assert metric.compute() == (3 * 1 + 1 * 9) / 4


def test_the_loss_of_nothing_cannot_be_computed():
    with pytest.raises(NotComputableError, match="Loss must have at least one example"):
        Loss(F.mse_loss).compute()
