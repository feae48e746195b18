"""Signed verdicts of real jobs: exported, checked by openssl, and missed or refused when somebody changes what is stored."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from homes import TRUE, Home
from ledgers import tamper

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.trust.verdict import decode_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = TRUE.replace('["true"]', '["sh", "-c", "exit $NEXAPOD_TASK"]').replace("[quorum]", '[array]\nids = "0-1"\n[quorum]')


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a task that was accepted and one that failed, never changed by a test."""
    made = Home(tmp_path_factory.mktemp("verdicts"))
    try:
        assert made.call("node", "init", "--name", "n").code == 0
        assert made.submit(JOB, "--wait=50s").code == 1
        made.end()
        yield made
    finally:
        made.end()


def exported(home: Home, folder: Path) -> dict[int, dict[str, Any]]:
    """Return the envelopes of the signed verdicts of job 1, by task."""
    assert home.call("attestations", 1, "--out", folder).code == 0
    return {task: json.loads((folder / f"1_{task}.vsa.json").read_bytes()) for task in (0, 1)}


def test_a_verdict_names_every_statement_that_it_was_reached_from(home: Home, tmp_path: Path) -> None:
    """Those that are exported with it, by the digests of their payloads; the ledger has its own digest."""
    for task, envelope in exported(home, tmp_path / "proof").items():
        payload = base64.b64decode(envelope["payload"])
        verdict = decode_verdict(payload)
        statements = {}
        for file in (tmp_path / "proof").glob(f"1_{task}.*.dsse.json"):
            signed = base64.b64decode(json.loads(file.read_bytes())["payload"])
            statements[file.name.removesuffix(".dsse.json")] = hashlib.sha256(signed).hexdigest()
        assert dict(verdict.statements) == statements
        assert len(statements) == 2
        assert verdict.state == ("accepted", "failed")[task]
        assert bool(verdict.answer) == (task == 0)
        event = home.json("ledger", "prove", f"1_{task}")["event"]
        assert base64.b64decode(event["sha256"]) == hashlib.sha256(payload).digest()
        (job_sha256,) = {hashlib.sha256((tmp_path / "proof/job.json").read_bytes()).hexdigest()}
        assert verdict.job_sha256 == job_sha256


def test_openssl_verifies_it(home: Home, tmp_path: Path) -> None:
    """With the coordinator's key that stands beside it."""
    envelope = exported(home, tmp_path / "proof")[0]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", f"{tmp_path}/proof/coordinator.spki", "-rawin"]
    argv += ["-in", f"{tmp_path}/signed", "-sigfile", f"{tmp_path}/signature"]
    assert subprocess.run(argv, check=False, capture_output=True).returncode == 0
    (tmp_path / "signed").write_bytes((tmp_path / "signed").read_bytes().replace(b"PASSED", b"FAILED"))
    assert subprocess.run(argv, check=False, capture_output=True).returncode != 0


def test_explain_says_how_it_was_signed(home: Home) -> None:
    """With its levels, where it was accepted."""
    assert "signed: verdict accepted (NEXAPOD_QUORUM_2_OF_2, " in home.call("explain", "1_0").out
    assert "signed: verdict failed, reached from 2 statements; " in home.call("explain", "1_1").out


def test_a_retry_makes_another_verdict(home: Home, tmp_path: Path) -> None:
    """The first one is kept, and the newest is exported, into the same folder as well."""
    other = Home(tmp_path, "copy")
    shutil.copytree(home.path, other.path)
    before = exported(other, tmp_path / "proof")
    assert other.call("retry", "1_1").code == 0
    assert other.call("wait", "1", "--timeout", "40s").code == 1
    other.end()
    assert other.call("verify", "1").code == 0
    assert other.proof_code(1) == 0
    after = exported(other, tmp_path / "proof")
    assert after[0] == before[0]
    assert decode_verdict(base64.b64decode(after[1]["payload"])).basis != decode_verdict(base64.b64decode(before[1]["payload"])).basis
    assert sum(row["kind"] == "verdict" for row in other.json("ledger", "log", "1_1")["entries"]) == 2


CHANGES = {
    "the verdict is gone": ("DELETE FROM verdict WHERE task = 1", "the signed verdict is missing"),
    "its signature is another": ("UPDATE verdict SET signature = zeroblob(64)", "no signature verifies"),
    "it is another task's": (
        "UPDATE verdict SET signature = (SELECT signature FROM verdict WHERE task = 0), task = 1 WHERE task = 1", "no signature verifies",
    ),
    "it cannot be read": ("UPDATE verdict SET packed = x'ff' WHERE task = 1", "is damaged"),
    "its entry is forgotten": ("UPDATE task SET decided = NULL WHERE idx = 1", "the ledger has no verdict on it"),
    "its entry is another": ("UPDATE task SET decided = 0 WHERE idx = 1", "the ledger has no verdict on it"),
    "who agreed is another number": ("UPDATE task SET agree = 1 WHERE idx = 0", "agree"),
    "a statement is another": ("UPDATE report SET payload_sha256 = zeroblob(32) WHERE id = 1", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_signed_and_is_changed_is_found(home: Home, tmp_path: Path, change: str) -> None:
    """`verify` names it."""
    other = Home(tmp_path, "copy")
    shutil.copytree(home.path, other.path)
    statement, words = CHANGES[change]
    tamper(other.path / "state.db", ("PRAGMA foreign_keys = OFF",), (statement,))
    with open_coordinator(Paths.from_environment(other.env), write=False) as c:
        found = job_evidence.verify(c, 1)
    problems = "; ".join(check["problem"] for check in found.checks if not check["ok"])
    assert words in problems


def test_a_statement_that_is_left_out_is_missed(home: Home, tmp_path: Path) -> None:
    """Though everything that is left agrees with itself: the verdict names it."""
    other = Home(tmp_path, "copy")
    shutil.copytree(home.path, other.path)
    tamper(
        other.path / "state.db",
        ("PRAGMA foreign_keys = OFF",),
        ("DELETE FROM report WHERE replica_id = (SELECT id FROM replica WHERE task = 0 AND number = 2)",),
        ("UPDATE replica SET execution = 'lost', vote = NULL WHERE task = 0 AND number = 2",),
    )
    done = other.call("verify", "1")
    assert done.code == 1
    assert other.call("ledger", "verify").code == 1
