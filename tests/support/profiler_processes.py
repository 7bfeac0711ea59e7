"""Process functions for the tests of profilers."""

from ignite.engine import Engine, Events
from ignite.handlers._profilers import timings
from ignite.handlers.run_profiler import RunProfiler

_NS = [0]


def _spend(ns):
    _NS[0] += ns


def profile_uneven_ranks(folder, rank):
    """The second process is slower, and the first has a handler that the others have not."""
    timings.perf_counter_ns = lambda: _NS[0]
    trainer, profiler = Engine(lambda engine, batch: _spend(10**9 * (rank + 1))), RunProfiler()
    profiler.attach(trainer)
    if rank == 0:

        @trainer.on(Events.EPOCH_COMPLETED)
        def log():
            _spend(5 * 10**8)

    trainer.run([0, 0])
    spreads = {name: tuple(spread) for name, spread in profiler.stragglers().items()}
    return spreads, profiler.chrome_trace(f"{folder}/trace.json").name
