"""Logging to Polyaxon."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite._core.torch_private import event_log
from ignite.handlers import trackers
from ignite.handlers._trackers.outbox import why_unreachable
from ignite.handlers._trackers.resumed import Discarding, LoggedSteps, bin_counts
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["OptimizerParamsHandler", "OutputHandler", "PolyaxonLogger", "global_step_from_engine"]


class PolyaxonLogger(trackers.TrackerLogger):
    """Logs to a run of Polyaxon, or to files (``is_offline=True``).

    Other attributes are looked up in the run: ``logger.log_inputs(lr=0.1)``. If the server cannot
    be reached when the run starts, a warning is issued, and the run is offline.

    ``trainer.run(..., resume="latest")`` continues the Polyaxon run of the checkpoint. Steps after
    the checkpoint that are in the local files of the earlier process are not logged again.

    Args:
        *args: arguments of ``polyaxon.tracking.Run``.
        **kwargs: further arguments of ``Run``.

    Raises:
        ModuleNotFoundError: polyaxon is not installed.

    Example::

        with PolyaxonLogger(project="digits") as logger:
            logger.log_inputs(lr=0.1)
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        tracking = import_optional("polyaxon.tracking", extra="polyaxon")
        settings = import_optional("polyaxon.settings", extra="polyaxon")
        super().__init__(_Run(tracking.Run, settings.CLIENT_CONFIG, args, kwargs))

    @property
    def experiment(self) -> Any:
        """Polyaxon's run, after passing to it all values logged so far."""
        return self._client()


class _Run:
    """A :class:`~ignite.handlers.trackers.Tracker` on a run."""

    def __init__(
        self, run_class: Any, config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        exceptions = import_optional("polyaxon.exceptions", extra="polyaxon")
        requests = import_optional("urllib3.exceptions", extra="polyaxon")
        self._lost = (requests.HTTPError, exceptions.ApiException)
        self.errors = (*self._lost, exceptions.PolyaxonClientException)
        self._run_class = run_class
        self._config = config
        self._arguments = (args, kwargs)
        self._is_named = len(args) > 2 or kwargs.get("run_uuid") is not None
        self._is_resumed = False
        self._logged = LoggedSteps()
        self._known: set[str] = set()
        self.client = self._start(*args, **kwargs)

    def _start(self, *args: Any, **kwargs: Any) -> Any:
        reason = None
        if not any(
            getattr(self._config, name, False) if kwargs.get(name) is None else kwargs[name]
            for name in ("is_offline", "no_op")
        ):
            reason = why_unreachable(str(self._config.host))
        if reason is None:
            try:
                return self._run_class(*args, **kwargs)
            except (*self._lost, OSError) as error:
                if 400 <= (getattr(error, "status", None) or 500) < 500:
                    raise
                reason = " ".join(str(error).split())
        warnings.warn(
            f"Cannot reach the Polyaxon server: the run is offline: {reason}", stacklevel=5
        )
        return self._run_class(*args, **{**kwargs, "is_offline": True})

    def reopen(self) -> None:
        """Reopens the run after it was ended."""
        self._continue(self.client.run_uuid)

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        new = self._new({name: float(value) for name, value in values.items()}, step)
        if new:
            self.client.log_metrics(step=step, **new)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        counts, edges = bin_counts(values)
        if self._new({name: counts}, step):
            self.client.log_np_histogram(name=name, values=edges, counts=counts, step=step)

    def params(self, values: Mapping[str, Any]) -> None:
        self.client.log_inputs(**values)

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.client.log_image(image.detach().cpu().numpy(), name=name, step=step, dataformats="CHW")

    def figure(self, name: str, figure: Any, step: int) -> None:
        self.client.log_mpl_image(figure, name=name, step=step, close=False)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.client.log_artifact(os.fspath(path))

    def flush(self) -> None:
        """Writes the events logged so far to the local files."""
        events = event_log(self.client)
        if events is not None:
            events.flush()

    def close(self) -> None:
        self.client.end()

    def elsewhere(self, folder: Path) -> Discarding:
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {"run_uuid": self.client.run_uuid}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        run_uuid = state_dict["run_uuid"]
        if run_uuid is None:
            return
        if run_uuid != self.client.run_uuid:
            if self._is_named:
                return
            self.client.end()
            self._continue(run_uuid)
        self.flush()
        self._is_resumed, self._known = True, set()

    def _continue(self, run_uuid: str | None) -> None:
        args, kwargs = self._arguments
        self.client = self._start(*args, **{**kwargs, "run_uuid": run_uuid})

    def _new(self, values: dict[str, Any], step: int) -> dict[str, Any]:
        """Returns the values that are not yet in the local files of the run."""
        if not self._is_resumed:
            return values
        for name in values.keys() - self._known:
            self._known.add(name)
            self._logged.note(name, self._last_step(name))
        return self._logged.new(values, step)

    def _last_step(self, name: str) -> int:
        folder = Path(self.client.get_artifacts_path() or "") / "events"
        steps = [-1]
        for path in folder.glob(f"*/{name.replace('/', '__')}.plx"):
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file, delimiter="|")
                steps += [int(row["step"]) for row in rows if (row["step"] or "").isdigit()]
        return max(steps)


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = PolyaxonLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``."""

    logger_class = PolyaxonLogger


PolyaxonLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
