"""The client behind the commands, and its errors in the words and with the exit codes of the command line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.errors import (
    ConfigError,
    DescriptorError,
    NexapodError,
    NotFoundError,
    Problem,
    TryAgainError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_client import NexaPodClient
    from nexapod_client.errors import NexaPodError

__all__ = ["connected", "job_and_task", "url_option"]

#: What a status makes of an error.
_KINDS: dict[int, type[NexapodError]] = {
    401: ConfigError, 403: ConfigError, 404: NotFoundError, 409: DescriptorError, 413: DescriptorError,
    422: DescriptorError, 429: TryAgainError, 503: TryAgainError,
}  # fmt: skip


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url`, which arrives as `url`."""
    text = "The server of the coordinator, https://HOST:PORT. Default: NEXAPOD_URL."
    return click.option("--url", help=text)(command)


def job_and_task(name: str) -> tuple[str, int | None]:
    """Return what names a job, and the task behind it (42_7): a number, a UUID, or an id of its submitter's choice."""
    job, _, task = name.rpartition("_")
    if job.isdigit() and task.isdigit():
        return job, int(task)
    return name, None


@contextmanager
def connected(url: str | None) -> Iterator[NexaPodClient]:
    """Yield a client; what goes wrong is raised as errors of the command line."""
    from nexapod_client import NexaPodClient
    from nexapod_client.errors import NexaPodError

    try:
        with NexaPodClient(url or None, retries=3) as client:
            yield client
    except NexaPodError as error:
        raise _translated(error) from error


def _translated(error: NexaPodError) -> NexapodError:
    from nexapod_client.errors import UnreachableError as Unreachable
    from nexapod_client.errors import UntrustedServerError

    more: dict[str, Any] = {"got": error.got, "wanted": error.wanted, "hint": error.hint}
    if isinstance(error, Unreachable):
        return UnreachableError(error.detail, **more)
    if isinstance(error, UntrustedServerError):
        return ConfigError(error.detail, **more)
    kind = _KINDS.get(error.status, NexapodError)
    if issubclass(kind, DescriptorError):
        problems = tuple(Problem(str(one.get("path")), str(one.get("message"))) for one in error.problems)
        return kind(error.detail, problems=problems, **more)
    return kind(error.detail, **more)
