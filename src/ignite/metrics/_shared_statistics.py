"""Sharing of statistics between the metrics of one engine.

Attached views (:mod:`ignite.metrics._views`) with the same usage and output transform share one
:class:`SharedOutputs`, which reads each output once. Those that declare equal statistics share one
:class:`SharedStatistic`: the first view that is called in an iteration updates it, and the others
skip the update. At the beginning of each span (the time from one reset to the next, usually an
epoch) each view gets a new :class:`Subscription` to what it shares. A value therefore does not
depend on which other metrics are attached, nor on the order of their handlers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from ignite.engine import Engine
from ignite.metrics._outputs import identity
from ignite.metrics.metric import Attachment
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import is_pair


@dataclass(eq=False, slots=True)
class SharedStatistic:
    """A statistic over one span, and the views that share it."""

    statistic: Statistic
    users: set[Attachment] = field(default_factory=set)
    num_read: int = -1
    """``SharedOutputs.num_read`` at the last update; -1 before the first."""
    inspectors: dict[Attachment, weakref.ref[Any]] = field(default_factory=dict)
    """The users that define ``_inspect``, and thus may refuse outputs that the statistic accepts."""

    def inspect(self, reading: Reading) -> None:
        """Raises if one of the users refuses the output. It is then not counted for any of them."""
        for inspector in self.inspectors.values():
            view = inspector()
            if view is not None:
                view._inspect(reading, self.statistic)


@dataclass(eq=False, slots=True)
class SharedOutputs:
    """The outputs of an engine, for all views with the same usage and output transform.

    The first view that is called reads an output; the last one releases it.
    """

    engine: weakref.ref[Engine[Any, Any]]
    statistics: dict[Hashable, SharedStatistic] = field(default_factory=dict)
    """Key -> statistic of the latest span."""
    users: set[Attachment] = field(default_factory=set)
    num_read: int = 0
    """Number of outputs that have been read."""
    iteration: int = -1
    """The engine's iteration when the latest output was read."""
    reading: Reading | None = None
    """The latest output, until all users have received it."""
    is_pair: bool = False
    """Whether it is a pair of tensors. Views may parse other outputs differently."""
    num_waiting: int = 0
    """Number of users that have not received it."""

    @classmethod
    def of(cls, engine: Engine[Any, Any], span: Hashable, transform: Hashable) -> SharedOutputs:
        """Returns the outputs of ``engine`` for this span and transform, created on first use."""
        known = _outputs.setdefault(engine, {})
        if (span, transform) not in known:
            known[span, transform] = cls(weakref.ref(engine))
        return known[span, transform]

    def read(self, output: Any, iteration: int) -> Reading:
        """Replaces the latest output with a new one."""
        self.num_read += 1
        self.iteration, self.num_waiting = iteration, len(self.users)
        self.is_pair = is_pair(output)
        self.reading = reading = Reading(output)
        return reading

    def share(self, key: Hashable, user: Attachment, wanted: Statistic) -> SharedStatistic:
        """Returns the statistic for a user whose span begins.

        It is shared with other users whose span has just begun. Otherwise, a new one is created,
        because a statistic that this user already has, or that has been updated, belongs to an
        earlier span.
        """
        shared = self.statistics.get(key)
        if shared is None or user in shared.users or shared.num_read >= 0:
            shared = self.statistics[key] = SharedStatistic(wanted.fresh())
        else:
            shared.statistic.widen(wanted)
        shared.users.add(user)
        return shared


_outputs: weakref.WeakKeyDictionary[Engine[Any, Any], dict[Hashable, SharedOutputs]] = (
    weakref.WeakKeyDictionary()
)


@dataclass(eq=False, slots=True)
class Subscription:
    """The statistics that a view shares with others over one span."""

    outputs: SharedOutputs
    shared: list[SharedStatistic]
    user: Attachment
    num_read: int
    """``outputs.num_read`` when the view last received an output."""

    @classmethod
    def begun(
        cls,
        engine: Engine[Any, Any],
        user: Attachment,
        reading_key: tuple[Hashable, ...],
        wanted: list[Statistic],
    ) -> Subscription:
        """Begins a span with shared statistics.

        Args:
            engine: the engine that the view is attached to.
            user: the view's attachment to ``engine``.
            reading_key: equal for views that parse outputs in the same way. The first item is the
                output transform.
            wanted: the statistics that the view declares.
        """
        transform, *parsing = reading_key
        outputs = SharedOutputs.of(engine, user.span, transform)
        shared = [outputs.share((statistic.key, *parsing), user, statistic) for statistic in wanted]
        outputs.users.add(user)
        outputs.iteration = -1  # a new run may count iterations from 1 again
        return cls(outputs, shared, user, outputs.num_read)

    @classmethod
    def alone(
        cls, engine: Engine[Any, Any], user: Attachment, wanted: list[Statistic]
    ) -> Subscription:
        """Begins a span in the middle of a run, without sharing."""
        outputs = SharedOutputs(weakref.ref(engine), users={user})
        return cls(
            outputs,
            [SharedStatistic(statistic.fresh()) for statistic in wanted],
            user,
            outputs.num_read,
        )

    def end(self) -> None:
        """Stops sharing."""
        outputs = self.outputs
        for shared in self.shared:
            shared.inspectors.pop(self.user, None)
        if self.user in outputs.users:
            outputs.users.discard(self.user)
            if self.num_read != outputs.num_read:
                outputs.num_waiting -= 1
        if outputs.num_waiting <= 0:
            outputs.reading = None

    @property
    def statistics(self) -> list[Statistic]:
        """The statistics that the view is computed from."""
        return [shared.statistic for shared in self.shared]

    def is_ahead(self, iteration: int) -> bool:
        """Returns whether the iteration is already counted, but the view has not been called in it yet."""
        outputs = self.outputs
        is_counted = any(shared.num_read == outputs.num_read for shared in self.shared)
        return is_counted and outputs.iteration == iteration and self.num_read != outputs.num_read

    def next_reading(
        self, engine: Engine[Any, Any], transform: Callable[[Any], Any]
    ) -> Reading | None:
        """Returns the output of this iteration, or None if the view has already received it.

        Only a user's call calls the view twice in an iteration.
        """
        outputs, iteration = self.outputs, engine.state.iteration
        is_new = iteration != outputs.iteration
        if not is_new and self.num_read == outputs.num_read:
            return None
        reading = outputs.reading
        # It is None if it was released before this view, which was attached late, was called.
        if is_new or reading is None:
            output = engine.state.output
            reading = outputs.read(
                output if transform is identity else transform(output), iteration
            )
        self.num_read = outputs.num_read
        outputs.num_waiting -= 1
        if outputs.num_waiting <= 0:
            outputs.reading = None
        return reading
