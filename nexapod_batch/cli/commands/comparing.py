"""`compare`: two files or folders by hand, as replicas would be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option
from nexapod_batch.cli.rendering.render import output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.model.job import CompareRule

__all__ = ["compare"]


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
    from pathlib import Path

    from nexapod_batch.config.job.descriptor import parse

    if any(not text.partition("=")[2] for text in rules):
        raise UsageError("a --rule is a key and a value", got=" ".join(rules), wanted="--rule compare=allclose")
    text = 'schema = 1\n[job]\ncommand = ["true"]\n[[outputs]]\npath = "a"\n[[outputs]]\npath = "b"\n'
    sets = [f"outputs[0].{rule}" for rule in rules]
    return parse(text, Path("/"), name="--rule", sets=sets).job.outputs[0].rule


def _lines(document: Document) -> list[str]:
    from nexapod_batch.wording.figures import lines

    return [line for one in document["files"] for line in lines(one)]
