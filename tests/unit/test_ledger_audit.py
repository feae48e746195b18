"""The audit of a ledger: whatever row is changed, it is named, and what was signed before cannot be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import audited, entry, filled, head_of_first, tamper

from nexapod_batch.ledger.audit import mark_of
from nexapod_batch.ledger.tree import leaf_hash
from nexapod_batch.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 200
#: Nodes that a tree of so many entries has from level 4 on.
NODES = [(level, number) for level in range(4, 8) for number in range(SIZE >> level)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of a database with a ledger."""
    path = tmp_path_factory.mktemp("ledger") / "s.db"
    store = filled(path, SIZE)
    store._database.connection.execute("PRAGMA journal_mode = DELETE")
    store.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    """Return a copy of it."""
    copy = tmp_path / "s.db"
    copy.write_bytes(whole)
    return copy


def test_a_ledger_holds_together(path: Path) -> None:
    """It continues every head that it ever had."""
    with Store.open(path, write=False) as store:
        heads = [head_of_first(store, size) for size in range(1, SIZE + 1)]
    found = audited(path, heads)
    assert (found.size, found.heads, found.faults) == (SIZE, SIZE, ())
    assert found.root == heads[-1].head.root


@pytest.mark.parametrize("number", [0, 1, 15, 16, 100, 191, 192, 199])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_entry SET body = CAST(replace(CAST(body AS TEXT), '1', '2') AS BLOB) WHERE idx = ?",
        "UPDATE ledger_entry SET body = CAST(substr(body, 1, length(body) - 1) || ' ' AS BLOB) WHERE idx = ?",
        "UPDATE ledger_entry SET mark = mark + 1 WHERE idx = ?",
        "UPDATE ledger_entry SET mark = 0 WHERE idx = ?",
    ],
    ids=["content", "last byte", "mark", "no mark"],
)
def test_a_changed_entry_is_named(path: Path, number: int, change: str) -> None:
    """It alone, not what stands above it."""
    tamper(path, (change, number))
    assert [fault.place for fault in audited(path).faults] == [f"entry {number}"]


@pytest.mark.parametrize("node", NODES)
def test_a_changed_node_is_named(path: Path, node: tuple[int, int]) -> None:
    """It alone, not what stands above it."""
    level, number = node
    tamper(path, ("UPDATE ledger_node SET hash = zeroblob(32) WHERE level = ? AND idx = ?", level, number))
    assert [fault.place for fault in audited(path).faults] == [f"node {level}/{number}"]


@pytest.mark.parametrize("node", NODES)
def test_a_missing_node_is_named(path: Path, node: tuple[int, int]) -> None:
    """By its level and its number."""
    level, number = node
    tamper(path, ("DELETE FROM ledger_node WHERE level = ? AND idx = ?", level, number))
    assert [str(fault) for fault in audited(path).faults] == [f"node {level}/{number}: missing"]


@given(number=st.integers(0, SIZE - 1), other=st.binary(min_size=2, max_size=60))
@settings(max_examples=12, deadline=None)
def test_an_entry_that_was_changed_with_its_mark_is_found(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, number: int, other: bytes
) -> None:
    """By the node above it, or, where there is none yet, by any head that was signed of it."""
    path = tmp_path_factory.mktemp("forged") / "s.db"
    path.write_bytes(whole)
    with Store.open(path, write=False) as store:
        head = head_of_first(store, SIZE)
    forged = ("UPDATE ledger_entry SET body = ?, mark = ? WHERE idx = ?", other, mark_of(leaf_hash(other)), number)
    tamper(path, forged)
    faults = audited(path, [head]).faults
    above = f"node 4/{number // 16}"
    named = [fault.place for fault in faults]
    assert named == ([above, f"head of {SIZE} entries"] if number < SIZE // 16 * 16 else [f"head of {SIZE} entries"])


@pytest.mark.parametrize("number", [0, 1, 16, 150, 198])
def test_a_gap_is_named(path: Path, number: int) -> None:
    """An entry that is gone; nothing after it can be checked, and that is said."""
    tamper(path, ("DELETE FROM ledger_entry WHERE idx = ?", number))
    (fault, *_) = audited(path).faults
    assert str(fault) == f"entry {number}: missing; what comes after cannot be checked"


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 199), (20, 90)])
def test_two_entries_that_changed_places_are_named(path: Path, first: int, second: int) -> None:
    """Both of them."""
    tamper(
        path,
        ("CREATE TABLE kept AS SELECT * FROM ledger_entry",),
        ("UPDATE ledger_entry SET body = (SELECT body FROM kept WHERE kept.idx = ?) WHERE idx = ?", first, second),
        ("UPDATE ledger_entry SET body = (SELECT body FROM kept WHERE kept.idx = ?) WHERE idx = ?", second, first),
    )
    assert [fault.place for fault in audited(path).faults] == [f"entry {first}", f"entry {second}"]


@pytest.mark.parametrize("left", [SIZE - 1, 192, 100, 1])
def test_a_ledger_that_was_cut_off_is_found_by_an_older_head(path: Path, left: int) -> None:
    """Also where the nodes were removed with the entries."""
    with Store.open(path, write=False) as store:
        head = head_of_first(store, SIZE)
    tamper(
        path,
        ("DELETE FROM ledger_entry WHERE idx >= ?", left),
        ("DELETE FROM ledger_node WHERE (idx + 1) << level > ?", left),
    )
    assert audited(path).faults == ()
    (fault,) = audited(path, [head]).faults
    assert str(fault) == f"head of {SIZE} entries: signed (a test), and there are only {left}: its end was cut off"


def test_a_fork_is_found_by_a_head_of_either_side(path: Path, tmp_path: Path) -> None:
    """Two ledgers that begin alike: each refuses what was signed of the other beyond that."""
    fork = tmp_path / "fork.db"
    fork.write_bytes(path.read_bytes())
    heads = {}
    for side, number in ((path, 1000), (fork, 2000)):
        with Store.open(side) as store:
            store.ledger.append([entry(number)])
            heads[side] = [head_of_first(store, size) for size in (SIZE, SIZE + 1)]
    assert audited(path, heads[path]).faults == ()
    assert [fault.place for fault in audited(path, heads[fork]).faults] == [f"head of {SIZE + 1} entries"]
    assert [fault.place for fault in audited(fork, heads[path]).faults] == [f"head of {SIZE + 1} entries"]


def test_nodes_without_entries_are_named(path: Path) -> None:
    """Somebody left more of the tree than there is."""
    insert = "INSERT INTO ledger_node VALUES (?, ?, zeroblob(32))"
    tamper(path, (insert, 4, 12), (insert, 9, 0))
    assert [fault.place for fault in audited(path).faults] == ["node 4/12", "node 9/0"]
