"""What can be shown: text in the encoding of a stream, live displays, HTML in a notebook."""

import sys
from typing import Any

__all__ = ["in_encoding", "in_notebook", "is_terminal", "printable"]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def is_terminal(stream: Any) -> bool:
    """Whether a stream, which may be missing, is a terminal."""
    return stream is not None and hasattr(stream, "isatty") and bool(stream.isatty())


def printable(text: str, stream: Any) -> str:
    """Returns ``text`` in a form that a stream can encode, see :func:`in_encoding`."""
    return in_encoding(text, getattr(stream, "encoding", None))


def in_encoding(text: str, encoding: str | None) -> str:
    r"""Replaces characters that an encoding lacks with escapes.

    Bytes of a path or an argument that Python could not decode are first decoded as UTF-8.

    Args:
        text: any text.
        encoding: name of the encoding; None for UTF-8.

    Example:
        >>> print(in_encoding("caf\u00e9", "ascii"))
        caf\xe9
    """
    if text.isascii():
        return text
    try:
        if any("\udc80" <= character <= "\udcff" for character in text):
            text = text.encode(errors="surrogateescape").decode(errors="replace")
        return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
    except (LookupError, UnicodeError):
        return ascii(text)[1:-1]
