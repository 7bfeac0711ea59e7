"""What the processes of the tests do."""

import os
from pathlib import Path

import torch
from torch.nn import functional as F

from ignite import distributed as idist
from ignite.engine import Engine
from ignite.metrics import Accuracy, Average, Loss


def collectives(rank):
    size, checks = idist.get_world_size(), {}
    ones = torch.full((2,), rank + 1.0)
    checks["sum"] = idist.all_reduce(ones).tolist()
    checks["untouched"] = ones.tolist()
    for op in ("PRODUCT", "MIN", "MAX"):
        checks[op] = idist.all_reduce(torch.tensor(rank + 1), op).item()
    checks["AND"] = idist.all_reduce(torch.tensor([True, rank == 0]), "AND").tolist()
    checks["OR"] = idist.all_reduce(torch.tensor([False, rank == 0]), "OR").tolist()
    checks["whole number"] = idist.all_reduce(2**53 + rank)
    checks["number"] = idist.all_reduce(0.1)
    checks["of two"] = idist.all_reduce(rank, group=[0, 1][:size])
    checks["gather"] = idist.all_gather(torch.full((1, 2), rank)).tolist()
    checks["gather scalars"] = idist.all_gather(torch.tensor(rank)).tolist()
    checks["gather objects"] = idist.all_gather({"rank": rank})
    checks["broadcast"] = [
        idist.broadcast(torch.tensor([rank, 7]), src=1).tolist(),
        idist.broadcast(1e300 if rank == 0 else 0.0),
        idist.broadcast(f"from {rank}"),
        str(idist.broadcast(Path(f"/{rank}"))),
        idist.broadcast(torch.ones(rank + 1, 2) if rank == 0 else None, safe_mode=True).shape,
    ]
    os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"] = str(rank), str(size)
    checks["place"] = [idist.get_rank(), idist.get_local_rank(), idist.get_nnodes(), idist.get_node_rank()]
    checks["model"] = [idist.model_name(), idist.backend(), idist.device().type]
    checks["only"] = idist.one_rank_only(1, with_barrier=True)(lambda: "only")()
    return checks


def first_rank_fails(rank):
    """The others come through, although the first rank raised inside the block."""
    os.environ["LOCAL_RANK"] = str(rank)
    try:
        with idist.one_rank_first():
            if rank == 0:
                raise OSError("download failed")
    except OSError as error:
        return str(error)
    return "came through"


def local_rank_by_hosts(rank):
    import warnings

    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_LOCALID"):
        os.environ.pop(name, None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = idist.get_local_rank(), idist.get_nproc_per_node(), idist.get_local_rank()
    idist.set_local_rank(5)
    return found, [str(warning.message)[:40] for warning in warned], idist.get_local_rank()


def metrics(rank):
    """Uneven shares of 7 examples; with more than 3 processes, one that sees none."""
    size = idist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.randn(7, 3, generator=generator), torch.randint(3, (7,), generator=generator)
    share = slice(0, 0) if rank == 3 else slice(rank, None, min(size, 3))
    values = {}
    for name, metric in {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy), "mean": Average()}.items():
        for score, target in zip(scores[share], targets[share], strict=True):
            output = score[0] if name == "mean" else (score[None], target[None])
            metric.update(output)
        values[name] = float(metric.compute())
        assert float(metric.compute()) == values[name]  # what is held locally has stayed as it was
        values[f"{name} states"] = len(metric.state_dict()["__metric_state_per_rank"])
    return values


def engines(rank):
    """A metric attached to an engine on each rank."""
    engine = Engine(lambda engine, batch: float(batch))
    Average().attach(engine, "mean")
    return engine.run([1, 2] if rank == 0 else [3]).metrics["mean"]
