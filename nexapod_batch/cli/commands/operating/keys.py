"""The command `key`: which keys there are, for what part of the ledger each is good, and giving others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.commands.operating.roster import roster
from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator.queries.keys import HeldKey

__all__ = ["key"]

#: The forms that keys are exported in.
FORMATS = ("openssh", "pem", "vkey", "rotation", "allowed-signers", "krl")


@click.group()
def key() -> None:
    """List, rotate, revoke and export keys."""


@key.command("ls")
@json_option
def key_ls(as_json: bool) -> None:
    """List the keys of the coordinator and of every node.

    Those that they had are among them. `since` and `until` are entries of the ledger: what a key signed for entries
    from the one to before the other is good, unless it was revoked.
    """
    columns = ["of", "name", "key", "since", "until", "state"]
    output(as_json).rows("keys", [_row(one) for one in _held()], columns)


@key.command("show")
@click.argument("name", shell_complete=complete.nodes)
@json_option
def key_show(name: str, as_json: bool) -> None:
    """Show the keys of a node, or of the `coordinator`.

    Or one key, by its fingerprint.
    """
    from nexapod_batch.coordinator.queries.keys import keys_named

    rows = [_row(one) for one in keys_named(_held(), name)]
    output(as_json).document({"keys": rows}, _shown)


@key.command("rotate")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete.nodes)
@click.option("--agent", metavar="KEY", help="Take a key of ssh-agent: its fingerprint, comment or .pub line.")
@json_option
def key_rotate(names: tuple[str, ...], agent: str | None, as_json: bool) -> None:
    """Give nodes, or the `coordinator`, new keys.

    The old key and the new one both sign for that, and the ledger has it. What the old key signed stays good, what is
    open finishes, and work goes on meanwhile. The old private key is removed.
    """
    from nexapod_batch.coordinator.commands.key_rotation import check, rotate

    given = None
    if agent is not None:
        from nexapod_batch.files.agent_key import in_agent

        if len(names) != 1:
            raise UsageError("a key of ssh-agent is given to one", got=f"{len(names)} names", wanted="one")
        given = in_agent(agent)
    rotated: list[Document] = []
    with writing() as c:
        check(c, names)
        for name in dict.fromkeys(names):
            done = rotate(c, name, given)
            rotated.append({"name": done.holder, "key": done.new, "old_key": done.old})
    output(as_json).document({"rotated": rotated}, _rotated)


@key.command("revoke")
@click.argument("name", metavar="KEY", shell_complete=complete.nodes)
@click.option(
    "--since", "entry", metavar="INDEX", type=click.IntRange(0), required=True,
    help="The first entry of the ledger for which what it signed does not count; 0: it never did.",
)
@json_option
def key_revoke(name: str, entry: int, as_json: bool) -> None:
    """Say since which entry of the ledger a key does not count.

    KEY is a fingerprint, or whose key it was where only one was replaced; rotate a key that is in use first. Reports
    with later entries lose their votes: accepted tasks that rest on them are in doubt, and what is open runs again.
    Verdicts that the coordinator signed since then are worked out again, and signed anew where they hold.
    """
    from nexapod_batch.coordinator.commands.key_revocation import revoke

    with writing() as c:
        done = revoke(c, name, entry)
    document = {
        "name": done.holder, "key": done.key_id, "since": done.since, "withdrawn": list(done.withdrawn),
        "stopped": done.stopped, "doubted": list(done.doubted), "signed_anew": done.signed_anew,
        "unsigned": list(done.unsigned),
    }  # fmt: skip
    output(as_json).document(document, _revoked)


@key.command("export")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.nodes)
@click.option("--format", "form", type=click.Choice(FORMATS), default="openssh", show_default=True, help="Its form.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
@json_option
def key_export(names: tuple[str, ...], form: str, out: Path | None, as_json: bool) -> None:
    """Print public keys in a form that other programs read.

    Of nodes by name, of the `coordinator`, or by fingerprint; of all where none is named. allowed-signers has every key
    with the times of its use (ssh-keygen -Y verify), krl those that are revoked (ssh-keygen -Q), vkey a key as
    verifiers of ledgers take it, rotation what old and new key signed.
    """
    from nexapod_batch.coordinator.queries.key_export import exported

    with looking() as c:
        data = exported(c, names, form)
    if out is not None:
        from nexapod_batch.files import atomic

        atomic.write(out, data)
        output(as_json).document({"file": str(out), "format": form}, lambda shown: [shown["file"]])
        return
    if form == "krl" and not as_json:
        click.echo(data, nl=False)
        return
    text = base64.b64encode(data).decode() if form == "krl" else data.decode()
    from nexapod_batch.coordinator.queries.keys import keys_named

    document: Document = {"format": form, form: text}
    if len(names) == 1:
        document |= _row(keys_named(_held(), names[0])[-1])
    output(as_json).document(document, _exported)


def _held() -> list[HeldKey]:
    """Return all keys; of a home without a database the coordinator's, if it was made yet."""
    from nexapod_batch.coordinator.queries.keys import COORDINATOR, HeldKey, held_keys
    from nexapod_batch.files import keyfile

    if paths().has_database():
        with looking() as c:
            return held_keys(c)
    own = paths().keys / "coordinator"
    if not own.exists():
        return []
    return [HeldKey(COORDINATOR, COORDINATOR, keyfile.load(own).public)]


def _row(one: HeldKey) -> Document:
    state = "in use" if one.in_use else "replaced"
    if one.revoked is not None:
        state = f"revoked since {one.revoked}"
    return {
        "of": one.of, "name": one.name, "key": one.key_id, "public_key": one.public.hex(), "since": one.since,
        "until": one.until, "revoked": one.revoked, "in_use": one.in_use, "state": state,
        "signed_by_both": one.rotation is not None,
    }  # fmt: skip


def _shown(document: Document) -> Iterator[str]:
    for one in document["keys"]:
        yield from renderers.tree({name: one[name] for name in ("name", "key", "state", "since", "until")})


def _revoked(document: Document) -> Iterator[str]:
    yield f"{document['key']} of {document['name']} is revoked since entry {document['since']} of the ledger"
    counted = (
        ("withdrawn", "tasks with reports that count no longer"), ("doubted", "accepted tasks that are in doubt"),
        ("unsigned", "tasks whose verdicts do not hold, and were not signed anew"),
    )  # fmt: skip
    for name, what in counted:
        if document[name]:
            yield f"  {len(document[name])} {what}: {' '.join(document[name][:20])}"
    if document["stopped"]:
        yield f"  replicas that were under way, and are placed anew: {document['stopped']}"
    if document["signed_anew"]:
        yield f"  verdicts that hold, and are signed anew: {document['signed_anew']}"
    if document["doubted"]:
        yield f"  -> nexapod-batch retry {' '.join(document['doubted'][:20])}"


key.add_command(roster)


def _exported(document: Document) -> Iterator[str]:
    yield from document[document["format"]].splitlines()


def _rotated(document: Document) -> Iterator[str]:
    for one in document["rotated"]:
        yield f"{one['name']} has a new key: {one['key']}"
        yield f"  the old one, {one['old_key']}, signed for it, and stays good for what it signed before"
