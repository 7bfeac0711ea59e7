"""Process functions for the tests."""

import os
import random
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F

from ignite import distributed as idist
from ignite.distributed import fused_reduction
from ignite.distributed.fused_reduction import Part, combine
from ignite.engine import Engine
from ignite.metrics import Accuracy, Average, Loss


def in_place(rank):
    """Tensors of all kinds: what they are after a call, and whether its result is the tensor itself."""
    kept = torch.zeros(6, 2)
    with torch.inference_mode():
        of_inference = torch.full((2,), rank + 1.0)
    given = {
        **{str(dtype): torch.full((2, 2), rank + 1).to(dtype) for dtype in DTYPES},
        "rows of another": kept[1::2].fill_(rank + 1.0),
        "transposed": torch.full((2, 3), rank + 1.0).T,
        "without dimensions": torch.tensor(rank + 1),
        "empty": torch.zeros(0, 3),
        "of inference": of_inference,
        "parameter": torch.nn.Parameter(torch.full((2,), rank + 1.0)),
    }
    found = {}
    for name, tensor in given.items():
        is_same = idist.all_reduce(tensor) is tensor
        found[name] = is_same, tensor.dtype, tuple(tensor.shape), tensor.unique().tolist()
    found["others in memory"] = kept[::2].unique().tolist()
    return found


def gradients_averaged_by_hand(rank):
    """As in Ignite's tutorial, where the result of the call is not used."""
    weight = torch.zeros(1, requires_grad=True)
    (weight * (rank + 1)).sum().backward()
    for parameter in [weight]:
        idist.all_reduce(parameter.grad)
        parameter.grad /= idist.get_world_size()
    return weight.grad.item()


DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8,
)  # fmt: skip


def collectives(rank):
    size, checks = idist.get_world_size(), {}
    ones = torch.full((2,), rank + 1.0)
    checks["sum"] = idist.all_reduce(ones).tolist()
    checks["in place"] = in_place(rank)
    for op in ("PRODUCT", "MIN", "MAX"):
        checks[op] = idist.all_reduce(torch.tensor(rank + 1), op).item()
    checks["AND"] = idist.all_reduce(torch.tensor([True, rank == 0]), "AND").tolist()
    checks["OR"] = idist.all_reduce(torch.tensor([False, rank == 0]), "OR").tolist()
    checks["whole number"] = idist.all_reduce(2**53 + rank)
    checks["number"] = idist.all_reduce(0.1)
    checks["gradient"] = gradients_averaged_by_hand(rank)
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
    checks["place"] = [
        idist.get_rank(),
        idist.get_local_rank(),
        idist.get_nnodes(),
        idist.get_node_rank(),
    ]
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
    scores, targets = (
        torch.randn(7, 3, generator=generator),
        torch.randint(3, (7,), generator=generator),
    )
    share = slice(0, 0) if rank == 3 else slice(rank, None, min(size, 3))
    values = {}
    for name, metric in {
        "accuracy": Accuracy(),
        "loss": Loss(F.cross_entropy),
        "mean": Average(),
    }.items():
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
    """Tensors of different lengths, one of them empty, and what does not fit together."""
    size = idist.get_world_size()
    rows = torch.full((rank, 2), rank, dtype=torch.int16)
    with counting(dist, "all_gather") as calls:
        gathered = idist.all_gather(rows)
    checks = {"rows": gathered.tolist(), "dtype": str(gathered.dtype), "collectives": len(calls)}
    checks["nothing"] = (
        list(idist.all_gather(torch.empty(0, 3)).shape),
        list(idist.all_gather(torch.empty(2, 0)).shape),
    )
    checks["views"] = idist.all_gather(torch.arange(6)[::2]).tolist()
    checks["scalars"] = idist.all_gather(
        torch.tensor(True) if rank == 0 else torch.tensor([True, False])
    ).tolist()
    own = torch.arange(float(rank + 1)).reshape(1, -1)
    shapes = [(1, other + 1) for other in range(size)]
    checks["shapes"] = [
        tensor.tolist() for tensor in idist.all_gather_tensors_with_shapes(own, shapes)
    ]
    one = torch.ones(())
    checks["misfits"] = [
        error_of(idist.all_gather, torch.zeros(2, 1 if rank == 1 else 3)),
        error_of(
            idist.all_gather, torch.zeros(rank, dtype=torch.float64 if rank == 1 else torch.float32)
        ),
        error_of(idist.all_gather_tensors_with_shapes, own, [(1, 1)] * size),
        error_of(
            idist.all_gather_tensors_with_shapes, one.double() if rank == 1 else one, [()] * size
        ),
        error_of(
            idist.all_gather_tensors_with_shapes, one, [()] * (size if rank == 1 else size + 1)
        ),
    ]
    return checks


def error_of(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def counting(module, name):
    """Notes the calls of a function of torch."""
    calls, function = [], getattr(module, name)

    def noted(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    setattr(module, name, noted)
    try:
        yield calls
    finally:
        setattr(module, name, function)


def numbers(rank):
    """Numbers of both kinds, and tensors that gloo alone does not reduce or send."""
    first = rank == 0
    int16 = torch.tensor([rank + 1, -7], dtype=torch.int16)
    return {
        "mixed": [
            idist.all_reduce(1 if first else 0.5, op) for op in ("SUM", "PRODUCT", "MIN", "MAX")
        ],
        "whole": [
            idist.all_reduce(6 if first else 3, op)
            for op in ("SUM", "PRODUCT", "MIN", "MAX", "AND", "OR")
        ],
        "large": idist.all_reduce(2**62) == 2**62 * idist.get_world_size(),
        "nan": [
            str(idist.all_reduce(float("nan") if rank == place else 1.0, "MAX")) for place in (0, 1)
        ],
        "int16": idist.all_reduce(int16.clone(), "MAX").tolist(),
        "booleans": [
            idist.all_reduce(torch.tensor([True, first]), op).tolist() for op in ("SUM", "PRODUCT")
        ],
        "strides": idist.all_reduce(
            torch.arange(6).reshape(2, 3).T if first else torch.zeros(3, 2).long()
        ).tolist(),
        "gradient": idist.all_reduce(torch.ones(2, requires_grad=True)).is_leaf,
        "fractions": error_of(idist.all_reduce, 0.5, "AND"),
        "broadcast": [
            idist.broadcast(2**60 + 1 if first else 0),
            idist.broadcast(0.1 if first else 0.0),
            idist.broadcast(first),
            idist.broadcast(2**53 + 1 if first else None, safe_mode=True),
        ],
        "broadcast tensors": [
            idist.broadcast(int16).tolist(),
            idist.broadcast(int16, safe_mode=True).add_(1).tolist(),
            idist.broadcast(torch.empty(0, 2)).tolist(),
            idist.broadcast(
                torch.arange(4).reshape(2, 2).T if first else torch.zeros(2, 2).long()
            ).tolist(),
            idist.broadcast(torch.arange(8)[2:4] if first else "anything", safe_mode=True).tolist(),
            int16.tolist(),
        ],
        "wrong source": error_of(idist.broadcast, 1, src=9),
        "path": idist.broadcast(Path("a") if first else None, safe_mode=True) == Path("a"),
    }


def groups(rank):
    """Of four processes, 1 and 3 have something of their own."""
    checks, pair = {}, idist.new_group([3, 1])
    with counting(dist, "new_group") as calls:
        for name, group in {"group": pair, "list": [3, 1], "again": [1, 3]}.items():
            checks[name] = [
                idist.all_reduce(torch.tensor([rank + 1.0]), group=group).tolist(),
                idist.all_reduce(rank, "MAX", group=group),
                idist.all_gather(torch.full((rank,), rank), group=group).tolist(),
                idist.all_gather(f"rank {rank}", group=group),
                [
                    x.tolist()
                    for x in idist.all_gather_tensors_with_shapes(
                        torch.ones(rank), [(1,), (3,)], group
                    )
                ],
            ]
        idist.all_reduce(1, group=[2, 0, 1, 3])
        checks["calls"] = len(calls)
    if rank == 3 or rank == 1:  # a list that is known concerns its processes only
        checks["alone"] = idist.all_reduce(rank, group=[1, 3])
        checks["misfit"] = error_of(idist.all_gather, torch.ones(1, rank), group=[1, 3])
    checks["wrong"] = [
        error_of(idist.new_group, ranks) for ranks in ("x", [0, 4], [-1], [1, 1], [])
    ]
    checks["wrong group"] = (
        error_of(idist.all_gather, 1, group="x"),
        error_of(idist.all_reduce, 1, group=[7]),
    )
    return checks


def groups_of_a_second_default_group(rank, folder):
    """The default group is ended and made anew by the program, without a word to us."""
    found = [idist.all_gather(rank, group=[1])]
    dist.destroy_process_group()
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found.append(idist.all_gather(rank, group=[1]))
    return [*found, idist.all_reduce(rank, group=[0, 1])]


def who_is_first(rank, folder):
    """Whether each process finds in the block what the first one has written there."""
    os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"] = str(rank % 2), "2"
    found = []
    for name, local in (("all", False), ("node", True)):
        with idist.one_rank_first(1, local):
            path = Path(folder, f"{name} {rank // 2 if local else 0}")
            found.append(path.exists())
            if rank == 1 or (local and rank % 2 == 1):
                path.touch()
    return found


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
    fused_reduction._MAX_GATHERED_BYTES = 0
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
    return [
        value.tolist()
        for value in combine([Part("ROWS", torch.full((rank + 1,), i)) for i in range(20)])
    ]


def many_combined(rank):
    """Values of random kinds and sizes, one call after another: what was found, and the collectives of each call."""
    calls, original = [], torch.distributed.all_gather

    def counted(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    torch.distributed.all_gather = counted
    shared, found = random.Random(5), []  # the same decisions on all ranks
    for _ in range(40):
        size = shared.choice([1, 10, 100, 3000, 20000])
        limit = shared.choice([1, 200, 2**15, 2**31, 2**62])
        is_empty_somewhere, with_rows = shared.random() < 0.2, shared.random() < 0.5
        generator = torch.Generator().manual_seed(shared.randrange(10**6) * 4 + rank)
        counts = torch.randint(-limit // 100, limit, (size,), generator=generator)
        rows = torch.randint(-limit // 100, limit, (rank * size % 700, 2), generator=generator)
        is_unknown = is_empty_somewhere and rank == 1
        parts = [Part("SUM", None if is_unknown else counts // 4), Part("MAX", rank)]
        parts += [Part("ROWS", rows)] * with_rows
        calls.clear()
        values = combine(parts)
        own = [torch.zeros(size, dtype=torch.int64) if is_unknown else counts // 4, rows]
        found.append(
            ([_plain(value) for value in values], [_plain(each) for each in own], len(calls))
        )
    torch.distributed.all_gather = original
    return found
