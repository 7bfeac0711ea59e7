import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as schedules

from ignite.engine import Engine
from ignite.handlers.param_scheduler import (
    LinearCyclicalScheduler,
    LRScheduler,
    PiecewiseLinear,
    create_lr_scheduler_with_warmup,
)
from support.learning_rates import rates_of


def make_optimizer(lrs=(0.2,), momentum=0.0):
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=0.2, momentum=momentum)


def exponential(optimizer):
    return schedules.ExponentialLR(optimizer, gamma=0.98)


def linear(optimizer):
    return LinearCyclicalScheduler(optimizer, "lr", 0.8, 0.0, 10)


@pytest.mark.parametrize(
    ("make", "end", "first", "second"),
    [
        (exponential, 0.05, 0.2, 0.2 * 0.98),
        (exponential, 0.2, 0.2 * 0.98, 0.2 * 0.98**2),
        (linear, 0.05, 0.8, 0.8 - 0.16),
        (linear, 0.8, 0.8 - 0.16, 0.8 - 0.32),
        (exponential, None, 0.2 * 0.98, 0.2 * 0.98**2),
    ],
    ids=["A", "B", "C", "D", "E"],
)
def test_the_cases_of_ignite(make, end, first, second):
    last = 0.2 if end is None else end
    expected = [0.01 + (last - 0.01) * k / 9 for k in range(10)] + [first, second]
    rows = [None] * 12
    optimizer = make_optimizer()
    scheduler = create_lr_scheduler_with_warmup(
        make(optimizer), 0.01, 10, end, save_history=True, output_simulated_values=rows
    )
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert rows == [[k, pytest.approx(value)] for k, value in enumerate(expected)]
    trainer = Engine(lambda engine, batch: optimizer.step())
    scheduler.attach(trainer)
    trainer.run([0] * 12)
    assert trainer.state.param_history == {"lr": [[pytest.approx(value)] for value in expected]}


@pytest.mark.parametrize("make", [exponential, linear], ids=["torch", "own"])
@settings(max_examples=15, deadline=None)
@given(
    start=st.floats(0.0, 1.0),
    end=st.sampled_from([None, 0.05, 0.2, 0.8]),
    duration=st.integers(2, 6),
    cut=st.integers(0, 20),
)
def test_any_event_is_the_closed_form_also_after_resuming(make, start, end, duration, cut):
    def new():
        return create_lr_scheduler_with_warmup(make(make_optimizer()), start, duration, end)

    first, second = new(), new()
    seen = rates_of(first, cut)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    seen += rates_of(second, 20 - cut)

    last = 0.2 if end is None else end
    warmup = [start + (last - start) * k / (duration - 1) for k in range(duration)]
    after = [
        0.2 * 0.98**k if make is exponential else 0.8 * abs(k % 10 / 10 - 0.5) * 2
        for k in range(20)
    ]
    left_out = 1 if after[0] == last else 0
    assert seen == [[pytest.approx(value)] for value in [*warmup, *after[left_out:]][:20]]


def test_groups_end_where_they_are_and_torch_counts_once():
    optimizer = make_optimizer((0.1, 0.2))
    scheduler = create_lr_scheduler_with_warmup(schedules.StepLR(optimizer, 2, 0.5), 0.0, 3)
    expected = [
        [0.0, 0.0],
        [0.05, 0.1],
        [0.1, 0.2],
        [0.1, 0.2],
        [0.05, 0.1],
        [0.05, 0.1],
        [0.025, 0.05],
    ]
    assert rates_of(scheduler, 7) == [pytest.approx(row) for row in expected]


def test_a_value_is_left_out_only_if_it_is_the_same_for_all_groups():
    optimizer = make_optimizer((0.1, 0.2))
    scheduler = create_lr_scheduler_with_warmup(schedules.StepLR(optimizer, 2, 0.5), 0.0, 2, 0.1)
    expected = [[0.0, 0.0], [0.1, 0.1], [0.1, 0.2], [0.1, 0.2], [0.05, 0.1]]
    assert rates_of(scheduler, 5) == [pytest.approx(row) for row in expected]


def test_a_scheduler_of_one_group_leaves_the_others_at_the_end_of_the_warmup():
    optimizer = make_optimizer((0.1, 0.2))
    inner = PiecewiseLinear(optimizer, "lr", [(0, 0.2), (4, 0.6)], param_group_index=1)
    scheduler = create_lr_scheduler_with_warmup(inner, 0.0, 3)
    expected = [[0.0, 0.0], [0.05, 0.1], [0.1, 0.2], [0.1, 0.3], [0.1, 0.4]]
    assert rates_of(scheduler, 5) == [pytest.approx(row) for row in expected]


def test_momenta_that_torch_schedules_are_its_own_after_the_warmup():
    def one_cycle(optimizer):
        return schedules.OneCycleLR(optimizer, 0.1, total_steps=10)

    plain = make_optimizer(momentum=0.9)
    torchs, expected = one_cycle(plain), []
    for _ in range(8):
        expected.append((plain.param_groups[0]["lr"], plain.param_groups[0]["momentum"]))
        plain.step()
        torchs.step()

    optimizer = make_optimizer(momentum=0.9)
    scheduler = create_lr_scheduler_with_warmup(one_cycle(optimizer), 0.0, 3)
    rates_of(scheduler, 2)
    seen = []
    for _ in range(8):
        scheduler(None)
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
    assert seen == expected


def test_a_wrapped_scheduler_of_torch_does_as_well():
    optimizer = make_optimizer()
    scheduler = create_lr_scheduler_with_warmup(LRScheduler(exponential(optimizer)), 0.0, 2)
    assert rates_of(scheduler, 4) == [
        [0.0],
        [0.2],
        [pytest.approx(0.2 * 0.98)],
        [pytest.approx(0.2 * 0.98**2)],
    ]


def test_a_learning_rate_in_a_tensor():
    rate = torch.tensor(0.2)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = create_lr_scheduler_with_warmup(schedules.ExponentialLR(optimizer, 0.5), 0.0, 3)
    seen = [
        value.item() for (value,) in ([row[0].clone()] for row in values_in_place(scheduler, 5))
    ]
    assert seen == pytest.approx([0.0, 0.1, 0.2, 0.1, 0.05])
    assert optimizer.param_groups[0]["lr"] is rate


def test_a_learning_rate_in_float32_is_the_end_of_the_warmup_also_given_as_a_number():
    # 0.1 in float32 is 1.5e-8 more than 0.1.
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.1))
    scheduler = create_lr_scheduler_with_warmup(
        schedules.ExponentialLR(optimizer, 0.5), 0.0, 3, 0.1
    )
    seen = [
        value.item() for (value,) in ([row[0].clone()] for row in values_in_place(scheduler, 5))
    ]
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.025])


def values_in_place(scheduler, num_events):
    for _ in range(num_events):
        scheduler(None)
        yield [group["lr"] for group in scheduler.optimizer.param_groups]


def test_building_it_changes_nothing_of_the_optimizer():
    optimizer = make_optimizer((0.1, 0.2), momentum=0.9)
    inner = schedules.CyclicLR(optimizer, 0.1, 0.5)
    before = copy.deepcopy([optimizer.state_dict(), inner.state_dict()])
    create_lr_scheduler_with_warmup(inner, 0.0, 3, output_simulated_values=[None] * 20)
    assert [optimizer.state_dict(), inner.state_dict()] == before


OPTIMIZER = make_optimizer()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lr_scheduler": 1}, TypeError, "LRScheduler or ParamScheduler, but given <class 'int'>"),
        (
            {"lr_scheduler": schedules.ReduceLROnPlateau(OPTIMIZER)},
            TypeError,
            "given ReduceLROnPlateau: use",
        ),
        (
            {"lr_scheduler": PiecewiseLinear(OPTIMIZER, "momentum", [(0, 1.0)])},
            ValueError,
            "same param_name",
        ),
        ({"warmup_duration": 1.5}, TypeError, "warmup_duration should be integer, but given 1.5"),
        ({"warmup_duration": True}, TypeError, "warmup_duration should be integer, but given True"),
        (
            {"warmup_duration": 1},
            ValueError,
            "warmup_duration should be at least 2 events, but given 1",
        ),
        (
            {"warmup_start_value": float("nan")},
            ValueError,
            "warmup_start_value should be a finite number, but given nan",
        ),
        (
            {"warmup_end_value": "1"},
            TypeError,
            "warmup_end_value should be a number, but given '1'",
        ),
        (
            {"output_simulated_values": 3},
            TypeError,
            "should be a list of None, .* but given <class 'int'>",
        ),
    ],
    ids=["number", "plateau", "momentum", "float", "bool", "short", "nan", "string", "values"],
)
def test_arguments_that_make_no_sense(changes, error, message):
    options = {"lr_scheduler": linear(OPTIMIZER), "warmup_start_value": 0.0, "warmup_duration": 3}
    with pytest.raises(error, match=message):
        create_lr_scheduler_with_warmup(**(options | changes))


def test_a_state_that_ignite_saved_is_gone_on_with():
    # Saved by pytorch-ignite 0.5.5 after four events, of which the last gave 0.09.
    warmup = {"event_index": 3, "param_name": "lr", "save_history": False, "param_group_index": 0}
    warmup |= {"values": [0.0, 0.1], "milestones": [0, 2], "_index": 0}
    after = {"event_index": 1, "param_name": "lr", "save_history": False, "param_group_index": None}
    after["lr_scheduler"] = {
        "gamma": 0.9,
        "base_lrs": [0.1],
        "last_epoch": 2,
        "_step_count": 1,
        "_last_lr": [0.1],
    }
    saved = {"event_index": 0, "param_name": "lr", "save_history": False, "param_group_index": None}
    saved |= {"_current_duration": -2, "durations": [3], "_scheduler_index": 1}
    saved["schedulers"] = [{"schedulers": [("lr", warmup)]}, after]

    optimizer = make_optimizer([0.1])
    scheduler = create_lr_scheduler_with_warmup(
        schedules.ExponentialLR(optimizer, 0.9), 0.0, 3, 0.1
    )
    optimizer.param_groups[0]["lr"] = 0.09  # as the optimizer's own state says
    scheduler.load_state_dict(saved)
    assert rates_of(scheduler, 3) == [pytest.approx([lr]) for lr in (0.081, 0.0729, 0.06561)]
