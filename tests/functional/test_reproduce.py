"""`reproduce` and `archive add`: an archived job once more on a reader's own nodes, compared, signed, and put there."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import Parse
from homes import TRUE, Home
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as ForeignResult
from in_toto_attestation.v1.statement import Statement as ForeignStatement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.archives.check import check_archive, verify_archive
from nexapod_batch.coordinator.commands.reproduce import begin
from nexapod_batch.errors import NotFoundError
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import spki_pem
from nexapod_batch.trust.reproduction import (
    ReproducedTask,
    Reproduction,
    file_name,
    open_reproduction,
    seal_reproduction,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a command sees of its surroundings, an input, numbers that are never the same twice, a task that fails.
JOB = """[job]
name = "again"
command = ["python3", "-c", '''
import random, pathlib
if {task} == 1: raise SystemExit(3)
around = pathlib.Path("AROUND")
pathlib.Path("text.txt").write_text(open("in.txt").read() + (around.read_text() if around.exists() else ""))
pathlib.Path("near.txt").write_text(repr(1 + random.random() * 1e-9))
''']
[array]
ids = "0-2"
[quorum]
distinct = "run"
[[inputs]]
source = "in.txt"
target = "in.txt"
[[outputs]]
path = "text.txt"
[[outputs]]
path = "near.txt"
compare = "allclose"
rtol = 1e-6
"""


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield the home of who ran the job first, and its archives; nobody may change them."""
    home = Home(tmp_path_factory.mktemp("author"))
    (home.folder / "in.txt").write_text("hello\n")
    try:
        assert home.submit(JOB.replace("AROUND", str(home.folder / "around")), "--wait").code == 1  # one task fails
        for name, more in (("bag", ()), ("bag.tar", ()), ("less", ("--without-inputs",))):
            assert home.call("archive", 1, "--out", home.folder / name, *more).code == 0
        assert home.submit(TRUE + 'class = "cpu-microarch"\n', "--wait").code == 0
        assert home.call("archive", 2, "--out", home.folder / "classed").code == 0
        yield home
    finally:
        home.end()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield the home of somebody else."""
    home = Home(tmp_path_factory.mktemp("reader"))
    try:
        assert home.call("node", "init", "--name", "carol").code == 0
        yield home
    finally:
        home.end()


@pytest.fixture
def archives(author: Home, tmp_path: Path) -> Path:
    """Return a folder with copies of the archives, to be changed."""
    shutil.copytree(author.folder / "bag", tmp_path / "bag")
    shutil.copy(author.folder / "bag.tar", tmp_path / "bag.tar")
    return tmp_path


def problems(path: Path) -> str:
    """Return what is found wrong in an archive; "" when everything holds."""
    return "; ".join(str(check["problem"]) for check in verify_archive(path, {})["checks"] if not check["ok"])


def test_a_reader_gets_the_same_and_says_so(reader: Home, archives: Path, tmp_path: Path) -> None:
    """From a tar: what was accepted is run and compared, by the job's own rules; the statement lies with it ever after."""
    statement = tmp_path / "mine.json"
    done = reader.call("reproduce", archives / "bag.tar", "--out", statement)
    assert done.code == 0, done.err
    assert "2 of 2 tasks agree" in done.out
    for name in ("bag", "bag.tar"):
        before = reader.call("archive", "add", statement, archives / name)
        assert before.code == 0, before.err
        again = reader.call("archive", "add", statement, archives / name)
        assert (again.code, "has this statement already" in again.err) == (2, True)
        document = verify_archive(archives / name, {})
        assert (document["ok"], [found["agreed"] for found in document["reproductions"]]) == (True, [True])
        assert [task["task"] for task in document["reproductions"][0]["tasks"]] == ["1_0", "1_2"]
        assert len(reader.json("archive", "show", archives / name)["reproductions"]) == 1
    found = open_reproduction(statement.read_bytes())
    (tmp_path / "carol.pem").write_text(spki_pem(found.public))
    told = reader.call("verify", archives / "bag", "--key", tmp_path / "carol.pem")
    assert (told.code, "2 of 2 tasks agree" in told.out, "given by you" in told.out) == (0, True, True)


def test_others_read_the_statement(archives: Path, tmp_path: Path) -> None:
    """The libraries of in-toto and the Secure Systems Lab open what we seal, and refuse it changed."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    sealed, signer = made(archives), Signer.from_seed(bytes(32))
    key = SSlibKey.from_crypto(load_pem_public_key(spki_pem(signer.public).encode()))
    envelope = Envelope.from_dict(json.loads(sealed))
    key.keyid = signer.key_id
    assert list(envelope.verify([key], 1)) == [signer.key_id]
    message = Parse(envelope.payload, StatementMessage())
    ForeignStatement.copy_from_pb(message).validate()
    assert message.predicate_type == "https://in-toto.io/attestation/test-result/v0.1"
    result = Parse(json.dumps(json.loads(envelope.payload)["predicate"]), ForeignResult(), ignore_unknown_fields=True)
    assert (list(result.passed_tests), list(result.failed_tests), result.result) == (["1_0"], ["1_2"], "FAILED")


def test_what_differs_is_said(author: Home, reader: Home, archives: Path, tmp_path: Path) -> None:
    """Where a run elsewhere says something else, the statement says where, as `explain` does; so does the archive."""
    around = author.folder / "around"
    around.write_text("another world\n")
    try:
        done = reader.call("reproduce", archives / "bag", "--trust", "--out", tmp_path / "mine.json")
    finally:
        around.unlink()
    assert done.code == 1, done.err
    assert "text.txt, byte 6 (line 2): archived (end of file), ours another world" in done.out
    assert reader.call("archive", "add", tmp_path / "mine.json", archives / "bag").code == 0
    document = verify_archive(archives / "bag", {})
    assert document["ok"]  # the archive holds: that somebody got something else is no fault of it
    (task, _) = document["reproductions"][0]["tasks"]
    assert (task["agreed"], "another world" in str(task["differences"])) == (False, True)


def test_inputs_come_from_where_they_were(author: Home, reader: Home, tmp_path: Path) -> None:
    """An archive without inputs takes them from their sources; one that is gone, or another now, is named."""
    less, source = author.folder / "less", author.folder / "in.txt"
    shutil.rmtree(reader.path / "inputs", ignore_errors=True)
    source.write_text("other\n")
    try:
        changed = reader.call("reproduce", less, "--out", tmp_path / "x")
        source.unlink()
        gone = reader.call("reproduce", less, "--out", tmp_path / "x")
    finally:
        source.write_text("hello\n")
    assert (changed.code, "the input 'in.txt' is not what it was" in changed.err) == (66, True), changed.err
    assert (gone.code, "cannot be read where it came from" in gone.err) == (66, True), gone.err
    assert not (tmp_path / "x").exists()
    assert list((reader.path / "inputs").iterdir()) == []
    done = reader.call("reproduce", less, "--out", tmp_path / "x")
    assert done.code == 0, done.err


def test_what_does_not_hold_is_not_run(reader: Home, archives: Path) -> None:
    """Nothing of an archive is run of which anything was changed, and no job of it is submitted."""
    jobs = len(reader.jobs())
    (archives / "bag/data/results/0/text.txt").write_text("x")
    done = reader.call("reproduce", archives / "bag")
    assert (done.code, "does not hold" in done.err) == (1, True)
    assert len(reader.jobs()) == jobs


def test_another_job_is_no_run_of_it(reader: Home, archives: Path) -> None:
    """Only a job that runs what is archived is compared with it; a site that is not there is an error."""
    assert reader.submit(TRUE, "--wait").code == 0
    done = reader.call("reproduce", archives / "bag", "--job", reader.jobs()[0]["id"])
    assert (done.code, "is no run of the archived job" in done.err) == (2, True)
    none = reader.call("reproduce", archives / "bag", "--site", "nowhere")
    assert none.code != 0
    assert "nowhere" in none.err


def test_a_class_is_run_in_itself_or_not_at_all(author: Home, reader: Home, tmp_path: Path) -> None:
    """A result of a class that some node here is of is got again there; one of another class is refused by name."""
    done = reader.call("reproduce", author.folder / "classed", "--out", tmp_path / "x")
    assert done.code == 0, done.err
    (task,) = open_reproduction((tmp_path / "x").read_bytes()).tasks
    checked = check_archive(author.folder / "classed", {})
    assert checked.export is not None
    assert task.numeric_class == checked.export.word.tasks[0].numeric_class != ""
    checked.export.word.tasks[0].numeric_class = "zen99"
    with open_coordinator(Paths.from_environment(reader.env), write=True) as c, pytest.raises(NotFoundError) as error:
        begin(c, checked, None)
    assert (error.value.wanted, task.numeric_class in str(error.value.got)) == ("zen99", True)


def made(archives: Path, **more: Any) -> bytes:
    """Return a statement on an archive by a key of a test."""
    document = verify_archive(archives / "bag", {})
    signer = Signer.from_seed(bytes(32))
    tasks = [
        ReproducedTask(task=f"1_{index}", agreed=index == 0, node="n", site="s", numeric_class="", isolation="none", statement="", differences=() if index == 0 else ("ä",))
        for index in (0, 2)
    ]  # fmt: skip
    fields = {
        "archive": document["archive"], "job_uuid": document["uuid"], "job_sha256": document["digest"], "own_uuid": "0190",
        "own_sha256": "ab" * 32, "who": "who on what", "public": signer.public, "time_ms": 1, "tasks": tuple(tasks),
    }  # fmt: skip
    return seal_reproduction(Reproduction(**(fields | more)), signer)


@pytest.mark.parametrize("field", ["archive", "job_uuid", "job_sha256"])
def test_a_statement_on_something_else_is_refused(reader: Home, archives: Path, field: str) -> None:
    """It is not added, and where somebody put it there all the same, it is named."""
    sealed = made(archives, **{field: "cd" * 32})
    (archives / "x.json").write_bytes(sealed)
    done = reader.call("archive", "add", archives / "x.json", archives / "bag")
    assert (done.code, "about another archive" in done.err) == (1, True)
    assert problems(archives / "bag") == ""
    folder = archives / "bag/reproductions"
    folder.mkdir()
    (folder / file_name(sealed, open_reproduction(sealed))).write_bytes(sealed)
    assert "about another archive" in problems(archives / "bag")


def test_every_byte_of_a_statement_counts(archives: Path) -> None:
    """Changed anywhere, cut, renamed, or something else in its place: named; put back: it holds."""
    sealed, folder = made(archives), archives / "bag/reproductions"
    path = folder / file_name(sealed, open_reproduction(sealed))
    folder.mkdir()
    path.write_bytes(sealed)
    assert problems(archives / "bag") == ""
    for at in range(0, len(sealed), 47):
        path.write_bytes(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        assert path.name in str([check for check in verify_archive(archives / "bag", {})["checks"] if not check["ok"]]), at
    for other in (b"", b"{}", sealed[:-1], sealed * 2, b"[" * 100_000, b'{"payload": 1}', b'{"payload": "e30="}'):
        path.write_bytes(other)
        assert problems(archives / "bag") != "", other[:20]
    path.unlink()
    for name in ("x.dsse.json", f"x/{path.name}", path.name.upper()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(sealed)
        assert "not called as it should be" in problems(archives / "bag")
        shutil.rmtree(folder)
        folder.mkdir()


def test_a_statement_that_claims_more_than_it_holds_is_refused(archives: Path) -> None:
    """One that was signed in another form than ours, or says that it passed where a task did not."""
    sealed = json.loads(made(archives))
    payload = base64.b64decode(sealed["payload"])
    signer = Signer.from_seed(bytes(32))
    for old, new in ((b'"FAILED"', b'"PASSED"'), (b'{"_type"', b'{ "_type"'), (b'"agreed":false', b'"agreed":0'), (b'"1_2"', b"2")):
        from nexapod_batch.trust.dsse import seal

        (archives / "bag/reproductions").mkdir(exist_ok=True)
        assert old in payload
        (archives / "bag/reproductions/x").write_bytes(seal(signer, sealed["payloadType"], payload.replace(old, new)))
        assert "canonical form" in problems(archives / "bag") or "cannot be read" in problems(archives / "bag")
