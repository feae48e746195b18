"""Keys of launches: what a thief gets, what it is worth, and how statements are verified through them."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from forging import line_of, said_in, stolen_key
from homes import TRUE, Home, ended
from living_folders import below, contents, states
from spools import until

from nexapod_batch.files import keyfile
from nexapod_batch.trust.dsse import Signer, pae, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Statement
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A = '[job]\nname = "a"\ncommand = ["sh", "-c", "echo 1 > a.txt"]\n[[outputs]]\npath = "a.txt"\n[quorum]\ndistinct = "run"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    with ended(Home(tmp_path), "n") as made:
        yield made


def waiting(home: Home, gate: Path) -> str:
    """Return a job whose commands run until there is a gate."""
    return TRUE.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')


def rows(home: Home, sql: str, *values: object) -> list[Any]:
    """Return what a query finds in the database."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        return connection.execute(sql, values).fetchall()


def change(home: Home, sql: str, *values: object) -> None:
    """Change the database, which nobody else uses now."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection, connection:
        connection.execute(sql, values)


def put(home: Home, *lines: bytes) -> None:
    """Leave a segment in the spool, to be read before genuine ones."""
    (home.spool() / "reports/00.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def keys_in_inbox(home: Home) -> list[Path]:
    """Return the files of keys that wait for the worker."""
    return list((home.spool() / "inbox").glob("*.key"))


def test_no_command_finds_the_key_of_its_launch(home: Home, tmp_path: Path) -> None:
    """It is gone from the inbox before a command of the launch starts, and soon from the database."""
    listing = tmp_path / "seen"
    gate = tmp_path / "gate"
    text = waiting(home, gate).replace('"while', f'"ls {home.path}/spool/n/inbox >> {listing}; while')
    assert home.submit(text).code == 0
    until(lambda: listing.exists() and listing.read_text().count(".json") >= 2, "both commands to look")
    assert ".json" in listing.read_text()
    launches = {one.stem for one in (home.spool() / "claims").iterdir()}
    assert {one.stem for one in keys_in_inbox(home)}.isdisjoint(launches)
    home.json("reconcile")
    assert rows(home, "SELECT count(*) FROM delegation WHERE seed IS NOT NULL") == [(0,)]
    gate.touch()
    assert home.call("wait", "1", "--timeout", "90s").code == 0


def test_a_key_that_waits_is_readable_by_its_owner_alone(home: Home, tmp_path: Path) -> None:
    """The mode of its file is 0600, and the database keeps it until the launch ends."""
    gate = tmp_path / "gate"
    cpus = home.json("node", "ls")["nodes"][0]["cpus"]
    text = waiting(home, gate) + f'[array]\nids = "1-{40 * cpus}"\n'
    assert home.submit(text).code == 0
    until(lambda: list((home.spool() / "claims").iterdir()), "a claim")
    waits = states(keys_in_inbox(home))  # the worker takes some meanwhile
    assert {stat.S_IMODE(one.st_mode) for one in waits.values()} == {0o600}
    assert home.call("cancel", "1").code == 0
    gate.touch()
    until(lambda: home.json("reconcile")["open_jobs"] == 0, "the job to end")
    until(lambda: home.json("reconcile") and not rows(home, "SELECT 1 FROM launch WHERE state IN ('intent', 'handed')"), "the end")
    assert rows(home, "SELECT count(*) FROM delegation WHERE seed IS NOT NULL") == [(0,)]
    assert keys_in_inbox(home) == []


def test_the_runner_is_not_told_where_the_key_of_its_node_is(home: Home) -> None:
    """Nothing that a runner reads names the private key, and nothing of the spool holds it."""
    assert home.submit(TRUE, "--wait=90s").code == 0
    key = home.path / "keys/node-n"
    body = key.read_bytes()
    found = contents(below(home.spool()))
    assert home.spool() / "node.json" in found
    for file, content in found.items():
        assert body not in content, file
        assert str(key).encode() not in content, file


def test_what_was_stolen_forges_nothing(home: Home) -> None:
    """The keys of the node and of the coordinator, and that of another launch, say nothing of a replica."""
    assert home.submit(A).code == 0
    until(lambda: len(home.lines()) == 2, "two reports")
    first, second = (said_in(line) for line in home.lines())
    node, coordinator = (keyfile.load(home.path / "keys" / name) for name in ("node-n", "coordinator"))
    lie = first._replace(wall_ms=first.wall_ms + 1)
    thieves = [node, coordinator, stolen_key(home, str(second.replica)), Signer.from_seed(b"x" * 32)]
    forged = [line_of(thief, lie) for thief in thieves] + [seal(node, PAYLOAD_TYPE, encode(lie))]
    put(home, *forged)
    assert home.json("reconcile")["quarantined"] == len(forged)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    task = home.json("show", 1)["tasks"][0]
    assert [(one["execution"], one["voided"], one["validation"]) for one in task["replicas"]] == [("reported", False, "valid")] * 2
    assert home.json("node", "show", "n")["node"]["blame"] == 0


BEYOND = {
    "the nonce of another launch": lambda said, other: said._replace(nonce=other.nonce),
    "a start after the end": lambda said, _: said._replace(started_ms=4 * 10**12, finished_ms=4 * 10**12),
    "another node": lambda said, _: said._replace(builder=Signer.from_seed(b"x" * 32).key_id),
    "another job": lambda said, _: said._replace(job_digest="0" * 64),
}


@pytest.mark.parametrize("kind", list(BEYOND))
def test_the_key_of_a_launch_goes_no_further_than_its_delegation(home: Home, kind: str) -> None:
    """What it says beyond it is no vote and is held against the node; the replica that it names goes on."""
    assert home.submit(A).code == 0
    until(lambda: len(home.lines()) == 2, "two reports")
    first, second = (said_in(line) for line in home.lines())
    lie: Statement = BEYOND[kind](first, second)
    put(home, line_of(stolen_key(home, str(first.replica)), lie))
    assert home.json("reconcile")["quarantined"] == 1
    assert home.json("node", "show", "n")["node"]["blame"] == 1
    assert home.call("wait", "1", "--timeout", "90s").code == 0


def test_a_copy_of_a_bundle_is_not_run_again(home: Home) -> None:
    """Put back into the inbox after acceptance, with or without its key, it is refused or left alone."""
    assert home.submit(A).code == 0
    until(lambda: len(home.lines()) == 2, "two reports")
    before = home.lines()
    key, envelope, seed = rows(home, "SELECT l.key, l.envelope, d.seed FROM launch l JOIN delegation d ON d.launch_id = l.id")[0]
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    until(lambda: home.json("reconcile") and rows(home, "SELECT 1 FROM launch WHERE state = 'forgotten'"), "the launches to go")
    known = {line["payload"] for line in before}
    for beside in (None, seed):
        if beside is not None:
            (home.spool() / f"inbox/{key}.key").write_text(beside.hex())
        (home.spool() / f"inbox/{key}.json").write_bytes(envelope)
        assert home.submit(TRUE, "--wait=90s").code == 0
    assert not any(said_in(line).replica.job == 1 for line in home.lines() if line["payload"] not in known)
    assert home.call("verify", "1").code == 0
    assert home.json("node", "show", "n")["node"]["blame"] == 0


def openssl_verifies(folder: Path, envelope: Path, pem: Path) -> bool:
    """Say whether OpenSSL alone accepts an envelope under a key."""
    document = json.loads(envelope.read_bytes())
    (folder / "signed").write_bytes(pae(document["payloadType"], base64.b64decode(document["payload"])))
    (folder / "signature").write_bytes(base64.b64decode(document["signatures"][0]["sig"]))
    argv: list[str | Path] = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", pem, "-rawin", "-in", folder / "signed", "-sigfile", folder / "signature"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_openssl_verifies_from_the_key_of_the_node_down(home: Home, tmp_path: Path) -> None:
    """The node's key verifies the delegation, the key in it the statement; the node's key alone verifies no statement."""
    assert home.submit(A, "--wait=90s").code == 0
    assert home.call("attestations", "1", "--out", tmp_path / "proof").code == 0
    node, subkey = tmp_path / "node.pem", tmp_path / "subkey.pem"
    node.write_text(home.call("key", "export", "n", "--format", "pem").out)
    for number in (1, 2):
        delegation, statement = (tmp_path / f"proof/1_0.{number}.{ending}" for ending in ("delegation.json", "dsse.json"))
        assert openssl_verifies(tmp_path, delegation, node)
        given = json.loads(base64.b64decode(json.loads(delegation.read_bytes())["payload"]))
        subkey.write_text(f"-----BEGIN PUBLIC KEY-----\n{given['subkey']}\n-----END PUBLIC KEY-----\n")
        assert openssl_verifies(tmp_path, statement, subkey)
        assert not openssl_verifies(tmp_path, statement, node)
        assert said_in(json.loads(statement.read_bytes())).nonce in given["nonces"]


def test_statements_of_the_time_before_subkeys_stay_good(home: Home, tmp_path: Path) -> None:
    """A launch without a delegation takes statements by the node's key, open ones too; they verify and are exported."""
    gate = tmp_path / "gate"
    assert home.submit(waiting(home, gate)).code == 0
    change(home, "DELETE FROM delegation")
    node = keyfile.load(home.path / "keys/node-n")
    gate.touch()
    until(lambda: len(home.lines()) == 2, "two reports")
    old = [seal(node, PAYLOAD_TYPE, base64.b64decode(line["payload"])) for line in home.lines()]
    for segment in (home.spool() / "reports").glob("*.jsonl"):
        segment.unlink()
    for kind in ("out", "err"):  # these reports carry nothing: their logs lie in the work folder
        for number in (1, 2):
            (home.path / f"work/n/1_0.{number}.{kind}").write_bytes(b"")
    put(home, *old)
    assert home.json("reconcile")["quarantined"] == 0
    assert home.json("show", 1)["job"]["state"] == "accepted"
    assert home.call("verify", "1").code == 0
    assert home.call("attestations", "1", "--out", tmp_path / "proof").code == 0
    assert not list((tmp_path / "proof").glob("*.delegation.json"))
    pem = tmp_path / "node.pem"
    pem.write_text(home.call("key", "export", "n", "--format", "pem").out)
    assert openssl_verifies(tmp_path, tmp_path / "proof/1_0.1.dsse.json", pem)


def test_a_node_without_its_key_gets_nothing(home: Home) -> None:
    """That is a fault of the node, which is named; with the key back the job goes on."""
    key = home.path / "keys/node-n"
    shutil.move(key, home.path / "kept")
    done = home.submit(A)
    assert done.code == 0
    assert "node-n" in " ".join([*(said := home.json("reconcile"))["faults"], *said["standing"]])
    shutil.move(home.path / "kept", key)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
