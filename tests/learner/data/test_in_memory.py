import pytest
import torch

from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import arrays_of, take_apart
from ignite.learner._data.inspection import holds_arrays

X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])


def test_a_batch_is_taken_apart_by_place_or_by_name():
    assert take_apart([1, 2]) == (1, 2, None)
    assert take_apart((1, 2, 3)) == (1, 2, 3)
    assert take_apart(7) == (7, None, None)
    assert take_apart({"a": 1, "b": 2, "y": 3}, "y") == ({"a": 1, "b": 2}, 3, None)
    assert take_apart({"a": 1, "y": 2, "z": 3}, ["y", "z"]) == (1, {"y": 2, "z": 3}, None)
    with pytest.raises(ValueError, match=r"nested as \(\(a, b\), y\), but given 4 items"):
        take_apart((1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"target should be one of \['a'\], but given 'label'"):
        take_apart({"a": 1}, "label")


def test_weights_are_an_array_or_a_name():
    assert arrays_of((X, Y), None, [1, 2, 3]).parts.w.tolist() == [1, 2, 3]
    parts = arrays_of({"x": X, "y": Y, "w": torch.ones(3)}, "y", "w").parts
    assert parts.x is X
    assert parts.w.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            (X, Y),
            {"target": "y"},
            "target should be left out for arrays without names: .* but given 'y'",
        ),
        (
            (X, Y),
            {"sample_weight": "w"},
            "sample_weight should be an array for data without names, but given 'w'",
        ),
        (
            (X, Y, torch.ones(3)),
            {"sample_weight": torch.ones(3)},
            r"left out, because data is \(x, y, w\) already",
        ),
        ((X, Y, X), {}, r"numbers of shape \(N,\), but given \(3, 2\) torch.float32"),
        (
            (X, Y),
            {"sample_weight": torch.ones(2)},
            r"shape \(3,\), one for each sample, but given \(2,\)",
        ),
        ((X, Y), {"sample_weight": [1.0, -2.0, 1.0]}, "at least 0, but given -2.0 in row 1"),
        (
            X,
            {"sample_weight": torch.ones(3)},
            "sample_weight should come with targets, but given data without",
        ),
        ({"x": X}, {"target": "label"}, r"target should be one of \['x'\], but given 'label'"),
        (
            {"x": X},
            {"sample_weight": "w"},
            r"sample_weight should be one of \['x'\], but given 'w'",
        ),
    ],
)
def test_contradictions_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        arrays_of(data, **options)


def test_a_structured_array_is_refused():
    numpy = pytest.importorskip("numpy")
    data = numpy.zeros(3, dtype=[("a", "f4"), ("y", "i8")])
    with pytest.raises(TypeError, match=r"structured array: use pandas.DataFrame\(data\)"):
        arrays_of(data, "y")


def test_a_table_is_read_with_the_features_and_classes_of_the_training_data():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"b": [1, 2], "extra": ["s", "t"], "a": [3, 4], "y": ["no", "yes"]})
    arrays = arrays_of(frame, "y", known=Known(("a", "b"), ("yes", "no")))
    assert arrays.parts.x.tolist() == [[3, 1], [4, 2]]
    assert arrays.parts.y.tolist() == [1, 0]
    assert arrays_of(frame, known=Known(("a", "b"))).parts.y is None


def test_lists_of_batches_are_no_arrays():
    assert not holds_arrays([X, Y])
    assert not holds_arrays((X, object()))
    assert holds_arrays((X, None))
