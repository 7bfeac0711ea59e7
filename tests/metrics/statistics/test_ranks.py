from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics import Accuracy, TopKCategoricalAccuracy
from ignite.metrics.statistics import LabelCounts, RankCounts, Reading

SCORES = st.sampled_from([0.0, 1.0, 2.5, -1.0, float("inf"), float("-inf"), float("nan")])


@given(st.data(), st.integers(2, 6), st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_counts_are_how_many_scores_are_lower(data, num_classes, sizes):
    """With ties, infinities and NaN, and whether or not labels were read before."""
    ranks, expected = RankCounts(), [0] * num_classes
    for size in sizes:
        rows = data.draw(
            st.lists(
                st.lists(SCORES, min_size=num_classes, max_size=num_classes),
                min_size=size,
                max_size=size,
            )
        )
        targets = data.draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size))
        reading = Reading(
            (
                torch.tensor(rows).reshape(size, num_classes),
                torch.tensor(targets, dtype=torch.int64),
            )
        )
        if data.draw(st.booleans()):
            with suppress(ValueError):  # of NaN
                LabelCounts().update(reading)
        ranks.update(reading)
        for row, target in zip(rows, targets, strict=True):
            expected[sum(score < row[target] for score in row)] += 1
    assert ranks.counts.tolist() == expected
    assert ranks.num_examples == sum(sizes)


def test_every_k_shares_one_statistic():
    engine = Engine(lambda engine, batch: (torch.eye(4), torch.tensor([0, 1, 3, 3])))
    metrics = [TopKCategoricalAccuracy(k) for k in (1, 2, 4)]
    for i, metric in enumerate((Accuracy(), *metrics)):
        metric.attach(engine, str(i))
    # Rows of the identity: the third example scores 0 for its class, as for two others.
    assert engine.run([0]).metrics == {"0": 0.75, "1": 0.75, "2": 0.75, "3": 1.0}
    assert len({id(metric._statistics_in_use()[0]) for metric in metrics}) == 1


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("target", [-1, 3, -100])
def test_invalid_targets_are_refused_and_change_nothing(is_read, target):
    ranks = RankCounts()
    ranks.update(Reading((torch.eye(3), torch.arange(3))))
    reading = Reading((torch.eye(3), torch.tensor([0, target, 2])))
    if is_read:
        LabelCounts(allows_outside=True).update(reading)
    with pytest.raises(ValueError, match="indices from 0 to 2, but 1 of those given are not"):
        ranks.update(reading)
    assert ranks.counts.tolist() == [0, 0, 3]


def test_another_number_of_classes_is_refused():
    ranks = RankCounts()
    ranks.update(Reading((torch.eye(3), torch.arange(3))))
    with pytest.raises(ValueError, match="number of classes has changed from 3 to 4"):
        ranks.update(Reading((torch.eye(4), torch.arange(4))))
