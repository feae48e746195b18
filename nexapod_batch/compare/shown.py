"""Pieces of files as people may see them: what a liar wrote cannot reach a terminal."""

from __future__ import annotations

__all__ = ["END", "SHOWN", "printable"]

#: Bytes of a file that are shown.
SHOWN = 60
END = "(end of file)"


def printable(data: bytes) -> str:
    """Return a piece of a file, shortened, with everything escaped that is not printable."""
    if data == b"\n":
        return "(end of line)"
    text = data[:SHOWN].decode("utf-8", "backslashreplace")
    text = "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in text])
    if len(data) > SHOWN:
        return f"{text}..."
    return text
