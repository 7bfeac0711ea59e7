"""SSIM: the structural similarity of images."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ignite.metrics._distances import widened
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.psnr import check_images
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["SSIM"]


class SSIM(View):
    r"""Mean structural similarity index of images; 1 for equal images.

    .. math:: \frac{(2 \mu_p \mu_y + c_1)(2 \sigma_{py} + c_2)}
        {(\mu_p^2 + \mu_y^2 + c_1)(\sigma_p^2 + \sigma_y^2 + c_2)}, \quad c_i = (k_i R)^2

    where :math:`\mu`, :math:`\sigma^2` and :math:`\sigma_{py}` are the means, variances and the
    covariance in a window around a pixel. The result is the mean over pixels, channels and images.

    Images are padded by reflection and all pixels count, as in Ignite. scikit-image returns the
    mean over those pixels whose window lies inside of the image.

    Update with ``(y_pred, y)``:

    - ``y_pred``: images, shape (B, C, H, W), or (B, C, D, H, W) with ``ndims=3``, floating point or
      integer.
    - ``y``: images of the same shape and dtype.

    Args:
        data_range: range :math:`R` of the values, such as 255 for uint8.
        kernel_size: size of the window, odd, for each dimension or for all.
        sigma: standard deviation of the Gaussian window, for each dimension or for all.
        k1: factor :math:`k_1` of the first constant.
        k2: factor :math:`k_2` of the second constant.
        gaussian: use a Gaussian window. Otherwise all pixels in the window have the same weight.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the images.
        skip_unrolling: see :class:`Metric`.
        ndims: 2 for images, 3 for volumes.

    Raises:
        ValueError: an argument is out of range. In ``update``, the shapes differ, have another
            number of dimensions, or the images are not larger than half of the window.
        TypeError: in ``update``, the dtypes differ.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = SSIM(data_range=1.0)
        >>> image = torch.rand(1, 3, 16, 16)
        >>> metric.update((image, image))
        >>> round(metric.compute(), 6)
        1.0

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        2004.
    """

    higher_is_better = True

    _sum_of_ssim = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

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

    @property
    def pad_h(self) -> int:
        """Half of the kernel along the first dimension of an image."""
        return (int(self.kernel_size[0]) - 1) // 2

    @property
    def pad_w(self) -> int:
        """Half of the kernel along the second dimension."""
        return (int(self.kernel_size[1]) - 1) // 2

    @property
    def pad_d(self) -> int | None:
        """Half of the kernel along the third dimension; None if images have two."""
        return (int(self.kernel_size[2]) - 1) // 2 if self.ndims == 3 else None

    def _ignite_names(self) -> tuple[str, ...]:
        return (*super()._ignite_names(), "_kernel")

    def _to_ignite(self) -> dict[str, Any]:
        parts = super()._ignite_names()
        return {**{name: getattr(self, name) for name in parts}, "_kernel": None}  # Ignite makes it

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        for name in super()._ignite_names():
            setattr(self, name, state[name])

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_similarities, self._window, device=self._accumulates_on)]

    @property
    def _window(self) -> tuple[Any, ...]:
        """Sizes and widths of the window, and the constants."""
        widths = tuple(self.sigma) if self.gaussian else None
        return (tuple(self.kernel_size), widths, self.c1, self.c2)

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
    y_pred, y = checked_images(output, len(sizes))
    if any(length <= size // 2 for length, size in zip(y.shape[2:], sizes, strict=True)):
        raise ValueError(
            f"Images should be larger than half of kernel_size, which is {sizes}, along each dimension, "
            f"but given {tuple(y.shape)}; use a smaller kernel_size"
        )
    if not len(y):
        return 0, y_pred.sum()
    luminance, structure = compare(y_pred, y, sizes, widths, c1, c2)
    return len(y), (luminance * structure).flatten(1).mean(dim=1).sum()


def checked_images(output: Sequence[Tensor], ndims: int) -> tuple[Tensor, Tensor]:
    """Returns images (B, C, ...) with the given number of dimensions after C, in a wide dtype.

    Raises:
        ValueError, TypeError: predictions and targets have other shapes, or differ in shape or
            dtype.
    """
    check_images(output)
    if output[0].ndim != ndims + 2:
        raise ValueError(
            "Expected y_pred and y to have BxCxHxW or BxCxDxHxW shape. "
            f"Got y_pred: {tuple(output[0].shape)} and y: {tuple(output[1].shape)}."
        )
    return widened(output[0].detach()), widened(output[1].detach())


def compare(
    y_pred: Tensor,
    y: Tensor,
    sizes: tuple[int, ...],
    widths: tuple[float, ...] | None,
    c1: float,
    c2: float,
) -> tuple[Tensor, Tensor]:
    """Returns the similarity of luminance, and that of contrast and structure, at each pixel (B, C, H, W)."""
    # Subtracting the mean of each image keeps the variances, and avoids cancellation in them.
    dims = tuple(range(2, y.ndim))
    level_p = y_pred.mean(dim=dims, keepdim=True)  # (B, C, 1, 1)
    level_y = y.mean(dim=dims, keepdim=True)
    y_pred, y = y_pred - level_p, y - level_y
    windows = [
        _window(size, None if widths is None else widths[i], y_pred) for i, size in enumerate(sizes)
    ]
    stacked = torch.cat([y_pred, y, y_pred * y_pred, y * y, y_pred * y])  # (5 B, C, H, W)
    means = _smooth(stacked, windows).unflatten(0, (5, len(y)))
    mean_p, mean_y = means[0], means[1]
    variance_p, variance_y, covariance = (
        means[2] - mean_p**2,
        means[3] - mean_y**2,
        means[4] - mean_p * mean_y,
    )
    mean_p, mean_y = mean_p + level_p, mean_y + level_y
    luminance = (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_y + c2)
    return luminance, structure


def _window(size: int, width: float | None, like: Tensor) -> Tensor:
    """Returns the weights of a window along one dimension; their sum is 1."""
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = (
        torch.ones_like(offsets) if width is None else torch.exp(-((offsets / width) ** 2) / 2)
    )
    return weights / weights.sum()


_SMALL = 128
"""Size of images up to which smoothing by a matrix product is faster."""


@functools.lru_cache(maxsize=16)
def _matrix(length: int, window: tuple[float, ...]) -> Tensor:
    """Returns the matrix (L, L) that smooths rows (N, L) in a product."""
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
    """Returns the means over the window around each pixel.

    The windows are separable, so each dimension is smoothed separately.
    """
    if len(windows) == 2 and images.is_cpu and max(images.shape[2:]) <= _SMALL:
        rows, columns = (
            _matrix(length, tuple(window.tolist())).to(images.dtype)
            for length, window in zip(images.shape[2:], windows, strict=True)
        )
        smooth = images.flatten(0, 1) @ columns
        return torch.bmm(rows.T.expand(len(smooth), -1, -1), smooth).view(images.shape)
    planes = images.flatten(0, 1)
    # On the CPU, in blocks that stay in the processor's cache while they are added up.
    num_planes = max(_BLOCK // math.prod(images.shape[2:]), 1) if images.is_cpu else len(planes)
    blocks = [_add_shifted(block, windows) for block in planes.split(max(num_planes, 1))]
    return torch.cat(blocks).view(images.shape)


_BLOCK = 2**16
"""Size of the images that are smoothed at once: 512 KiB of float64."""


def _add_shifted(images: Tensor, windows: list[Tensor]) -> Tensor:
    """Smooths images (M, H, W) by adding shifted ones, several times faster than a convolution in float64."""
    padding = [half for window in reversed(windows) for half in [len(window) // 2] * 2]
    images = pad(images, padding, mode="reflect")
    for dim, window in enumerate(windows, start=1):
        size = images.shape[dim] - len(window) + 1
        total = images.narrow(dim, 0, size) * window[0]
        for i in range(1, len(window)):
            total.addcmul_(images.narrow(dim, i, size), window[i])
        images = total
    return images
