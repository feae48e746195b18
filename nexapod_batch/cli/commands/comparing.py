"""`compare`: two files or folders by hand, as replicas would be compared. `judge`: kept outputs by other rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.context import json_option, looking, writing
from nexapod_batch.cli.rendering.render import output
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.model.job import CompareRule

__all__ = ["compare", "judge"]


@click.command()
@click.argument("left", type=click.Path(exists=True))
@click.argument("right", type=click.Path(exists=True))
@click.option("--rule", "rules", multiple=True, metavar="KEY=VALUE", help="As under [[outputs]]: compare=allclose.")
@json_option
def compare(left: str, right: str, rules: tuple[str, ...], as_json: bool) -> int:
    """Compare two files or folders as outputs are compared, and say by how much they differ.

    Without --rule bytes must be equal. Where files differ, the lines for the descriptor are printed under which they
    would agree, if there are such. Exit code 0: they agree; 1: they do not.
    """
    from nexapod_batch.coordinator.queries.file_comparison import compared

    found = compared(left, right, _rule(rules))
    output(as_json).document({"agree": all(one["agree"] for one in found), "files": found}, _lines)
    return 0 if all(one["agree"] for one in found) else 1


def _rule(rules: tuple[str, ...]) -> CompareRule:
    from nexapod_batch.config.job.given_rules import rule_of
    from nexapod_batch.model.rule_text import keys_of

    if any(not text.partition("=")[2] for text in rules):
        raise UsageError("a --rule is a key and a value", got=" ".join(rules), wanted="--rule compare=allclose")
    return rule_of([key.replace(" = ", "=", 1) for text in rules for key in keys_of(text)], "--rule")


def _lines(document: Document) -> list[str]:
    from nexapod_batch.wording.figures import lines

    return [line for one in document["files"] for line in lines(one)]


@click.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@click.option("--compare", "comparator", metavar="NAME", help="Comparator, as under [[outputs]].")
@click.option("--digits", type=int, metavar="N", help="For round and significant.")
@click.option("--rtol", type=float, metavar="X", help="For allclose.")
@click.option("--atol", type=float, metavar="X", help="For allclose.")
@click.option("--integers", metavar="HOW", help="Whole numbers: exact or approximate.")
@click.option("--ignore", multiple=True, metavar="WHAT", help="What of a file does not count.")
@click.option("--output", "outputs", multiple=True, metavar="PATH", help="Only this output, as the job names it.")
@click.option("--dry-run", is_flag=True, help="Only say what it would come to.")
@json_option
def judge(
    selector: str,
    comparator: str | None,
    digits: int | None,
    rtol: float | None,
    atol: float | None,
    integers: str | None,
    ignore: tuple[str, ...],
    outputs: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> int:
    """Decide on the kept outputs of tasks that have ended again, by other rules.

    The job and its own verdicts stay as they are. Beside them stands another signed verdict, which names both policies;
    `explain`, `show`, `verify` and `attestations` know it. What it accepts is copied to the results of the job.

    Without --output the rule is for all outputs that have a vote. With --ignore alone comparators stay as they are.

    Exit code 0: accepted, all of it. 3: not accepted.
    """
    options = {"compare": comparator, "digits": digits, "rtol": rtol, "atol": atol, "integers": integers}
    given = {name: value for name, value in options.items() if value is not None}
    with looking() if dry_run else writing() as c:
        found = _judged(c, selector, given, ignore, outputs, dry_run=dry_run)
    document = {"ok": all(one["state"] == "accepted" for one in found), "dry_run": dry_run, "tasks": found}
    from nexapod_batch.cli.rendering.proofs import judged_again

    output(as_json).document(document, judged_again)
    return 0 if document["ok"] else 3


def _judged(
    c: Coordinator,
    selector: str,
    given: Mapping[str, object],
    ignore: tuple[str, ...],
    paths: tuple[str, ...],
    *,
    dry_run: bool,
) -> list[Document]:
    """Judge the tasks of a selector; of a whole job those that have ended with an answer."""
    from nexapod_batch.config.job.given_rules import other_outputs
    from nexapod_batch.coordinator.commands.judge import judge, judgeable

    job, task = selectors.resolve_one(c.store, selector)
    outputs = other_outputs(c.job(job), given, ignore, paths)
    tasks = judgeable(c, job) if task is None else [task]
    if not tasks:
        raise NotFoundError(f"no task of job {job} has ended with an answer", hint=f"nexapod-batch explain {job}")
    return [judge(c, job, index, outputs, dry_run=dry_run) for index in tasks]
