"""Text for streams that cannot encode all characters, such as standard output in ASCII."""

from typing import Any

__all__ = ["in_encoding", "printable"]


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
