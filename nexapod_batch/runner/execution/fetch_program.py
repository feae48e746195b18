"""The program that brings one input into the folder of its node: `python -I -m ... FD`, with the request on that.

Exit codes: 0 it is there, under its digest; 1 it is not, and stderr says why.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from nexapod_batch.entry_points import load
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import umask
from nexapod_batch.files.least_used import make_room
from nexapod_batch.sources import NoRoomError, SourceSettings
from nexapod_batch.sources.fetching import fetch

__all__ = ["main"]

_REQUEST = 1 << 20
_MEMORY = 1 << 30  # bytes of data, much of which libraries only reserve


class _Silent:
    """Progress that nobody hears."""

    def start(self, what: str, total: int | None) -> None:
        """Say nothing."""

    def advance(self, count: int) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


def main(argv: list[str]) -> int:
    """Fetch what the request names."""
    for limit, value in ((resource.RLIMIT_DATA, _MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    request = orjson.loads(os.read(int(argv[0]), _REQUEST))
    try:
        with umask.private():
            _bring(request)
    except (NexapodError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - what the runner reads
        return 1
    return 0


def _bring(request: dict[str, Any]) -> None:
    """Fetch it; where the disk is full, once more when everything that is not in use has gone."""
    folder, url = Path(request["folder"]), request["url"]
    settings = SourceSettings(
        max_bytes=request["limit"], private_hosts=tuple(request["private_hosts"]),
        gateways=tuple(request["gateways"]), environ=dict(os.environ), scratch=folder,
    )  # fmt: skip
    source = load("source", url.partition("://")[0].lower(), request["sources"])
    try:
        fetch(source, url, folder, settings, _Silent(), sha256=request["sha256"])
    except NoRoomError:
        make_room(folder, 0, time.time())
        fetch(source, url, folder, settings, _Silent(), sha256=request["sha256"])
    make_room(folder, request["cache"], time.time(), needed=(request["sha256"],))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
