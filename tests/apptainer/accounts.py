"""A home that belongs to an ordinary user, where the tests run as root."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from homes import Done, Home

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["USER", "AccountHome", "become"]

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
    drop = ["setpriv", f"--reuid={name}", f"--regid={group}", "--clear-groups", "--"]
    closed = next((one for one in _way_to(Path(sys.base_prefix)) if not one.stat().st_mode & 0o001), None)
    text = "" if closed is None else _OPEN.format(base=shlex.quote(sys.base_prefix), closed=shlex.quote(str(closed)))
    script = f'set -e\n{text}exec {shlex.join(drop)} "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


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
