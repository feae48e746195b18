"""Keys that are given the places of others while work is under way, and keys that are not those of the database."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from homes import PROGRAM, TRUE, Home, ended
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands.key_rotation import rotate
from nexapod_batch.files import keyfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    with ended(Home(tmp_path), "n") as made:
        yield made


def gated(gate: Path) -> str:
    """Return a job that runs until there is a file."""
    return TRUE.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')


def in_use(home: Home, name: str) -> str:
    """Return the id of the key that the coordinator or a node has now."""
    return str(next(key["key"] for key in home.json("key", "show", name)["keys"] if key["in_use"]))


def file_of(home: Home, name: str) -> Path:
    """Return where the private key of the coordinator or a node lies."""
    return home.path / "keys" / (name if name == "coordinator" else f"node-{name}")


@pytest.mark.parametrize("holders", [("n",), ("coordinator",), ("coordinator", "n")], ids=str)
def test_work_goes_on_while_keys_are_rotated(home: Home, tmp_path: Path, holders: tuple[str, ...]) -> None:
    """What runs is reported and counts, what waits is run by the same worker, and what follows has the new keys."""
    gate = tmp_path / "gate"
    assert home.submit(gated(gate)).code == 0
    until(lambda: list((home.spool() / "claims").iterdir()), "the worker to claim it")
    assert home.submit(TRUE).code == 0  # waits in the inbox, or behind the first one
    old = {name: in_use(home, name) for name in holders}
    told = home.json("key", "rotate", *holders)["rotated"]
    assert {one["name"]: one["old_key"] for one in told} == old
    assert home.submit(TRUE).code == 0
    gate.touch()
    for job in (1, 2, 3):
        assert home.call("wait", job, "--timeout", "90s").code == 0
        replicas = home.json("show", job)["tasks"][0]["replicas"]
        assert [one["id"] for one in replicas] == [f"{job}_0.1", f"{job}_0.2"]
        assert home.call("verify", job).code == 0
        assert home.proof_code(job) == 0
    assert home.call("ledger", "verify").code == 0
    for name in holders:
        ranges = [(key["since"], key["until"]) for key in home.json("key", "show", name)["keys"]]
        assert ranges[0][1] == ranges[1][0] is not None
        assert keyfile.load(file_of(home, name)).key_id == in_use(home, name) != old[name]
    assert home.json("node", "show", "n")["node"]["blame"] == 0


def test_a_wait_goes_on_with_the_new_keys(home: Home, tmp_path: Path) -> None:
    """The process that drives a job while another one rotates signs its next bundles and verdicts by the new key."""
    gate = tmp_path / "gate"
    words = [PROGRAM, "submit", str(home.descriptor(gated(gate))), "--wait=120s"]
    with subprocess.Popen(words, env=home.env, cwd=home.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as driving:
        until(lambda: home.path.joinpath("spool").is_dir() and list(home.path.glob("spool/*/claims/*")), "the worker to claim it")
        assert home.call("key", "rotate", "coordinator", "n").code == 0
        gate.touch()
        said, _ = driving.communicate()
    assert driving.returncode == 0, said
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
    assert home.call("ledger", "verify").code == 0


def test_none_is_rotated_where_one_of_them_cannot_be(home: Home) -> None:
    """Nothing is half done."""
    before = in_use(home, "coordinator"), in_use(home, "n")
    for other in ("x", "n"):
        (home.path / "keys/node-n").rename(home.folder / "kept")
        assert home.call("key", "rotate", "coordinator", other).code != 0
        (home.folder / "kept").rename(home.path / "keys/node-n")
    assert (in_use(home, "coordinator"), in_use(home, "n")) == before


def test_a_coordinator_stays_who_it_was(home: Home, tmp_path: Path) -> None:
    """Its ledger keeps its name, heads of the old key hold, and a reader who has the old key trusts the new one by it."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    head = tmp_path / "head"
    head.write_text(home.call("ledger", "head").out)
    (pem := tmp_path / "old.pem").write_text(home.call("key", "export", "coordinator", "--format", "pem").out)
    for _ in range(2):
        assert home.call("key", "rotate", "coordinator").code == 0
    assert home.call("ledger", "head").out.splitlines()[0] == head.read_text().splitlines()[0]
    assert home.call("ledger", "verify", "--since", head).code == 0
    assert home.call("attestations", "1", "--out", tmp_path / "proof").code == 0
    done = home.json("verify", "--folder", tmp_path / "proof", "--key", pem)
    assert {key["from"] for key in done["keys"]} == {"given by you", "as the coordinator has it"}


def test_rotations_in_an_exported_folder_lead_from_key_to_key(home: Home, tmp_path: Path) -> None:
    """One that is taken out is missed, though the folder is otherwise whole: the coordinator signed for it."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    assert home.call("key", "rotate", "coordinator").code == 0
    assert home.call("attestations", "1", "--out", tmp_path / "proof").code == 0
    (tmp_path / "proof/coordinator.1.rotation.json").unlink()
    done = home.call("verify", "--folder", tmp_path / "proof")
    assert done.code == 1
    assert "coordinator.1.rotation.json is missing" in done.out + done.err


READING = (("verify", "1"), ("ledger", "head"), ("ledger", "verify"), ("attestations", "1", "--out", "proof"), ("key", "ls"))
WRITING = (("reconcile",), ("submit", "job.toml"), ("key", "rotate", "n"), ("ledger", "witness", "head"), ("backup", "b.tar"))


def test_a_key_that_was_swapped_is_noticed_by_every_command(home: Home) -> None:
    """Whether it only looks or also writes: one sentence, with both keys and the way out; the right one mends it."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    (home.folder / "head").write_text(home.call("ledger", "head").out)
    own, wanted = home.path / "keys/coordinator", in_use(home, "coordinator")
    own.rename(home.folder / "kept")
    other = keyfile.create(own, "another coordinator").key_id
    for words in (*READING, *WRITING):
        done = home.call(*words)
        assert done.code != 0, words
        assert f"is not the key of this database: got {other}, wanted {wanted}" in done.err, words
        assert "put that key back from a backup" in done.err
    assert not (home.folder / "proof").exists()
    own.unlink()
    (home.folder / "kept").rename(own)
    assert home.call("verify", "1").code == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_signs_nothing(home: Home, mode: int) -> None:
    """It is said how to mend that; nothing is rotated with it."""
    before = in_use(home, "n")
    for name in ("coordinator", "node-n"):
        key = home.path / "keys" / name
        key.chmod(mode)
        done = home.call("key", "rotate", name.removeprefix("node-"))
        assert done.code != 0
        assert "can be read or changed by others" in done.err
        assert "chmod 600" in done.err
        key.chmod(0o600)
    assert in_use(home, "n") == before


@pytest.mark.parametrize("lost", ["gone", "damaged", "of another node"])
def test_a_rotation_needs_the_old_key(home: Home, lost: str) -> None:
    """Without it there is `node rekey`; nothing is half done."""
    key, before = home.path / "keys/node-n", in_use(home, "n")
    key.unlink()
    if lost == "damaged":
        key.touch(0o600)
    elif lost == "of another node":
        keyfile.create(key, "another")
    done = home.call("key", "rotate", "n")
    assert done.code != 0
    assert "nexapod-batch node rekey n" in done.err
    assert in_use(home, "n") == before
    assert list((home.path / "keys").glob("*.new*")) == []


def test_who_has_no_key_is_named(home: Home) -> None:
    """With those who have one."""
    done = home.call("key", "rotate", "x")
    assert done.code == 66
    assert "one of: n" in done.err


def one_signature(sealed: bytes, kept: int) -> bytes:
    """Return a rotation with one of its two signatures."""
    import orjson

    document = orjson.loads(sealed)
    document["signatures"] = [document["signatures"][kept]]
    return orjson.dumps(document)


FORGED: dict[str, Callable[[bytes], bytes | None]] = {
    "not signed by the new key": lambda sealed: one_signature(sealed, 0),
    "not signed by the key that it replaces": lambda sealed: one_signature(sealed, 1),
    "is missing": lambda _: None,
}


@pytest.mark.parametrize("table", ["coordinator_key", "node_key"])
@pytest.mark.parametrize("why", FORGED)
def test_a_rotation_that_was_signed_by_one_side_is_found(home: Home, table: str, why: str) -> None:
    """In the database, of the coordinator and of nodes: the ledger is verified with it."""
    assert home.call("key", "rotate", "coordinator", "n").code == 0
    with sqlite3.connect(home.path / "state.db") as database:
        ((row, sealed),) = database.execute(f"SELECT id, rotation FROM {table} WHERE rotation IS NOT NULL")  # noqa: S608
        database.execute(f"UPDATE {table} SET rotation = ? WHERE id = ?", (FORGED[why](sealed), row))  # noqa: S608
    database.close()
    done = home.call("ledger", "verify")
    assert done.code == 1
    assert why in done.out


#: Calls by which something comes to be outside of the process.
EFFECTS = frozenset({"fsync", "link", "unlink", "replace", "rename", "execute", "executemany"})


def killed_at(instant: int, act: Callable[[], object]) -> bool:
    """Do something in a child that kills itself before its n-th effect; say whether it got so far."""
    pid = os.fork()
    if pid == 0:
        left = instant

        def count(_: object, event: str, call: Any) -> None:
            nonlocal left
            if event == "c_call" and call.__name__ in EFFECTS and not isinstance(call.__self__, str):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            act()
            sys.setprofile(None)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("holder", ["coordinator", "n"])
def test_killed_at_any_instant_there_is_the_old_key_or_the_new_one(home: Home, holder: str) -> None:
    """Whatever was done until then, the next command signs by the key that the database has; the ledger holds."""
    paths = Paths.from_environment(home.env)

    def turn() -> None:
        with open_coordinator(paths) as c:
            rotate(c, holder)

    seen, instant = set(), 1
    while killed_at(instant, turn):
        with open_coordinator(paths) as c:
            keys = [row.key_id for row in c.store.operations.coordinator_keys()]
            if holder != "coordinator":
                (node,) = c.store.nodes.all()
                keys = [row.key_id for row in c.store.nodes.keys(node.id)]
                c.node_signers.clear()
        seen.add(len(keys))
        instant += 1
    assert instant > 20  # it counted what was done
    assert len(seen) > 1  # some of these kills came before the step that counts, and some after it
    assert home.submit(TRUE, "--wait=60s").code == 0
    assert home.call("verify", "1").code == 0
    assert home.call("ledger", "verify").code == 0
    assert keyfile.load(file_of(home, holder)).key_id == in_use(home, holder)


def test_a_copy_with_the_same_key_is_told_when_its_heads_are_seen(home: Home, tmp_path: Path) -> None:
    """Two coordinators that share a key sign different ledgers of one name: either finds the other's head."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    home.end()
    other = Home(tmp_path, "copy")
    shutil.copytree(home.path, other.path, ignore=shutil.ignore_patterns("spool"))
    for one in (home, other):
        assert one.call("cancel", "1").code in {0, 1}
        assert one.call("node", "drain", "n").code == 0
    (head := tmp_path / "head").write_text(other.call("ledger", "head").out)
    done = home.call("ledger", "witness", head)
    assert done.code == 1
    assert "two coordinators use one key" in done.err
    assert "nexapod-batch key rotate coordinator" in done.err


def test_a_witness_follows_a_rotation_that_both_keys_signed(home: Home, tmp_path: Path) -> None:
    """Given the rotation it signs heads of the new key; without, or with one of another ledger, it does not."""
    other = Home(tmp_path, "witness")
    assert other.call("node", "init", "--name", "w").code == 0
    tiles = tmp_path / "tiles"
    assert home.call("ledger", "export", "--tiles", tiles).code == 0
    key = (tiles / "ledger.vkey").read_text().strip()
    assert other.call("ledger", "witness", tiles / "checkpoint", "--key", key).code == 0
    for one in (home, other):
        for _ in range(2):
            assert one.call("key", "rotate", "coordinator").code == 0
        out = tmp_path / f"of {one.path.name}"
        assert one.call("key", "export", "coordinator", "--format", "rotation", "--out", out).code == 0
    assert home.call("ledger", "export", "--tiles", tiles).code == 0
    for words in ((), ("--rotation", tmp_path / "of witness")):
        assert other.call("ledger", "witness", tiles / "checkpoint", *words).code == 1
    assert other.call("ledger", "witness", tiles / "checkpoint", "--rotation", tmp_path / "of home").code == 0
    assert other.call("ledger", "witness", tiles / "checkpoint").code == 0  # it knows the key by now


def test_a_backup_of_before_a_rotation_brings_its_key_back(home: Home, tmp_path: Path) -> None:
    """It is the same coordinator's; that of another one is refused."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    old = in_use(home, "coordinator")
    assert home.call("backup", tmp_path / "backup.tar").code == 0
    assert home.call("key", "rotate", "coordinator").code == 0
    assert home.call("db", "restore", tmp_path / "backup.tar").code == 0
    assert in_use(home, "coordinator") == old
    assert home.submit(TRUE, "--wait=60s").code == 0
    other = Home(tmp_path, "other")
    assert other.call("node", "init", "--name", "w").code == 0
    refused = other.call("db", "restore", tmp_path / "backup.tar")
    assert (refused.code, "is the home of another coordinator" in refused.err) == (78, True)
