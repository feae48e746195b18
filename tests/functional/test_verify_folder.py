"""`verify --folder`: an exported folder is checked without a home, and whatever is changed in it is noticed and named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from homes import TRUE, Home

from nexapod_batch.coordinator.verification.export_check import verify_folder
from nexapod_batch.files import keyfile, output_files
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import spki_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A task whose outputs need a manifest, one that fails, two nodes of two owners.
JOB = """[job]
name = "read"
command = ["sh", "-c", "test {task} = 0 || exit 7; mkdir d; for i in $(seq 120); do echo $i > d/$i.txt; done"]
[array]
ids = "0-1"
[quorum]
distinct = "owner"
[[outputs]]
path = "d/*.txt"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a job of two nodes and owners that ended, and its export; nobody may change it."""
    one = Home(tmp_path_factory.mktemp("reader"))
    for name in ("alice", "bob"):
        assert one.call("node", "init", "--name", name, "--owner", name).code == 0
    assert one.submit(JOB, "--wait").code == 1  # its second task fails
    assert one.call("attestations", 1, "--out", one.folder / "proof").code == 0
    runs = TRUE.replace('"run"', '"run"\nagree = 3')
    assert one.submit(runs, "--wait").code == 0
    assert one.call("attestations", 2, "--out", one.folder / "runs").code == 0
    for name in ("alice", "bob"):
        (one.folder / f"{name}.pem").write_text(one.call("key", "export", name, "--format", "pem").out)
    yield one
    one.end()


@pytest.fixture
def proof(home: Home, tmp_path: Path) -> Path:
    """Return a copy of the export, to be changed."""
    return Path(shutil.copytree(home.folder / "proof", tmp_path / "proof"))


def problems(folder: Path, **more: Any) -> str:
    """Return what is found wrong in a folder; "" when everything holds."""
    document = verify_folder(folder, more.get("given", {}), more.get("results"))
    found = [str(check["problem"]) for check in document["checks"] if not check["ok"]]
    assert document["ok"] == (not found)
    return "; ".join(found)


def sign_again(folder: Path, signer: Signer) -> None:
    """Write the manifest of what lies there now, signed: what only the coordinator, or who has another key, can do."""
    left = [path for path in folder.iterdir() if not path.name.startswith("manifest-sha256")]
    manifest = output_files.manifest([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in left])
    (folder / "manifest-sha256.txt").write_bytes(manifest)
    (folder / "manifest-sha256.sig").write_bytes(signer.sign(manifest))


def test_a_folder_is_verified_without_a_home(home: Home, proof: Path) -> None:
    """Neither a home nor a database is needed, or made; keys that were given are named, the coordinator's is not."""
    home_of_nobody = proof.parent / "nowhere"
    keys = [option for name in ("alice", "bob") for option in ("--key", home.folder / f"{name}.pem")]
    argv = ("verify", "--folder", proof, *keys, "--results", home.path / "results/1")
    done = home.call(*argv, env={"NEXAPOD_HOME": str(home_of_nobody)})
    assert (done.code, done.err) == (0, "")
    assert "all holds: 4 statements, 2 verdicts and 372 bytes of results are what was signed" in done.out
    assert done.out.count("given by you") == 2
    bare = home.call("verify", "--folder", proof, env={"NEXAPOD_HOME": str(home_of_nobody)})
    assert "4 statements and 2 verdicts are what was signed; no results were looked at: give them with --results" in bare.out
    assert bare.out.count("unattributed: it came with the folder") == 3
    assert "key of the coordinator: SHA256:" in done.out
    assert "unattributed: it came with the folder" in done.out
    assert not home_of_nobody.exists()


def test_every_byte_and_every_file_counts(home: Home, proof: Path) -> None:
    """Of each file: one bit of any of some bytes changed, cut, made longer, gone, a link: it fails and is named."""
    names = sorted(path.name for path in proof.iterdir())
    assert {"job.json", "verdict.json", "manifest-sha256.txt", "1_0.manifest", "1_0.vsa.json"} <= set(names)
    assert problems(proof) == ""
    for name in names:
        path, data = proof / name, (proof / name).read_bytes()
        places = {0, len(data) // 3, len(data) // 2, len(data) - 1}
        changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]
        for other in [*changed, data[:-1], data + b"\n", b""]:
            path.write_bytes(other)
            assert name in problems(proof), (name, other[:40])
        path.unlink()
        assert f"{name} is missing" in problems(proof)
        path.symlink_to(home.folder / "proof" / name)
        assert name in problems(proof)
        path.unlink()
        path.write_bytes(data)
    assert problems(proof) == ""


@pytest.mark.parametrize("name", ["notes.txt", "1_0.3.dsse.json", "1_2.1.dsse.json", "1_0.1.2.dsse.json", ".hidden", "d"])
def test_a_file_more_is_named(proof: Path, name: str) -> None:
    """Nothing may lie there that the coordinator did not sign for, be it a statement, a note or a folder."""
    if name == "d":
        (proof / name).mkdir()
    else:
        shutil.copy(proof / "1_0.1.dsse.json", proof / name)
    assert problems(proof) == f"{name!r} is not of this export"


def change_word(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the coordinator says."""
    path = folder / "verdict.json"
    word = json.loads(path.read_text())
    change(word)
    path.write_text(json.dumps(word))


def leave_out(folder: Path) -> None:
    """Leave out a statement, and say that it never came."""
    (folder / "1_0.2.dsse.json").unlink()
    change_word(folder, lambda word: word["tasks"][0]["replicas"][1].update(statements=0, execution="lost"))


def leave_out_replica(folder: Path) -> None:
    """Leave out the last replica altogether."""
    (folder / "1_0.2.dsse.json").unlink()
    (folder / "1_0.2.delegation.json").unlink()
    change_word(folder, lambda word: word["tasks"][0]["replicas"].pop())


def swap_tasks(folder: Path) -> None:
    """Put what was signed of one task where that of another is expected."""
    for kind in ("dsse", "delegation"):
        shutil.copy(folder / f"1_1.1.{kind}.json", folder / f"1_0.1.{kind}.json")


def other_verdict(folder: Path) -> None:
    """Put the verdict on one task where that on another is expected."""
    shutil.copy(folder / "1_1.vsa.json", folder / "1_0.vsa.json")


def other_policy(folder: Path) -> None:
    """Say that one vote was enough."""
    path = folder / "job.json"
    path.write_text(path.read_text().replace('"agree":2', '"agree":1'))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_word(folder, lambda word: word.update(digest=digest))


def without(*names: str) -> Callable[[Path], None]:
    """Return what leaves out some files."""

    def leave_out_files(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return leave_out_files


def without_publication(folder: Path) -> None:
    """Say that nothing was published."""
    change_word(folder, lambda word: word["tasks"][0].update(published_from=None))


def copied(source: str, target: str) -> Callable[[Path], None]:
    """Return what puts one file in the place of another."""

    def copy(folder: Path) -> None:
        shutil.copy(folder / source, folder / target)

    return copy


def other_path(folder: Path) -> None:
    """Change one hash of a proof."""
    path = folder / "1_0.1.tlog-proof"
    lines = path.read_text().split("\n")
    lines[3] = lines[4]
    path.write_text("\n".join(lines))


def said(field: str, value: object) -> Callable[[Path], None]:
    """Return what makes the coordinator say something else of the first task."""
    return lambda folder: change_word(folder, lambda word: word["tasks"][0].update({field: value}))


def of_replica(field: str, value: object) -> Callable[[Path], None]:
    """Return what makes the coordinator say something else of the first replica."""
    return lambda folder: change_word(folder, lambda word: word["tasks"][0]["replicas"][0].update({field: value}))


LIES = {
    "a statement is left out": (leave_out, "it was reached from a statement of 1_0.2 that is not here"),
    "a replica is left out": (leave_out_replica, "1 replicas are stored, and the verdict was reached from 2"),
    "a statement of another task": (swap_tasks, "the statement is about another replica"),
    "a verdict on another task": (other_verdict, "its task is signed as 1, and exported as 0"),
    "another policy": (other_policy, "the statement is about another job digest"),
    "another uuid": (lambda folder: change_word(folder, lambda word: word.update(uuid="0190")), "another job"),
    "another state": (said("state", "failed"), "its state is signed as 'accepted', and exported as 'failed'"),
    "more agree": (said("agree", 3), "how many agree is signed as 2, and exported as 3"),
    "other circumstances": (said("basis", "re"), "how its replicas stood is signed as 'rr'"),
    "another winner": (said("published_from", 7), "it was published from replica 7, which signed nothing"),
    "no such task": (said("task", 5), "are not tasks of job.json"),
    "no list": (said("replicas", None), "cannot be read"),
    "one owner, called two": (of_replica("domain", {"owner": "bob", "node": "alice"}), "its replicas make it"),
    "it was lost": (of_replica("execution", "lost"), "its node signed that it reported"),
    "it is worth nothing": (of_replica("validation", "invalid"), "replica 1 is invalid, and its statement makes it valid"),
    "it does not count": (of_replica("no_vote", {"code": "text", "parameters": {"text": "x"}}), "its replicas make it"),
    "a reason that is none": (of_replica("no_vote", {}), "it cannot be worked out again"),
    "it has no key": (of_replica("keys", []), "no key to verify with"),
    "a signed verdict is left out": (without("1_0.vsa.json"), "the ledger has a signed verdict on it, and 1_0.vsa.json is missing"),
    "its proof is as well": (without("1_0.vsa.json", "1_0.verdict.tlog-proof"), "1_0.verdict.tlog-proof is missing"),
    "the proof of a statement is left out": (without("1_1.2.tlog-proof"), "1_1.2.tlog-proof is missing"),
    "the proof of the job is left out": (without("job.tlog-proof"), "job.tlog-proof is missing"),
    "there is no head": (without("checkpoint"), "checkpoint is missing"),
    "there is no key of the ledger": (without("ledger.vkey"), "ledger.vkey is missing"),
    "no proof at all": (without("checkpoint", "ledger.vkey"), "exported by an early version, or left out"),
    "a publication is left out": (without_publication, "1_0.published.tlog-proof is here, and nothing of it is said"),
    "a proof of another verdict": (copied("1_1.verdict.tlog-proof", "1_0.verdict.tlog-proof"), "the ledger says id 1_1, and here it is 1_0"),
    "a proof of another kind": (copied("1_0.1.tlog-proof", "1_0.verdict.tlog-proof"), "its entry is not a verdict"),
    "a proof of another statement": (copied("1_0.1.tlog-proof", "1_0.2.tlog-proof"), "the ledger says id 1_0.1, and here it is 1_0.2"),
    "a publication of another task": (copied("1_0.verdict.tlog-proof", "1_0.published.tlog-proof"), "its entry is not a published"),
    "a proof of nothing": (copied("1_0.1.tlog-proof", "1_0.9.tlog-proof"), "1_0.9.tlog-proof proves nothing that is here"),
    "another hash": (other_path, "1_0.1.tlog-proof: "),
    "a head that is none": (copied("README.md", "checkpoint"), "checkpoint: "),
    "another key of the ledger": (copied("checkpoint", "ledger.vkey"), "ledger.vkey is not the coordinator's"),
    "a proof that is none": (copied("job.json", "1_0.1.tlog-proof"), "1_0.1.tlog-proof: not a proof of a ledger"),
    "nested deeply": (lambda folder: (folder / "verdict.json").write_text("[" * 5000), "cannot be read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_coordinator_that_lies_contradicts_what_was_signed(home: Home, proof: Path, lie: str) -> None:
    """Also who holds the coordinator's key and signs the folder again cannot change what was decided from what."""
    change, problem = LIES[lie]
    change(proof)
    sign_again(proof, keyfile.load(home.path / "keys/coordinator"))
    assert problem in problems(proof)


def test_one_key_is_one_node(home: Home, tmp_path: Path) -> None:
    """Of three executions on two nodes two are of one key: a coordinator cannot call these two nodes or owners."""
    folder, signer = tmp_path / "proof", keyfile.load(home.path / "keys/coordinator")
    for field in ("node", "owner"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(home.folder / "runs", folder)
        assert problems(folder) == ""

        def call_apart(word: dict[str, Any], field: str = field) -> None:
            for replica in word["tasks"][0]["replicas"]:
                replica["domain"][field] = f"n{replica['number']}"

        change_word(folder, call_apart)
        sign_again(folder, signer)
        assert "are of one key, and are said to be of two nodes" in problems(folder)


def test_words_are_made_from_what_was_checked(home: Home, proof: Path) -> None:
    """A sentence in the coordinator's word that says more than the reason beside it is not shown."""
    said("reason", "5 of 5 agree, from 5 sites")(proof)
    sign_again(proof, keyfile.load(home.path / "keys/coordinator"))
    done = home.call("verify", "--folder", proof)
    assert "5 sites" not in done.out
    assert "1_0  verdict accepted: 2 of 2 agree" in done.out


def test_a_folder_by_another_coordinator_is_noticed(home: Home, proof: Path) -> None:
    """Who signs everything with a key of their own is found out by the key that the reader has."""
    other, own = Signer.from_seed(bytes(32)), keyfile.load(home.path / "keys/coordinator")
    given = {own.key_id: own.public}
    assert problems(proof, given=given) == ""
    (proof / "coordinator.spki").write_text(spki_pem(other.public))
    sign_again(proof, other)
    assert "no signature verifies" in problems(proof)
    for path in proof.glob("*.vsa.json"):
        path.unlink()
    sign_again(proof, other)
    assert "1_0  verdict accepted: 2 of 2 agree" in (out := home.call("verify", "--folder", proof).out)
    assert out.count("(of no signed verdict)") == 2
    assert f"the key {own.key_id} that was given is none of this folder" in problems(proof, given=given)


def test_a_key_that_was_not_given_is_named(home: Home, proof: Path) -> None:
    """With one owner's key the word of the other is nobody's, unless the coordinator's key is given."""
    argv = ("verify", "--folder", proof, "--key", home.folder / "alice.pem")
    done = home.call(*argv)
    assert done.code == 1
    assert "of a node was not given" in done.out
    assert home.call(*argv, "--key", proof / "coordinator.spki").code == 0


def test_another_job_is_noticed(home: Home, proof: Path) -> None:
    """The UUID that was published is compared with the one that is proved."""
    uuid = home.json("show", 1)["job"]["uuid"]
    assert verify_folder(proof, {}, uuid=uuid)["ok"]
    done = home.call("verify", "--folder", proof, "--uuid", uuid[:-1])
    assert done.code == 1
    assert f"got uuid {uuid}, wanted {uuid[:-1]}" in done.out


def test_changed_results_are_named(home: Home, proof: Path, tmp_path: Path) -> None:
    """Published files are compared with the signed manifest where they are given."""
    results = Path(shutil.copytree(home.path / "results/1", tmp_path / "results"))
    assert problems(proof, results=results) == ""
    (results / "0/d/7.txt").write_text("8\n")
    assert "d/7.txt is not what was signed" in problems(proof, results=results)
    assert "is gone" in problems(proof, results=tmp_path / "none")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("--folder", "{here}/none"), 66, "attestations ID --out DIR writes one"),
        (("--folder", "{proof}", "--key", "{here}/none.pem"), 2, "cannot be read"),
        (("--folder", "{proof}", "--key", "{proof}/job.json"), 2, "is no Ed25519 public key in PEM form"),
        (("1", "--folder", "{proof}"), 2, "not both"),
        (("1", "--key", "{proof}/coordinator.spki"), 2, "an ID, or --folder DIR"),
        ((), 2, "an ID, or --folder DIR"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_told(
    home: Home, proof: Path, argv: tuple[str, ...], code: int, message: str
) -> None:
    """A mistake ends with the next step, and no traceback."""
    done = home.call("verify", *[one.format(here=proof.parent, proof=proof) for one in argv])
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_witness_must_have_signed_the_head(home: Home, tmp_path: Path) -> None:
    """An export against a cosigned head brings the cosignature along; who trusts the witness asks for it."""
    witness = Home(tmp_path, "witness")
    assert witness.call("node", "init", "--name", "w").code == 0
    key = home.json("ledger", "head")["key"]
    public = tmp_path / "public"
    assert home.call("ledger", "export", "--tiles", public).code == 0
    cosigned = tmp_path / "cosigned"
    cosigned.write_text(witness.call("ledger", "witness", public / "checkpoint", "--key", key).out)
    name = witness.json("ledger", "witness", public / "checkpoint")["key"]
    witness.end()
    folder = tmp_path / "proof"
    assert home.call("attestations", 1, "--out", folder, "--checkpoint", cosigned).code == 0
    assert (folder / "checkpoint").read_text() == cosigned.read_text()
    done = home.call("verify", "--folder", folder, "--witness", name)
    assert done.code == 0
    assert "cosigned by nexapod-batch/" in done.out
    done = home.call("verify", "--folder", home.folder / "proof", "--witness", name)
    assert done.code == 1
    assert "did not cosign it" in done.out
    assert home.call("verify", 1, "--witness", name).code == 2


def test_a_head_that_cannot_be_proved_against_is_refused(home: Home, tmp_path: Path) -> None:
    """One of another ledger, one that is older than the job, and what is no head: nothing is written."""
    other = Home(tmp_path, "other")
    assert other.call("node", "init", "--name", "w").code == 0
    foreign, early, none = (tmp_path / name for name in ("foreign", "early", "none"))
    foreign.write_text(other.call("ledger", "head").out)
    other.end()
    with sqlite3.connect(home.path / "state.db") as connection:
        early.write_text(connection.execute("SELECT note FROM checkpoint ORDER BY size LIMIT 1").fetchone()[0])
    connection.close()
    none.write_text("nothing\n")
    for head, problem in ((foreign, "signed"), (early, "older than what is to be proved"), (none, "not a signed note")):
        done = home.call("attestations", 1, "--out", tmp_path / "proof", "--checkpoint", head)
        assert done.code != 0
        assert problem in done.err
    assert not list((tmp_path / "proof").glob("manifest-*"))


def test_results_of_what_was_not_published_are_named(home: Home, tmp_path: Path) -> None:
    """The second task failed: files in its folder are nobody's."""
    results = Path(shutil.copytree(home.path / "results/1", tmp_path / "results"))
    (results / "1").mkdir()
    (results / "1/x.txt").write_text("x")
    assert "files lie in its folder, and nothing of it is said to have been published" in problems(home.folder / "proof", results=results)
