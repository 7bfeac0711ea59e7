import copy
import io

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as schedules

from ignite.engine import Engine
from ignite.handlers.param_scheduler import (
    ConcatScheduler,
    LinearCyclicalScheduler,
    LRScheduler,
    ParamGroupScheduler,
    PiecewiseLinear,
)
from support.learning_rates import rates_of


def make_optimizer(num_groups=1):
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(num_groups)]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def count_from(optimizer, first, **options):
    """first, first + 1, first + 2, ..."""
    return PiecewiseLinear(optimizer, "lr", [(0, first), (1000, first + 1000)], **options)


@settings(max_examples=40, deadline=None)
@given(durations=st.lists(st.integers(0, 6), min_size=1, max_size=4), num_before=st.integers(0, 30))
@example(durations=[1, 0, 0, 2], num_before=1)
def test_each_runs_for_its_time_also_after_resuming(durations, num_before):
    def make():
        optimizer = make_optimizer()
        members = [count_from(optimizer, 100.0 * i) for i in range(len(durations) + 1)]
        return ConcatScheduler(members, durations)

    first, second = make(), make()
    seen = rates_of(first, num_before)
    second.load_state_dict(first.state_dict())
    seen += rates_of(second, 30 - num_before)
    expected = [
        100.0 * i + k for i, duration in enumerate([*durations, 30]) for k in range(duration)
    ]
    assert seen == [[pytest.approx(value)] for value in expected[:30]]


@pytest.mark.parametrize("num_before", range(9))
def test_a_scheduler_of_torch_begins_with_its_own_value_wherever_it_is_resumed(num_before):
    """Not with the value that the scheduler before it has left in the optimizer."""

    def make():
        optimizer = make_optimizer()
        decay = LRScheduler(schedules.ExponentialLR(optimizer, 0.5))
        return ConcatScheduler(
            [count_from(optimizer, 10.0), decay, count_from(optimizer, 50.0)], [2, 4]
        )

    first, second = make(), make()
    seen = rates_of(first, num_before)
    file = io.BytesIO()
    torch.save([first.optimizer.state_dict(), first.state_dict()], file)
    file.seek(0)
    optimizer_state, state = torch.load(file, weights_only=True)
    second.optimizer.load_state_dict(optimizer_state)
    second.load_state_dict(state)
    seen += rates_of(second, 8 - num_before)
    assert seen[:8] == [[10.0], [11.0], [1.0], [0.5], [0.25], [0.125], [50.0], [51.0]]


def test_a_scheduler_of_torch_in_a_group_begins_with_its_own_value():
    optimizer = make_optimizer()
    decay = ParamGroupScheduler([LRScheduler(schedules.ExponentialLR(optimizer, 0.5))])
    scheduler = ConcatScheduler([count_from(optimizer, 10.0), decay], [2])
    assert rates_of(scheduler, 4) == [[10.0], [11.0], [1.0], [0.5]]


def test_a_scheduler_of_torch_that_comes_again_continues():
    optimizer = make_optimizer()
    decay = LRScheduler(schedules.ExponentialLR(optimizer, 0.5))
    scheduler = ConcatScheduler([decay, count_from(optimizer, 10.0), decay], [2, 1])
    assert rates_of(scheduler, 5) == [[1.0], [0.5], [10.0], [0.25], [0.125]]


def test_nested():
    optimizer = make_optimizer(2)

    def pair(first):
        return ParamGroupScheduler(
            [count_from(optimizer, first + i, param_group_index=i) for i in range(2)]
        )

    inner = ConcatScheduler([LRScheduler(schedules.ExponentialLR(optimizer, 0.5)), pair(20.0)], [2])
    outer = ConcatScheduler([pair(10.0), inner], [2])
    expected = [[10.0, 11.0], [11.0, 12.0], [1.0, 1.0], [0.5, 0.5], [20.0, 21.0], [21.0, 22.0]]
    assert ConcatScheduler.simulate_values(6, outer.schedulers, outer.durations) == [
        [i, *values] for i, values in enumerate(expected)
    ]
    state = outer.state_dict()
    seen = rates_of(outer, 3)
    assert seen + rates_of(outer, 3) == expected
    outer.load_state_dict(state)
    assert rates_of(outer, 6) == expected


def test_looking_ahead_changes_nothing():
    optimizer = make_optimizer()
    decay = LRScheduler(schedules.ExponentialLR(optimizer, 0.5))
    scheduler = ConcatScheduler([count_from(optimizer, 10.0), decay], [2])
    rates_of(scheduler, 2)
    before = copy.deepcopy([scheduler.state_dict(), optimizer.state_dict()])
    assert scheduler.get_param() == 1.0
    assert [scheduler.state_dict(), optimizer.state_dict()] == before
    assert rates_of(scheduler, 1) == [[1.0]]
    assert scheduler.get_param() == 0.5
    assert scheduler.optimizer_param_groups == optimizer.param_groups


def test_a_simulation_puts_everything_back_also_if_it_fails():
    optimizer = make_optimizer()
    one_cycle = LRScheduler(schedules.OneCycleLR(optimizer, 0.1, total_steps=4), save_history=True)
    members = [count_from(optimizer, 10.0, save_history=True), one_cycle]
    before = copy.deepcopy([optimizer.state_dict(), *(member.state_dict() for member in members)])
    ConcatScheduler.simulate_values(5, members, [2])
    assert [optimizer.state_dict(), *(member.state_dict() for member in members)] == before
    with pytest.raises(ValueError, match="Tried to step"):
        ConcatScheduler.simulate_values(9, members, [2])
    assert [optimizer.state_dict(), *(member.state_dict() for member in members)] == before


def test_a_simulation_shows_what_it_is_asked_for():
    optimizer = make_optimizer(2)
    members = [count_from(optimizer, 10.0), count_from(optimizer, 20.0)]
    rows = ConcatScheduler.simulate_values(2, members, [1], param_names=["lr", "momentum"])
    assert rows == [[0, 10.0, 10.0, 0.9, 0.9], [1, 20.0, 20.0, 0.9, 0.9]]
    with pytest.raises(TypeError, match="param_names should be list or tuple, but given 'lr'"):
        ConcatScheduler.simulate_values(2, members, [1], param_names="lr")
    with pytest.raises(
        ValueError, match=r"param_names should be list or tuple of strings, but given \[1\]"
    ):
        ConcatScheduler.simulate_values(2, members, [1], param_names=[1])
    with pytest.raises(TypeError, match="schedulers should be a sequence, but given 3"):
        ConcatScheduler.simulate_values(2, 3, [1])


def test_the_wish_for_a_history_holds_for_all():
    optimizer = make_optimizer()
    trainer = Engine(lambda engine, batch: None)
    members = [count_from(optimizer, 10.0), count_from(optimizer, 20.0, save_history=True)]
    scheduler = ConcatScheduler(members, [2], save_history=True)
    scheduler.attach(trainer)
    trainer.run([0] * 3)
    assert trainer.state.param_history == {"lr": [[10.0], [11.0], [20.0]]}
    scheduler.save_history = False
    assert [member.save_history for member in members] == [False, False]


def test_the_keys_of_the_state_are_ignites():
    optimizer = make_optimizer()
    scheduler = ConcatScheduler([count_from(optimizer, 10.0), count_from(optimizer, 20.0)], [2])
    rates_of(scheduler, 5)
    state = scheduler.state_dict()
    assert [one["event_index"] for one in state.pop("schedulers")] == [2, 3]
    assert state == {  # recorded from pytorch-ignite 0.5.5
        "event_index": 0, "param_name": "lr", "save_history": False, "param_group_index": None,
        "_current_duration": -4, "durations": [2], "_scheduler_index": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"schedulers": None}, ValueError, "'schedulers' is absent"),
        ({"durations": None}, ValueError, "'durations' is absent"),
        (
            {"schedulers": []},
            ValueError,
            "contains 0 state_dicts of concatenated schedulers, but 2 needed",
        ),
        ({"schedulers": [{}, {}]}, ValueError, "'event_index' is absent"),
        (
            {"durations": [1, 2]},
            ValueError,
            "Incorrect number schedulers or duration values, given 2 and 2",
        ),
        (
            {"_scheduler_index": 2},
            ValueError,
            "_scheduler_index in state_dict should be less than 2, but given 2",
        ),
        (
            {"_current_duration": 1.5},
            TypeError,
            "_current_duration in state_dict should be an integer, but given 1.5",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(changes, error, message):
    optimizer = make_optimizer()
    scheduler = ConcatScheduler([count_from(optimizer, 10.0), count_from(optimizer, 20.0)], [2])
    before = copy.deepcopy(scheduler.state_dict())
    rates_of(scheduler, 3)
    state = {
        key: value
        for key, value in {**scheduler.state_dict(), **changes}.items()
        if value is not None
    }
    state["param_group_index"] = None
    scheduler.load_state_dict(before)
    with pytest.raises(error, match=message):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


def test_a_member_that_refuses_its_state_leaves_the_others_alone():
    optimizer = make_optimizer()
    scheduler = ConcatScheduler([count_from(optimizer, 10.0), count_from(optimizer, 20.0)], [2])
    before = copy.deepcopy(scheduler.state_dict())
    rates_of(scheduler, 3)
    state = scheduler.state_dict()
    state["schedulers"][1]["event_index"] = -1
    scheduler.load_state_dict(before)
    with pytest.raises(ValueError, match="at least 0, but given -1"):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


OPTIMIZER = make_optimizer()
ONE = LinearCyclicalScheduler(OPTIMIZER, "lr", 1, 0, 10)


@pytest.mark.parametrize(
    ("schedulers", "durations", "error", "message"),
    [
        (None, [1], TypeError, "schedulers should be a sequence, but given None"),
        (
            [ONE],
            [],
            ValueError,
            "schedulers should be of more than one parameter schedulers, but given",
        ),
        ([ONE, ONE], None, TypeError, "durations should be list/tuple, but given None"),
        (
            [ONE, ONE],
            [1.5],
            ValueError,
            r"durations should be list/tuple of integers, at least 0, but given \[1.5\]",
        ),
        (
            [ONE, ONE],
            [True],
            ValueError,
            r"durations should be list/tuple of integers, at least 0, but given \[True\]",
        ),
        (
            [ONE, ONE],
            [-1],
            ValueError,
            r"durations should be list/tuple of integers, at least 0, but given \[-1\]",
        ),
        (
            [ONE, ONE],
            [1, 2],
            ValueError,
            "Incorrect number schedulers or duration values, given 2 and 2",
        ),
        (
            [ONE, 1],
            [1],
            TypeError,
            "index 1 of schedulers should be a parameter scheduler, but given <class 'int'>",
        ),
        ([ONE, count_from(make_optimizer(), 1.0)], [1], ValueError, "related to same optimizer"),
        (
            [ONE, PiecewiseLinear(OPTIMIZER, "momentum", [(0, 1.0)])],
            [1],
            ValueError,
            r"related to same param_name, but given \['lr', 'momentum'\]",
        ),
        (
            [ONE, ParamGroupScheduler([ONE, count_from(make_optimizer(), 1.0)])],
            [1],
            ValueError,
            "to same optimizer",
        ),
    ],
    ids=[
        "none",
        "one",
        "no durations",
        "float",
        "bool",
        "negative",
        "many",
        "number",
        "optimizers",
        "names",
        "group",
    ],
)
def test_what_does_not_go_together(schedulers, durations, error, message):
    with pytest.raises(error, match=message):
        ConcatScheduler(schedulers, durations)
