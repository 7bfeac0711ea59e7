"""Base classes of loggers and their handlers."""

from __future__ import annotations

import numbers
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ignite._core.calls import nearest
from ignite._core.old_arguments import Old, OldOrder, takes_old
from ignite.engine import Engine, EventsList, RemovableEventHandle
from ignite.handlers._trackers.scalars import Path, Scalar, named_leaves, on_host

__all__ = [
    "BaseHandler",
    "BaseLogger",
    "BaseOptimizerParamsHandler",
    "BaseOutputHandler",
    "BaseWeightsHandler",
    "BaseWeightsScalarHandler",
]

StepTransform = Callable[[Engine[Any, Any], Any], int]


class BaseHandler(ABC):
    """Logs something when called with an engine, a logger and the current event."""

    @abstractmethod
    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs to ``logger``."""


def _step_of_another(arguments: dict[str, Any]) -> None:
    engine = arguments.pop("another_engine")
    if engine is not None and arguments.get("global_step_transform") is None:
        arguments["global_step_transform"] = lambda _, event_name: (
            engine.state.get_event_attrib_value(event_name)
        )


ANOTHER_ENGINE = Old(
    "replace another_engine by global_step_transform=global_step_from_engine(engine)",
    _step_of_another,
)
"""Converts an argument of output handlers of Ignite 0.2 and 0.3."""


def is_another_engine_meant(values: Sequence[Any]) -> bool:
    """Whether the fourth positional argument is ``another_engine``."""
    return (len(values) > 3 and isinstance(values[3], Engine)) or (
        len(values) > 4 and callable(values[4])
    )


class BaseOutputHandler(BaseHandler):
    """Logs metrics, outputs and attributes of the state of an engine.

    Args:
        tag: prefix of all names.
        metric_names: which of ``engine.state.metrics``: a list, or ``"all"``.
        output_transform: selects what to log from ``engine.state.output``: a number, or a
            dictionary of numbers.
        global_step_transform: ``f(engine, event_name)``, returns the step. By default, the counter
            of the event: ``state.epoch`` or ``state.iteration``. See
            :func:`~ignite.handlers.global_step_from_engine`.
        state_attributes: further attributes of ``engine.state`` to log.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: there is nothing to log.
    """

    @takes_old(
        OldOrder(
            "tag metric_names output_transform another_engine global_step_transform",
            is_another_engine_meant,
        ),
        arguments={"another_engine": ANOTHER_ENGINE},
    )
    def __init__(
        self,
        tag: str,
        metric_names: str | list[str] | None = None,
        output_transform: Callable[..., Any] | None = None,
        global_step_transform: StepTransform | None = None,
        state_attributes: list[str] | None = None,
    ) -> None:
        if metric_names is not None and not (
            isinstance(metric_names, list) or metric_names == "all"
        ):
            raise TypeError(
                f"metric_names should be either a list or equal 'all', but given {metric_names!r}"
            )
        if output_transform is not None and not callable(output_transform):
            raise TypeError(
                f"output_transform should be a function, but given {output_transform!r}"
            )
        if isinstance(state_attributes, str):
            raise TypeError(
                f"state_attributes should be a list of names, but given {state_attributes!r}"
            )
        if output_transform is None and metric_names is None and state_attributes is None:
            raise ValueError(
                "Either metric_names, output_transform or state_attributes should be defined: "
                "there is nothing to log"
            )
        if global_step_transform is not None and not callable(global_step_transform):
            raise TypeError(
                f"global_step_transform should be a function, but given {global_step_transform!r}"
            )
        self.tag = tag
        self.metric_names = metric_names
        self.output_transform = output_transform
        self.global_step_transform = global_step_transform or _count_of_event
        self.state_attributes = state_attributes

    def _leaves(
        self, engine: Engine[Any, Any], with_text: bool = False
    ) -> Iterator[tuple[Path, Scalar]]:
        """Yields the current values, flattened; tensors stay on their device."""
        prefix = () if self.tag is None else (self.tag,)
        yield from named_leaves(self._chosen_metrics(engine.state.metrics), prefix, with_text)
        yield from named_leaves(self._chosen_outputs(engine), prefix, with_text)
        attributes = {
            name: getattr(engine.state, name, None) for name in self.state_attributes or ()
        }
        yield from named_leaves(attributes, prefix, with_text)

    def _chosen_outputs(self, engine: Engine[Any, Any]) -> Mapping[Any, Any]:
        if self.output_transform is None:
            return {}
        output = self.output_transform(engine.state.output)
        return output if isinstance(output, Mapping) else {"output": output}

    def _chosen_metrics(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.metric_names is None:
            return {}
        if isinstance(self.metric_names, str):
            return metrics
        for name in self.metric_names:
            if name not in metrics:
                warnings.warn(
                    f"metric_names should be in engine.state.metrics ({list(metrics)}), "
                    f"but given {name!r}: it is not logged. Attach the metric before this handler",
                    stacklevel=2,
                )
        return {name: metrics[name] for name in self.metric_names if name in metrics}

    def _setup_output_metrics_state_attrs(
        self, engine: Engine[Any, Any], log_text: bool | None = False, key_tuple: bool | None = True
    ) -> dict[Any, Any]:
        """Returns the current values as numbers. For subclasses; synchronizes with the device."""
        found = on_host(self._leaves(engine, bool(log_text)))
        return (
            found
            if key_tuple
            else {"/".join(map(str, path)): value for path, value in found.items()}
        )

    def _global_step(self, engine: Engine[Any, Any], event_name: Any) -> int:
        step = self.global_step_transform(engine, event_name)
        if not isinstance(step, numbers.Integral):
            raise TypeError(
                f"global_step must be int, got {type(step).__name__}: "
                "global_step_transform should return an integer"
            )
        return int(step)


def _count_of_event(engine: Engine[Any, Any], event_name: Any) -> int:
    return engine.state.get_event_attrib_value(event_name)


class BaseOptimizerParamsHandler(BaseHandler):
    """Logs a hyperparameter of each parameter group, such as the learning rate.

    Args:
        optimizer: an optimizer, or any object with a sequence ``param_groups``.
        param_name: the name of the hyperparameter.
        tag: prefix of the names.

    Raises:
        TypeError: ``optimizer`` has no parameter groups.
    """

    def __init__(self, optimizer: Any, param_name: str = "lr", tag: str | None = None) -> None:
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(optimizer, torch.optim.Optimizer) and not isinstance(groups, Sequence):
            raise TypeError(
                "Argument optimizer should be torch.optim.Optimizer or has attribute "
                f"'param_groups' as list/tuple, but given {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self.param_name = param_name
        self.tag = tag


class BaseWeightsHandler(BaseHandler):
    """Base of the handlers that log parameters of a model, or values computed from them.

    Args:
        model: the module.
        tag: prefix of the names.
        whitelist: which parameters: prefixes of their names, or ``f(name, parameter)``. All by
            default. Evaluated once, at construction.

    Raises:
        TypeError: ``model`` is not a module, or ``whitelist`` neither a list nor a function.
    """

    def __init__(
        self,
        model: nn.Module,
        tag: str | None = None,
        whitelist: list[str] | Callable[[str, nn.Parameter], bool] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                "Argument model should be of type torch.nn.Module, "
                f"but given {type(model).__name__}"
            )
        if not (whitelist is None or isinstance(whitelist, list | tuple) or callable(whitelist)):
            raise TypeError(
                "whitelist should be a list of prefixes of parameter names or a function, "
                f"but given {whitelist!r}"
            )
        self.model = model
        self.tag = tag
        self.weights = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if whitelist is None
            or (
                whitelist(name, parameter)
                if callable(whitelist)
                else name.startswith(tuple(whitelist))
            )
        ]
        if isinstance(whitelist, list | tuple):
            self._warn_of_unknown(whitelist)

    def _warn_of_unknown(self, whitelist: Sequence[str]) -> None:
        """Warns about prefixes that match no parameter.

        This is not an error, because the same list may be used for several models.
        """
        known = [name for name, _ in self.model.named_parameters()]
        modules = [name for name, _ in self.model.named_modules() if name]
        for start in whitelist:
            if not any(name.startswith(start) for name in known):
                warnings.warn(
                    "whitelist should contain prefixes of parameter names, "
                    f"but no name starts with {start!r}"
                    f"{nearest(start, [*known, *modules])}",
                    stacklevel=3,
                )


class BaseWeightsScalarHandler(BaseWeightsHandler):
    """Logs a number for each parameter of a model, or for its gradient.

    Args:
        model: the module.
        reduction: ``f(tensor)``, returns a number. Its name is part of the logged names.
        tag: prefix of the names.
        whitelist: which parameters, see :class:`BaseWeightsHandler`.

    Raises:
        TypeError: as in :class:`BaseWeightsHandler`; or ``reduction`` is not a function that
            returns a number.
    """

    def __init__(
        self,
        model: nn.Module,
        reduction: Callable[[Tensor], float | Tensor] = torch.norm,
        tag: str | None = None,
        whitelist: list[str] | Callable[[str, nn.Parameter], bool] | None = None,
    ) -> None:
        super().__init__(model, tag=tag, whitelist=whitelist)
        if not callable(reduction):
            raise TypeError(
                f"Argument reduction should be callable, but given {type(reduction).__name__}"
            )
        number = reduction(torch.ones(4, 2))
        if not (
            isinstance(number, numbers.Number) or (isinstance(number, Tensor) and number.ndim == 0)
        ):
            shape = f" of shape {tuple(number.shape)}" if isinstance(number, Tensor) else ""
            raise TypeError(
                "Output of the reduction function should be a scalar, "
                f"but given {type(number).__name__}{shape}"
            )
        self.reduction = reduction


class BaseLogger(ABC):
    """Base class of all loggers: attaches handlers that log at an event.

    As a context manager, it closes the logger on exit.
    """

    def attach(
        self,
        engine: Engine[Any, Any],
        log_handler: Callable[..., Any],
        event_name: Any,
        *args: Any,
        **kwargs: Any,
    ) -> RemovableEventHandle:
        """Calls ``log_handler(engine, logger, event_name, *args, **kwargs)`` at an event.

        Args:
            engine: the engine of the event.
            log_handler: usually a handler of this logger.
            event_name: an event that has a counter in the state, with or without a filter, or
                several joined with ``|``.
            *args: positional arguments passed to the handler.
            **kwargs: keyword arguments passed to the handler.

        Returns:
            A handle that removes the handler.

        Raises:
            RuntimeError: no attribute of the state counts the event, so it has no step.
        """
        events = list(event_name) if isinstance(event_name, EventsList) else [event_name]
        for event in events:
            name = event if isinstance(event, str) else getattr(event, "_name_", str(event))
            if engine.state.get_event_attrib_name(name) is None:
                raise RuntimeError(
                    f"Unknown event name '{name}': a logger needs an event with a counter, such as "
                    "the epoch or the iteration; register custom events with event_to_attr"
                )
        for event in events:
            engine.add_event_handler(event, log_handler, self, event, *args, **kwargs)
        return RemovableEventHandle(event_name, log_handler, engine)

    def attach_output_handler(
        self, engine: Engine[Any, Any], event_name: Any, *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """Attaches an ``OutputHandler`` with the given arguments; see :meth:`attach`."""
        return self.attach(engine, self._create_output_handler(*args, **kwargs), event_name)

    def attach_opt_params_handler(
        self, engine: Engine[Any, Any], event_name: Any, *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """Attaches an ``OptimizerParamsHandler`` with the given arguments; see :meth:`attach`."""
        return self.attach(engine, self._create_opt_params_handler(*args, **kwargs), event_name)

    @abstractmethod
    def _create_output_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]: ...

    @abstractmethod
    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - nothing to do by default
        """Closes the logger."""
