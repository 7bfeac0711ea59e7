from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
import torch

from ignite.learner._data.columns import Known, as_features, as_target, matrix_of

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
    with pytest.raises(
        TypeError, match=r"Feature columns should hold numbers, but given 'name' \("
    ):
        matrix_of(table({"a": [1], "name": ["x"]}), ["a", "name"])
    with pytest.raises(ValueError, match=r"columns \['a', 'b'\], but \['b'\] are not in \['a'\]"):
        matrix_of(table({"a": [1]}), ["a", "b"])
    with pytest.raises(ValueError, match="a feature column besides the target, but given none"):
        matrix_of(table({"a": [1]}), [])


@pytest.mark.parametrize("values", [["b", "a", "b"], np.array(["b", "a", "b"]), pd.Series(["b", "a", "b"]),
                                    pl.Series(["b", "a", "b"])])  # fmt: skip
def test_words_become_indices_of_the_sorted_classes(values):
    y, classes = as_target(values)
    assert (y.tolist(), y.dtype, classes) == ([1, 0, 1], torch.int64, ("a", "b"))


def test_categories_keep_their_order_and_given_classes_win():
    column = pd.Series(pd.Categorical(["low", "high"], categories=["low", "mid", "high"]))
    assert as_target(column)[0].tolist() == [0, 2]
    assert as_target(pl.Series(["low", "high"], dtype=pl.Enum(["low", "high"])))[0].tolist() == [
        0,
        1,
    ]
    assert as_target(column, Known(classes=("high", "low")))[0].tolist() == [1, 0]
    assert as_target(["b", "a"], Known(classes=("c", "b", "a")))[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"one of the classes \['a'\], but given \['b'\]"):
        as_target(["b", "a"], Known(classes=("a",)))


@pytest.mark.parametrize(
    "column",
    [pd.Series(["a", None], dtype="object"), pd.Series(["a", None]), pl.Series(["a", None])],
)
def test_a_missing_class_is_an_error_with_the_row(column):
    with pytest.raises(
        ValueError, match="a class for each sample, but 1 are missing, the first in row 1"
    ):
        as_target(column)


@pytest.mark.parametrize(
    "column", [pd.Series([3, None, 1], dtype="Int64"), pl.Series([3, None, 1])]
)
def test_a_missing_integer_is_an_error_with_the_row(column):
    with pytest.raises(
        ValueError,
        match="y should have a number for each sample, but 1 are missing, the first in row 1",
    ):
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
    with pytest.raises(
        TypeError, match=r"x\['a'\] should be a tensor or an array of numbers, but given a object"
    ):
        as_features({"a": object()})
    with pytest.raises(TypeError, match="x should be an array of numbers, but given dtype object"):
        as_features(np.array([None, 1]))


NUMBERS = [0.25, 2.0, 1.5, 2.0]
DECIMALS = [Decimal(str(number)) for number in NUMBERS]
DISGUISES = {
    "objects": np.array(NUMBERS, dtype=object), "decimals": np.array(DECIMALS, dtype=object), "list": NUMBERS,
    "list of decimals": DECIMALS, "numpy numbers": [np.float32(n) for n in NUMBERS],
    "mixed": np.array([0.25, 2, Decimal("1.5"), np.float64(2)], dtype=object),
    "strings": np.array([str(number) for number in NUMBERS]), "bytes": np.array([str(n).encode() for n in NUMBERS]),
    "pandas objects": pd.Series(NUMBERS, dtype=object), "pandas decimals": pd.Series(DECIMALS),
    "pandas strings": pd.Series([str(number) for number in NUMBERS]), "nullable": pd.Series(NUMBERS, dtype="Float64"),
    "nullable strings": pd.Series([str(number) for number in NUMBERS], dtype="string"),
    "categories": pd.Series(pd.Categorical(NUMBERS)), "words": pd.Series([str(n) for n in NUMBERS], dtype="category"),
    "polars": pl.Series(NUMBERS), "polars decimals": pl.Series(DECIMALS),
    "polars strings": pl.Series([str(number) for number in NUMBERS]),
    "polars categories": pl.Series([str(number) for number in NUMBERS], dtype=pl.Categorical),
    "polars objects": pl.Series(NUMBERS, dtype=pl.Object), "masked": np.ma.masked_array(NUMBERS, mask=[False] * 4),
    "big endian": np.array(NUMBERS, ">f8"), "column": np.array(NUMBERS, dtype=object)[:, None],
}  # fmt: skip


@pytest.mark.parametrize("values", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("wants", ["numbers", None])
def test_numbers_in_disguise_stay_numbers(values, wants):
    y, classes = as_target(values, Known(wants=wants))
    assert (y.flatten().tolist(), y.dtype, classes) == (NUMBERS, torch.float32, ())


@pytest.mark.parametrize(
    "values",
    [pd.Series([3, 1, 2], dtype=object), np.array([3, 1, 2], dtype=object), pd.Series([3, 1, 2], dtype="Int64"),
     [3, 1, 2], [np.int64(3), np.int8(1), 2], pl.Series([3, 1, 2]), np.array([3, 1, 2], ">i4")],
)  # fmt: skip
@pytest.mark.parametrize("wants", ["numbers", "classes", None])
def test_integers_in_disguise_stay_integers(values, wants):
    y, classes = as_target(values, Known(wants=wants))
    assert (y.tolist(), y.dtype, classes) == ([3, 1, 2], torch.int64, ())


def test_text_of_whole_numbers_is_a_class_for_classes_a_number_for_numbers_and_else_a_question():
    ages = ["34", "7", "34", "12"]
    assert as_target(ages, Known(wants="numbers"))[0].tolist() == [34, 7, 34, 12]
    y, classes = as_target(ages, Known(wants="classes"))
    assert (y.tolist(), classes) == ([2, 0, 2, 1], ("7", "12", "34")), "in the order of their size"
    with pytest.raises(
        ValueError, match=r"text such as '34', which can be either: pass task='regression' or"
    ):
        as_target(ages)
    assert as_target(["1", "0", "10", *"23456789"])[0].tolist() == [1, 0, 10, *range(2, 10)], (
        "either way the same"
    )


@pytest.mark.parametrize("values", [["cat", "dog"], pd.Series(["cat", "dog"]), pd.Series(["cat"], dtype="category"),
                                    pl.Series(["cat", "dog"]), np.array(["1.5", "dog"], dtype=object)])  # fmt: skip
def test_words_for_a_loss_of_numbers_are_refused(values):
    with pytest.raises(
        ValueError,
        match=r"y should be numbers for this loss, but given '(cat|dog)' in row [01]: use a",
    ):
        as_target(values, Known(wants="numbers"))


@pytest.mark.parametrize(
    "values", [np.array([1.5, None], dtype=object), pd.Series([1.5, np.nan], dtype=object), [1.5, None],
               pd.Series([1.5, pd.NA], dtype=object), pd.Series(pd.Categorical([1.5, None]))],
)  # fmt: skip
def test_a_missing_number_in_a_column_of_objects_is_an_error_with_the_row(values):
    with pytest.raises(
        ValueError,
        match="y should have a number for each sample, but 1 are missing, the first in row 1",
    ):
        as_target(values, Known(wants="numbers"))


MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], mask=[[0, 0], [0, 1], [0, 1]])
MATCH = r"should have no masked values, but given {} of them, the first in row 1: fill them with .filled\(value\)"


def test_masked_values_are_refused_wherever_they_are():
    for data, name in (
        (MASKED, "x"),
        ({"a": MASKED}, r"x\['a'\]"),
        ((MASKED[:, 0], MASKED), r"x\[1\]"),
    ):
        with pytest.raises(ValueError, match=f"{name} {MATCH.format(2)}"):
            as_features(data)
    for data in (MASKED[:, 1], MASKED[:, 1].astype(int), MASKED[:, 1].astype(object)):
        with pytest.raises(ValueError, match=f"y {MATCH.format(2)}"):
            as_target(data)
    assert as_features(MASKED[:, 0]).tolist() == [1, 3, 5]


def test_features_in_disguise_are_numbers_and_text_is_not():
    frame = pd.DataFrame({
        "o": pd.Series([1.5, None], dtype=object), "d": [Decimal("0.5"), Decimal("2")],
        "c": pd.Categorical([30, 10]), "n": pd.Series([1, None], dtype="Int64"),
        "b": pd.Series([True, None], dtype=object),
    })  # fmt: skip
    matrix = matrix_of(frame, list(frame.columns))
    assert matrix[0].tolist() == [1.5, 0.5, 30, 1, 1]
    assert matrix[1].nan_to_num(-1).tolist() == [-1, 2, 10, -1, -1]
    with pytest.raises(
        TypeError, match=r"given 'a' \((object|str)\): .*to_numeric for numbers stored as text"
    ):
        matrix_of(pd.DataFrame({"a": ["1.5"]}), ["a"])
    with pytest.raises(ValueError, match=r"different names, but given \['a'\] more than once"):
        matrix_of(pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a"])
    assert as_features(np.array([[1, 2.5]], dtype=object)).tolist() == [[1, 2.5]]


def test_integers_in_tables_are_codes_if_the_model_takes_them():
    known = Known(has_codes=True)
    assert as_features(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), known=known).dtype == torch.int64
    assert as_features(pl.Series([1, 2]), known=known).tolist() == [1, 2]
    assert (
        as_features(pd.DataFrame({"a": [1, 2], "b": [3, 4.5]}), known=known).dtype == torch.float32
    )
    assert as_features(np.zeros(2), known=Known(dtype=torch.float64)).dtype == torch.float64


def test_nested_lists_are_arrays_and_ragged_ones_are_reported_in_one_line():
    assert as_features([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert as_features([[[1.5]], [[2]]]).shape == (2, 1, 1)
    assert as_target([[0, 1], [1, 1]])[0].shape == (2, 2)
    assert as_target([torch.tensor(1), torch.tensor(0)])[0].tolist() == [1, 0]
    with pytest.raises(
        ValueError,
        match=r"^x should have rows of one length, but given a list of 2 with .*: pad them$",
    ):
        as_features([[1, 2], [3]])
    with pytest.raises(TypeError, match="stack them into one array"):
        as_features(np.array([np.zeros(1), np.zeros(2)], dtype=object))
    with pytest.raises(
        ValueError,
        match=r"one class for each sample, shape \(N,\), but given strings of shape \(1, 2\)",
    ):
        as_target(np.array([["a", "b"]]))


def test_sparse_inputs_say_what_to_do():
    with pytest.raises(
        TypeError, match="x should be a tensor or an array of numbers, .* csr_matrix: use .toarray"
    ):
        as_features(scipy.sparse.csr_matrix(np.eye(2)))
    with pytest.raises(
        TypeError, match="y should be dense, but given a tensor of layout .*: use .to_dense"
    ):
        as_target(torch.eye(2).to_sparse())


def test_numbers_for_a_loss_of_numbers_are_never_names():
    assert as_target(np.array([3.0, 1.0]), Known(classes=("a",), wants="numbers"))[0].tolist() == [
        3,
        1,
    ]
