"""The first batch of data that are to be gone over later: whoever looks at it leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.data.arrays import ArrayLoader
from ignite.data.random_state import random_scope
from ignite.data.resumable import ResumableLoader

__all__ = ["Once", "first_batch", "is_gone_over_once"]


class Once:
    """An iterator that can be looked into: the batch that was looked at still comes first.

    Args:
        iterator: can be gone over once.

    Example:
        >>> batches = Once(iter([1, 2]))
        >>> batches.peek(), list(batches)
        (1, [1, 2])
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._seen: list[Any] = []

    def peek(self) -> Any:
        """What ``next`` will return.

        Raises:
            StopIteration: there is none.
        """
        if not self._seen:
            self._seen.append(next(self._iterator))
        return self._seen[0]

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._seen.pop() if self._seen else next(self._iterator)


def is_gone_over_once(data: Any) -> bool:
    """Whether it is an iterator, such as a generator."""
    return isinstance(data, Iterator) and not hasattr(data, "dataset") and iter(data) is data


def first_batch(batches: Any) -> Any:
    """A batch like those to come, from ``batches`` as they are: random state, samplers and generators do not move on.

    Of a ``DataLoader`` it is made in this process, without workers.

    Returns:
        The batch; None for an iterable data set that can be gone over only once: nobody may look into it.

    Raises:
        ValueError: there is no batch.
    """
    if isinstance(batches, ResumableLoader):
        return first_batch(batches.wrapped)
    try:
        if isinstance(batches, Once):
            return batches.peek()
        if isinstance(batches, ArrayLoader):
            return next(batches.batches(0))
        with random_scope():
            if not isinstance(batches, DataLoader) or type(batches).__iter__ is not DataLoader.__iter__:
                return next(iter(batches))
            return _first_of_loader(batches)
    except StopIteration:
        raise ValueError("data should have at least one batch, but given none") from None


def _first_of_loader(loader: DataLoader[Any]) -> Any:
    if isinstance(loader.dataset, IterableDataset):
        samples = iter(loader.dataset)
        if samples is iter(loader.dataset):
            return None
        if loader.batch_size is None:
            return loader.collate_fn(next(samples))
        chosen = list(islice(samples, loader.batch_size))
        if not chosen:
            raise StopIteration
        return loader.collate_fn(chosen)
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    generators = [part for part in _generators(loader) if isinstance(part, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    try:
        indices = next(iter(copy.copy(sampler)))
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
    dataset = loader.dataset
    if loader.batch_sampler is None:
        return loader.collate_fn(dataset[indices])
    if callable(get_items := getattr(dataset, "__getitems__", None)):
        return loader.collate_fn(get_items(indices))
    return loader.collate_fn([dataset[index] for index in indices])


def _generators(loader: DataLoader[Any]) -> Iterator[Any]:
    inner = getattr(loader.batch_sampler, "sampler", None)
    for part in (loader, loader.sampler, loader.batch_sampler, inner):
        yield getattr(part, "generator", None)
