"""Text for streams that cannot show all characters, such as a standard output in ASCII."""

from typing import Any

__all__ = ["in_encoding", "printable"]


def printable(text: str, stream: Any) -> str:
    """Returns ``text`` for a stream, whose encoding may lack characters, see :func:`in_encoding`."""
    return in_encoding(text, getattr(stream, "encoding", None))


def in_encoding(text: str, encoding: str | None) -> str:
    r"""Replaces characters that an encoding lacks by their escapes.

    Bytes that Python could not decode, of a path or an argument, are decoded as UTF-8 first.

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
