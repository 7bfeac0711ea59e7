"""Files equal those of ``torch.save``: the same pickle, readable by torch, and written faster."""

import gc
import io
import os
import sys
import weakref
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ignite.storage import Note, check_storable, load, open_place, plain, save, verify
from ignite.storage._archive import Archive, ArchiveWriter
from ignite.storage._serialization import write_state

DTYPES = [
    torch.bfloat16, torch.bool, torch.complex64, torch.complex128, torch.float16, torch.float32, torch.float64,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8,
]  # fmt: skip


def written(state):
    file = io.BytesIO()
    assert write_state(file, plain(state), {})
    return file


def pickle_of_torch(state):
    file = io.BytesIO()
    torch.save(plain(state), file)
    return Archive(file).content("data.pkl", 1 << 30)


def training_state():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    base = torch.arange(12.0).view(3, 4)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "views": [base, base.T, base[1:, ::2], base[:0], torch.empty(0)],
        "tensors": [torch.ones(3).to(dtype) for dtype in DTYPES]
        + [torch.tensor(2.5), torch.ones(1, 1, 1)],
        "plain": [
            None,
            True,
            1,
            2**70,
            -1.5,
            2j,
            "text",
            b"bytes",
            b"",
            bytearray(b"a"),
            {1, 2},
            ("a", ("b",)),
        ],
        "of torch": [torch.float16, torch.Size([1, 2]), torch.device("cpu"), torch.strided],
        "counts": Counter("aab"),
        "ordered": OrderedDict(b=1, a=2),
        1: "integer",
        ("a", 1): "tuple",
    }


def test_the_pickle_is_identical_to_that_of_torch():
    state = training_state()
    assert Archive(written(state)).content("data.pkl", 1 << 30) == pickle_of_torch(state)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
tensors = st.builds(
    lambda dtype, shape, is_view: torch.ones([2, *shape]).to(dtype)[1] if is_view else torch.ones(shape).to(dtype),
    st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.booleans(),
)  # fmt: skip
states = st.recursive(
    leaves | tensors,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)  # fmt: skip


@given(states)
def test_the_pickle_of_any_state_is_identical_to_that_of_torch(state):
    assert Archive(written(state)).content("data.pkl", 1 << 30) == pickle_of_torch(state)


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_the_same_state(tmp_path, mmap):
    state = training_state()
    path, path_of_torch = tmp_path / "ours.pt", tmp_path / "theirs.pt"
    path.write_bytes(written(state).getvalue())
    torch.save(plain(state), path_of_torch)
    ours, theirs = (torch.load(one, weights_only=True, mmap=mmap) for one in (path, path_of_torch))
    for key in ("views", "tensors"):
        for mine, other in zip(ours[key], theirs[key], strict=True):
            assert (mine.dtype, mine.shape, mine.stride()) == (
                other.dtype,
                other.shape,
                other.stride(),
            )
            assert torch.equal(mine, other)
    assert ours["views"][0].data_ptr() == ours["views"][1].data_ptr()
    assert all(torch.equal(ours["model"][name], tensor) for name, tensor in theirs["model"].items())
    assert ours["model"]._metadata == theirs["model"]._metadata
    assert all(
        ours[key] == theirs[key] for key in ("plain", "of torch", "counts", "ordered", 1, ("a", 1))
    )
    hooks = [tensor._backward_hooks for tensor in ours["tensors"]]
    assert len(set(map(id, hooks))) == len(hooks), "each tensor has hooks of its own"


def test_zipfile_verifies_the_file_and_storages_are_aligned():
    file = written(training_state())
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = {name.partition("/")[2] for name in archive.namelist()}
        assert names >= {"data.pkl", "data/0", "byteorder", "version"}
        assert archive.read("archive/byteorder").decode() == sys.byteorder
    reader = torch._C.PyTorchFileReader(io.BytesIO(file.getvalue()))
    offsets = [reader.get_record_offset(name) for name in names if name.startswith("data/")]
    assert offsets
    assert {offset % 64 for offset in offsets} == {0}


def coloured(tensor):
    tensor.colour = "red"
    return tensor


OTHERS = {
    "sparse": lambda: torch.eye(2).to_sparse(),
    "meta": lambda: torch.empty(2, device="meta"),
    "float8": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "uint16": lambda: torch.ones(2, dtype=torch.uint16),
    "conj": lambda: torch.tensor([1j]).conj(),
    "neg": lambda: torch.tensor([1j]).conj().imag,
    "nested": lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
    "storage": lambda: torch.ones(2).untyped_storage(),
    "typed storage": lambda: torch.FloatStorage(2),
    "gradient": lambda: torch.ones(2, requires_grad=True),
    "attribute": lambda: coloured(torch.ones(2)),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_other_than_ordinary_tensors_are_left_to_torch(name):
    file = io.BytesIO()
    assert not write_state(file, {"before": torch.ones(1), "other": [OTHERS[name]()]}, {})
    assert file.getvalue() == b""


def test_a_state_with_such_a_tensor_is_saved_with_its_note(tmp_path):
    state = {
        "sparse": torch.eye(2).to_sparse(),
        "conj": torch.tensor([1 + 1j]).conj(),
        "plain": torch.ones(3),
    }
    save(open_place(tmp_path), "a.pt", state, Note(step=3))
    loaded = load(tmp_path / "a.pt")
    assert loaded.note.step == 3
    assert torch.equal(loaded.state["sparse"].to_dense(), torch.eye(2))
    assert loaded.state["conj"].resolve_conj().tolist() == [1 - 1j]
    assert zipfile.ZipFile(tmp_path / "a.pt").testzip() is None


def test_the_note_is_an_entry_like_the_others(tmp_path):
    save(open_place(tmp_path), "a.pt", {"x": torch.ones(2)}, Note(step=7, created=0.0))
    assert verify(tmp_path / "a.pt").step == 7
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert Note.from_json(archive.read("archive/.ignite.json")).step == 7


def test_entries_can_be_appended_to_files_of_torch_and_to_ours():
    torch_file = io.BytesIO()
    torch.save({"x": torch.arange(3)}, torch_file)
    for file in (torch_file, written({"x": torch.arange(3)})):
        for name in ("first", "second"):
            writer = ArchiveWriter.extending(file)
            writer.add(name, name.encode())
            writer.close()
        archive = Archive(file)
        archive.check()
        assert (archive.content("first", 9), archive.content("second", 9)) == (b"first", b"second")
        file.seek(0)
        assert torch.load(file, weights_only=True)["x"].tolist() == [0, 1, 2]


def test_many_small_tensors_are_written_together(tmp_path, monkeypatch):
    calls, real = [], os.write
    monkeypatch.setattr(
        os, "write", lambda descriptor, data: calls.append(len(data)) or real(descriptor, data)
    )
    state = {str(i): torch.ones(3) for i in range(2000)}
    for options in ({}, {"pickle_protocol": 2}):  # ours, and torch's
        calls.clear()
        save(open_place(tmp_path), "a.pt", state, Note(step=1), **options)
        size = (tmp_path / "a.pt").stat().st_size
        assert sum(calls) < 1.5 * size
        assert len(calls) <= 2 + size // (1 << 19)


def test_a_plain_state_is_not_checked_again(tmp_path, monkeypatch):
    def fail(state, **options):
        raise AssertionError("looked through")

    monkeypatch.setattr("ignite.storage.reader.plain", fail)
    save(open_place(tmp_path), "a.pt", {"x": torch.ones(2)}, None, is_plain=True)
    assert load(tmp_path / "a.pt").state["x"].tolist() == [1, 1]
    with pytest.raises(AssertionError, match="looked through"):
        save(open_place(tmp_path), "a.pt", {"x": torch.ones(2)}, None)


def test_memory_with_views_of_two_dtypes_is_left_to_torch():
    base = torch.ones(4)
    state = {"a": base, "b": base.view(torch.int32)}
    check_storable(state)
    assert not write_state(io.BytesIO(), state, {})
    loaded = torch.load(io.BytesIO(written(state).getvalue()), weights_only=True)
    assert loaded["b"].tolist() == base.view(torch.int32).tolist()


@pytest.mark.slow
def test_entries_at_offsets_and_of_sizes_above_4_gb_are_written(tmp_path):
    large = torch.zeros((1 << 32) + 8, dtype=torch.uint8)
    large[-1] = 7
    save(
        open_place(tmp_path),
        "a.pt",
        {"small": torch.ones(2), "large": large, "last": torch.arange(3)},
        Note(step=1),
    )
    del large
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.getinfo("archive/data/1").file_size == (1 << 32) + 8
        assert archive.read("archive/version") == b"3\n"
    loaded = torch.load(tmp_path / "a.pt", weights_only=True, mmap=True)
    assert (loaded["large"][-1].item(), loaded["last"].tolist()) == (7, [0, 1, 2])


@pytest.mark.parametrize("is_ours", [True, False])
def test_no_reference_to_a_written_state_remains(is_ours):
    state = {"x": torch.ones(2), "other": torch.ones(1) if is_ours else torch.eye(2).to_sparse()}
    reference = weakref.ref(state["x"])
    gc.disable()
    try:
        assert write_state(io.BytesIO(), state, {}) is is_ours
        del state
        assert reference() is None
    finally:
        gc.enable()
