"""Weights as safetensors files."""

import json
import random

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from ignite.exceptions import CheckpointError
from ignite.storage.formats import _metadata_crc32, load_weights, save_weights
from ignite.storage.place import open_place


@pytest.fixture
def place(tmp_path):
    return open_place(tmp_path)


def make_weights():
    return {
        "float": torch.randn(3, 4),
        "half": torch.randn(5).to(torch.bfloat16),
        "int": torch.arange(6).view(2, 3),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.ones(0, 3),
        "transposed": torch.randn(3, 2).t(),
        "row": torch.randn(4, 4)[1],
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "complex": torch.tensor([1 + 2j]).conj(),
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        assert found[key].tolist() == tensor.tolist(), key


def test_weights_are_loaded_unchanged(place, tmp_path):
    weights = make_weights()
    written = save_weights(place, "model.safetensors", weights)
    assert written.size_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert_equal(load_weights(tmp_path / "model.safetensors"), weights)
    assert_equal(
        load_weights(str(tmp_path / "model.safetensors"), device=torch.device("cpu")), weights
    )


def test_other_readers_of_the_format_read_it(place, tmp_path):
    model = nn.Linear(3, 2)
    save_weights(place, "a", model.state_dict(), step=12)
    assert_equal(safetensors.torch.load_file(tmp_path / "a"), model.state_dict())
    with safetensors.safe_open(tmp_path / "a", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"], metadata["step"]) == ("pt", "1", "12")


def test_tied_weights_are_written_once_and_loaded_tied(place, tmp_path):
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 100, bias=False))
    model[1].weight = model[0].weight
    written = save_weights(place, "a", model.state_dict())
    assert written.size_bytes < 1.1 * 40_000
    loaded = load_weights(tmp_path / "a")
    assert list(loaded) == ["0.weight", "1.weight"]
    assert loaded["0.weight"] is loaded["1.weight"]
    moved = load_weights(tmp_path / "a", device="meta")
    assert moved["0.weight"] is moved["1.weight"]


def test_weights_that_share_a_part_of_their_memory_are_refused(place, tmp_path):
    base = torch.ones(10)
    with pytest.raises(
        ValueError,
        match=r"all of their memory or none, but given 'a' and 'b', .*: clone\(\) one of them",
    ):
        save_weights(place, "a", {"a": base[:6], "b": base[5:]})
    save_weights(place, "a", {"a": base[:5], "b": base[5:]})
    assert_equal(load_weights(tmp_path / "a"), {"a": base[:5], "b": base[5:]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"weights\['a'\] should be a dense tensor, but given int"),
        (
            torch.eye(2).to_sparse(),
            r"weights\['a'\] should be a dense tensor, but given a tensor of layout torch.sparse",
        ),
        (
            torch.ones(1, dtype=torch.complex128),
            "dtype that safetensors supports, but given torch.complex128",
        ),
    ],
)
def test_values_that_the_format_does_not_support_are_refused(place, value, message):
    with pytest.raises(TypeError, match=message):
        save_weights(place, "a", {"a": value})
    assert place.names() == []


def test_every_flipped_bit_is_detected_or_changes_nothing(place, tmp_path):
    weights = {key: tensor for key, tensor in make_weights().items() if key != "empty"}
    path = tmp_path / "a"
    save_weights(place, "a", weights, step=3)
    data = path.read_bytes()
    generator = random.Random(0)
    num_detected = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_weights(path)
        except CheckpointError:
            num_detected += 1
        else:
            assert_equal(loaded, weights)
    assert num_detected > 350


@pytest.mark.parametrize("num_bytes", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(place, tmp_path, num_bytes):
    save_weights(place, "a", make_weights())
    path = tmp_path / "a"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(CheckpointError, match="should be a safetensors file, but is damaged"):
        load_weights(path)


def test_a_checksum_that_is_wrong_is_named(place, tmp_path):
    save_weights(place, "a", {"weight": torch.ones(4)})
    path = tmp_path / "a"
    path.write_bytes(path.read_bytes()[:-1] + b"\x40")
    with pytest.raises(CheckpointError, match="is damaged: the checksum of 'weight' is wrong"):
        load_weights(path)


def store(path, tensors, **metadata):
    metadata = {"aliases": "{}", "crc32": json.dumps({}), "step": "", "version": "1"} | metadata
    sums = {"crc32_of_metadata": _metadata_crc32(metadata)}
    safetensors.torch.save_file(tensors, path, metadata={**sums, **metadata})


def test_tensors_without_a_checksum_are_refused_if_the_file_has_checksums(tmp_path):
    store(tmp_path / "a", {"weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"should hold \[\], but holds \['weight'\]"):
        load_weights(tmp_path / "a")


def test_a_newer_version_is_refused(tmp_path):
    store(tmp_path / "a", {}, version="2")
    with pytest.raises(
        CheckpointError, match="should be of version 1 at most, but is of 2: update"
    ):
        load_weights(tmp_path / "a")


def test_changed_metadata_are_refused(tmp_path):
    store(tmp_path / "a", {}, crc32_of_metadata="1")
    with pytest.raises(CheckpointError, match="is damaged: the checksum of its metadata is wrong"):
        load_weights(tmp_path / "a")


def test_a_file_of_another_program_loads_with_a_warning(tmp_path, caplog):
    safetensors.torch.save_file({"weight": torch.ones(2)}, tmp_path / "a")
    assert load_weights(tmp_path / "a")["weight"].tolist() == [1, 1]
    assert caplog.messages == [f"{tmp_path / 'a'} has no checksums, so it cannot be verified"]


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="path should be a file, but given .*, which does not exist"
    ):
        load_weights(tmp_path / "a")
