import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles_distances import (
    FLOATS,
    INTEGERS,
    assert_near,
    cases,
    check,
    check_needs_examples,
    check_refused,
    peak_signal_to_noise,
)
from skimage.metrics import peak_signal_noise_ratio

from ignite.metrics import PSNR


@given(
    cases(shapes=((3, 4, 5), (1, 2, 2), (2, 2, 3, 2), (5,)), dtypes=FLOATS + INTEGERS), st.sampled_from([1, 2.5, 255])
)
def test_it_is_the_mean_ratio(case, data_range):
    check(lambda: PSNR(data_range), lambda *both: peak_signal_to_noise(*both, data_range), case)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_is_that_of_scikit_image(dtype):
    images = torch.randint(256, (2, 4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(dtype)
    y_pred, y = images.unbind()
    metric = PSNR(255)
    metric.update((y_pred, y))
    both = zip(y.double().numpy(), y_pred.double().numpy(), strict=True)
    assert_near(metric.compute(), np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in both]), 1e-9)


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
