"""`token`: tokens of people who use this coordinator from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.store.repositories.people import TokenRow

__all__ = ["token"]

_COLUMNS = ["id", "person", "scope", "name", "created", "expires", "state"]


@click.group()
def token() -> None:
    """Make, list and revoke tokens of people elsewhere, and say what they may have."""


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


@token.command("quota")
@click.argument("person", required=False)
@click.option("--jobs", type=click.IntRange(0), help="Jobs that have not ended.")
@click.option("--tasks", type=click.IntRange(0), help="Tasks that have not ended.")
@click.option("--core-hours", type=click.FloatRange(0), help="In 30 days; what open jobs may still take counts too.")
@click.option("--bytes", "stored", metavar="SIZE", help="Of published results, as in 10G.")
@click.option("--reset", is_flag=True, help="Forget what was set before.")
@json_option
def token_quota(
    person: str | None, jobs: int | None, tasks: int | None, core_hours: float | None, stored: str | None, reset: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Say what people may have and have, or set it for PERSON.

    What is not set for somebody is as serve says for all.
    """
    from nexapod_batch.coordinator.people import quotas

    wished = reset or any(value is not None for value in (jobs, tasks, core_hours, stored))
    if wished and person is None:
        raise UsageError("whose quota?", wanted="PERSON", hint="nexapod-batch token quota lists everybody's")
    if wished and person is not None:
        with writing() as c:
            quotas.change(
                c, person, jobs=jobs, tasks=tasks, core_hours=core_hours, stored=_size(stored), reset=reset
            )
    with looking() as c:
        people = c.store.people.people() if person is None else [person]
        rows = [row for name in people for row in quotas.standing(c, name, quotas.Quota()).rows()]
    output(as_json).rows("quotas", rows, ["person", "what", "used", "most", "left"])


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    return _bytes(text)


def _bytes(text: str) -> int:
    from nexapod_batch.schema.units import size

    try:
        return size(text) << 20
    except ValueError as error:
        raise UsageError("--bytes", got=repr(text), wanted="a size, as in 10G") from error


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
