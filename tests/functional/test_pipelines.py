"""Jobs that follow others: what they get, what is signed, and what becomes of them where those fail."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from web_server import web_server

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

QUORUM = '[quorum]\ndistinct = "run"\n'


def descriptor(home: Home, name: str, command: str, more: str = "", output: str = "out") -> Path:
    """Write a descriptor of this name whose shell command leaves an output."""
    text = f'[job]\ncommand = ["sh", "-c", {json.dumps(command)}]\n{QUORUM}{more}[[outputs]]\npath = "{output}"\n'
    return home.descriptor(text, f"{name}.toml")


def source(text: str, target: str = "") -> str:
    """Return the text of an [[inputs]]."""
    placed = f'target = "{target}"\n' if target else ""
    return f'[[inputs]]\nsource = "{text}"\n{placed}'


def test_three_jobs_that_name_each_other(home: Home) -> None:
    """Element by element, then gathered; in whatever order the files are given."""
    array = '[array]\nids = "1-3"\n'
    first = descriptor(home, "first", "echo {task} > out", array)
    second = descriptor(home, "second", "cat in in > out", array + source("job:first_{task}/out", "in"))
    third = descriptor(home, "third", "cat */out > out", source("job:second/out") + source("job:first_2/out", "two/out"))
    done = home.call("submit", third, second, first, "--wait")
    assert done.code == 0, done.err
    assert (home.path / "results/3/0/out").read_text() == "1\n1\n2\n2\n3\n3\n2\n"
    assert [home.call("verify", job).code for job in (1, 2, 3)] == [0, 0, 0]
    whole = home.json("verify", 3, "--chain")
    assert [(job["job"], job["ok"]) for job in whole["jobs"]] == [(1, True), (2, True), (3, True)]
    assert sum(check["check"] == "input" for job in whole["jobs"] for check in job["checks"]) == 3 + 4
    assert home.call("ledger", "verify").code == 0
    assert home.proof_code(3) == 0


def test_what_is_signed(home: Home) -> None:
    """Digest of the file and of the verdict that accepted it; the ledger says that the document was pinned anew."""
    home.call("submit", descriptor(home, "first", "echo 1 > out"), "--wait")
    assert home.call("submit", descriptor(home, "second", "cp in out", source("job:1/out", "in")), "--wait").code == 0
    exported = home.folder / "exported"
    home.call("attestations", 2, "--out", exported)
    (document,) = exported.glob("**/job.json")
    (only,) = json.loads(document.read_text())["inputs"]
    assert only["source"] == "job:1_0/out"
    assert only["sha256"] == hashlib.sha256(b"1\n").hexdigest()
    before = home.folder / "before"
    home.call("attestations", 1, "--out", before)
    payloads = [json.loads(file.read_text())["payload"] for file in before.glob("**/*.vsa.json")]
    verdicts = {hashlib.sha256(base64.b64decode(text)).hexdigest() for text in payloads}
    assert only["verdict"] in verdicts
    assert "job 2 has its inputs: document" in home.call("ledger", "log").out


def test_a_job_that_fails_keeps_back_what_follows(home: Home) -> None:
    """The wait ends, says which, and a retry lets it go on."""
    gate = home.folder / "gate"
    first = descriptor(home, "first", f"cat {gate} > out")
    second = descriptor(home, "second", "cp in out", source("job:first/out", "in"))
    third = descriptor(home, "third", "cp in out", source("job:second/out", "in"))
    done = home.call("submit", first, second, third, "--wait")
    assert done.code == 1
    assert "job 2 does not begin: waits for job 1 to be accepted; it ended otherwise" in done.err
    assert "job 3 does not begin: waits for job 2 to be accepted; it is still open" in done.err
    assert home.call("wait", 3).code == 1
    gate.write_text("open")
    assert home.call("retry", 1).code == 0
    assert home.call("wait", 1, 2, 3).code == 0
    assert (home.path / "results/3/0/out").read_text() == "open"


#: What the job before is, the source -> what the refusal says.
REFUSED = {
    "an output that it does not declare": ("echo > out", "job:1/oat", "declares no output 'oat': it has out"),
    "a task that it does not have": ("echo > out", "job:1_7/out", "job 1 has no task 7"),
    "a job that failed": ("exit 3", "job:1/out", "job 1 are failed, so that it has no accepted outputs"),
    "no job": ("echo > out", "job:99/out", "names job 99, which does not exist"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_known_at_submit(home: Home, name: str) -> None:
    """What can never be there is refused, and nothing is stored."""
    command, wants, wanted = REFUSED[name]
    home.call("submit", descriptor(home, "first", command), "--wait")
    done = home.call("submit", descriptor(home, "second", "cp in out", source(wants, "in")))
    assert done.code in {65, 66}
    assert wanted in done.err
    assert len(home.jobs()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("part", ["1", "1_2"])
def test_a_gather_of_what_was_cancelled(home: Home, part: str, when: str) -> None:
    """Of a whole job or of a task of it: refused where it is known at submit, else it never begins, and a wait says so."""
    gate = home.folder / "gate"
    waits = f"while [ ! -e {gate} ]; do sleep 0.05; done; echo > out"
    home.call("submit", descriptor(home, "first", waits, '[array]\nids = "1-3"\n'))
    gathers = descriptor(home, "second", "cat */out > out", source("job:1/out"))
    if when == "before":
        assert home.call("cancel", part).code == 0
        gate.touch()
        home.call("wait", 1)
        done = home.call("submit", gathers)
        assert done.code == 65
        assert "tasks of job 1 are cancelled, so that it has no accepted outputs" in done.err
        assert len(home.jobs()) == 1
        return
    assert home.call("submit", gathers).code == 0
    assert home.call("cancel", part).code == 0
    gate.touch()
    done = home.call("wait", 2)
    assert done.code == 1
    assert "waits for job 1 to be accepted; it ended otherwise" in done.err
    assert not (home.path / "results/2").exists()


def test_a_glob_that_takes_nothing(home: Home) -> None:
    """It is known when the job before is accepted: what follows never begins, and a wait says so."""
    first = descriptor(home, "first", "echo > out")
    done = home.call("submit", first, descriptor(home, "second", "true", source("job:first/*.npy")), "--wait")
    assert done.code == 1
    assert "job 2 does not begin: 1_0 has no output *.npy: cancel this job, and correct [[inputs]]" in done.err


@pytest.mark.parametrize("what", ["edited", "gone"])
def test_results_that_are_not_what_was_signed(home: Home, what: str) -> None:
    """They are no inputs; put right, the job begins."""
    home.call("submit", descriptor(home, "first", "echo 1 > out"), "--wait")
    folder, kept = home.path / "results/1/0", home.folder / "kept"
    shutil.copytree(folder, kept)
    if what == "gone":
        shutil.rmtree(folder)
    else:
        (folder / "out").write_text("2\n")
    home.call("submit", descriptor(home, "second", "cp in out", source("job:1/out", "in")))
    assert home.call("wait", 2, "--timeout", "1s").code == 4
    assert "outputs of the job before cannot be used" in home.call("explain", 2).out
    assert home.jobs()[0]["state"] == "waiting"
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    assert home.call("wait", 2).code == 0
    assert (home.path / "results/2/0/out").read_text() == "1\n"


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c"), ("d", "c", "b", "a", "e")], ids="-".join)
@pytest.mark.parametrize("way", ["input", "element", "depends_on"])
def test_circles(home: Home, names: tuple[str, ...], way: str) -> None:
    """Of one job or of several, whatever ties them: told before anything is stored, and nobody waits for ever."""
    files = []
    for name, before in zip(names, (*names[1:], names[0]), strict=True):
        more = {
            "input": source(f"job:{before}/out", "in"),
            "element": '[array]\nids = "1-2"\n' + source(f"job:{before}_{{task}}/out", "in"),
            "depends_on": f'[schedule]\ndepends_on = ["{before}"]\n',
        }[way]
        files.append(descriptor(home, name, "echo > out", more))
    done = home.call("submit", *files)
    assert done.code in {2, 65}, done.out
    assert ("no such job: got 'a" if len(names) == 1 else "in a circle") in done.err
    assert home.jobs() == []


def test_elements_of_arrays_that_differ_in_size(home: Home) -> None:
    """A task without an element before it is told at submit, with both jobs; nothing is stored."""
    first = descriptor(home, "first", "echo {task} > out", '[array]\nids = "1-3"\n')
    second = descriptor(home, "second", "cp in out", '[array]\nids = "1-4"\n' + source("job:first_{task}/out", "in"))
    done = home.call("submit", first, second)
    assert done.code == 65
    assert "has no task 4" in done.err
    assert {job["state"] for job in home.jobs()} <= {"cancelled"}
    fewer = descriptor(home, "second", "cp in out", '[array]\nids = "2"\n' + source("job:first_{task}/out", "in"))
    done = home.call("submit", first, fewer, "--wait", "--parsable")
    assert done.code == 0, done.err
    assert (home.path / f"results/{done.out.split()[-1]}/2/out").read_text() == "2\n"


@pytest.mark.parametrize(("first", "second", "wanted"), [
    ("job:second/out", "job:first/out", "in a circle: got"),
    ("job:other/out", "job:first/out", "no such job: got 'other'"),
    ("job:first/out", "job:first/out", "no such job: got 'first'"),
])  # fmt: skip
def test_all_or_none(home: Home, first: str, second: str, wanted: str) -> None:
    """Circles, and names that nobody has, are told before anything is stored."""
    files = [descriptor(home, "first", "true", source(first, "in")), descriptor(home, "second", "true", source(second, "in"))]
    done = home.call("submit", *files)
    assert done.code in {2, 65}
    assert wanted in done.err
    assert home.jobs() == []


def test_one_that_is_refused_takes_the_others_back(home: Home) -> None:
    """What was stored before it is cancelled, and nothing of it ran."""
    first = descriptor(home, "first", f"echo ran > {home.folder}/ran; echo > out")
    done = home.call("submit", first, descriptor(home, "second", "true", source("job:first/oat", "in")))
    assert done.code == 65
    assert "nothing runs: job 1, submitted with it, is cancelled" in done.err
    assert home.jobs()[0]["state"] == "cancelled"
    assert not (home.folder / "ran").exists()


def test_several_as_json_and_parsable(home: Home) -> None:
    """Programs get all numbers, in the order in which the jobs follow each other."""
    files = [descriptor(home, "b", "cp in out", source("job:a/out", "in")), descriptor(home, "a", "echo > out")]
    assert home.call("submit", *files, "--parsable").out == "1\n2\n"
    found = home.json("submit", *files, "--wait")
    assert [job["job"] for job in found["submitted"]] == [3, 4]
    assert [(job["name"], job["state"]) for job in found["jobs"]] == [("a", "accepted"), ("b", "accepted")]
    assert home.call("submit", *files, "--dry-run").out.startswith("# a (a.toml)\n")


def test_retry_of_some_tasks_with_the_files_of_today(home: Home) -> None:
    """Each task keeps its own file under its new number."""
    for name in "abc":
        (home.folder / name).write_text(name)
    more = '[array]\nmatrix = { s = ["a", "b", "c"] }\n' + source("{s}", "in")
    home.call("submit", descriptor(home, "first", "[ $(cat in) != b ] && cp in out", more), "--wait")
    (home.folder / "b").write_text("new")
    home.call("retry", "1_1", "--fresh", "--wait")
    assert (home.path / "results/2/0/out").read_text() == "new"


def test_a_file_of_a_web_server(home: Home, tmp_path: Path) -> None:
    """It is fetched at submit, pinned, and kept: a retry asks nobody."""
    authority = Authority(tmp_path / "ca")
    with web_server(*authority.issue("server", "localhost")) as web:
        web.files["data.csv"] = b"1,2\n"
        env = {"SSL_CERT_FILE": str(authority.certificate), "NEXAPOD_SOURCES_PRIVATE_HOSTS": "localhost"}
        text = source(f"{web.url}/data.csv?x=1")
        done = home.call("submit", descriptor(home, "first", "cp data.csv out", text), "--wait", env=env)
        assert done.code == 0, done.err
        refused = home.call("submit", descriptor(home, "other", "cp data.csv out", text))
        assert (refused.code, "is a private address" in refused.err or "certificate" in refused.err) in {(65, True), (69, True)}
    digest = hashlib.sha256(web.files["data.csv"]).hexdigest()
    assert f'to pin it: sha256 = "{digest}"' in done.err
    assert (home.path / "results/1/0/out").read_text() == "1,2\n"
    assert len(web.asked) == 1


def test_the_middle_of_a_chain(home: Home) -> None:
    """Judged again by another rule, and archived: what followed rests on its own verdict still; without its files the chain says so."""
    first = descriptor(home, "first", "echo 1.00001 > out")
    second = descriptor(home, "second", "cp in out", source("job:first/out", "in"))
    third = descriptor(home, "third", "cp in out", source("job:second/out", "in"))
    assert home.call("submit", third, first, second, "--wait").code == 0
    assert home.call("judge", 2, "--compare", "significant", "--digits", "3").code == 0
    assert home.call("archive", 2, "--out", "second.tar").code == 0
    assert home.call("verify", 3, "--chain").code == 0
    assert "made with" not in home.call("explain", 3).out
    shutil.rmtree(home.path / "results/2")
    gone = home.json("verify", 3, "--chain", code=1)
    assert [(job["job"], job["ok"]) for job in gone["jobs"]] == [(1, True), (2, False), (3, True)]
    assert home.call("verify", home.folder / "second.tar").code == 0


@pytest.mark.parametrize("forged", ["sha256", "verdict"])
def test_a_chain_with_a_forged_link(home: Home, forged: str) -> None:
    """Whoever rewrites the document of what follows, digest and all, still has to have got it from the job before."""
    home.call("submit", descriptor(home, "first", "echo 1 > out"), "--wait")
    home.call("submit", descriptor(home, "second", "cp in out", source("job:1/out", "in")), "--wait")
    assert home.call("verify", 2, "--chain").code == 0
    with sqlite3.connect(home.path / "state.db") as db:
        ((body,),) = db.execute("SELECT body FROM document WHERE job_id = 2").fetchall()
        document = json.loads(body)
        document["inputs"][0][forged] = "0" * 64
        new = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        db.execute("UPDATE document SET body = ? WHERE job_id = 2", [new])
        db.execute("UPDATE job SET digest = ? WHERE id = 2", [hashlib.sha256(new).hexdigest()])
    db.close()
    done = home.call("verify", 2, "--chain")
    assert done.code == 1
    assert ("did not sign out with" if forged == "sha256" else "was never reached on 1_0") in done.out
