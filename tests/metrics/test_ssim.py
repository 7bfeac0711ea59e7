import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from ignite.metrics import SSIM
from support.distance_oracles import check_rejections, gaussian, near, similarity_by_loops, value_of
from support.oracles_distances import (
    FLOATS,
    assert_near,
    cases,
    check,
    check_needs_examples,
    check_refused,
    similarity_by_definition,
    similarity_of_scikit_image,
)

IMAGES = ((1, 9, 12), (3, 13, 9))
VOLUMES = ((1, 7, 8, 9), (2, 6, 7, 6))
BYTES = (*FLOATS, torch.uint8)


def range_of(case):
    return 255 if case.batches[0][0].dtype == torch.uint8 else 4.0


@given(
    cases(IMAGES, BYTES, max_size=2, scales=(1.0,)), st.sampled_from([(0.5, 2), (1.0, 4), (1.2, 4)])
)
def test_with_a_gaussian_window_it_is_that_of_scikit_image(case, window):
    sigma, radius = window  # which there follows from sigma
    check(
        lambda: SSIM(range_of(case), kernel_size=2 * radius + 1, sigma=sigma),
        lambda *both: similarity_of_scikit_image(
            *both, radius, range_of(case), gaussian_weights=True, sigma=sigma
        ),
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
    assert_near(
        metric.compute(),
        similarity_of_scikit_image(*arrays, 5, 1.0, gaussian_weights=True, sigma=1.5),
        1e-9,
    )


@pytest.mark.parametrize("level", [2.0**10, 2.0**30])
def test_bright_images_do_not_cancel(level):
    y_pred, y = (
        torch.randint(256, (2, 1, 2, 16, 16), generator=torch.Generator().manual_seed(0)).double()
        / 256
    )
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
def test_constant_images_differ_in_luminance_only(value):
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
        (
            {"kernel_size": (3, -1)},
            r"Expected kernel_size to have odd positive number. Got \(3, -1\)",
        ),
        ({"kernel_size": 3.0}, "Expected kernel_size to have odd positive number. Got 3.0"),
        (
            {"kernel_size": (3, 3, 3)},
            r"kernel_size should be a number or a sequence of 2 of them, but given \(3, 3, 3\)",
        ),
        ({"kernel_size": (3, 3), "ndims": 3}, r"kernel_size should be a number or a sequence of 3"),
        (
            {"kernel_size": None},
            "kernel_size should be a number or a sequence of 2 of them, but given None",
        ),
        ({"sigma": 0.0}, "Expected sigma to have positive number. Got 0.0"),
        ({"sigma": (1.0, -1.0)}, r"Expected sigma to have positive number. Got \(1.0, -1.0\)"),
        (
            {"sigma": [1.0]},
            r"sigma should be a number or a sequence of 2 of them, but given \[1.0\]",
        ),
    ],
)
def test_invalid_windows_are_refused(arguments, words):
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
        (
            (ONE, ONE.double()),
            TypeError,
            "same data type. Got y_pred: torch.float32 and y: torch.float64",
        ),
        (
            (ONE, ONE[..., 1:]),
            ValueError,
            r"same shape. Got y_pred: \(1, 1, 12, 12\) and y: \(1, 1, 12, 11\)",
        ),
        (
            (ONE[0], ONE[0]),
            ValueError,
            r"BxCxHxW or BxCxDxHxW shape. Got y_pred: \(1, 12, 12\) and y: \(1, 12, 12\)",
        ),
        (
            (ONE[None], ONE[None]),
            ValueError,
            r"BxCxHxW or BxCxDxHxW shape. Got y_pred: \(1, 1, 1, 12, 12\)",
        ),
        (
            (ONE[..., :5], ONE[..., :5]),
            ValueError,
            r"larger than half of kernel_size, which is \(11, 11\), .*, but given \(1, 1, 12, 5\)",
        ),
    ],
)
def test_invalid_outputs_are_refused(wrong, error, words):
    generator = torch.Generator().manual_seed(0)
    first = tuple(torch.rand(2, 1, 1, 12, 12, generator=generator).unbind())
    check_refused(SSIM(1.0), first, wrong, error, words)


def both_images(seed, shape, dtype):
    """Not independent, so that their similarity is far from 0; bytes, or between 0 and 255."""
    y_pred, y = 255 * torch.rand(
        2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return y_pred.to(dtype), ((3 * y + y_pred) / 4).to(dtype)


seeds, dtypes = st.integers(0, 2**16), st.sampled_from(BYTES)


@given(seeds, dtypes, st.sampled_from([(1, 11, 12), (2, 13, 16), (1, 11, 11, 12)]))
def test_which_pixels_are_compared_with_scikit_image(seed, dtype, shape):
    """Ours has a value for each pixel: a window that reaches over the border sees the image reflected (without the
    border's pixel twice). scikit-image reflects otherwise (with it twice), and for its mean leaves out all pixels whose
    window reaches over. Its map of an image that was reflected our way before has, inside of the 5 pixels that were
    added on each side, exactly one value for each pixel of ours, of a window that never reaches over its border.
    Its window is cut 3.5 sigma, rounded to 5 pixels, from the middle, as ours of 11, and variances are not corrected.
    """
    batch, values = both_images(seed, (2, *shape), dtype), []
    for image, other in zip(
        *(tensor.double().flatten(0, 1).numpy() for tensor in batch), strict=True
    ):
        reflected = [np.pad(each, 5, mode="reflect") for each in (image, other)]
        options = {
            "gaussian_weights": True,
            "sigma": 1.5,
            "use_sample_covariance": False,
            "data_range": 255,
        }
        mean, full = structural_similarity(*reflected, full=True, **options)
        inside = full[(slice(5, -5),) * image.ndim]
        assert inside.shape == image.shape
        assert inside.mean() == near(mean)
        values.append(inside.mean())
    assert value_of(SSIM(255, ndims=len(shape) - 1), batch) == near(np.mean(values))


@settings(max_examples=25)
@given(
    seeds,
    dtypes,
    st.tuples(*[st.sampled_from([1, 3, 5])] * 2),
    st.tuples(*[st.sampled_from([0.4, 1.5, 9.0])] * 2),
    st.booleans(),
)
def test_it_is_that_of_loops_over_pixels(seed, dtype, sizes, sigmas, is_gaussian):
    batch = both_images(seed, (2, 2, 4, 5), dtype)
    windows = [
        gaussian(*pair) if is_gaussian else [1 / pair[0]] * pair[0]
        for pair in zip(sizes, sigmas, strict=True)
    ]
    value = value_of(SSIM(255, sizes, sigmas, gaussian=is_gaussian), batch)
    assert value == near(similarity_by_loops(batch, windows, 255))


@settings(max_examples=25)
@given(seeds, dtypes, st.permutations([1, 3, 5]), st.permutations([0.4, 1.5, 9.0]), st.booleans())
def test_of_volumes_it_is_that_of_loops_over_pixels(seed, dtype, sizes, sigmas, is_gaussian):
    batch = both_images(seed, (1, 2, 3, 4, 5), dtype)
    windows = [
        gaussian(*pair) if is_gaussian else [1 / pair[0]] * pair[0]
        for pair in zip(sizes, sigmas, strict=True)
    ]
    value = value_of(SSIM(255, sizes, sigmas, gaussian=is_gaussian, ndims=3), batch)
    assert value == near(similarity_by_loops(batch, windows, 255))


@given(seeds, dtypes, st.booleans())
def test_it_is_symmetric_and_one_only_for_equal_images(seed, dtype, is_gaussian):
    y_pred, y = both_images(seed, (2, 1, 11, 12), dtype)
    value, turned = (
        value_of(SSIM(255, gaussian=is_gaussian), pair) for pair in ((y_pred, y), (y, y_pred))
    )
    assert turned == near(value, 1e-12)
    assert 0.0 < value < 0.99
    assert value_of(SSIM(255, gaussian=is_gaussian), (y, y)) == 1.0


def test_the_opposite_of_an_image_without_mean_is_minus_one():
    """Where squares are large beside c2, and the local means are 0."""
    board = (
        1000 * (1 - 2 * ((torch.arange(12)[:, None] + torch.arange(12)) % 2)).double()[None, None]
    )
    wide = [float(weight) for weight in gaussian(11, 1.5)]
    value = value_of(SSIM(1.0), (board, -board))
    assert value == near(similarity_by_loops((board, -board), [wide] * 2, 1.0))
    assert value < -0.99


@pytest.mark.parametrize("turned", [False, True])
def test_one_image_far_from_the_other_does_not_cancel(turned):
    y_pred, y = (
        torch.randint(256, (2, 1, 1, 12, 12), generator=torch.Generator().manual_seed(0)).double()
        / 256
    )
    batch = (y_pred + 2.0**20, (y_pred + y) / 2)  # exactly
    batch = batch[::-1] if turned else batch
    expected = similarity_by_loops(batch, [gaussian(11, 1.5)] * 2, 1.0)
    assert value_of(SSIM(1.0), batch) == pytest.approx(expected, rel=1e-6)


def test_nan_in_one_pixel_propagates():
    image = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    broken = image.clone()
    broken[0, 0, 3, 3] = float("nan")
    assert np.isnan(value_of(SSIM(1.0), (broken, image), (image, image)))


@pytest.mark.parametrize("sigma", [float("nan"), (1.0, float("nan")), -0.5, (0, 1)])
def test_widths_are_positive_numbers(sigma):
    with pytest.raises(
        ValueError, match=rf"Expected sigma to have positive number. Got {re.escape(str(sigma))}"
    ):
        SSIM(1.0, sigma=sigma)


def test_invalid_outputs_do_not_change_the_value():
    first, second = (both_images(seed, (2, 2, 12, 13), torch.float32) for seed in (0, 1))
    image, volume = first[0], torch.ones(1, 1, 12, 12, 12)
    wrongs = [
        ((image, image.half()), TypeError, "Got y_pred: torch.float32 and y: torch.float16"),
        ((image.byte(), image), TypeError, "Got y_pred: torch.uint8 and y: torch.float32"),
        ((image, image[:1]), ValueError, r"Got y_pred: \(2, 2, 12, 13\) and y: \(1, 2, 12, 13\)"),
        (
            (image, image[:, :1]),
            ValueError,
            r"Got y_pred: \(2, 2, 12, 13\) and y: \(2, 1, 12, 13\)",
        ),
        (
            (volume, volume),
            ValueError,
            r"BxCxHxW or BxCxDxHxW shape. Got y_pred: \(1, 1, 12, 12, 12\)",
        ),
        (
            (image[..., :5, :], image[..., :5, :]),
            ValueError,
            r"larger than half of kernel_size, .*, but given \(2, 2, 5, 13\)",
        ),
    ]
    check_rejections(lambda: SSIM(255), first, second, wrongs)


@pytest.mark.parametrize("size", [6, 7, 11])
def test_images_may_be_smaller_than_the_window_but_not_than_half_of_it(size):
    batch = both_images(0, (2, 1, size, 6), torch.float64)
    windows = [gaussian(11, 1.5)] * 2
    assert value_of(SSIM(255), batch) == near(similarity_by_loops(batch, windows, 255))


def test_scikit_image_ignores_pixels_next_to_the_border():
    """Inside, its map has the same values: those of windows that do not reach over the border."""
    y_pred, y = (image[0, 0].numpy() for image in both_images(1, (1, 1, 24, 30), torch.float64))
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
    }
    mean, full = structural_similarity(y_pred, y, full=True, **options)
    assert full[5:-5, 5:-5].mean() == near(mean)
    ours = value_of(
        SSIM(255), (torch.from_numpy(y_pred)[None, None], torch.from_numpy(y)[None, None])
    )
    assert ours != near(mean, 1e-4)
    assert ours == near(
        similarity_of_scikit_image(
            y_pred[None, None], y[None, None], 5, 255, gaussian_weights=True, sigma=1.5
        )
    )


def test_half_of_the_kernel_can_be_read():
    metric = SSIM(1.0, kernel_size=(3, 5))
    assert (metric.pad_h, metric.pad_w, metric.pad_d) == (1, 2, None)
    metric = SSIM(1.0, kernel_size=(3, 5, 7), sigma=(1.0, 1.0, 1.0), ndims=3)
    assert (metric.pad_h, metric.pad_w, metric.pad_d) == (1, 2, 3)
