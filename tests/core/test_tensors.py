import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.utils import apply_to_tensor, convert_tensor, to_onehot


def test_tensors_in_containers_are_moved():
    batch = {"x": torch.zeros(2), "more": [torch.ones(1), ("name", torch.ones(3))]}
    moved = convert_tensor(batch, device="meta")
    assert moved["x"].device.type == "meta"
    assert moved["more"][1][0] == "name"
    assert moved["more"][1][1].device.type == "meta"
    assert convert_tensor(batch)["x"] is batch["x"]


def test_other_objects_than_tensors_are_refused():
    with pytest.raises(TypeError, match="x should be Tensor, .* but given 3 of type int"):
        apply_to_tensor([3], lambda tensor: tensor)
    with pytest.raises(TypeError, match="but given None"):
        convert_tensor(None)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_onehot_has_a_one_at_each_index(indices):
    found = to_onehot(torch.tensor(indices), 5)
    assert found.dtype == torch.uint8
    assert found.tolist() == [[int(i == index) for i in range(5)] for index in indices]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_onehot_keeps_further_dimensions_and_can_be_scripted():
    indices = torch.randint(0, 3, (2, 4, 5))
    found = to_onehot(indices, 3)
    assert found.shape == (2, 3, 4, 5)
    assert torch.equal(found.argmax(dim=1), indices)
    scripted = torch.jit.script(to_onehot)
    assert torch.equal(scripted(indices, 3), found)
    with pytest.raises(
        TypeError, match="indices should be integers, but given a tensor of torch.float32"
    ):
        to_onehot(torch.zeros(2), 3)
