"""Copies of states, in memory that is reused."""

import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from ignite.storage import snapshot as module
from ignite.storage.snapshot import Snapshot


def storage_of(tensor):
    return tensor.untyped_storage().data_ptr()


def there_and_back(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_copy_does_not_change_with_the_state():
    model, numbers = nn.Linear(2, 2), [1]
    taken = Snapshot().take({"model": model.state_dict(), "numbers": numbers})
    before = model.weight.tolist()
    with torch.no_grad():
        model.weight.fill_(9)
    numbers.append(2)
    assert taken["model"]["weight"].tolist() == before
    assert taken["numbers"] == [1]


def test_parameters_become_plain_tensors():
    taken = Snapshot().take(list(nn.Linear(1, 1).parameters()))
    assert [(type(tensor), tensor.requires_grad) for tensor in taken] == [(torch.Tensor, False)] * 2


def test_the_next_copy_reuses_the_memory_of_a_dropped_one():
    snapshot, state = (
        Snapshot(),
        {"a": torch.ones(50_000), "b": torch.zeros(50_000), "c": torch.ones(30_000)},
    )
    taken = snapshot.take(state)
    first = {storage_of(tensor) for tensor in taken.values()}
    del taken
    taken = snapshot.take({key: tensor + 1 for key, tensor in state.items()})
    assert {storage_of(tensor) for tensor in taken.values()} == first
    assert (taken["a"][0], taken["b"][0], taken["c"][0]) == (2, 1, 2)


@pytest.mark.parametrize(
    "hold", [lambda taken: taken["a"], lambda taken: taken["a"][5:].view(torch.int32)]
)
def test_a_referenced_copy_is_never_overwritten(hold):
    snapshot, state = Snapshot(), {"a": torch.ones(50_000)}
    held = hold(snapshot.take(state))
    before = held.clone()
    for i in range(5):
        assert snapshot.take({"a": torch.full((50_000,), float(i))})["a"][-1] == i
        assert torch.equal(held, before)


def check_memory(hold=lambda taken: taken["a"]):
    """A copy that is referenced is never overwritten, and the memory of one that is not is used again."""
    snapshot, state = Snapshot(), {"a": torch.ones(50_000)}
    held = hold(snapshot.take(state))
    for i in range(2, 7):
        snapshot.take({"a": torch.full((50_000,), float(i))})
    values = torch.empty(0).set_(held) if isinstance(held, torch.UntypedStorage) else held
    assert values.unique().tolist() == [1.0], "overwritten"
    assert len(snapshot._buffers) == 2, "not reused"


@pytest.mark.parametrize(
    "hold",
    [
        lambda taken: taken["a"],
        lambda taken: taken["a"][5:].unsqueeze(0),
        lambda taken: torch.from_numpy(taken["a"].numpy()),
        lambda taken: taken["a"].untyped_storage(),
    ],
    ids=["tensor", "view", "array", "storage"],
)
def test_memory_is_reused_if_and_only_if_nothing_refers_to_it(hold):
    check_memory(hold)


@pytest.mark.parametrize("errors", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)])
def test_a_wrong_number_of_idle_uses_is_noticed(monkeypatch, errors):
    """The number was once that of another version of torch, and copies were overwritten while they were held."""
    wrong = tuple(n + error for n, error in zip(module.NUM_IDLE_USES, errors, strict=True))
    monkeypatch.setattr(module, "NUM_IDLE_USES", wrong)
    with pytest.raises(AssertionError, match=r"overwritten|not reused"):
        check_memory()


def test_memory_is_not_reused_if_uses_are_not_counted(monkeypatch):
    monkeypatch.setattr(module, "NUM_IDLE_USES", None)
    monkeypatch.setattr(module, "num_uses", None)
    snapshot, state = Snapshot(), {"a": torch.ones(50_000)}
    held = snapshot.take(state)
    state["a"] += 1
    assert snapshot.take(state)["a"][-1] == 2
    assert held["a"].unique().tolist() == [1.0]
    assert snapshot._buffers == []


def test_a_bytearray_is_copied():
    value = bytearray(b"before")
    taken = Snapshot().take({"a": value, "b": [value]})
    value[:] = b"after"
    assert taken == {"a": b"before", "b": [b"before"]}
    assert there_and_back(taken) == taken


def test_two_copies_dropped_in_turn_need_memory_for_two():
    snapshot, state, places = Snapshot(), torch.ones(50_000), set()
    last = None
    for _ in range(10):
        taken = snapshot.take(state)
        places.add(storage_of(taken))
        last = taken
    assert storage_of(last) in places
    assert len(places) == 2


def test_buffers_that_no_longer_fit_are_freed():
    snapshot = Snapshot()
    snapshot.take([torch.ones(50_000) for _ in range(5)])
    snapshot.take([torch.ones(50_000), torch.ones(20_000)])
    assert sorted(buffer.nbytes for buffer in snapshot._buffers) == [80_000, 200_000]


def test_memory_is_shared_between_dtypes_of_equal_size():
    snapshot = Snapshot()
    place = storage_of(snapshot.take(torch.ones(50_000)))
    taken = snapshot.take(torch.arange(25_000))
    assert storage_of(taken) == place
    assert torch.equal(taken, torch.arange(25_000))


@pytest.mark.parametrize("num_floats", [6, 60_000], ids=["small", "large"])
@pytest.mark.parametrize("others", [1, 2, 3])
def test_views_of_one_memory_share_it_whatever_its_size(num_floats, others):
    base = torch.arange(float(num_floats))
    views = [base[2:4], base, base[1:3], base[::2]][: others + 1]
    taken = there_and_back(Snapshot().take(views))
    assert all(torch.equal(copy, view) for copy, view in zip(taken, views, strict=True))
    taken[0].fill_(-1.0)
    base[2:4] = -1.0
    assert all(torch.equal(copy, view) for copy, view in zip(taken, views, strict=True))


def test_tied_tensors_stay_tied_in_the_copy_and_in_a_file_of_it():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = model.state_dict()
    assert state["0.weight"] is not state["1.weight"]
    for tied in (Snapshot().take(state), there_and_back(Snapshot().take(state))):
        assert storage_of(tied["0.weight"]) == storage_of(tied["1.weight"])
        tied["0.weight"].fill_(5)
        assert tied["1.weight"].eq(5).all()


def test_overlapping_views_still_share_elements():
    base = torch.arange(24.0).view(4, 6)
    state = {"top": base[:2], "middle": base[1:3], "column": base[:, 1], "apart": base[3:]}
    taken = there_and_back(Snapshot().take(state))
    assert all(torch.equal(taken[key], state[key]) for key in state)
    taken["middle"][0, 1] = 100
    assert taken["top"][1, 1] == taken["column"][1] == 100


@pytest.mark.parametrize(
    ("view", "num_elements"),
    [
        (lambda t: t[10:20], 1000),
        (lambda t: t[:, 7], 100),
        (lambda t: t[::2, ::2], 2500),
        (lambda t: t.t(), 10_000),
        (lambda t: t[3, 4], 1),
        (lambda t: t[0, :1].expand(50), 1),
        (lambda t: t[:, :1].expand(100, 2), 200),
        (lambda t: t[:0], 0),
        (lambda t: t.view(10, 10, 10, 10).to(memory_format=torch.channels_last), 10_000),
    ],
)
def test_only_the_elements_of_a_view_are_copied(view, num_elements):
    tensor = view(torch.arange(10_000.0).view(100, 100))
    taken = Snapshot().take(tensor)
    assert taken.untyped_storage().nbytes() == 4 * num_elements
    assert torch.equal(there_and_back(taken), tensor)


def test_two_equal_views_with_gaps_are_copied_once():
    base = torch.arange(10_000.0).view(100, 100)
    first, second = Snapshot().take([base[:, 3], base[:, 3]])
    assert first.untyped_storage().nbytes() == 400
    assert storage_of(first) == storage_of(second)
    assert torch.equal(second, base[:, 3])


def test_memory_with_views_of_two_dtypes_is_copied_for_each():
    base = torch.tensor([1.0, 2.0])
    floats, bits = there_and_back(Snapshot().take([base, base.view(torch.int32)]))
    assert floats.tolist() == [1, 2]
    assert bits.tolist() == base.view(torch.int32).tolist()


def test_a_copy_taken_in_inference_mode_can_be_taken_again_outside():
    snapshot = Snapshot()
    with torch.inference_mode():
        snapshot.take({"a": torch.ones(10), "gaps": torch.ones(10, 10)[:, 1]})
    assert snapshot.take({"a": torch.zeros(10), "gaps": torch.zeros(10)})["a"].sum() == 0
    inference = torch.inference_mode()(lambda: torch.ones(10))()
    assert snapshot.take(inference).sum() == 10


def test_a_refused_state_does_not_change_the_last_copy():
    snapshot = Snapshot()
    taken = snapshot.take(torch.ones(10))
    with pytest.raises(TypeError, match=r"^state\[1\] should be"):
        snapshot.take([torch.zeros(10), print])
    assert taken.sum() == 10


def test_each_accelerator_is_synchronized_once(monkeypatch):
    """This machine has no accelerator: only the device of a tensor is simulated."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    monkeypatch.setattr("ignite.storage.snapshot._HOST", "nowhere")
    taken = Snapshot().take([torch.ones(3), torch.ones(3)])
    assert waited == [torch.device("cpu")]
    assert taken[0].tolist() == [1, 1, 1]


MEMORY_OF_A_SNAPSHOT = """
import re, sys
from pathlib import Path
import torch
from ignite.storage.snapshot import Snapshot

def peak():  # getrusage also counts the process that this one was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

state = [torch.ones(int(sys.argv[1]) // 32) for _ in range(8)]
before = peak()
snapshot = Snapshot()
for _ in range(int(sys.argv[2])):
    snapshot.take(state)
print(1024 * (peak() - before))
"""


@pytest.mark.parametrize("rounds", [1, 3])
def test_memory_is_at_most_that_of_one_copy(rounds):
    """In a new interpreter: here, memory freed by other tests could be reused for the copy."""
    num_bytes = 128 * 2**20
    command = [sys.executable, "-c", MEMORY_OF_A_SNAPSHOT, str(num_bytes), str(rounds)]
    extra = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0.9 * num_bytes < extra < 1.1 * num_bytes
