import copy
import io

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import LRScheduler, ParamGroupScheduler, PiecewiseLinear


def make_optimizer():
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2)], lr=1.0
    )


def make(names=None, **options):
    optimizer = make_optimizer()
    body = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (10, 10.0)], param_group_index=0)
    head = PiecewiseLinear(optimizer, "lr", [(0, 50.0), (10, 60.0)], param_group_index=1)
    return ParamGroupScheduler([body, head], names, **options)


def values_of(scheduler, num_events):
    seen = []
    for _ in range(num_events):
        scheduler(None)
        seen.append([group["lr"] for group in scheduler.optimizer[0].param_groups])
    return seen


def test_all_are_called_at_each_event():
    scheduler = make(save_history=True)
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)
    trainer.run([0] * 3)
    assert scheduler.get_param() == [3.0, 53.0]
    assert [group["lr"] for group in scheduler.optimizer_param_groups] == [2.0, 52.0]
    assert trainer.state.param_history == {
        "lr": [[0.0], [50.0], [1.0], [51.0], [2.0], [52.0]]
    }  # as Ignite does
    assert scheduler.param_name == ["lr", "lr"]
    scheduler.save_history = False
    assert [one.save_history for one in scheduler.schedulers] == [False, False]
    assert scheduler.save_history is False


def test_each_has_its_name_in_the_history_unless_the_call_gives_one_for_all():
    scheduler = make(["body", "head"], save_history=True)
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)
    trainer.run([0] * 2)
    assert trainer.state.param_history == {
        "body": [[0.0], [1.0]],
        "head": [[50.0], [51.0]],
    }  # as Ignite does
    scheduler(trainer, "rate")
    assert trainer.state.param_history["rate"] == [[2.0], [52.0]]


def test_several_optimizers_and_parameters():
    first, second = make_optimizer(), make_optimizer()
    scheduler = ParamGroupScheduler(
        [PiecewiseLinear(first, "lr", [(0, 2.0)]), PiecewiseLinear(second, "momentum", [(0, 0.5)])]
    )
    scheduler(None)
    assert [first.param_groups[1]["lr"], second.param_groups[1]["momentum"]] == [2.0, 0.5]
    assert scheduler.names == ["lr", "momentum"]
    assert scheduler.optimizer == [first, second]


@pytest.mark.parametrize("num_before", [0, 1, 4])
def test_a_run_that_is_resumed_continues(num_before):
    first, second = make(["body", "head"]), make(["body", "head"])
    seen = values_of(first, num_before)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert seen + values_of(second, 6 - num_before) == [
        [pytest.approx(k), pytest.approx(50.0 + k)] for k in range(6)
    ]


def test_the_keys_of_the_state_are_ignites():
    state = make(["body", "head"]).state_dict()
    assert list(state) == ["schedulers"]
    assert [(name, one["param_group_index"]) for name, one in state["schedulers"]] == [
        ("body", 0),
        ("head", 1),
    ]


def test_a_simulation_puts_everything_back():
    optimizer = make_optimizer()
    scheduler = PiecewiseLinear(optimizer, "momentum", [(0, 0.5)], save_history=True)
    decay = LRScheduler(schedules.ExponentialLR(optimizer, 0.5), save_history=True)
    before = copy.deepcopy([optimizer.state_dict(), scheduler.state_dict(), decay.state_dict()])
    rows = ParamGroupScheduler.simulate_values(
        3, [scheduler, decay], names=["a", "b"], save_history=True
    )
    assert rows == [[0, 0.5, [1.0, 1.0]], [1, 0.5, [0.5, 0.5]], [2, 0.5, [0.25, 0.25]]]
    assert [optimizer.state_dict(), scheduler.state_dict(), decay.state_dict()] == before


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (3, TypeError, "state_dict should be a dictionary, but given <class 'int'>"),
        ({}, ValueError, "'schedulers' is absent"),
        (
            {"schedulers": []},
            ValueError,
            "contains 0 state_dicts of param group schedulers, but 2 needed",
        ),
        (
            {"schedulers": [("body", {}), ("x", {})]},
            ValueError,
            "does not correspond to required one: 'x' vs 'head'",
        ),
    ],
)
def test_a_state_that_does_not_fit(state, error, message):
    with pytest.raises(error, match=message):
        make(["body", "head"]).load_state_dict(state)


def test_a_member_that_refuses_its_state_leaves_the_others_alone():
    scheduler = make()
    before = copy.deepcopy(scheduler.state_dict())
    (name, first), _ = make().state_dict()["schedulers"]
    with pytest.raises(ValueError, match="'event_index' is absent"):
        scheduler.load_state_dict({"schedulers": [(name, first | {"event_index": 5}), (name, {})]})
    assert scheduler.state_dict() == before


@pytest.mark.parametrize(
    ("schedulers", "names", "error", "message"),
    [
        (None, None, TypeError, "schedulers should be a list/tuple, but given None"),
        (
            [1],
            None,
            ValueError,
            r"schedulers should be a list/tuple of parameter schedulers, but given \[1\]",
        ),
        (
            [],
            None,
            ValueError,
            r"schedulers should be a list/tuple of parameter schedulers, but given \[\]",
        ),
        (make().schedulers, "ab", TypeError, "names should be a list/tuple, but given 'ab'"),
        (
            make().schedulers,
            [1, 2],
            ValueError,
            r"of parameter scheduler's names, but given \[1, 2\]",
        ),
        (
            make().schedulers,
            ["a"],
            ValueError,
            "2 should be equal 1: names should have one name per scheduler",
        ),
    ],
    ids=["none", "number", "empty", "string", "numbers", "few"],
)
def test_arguments_that_make_no_sense(schedulers, names, error, message):
    with pytest.raises(error, match=message):
        ParamGroupScheduler(schedulers, names)
