import pytest
import torch

from ignite.utils import _to_str_list


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (None, []),
        ([], []),
        (1.23456, ["1.2346"]),
        (torch.tensor(2), ["2.0000"]),
        (torch.tensor([1.0, 2.0]), ["[1.0000, 2.0000]"]),
        (torch.arange(12), ["[" + "".join(f"{i}.0000, " for i in range(10)) + "...]"]),
        (torch.zeros(2, 3), ["Shape[2, 3]"]),
        ({"a": 1, "b": {"c": 2}}, ["a: 1.0000", "b: c: 2.0000"]),
        ({"a": [], "b": None}, ["a: ", "b: "]),
        (("x", 1), ["x", "1.0000"]),
    ],
)
def test_values_are_formatted_as_short_texts(data, texts):
    assert _to_str_list(data) == texts
