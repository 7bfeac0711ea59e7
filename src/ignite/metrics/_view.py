"""Metrics that accumulate nothing themselves: they name the statistics that they need, and compute from them."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics._attachment import Attachment
from ignite.metrics._outputs import as_pair, is_pair
from ignite.metrics._reduction import combined
from ignite.metrics._sharing import Binding, bind, bind_alone, span_key
from ignite.metrics._state import IDENTITY, check_state, load_statistics, plain_parts, statistics_to_state
from ignite.metrics.metric import Metric
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import durable, update_all


class View(Metric):
    """A metric that is computed from statistics, which it shares with others that are attached to the same engine.

    Subclasses say in ``_declare`` what has to be accumulated, and in ``_value`` what follows from it. Attributes that
    ``_declare`` uses have to be set before ``super().__init__()``.
    """

    _calls_user_code: ClassVar[bool] = False
    """Whether what is accumulated comes from a function of the user, that might track gradients. Ours detach inputs."""
    _takes_numbers: ClassVar[bool] = False
    """Whether an output that is a number or a tensor is taken as it is."""
    _inspects: ClassVar[bool] = False
    """Whether the class has an ``_inspect`` of its own."""
    _needs_examples: ClassVar[bool] = True
    """Whether computing without any example is an error."""
    _own: list[Statistic]
    """What was accumulated by ``update``; one that is attached and in a span has what its binding holds."""
    _bindings: list[Binding]
    """Of the spans that engines feed; the one in use last."""
    _counted: tuple[weakref.ref[Engine[Any, Any]], int] | None
    """An engine, and its iteration whose output a copy of what was shared has already."""
    _kept: tuple[list[tuple[Statistic, int]], Any] | None
    """The last value, with the statistics and their versions that it was computed from."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._inspects = cls._inspect is not View._inspect

    @abstractmethod
    def _declare(self) -> list[Statistic]:
        """What has to be accumulated: new statistics, on ``self._accumulates_on``."""

    @abstractmethod
    def _value(self, *statistics: Any) -> Any:
        """The value, from the statistics of ``_declare`` as they stand; it leaves them as they are."""

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        """Raises if an output does not fit this metric, although its first statistic, which is given, would take it."""

    def _begin(self) -> None:
        """Called when nothing has been seen yet, for what a subclass remembers beside statistics."""

    def reset(self) -> None:
        """Forgets all that was seen."""
        for binding in self.__dict__.get("_bindings", ()):
            binding.feed.leave(binding)
        self._own, self._bindings, self._kept, self._counted = durable(self._declare)(), [], None, None
        self._begin()

    def update(self, output: Any) -> None:
        """Takes in the output of one batch, or raises and stays as it was."""
        if len(self._own) > 1 or not is_pair(output):
            self._update_with([output])
            return
        reading = Reading(output)  # as _update_with, but this is what usually comes
        if self._bindings:
            self._become_independent()
        if self._inspects:
            self._inspect(reading, self._own[0])
        self._own[0].update(reading)

    def _update_with(self, outputs: list[Any]) -> None:
        """Takes in all outputs, or none of them."""
        readings = [Reading(self._accepted(output)) for output in outputs]
        self._become_independent()
        for reading in readings:
            self._inspect(reading, self._own[0])
        update_all([(statistic, reading) for statistic in self._own for reading in readings])

    def _accepted(self, output: Any) -> Any:
        """An output as statistics read it, of what ``update`` is given."""
        if is_pair(output):
            return output
        return self._read_output(self._pick(output) if isinstance(output, Mapping) else output)

    def _read_output(self, output: Any) -> Any:
        """Likewise, of one that is neither a mapping nor what all metrics take. Raises unless it fits."""
        return as_pair(output, type(self).__name__)

    def compute(self) -> Any:
        """The value over all that was seen, on all processes.

        Raises:
            NotComputableError: nothing was.
        """
        current = self._statistics_in_use()
        versions = [(statistic, statistic.version) for statistic in current]
        if self._kept is not None and self._kept[0] == versions:
            return _fresh(self._kept[1])
        together = combined(current)
        for statistic in together:
            self._check(statistic)
        if self._needs_examples and not any(statistic.num_examples for statistic in together):
            raise NotComputableError(f"{self._name()} must have at least one example before it can be computed.")
        value = _moved(self._value(*together), self._device)
        # Not over several processes: one that computes anew would wait for others that have nothing new.
        self._kept = (versions, value) if together == current else None
        return _fresh(value)

    def _check(self, statistic: Statistic) -> None:
        """Raises what ``update`` could not raise without waiting for an accelerator."""
        statistic.check()

    def _name(self) -> str:
        return type(self).__name__

    def _statistics_in_use(self) -> list[Statistic]:
        return self._bindings[-1].statistics if self._bindings else self._own

    _joins_states = True

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict({IDENTITY: self._identity(), **statistics_to_state(self._own_copies())})

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        own = durable(self._declare)()
        if states:
            known = {IDENTITY, *statistics_to_state(own)}
            for state in states:
                check_state(state, known, self._identity())
            load_statistics(own, states)
            self._check_loaded(own[0])
        self.reset()
        self._own = own

    def _identity(self) -> str:
        """Which metric accumulates this, and with which numbers and words: other metrics do not go on from it."""
        names = [kind.__name__ for kind in type(self).__mro__ if kind.__module__.partition(".")[0] == "ignite"]
        return f"{names[0]}{plain_parts([statistic.key[2:] for statistic in self._own])}"

    def _check_loaded(self, statistic: Any) -> None:
        """Raises ValueError if this metric cannot go on from its first statistic, which was loaded."""

    # How it shares: see `ignite.metrics._sharing`.

    def started(self, engine: Engine[Any, Any]) -> None:
        """Called when a span begins: takes part in what is shared, or forgets."""
        attachment, reading = self._attachments.get(engine), self._how_to_read()
        if attachment is None or reading is None:
            self.reset()
            return
        self._kept = self._counted = None
        self._begin()
        binding = bind(engine, span_key(attachment.usage), reading, self._own, attachment.token)
        if self._inspects:
            binding.add_inspector(self)
        self._bindings = [*(known for known in self._bindings if known.feed.engine() is not engine), binding]

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Called with each output that counts: accumulates it, unless another metric has done so."""
        bindings = self._bindings
        binding = bindings[-1] if bindings else None
        if binding is None or binding.feed.engine() is not engine:
            binding = self._find_binding(engine)
        reading = None if binding is None else binding.take_turn(engine, self)
        if binding is None or reading is None:
            self._go_on_alone(engine)
            return
        is_plain = binding.feed.is_pair or (self._takes_numbers and type(reading.output) in _NUMBERS)
        if not is_plain or self._calls_user_code:
            with torch.no_grad():
                self._take_in([Reading(self._accepted(each)) for each in self._parse(reading.output)], binding)
            return
        # As _take_in, but this happens for each metric in each iteration.
        slots, tick = binding.slots, binding.tick
        if len(slots) > 1:
            self._take_in([reading], binding)
        elif slots[0].tick != tick:
            if slots[0].inspectors:
                slots[0].inspect(reading)
            slots[0].tick = tick
            slots[0].statistic.update(reading)

    def _take_in(self, readings: list[Reading], binding: Binding) -> None:
        """Accumulates one or more outputs of an iteration, as far as nobody has done so: all of them or none."""
        slots = [slot for slot in binding.slots if slot.tick != binding.tick]
        for slot in slots:
            for reading in readings:
                slot.inspect(reading)
        for slot in slots:
            slot.tick = binding.tick
        update_all([(slot.statistic, reading) for slot in slots for reading in readings])

    def _go_on_alone(self, engine: Engine[Any, Any]) -> None:
        """Accumulates an output by itself, unless a copy of what was shared has it already."""
        counted, self._counted = self._counted, None
        if counted is not None and counted[0]() is engine and counted[1] == engine.state.iteration:
            return
        if type(self).update is not View.update:
            super().iteration_completed(engine)
            return
        with torch.no_grad():
            self._update_with(self._read(engine))

    def _use(self, engine: Engine[Any, Any]) -> None:
        self._find_binding(engine)

    def _find_binding(self, engine: Engine[Any, Any]) -> Binding | None:
        """The part in what the metrics of ``engine`` share, from now on the one that is computed from."""
        bindings = self._bindings
        for i, binding in enumerate(bindings):
            if binding.feed.engine() is engine:
                bindings.append(bindings.pop(i))
                return binding
        attachment = self._attachments.get(engine)
        if not bindings or attachment is None:
            return None
        # It feeds another engine, too, and must not take over from there.
        bindings.append(bind_alone(engine, self._own, attachment.token))
        if self._inspects:
            bindings[-1].add_inspector(self)
        return bindings[-1]

    def _how_to_read(self) -> tuple[Hashable, ...] | None:
        """Equal for metrics that read outputs alike; None if a subclass goes its own way and nothing can be shared."""
        own_way = ("update", "reset", "started", "iteration_completed", "_read", "_parse")
        if any(getattr(type(self), name) is not getattr(View, name) for name in own_way):
            return None
        key = (self._output_transform, self.required_output_keys, self._skip_unrolling, type(self)._pick)
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def _note_on_handler(self, engine: Engine[Any, Any], handler: str) -> str:
        """For ``engine.describe()``: what is accumulated, and with which metrics it is shared."""
        if handler != "iteration_completed":
            return ""
        notes = []
        for key, words in self._shared_keys(engine).items():
            others = [view for view in _views_of(engine) if view is not self and key in view._shared_keys(engine)]
            names = ", ".join(dict.fromkeys(type(other).__name__ for other in others))
            notes.append(f"{words} shared with {names}" if names else words)
        return "; ".join(notes)

    def _shared_keys(self, engine: Engine[Any, Any]) -> dict[Hashable, str]:
        """What tells the statistics of this metric from others of the engine -> what they are called."""
        attachment, reading = self._attachments.get(engine), self._how_to_read()
        if attachment is None or reading is None:
            return {}
        return {(span_key(attachment.usage), reading, own.key): str(own) for own in self._own}

    def _become_independent(self) -> None:
        """Goes on from what is shared, by itself."""
        if not self._bindings:
            return
        binding = self._bindings[-1]
        engine = binding.feed.engine()
        if engine is not None and binding.is_ahead(engine.state.iteration):
            self._counted = (binding.feed.engine, engine.state.iteration)
        self._own = self._own_copies()
        for known in self._bindings:
            known.feed.leave(known)
        self._bindings = []

    def _leave(self, engine: Engine[Any, Any], attachment: Attachment) -> None:
        for binding in [known for known in self._bindings if known.feed.engine() is engine]:
            if len(self._bindings) == 1:
                self._become_independent()
            else:
                binding.feed.leave(binding)
                self._bindings.remove(binding)

    def __getstate__(self) -> dict[str, Any]:
        """With a copy of what is shared as the metric's own."""
        return {**super().__getstate__(), "_own": self._own_copies(), "_bindings": [], "_kept": None, "_counted": None}

    def _own_copies(self) -> list[Statistic]:
        """What is accumulated for this metric, as if it had been alone."""
        pairs = zip(self._statistics_in_use(), self._own, strict=True)
        return [found.narrowed(own) for found, own in pairs]


_NUMBERS = (float, int, Tensor)


def update_together(pairs: Iterable[tuple[Metric, Any]]) -> None:
    """Updates metrics, each with its output, for all of them or for none if one raises; who reads alike reads once."""
    readings: dict[Hashable, Reading] = {}
    updates: dict[int, tuple[Any, Any]] = {}
    for metric, output in pairs:
        key = metric._how_to_read() if isinstance(metric, View) else None
        if not isinstance(metric, View) or key is None:
            updates[id(metric)] = metric, output
            continue
        if metric._bindings:
            metric._become_independent()
        reading = readings.get((key, id(output)))
        if reading is None:
            reading = readings[key, id(output)] = Reading(metric._accepted(output))
        metric._inspect(reading, metric._own[0])
        updates.update((id(statistic), (statistic, reading)) for statistic in metric._own)
    update_all(list(updates.values()))


def _views_of(engine: Engine[Any, Any]) -> list[View]:
    """The metrics that are attached to an engine, each once."""
    owners = [getattr(row.handler, "__self__", None) for table in engine._tables.values() for row in table.entries]
    return list({id(owner): owner for owner in owners if isinstance(owner, View)}.values())


def _moved(value: Any, device: torch.device) -> Any:
    """With tensors on ``device``, also those in a tuple or a dictionary."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def _fresh(value: Any) -> Any:
    """With copies of tensors, so that what is kept does not change with what users do to theirs."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple):
        return tuple(_fresh(item) for item in value)
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    return value
