"""The program that asks pyslurm in our place, and that may end for it.

`python -I -m nexapod_backends.slurm.bindings.child FOLDER` loads it from the folder where whoever asks has found it,
after those that any interpreter has, and answers lines of JSON with lines of JSON until its stdin ends. An answer's
`text` is exactly what a command prints: of the queue as `parse.SQUEUE` has it, of ended jobs as `parse.SACCT`, of hosts
as `capacity.SCONTROL_NODES`, with the columns that are read. Where the controller or the accounting did not answer,
`silent` says why. libslurm ends the process that loads it where it finds no configuration, and crashes where pyslurm
was built for another Slurm: so nothing but this program ever imports pyslurm. Names are those of pyslurm 22.5 to 25.11.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from nexapod_backends.slurm.bindings import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NO_ANSWER", "UNFIT", "main"]

#: Exit codes beside 0 (nobody asked any more); any other one means that pyslurm broke.
UNFIT = 3  # made for another Slurm than the cluster's: what is on stderr says so
NO_ANSWER = 4  # the controller did not even tell its version
#: Bytes that it may take: a library that leaks, or an answer without an end, ends this process and no other.
_MEMORY = 8 << 30


def main(argv: Sequence[str]) -> int:
    """Answer the questions on stdin; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    sys.path += argv
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    pyslurm: Any = importlib.import_module("pyslurm")  # may end the process
    try:
        cluster = _cluster_version(pyslurm)
    except pyslurm.PyslurmError as error:
        sys.stderr.write(f"pyslurm {pyslurm.__version__}: {_said(error)}\n")
        return NO_ANSWER
    if rows.release(cluster) is None or rows.release(cluster) != rows.release(pyslurm.__version__):
        sys.stderr.write(f"pyslurm {pyslurm.__version__} is not made for Slurm {cluster}\n")
        return UNFIT
    with open(out, "wb") as stream:
        for line in sys.stdin.buffer:
            answer = _answer(pyslurm, json.loads(line))
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()
    return 0


def _answer(pyslurm: Any, question: Mapping[str, Any]) -> dict[str, str]:  # noqa: ANN401 - a module without types
    """Return the answer to one question."""
    try:
        text = "".join(f"{line}\n" for line in _lines(pyslurm, question))
    except pyslurm.PyslurmError as error:
        return {"silent": f"pyslurm {pyslurm.__version__}: {_said(error)}"}
    return {"text": text.encode("utf-8", "replace").decode()}


def _lines(pyslurm: Any, question: Mapping[str, Any]) -> Iterable[str]:  # noqa: ANN401 - a module without types
    match question["ask"]:
        case "queue":
            return rows.queued(pyslurm.Jobs.load().values(), frozenset(question["jobs"]))
        case "ended":
            wanted = pyslurm.db.JobFilter(ids=question["jobs"], start_time=question["start"])
            return rows.ended(pyslurm.db.Jobs.load(wanted).values())
        case "hosts":
            return rows.hosts(pyslurm.Nodes.load().values())
        case other:
            raise ValueError(other)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _cluster_version(pyslurm: Any) -> str:  # noqa: ANN401 - a module without types
    """Return the version of the controller that answers, "25.11.2"."""
    config = pyslurm.slurmctld.Config.load()
    if hasattr(config, "version"):
        return str(config.version)
    return str(pyslurm.config().get()["version"])  # before pyslurm 25.5


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
