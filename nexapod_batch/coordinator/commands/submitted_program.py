"""The program of a job as it is where the job is submitted: what each node starts is compared with it later."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.files.programs import Digests, first_in, printable
from nexapod_batch.model.job import Program
from nexapod_batch.trust.statement_rules import MAX_PATH

if TYPE_CHECKING:
    from nexapod_batch.model.job import Job

__all__ = ["with_program"]

_SHELL = "/bin/sh"


def with_program(job: Job, path: str) -> Job:
    """Return a job with the PATH of who submits it, and with what its command runs by it.

    Entries that are no absolute folders are left out: what they name depends on where one stands. A program that is
    not here is named all the same: nodes may have it.
    """
    path = os.pathsep.join(folder for folder in path.split(os.pathsep) if folder.startswith("/"))
    path = path if path.isprintable() and len(path) <= MAX_PATH else ""
    contained = job.container is not None
    searched = dict(job.env).get("PATH", "" if contained else path)
    file, digest = _program(job, searched, contained=contained)
    program = Program(file=printable(file, MAX_PATH) or "?", path=printable(searched, MAX_PATH), sha256=digest)
    return replace(job, path=path, program=program)


def _program(job: Job, path: str, *, contained: bool) -> tuple[str, str]:
    """Return the file that the command of a job runs, and its digest; "" for one that nobody can read here."""
    name = job.command[0] if job.command else _SHELL
    if job.script.startswith("#!"):
        return "script", hashlib.sha256(job.script.encode()).hexdigest()
    if "/" in name and not name.startswith("/"):
        inside = os.path.normpath(os.path.join(job.workdir, name))
        digests = {os.path.normpath(job_input.target): job_input.sha256 for job_input in job.inputs}
        return inside, digests.get(inside, "")
    if contained:
        return name, ""
    file = name if name.startswith("/") else first_in(path, name) or name
    return file, Digests().of(file) if file.startswith("/") else ""
