"""Feature extractors: torchvision's Inception v3, and the base class of metrics that extract features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core.optional import import_optional
from ignite.metrics._outputs import identity
from ignite.metrics._views import View

__all__ = ["InceptionModel"]


class InceptionModel(nn.Module):
    """Inception v3 of torchvision, trained on ImageNet, in evaluation mode and without gradients.

    The weights are downloaded when they are first needed. Requires the extra ``gan``:
    ``pip install "reignition[gan]"``.

    Args:
        return_features: return the 2048 features before the last layer, shape (B, 2048), instead of
            the probabilities of 1000 classes, shape (B, 1000).
        device: device of the model. Images are moved to it.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
        ValueError: when called, the images are not of shape (B, 3, H, W).

    Example:
        >>> model = InceptionModel(return_features=True)  # doctest: +SKIP
        >>> model(torch.rand(2, 3, 299, 299)).shape  # doctest: +SKIP
        torch.Size([2, 2048])

    References:
        Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016,
        https://arxiv.org/abs/1512.00567
    """

    def __init__(self, return_features: bool, device: str | torch.device = "cpu") -> None:
        models = import_optional("torchvision.models", extra="gan")
        super().__init__()
        self._device = torch.device(device)
        self.return_features = return_features
        self.model = models.inception_v3(weights=models.Inception_V3_Weights.DEFAULT)
        if return_features:
            self.model.fc = nn.Identity()
        self.to(self._device).eval()

    @torch.no_grad()
    def forward(self, data: Tensor) -> Tensor:
        """Returns features or probabilities of images (B, 3, H, W).

        Images should be normalized as for ImageNet, and of 299 x 299 pixels as in training.
        """
        if data.ndim != 4:
            raise ValueError(f"Inputs should be a tensor of dim 4, got {data.ndim}")
        if data.shape[1] != 3:
            raise ValueError(f"Inputs should be a tensor with 3 channels, got {tuple(data.shape)}")
        found: Tensor = self.model(data.to(self._device))
        return found if self.return_features else found.softmax(dim=1)


class _BaseInceptionMetric(View):
    """Base class of metrics of features that a module extracts from samples.

    Args:
        num_features: number of features, D. By default 1000, of :class:`InceptionModel`.
        feature_extractor: module that turns samples (B, ...) into features (B, D). By default,
            samples are features already if ``num_features`` is given, else those of Inception v3.
        output_transform: turns ``engine.state.output`` into the argument of ``update``.
        device: device on which to extract features and to accumulate. By default, that of samples.

    Raises:
        TypeError: ``feature_extractor`` is not a module, or ``num_features`` not an integer.
        ValueError: ``num_features`` is not positive, or not given with ``feature_extractor``.
    """

    _calls_user_code = True

    def __init__(
        self,
        num_features: int | None,
        feature_extractor: nn.Module | None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        if num_features is None:
            if feature_extractor is not None:
                raise ValueError(
                    "Argument num_features must be provided, if feature_extractor is specified."
                )
            num_features = NUM_CLASSES
            feature_extractor = InceptionModel(return_features=False, device=device or "cpu")
        elif feature_extractor is None:
            feature_extractor = nn.Identity()
        if not isinstance(num_features, int):
            raise TypeError(f"Argument num_features must be an integer, got: {num_features!r}")
        if num_features <= 0:
            raise ValueError(f"Argument num_features must be greater to zero, got: {num_features}")
        if not isinstance(feature_extractor, nn.Module):
            raise TypeError(
                f"Argument feature_extractor must be of type torch.nn.Module, got {type(feature_extractor)}"
            )
        self._num_features = num_features
        self._feature_extractor = (
            feature_extractor if device is None else feature_extractor.to(device)
        )
        super().__init__(output_transform, device)

    def _extract_features(self, inputs: Tensor) -> Tensor:
        """Returns the features of samples, shape (B, D), without gradients."""
        return extracted(inputs, self._feature_extractor, self._num_features, self._accumulates_on)


NUM_CLASSES = 1000
"""Number of probabilities that :class:`InceptionModel` returns."""


def extract(
    output: Sequence[Tensor],
    index: int,
    extractor: nn.Module,
    num_features: int,
    device: torch.device | None,
) -> Tensor:
    """Returns the features of the samples at ``index`` of an output."""
    return extracted(output[index], extractor, num_features, device)


def extracted(
    inputs: Tensor, extractor: nn.Module, num_features: int, device: torch.device | None
) -> Tensor:
    """Returns the features of samples (B, ...), shape (B, num_features), without gradients.

    The extractor is called in evaluation mode, so that dropout is disabled, and batch normalization
    does not adapt to the samples.

    Raises:
        ValueError: the features have another shape.
        TypeError: they are not a tensor of real numbers.
    """
    inputs = inputs.detach()
    if device is not None:
        inputs = inputs.to(device)
    if isinstance(extractor, nn.Identity):
        features = inputs
    elif not inputs.shape[0]:
        return inputs.new_zeros((0, num_features), dtype=torch.get_default_dtype())
    else:
        with torch.no_grad(), _evaluating(extractor):
            features = extractor(inputs)
    if not isinstance(features, Tensor):
        raise TypeError(f"feature_extractor output must be a tensor, got: {type(features)}")
    if features.ndim != 2:
        raise ValueError(
            f"feature_extractor output must be a tensor of dim 2, got: {features.ndim}"
        )
    if features.shape[1] != num_features:
        raise ValueError(
            f"num_features returned by feature_extractor should be {num_features}, got: {features.shape[1]}"
        )
    if len(features) != len(inputs):
        raise ValueError(
            f"feature_extractor should return a row for each of {len(inputs)} samples, got: {len(features)}"
        )
    if features.is_complex():
        raise TypeError(f"feature_extractor output must be real, got: {features.dtype}")
    return features


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Context in which the module is in evaluation mode. Restores the modes of all submodules on exit."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
