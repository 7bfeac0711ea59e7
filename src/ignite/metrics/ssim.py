"""How similar images look to their originals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ignite.metrics._distances import widened
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.psnr import check_images
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["SSIM"]


class SSIM(View):
    r"""The mean structural similarity of images: 1 if they are equal.

    .. math:: \frac{(2 \mu_p \mu_y + c_1)(2 \sigma_{py} + c_2)}
        {(\mu_p^2 + \mu_y^2 + c_1)(\sigma_p^2 + \sigma_y^2 + c_2)}, \quad c_i = (k_i R)^2

    with means, variances and the covariance in a window around each pixel, averaged over pixels,
    channels and images. Images are reflected at their borders, and all pixels count, as in Ignite.
    scikit-image has the same values for pixels whose window lies within the image, and leaves the
    others out of the mean.

    Update with ``(y_pred, y)``: images of shape (B, C, H, W), or (B, C, D, H, W) with ``ndims=3``,
    of the same shape and dtype, floating point or integers.

    Args:
        data_range: the range :math:`R` of values, such as 255 for uint8.
        kernel_size: of the window, odd; one for each dimension, or one for all.
        sigma: the standard deviation of the Gaussian window, likewise.
        k1: of the first constant.
        k2: of the second.
        gaussian: weigh the window by a Gaussian function; otherwise all of ``kernel_size`` weigh
            the same.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to accumulate; by default, where the images are.
        skip_unrolling: see :class:`Metric`.
        ndims: 2 for images, 3 for volumes.

    Raises:
        ValueError: an argument is out of range; in ``update``, shapes differ or have other
            dimensions, or images are not larger than half of the window.
        TypeError: in ``update``, dtypes differ.
        NotComputableError: in ``compute``, no image was seen.

    Example:
        >>> metric = SSIM(data_range=1.0)
        >>> image = torch.rand(1, 3, 16, 16)
        >>> metric.update((image, image))
        >>> round(metric.compute(), 6)
        1.0

    References:
        Wang et al., "Image quality assessment: from error visibility to structural similarity",
        2004.
    """

    higher_is_better = True

    def __init__(  # noqa: PLR0913 - Ignite's signature
        self,
        data_range: int | float,
        kernel_size: int | Sequence[int] = 11,
        sigma: float | Sequence[float] = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        gaussian: bool = True,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        ndims: int = 2,
    ) -> None:
        if ndims not in (2, 3):
            raise ValueError(f"Expected ndims to be 2 or 3, but given {ndims}")
        self.data_range = data_range
        self.gaussian = gaussian
        self.ndims = ndims
        self.kernel_size = _for_each_dimension("kernel_size", kernel_size, ndims)
        self.sigma = _for_each_dimension("sigma", sigma, ndims)
        if any(
            not isinstance(size, Integral) or size <= 0 or size % 2 == 0
            for size in self.kernel_size
        ):
            raise ValueError(
                f"Expected kernel_size to have odd positive number. Got {kernel_size}."
            )
        if any(not width > 0 for width in self.sigma):
            raise ValueError(f"Expected sigma to have positive number. Got {sigma}.")
        self.c1 = (k1 * data_range) ** 2
        self.c2 = (k2 * data_range) ** 2
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        widths = self.sigma if self.gaussian else None
        args = (
            tuple(self.kernel_size),
            None if widths is None else tuple(widths),
            self.c1,
            self.c2,
        )
        return [Totals(_sum_similarities, args, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        totals: Totals = statistics[0]
        return totals.mean


def _for_each_dimension(name: str, value: Any, ndims: int) -> list[Any]:
    if isinstance(value, Real):
        return [value] * ndims
    if isinstance(value, Sequence) and len(value) == ndims:
        return list(value)
    raise ValueError(
        f"Argument {name} should be a number or a sequence of {ndims} of them, but given {value!r}"
    )


def _sum_similarities(
    output: Sequence[Tensor],
    sizes: tuple[int, ...],
    widths: tuple[float, ...] | None,
    c1: float,
    c2: float,
) -> tuple[int, Tensor]:
    check_images(output)
    ndims = len(sizes)
    if output[0].ndim != ndims + 2:
        raise ValueError(
            "Expected y_pred and y to have BxCxHxW or BxCxDxHxW shape. "
            f"Got y_pred: {tuple(output[0].shape)} and y: {tuple(output[1].shape)}."
        )
    if any(length <= size // 2 for length, size in zip(output[0].shape[2:], sizes, strict=True)):
        raise ValueError(
            f"Images should be larger than half of kernel_size, which is {sizes}, along each dimension, "
            f"but given {tuple(output[0].shape)}; take a smaller kernel_size"
        )
    y_pred, y = (widened(images.detach()) for images in output)
    num_images, num_channels = y_pred.shape[:2]
    if not num_images:
        return 0, y_pred.sum()
    # Variances are the same for darker images, whose squares do not cancel.
    dims = tuple(range(2, y.ndim))
    level_p, level_y = (
        y_pred.mean(dim=dims, keepdim=True),
        y.mean(dim=dims, keepdim=True),
    )  # (B, C, 1, 1)
    y_pred, y = y_pred - level_p, y - level_y
    windows = [
        _window(size, None if widths is None else widths[i], y_pred) for i, size in enumerate(sizes)
    ]
    stacked = torch.cat([y_pred, y, y_pred * y_pred, y * y, y_pred * y])  # (5 B, C, H, W)
    means = _smooth(stacked, windows).reshape(5, num_images, num_channels, -1)
    mean_p, mean_y = means[0], means[1]
    variance_p, variance_y, covariance = (
        means[2] - mean_p**2,
        means[3] - mean_y**2,
        means[4] - mean_p * mean_y,
    )
    mean_p, mean_y = mean_p + level_p.flatten(2), mean_y + level_y.flatten(2)  # (B, C, H W)
    luminance = (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_y + c2)
    return num_images, (luminance * structure).mean(dim=(1, 2)).sum()


def _window(size: int, width: float | None, like: Tensor) -> Tensor:
    """Weights of a window along one dimension, with sum 1."""
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = (
        torch.ones_like(offsets) if width is None else torch.exp(-((offsets / width) ** 2) / 2)
    )
    return weights / weights.sum()


_SMALL = 128
"""Longer images are smoothed faster by adding shifted ones than by a product of matrices."""


@functools.lru_cache(maxsize=16)
def _matrix(length: int, window: tuple[float, ...]) -> Tensor:
    """What smooths rows (N, L) that it is multiplied with, shape (L, L)."""
    half = len(window) // 2
    places = pad(torch.arange(length, dtype=torch.float64)[None], [half, half], mode="reflect")[
        0
    ].long()
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for i, weight in enumerate(window):
        at = (places[i : i + length], torch.arange(length))
        matrix.index_put_(at, torch.tensor(weight, dtype=torch.float64), accumulate=True)
    return matrix


def _smooth(images: Tensor, windows: list[Tensor]) -> Tensor:
    """Means over the window around each pixel: along one dimension after the other, as windows are products."""
    if len(windows) == 2 and images.is_cpu and max(images.shape[2:]) <= _SMALL:
        rows, columns = (
            _matrix(length, tuple(window.tolist())).to(images.dtype)
            for length, window in zip(images.shape[2:], windows, strict=True)
        )
        smooth = images.flatten(0, 1) @ columns
        return torch.bmm(rows.T.expand(len(smooth), -1, -1), smooth).view(images.shape)
    padding = [half for window in reversed(windows) for half in [len(window) // 2] * 2]
    images = pad(images, padding, mode="reflect")
    for dim, window in enumerate(windows, start=2):
        # Adding shifted images is several times as fast as convolving them, in float64.
        size = images.shape[dim] - len(window) + 1
        total = images.narrow(dim, 0, size) * window[0]
        for i in range(1, len(window)):
            total.addcmul_(images.narrow(dim, i, size), window[i])
        images = total
    return images
