"""Nodes are found by name and by key without a look at all of them: who joins pays the same however many there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.store import Store, queries

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "a name": ("n3", "", ["n3"]),
    "a key": ("", "SHA256:5", ["n5"]),
    "both of one": ("n4", "SHA256:4", ["n4"]),
    "a name and another's key": ("n2", "SHA256:1", ["n1", "n2"]),
    "neither": ("n99", "SHA256:99", []),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a database with a few nodes."""
    path = tmp_path / "state.db"
    Store.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO node (name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, max_queued,"
            " created_at) VALUES (?, ?, randomblob(32), 's', 'o', 'h', 'cpu', 'agent', 2, 9, 9, 0)",
            ((f"n{number}", f"SHA256:{number}") for number in range(8)),
        )
    return path


@pytest.mark.parametrize(("name", "key", "wanted"), CASES.values(), ids=CASES)
def test_nodes_of_a_name_or_a_key(path: Path, name: str, key: str, wanted: list[str]) -> None:
    """At most one of each."""
    store = Store.open(path, write=False)
    try:
        assert sorted(row.name for row in store.nodes.known(name=name, key_id=key)) == wanted
    finally:
        store.close()


def test_no_table_of_nodes_is_read_from_end_to_end(path: Path) -> None:
    """SQLite finds them by its indexes."""
    query = queries.load("nodes")["nodes_known"]
    with closing(sqlite3.connect(path)) as database:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", {"name": "n1", "key": "SHA256:1"})]
    assert not [step for step in plan if step.startswith("SCAN")]
