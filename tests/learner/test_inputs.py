import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ignite.data import ArrayLoader
from ignite.learner._inputs import Batching, split, take

X, Y = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])


class Squares(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.tensor([float(index)]), index % 2


class Frame:
    """As much of pandas' as is used, so that the tests need none."""

    def __init__(self, **columns):
        self._columns = {name: np.array(values) for name, values in columns.items()}
        self.columns = list(columns)

    def __getitem__(self, name):
        class Column:
            def __init__(self, values):
                self.to_numpy = lambda: values

        return Column(self._columns[name])


Frame.__name__ = "DataFrame"
Frame.__module__ = "pandas.core.frame"


def rows(loader):
    return [row for batch in loader for row in zip(*(part.tolist() for part in batch), strict=True)]


def test_arrays_are_cut_as_a_whole():
    loader = take((X, Y)).loader(Batching(4))
    assert isinstance(loader, ArrayLoader)
    assert rows(loader) == list(zip(X.tolist(), Y.tolist(), strict=True))
    assert [len(batch[0]) for batch in loader] == [4, 2]


def test_numbers_of_numpy_have_the_precision_of_models():
    source = take((np.zeros((3, 2)), np.array([0, 1, 1])))
    assert (source.arrays[0].dtype, source.target.dtype) == (torch.float32, torch.int64)
    assert take((torch.zeros(3, 2, dtype=torch.float64), Y[:3])).arrays[0].dtype == torch.float64, (
        "a tensor is as it is"
    )


def test_several_inputs_and_weights():
    source = take(({"a": X, "b": (X, X)}, Y, torch.ones(6)))
    x, y, w = next(iter(source.loader(Batching(2))))
    assert (x["a"].shape, x["b"][1].shape, y.shape, w.shape) == ((2, 2), (2, 2), (2,), (2,))


def test_a_dictionary_has_its_target_under_a_key():
    source = take({"a": X, "label": Y}, target="label")
    assert source.target is not None
    assert set(source.arrays[0]) == {"a"}
    with pytest.raises(
        ValueError, match="target should be the key of the targets, one of 'a', 'label', but given None"
    ):
        take({"a": X, "label": Y})


def test_a_tensor_data_set_is_taken_apart_and_others_get_a_loader():
    assert take(TensorDataset(X, Y)).arrays is not None
    source = take(Squares())
    assert rows(source.loader(Batching(2))) == [([0.0], 0), ([1.0], 1), ([2.0], 0), ([3.0], 1), ([4.0], 0)]
    assert len(source) == 5
    shuffled = [rows(source.loader(Batching(2, shuffle=True, seed=3))) for _ in range(2)]
    assert shuffled[0] == shuffled[1] != rows(source.loader(Batching(2)))


def test_what_gives_batches_is_used_as_it_is():
    loader, batches = DataLoader(Squares(), 2), [(X, Y)]
    assert take(loader).loader(Batching(99)) is loader
    assert take(batches).loader(Batching(99)) is batches


def test_inputs_alone():
    assert take(X, has_target=False).arrays is X
    assert [len(batch) for batch in take(X, has_target=False).loader(Batching(4))] == [4, 2]


def test_a_frame_has_columns_of_numbers_and_classes_of_words():
    source = take(Frame(a=[1, 2, 3], b=[0.5, 0.25, 0.0], kind=["dog", "cat", "dog"]), target="kind")
    assert source.arrays[0].tolist() == [[1, 0.5], [2, 0.25], [3, 0]]
    assert (source.target.tolist(), source.classes) == ([1, 0, 1], ["cat", "dog"])
    assert take(Frame(a=[1, 2], y=[0.5, 1.5]), target="y").target.tolist() == [0.5, 1.5]
    assert take(Frame(a=[1, 2])).arrays.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="target should be one of the columns, 'a', but given 'y'"):
        take(Frame(a=[1]), target="y")
    with pytest.raises(ValueError, match="The columns 'a' are no numbers: encode them"):
        take(Frame(a=["x"], y=[1]), target="y")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X, Y[:5]), ValueError, "the same number of samples, but x has 6, y has 5"),
        ((X, Y, torch.ones(2)), ValueError, "x has 6, y has 6, the weights has 2"),
        ((X,), ValueError, r"data should be \(x, y\), or \(x, y, w\) .*, but given 1 arrays"),
        (X, ValueError, r"data should be \(x, y\), .* but given Tensor"),
        ("abc", TypeError, "data should be arrays .* but given str"),
        (7, TypeError, "but given int"),
    ],
)
def test_data_that_make_no_sense(data, error, message):
    with pytest.raises(error, match=message):
        take(data)


def test_single_samples_of_a_stream_are_an_error():
    class Stream(IterableDataset):
        def __iter__(self):
            yield 1

    with pytest.raises(TypeError, match="put a DataLoader around it"):
        take(Stream())


@given(
    num_samples=st.integers(2, 60),
    fraction=st.sampled_from([0.1, 0.25, 0.5]),
    seed=st.integers(0, 5),
    is_by_class=st.booleans(),
)
def test_a_split_parts_the_samples_always_in_the_same_way(num_samples, fraction, seed, is_by_class):
    x, y = torch.arange(num_samples), torch.arange(num_samples) % 2
    source = take((x, y))
    assume(round(num_samples * fraction) > 0 and num_samples >= 4)
    first, second = split(source, fraction, seed, is_by_class)
    parts = [part.arrays[0].tolist() for part in (first, second)]
    assert sorted(parts[0] + parts[1]) == list(range(num_samples))
    assert parts == [part.arrays[0].tolist() for part in split(source, fraction, seed, is_by_class)]
    if is_by_class:
        for label in (0, 1):
            of_class = int((y == label).sum())
            assert int((second.target == label).sum()) == min(max(round(of_class * fraction), 1), of_class - 1)


def test_what_cannot_be_split():
    with pytest.raises(TypeError, match="valid should be data, as what gives batches cannot be split"):
        split(take([(X, Y)]), 0.5, 0, False)
    for fraction in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match=f"a fraction between 0 and 1, but given {fraction}"):
            split(take((X, Y)), fraction, 0, False)
    with pytest.raises(ValueError, match=r"valid=0.01 of 6 samples leaves \[6, 0\] samples"):
        split(take((X, Y)), 0.01, 0, False)


def test_a_data_set_is_split_too():
    first, second = split(take(Squares()), 0.4, 0, False)
    found = rows(first.loader(Batching(9))) + rows(second.loader(Batching(9)))
    assert sorted(found) == rows(take(Squares()).loader(Batching(9)))
    assert len(second) == 2
