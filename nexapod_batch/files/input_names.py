"""Where inputs that a glob takes are put in the work folder, and how many inputs there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.files.output_files import has_glob

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_FILES", "name_in_folder", "parents"]

#: Files of all tasks together, at most: each stands in the document of the job, which every launch carries.
MAX_FILES = 20_000


def name_in_folder(name: str, pattern: str, folder: str) -> str:
    """Return the path, in a folder, of a file that a pattern takes: what the pattern leaves open of its name."""
    fixed = 0
    for part in pattern.split("/")[:-1]:
        if has_glob(part):
            break
        fixed += 1
    return "/".join([folder.rstrip("/"), *name.split("/")[fixed:]])


def parents(name: str) -> Iterator[str]:
    """Yield the folders of a relative path, the innermost first."""
    while name := name.rpartition("/")[0]:
        yield name
