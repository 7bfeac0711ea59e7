import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import (
    CosineAnnealingScheduler,
    CyclicalScheduler,
    LinearCyclicalScheduler,
)


def make_optimizer(num_groups=1):
    return torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(num_groups)], lr=0.5)


def values_of(scheduler, num_events):
    values = []
    for _ in range(num_events):
        scheduler(None)
        values.append(scheduler.optimizer.param_groups[0]["lr"])
    return values


def triangle(x):
    return 2 * x if x < 0.5 else 2 - 2 * x


CURVES = {
    "triangle": (LinearCyclicalScheduler, {}, triangle),
    "line": (LinearCyclicalScheduler, {"monotonic": True}, lambda x: x),
    "cosine": (CosineAnnealingScheduler, {}, lambda x: (1 - math.cos(math.pi * x)) / 2),
}


def closed_form(curve, k, start, end, size, mult=1.0, start_mult=1.0, end_mult=1.0, warmup=0):
    """The value at event ``k``: finds its cycle by walking over whole cycles, then looks it up on the curve."""
    cycle = 0
    while k >= size + warmup:
        k -= size + warmup
        size, warmup, cycle = max(int(size * mult), 1), int(warmup * mult), cycle + 1
    low, high = start * start_mult**cycle, end * end_mult**cycle
    if k < size:
        return low + (high - low) * curve(k / size)
    return high + (low * start_mult - high) * (k - size) / warmup


@pytest.mark.parametrize("name", CURVES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_event_is_the_closed_form_also_after_resuming(name, data):
    kind, options, curve = CURVES[name]
    start, end = data.draw(st.floats(-2, 2)), data.draw(st.floats(-2, 2))
    size = data.draw(st.integers(2, 12))
    mult, start_mult, end_mult = (data.draw(st.floats(0.5, 1.6)) for _ in range(3))
    warmup = 0 if name == "triangle" else data.draw(st.integers(0, 5))
    num_before = data.draw(st.integers(0, 79))

    def make():
        return kind(
            make_optimizer(),
            "lr",
            start,
            end,
            size,
            mult,
            start_mult,
            end_mult,
            warmup_duration=warmup,
            **options,
        )

    first, second = make(), make()
    used = values_of(first, num_before)
    second.load_state_dict(first.state_dict())
    used += values_of(second, 80 - num_before)
    expected = [
        closed_form(curve, k, start, end, size, mult, start_mult, end_mult, warmup)
        for k in range(80)
    ]
    assert used == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_long_runs_do_not_drift():
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1.0, 0.0, 10)
    assert values_of(scheduler, 100_001)[::10] == [1.0] * 10_001


def test_the_values_of_ignites_documentation():
    options = {"param_name": "lr", "start_value": 1.0, "end_value": 0.0, "cycle_size": 10}
    rows = LinearCyclicalScheduler.simulate_values(17, warmup_duration=5, monotonic=True, **options)
    down = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [value for _, value in rows] == pytest.approx([*down, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.9])
    rows = CosineAnnealingScheduler.simulate_values(11, **options)
    cosine = [0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    assert rows == [[i, pytest.approx(value)] for i, value in enumerate([*cosine, 1.0])]


def test_attached_it_writes_before_each_iteration():
    optimizer = make_optimizer(2)
    scheduler = LinearCyclicalScheduler(optimizer, "momentum", 1.0, 0.0, 4, save_history=True)
    used = []
    trainer = Engine(
        lambda engine, batch: used.append([group["momentum"] for group in optimizer.param_groups])
    )
    scheduler.attach(trainer)
    trainer.run([0] * 3, max_epochs=2)
    assert used == [[1.0] * 2, [0.5] * 2, [0.0] * 2, [0.5] * 2, [1.0] * 2, [0.5] * 2]
    assert trainer.state.param_history == {"momentum": used}


def test_one_group_of_several():
    optimizer = make_optimizer(2)
    LinearCyclicalScheduler(optimizer, "lr", 1.0, 0.0, 4, param_group_index=1)(None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1.0]


def test_another_event_counts_as_well():
    optimizer = make_optimizer()
    scheduler = LinearCyclicalScheduler(optimizer, "lr", 1.0, 0.0, 4)
    trainer = Engine(lambda engine, batch: None)
    scheduler.attach(trainer, Events.EPOCH_STARTED | Events.COMPLETED)
    trainer.run([0] * 5, max_epochs=2)
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_cycles_that_become_shorter_end_at_one_event():
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1.0, 0.0, 4, cycle_mult=0.5)
    assert values_of(scheduler, 9) == [1.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("monotonic", "expected"), [(False, 1.0), (True, 0.0)])
def test_behind_the_last_event_of_a_cycle_is_the_end_of_its_curve(monotonic, expected):
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1.0, 0.0, 4, monotonic=monotonic)
    values_of(scheduler, 4)
    assert scheduler.get_param() == expected


def test_a_part_of_an_event_ends_with_the_event_after_it():
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1.0, 0.0, 2.5)
    assert values_of(scheduler, 5) == pytest.approx([1.0, 0.2, 0.6, 1.0, 0.0])


def test_classes_of_users_have_the_attributes_of_the_cycle_at_hand():
    class Sawtooth(CyclicalScheduler):
        def get_param(self):
            return self.start_value + self.cycle + self.event_index / self.cycle_size

    scheduler = Sawtooth(make_optimizer(), "lr", 8.0, 0.0, 2, cycle_mult=2.0, start_value_mult=0.5)
    assert values_of(scheduler, 7) == [8.0, 8.5, 5.0, 5.25, 5.5, 5.75, 4.0]


def of_ignite():
    """As recorded from pytorch-ignite 0.5.5 after three events of Linear(opt, "lr", 1, 0, 10)."""
    return {
        "event_index": 3, "param_name": "lr", "save_history": False, "param_group_index": None, "start_value": 1,
        "end_value": 0, "cycle_size": 10, "cycle_mult": 1.0, "cycle": 0, "start_value_mult": 1.0,
        "end_value_mult": 1.0, "warmup_duration": 0, "total_cycle_size": 10,
    }  # fmt: skip


def test_the_state_is_ignites():
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1, 0, 10)
    values_of(scheduler, 3)
    assert scheduler.state_dict() == of_ignite()
    other = LinearCyclicalScheduler(make_optimizer(), "lr", 5, 6, 7)
    other.load_state_dict(of_ignite())
    assert values_of(other, 3) == pytest.approx([0.4, 0.2, 0.0])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"event_index": "3"},
            TypeError,
            "event_index in state_dict should be an integer, but given '3'",
        ),
        (
            {"event_index": True},
            TypeError,
            "event_index in state_dict should be an integer, but given True",
        ),
        (
            {"start_value": math.nan},
            ValueError,
            "start_value in state_dict should be a finite number, but given nan",
        ),
        ({"cycle_size": 0}, ValueError, "cycle_size in state_dict should be positive, but given 0"),
        (
            {"end_value": None},
            TypeError,
            "end_value in state_dict should be a number, but given None",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(changes, error, message):
    scheduler = LinearCyclicalScheduler(make_optimizer(), "lr", 1, 0, 10)
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(error, match=message):
        scheduler.load_state_dict(of_ignite() | changes)
    assert scheduler.state_dict() == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"cycle_size": 1},
            ValueError,
            "cycle_size should be positive and larger than 1, but given 1",
        ),
        ({"cycle_size": True}, TypeError, "cycle_size should be a number, but given True"),
        (
            {"cycle_size": math.inf},
            ValueError,
            "cycle_size should be a finite number, but given inf",
        ),
        ({"start_value": "1"}, TypeError, "start_value should be a number, but given '1'"),
        ({"end_value": math.nan}, ValueError, "end_value should be a finite number, but given nan"),
        ({"cycle_mult": None}, TypeError, "cycle_mult should be a number, but given None"),
        (
            {"start_value_mult": [1]},
            TypeError,
            r"start_value_mult should be a number, but given \[1\]",
        ),
        (
            {"end_value_mult": math.inf},
            ValueError,
            "end_value_mult should be a finite number, but given inf",
        ),
        (
            {"warmup_duration": 3},
            ValueError,
            "Invalid combination when warmup_duration > 0 and monotonic=False",
        ),
        (
            {"warmup_duration": -3, "monotonic": True},
            ValueError,
            "warmup_duration should be at least 0 .* given -3",
        ),
        ({"param_name": 1}, TypeError, "param_name should be a string, but given 1"),
        (
            {"param_group_index": 0.0},
            TypeError,
            "param_group_index should be an integer or None, but given 0.0",
        ),
        (
            {"optimizer": object()},
            TypeError,
            "has attribute 'param_groups' as list/tuple, but given <class 'object'>",
        ),
    ],
)
def test_arguments_that_make_no_sense(changes, error, message):
    options = {
        "optimizer": make_optimizer(),
        "param_name": "lr",
        "start_value": 1,
        "end_value": 0,
        "cycle_size": 10,
    }
    with pytest.raises(error, match=message):
        LinearCyclicalScheduler(**(options | changes))


def test_numbers_of_numpy_and_tensors_do_and_can_be_saved():
    scheduler = LinearCyclicalScheduler(
        make_optimizer(), "lr", np.float32(1), torch.tensor(0.0), np.int64(4)
    )
    assert values_of(scheduler, 2) == [1.0, 0.5]
    assert {type(value) for value in scheduler.state_dict().values()} <= {
        int,
        float,
        str,
        bool,
        type(None),
    }
