"""A memory cgroup with a limit, made for one test, where this machine lets us make one."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from spools import until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cgroup", "limited"]

_V1 = Path("/sys/fs/cgroup/memory")


class Cgroup:
    """A folder of the kernel's."""

    def __init__(self, folder: Path) -> None:
        """Remember it."""
        self.folder = folder

    @property
    def inside(self) -> tuple[str, ...]:
        """Words to put before a command that is to run in it."""
        return ("/bin/sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh")

    def killed(self) -> int:
        """Return how many processes the kernel killed in it, as it says itself."""
        return int((self.folder / "memory.oom_control").read_text().split()[-1])


@contextmanager
def limited(mib: int) -> Iterator[Cgroup]:
    """Give a cgroup in which processes may have so much memory together; skips where none can be made."""
    folder = _V1 / f"nexapod-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(mib << 20))
        with suppress(OSError):  # where swap is counted as well
            (folder / "memory.memsw.limit_in_bytes").write_text(str(mib << 20))
        yield Cgroup(folder)
    finally:
        until(lambda: _gone(folder), "an empty cgroup")


def _gone(folder: Path) -> bool:
    for pid in (folder / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
