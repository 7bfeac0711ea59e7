"""The loss of a learner against its definition, computed element by element in float64."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from ignite.engine import BackpropEvents
from ignite.exceptions import NotComputableError
from ignite.learner import Learner
from ignite.learner._data.weighting import Weighted
from ignite.learner._losses import EpochLoss, TrainingLoss, make_training_loss, num_samples
from support import harness, learner_processes

IGNORED = -100


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cross_entropy_of(scores, label):
    """-log of the softmax, in plain numbers."""
    highest = max(scores)
    return highest + math.log(sum(math.exp(score - highest) for score in scores)) - scores[label]


def by_definition(y_pred, y, weight=None, class_weight=None, ignored=IGNORED):
    """Sum of w c l over the elements that count, and their number; y_pred (N, C, T), y (N, T)."""
    total, num_counted = 0.0, 0
    for n, labels in enumerate(y.tolist()):
        for t, label in enumerate(labels):
            if label == ignored:
                continue
            num_counted += 1
            factor = (1 if weight is None else weight[n]) * (
                1 if class_weight is None else class_weight[label]
            )
            total += factor * cross_entropy_of(y_pred[n, :, t].tolist(), label)
    return total, num_counted


numbers = st.floats(0, 4, width=32)


@given(
    seed=st.integers(0, 99),
    labels=st.lists(
        st.lists(st.sampled_from([0, 1, 2, IGNORED]), min_size=2, max_size=2),
        min_size=1,
        max_size=4,
    ),
    weight=st.none() | st.lists(numbers, min_size=4, max_size=4),
    class_weight=st.none() | st.lists(numbers, min_size=3, max_size=3),
    is_tracked=st.booleans(),
)
@pytest.mark.parametrize("kind", ["name", "module", "function", "partial", "nll"])
def test_classes_of_elements(kind, seed, labels, weight, class_weight, is_tracked):
    y, y_pred = torch.tensor(labels), randn(len(labels), 3, 2, seed=seed).requires_grad_(is_tracked)
    losses = {
        "name": "cross_entropy", "module": nn.CrossEntropyLoss(), "function": F.cross_entropy,
        "partial": functools.partial(F.cross_entropy, ignore_index=IGNORED), "nll": nn.NLLLoss(),
    }  # fmt: skip
    loss = make_training_loss(losses[kind], class_weight)
    given_output = y_pred.log_softmax(1) if kind == "nll" else y_pred
    target = y if weight is None else Weighted(y, torch.tensor(weight[: len(y)]))
    found, count, is_sum = loss.counted(given_output, target)
    total, num_counted = by_definition(y_pred.detach(), y, weight, class_weight)
    assert (count, is_sum) == (num_counted, False)
    assert found.item() == pytest.approx(
        total / num_counted if num_counted else 0.0, rel=1e-9, abs=1e-12
    )
    if is_tracked:
        (gradient,) = torch.autograd.grad(found, y_pred)
        assert gradient.isfinite().all()


def test_a_number_within_the_classes_can_be_ignored():
    y_pred, y = randn(2, 3, 2), torch.tensor([[0, 1], [2, 0]])
    loss = make_training_loss(nn.CrossEntropyLoss(ignore_index=0), [7.0, 1.0, 2.0])
    total, num_counted = by_definition(y_pred, y, None, [7.0, 1.0, 2.0], ignored=0)
    assert loss.counted(y_pred, y)[1] == num_counted == 2
    assert loss(y_pred, y).item() == pytest.approx(total / 2, rel=1e-12)


TWO_ARGUMENTS = {
    "cross_entropy": (nn.CrossEntropyLoss, F.cross_entropy, "classes"),
    "smoothed": (functools.partial(nn.CrossEntropyLoss, label_smoothing=0.1), None, "classes"),
    "weighted": (
        functools.partial(nn.CrossEntropyLoss, torch.tensor([1.0, 3.0, 0.5]).double()),
        None,
        "classes",
    ),
    "soft": (nn.CrossEntropyLoss, F.cross_entropy, "soft"),
    "nll": (nn.NLLLoss, F.nll_loss, "classes"),
    "bce": (nn.BCELoss, F.binary_cross_entropy, "fractions"),
    "bce_with_logits": (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, "fractions"),
    "pos_weight": (
        functools.partial(nn.BCEWithLogitsLoss, pos_weight=torch.tensor([2.0, 1, 3])),
        None,
        "fractions",
    ),
    "mse": (nn.MSELoss, F.mse_loss, "numbers"),
    "l1": (nn.L1Loss, F.l1_loss, "numbers"),
    "smooth_l1": (nn.SmoothL1Loss, F.smooth_l1_loss, "numbers"),
    "huber": (nn.HuberLoss, F.huber_loss, "numbers"),
    "poisson": (nn.PoissonNLLLoss, F.poisson_nll_loss, "numbers"),
    "kl": (nn.KLDivLoss, F.kl_div, "soft"),
    "batchmean": (functools.partial(nn.KLDivLoss, reduction="batchmean"), None, "soft"),
    "soft_margin": (nn.SoftMarginLoss, F.soft_margin_loss, "signs"),
    "hinge": (nn.HingeEmbeddingLoss, F.hinge_embedding_loss, "signs"),
    "multi_margin": (nn.MultiMarginLoss, F.multi_margin_loss, "classes"),
    "multilabel": (nn.MultiLabelSoftMarginLoss, F.multilabel_soft_margin_loss, "fractions"),
}
FORMS = [
    (name, form)
    for name, (_, function, _) in TWO_ARGUMENTS.items()
    for form in range(2 if function else 1)
]


def make_case(name, form, num_rows):
    make, function, kind = TWO_ARGUMENTS[name]
    y_pred, noise = randn(num_rows, 3), randn(num_rows, 3, seed=1)
    y = {
        "classes": noise.argmax(1), "soft": noise.softmax(1), "fractions": noise.sigmoid(), "numbers": noise,
        "signs": noise.sign(),
    }[kind]  # fmt: skip
    y_pred = {"nll": y_pred.log_softmax(1), "bce": y_pred.sigmoid()}.get(name, y_pred)
    return (function if form else make()), y_pred, y


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_batches_of_any_size_and_weights_of_one_give_the_loss_of_all_at_once(name, form):
    """Torch's own mean over all rows is the reference."""
    loss_fn, y_pred, y = make_case(name, form, 11)
    expected = loss_fn(y_pred, y).item()
    loss = make_training_loss(loss_fn, None)
    ones = torch.ones(11)
    for sizes in ([11], [1] * 11, [5, 5, 1]):
        for is_weighted in (False, True):
            for with_grad in (False, True):
                total = count = 0.0
                for rows in torch.arange(11).split(sizes):
                    target = Weighted(y[rows], ones[rows]) if is_weighted else y[rows]
                    part = loss.counted(y_pred[rows].detach().requires_grad_(with_grad), target)
                    total += part.loss.item() * part.num_counted
                    count += part.num_counted
                assert total / count == pytest.approx(expected, rel=1e-6), (
                    sizes,
                    is_weighted,
                    with_grad,
                )


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_weights_multiply_what_the_elements_of_a_sample_lose(name, form):
    loss_fn, y_pred, y = make_case(name, form, 6)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5, 0.0, 3.0])
    each = make_training_loss(loss_fn, None)
    rows = [each(y_pred[i : i + 1], y[i : i + 1]).item() for i in range(6)]
    sizes = [each.counted(y_pred[i : i + 1], y[i : i + 1]).num_counted for i in range(6)]
    expected = sum(
        w * row * size for w, row, size in zip(weight.tolist(), rows, sizes, strict=True)
    ) / sum(sizes)
    assert each(y_pred, Weighted(y, weight)).item() == pytest.approx(expected, rel=1e-6)
    assert each(y_pred, Weighted(y, torch.zeros(6))).item() == 0
    assert each(y_pred, Weighted(y, weight[:, None])).item() == pytest.approx(expected, rel=1e-6)
    assert each(y_pred[:1], Weighted(y[:1], torch.tensor([5.0]))).item() == pytest.approx(
        5 * rows[0], rel=1e-6
    )


# Classes


def forms_of(weights):
    """The ordinary forms of a weight for each class."""
    return [
        weights, tuple(weights), np.array(weights), torch.tensor(weights), pd.Series(weights),
        dict(enumerate(weights)), dict(zip(np.arange(3), weights, strict=True)),
        pd.Series([weights[1], weights[0], weights[2]], index=[1, 0, 2]),
    ]  # fmt: skip


@pytest.mark.parametrize("form", range(8))
def test_all_ordinary_forms_of_weights_of_classes(form):
    weights = [0.5, 3.0, 2.0]
    y_pred, y = randn(4, 3), torch.tensor([0, 1, 2, 1])
    each = F.cross_entropy(y_pred, y, reduction="none")
    expected = (
        sum(weights[label] * loss for label, loss in zip(y.tolist(), each.tolist(), strict=True))
        / 4
    )
    loss = make_training_loss("cross_entropy", forms_of(weights)[form])
    assert loss(y_pred, y).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ({"cat": 3.0}, ("cat", "cow", "dog")),
        ({np.str_("cat"): 3.0}, ("cat", "cow", "dog")),
        (pd.Series({"cow": 1.0, "cat": 3.0}), ("cat", "cow", "dog")),
        ({np.int64(10): 3.0}, (10, 20, 30)),
        ({10: 3.0}, tuple(np.array([10, 20, 30]))),
        ({False: 3.0}, (False, True, None)),
    ],
)
def test_classes_have_weights_by_name_once_the_names_are_known(weights, names):
    y_pred, y = randn(2, 3), torch.tensor([0, 2])
    each = F.cross_entropy(y_pred, y, reduction="none")
    loss = make_training_loss("cross_entropy", weights)
    loss.learn(names)
    assert loss(y_pred, y).item() == pytest.approx(((3 * each[0] + each[1]) / 2).item(), rel=1e-12)
    loss.learn(names[::-1])
    assert loss(y_pred, y).item() == pytest.approx(((each[0] + 3 * each[1]) / 2).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        ({"cat": 3.0}, ValueError, "should be one of an index below 3, but given 'cat'"),
        ({3: 1.0}, ValueError, "should be one of an index below 3, but given 3"),
        ({np.int64(-1): 1.0}, ValueError, "should be one of an index below 3, but given -1"),
        ([1.0, -1.0, 1.0], ValueError, "should be finite and at least 0, but given"),
        ([1.0] * 4, ValueError, "should have 3 weights, one for each class, but given 4"),
        (np.ones(2), ValueError, "should have 3 weights, one for each class, but given 2"),
        (
            np.ones((3, 2)),
            TypeError,
            "should be a number for each class, by class or in their order, but given",
        ),
        (
            "balance",
            ValueError,
            "class_weight should be 'balanced', or weights by class, but given 'balance'",
        ),
        (
            "balanced",
            ValueError,
            "is computed from training data, but there was none: call fit first",
        ),
        (
            3.0,
            TypeError,
            "should be a number for each class, by class or in their order, but given 3.0",
        ),
    ],
)
def test_weights_that_fit_no_class_are_refused_by_the_check_too(weights, error, match):
    for verb in ("check", "counted"):
        with pytest.raises(error, match=match):
            getattr(make_training_loss("cross_entropy", weights), verb)(
                torch.zeros(2, 3), torch.tensor([0, 2])
            )


@pytest.mark.parametrize("loss", ["mse", nn.L1Loss(), F.huber_loss, nn.GaussianNLLLoss()])
def test_numbers_have_no_classes(loss):
    with pytest.raises(
        TypeError,
        match="class_weight should be left out for a regression loss, which has no classes",
    ):
        make_training_loss(loss, [1.0, 2.0])


@given(seed=st.integers(0, 99), weights=st.lists(numbers, min_size=3, max_size=3))
def test_probabilities_of_classes_weigh_what_each_class_contributes(seed, weights):
    y_pred, y = randn(4, 3, seed=seed), randn(4, 3, seed=seed + 1).softmax(1)
    logs = y_pred.log_softmax(1)
    expected = (
        sum(-weights[c] * y[n, c].item() * logs[n, c].item() for n in range(4) for c in range(3))
        / 4
    )
    loss = make_training_loss("cross_entropy", weights)
    assert loss(y_pred, y).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    hard = y.argmax(1)
    assert loss(y_pred, F.one_hot(hard, 3).double()).item() == pytest.approx(
        loss(y_pred, hard).item(), abs=1e-9
    )


@given(seed=st.integers(0, 99), no=numbers, yes=numbers)
@pytest.mark.parametrize("name", ["bce", "bce_with_logits"])
def test_labels_weigh_each_for_itself(name, seed, no, yes):
    scores, y = randn(4, 2, seed=seed), (randn(4, 2, seed=seed + 1) > 0).double()
    y[0] = 0.25  # a probability of yes
    chance = scores.sigmoid()
    expected = sum(
        -yes * y[i].item() * math.log(chance[i].item())
        - no * (1 - y[i].item()) * math.log(1 - chance[i].item())
        for i in ((n, k) for n in range(4) for k in range(2))
    )
    loss = make_training_loss(name, [no, yes])
    found = loss(chance if name == "bce" else scores, y).item()
    assert found == pytest.approx(expected / 8, rel=1e-6, abs=1e-9)


def test_weights_of_ones_own_loss_and_of_classes_are_multiplied():
    own, weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), [3.0, 1.0, 0.5]
    y_pred, y = randn(3, 3), torch.tensor([0, 2, 1])
    each = F.cross_entropy(y_pred, y, own, reduction="none")
    expected = (
        sum(weights[label] * each[i].item() for i, label in enumerate(y.tolist()))
        / own[y].sum().item()
    )
    assert make_training_loss(nn.CrossEntropyLoss(own), weights)(y_pred, y).item() == pytest.approx(
        expected, rel=1e-9
    )


@given(st.lists(st.sampled_from([0, 1, 3, IGNORED]), min_size=1, max_size=20))
def test_balanced_is_what_scikit_learn_computes_of_the_classes_that_count(labels):
    counted = [label for label in labels if label != IGNORED]
    loss = make_training_loss("cross_entropy", "balanced")
    assert loss.is_balanced
    if not counted:
        with pytest.raises(
            ValueError,
            match="y should hold at least one class for class_weight='balanced', but given none",
        ):
            loss.balance_of(torch.tensor(labels))
        return
    loss.learn((), loss.balance_of(torch.tensor(labels)[:, None]))
    occurring = np.unique(counted)
    weights = dict(
        zip(occurring, compute_class_weight("balanced", classes=occurring, y=counted), strict=True)
    )
    y_pred, y = randn(5, 5), torch.arange(5)
    each = F.cross_entropy(y_pred, y, reduction="none").tolist()
    expected = sum(weights.get(c, 1.0) * each[c] for c in range(5)) / 5
    assert loss(y_pred, y).item() == pytest.approx(expected, rel=1e-9)


# Losses of one's own


def focal(y_pred, y, reduction="mean"):
    losses = F.cross_entropy(y_pred, y, reduction="none")
    losses = (1 - (-losses).exp()) ** 2 * losses
    return losses if reduction == "none" else losses.mean()


class Focal(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduction = "mean"

    def forward(self, y_pred, y):
        return focal(y_pred, y, self.reduction)


@pytest.mark.parametrize("loss_fn", [focal, Focal(), functools.partial(focal, reduction="none")])
def test_a_custom_loss_of_single_elements_is_weighted_like_those_of_torch(loss_fn):
    y_pred, y, weight = randn(4, 3), torch.tensor([0, 1, 2, 1]), torch.tensor([1.0, 0.0, 2.0, 3.0])
    each = focal(y_pred, y, "none")
    loss = make_training_loss(loss_fn, {1: 5.0})
    expected = (each * weight * torch.tensor([1.0, 5.0, 1.0, 5.0])).sum().item() / 4
    loss.check(y_pred, Weighted(y, weight))
    assert loss(y_pred, Weighted(y, weight)).item() == pytest.approx(expected, rel=1e-9)
    assert make_training_loss(loss_fn, None)(y_pred, y).item() == pytest.approx(
        each.mean().item(), rel=1e-12
    )


@pytest.mark.parametrize(
    ("loss_fn", "count"),
    [
        (lambda y_pred, y: F.cross_entropy(y_pred.flatten(0, 1), y.flatten(), ignore_index=0), 3),
        (lambda y_pred, y: 0.5 * F.cross_entropy(y_pred.flatten(0, 1), y.flatten(), ignore_index=0).squeeze() / 2, 3),
        (lambda y_pred, y: F.cross_entropy(y_pred.transpose(1, 2), y, ignore_index=0), 3),
        (lambda y_pred, y: F.cross_entropy(y_pred.transpose(1, 2), y, reduction="none")[y != 0].mean(), 3),
        (lambda y_pred, y: F.mse_loss(y_pred[..., 0], y.double()), 4),
        (lambda y_pred, y: F.mse_loss(y_pred[..., 0], y.double(), reduction="sum"), 2),
        (lambda y_pred, y: y_pred.square().sum() / 7, 2),  # nobody knows
        (lambda y_pred, y: y_pred.mean() + y_pred.square().mean(), 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_grad", [True, False])
def test_a_mean_of_ones_own_counts_what_it_averages_and_else_samples(loss_fn, count, with_grad):
    y_pred, y = randn(2, 2, 3).requires_grad_(with_grad), torch.tensor([[0, 1], [2, 1]])
    with torch.set_grad_enabled(with_grad):
        found = TrainingLoss(loss_fn).counted(y_pred, y)
    assert (found.num_counted, found.is_sum) == (count, False)
    assert found.loss.item() == pytest.approx(loss_fn(y_pred, y).item(), rel=1e-12)


def test_a_mean_of_ones_own_over_nothing_is_0_and_leaves_the_gradient_at_0():
    y_pred = randn(2, 3).requires_grad_()
    loss = TrainingLoss(lambda y_pred, y: F.cross_entropy(y_pred, y, ignore_index=1))
    found = loss.counted(y_pred, torch.tensor([1, 1]))
    found.loss.backward()
    assert (found.loss.item(), found.num_counted, y_pred.grad.tolist()) == (0, 0, [[0] * 3] * 2)


def test_a_function_that_changes_what_it_is_given_is_evaluated_too():
    def loss_fn(y_pred, y):
        return y_pred.sub_(y).abs_().mean()

    y_pred = randn(3)
    with torch.no_grad():
        assert TrainingLoss(loss_fn)(y_pred, torch.zeros(3)).item() == pytest.approx(
            y_pred.abs().mean().item()
        )
    assert torch.equal(y_pred, randn(3))


def test_what_cannot_be_weighted_is_refused():
    y_pred, y = randn(2, 3), torch.tensor([0, 1])
    mean = make_training_loss(lambda y_pred, y: y_pred.mean(), None)
    for verb in ("check", "counted"):
        with pytest.raises(
            TypeError, match="gives one value for each sample to be weighted, but given .*lambda"
        ):
            getattr(mean, verb)(y_pred, Weighted(y, torch.ones(2)))
    with pytest.raises(
        TypeError, match="for class_weight, but given shape .2, 3., torch.float64 for losses of"
    ):
        make_training_loss(lambda y_pred, y: (y_pred - y).abs(), [1.0, 2.0]).check(
            y_pred, randn(2, 3)
        )
    with pytest.raises(
        ValueError,
        match=r"w, the sample weights, should have shape \(2,\), but given shape \(3,\)",
    ):
        make_training_loss("cross_entropy", None).check(y_pred, Weighted(y, torch.ones(3)))

    class Normalized(Focal):
        def forward(self, y_pred, y):
            losses = focal(y_pred, y, "none")
            return losses if self.reduction == "none" else losses.sum() / losses.detach().max()

    with pytest.raises(
        TypeError, match="should be the mean of what it gives with reduction='none' to be weighted"
    ):
        make_training_loss(Normalized(), None).check(y_pred, Weighted(y, torch.ones(2)))


@pytest.mark.parametrize(
    "loss_fn", [nn.MSELoss(reduction="sum"), functools.partial(F.mse_loss, reduction="sum")]
)
def test_a_sum_stays_a_sum(loss_fn):
    y_pred, y = randn(3, 2), randn(3, 2, seed=1)
    loss = make_training_loss(loss_fn, None)
    found = loss.counted(y_pred, y)
    assert (found.loss.item(), found.num_counted, found.is_sum) == (
        F.mse_loss(y_pred, y, reduction="sum").item(),
        6,
        True,
    )
    weighted = loss.counted(y_pred, Weighted(y, torch.tensor([0.0, 2.0, 0.0])))
    assert weighted.loss.item() == pytest.approx(2 * (y_pred - y)[1].square().sum().item())
    assert weighted[1:] == (6, True)


def test_targets_in_tuples_and_dictionaries_are_no_weights_and_count_samples():
    y = {"a": torch.ones(3), "b": torch.zeros(3, 2)}
    loss = TrainingLoss(lambda y_pred, y: (y_pred - y["a"]).square().sum() / 3)
    assert loss.counted(torch.zeros(3), y)[1] == 3
    pair = torch.ones(3), torch.full((3,), 2.0)
    found = TrainingLoss(lambda y_pred, y: (y_pred - y[0] - y[1]).square().sum() / 3).counted(
        torch.zeros(3), pair
    )
    assert (found.loss.item(), found.num_counted) == (9, 3)
    assert num_samples(None, 3, "a", torch.tensor(1), [torch.zeros(4)]) == 4
    assert num_samples("a") == 1


def test_outputs_of_half_precision_are_compared_in_float32():
    y_pred, y = randn(5).bfloat16(), randn(5, seed=1).float()
    expected = (y_pred.float() - y).square().mean()
    for loss_fn in ("mse", lambda y_pred, y: (y_pred - y).square().mean()):
        assert make_training_loss(loss_fn, None)(y_pred, y) == expected


def test_over_an_epoch():
    metric = EpochLoss(make_training_loss("cross_entropy", [1.0, 2.0, 3.0]), lambda output: output)
    y_pred, y = randn(5, 3, 2), torch.tensor([[0, IGNORED], [1, 2], [IGNORED] * 2, [2, 2], [0, 1]])
    weight = torch.tensor([1.0, 0.5, 2.0, 3.0, 0.0])
    for rows in torch.arange(5).split([1, 1, 1, 2]):
        metric.update((y_pred[rows], Weighted(y[rows], weight[rows])))
    total, num_counted = by_definition(y_pred, y, weight.tolist(), [1.0, 2.0, 3.0])
    assert metric.compute() == pytest.approx(total / num_counted, rel=1e-12)
    metric.reset()
    with pytest.raises(
        NotComputableError, match="The loss must have at least one batch before it can be computed"
    ):
        metric.compute()
    metric.update((y_pred[2:3], y[2:3]))
    assert math.isnan(metric.compute()), "nothing counts"


# Targets


def test_targets_are_fitted_to_the_loss_where_that_cannot_be_mistaken():
    scores = torch.tensor([[0.5], [-1.0]])
    yes = torch.tensor([1, 0])
    expected = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], yes.float())
    assert make_training_loss("bce_with_logits", None)(scores, yes) == expected
    logits, classes = torch.randn(2, 3), torch.tensor([2, 0], dtype=torch.uint8)
    assert make_training_loss("cross_entropy", None)(
        logits, classes
    ) == nn.functional.cross_entropy(logits, classes.long())
    seen = []

    def note(y_pred, y):
        seen.append(y.shape)
        return y_pred.sum()

    make_training_loss(note, None)(scores, yes)
    assert seen == [(2,)], "a loss of one's own gets what there is"


def test_integers_become_floats_where_the_loss_computes_with_numbers_and_nothing_else_changes():
    ints, bits, floats = torch.tensor([0, 3, 1]), torch.tensor([0, 1, 1]), torch.tensor([0.2, 3.0])
    scores = torch.zeros(3)
    assert make_training_loss("bce_with_logits", None).fitted(scores, bits).dtype == torch.float32
    assert make_training_loss("cross_entropy", None).fitted(scores, ints) is ints
    assert make_training_loss("cross_entropy", None).fitted(scores, floats) is floats
    assert make_training_loss("mse", None).fitted(scores, {"a": ints}) == {"a": ints}


def test_weights_of_a_loss_are_moved_to_the_device_of_the_model():
    loss = nn.CrossEntropyLoss(torch.ones(3))
    assert (
        make_training_loss(loss, None, torch.device("meta"))._options["weight"].device.type
        == "meta"
    )
    with pytest.raises(TypeError, match="loss should be a name or loss.y_pred, y., but given 3"):
        make_training_loss(3, None)


@pytest.mark.parametrize(
    ("loss", "shape", "target"),
    [
        ("mse", (1,), torch.rand(1, generator=torch.Generator().manual_seed(0))),
        ("mse", (1, 3), torch.rand(1, 3, generator=torch.Generator().manual_seed(0))),
        ("cross_entropy", (1, 3), torch.tensor([2])),
        ("cross_entropy", (1, 3, 2), torch.tensor([[2, 0]])),
        ("bce_with_logits", (1, 1), torch.tensor([1])),
    ],
)
def test_a_batch_of_one_whose_output_is_squeezed_has_its_loss(loss, shape, target):
    y_pred = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    chosen = make_training_loss(loss, None)
    assert chosen(y_pred.squeeze(), target) == chosen(y_pred, target)
    seen = []
    make_training_loss(lambda y_pred, y: seen.append(y_pred.shape) or y_pred.sum(), None)(
        torch.zeros(3), torch.zeros(1)
    )
    assert seen == [(3,)], "a loss of one's own gets what there is"


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "bce_with_logits"])
@pytest.mark.parametrize(
    ("shape", "y_shape"),
    [((2, 3, 4, 5), (2, 4, 5, 3)), ((4, 2, 3), (4, 3, 2)), ((4, 1), (4, 4)), ((1, 3), (3,))],
)
def test_targets_in_another_order_never_pair_by_memory(loss, shape, y_shape):
    with pytest.raises(ValueError, match="y should have the shape of the model's output"):
        make_training_loss(loss, None)(torch.zeros(shape), torch.zeros(y_shape))


# A learner


def total_and_count(model, rows, data, weighted, class_weight):
    """Sum of w c l of these samples, with its graph, and how many tokens count; torch, one token at a time."""
    x, y, weight = data
    total, num_counted = 0 * sum(parameter.sum() for parameter in model.parameters()), 0
    for n in rows:
        scores = model(x[n : n + 1])[0].log_softmax(0)  # (C, T)
        for t, label in enumerate(y[n].tolist()):
            if label != IGNORED:
                num_counted += 1
                factor = (weight[n].item() if weighted else 1) * (
                    class_weight[label] if class_weight else 1
                )
                total = total - factor * scores[label, t]
    return total, num_counted


def trained_by_definition(window_size, weighted, class_weight):
    """Weights and figures of training on whole windows, in order: one gradient of all that counts in each.

    ``window_size`` is one number of samples, or that of each window.
    """
    model, data = learner_processes.Tokens(), learner_processes.token_data()
    held = learner_processes.token_data(11, seed=4)
    figures = {"loss": [], "valid_loss": []}
    for _ in range(2):
        sums = []
        for rows in torch.arange(len(data[0])).split(window_size):
            total, num_counted = total_and_count(model, rows.tolist(), data, weighted, class_weight)
            model.zero_grad()
            (total / max(num_counted, 1)).backward()
            sums.append((total.item(), num_counted))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.5 * parameter.grad
        figures["loss"].append(sum(total for total, _ in sums) / sum(count for _, count in sums))
        total, num_counted = total_and_count(model, range(11), held, weighted, class_weight)
        figures["valid_loss"].append(total.item() / num_counted)
    return [p.tolist() for p in model.parameters()], figures, figures["valid_loss"][-1]


def assert_same(found, expected):
    for ours, theirs in zip(found[0], expected[0], strict=True):
        assert np.array(ours) == pytest.approx(np.array(theirs), rel=1e-9, abs=1e-12)
    assert found[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-9)
    assert found[1]["valid_loss"] == pytest.approx(expected[1]["valid_loss"], rel=1e-9)
    assert found[2] == pytest.approx(expected[2], rel=1e-9)


WEIGHTINGS = [
    (False, None),
    (True, None),
    (False, learner_processes.CLASS_WEIGHT),
    (True, (0.5, 2.0, 1.0)),
]


@pytest.mark.parametrize(("weighted", "class_weight"), WEIGHTINGS)
@pytest.mark.parametrize(
    ("batch_size", "accumulation"), [(1, 1), (4, 1), (19, 1), (1, 4), (2, 3), (5, 2), (3, 100)]
)
def test_gradients_and_figures_are_those_of_the_definition(
    batch_size, accumulation, weighted, class_weight
):
    how = {
        "batch_size": batch_size,
        "accumulation": accumulation,
        "weighted": weighted,
        "class_weight": class_weight,
    }
    expected = trained_by_definition(batch_size * accumulation, weighted, class_weight)
    assert_same(learner_processes.train_tokens(0, **how), expected)


@pytest.mark.parametrize(("weighted", "class_weight"), [WEIGHTINGS[0], WEIGHTINGS[3]])
@pytest.mark.parametrize(
    ("batch_size", "accumulation", "windows"),
    [  # windows of both processes: a remainder of one joins the batch before
        pytest.param(2, 1, [4, 4, 4, 4, 3], marks=pytest.mark.slow),
        pytest.param(1, 3, [6, 6, 7], marks=pytest.mark.slow),
        (2, 3, [12, 7]),
    ],
)
def test_two_processes_have_the_gradients_and_figures_of_the_definition(
    batch_size, accumulation, windows, weighted, class_weight
):
    how = {
        "batch_size": batch_size,
        "accumulation": accumulation,
        "weighted": weighted,
        "class_weight": class_weight,
    }
    expected = trained_by_definition(windows, weighted, class_weight)
    for found in harness.run(functools.partial(learner_processes.train_tokens, **how), 2):
        assert_same(found, expected)


def make_learner(**options):
    torch.manual_seed(0)
    return Learner(
        nn.Linear(2, 3),
        options.pop("loss", "cross_entropy"),
        "sgd",
        lr=1.0,
        device="cpu",
        **options,
    )


ROWS, LABELS = randn(10, 2).float(), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_warm_up_and_schedule_count_steps_of_the_optimizer(accumulation):
    learner, seen = make_learner(accumulation=accumulation), []

    @learner.trainer.on(BackpropEvents.OPTIM_STEP_COMPLETED)
    def note():
        seen.append(learner.optimizer.param_groups[0]["lr"])

    learner.fit((ROWS, LABELS), epochs=2, batch_size=2, schedule="linear", warmup=2, shuffle=False)
    num_steps = 2 * math.ceil(5 / accumulation)
    rest = [1 - (step - 2) / (num_steps - 2) for step in range(2, num_steps)]
    assert seen == pytest.approx([0.5, 1.0, *rest])


def test_balanced_weights_are_those_of_the_training_data_in_validation_and_elsewhere(tmp_path):
    weights = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    held = ROWS[:4], torch.tensor([2, 1, 0, 1])
    learner = make_learner(class_weight="balanced")
    history = learner.fit((ROWS, LABELS), held, epochs=1, batch_size=4)
    each = F.cross_entropy(learner.model(held[0]), held[1], reduction="none").tolist()
    expected = (
        sum(weights[label] * loss for label, loss in zip(held[1].tolist(), each, strict=True)) / 4
    )
    assert history["valid_loss"] == [pytest.approx(expected, rel=1e-5)]
    learner.save(tmp_path / "weights.pt")
    other = make_learner(class_weight="balanced")
    with pytest.raises(
        ValueError,
        match="class_weight='balanced' is computed from training data, but there was none",
    ):
        other.evaluate(held)
    other.load(tmp_path / "weights.pt")
    assert other.evaluate(held)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "data", "error", "match"),
    [
        ({"class_weight": {"x": 2.0}}, (ROWS, LABELS), ValueError, "one of an index below 3, but given 'x'"),
        ({"class_weight": np.ones(4)}, (ROWS, LABELS), ValueError, "should have 3 weights, one for each class"),
        (
            {"class_weight": "balanced"}, [(ROWS, LABELS)], ValueError,
            "class_weight='balanced' needs all targets at once, in arrays, but data is a list",
        ),
        (
            {"loss": lambda y_pred, y: F.cross_entropy(y_pred, y)}, (ROWS, LABELS, torch.ones(10)), TypeError,
            "gives one value for each sample to be weighted",
        ),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_used_are_refused_before_the_first_step(options, data, error, match):
    learner = make_learner(**options)
    before = learner.model.weight.clone()
    with pytest.raises(error, match=match):
        learner.fit(data)
    assert torch.equal(learner.model.weight, before)
    assert learner.trainer.state.iteration == 0


def test_a_sum_is_divided_in_the_figure_of_an_epoch():
    metric = EpochLoss(make_training_loss(nn.MSELoss(reduction="sum"), None), lambda output: output)
    y_pred, y = randn(5, 2), randn(5, 2, seed=1)
    for rows in torch.arange(5).split([1, 4]):
        metric.update((y_pred[rows], y[rows]))
    assert metric.compute() == pytest.approx(F.mse_loss(y_pred, y).item(), rel=1e-12)
