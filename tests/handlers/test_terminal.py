"""Ctrl-C in a real terminal."""

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "support" / "terminal_run.py"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def run_in_terminal(arguments, until, then):
    """Runs Python in a terminal of its own, where ``then`` is typed at ``until``: what it wrote, and how it ended."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 100))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(terminal),
    )
    os.close(terminal)
    seen, is_typed = "", False
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # all of its other ends are closed
            break
        if not part:
            break
        seen += part.decode()
        if until in seen and not is_typed:
            is_typed = True
            os.write(controller, then)
    os.close(controller)
    with process:
        return seen, process.wait(timeout=60)


def _take_terminal(terminal):
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal to this process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it


@pytest.mark.parametrize("kind", ["live", "bar"])
def test_ctrl_c_gives_the_terminal_back(kind):
    seen, code = run_in_terminal([PROGRAM, kind], until="READY", then=b"\x03")
    assert code != 0
    assert "KeyboardInterrupt" in seen
    assert re.search(r"1%|1/10|3/100|loss", seen), "something was shown"
    assert seen.count(HIDE) == seen.count(SHOW)
    assert seen.rfind(SHOW) >= seen.rfind(HIDE)
    traceback = seen[seen.rindex("KeyboardInterrupt") :]
    assert "\x1b[" not in traceback.replace("\x1b[0m", ""), "nothing is drawn over the error"


def test_the_live_display_hides_the_cursor_while_it_is_shown():
    seen, _ = run_in_terminal([PROGRAM, "live"], until="READY", then=b"\x03")
    assert HIDE in seen
