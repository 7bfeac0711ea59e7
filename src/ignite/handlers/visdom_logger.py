"""Logging to a Visdom server."""

from __future__ import annotations

import copy
import io
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core import clock
from ignite._core.old_arguments import OldOrder, takes_old
from ignite._core.optional import import_optional
from ignite.engine import Engine
from ignite.handlers import trackers
from ignite.handlers._trackers.outbox import Outbox
from ignite.handlers._trackers.resumed import Discarding, LoggedSteps, last_steps
from ignite.handlers.base_logger import (
    ANOTHER_ENGINE,
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsScalarHandler,
    is_another_engine_meant,
)
from ignite.handlers.utils import global_step_from_engine

__all__ = [
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "VisdomLogger",
    "WeightsScalarHandler",
    "global_step_from_engine",
]

_TIMEOUT_S = 10.0
_MAX_UNSENT = 10_000
_SAVE_SHARE = 20.0


class VisdomLogger(trackers.TrackerLogger):
    """Draws lines on a Visdom server, one window per name.

    A background thread sends the values, in order. While the server is down, training continues,
    values are queued, and a warning is logged once a minute; :meth:`close` waits up to 30 seconds
    for them. ``logger.vis`` is Visdom's client, for windows of your own; values logged before are
    sent first.

    ``trainer.run(..., resume="latest")`` continues the windows of the checkpoint. Steps that the
    earlier process drew after the checkpoint are not drawn again; values that were still queued at
    the checkpoint are drawn.

    Visdom is distributed as source and needs an old setuptools to build: run
    ``PIP_BUILD_CONSTRAINT=c pip install visdom``, where the file ``c`` has the line
    ``setuptools<81``. The web page of the server needs ``tornado<6.6``.

    Args:
        server: the URL; by default ``VISDOM_SERVER_URL`` of the environment, or localhost.
        port: the port; by default ``VISDOM_PORT`` of the environment, or 8097.
        num_workers: 0 to send values from the calling thread, which then waits for the server.
        raise_exceptions: whether to raise an error if the server cannot be reached at the start;
            otherwise, a warning is issued, and training continues. Also passed to ``Visdom``.
        **kwargs: further arguments of ``visdom.Visdom``, such as ``env``; or ``offline=True`` with
            ``log_to_filename``, a file for ``Visdom.replay_log``. The defaults of ``username`` and
            ``password`` are ``VISDOM_USERNAME`` and ``VISDOM_PASSWORD`` of the environment.

    Attributes:
        vis: Visdom's client. Accessing it sends the queued values first, unless the server is down.

    Raises:
        ModuleNotFoundError: visdom is not installed.
        RuntimeError: the server cannot be reached.

    Example::

        with VisdomLogger(server="http://localhost", port=8097, env="digits") as logger:
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            logger.attach(trainer, WeightsScalarHandler(model), Events.EPOCH_COMPLETED)
            trainer.run(loader, max_epochs=10)
    """

    def __init__(
        self,
        server: str | None = None,
        port: int | None = None,
        num_workers: int = 1,
        raise_exceptions: bool = True,
        **kwargs: Any,
    ) -> None:
        visdom = import_optional("visdom", extra="visdom")
        server = server or os.environ.get("VISDOM_SERVER_URL", "localhost")
        port = port or int(os.environ.get("VISDOM_PORT", "8097"))
        for name in ("username", "password"):
            kwargs.setdefault(name, os.environ.get(f"VISDOM_{name.upper()}"))
        vis = _connect(
            visdom, server=server, port=port, raise_exceptions=raise_exceptions, **kwargs
        )
        name = f"{__name__}.{type(self).__name__}"
        super().__init__(_Windows(vis, name, in_background=num_workers > 0))

    @property
    def vis(self) -> Any:
        """The client."""
        return self._client()

    def _client(self) -> Any:
        vis = super()._client()
        getattr(self.tracker, "flush", lambda: None)()
        return vis


def _client_class(visdom: Any) -> Any:
    class Client(visdom.Visdom):  # type: ignore[misc]
        """Visdom's client with a time-out, and without printed tracebacks."""

        is_ours = False

        def _handle_post(self, url: str, data: Any = None) -> Any:
            return self.session.post(url, data=data or {}, timeout=_TIMEOUT_S).text

        def _send(self, msg: Any, endpoint: str = "events", *args: Any, **kwargs: Any) -> Any:
            if not args:
                kwargs["quiet"] = True
            return super()._send(msg, endpoint, *args, **kwargs)

        def win_exists(self, win: str, env: str | None = None) -> Any:
            if not self.is_ours:
                return super().win_exists(win, env)
            return self._send({"win": win, "eid": env}, "win_exists") == "true"

    return Client


def _connect(visdom: Any, **kwargs: Any) -> Any:
    """Returns a client of the server."""
    place = f"{kwargs['server']}:{kwargs['port']}"
    text = f"Failed to connect to Visdom server at {place}. Did you run python -m visdom.server?"
    try:
        vis = _client_class(visdom)(**kwargs)
        if vis.offline or vis.check_connection():
            return vis
    except OSError as error:
        raise RuntimeError(text) from error
    if kwargs["raise_exceptions"]:
        raise RuntimeError(text)
    warnings.warn(f"{text} Training continues", stacklevel=3)
    return vis


class _Windows:
    """A :class:`~ignite.handlers.trackers.Tracker` on the windows of an environment."""

    def __init__(self, vis: Any, logger_name: str, in_background: bool) -> None:
        self.client = vis
        self.with_legend: set[str] = set()
        self._sender = copy.copy(vis)
        self._sender.is_ours = self._sender.raise_exceptions = True
        self._logger_name = logger_name
        self._in_background = in_background
        self._run_id = uuid.uuid4().hex[:8]
        self._known: set[str] = set()
        self._is_resumed = False
        self._is_saved = True
        self._next_save = 0.0
        self._logged = LoggedSteps()
        self._unsent: dict[int, tuple[str, float, int]] = {}
        self._num_scalars = 0
        self._uncertain = -1
        self.reopen()

    def reopen(self) -> None:
        """Resumes sending."""
        self._is_open = True
        self._outbox: Outbox | None = None
        if self._in_background:
            self._outbox = Outbox(self._send, _is_refused, self._logger_name, max_batch_size=1)

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        for name, value in values.items():
            number, self._num_scalars = self._num_scalars, self._num_scalars + 1
            self._unsent[number] = (name, float(value), step)
            self._unsent.pop(number - _MAX_UNSENT, None)
            self._put(self._draw, number, name, float(value), step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        array = values.detach().cpu().float().flatten().numpy()
        opts = {"title": f"{name} at {step}", "numbins": 64}
        self._put(self._sender.histogram, array, opts=opts, **self._window(name))

    def params(self, values: Mapping[str, Any]) -> None:
        text = "<br>".join(f"{name}: {value}" for name, value in values.items())
        self._put(self._sender.text, text, **self._window("params"))

    def image(self, name: str, image: Tensor, step: int) -> None:
        array = image.detach().cpu().numpy()
        opts = {"caption": f"{name} at {step}"}
        self._put(self._sender.image, array, opts=opts, **self._window(name))

    def figure(self, name: str, figure: Any, step: int) -> None:
        opts = {"title": f"{name} at {step}"}
        self._put(self._sender.matplot, figure, opts=opts, **self._window(name))

    def flush(self) -> None:
        """Waits until all values are sent, unless the server is down."""
        if self._outbox is not None:
            self._outbox.put((self._save, (), {}))
            self._outbox.wait()
        else:
            with suppress(OSError):  # the server is down
                self._save()

    def close(self) -> None:
        if self._outbox is None:
            self._save()
        elif self._is_open:
            self._is_open = False
            self._outbox.put((self._save, (), {}))
            self._outbox.close()

    def elsewhere(self, folder: Path) -> Discarding:
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {
            "run_id": self._run_id,
            "env": self.client.env,
            "unsent": list(self._unsent.values()),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if state_dict["run_id"] == self._run_id:
            return
        self.flush()
        self._run_id, self._known, self._is_resumed = state_dict["run_id"], set(), True
        if self.client.offline:
            self._logged = last_steps(_logged_in(self.client.log_to_filename, f"{self._run_id}/"))
        for name, value, step in state_dict["unsent"]:
            self.scalars({name: value}, step)

    def _window(self, name: str) -> dict[str, Any]:
        return {"win": f"{self._run_id}/{name}", "env": self.client.env}

    def _put(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        item = (function, args, kwargs)
        if self._outbox is None:
            self._send([item])
        else:
            self._outbox.put(item)

    def _send(self, items: list[tuple[Callable[..., Any], tuple[Any, ...], Any]]) -> None:
        for function, args, kwargs in items:
            function(*args, **kwargs)
        with suppress(OSError):  # if saving fails, the next call saves
            self._save_if_cheap()

    def _draw(self, number: int, name: str, value: float, step: int) -> None:
        try:
            if number != self._uncertain or self._steps(name)[-1:] != [step]:
                self._append(name, value, step)
        except OSError:
            self._uncertain = number  # it may have been drawn before the connection failed
            raise
        except Exception:
            self._unsent.pop(number, None)
            raise
        self._unsent.pop(number, None)

    def _append(self, name: str, value: float, step: int) -> None:
        if self._is_resumed and name not in self._known and not self.client.offline:
            self._logged.note(name, max(self._steps(name), default=-1))
        is_new = name not in self._known and not self._logged.has(name, 0)
        self._known.add(name)
        if self._logged.has(name, step):
            return
        opts = {
            "title": name,
            "xlabel": "step",
            "ylabel": name,
            "showlegend": name.startswith(tuple(self.with_legend)),
        }
        self._is_saved = False
        window = self._window(name)
        # With "append", the server creates a missing window, but not when a file is replayed.
        update = None if is_new and self.client.offline else "append"
        answer = self._sender.line(
            X=[step], Y=[value], update=update, opts=opts, name=name, **window
        )
        if answer != window["win"]:
            raise ValueError(f"Visdom did not draw {name}: {str(answer)[:200]}")

    def _steps(self, name: str) -> list[int]:
        """Returns the steps of a window on the server."""
        window = self._window(name)
        if not self._sender.win_exists(**window):
            return []
        lines = json.loads(self._sender.get_window_data(**window))["content"]["data"]
        return [int(x) for line in lines for x in line["x"] if x is not None]

    def _save_if_cheap(self) -> None:
        """Makes the server save the environment, if that takes at most about 5 % of the time."""
        if clock.now() >= self._next_save:
            start = clock.now()
            self._save()
            self._next_save = clock.now() + _SAVE_SHARE * (clock.now() - start)

    def _save(self) -> None:
        if not self._is_saved and not self.client.offline:
            self._sender.save([self.client.env])
            self._is_saved = True


def _is_refused(error: Exception) -> bool:
    return not isinstance(error, OSError)


def _logged_in(path: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Yields the names and steps of windows with a prefix, from the file of an offline client."""
    with Path(path).open(encoding="utf-8") if Path(path).exists() else io.StringIO() as file:
        for line in file:
            try:
                _, message = json.loads(line)
            except ValueError:  # the last line of a process that was killed
                continue
            name = str(message.get("win", "")).removeprefix(prefix)
            for trace in message["data"] if name != message.get("win") else ():
                yield from ((name, int(x)) for x in trace.get("x", ()))


class _ShowsLegend:
    """Mixin of handlers whose windows may have a legend."""

    show_legend: bool

    def __call__(self: Any, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Draws the current values."""
        tracker = self._checked(logger).tracker
        if self.show_legend and isinstance(tracker, _Windows):
            prefix = "" if self.tag is None else f"{self.tag}/"
            tracker.with_legend.add(f"{prefix}{self._start()}")
        super().__call__(engine, logger, event_name)  # type: ignore[misc]

    def _start(self) -> str:
        """Returns the start of the names of its windows, after the tag."""
        return ""


class OutputHandler(_ShowsLegend, trackers._LogsOutput, BaseOutputHandler):
    """Draws metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the other arguments.

    Args:
        show_legend: whether windows have a legend.
    """

    logger_class = VisdomLogger

    @takes_old(
        OldOrder(
            "tag metric_names output_transform another_engine show_legend",
            lambda values: (
                len(values) == 5
                and isinstance(values[3], Engine)
                and not (values[4] is None or callable(values[4]))
            ),
        ),
        OldOrder(
            "tag metric_names output_transform another_engine global_step_transform show_legend",
            lambda values: (
                is_another_engine_meant(values) or (len(values) > 5 and isinstance(values[5], bool))
            ),
        ),
        arguments={"another_engine": ANOTHER_ENGINE},
    )
    def __init__(
        self,
        tag: str,
        metric_names: str | list[str] | None = None,
        output_transform: Callable[..., Any] | None = None,
        global_step_transform: Callable[[Engine[Any, Any], Any], int] | None = None,
        show_legend: bool = False,
        state_attributes: list[str] | None = None,
    ) -> None:
        super().__init__(
            tag, metric_names, output_transform, global_step_transform, state_attributes
        )
        self.show_legend = show_legend


def _without_tag(first: str) -> OldOrder:
    """Returns the order of arguments of Ignite 0.2.0, whose handlers had no tag."""
    return OldOrder(
        f"{first} show_legend", lambda values: len(values) > 2 and isinstance(values[2], bool)
    )


class OptimizerParamsHandler(
    _ShowsLegend, trackers._LogsHyperparameters, BaseOptimizerParamsHandler
):
    """Draws ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the other arguments.

    Args:
        show_legend: whether windows have a legend.
    """

    logger_class = VisdomLogger

    @takes_old(_without_tag("optimizer param_name"))
    def __init__(
        self,
        optimizer: Any,
        param_name: str = "lr",
        tag: str | None = None,
        show_legend: bool = False,
    ) -> None:
        super().__init__(optimizer, param_name, tag)
        self.show_legend = show_legend

    def _start(self) -> str:
        return f"{self.param_name}/"


class _DrawsNumbers:
    """Mixin of handlers that draw a number for each parameter, or for its gradient."""

    @takes_old(_without_tag("model reduction"))
    def __init__(
        self: Any,
        model: nn.Module,
        reduction: Callable[..., Any] = torch.norm,
        tag: str | None = None,
        show_legend: bool = False,
        *,
        whitelist: list[str] | Callable[[str, nn.Parameter], bool] | None = None,
    ) -> None:
        super().__init__(model, reduction, tag, whitelist)  # type: ignore[call-arg]
        self.show_legend = show_legend

    def _start(self: Any) -> str:
        return f"{self._what}_"


class WeightsScalarHandler(
    _DrawsNumbers, _ShowsLegend, trackers._LogsNumbers, BaseWeightsScalarHandler
):
    """Draws a number for each parameter, as ``[tag/]weights_norm/layer/weight``.

    Args:
        model: the module.
        reduction: ``f(tensor)``, returns a number. Its name is part of the names.
        tag: prefix of the names.
        show_legend: whether windows have a legend.
        whitelist: which parameters, see ``base_logger.BaseWeightsHandler``.
    """

    logger_class = VisdomLogger
    _what = "weights"


class GradsScalarHandler(
    _DrawsNumbers, _ShowsLegend, trackers._LogsNumbers, BaseWeightsScalarHandler
):
    """Draws a number for the gradient of each parameter, as ``[tag/]grads_norm/layer/weight``.

    Parameters without a gradient are skipped. See :class:`WeightsScalarHandler` for the arguments.
    """

    logger_class = VisdomLogger
    _what = "grads"


VisdomLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
