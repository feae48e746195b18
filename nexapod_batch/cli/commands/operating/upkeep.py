"""Commands that keep the house: `reconcile`, `gc`, `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import BusyError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.commands.reconcile import Pass
    from nexapod_batch.model.reason import Reason

__all__ = ["doctor", "gc", "reconcile"]

#: The numbers of a pass.
FIELDS = ("ingested", "decided", "launched", "published", "delivered", "quarantined", "lost", "moved", "open_jobs")


@click.command()
@click.option("--quiet", is_flag=True, help="Say only what is wrong, once; a pass that runs elsewhere is no fault.")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="Stop after so long; the next goes on.")
@click.option("--dry-run", is_flag=True, help="Say what a pass would do, and change nothing.")
@click.option(
    "--print", "how", type=click.Choice(["cron", "systemd", "scrontab"]), help="Print how to run it regularly."
)
@click.option("--steal", is_flag=True, help="Take over from another host on which nothing runs any more.")
@click.option(
    "--status-file", metavar="FILE", type=click.Path(dir_okay=False),
    help="Write time, counts and faults of this pass as JSON, for monitoring; replaced in one step.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 while something is wrong, told before or not.")
@json_option
def reconcile(
    quiet: bool, max_seconds: float | None, dry_run: bool, how: str | None, steal: bool, status_file: str | None,
    exit_code: bool, as_json: bool,
) -> int:
    """Take in reports, decide, dispatch and publish, once."""
    if how is not None:
        from nexapod_batch.cli.commands.operating.schedules import entry

        output(as_json).lines(how, entry(how))
        return 0
    from nexapod_batch.cli.commands.operating.monitoring import status_written

    document: Document = {**dict.fromkeys(FIELDS, 0), **_reasons([], [])}
    try:
        with status_written(None if dry_run else status_file) as status:
            status.update(document)
            if paths().has_database():  # before the first submit there is nothing to do, and nothing is made
                done = _one_pass(max_seconds, dry_run=dry_run, steal=steal and not dry_run)
                document = {name: getattr(done, name) for name in FIELDS} | _reasons(done.faults, done.standing)
                status.update(document)
    except BusyError:
        if quiet:
            return 0
        raise
    for fault in document["faults"]:
        note(fault)
    if as_json or not quiet:
        output(as_json).document({**document, "dry_run": dry_run}, renderers.reconciled)
    return int(exit_code and bool(document["faults"] or document["standing"]))


def _reasons(faults: Sequence[Reason], standing: Sequence[Reason]) -> Document:
    """Return the faults of a pass, each in a line and, in the same order, as data."""
    from nexapod_batch.wording import one_line

    kinds = {"faults": faults, "standing": standing}
    lines = {kind: [one_line(reason) for reason in reasons] for kind, reasons in kinds.items()}
    why = {kind: [reason.document() for reason in reasons] for kind, reasons in kinds.items()}
    return {**lines, "why": why}


def _one_pass(max_seconds: float | None, *, dry_run: bool, steal: bool) -> Pass:
    """Run one pass, with `steal` after taking the lease from another host; BusyError when one is running."""
    from nexapod_batch.coordinator.commands import reconcile as use_case
    from nexapod_batch.store import writer

    with looking() if dry_run else writing() as c:
        if steal:
            with writer(c.store, steal=True):
                pass  # given back at once: the lease is this host's again
        return use_case.reconcile(c, max_seconds=max_seconds, dry_run=dry_run)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove work folders, spool files and losers that nothing needs."""
    from nexapod_batch.coordinator.commands.upkeep import retention

    found = dict.fromkeys(retention.KINDS, 0)
    if paths().has_database():  # before the first submit there is nothing to remove, and nothing is made
        found |= _looked_over() if dry_run else _collected()
    about = {"dry_run": dry_run} if dry_run or as_json else {}
    output(as_json).document({**about, **found}, renderers.tree)


def _looked_over() -> dict[str, int]:
    from nexapod_batch.coordinator.commands.upkeep import retention

    with looking() as c:
        return retention.gc(c, dry_run=True)


def _collected() -> dict[str, int]:
    """Remove what is over; where the disk is too full to note anything down, remove first and note it then."""
    from nexapod_batch.coordinator.commands.upkeep import retention, room

    try:
        with writing() as c:
            return retention.gc(c)
    except BusyError:
        raise
    except TryAgainError as error:
        with looking() as c:
            made = room.make_room(c)
        if not made:
            error.hint = "nothing that is kept here is over yet: remove something else, or results that you copied"
            raise
    with writing() as c:
        found = retention.gc(c, discarded=made.segments)
    found["inputs"] += made.inputs
    found["segments"] += len(made.segments)
    found["uploads"] += made.uploads
    return found


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check this installation: database, keys, nodes, quarantine, results."""
    from nexapod_batch.coordinator.queries import doctor as use_case

    if paths().has_database():
        from nexapod_batch.coordinator.verification.results_check import results_checks

        with looking() as c:
            found = [*use_case.checks(c), *(use_case.Check(*one) for one in results_checks(c))]
    else:
        found = use_case.first_checks(paths())
    checks = [{"check": check.name, "verdict": check.verdict, "text": check.text, "why": check.why} for check in found]
    output(as_json).rows("checks", checks, ["verdict", "check", "text"])
    if any(check["verdict"] == "fail" for check in checks):
        return 1
    return 0
