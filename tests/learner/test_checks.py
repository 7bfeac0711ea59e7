import pytest
import torch
from torch import nn

from ignite.learner._assembly import call
from ignite.learner._checks import check_arrays, check_fit, first_rows, unchanged

X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
CLASSES, NUMBERS, YES = torch.arange(20) % 3, X.sum(1), (X.sum(1) > 0).long()


def net(num_outputs, *last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, num_outputs), *last)


RIGHT = [
    (net(3), nn.CrossEntropyLoss(), "multiclass", CLASSES),
    (net(3), nn.CrossEntropyLoss(), "multiclass", torch.where(CLASSES == 2, -100, CLASSES)),
    (net(3), nn.CrossEntropyLoss(), "multiclass", torch.softmax(X[:, :3], 1)),
    (net(3, nn.LogSoftmax(1)), nn.NLLLoss(), "multiclass", CLASSES.to(torch.uint8)),
    (net(1), nn.BCEWithLogitsLoss(), "binary", YES),
    (net(1, nn.Flatten(0)), nn.BCEWithLogitsLoss(), "binary", YES.float()),
    (net(1, nn.Sigmoid()), nn.BCELoss(), "binary", YES),
    (net(5), nn.BCEWithLogitsLoss(), "multilabel", torch.ones(20, 5)),
    (net(1), nn.MSELoss(), "regression", NUMBERS),
    (net(2), nn.MSELoss(), "regression", X[:, :2]),
    (net(2, nn.ReLU()), lambda y_pred, y: y_pred.sum(), None, CLASSES),
]


@pytest.mark.parametrize(("model", "loss", "kind", "y"), RIGHT)
def test_what_is_right_passes(model, loss, kind, y):
    check_fit(model, loss, kind, X, y, y, call)


WRONG = [
    (
        net(3),
        nn.CrossEntropyLoss(),
        "multiclass",
        CLASSES.float(),
        TypeError,
        r"needs the numbers of classes .* given torch.float32 of the shape \(8,\): use y.long\(\)",
    ),
    (
        net(3),
        nn.CrossEntropyLoss(),
        "multiclass",
        CLASSES[:, None],
        ValueError,
        r"shape \(N\) for predictions of the shape \(N, 3\), but have \(N, 1\): use y.squeeze\(1\)",
    ),
    (
        net(3),
        nn.CrossEntropyLoss(),
        "multiclass",
        CLASSES + 1,
        ValueError,
        "from 0 to 2, as the model gives 3 scores, but 6 of them are not, from 3 to 3: count classes from 0",
    ),
    (net(3), nn.CrossEntropyLoss(), "multiclass", CLASSES - 1, ValueError, "7 of them are not, from -1 to -1"),
    (
        net(1, nn.Flatten(0)),
        nn.CrossEntropyLoss(),
        "multiclass",
        CLASSES,
        ValueError,
        r"needs a score for each class, shape \(N, C\), but the model gives \(8,\)",
    ),
    (
        net(3, nn.Softmax(1)),
        nn.CrossEntropyLoss(),
        "multiclass",
        CLASSES,
        ValueError,
        r"gives probabilities, which add up to 1: take the last layer \(Softmax\) out",
    ),
    (net(3), nn.NLLLoss(), "multiclass", CLASSES, ValueError, "NLLLoss needs logarithms .* use loss='cross_entropy'"),
    (
        net(1, nn.Sigmoid()),
        nn.BCEWithLogitsLoss(),
        "binary",
        YES,
        ValueError,
        r"take the last layer \(Sigmoid\) out, or use loss='bce'",
    ),
    (net(1), nn.BCELoss(), "binary", YES, ValueError, "BCELoss needs probabilities, .* use loss='bce_with_logits'"),
    (net(1), nn.BCEWithLogitsLoss(), "binary", YES * 2, ValueError, "should be from 0 to 1, but are from 0 to 2"),
    (
        net(2),
        nn.BCEWithLogitsLoss(),
        "binary",
        YES,
        ValueError,
        r"of the shape \(8,\) the model gives \(8, 2\): use loss='cross_entropy'",
    ),
    (
        net(3),
        nn.MSELoss(),
        "regression",
        NUMBERS,
        ValueError,
        r"MSELoss needs as many predictions as targets, .* \(8,\) the model gives \(8, 3\)",
    ),
    (
        nn.Flatten(0),
        nn.MSELoss(),
        "regression",
        NUMBERS,
        ValueError,
        r"a prediction for each of 8 samples, but gives the shape \(32,\)",
    ),
]


@pytest.mark.parametrize(("model", "loss", "kind", "y", "error", "message"), WRONG)
def test_what_is_wrong_is_said_with_the_shapes_and_the_way_out(model, loss, kind, y, error, message):
    with pytest.raises(error, match=message):
        check_fit(model, loss, kind, X, y, y, call)


def test_all_targets_are_looked_at_not_only_the_first():
    y = CLASSES.clone()
    y[19] = 7
    with pytest.raises(ValueError, match="1 of them are not, from 7 to 7"):
        check_fit(net(3), nn.CrossEntropyLoss(), "multiclass", X, y, y, call)


def test_an_input_that_the_model_does_not_take_is_said_with_its_shape():
    with pytest.raises(RuntimeError) as caught:
        check_fit(net(3), nn.CrossEntropyLoss(), "multiclass", X[:, :2], CLASSES, CLASSES, call)
    assert "before the first step, on an input of the shape (8, 2) torch.float32" in caught.value.__notes__[0]


def test_nothing_is_left_of_a_try():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    check_fit(model, nn.CrossEntropyLoss(), "multiclass", X, CLASSES, CLASSES, call)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modes_come_back_after_an_error():
    model = net(3)
    seen = []

    def fail():
        with unchanged(model):
            seen.append(model.training)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (seen, model.training) == ([False], True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_counted_and_placed(value):
    x = X.clone()
    x[5, 1] = x[5, 2] = x[9, 0] = value
    with pytest.raises(
        ValueError, match="valid: x should hold finite numbers, but 2 of 20 samples .* the first one sample 5"
    ):
        check_arrays((x, CLASSES), "valid")
    check_arrays((torch.full((20, 4), 3e38), CLASSES), "data")  # a sum may overflow


def test_first_rows_of_anything():
    found = first_rows({"a": X, "b": (X, torch.tensor(1.0))})
    assert (len(found["a"]), len(found["b"][0]), found["b"][1].item()) == (8, 8, 1)
