import pytest
import torch

from ignite.base import Attachable, ResettableHandler, Serializable, Stateful
from ignite.metrics import Average


class Saved(Serializable):
    _state_dict_all_req_keys = ("a",)
    _state_dict_one_of_opt_keys = (("b", "c"),)


def test_the_keys_are_checked():
    saved = Saved()
    saved.load_state_dict({"a": 1, "b": 2, "more": 3})
    saved.load_state_dict({"a": 1, "c": 2})
    with pytest.raises(TypeError, match="state_dict should be a dictionary, but given 3"):
        saved.load_state_dict(3)
    with pytest.raises(
        ValueError, match=r"should have the key 'a', but given one with the keys \['b'\]"
    ):
        saved.load_state_dict({"b": 1})
    for keys in ({"a": 1}, {"a": 1, "b": 1, "c": 1}):
        with pytest.raises(ValueError, match=r"should have exactly one of the keys \('b', 'c'\)"):
            saved.load_state_dict(keys)
    with pytest.raises(NotImplementedError, match="Saved should implement state_dict"):
        saved.state_dict()


def test_groups_may_be_flat_but_not_empty():
    class Flat(Serializable):
        _state_dict_one_of_opt_keys = ("b", "c")

    class Empty(Serializable):
        _state_dict_one_of_opt_keys = ((),)

    Flat().load_state_dict({"c": 1})
    with pytest.raises(ValueError, match="exactly one of the keys"):
        Flat().load_state_dict({})
    with pytest.raises(ValueError, match="should have no empty group"):
        Empty().load_state_dict({})


def test_a_resettable_handler_has_both_its_methods():
    class Half(ResettableHandler):
        def reset(self): ...

    with pytest.raises(TypeError, match="attach"):
        Half()


def test_what_is_attachable_and_stateful():
    assert isinstance(Average(), Attachable)
    assert isinstance(torch.nn.Linear(1, 1), Stateful)
    assert not isinstance(3, Attachable)
