"""All samples, for metrics that cannot be computed batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Copies, Reading, Statistic

__all__ = ["KeptSamples"]

PARTS = ("first", "second")
_NAMES = ("y_pred", "predictions", "y", "targets")
_LARGE = 2**10
"""Mean batch size from which ``pieces`` does not join the batches."""


class KeptSamples(Statistic):
    """Keeps copies of two tensors of each batch, usually predictions and targets.

    Memory grows with the data.

    Args:
        select: ``select(output, *args) -> (first, second)``, each of shape (B, ...). It checks the
            output.
        args: further arguments of ``select``. Statistics with the same function and arguments are
            equal.
        device: device on which to keep the samples. None: that of the tensors.
        names: names in error messages of the first tensor, all first tensors, the second tensor, and
            all second tensors.

    Example:
        >>> kept = KeptSamples(lambda output: output)
        >>> kept.update(Reading((torch.tensor([0.5]), torch.tensor([1]))))
        >>> kept.update(Reading((torch.tensor([0.1, 0.2]), torch.tensor([0, 1]))))
        >>> kept.first.tolist(), kept.second.tolist()
        ([0.5, 0.1..., 0.2...], [1, 0, 1])
    """

    def __init__(
        self,
        select: Callable[..., tuple[Tensor, Tensor]],
        args: tuple[Hashable, ...] = (),
        device: torch.device | None = None,
        names: tuple[str, str, str, str] = _NAMES,
    ) -> None:
        self._select = select
        self._args = args
        self._names = names
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._select, self._args)

    def reset(self) -> None:
        """Drops all samples."""
        self.num_examples = 0
        self._batches: list[Copies] = []
        self.version += 1

    def _update(self, reading: Reading) -> None:
        x, y = reading.derive(self._select, *self._args)
        copies = (
            reading.copies_of(x, y)
            if self.device is None
            else Copies(x.to(self.device), y.to(self.device))
        )
        batches = self._batches
        if batches:
            if batches[-1].like == copies.like:
                copies.like = batches[-1].like  # the same object, which is faster to compare
            else:
                self._check_kinds((x, y))
        batches.append(copies)
        self.num_examples += x.shape[0]

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept, length = dict(vars(self)), len(self._batches)

        def roll_back() -> None:
            del kept["_batches"][length:]
            self._restore(kept)

        return roll_back

    def _check_kinds(self, pair: tuple[Tensor, Tensor]) -> None:
        kinds = (self._names[:2], self._names[2:])
        for (name, plural), kept, tensor in zip(
            kinds, self._batches[-1].tensors, pair, strict=True
        ):
            if kept.shape[1:] != tensor.shape[1:]:
                raise ValueError(
                    f"{name} should be of shape (batch_size, {', '.join(map(str, kept.shape[1:]))}) as before, "
                    f"but given {tuple(tensor.shape)}"
                )
            if kept.dtype != tensor.dtype:
                raise ValueError(
                    f"Incoherent types between input {name} and stored {plural}: {name} should be of "
                    f"{kept.dtype} as before, but given {tensor.dtype}"
                )

    @property
    def first(self) -> Tensor:
        """All first tensors, shape (N, ...)."""
        return self._joined()[0]

    @property
    def second(self) -> Tensor:
        """All second tensors, shape (N, ...)."""
        return self._joined()[1]

    def pieces(self) -> list[tuple[Tensor, Tensor]]:
        """Returns all samples, joined, or in batches if these are large: joining takes memory."""
        if self.num_examples < _LARGE * len(self._batches):
            return [self._joined()]
        return [batch.tensors for batch in self._batches]

    def _joined(self) -> tuple[Tensor, Tensor]:
        batches = self._batches
        if not batches:
            return torch.empty(0, device=self.device), torch.empty(0, device=self.device)
        if len(batches) > 1:
            batches[:] = [Copies.joined(batches)]  # in place, so that they are joined once
        return batches[0].tensors

    def parts(self) -> dict[str, Any]:
        """Returns all samples, or None before the first batch."""
        first, second = self._joined() if self._batches else (None, None)
        return {"num_examples": self.num_examples, "first": first, "second": second}

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        kept = {name: values[name] for name in PARTS if isinstance(values[name], Tensor)}
        return {name: (values["num_examples"], *tensor.shape[1:]) for name, tensor in kept.items()}

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces all samples."""
        self.num_examples = values["num_examples"]
        self._batches = (
            [] if values["first"] is None else [Copies.kept(values["first"], values["second"])]
        )
        self.version += 1

    def __str__(self) -> str:
        return "all samples"

    def op_of(self, name: str) -> str:
        """Returns SUM for the number of examples, and ROWS (concatenate) for the samples."""
        return "SUM" if name == "num_examples" else "ROWS"
