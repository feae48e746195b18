"""The client: submit, wait, results, logs, verify."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from nexapod_client.errors import NexaPodError, WaitTimeoutError
from nexapod_client.nouns import Job, Outcome, ResultFile
from nexapod_client.place import find_place
from nexapod_client.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any, Self

__all__ = ["NexaPodClient"]

#: Seconds that the server keeps a question open where there is no news.
_POLL_S = 25.0
#: Seconds between two looks at a log that grows.
_LOOK_S = 1.0
_ENDED = frozenset({"accepted", "failed", "inconclusive", "cancelled"})


class NexaPodClient:
    """Talks to one coordinator for one person. Threads may share it."""

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        api_key: str | None = None,
        fingerprint: str | None = None,
        timeout: float = 60.0,
        retries: int = 6,
    ) -> None:
        """Know a server; nothing is connected yet.

        Args:
            base_url: Where it is, `https://HOST:5000`; else `NEXAPOD_URL`, else the server of this account here.
            token: `nxp_...`; else `NEXAPOD_TOKEN`, else, on the server's machine, the one that it left this account.
            api_key: Another name for `token`, as the NexaPod documents have it.
            fingerprint: `SHA256:...` of the server's key, as `serve` prints it; most tokens carry it.
            timeout: Seconds until a request without an answer is given up.
            retries: How often a request is sent again that got no answer; one that may do harm twice never is.

        Raises:
            NexaPodError: Nothing says which server is meant, or a token would travel in the clear.

        """
        self._transport = Transport(
            find_place(base_url, token or api_key, fingerprint), timeout=timeout, retries=retries
        )

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._transport.place.url

    def close(self) -> None:
        """Close the connection of this thread."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Jobs ------------------------------------------------------------------------------------------------------

    def submit_job(
        self, descriptor: Mapping[str, Any] | str, *, files: Mapping[str, bytes | str | Path] | None = None
    ) -> Job:
        """Submit a job once, however often the network fails meanwhile, and return its handle.

        `descriptor` is a table with the keys of a descriptor (or of the NexaPod documents), or TOML text. Inputs that
        it names are read from the current folder, unless `files` says what is in them (bytes, or a path to read).

        Raises:
            NexaPodError: The server refuses it; `problems` says why.

        """
        headers = {"Idempotency-Key": os.urandom(16).hex()}
        if isinstance(descriptor, str):
            body, headers["Content-Type"] = descriptor.encode(), "application/toml"
            if files:
                raise NexaPodError("files cannot travel with TOML text", problem={"hint": "submit a table (dict)"})
        else:
            from nexapod_client import downloads  # noqa: PLC0415 - who only waits does without

            document = _table(descriptor)
            _json_of(document)  # before anything is sent
            carried = downloads.carried(self._transport, document, files or {})
            if carried:
                document["files"] = {**carried, **document.get("files", {})}
            body, headers["Content-Type"] = _json_of(document), "application/json"
        answer = self._transport.request("POST", "/v1/jobs", body=body, headers=headers, again=True, longer=600.0)
        return Job(answer.json(), self)

    def job(self, job: Job | int | str) -> Outcome:
        """Return a job as it stands, by its handle, number, UUID or an id of your own."""
        return self._look(job, 0.0)

    def get_job_status(self, job: Job | int | str) -> dict[str, Any]:
        """Return everything that the server says of a job, as a table."""
        return self._look(job, 0.0).job

    def wait(
        self,
        job: Job | int | str,
        timeout: float | None = None,
        *,
        progress: Callable[[Outcome], None] | None = None,
    ) -> Outcome:
        """Wait until a job ended and its results are there, and return how it ended.

        `progress` hears how it stands, each time there is news. The job goes on whatever becomes of this call.

        Raises:
            WaitTimeoutError: It did not end within `timeout` seconds.
            NexaPodError: `timeout` is no number of seconds, or there is no such job.

        """
        _check_seconds(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _POLL_S if end is None else min(_POLL_S, max(0.0, end - time.monotonic()))
            asked = time.monotonic()
            found = self._look(job, left)
            if progress is not None:
                progress(found)
            if found.ended:
                return found
            if end is not None and time.monotonic() >= end:
                raise WaitTimeoutError(f"not ended after {timeout:g} s: {found}")
            if time.monotonic() - asked < _LOOK_S:  # a proxy answered for the server, or the server ends
                time.sleep(_LOOK_S if end is None else min(_LOOK_S, max(0.0, end - time.monotonic())))

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield your jobs, the newest first."""
        return self._pages("/v1/jobs")

    def tasks(self, job: Job | int | str) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a job with their replicas."""
        return self._pages(f"/v1/jobs/{_name(job)}/tasks")

    def cancel(self, job: Job | int | str) -> Outcome:
        """Cancel a job; what was accepted stays accepted."""
        self._transport.request("POST", f"/v1/jobs/{_name(job)}/cancel", again=True)
        return self._look(job, 0.0)

    # What jobs left --------------------------------------------------------------------------------------------

    def results(self, job: Job | int | str, to: str | Path | None = None) -> list[ResultFile]:
        """Return the files of accepted results; with `to`, a folder, they are saved there as TASK/PATH.

        Each is compared with the digest that its node signed; one that is there already, as signed, is left alone.

        Raises:
            NexaPodError: A file is not as it was signed.

        """
        number = self._number(job)
        found = [ResultFile(self, number, item) for item in self._pages(f"/v1/jobs/{number}/results")]
        if to is None:
            return found
        from nexapod_client import downloads  # noqa: PLC0415

        return downloads.save(self._transport, found, to)

    def read_result(self, file: ResultFile) -> bytes:
        """Return the content of a result; NexaPodError where it is not as it was signed."""
        from nexapod_client import downloads  # noqa: PLC0415

        return downloads.read(self._transport, file)

    def logs(
        self, job: Job | int | str, task: int = 0, stream: str = "stdout", *, follow: bool = False
    ) -> Iterator[str]:
        """Yield the lines of what a task wrote to `stdout` or `stderr`; with `follow` until it ended."""
        name, offset, rest = _name(job), 0, b""
        while True:
            answer = self._transport.request("GET", f"/v1/jobs/{name}/tasks/{task}/{stream}?offset={offset}")
            offset = int(answer.headers["next-offset"])
            *lines, rest = (rest + answer.body).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
            if answer.body:
                continue
            if not follow or answer.headers["task-state"] in _ENDED:
                break
            time.sleep(_LOOK_S)
        if rest:
            yield rest.decode("utf-8", "replace")

    def explain(self, job: Job | int | str, task: int | None = None) -> dict[str, Any]:
        """Return why a job, or one of its tasks, is where it is: `explanation` in sentences, `tasks` as codes."""
        of = "" if task is None else f"?task={task}"
        found: dict[str, Any] = self._transport.request("GET", f"/v1/jobs/{_name(job)}/explain{of}", longer=60.0).json()
        return found

    def events(
        self, job: Job | int | str, task: int | None = None, *, follow: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield what happened to a job or task, as the ledger has it; with `follow` until the job ended."""
        path, last = f"/v1/jobs/{_name(job)}/events", -1
        while True:
            ended = not follow or self._look(job, 0.0).ended  # before the look, so that nothing is missed after it
            for event in self._pages(path, {"task": task, "after": last if last >= 0 else None}):
                last = event["entry"]
                yield event
            if ended:
                return
            time.sleep(_LOOK_S)

    def attestations(self, job: Job | int | str, to: str | Path, task: int | None = None) -> Path:
        """Save the proof of a job that was decided as a tar file, and return where it is."""
        from nexapod_client import downloads  # noqa: PLC0415

        of = "" if task is None else f"?task={task}"
        return downloads.save_tar(self._transport, f"/v1/jobs/{_name(job)}/attestations{of}", to)

    def archive(self, job: Job | int | str, to: str | Path | None = None, *, inputs: bool = True) -> Path:
        """Save a job that ended, with everything that its verdicts rest on, as a tar file, and return where it is.

        Without `to` that is `archive-ID.tar` in the current folder. `nexapod-batch verify FILE` checks it.
        """
        from nexapod_client import downloads  # noqa: PLC0415

        path = f"/v1/jobs/{_name(job)}/archive" + ("" if inputs else "?inputs=no")
        return downloads.save_tar(self._transport, path, to or f"archive-{self._number(job)}.tar")

    def verify(
        self, job: Job | int | str, keys: Sequence[str | Path] = (), *, results: str | Path | None = None
    ) -> dict[str, Any]:
        """Work out every verdict of a job again, on this machine, from what its nodes signed; return what was found.

        `keys` are those that you trust, as their owners gave them: fingerprints (`SHA256:...`), or PEM files. With
        some, every key that signed must be among them, unless the coordinator's is; without, it is told of each key
        that it only came with the proof. `results` is the folder TASK/PATH of files to compare with what was signed.
        `ok` says whether all holds.
        """
        from nexapod_client.evidence import verified  # noqa: PLC0415 - it needs the verifier, which is large

        uuid = job.uuid if isinstance(job, Job) else None
        return verified(lambda to: self.attestations(job, to), keys, uuid, results)

    # The coordinator -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return version, nodes, queue, and how old the last pass is."""
        found: dict[str, Any] = self._transport.request("GET", "/v1/status").json()
        return found

    def checkpoint(self) -> tuple[str, str]:
        """Return the signed head of the ledger and the key that signs it, NAME+ID+KEY: keep both, to compare later."""
        head = self._transport.request("GET", "/v1/ledger/checkpoint").body.decode()
        return head, self._transport.request("GET", "/v1/ledger/key").body.decode().strip()

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Yield the nodes, by name."""
        return self._pages("/v1/nodes")

    def me(self) -> dict[str, Any]:
        """Return who you are to the server."""
        found: dict[str, Any] = self._transport.request("GET", "/v1/me").json()
        return found

    def _look(self, job: Job | int | str, seconds: float) -> Outcome:
        wait = f"?wait={seconds:g}" if seconds else ""
        return Outcome(self._transport.request("GET", f"/v1/jobs/{_name(job)}{wait}", longer=seconds).json())

    def _number(self, job: Job | int | str) -> int:
        if isinstance(job, Job):
            return job.id
        if isinstance(job, int) and not isinstance(job, bool):
            return job
        return int(self._look(job, 0.0).job["id"])

    def _pages(self, path: str, asked: Mapping[str, object] | None = None) -> Iterator[dict[str, Any]]:
        query = {name: value for name, value in (asked or {}).items() if value is not None}
        while True:
            from urllib.parse import urlencode  # noqa: PLC0415

            page = self._transport.request("GET", f"{path}?{urlencode(query)}" if query else path).json()
            yield from page["items"]
            if page["next"] is None:
                return
            query["after"] = page["next"]


def _table(descriptor: object) -> dict[str, Any]:
    """Return a descriptor as a table of its own; NexaPodError for what is none."""
    if isinstance(descriptor, Mapping):
        return dict(descriptor)
    problem = {
        "got": type(descriptor).__name__, "wanted": "a table (dict), or TOML text",
        "hint": 'submit_job({"command": ["echo", "hi"]})',
    }  # fmt: skip
    raise NexaPodError("this is no job", problem=problem)


def _json_of(document: dict[str, Any]) -> bytes:
    """Return a descriptor as it travels; NexaPodError for values that no descriptor has."""
    try:
        return json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        wanted = {"wanted": "texts, numbers, true, false, lists and tables"}
        raise NexaPodError(f"the job cannot be sent: {error}", problem=wanted) from None


def _check_seconds(timeout: object) -> None:
    """Refuse what is no number of seconds; NexaPodError."""
    if timeout is None:
        return
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout <= float("inf")
    if not is_number:  # nor is a NaN, which would never be over
        wanted = {"got": repr(timeout)[:100], "wanted": "seconds, or None to wait until the end"}
        raise NexaPodError("timeout is no number of seconds", problem=wanted)


def _name(job: object) -> str:
    """Return a job as paths name it; NexaPodError for what names none."""
    from urllib.parse import quote  # noqa: PLC0415

    if isinstance(job, Job):
        return str(job.id)
    if isinstance(job, bool) or not isinstance(job, int | str) or job == "":
        wanted = {"got": repr(job)[:100], "wanted": "what submit_job returned, a number, a UUID or an id of yours"}
        raise NexaPodError("this names no job", problem=wanted)
    return quote(str(job), safe="")
