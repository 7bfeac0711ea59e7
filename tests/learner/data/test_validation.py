"""Planted mistakes, each with its required message; and correct programs, which must pass."""

# ruff: noqa: E501 - a mistake and its message are one line of the table

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from ignite.learner._data.schema import infer_task
from ignite.learner._data.sources import as_loader
from ignite.learner._data.validation import check_before_training
from ignite.learner._losses import make_training_loss
from support.classifiers import Call, linear

N = 20
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
CLASSES, BITS, REAL = torch.arange(N) % 3, torch.arange(N) % 2, torch.linspace(-1, 1, N)
NAN_X, NAN_Y = X.clone(), REAL.clone().unsqueeze(1)
NAN_X[15, 2] = float("nan")
NAN_Y[11] = float("inf")


def run(model, loss, data, **options):
    loader = as_loader(data) if not hasattr(data, "batches") else data
    whole = loader.whole or loader.first()
    return check_before_training(
        model, loss, infer_task(loss, None if whole is None else whole.y), loader, **options
    )


def frozen(model):
    return model.requires_grad_(False)


def broken(model):
    with torch.no_grad():
        model[0].bias[0] = float("nan")
    return model


CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
MISTAKES = {
    "floats for classes": (linear(3), CE, (X, CLASSES.float()), r"TypeError: y should be class indices, int64, for cross_entropy, but given float32 of shape \(8,\) .*use y.long\(\)"),
    "one-hot integers": (linear(3), CE, (X, F.one_hot(CLASSES)), r"ValueError: y should have shape \(8,\) .* use y.argmax\(1\)"),
    "column of classes": (linear(3), CE, (X, CLASSES.unsqueeze(1)), r"ValueError: y should have shape \(8,\).* use y.squeeze\(1\)"),
    "classes from 1": (linear(3), CE, (X, CLASSES + 1), r"ValueError: y should be class indices from 0 to 2, .* but given 6 of them, the first is 3 in row 2 \(the range is 1 to 3\): .* use y - 1"),
    "too few outputs": (linear(2), CE, (X, CLASSES), r"ValueError: y .* from 0 to 1, .* let the last layer have 3 outputs"),
    "one output": (linear(1), CE, (X, BITS), r"ValueError: .* at least 2 classes for cross_entropy, which is 0 for just one, but given \(8, 1\)"),
    "flat output": (linear(1, nn.Flatten(0)), CE, (X, BITS), r"ValueError: .* should have shape \(N, C\).* but given \(8,\)"),
    "softmax and cross entropy": (linear(3, nn.Softmax(1)), CE, (X, CLASSES), "ValueError: .* should be logits for cross_entropy, .* remove the softmax"),
    "softmax by hand": (Call(lambda y: y.exp() / y.exp().sum(1, keepdim=True)), CE, (X, CLASSES), "ValueError: .* remove the softmax"),
    "sigmoid and logits": (linear(1, nn.Sigmoid()), BCE, (X, BITS.float().unsqueeze(1)), "ValueError: .* logits for bce_with_logits, .* of a sigmoid: remove it"),
    "sigmoid in forward": (Call(lambda y: y.sigmoid().squeeze(1), 1), BCE, (X, BITS.float()), "ValueError: .* of a sigmoid: remove it"),
    "logits and bce": (linear(1), nn.BCELoss(), (X, BITS.float().unsqueeze(1)), "ValueError: .* probabilities from 0 to 1 for bce, .* end the model with a sigmoid"),
    "logits and nll": (linear(3), nn.NLLLoss(), (X, CLASSES), "ValueError: .* log-probabilities, at most 0, for nll, but given values up to .*log_softmax"),
    "softmax and nll": (linear(3, nn.Softmax(1)), nn.NLLLoss(), (X, CLASSES), "ValueError: .* but given probabilities: use log_softmax"),
    "integers for bce": (linear(1), BCE, (X, BITS.unsqueeze(1)), r"TypeError: y should be floats for bce_with_logits, but given int64 of shape \(8, 1\): use y.float\(\)"),
    "integers for mse": (linear(1), nn.MSELoss(), (X, CLASSES.unsqueeze(1)), r"TypeError: y should be floats for a loss of differences, .* int64"),
    "broadcasting": (linear(1), nn.MSELoss(), (X, REAL), r"ValueError: .* output, \(8, 1\), .* but given \(8,\): use y.unsqueeze\(1\)"),
    "broadcasting back": (linear(1, nn.Flatten(0)), F.l1_loss, (X, REAL.unsqueeze(1)), r"ValueError: .* \(8,\), .* but given \(8, 1\): use y.squeeze\(1\)"),
    "broadcasting in a loss of your own": (linear(1), lambda a, b: (a - b).square().mean(), (X, REAL), r"ValueError: .* each output with its own target, .* \(8, 1\) and y of \(8,\).* use y.unsqueeze\(1\)"),
    "broadcasting of flat outputs": (linear(1, nn.Flatten(0)), lambda a, b: (1 - a * b).relu().sum(), (X, REAL.unsqueeze(1)), r"ValueError: .* \(8,\) and y of \(8, 1\).* use y.squeeze\(1\)"),
    "broadcasting of two outputs": (Call(lambda y: (y[:, :1], y[:, 1:].exp()), 2), lambda a, b: F.gaussian_nll_loss(a[0], b, a[1]), (X, REAL), r"ValueError: .* each output with its own target"),
    "broadcasting of each element": (linear(1), lambda a, b: (a - b).square(), (X, REAL), r"ValueError: .* each output with its own target"),
    "a loss of another shape": (linear(3), lambda a, b: a @ a.T, (X, CLASSES), r"ValueError: .* the mean, or one value for each sample or element, but given shape \(8, 8\)"),
    "classes for bce": (linear(3), BCE, (X, CLASSES.float()), r"ValueError: .* \(8, 3\), .* given \(8,\): if y is one of 3 classes, use cross_entropy"),
    "labels of -1 and 1": (linear(1), BCE, (X, (BITS * 2 - 1).float().unsqueeze(1)), "ValueError: y should be from 0 to 1 for bce_with_logits, but given 10 of them, the first is -1 in row 0"),
    "NaN in x": (linear(3), CE, (NAN_X, CLASSES), "ValueError: x should be finite, but given 1 of them, the first is nan in row 15, column 2"),
    "inf in y": (linear(1), nn.MSELoss(), (X, NAN_Y), "ValueError: y should be finite, but given 1 of them, the first is inf in row 11"),
    "wrong width": (nn.Linear(5, 3), CE, (X, CLASSES), r"RuntimeError: .*x of shape \(8, 4\) float32.*Linear, takes float32, in_features=5 as the last dimension"),
    "integer inputs": (linear(3), CE, (X.long(), CLASSES), r"TypeError: x should be float32, like the model, but given int64: use x.float\(\)"),
    "floats for an embedding": (nn.Sequential(nn.Embedding(7, 3)), CE, (X[:, 0], CLASSES), r"RuntimeError: .*float32.*Embedding, takes integers from 0 to 6"),
    "channels last": (nn.Conv2d(3, 2, 1), CE, (torch.zeros(N, 8, 8, 3), CLASSES), r"ValueError: x should have its 3 channels as dimension 1, but given shape \(8, 8, 8, 3\): use x.permute\(0, 3, 1, 2\)"),
    "no targets": (linear(3), CE, X, "ValueError: data should have targets"),
    "nothing to train": (frozen(linear(3)), CE, (X, CLASSES), "ValueError: .* none of its 2 requires a gradient"),
    "detached": (Call(torch.Tensor.detach), CE, (X, CLASSES), "ValueError: .* output should depend on its parameters"),
    "detached loss": (linear(3), lambda a, b: (a.argmax(1) == b).float().mean(), (X, CLASSES), "ValueError: The loss should depend on the model's output"),
    "broken model": (broken(linear(3)), CE, (X, CLASSES), "ValueError: .* parameters should be finite, but given NaN or infinity in 0.bias"),
    "loss that raises": (linear(3), lambda a, b: a @ b, (X, CLASSES), r"RuntimeError: .*the loss was given an output of shape \(8, 3\) float32 and y of shape \(8,\) int64"),
    "weights of no use": (linear(3), CE, [(X, CLASSES, X)], r"ValueError: w, .* shape \(20,\), but given shape \(20, 4\)"),
    "negative weights": (linear(3), CE, [(X, CLASSES, -torch.ones(N))], "ValueError: w, .* at least 0, but given -1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found_and_explained(name):
    model, loss, data, expected = MISTAKES[name]
    kind, _, pattern = expected.partition(": ")
    with pytest.raises(Exception) as caught:  # kind and text are compared below
        run(model, loss, data)
    assert type(caught.value).__name__ == kind
    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])

    assert re.search(pattern, text, re.DOTALL), text


SOFT = torch.softmax(torch.randn(N, 3, generator=torch.Generator().manual_seed(1)), 1)
IMAGES = torch.zeros(N, 3, 4, 4)
RIGHT = {
    "cross entropy": (linear(3), CE, (X, CLASSES)),
    "soft targets": (linear(3), CE, (X, SOFT)),
    "log_softmax and cross entropy": (linear(3, nn.LogSoftmax(1)), CE, (X, CLASSES)),
    "ReLU logits": (linear(3, nn.ReLU()), CE, (X, CLASSES)),
    "segmentation": (nn.Conv2d(3, 2, 1), CE, (IMAGES, torch.zeros(N, 4, 4, dtype=torch.int64))),
    "ignored": (linear(3), nn.CrossEntropyLoss(ignore_index=9), (X, torch.where(CLASSES == 2, 9, CLASSES))),
    "nll": (linear(3, nn.LogSoftmax(1)), nn.NLLLoss(), (X, CLASSES)),
    "bce": (linear(1, nn.Sigmoid()), nn.BCELoss(), (X, BITS.float().unsqueeze(1))),
    "bce with logits": (linear(1), BCE, (X, BITS.float().unsqueeze(1))),
    "multilabel": (linear(3), BCE, (X, F.one_hot(CLASSES).float())),
    "mse": (linear(1), nn.MSELoss(), (X, REAL.unsqueeze(1))),
    "huber": (linear(1, nn.Flatten(0)), nn.HuberLoss(), (X, REAL)),
    "your own loss": (linear(2), lambda a, b: (a - b.unsqueeze(1)).square().mean(), (X, REAL)),
    "your own loss that squeezes": (linear(1), lambda a, b: (a.squeeze(1) - b).square().mean(), (X, REAL)),
    "your own loss of each sample": (linear(3), lambda a, b: (a.sum(1) - b).square(), (X, REAL)),
    "your own loss of each element": (linear(1), lambda a, b: (a - b.unsqueeze(1)).square(), (X, REAL)),
    "your own loss of two outputs": (Call(lambda y: (y[:, :1], y[:, 1:].exp()), 2), lambda a, b: F.gaussian_nll_loss(a[0].squeeze(1), b, a[1].squeeze(1)), (X, REAL)),
    "loss of each sample": (linear(3), nn.CrossEntropyLoss(reduction="none"), (X, CLASSES)),
    "batch norm": (linear(3, nn.BatchNorm1d(3), nn.Dropout()), CE, (X, CLASSES)),
    "one sample": (linear(3, nn.BatchNorm1d(3)), CE, (X[:1], CLASSES[:1])),
    "weights": (linear(3), CE, (X, CLASSES, torch.ones(N))),
    "lazy": (nn.LazyLinear(3), CE, (X, CLASSES)),
    "DataLoader": (linear(3), CE, DataLoader(list(zip(X, CLASSES, strict=True)), batch_size=4)),
    "two inputs": (nn.Bilinear(4, 4, 3), CE, ((X, X), CLASSES)),
    "infinite outputs masked": (Call(lambda y: y[:, :2]), CE, (X, BITS)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes_in_silence(name):
    assert run(*RIGHT[name]) == []


def test_integers_are_no_mistake_if_each_step_casts_them():
    assert (
        run(linear(1), BCE, (X, BITS.unsqueeze(1)), fitted=make_training_loss(BCE, None).fitted)
        == []
    )


def test_a_model_that_survives_nan_is_warned_about_only():
    warnings = run(Call(lambda y: y.nan_to_num()), CE, (NAN_X, CLASSES))
    assert warnings == [
        "x should be finite, but given 1 of them, the first is nan in row 15, column 2. "
        "The model's output is finite nevertheless"
    ]


def test_names_of_columns_are_reported():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(NAN_X.numpy(), columns=list("abcd")).assign(y=CLASSES.numpy())
    with pytest.raises(ValueError, match="in row 15, column 'c'"):
        run(linear(3), CE, as_loader(frame, target="y"))


@pytest.mark.parametrize(
    ("model", "loss", "data", "part"),
    [
        (
            linear(3, nn.Sigmoid()),
            CE,
            (X, CLASSES),
            "The model ends with a sigmoid, but cross_entropy takes logits",
        ),
        (
            linear(1),
            lambda a, b: a.nan_to_num().mean(),
            (X, NAN_Y),
            "y should be finite, .* Does your loss mask them",
        ),
        (
            linear(1),
            lambda a, b: a.mean() / 0 * 0,
            (X, REAL.unsqueeze(1)),
            "The loss is nan for the first samples",
        ),
        (
            Call(lambda y: y / 0),
            lambda a, b: a.mean(),
            (X, REAL),
            "output has values that are not finite",
        ),
    ],
)
def test_what_is_probably_wrong_is_a_warning(model, loss, data, part):
    (warning,) = run(model, loss, data)

    assert re.search(part, warning)


def test_the_model_is_where_the_batches_go():
    with pytest.raises(
        ValueError,
        match="model and device should be on the same device, but the model is on cpu, device is meta",
    ):
        run(linear(3), CE, (X, CLASSES), device="meta")
    with pytest.raises(ValueError, match="the model is on meta, x is cpu"):
        run(linear(3).to("meta"), CE, (X, CLASSES))


def test_nothing_is_left_behind():
    model = linear(3, nn.BatchNorm1d(3), nn.Dropout())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(model, CE, (X, CLASSES))
    assert torch.rand(1) == expected
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Stream(IterableDataset):
    def __init__(self):
        self.samples = iter([(X[0], 1)])

    def __iter__(self):
        return self.samples


def test_data_that_cannot_be_inspected_are_not_checked():
    loader = as_loader(DataLoader(Stream(), batch_size=1))
    assert loader.has_targets is None
    (warning,) = check_before_training(linear(3), CE, infer_task(CE, None), loader)
    assert warning == "The data can be iterated over only once, so it was not checked"


class Counting(nn.CrossEntropyLoss):
    num_calls = 0

    def forward(self, y_pred, y):
        self.num_calls += 1
        return super().forward(y_pred, y)


def test_a_loss_with_its_own_state_keeps_it():
    loss = Counting()
    run(linear(3), loss, (X, CLASSES))
    assert loss.num_calls == 0
