import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from ignite.metrics._classification import (
    as_labels,
    check_labels,
    count_labels,
    cross_table,
    labels_of_samples,
    outside_message,
)
from ignite.metrics.statistics import Reading
from support.classification_oracles import elsewhere

pairs = st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=1, max_size=20)


@given(pairs, st.sampled_from([1, -5, 10**12]))
def test_any_labels_are_counted_in_their_order(pairs, step):
    y_pred, y = (torch.tensor(values) * step for values in zip(*pairs, strict=True))
    used = sorted({value * step for pair in pairs for value in pair})
    expected = [[sum((p * step, t * step) == (b, a) for p, t in pairs) for b in used] for a in used]
    table, labels = cross_table(y_pred, y)
    assert (table.tolist(), labels.tolist()) == (expected, used)


@given(
    pairs, st.sampled_from([torch.uint8, torch.int32, torch.int64, torch.float32]), st.booleans()
)
def test_labels_in_a_range_are_counted_as_scikit_learn_does(pairs, dtype, is_column):
    y_pred, y = (torch.tensor(values).to(dtype) for values in zip(*pairs, strict=True))
    expected = confusion_matrix(y, y_pred, labels=range(4))
    output = (y_pred.unsqueeze(1), y.unsqueeze(1)) if is_column else (y_pred, y)
    num_examples, table, num_outside = count_labels(output, 4, "Kappa")
    assert (num_examples, table.tolist(), int(num_outside)) == (len(pairs), expected.tolist(), 0)


@given(st.lists(st.tuples(*[st.integers(-2, 4)] * 2), min_size=1, max_size=20))
def test_labels_out_of_range_are_an_error(pairs):
    y_pred, y = (torch.tensor(values) for values in zip(*pairs, strict=True))
    num_outside = sum(not 0 <= value < 3 for pair in pairs for value in pair)
    if num_outside:
        with pytest.raises(
            ValueError,
            match=f"Labels should be from 0 to 2, but {num_outside} of those given are not",
        ):
            count_labels((y_pred, y), 3, "Kappa")
    else:
        assert count_labels((y_pred, y), 3, "Kappa")[0] == len(pairs)


def test_of_scores_and_one_hot_vectors_the_highest_counts():
    for values, expected in (
        ([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], [1, 0]),
        ([[0, 0, 1], [0, 1, 0]], [2, 1]),
        ([[3.0], [0.0]], [3, 0]),
    ):
        labels, num_wrong = as_labels(torch.tensor(values), "y", "Kappa")
        assert (labels.tolist(), num_wrong) == (expected, 0)


@pytest.mark.parametrize("value", [0.5, -0.9, math.inf, -math.inf, math.nan, -100.0])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_invalid_labels_are_refused_on_the_host_and_counted_on_an_accelerator(value, shape):
    values = torch.tensor([1.0, value, value])
    words = (
        "ignore_index=-100"
        if value == -100
        else f"labels, whole numbers, but given {values[1].item()}; .* output_transform"
    )
    values = values.reshape(shape)
    with pytest.raises(ValueError, match=words):
        as_labels(values, "y", "Kappa")
    assert int(as_labels(*elsewhere(values), "y", "Kappa")[1]) == 2
    right = torch.ones(shape)
    with pytest.raises(
        ValueError, match="y_pred and y should be labels, but 2 of those given are not"
    ):
        labels_of_samples(*elsewhere(right, values), "Kappa")
    assert [labels.tolist() for labels in labels_of_samples(right, right, "Kappa")] == [
        [1, 1, 1]
    ] * 2


def test_nan_scores_are_not_labels():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, math.nan, 0.4]])
    with pytest.raises(
        ValueError, match="y_pred should be scores, but given NaN in 1 of 2 examples"
    ):
        check_labels(Reading(None), scores, torch.tensor([0, 1]), "Kappa")
    assert int(as_labels(*elsewhere(scores), "y_pred", "Kappa")[1]) == 1


def test_other_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"In Kappa, y should be of shape \(batch_size,\), but given \(2, 3, 4\)"
    ):
        as_labels(torch.ones(2, 3, 4), "y", "Kappa")
    with pytest.raises(ValueError, match="the same number of labels, but given 2 and 3"):
        count_labels((torch.ones(2), torch.ones(3)), 4, "Kappa")


def test_the_message_shows_range_and_count():
    assert outside_message(5, 7) == "Labels should be from 0 to 4, but 7 of those given are not"


@pytest.mark.parametrize("scale", [1, 50, 2**40], ids=["near", "with_gaps", "far"])
@pytest.mark.parametrize("offset", [0, -7, 3])
def test_pairs_of_labels_are_counted_however_far_labels_are_from_each_other(scale, offset):
    generator = torch.Generator().manual_seed(0)
    y_pred, y = (torch.randint(6, (200,), generator=generator) * scale + offset for _ in range(2))
    table, labels = cross_table(y_pred, y)
    assert labels.tolist() == [i * scale + offset for i in range(6)]
    assert table.tolist() == [
        [int(((y == t) & (y_pred == p)).sum()) for p in labels] for t in labels
    ]


def test_no_labels_have_an_empty_table():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert [part.numel() for part in cross_table(nothing, nothing)] == [0, 0]
