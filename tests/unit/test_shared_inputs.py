"""The inputs of a document, apart from it: what is stored in parts is the same to the byte, and jobs share a list."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from nexapod_batch.model.document import canonical, digest, parted, to_document
from nexapod_batch.model.job import Array, Input, Job
from nexapod_batch.store import Store, check_file
from nexapod_batch.store.salvage.readable import load, read
from nexapod_batch.store.salvage.rebuild import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = Job(
    name="many", command=("true",), array=Array(ranges=((0, 299, 1),)),
    inputs=tuple([Input(f"/d/ä {n}", "in", f"{n:064x}", n % 2 == 0, n) for n in range(300)]),
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a new store."""
    with Store.open(tmp_path / "state.db", create=True) as opened:
        yield opened


def kept(store: Store, job: Job, number: int) -> int:
    """Store a job with its document in parts."""
    document = parted(job)
    with store.atomic():
        key = store.jobs.insert(
            uuid=f"{number}", name=job.name, user="u", foreign=False, digest=document.digest, folder="/d", priority=0,
            held=False, max_running=None, n_tasks=job.n_tasks, now=number,
        )  # fmt: skip
        store.jobs.insert_parted(key, document)
        store.tasks.insert(key, job.task_indexes(), 2)
    return key


def lists(file: Path) -> int:
    """Return how many lists there are."""
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM input_list").fetchone()[0])


@pytest.mark.parametrize("job", [
    MANY,
    replace(MANY, inputs=()),
    replace(MANY, command=("echo", '"inputs":[]', '\\"inputs":[]', '"inputs":[],"')),
    replace(MANY, name='"inputs":[]', env=(("inputs", "[]"), ('"inputs"', "[]"))),
], ids=["many", "none", "a command that looks like a key", "a variable that does"])  # fmt: skip
def test_the_parts_are_the_canonical_document(job: Job) -> None:
    """Its bytes and its digest, whatever stands in the texts of the job."""
    wanted = canonical(to_document(job))
    assert parted(job).whole == wanted
    assert parted(job).digest == digest(wanted)


@pytest.mark.parametrize("job", [MANY, replace(MANY, command=("echo", '"inputs":[]', "ä" * 50))], ids=["plain", "hostile"])
def test_a_stored_document_is_the_same_to_the_byte(store: Store, job: Job) -> None:
    """Also where characters take several bytes."""
    key = kept(store, job, 1)
    wanted = canonical(to_document(job))
    assert store.jobs.document(key) == wanted
    assert [row.body for row in store.jobs.open_documents()] == [wanted]
    assert store.check() == []


def test_jobs_with_the_same_inputs_share_their_list(store: Store) -> None:
    """Another one has its own."""
    jobs = [MANY, replace(MANY, name="other"), replace(MANY, inputs=MANY.inputs[:299])]
    keys = [kept(store, job, number) for number, job in enumerate(jobs)]
    assert [store.jobs.document(key) for key in keys] == [canonical(to_document(job)) for job in jobs]
    assert lists(store.path) == 2


def test_a_document_that_is_pinned_anew_is_whole(store: Store) -> None:
    """Nothing is left of the list that it had."""
    key = kept(store, MANY, 1)
    later = canonical(to_document(replace(MANY, name="later")))
    with store.atomic():
        store.jobs.pin(key, digest=digest(later), body=later)
    assert store.jobs.document(key) == later


@pytest.mark.parametrize("change", [
    "DELETE FROM input_list", "UPDATE input_list SET sha256 = zeroblob(32)", "UPDATE document SET inputs = NULL",
    "UPDATE document SET inputs_at = NULL",
])  # fmt: skip
def test_a_document_without_its_list_is_none(store: Store, change: str) -> None:
    """It is never taken for one of a job without inputs."""
    key = kept(store, MANY, 1)
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(change)
        connection.commit()
    assert store.jobs.document(key) is None


@pytest.mark.parametrize("lost", [None, "input_list"])
def test_what_is_salvaged_has_its_inputs_or_is_lost(store: Store, tmp_path: Path, lost: str | None) -> None:
    """A job whose list is gone is one of which nobody knows what it runs."""
    wanted = [canonical(to_document(job)) for job in (MANY, replace(MANY, name="other"))]
    keys = [kept(store, MANY, 1), kept(store, replace(MANY, name="other"), 2)]
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        if lost is not None:
            connection.execute(f"DELETE FROM {lost}")  # noqa: S608 - a table
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    new = tmp_path / "new.db"
    done = rebuild(read(load(tmp_path / "state.db")), new, {}, lambda _: True, lambda *_: None)
    assert check_file(new) == []
    with Store.open(new) as made:
        found = [made.jobs.document(key) for key in keys]
    assert (found, done.jobs_lost) == (([None, None], keys) if lost else (wanted, []))


def test_a_lost_list_comes_back_with_a_bundle(store: Store, tmp_path: Path) -> None:
    """What a launch was handed has the whole document."""
    key, document = kept(store, MANY, 1), canonical(to_document(MANY))
    store.close()
    bundle = json.dumps({"job": {"id": key, "uuid": "1", "document": document.decode()}})
    envelope = json.dumps({"payload": base64.b64encode(bundle.encode()).decode()}).encode()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("DELETE FROM input_list")
        made = "INSERT INTO launch (id, key, node_id, job_id, envelope, created_at) VALUES (1, ?, 1, ?, ?, 1)"
        connection.execute(made, ("0" * 32, key, envelope))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    done = rebuild(read(load(tmp_path / "state.db")), tmp_path / "new.db", {}, lambda _: True, lambda *_: None)
    with Store.open(tmp_path / "new.db") as again:
        assert (again.jobs.document(key), done.jobs_lost) == (document, [])
