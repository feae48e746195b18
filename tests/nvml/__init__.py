"""A driver of NVIDIA's for machines without a GPU: built from `fake.c`, found by LD_LIBRARY_PATH, led by a text file."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from nexapod_batch.files.machine_locks import locks_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIRST", "SECOND", "Driver", "asked", "gpu"]

#: Of this process alone: nodes of one account on one machine never have the same GPU at once.
_OWN = secrets.token_hex(4)
FIRST = f"GPU-{_OWN}-aaaa-bbbb-cccc-000000000001"
SECOND = f"GPU-{_OWN}-aaaa-bbbb-cccc-000000000002"


@cache
def library(*, old: bool = False) -> Path:
    """Build libnvidia-ml.so.1 once in a process, or an old one; return its folder, which goes with the process."""
    folder = Path(mkdtemp(prefix="nexapod-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(_forget)
    source = Path(__file__).with_name("fake.c")
    target = folder / "libnvidia-ml.so.1"
    flags = [*(["-DOLD"] if old else []), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-format-truncation"]
    subprocess.run(["gcc", *flags, "-Wl,-soname,libnvidia-ml.so.1", "-o", str(target), str(source)], check=True)
    return folder


class Driver:
    """What the driver says, changed by its methods; `env` makes a program and all that it starts listen to it."""

    def __init__(self, folder: Path, *lines: str, old: bool = False) -> None:
        """Install a driver with these GPUs, or an old one; two of one model where none are named."""
        self.file = folder / "nvml.txt"
        link = folder / "libnvidia-ml.so.1"
        if not link.is_symlink():
            link.symlink_to(library(old=old) / link.name)
        self.say("driver 550.90.07", *(lines or (gpu(FIRST), gpu(SECOND))))

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of who shall meet this driver."""
        return {"LD_LIBRARY_PATH": str(self.file.parent)}

    def say(self, *lines: str) -> None:
        """Say this from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        os.replace(fresh, self.file)

    def add(self, *lines: str) -> None:
        """Say this as well."""
        self.say(*self.file.read_text().splitlines(), *lines)

    def drop(self, start: str) -> None:
        """Say no more what starts so."""
        self.say(*(line for line in self.file.read_text().splitlines() if not line.startswith(start)))

    def vanish(self) -> None:
        """Unload the driver."""
        self.file.unlink()


def _forget() -> None:
    """Remove the locks of the GPUs that only this process had."""
    for lock in Path(locks_folder()).glob(f"GPU-{_OWN}-*"):
        lock.unlink(missing_ok=True)


def gpu(uuid: str, mib: int = 24564, model: str = "NVIDIA GeForce RTX 4090", compute: str = "8 9") -> str:
    """Return the line of a GPU."""
    return f"gpu {uuid} {mib} {compute} {model}"


def asked(driver: Driver, code: str) -> str:
    """Run Python code where the driver is; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **driver.env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip()
