import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from ignite.metrics import MultiScaleSSIM
from support.image_oracles import multi_scale_ssim, window_of

PAPER = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def similar_images(seed, *shape):
    rng = np.random.default_rng(seed)
    y = rng.random(shape)
    return 0.6 * y + 0.4 * rng.random(shape), y


def value(metric, *batches):
    for y_pred, y in batches:
        metric.update((torch.from_numpy(y_pred), torch.from_numpy(y)))
    return metric.compute()


@given(
    st.integers(0, 2**16),
    st.sampled_from([(3, 0.7), (5, 1.5), (5, None)]),
    st.lists(st.sampled_from([0.1, 0.5, 1.0, 2.0]), min_size=1, max_size=3),
    st.tuples(st.integers(20, 25), st.integers(20, 25)),
    st.sampled_from([(0.01, 0.03), (0.2, 0.1)]),
)
def test_it_is_that_of_the_paper(seed, window, betas, sides, constants):
    size, sigma = window
    y_pred, y = similar_images(seed, 3, 2, *sides)
    metric = MultiScaleSSIM(1.0, size, sigma or 1.0, *constants, sigma is not None, betas=betas)
    expected = multi_scale_ssim(y_pred, y, betas, window_of(size, sigma), *constants)
    parts = [(y_pred[:1], y[:1]), (y_pred[1:], y[1:])]
    assert value(metric, *parts) == pytest.approx(expected, rel=1e-9)


def test_of_volumes_it_is_that_of_the_paper():
    y_pred, y = similar_images(0, 2, 1, 9, 10, 11)
    metric = MultiScaleSSIM(1.0, 3, 0.7, ndims=3, betas=(0.3, 0.7))
    expected = multi_scale_ssim(y_pred, y, (0.3, 0.7), window_of(3, 0.7), ndims=3)
    assert value(metric, (y_pred, y)) == pytest.approx(expected, rel=1e-9)


def test_with_the_defaults_it_is_that_of_the_paper_and_nearly_that_of_torchmetrics():
    y_pred, y = similar_images(0, 2, 1, 176, 180)
    found = value(MultiScaleSSIM(1.0), (y_pred, y))
    assert found == pytest.approx(multi_scale_ssim(y_pred, y, PAPER, window_of(11, 1.5)), rel=1e-9)
    pair = torch.from_numpy(y_pred), torch.from_numpy(y)
    theirs = multiscale_structural_similarity_index_measure(*pair, data_range=1.0, betas=PAPER)
    assert found == pytest.approx(theirs.item(), abs=2e-3)  # pads the smallest scale


def test_contrast_and_structure_are_those_of_torchmetrics():
    """Where the exponent of the smallest scale, which is padded there, is next to nothing."""
    y_pred, y = similar_images(1, 2, 2, 48, 40)
    betas = (0.4, 0.6, 1e-12)
    pair = torch.from_numpy(y_pred), torch.from_numpy(y)
    theirs = multiscale_structural_similarity_index_measure(
        *pair, data_range=1.0, betas=betas, kernel_size=5, sigma=0.5
    )
    found = value(MultiScaleSSIM(1.0, 5, 0.5, betas=betas), (y_pred, y))
    assert found == pytest.approx(theirs.item(), rel=1e-6)


def test_bright_images_do_not_cancel_and_opposite_ones_have_no_similarity():
    y_pred, y = (np.round(256 * image) / 256 for image in similar_images(2, 1, 1, 20, 20))
    expected = multi_scale_ssim(y_pred, y, (0.5, 0.5), window_of(5, 1.0), k1=1e6)
    level = 2.0**20
    metric = MultiScaleSSIM(1.0, 5, 1.0, betas=(0.5, 0.5))
    assert value(metric, (y_pred + level, y + level)) == pytest.approx(expected, rel=1e-6)
    checks = np.indices((20, 20)).sum(axis=0)[None, None] % 2 * 1.0
    assert value(MultiScaleSSIM(1.0, 5, 1.0, betas=(0.5, 0.5)), (checks, 1 - checks)) == 0


@pytest.mark.parametrize("betas", [(), (0.5, 0), (-1.0,), (float("nan"),), (float("inf"), 1)])
def test_wrong_exponents(betas):
    with pytest.raises(ValueError, match="betas should be positive numbers, at least one"):
        MultiScaleSSIM(1.0, betas=betas)


def test_small_images_are_refused_and_change_nothing():
    metric = MultiScaleSSIM(1.0)
    with pytest.raises(ValueError, match=r"at least \[176, 176\] pixels .* \(1, 1, 176, 175\)"):
        metric.update((torch.zeros(1, 1, 176, 175), torch.zeros(1, 1, 176, 175)))
    metric.update((torch.zeros(1, 1, 176, 176), torch.zeros(1, 1, 176, 176)))
    assert metric.compute() == 1.0
