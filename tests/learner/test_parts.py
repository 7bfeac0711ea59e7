import pytest
import torch
from torch import nn

from ignite.learner._parts import choose_device, make_training_loss


def make_model():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def test_devices():
    assert choose_device("meta").type == "meta"
    expected = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert choose_device(None) == expected


def test_targets_are_fitted_to_the_loss_where_that_cannot_be_mistaken():
    scores = torch.tensor([[0.5], [-1.0]])
    yes = torch.tensor([1, 0])
    expected = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], yes.float())
    assert make_training_loss("bce_with_logits", None)(scores, yes) == expected
    logits, classes = torch.randn(2, 3), torch.tensor([2, 0], dtype=torch.uint8)
    assert make_training_loss("cross_entropy", None)(logits, classes) == nn.functional.cross_entropy(
        logits, classes.long()
    )
    seen = []
    make_training_loss(lambda y_pred, y: seen.append(y.shape), None)(scores, yes)
    assert seen == [(2,)], "a loss of one's own gets what there is"


def test_weights_make_a_weighted_mean():
    logits, y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1])
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0])
    each = nn.functional.cross_entropy(logits, y, reduction="none")
    expected = (each * weight).sum() / 4
    assert torch.allclose(make_training_loss("cross_entropy", None)(logits, (y, weight)), expected)
    by_class = make_training_loss(nn.CrossEntropyLoss(), {1: 3.0})(logits, y)
    assert torch.allclose(by_class, nn.functional.cross_entropy(logits, y, torch.tensor([1.0, 3.0, 1.0])))
    both = make_training_loss("cross_entropy", [1.0, 3.0, 1.0])(logits, (y, weight))
    w = weight * torch.tensor([1.0, 3.0, 1.0, 3.0])
    assert torch.allclose(both, (each * w).sum() / w.sum())
    with pytest.raises(ValueError, match="should have 3 weights, one for each class, but given 2"):
        make_training_loss("cross_entropy", [1.0, 1.0])(logits, y)
    with pytest.raises(TypeError, match="should be a name or a loss of torch to be weighted"):
        make_training_loss(lambda y_pred, y: y_pred.sum(), None)(logits, (y, weight))


def test_integers_become_floats_where_the_loss_computes_with_numbers_and_nothing_else_changes():
    ints, bits, floats = torch.tensor([0, 3, 1]), torch.tensor([0, 1, 1]), torch.tensor([0.2, 3.0])
    scores = torch.zeros(3)
    assert make_training_loss("bce_with_logits", None).fitted(scores, bits).dtype == torch.float32
    assert make_training_loss("cross_entropy", None).fitted(scores, ints) is ints
    assert make_training_loss("cross_entropy", None).fitted(scores, floats) is floats
    assert make_training_loss("mse", None).fitted(scores, {"a": ints}) == {"a": ints}


def test_classes_have_weights_by_name_once_the_names_are_known():
    logits, y = torch.zeros(2, 3), torch.tensor([0, 2])
    logits[1, 0] = 1.0
    each = nn.functional.cross_entropy(logits, y, reduction="none")
    loss = make_training_loss("cross_entropy", {"cat": 3.0})
    loss.name_classes(("cat", "cow", "dog"))
    assert torch.allclose(loss(logits, y), (3 * each[0] + each[1]) / 4)
    loss.name_classes(("dog", "cow", "cat"))
    assert torch.allclose(loss(logits, y), (each[0] + 3 * each[1]) / 4)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"cat": 3.0}, "should be one of an index below 3, but given 'cat'"),
        ({3: 1.0}, "should be one of an index below 3, but given 3"),
        ([1.0, -1.0, 1.0], "should be finite and at least 0, but given"),
        ([1.0] * 4, "should have 3 weights, one for each class, but given 4"),
    ],
)
def test_weights_that_fit_no_class_are_refused(weights, match):
    with pytest.raises(ValueError, match=match):
        make_training_loss("cross_entropy", weights)(torch.zeros(2, 3), torch.tensor([0, 2]))


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
    own = make_training_loss(lambda y_pred, y: y_pred, None)
    assert own(torch.zeros(3), torch.zeros(1)).shape == (3,), "a loss of one's own gets what there is"


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "bce_with_logits"])
@pytest.mark.parametrize(
    ("shape", "y_shape"), [((2, 3, 4, 5), (2, 4, 5, 3)), ((4, 2, 3), (4, 3, 2)), ((4, 1), (4, 4)), ((1, 3), (3,))]
)
def test_targets_in_another_order_never_pair_by_memory(loss, shape, y_shape):
    with pytest.raises(ValueError, match="y should have the shape of the model's output"):
        make_training_loss(loss, None)(torch.zeros(shape), torch.zeros(y_shape))
