import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Loss


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_any_split_into_batches_gives_the_loss_over_all(sizes):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(sum(sizes), 3, generator=generator)
    targets = torch.randint(3, (sum(sizes),), generator=generator)
    metric = Loss(F.cross_entropy)
    for batch in zip(scores.split(sizes), targets.split(sizes), strict=True):
        metric.update(batch)
    assert metric.compute() == pytest.approx(
        F.cross_entropy(scores.double(), targets).item(), rel=1e-5
    )


def test_the_output_may_contain_arguments_of_the_loss():
    metric = Loss(F.mse_loss)
    metric.update((torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), {"reduction": "sum"}))
    assert metric.compute() == 10.0


@pytest.mark.parametrize(
    "kwargs", [{}, {"criterion_kwargs": {}}, {"criterion_kwargs": {"reduction": "mean"}, "x": 1}]
)
def test_outputs_may_be_mappings_with_or_without_arguments(kwargs):
    engine = Engine(lambda engine, batch: {"y": torch.zeros(2), "y_pred": torch.ones(2), **kwargs})
    Loss(F.mse_loss).attach(engine, "loss")
    assert engine.run([0]).metrics == {"loss": 1.0}


def test_a_loss_that_is_not_a_scalar_is_refused_and_changes_nothing():
    metric = Loss(lambda y_pred, y: y_pred - y if len(y) == 3 else F.mse_loss(y_pred, y))
    metric.update((torch.ones(2), torch.zeros(2)))
    with pytest.raises(
        ValueError, match=r"did not return the average loss.*but given one of shape \(3,\)"
    ):
        metric.update((torch.ones(3), torch.zeros(3)))
    assert metric.compute() == 1.0


def test_a_loss_that_needs_gradients_works_outside_an_engine():
    def penalty(y_pred, y):
        x = torch.ones(1, requires_grad=True)
        return torch.autograd.grad((x * y_pred).sum(), x)[0].sum()

    metric = Loss(penalty)
    metric.update((torch.tensor([1.0, 2.0]), torch.zeros(2)))
    assert metric.compute() == 3.0


def test_the_batch_size_can_be_given_by_a_function():
    metric = Loss(F.mse_loss, batch_size=lambda y: y.numel())
    metric.update((torch.ones(1, 3), torch.zeros(1, 3)))
    metric.update((torch.ones(1, 1) * 3, torch.zeros(1, 1)))
    assert metric.compute() == (3 * 1 + 1 * 9) / 4


def test_without_examples_the_loss_cannot_be_computed():
    with pytest.raises(NotComputableError, match="Loss must have at least one example"):
        Loss(F.mse_loss).compute()


def both_heads(y_pred, y):
    return sum(F.mse_loss(a, b) for a, b in zip(y_pred, y, strict=True))


def values_of(y_pred):
    return list(y_pred.values()) if isinstance(y_pred, dict) else y_pred


@pytest.mark.parametrize("kind", [tuple, lambda pair: dict(zip("ab", pair, strict=True))])
def test_targets_of_several_heads_have_the_length_of_each(kind):
    metric = Loss(lambda p, y: both_heads(values_of(p), values_of(y)), skip_unrolling=True)
    for size, error in ((4, 1.0), (1, 3.0)):
        y = kind((torch.zeros(size), torch.zeros(size)))
        metric.update((kind((torch.zeros(size), torch.full((size,), error))), y))
    assert metric.compute() == pytest.approx((4 * 1.0 + 1 * 9.0) / 5)


@pytest.mark.parametrize(
    "items", [[torch.zeros(2), torch.zeros(3), torch.zeros(7)], [{"boxes": torch.zeros(2)}] * 3]
)
def test_a_list_with_an_item_for_each_example_has_its_length(items):
    metric = Loss(lambda p, y: p.mean(), skip_unrolling=True)
    metric.update((torch.ones(3), items))
    metric.update((torch.zeros(1), items[:1]))
    assert metric.compute() == 0.75


@pytest.mark.parametrize(
    "y",
    [
        (torch.zeros(4), torch.zeros(5)),
        [torch.zeros(4), torch.zeros(4)],
        {"a": torch.zeros(()), "b": torch.zeros(2)},
    ],
)
def test_ambiguous_containers_need_a_batch_size(y):
    metric = Loss(lambda p, y: torch.tensor(2.0), skip_unrolling=True)
    with pytest.raises(
        ValueError,
        match=f"batch_size should be given to count the examples of a {type(y).__name__} of 2 targets",
    ):
        metric.update(([torch.zeros(4)] * 2, y))
    metric = Loss(lambda p, y: torch.tensor(2.0), batch_size=lambda y: 4, skip_unrolling=True)
    metric.update(([torch.zeros(4)] * 2, y))
    assert metric.compute() == 2.0


IGNORING = [
    (F.cross_entropy, -100),
    (torch.nn.CrossEntropyLoss(), -100),
    (torch.nn.CrossEntropyLoss(ignore_index=1), 1),
    (partial(F.cross_entropy, ignore_index=2), 2),
    (torch.nn.NLLLoss(ignore_index=0), 0),
]


@pytest.mark.parametrize(("loss_fn", "index"), IGNORING)
def test_a_batch_with_only_ignored_targets_adds_nothing(loss_fn, index):
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    y, ignored = torch.full((4,), (index + 1) % 3 if index >= 0 else 1), torch.full((4,), index)
    metric = Loss(loss_fn)
    metric.update((scores, ignored))
    with pytest.raises(NotComputableError):
        metric.compute()
    metric.update((scores, y))
    metric.update((scores, ignored))
    assert metric.compute() == pytest.approx(loss_fn(scores, y).item(), rel=1e-6)


def test_a_loss_that_is_nan_for_another_reason_propagates():
    metric = Loss(F.cross_entropy)
    metric.update((torch.full((2, 3), math.nan), torch.tensor([0, 1])))
    metric.update((torch.zeros(2, 3), torch.tensor([-100, -100])))
    assert math.isnan(metric.compute())


def test_with_ignored_targets_it_is_the_mean_over_the_others():
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(6, 3, generator=generator), torch.tensor([0, 1, -100, 2, -100, -100]))
        for _ in range(2)
    ]
    batches.append((torch.randn(2, 3, generator=generator), torch.tensor([0, -100])))
    metric = Loss(F.cross_entropy, batch_size=lambda y: (y != -100).sum())
    for batch in batches:
        metric.update(batch)
    scores, targets = (torch.cat(tensors).double() for tensors in zip(*batches, strict=True))
    assert metric.compute() == pytest.approx(
        F.cross_entropy(scores, targets.long()).item(), rel=1e-6
    )
