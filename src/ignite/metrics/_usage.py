"""Usages: the events at which a metric is reset, updated and computed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, ClassVar

from ignite.engine import CallableEventWithFilter, Events, EventsList

NO_EXAMPLE = (
    "no example came since the metric was reset: all batches were empty, or all iterations failed or "
    "were skipped. engine.terminate_epoch(skip_epoch_completed=True) ends an epoch without metrics"
)


class MetricUsage:
    """The events at which a metric is reset, updated and computed.

    Args:
        started: the event at which it is reset.
        completed: the event at which its value is put into ``state.metrics``.
        iteration_completed: the event at which it is updated with ``state.output``.
    """

    usage_name: ClassVar[str]

    def __init__(
        self,
        started: CallableEventWithFilter,
        completed: CallableEventWithFilter,
        iteration_completed: CallableEventWithFilter,
    ) -> None:
        self._started = started
        self._completed = completed
        self._iteration_completed = iteration_completed

    # Read-only. attrgetter is used because it is fast, and attaching a metric reads them many times.
    STARTED = property(attrgetter("_started"), doc="The event at which the metric is reset.")
    COMPLETED = property(attrgetter("_completed"), doc="The event at which the metric is computed.")
    ITERATION_COMPLETED = property(
        attrgetter("_iteration_completed"), doc="The event at which the metric is updated."
    )

    @property
    def is_of_batches(self) -> bool:
        """Whether the metric is computed after each batch."""
        return not event_names(Events.ITERATION_COMPLETED).isdisjoint(event_names(self._completed))


class EpochWise(MetricUsage):
    """Computes the value over each epoch."""

    usage_name = "epoch_wise"

    def __init__(self) -> None:
        super().__init__(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED)


class RunningEpochWise(EpochWise):
    """Computes the value over the run so far, updating once at the end of each epoch."""

    usage_name = "running_epoch_wise"

    def __init__(self) -> None:
        MetricUsage.__init__(self, Events.STARTED, Events.EPOCH_COMPLETED, Events.EPOCH_COMPLETED)


class BatchWise(MetricUsage):
    """Computes the value over each batch."""

    usage_name = "batch_wise"

    def __init__(self) -> None:
        super().__init__(
            Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.ITERATION_COMPLETED
        )


class RunningBatchWise(BatchWise):
    """Computes the value over the run so far, after each batch."""

    usage_name = "running_batch_wise"

    def __init__(self) -> None:
        MetricUsage.__init__(
            self, Events.STARTED, Events.ITERATION_COMPLETED, Events.ITERATION_COMPLETED
        )


class SingleEpochRunningBatchWise(BatchWise):
    """Computes the value over the epoch so far, after each batch."""

    usage_name = "single_epoch_running_batch_wise"

    def __init__(self) -> None:
        MetricUsage.__init__(
            self, Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, Events.ITERATION_COMPLETED
        )


class BatchFiltered(MetricUsage):
    """Computes the value over a selection of the batches of each epoch.

    Args:
        *args: arguments of an event filter.
        **kwargs: keyword arguments of an event filter, as in ``BatchFiltered(every=2)``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            Events.EPOCH_STARTED,
            Events.EPOCH_COMPLETED,
            Events.ITERATION_COMPLETED(*args, **kwargs),
        )


USAGES: dict[str, Callable[[], MetricUsage]] = {
    usage.usage_name: usage
    for usage in (
        EpochWise,
        RunningEpochWise,
        BatchWise,
        RunningBatchWise,
        SingleEpochRunningBatchWise,
    )
}


def check_usage(usage: str | MetricUsage) -> MetricUsage:
    """Returns ``usage``, or the usage with this name.

    Raises:
        ValueError: no usage has this name.
        TypeError: ``usage`` is neither a usage nor a name.
    """
    if isinstance(usage, MetricUsage):
        return usage
    if not isinstance(usage, str):
        raise TypeError(
            f"Unhandled usage type: usage should be a str or MetricUsage, but given {type(usage).__name__}"
        )
    if usage not in USAGES:
        raise ValueError(
            f"Argument usage should be one of {', '.join(USAGES)}, but given {usage!r}"
        )
    return USAGES[usage]()


def event_names(event: Any) -> set[str]:
    """Returns the name of an event, or the names of several joined with ``|``."""
    return {
        str(getattr(each, "_name_", each))
        for each in (event if isinstance(event, EventsList) else [event])
    }


def event_key(event: Any) -> Hashable:
    """Returns a key that is equal for events with the same name and filter."""
    if isinstance(event, EventsList):
        return tuple(event_key(each) for each in event)
    return (str(getattr(event, "_name_", event)), getattr(event, "filter", None))


def span_key(usage: MetricUsage) -> Hashable:
    """Returns a key that is equal for usages with the same three events."""
    return tuple(
        event_key(event) for event in (usage.STARTED, usage.ITERATION_COMPLETED, usage.COMPLETED)
    )
