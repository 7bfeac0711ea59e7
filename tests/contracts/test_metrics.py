"""Properties of every metric, tested over the list of all metrics."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.utils import apply_to_tensor
from support.cases import (
    CASES,
    FINELY,
    NOT_HERE,
    all_metric_classes,
    as_plain,
    batch_of,
    close,
    cut,
    every_metric,
    every_metric_of_tensors,
    fed,
    in_dtype,
    value_of,
    wide,
)
from support.effort import few


def test_every_metric_is_here():
    missing = {
        name for name in all_metric_classes() if not any(known.startswith(name) for known in CASES)
    }
    assert missing - NOT_HERE.keys() - {"VariableAccumulation"} == set()


@every_metric
@few(6)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) >= 8)
)
def test_any_cut_into_batches_gives_the_value_of_one_batch(case, sizes):
    if case.depends_on_batches:
        pytest.skip("a mean over batches")
    batch = wide(batch_of(case, sum(sizes), seed=sum(sizes)))
    # The user's function computes in float32.
    tolerance = 1e-6 if case.name == "Loss" else FINELY
    assert value_of(fed(case, cut(batch, sizes))) == close(value_of(fed(case, [batch])), tolerance)


@every_metric
def test_update_and_compute_in_turns(case):
    first, second = cut(batch_of(case, 17), [9, 8])
    metric = fed(case, [first])
    assert value_of(metric) == close(value_of(fed(case, [first])))
    assert value_of(metric) == close(value_of(fed(case, [first])))
    metric.update(second)
    assert value_of(metric) == close(value_of(fed(case, [first, second])))


@every_metric
def test_what_is_computed_may_be_changed_by_its_owner(case):
    metric = fed(case, [batch_of(case, 12)])
    before = value_of(metric)
    value = metric.compute()
    for item in value if isinstance(value, tuple) else [value]:
        if isinstance(item, torch.Tensor):
            item.fill_(-7)
    assert value_of(metric) == close(before)


@every_metric
def test_reset_makes_it_new(case):
    metric = fed(case, [batch_of(case, 12, seed=1)])
    metric.compute()
    metric.reset()
    if case.empty_value is None:
        with pytest.raises(NotComputableError, match="must have at least one"):
            metric.compute()
    batch = batch_of(case, 12, seed=2)
    metric.update(batch)
    assert value_of(metric) == close(value_of(fed(case, [batch])))


@every_metric
def test_without_examples_there_is_no_value(case):
    for metric in (case.make(), fed(case, [batch_of(case, 0)])):
        if case.empty_value is None:
            with pytest.raises(NotComputableError, match="must have at least one"):
                metric.compute()
        else:
            value = metric.compute()
            if isinstance(case.empty_value, dict):
                assert value == case.empty_value
                continue
            first = [*value.values()] if isinstance(value, dict) else value
            assert (
                torch.as_tensor(first[0] if isinstance(first, tuple | list) else first).sum()
                == case.empty_value
            )


@every_metric
def test_a_saved_state_loads_safely_and_continues(case):
    first, second = cut(batch_of(case, 20), [9, 11])
    metric = fed(case, [first])
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    other = fed(case, [batch_of(case, 9, seed=5)])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert value_of(other) == close(value_of(metric))
    for each in (metric, other):
        each.update(second)
    assert value_of(other) == close(value_of(metric))
    assert value_of(metric) == close(value_of(fed(case, [first, second])))


@every_metric
def test_copies_are_independent(case):
    first, second = cut(batch_of(case, 20), [9, 11])
    metric = fed(case, [first])
    before = value_of(metric)
    copies = [copy.deepcopy(metric)]
    if "lambda" not in repr(vars(metric)):
        copies.append(pickle.loads(pickle.dumps(metric)))
    for other in copies:
        other.update(second)
        assert value_of(other) == close(value_of(fed(case, [first, second])))
    assert value_of(metric) == close(before)


@every_metric
def test_attached_it_has_the_value_of_each_epoch(case):
    batches = cut(batch_of(case, 30), [11, 5, 14])
    engine = Engine(lambda engine, batch: batch)
    metric, seen = case.make(), []
    metric.attach(engine, "value")
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(as_plain(engine.state.metrics["value"]))
    )
    engine.run(batches, max_epochs=2)
    assert seen == [close(value_of(fed(case, batches)))] * 2


def test_attached_together_all_have_the_values_that_they_have_alone():
    by_examples = {}
    for case in CASES.values():
        by_examples.setdefault(case.examples, []).append(case)
    for cases in by_examples.values():
        batches = cut(batch_of(cases[0], 30), [11, 5, 14])
        engine = Engine(lambda engine, batch: batch)
        for case in cases:
            case.make().attach(engine, case.name)
        found = engine.run(batches, max_epochs=2).metrics
        for case in cases:
            assert as_plain(found[case.name]) == close(value_of(fed(case, batches))), case.name


@every_metric_of_tensors
def test_half_precision_outputs_are_accumulated_without_loss(case):
    """Not the value of float32 outputs, but exactly that of the same rounded numbers in float64."""
    if case.name in ("Loss", "EpochMetric"):
        pytest.skip("a function of the user computes in the precision of its input")
    batch = batch_of(case, 24)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        rounded = in_dtype(batch, dtype)
        values = [value_of(fed(case, [each])) for each in (rounded, wide(rounded))]
        assert values[0] == close(values[1], 1e-6), dtype
        assert values[0] is not math.nan


STORED_AS = {
    "with a gradient": lambda tensor: tensor.clone().requires_grad_(tensor.is_floating_point()),
    "with a graph": lambda tensor: (
        tensor.clone().requires_grad_() * 1 if tensor.is_floating_point() else tensor
    ),
    "every second row": lambda tensor: tensor.repeat_interleave(2, dim=0)[::2],
    "columns of a wider tensor": lambda tensor: torch.stack([tensor, tensor], dim=-1)[..., 0],
    "negated lazily": lambda tensor: (
        torch._neg_view(-tensor) if tensor.is_floating_point() else tensor
    ),
    "a parameter": lambda tensor: (
        torch.nn.Parameter(tensor.clone()) if tensor.is_floating_point() else tensor
    ),
}


@every_metric_of_tensors
def test_the_way_that_outputs_are_stored_changes_no_value_and_no_graph_is_kept(case):
    batch = batch_of(case, 12)
    expected = value_of(fed(case, [batch, batch]))
    for name, stored in STORED_AS.items():
        metric = fed(case, [apply_to_tensor(batch, stored)] * 2)
        assert value_of(metric) == close(expected, 1e-6), name
        assert not any(needs_grad(metric.state_dict())), name


def needs_grad(state):
    if isinstance(state, dict | list | tuple):
        return [
            found
            for one in (state.values() if isinstance(state, dict) else state)
            for found in needs_grad(one)
        ]
    return [isinstance(state, torch.Tensor) and state.requires_grad]
