from types import MappingProxyType

import pytest
from torch import nn

from ignite.engine import Engine
from ignite.handlers._checkpoints.object_states import check_objects, leaves_of, states_of
from ignite.handlers.checkpoint import get_default_score_fn
from support.counter import Counter


def test_states_stand_in_the_same_containers():
    objects = {"a": Counter(1), "b": {"c": [Counter(2), Counter(3)], "d": (Counter(4),)}}
    assert states_of(objects, 0) == {
        "a": {"count": 1}, "b": {"c": [{"count": 2}, {"count": 3}], "d": ({"count": 4},)}
    }  # fmt: skip
    assert [path for path, _ in leaves_of(objects, "state_dict")] == [
        "a",
        "b.c.0",
        "b.c.1",
        "b.d.0",
    ]


def test_names_of_wrappers_do_not_get_into_a_state():
    assert list(states_of({"m": nn.DataParallel(nn.Linear(1, 1))}, 0)["m"]) == ["weight", "bias"]


def test_modules_that_hold_others_are_objects_and_no_containers():
    modules = nn.ModuleDict({"a": nn.Linear(1, 1)})
    assert [path for path, _ in leaves_of({"m": modules}, "state_dict")] == ["m"]


@pytest.mark.parametrize(
    ("to_save", "include_self", "error", "message"),
    [
        (
            12,
            False,
            TypeError,
            "Argument `to_save` should be a dictionary, but given <class 'int'>",
        ),
        (
            [],
            False,
            TypeError,
            "Argument `to_save` should be a dictionary, but given <class 'list'>",
        ),
        (
            {"m": 1},
            False,
            TypeError,
            "Object <class 'int'> should have `state_dict` method, but m has none",
        ),
        (
            {"m": {"n": [Counter(), "x"]}},
            False,
            TypeError,
            "should have `state_dict` method, but m.n.1 has none",
        ),
        (
            MappingProxyType({"m": Counter()}),
            True,
            TypeError,
            "If `include_self` is True, then `to_save` must be muta",
        ),
        (
            {"checkpointer": Counter()},
            True,
            ValueError,
            "Cannot have key 'checkpointer' if `include_self` is True",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused(to_save, include_self, error, message):
    with pytest.raises(error, match=message):
        check_objects(to_save, include_self)


def test_what_can_be_saved_is_not():
    check_objects({}, False)
    check_objects(MappingProxyType({"checkpointer": Counter()}), False)


@pytest.mark.parametrize(("sign", "score"), [(1, 3), (-1, -3), (1.0, 3.0), (-1.0, -3.0)])
def test_a_score_is_a_metric_with_a_sign(sign, score):
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics["acc"] = 3
    found = get_default_score_fn("acc", sign)(engine)
    assert (found, type(found)) == (score, type(score))


def test_a_sign_is_one_or_minus_one():
    with pytest.raises(ValueError, match="Argument score_sign should be 1 or -1, but given 0.5"):
        get_default_score_fn("acc", 0.5)


def test_a_score_that_is_no_metric_names_those_that_there_are():
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics = {"accuracy": 0.5, "loss": 1.0}
    with pytest.raises(
        KeyError, match=r"\['accuracy', 'loss'\], but given 'acuracy'. Did you mean 'accuracy'"
    ):
        get_default_score_fn("acuracy")(engine)
