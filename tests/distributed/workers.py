"""What the processes of the tests do."""

import os
from pathlib import Path

import torch
from torch.nn import functional as F

from ignite import distributed as idist
from ignite.distributed import _packing
from ignite.distributed._collectives import as_group
from ignite.distributed._fused import Part, combine
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


def ragged(rank):
    """Tensors of different lengths, one of them empty; groups; and what does not fit together."""
    size = idist.get_world_size()
    rows = torch.full((rank, 2), rank, dtype=torch.float16)
    checks = {"rows": idist.all_gather(rows).tolist(), "dtype": str(idist.all_gather(rows).dtype)}
    own = torch.arange(float(rank + 1)).reshape(1, -1)
    shapes = [(1, other + 1) for other in range(size)]
    checks["shapes"] = [tensor.tolist() for tensor in idist.all_gather_tensors_with_shapes(own, shapes)]
    pair = idist.new_group([0, size - 1])
    for name, group in {"group": pair, "list": [size - 1, 0]}.items():
        checks[name] = [
            idist.all_reduce(torch.tensor([rank + 1.0]), group=group).tolist(),
            idist.all_gather(torch.tensor([rank]), group=group).tolist(),
            idist.all_gather(f"rank {rank}", group=group),
        ]
    checks["same group"] = as_group([0, size - 1]) is as_group([size - 1, 0])
    try:
        idist.all_gather(torch.zeros(2, 1 if rank == 1 else 3))
    except ValueError as error:
        checks["misfit"] = str(error)
    return checks


def combined(rank):
    """Everything that metrics combine, of all kinds at once, some of it known to one process only."""
    first = rank == 0
    parts = [
        Part("SUM", 2**53 + rank),
        Part("SUM", -5 if first else 2),
        Part("SUM", 0.1 * (rank + 1)),
        Part("SUM", torch.tensor([2**62 // 2, -(2**40) - rank])),
        Part("SUM", torch.tensor([True, first])),
        Part("SUM", torch.full((2, 2), 0.5, dtype=torch.float16)),
        Part("SUM", torch.tensor([1 + 2j])),
        Part("MAX", torch.tensor([rank, -rank])),
        Part("MIN", float(rank)),
        Part("MAX", float("-inf")),
        Part("PRODUCT", rank + 2),
        Part("ROWS", torch.full((rank, 2), rank, dtype=torch.bfloat16)),
        Part("ROWS", torch.arange(3 - rank)),
        Part("SAME", "binary"),
    ]
    everything = combine(parts)
    unknown = combine(
        [
            Part("SUM", torch.tensor([1, 2]) if first else None),
            Part("SUM", 0.0 if first else torch.tensor([0.5, 1.5])),
            Part("SUM", 1 if first else 2.5),
            Part("MAX", torch.tensor([-3]) if first else None),
            Part("MIN", None if first else 7),
            Part("ROWS", torch.ones(2, 3) if first else None),
            Part("SAME", None if first else 5),
            Part("SUM", None),
            Part("ROWS", None),
        ]
    )
    return [_plain(value) for value in everything], [_plain(value) for value in unknown]


def combined_as_if_large(rank):
    _packing._MAX_GATHERED_BYTES = 0
    return combined(rank)


def _plain(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


def misfits(rank):
    """Errors of :func:`combine` that all processes raise."""
    first, messages = rank == 0, []
    for parts in (
        [Part("SUM", torch.ones(2 + rank), "sums")],
        [Part("SAME", "binary" if first else "multiclass", "kind")],
        [Part("SUM", 1, "apples" if first else "pears")],
        [Part("SUM", 1)] * (rank + 1),
    ):
        try:
            combine(parts)
        except RuntimeError as error:
            messages.append(str(error))
    return messages


def many_rows(rank):
    """More tensors of rows than fit into the first vector."""
    return [value.tolist() for value in combine([Part("ROWS", torch.full((rank + 1,), i)) for i in range(20)])]


def spawned(local_rank, folder, word="none"):
    total = idist.all_reduce(local_rank + 1)
    Path(folder, f"{local_rank}").write_text(f"{word} {total} {idist.get_rank()} {idist.get_nproc_per_node()}")


def spawned_one_fails(local_rank):
    if local_rank == 1:
        raise OSError("no space left on rank 1")
    idist.barrier()  # never comes true
