"""Each private name exists in the installed versions of torch and Python, and its fallback works without it."""

import atexit
import importlib
import inspect
import io
import sys
import threading
import types
import zipfile

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules import batchnorm
from torch.optim import lr_scheduler, swa_utils
from torch.utils.data import DataLoader, IterableDataset

from ignite._core import torch_private
from ignite._core.torch_private import (
    at_exit,
    checkpoint_entry_class,
    event_files,
    foreach_copy_,
    foreach_lerp_,
    has_own_loading_of_keys,
    is_default_generator,
    is_mkldnn,
    is_shard,
    num_uses,
    num_yielded,
    reads_bytearray,
    saved_for_backward,
    state_of_scheduler,
    storage_id,
    submodules,
    worker_of_next_batch,
    worker_processes,
)


class Ended(IterableDataset):
    def __iter__(self):
        yield 1


def optimizer():
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def test_every_name_is_found_in_this_version():
    """If a version lacks one, decide whether its fallback is good enough, and note it there."""
    iterator = iter(DataLoader([1, 2], num_workers=0))
    next(iterator)
    mean = torch.ones(3, requires_grad=True).mean()
    loss = nn.functional.nll_loss(torch.zeros(1, 2, requires_grad=True), torch.zeros(1).long())
    lacking = {
        "is_mkldnn": not hasattr(torch, "_mkldnn"),
        "default generators": not all(
            hasattr(module, "default_generators") for module in (torch.cuda, torch.xpu)
        )
        or not hasattr(torch.mps, "_get_default_mps_generator"),
        "foreach": not (hasattr(torch, "_foreach_copy_") and hasattr(torch, "_foreach_lerp_")),
        "storage_id": not hasattr(torch.zeros(1).untyped_storage(), "_cdata"),
        "num_uses": torch_private.NUM_IDLE_USES is None,
        "saved size of a mean": saved_for_backward(mean.grad_fn, "self_sym_numel") != 3,
        "saved weight": saved_for_backward(loss.grad_fn, "total_weight") != 1,
        "saved reduction": saved_for_backward(loss.grad_fn, "reduction") != 1,
        "saved input": saved_for_backward(loss.grad_fn, "self").shape != (1, 2),
        "rebuild_tensor": torch_private.rebuild_tensor is None,
        "reads_bytearray": not reads_bytearray(),
        "checkpoint_entry_class": not isinstance(checkpoint_entry_class(), type),
        "BATCH_NORM_BASE": isinstance(torch_private.BATCH_NORM_BASE, tuple),
        "submodules": torch_private.SUBMODULES not in vars(nn.Module()),
        "MODULE_DICTIONARIES": not vars(nn.Module()).keys() >= set(torch_private.MODULE_DICTIONARIES),
        "has_own_loading_of_keys": has_own_loading_of_keys(nn.Linear(1, 1)),
        "STEP_COUNT": torch_private.STEP_COUNT not in lr_scheduler.StepLR(optimizer(), 1).state_dict(),
        "default_store": not hasattr(dist.distributed_c10d, "_get_default_store"),
        "num_yielded": num_yielded(iterator) != 1,
        "dataset_fetcher": torch_private.dataset_fetcher(iter(DataLoader(Ended()))).ended is not False,
        "forget_workers": "_iterator" not in vars(DataLoader([1])),
        "at_exit": not hasattr(threading, "_register_atexit"),
    }  # fmt: skip
    assert [name for name, is_lacking in lacking.items() if is_lacking] == []


def test_names_of_an_iterator_with_workers_are_found():
    iterator = iter(DataLoader([1, 2, 3], num_workers=1, multiprocessing_context="forkserver"))
    try:
        assert [worker.is_alive() for worker in worker_processes(iterator)] == [True]
        assert worker_of_next_batch(iterator) == 0
        next(iterator)
        assert (torch_private.num_received(iterator), num_yielded(iterator)) == (1, 1)
    finally:
        torch_private.shut_down_workers(iterator)
    assert [worker.is_alive() for worker in worker_processes(iterator)] == [False]


def test_an_iterator_without_these_names_has_no_workers():
    assert worker_processes(iter([1])) == []
    assert num_yielded(iter([1])) is torch_private.num_received(iter([1])) is None
    assert worker_of_next_batch(iter([1])) is torch_private.dataset_fetcher(iter([1])) is None
    torch_private.shut_down_workers(iter([1]))


def test_names_in_the_files_of_torch_are_found():
    file = io.BytesIO()
    torch.save({"a": torch.ones(1)}, file)
    with zipfile.ZipFile(file) as archive:
        pickled = archive.read("archive/data.pkl")
    assert f"\n{torch_private.REBUILD_TENSOR}\n".encode() in pickled
    assert torch_private.rebuild_tensor.__name__ == torch_private.REBUILD_TENSOR
    for name in torch_private.REBUILD_TENSORS:
        parameters = list(inspect.signature(getattr(torch._utils, name)).parameters)
        assert parameters[:4] == ["storage", "storage_offset", "size", "stride"], name
        if name == torch_private.REBUILD_OTHER_DTYPE:
            assert parameters[6] == "dtype"
    assert torch_private.REBUILD_QUANTIZED in torch_private.REBUILD_TENSORS
    assert callable(getattr(torch._tensor, torch_private.REBUILD_FROM_TYPE))
    file = io.BytesIO()
    torch.save(1, file, **{torch_private.ZIP_FORMAT: False})
    assert not zipfile.is_zipfile(file)
    for module, name in torch_private.CHECKPOINT_GLOBALS:
        assert hasattr(importlib.import_module(module), name), (module, name)


# What holds the memory of a buffer.
HOLDERS = [
    lambda buffer: torch.empty(0, dtype=torch.uint8).set_(buffer.untyped_storage()),
    lambda buffer: buffer[4:8].view(torch.int16)[1:],
    lambda buffer: buffer.untyped_storage(),
    lambda buffer: buffer.view(-1).numpy(),
    lambda buffer: buffer.detach(),
]


@pytest.mark.parametrize("hold", HOLDERS)
def test_whatever_holds_memory_is_counted_and_the_count_goes_back(hold):
    buffer = torch.empty(15, dtype=torch.uint8)
    assert num_uses(buffer) == torch_private.NUM_IDLE_USES
    held = hold(buffer)
    assert num_uses(buffer) != torch_private.NUM_IDLE_USES
    del held
    assert num_uses(buffer) == torch_private.NUM_IDLE_USES


@pytest.mark.parametrize(
    "count",
    [
        lambda _: (1, 2),
        lambda buffer: (int(buffer.ndim),),
        iter(range(100)).__next__,
        lambda buffer: buffer.nothing,
    ],
)
def test_counts_that_do_not_show_whether_memory_is_used_are_not_relied_on(monkeypatch, count):
    monkeypatch.setattr(torch_private, "num_uses", count)
    assert torch_private._measure_idle_uses() is None


def test_operations_on_lists_of_tensors_do_without(monkeypatch):
    def results():
        a, b = [torch.zeros(2), torch.ones(1)], [torch.ones(2), torch.full((1,), 3.0)]
        foreach_lerp_(a, b, 0.25)
        c = [torch.zeros(2), torch.zeros(1)]
        foreach_copy_(c, a)
        return [x.tolist() for x in c]

    assert results() == [[0.25, 0.25], [1.5]]
    monkeypatch.delattr(torch, "_foreach_copy_")
    monkeypatch.delattr(torch, "_foreach_lerp_")
    assert results() == [[0.25, 0.25], [1.5]]


def test_storages_are_distinguished_without_the_name():
    class Nameless:
        def __init__(self, storage):
            self.data_ptr = storage.data_ptr

    base, other = torch.ones(4), torch.ones(4)
    tensors = base, base[2:], other, torch.empty(0), torch.empty(0)
    storages = [Nameless(tensor.untyped_storage()) for tensor in tensors]
    first, view, second, *empty = map(storage_id, storages)
    assert first == view
    assert len({first, second, *empty}) == 4
    assert storage_id(base.untyped_storage()) == storage_id(base[2:].untyped_storage())
    assert storage_id(base.untyped_storage()) != storage_id(other.untyped_storage())


def test_a_layout_without_a_name_is_no_tensors(monkeypatch):
    dense = torch.ones(2, 2)
    assert not is_mkldnn(dense)
    if torch.backends.mkldnn.is_available():
        assert is_mkldnn(dense.to_mkldnn())
    monkeypatch.delattr(torch, "_mkldnn")
    assert not is_mkldnn(dense)


def test_an_operation_without_saved_values_has_none():
    assert saved_for_backward(None, "reduction") is None
    assert saved_for_backward(torch.ones(1, requires_grad=True).exp().grad_fn, "reduction") is None


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm1d])
def test_norms_have_the_base(kind):
    assert issubclass(kind, torch_private.BATCH_NORM_BASE)
    assert not issubclass(nn.LayerNorm, torch_private.BATCH_NORM_BASE)


def test_modules_that_load_by_themselves_are_known(monkeypatch):
    class Own(nn.Linear):
        def _load_from_state_dict(self, *args):
            super()._load_from_state_dict(*args)

    hooked = nn.Linear(1, 1)
    hooked.register_load_state_dict_pre_hook(lambda *args: None)
    assert has_own_loading_of_keys(hooked)
    assert has_own_loading_of_keys(Own(1, 1))
    assert not has_own_loading_of_keys(nn.Linear(1, 1))
    monkeypatch.delattr(nn.Module, "_load_from_state_dict")
    assert has_own_loading_of_keys(nn.Linear(1, 1)), "unknown, so it may be"


def test_submodules_include_missing_and_shared_ones():
    module, shared = nn.Module(), nn.Linear(1, 1)
    module.a, module.b, module.c = shared, shared, None
    module.register_module("d", None)
    assert dict(submodules(module)) == {"a": shared, "b": shared, "d": None}


def test_the_state_of_a_scheduler_has_no_functions():
    """Up to torch 2.9 that of SWALR has one; a scheduler of the program may."""

    class Annealed(lr_scheduler.StepLR):
        def __init__(self, optimizer):
            self.anneal, self.limit = self._anneal, 3
            super().__init__(optimizer, 1)

        @staticmethod
        def _anneal(t):
            return t

    one = optimizer()
    scheduler = Annealed(one)
    assert "anneal" not in state_of_scheduler(scheduler)
    assert state_of_scheduler(scheduler)["limit"] == 3
    chained = lr_scheduler.ChainedScheduler([Annealed(one), swa_utils.SWALR(one, 0.1)])
    (first, second) = state_of_scheduler(chained)["_schedulers"]
    assert first["limit"] == 3
    assert not {"anneal", "anneal_func"} & (first.keys() | second.keys())
    step = scheduler.anneal
    scheduler.load_state_dict({**state_of_scheduler(scheduler), "limit": 5})
    assert (scheduler.anneal, scheduler.limit) == (step, 5)


def test_shards_are_known_by_their_class_and_their_mark(monkeypatch):
    assert not is_shard(torch.ones(1))
    flat = torch.ones(1)
    flat._fsdp_flattened = True
    assert is_shard(flat)
    sharded = types.ModuleType("torch.distributed._shard.sharded_tensor")
    sharded.ShardedTensor = type("ShardedTensor", (), {})
    monkeypatch.setitem(sys.modules, sharded.__name__, sharded)
    assert is_shard(sharded.ShardedTensor())


def test_functions_are_called_at_exit_without_the_name(monkeypatch):
    called = []
    monkeypatch.delattr(threading, "_register_atexit", raising=False)
    monkeypatch.setattr(atexit, "register", called.append)
    at_exit(print)
    assert called == [print]


def test_event_files_are_found_without_the_name():
    writer = types.SimpleNamespace(_get_file_writer=lambda: 1)
    assert event_files(writer) == 1
    assert event_files(types.SimpleNamespace(file_writer=2)) == 2


def test_other_names_may_be_missing():
    assert torch_private.safetensors_dtypes(types.SimpleNamespace()) is None
    found = torch_private.safetensors_dtypes(types.SimpleNamespace(_TYPES={"F32": torch.float32}))
    assert found == {torch.float32}
    assert torch_private.event_log(types.SimpleNamespace()) is None
    assert torch_private.compiled_module_class({}) is None


def test_the_base_of_norms_does_without_the_name(monkeypatch):
    monkeypatch.delattr(batchnorm, "_NormBase")
    source = torch_private.__loader__.get_code(torch_private.__name__)
    again = types.ModuleType("again")
    exec(source, vars(again))
    assert issubclass(nn.BatchNorm1d, again.BATCH_NORM_BASE)
    assert not issubclass(nn.LayerNorm, again.BATCH_NORM_BASE)


# The store of a process group.


def test_without_a_group_there_is_no_store():
    assert torch_private.default_store() is None


def test_the_store_of_the_group_is_found():
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch_private.default_store().set("a", "1")
        assert (
            any(store.get(key) == b"1" for key in ("default_pg/0//a",) if store.check([key]))
            or store.num_keys() > 0
        )
    finally:
        dist.destroy_process_group()


def test_a_store_of_mpi_is_none(monkeypatch):
    """MPI has a base store without any operation."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    base = type("Store", (), {"__module__": "torch._C._distributed_c10d"})
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", base)
    assert torch_private.default_store() is None
    monkeypatch.delattr(dist.distributed_c10d, "_get_default_store")
    assert torch_private.default_store() is None, "a version of torch that has it elsewhere"


class PretendedGenerator:
    def __init__(self, kind, address=None):
        self.device, self._cdata = types.SimpleNamespace(type=kind), address


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mtia", "backend"])
def test_generators_of_each_device_are_default_ones(monkeypatch, kind):
    defaults = (PretendedGenerator(kind, 5), PretendedGenerator(kind))
    module = types.SimpleNamespace(default_generators=defaults)
    monkeypatch.setattr(torch, kind, module, raising=False)
    assert all(map(is_default_generator, defaults))
    assert is_default_generator(PretendedGenerator(kind, 5))  # another object for the same one
    assert not is_default_generator(PretendedGenerator(kind, 6))
    assert not is_default_generator(PretendedGenerator(kind))


def test_the_one_generator_of_mps_is_the_default_one(monkeypatch):
    default = PretendedGenerator("mps")
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: default)
    assert is_default_generator(default)
    assert not is_default_generator(PretendedGenerator("mps"))


def test_a_generator_of_a_device_without_module_is_the_programs():
    assert is_default_generator(torch.default_generator)
    assert not is_default_generator(torch.Generator())
    assert not is_default_generator(PretendedGenerator("nowhere"))
