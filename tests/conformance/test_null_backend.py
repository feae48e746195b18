"""An outsider's backend of 46 lines, installed as a package of its own, passes the suite that ships."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plugin_packages import NULL, install

from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.testing.backends import BackendConformance
from nexapod_batch.testing.node import House, until

if TYPE_CHECKING:
    from collections.abc import Iterator


def runners(spool: Path) -> list[int]:
    """Return the process ids of the runners of a spool."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(spool) in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class TestNull(BackendConformance):
    """The suite, on a backend that says only how a runner starts."""

    name = "null"

    @pytest.fixture(autouse=True)
    def package(self, tmp_path: Path) -> Iterator[None]:
        """Install the package for the time of a test."""
        points = {"backends": "null = null_backend:NullBackend", "site_tables": "null = null_backend:NullTable"}
        folder = install(tmp_path / "site-packages", "null-backend", NULL, points)
        sys.path.insert(0, str(folder))
        yield
        sys.path.remove(str(folder))
        sys.modules.pop("null_backend", None)

    def end(self, house: House) -> None:
        """Kill what still runs."""
        for pid in runners(house.spool):
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGTERM)
        until(lambda: live_incarnation(house.spool) is None, "the runner to end")
        for pid in runners(house.spool):
            os.waitpid(pid, 0)


def test_it_is_small() -> None:
    """What an outsider has to write fits on a page."""
    assert len(NULL.splitlines()) <= 60
