"""Backends that communicate from accelerators: what can be tested without one. The rest is in tests/gpu."""

import warnings

import pytest
import torch
import torch.distributed as dist

from ignite import distributed as idist
from ignite.distributed import _process_group


@pytest.fixture(params=["nccl", "xccl"])
def group(request, monkeypatch):
    """A group of one process that claims to be of another backend, on an accelerator of another index."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    kind = {"nccl": "cuda", "xccl": "xpu"}[request.param]
    with monkeypatch.context() as patch:
        patch.setattr(dist, "get_backend", lambda group=None: request.param)
        patch.setattr(
            torch.accelerator,
            "current_accelerator",
            lambda check_available=False: torch.device(kind),
        )
        patch.setattr(torch.accelerator, "current_device_index", lambda: 2)
        patch.setattr(torch.cuda, "current_device", lambda: 2)
        yield kind
    dist.destroy_process_group()


def test_a_barrier_names_its_device(group, monkeypatch):
    """Otherwise torch guesses it, and warns."""
    given = []
    monkeypatch.setattr(dist, "barrier", lambda device_ids=None: given.append(device_ids))
    idist.barrier()
    assert given == [[2]]
    assert _process_group.communication_device() == torch.device(group, 2)


def test_hosts_are_compared_before_a_device_is_chosen(group, monkeypatch):
    """A collective there would put all processes of a machine on its first device."""
    monkeypatch.setattr(dist, "all_gather_object", lambda *_: pytest.fail("a collective"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert _process_group._compare_hosts() == (0, _process_group.Place(1, 0, 1))
    _process_group.forget()


def test_on_gloo_a_barrier_needs_no_device():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        idist.barrier()
        assert _process_group.communication_device() == torch.device("cpu")
    finally:
        dist.destroy_process_group()
