"""What is done, told to operators by the standard `logging`, under the names of our modules.

Importing `logging` takes milliseconds that `ls` does not have. Whoever listens has imported it, so it is only looked up
here: while nobody has, a call is one look into a dictionary, and nothing is made of its fields.
"""

from __future__ import annotations

import sys

__all__ = ["debug", "info", "warning"]

#: As `logging` numbers them.
_DEBUG, _INFO, _WARNING = 10, 20, 30


def debug(logger: str, event: str, **fields: object) -> None:
    """Tell of a step: what `-vv` shows. `logger` is the caller's `__name__`; `fields` become `key=value`."""
    _tell(_DEBUG, logger, event, fields)


def info(logger: str, event: str, **fields: object) -> None:
    """Tell what a use case did, in one line: what `-v` shows."""
    _tell(_INFO, logger, event, fields)


def warning(logger: str, event: str, **fields: object) -> None:
    """Tell what went wrong and is survived."""
    _tell(_WARNING, logger, event, fields)


def _tell(level: int, logger: str, event: str, fields: dict[str, object]) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    listener = logging.getLogger(logger)
    # A library (paramiko, distributed) may have imported it: without a handler of anybody's it would write to stderr.
    if listener.isEnabledFor(level) and listener.hasHandlers():
        pairs = [f"{key}={_quoted(value)}" for key, value in fields.items()]
        listener.log(level, "%s", " ".join([event, *pairs]), stacklevel=3)


def _quoted(value: object) -> str:
    """Return a value in one printable word; jobs and nodes may have chosen what it says."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(" \"'=") & set(text)
    if text and plain:
        return text
    return ascii(text)
