"""The command `key`: which keys there are, for what part of the ledger each is good, and giving others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator.queries.keys import HeldKey

__all__ = ["key"]


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
@json_option
def key_rotate(names: tuple[str, ...], as_json: bool) -> None:
    """Give nodes, or the `coordinator`, new keys.

    The old key and the new one both sign for that, and the ledger has it. What the old key signed stays good, what is
    open finishes, and work goes on meanwhile. The old private key is removed.
    """
    from nexapod_batch.coordinator.commands.key_rotation import rotate

    rotated: list[Document] = []
    with writing() as c:
        for name in dict.fromkeys(names):
            done = rotate(c, name)
            rotated.append({"name": done.holder, "key": done.new, "old_key": done.old})
    output(as_json).document({"rotated": rotated}, _rotated)


@key.command("export")
@click.argument("name", shell_complete=complete.nodes)
@click.option("--format", "form", type=click.Choice(["openssh", "pem"]), default="openssh", show_default=True)
@json_option
def key_export(name: str, form: str, as_json: bool) -> None:
    """Print a public key.

    By node name, fingerprint, or `coordinator`.
    """
    from nexapod_batch.coordinator.queries.keys import keys_named
    from nexapod_batch.trust import keys

    one = keys_named(_held(), name)[-1]
    shown = keys.spki_pem(one.public) if form == "pem" else keys.openssh_public(one.public, one.name)
    output(as_json).document({**_row(one), form: shown}, lambda document: document[form].splitlines())


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


def _rotated(document: Document) -> Iterator[str]:
    for one in document["rotated"]:
        yield f"{one['name']} has a new key: {one['key']}"
        yield f"  the old one, {one['old_key']}, signed for it, and stays good for what it signed before"
