"""The proof that `attestations` writes, checked by what lies in it, with Python's own library and openssl alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from homes import PROGRAM, Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOB = """[job]
name = "shared"
command = ["sh", "-c", "mkdir d; for i in $(seq {count}); do echo $i > d/$i.txt; done"]
[array]
ids = "0-1"
[quorum]
distinct = "node"
[[outputs]]
path = "d/*.txt"
"""


class Proof(NamedTuple):
    """A folder with a proof, the keys that its reader got elsewhere, and the published results."""

    folder: Path
    keys: Path
    results: Path
    uuid: str

    def check(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Run what the README says, in a process that cannot see our packages."""
        keys = [option for name in names or ("alice", "bob") for option in ("--key", str(self.keys / f"{name}.pem"))]
        argv = [sys.executable, "-I", "-S", "check.py", "--uuid", self.uuid, *keys, "--results", str(self.results)]
        return subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with two nodes and three jobs: twice the same small one, and one of many outputs."""
    one = Home(tmp_path_factory.mktemp("proof"))
    for name in ("alice", "bob"):
        assert one.call("node", "init", "--name", name, "--owner", name).code == 0
    for count in (2, 2, 120):
        assert one.submit(JOB.replace("{count}", str(count)), "--wait").code == 0
    keys = one.folder / "keys"
    keys.mkdir()
    for name in ("alice", "bob"):
        (keys / f"{name}.pem").write_text(one.call("key", "export", name, "--format", "pem").out)
    for job in (1, 2, 3):
        assert one.call("attestations", job, "--out", one.folder / f"proof{job}").code == 0
    yield one
    one.end()


@pytest.fixture(params=[1, 3], ids=["few", "many"])
def proof(home: Home, request: pytest.FixtureRequest, tmp_path: Path) -> Proof:
    """Return a copy of a proof, to be changed."""
    shutil.copytree(home.folder / f"proof{request.param}", tmp_path / "proof")
    shutil.copytree(home.path / "results" / str(request.param), tmp_path / "results")
    return Proof(tmp_path / "proof", home.folder / "keys", tmp_path / "results", home.json("show", request.param)["job"]["uuid"])


def test_a_good_proof_holds(proof: Proof) -> None:
    """Both tasks are agreed on by two keys, and the published files are as signed."""
    done = proof.check()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("2 agree, 2 needed; the verdict: accepted") == 2
    assert done.stdout.count("published files: as signed") == 2
    assert done.stdout.count(", isolation none\n") == 4
    assert done.stdout.count(": verdict signed by SHA256:") == 2


def test_what_the_scheduler_overruled_has_no_vote(proof: Proof, home: Home) -> None:
    """Its node signed well; it is shown, and not counted."""
    overruled(proof, home)
    done = proof.check()
    assert ", and has no vote: " in done.stdout
    assert "_0: 1 agree, 2 needed" in done.stdout
    assert "_1: 2 agree, 2 needed" in done.stdout


def test_keys_that_were_not_given_prove_nothing(proof: Proof) -> None:
    """One owner's key alone is one vote."""
    done = proof.check("alice")
    assert done.returncode == 1
    assert "whose key was not given" in done.stdout
    assert "1 agree, 2 needed" in done.stdout


def other_job(proof: Proof, home: Home) -> None:
    """Put in a statement of the same node about another job with the same descriptor."""
    job = proof.folder.joinpath("verdict.json").read_text()
    number = json.loads(job)["job"]
    for kind in ("dsse", "delegation"):
        shutil.copy(home.folder / f"proof2/2_0.1.{kind}.json", proof.folder / f"{number}_0.1.{kind}.json")


def other_task(proof: Proof, home: Home) -> None:
    """Put in what the same node signed of another task."""
    number = json.loads(proof.folder.joinpath("verdict.json").read_text())["job"]
    for kind in ("dsse", "delegation"):
        shutil.copy(proof.folder / f"{number}_1.1.{kind}.json", proof.folder / f"{number}_0.1.{kind}.json")


def omitted(proof: Proof, home: Home) -> None:
    """Leave out a statement."""
    next(proof.folder.glob("*_0.2.dsse.json")).unlink()


def omitted_replica(proof: Proof, home: Home) -> None:
    """Leave out a statement, and the replica in the coordinator's word as well."""
    omitted(proof, home)
    path = proof.folder / "verdict.json"
    verdict = json.loads(path.read_text())
    del verdict["tasks"][0]["replicas"][0]
    path.write_text(json.dumps(verdict))


def no_delegation(proof: Proof, home: Home) -> None:
    """Leave out what lets the key of a launch speak."""
    next(proof.folder.glob("*_0.1.delegation.json")).unlink()


def other_policy(proof: Proof, home: Home) -> None:
    """Say that one vote was enough."""
    path = proof.folder / "job.json"
    path.write_text(path.read_text().replace('"agree":2', '"agree":1'))


def changed_file(proof: Proof, home: Home) -> None:
    """Change a published file."""
    (proof.results / "1/d/2.txt").write_text("3\n")


def missing_file(proof: Proof, home: Home) -> None:
    """Remove a published file."""
    (proof.results / "0/d/1.txt").unlink()


def second_statement(proof: Proof, home: Home) -> None:
    """Let a replica have said two things."""
    path = next(proof.folder.glob("*_0.2.dsse.json"))
    shutil.copy(path, path.with_name(path.name.replace(".dsse", ".2.dsse")))


def no_verdict(proof: Proof, home: Home) -> None:
    """Leave out the signed verdict."""
    next(proof.folder.glob("*_0.vsa.json")).unlink()


def no_verdict_nor_proof(proof: Proof, home: Home) -> None:
    """Leave out the signed verdict, and that the ledger has one."""
    no_verdict(proof, home)
    next(proof.folder.glob("*_0.verdict.tlog-proof")).unlink()


def other_verdict(proof: Proof, home: Home) -> None:
    """Put the verdict on one task, and its proof, in the place of those on another."""
    for kind in ("vsa.json", "verdict.tlog-proof"):
        shutil.copy(next(proof.folder.glob(f"*_1.{kind}")), next(proof.folder.glob(f"*_0.{kind}")))


def changed_verdict(proof: Proof, home: Home) -> None:
    """Change what was signed."""
    path = next(proof.folder.glob("*_0.vsa.json"))
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b'"agree":2', b'"agree":3')
    path.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))


def changed_proof(proof: Proof, home: Home) -> None:
    """Change the entry that a proof is of."""
    path = next(proof.folder.glob("*_0.verdict.tlog-proof"))
    lines = path.read_text().split("\n")
    entry = base64.b64decode(lines[1].removeprefix("extra "))
    lines[1] = "extra " + base64.b64encode(entry.replace(b'"time":1', b'"time":2')).decode()
    path.write_text("\n".join(lines))


def other_head(proof: Proof, home: Home) -> None:
    """Change the root of the head, whose signature stays."""
    path = proof.folder / "checkpoint"
    name, size, root, *rest = path.read_text().split("\n")
    path.write_text("\n".join([name, size, root[::-1], *rest]))


def overruled(proof: Proof, home: Home) -> None:
    """Say that the scheduler took the vote of a replica."""
    path = proof.folder / "verdict.json"
    word = json.loads(path.read_text())
    word["tasks"][0]["replicas"][0]["why"] = {"code": "replica.overruled", "parameters": {"text": "out of memory"}}
    path.write_text(json.dumps(word))


ATTACKS = [
    no_verdict, no_verdict_nor_proof, other_verdict, changed_verdict, changed_proof, other_head, overruled, other_job, other_task, omitted, omitted_replica, no_delegation, other_policy, changed_file, missing_file, second_statement,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_hostile_proofs_fail(proof: Proof, home: Home, attack: Callable[[Proof, Home], None]) -> None:
    """Whatever is put in, left out or changed, the check says no, and no traceback."""
    attack(proof, home)
    done = proof.check()
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr


def test_another_uuid_fails(proof: Proof) -> None:
    """The publisher's UUID is not that of the proof."""
    assert proof._replace(uuid="0190-other").check().returncode == 1


def test_the_export_says_how_to_check_it(home: Home) -> None:
    """Job document, manifests, the coordinator's word and the recipe lie beside the statements."""
    names = {path.name for path in (home.folder / "proof3").iterdir()}
    assert {"job.json", "verdict.json", "README.md", "check.py", "3_0.manifest", "3_1.manifest"} <= names
    done = subprocess.run(["sha256sum", "--check", "--quiet", str(home.folder / "proof3/3_0.manifest")], cwd=home.path / "results/3/0", check=False)
    assert done.returncode == 0
    assert "python3 check.py --uuid UUID --key alice.pem" in (home.folder / "proof3/README.md").read_text()


@pytest.mark.parametrize("kind", ["*.pem", "*.pub", "*.dsse.json", "*.delegation.json", "job.json"])
def test_a_foreign_file_in_the_folder_is_refused(home: Home, tmp_path: Path, kind: str) -> None:
    """What is there already and says something else is neither kept as ours nor replaced."""
    out = tmp_path / "proof"
    shutil.copytree(home.folder / "proof1", out)
    assert home.call("attestations", 1, "--out", out).code == 0
    victim = min(out.glob(kind))
    victim.write_text("something else\n")
    done = home.call("attestations", 1, "--out", out)
    assert done.code == 2
    assert f"{victim} is there already" in done.err
    assert victim.read_text() == "something else\n"


def test_other_evidence_in_the_folder_is_refused(home: Home, tmp_path: Path) -> None:
    """A proof of two jobs in one folder proves neither."""
    out = tmp_path / "proof"
    shutil.copytree(home.folder / "proof2", out)
    (out / "job.json").unlink()
    done = home.call("attestations", 1, "--out", out)
    assert done.code == 2
    assert "is not of this export" in done.err


def test_the_tutorial_is_right_word_by_word(tmp_path: Path) -> None:
    """The blocks on three nodes and on the proof run as they stand; by hand, too, another job's statement is no proof."""
    text = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
    part = text[text.index("## 4. Three nodes") : text.index("## 6. ")]
    blocks = [block.split("```")[0] for block in part.split("```sh\n")[1:]]
    one = Home(tmp_path, "three")

    def run(script: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(PROGRAM).parent), os.environ["PATH"]])
        argv = ["bash", "-euo", "pipefail", "-c", script]
        env = {**os.environ, "PATH": path}
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=110)

    try:
        done = run("\n".join(blocks))
        again = "export NEXAPOD_HOME=$PWD/three\nuuid=$(nexapod-batch show 1 --json | grep -o '\"uuid\": *\"[^\"]*\"' | cut -d'\"' -f4)\n"
        by_hand = again + "\n".join(block for block in blocks if "field()" in block or "about=" in block)
        assert run(by_hand).returncode == 0
        other = "nexapod-batch submit primes.toml --wait\nnexapod-batch attestations 2 --out proof2\n"
        other += "for kind in dsse delegation; do cp proof2/2_0.1.$kind.json proof/1_0.1.$kind.json; done\n"
        swapped = run(again + other + by_hand)
    finally:
        one.end()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Signature Verified Successfully\n") == 2
    assert 'Signature Verified Successfully\n1\n1\n"subject":[{' in done.stdout
    assert "1_0: 2 agree, 2 needed; the verdict: accepted: 2 of 3 agree" in done.stdout
    assert "all holds: 3 statements, 1 verdict and 26 bytes of results" in done.stdout
    (subject,) = (line for line in done.stdout.splitlines() if line.startswith('"subject":'))
    (published,) = (line for line in done.stdout.splitlines() if line.endswith("  three/results/1/0/primes.txt"))
    assert published.split()[0] in subject
    assert swapped.returncode == 1, swapped.stdout + swapped.stderr
    assert swapped.stdout.endswith("Signature Verified Successfully\n1\n0\n")  # hers, of a replica of hers, of another job
