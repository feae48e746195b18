"""Where log records go: stderr with `-v`, and what NEXAPOD_LOG names. Imports `logging`, so it is imported on demand.

NEXAPOD_LOG is `LEVEL` or `LEVEL:FILE`, with `warning`, `info` or `debug` for a level and an absolute path for a file.
Files are appended to, and opened by each command anew: whatever rotates them needs no signal.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from nexapod_batch import log
from nexapod_batch.errors import ConfigError

__all__ = ["VARIABLE", "end", "from_environment", "to_stderr"]

VARIABLE = "NEXAPOD_LOG"
_LEVELS = {"warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_LINE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s[%(process)d]: %(message)s"
#: A pipe without a reader is an error, and does not make the command wait.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
#: Loggers of ours.
_OURS = ("nexapod_batch", "nexapod_backends")


class _Handler(logging.StreamHandler[TextIO]):
    """Writes whole lines; a full disk or a closed pipe costs log lines, and never the command."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: the place for it is the one that is broken."""


class _Run:
    """What one command logs to."""

    command = ""
    began = 0.0
    handlers: dict[str, _Handler] = {}  # noqa: RUF012 - of this process, by file; "" is stderr


def to_stderr(level: str, command: str) -> None:
    """Log to stderr from this level on, once: the lower of two levels counts."""
    _add("", _LEVELS[level], command)


def from_environment(value: str, command: str) -> None:
    """Obey NEXAPOD_LOG; ConfigError for a level that is none, or a file that cannot be written."""
    level, colon, file = value.partition(":")
    if level not in _LEVELS or (colon and not file.startswith("/")):
        raise ConfigError(
            VARIABLE, got=repr(value), wanted=f"{', '.join(_LEVELS)}, alone or followed by : and an absolute path",
            hint=f"for example {VARIABLE}=info:{Path.home()}/nexapod.log",
        )  # fmt: skip
    _add(file, _LEVELS[level], command)


def end(exit_code: int) -> None:
    """Tell how the command ended, and take away what it logged to."""
    if not _Run.handlers:
        return
    seconds = time.monotonic() - _Run.began
    log.info("nexapod_batch.cli", "command ended", command=_Run.command, exit_code=exit_code, seconds=seconds)
    for file, handler in _Run.handlers.items():
        for name in _OURS:
            logging.getLogger(name).removeHandler(handler)
        if file:
            with suppress(OSError):  # it has taken nothing for long
                handler.stream.close()
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    _Run.handlers.clear()


def _add(file: str, level: int, command: str) -> None:
    handler = _Run.handlers.get(file)
    if handler is None:
        handler = _opened(file)
        handler.setLevel(level)
        _Run.handlers[file] = handler
        for name in _OURS:
            logging.getLogger(name).addHandler(handler)
    handler.setLevel(min(level, handler.level))
    for name in _OURS:
        logging.getLogger(name).setLevel(min(each.level for each in _Run.handlers.values()))
    _Run.command = command
    _Run.began = _Run.began if len(_Run.handlers) > 1 else time.monotonic()


def _opened(file: str) -> _Handler:
    try:
        stream = None if not file else os.fdopen(os.open(file, _APPEND, 0o600), "a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the log file of {VARIABLE} cannot be written", got=f"{error.strerror}: {file}", hint="name another file"
        ) from error
    handler = _Handler(stream)
    line = logging.Formatter(_LINE, "%Y-%m-%dT%H:%M:%S")
    line.converter = time.gmtime
    handler.setFormatter(line)
    return handler
