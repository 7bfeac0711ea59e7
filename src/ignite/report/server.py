"""Serves the page on this machine alone, and follows runs that are going on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ignite.report.folder import CHECKPOINTS, Run, Verifier, find_runs, names_of, read_run
from ignite.report.page import content, render
from ignite.report.timeline import Timeline

__all__ = ["LiveReport"]

_logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"


class LiveReport(ThreadingHTTPServer):
    """A server of the page that follows its runs: what they write is on the page within seconds.

    Only programs on this machine reach it, and only pages that it has served itself: requests under
    another name of the host are refused. Nothing can be changed through it.

    Args:
        paths: folders of runs, or folders that contain some; new ones appear.
        port: the port; 0 for any free one.

    Raises:
        ValueError: there is no run.
        ModuleNotFoundError: plotly is not installed.
        OSError: the port is taken.

    Attributes:
        url: the address of the page.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "run.json").write_text('{"format": 1, "config": {}, "sessions": []}')
        >>> with LiveReport([folder]) as report:
        ...     report.url.startswith("http://127.0.0.1:")  # report.serve_forever()
        True
    """

    daemon_threads = True

    def __init__(self, paths: Iterable[str | os.PathLike[str]], port: int = 0) -> None:
        self._followed = _Followed(list(paths))
        runs = self._followed.runs()
        if not runs:
            raise ValueError("paths should contain the folder of a run, but given none")
        render(runs, is_live=True)  # raises here, not in a thread
        super().__init__((_LOOPBACK, port), _Handler)
        self.url = f"http://{_LOOPBACK}:{self.server_port}/"

    def page(self) -> str:
        """Returns the whole page."""
        return render(self._followed.runs(), is_live=True)

    def news(self, version: str) -> dict[str, Any] | None:
        """Returns what has changed since a version of the content; None if nothing has."""
        return self._followed.news(version)


class _Followed:
    """Runs that are read again when their files have changed."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._paths = paths
        self._verifier = Verifier()
        self._read: dict[Path, tuple[Any, Run]] = {}
        self._lock = threading.Lock()

    def runs(self) -> list[Run]:
        with self._lock:
            return [run for _, run in self._current()]

    def news(self, version: str) -> dict[str, Any] | None:
        with self._lock:
            found, now = self._current(), time.time()
            # A run that was killed changes no file.
            states = [(stamp, Timeline(run, now).state) for stamp, run in found]
            new = hashlib.sha256(repr(states).encode()).hexdigest()[:16]
            if new == version:
                return None
            return {"version": new, **content([run for _, run in found], now)}

    def _current(self) -> list[tuple[Any, Run]]:
        folders, _ = find_runs(self._paths)
        read: dict[Path, tuple[Any, Run]] = {}
        for folder, name in zip(folders, names_of(folders), strict=True):
            stamp = (name, *_stamps(folder))
            known = self._read.get(folder)
            if known is not None and known[0] == stamp:
                read[folder] = known
                continue
            try:
                read[folder] = stamp, read_run(folder, name, self._verifier)
            except (ValueError, OSError) as error:  # removed or replaced in the meantime
                _logger.warning("%s is left out: %s", folder, error)
        self._read = read
        return list(read.values())


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Returns name, size and time of change of the files that tell about a run."""
    found = []
    for place in (folder, folder / CHECKPOINTS):
        if not place.is_dir():
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                    status = os.stat(entry.path)
                    found.append((entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/`` with the page, and ``/content`` with what has changed."""

    server: LiveReport
    server_version = "reignition"
    sys_version = ""

    def do_GET(self) -> None:
        """Answers a request."""
        port = self.server.server_port
        # Pages of other sites reach this address through a name that they let point to it.
        if self.headers.get("Host") not in (f"{_LOOPBACK}:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.FORBIDDEN, b"This host name is not served.\n", "text/plain")
            return
        address = urlsplit(self.path)
        if address.path == "/":
            page = self.server.page().encode(errors="backslashreplace")
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif address.path == "/content":
            news = self.server.news(parse_qs(address.query).get("version", [""])[0])
            if news is None:
                self._answer(HTTPStatus.NO_CONTENT, b"", "application/json")
            else:
                text = json.dumps(news, allow_nan=False).encode()
                self._answer(HTTPStatus.OK, text, "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is no such page.\n", "text/plain")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs a request."""
        _logger.debug(format, *args)
