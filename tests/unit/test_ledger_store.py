"""The ledger in the database: what is appended stays, in one order, with the facts or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import SIGNER, audited, entry, filled, head_of_first, tamper
from unit.test_ledger_tree import by_definition

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.ledger.events import Kind, event, imported
from nexapod_batch.ledger.tree import inclusion_proof, leaf_hash, verify_inclusion
from nexapod_batch.store import Store
from nexapod_batch.store.migrations import MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_root_is_that_of_the_definition(sizes: list[int]) -> None:
    """However the entries are cut into transactions; and every entry is proved to be where it is."""
    entries = [entry(number) for number in range(sum(sizes))]
    with Store.in_memory() as store:
        done = 0
        for size in sizes:
            assert store.ledger.append(entries[done : done + size]) == done
            done += size
            assert store.ledger.root(done) == by_definition(entries[:done])
        for number in {0, done // 2, done - 1}:
            path = inclusion_proof(number, done, store.ledger.node)
            verify_inclusion(leaf_hash(entries[number]), number, done, path, by_definition(entries))


def test_older_roots_stay_known(tmp_path: Path) -> None:
    """The root of every earlier size can be told from what is kept."""
    with filled(tmp_path / "s.db", 70) as store:
        entries = store.ledger.entries(0, 70)
        assert [store.ledger.root(size) for size in range(71)] == [by_definition(entries[:size]) for size in range(71)]


def failing(store: Store) -> None:
    """Append an entry, and fail."""
    store.ledger.append([entry(20)])
    raise ZeroDivisionError


def test_entries_of_a_transaction_that_fails_are_gone(tmp_path: Path) -> None:
    """The numbers that they had are given again, and the tree never had them."""
    with filled(tmp_path / "s.db", 20) as store:
        with pytest.raises(ZeroDivisionError), store.atomic(), store.ledger.appending():
            failing(store)
        assert store.ledger.append([entry(21)]) == 20
    assert audited(tmp_path / "s.db") == (21, by_definition([*_begun(tmp_path, 20), entry(21)]), 0, ())


def _begun(tmp_path: Path, size: int) -> list[bytes]:
    with Store.open(tmp_path / "s.db", write=False) as store:
        return store.ledger.entries(0, size)


def test_a_block_inside_another_is_part_of_it(tmp_path: Path) -> None:
    """Each fact gets the number that it has in the end."""
    with filled(tmp_path / "s.db", 3) as store, store.ledger.appending() as outer:
        first = outer.add(entry(3))
        second = store.ledger.append([entry(4), entry(5)])
        with store.ledger.appending() as inner:
            third = inner.add(entry(6))
    assert (first, second, third) == (3, 4, 6)
    with Store.open(tmp_path / "s.db", write=False) as store:
        assert store.ledger.entries(3, 7) == [entry(number) for number in (3, 4, 5, 6)]


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_node", "checkpoint"])
@pytest.mark.parametrize("what", ["UPDATE {} SET rowid = 99", "DELETE FROM {}"])
def test_accidents_are_refused(tmp_path: Path, table: str, what: str) -> None:
    """Whatever statement touches what is there is aborted."""
    with filled(tmp_path / "s.db", 40) as store:
        store.ledger.keep_checkpoint(40, "a head")
    sql = what.format(table).replace("rowid", {"ledger_entry": "mark", "ledger_node": "idx", "checkpoint": "size"}[table])
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, pytest.raises(sqlite3.IntegrityError, match="ledger"):
        connection.execute(sql)


@pytest.mark.parametrize("gone", ["DELETE FROM ledger_node WHERE level = 5", "DELETE FROM ledger_entry WHERE idx = 33"])
def test_nothing_is_appended_to_a_tree_with_holes(tmp_path: Path, gone: str) -> None:
    """It says what is missing and how to see more, and nothing is written."""
    filled(tmp_path / "s.db", 35).close()
    tamper(tmp_path / "s.db", (gone,))
    with Store.open(tmp_path / "s.db") as store:
        before = store.ledger.size()
        with pytest.raises(CorruptStoreError, match=r"the ledger lacks (node|an entry)[\s\S]*ledger verify"):
            store.ledger.append([entry(35)])
        assert store.ledger.size() == before


KILLED = """
import os, sys
from nexapod_batch.store import Store
from nexapod_batch.ledger.events import Kind, event
instant, path = int(sys.argv[1]), sys.argv[2]
store = Store.open(path)
seen = 0
def trace(_):
    global seen
    seen += 1
    if seen == instant:
        os.kill(os.getpid(), 9)
store._database.connection.set_trace_callback(trace)
with store.atomic(), store.ledger.appending() as entries:
    store.operations.keep_fault("fact", "told", 1)
    for number in range(40):
        entries.add(event(Kind.RETRIED, 1, id=f"9_{number}", tasks=1))
print(seen)
"""


def test_no_instant_leaves_the_tree_and_the_facts_apart(tmp_path: Path) -> None:
    """A process that is killed at any statement of a transaction leaves the fact with all its entries, or neither."""
    path = tmp_path / "s.db"
    filled(path, 20).close()
    done, instant = set(), 0
    while True:
        instant += 7 if 8 < instant < 100 else 1
        run = subprocess.run([sys.executable, "-c", KILLED, str(instant), str(path)], capture_output=True, text=True, check=False)
        with Store.open(path, write=False) as store:
            size, told = store.ledger.size(), store.operations.faults()
        assert (size, told) in [(20, {}), (60, {"fact": "told"})]
        assert audited(path).faults == ()
        done.add(size)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
    assert done == {20, 60}
    assert os.path.getsize(path) > 0


def test_a_ledger_begins_once(tmp_path: Path) -> None:
    """Two processes that open a new database at once make one beginning."""
    from nexapod_batch.coordinator.ledger_start import begin

    with filled(tmp_path / "s.db", 1) as store, Store.open(tmp_path / "s.db") as other:
        begin(other, SIGNER, 5)
        assert store.ledger.size() == 1
        assert head_of_first(store, 1).head.root == leaf_hash(store.ledger.entries(0, 1)[0])


def test_an_older_database_finds_where_its_publications_stand(tmp_path: Path) -> None:
    """Of each task the latest entry, be it imported; nothing for one that was never published."""
    path = tmp_path / "home" / "state.db"
    version = next(number for number, one in enumerate(MIGRATIONS) if one.name == "where publications stand in the ledger")
    with Store.open(path, create=True, migrations=MIGRATIONS[:version]) as store:
        verdict = event(Kind.VERDICT, 1, id="1_0", state="accepted")
        published = [event(Kind.PUBLISHED, 2, id=f"1_{task}", replica=1) for task in (0, 2, 0)]
        store.ledger.append([verdict, *published, imported(Kind.PUBLISHED, 3, 1, id="1_1", replica=2), verdict])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO job (id, uuid, name, user, digest, folder, created_at, n_tasks, n_waiting, n_want)"
            " VALUES (1, 'u', 'n', 'me', ?, '/', 1, 4, 4, 0)",
            ("0" * 64,),
        )
        rows = [(0, 1), (1, 2), (2, None), (3, None)]
        connection.executemany("INSERT INTO task (job_id, idx, published_from) VALUES (1, ?, ?)", rows)
        connection.commit()
    with Store.open(path) as store:
        assert store.ledger.of_tasks(1) == {0: (None, 3), 1: (None, 4), 2: (None, None), 3: (None, None)}
