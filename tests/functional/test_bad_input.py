"""Bad input at the command line: one clear message, the right exit code, and nothing half done."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Done, Home, open_folder

from nexapod_batch.store import Store, writer

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = '[job]\nname = "x"\ncommand = ["true"]\n'
NOBODY = 65534
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and become somebody else")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield one home for all that is refused: it must stay without jobs."""
    home = Home(tmp_path_factory.mktemp("strict"))
    assert home.call("node", "init", "--name", "only", "--owner", "me").code == 0
    (home.folder / "in.dat").write_text("data\n")
    yield home
    assert home.jobs() == []
    assert not (home.path / "results").exists()
    assert list((home.spool() / "inbox").iterdir()) == []
    home.end()


@pytest.fixture
def open_home() -> Iterator[Home]:
    """Yield a home in a folder that every account can reach, without workers afterwards."""
    with open_folder() as folder:
        one = Home(folder)
        yield one
        one.end()


def refused(done: Done, code: int, *words: str) -> None:
    """Check a refusal: exit code, nothing on stdout, one short message with these words."""
    assert (code, "") == (done.code, done.out), done.err
    assert done.err.startswith("nexapod-batch: ")
    assert len(done.err) < 2_000
    for word in words:
        assert word in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[job\nname=", ("not valid TOML", "line 2"), id="broken TOML"),
        pytest.param(JOB + "colour = 1\n[resource]\n", ("colour", "did you mean 'resources'", "2 problems"), id="unknown keys"),
        pytest.param('[job]\nname = 5\ncommand = "true"\n', ("job.name: wrong type", "job.command: wrong type"), id="types"),
        pytest.param('[job]\ncommand = "echo hi  there"\n', ("wanted a list, as in ['echo', 'hi', 'there']",), id="a shell's line"),
        pytest.param(JOB + '[resources]\nmem = "4X"\ntime = "soon"\n', ("not a size", "not a duration"), id="units"),
        pytest.param(
            JOB + "[resources]\ncpus_per_task = -1\nntasks = 0\nmem = -5\ntime = 0\ngpus = -1\n", ("5 problems",), id="negative"
        ),
        pytest.param(
            JOB + '[resources]\ncpus_per_task = 99999999999999999999\nmem = "999999999999T"\n', ("out of range",), id="absurd"
        ),
        pytest.param(JOB + "[resources]\ncpus_per_task = 9999\n", ("9999 CPUs", "largest node (only)", "  -> "), id="CPUs"),
        pytest.param(JOB + '[resources]\nmem = "900T"\n', ("memory", "largest node (only)", "  -> "), id="memory"),
        pytest.param(JOB + "[resources]\ngpus = 9\n", ("9 GPUs", "no node in reach has one", "  -> "), id="GPUs"),
        pytest.param(JOB + '[resources]\ntier = "hpc"\n', ("no node of tier hpc", "  -> "), id="tier"),
        pytest.param(
            JOB + '[quorum]\nagree = 3\nreplicas = 3\ndistinct = "site"\n',
            ("2 missing", "register 2 more", 'distinct = "run"'),
            id="quorum out of reach",
        ),
        pytest.param(JOB + "[quorum]\nagree = 9\nmax_replicas = 3\n", ("can never agree 9 times",), id="agree"),
        pytest.param('[job]\nname = "x"\n', ("job.command: missing",), id="no command"),
        pytest.param('[job]\nname = "x"\nscript = "./run.sh"\n', ("no interpreter",), id="no script"),
        pytest.param(JOB + '[[inputs]]\nsource = "gone.dat"\n', ("gone.dat",), id="input missing"),
        pytest.param(JOB + f'[[inputs]]\nsource = "in.dat"\nsha256 = "{"0" * 64}"\n', ("sha256", "in.dat"), id="input differs"),
        pytest.param(JOB + '[[inputs]]\nsource = "in.dat"\ntarget = "../up"\n', ("leaves the work folder",), id="target"),
        pytest.param('[job]\nname = "x"\ncommand = ["{nope}", "{"]\n', ("no placeholder {nope}", "lone '{'"), id="placeholder"),
        pytest.param(JOB + '[array]\nids = "0-1000000000"\n', ("1,000,000,001 tasks", "split the job"), id="array"),
        pytest.param('[job]\nname = "a\\nb"\ncommand = ["true"]\n', ("job.name: unprintable",), id="newline in name"),
        pytest.param('[job]\nname = "../\\"x"\ncommand = ["true"]\n', ("job.name: not accepted",), id="quote in name"),
        pytest.param('[job]\nname = "x"\ncommand = ["a\\u0000b"]\n', ("NUL",), id="NUL in command"),
        pytest.param(JOB + '[[outputs]]\npath = "a/../../b"\n', ("leaves the work folder",), id="output outside"),
        pytest.param(JOB + '[[outputs]]\npath = "/etc/passwd"\n', ("not a relative path",), id="absolute output"),
        pytest.param(JOB + '[[outputs]]\npath = "a\\nb"\n', ("unprintable",), id="newline in output"),
    ],
)
def test_descriptor_is_refused(strict: Home, text: str, words: tuple[str, ...]) -> None:
    """A bad descriptor gets 65, its faults by name, and no job."""
    refused(strict.submit(text, "--wait"), 65, *words)


def test_dependency_on_nothing_is_refused(strict: Home) -> None:
    """A job that depends on one which does not exist is not stored."""
    refused(strict.submit(TRUE + "[schedule]\ndepends_on = [{ job = 99 }]\n"), 66, "job 99")


@pytest.mark.parametrize("kind", ["folder", "fifo", "endless", "missing", "not UTF-8"])
def test_descriptor_that_is_no_file_is_refused(strict: Home, tmp_path: Path, kind: str) -> None:
    """What cannot be read as a small text file is refused at once; nothing blocks."""
    path = tmp_path / "odd"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "endless":
        path = Path("/dev/zero")
    elif kind == "not UTF-8":
        path.write_bytes(b'schema = 1\n[job]\nname = "\xff"\n')
    refused(strict.call("submit", path), 65, str(path))


ODD = {
    "missing": ("true", "is not there"),
    "symlink": ("ln -s /etc/passwd out", "a symbolic link, wanted a plain file. name the file that it leads to"),
    "fifo": ("mkfifo out", "a fifo"),
    "folder": ("mkdir out", "for the files in it: path = 'out/**'"),
    "too large": ("head -c 3000000 /dev/zero > out", ""),
}


def test_unsafe_outputs_are_named(home: Home) -> None:
    """An output that is missing, a link, a fifo, a folder or too large fails its task with the reason; no other task is hurt."""
    cases = " ;; ".join(f"{index}) {command}" for index, (command, _) in enumerate(ODD.values()))
    text = (
        f'[job]\nname = "odd"\ncommand = ["sh", "-c", "case {{task}} in {cases} ;; *) echo fine > out ;; esac"]\n'
        f'[array]\nids = "0-{len(ODD)}"\n[resources]\ndisk = 1\n[[outputs]]\npath = "out"\n'
        '[quorum]\ndistinct = "run"\nreplicas = 1\nagree = 1\nmax_errors = 0\nmax_replicas = 1\n'
    )
    done = home.submit(text, "--wait")
    assert done.code == 1, done.err
    *odd, fine = home.json("show", "1")["tasks"]
    assert fine["state"] == "accepted"
    for task, (kind, (_, word)) in zip(odd, ODD.items(), strict=True):
        (replica,) = task["replicas"]
        assert (task["state"], replica["execution"]) == ("failed", "errored"), kind
        assert replica["reason"], kind
        assert word in replica["reason"], replica["reason"]
    results = home.path / "results" / "1"
    assert [path.name for path in results.iterdir()] == [str(len(ODD))]


@pytest.mark.parametrize(("content", "code"), [("{{", 0), ("{{ $$", 1)])
def test_what_a_comparator_cannot_read_agrees_by_its_bytes_alone(home: Home, content: str, code: int) -> None:
    """Equal bytes agree whatever they are; where they differ the replicas have failed, and the file and why are named."""
    text = (
        f'[job]\nname = "prose"\ncommand = ["sh", "-c", "echo {content} > a.json"]\n[[outputs]]\npath = "a.json"\n'
        'compare = "round"\ndigits = 3\n[quorum]\ndistinct = "run"\nmax_replicas = 3\n'
    )
    done = home.submit(text, "--wait")
    assert done.code == code, done.err
    if code:
        told = home.call("explain", "1").out
        assert "a.json" in told


@NEEDS_ROOT
@pytest.mark.parametrize("kilobytes", [60, 200, 300, 304, 320])
def test_full_disk_says_so_and_keeps_what_was_stored(home: Home, kilobytes: int) -> None:
    """On a disk too small for anything: 75 before the job is stored, 0 with a note after it; with room it goes on."""
    small = home.folder / "small"
    small.mkdir()
    home = Home(small)
    job = home.folder.parent / "job.toml"
    job.write_text("schema = 1\n" + TRUE)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", small], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        done = home.call("submit", job)
        assert done.code in {0, 75}, done.err
        assert "no space left" in done.err
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        jobs = home.jobs()
        assert len(jobs) == (1 if done.code == 0 else 0)
        assert home.call(*(["wait", "1"] if jobs else ["submit", job, "--wait"])).code == 0
        assert len(home.jobs()) == 1
    finally:
        home.end()
        subprocess.run(["umount", "-l", small], check=True)


@NEEDS_ROOT
def test_cron_hears_of_a_full_disk(home: Home) -> None:
    """`reconcile --quiet` keeps quiet about a pass that runs elsewhere, not about a disk without room."""
    small = home.folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        home = Home(small)
        assert home.submit(TRUE + "[schedule]\nhold = true\n").code == 0
        assert home.call("reconcile", "--quiet") == (0, "", "")
        with suppress(OSError), (small / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        refused(home.call("reconcile", "--quiet"), 75, "no space left", "free some space there")
        (small / "filler").unlink()
        assert home.call("reconcile", "--quiet") == (0, "", "")
    finally:
        home.end()
        subprocess.run(["umount", "-l", small], check=True)


@NEEDS_ROOT
@pytest.mark.parametrize("exists", [True, False])
def test_unwritable_home_is_refused(open_home: Home, exists: bool) -> None:
    """An account that cannot write its home is told to choose another, and nothing is made."""
    job = open_home.descriptor(TRUE)
    if exists:
        open_home.path.mkdir()
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    why = "belongs to somebody else" if exists else "Permission denied"
    refused(open_home.call("submit", job, before=become), 78, why, "NEXAPOD_HOME")
    assert not exists or list(open_home.path.iterdir()) == []


@NEEDS_ROOT
def test_home_out_of_reach_is_refused(open_home: Home) -> None:
    """A folder above it is closed to the account."""
    job = open_home.descriptor(TRUE)
    open_home.path.mkdir(mode=0o700)
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    home = {"NEXAPOD_HOME": str(open_home.path / "below")}
    refused(open_home.call("submit", job, before=become, env=home), 78, "Permission denied", "NEXAPOD_HOME")


@NEEDS_ROOT
def test_home_of_somebody_else_is_refused(open_home: Home) -> None:
    """Another account's home is no place to submit to."""
    assert open_home.submit(TRUE, "--wait").code == 0
    open_home.path.chmod(0o755)
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    refused(open_home.call("submit", open_home.descriptor(TRUE), before=become), 78, "  -> ")
    assert len(open_home.jobs()) == 1


@NEEDS_ROOT
def test_account_without_a_name_can_submit(open_home: Home) -> None:
    """A number that no passwd file knows, as in many containers, is a user all the same."""
    job = open_home.descriptor(TRUE)
    open_home.path.mkdir()
    os.chown(open_home.path, 54321, 54321)
    names = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    done = open_home.call("submit", job, before=("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"), env=names)
    assert done.code == 0, done.err


def test_home_that_is_a_file_is_refused(home: Home) -> None:
    """A file in the home's place stays what it is."""
    home.path.write_text("mine")
    refused(home.submit(TRUE), 78, "NEXAPOD_HOME")
    assert home.path.read_text() == "mine"


@pytest.mark.parametrize("damage", ["newer", "junk", "torn"])
def test_database_that_cannot_be_used_is_named_everywhere(home: Home, damage: str) -> None:
    """A newer or damaged database gets 78 from every command, is left as it is, and `db check` names it."""
    assert home.submit(TRUE, "--wait").code == 0
    database = home.path / "state.db"
    if damage == "newer":
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        for more in home.path.glob("state.db-*"):
            more.unlink()
        whole = database.read_bytes()
        database.write_bytes(b"junk" * 5_000 if damage == "junk" else whole[:4096] + b"\xff" * 60_000 + whole[64_096:])
    before = database.read_bytes()
    word = "newer nexapod-batch" if damage == "newer" else "db check"
    for command in (("submit", home.folder / "job.toml"), ("ls",), ("reconcile",), ("explain", "1"), ("doctor",)):
        refused(home.call(*command), 78, str(database), word)
    assert home.call("db", "check").code == 78
    assert database.read_bytes() == before


def test_coordinator_on_another_host_is_respected_until_stolen(home: Home) -> None:
    """While another host holds the lease nothing is written; `--steal`, as the message says, takes it over."""
    assert home.submit(TRUE, "--wait").code == 0
    with sqlite3.connect(home.path / "state.db") as connection:
        connection.execute("UPDATE lease SET host = 'elsewhere', boot = 'other', pid = 7, released = 0")
    connection.close()
    for command in (("submit", home.folder / "job.toml"), ("reconcile",), ("cancel", "1")):
        refused(home.call(*command), 75, "elsewhere", "reconcile --steal")
    assert len(home.jobs()) == 1
    assert home.call("reconcile", "--steal").code == 0
    assert home.submit(TRUE, "--wait").code == 0


def test_second_pass_is_told_and_submit_is_not_repeated(home: Home) -> None:
    """While one process runs a pass a second is told who does; `--quiet` says nothing, reading goes on."""
    assert home.submit(TRUE, "--wait").code == 0
    store = Store.open(home.path / "state.db")
    with writer(store):
        refused(home.call("reconcile"), 75, f"process {os.getpid()}", "  -> ")
        assert home.call("reconcile", "--quiet") == (0, "", "")
        assert len(home.jobs()) == 1
    store.close()
    assert home.call("reconcile").code == 0


def test_lost_key_is_not_replaced_in_silence(home: Home) -> None:
    """Nodes trust the coordinator's key: when it is gone but jobs are there, no new one is made."""
    assert home.submit(TRUE, "--wait").code == 0
    key = home.path / "keys" / "coordinator"
    shutil.move(key, home.folder / "kept")
    refused(home.submit(TRUE), 78, str(key), "  -> ")
    assert not key.exists()
    shutil.move(home.folder / "kept", key)
    assert home.submit(TRUE, "--wait").code == 0
