"""Folders of a site that cannot be made or written: which, why, and what to do about it, in one error."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError
from nexapod_batch.files.atomic import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.plugins import NodeContext

__all__ = ["usable"]

_IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR})
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def usable(context: NodeContext) -> Iterator[None]:
    """Turn an error of a file system inside into ConfigError, which is told once for the whole site."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, TimeoutError | ConnectionError):  # of the way there
            raise
        raise _unusable(context, error) from error


def _unusable(context: NodeContext, error: OSError) -> ConfigError:
    site, path = context.its_site, os.fsdecode(error.filename or str(context.remote_spool))
    if os.path.basename(path).startswith("."):  # a file that was to get another name when it is whole
        path = os.path.dirname(path)
    named = site.filesystem
    if named.scratch and path.startswith(str(context.remote_work.parent)):
        what, setting = "scratch folder", "[filesystem] scratch in its site file"
    elif named.work_dir:
        what, setting = "work folder", "[filesystem] work_dir in its site file"
    else:
        what, setting = "folder of runners", "[filesystem] work_dir in its site file, or NEXAPOD_HOME,"
    if error.errno in _IN_THE_WAY:
        step = f"what stands there is no folder: move it away, or set {setting} to another one"
    elif error.errno in FULL:
        step = f"make room there (quota?), or set {setting} to a folder with room"
    elif error.errno in _CLOSED:
        step = f"make it a folder that you can write to, or set {setting} to one"
    else:
        step = f"see whether you can write there, or set {setting} to a folder where you can"
    return ConfigError(
        f"site {site.name}: its {what} cannot be used", got=f"{error.strerror or error}: {path}",
        hint=f"{step}; jobs wait until then",
    )  # fmt: skip
