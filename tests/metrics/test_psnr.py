import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from ignite.metrics import PSNR
from support.distance_oracles import (
    check_rejections,
    exact_rows,
    hard_pairs,
    near,
    rounding,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    INTEGERS,
    assert_near,
    cases,
    check,
    check_needs_examples,
    check_refused,
    peak_signal_to_noise,
)


@given(
    cases(shapes=((3, 4, 5), (1, 2, 2), (2, 2, 3, 2), (5,)), dtypes=FLOATS + INTEGERS),
    st.sampled_from([1, 2.5, 255]),
)
def test_it_is_the_mean_ratio(case, data_range):
    check(
        lambda: PSNR(data_range),
        lambda *both: peak_signal_to_noise(*both, data_range),
        case,
        rel=1e-6,
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_is_that_of_scikit_image(dtype):
    images = torch.randint(256, (2, 4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(
        dtype
    )
    y_pred, y = images.unbind()
    metric = PSNR(255)
    metric.update((y_pred, y))
    both = zip(y.double().numpy(), y_pred.double().numpy(), strict=True)
    assert_near(
        metric.compute(),
        np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in both]),
        1e-7,
    )


def test_equal_images_give_the_ratio_of_a_tiny_error():
    metric = PSNR(1.0)
    metric.update((torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4)))
    assert metric.compute() == pytest.approx(100.0, rel=1e-12)


def test_without_examples():
    check_needs_examples(lambda: PSNR(1.0), 3, 4, 4)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (
            (torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2).double()),
            TypeError,
            "Expected y_pred and y to have the same data type. Got y_pred: torch.float32 and y: torch.float64",
        ),
        (
            (torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 3)),
            ValueError,
            r"Expected y_pred and y to have the same shape. Got y_pred: \(1, 1, 2, 2\) and y: \(1, 1, 2, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(wrong, error, words):
    check_refused(PSNR(1.0), (torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)), wrong, error, words)


def exact_ratio(batch, data_range):
    errors = [float(sum((a - b) ** 2 for a, b in row) / len(row)) for row in exact_rows(batch)]
    return math.fsum(10 * math.log10(data_range**2 / (error or 1e-10)) for error in errors) / len(
        errors
    )


@given(hard_pairs(shapes=((1, 2, 2), (3,))), st.sampled_from([1e-3, 1, 255, 1e6]))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch, data_range):
    assert value_of(PSNR(data_range), batch) == near(
        exact_ratio(batch, data_range), rounding(batch)
    )


@given(hard_pairs(shapes=((3, 4, 5), (1, 2, 3, 3))))
def test_it_is_that_of_scikit_image_for_each_image(batch):
    y_pred, y = (tensor.double().numpy() for tensor in batch)
    different = [i for i in range(len(y)) if ((y_pred[i] - y[i]) ** 2).mean() > 0]
    if different:
        expected = np.mean(
            [peak_signal_noise_ratio(y[i], y_pred[i], data_range=255) for i in different]
        )
        assert value_of(PSNR(255), tuple(tensor[different] for tensor in batch)) == near(
            expected, rounding(batch)
        )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_black_and_white_are_as_far_apart_as_the_range(dtype):
    white = torch.full((2, 3, 4, 4), 255, dtype=dtype)
    for batch in ((white, white - white), (white - white, white)):
        assert value_of(PSNR(255), batch) == near(0.0, 1e-6)


@pytest.mark.parametrize(("wrong", "expected"), [(math.inf, -math.inf), (math.nan, math.nan)])
def test_what_is_not_finite_stays_in_the_value(wrong, expected):
    image = torch.zeros(1, 1, 2, 2)
    broken = image.clone()
    broken[0, 0, 1, 1] = wrong
    assert value_of(PSNR(1.0), (broken, image), (image, image)) == near(expected)


def test_any_rejection_leaves_the_value_alone():
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    wrongs = [
        ((image, image.half()), TypeError, "Got y_pred: torch.float32 and y: torch.float16"),
        ((image.byte(), image), TypeError, "Got y_pred: torch.uint8 and y: torch.float32"),
        ((image, image[:1]), ValueError, r"Got y_pred: \(2, 1, 4, 4\) and y: \(1, 1, 4, 4\)"),
        ((image, image[0]), ValueError, r"Got y_pred: \(2, 1, 4, 4\) and y: \(1, 4, 4\)"),
    ]
    check_rejections(lambda: PSNR(1.0), (image, image.flip(3)), (image, image / 2), wrongs)


@pytest.mark.parametrize("error", [1e-3, 1e-5, 1e-7, 1e-12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_errors_count_as_they_are(error, dtype):
    y = torch.zeros(2, 3, 8, 8, dtype=dtype)
    assert value_of(PSNR(1.0), (y + error, y)) == near(-20 * math.log10(error), 1e-6)
