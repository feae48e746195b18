"""Ledgers in databases of their own for a test, and what somebody does to them who holds the file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.ledger_start import begin, origin_of
from nexapod_batch.ledger.audit import Audited, SignedHead, audit
from nexapod_batch.ledger.checkpoint import Head, checkpoint
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.store import Store
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SIGNER", "audited", "entry", "filled", "head_of_first", "tamper"]

SIGNER = Signer.from_seed(b"\5" * 32)
ORIGIN = origin_of(SIGNER.key_id)


def entry(number: int) -> bytes:
    """Return an entry that no other number has."""
    return event(Kind.RETRIED, 1_796_000_000_000 + number, id=f"1_{number}", tasks=1)


def filled(path: Path, size: int) -> Store:
    """Return a store whose ledger has so many entries, the first of which says that it began."""
    store = Store.open(path, create=True)
    begin(store, SIGNER, 1_796_000_000_000)
    store.ledger.append([entry(number) for number in range(1, size)])
    return store


def head_of_first(store: Store, size: int) -> SignedHead:
    """Return the head of the first entries."""
    return SignedHead(Head(ORIGIN, size, store.ledger.root(size)), "a test")


def tamper(path: Path, *statements: tuple[str, *tuple[int | bytes | str, ...]]) -> None:
    """Change the file by statements with their values, as somebody does who has no respect for triggers."""
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement, *values in statements:
            connection.execute(statement, values)
    connection.close()


def audited(path: Path, heads: Sequence[SignedHead] = ()) -> Audited:
    """Return what an audit says of a database."""
    with Store.open(path, write=False) as store:
        ledger = store.ledger
        return audit(ledger.marked_entries(), ledger.levels(), ledger.nodes, heads)


def signed(store: Store, size: int, signer: Signer = SIGNER, origin: str = ORIGIN) -> str:
    """Return the signed head of the first entries."""
    return str(checkpoint(Head(origin, size, store.ledger.root(size)), signer))
