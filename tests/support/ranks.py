"""Process functions for the tests of metrics over several processes."""

import torch
import torch.distributed as dist

from ignite.engine import Engine, Events
from ignite.metrics import Metric
from ignite.metrics._reduction import SyncGroup
from ignite.metrics.metric import EpochWise, reinit__is_reduced, sync_all_reduce
from support.cases import CASES, as_plain, cut, wide

NUM_EXAMPLES = 23
# How many examples each process sees: always some process none, and never all as many.
SHARES = {2: ([12, 11], [23, 0], [0, 23]), 4: ([6, 6, 6, 5], [9, 0, 3, 11])}


def pieces_of(case, shares):
    return cut(wide(case.examples(torch.Generator().manual_seed(7), NUM_EXAMPLES)), shares)


def in_halves(piece):
    length = len(piece[0] if isinstance(piece, tuple) else piece)
    return cut(piece, [length // 2, length - length // 2])


def every_metric(rank):
    """``{(metric, shares): values}``, computed in turns with updates; what is held locally has to stay as it was."""
    found = {}
    for case in CASES.values():
        for shares in SHARES[dist.get_world_size()]:
            metric, piece = case.make(), pieces_of(case, shares)[rank]
            batches = [piece] if case.depends_on_batches else in_halves(piece)
            first = None
            for i, batch in enumerate(batches):
                # A process without examples has not even seen an empty batch.
                if shares[rank]:
                    metric.update(batch)
                if i == 0 and min(shares) > 1 and len(batches) > 1:
                    first = as_plain(metric.compute())
            values = [as_plain(metric.compute()), as_plain(metric.compute())]
            assert repr(values[0]) == repr(values[1]), case.name
            found[case.name, tuple(shares)] = first, values[0]
    return found


def nobody_saw_anything(rank):
    found = {}
    for case in CASES.values():
        try:
            found[case.name] = as_plain(case.make().compute())
        except Exception as error:
            found[case.name] = type(error).__name__
    return found


class Own(Metric):
    """Written for Ignite: accumulates by itself, and begins with numbers where tensors come."""

    @reinit__is_reduced
    def reset(self):
        self._largest = float("-inf")
        self._sum = 0.0
        self._result = None

    @reinit__is_reduced
    def update(self, output):
        y = output[1].float()
        self._largest = max(self._largest, y.max().item())
        self._sum = self._sum + torch.bincount(output[1], minlength=5).double()

    @sync_all_reduce("_largest:MAX", "_sum")
    def compute(self):
        return self._largest, self._sum


class Counted:
    """Counts the collectives that are called inside."""

    NAMES = (
        "all_reduce",
        "all_gather",
        "all_gather_object",
        "broadcast",
        "all_gather_into_tensor",
        "barrier",
    )

    def __enter__(self):
        self.calls, self._originals = [], {name: getattr(dist, name) for name in self.NAMES}
        for name, original in self._originals.items():
            setattr(dist, name, self._counting(name, original))
        return self.calls

    def __exit__(self, *_):
        for name, original in self._originals.items():
            setattr(dist, name, original)

    def _counting(self, name, original):
        def call(*args, **kwargs):
            self.calls.append(name)
            return original(*args, **kwargs)

        return call


def attached(rank):
    """All metrics of scores attached together, with one written by a user: values, and the collectives of an epoch."""
    size = dist.get_world_size()
    cases = [case for case in CASES.values() if case.examples is CASES["Accuracy"].examples]
    shares = SHARES[size][-1]
    engine = Engine(lambda engine, batch: batch)
    for case in cases:
        case.make().attach(engine, case.name)
    own = Own()
    own.attach(engine, "own")
    batches = in_halves(pieces_of(cases[0], shares)[rank]) if shares[rank] else []
    with Counted() as calls:
        metrics = (
            engine.run(batches or [None], max_epochs=2).metrics if batches else _run_empty(engine)
        )
    return {name: as_plain(value) for name, value in metrics.items()}, calls


def _run_empty(engine):
    """Two epochs without a batch: only the events around them."""
    for _ in range(2):
        engine.fire_event(Events.EPOCH_STARTED)
        engine.fire_event(Events.EPOCH_COMPLETED)
    return engine.state.metrics


def seven(rank):
    """The collectives that an epoch with seven usual metrics takes."""
    from torch.nn import functional as F

    from ignite import metrics as m

    engine = Engine(lambda engine, batch: batch)
    for name, metric in {
        "accuracy": m.Accuracy(),
        "top 5": m.TopKCategoricalAccuracy(5),
        "precision": m.Precision(),
        "recall": m.Recall(),
        "f1": m.Fbeta(1),
        "matrix": m.ConfusionMatrix(10),
        "loss": m.Loss(F.cross_entropy),
    }.items():
        metric.attach(engine, name)
    generator = torch.Generator().manual_seed(rank)
    batches = [
        (torch.randn(4, 10, generator=generator), torch.randint(10, (4,), generator=generator))
        for _ in range(3)
    ]
    with Counted() as calls:
        engine.run(batches, max_epochs=1)
    # What all processes hold together is let go when the last metric has its value.
    assert SyncGroup.of(engine, EpochWise()).synced is None
    return calls


def different_metrics(rank):
    """Processes that combine different things all get the same error, and none waits."""
    from ignite import metrics as m

    metric = m.Precision() if rank == 0 else m.ConfusionMatrix(3)
    metric.update((torch.eye(3), torch.arange(3)))
    try:
        metric.compute()
    except RuntimeError as error:
        return str(error)
    return "no error"


def saved_by_two(rank):
    """States of all metrics, as two processes save them."""
    saved = {}
    for case in CASES.values():
        metric = case.make()
        metric.update(pieces_of(case, SHARES[2][0])[rank])
        saved[case.name] = metric.state_dict()
    return saved
