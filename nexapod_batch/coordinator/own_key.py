"""The coordinator's own key: the file that holds it, compared with the database, which says which key is in force.

Whoever opens a coordinator comes through here, to write or to read: a key that was swapped is noticed by every command
that signs or verifies.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError, KeyFileError
from nexapod_batch.files import key_replacement, keyfile

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.operations import CoordinatorKeyRow
    from nexapod_batch.trust.dsse import Signer

__all__ = [
    "checked", "found", "holders", "keep", "make", "not_revoked", "path_of", "public_at", "revoked_at", "trusted",
]  # fmt: skip


def path_of(paths: Paths) -> Path:
    """Return where the coordinator's private key lies."""
    return paths.keys / "coordinator"


def found(paths: Paths, *, write: bool) -> Signer | None:
    """Return the key in the file; None where there is none yet and one may be made.

    Raises:
        ConfigError: The folder cannot be looked into.
        KeyFileError: The key is gone and there is a database, or it cannot be read.

    """
    key = path_of(paths)
    try:
        missing = write and not key.exists()
    except OSError as error:
        got, hint = f"{error.strerror}: {error.filename}", "set NEXAPOD_HOME to a folder of your own"
        raise ConfigError("the home folder cannot be used", got=got, hint=hint) from error
    if not missing:
        return keyfile.load(key)
    if paths.state_db.exists():
        raise KeyFileError(
            f"the coordinator's key {key} is gone, but there is a database",
            hint="put the key back from a backup: nodes trust only that one; or move the home away to start afresh",
        )
    return None


def make(paths: Paths) -> Signer:
    """Make the first key of a home.

    Raises:
        ConfigError: It cannot be written.
        MemoryError: There is no more memory.

    """
    key = path_of(paths)
    try:
        return keyfile.create(key, "nexapod-batch coordinator")
    except FileExistsError:  # another first run was faster
        return keyfile.load(key)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise ConfigError(
            "the coordinator's key cannot be written",
            got=f"{error.strerror}: {key}",
            hint="set NEXAPOD_HOME to a folder that you can write",
        ) from error


def checked(store: Store, signer: Signer, path: Path, *, write: bool) -> Signer:
    """Return the key that is in force, given the one in the file at `path`.

    That is another one where a rotation was stopped before its last step. A database that names none takes any.

    Raises:
        KeyFileError: The key in the file is not that of the database.

    """
    known = store.operations.coordinator_key()
    if known is None or known == signer.key_id:
        return signer
    there = key_replacement.in_force(path, known, write=write)
    if there.key_id == known:
        return there
    whose = next((node.name for node in store.nodes.all() if node.key_id == signer.key_id), "")
    names = f", which is the key of node {whose}" if whose else ""
    if any(row.key_id == signer.key_id for row in store.operations.coordinator_keys()):
        names = ", which the coordinator had before"
    raise KeyFileError(
        f"{path} is not the key of this database", got=signer.key_id + names, wanted=known,
        hint="put that key back from a backup: nodes trust only it; or move the home away to start afresh",
    )  # fmt: skip


def keep(store: Store, signer: Signer) -> None:
    """Keep whose database this is, at first use; what is kept stays."""
    keys = store.operations.coordinator_keys()
    if not keys or keys[-1].public_key is None:
        with store.atomic():
            store.operations.keep_coordinator_key(signer.key_id, signer.public)


def trusted(store: Store, signer: Signer) -> dict[str, bytes]:
    """Return by id the keys whose bundles nodes take: the one in force, and those of bundles that are under way."""
    earlier = [row for row in store.operations.coordinator_keys() if row.until_ms is not None and row.revoked is None]
    if not earlier:
        return {signer.key_id: signer.public}
    began = [launch.created_at for launch in store.launches.all_open()]
    oldest = min(began, default=None)
    good = {signer.key_id: signer.public}
    for row in earlier:
        if row.public_key is not None and oldest is not None and oldest <= (row.until_ms or 0):
            good[row.key_id] = row.public_key
    return good


def not_revoked(store: Store, signer: Signer) -> dict[str, bytes]:
    """Return by id the keys whose word the coordinator knows as its own: the one in force, and earlier ones."""
    rows = holders(store, signer)
    earlier = {row.key_id: row.public_key for row in rows if row.public_key is not None and row.revoked is None}
    return {**earlier, signer.key_id: signer.public}


def holders(store: Store, signer: Signer) -> list[CoordinatorKeyRow]:
    """Return the keys that the coordinator has and had, the first one first; the one in force has its public half."""
    from msgspec.structs import replace  # noqa: PLC0415 - most commands need none of this

    return [
        replace(row, public_key=signer.public) if row.key_id == signer.key_id else row
        for row in store.operations.coordinator_keys()
    ]


def public_at(store: Store, signer: Signer, entry: int) -> bytes:
    """Return the public key by which the coordinator signs for an entry of its ledger."""
    for row in holders(store, signer):
        if row.public_key is not None and row.since <= entry and (row.until is None or entry < row.until):
            return row.public_key
    return signer.public


def revoked_at(store: Store, signer: Signer, entry: int) -> int | None:
    """Return since which entry the key that signs for an entry is revoked, if it is so for this one; else None."""
    public = public_at(store, signer, entry)
    for row in holders(store, signer):
        if row.public_key == public and row.revoked is not None and row.revoked <= entry:
            return row.revoked
    return None
