"""The token of a repository: from the environment or a file, never from a command line that others can read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from nexapod_batch.errors import UsageError
from nexapod_batch.files import careful

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["token_of"]

_MAX_TOKEN = 4_096


def token_of(environ: Mapping[str, str], variable: str, path: Path | None) -> str:
    """Return the token in a file, or in a variable where no file is named.

    Raises:
        UsageError: There is none, others can read the file, or it is no token.

    """
    if path is None:
        text, place = environ.get(variable, ""), variable
    else:
        text, place = _from_file(path), str(path)
    token = text.strip()
    if not token:
        hint = f"make one in your account there, and put it into {variable}, or into a file for --token-file"
        raise UsageError("the repository wants a token", got=f"none in {place}", hint=hint)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{place} holds no token", wanted="one word of printable characters")
    return token


def _from_file(path: Path) -> str:
    try:
        fd = careful.open_plain(os.path.realpath(path))
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) & 0o077:
                raise UsageError(f"others can read {path}", hint=f"chmod 600 {path}")
            return careful.read_descriptor(fd, _MAX_TOKEN, path).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror, wanted="a file with a token") from error
