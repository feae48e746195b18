"""The command `key roster`: whom several people together say to believe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, require_tuf, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.ledger.roster import Roster

__all__ = ["roster"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def roster() -> None:
    """Say with others whose ledgers to believe.

    A roster names members, how many of them must sign it, and the coordinators and witnesses that they vouch for. Its
    form and rules are those of root metadata of TUF.
    """


@roster.command("new")
@click.argument("file", type=_FILE)
@click.option("--member", "members", metavar="PEM", type=_FILE, multiple=True, help="Public key of a member.")
@click.option("--threshold", type=click.IntRange(1), help="How many must sign; more than half unless given.")
@click.option("--expires", metavar="DAY", required=True, help="Until when it counts, as in 2027-12-31.")
@click.option("--coordinator", "coordinators", metavar="VKEY", multiple=True, help="Whom to believe; this one if none.")
@click.option("--witness", "witnesses", metavar="VKEY", multiple=True, help="Who witnesses ledgers.")
@click.option("--url", "urls", metavar="URL", multiple=True, help="Where ledgers and archives are published.")
@click.option("--server", "servers", metavar="URL#PIN", multiple=True, help="A server that nodes may follow.")
@json_option
def new(
    file: Path, members: tuple[Path, ...], threshold: int | None, expires: str, coordinators: tuple[str, ...],
    witnesses: tuple[str, ...], urls: tuple[str, ...], servers: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Write the next roster for its members to sign.

    Members and threshold are those of the trusted roster where none are given.
    """
    require_tuf()
    from nexapod_batch.coordinator.commands import roster as use_case
    from nexapod_batch.ledger.roster import Anchors

    with looking() as c:
        made = use_case.draft(c, file, members, threshold, expires, Anchors(coordinators, witnesses, urls, servers))
    output(as_json).document(_document(made), _shown)


@roster.command("sign")
@click.argument("file", type=_FILE)
@json_option
def sign(file: Path, as_json: bool) -> None:
    """Add the signature of this coordinator to a roster."""
    require_tuf()
    from nexapod_batch.coordinator.commands import roster as use_case

    with looking() as c:
        made = use_case.sign(c, file)
    output(as_json).document(_document(made), _shown)


@roster.command("accept")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@json_option
def accept(files: tuple[Path, ...], as_json: bool) -> None:
    """Trust a roster that follows the trusted one.

    The first one is believed as it is: compare its members with what they told you. Of several each must follow the
    one before.
    """
    require_tuf()
    from nexapod_batch.coordinator.commands import roster as use_case

    with writing() as c:
        found = use_case.accept(c, files)
    output(as_json).document(_document(found), _shown)


@roster.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the roster that is trusted here."""
    require_tuf()
    from nexapod_batch.coordinator.commands import roster as use_case

    with looking() as c:
        found = use_case.trusted(c)
    output(as_json).document(_document(found), _shown)


def _document(found: Roster) -> Document:
    return {
        "version": found.version, "expires": f"{found.expires:%Y-%m-%dT%H:%M:%SZ}", "threshold": found.threshold,
        "members": list(found.members), "signed_by": list(found.signed_by),
        **{name: list(values) for name, values in found.anchors._asdict().items()},
    }  # fmt: skip


def _shown(document: Document) -> Iterator[str]:
    yield from renderers.tree(document)
    missing = document["threshold"] - len(document["signed_by"])
    if missing > 0:
        yield f"signatures that are missing: {missing}: nexapod-batch key roster sign FILE, by its members"
