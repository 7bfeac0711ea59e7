"""A schedule of the batch size."""

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
    """Sets the batch size of a loader at each event, by a function of the number of events before it.

    With ``Events.EPOCH_STARTED``, the size is that of the epoch that begins. At an event within an
    epoch, it depends on torch's sampler, and on the workers, from which batch on it holds; at the
    latest, from the next pass on. An epoch is as long as the loader is when it begins, unless
    ``run`` is given an ``epoch_length``.

    Args:
        dataloader: the loader that ``run`` is given, with a ``BatchSampler``, as it has by default.
        scheduler_fn: gives the batch size, a positive integer, for event 0, 1, ...
        save_history: whether to append the sizes to ``engine.state.param_history["batch_size"]``.

    Raises:
        TypeError: ``dataloader`` is not a DataLoader, or ``scheduler_fn`` cannot be called.
        ValueError: ``dataloader`` has no BatchSampler; or, when called, the batch size is not a
            positive integer.
        RuntimeError: when called, the engine reads its batches from a loader that can be resumed:
            those are cut beforehand, of one size. ``Checkpoint.of`` makes such loaders.

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
                f"Argument dataloader should be torch.utils.data.DataLoader, but given {type(dataloader)}"
            )
        if not isinstance(dataloader.batch_sampler, BatchSampler):
            raise ValueError(
                "Argument dataloader should have a BatchSampler, i.e. dataloader.batch_sampler should be an instance "
                f"of torch.utils.data.sampler.BatchSampler, but given {type(dataloader.batch_sampler)}"
            )
        if not callable(scheduler_fn):
            raise TypeError(
                f"Argument scheduler_fn should be callable, but given {type(scheduler_fn)}"
            )
        self.dataloader = dataloader
        self.scheduler_fn = scheduler_fn
        self._has_said = False

    def attach(self, engine: Engine[Any, Any], event: Any = Events.EPOCH_STARTED) -> None:
        """Sets the batch size at each ``event`` of ``engine``."""
        engine.add_event_handler(event, self)
        engine.add_event_handler(Events.EPOCH_STARTED, self._set_length)

    def __call__(self, engine: Engine[Any, Any] | None) -> None:
        """Sets the batch size for ``event_index``, and counts it up."""
        if engine is not None and isinstance(engine.state.dataloader, ResumableLoader):
            raise RuntimeError(
                "BatchSizeScheduler should be used with a run that is given the DataLoader itself, but its batches "
                "come from a ResumableLoader, which cuts them beforehand. Checkpoint.of makes one: save with "
                "Checkpoint(to_save, ...) instead"
            )
        size = self.get_param()
        self._set_size(size)
        self._record(engine, self.param_name, size)
        self.event_index += 1
        if engine is not None and engine.last_event_name == Events.EPOCH_STARTED:
            self._set_length(engine)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where it was saved; the loader has the size of then."""
        super().load_state_dict(state_dict)
        if self.event_index > 0:
            self._set_size(self._size_at(self.event_index - 1))

    def _set_size(self, size: int) -> None:
        self.dataloader.batch_sampler.batch_size = size  # type: ignore[union-attr]

    def _set_length(self, engine: Engine[Any, Any]) -> None:
        if engine.state.dataloader is not self.dataloader or engine.is_epoch_length_given:
            return
        before, engine.state.epoch_length = engine.state.epoch_length, len(self.dataloader)
        if before not in (None, engine.state.epoch_length) and not self._has_said:
            self._has_said = True
            engine.logger.warning(
                "BatchSizeScheduler: epochs are as long as the loader, so this one has %s iterations and not %s. What "
                "counts on %s, as in Ignite, needs run(epoch_length=%s)",
                engine.state.epoch_length, before, before, before,
            )  # fmt: skip

    def get_param(self) -> int:
        """The batch size for ``event_index``."""
        return self._size_at(self.event_index)

    def _size_at(self, event: int) -> int:
        size = self.scheduler_fn(event)
        if not is_integer(size) or size < 1:
            raise ValueError(
                f"Batch size returned by scheduler_fn should be a positive integer, but given {size!r}"
            )
        return int(size)

    @classmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """The batch sizes of the first ``num_events`` events: ``[[0, size], [1, size], ...]``.

        Args:
            num_events: how many events.
            **scheduler_kwargs: arguments of the class. The loader is left alone.
        """
        scheduler = cls(**scheduler_kwargs)
        return [[event, scheduler._size_at(event)] for event in range(num_events)]
