"""Scheduler of the batch size."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import BatchSampler, DataLoader

from ignite.data import ResumableLoader
from ignite.engine import Engine, Events
from ignite.handlers._schedules.scheduler import (
    BaseParamScheduler,
    is_integer,
)


class BatchSizeScheduler(BaseParamScheduler):
    """Sets the batch size of a loader at each event.

    With ``Events.EPOCH_STARTED``, the size applies to the epoch that starts. At an event within an
    epoch, PyTorch's sampler and the workers determine the first batch of the new size; the next
    pass over the loader has it throughout. An epoch has the length of the loader at its start,
    unless ``run`` is given an ``epoch_length``.

    Args:
        dataloader: the loader passed to ``run``, with a ``BatchSampler`` (the default of PyTorch).
        scheduler_fn: ``f(event_index)``, returns the batch size, a positive integer.
        save_history: whether to append the sizes to ``engine.state.param_history["batch_size"]``.

    Raises:
        TypeError: ``dataloader`` is not a DataLoader, or ``scheduler_fn`` is not callable.
        ValueError: ``dataloader`` has no BatchSampler; or, when called, the batch size is not a
            positive integer.
        RuntimeError: when called, the engine reads from a :class:`~ignite.data.ResumableLoader`,
            such as ``Checkpoint.of`` creates: its batches have one size.

    Example:
        >>> loader = DataLoader(range(12), batch_size=2)
        >>> scheduler = BatchSizeScheduler(loader, lambda event: 3 * 2**event)
        >>> for _ in range(2):
        ...     scheduler(None)
        ...     print(len(loader))
        4
        2

    References:
        Smith et al., "Don't Decay the Learning Rate, Increase the Batch Size", 2018,
        https://arxiv.org/abs/1711.00489
    """

    def __init__(
        self,
        dataloader: DataLoader[Any],
        scheduler_fn: Callable[[int], int],
        save_history: bool = False,
    ) -> None:
        super().__init__("batch_size", save_history)
        if not isinstance(dataloader, DataLoader):
            raise TypeError(
                "Argument dataloader should be torch.utils.data.DataLoader, "
                f"but given {type(dataloader)}"
            )
        if not isinstance(dataloader.batch_sampler, BatchSampler):
            raise ValueError(
                "Argument dataloader should have a BatchSampler, i.e. dataloader.batch_sampler "
                "should be an instance of torch.utils.data.sampler.BatchSampler, "
                f"but given {type(dataloader.batch_sampler)}"
            )
        if not callable(scheduler_fn):
            raise TypeError(
                f"Argument scheduler_fn should be callable, but given {type(scheduler_fn)}"
            )
        self.dataloader = dataloader
        self.scheduler_fn = scheduler_fn
        self._has_warned = False

    def attach(self, engine: Engine[Any, Any], event: Any = Events.EPOCH_STARTED) -> None:
        """Sets the batch size at each ``event`` of ``engine``."""
        engine.add_event_handler(event, self)
        engine.add_event_handler(Events.EPOCH_STARTED, self._set_length)

    def __call__(self, engine: Engine[Any, Any] | None) -> None:
        """Sets the batch size for ``event_index``, then increments it."""
        if engine is not None and isinstance(engine.state.dataloader, ResumableLoader):
            raise RuntimeError(
                "BatchSizeScheduler cannot be used with a ResumableLoader, such as Checkpoint.of "
                "creates: its batches have one size. Save with Checkpoint(to_save, ...) instead"
            )
        size = self.get_param()
        self._set_size(size)
        self._record(engine, self.param_name, size)
        self.event_index += 1
        if engine is not None and engine.last_event_name == Events.EPOCH_STARTED:
            self._set_length(engine)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state, and sets its batch size."""
        super().load_state_dict(state_dict)
        if self.event_index > 0:
            self._set_size(self._size_at(self.event_index - 1))

    def _set_size(self, size: int) -> None:
        self.dataloader.batch_sampler.batch_size = size  # type: ignore[union-attr]

    def _set_length(self, engine: Engine[Any, Any]) -> None:
        if engine.state.dataloader is not self.dataloader or engine.is_epoch_length_given:
            return
        before, engine.state.epoch_length = engine.state.epoch_length, len(self.dataloader)
        if before not in (None, engine.state.epoch_length) and not self._has_warned:
            self._has_warned = True
            engine.logger.warning(
                "BatchSizeScheduler: the batch size changed the length of the epoch from %s to %s "
                "iterations. To keep the length constant, as in Ignite, use run(epoch_length=%s)",
                before,
                engine.state.epoch_length,
                before,
            )

    def get_param(self) -> int:
        """Returns the batch size for ``event_index``."""
        return self._size_at(self.event_index)

    def _size_at(self, event: int) -> int:
        size = self.scheduler_fn(event)
        if not is_integer(size) or size < 1:
            raise ValueError(
                "Batch size returned by scheduler_fn should be a positive integer, "
                f"but given {size!r}"
            )
        return int(size)

    @classmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """Returns the batch sizes of the first ``num_events`` events: ``[[0, size], ...]``.

        Args:
            num_events: the number of events.
            **scheduler_kwargs: arguments of the class; a ``dataloader`` is ignored.
        """
        loader: DataLoader[Any] = DataLoader(range(1))  # type: ignore[arg-type]
        scheduler = cls(**{**scheduler_kwargs, "dataloader": loader})
        return [[event, scheduler._size_at(event)] for event in range(num_events)]
