"""A home that belongs to an ordinary user, where the tests run as root."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from homes import Done, Home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["USER", "AccountHome", "Accounts", "become", "do_as", "opened", "two_accounts"]

#: Made by `install.sh`.
USER = "nexapod-test"

#: In mounts of its own: the folder in which the interpreter lies is opened for the user, when only root may enter it.
_OPEN = """
hidden=$(mktemp -d)
mount --bind {base} $hidden && mount -t tmpfs -o mode=755 tmpfs {closed} && mkdir -p {base}
mount --move $hidden {base} && rmdir $hidden
"""


def become(name: str) -> tuple[str, ...]:
    """Return the words that run what follows as another user, with the interpreter of the tests in reach."""
    group = pwd.getpwnam(name).pw_gid
    return opened("setpriv", f"--reuid={name}", f"--regid={group}", "--clear-groups", "--")


def opened(*then: str) -> tuple[str, ...]:
    """Return the words that run what follows, after other words, with the interpreter of the tests in everybody's reach."""
    closed = next((one for one in _way_to(Path(sys.base_prefix)) if not one.stat().st_mode & 0o001), None)
    text = "" if closed is None else _OPEN.format(base=shlex.quote(sys.base_prefix), closed=shlex.quote(str(closed)))
    script = f'set -e\n{text}exec {shlex.join(then)} "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


class Accounts(NamedTuple):
    """An owner, and somebody who is in the owner's group."""

    alice: str
    mallory: str


@contextmanager
def two_accounts() -> Iterator[Accounts]:
    """Make two accounts, and remove them again."""
    tag = secrets.token_hex(3)
    both = Accounts(f"nxa{tag}", f"nxm{tag}")
    subprocess.run(["useradd", "--no-create-home", "--user-group", both.alice], check=True)
    try:
        subprocess.run(["useradd", "--no-create-home", "--gid", both.alice, both.mallory], check=True)
        yield both
    finally:
        for name in reversed(both):
            subprocess.run(["userdel", name], check=False, capture_output=True)


def do_as(name: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script as an account with its group, the umask 002, in a folder; it may fail."""
    drop = ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--clear-groups", "--"]
    words = [*drop, "sh", "-c", f"umask 002\n{script}"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120, env={"PATH": os.environ["PATH"]})


def _way_to(path: Path) -> list[Path]:
    return [*reversed(path.parents), path]


class AccountHome(Home):
    """A home of whoever runs the tests, or of the ordinary user, with a login home beside it."""

    def __init__(self, folder: Path, user: str | None) -> None:
        """Name the home; `user` None is whoever runs the tests. The folder is given to the user."""
        super().__init__(folder)
        self.before = become(user) if user else ()
        self.login = folder / "login"
        self.login.mkdir()
        self.env["HOME"] = str(self.login)
        if user:
            for one in (folder, self.login):
                os.chown(one, pwd.getpwnam(user).pw_uid, -1)

    def call(self, *argv: object, before: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> Done:
        """Run the program as that user."""
        return super().call(*argv, before=(*self.before, *before), env=env)
