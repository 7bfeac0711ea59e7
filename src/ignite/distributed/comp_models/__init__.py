"""Computation models: classes around the functions of ``ignite.distributed``, as in Ignite."""

from ignite.distributed.comp_models.base import ComputationModel, _SerialModel
from ignite.distributed.comp_models.horovod import has_hvd_support
from ignite.distributed.comp_models.native import _NativeDistModel, has_native_dist_support
from ignite.distributed.comp_models.xla import has_xla_support

__all__ = [
    "has_hvd_support",
    "has_native_dist_support",
    "has_xla_support",
    "registered_computation_models",
    "setup_available_computation_models",
]


def setup_available_computation_models() -> tuple[type[ComputationModel], ...]:
    """Returns the classes of the available computation models.

    Example:
        >>> [model.name for model in setup_available_computation_models()]
        ['serial', 'native-dist']
    """
    return (_SerialModel, _NativeDistModel) if has_native_dist_support else (_SerialModel,)


registered_computation_models = setup_available_computation_models()
