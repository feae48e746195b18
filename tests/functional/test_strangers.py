"""Somebody else's command with the run of an account: what it steals and forges there is one word, never a quorum."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home
from spools import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Takes every key that waits in the inbox of the node on which it runs, claims the launch, and signs what it likes.
THIEF = r"""
import base64, json, os, sys, time
from pathlib import Path
from nexapod_batch.model.document import digest, from_document
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.bundle import decode_bundle
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, vote_of_subjects
from nexapod_batch.trust.statement_encoder import encode

home, gate = Path(sys.argv[1]), Path(sys.argv[2])
spool = home / "spool" / Path.cwd().parent.name
node = json.loads((spool / "node.json").read_bytes())
done, number = set(), 0
(gate.parent / f"at.{spool.name}").touch()
while not gate.exists():
    for key in (spool / "inbox").glob("*.key"):
        bundle_file = key.with_suffix(".json")
        if key.stem in done or not bundle_file.exists():
            continue
        try:
            seed, envelope = bytes.fromhex(key.read_text()), json.loads(bundle_file.read_bytes())
        except OSError:  # the worker was faster
            continue
        signer, bundle = Signer.from_seed(seed), decode_bundle(base64.b64decode(envelope["payload"]))
        job = from_document(json.loads(bundle.document))
        if job.name != "v":
            continue
        (spool / "claims" / key.stem).write_text(json.dumps({"incarnation": "thief"}))
        for one in bundle.replicas:
            text = b"wrong\n"
            import hashlib
            wrong, empty = hashlib.sha256(text).hexdigest(), hashlib.sha256(b"").hexdigest()
            subjects = (Subject(name="a.txt", sha256=wrong, size=len(text)),)
            said = Statement(
                job_uuid=bundle.job_uuid, job_digest=digest(bundle.document),
                replica=ReplicaName(bundle.job_id, one.task, one.number), nonce=one.nonce, agree=job.quorum.agree,
                distinct=tuple(field.value for field in job.quorum.distinct), backend="local", native_id="x",
                host=node["host"], isolation="none", classes=node["classes"], outcome=Outcome.OK, detail="", exit_code=0,
                wall_ms=1, cpu_ms=1, max_rss_kib=1, output_bytes=len(text), started_ms=int(time.time() * 1000),
                finished_ms=int(time.time() * 1000), builder=bundle.audience, subjects=subjects, manifest=False,
                inputs=(), stdout_sha256=empty, stderr_sha256=empty, vote=vote_of_subjects(subjects),
            )
            line = json.loads(seal(signer, PAYLOAD_TYPE, encode(said)))
            line["key"] = base64.b64encode(signer.public).decode()
            line["carried"] = {"a.txt": base64.b64encode(text).decode(), "stdout": "", "stderr": ""}
            number += 1
            (spool / "reports" / f"thief-{number}.jsonl").write_text(json.dumps(line) + "\n")
        done.add(key.stem)
    time.sleep(0.02)
"""

VICTIM = '[job]\nname = "v"\ncommand = ["sh", "-c", "echo right > a.txt"]\n[[outputs]]\npath = "a.txt"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with two nodes that confine nobody, each for one replica at a time."""
    one = Home(tmp_path)
    for name in ("a", "b"):
        assert one.call("node", "init", "--name", name, "--cpus", "1", "--confine", "never").code == 0
    yield one
    one.end()


def claimed(home: Home, job: int, node: str) -> int:
    """Return how many replicas of a job a node has claimed, and not run."""
    home.json("reconcile")
    replicas = [replica for task in home.json("show", job)["tasks"] for replica in task["replicas"]]
    return sum((replica["node"], replica["execution"]) == (node, "submitted") for replica in replicas)


def test_what_a_thief_forges_on_two_nodes_of_one_account_is_one_word(home: Home, tmp_path: Path) -> None:
    """With the keys of launches that nobody had claimed it answers for both nodes: it counts once, and is outvoted."""
    gate, thief = tmp_path / "gate", tmp_path / "thief.py"
    thief.write_text(THIEF)
    text = TRUE.replace('"true"]', f'"{sys.executable}", "{thief}", "{home.path}", "{gate}"]').replace('"run"', '"node"')
    assert home.submit(text, "--foreign").code == 0
    until(lambda: (tmp_path / "at.a").exists() and (tmp_path / "at.b").exists(), "a thief on each node")
    fill = TRUE.replace("[quorum]", '[array]\nids = "0-5"\n[quorum]').replace('"run"', '"node"')
    assert home.submit(fill).code == 0  # so that the nodes have enough at hand, and leave the next launch unclaimed
    until(lambda: min(claimed(home, 2, node) for node in "ab") >= 2, "both nodes to claim two of it")
    assert home.submit(VICTIM).code == 0

    def forged() -> bool:
        home.json("reconcile")
        return [one["execution"] for one in home.json("show", 3)["tasks"][0]["replicas"]].count("reported") >= 2

    until(forged, "both forgeries to be taken in")
    task = home.json("show", 3)["tasks"][0]
    assert (task["state"], task["agree"]) == ("active", 1) or task["state"] == "inconclusive"
    assert "they count as one" in home.call("explain", "3").out + task["reason"]
    gate.touch()
    for name in ("c", "d"):
        assert home.call("node", "init", "--name", name, "--cpus", "1").code == 0
    home.call("retry", "3")
    assert home.call("wait", "3", "--timeout", "90s").code == 0
    assert (home.path / "results/3/0/a.txt").read_text() == "right\n"


def test_strangers_who_are_confined_take_nothing_away(tmp_path: Path) -> None:
    """Beside a stranger that cannot leave its work folder two nodes are two."""
    home = Home(tmp_path)
    try:
        for name in ("a", "b"):
            assert home.call("node", "init", "--name", name, "--cpus", "2").code == 0
        text = TRUE.replace('"true"]', '"sleep", "5"]').replace('"run"', '"node"')
        assert home.submit(text, "--foreign").code == 0
        assert home.submit(VICTIM, "--wait=90s").code == 0
        reason = home.json("show", 2)["tasks"][0]["reason"]
        assert reason.startswith("2 of 2 agree")
        assert reason.endswith("isolation none: the word of one account")
    finally:
        home.end()


MIN = VICTIM + '[quorum]\ndistinct = "run"\nmin_isolation = "files"\n'


def test_a_quorum_may_want_isolation(tmp_path: Path) -> None:
    """Commands of such a job are confined on nodes that would not otherwise; it says so, and counts."""
    home = Home(tmp_path)
    try:
        assert home.submit(MIN, "--wait=90s").code == 0
        shown = home.call("show", "1")
        assert "isolation at least files" in shown.out
        assert {one["isolation"] for one in home.json("show", 1)["tasks"][0]["replicas"]} == {"files"}
        assert "word of one account" not in home.json("show", 1)["tasks"][0]["reason"]
    finally:
        home.end()


def test_a_job_that_wants_more_than_any_node_can_is_refused(home: Home) -> None:
    """At submit, with the reason of the node; and so is a container that is not there."""
    done = home.submit(MIN)
    assert done.code == 65
    assert "quorum.min_isolation: node a confines no command (confine = never)" in done.err
    done = home.submit(MIN.replace('"files"', '"container"'))
    assert done.code == 65
    assert "quorum.min_isolation: the job has no container" in done.err
