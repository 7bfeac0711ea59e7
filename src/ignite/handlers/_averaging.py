"""Averages of model weights, for exponential moving averages and stochastic weight averaging."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite import storage
from ignite._core.torch_private import foreach_copy_, foreach_lerp_
from ignite.engine import Engine

__all__ = ["Average", "AverageHandler"]

_SHORT = (torch.float16, torch.bfloat16)


class Average:
    """Copy of a model whose weights are an average of the live weights.

    Averages of float16 and bfloat16 weights are kept in float32 beside the copy: an update is often
    smaller than the resolution of these types.

    Args:
        model: the live model; unwrapped from DDP and ``torch.compile``.

    Raises:
        TypeError: ``model`` is not a module.
        Whatever ``copy.deepcopy(model)`` raises, with a note.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                "model should be an instance of nn.Module or its subclasses, "
                f"but given {type(model).__name__}"
            )
        self.live = storage.unwrap(model)
        try:
            self.model = copy.deepcopy(self.live)
        except Exception as error:
            error.add_note(
                "model should support copy.deepcopy: the averaged weights are kept in a copy of it"
            )
            raise
        self.model.requires_grad_(requires_grad=False)
        self.is_swapped = False
        self._pair()

    def _pair(self) -> None:
        """Pairs the tensors of both models. Shared weights occur once in either."""
        pairs: list[tuple[Tensor, Tensor]] = list(
            zip(self.model.parameters(), self.live.parameters(), strict=True)
        )
        usual = [pair for pair in pairs if pair[0].dtype not in _SHORT]
        short = [pair for pair in pairs if pair[0].dtype in _SHORT]
        self._averages, self._sources = [pair[0] for pair in usual], [pair[1] for pair in usual]
        self._half_averages, self._half_sources = (
            [pair[0] for pair in short],
            [pair[1] for pair in short],
        )
        self._exact = [average.detach().float() for average in self._half_averages]

    @torch.no_grad()
    def update(self, weight: float) -> None:
        """Updates each parameter: ``average += weight * (live - average)``.

        Raises:
            RuntimeError: the weights are swapped.
        """
        self._prepare_update()
        if self._averages:
            foreach_lerp_(self._averages, self._sources, weight)
        if self._exact:
            foreach_lerp_(self._exact, [source.float() for source in self._half_sources], weight)
            foreach_copy_(self._half_averages, self._exact)

    @torch.no_grad()
    def update_buffers(self, weight: float) -> None:
        """Updates floating-point buffers in the same way; copies other buffers."""
        pairs = list(zip(self.model.buffers(), self.live.buffers(), strict=True))
        floating = [(average, source) for average, source in pairs if average.is_floating_point()]
        if floating:
            foreach_lerp_([pair[0] for pair in floating], [pair[1] for pair in floating], weight)
        for average, source in pairs:
            if not average.is_floating_point():
                average.copy_(source)

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Copies all buffers of the live model."""
        for average, source in zip(self.model.buffers(), self.live.buffers(), strict=True):
            average.copy_(source)

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Resets the average to the live weights and buffers.

        Raises:
            RuntimeError: the weights are swapped.
        """
        self._prepare_update()
        for average, live in zip(_tensors(self.model), _tensors(self.live), strict=True):
            average.copy_(live)
        for exact, source in zip(self._exact, self._half_sources, strict=True):
            exact.copy_(source)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Swaps the weights and buffers of the live model and the copy within the block.

        Nothing is copied; afterwards both models are bit-identical to before.

        Raises:
            RuntimeError: the weights are already swapped.
        """
        if self.is_swapped:
            raise RuntimeError(
                "The weights are already swapped: leave the inner swapped() block first"
            )
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @contextlib.contextmanager
    def swapped_around(self, engine: Engine[Any, Any], is_new: bool) -> Iterator[None]:
        """Swaps around a run of an engine."""
        with self.swapped():
            yield

    def _swap(self) -> None:
        self.is_swapped = not self.is_swapped
        tensors = zip(_tensors(self.model), _tensors(self.live), strict=True)
        for average, live in tensors:
            average.data, live.data = live.data, average.data

    def _prepare_update(self) -> None:
        """Checks that the weights are not swapped; follows the live model to its device."""
        if self.is_swapped:
            raise RuntimeError(
                "Cannot update the average while the averaged weights are in the live model: "
                "leave the swapped() block first"
            )
        source = next(self.live.parameters(), None)
        average = next(self.model.parameters(), None)
        if source is not None and average is not None and source.device != average.device:
            self.model.to(source.device)
            self._exact = [exact.to(source.device) for exact in self._exact]

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the copy, and the float32 averages.

        Raises:
            RuntimeError: the weights are swapped, so that a checkpoint would hold the wrong
                weights.
        """
        if self.is_swapped:
            raise RuntimeError(
                "Cannot save while the averaged weights are in the live model: "
                "leave the swapped() block first"
            )
        return {"model": self.model.state_dict(), "exact": list(self._exact)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads an average, all or nothing.

        Raises:
            ValueError: the state belongs to another model.
        """
        own, given = self.model.state_dict(), state_dict["model"]
        misfits = sorted({*own} ^ {*given}) + [
            name for name in own if name in given and _shape(own[name]) != _shape(given[name])
        ]
        if misfits or len(state_dict["exact"]) != len(self._exact):
            raise ValueError(
                "state_dict should be the average of the same model, "
                f"but given one that differs in {', '.join(misfits)}"
            )
        self.model.load_state_dict(given)
        for exact, value in zip(self._exact, state_dict["exact"], strict=True):
            exact.copy_(value)


class AverageHandler:
    """Base of the handlers that keep an average: it can be evaluated, saved and loaded.

    Args:
        model: the live model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._average = Average(model)

    def swapped(self) -> contextlib.AbstractContextManager[None]:
        """Context manager that gives the live model the averaged weights within the block.

        Nothing is copied; afterwards the live weights are bit-identical to before. Within the
        block, nothing can be saved, and the average cannot be updated.

        Raises:
            RuntimeError: the weights are already swapped.
        """
        return self._average.swapped()

    def swap_for(self, evaluator: Engine[Any, Any]) -> None:
        """Swaps the weights during each run of ``evaluator``, also if it raises."""
        evaluator.add_run_context(self._average.swapped_around)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the average.

        Raises:
            RuntimeError: the weights are swapped.
        """
        return self._average.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads a saved average.

        Raises:
            ValueError: the state belongs to another model. Nothing is changed.
        """
        self._average.load_state_dict(state_dict)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else None
