import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from ignite.metrics._agreement import as_labels, count_labels, cross_table, outside_message

pairs = st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=1, max_size=20)


@given(pairs, st.sampled_from([1, -5, 10**12]))
def test_any_labels_are_counted_in_their_order(pairs, step):
    y_pred, y = (torch.tensor(values) * step for values in zip(*pairs, strict=True))
    used = sorted({value * step for pair in pairs for value in pair})
    expected = [[sum((p * step, t * step) == (b, a) for p, t in pairs) for b in used] for a in used]
    assert cross_table(y_pred, y).tolist() == expected


@given(pairs, st.sampled_from([torch.uint8, torch.int32, torch.int64, torch.float32]), st.booleans())
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
        with pytest.raises(ValueError, match=f"Labels should be from 0 to 2, but {num_outside} of those given are not"):
            count_labels((y_pred, y), 3, "Kappa")
    else:
        assert count_labels((y_pred, y), 3, "Kappa")[0] == len(pairs)


def test_of_scores_and_one_hot_vectors_the_highest_counts():
    assert as_labels(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]), "y", "Kappa").tolist() == [1, 0]
    assert as_labels(torch.tensor([[0, 0, 1], [0, 1, 0]]), "y", "Kappa").tolist() == [2, 1]
    assert as_labels(torch.tensor([[3.0], [0.0]]), "y", "Kappa").tolist() == [3, 0]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"In Kappa, y should be of shape \(batch_size,\), but given \(2, 3, 4\)"):
        as_labels(torch.ones(2, 3, 4), "y", "Kappa")
    with pytest.raises(ValueError, match="the same number of labels, but given 2 and 3"):
        count_labels((torch.ones(2), torch.ones(3)), 4, "Kappa")


def test_what_is_wrong_is_told():
    assert outside_message(5, 7) == "Labels should be from 0 to 4, but 7 of those given are not"
