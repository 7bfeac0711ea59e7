import pytest
import torch

from ignite.engine import Engine
from ignite.handlers.param_scheduler import LinearCyclicalScheduler, ParamScheduler, PiecewiseLinear


class Given(ParamScheduler):
    """Writes what it was given."""

    def __init__(self, value, **options):
        optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(2)], lr=0.5)
        super().__init__(optimizer, "lr", **options)
        self.value = value

    def get_param(self):
        return self.value

    def lrs(self):
        return [group["lr"] for group in self.optimizer.param_groups]


def test_one_value_for_all_groups_or_one_for_each():
    for value, expected in ((1.0, [1.0, 1.0]), ([1.0, 2.0], [1.0, 2.0])):
        scheduler = Given(value)
        scheduler(None)
        assert scheduler.lrs() == expected


def test_a_list_of_another_length_changes_nothing():
    scheduler = Given([1.0, 2.0, 3.0])
    with pytest.raises(
        ValueError, match="size of value is different than optimizer_param_groups 3 != 2: get_param"
    ):
        scheduler(None)
    assert scheduler.lrs() == [0.5, 0.5]
    assert scheduler.event_index == 0


def test_the_history_has_the_name_that_it_is_given():
    engine = Engine(lambda engine, batch: None)
    scheduler = Given([1.0, 2.0], save_history=True)
    scheduler(engine)
    scheduler(engine, "mine")
    scheduler(engine, name="mine")
    scheduler.save_history = False
    scheduler(engine)
    assert engine.state.param_history == {"lr": [[1.0, 2.0]], "mine": [[1.0, 2.0], [1.0, 2.0]]}


def test_without_a_wish_for_it_there_is_no_history():
    engine = Engine(lambda engine, batch: None)
    Given(1.0)(engine)
    assert not hasattr(engine.state, "param_history")


def test_a_group_that_is_not_there_is_said_when_it_is_needed():
    scheduler = Given(1.0, param_group_index=2)
    with pytest.raises(IndexError, match="of the optimizer, which has 2, but given 2"):
        scheduler(None)
    scheduler.optimizer.add_param_group({"params": [torch.zeros(1)]})
    scheduler(None)
    assert scheduler.lrs() == [0.5, 0.5, 1.0]


def test_groups_are_found_again_after_the_optimizer_is_loaded():
    """Loading replaces the dictionaries."""
    scheduler = Given(1.0, param_group_index=1)
    scheduler.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    scheduler(None)
    assert scheduler.lrs() == [0.5, 1.0]


def test_a_tensor_is_written_in_place():
    rate = torch.tensor(1.0)
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=rate)
    engine = Engine(lambda engine, batch: None)
    PiecewiseLinear(optimizer, "lr", [(0, 1.0), (2, 0.0)], save_history=True).attach(engine)
    engine.run([0] * 2)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 0.5
    assert engine.state.param_history == {"lr": [[1.0], [0.5]]}


def test_optimizers_of_other_libraries_do():
    class Other:
        param_groups = ({"lr": 1.0},)

    PiecewiseLinear(Other(), "lr", [(0, 3.0)])(None)
    assert Other.param_groups == ({"lr": 3.0},)


@pytest.mark.parametrize("index", [None, 0, 1, -2])
def test_a_simulation_needs_no_optimizer(index):
    rows = LinearCyclicalScheduler.simulate_values(
        3,
        param_name="lr",
        start_value=1.0,
        end_value=0.0,
        cycle_size=4,
        param_group_index=index,
        save_history=True,
    )
    assert rows == [[0, 1.0], [1, 0.5], [2, 0.0]]


def test_a_simulation_leaves_an_optimizer_alone_that_it_is_given():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    rows = PiecewiseLinear.simulate_values(
        2, optimizer=optimizer, param_name="lr", milestones_values=[(0, 1.0)]
    )
    assert rows == [[0, 1.0], [1, 1.0]]
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_what_a_handler_schedules_is_seen_by_those_after_it():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    engine = Engine(lambda engine, batch: None)
    PiecewiseLinear(optimizer, "lr", [(0, 1.0), (4, 0.0)]).attach(engine)
    PiecewiseLinear(optimizer, "weight_decay", [(0, 0.0), (4, 1.0)]).attach(engine)
    engine.run([0] * 2)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (
        0.75,
        0.25,
    )
