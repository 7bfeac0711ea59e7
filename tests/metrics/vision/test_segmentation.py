"""MeanIoU, DiceScore and GeneralizedDiceScore against their definitions in numpy, and torchmetrics."""

import math
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.segmentation as theirs
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics import DiceScore, GeneralizedDiceScore, MeanIoU
from support.image_oracles import (
    dice_by_definition,
    generalized_dice_by_definition,
    iou_by_definition,
)

AVERAGES = ("macro", "micro", "weighted", None)
WEIGHT_TYPES = ("square", "simple", "linear")


def drawn(seed, sizes, num_classes, form, ignore_index):
    """Batches in one form, and pairs of masks (C, P) of all images, without ignored pixels."""
    rng = np.random.default_rng(seed)
    batches, images = [], []
    for size in sizes:
        shape = (size, *rng.integers(1, 4, 2))
        pairs = []
        for _ in range(2):
            allowed = rng.permutation(num_classes)[: rng.integers(1, num_classes + 1)]
            pairs.append(rng.choice(allowed, shape))
        masks = [np.moveaxis(np.eye(num_classes, dtype=bool)[each], -1, 1) for each in pairs]
        if form in ("one-hot", "mixed"):
            masks[0] = rng.random((size, num_classes, *shape[1:])) < 0.4
        if form == "one-hot":
            masks[1] = rng.random((size, num_classes, *shape[1:])) < 0.4
        counted = np.ones(shape, dtype=bool)
        if ignore_index is not None:
            counted = rng.random(shape) < 0.7
            pairs[1] = np.where(counted, pairs[1], ignore_index)
        images += [[each[i][:, counted[i]] for each in masks] for i in range(size)]
        first = {
            "scores": np.where(masks[0], 2.0, 0.0) + rng.random(masks[0].shape),
            "index": pairs[0],
        }.get(form, masks[0].astype(int))
        second = masks[1].astype(int) if form == "one-hot" else pairs[1]
        batches.append((torch.from_numpy(first), torch.from_numpy(second)))
    return batches, images


def assert_near(metric, expected):
    found = torch.as_tensor(metric.compute(), dtype=torch.float64).numpy()
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-9, equal_nan=True)


@given(
    st.integers(0, 2**16),
    st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any),
    st.integers(2, 4),
    st.sampled_from(["scores", "index", "one-hot", "mixed"]),
    st.sampled_from([None, -1, 255]),
    st.booleans(),
)
def test_they_are_what_their_definitions_say(seed, sizes, num_classes, form, ignored, background):
    ignored = None if form == "one-hot" else ignored
    batches, images = drawn(seed, sizes, num_classes, form, ignored)
    if not background:
        images = [[each[1:] for each in image] for image in images]
    options = {"input_format": form, "ignore_index": ignored, "include_background": background}
    for per_class in (False, True):
        metric = MeanIoU(num_classes, per_class=per_class, **options)
        for batch in batches:
            metric.update(batch)
        assert_near(metric, iou_by_definition(images, per_class))
    for average in AVERAGES:
        for level in ("samplewise", "global"):
            metric = DiceScore(num_classes, average=average, aggregation_level=level, **options)
            for batch in batches:
                metric.update(batch)
            assert_near(metric, dice_by_definition(images, average, level))
    for weight_type in WEIGHT_TYPES:
        for level in ("samplewise", "global"):
            metric = GeneralizedDiceScore(
                num_classes, weight_type=weight_type, aggregation_level=level, **options
            )
            for batch in batches:
                metric.update(batch)
            assert_near(metric, generalized_dice_by_definition(images, weight_type, level))


@given(st.integers(0, 2**16), st.integers(2, 4), st.integers(1, 4))
def test_they_are_those_of_torchmetrics(seed, num_classes, size):
    (batch,), _ = drawn(seed, [size], num_classes, "index", None)
    for kind, average in (("MeanIoU", None), ("DiceScore", "macro"), ("DiceScore", "micro")):
        options = {"input_format": "index"}
        if average is not None:
            options |= {"average": average, "aggregation_level": "samplewise"}
        ours = {"MeanIoU": MeanIoU, "DiceScore": DiceScore}[kind](num_classes, **options)
        ours.update(batch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = getattr(theirs, kind)(num_classes, **options)
            other.update(*batch)
            expected = other.compute().item()
        assert ours.compute() == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 2**16), st.integers(2, 4), st.integers(1, 4))
def test_generalized_scores_are_those_of_torchmetrics_if_no_class_is_missing(
    seed, num_classes, size
):
    """Else the weight of a class that an image lacks depends there on the other images of the batch."""
    rng = np.random.default_rng(seed)
    pred, true = (
        torch.from_numpy(
            rng.permuted(np.concatenate([np.tile(range(num_classes), (size, 1)), more], 1), axis=1)
        )
        for more in rng.integers(0, num_classes, (2, size, 9))
    )
    for weight_type in WEIGHT_TYPES:
        ours = GeneralizedDiceScore(num_classes, weight_type=weight_type, input_format="index")
        ours.update((pred, true))
        other = theirs.GeneralizedDiceScore(
            num_classes, weight_type=weight_type, input_format="index"
        )
        other.update(pred, true)
        assert ours.compute() == pytest.approx(other.compute().item(), abs=1e-6)


def test_a_class_that_is_predicted_where_it_is_not_weighs_as_much_as_the_rarest():
    y = torch.tensor([[0, 0, 0, 1]])
    metric = GeneralizedDiceScore(3, input_format="index")
    metric.update((torch.tensor([[0, 0, 2, 1]]), y))
    # Weights 1/9, 1 and, of the class that is not there, 1.
    assert metric.compute() == pytest.approx(2 * (2 / 9 + 1) / (5 / 9 + 2 + 1))
    metric.update((torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)))
    assert metric.compute() == pytest.approx((2 * (2 / 9 + 1) / (5 / 9 + 2 + 1) + 1) / 2)


def test_both_share_what_they_count():
    engine = Engine(lambda engine, batch: batch)
    metrics = [MeanIoU(3), MeanIoU(3, per_class=True), DiceScore(3), DiceScore(3, average=None)]
    for i, metric in enumerate(metrics):
        metric.attach(engine, str(i))
    generator = torch.Generator().manual_seed(0)
    batch = (
        torch.randn(2, 3, 4, 4, generator=generator),
        torch.randint(3, (2, 4, 4), generator=generator),
    )
    engine.run([batch])
    assert len({id(metric._statistics_in_use()[0]) for metric in metrics}) == 1
    alone = DiceScore(3)
    alone.update(batch)
    assert engine.state.metrics["2"] == alone.compute()


def test_classes_that_are_nowhere_and_images_without_any_are_left_out():
    empty = torch.full((1, 4), 9)
    metric = MeanIoU(3, input_format="index", ignore_index=9, per_class=True)
    metric.update((torch.zeros(1, 4, dtype=torch.int64), empty))
    assert metric.compute().isnan().all()
    metric.update((torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, 1]])))
    assert metric.compute().tolist()[:2] == pytest.approx([2 / 3, 1 / 2])
    assert metric.compute()[2].isnan()
    scores = [
        DiceScore(3, True, each, input_format="index", ignore_index=9) for each in AVERAGES[:3]
    ]
    scores.append(GeneralizedDiceScore(3, input_format="index", ignore_index=9))
    for score in scores:
        score.update((torch.zeros(1, 4, dtype=torch.int64), empty))
        assert math.isnan(score.compute())


CLASSES = torch.tensor([[0, 1, 2, 1]])
SCORES = torch.eye(3)[CLASSES].movedim(-1, 1)


@pytest.mark.parametrize("kind", [MeanIoU, DiceScore, GeneralizedDiceScore])
@pytest.mark.parametrize(
    ("form", "y_pred", "y", "words"),
    [
        ("scores", CLASSES, CLASSES, r"shapes \(B, 3, ...\) and \(B, ...\) .* given \(1, 4\) and"),
        ("scores", SCORES, SCORES, r"given \(1, 3, 4\) and \(1, 3, 4\)"),
        ("scores", SCORES[:, :2], CLASSES, r"given \(1, 2, 4\) and"),
        ("scores", SCORES, CLASSES + 1, "classes from 0 to 2, .* 1 values given are not"),
        ("scores", SCORES, CLASSES - 0.5, "y should be labels, whole numbers, but given -0.5"),
        ("scores", SCORES * math.nan, CLASSES, "NaN"),
        ("index", SCORES, CLASSES, r"shapes \(B, ...\) both"),
        ("index", CLASSES - 1, CLASSES, "but 1 values given are not; pass ignore_index"),
        ("one-hot", CLASSES, CLASSES, r"shapes \(B, 3, ...\) both"),
        ("one-hot", SCORES / 2, SCORES, "y_pred should be masks of 0 and 1, but given 0.5"),
        ("one-hot", SCORES, SCORES * 2, "y should be masks of 0 and 1, but given 2"),
        ("mixed", CLASSES, CLASSES, r"in any order, .*|in any order for"),
        ("mixed", SCORES - 1, CLASSES, "y_pred should be masks of 0 and 1, but given -1"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, form, y_pred, y, words):
    metric = kind(3, input_format=form)
    good = {"scores": (SCORES, CLASSES), "index": (CLASSES,) * 2, "one-hot": (SCORES,) * 2}
    metric.update(good.get(form, (SCORES, CLASSES)))
    with pytest.raises(ValueError, match=words):
        metric.update((y_pred, y))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("kind", [MeanIoU, DiceScore, GeneralizedDiceScore])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": 0}, "num_classes should be an integer above 0, but given 0"),
        ({"num_classes": 2.0}, "num_classes should be an integer above 0, but given 2.0"),
        ({"num_classes": 1, "include_background": False}, "above 1 without the background"),
        ({"num_classes": 2, "input_format": "onehot"}, "one of .* but given 'onehot'"),
        ({"num_classes": 2, "input_format": "one-hot", "ignore_index": 1}, "None for masks"),
    ],
)
def test_options_that_are_refused(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


def test_averages_that_are_refused():
    with pytest.raises(ValueError, match="average should be .* but given 'mean'"):
        DiceScore(2, average="mean")
    with pytest.raises(ValueError, match="aggregation_level should be .* but given 'image'"):
        DiceScore(2, aggregation_level="image")
    with pytest.raises(ValueError, match="aggregation_level should be .* given 'image'"):
        GeneralizedDiceScore(2, aggregation_level="image")
    with pytest.raises(ValueError, match="weight_type should be 'square', .* given 'cubic'"):
        GeneralizedDiceScore(2, weight_type="cubic")


def test_pixels_cannot_be_ignored_in_masks():
    metric = MeanIoU(3, input_format="mixed", ignore_index=1)
    with pytest.raises(
        ValueError, match=r"y should be classes of shape \(B, ...\) if ignore_index"
    ):
        metric.update((CLASSES, SCORES))


def test_wrong_values_that_an_accelerator_has_counted_are_reported_by_compute():
    metric = MeanIoU(3, input_format="index")
    metric.update((CLASSES, CLASSES))
    (totals,) = metric._statistics_in_use()
    totals.assign("total_10", 2)
    with pytest.raises(ValueError, match="but 2 values given are not"):
        metric.compute()
