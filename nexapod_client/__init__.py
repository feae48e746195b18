"""Submit jobs to a nexapod-batch coordinator, wait for their verdicts, fetch results and check the evidence.

    from nexapod_client import NexaPodClient

    client = NexaPodClient("https://coordinator.example:5000", token="nxp_...")
    job = client.submit_job({"command": ["python3", "-c", "print(6*7)"], "quorum": {"agree": 2}})
    outcome = client.wait(job, timeout=600)
    print(outcome.state)
    for file in client.results(job):
        print(file.path, file.read())

Nothing of the coordinator is imported, and nothing but the standard library before the first connection. On the
coordinator's own machine, its own account needs neither token nor certificate: `NexaPodClient("http://localhost:5000")`
finds both where the server left them, readable for that account alone.
"""

from __future__ import annotations

from nexapod_client.aio import AsyncNexaPodClient
from nexapod_client.client import NexaPodClient
from nexapod_client.errors import (
    ConflictError,
    NexaPodError,
    NotFoundError,
    SignInError,
    UnreachableError,
    UntrustedServerError,
    WaitTimeoutError,
)
from nexapod_client.nouns import Job, Outcome, ResultFile

__all__ = [
    "AsyncNexaPodClient", "ConflictError", "Job", "NexaPodClient", "NexaPodError", "NotFoundError", "Outcome",
    "ResultFile", "SignInError", "UnreachableError", "UntrustedServerError", "WaitTimeoutError",
]  # fmt: skip
