"""Clears up behind a test run, however it ended: `sweep.py PID FOLDER` waits for that process, then acts.

Tests stop and remove what they start. A run that is killed cannot; so one watcher outside of it ends every process that
works below the run's own temporary folder, removes the accounts that have their homes there, and then the folder.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Seconds in which processes that were killed must be gone.
GONE_S = 10


def main(pid: int, folder: str) -> None:
    """Wait for the end of a process, then clear up."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    with suppress(ProcessLookupError):
        waited = os.pidfd_open(pid)
        select.select([waited], [], [])
    end = time.monotonic() + GONE_S
    while (left := below(folder)) and time.monotonic() < end:
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.1)  # the kernel ends them in its own time
    unmount(folder)
    for account in pwd.getpwall():
        if f"{account.pw_dir}/".startswith(f"{folder}/"):
            subprocess.run(["userdel", account.pw_name], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def below(folder: str) -> list[int]:
    """Return the processes whose command line, environment, current folder or root names the folder."""
    wanted, mine = os.fsencode(folder), os.getpid()
    return [int(one) for one in os.listdir("/proc") if one.isdecimal() and int(one) != mine and _names(one, wanted)]


def _names(process: str, wanted: bytes) -> bool:
    for file in ("cmdline", "environ"):
        with suppress(OSError):
            if wanted in Path("/proc", process, file).read_bytes():
                return True
    for link in ("cwd", "root", "exe"):
        with suppress(OSError):
            if os.fsencode(os.readlink(f"/proc/{process}/{link}")).startswith(wanted):
                return True
    return False


def unmount(folder: str) -> None:
    """Take away what is still mounted below the folder, the deepest first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [line.split(" ")[1] for line in lines]
    for point in sorted((one for one in points if f"{one}/".startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), os.path.realpath(sys.argv[2]))
