"""The signed statements: written out for foreign tools, and verified again from the stored bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.node_keys import keys_of
from nexapod_batch.coordinator.reports import stored_reports
from nexapod_batch.errors import NotFoundError, UsageError, VerificationError
from nexapod_batch.files import atomic
from nexapod_batch.trust.delegation import open_statement
from nexapod_batch.trust.keys import openssh_public, spki_pem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["attestations", "verify"]


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


def verify(c: Coordinator, job_id: int) -> list[dict[str, Any]]:
    """Verify every stored statement of a job again, and its published files; one finding for each."""
    nodes = c.nodes_by_id()
    rows = _replicas(c, job_id)
    job = c.store.only("job", id=job_id)
    found: list[dict[str, Any]] = []
    for row in rows:
        node = nodes[row["node_id"]]
        for report in stored_reports(c, row["id"]):
            name = f"{row['job_id']}_{row['task']}.{row['number']}"
            try:
                _, said = open_statement(report.envelope, report.delegation, keys_of(c, node))
                if (str(said.replica), said.nonce, said.job_digest) != (name, row["nonce"], job["digest"]):
                    raise VerificationError("the statement is about something else", got=str(said.replica), wanted=name)
                problem = (
                    _published(c, row, said.subjects, manifest=said.manifest) if row["validation"] == "valid" else ""
                )
            except VerificationError as error:
                problem = str(error)
            found.append(
                {"replica": name, "node": node.name, "key": node.key_id, "ok": not problem, "problem": problem}
            )
    if not found:
        raise NotFoundError(f"no statement of job {job_id} has come in yet", hint=f"nexapod-batch wait {job_id}")
    return found


def _published(c: Coordinator, row: Row, subjects: Any, *, manifest: bool) -> str:  # noqa: ANN401 - tuple of Subject
    """Return what is wrong with the published files of the replica that they were taken from, or nothing.

    Replicas that agree only after normalisation differ from the published bytes: they are compared by their vote.
    """
    folder = c.paths.results / str(row["job_id"]) / str(row["task"])
    first = next(
        r for r in c.store.all("replicas_of_task", job=row["job_id"], task=row["task"]) if r["validation"] == "valid"
    )
    if manifest or first["id"] != row["id"] or not folder.is_dir():
        return ""
    for subject in subjects:
        try:
            with (folder / subject.name).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            return f"published file {subject.name} cannot be read: {error.strerror}"
        if digest != subject.sha256:
            return f"published file {subject.name} is not what was signed: got sha256 {digest}, wanted {subject.sha256}"
    return ""


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
