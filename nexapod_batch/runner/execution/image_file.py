"""The container image of a launch: the file that was meant.

An image is hashed when an executor first uses it and whenever its file changed since, which costs a second for each
gigabyte; not for every replica. The container program opens it by its path once more: so the path is looked at again
when the command has ended, and what ran in another file is no result.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import PluginError
from nexapod_batch.runner.execution.stage import KeptCopyError

if TYPE_CHECKING:
    from nexapod_batch.runner.launches.launch import OpenedLaunch

__all__ = ["Images"]


class Images:
    """The images that this executor has looked at."""

    def __init__(self) -> None:
        """Know none."""
        self._good: dict[str, tuple[int, int, int, int]] = {}  # digest -> device, inode, size, time of the last change

    def path_of(self, launch: OpenedLaunch) -> str | None:
        """Return the path of a launch's image, None for none; KeptCopyError when it is not what was pinned."""
        container = launch.job.container
        if container is None:
            return None
        path = launch.bundle.input_paths[container.sha256]
        try:
            with open(path, "rb") as file:
                seen = os.fstat(file.fileno())
                identity = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
                if self._good.get(container.sha256) == identity:
                    return path
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise KeptCopyError(f"the container image cannot be read: {error}") from error
        if got != container.sha256:
            raise KeptCopyError(
                f"the container image {path} is not the one that was pinned, or is not complete:"
                f" got sha256 {got} of {seen.st_size} bytes, wanted {container.sha256}"
            )
        self._good[container.sha256] = identity
        return path

    def check_again(self, launch: OpenedLaunch) -> None:
        """Raise PluginError when the image that a command has run in is not the file that was looked at before it."""
        container = launch.job.container
        if container is None:
            return
        path = launch.bundle.input_paths[container.sha256]
        try:
            seen = os.stat(path)
        except OSError as error:
            raise PluginError(f"the container image went while it was in use: {error}") from error
        if (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns) != self._good.get(container.sha256):
            raise PluginError("the container image was replaced while it was in use", got=path)
