"""`token`: tokens of people who use this coordinator from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering.render import note, output

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.store.repositories.people import TokenRow

__all__ = ["token"]

_COLUMNS = ["id", "person", "scope", "name", "created", "expires", "state"]


@click.group()
def token() -> None:
    """Make, list and revoke tokens of people elsewhere."""


@token.command("new")
@click.argument("person")
@click.option(
    "--scope", type=click.Choice(["submit", "operate", "admin", "join"]), default="submit", show_default=True,
    help="What it is good for: jobs of one's own; jobs and nodes of all; tokens too; bringing in nodes.",
)  # fmt: skip
@click.option("--days", type=float, default=90.0, show_default=True, help="How long it is good.")
@click.option("--forever", is_flag=True, help="It is good until it is revoked.")
@click.option("--name", default="", help="What it is for.")
@json_option
def token_new(person: str, scope: str, days: float, forever: bool, name: str, as_json: bool) -> None:
    """Make a token for PERSON.

    It is printed, and shown this once.
    """
    from nexapod_batch.coordinator.people import tokens
    from nexapod_batch.server.local_word import pin_in_use

    with writing() as c:
        pin = pin_in_use(paths())
        made = tokens.new(c, person, tokens.Scope(scope), days=None if forever else days, name=name[:200], pin=pin)
    output(as_json).document({"token": made, "person": person, "scope": scope}, lambda document: [document["token"]])
    if not pin:
        note("it carries no key of a server, for none was started here: hand on its URL and fingerprint as well")


@token.command("ls")
@json_option
def token_ls(as_json: bool) -> None:
    """List tokens, without their secrets."""
    from nexapod_batch.coordinator.people import tokens

    with looking() as c:
        now = c.now()
        rows = [_shown(row, now) for row in tokens.listed(c)]
    output(as_json).rows("tokens", rows, _COLUMNS)


@token.command("revoke")
@click.argument("number", metavar="ID", type=int)
@json_option
def token_revoke(number: int, as_json: bool) -> None:
    """Make a token good for nothing, at once."""
    from nexapod_batch.coordinator.people import tokens

    with writing() as c:
        tokens.revoke(c, number)
    output(as_json).document({"revoked": number}, lambda document: [f"token {document['revoked']} is revoked"])


def _shown(row: TokenRow, now: int) -> Document:
    state = "good"
    if row.revoked_at is not None:
        state = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        state = "expired"
    return {
        "id": row.id, "person": row.person, "scope": row.scope, "name": row.name, "created": _time(row.created_at),
        "expires": None if row.expires_at is None else _time(row.expires_at), "state": state,
    }  # fmt: skip


def _time(milliseconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))
