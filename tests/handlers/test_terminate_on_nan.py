import logging
import math
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers.terminate_on_nan import TerminateOnNan
from support import guarded_processes, harness

Pair = namedtuple("Pair", "a b")
NAN, INF = math.nan, math.inf


def stops(output, **options):
    engine = Engine(lambda engine, batch: output)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan(**options))
    return engine.run([0, 1]).iteration == 1


@pytest.mark.parametrize(
    "output",
    [
        NAN,
        INF,
        -INF,
        complex(0, INF),
        Decimal("NaN"),
        np.float32("nan"),
        torch.tensor(NAN),
        torch.tensor([[1.0, -INF]]),
        torch.tensor([1.0, complex(NAN, 0)]),
        torch.tensor([1.0, INF], dtype=torch.bfloat16),
        torch.tensor([INF], requires_grad=True),
        [1.0, NAN],
        (0.5, {"loss": [torch.tensor(1.0), torch.tensor(NAN)]}),
        Pair(1.0, INF),
        {"a": "text", "b": torch.tensor([NAN])},
    ],
    ids=lambda value: type(value).__name__,
)
def test_nan_and_infinity_stop_the_run(output):
    assert stops(output)


@pytest.mark.parametrize(
    "output",
    [0, 1.5, 10**400, Fraction(1, 3), 1j, True, "nan", b"nan", [], {}, torch.tensor([]), torch.tensor([1]), [1, "a"],
     torch.tensor(True), np.float64(3), {"a": (1.0, torch.ones(2))}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_run_with_finite_values_continues(output):
    assert not stops(output)


@pytest.mark.parametrize(
    "output",
    [None, np.ones(1), {1.0}, object(), [1.0, None]],
    ids=lambda value: type(value).__name__,
)
def test_values_that_cannot_be_inspected_are_an_error_that_says_what_to_do(output):
    with pytest.raises(TypeError, match="x should be Number or Tensor") as info:
        stops(output)
    assert (
        "in TerminateOnNan: select the numbers of the output with output_transform"
        in info.value.__notes__[0]
    )


def test_the_transform_picks_what_is_looked_at():
    assert not stops((NAN, 1.0), output_transform=lambda output: output[1])


def test_it_logs_it_and_does_not_change_the_loggers(caplog):
    def all_handlers():
        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        return sum(len(logger.handlers) for logger in loggers)

    before = all_handlers()
    assert stops(NAN)
    assert stops([NAN])
    assert all_handlers() == before
    assert (
        "TerminateOnNan: the output of iteration 1 contains NaN or Inf. Stop training"
        in caplog.text
    )
    assert {record.name for record in caplog.records if record.levelname == "WARNING"} == {
        "ignite.handlers.terminate_on_nan.TerminateOnNan"
    }


def test_all_processes_stop_in_the_same_iteration():
    first, second = harness.run(guarded_processes.terminates_on_nan_in_the_second, 2)
    assert first == (3, "the output of iteration 3 on another rank contains NaN or Inf")
    assert second == (3, "the output of iteration 3 contains NaN or Inf")
