"""The published files of a task, each with the digest that its node signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.errors import NotFoundError
from nexapod_batch.files import output_files

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["PublishedFile", "files_of", "folder_of"]


class PublishedFile(Struct, frozen=True, kw_only=True):
    """A file of an accepted result."""

    task: int
    path: str
    size: int
    sha256: str | None  # as it was signed; None where nobody signed a file of this name


def folder_of(c: Coordinator, job: int, task: int) -> Path:
    """Return the folder of a task's published results; NotFoundError where nothing was published."""
    row = c.task(job, task)
    folder = c.paths.results / str(job) / str(task)
    if not row.published or not folder.is_dir():
        raise NotFoundError(f"task {job}_{task} has no results", got=row.state)
    return folder


def files_of(c: Coordinator, job: int, task: int) -> list[PublishedFile]:
    """Return the published files of a task by name; NotFoundError where nothing was published."""
    folder = folder_of(c, job, task)
    signed = _signed(c, job, task)
    return [
        PublishedFile(task=task, path=file.name, size=file.size, sha256=signed.get(file.name))
        for file in output_files.find(folder, ["**"], optional=True)
    ]


def _signed(c: Coordinator, job: int, task: int) -> dict[str, str]:
    """Return the digests that the node whose replica was published signed."""
    number = c.store.tasks.get(job, task).published_from
    for row in c.store.replicas.of_task(job, task):
        if row.number == number:
            statement = statement_of(c, row.id)
            files = listed(statement, c.store.tasks.manifest(job, task)) or {}
            return {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256, **files}
    return {}
