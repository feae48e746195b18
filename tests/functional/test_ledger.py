"""The ledger of a real job: everything in it, shown to others, and whoever changes it is found."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from go_programs import ledger_checker
from homes import TRUE, Home
from ledgers import tamper

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.verification import ledger as use_case
from nexapod_batch.ledger.checkpoint import Head, checkpoint, head_of, parse_proof, verify_proof
from nexapod_batch.ledger.note import NoteKey, parse, parse_key
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = TRUE.replace("[quorum]", '[array]\nids = "0-2"\n[quorum]')


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home whose first job was accepted, and never changed by a test."""
    made = Home(tmp_path_factory.mktemp("ledger"))
    try:
        assert made.call("node", "init", "--name", "n").code == 0
        assert made.submit(JOB, "--wait=50s").code == 0
        made.end()
        yield made
    finally:
        made.end()


def copy_of(home: Home, folder: Path) -> Home:
    """Return a copy of a home, key and all."""
    other = Home(folder, "copy")
    shutil.copytree(home.path, other.path, ignore=shutil.ignore_patterns("spool", "state.db-*"))
    # What lies beside a database may vanish while it is copied: whoever closes it last removes that.
    with closing(sqlite3.connect(database(home))) as source, closing(sqlite3.connect(database(other))) as target:
        source.backup(target)
    return other


def database(home: Home) -> Path:
    """Return where the database of a home lies."""
    return home.path / "state.db"


def faults(home: Home, *heads: str) -> list[str]:
    """Return what does not hold of the ledger of a home."""
    with open_coordinator(Paths.from_environment(home.env), write=False) as c:
        return [str(fault) for fault in use_case.verify(c, [use_case.since(c, head, "a file") for head in heads]).faults]


def events(home: Home) -> list[dict[str, Any]]:
    """Return what the ledger of a home says."""
    rows: list[dict[str, Any]] = home.json("ledger", "log", "--last", 1000)["entries"]
    return rows


def test_every_fact_of_a_job_is_in_it_once_and_in_order(home: Home) -> None:
    """From the beginning to the last publication; the replicas know where they stand."""
    found = events(home)
    kinds = [row["kind"] for row in found]
    assert kinds[:4] == ["began", "registered", "profile", "submitted"]
    counts = {kind: kinds.count(kind) for kind in ("placed", "report", "verdict", "published")}
    assert counts == {"placed": 6, "report": 6, "verdict": 3, "published": 3}
    at = {(row["kind"], row.get("id")): row["entry"] for row in found}
    for task in range(3):
        reports = [at["report", f"1_{task}.{number}"] for number in (1, 2)]
        assert at["submitted", "1"] < min(reports) < max(reports) < at["verdict", f"1_{task}"] < at["published", f"1_{task}"]
    with sqlite3.connect(database(home)) as connection:
        rows = connection.execute("SELECT task, number, placed, committed FROM replica").fetchall()
    for task, number, placed, committed in rows:
        assert found[placed]["kind"] == "placed"
        assert committed == at["report", f"1_{task}.{number}"] > placed


def test_the_head_stands_alone_and_is_signed(home: Home) -> None:
    """Its text is the checkpoint; what --json says of it is the same."""
    done = home.call("ledger", "head")
    assert (done.code, done.err) == (0, "")
    document = home.json("ledger", "head")
    assert done.out == document["checkpoint"]
    assert head_of(parse(done.out)) == Head(document["origin"], document["size"], bytes.fromhex(document["root"]))
    assert document["size"] == len(events(home))


def test_the_end_of_each_pass_with_news_is_signed(home: Home) -> None:
    """The newest head that is kept is that of the whole ledger, and a pass without news keeps no other."""
    with sqlite3.connect(database(home)) as connection:
        ((size,),) = connection.execute("SELECT max(size) FROM checkpoint")
    assert size == home.json("ledger", "head")["size"]
    before = home.json("ledger", "verify")
    assert home.call("reconcile").code == 0
    assert home.json("ledger", "verify") == before
    assert before["ok"]
    assert before["heads"] >= 2


@pytest.mark.parametrize(
    ("name", "kind"), [("1", "submitted"), ("1_2", "verdict"), ("1_0.2", "report"), ("last_1.1", "report"), ("@0", "began")]
)
def test_a_proof_convinces_who_has_the_key_alone(home: Home, name: str, kind: str) -> None:
    """It brings the entry along; the text is what --json says."""
    document = home.json("ledger", "prove", name)
    done = home.call("ledger", "prove", name)
    assert done.out == document["proof"]
    proof = parse_proof(done.out)
    verify_proof(proof, proof.content, parse_key(home.json("ledger", "head")["key"]))
    assert json.loads(proof.content) == document["event"]
    assert document["event"]["kind"] == kind
    assert document["event"].get("id", name) == name.replace("last", "1")


@pytest.mark.parametrize(("name", "code"), [("@9999", 66), ("1_0.3", 66), ("2", 66), ("1_7", 66), ("1_0.x", 2), ("@", 2)])
def test_what_is_not_there_is_not_proved(home: Home, name: str, code: int) -> None:
    """With a message, and nothing on stdout."""
    done = home.call("ledger", "prove", name)
    assert (done.code, done.out) == (code, "")


def test_go_reads_every_entry_of_a_published_ledger(home: Home, tmp_path: Path) -> None:
    """And that a later one continues it; then one byte is changed."""
    program = ledger_checker(tmp_path)
    tiles, size = tmp_path / "tiles", home.json("ledger", "head")["size"]
    key = home.json("ledger", "export", "--tiles", tiles)["key"]

    def check(before: Path | str = "") -> tuple[int, str]:
        done = subprocess.run([program, tiles, key, before], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert check() == (0, f"{size} entries\n")
    old = tmp_path / "old"
    shutil.copy(tiles / "checkpoint", old)
    other = copy_of(home, tmp_path)
    assert other.call("node", "drain", "n").code == 0
    assert other.json("ledger", "export", "--tiles", tiles)["size"] == size + 1
    assert check(old) == (0, f"{size + 1} entries\n")
    entries = tiles / f"tile/entries/000.p/{size + 1}"
    entries.write_bytes(entries.read_bytes().replace(b'"1_1.2"', b'"1_1.3"'))
    assert check()[0] == 1


# Somebody changes the database --------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "a statement is gone": ("DELETE FROM report WHERE id = 3", ("statements", "publication of 1_")),  # perhaps one that was published
    "a statement came from nowhere": (
        "INSERT INTO report SELECT 99, replica_id, zeroblob(32), received_at, packed, signature FROM report WHERE id = 3",
        ("replica 1_", "statements"),
    ),
    "a node has another key": ("UPDATE node_key SET key_id = 'SHA256:another'", "node n"),
    "a statement is another": (
        "UPDATE report SET payload_sha256 = zeroblob(32) WHERE id = 3", ("replica 1_", "publication of 1_"),
    ),
    "a verdict is another": ("UPDATE task SET state = 'failed', published = 0 WHERE idx = 1", "task 1_1"),
    "a verdict has no entry": ("UPDATE task SET decided = NULL WHERE idx = 1", "task 1_1"),
    "a verdict has another's entry": ("UPDATE task SET decided = (SELECT decided FROM task WHERE idx = 0) WHERE idx = 1", "task 1_1"),
    "a publication is another's": ("UPDATE task SET published_from = 2 WHERE idx = 0", "publication of 1_0"),
    "a publication has no entry": ("UPDATE task SET shown = NULL WHERE idx = 0", "publication of 1_0"),
    "a publication has another's entry": (
        "UPDATE task SET shown = (SELECT shown FROM task WHERE idx = 1) WHERE idx = 0", "publication of 1_0",
    ),
    "a job is another": ("UPDATE job SET digest = replace(digest, 'a', 'b')", "job 1"),
    "a job has no entry": ("UPDATE job SET submitted = 999", "job 1"),
    "a replica was placed by nobody": ("UPDATE replica SET placed = 0 WHERE id = 1", "launch "),
    "a replica has another's report": ("UPDATE replica SET committed = placed WHERE id = 1", "replica 1_"),
    "a head is another": ("UPDATE checkpoint SET note = replace(note, 'a', 'b') WHERE size = (SELECT max(size) FROM checkpoint)", "head of "),
    "a head has another size": ("UPDATE checkpoint SET size = size + 1 WHERE size = (SELECT max(size) FROM checkpoint)", "head of "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fact_and_its_entry_that_differ_are_named(home: Home, tmp_path: Path, change: str) -> None:
    """The ledger itself is whole: what the database says is not what happened."""
    other = copy_of(home, tmp_path)
    statement, place = CHANGES[change]
    tamper(database(other), ("PRAGMA foreign_keys = OFF",), (statement,))
    found = faults(other)
    assert found
    assert all(fault.startswith(place) for fault in found), found


def test_the_exit_code_and_the_words_say_what_was_found(home: Home, tmp_path: Path) -> None:
    """Each fault is a line of stdout, with what to do on stderr."""
    other = copy_of(home, tmp_path)
    assert home.call("ledger", "verify").code == 0
    tamper(database(other), ("UPDATE ledger_entry SET body = CAST('{}' AS BLOB) WHERE idx = 3",))
    done = other.call("ledger", "verify")
    assert done.code == 1
    assert "entry 3: it is not what was appended: it was changed\n" in done.out
    assert "it is evidence" in done.err
    document = other.json("ledger", "verify", code=1)
    assert {"place": "entry 3", "fault": "it is not what was appended: it was changed"} in document["faults"]


def test_another_past_is_not_signed(home: Home, tmp_path: Path) -> None:
    """What a pass found to do is done and appended; the head that would cover it up is refused."""
    other = copy_of(home, tmp_path)
    tamper(database(other), ("UPDATE ledger_node SET hash = zeroblob(32) WHERE level = 4 AND idx = 0",))
    before = other.json("ledger", "verify", code=1)
    assert other.call("node", "drain", "n").code == 0
    done = other.call("reconcile")
    assert (done.code, "does not continue its last signed head" in done.err) == (78, True)
    after = other.json("ledger", "verify", code=1)
    assert (after["size"], after["faults"]) == (before["size"] + 1, before["faults"])


# Heads that others kept ---------------------------------------------------------------------------------------------


def bad_heads(home: Home) -> dict[str, str]:
    """Return what is no head of a home's ledger, by kind."""
    good = home.call("ledger", "head").out
    head = head_of(parse(good))
    thief = Signer.from_seed(b"\1" * 32)
    return {
        "empty": "",
        "prose": "all is well\n",
        "cut off": good[:-30],
        "one byte": good.replace(f"\n{head.size}\n", f"\n{head.size - 1}\n"),
        "one letter of the signature": good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:],
        "another key": str(checkpoint(head, thief)),
        "another origin": str(checkpoint(head._replace(origin="nexapod-batch/another"), thief)),
        "no signature": good[: good.index("\N{EM DASH}")],
    }


@pytest.mark.parametrize(
    "kind", ["empty", "prose", "cut off", "one byte", "one letter of the signature", "another key", "another origin", "no signature"]
)
def test_what_is_no_head_of_this_ledger_is_refused(home: Home, tmp_path: Path, kind: str) -> None:
    """With exit code 1, and words that are no traceback; a file that is not there likewise."""
    file = tmp_path / "head"
    file.write_text(bad_heads(home)[kind])
    done = home.call("ledger", "verify", "--since", file)
    assert (done.code, done.out) == (1, "")
    assert "nexapod-batch: " in done.err


def test_two_coordinators_with_one_key_are_found_by_each_others_heads(home: Home, tmp_path: Path) -> None:
    """Each goes on by itself; both sign, and what one signed is not the other's past. A witness says so, too."""
    one, other = copy_of(home, tmp_path / "1"), copy_of(home, tmp_path / "2")
    before = home.call("ledger", "head").out
    assert one.call("node", "drain", "n").code == 0
    assert other.call("cancel", "1").code == 0  # changes nothing: the job has ended
    assert other.call("node", "drain", "n").code == 0
    heads = [made.call("ledger", "head").out for made in (one, other)]
    assert heads[0] != heads[1]
    assert faults(one, before, heads[0]) == faults(other, before, heads[1]) == []
    (fault,) = faults(one, heads[1])
    assert "the entries are not those that it was signed of" in fault
    file = tmp_path / "head"
    file.write_text(heads[1])
    done = one.call("ledger", "witness", file)
    assert done.code == 1
    assert "two coordinators use one key" in done.err


def test_a_backup_that_was_put_back_is_shorter_than_its_newest_head(home: Home, tmp_path: Path) -> None:
    """Who kept that head sees it."""
    other = copy_of(home, tmp_path)
    assert other.call("node", "drain", "n").code == 0
    (fault,) = faults(home, other.call("ledger", "head").out)
    assert fault.endswith("its end was cut off")


# Witnesses ----------------------------------------------------------------------------------------------------------


class Witnessed:
    """A ledger that is published, and somebody else who signs its heads."""

    def __init__(self, home: Home, folder: Path) -> None:
        """Publish the ledger as it is, and sign its head."""
        self.ledger, self.witness = copy_of(home, folder), Home(folder, "witness")
        self.tiles = folder / "tiles"
        self.key = self.publish()

    def publish(self) -> str:
        """Publish the ledger; return its key."""
        return str(self.ledger.json("ledger", "export", "--tiles", self.tiles)["key"])

    def sign(self, *options: object, code: int = 0) -> str:
        """Let the witness sign what is published; return what it printed, or why it did not."""
        done = self.witness.call("ledger", "witness", self.tiles / "checkpoint", *options)
        assert done.code == code, done
        return done.err if code else done.out


@pytest.fixture
def witnessed(home: Home, tmp_path: Path) -> Witnessed:
    """Return a ledger of which a witness signed the head."""
    made = Witnessed(home, tmp_path)
    made.sign("--key", made.key)
    return made


def test_a_witness_follows_a_ledger_that_grows(witnessed: Witnessed, tmp_path: Path) -> None:
    """And the ledger's owner can see that it signed; nobody else did."""
    assert witnessed.ledger.call("node", "drain", "n").code == 0
    witnessed.publish()
    file = tmp_path / "head"
    file.write_text(witnessed.sign())
    key = witnessed.witness.json("ledger", "witness", witnessed.tiles / "checkpoint")["key"]
    assert witnessed.ledger.call("ledger", "verify", "--since", file, "--witness", key).code == 0
    done = witnessed.ledger.call("ledger", "verify", "--since", witnessed.tiles / "checkpoint", "--witness", key)
    assert (done.code, "a witness did not sign" in done.err) == (1, True)
    text = file.read_text()
    lines = text.rstrip("\n").rpartition("\n")
    file.write_text(f"{lines[0]}\n{lines[2][:-6]}{'A' if lines[2][-6] != 'A' else 'B'}{lines[2][-5:]}\n")
    done = witnessed.ledger.call("ledger", "verify", "--since", file, "--witness", key)  # a lie in its name
    assert (done.code, "does not verify" in done.err) == (1, True)


def test_a_witness_signs_nothing_that_it_cannot_check(home: Home, tmp_path: Path) -> None:
    """Not a ledger whose key it was not given, not one with another key, and no growth that it cannot see."""
    made = Witnessed(home, tmp_path)
    assert "was never witnessed here" in made.sign(code=1)
    another = NoteKey(made.key.partition("+")[0], b"\1" * 32)
    assert "nobody that is trusted signed" in made.sign("--key", another, code=1)
    made.sign("--key", made.key)
    assert made.ledger.call("node", "drain", "n").code == 0
    made.publish()
    shutil.rmtree(made.tiles / "tile")
    assert "cannot be seen" in made.sign(code=1)


def test_a_witness_refuses_an_older_head_and_another_past(witnessed: Witnessed, home: Home, tmp_path: Path) -> None:
    """A ledger that was cut off, and one that was forked, though the ledger's own key signed both."""
    assert witnessed.ledger.call("node", "drain", "n").code == 0
    witnessed.publish()
    witnessed.sign()
    shutil.rmtree(witnessed.tiles)
    fork = copy_of(home, tmp_path / "fork")
    assert fork.call("ledger", "export", "--tiles", witnessed.tiles).code == 0
    assert "older than one that was signed for here" in witnessed.sign(code=1)
    for command in ("drain", "resume"):
        assert fork.call("node", command, "n").code == 0
    assert fork.call("ledger", "export", "--tiles", witnessed.tiles).code == 0
    assert "the ledger was rewritten" in witnessed.sign(code=1)
    assert "does not continue" in witnessed.ledger.call("ledger", "export", "--tiles", witnessed.tiles).err


# Databases from before the ledger -----------------------------------------------------------------------------------


def without_ledger(path: Path) -> None:
    """Make of a database what the migration makes of one of the version before: its ledger is empty, and no head noted."""
    path.with_name("newest-head").unlink(missing_ok=True)
    tables = ("ledger_entry", "ledger_node", "checkpoint")
    columns = (("job", "submitted"), ("task", "decided"), ("replica", "placed"), ("replica", "committed"))
    emptied = [(f"DELETE FROM {table}",) for table in tables]  # noqa: S608 - names of ours
    tamper(path, *emptied, *[(f"UPDATE {table} SET {column} = NULL",) for table, column in columns])  # noqa: S608


def test_what_an_older_database_knows_is_taken_in_and_called_so(home: Home, tmp_path: Path) -> None:
    """Nodes, jobs, launches, statements, verdicts and publications, each with the time since when it is known."""
    other = copy_of(home, tmp_path)
    without_ledger(database(other))
    assert "the ledger is empty" in other.call("ledger", "head").err
    assert other.call("reconcile").code == 0
    found = events(other)
    assert [row["kind"] for row in found] == ["began", *["imported"] * (len(found) - 1)]
    facts = [row.get("fact") for row in found]
    counts = {fact: facts.count(fact) for fact in ("registered", "submitted", "placed", "report", "verdict", "published")}
    assert counts == {"registered": 1, "submitted": 1, "placed": 6, "report": 6, "verdict": 3, "published": 3}
    assert all(row["since"] < row["time"] for row in found[1:])
    assert "known before the ledger began: " in other.call("ledger", "log", "1").out
    assert faults(other) == []
    assert other.json("ledger", "prove", "1_1.2")["event"]["fact"] == "report"
