"""A bounded log of refused requests, for operators: who asked for what, and why it was refused. No token stands in it.

At most a few lines a second are written, and two files of a mebibyte kept, whatever strangers send; how many lines were
left out is told by the next one.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.server.problems import Problem

__all__ = ["Refusals"]

_LARGEST = 1 << 20
_RATE, _BURST = 5.0, 50.0


class Refusals:
    """The file `refused.jsonl` in the server's folder, and the one before it."""

    def __init__(self, folder: Path) -> None:
        """Write nothing yet."""
        self._folder = folder
        self._left, self._since, self.left_out = _BURST, time.monotonic(), 0

    def note(self, address: str, method: str, path: str, problem: Problem) -> None:
        """Note a refusal, if there were not too many; a full disk is no reason to refuse more."""
        now = time.monotonic()
        self._left, self._since = min(_BURST, self._left + (now - self._since) * _RATE), now
        if self._left < 1:
            self.left_out += 1
            return
        self._left -= 1
        entry = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "address": address[:64], "method": method[:16],
            "path": path[:200], "status": problem.status, "detail": problem.detail[:200], "left_out": self.left_out,
        }  # fmt: skip
        with suppress(OSError):
            self._write(json.dumps(entry).encode() + b"\n")
            self.left_out = 0

    def _write(self, line: bytes) -> None:
        own_folder(self._folder)
        path = self._folder / "refused.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size > _LARGEST:
            path.replace(self._folder / "refused.1.jsonl")
