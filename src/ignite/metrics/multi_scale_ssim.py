"""Multi-scale SSIM: the structural similarity of images at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d

from ignite.metrics._outputs import identity
from ignite.metrics.ssim import SSIM, checked_images, compare
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MultiScaleSSIM"]


class MultiScaleSSIM(SSIM):
    r"""Mean multi-scale structural similarity index of images; 1 for equal images.

    .. math:: \text{SSIM}_M^{\beta_M} \prod_{j=1}^{M-1} \text{CS}_j^{\beta_j}

    where :math:`\text{CS}_j` is the mean over pixels and channels of the second factor of
    :class:`SSIM`, contrast and structure, and :math:`\text{SSIM}_M` the mean of both factors. Scale
    1 is the image itself; each further scale has the means of blocks of two by two pixels. A
    negative mean counts as 0. The result is the mean over images.

    As in the paper, only pixels whose window is inside of the image count. torchmetrics pads the
    smallest scale by reflection; its values differ in the third or fourth digit.

    Update with ``(y_pred, y)``, images as for :class:`SSIM`. Each side has at least
    ``kernel_size * 2 ** (M - 1)`` pixels, 176 by default.

    Args:
        data_range: range of the values, such as 255 for uint8.
        kernel_size: size of the window, odd, for each dimension or for all.
        sigma: standard deviation of the Gaussian window, for each dimension or for all.
        k1: factor of the first constant; see :class:`SSIM`.
        k2: factor of the second constant.
        gaussian: use a Gaussian window. Otherwise all pixels in the window have the same weight.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the images.
        skip_unrolling: see :class:`Metric`.
        ndims: 2 for images, 3 for volumes.
        betas: exponents of the scales, from the image itself to the smallest. The default is that
            of the paper.

    Raises:
        ValueError: an argument is out of range. In ``update``, the shapes differ, have another
            number of dimensions, or the images are too small.
        TypeError: in ``update``, the dtypes differ.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MultiScaleSSIM(data_range=1.0, kernel_size=3, betas=(0.5, 0.5))
        >>> image = torch.rand(1, 3, 16, 16)
        >>> metric.update((image, image))
        >>> round(metric.compute(), 6)
        1.0

    References:
        Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
        2003.
    """

    def __init__(  # noqa: PLR0913 - that of SSIM, and one more
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
        *,
        betas: Sequence[float] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333),
    ) -> None:
        if not betas or not all(math.isfinite(beta) and beta > 0 for beta in betas):
            raise ValueError(f"betas should be positive numbers, at least one, but given {betas}")
        self.betas = tuple(map(float, betas))
        super().__init__(
            data_range, kernel_size, sigma, k1, k2, gaussian, output_transform, device,
            skip_unrolling, ndims,
        )  # fmt: skip

    def _declare(self) -> list[Statistic]:
        args = (self.betas, *self._window)
        return [Totals(_sum_over_scales, args, device=self._accumulates_on)]


def _sum_over_scales(
    output: Sequence[Tensor], betas: tuple[float, ...], sizes: tuple[int, ...], *window: Any
) -> tuple[int, Tensor]:
    y_pred, y = checked_images(output, len(sizes))
    least = [size * 2 ** (len(betas) - 1) for size in sizes]
    if any(length < bound for length, bound in zip(y.shape[2:], least, strict=True)):
        raise ValueError(
            f"Images should have at least {least} pixels along their dimensions, for {len(betas)} scales "
            f"and the kernel_size {sizes}, but given {tuple(y.shape)}; use fewer betas or a smaller kernel_size"
        )
    if not len(y):
        return 0, y_pred.sum()
    shrink = avg_pool2d if len(sizes) == 2 else avg_pool3d
    product = y.new_ones(len(y))
    for scale, beta in enumerate(betas, start=1):
        luminance, structure = compare(y_pred, y, sizes, *window)
        of_pixels = luminance * structure if scale == len(betas) else structure
        for dim, size in enumerate(sizes, start=2):  # those whose window is inside
            of_pixels = of_pixels.narrow(dim, size // 2, of_pixels.shape[dim] - size + 1)
        product = product * of_pixels.flatten(1).mean(dim=1).clamp(min=0) ** beta
        if scale < len(betas):
            y_pred, y = shrink(y_pred, 2), shrink(y, 2)
    return len(y), product.sum()
