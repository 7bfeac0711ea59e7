"""Groups of processes: NCCL on one device, and gloo with tensors on a device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ignite.testing import run_processes
from support import device_processes
from support.device import HAS_CUDA, needs_cuda

SRC = Path(__file__).resolve().parents[2] / "src"

# Torch warns if it has to guess the device of a barrier: an error here.
PROGRAM = """
import sys, warnings
warnings.filterwarnings("error", message="(?s).*barrier")
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from ignite import distributed as idist
from ignite.distributed import fused_reduction
from ignite.distributed.fused_reduction import Part
from ignite.engine import CountedLoss, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, ConfusionMatrix, Loss, ROC_AUC

backend, port = sys.argv[1:]
idist.initialize(backend, init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
device = idist.device()
print("device", device, idist.backend(), idist.model_name())
idist.barrier()

# Collectives of tensors of any dtype, there and here, and of numbers and objects.
for place in {device.type, "cpu"}:
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int16, torch.uint8, torch.bool):
        x = torch.tensor([1, 0, 1], device=place).to(dtype)
        for op in ("SUM", "MAX", "MIN", "PRODUCT"):
            found = idist.all_reduce(x.clone(), op)
            assert found.device == x.device and torch.equal(found, x), (place, dtype, op)
        found = idist.all_gather(x)
        assert found.device == x.device and torch.equal(found, x), (place, dtype)
        found = idist.broadcast(x)
        assert found.device == x.device and torch.equal(found, x), (place, dtype)
    x = torch.arange(6.0, device=place).reshape(2, 3)
    assert torch.equal(idist.all_gather_tensors_with_shapes(x, [(2, 3)])[0], x)
    assert torch.equal(idist.broadcast(x, safe_mode=True), x)
assert idist.all_reduce(2**60 + 1) == 2**60 + 1
assert idist.all_reduce(0.5, "MAX") == 0.5
assert idist.all_gather({"a": 1}) == [{"a": 1}]
assert idist.broadcast("text") == "text"

# The reduction of metrics, by gathering, and by reducing.
sums, counts = torch.tensor([0.5, 1.5], device=device), torch.arange(100, device=device) * 2**40
rows = torch.arange(6.0, device=device).reshape(3, 2)
parts = [
    Part("SUM", counts), Part("SUM", sums), Part("MAX", counts), Part("ROWS", rows), Part("SUM", 7), Part("MIN", 0.5)
]
for limit in (fused_reduction._MAX_GATHERED_BYTES, 8):
    fused_reduction._MAX_GATHERED_BYTES = limit
    # Not combine, which has nothing to do in a group of one.
    found = fused_reduction._reduced([fused_reduction._kind_of(part) for part in parts], [part.value for part in parts])
    assert found[4:] == [7, 0.5], found
    for one, part in zip(found[:4], parts):
        assert one.device == device and torch.equal(one, part.value), (limit, part)

# DistributedDataParallel, with windows of counted batches.
torch.manual_seed(0)
model = nn.Linear(8, 3).to(device)
wrapped = nn.parallel.DistributedDataParallel(
    model, device_ids=None if device.type == "cpu" else [device.index]
)

def loss_fn(y_pred, y):
    count = (y != 0).sum()
    return CountedLoss(F.cross_entropy(y_pred, y, ignore_index=0, reduction="sum") / count.clamp(min=1), count)

batches = [(torch.randn(8, 8), torch.randint(3, (8,))) for _ in range(5)]
trainer = create_supervised_trainer(
    wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1), loss_fn, device=device, gradient_accumulation_steps=2
)
trainer.run(batches, max_epochs=2)
evaluator = create_supervised_evaluator(
    wrapped, {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy), "matrix": ConfusionMatrix(3)}, device=device
)
found = evaluator.run(batches).metrics
assert found["matrix"].sum() == 40 and 0 <= found["accuracy"] <= 1
idist.barrier()
idist.finalize()
print("done")
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("backend", [pytest.param("nccl", marks=needs_cuda), "gloo"])
def test_collectives_metrics_and_ddp_in_a_group_of_one(backend):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, str(free_port())],
        env={**_environment(), "NCCL_DEBUG": "WARN"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.rstrip().endswith("done")
    where = "cuda:0" if HAS_CUDA else "cpu"
    assert f"device {where} {backend} native-dist" in result.stdout


def _environment():
    known = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    paths = [str(SRC), known.get("PYTHONPATH", "")]
    return {**known, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_two_processes_on_one_device_have_the_values_of_one():
    expected = device_processes.values_on_device(-1)
    for found in run_processes(device_processes.values_on_device, 2, timeout_s=120.0):
        assert found.pop("device") == ("cuda" if HAS_CUDA else "cpu")
        assert found.pop("total").tolist() == [2.0, 2.0]
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
