from collections import OrderedDict, defaultdict, namedtuple

import pytest
import torch

from ignite.utils import _CollectionItem, _tree_apply2, _tree_map, apply_to_type

Point = namedtuple("Point", "x y")


def test_containers_keep_their_types():
    tree = OrderedDict(a=[1, (2, "text")], b=Point(3, b"bytes"), c=defaultdict(list, {"k": 4}))
    found = apply_to_type(tree, int, lambda i: i * 10)
    assert found == OrderedDict(a=[10, (20, "text")], b=Point(30, b"bytes"), c={"k": 40})
    assert type(found) is OrderedDict
    assert type(found["b"]) is Point
    assert found["c"].default_factory is list


def test_a_leaf_of_another_type_is_refused():
    with pytest.raises(
        TypeError, match=r"x should be int or float, .* but given None of type NoneType"
    ):
        apply_to_type([None], (int, float), str)


def test_leaves_are_mapped_with_their_keys():
    assert _tree_map(lambda leaf, key: (key, leaf), {"a": [1, "b"]}) == {"a": [(0, 1), (1, "b")]}
    assert _tree_map(lambda leaf, key: (key, leaf), 5, key="k") == ("k", 5)


def test_two_trees_are_traversed_together():
    x, seen = {"a": 1, "b": [2, {"c": None}]}, []
    _tree_apply2(
        lambda item, value: seen.append(value) or item.set(value),
        x,
        {"a": 5, "b": [6, {"c": 7}], "more": 1},
    )
    assert x == {"a": 5, "b": [6, {"c": 7}]}
    assert seen == [5, 6, 7]
    with pytest.raises(
        ValueError, match=r"should have the key 'a' of x, but given one with the keys \['b'\]"
    ):
        _tree_apply2(print, {"a": 1}, {"b": 1})
    with pytest.raises(ValueError, match="should have the size of x, 2, but given one of size 1"):
        _tree_apply2(print, [1, 2], [1])
    with pytest.raises(ValueError, match="y should be a mapping like x"):
        _tree_apply2(print, {"a": 1}, [1])


def test_an_item_can_be_read_and_set():
    values = [1, 2]
    item = _CollectionItem(values, 1)
    item.set(5)
    assert values == [1, 5]
    assert item.get() == 5


def test_references_to_items_have_the_members_of_ignite():
    values = {"a": 1, "b": "text", "c": torch.ones(1)}
    item = _CollectionItem.wrap(values, "a", values["a"])
    assert type(item) is _CollectionItem
    assert item.value() == 1
    item.load_value(5)
    assert values["a"] == 5
    assert _CollectionItem.wrap(values, "b", values["b"]) == "text"
    assert _CollectionItem.wrap(values, "c", values["c"]).value() is values["c"]
    assert _CollectionItem.types_as_collection_item == (int, float, torch.Tensor)
