"""Databases of SQLite that were left unfinished: some of their content still lies in a file beside them.

In `NAME-wal` are changes that were not written to the database yet; in `NAME-journal` is what a transaction that broke
off had overwritten, which the next program that opens the database puts back. Whoever takes the database without these
files has another content, or half of a transaction.
"""

from __future__ import annotations

import os
import stat

__all__ = ["unfinished"]

#: End of the name -> how such a file begins while it counts: a journal that is kept for the next transaction is zeroed,
#: and a log that was truncated is empty. One that was only copied to the database looks as one that was not.
_LOGS = {"-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"), "-journal": (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",)}
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".bgz")


def unfinished(root: str, name: str) -> str | None:
    """Return the name of the file beside a file, both relative to `root`, without which it is no whole database.

    A packed database is one that was packed without that file. None where there is no such file.
    """
    unpacked = os.path.splitext(name)[0] if name.endswith(_PACKED) else name
    for database in {name, unpacked}:
        for suffix, marks in _LOGS.items():
            path = f"{root}/{database}{suffix}"
            if os.access(path, os.F_OK) and _head(path).startswith(marks):
                return f"{database}{suffix}"
    return None


def _head(path: str) -> bytes:
    """Return the first bytes of a plain file; none of what is something else, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
