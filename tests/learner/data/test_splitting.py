import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ignite.learner._data.splitting import split, split_rows, take_rows

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_row_is_on_one_side_and_both_have_some(num_samples, fraction, seed):
    train, valid = split_rows(num_samples, fraction, seed)
    assert sorted(train.tolist() + valid.tolist()) == list(range(num_samples))
    assert len(valid) == min(max(round(num_samples * fraction), 1), num_samples - 1)
    assert torch.equal(valid, split_rows(num_samples, fraction, seed)[1])


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(0, 5)
)
def test_each_class_has_its_share_and_at_least_one_on_both_sides(labels, fraction, seed):
    train, valid = split_rows(len(labels), fraction, seed, torch.tensor(labels))
    assert sorted(train.tolist() + valid.tolist()) == list(range(len(labels)))
    for label in set(labels):
        count = labels.count(label)
        num_valid = sum(labels[row] == label for row in valid)
        assert abs(num_valid - count * fraction) <= 1
        if count > 1:
            assert 1 <= num_valid < count
        else:
            assert num_valid == 0


def test_what_rounding_leaves_over_goes_to_the_largest_remainder():
    labels = torch.tensor([0] * 6 + [1] * 14)  # shares of 30 %: 1.8 and 4.2, together 6
    assert labels[split_rows(20, 0.3, 0, labels)[1]].tolist() == [0] * 2 + [1] * 4


def test_another_seed_keeps_others_apart_and_rows_are_drawn_from_everywhere():
    chosen = {row for seed in range(60) for row in split_rows(10, 0.2, seed)[1].tolist()}
    assert chosen == set(range(10))


X, Y = torch.arange(12.0), torch.tensor([0, 1] * 6)
LABELLED = {
    "tensors": ((X, Y), None),
    "numpy": ((X.numpy(), Y.numpy()), None),
    "TensorDataset": (TensorDataset(X, Y), None),
    "dictionary": ({"x": X, "y": Y}, "y"),
    "pandas": (pd.DataFrame({"x": X, "y": Y}), "y"),
    "polars": (pl.DataFrame({"x": X.tolist(), "y": ["a", "b"] * 6}), "y"),
}


@pytest.mark.parametrize("kind", LABELLED)
def test_all_kinds_are_divided_in_the_same_way(kind):
    data, target = LABELLED[kind]
    parts = split(data, 0.34, seed=2, target=target)
    expected = split_rows(12, 0.34, 2, Y)
    assert parts.train_rows.tolist() == expected[0].tolist()
    assert parts.valid_rows.tolist() == expected[1].tolist()
    valid = next(iter(DataLoader(parts.valid, 12))) if kind == "TensorDataset" else parts.valid
    x = valid["x"] if target else valid[0]
    assert [float(value) for value in x] == expected[1].tolist()
    assert type(parts.train).__name__ in (type(data).__name__, "Subset")


class Pictures(Dataset):
    targets = [0] * 8 + [1] * 2

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return float(i), self.targets[i]


def test_the_targets_that_a_dataset_shows_are_used():
    assert sum(y for _, y in split(Pictures(), 0.2, seed=0).valid) == 1
    plain = split(Pictures(), 0.2, seed=0, stratify=False)
    assert plain.valid_rows.tolist() == split_rows(10, 0.2, 0)[1].tolist()


@pytest.mark.parametrize("y", [torch.arange(12), X, torch.zeros(12, 2, dtype=torch.int64)])
def test_numbers_that_are_no_classes_are_not_stratified_by(y):
    assert split((X, y), 0.25, seed=1).valid_rows.tolist() == split_rows(12, 0.25, 1)[1].tolist()
    with pytest.raises(
        ValueError, match=r"stratify should be left out for data without classes .* but given True"
    ):
        split((X, y), 0.25, seed=1, stratify=True)


def test_nested_data_and_weights_are_taken_apart_alike():
    data = ({"a": X, "b": [np.arange(12), [0] * 12]}, Y)
    parts = split(data, 0.25, seed=1)
    assert parts.valid[0]["b"][0].tolist() == parts.valid_rows.tolist()
    assert len(parts.valid[0]["b"][1]) == 3
    assert take_rows([0.5, 1.5, 2.5], torch.tensor([2, 0])) == [2.5, 0.5]
    assert take_rows(pd.Series([5, 6]), torch.tensor([1])).tolist() == [6]


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1])
def test_a_fraction_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(
        ValueError, match=f"above 0 and below 1 as a fraction, but given {fraction}"
    ):
        split((X, Y), fraction, seed=0)


def test_data_that_cannot_be_divided_are_refused():
    with pytest.raises(
        TypeError,
        match="valid should be data, .* because a DataLoader cannot be split .* but given 0.1",
    ):
        split(DataLoader([1, 2]), 0.1, seed=0)
    with pytest.raises(ValueError, match="at least 2 samples to be split, but given 1"):
        split((X[:1], Y[:1]), 0.5, seed=0)
    with pytest.raises(ValueError, match=r"same number of samples, but given \[12, 5\]"):
        split((X, Y[:5]), 0.5, seed=0)


def test_text_of_numbers_can_be_divided():
    ages = np.array(["34.0", "7.0", "34.0", "12.0", "9.0"])
    assert len(split((torch.zeros(5), ages), 0.2, seed=0, wants="numbers").valid[1]) == 1


YES = torch.tensor([0.0] * 16 + [1.0] * 4)


@pytest.mark.parametrize(
    ("y", "wants", "is_stratified"),
    [
        (YES, None, True), (YES[:, None], None, True), (YES.numpy(), "classes", True),
        (YES.numpy().astype(object), None, True),
        (torch.nn.functional.one_hot(YES.long(), 2).float(), "classes", True),
        (YES, "numbers", False),
        (YES.long(), "numbers", False),
        (2 * YES, "classes", True), (2 * YES, None, False), (YES.bool().numpy(), None, True),
    ],
)  # fmt: skip
def test_floats_that_are_classes_are_stratified_and_numbers_are_not(y, wants, is_stratified):
    shares = set()
    for seed in range(8):
        valid_y = torch.as_tensor(
            np.asarray(split((torch.zeros(20), y), 0.25, seed=seed, wants=wants).valid[1], float)
        )
        labels = (
            valid_y.argmax(1)
            if valid_y.ndim == 2 and valid_y.shape[1] > 1
            else valid_y.flatten() > 0
        )
        shares.add(int((labels > 0).sum()))
    assert (shares == {1}) == is_stratified
