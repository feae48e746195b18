"""A process of ours opens as many files as the system lets it; what it starts for others has the shell's own limit."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, resource, subprocess
from nexapod_batch.files import open_files
told = lambda: subprocess.check_output(["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"], text=True).split()
open_files.give_back()
print(told())
open_files.raise_limit()
open_files.raise_limit()
print(told())
child = subprocess.Popen(["/bin/sh", "-c", "read x; ulimit -Sn"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
open_files.give_back_to(child.pid)
print(child.communicate(b"x\\n")[0].decode().strip())
if os.fork() == 0:
    open_files.give_back()
    print(told())
else:
    os.wait()
"""


def under(limits: str) -> list[str]:
    """Return what the program prints under limits of the shell."""
    argv = ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", sys.executable, "-u", "-c", PROGRAM]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_is_allowed_is_used_and_given_back() -> None:
    """The soft limit rises to the hard one, here; a child, and a process that was forked, get what there was."""
    assert under("ulimit -Sn 40; ulimit -Hn 300") == ["['40', '300']", "['300', '300']", "40", "['40', '300']"]


def test_where_nothing_more_is_allowed_nothing_changes() -> None:
    """Neither limit can rise."""
    assert under("ulimit -n 50") == ["['50', '50']", "['50', '50']", "50", "['50', '50']"]
