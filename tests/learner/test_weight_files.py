import pytest
import torch
from torch import nn

from ignite import storage
from ignite.exceptions import CheckpointError
from ignite.learner._weights import load_weights, save_weights


def load_into(model, path):
    return load_weights(lambda state: storage.restore({"model": model}, state), path)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_weights_go_out_and_in(tmp_path, name):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(model, tmp_path / name)
    load_into(other, tmp_path / name)
    assert torch.equal(model.weight, other.weight)
    torch.load(tmp_path / name, weights_only=True) if name.endswith("pt") else None


def test_a_plain_state_of_torch_is_taken_and_another_model_is_refused_and_left_alone(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    load_into(other, tmp_path / "plain.pt")
    assert torch.equal(model.bias, other.bias)
    wrong = nn.Linear(4, 2)
    before = wrong.weight.clone()
    with pytest.raises(CheckpointError):
        load_into(wrong, tmp_path / "plain.pt")
    assert torch.equal(wrong.weight, before)
