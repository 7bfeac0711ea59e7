import pytest
import torch

from ignite.handlers._schedules import param_groups


class Looks:
    """As optimizers of other libraries do."""

    def __init__(self, kind=list):
        self.param_groups = kind([{"params": [], "lr": 0.5}, {"params": [], "lr": 0.25}])


class Counter:
    """Hands out its list itself, as schedulers of torch do."""

    def __init__(self):
        self.counts = [3]

    def state_dict(self):
        return {"counts": self.counts}

    def load_state_dict(self, state):
        self.counts = state["counts"]


@pytest.mark.parametrize("kind", [list, tuple])
def test_anything_with_groups_is_an_optimizer(kind):
    param_groups.check_optimizer(Looks(kind))


@pytest.mark.parametrize("given", [None, Looks(iter)], ids=["None", "iterator"])
def test_what_has_no_groups(given):
    with pytest.raises(TypeError, match="has attribute 'param_groups' as list/tuple, but given"):
        param_groups.check_optimizer(given)


def test_one_group_or_all():
    optimizer = Looks()
    assert param_groups.select(optimizer, None) is optimizer.param_groups
    assert [param_groups.select(optimizer, index)[0]["lr"] for index in (0, 1, -1, -2)] == [
        0.5,
        0.25,
        0.25,
        0.5,
    ]
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"of the optimizer, which has 2, but given {index}"):
            param_groups.select(optimizer, index)


def test_tensors_stay_the_same_tensors():
    rate = torch.tensor(1.0, requires_grad=True)
    group = {"lr": rate, "momentum": 0.9}
    param_groups.write(group, "lr", 0.5)
    param_groups.write(group, "momentum", 0.8)
    param_groups.write(group, "other", 1.0)
    assert group == {"lr": rate, "momentum": 0.8, "other": 1.0}
    assert rate.item() == 0.5


def test_what_was_read_does_not_change():
    rate = torch.tensor(1.0, requires_grad=True)
    (read,) = param_groups.read([{"lr": rate}], "lr")
    param_groups.write({"lr": rate}, "lr", 0.5)
    assert read.item() == 1.0
    assert not read.requires_grad


def test_everything_is_restored_also_after_an_exception():
    rate = torch.tensor(1.0)
    optimizer = Looks()
    optimizer.param_groups[0]["lr"] = rate

    counter = Counter()

    def change():
        param_groups.write(optimizer.param_groups[0], "lr", 0.5)
        optimizer.param_groups[0]["new"] = 1
        optimizer.param_groups[1] |= {"lr": 0.0, "params": [1]}
        counter.counts.append(4)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"), param_groups.restored([optimizer], [counter]):
        change()
    assert optimizer.param_groups == [{"params": [], "lr": rate}, {"params": [1], "lr": 0.25}]
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 1.0
    assert counter.counts == [3]


def test_a_stand_in_has_as_many_groups():
    assert [group["lr"] for group in param_groups.dummy_optimizer(3, lr=0.5).param_groups] == [
        0.5
    ] * 3


def test_a_misspelled_name_is_reported_with_a_suggestion():
    with pytest.raises(ValueError, match="given 'weight_dekay'. Did you mean 'weight_decay'"):
        param_groups.check_name([{"params": [], "lr": 1.0, "weight_decay": 0.0}], "weight_dekay")
