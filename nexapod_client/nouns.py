"""What a client hands out: jobs, outcomes, files."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from nexapod_client.client import NexaPodClient

__all__ = ["Job", "Outcome", "ResultFile"]


class Job:
    """A job that was submitted. It can be read as the answer that the NexaPod documents describe: `job["job_id"]`."""

    __slots__ = ("answer", "client", "id", "job_id", "name", "uuid", "warnings")

    def __init__(self, answer: dict[str, Any], client: NexaPodClient) -> None:
        """Keep what the server answered."""
        self.answer, self.client = answer, client
        self.id: int = answer["id"]
        self.job_id: str = answer["job_id"]  # the id that its submitter chose, else the number
        self.uuid: str = answer["uuid"]
        self.name: str = answer["name"]
        self.warnings: tuple[str, ...] = tuple(answer["warnings"])

    def __repr__(self) -> str:
        return f"<Job {self.id} ({self.name}) {self.uuid}>"

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - whatever the server said
        """Return a field of the server's answer."""
        return self.answer[key]

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait for the end of the job; see `NexaPodClient.wait`."""
        return self.client.wait(self, timeout=timeout)

    def results(self, to: str | Path | None = None) -> list[ResultFile]:
        """Return the files of its accepted results; see `NexaPodClient.results`."""
        return self.client.results(self, to=to)

    def logs(self, task: int = 0, stream: str = "stdout", *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a log; see `NexaPodClient.logs`."""
        return self.client.logs(self, task, stream, follow=follow)

    def explain(self, task: int | None = None) -> dict[str, Any]:
        """Return why it is where it is; see `NexaPodClient.explain`."""
        return self.client.explain(self, task)

    def cancel(self) -> Outcome:
        """Cancel it; what was accepted stays accepted."""
        return self.client.cancel(self)


class Outcome:
    """A job as it stands."""

    __slots__ = ("ended", "job", "progress", "queue", "reasons", "state")

    def __init__(self, job: dict[str, Any]) -> None:
        """Keep everything that the server said."""
        self.job = job
        self.state: str = job["state"]  # `waiting`, `active`, `accepted`, `failed`, `inconclusive`, `cancelled`
        self.ended: bool = job["ended"]  # and its results are there
        self.progress: float = job["progress"]  # part of the tasks that ended
        self.reasons: tuple[str, ...] = tuple(job["reasons"])  # why nothing of it runs
        self.queue: dict[str, Any] | None = job.get("queue")  # `ahead`, `nodes_fit`, `text`, while it is to be placed

    def __repr__(self) -> str:
        return f"<Outcome: {self}>"

    @property
    def accepted(self) -> bool:
        """Say whether every task has a result that was agreed upon."""
        return self.state == "accepted"

    def __str__(self) -> str:
        """Return number, name and state."""
        parts = [*([self.queue["text"]] if self.queue else []), *self.reasons]
        why = f": {'; '.join(parts)}" if parts else ""
        return f"job {self.job.get('id')} ({self.job.get('name')}) is {self.state}{why}"


class ResultFile:
    """A file of an accepted result."""

    __slots__ = ("client", "job", "local", "path", "sha256", "size", "task")

    def __init__(self, client: NexaPodClient, job: int, item: dict[str, Any], local: Path | None = None) -> None:
        """Keep what the server said, and where the file was saved."""
        self.client, self.job, self.local = client, job, local
        self.task: int = item["task"]
        self.path: str = item["path"]
        self.size: int = item["size"]  # bytes
        self.sha256: str | None = item["sha256"]  # as the node signed it

    def saved(self, local: Path) -> ResultFile:
        """Return the same file with where it is now."""
        item = {"task": self.task, "path": self.path, "size": self.size, "sha256": self.sha256}
        return ResultFile(self.client, self.job, item, local)

    def __repr__(self) -> str:
        return f"<ResultFile {self.task}/{self.path}, {self.size} bytes>"

    def read(self) -> bytes:
        """Return the content, compared with its digest; NexaPodError where it differs."""
        return self.client.read_result(self)
