"""Import paths of Ignite 0.1 to 0.5: tables of names, and an import finder.

A module at an old path has the same objects as the new one. It issues one DeprecationWarning: a
package at the first access to an attribute, any other module when it is imported.

Programs also import names from modules of Ignite that only import them, for example ``from
ignite.engine import convert_tensor``. A module here looks them up in ``PASSED_ON`` on access,
without a warning. Names that no longer exist are in ``OLD_NAMES``, and each issues a warning that
says what to import instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from ignite._core.old_arguments import warn_program

__all__ = ["OldPathFinder", "PassedOnFinder", "install"]

MOVED = {
    "ignite.contrib.handlers": "ignite.handlers",
    "ignite.contrib.handlers.custom_events": "ignite.contrib.custom_events",
    "ignite.contrib.handlers.trains_logger": "ignite.handlers.clearml_logger",
    "ignite.contrib.metrics": "ignite.metrics",
    "ignite.contrib.metrics.mae": "ignite.metrics.regression.maximum_absolute_error",
    "ignite.engine.utils": "ignite.contrib.private_functions",
    "ignite.engines": "ignite.engine",
    "ignite.metrics.binary_accuracy": "ignite.metrics.accuracy",
    "ignite.metrics.categorical_accuracy": "ignite.metrics.accuracy",
}
"""New paths by old path.

Submodules of an old path are at the new one, if they exist there. The longest match counts.
"""

ALSO_FROM = {
    "ignite.contrib.handlers": ("ignite.contrib.custom_events", "ignite.handlers.time_profilers"),
    "ignite.contrib.handlers.base_logger": ("ignite.handlers.utils",),
    "ignite.contrib.metrics": ("ignite.metrics.regression",),
    "ignite.engines": ("ignite.engine.engine",),
    "ignite.engines.engine": ("ignite.engine",),
}
"""Further modules by old path, in which names of the old module are looked up."""

_EVENTS = dict.fromkeys(
    (
        "CallableEventWithFilter",
        "EventEnum",
        "Events",
        "EventsList",
        "RemovableEventHandle",
        "State",
    ),
    "ignite.engine.events",
)
_ACCUMULATION = dict.fromkeys(
    ("EpochWise", "Metric", "RunningBatchWise", "reinit__is_reduced", "sync_all_reduce"),
    "ignite.metrics.metric",
)
_SCHEDULERS = dict.fromkeys(
    ("BaseParamScheduler", "LRScheduler", "ParamGroupScheduler", "PiecewiseLinear"),
    "ignite.handlers.param_scheduler",
)
_PRIVATE = "ignite.contrib.private_functions"

PASSED_ON = {
    "ignite.contrib.engines.common": {
        "DiskSaver": "ignite.handlers.checkpoint",
        "LRScheduler": "ignite.handlers.param_scheduler",
        "ClearMLLogger": "ignite.handlers.clearml_logger",
        "NeptuneLogger": "ignite.handlers.neptune_logger",
        "PolyaxonLogger": "ignite.handlers.polyaxon_logger",
        "VisdomLogger": "ignite.handlers.visdom_logger",
        "WandBLogger": "ignite.handlers.wandb_logger",
        "MLflowLogger": "ignite.handlers.mlflow_logger",
        "ModelCheckpoint": "ignite.handlers.checkpoint",
        "RunningAverage": "ignite.metrics.running_average",
        "RunningBatchWise": "ignite.metrics.metric",
        "TensorboardLogger": "ignite.handlers.tensorboard_logger",
        "deprecated": "ignite.utils",
    },
    "ignite.contrib.custom_events": {"State": "ignite.engine.events"},
    "ignite.contrib.engines.tbptt": {"_detach_hidden": _PRIVATE},
    "ignite.distributed.auto": {"setup_logger": "ignite.utils"},
    "ignite.distributed.launcher": {"setup_logger": "ignite.utils"},
    "ignite.distributed.utils": {"setup_logger": "ignite.utils"},
    "ignite.engine": {
        **_EVENTS,
        "Metric": "ignite.metrics.metric",
        "Serializable": "ignite.base.mixins",
        "convert_tensor": "ignite.utils",
        **dict.fromkeys(
            ("_check_signature", "_get_rng_states", "_set_rng_states", "_to_hours_mins_secs"),
            _PRIVATE,
        ),
    },
    "ignite.handlers": {
        **_EVENTS,
        **_SCHEDULERS,
        "BaseLogger": "ignite.handlers.base_logger",
        "Checkpoint": "ignite.handlers.checkpoint",
        "Engine": "ignite.engine.engine",
        "Timer": "ignite.handlers.timing",
        "apply_to_type": "ignite.utils",
        "setup_logger": "ignite.utils",
        "_tree_apply2": "ignite.utils",
        "_tree_map": "ignite.utils",
    },
    "ignite.metrics": {
        **_ACCUMULATION,
        **_EVENTS,
        "ConfusionMatrix": "ignite.metrics.confusion_matrix",
        "EpochMetric": "ignite.metrics.epoch_metric",
        "InceptionModel": "ignite.metrics.gan.utils",
        "NotComputableError": "ignite.exceptions",
        "Timer": "ignite.handlers.timing",
        "_BaseRegression": "ignite.metrics.regression._base",
        "_CollectionItem": "ignite.utils",
        "_is_list_of_tensors_or_numbers": _PRIVATE,
        "_to_batched_tensor": _PRIVATE,
        "_tree_apply2": "ignite.utils",
        "_tree_map": "ignite.utils",
        "to_onehot": "ignite.utils",
    },
    "ignite.metrics.mean_average_precision": {
        "all_gather_tensors_with_shapes": "ignite.distributed.utils",
    },
    "ignite.metrics.nlp.rouge": {"ngrams": "ignite.metrics.nlp.utils"},
}
"""Modules of names by the module (and its submodules) that has these names in Ignite, too."""

_ACCURACY = "ignite.metrics.Accuracy"
_EVENT = "ignite.engine.CallableEventWithFilter"

_TRAINS = {"TrainsLogger": "ignite.handlers.clearml_logger.ClearMLLogger"}
_TRAINS_MODULE = {**_TRAINS, "TrainsSaver": "ignite.handlers.clearml_logger.ClearMLSaver"}

OLD_NAMES = {
    "ignite.contrib.engines.common": _TRAINS,
    "ignite.contrib.handlers": _TRAINS,
    "ignite.contrib.handlers.trains_logger": _TRAINS_MODULE,
    "ignite.engine.engine": {
        "EventWithFilter": _EVENT,
        "ReproducibleBatchSampler": "ignite.engine.deterministic.ReproducibleBatchSampler",
    },
    "ignite.handlers": {
        "BaseWeightsHistHandler": "ignite.handlers.base_logger.BaseWeightsHandler",
        "EventWithFilter": _EVENT,
    },
    "ignite.metrics": {"BinaryAccuracy": _ACCURACY, "CategoricalAccuracy": _ACCURACY},
    "ignite.metrics.binary_accuracy": {"BinaryAccuracy": _ACCURACY},
    "ignite.metrics.categorical_accuracy": {"CategoricalAccuracy": _ACCURACY},
}
"""What to import instead of a name, by the module (and its submodules) that had it."""


_MISSING = object()


class _OldModule(ModuleType):
    """Looks up attributes in the modules at the new paths."""

    def __init__(self, name: str, new: str, is_package: bool) -> None:
        super().__init__(name, f"Moved to {new}.")
        self._sources = (new, *ALSO_FROM.get(name, ()))
        self._old = OLD_NAMES.get(name, {})
        self._is_quiet = not is_package and not self._old  # these warn when they are imported
        if is_package:
            self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self.__dir__()
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._old:
            return _under_new_name(f"{self.__name__}.{name}", self._old[name])
        for source in self._sources:
            module = importlib.import_module(source)
            found = getattr(module, name, _MISSING)
            if found is not _MISSING and f"{source}.{name}" not in sys.modules:
                if not self._is_quiet:
                    self._is_quiet = _warn(self.__name__, self._sources[0])
                return found
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}, "
            f"and neither has {', '.join(self._sources)}"
        )

    def __dir__(self) -> list[str]:
        modules = map(importlib.import_module, self._sources)
        names = {name for module in modules for name in getattr(module, "__all__", ())}
        return sorted(names | self._old.keys())


class PassedOnFinder(MetaPathFinder):
    """Gives modules the names of ``PASSED_ON``. The first finder, because it wraps the others' loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the usual spec, with a loader that adds the names; None for other modules."""
        if not fullname.startswith("ignite."):
            return None
        names, old = _row(PASSED_ON, fullname), _row(OLD_NAMES, fullname)
        spec = PathFinder.find_spec(fullname, path, target) if names or old else None
        if spec is not None and spec.loader is not None:
            spec.loader = _PassingLoader(spec.loader, names, old)
        return spec


class _PassingLoader(Loader):
    """Loads a module, and adds names that are looked up on access."""

    def __init__(self, loader: Loader, names: Mapping[str, str], old: Mapping[str, str]) -> None:
        self._loader = loader
        self._names = names
        self._old = old

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        own = vars(module).get("__getattr__")

        def look_up(name: str) -> Any:
            home = self._names.get(name)
            if home is not None and home != module.__name__:
                return getattr(importlib.import_module(home), name)
            if name in self._old:
                return _under_new_name(f"{module.__name__}.{name}", self._old[name])
            if own is not None:
                return own(name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = look_up  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        # Sources and resources of the module, for inspect and importlib.resources.
        return getattr(self._loader, name)


class OldPathFinder(MetaPathFinder, Loader):
    """Finds modules at their old paths. The last finder, so that existing modules win."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns a spec if ``fullname`` is an old path whose new path exists."""
        if not fullname.startswith("ignite."):
            return None
        new = _new_path(fullname)
        found = None if new is None else importlib.util.find_spec(new)
        if found is None:
            return None
        return ModuleSpec(
            fullname, self, origin=new, is_package=found.submodule_search_locations is not None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns a module that looks up its attributes at the new path."""
        assert spec.origin is not None
        return _OldModule(spec.name, spec.origin, spec.submodule_search_locations is not None)

    def exec_module(self, module: ModuleType) -> None:
        """Warns about the old path, unless its names do, as those of packages."""
        assert isinstance(module, _OldModule)
        if module._is_quiet:
            _warn(module.__name__, module._sources[0])


def install() -> None:
    """Makes old paths and passed-on names importable. Further calls have no effect."""
    if not any(isinstance(finder, OldPathFinder) for finder in sys.meta_path):
        sys.meta_path.append(OldPathFinder())
        sys.meta_path.insert(0, PassedOnFinder())


def _row(table: Mapping[str, Mapping[str, str]], module: str) -> dict[str, str]:
    """Returns the rows of ``module`` and its parents as one."""
    found: dict[str, str] = {}
    for row, names in table.items():
        if f"{module}.".startswith(f"{row}."):
            found |= names
    return found


def _new_path(old: str) -> str | None:
    for row in sorted(MOVED, key=len, reverse=True):
        if f"{old}.".startswith(f"{row}."):
            return MOVED[row] + old[len(row) :]
    return None


def _under_new_name(old: str, path: str) -> Any:
    home, _, name = path.rpartition(".")
    warn_program(f"{old} is an old name: write 'from {home} import {name}'")
    return getattr(importlib.import_module(home), name)


def _warn(old: str, new: str) -> bool:
    return warn_program(f"{old} has moved: import from {new} instead")
