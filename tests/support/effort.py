"""The number of examples to try by default; thorough and slow runs try the rest."""

import itertools
import os

import pytest
from hypothesis import settings

IS_QUICK = os.environ.get("HYPOTHESIS_PROFILE", "quick") == "quick"


def few(num_examples):
    """So many examples in a default run: for properties of each of many classes, or whose examples are dear."""
    return settings(max_examples=num_examples) if IS_QUICK else settings()


def diagonal(*axes):
    """All combinations, for ``pytest.mark.parametrize``; all but one for each value of the longest axis are slow.

    What is left for a default run has each value of each axis.
    """
    axes = [list(axis) for axis in axes]
    quick = {tuple(i % len(axis) for axis in axes) for i in range(max(len(axis) for axis in axes))}
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, indices, strict=True)),
            marks=[] if indices in quick else [pytest.mark.slow],
        )
        for indices in itertools.product(*(range(len(axis)) for axis in axes))
    ]


def slow_but(values, *quick):
    """All values, for ``pytest.mark.parametrize``; those that are not named are slow."""
    return [
        pytest.param(value, marks=[] if value in quick else [pytest.mark.slow]) for value in values
    ]
