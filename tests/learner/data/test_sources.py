import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from ignite.data import ArrayLoader
from ignite.learner._data.columns import Known
from ignite.learner._data.inspection import can_shuffle
from ignite.learner._data.sources import Loader, _with_classes, as_loader

X, Y = torch.arange(10.0).reshape(5, 2), torch.tensor([0, 1, 0, 2, 1])
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


class Squares(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return X[i], Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


class Untyped:
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return X[i], Y[i]


ALL = {
    "tensors": (X, Y),
    "numpy": (X.double().numpy(), Y.int().numpy()),
    "lists": ([[0.0, 1], [2, 3], [4, 5], [6, 7], [8, 9]], [0, 1, 0, 2, 1]),
    "TensorDataset": TensorDataset(X, Y),
    "Subset": Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(5)),
    "dataset": Squares(),
    "untyped dataset": Untyped(),
    "stream": Stream(),
}
NAMED = {
    "pandas": pd.DataFrame({"a": X[:, 0], "y": Y, "b": X[:, 1]}),
    "polars": pl.DataFrame({"a": X[:, 0].tolist(), "y": Y.tolist(), "b": X[:, 1].tolist()}),
    "dictionary": {"x": X, "y": Y},
}


def same(batches, size):
    expected = [(X[i : i + size], Y[i : i + size]) for i in range(0, 5, size)]
    got = list(batches)
    assert len(got) == len(expected)
    for (x, y), (expected_x, expected_y) in zip(got, expected, strict=True):
        torch.testing.assert_close(x, expected_x)
        torch.testing.assert_close(y, expected_y)


@pytest.mark.parametrize("kind", ALL)
def test_all_kinds_of_data_give_the_same_batches(kind):
    loader = as_loader(
        ALL[kind] if kind != "lists" else (torch.tensor(ALL[kind][0]), ALL[kind][1]), batch_size=2
    )
    assert loader.has_targets is True
    assert loader.num_batches == (None if kind == "stream" else 3)
    assert loader.num_samples == (None if kind == "stream" else 5)
    torch.testing.assert_close(loader.first().x, X[:2])
    same(loader.batches, 2)


@pytest.mark.parametrize("kind", NAMED)
def test_named_columns_give_the_same_batches(kind):
    loader = as_loader(NAMED[kind], batch_size=2, target="y")
    assert loader.known.features == (() if kind == "dictionary" else ("a", "b"))
    same(loader.batches, 2)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_every_sample_comes_once_with_its_target(num_samples, batch_size, seed, shuffle):
    x = np.arange(num_samples, dtype="float64")
    loader = as_loader((x, x * 2), batch_size=batch_size, shuffle=shuffle, seed=seed)
    pairs = [pair for a, b in loader.batches for pair in zip(a.tolist(), b.tolist(), strict=True)]
    assert sorted(pairs) == [(float(i), 2.0 * i) for i in range(num_samples)]


def test_arrays_in_memory_are_gathered_as_a_whole_and_shared_among_processes():
    halves = [as_loader((X, Y), batch_size=1, rank=rank, world_size=2) for rank in (0, 1)]
    assert all(type(half.batches) is ArrayLoader for half in halves)
    assert sum(len(y) for half in halves for _, y in half.batches) == 5
    assert halves[0].whole.y is Y


def test_a_dataset_is_shuffled_by_seed_and_keeps_the_incomplete_last_batch_by_default():
    orders = [
        [y.tolist() for _, y in as_loader(Squares(), batch_size=2, shuffle=True, seed=1).batches]
        for _ in range(2)
    ]
    assert orders[0] == orders[1]
    assert as_loader(Squares(), batch_size=2, drop_last=True).num_batches == 2


def test_inputs_alone_and_nested_inputs():
    loader = as_loader(X, batch_size=2)
    assert loader.has_targets is False
    assert [x.shape for (x,) in loader.batches] == [(2, 2), (2, 2), (1, 2)]
    (a, extra), y = next(iter(as_loader(((X, {"z": Y}), Y), batch_size=3).batches))
    assert a.shape == (3, 2)
    assert extra["z"].tolist() == y.tolist() == [0, 1, 0]


def test_validation_data_are_read_like_the_training_data():
    train = as_loader(pd.DataFrame({"a": [1, 2], "b": [3, 4], "y": ["u", "v"]}), target="y")
    valid = as_loader(pd.DataFrame({"y": ["v"], "b": [6], "a": [5]}), target="y", known=train.known)
    assert valid.first().x.tolist() == [[5, 6]]
    assert valid.first().y.tolist() == [1]
    assert valid.known.classes == ("u", "v")


def test_batches_of_the_user_are_used_untouched():
    given = DataLoader(Squares(), batch_size=2)
    loader = as_loader(given)
    assert loader.batches is given
    assert (loader.num_samples, loader.num_batches) == (5, 3)
    batches = [(X, Y)]
    assert as_loader(batches).batches is batches
    assert as_loader(loader) is loader
    own = ArrayLoader({"x": X, "y": Y}, batch_size=5)
    assert as_loader(own, target="y").first().y is not None


def test_an_iterator_that_can_be_gone_over_once_loses_no_batch():
    loader = as_loader(iter([(X, Y), (Y, X)]))
    assert loader.first().x is X
    assert [x is X for x, _ in loader.batches] == [True, False]


@pytest.mark.parametrize("data", [DataLoader(Squares(), batch_size=2), [(X, Y)]])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 4}, "batch_size=4"), ({"shuffle": True}, "shuffle=True"), ({"num_workers": 2}, "num_workers=2"),
        ({"drop_last": True}, "drop_last=True"), ({"sample_weight": torch.ones(5)}, "sample_weight"),
    ],
)  # fmt: skip
def test_what_cannot_be_obeyed_is_refused(data, options, told):
    with pytest.raises(
        ValueError,
        match=f"{told} should be left out, because data is a .*, which is in batches already",
    ):
        as_loader(data, **options)


def test_datasets_refuse_what_needs_arrays_or_an_order():
    with pytest.raises(
        ValueError, match=r"sample_weight should be left out, because data is a dataset"
    ):
        as_loader(Squares(), sample_weight=torch.ones(5))
    with pytest.raises(
        ValueError, match="shuffle=True should be left out, because data is an iterable dataset"
    ):
        as_loader(Stream(), shuffle=True)


def test_nothing_and_nonsense_are_refused():
    with pytest.raises(ValueError, match="at least one sample, but given none"):
        as_loader((X[:0], Y[:0]))
    with pytest.raises(ValueError, match="at least one sample, but given none"):
        as_loader(Subset(Squares(), []))
    with pytest.raises(TypeError, match="an iterable of batches, but given a int"):
        as_loader(3)
    with pytest.raises(TypeError, match="an iterable of batches, but given a str"):
        as_loader("data")
    with pytest.raises(
        ValueError, match=r"same number of samples, but data\[0\] has 5, data\[1\] has 4"
    ):
        as_loader((X, Y[:4]))


def test_what_can_be_shuffled_has_samples_with_numbers():
    assert all(can_shuffle(data) for data in [(X, Y), Squares(), Untyped(), NAMED["pandas"]])
    assert not any(
        can_shuffle(data) for data in [Stream(), [(X, Y)], DataLoader(Squares()), iter([])]
    )


def test_data_that_give_the_indices_to_other_classes_are_refused():
    loader = Loader([], known=Known(classes=("cat", "dog"), are_indices=True))
    assert _with_classes(loader, Known(classes=("cat", "dog"))).known.classes == ("cat", "dog")
    with pytest.raises(
        ValueError,
        match=r"the classes that the model was trained on, \['dog', 'cat'\], but given",
    ):
        _with_classes(loader, Known(classes=("dog", "cat")))
