"""Real servers on loopback, and a real browser."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HINT = "run scripts/install --integration"


def skip_without(*modules, browser=False):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if browser and shutil.which("chromium") is None:
        missing.append("chromium")
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: {HINT}")


@contextlib.contextmanager
def serving(command, url, log, deadline_s=90):
    """Runs a server until the end of the block, which begins when ``url`` answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment(),
        )
    try:
        wait_for(url, process, log, deadline_s)
        yield process
    finally:
        end(process)


def environment():
    # The servers' own threads and libraries must not take the whole machine, nor call home. What
    # ClearML sets in the process of other tests would make a new process part of it.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CLEARML_", "TRAINS_"))
    }
    return {
        **inherited,
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def run_python(*arguments, cwd=None, timeout_s=None, **variables):
    """Runs Python in a new process, with these environment variables; fails if it exits with an error."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert result.returncode == 0, result.stderr
    return result


def wait_for(url, process, log, deadline_s):
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(url, timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.2)  # between two questions whether it is up: there is nothing to be told by
    raise AssertionError(f"{url} does not answer:\n{log.read_text()}")


def end(process):
    """Ends a server and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


@contextlib.contextmanager
def browsing():
    """A page of a headless chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser.new_page(viewport={"width": 1400, "height": 900})
        finally:
            browser.close()
