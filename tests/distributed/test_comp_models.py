import os
from pathlib import Path

import pytest
import torch

from ignite import distributed as idist
from ignite.distributed import comp_models
from ignite.distributed.comp_models import base, horovod, native, xla
from ignite.distributed.comp_models.base import ComputationModel, _SerialModel
from ignite.distributed.comp_models.native import _NativeDistModel
from support import harness


def test_serial_and_native_models_are_registered():
    models = (_SerialModel, _NativeDistModel)
    assert idist.registered_computation_models == models
    assert idist.utils.registered_computation_models == models
    assert comp_models.registered_computation_models == models
    assert [model.available_backends for model in models] == [(), idist.available_backends()]
    assert (native.NCCL, native.GLOO, native.MPI) == ("nccl", "gloo", "mpi")
    assert (xla.has_xla_support, horovod.has_hvd_support) == (False, False)


def test_models_of_other_backends_do_not_exist_and_the_error_says_what_to_use():
    with pytest.raises(AttributeError, match="_HorovodDistModel.* use nccl or gloo under torchrun"):
        _ = horovod._HorovodDistModel
    with pytest.raises(AttributeError, match="_XlaDistModel.* use a backend of torch.distributed"):
        _ = xla._XlaDistModel
    with pytest.raises(AttributeError, match="has no attribute 'other'$"):
        _ = xla.other
    with pytest.raises(ValueError, match="given 'horovod': Horovod and XLA are not supported"):
        idist.initialize("horovod")


def test_a_serial_model_gives_values_back():
    model = _SerialModel.create_from_context()
    assert isinstance(_SerialModel.create_from_backend("gloo"), _SerialModel)
    model.barrier()
    model.finalize()
    place = (model.get_rank(), model.get_local_rank(), model.get_node_rank())
    sizes = (model.get_world_size(), model.get_nproc_per_node(), model.get_nnodes())
    assert (place, sizes) == ((0, 0, 0), (1, 1, 1))
    assert (model.all_reduce(3), model.all_gather(3), model.broadcast(0.1)) == (3, [3], 0.1)
    assert model.all_gather(torch.tensor(3)).tolist() == [3]
    assert (model.new_group([0]), model.backend()) == ([0], None)
    assert (model.broadcast(Path("/a")), model.broadcast("b", safe_mode=True)) == (Path("/a"), "b")
    with pytest.raises(NotImplementedError, match="does not implement spawn"):
        _SerialModel.spawn(print)
    with pytest.raises(TypeError, match="Unhandled input type: .* but given NoneType"):
        model.broadcast(None)
    with pytest.raises(ValueError, match=r"ranks should be list of int, but given \(0,\)"):
        model.new_group((0,))


def test_a_native_model_needs_a_group_or_makes_one(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert _NativeDistModel.create_from_context() is None
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        _NativeDistModel()
    monkeypatch.setenv("MASTER_PORT", str(harness.free_port()))
    before = dict(os.environ)
    model = _NativeDistModel.create_from_backend("gloo", timeout=30)
    try:
        assert (model.backend(), model.get_world_size(), idist.backend()) == ("gloo", 1, "gloo")
        with pytest.raises(ValueError, match="Argument ranks should be list of int"):
            model.new_group("0")
    finally:
        model.finalize()
    assert dict(os.environ) == before


class Doubling(_SerialModel):
    """Two processes that have equal values."""

    def all_reduce(self, tensor, op="SUM", group=None):
        return ComputationModel.all_reduce(self, tensor, op, group)

    def _do_all_reduce(self, tensor, op="SUM", group=None):
        assert op == "SUM"
        return tensor * 2

    def _do_all_gather_object(self, tensor, group=None):
        return [tensor, tensor]


def test_a_model_of_the_users_own_gets_tensors():
    model = Doubling()
    assert (model.all_reduce(2**60, "sum"), model.all_reduce(0.1)) == (2**61, 0.2)
    assert model.all_gather("a") == ["a", "a"]
    with pytest.raises(TypeError, match="but given str"):
        model.all_reduce("a")
    with pytest.raises(TypeError, match="abstract"):
        base.ComputationModel()
