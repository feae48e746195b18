"""The signed statements, written out for foreign tools with all that is needed to check them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.node_keys import keys_of
from nexapod_batch.coordinator.reports import stored_reports
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.files import atomic
from nexapod_batch.trust.keys import openssh_public, spki_pem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["attestations"]


def attestations(c: Coordinator, job_id: int, task: int | None, out: Path) -> list[Path]:
    """Write each report, what lets its key speak, and the keys of its node; return the paths.

    They are `<replica>.dsse.json`, `<replica>.delegation.json`, and `<key>.pub` and `<key>.pem`.
    A key's file name is its fingerprint without `SHA256:`, `/` as `_` and `+` as `-`.
    """
    rows = [row for row in _replicas(c, job_id) if task is None or row["task"] == task]
    nodes = c.nodes_by_id()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} is no folder that can be made", got=error.strerror, hint="give another --out"
        ) from error
    written: list[Path] = []
    for row in rows:
        reports = stored_reports(c, row["id"])
        for number, report in enumerate(reports):
            extra = f".{number + 1}" if number else ""  # a voided replica has two statements: show both
            path = out / f"{row['job_id']}_{row['task']}.{row['number']}{extra}.dsse.json"
            atomic.write(path, report.envelope + b"\n", durable=False)
            written.append(path)
        for report in reports[:1]:
            if report.delegation is not None:
                path = out / f"{row['job_id']}_{row['task']}.{row['number']}.delegation.json"
                atomic.write(path, report.delegation + b"\n", durable=False)
                written.append(path)
            written += _keys(c, nodes[row["node_id"]], out)
    if not written:
        raise NotFoundError(f"no statement of job {job_id} has come in yet", hint=f"nexapod-batch wait {job_id}")
    return list(dict.fromkeys(written))


def _replicas(c: Coordinator, job_id: int) -> list[Row]:
    c.job(job_id)  # NotFoundError when there is none
    return c.store.all("replicas_of_job", job=job_id)


def _keys(c: Coordinator, node: Node, out: Path) -> Iterator[Path]:
    """Write the keys that the node has and had: an earlier one may have signed what is exported."""
    for key, public in keys_of(c, node).items():
        stem = key.removeprefix("SHA256:").replace("/", "_").replace("+", "-")
        for suffix, text in (("pub", openssh_public(public, node.name)), ("pem", spki_pem(public))):
            path = out / f"{stem}.{suffix}"
            if not path.exists():
                atomic.write(path, text.rstrip("\n").encode() + b"\n", durable=False)
            yield path
