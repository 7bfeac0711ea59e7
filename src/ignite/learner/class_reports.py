"""What a classifier gets right, by class: a report and a confusion matrix, as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite._core.optional import import_optional

__all__ = ["ClassReport", "ConfusionTable"]

_SCORES = ("precision", "recall", "f1")
_MAX_WRITTEN = 30
"""Matrices of more classes are plotted without numbers."""


class ClassReport(dict[Any, dict[str, float]]):
    """Precision, recall, F1 and support by class: ``{class: {"precision": ..., ...}}``.

    Prints as a table. A score without samples to divide by is 0.

    Args:
        by_class: the scores of each class.
        averages: the same over classes, by the name of the average.
        accuracy: fraction of the samples whose class is right, or all of whose labels are.

    Attributes:
        averages: "macro", the mean over classes; "weighted", weighted by support; and for several
            labels "micro", over all labels together.
        accuracy: see above.

    Example:
        >>> y, y_pred = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
        >>> report = ClassReport.of(y, y_pred, ["cat", "dog"])
        >>> print(report)
                  precision  recall      f1  support
        cat          1.0000  0.6667  0.8000        3
        dog          0.5000  1.0000  0.6667        1
        macro        0.7500  0.8333  0.7333        4
        weighted     0.8750  0.7500  0.7667        4
        accuracy                     0.7500        4
        >>> report["cat"]["f1"], report.averages["macro"]["precision"]
        (0.8, 0.75)
    """

    def __init__(
        self,
        by_class: Mapping[Any, dict[str, float]],
        averages: Mapping[str, dict[str, float]],
        accuracy: float,
    ) -> None:
        super().__init__(by_class)
        self.averages = dict(averages)
        self.accuracy = accuracy

    @classmethod
    def of(cls, y: Tensor, y_pred: Tensor, names: Sequence[Any]) -> ClassReport:
        """Counts classes.

        Args:
            y: true classes, shape (N,), or labels of 0 and 1, shape (N, L).
            y_pred: predicted ones, in the same shape.
            names: the name of each class or label.
        """
        is_multilabel = y.ndim == 2
        counts = torch.stack(
            [
                _counts(y_pred[:, i] == 1, y[:, i] == 1)
                if is_multilabel
                else _counts(y_pred == i, y == i)
                for i in range(len(names))
            ]
        )  # (C, 3)
        by_class = {name: _scores(*row) for name, row in zip(names, counts.tolist(), strict=True)}
        averages = {"micro": _scores(*counts.sum(0).tolist())} if is_multilabel else {}
        num_true = counts[:, 2].double()
        total = int(num_true.sum())
        for name, weights in (("macro", torch.ones_like(num_true)), ("weighted", num_true)):
            averages[name] = {"support": total}
            for score in _SCORES:
                values = torch.tensor([row[score] for row in by_class.values()]).double()
                weight = float(weights.sum())
                averages[name][score] = float((values * weights).sum()) / weight if weight else 0.0
        right = (y == y_pred).all(dim=1) if is_multilabel else y == y_pred
        return cls(by_class, averages, float(right.double().mean()) if len(right) else 0.0)

    def to_pandas(self) -> Any:
        """Returns a data frame with a row for each class and average.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        pandas = import_optional("pandas", extra="pandas")
        return pandas.DataFrame.from_dict({**self, **self.averages}, orient="index")[
            [*_SCORES, "support"]
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draws the scores of each class as bars; returns the matplotlib axes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        height = 1 + 0.5 * len(self)
        ax = _axes(ax, (6, height))
        names = [str(name) for name in self]
        for i, score in enumerate(_SCORES):
            places = [row + (i - 1) * 0.27 for row in range(len(names))]
            values = [row[score] for row in self.values()]
            ax.barh(places, values, height=0.25, label=score)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        ax.figure.tight_layout()
        return ax

    def __str__(self) -> str:
        rows = [["", *_SCORES, "support"]]
        for name, row in {**self, **self.averages}.items():
            scores = [f"{row[score]:.4f}" for score in _SCORES]
            rows.append([str(name), *scores, str(int(row["support"]))])
        support = rows[-1][-1]
        rows.append(["accuracy", "", "", f"{self.accuracy:.4f}", support])
        return _table(rows)

    def __repr__(self) -> str:
        return f"<ClassReport of {len(self)} classes, accuracy {self.accuracy:.4f}>"


class ConfusionTable:
    """How often each true class was predicted as each class. Prints as a table.

    Args:
        counts: int64, shape (C, C), true classes in rows and predicted ones in columns; or for L
            labels (L, 2, 2).
        names: the name of each class or label.

    Attributes:
        counts: see above.
        names: see above.

    Example:
        >>> y, y_pred = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
        >>> table = ConfusionTable.of(y, y_pred, ["cat", "dog"])
        >>> print(table)
        true | predicted  cat  dog
        cat                 2    1
        dog                 0    1
        >>> table.normalized().tolist()[1]
        [0.0, 1.0]
    """

    def __init__(self, counts: Tensor, names: Sequence[Any]) -> None:
        self.counts = counts
        self.names = tuple(names)

    @classmethod
    def of(cls, y: Tensor, y_pred: Tensor, names: Sequence[Any]) -> ConfusionTable:
        """Counts pairs of classes; see :meth:`ClassReport.of`."""
        if y.ndim == 2:
            pairs = [_pairs(y[:, i], y_pred[:, i], 2) for i in range(len(names))]
            return cls(torch.stack(pairs) if pairs else torch.zeros(0, 2, 2).long(), names)
        return cls(_pairs(y, y_pred, len(names)), names)

    def normalized(self) -> Tensor:
        """Returns the fractions of each true class, float64, shape (C, C); 0 if it does not occur."""
        totals = self.counts.sum(-1, keepdim=True)
        return self.counts.double() / totals.clamp(min=1)

    def to_pandas(self) -> Any:
        """Returns a data frame, true classes in rows.

        Raises:
            ModuleNotFoundError: pandas is not installed.
            ValueError: there are several labels for each sample.
        """
        self._check_one_matrix()
        pandas = import_optional("pandas", extra="pandas")
        names = list(self.names)
        frame = pandas.DataFrame(self.counts.tolist(), index=names, columns=names)
        return frame.rename_axis(index="true", columns="predicted")

    def plot(self, ax: Any = None, *, normalize: bool = False) -> Any:
        """Draws the matrix; for several labels, one for each label in a figure of its own.

        Args:
            ax: matplotlib axes; by default, new ones are created.
            normalize: whether to show the fraction of each true class.

        Returns:
            The axes, or a list of them for several labels.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        values = self.normalized() if normalize else self.counts
        if values.ndim == 2:
            return _draw(values, self.names, _axes(ax, (1.5 + 0.5 * len(values),) * 2), normalize)
        figure = import_optional("matplotlib.pyplot", extra="plot").figure(
            figsize=(3.5 * len(values), 3)
        )
        axes = list(figure.subplots(1, len(values), squeeze=False)[0])
        for one, matrix, name in zip(axes, values, self.names, strict=True):
            _draw(matrix, (0, 1), one, normalize).set_title(str(name))
        return axes

    def _check_one_matrix(self) -> None:
        if self.counts.ndim == 3:
            raise ValueError(
                "to_pandas needs one class for each sample, but given several labels: use counts, "
                f"shape {tuple(self.counts.shape)}"
            )

    def __str__(self) -> str:
        if self.counts.ndim == 2:
            names = [str(name) for name in self.names]
            rows = [["true | predicted", *names]]
            counts = self.counts.tolist()
            rows += [[name, *map(str, row)] for name, row in zip(names, counts, strict=True)]
            return _table(rows)
        rows = [["label", "true -", "false +", "false -", "true +"]]
        for name, matrix in zip(self.names, self.counts.flatten(1).tolist(), strict=True):
            rows.append([str(name), *map(str, matrix)])
        return _table(rows)

    def __repr__(self) -> str:
        return f"<ConfusionTable of {len(self.names)} classes>"


def _counts(is_found: Tensor, is_true: Tensor) -> Tensor:
    """Returns the numbers of samples in both, in the first and in the second, shape (3,)."""
    return torch.stack([(is_found & is_true).sum(), is_found.sum(), is_true.sum()])


def _scores(both: int, num_found: int, num_true: int) -> dict[str, float]:
    return {
        "precision": both / num_found if num_found else 0.0,
        "recall": both / num_true if num_true else 0.0,
        "f1": 2 * both / (num_found + num_true) if num_found + num_true else 0.0,
        "support": num_true,
    }


def _pairs(y: Tensor, y_pred: Tensor, num_classes: int) -> Tensor:
    pairs = y.flatten() * num_classes + y_pred.flatten()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    return import_optional("matplotlib.pyplot", extra="plot").subplots(figsize=size)[1]


def _draw(values: Tensor, names: Sequence[Any], ax: Any, is_fraction: bool) -> Any:
    ax.imshow(values.tolist(), cmap="Blues", vmin=0)
    ticks = range(len(names))
    ax.set_xticks(ticks, [str(name) for name in names], rotation=45, ha="right")
    ax.set_yticks(ticks, [str(name) for name in names])
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    half = float(values.max()) / 2 if values.numel() else 0.0
    for i, row in enumerate(values.tolist() if len(values) <= _MAX_WRITTEN else []):
        for j, value in enumerate(row):
            color = "white" if value > half else "black"
            text = f"{value:.2f}" if is_fraction else str(value)
            ax.text(j, i, text, ha="center", va="center", color=color)
    ax.figure.tight_layout()
    return ax
