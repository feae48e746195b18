"""The same client for programs with an event loop: each call runs in a thread."""

from __future__ import annotations

from nexapod_client.client import NexaPodClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Self, TypeVar

    from nexapod_client.nouns import Job, Outcome, ResultFile

    T = TypeVar("T")

__all__ = ["AsyncNexaPodClient"]



class AsyncNexaPodClient:
    """NexaPodClient, to be awaited; see there for what arguments mean and what is raised."""

    def __init__(self, base_url: str | None = None, token: str | None = None, **more: Any) -> None:  # noqa: ANN401
        """Take the arguments of NexaPodClient."""
        self._client = NexaPodClient(base_url, token, **more)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    async def submit_job(
        self, descriptor: Mapping[str, Any] | str, *, files: Mapping[str, bytes | str | Path] | None = None
    ) -> Job:
        """Submit a job and return its handle."""
        return await _thread(lambda: self._client.submit_job(descriptor, files=files))

    async def job(self, job: Job | int | str) -> Outcome:
        """Return a job as it stands."""
        return await _thread(lambda: self._client.job(job))

    async def wait(
        self,
        job: Job | int | str,
        timeout: float | None = None,  # noqa: ASYNC109 - as the other client has it
        *,
        progress: Callable[[Outcome], None] | None = None,
    ) -> Outcome:
        """Wait until a job ended; `progress` is called in another thread."""
        return await _thread(lambda: self._client.wait(job, timeout, progress=progress))

    async def cancel(self, job: Job | int | str) -> Outcome:
        """Cancel a job."""
        return await _thread(lambda: self._client.cancel(job))

    async def results(self, job: Job | int | str, to: str | Path | None = None) -> list[ResultFile]:
        """Return the files of accepted results."""
        return await _thread(lambda: self._client.results(job, to))

    async def explain(self, job: Job | int | str, task: int | None = None) -> dict[str, Any]:
        """Return why a job, or one of its tasks, is where it is."""
        return await _thread(lambda: self._client.explain(job, task))

    async def attestations(self, job: Job | int | str, to: str | Path, task: int | None = None) -> Path:
        """Save the proof of a job as a tar file."""
        return await _thread(lambda: self._client.attestations(job, to, task))

    async def archive(self, job: Job | int | str, to: str | Path | None = None, *, inputs: bool = True) -> Path:
        """Save a job that ended, with everything that its verdicts rest on, as a tar file."""
        return await _thread(lambda: self._client.archive(job, to, inputs=inputs))

    async def verify(
        self, job: Job | int | str, keys: Sequence[str | Path] = (), *, results: str | Path | None = None
    ) -> dict[str, Any]:
        """Work out every verdict of a job again, on this machine."""
        return await _thread(lambda: self._client.verify(job, keys, results=results))

    def events(
        self, job: Job | int | str, task: int | None = None, *, follow: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what happened to a job."""
        return _each(self._client.events(job, task, follow=follow))

    async def status(self) -> dict[str, Any]:
        """Return what is going on."""
        return await _thread(self._client.status)

    def jobs(self) -> AsyncIterator[dict[str, Any]]:
        """Yield your jobs, the newest first."""
        return _each(self._client.jobs())

    def logs(
        self, job: Job | int | str, task: int = 0, stream: str = "stdout", *, follow: bool = False
    ) -> AsyncIterator[str]:
        """Yield the lines of a log."""
        return _each(self._client.logs(job, task, stream, follow=follow))


async def _thread(call: Callable[[], T]) -> T:
    import asyncio  # noqa: PLC0415 - programs without an event loop do without

    return await asyncio.to_thread(call)


async def _each(found: Iterator[Any]) -> AsyncIterator[Any]:
    over = object()
    while (one := await _thread(lambda: next(found, over))) is not over:
        yield one
