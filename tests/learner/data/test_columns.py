import numpy as np
import pytest
import torch

from ignite.learner._data.columns import as_features, as_target, matrix_of

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
TABLES = [pd.DataFrame, pl.DataFrame]


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_numbers_become_a_float32_matrix_in_the_order_asked_for(table):
    frame = table({"a": [1, 2], "b": [0.5, None], "c": [True, False]})
    matrix = matrix_of(frame, ["c", "a", "b"])
    assert matrix.dtype == torch.float32
    assert matrix[:, :2].tolist() == [[1, 1], [0, 2]]
    assert matrix[0, 2] == 0.5
    assert matrix[1, 2].isnan()


@pytest.mark.parametrize("table", TABLES)
def test_columns_that_are_no_numbers_are_named(table):
    with pytest.raises(TypeError, match=r"features should be numbers, but given 'name' \("):
        matrix_of(table({"a": [1], "name": ["x"]}), ["a", "name"])
    with pytest.raises(ValueError, match=r"columns \['a', 'b'\], but \['b'\] are not in \('a',\)"):
        matrix_of(table({"a": [1]}), ["a", "b"])
    with pytest.raises(ValueError, match="a column of features besides the target, but given none"):
        matrix_of(table({"a": [1]}), [])


@pytest.mark.parametrize("values", [["b", "a", "b"], np.array(["b", "a", "b"]), pd.Series(["b", "a", "b"]),
                                    pl.Series(["b", "a", "b"])])  # fmt: skip
def test_words_become_indices_of_the_sorted_classes(values):
    y, classes = as_target(values)
    assert (y.tolist(), y.dtype, classes) == ([1, 0, 1], torch.int64, ("a", "b"))


def test_categories_keep_their_order_and_given_classes_win():
    column = pd.Series(pd.Categorical(["low", "high"], categories=["low", "mid", "high"]))
    assert as_target(column)[0].tolist() == [0, 2]
    assert as_target(pl.Series(["low", "high"], dtype=pl.Enum(["low", "high"])))[0].tolist() == [0, 1]
    assert as_target(column, ("high", "low"))[0].tolist() == [1, 0]
    assert as_target(["b", "a"], ("c", "b", "a"))[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"one of the classes \['a'\], but given \['b'\]"):
        as_target(["b", "a"], ("a",))


@pytest.mark.parametrize(
    "column", [pd.Series(["a", None], dtype="object"), pd.Series(["a", None]), pl.Series(["a", None])]
)
def test_a_missing_class_is_an_error_that_tells_the_row(column):
    with pytest.raises(ValueError, match="a class for each sample, but 1 miss it, first row 1"):
        as_target(column)


@pytest.mark.parametrize("column", [pd.Series([3, None, 1], dtype="Int64"), pl.Series([3, None, 1])])
def test_a_missing_integer_is_an_error_that_tells_the_row(column):
    with pytest.raises(ValueError, match="y should have a number for each sample, but 1 miss it, first row 1"):
        as_target(column)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.array([1, 2], "int8"), torch.int64), (np.array([True]), torch.int64), (np.array([0.5]), torch.float32),
        (torch.tensor([1], dtype=torch.int32), torch.int64), (torch.tensor([0.5], dtype=torch.float64), torch.float64),
        (pd.Series([1, 2]), torch.int64), (pd.Series([1.0]), torch.float32), (pl.Series([True]), torch.int64),
        ([0, 1], torch.int64), ([0.5], torch.float32),
    ],
)  # fmt: skip
def test_targets_have_dtypes_that_losses_take(given, dtype):
    assert as_target(given)[0].dtype == dtype


def test_several_columns_of_a_table_are_a_matrix_of_targets():
    assert as_target(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))[0].tolist() == [[1, 3], [2, 4]]


def test_numpy_float64_becomes_the_default_dtype_and_other_features_stay():
    assert as_features(np.zeros(2)).dtype == torch.float32
    assert as_features(np.zeros(2, "uint8")).dtype == torch.uint8
    tensor = torch.zeros(2, dtype=torch.float64)
    assert as_features(tensor) is tensor


def test_nested_inputs_keep_their_shape_and_arrays_that_torch_cannot_share_are_copied():
    frozen = np.arange(3)
    frozen.flags.writeable = False
    x = as_features({"a": (frozen, np.arange(3)[::-1]), "b": [1.5, 2.5]})
    assert [part.tolist() for part in x["a"]] == [[0, 1, 2], [2, 1, 0]]
    assert x["b"].tolist() == [1.5, 2.5]


def test_what_is_no_array_of_numbers_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"x\['a'\] should be a tensor or an array of numbers, but given a object"):
        as_features({"a": object()})
    with pytest.raises(TypeError, match="x should be an array of numbers, but given dtype object"):
        as_features(np.array([None, 1]))
