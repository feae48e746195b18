"""Commands that say why and prove what: `explain`, `logs`, `report`, `verify`, `attestations`."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.context import json_option, looking, paths, reading, require_tuf, tell_of_unread_reports, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.cli.rendering.terminal import LogPrinter, clean
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.coordinator.queries.log_files import Log
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["attestations", "explain", "logs", "report", "verify"]

#: Seconds between two looks at a file that grows.
FOLLOW_S = 0.2


@click.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@json_option
def explain(selector: str, as_json: bool) -> None:
    """Say why a job or task is where it is, and where replicas differ."""
    from nexapod_batch.coordinator.queries import explain as use_case

    with looking() as c:
        job, task = selectors.resolve_one(c.store, selector)
        found = use_case.explain(c, job, task)
        tell_of_unread_reports(c.store)
    document = {"explanation": found.lines, "tasks": found.tasks}
    output(as_json).document(document, lambda _: found.lines)


@click.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@click.option("--stderr", "stream", flag_value="stderr", help="What was written to stderr instead of stdout.")
@click.option("--all", "every", is_flag=True, help="Of every replica that is still here, not of one only.")
@click.option("--path", "only_path", is_flag=True, help="Print where the file is instead of what is in it.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended, and drive it meanwhile.")
@click.option("--raw", is_flag=True, help="On a terminal, too, print every byte as it is.")
@click.option("--verify", "compares", is_flag=True, help="Compare with what was noted while it grew, and signed.")
@json_option
def logs(
    selector: str, stream: str | None, every: bool, only_path: bool, follow: bool, raw: bool, compares: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Print what a task wrote (the first task of a job).

    Of a task that failed and wrote nothing to stdout, stderr is printed. On a terminal, characters that would move its
    cursor, or that cannot be seen, are spelt out. Files and pipes get every byte as it is.

    With --verify nothing is printed of it: every log of the job or task is compared, of what runs and of what ended.
    Exit code 0: it is as it was. 1: it was changed or cut, and where.
    """
    from nexapod_batch.coordinator.queries import views

    if compares:
        if any((stream, every, only_path, follow, raw)):
            raise UsageError("--verify goes with no other option but --json")
        return _compared_logs(selector, as_json=as_json)
    with reading() as store:
        job, task = selectors.resolve_one(store, selector)
        if task is None:
            task = views.tasks(store, job, limit=1, replicas=False)["tasks"][0]["index"]
        tell_of_unread_reports(store)
        shown = None if follow else _found_logs(store, job, task, stream, every=every)
    if shown is None:
        with writing() as c:
            _follow(c, job, task, stream or "stdout", LogPrinter(raw=raw))
        return 0
    name, found = shown
    if not any(log.size for log in found):
        _tell_of_nothing(job, task, name, there=bool(found))
    if only_path or as_json:
        output(as_json).document({"logs": [_row(log) for log in found]}, renderers.log_paths)
        return 0
    _print_logs(found, raw=raw, headed=every)
    return 0


def _compared_logs(selector: str, *, as_json: bool) -> int:
    """Compare the logs of a job or task with their notes and statements; NotFoundError where there is none yet."""
    from tempfile import TemporaryDirectory

    from nexapod_batch.cli.rendering.proofs import compared_logs
    from nexapod_batch.coordinator.queries.log_files import logs_by_replica
    from nexapod_batch.coordinator.verification.log_trails import STREAMS, verified_logs

    with looking() as c, TemporaryDirectory(prefix="nexapod-logs-") as brought:
        job, task = selectors.resolve_one(c.store, selector)
        rows = [row for row in c.store.replicas.of_job(job) if task is None or row.task == task]
        found = []
        for index in sorted({row.task for row in rows}):
            files = logs_by_replica(c, job, index, STREAMS, Path(brought))

            def opened(row: ReplicaRow, stream: str, files: dict[tuple[str, str], Log] = files) -> BinaryIO | None:
                log = files.get((f"{row.job_id}_{row.task}.{row.number}", stream))
                return None if log is None else log.open()

            found += verified_logs(c, [row for row in rows if row.task == index], opened)
    if not found:
        raise NotFoundError(f"no log of {selector} is here yet", hint=f"nexapod-batch explain {job}")
    good = all(one["ok"] for one in found)
    output(as_json).document({"ok": good, "replicas": found}, compared_logs)
    return int(not good)


def _row(log: Log) -> Document:
    return {"of": log.of, "path": log.path and str(log.path), "bytes": log.size}


def _found_logs(store: Store, job: int, task: int, stream: str | None, *, every: bool) -> tuple[str, list[Log]]:
    """Return which stream is shown and its copies; stderr where a task failed without a word on stdout."""
    from nexapod_batch.coordinator.queries.log_files import logs_of

    limit = None if every else 1
    name = stream or "stdout"
    found = list(islice(logs_of(store, paths(), job, task, name), limit))
    if stream is not None or any(log.size for log in found) or not _has_failed(store, job, task):
        return name, found
    errors = list(islice(logs_of(store, paths(), job, task, "stderr"), limit))
    if not any(log.size for log in errors):
        return name, found
    note(f"{job}_{task} wrote nothing to stdout; this is its stderr:")
    return "stderr", errors


def _tell_of_nothing(job: int, task: int, name: str, *, there: bool) -> None:
    """Say that nothing was written; NotFoundError where nothing is known of it at all."""
    published = (paths().results / str(job) / str(task)).is_dir()  # without the file: an empty log is not copied there
    if not there and not published:
        raise NotFoundError(f"no {name} of {job}_{task} is here", hint=f"nexapod-batch explain {job}_{task}")
    note(f"{job}_{task} wrote nothing to {name}" + ("" if published else " so far"))


def _print_logs(logs: list[Log], *, raw: bool, headed: bool) -> None:
    for log in logs:
        if headed:
            click.echo(f"==> {clean(log.of)} <==")
        with log.open() as source:
            LogPrinter(raw=raw).copy(source)


@click.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@json_option
def report(selector: str, as_json: bool) -> None:
    """Compare what a job asked for with what it used."""
    from nexapod_batch.cli.rendering.usage import usage
    from nexapod_batch.coordinator.queries import efficiency

    with looking() as c:
        (job,) = selectors.jobs_of([selectors.resolve_one(c.store, selector)])
        found = efficiency.report(c, job)
    output(as_json).document(found, usage)


@click.command()
@click.argument("selector", metavar="[ID | ARCHIVE]", required=False, shell_complete=complete.jobs)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False),
    help="Check a folder that `attestations` wrote instead: without a database, here or anywhere.",
)
@click.option(
    "--key", "keys", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="With an archive or --folder, a public key (PEM) that you got from its owner.",
)
@click.option("--uuid", help="With these, the UUID of the job, from whoever published it.")
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False),
    help="With --folder, the published files of the job: results/ID.",
)
@click.option(
    "--witness", "witnesses", multiple=True, metavar="VKEY",
    help="With an archive or --folder, a witness that must have cosigned the head of the ledger.",
)
@click.option("--chain", is_flag=True, help="Verify the jobs that fed it as well, and that it got what they made.")
@click.option(
    "--roster", "roster", type=click.Path(path_type=Path, dir_okay=False),
    help="With --folder or an archive, a roster that must name its coordinator.",
)
@json_option
def verify(
    selector: str | None,
    folder: Path | None,
    keys: tuple[Path, ...],
    uuid: str | None,
    results: Path | None,
    witnesses: tuple[str, ...],
    chain: bool,
    roster: Path | None,
    as_json: bool,
) -> int:
    """Work verdicts out again from the signed statements; compare results.

    Of a job of yours, or of an ARCHIVE, a folder or a tar, which needs no database and is not unpacked.
    Exit code 0: everything holds. 1: something does not, and it is named. 66: there is nothing to check.
    """
    from nexapod_batch.cli.rendering.proofs import verified, verified_chain

    if folder is not None:
        if selector is not None:
            raise UsageError("a job of yours or a folder, not both", hint="nexapod-batch verify --folder DIR")
        _refuse_chain(chain)
        document = _verified_folder(folder, keys, uuid, results, witnesses)
    elif selector is not None and selectors.is_path(selector):
        if results is not None:
            raise UsageError("an archive holds its own results", got=f"--results {results}", hint="leave it out")
        _refuse_chain(chain)
        document = _verified_archive(Path(selector), keys, uuid, witnesses)
    elif selector is None or any((keys, witnesses, roster, uuid, results)):
        _refuse_chain(chain and selector is None)
        raise UsageError("which job?", wanted="an ID, or --folder DIR", hint="nexapod-batch verify --help")
    else:
        document = _verified_chain(selector) if chain else _verified_job(selector)
    if roster is not None:
        document = _with_roster(document, roster)
    output(as_json).document(document, verified_chain if chain else verified)
    if document["ok"]:
        return 0
    return 1


def _refuse_chain(asked: bool) -> None:
    if asked:
        raise UsageError("--chain goes with a job of yours", hint="nexapod-batch verify ID --chain")



def _with_roster(document: Document, roster: Path) -> Document:
    require_tuf()
    from nexapod_batch.coordinator.verification.roster_check import with_roster

    return with_roster(document, roster)


def _verified_folder(
    folder: Path, keys: tuple[Path, ...], uuid: str | None, results: Path | None, witnesses: tuple[str, ...]
) -> Document:
    from nexapod_batch.coordinator.verification.export_check import verify_folder
    from nexapod_batch.coordinator.verification.export_files import given_keys
    from nexapod_batch.ledger.note import parse_key

    return verify_folder(folder, given_keys(keys), results, uuid, [parse_key(text) for text in witnesses])


def _verified_archive(path: Path, keys: tuple[Path, ...], uuid: str | None, witnesses: tuple[str, ...]) -> Document:
    from nexapod_batch.coordinator.archives.bag_format import BAGIT
    from nexapod_batch.coordinator.evidence.export_format import SIGNATURE

    if (path / SIGNATURE).exists() and not (path / BAGIT).exists():  # a proof alone
        return _verified_folder(path, keys, uuid, None, witnesses)
    from nexapod_batch.coordinator.archives.check import verify_archive
    from nexapod_batch.coordinator.verification.export_files import given_keys
    from nexapod_batch.ledger.note import parse_key

    return verify_archive(path, given_keys(keys), uuid, [parse_key(text) for text in witnesses])


def _verified_chain(selector: str) -> Document:
    from nexapod_batch.coordinator.verification import proof
    from nexapod_batch.coordinator.verification.chain import verify_chain

    with looking() as c:
        (job,) = selectors.jobs_of([selectors.resolve_one(c.store, selector)])
        jobs = [proof.described(c, number, found) for number, found in verify_chain(c, job).items()]
    return {"ok": all(one["ok"] for one in jobs), "jobs": jobs}


def _verified_job(selector: str) -> Document:
    from nexapod_batch.cli.rendering.progress import counted
    from nexapod_batch.coordinator.verification import job_evidence, proof

    with looking() as c:
        (job,) = selectors.jobs_of([selectors.resolve_one(c.store, selector)])
        with counted("tasks verified", c.store.jobs.get(job).n_tasks) as advance:
            found = job_evidence.verify(c, job, advance)
        return proof.described(c, job, found)


@click.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, dir_okay=False),
    help="Prove against this head of the ledger, with its cosignatures, instead of the newest.",
)
@json_option
def attestations(selector: str, out: Path, checkpoint: Path | None, as_json: bool) -> None:
    """Write the signed statements and the signers' public keys."""
    from nexapod_batch.coordinator.verification import attestations as written
    from nexapod_batch.files import umask

    with looking() as c:
        job, task = selectors.resolve_one(c.store, selector)
        with umask.as_given():
            files = written.attestations(c, job, task, out, checkpoint)
    output(as_json).lines("files", [str(file) for file in files])


def _has_failed(store: Store, job: int, task: int) -> bool:
    from nexapod_batch.coordinator.queries import views

    return bool(views.tasks(store, job, task, task, replicas=False)["tasks"][0]["state"] == "failed")


def _follow(c: Coordinator, job: int, task: int, stream: str, printer: LogPrinter) -> None:
    """Print a task's stdout or stderr as it grows, until the task has ended and nothing more came.

    Jobs are driven meanwhile: without a timer nobody else would take in the report that ends the task.
    """
    from contextlib import suppress

    from nexapod_batch.coordinator.commands import reconcile
    from nexapod_batch.coordinator.queries import views
    from nexapod_batch.coordinator.queries.log_files import live_log
    from nexapod_batch.errors import BusyError

    position = 0
    while True:
        found: Document = views.tasks(c.store, job, task, task, replicas=False)["tasks"][0]
        data, position = live_log(c, job, task, position, stream)
        if data:
            printer.feed(data)
        elif found["state"] not in {"waiting", "active"}:
            printer.feed(b"", final=True)
            return
        else:
            time.sleep(FOLLOW_S)
            with suppress(BusyError):  # another process is at work
                reconcile.reconcile(c, max_seconds=FOLLOW_S)
