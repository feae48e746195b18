"""`node witness`: the head of the coordinator's ledger as a node saw it, and whether another saw the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering.render import Document, output
from nexapod_batch.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["witness"]

_MAX_HEAD = 64 * 1024


@click.command()
@click.argument("name", required=False)
@click.option(
    "--with", "files", type=click.Path(path_type=Path, dir_okay=False), multiple=True,
    help="A head that another node saw: its ledger must be this one.",
)  # fmt: skip
@json_option
def witness(name: str | None, files: tuple[Path, ...], as_json: bool) -> None:
    """Print the head of the ledger that a node saw, or compare it.

    The ledger is that of the coordinator that was joined. The head carries the node's signature: give it to people with
    other nodes. With --with the coordinator must show that one ledger continues what both saw; where it cannot, it
    showed two, and both heads prove that. NAME may be left out where one node joined.
    """
    from nexapod_batch.agent import comparing
    from nexapod_batch.agent.home import only_home

    home = only_home(paths().home, name)
    signed = comparing.head_of_node(home)
    document: Document = {
        "node": home.folder.name, "key": str(comparing.key_of_node(home)), "checkpoint": str(signed), "agree": [],
    }  # fmt: skip
    if not files:
        output(as_json).document(document, lambda _: str(signed).removesuffix("\n").split("\n"))
        return
    heads = comparing.compare(home, [_text(file) for file in files])
    document["agree"] = [{"file": str(file), "entries": head.size} for file, head in zip(files, heads, strict=True)]
    output(as_json).document(document, _agreed)


def _agreed(document: Document) -> Iterator[str]:
    for one in document["agree"]:
        yield f"one ledger of {one['entries']} entries continues what {document['node']} saw, and {one['file']}"


def _text(file: Path) -> str:
    """Return the text of a head; VerificationError where there is none."""
    from nexapod_batch.files import careful

    hint = "nexapod-batch node witness > FILE keeps one, there"
    try:
        return careful.read(file, _MAX_HEAD).decode()
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "bytes that are no text"
        raise VerificationError(f"{file} is no signed head", got=got, hint=hint) from error
