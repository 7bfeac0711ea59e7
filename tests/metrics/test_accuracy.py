import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from ignite.exceptions import NotComputableError
from ignite.metrics import Accuracy

kinds = st.sampled_from(["binary", "multiclass", "multilabel"])


@given(
    kinds,
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.sampled_from([(), (3,), (2, 2)]),
    st.integers(0, 9),
)
def test_any_cut_into_batches_gives_scikit_learns_accuracy(kind, sizes, extra, seed):
    generator = torch.Generator().manual_seed(seed)
    num = sum(sizes)

    def integers(high, *shape):
        return torch.randint(high, shape, generator=generator)

    if kind == "multiclass":
        y_pred, y = torch.randn(num, 4, *extra, generator=generator), integers(4, num, *extra)
        rows = y.flatten().numpy(), y_pred.argmax(1).flatten().numpy()
    elif kind == "binary":
        y_pred, y = integers(2, num, *extra).float(), integers(2, num, *extra)
        rows = y.flatten().numpy(), y_pred.flatten().numpy()
    else:
        y_pred, y = integers(2, num, 3, *extra), integers(2, num, 3, *extra)
        rows = tuple(np.moveaxis(t.numpy(), 1, -1).reshape(-1, 3) for t in (y, y_pred))
    metric = Accuracy(is_multilabel=kind == "multilabel")
    for batch in zip(y_pred.split(sizes), y.split(sizes), strict=True):
        metric.update(batch)
    assert metric.compute() == pytest.approx(accuracy_score(*rows))


def test_a_dimension_of_one_is_no_dimension():
    metric = Accuracy()
    metric.update((torch.tensor([[1.0], [0.0]]), torch.tensor([1, 1])))
    metric.update((torch.tensor([1.0]), torch.tensor([[1]])))
    assert metric.compute() == pytest.approx(2 / 3)


def scores(*shape):
    return torch.zeros(*shape)


@pytest.mark.parametrize(
    ("is_multilabel", "y_pred", "y", "words"),
    [
        (False, scores(2, 3, 4, 5), scores(2), r"y must have shape of .* given y_pred of shape \(2, 3, 4, 5\)"),
        (False, scores(2, 3), scores(3), r"must have compatible shapes., but given y_pred of shape \(2, 3\)"),
        (False, scores(2, 3, 4), scores(2, 5), "must have compatible shapes"),
        (True, scores(2), scores(2), r"\(batch_size, num_categories, ...\) and num_categories > 1"),
        (True, scores(2, 3), scores(2), "must have same shape"),
        (False, scores(2), torch.tensor([0, 2]), "y must be comprised of 0's and 1's., but given 2"),
        (False, torch.tensor([0.3, 1.0]), scores(2), "y_pred must be comprised of 0's and 1's., but given 0.3"),
        (False, torch.tensor([float("nan"), 1.0]), scores(2), "but given nan"),
    ],
)  # fmt: skip
def test_what_fits_no_kind_is_refused_and_changes_nothing(is_multilabel, y_pred, y, words):
    metric = Accuracy(is_multilabel=is_multilabel)
    with pytest.raises(ValueError, match=words):
        metric.update((y_pred, y))
    with pytest.raises(NotComputableError, match="Accuracy must have at least one example"):
        metric.compute()
    assert metric._type is None


def test_the_kind_and_the_number_of_classes_stay_until_reset():
    metric = Accuracy()
    metric.update((torch.eye(3), torch.arange(3)))
    with pytest.raises(RuntimeError, match="Input data type has changed from multiclass to binary"):
        metric.update((torch.ones(2), torch.ones(2)))
    with pytest.raises(ValueError, match="number of classes has changed from 3 to 4"):
        metric.update((torch.eye(4), torch.arange(4)))
    assert metric.compute() == 1.0
    metric.reset()
    metric.update((torch.ones(2), torch.zeros(2)))
    assert metric.compute() == 0.0


def test_the_kind_is_saved_with_the_counts():
    metric, other = Accuracy(), Accuracy()
    metric.update((torch.eye(3), torch.arange(3)))
    other.load_state_dict(metric.state_dict())
    with pytest.raises(RuntimeError, match="changed from multiclass to binary"):
        other.update((torch.ones(2), torch.ones(2)))
    other.update((torch.eye(3), torch.tensor([1, 1, 1])))
    assert other.compute() == pytest.approx(4 / 6)


def test_tokens_that_do_not_count_are_left_out():
    y_pred = torch.eye(3).expand(2, 3, 3)
    y = torch.tensor([[0, 1, -1], [2, 1, 9]])
    metric = Accuracy(output_transform=Accuracy.get_sequence_transform(ignore_index=[-1, 9]))
    metric.update(metric._output_transform((y_pred, y)))
    assert metric.compute() == 0.75
    keep = Accuracy.get_sequence_transform()
    assert keep((y_pred, y))[1].tolist() == [0, 1, -1, 2, 1, 9]
    with pytest.raises(
        ValueError, match=r"Expected y_pred to be 3D .* shapes \(3, 3\) and \(2, 3\)"
    ):
        keep((torch.eye(3), y))
    with pytest.raises(ValueError, match="incompatible shapes"):
        keep((y_pred, y[:, :2]))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float16]
)
def test_an_ignored_target_is_none_that_its_dtype_takes_it_for(dtype):
    """-100 as an unsigned byte is 156, and 255 as a signed one -1."""
    y = torch.tensor([[0, 1, 2, -1 if dtype == torch.int8 else 156]]).to(dtype)
    transform = Accuracy.get_sequence_transform(ignore_index=[-100, 255, 2])
    assert transform((torch.zeros(1, 4, 3), y))[1].tolist() == [0, 1, y[0, 3].item()]
