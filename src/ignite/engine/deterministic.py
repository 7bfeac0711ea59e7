"""An engine with a reproducible order of batches, and its tools."""

from __future__ import annotations

import functools
import random
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from ignite._core.calls import signature_of
from ignite._core.rng import capture_random_state, manual_seed, restore_random_state
from ignite.engine import _fetch
from ignite.engine._state import State
from ignite.engine.engine import Engine
from ignite.engine.events import Events

__all__ = [
    "DeterministicEngine",
    "ReproducibleBatchSampler",
    "keep_random_state",
    "update_dataloader",
]

T = TypeVar("T")


def keep_random_state(func: Callable[..., T]) -> Callable[..., T]:
    """Makes a function preserve the random states of Python, torch, NumPy and accelerators, even if it raises.

    Example:
        >>> @keep_random_state
        ... def draw():
        ...     return torch.rand(1)
        >>> bool((draw() == draw()).all())
        True
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> T:
        state = capture_random_state()
        try:
            return func(*args, **kwargs)
        finally:
            restore_random_state(state)

    return wrapper


def update_dataloader(
    dataloader: DataLoader[Any], new_batch_sampler: BatchSampler
) -> DataLoader[Any]:
    """Creates a loader of the same class and options as ``dataloader``, with another batch sampler.

    Args:
        dataloader: a loader over a map-style dataset; it does not change.
        new_batch_sampler: yields lists of indices.
    """
    replaced = {"self", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
    names = set(signature_of(DataLoader.__init__).parameters) | set(
        signature_of(type(dataloader)).parameters
    )
    kept = {
        name: getattr(dataloader, name) for name in names - replaced if hasattr(dataloader, name)
    }
    return type(dataloader)(**kept, batch_sampler=new_batch_sampler)


class ReproducibleBatchSampler(BatchSampler):
    """Draws all batches of indices of a pass at once, and can skip the first ones.

    Args:
        batch_sampler: yields the batches of indices.
        start_iteration: number of batches to skip in the next pass, and only there.

    Raises:
        TypeError: ``batch_sampler`` is not a torch ``BatchSampler``.

    Example:
        >>> sampler = ReproducibleBatchSampler(BatchSampler(range(6), batch_size=2, drop_last=False), start_iteration=1)
        >>> list(sampler), list(sampler)
        ([[2, 3], [4, 5]], [[0, 1], [2, 3], [4, 5]])
    """

    def __init__(self, batch_sampler: BatchSampler, start_iteration: int | None = None) -> None:
        if not isinstance(batch_sampler, BatchSampler):
            raise TypeError(
                "Argument batch_sampler should be torch.utils.data.sampler.BatchSampler, "
                f"but given {type(batch_sampler).__name__}"
            )
        self.batch_indices: list[list[int]] = []
        self.batch_sampler = batch_sampler
        self.start_iteration = start_iteration
        self.sampler = self.batch_sampler.sampler
        self._is_drawn = False

    def setup_batch_indices(self) -> None:
        """Draws the batches of a pass."""
        self.batch_indices = list(self.batch_sampler)
        if self.start_iteration is not None:
            self.batch_indices = self.batch_indices[self.start_iteration :]
            self.start_iteration = None
        self._is_drawn = True

    def __iter__(self) -> Iterator[list[int]]:
        if (
            not self._is_drawn
        ):  # not earlier: a loader with workers creates two iterators, and uses the second
            self.setup_batch_indices()
        self._is_drawn = False
        yield from self.batch_indices

    def __len__(self) -> int:
        return len(self.batch_sampler)


class DeterministicEngine(Engine[Any, Any]):
    """An engine that repeats the same batches in the same order when a run is resumed from a saved state.

    Each pass over the data begins with the seed ``state.seed + i``, where ``i`` counts the passes
    from 0: pass ``i`` gives the batches of ``manual_seed(state.seed + i)`` followed by ``for batch in
    data``. ``state.seed`` is drawn from torch's generator when the run starts. A map-style
    ``DataLoader`` is positioned by its indices; other data by fetching and dropping batches.

    A sampler draws all indices of a pass at its start. If it calls random functions between indices,
    random numbers of the training step therefore do not change the order of batches.

    The order of batches is reproducible and, with ``num_workers=0``, so are all random numbers of
    augmentation and of the model. Random numbers in loader workers depend on how many batches the
    worker has loaded: there, a resumed run is exact only from the start of a pass.

    Args:
        process_function: see :class:`Engine`.

    State:
        Like that of :class:`Engine`, with ``rng_states``, ``seed`` and, after epochs that ended early,
        ``pass_start`` and ``pass_number``. It loads with ``torch.load(weights_only=True)``.

    Example:
        >>> seen = []
        >>> engine = DeterministicEngine(lambda engine, batch: seen.append(batch))
        >>> loader = DataLoader(torch.arange(4), batch_size=None, shuffle=False)
        >>> engine.run(loader, max_epochs=2).iteration
        8
    """

    def __init__(self, process_function: Callable[[Engine[Any, Any], Any], Any]) -> None:
        super().__init__(process_function)
        self.state_dict_user_keys.append("rng_states")
        self.state.rng_states = None
        self._pass_start = self._pass_number = 0
        self._loaded: Mapping[str, Any] | None = None
        self.add_event_handler(Events.STARTED, _draw_seed)
        self.add_event_handler(Events.TERMINATE_SINGLE_EPOCH, _end_pass)

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
        *,
        resume: str | Path | None = None,
        seed: int | None = None,
    ) -> State:
        """Like :meth:`Engine.run`.

        Raises:
            ValueError: ``data`` is None, or see :meth:`Engine.run`.
        """
        if data is None and not self._cursor.is_paused:
            raise ValueError(
                "Deterministic engine does not support the option of data=None. Please, provide "
                "data"
            )
        return super().run(data, max_epochs, max_iters, epoch_length, resume=resume, seed=seed)

    def state_dict(self) -> OrderedDict[str, Any]:
        """Like :meth:`Engine.state_dict`, with the current random states."""
        random_state = capture_random_state()
        self.state.rng_states = [
            random_state["python"], random_state["torch"], random_state.get("numpy"), random_state.get("accelerator")
        ]  # fmt: skip
        saved = super().state_dict()
        if self.state.seed is not None:
            saved["seed"] = self.state.seed
        if self._pass_start != self._pass_number * (self._pass_length() or 0):
            saved["pass_start"] = self._pass_start
            saved["pass_number"] = self._pass_number
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Like :meth:`Engine.load_state_dict`."""
        super().load_state_dict(state_dict)
        keys = ("seed", "pass_start", "pass_number")
        self._loaded = {key: state_dict[key] for key in keys if key in state_dict}
        self.state.seed = self._loaded.get("seed")
        self._pass_start = self._loaded.get("pass_start", 0)
        self._pass_number = self._loaded.get("pass_number", 0)

    @property
    def _can_seek(self) -> bool:
        return True

    def _init_iter(self) -> None:
        if _fetch.counts_passes(
            self.state.dataloader
        ):  # it has a position, and draws no random numbers here
            super()._init_iter()
            return
        state, cursor = self.state, self._cursor
        loaded, self._loaded = self._loaded, None
        state.dataloader = self._source.data = _reproducible(state.dataloader)
        length = self._pass_length()
        if loaded is not None:
            number = state.iteration // (length or 1)
            self._pass_number = loaded.get("pass_number", number)
            self._pass_start = loaded.get("pass_start", number * (length or 1))
        elif cursor.is_aligned or self._dataloader_iter is not None:
            self._begin_pass(state.iteration, length)
        num_seen = state.iteration - self._pass_start
        cursor.is_aligned = True
        _check_length(state, length)

        manual_seed((state.seed or 0) + self._pass_number)
        self._dataloader_iter = _fetch.begin(lambda: self._skip(num_seen), self._meters)
        rng_states = getattr(state, "rng_states", None)
        if loaded is not None and num_seen > 0 and rng_states is not None:
            _restore(rng_states)

    def _begin_pass(self, iteration: int, length: int | None) -> None:
        """Numbers the pass that begins after ``iteration``; an earlier pass may have ended early."""
        num_done = iteration - self._pass_start
        if num_done < 0:  # a new run
            self._pass_number = iteration // (length or 1)
        elif num_done > 0:
            num_batches = _fetch.length_of(self.state.dataloader) or num_done
            self._pass_number += -(-num_done // num_batches)
        self._pass_start = iteration

    def _skip(self, num_batches: int) -> Iterator[Any]:
        """Returns an iterator over the data that skips its first batches."""
        data = self.state.dataloader
        sampler = getattr(data, "batch_sampler", None)
        if isinstance(sampler, ReproducibleBatchSampler):
            sampler.start_iteration = num_batches
            iterator = _fetch.iterate(
                data
            )  # draws a seed for workers, and with workers the indices behind it
            if sampler.start_iteration is not None:
                # As with all other loaders, so that the order depends on the seed alone, as in
                # Ignite; and now, so that the random state can be restored afterwards.
                sampler.setup_batch_indices()
            return iterator
        if num_batches:
            self.logger.info(
                "Resuming from iteration for provided data will fetch data until required "
                "iteration %s ...",
                num_batches,
            )
        iterator = _fetch.iterate(data)
        for _ in range(num_batches):
            try:
                next(iterator)
            except StopIteration:
                iterator = _fetch.iterate(data)
                next(iterator)
        return iterator

    def _pass_length(self) -> int | None:
        return _fetch.length_of(self.state.dataloader) or self.state.epoch_length


def _draw_seed(engine: DeterministicEngine) -> None:
    if engine._cursor.goes_on:  # the seed belongs to the passes that continue
        return
    # Drawn even if a saved seed replaces it, so that the generator has the same state.
    drawn = int(torch.randint(0, int(1e9), (1,)).item())
    loaded = engine._loaded or {}
    engine.state.seed = loaded.get("seed", drawn)
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def _end_pass(engine: DeterministicEngine) -> None:
    """Leaves out the rest of the pass, so that a state that is saved from now on has the next one."""
    if not _fetch.counts_passes(engine.state.dataloader):
        engine._begin_pass(engine.state.iteration, engine._pass_length())


def _reproducible(data: Any) -> Any:
    """Returns ``data``, or a reproducible copy of a loader that can be positioned by indices."""
    if (
        not isinstance(data, DataLoader)
        or isinstance(data.dataset, IterableDataset)
        or data.batch_sampler is None
    ):
        return data
    if isinstance(data.batch_sampler, ReproducibleBatchSampler) or not isinstance(
        data.batch_sampler, BatchSampler
    ):
        return data
    return update_dataloader(data, ReproducibleBatchSampler(data.batch_sampler))


def _check_length(state: State, length: int | None) -> None:
    sampler = getattr(state.dataloader, "sampler", None)
    inner = getattr(getattr(state.dataloader, "batch_sampler", None), "sampler", sampler)
    if state.epoch_length is not None and length != state.epoch_length and hasattr(inner, "epoch"):
        warnings.warn(
            "When defined engine's epoch length is different of input dataloader length, "
            "distributed sampler indices can not be setup in a reproducible manner: "
            f"{state.epoch_length} and {length}",
            stacklevel=2,
        )


def _restore(rng_states: list[Any]) -> None:
    """Restores random states of this library or of Ignite."""
    python, cpu, *others = rng_states
    numpy_state = others[0] if others else None
    accelerator = others[1] if len(others) > 1 else None
    state: dict[str, Any] = {"python": _to_tuple(python), "torch": cpu}
    if isinstance(numpy_state, Mapping):
        state["numpy"] = numpy_state
    if accelerator is not None:
        state["accelerator"] = accelerator
    restore_random_state(state)  # type: ignore[arg-type]
    if isinstance(numpy_state, tuple):  # Ignite's form
        import numpy

        numpy.random.set_state(numpy_state)


def _to_tuple(python_state: Any) -> Any:
    """Python accepts its state only as tuples, which saving may have turned into lists."""
    version, internal, gauss = python_state
    random.Random().setstate((version, tuple(internal), gauss))  # raises before anything changes
    return version, tuple(internal), gauss
