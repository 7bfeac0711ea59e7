import torch.distributed as dist

from ignite._core import torch_private


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
