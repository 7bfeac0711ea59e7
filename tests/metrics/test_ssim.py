import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles_distances import (
    FLOATS,
    assert_near,
    cases,
    check,
    check_needs_examples,
    check_refused,
    similarity_by_definition,
    similarity_of_scikit_image,
)

from ignite.metrics import SSIM

IMAGES = ((1, 9, 12), (3, 13, 9))
VOLUMES = ((1, 7, 8, 9), (2, 6, 7, 6))
BYTES = (*FLOATS, torch.uint8)


def range_of(case):
    return 255 if case.batches[0][0].dtype == torch.uint8 else 4.0


@given(cases(IMAGES, BYTES, max_size=2, scales=(1.0,)), st.sampled_from([(0.5, 2), (1.0, 4), (1.2, 4)]))
def test_with_a_gaussian_window_it_is_that_of_scikit_image(case, window):
    sigma, radius = window  # which there follows from sigma
    check(
        lambda: SSIM(range_of(case), kernel_size=2 * radius + 1, sigma=sigma),
        lambda *both: similarity_of_scikit_image(*both, radius, range_of(case), gaussian_weights=True, sigma=sigma),
        case,
    )


@given(cases(IMAGES, BYTES, max_size=2, scales=(1.0,)), st.sampled_from([3, 5, 7]))
def test_with_an_even_window_it_is_that_of_scikit_image(case, size):
    check(
        lambda: SSIM(range_of(case), kernel_size=size, gaussian=False),
        lambda *both: similarity_of_scikit_image(*both, size // 2, range_of(case), win_size=size),
        case,
    )


@given(cases(VOLUMES, BYTES, max_size=2, scales=(1.0,)), st.booleans())
def test_of_volumes_it_is_that_of_scikit_image(case, gaussian):
    window = {"gaussian_weights": True, "sigma": 0.5} if gaussian else {"win_size": 5}
    check(
        lambda: SSIM(range_of(case), kernel_size=5, sigma=0.5, gaussian=gaussian, ndims=3),
        lambda *both: similarity_of_scikit_image(*both, 2, range_of(case), **window),
        case,
    )


@given(
    cases(IMAGES, FLOATS, max_size=2, scales=(1.0,)),
    st.tuples(*[st.sampled_from([1, 3, 7])] * 2),
    st.tuples(*[st.sampled_from([0.5, 2.0])] * 2),
    st.sampled_from([(0.01, 0.03), (0.1, 0.5)]),
)
def test_windows_may_differ_along_dimensions(case, sizes, sigmas, constants):
    k1, k2 = constants
    check(
        lambda: SSIM(2.0, sizes, list(sigmas), k1, k2),
        lambda *both: similarity_by_definition(*both, 2.0, sizes, sigmas, k1, k2),
        case,
    )


@given(
    cases(VOLUMES, FLOATS, max_size=2, scales=(1.0,)),
    st.permutations([1, 3, 5]),
    st.permutations([0.5, 1.0, 2.0]),
)
def test_windows_of_volumes_may_differ_along_dimensions(case, sizes, sigmas):
    check(
        lambda: SSIM(2.0, sizes, sigmas, ndims=3),
        lambda *both: similarity_by_definition(*both, 2.0, sizes, sigmas),
        case,
    )


def test_the_default_is_the_window_of_the_paper():
    y_pred, y = torch.rand(2, 2, 3, 32, 28, generator=torch.Generator().manual_seed(0))
    y = 0.7 * y_pred + 0.3 * y
    metric = SSIM(data_range=1.0)
    metric.update((y_pred, y))
    arrays = y_pred.double().numpy(), y.double().numpy()
    assert_near(metric.compute(), similarity_of_scikit_image(*arrays, 5, 1.0, gaussian_weights=True, sigma=1.5), 1e-9)


@pytest.mark.parametrize("level", [2.0**10, 2.0**30])
def test_bright_images_do_not_cancel(level):
    y_pred, y = torch.randint(256, (2, 1, 2, 16, 16), generator=torch.Generator().manual_seed(0)).double() / 256
    y_pred = (y_pred + y) / 2
    metric = SSIM(data_range=1.0)
    metric.update((y_pred + level, y + level))  # exactly
    # Beside such a level, as beside a large k1, luminance does not differ.
    expected = similarity_by_definition(y_pred.numpy(), y.numpy(), 1.0, [11] * 2, [1.5] * 2, k1=1e6)
    assert_near(metric.compute(), expected, 1e-6)
    metric.reset()
    metric.update((y + level, y + level))
    assert metric.compute() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_of_plain_images_only_luminance_counts(value):
    metric = SSIM(data_range=1.0)
    metric.update((torch.full((1, 1, 12, 12), value), torch.full((1, 1, 12, 12), 1.0)))
    c1 = 0.01**2
    assert metric.compute() == pytest.approx((2 * value + c1) / (value**2 + 1 + c1), rel=1e-9)


def test_without_examples():
    check_needs_examples(lambda: SSIM(1.0), 3, 12, 12)
    check_needs_examples(lambda: SSIM(1.0, ndims=3), 3, 12, 12, 12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ndims": 4}, "Expected ndims to be 2 or 3, but given 4"),
        ({"kernel_size": 4}, "Expected kernel_size to have odd positive number. Got 4"),
        ({"kernel_size": (3, -1)}, r"Expected kernel_size to have odd positive number. Got \(3, -1\)"),
        ({"kernel_size": 3.0}, "Expected kernel_size to have odd positive number. Got 3.0"),
        (
            {"kernel_size": (3, 3, 3)},
            r"kernel_size should be a number or a sequence of 2 of them, but given \(3, 3, 3\)",
        ),
        ({"kernel_size": (3, 3), "ndims": 3}, r"kernel_size should be a number or a sequence of 3"),
        ({"kernel_size": None}, "kernel_size should be a number or a sequence of 2 of them, but given None"),
        ({"sigma": 0.0}, "Expected sigma to have positive number. Got 0.0"),
        ({"sigma": (1.0, -1.0)}, r"Expected sigma to have positive number. Got \(1.0, -1.0\)"),
        ({"sigma": [1.0]}, r"sigma should be a number or a sequence of 2 of them, but given \[1.0\]"),
    ],
)
def test_arguments_that_make_no_window_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        SSIM(1.0, **arguments)


def test_sizes_may_be_numbers_of_numpy():
    metric = SSIM(1.0, kernel_size=np.int64(3), sigma=np.float32(1.5))
    metric.update((torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4)))
    assert metric.compute() == pytest.approx(1.0, rel=1e-9)


ONE = torch.ones(1, 1, 12, 12)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ((ONE, ONE.double()), TypeError, "same data type. Got y_pred: torch.float32 and y: torch.float64"),
        ((ONE, ONE[..., 1:]), ValueError, r"same shape. Got y_pred: \(1, 1, 12, 12\) and y: \(1, 1, 12, 11\)"),
        ((ONE[0], ONE[0]), ValueError, r"BxCxHxW or BxCxDxHxW shape. Got y_pred: \(1, 12, 12\) and y: \(1, 12, 12\)"),
        ((ONE[None], ONE[None]), ValueError, r"BxCxHxW or BxCxDxHxW shape. Got y_pred: \(1, 1, 1, 12, 12\)"),
        ((ONE[..., :3], ONE[..., :3]), RuntimeError, "Padding size should be less than"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, error, words):
    generator = torch.Generator().manual_seed(0)
    first = tuple(torch.rand(2, 1, 1, 12, 12, generator=generator).unbind())
    check_refused(SSIM(1.0), first, wrong, error, words)
