"""Trails of logs: notes while a replica runs, and `logs --verify`, which finds what was changed or cut since."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home
from ledgers import tamper
from living_folders import below
from spools import House, until

from nexapod_batch.model.job import Job, Output
from nexapod_batch.spool import launch_keys
from nexapod_batch.trust.statement import LogTrail
from nexapod_batch.trust.trail import chain_faults, decode_note, launch_secret, replica_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: It writes, waits until it may go on, writes again, and waits again.
JOB = """[job]
name = "talks"
command = ["sh", "-c", '''
echo first; echo problem >&2
while [ ! -e {folder}/go.$(basename "$PWD" | cut -d. -f2) ]; do sleep 0.05; done
head -c 5000 /dev/zero | tr '\\\\000' x; echo last
while [ ! -e {folder}/end ]; do sleep 0.05; done
''']
[quorum]
distinct = "run"
[[outputs]]
path = "stdout.txt"
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node whose trails begin at once."""
    made = House(tmp_path, trail_s=0.2)
    yield made
    made.end()


def trail_of(house: House) -> list[Any]:
    """Return the notes in the segments of a house."""
    return [decode_note(line) for line in house.lines() if "trail" in line]


def until_note(house: House, number: int) -> str:
    """Return what lets a command wait until its runner has written a note."""
    return f"""while ! grep -q '"n":{number},' {house.spool}/reports/*.jsonl; do sleep 0.05; done"""


def test_a_runner_notes_what_is_new(house: House) -> None:
    """Each note follows the one before under the key of the replica; the statement has the head."""
    text = f"echo 1; {until_note(house, 1)}; echo 2; {until_note(house, 2)}; echo 3"
    launch = house.launch(Job(name="t", command=("sh", "-c", text)))
    house.put(launch)
    assert house.start().wait(timeout=60) == 0, house.log()
    (report,) = house.reports()
    notes, key = trail_of(house), replica_key(launch_secret(launch.seed), report.statement.nonce)
    assert [(note.number, note.stdout.start, note.stdout.end) for note in notes[:2]] == [(1, 0, 2), (2, 2, 4)]
    assert list(chain_faults(key, notes)) == []
    assert report.statement.trail == LogTrail(len(notes), notes[-1].mac)


def test_a_short_replica_has_none(tmp_path: Path) -> None:
    """Nothing is noted of it, and nothing of that is signed; a silent one that takes its time has none either."""
    house = House(tmp_path, trail_s=30)
    (report,) = house.run(Job(name="t", command=("sh", "-c", "echo 1; sleep 0.3")))
    assert (trail_of(house), report.statement.trail) == ([], None)
    silent = House(tmp_path / "silent", trail_s=0.1)
    (report,) = silent.run(Job(name="t", command=("sh", "-c", "sleep 0.5; touch f"), outputs=(Output(path="f"),)))
    assert (trail_of(silent), report.statement.trail) == ([], None)


def test_a_log_that_a_command_cuts_begins_again(house: House) -> None:
    """As `> /dev/stdout` does: the runner says so, and the note is of all that is there then."""
    text = f"echo a long first line; {until_note(house, 1)}; echo 2 > /dev/stdout; {until_note(house, 2)}; touch f"
    (report,) = house.run(Job(name="t", command=("sh", "-c", text), outputs=(Output(path="f"),)))
    notes = trail_of(house)
    assert (notes[0].stdout.start, notes[0].stdout.end) == (0, 18)
    assert notes[1].stdout.start == 0
    assert notes[-1].stdout.end <= 2
    assert report.statement.trail == LogTrail(len(notes), notes[-1].mac)


def test_the_key_of_a_launch_is_gone_before_a_command_could_read_it(house: House) -> None:
    """The keys of trails are derived from it: it is in no file while the command runs."""
    launch = house.launch(Job(name="t", command=("sh", "-c", f"cat {house.spool}/inbox/*.key; cat {house.spool}/claims/*; true")))
    house.put(launch)
    assert house.start().wait(timeout=60) == 0
    (report,) = house.reports()
    seed = launch_keys.as_text(launch.seed).strip()
    assert report.carried is not None
    assert seed not in report.carried["stdout"]


# With a coordinator --------------------------------------------------------------------------------------------------


class Talking:
    """A home with a job of two replicas that run until they are let go."""

    def __init__(self, folder: Path) -> None:
        """Start the job, and wait for the first note of each replica."""
        self.home, self.folder = Home(folder), folder
        assert self.home.call("node", "init", "--name", "n", "--cpus", 2).code == 0
        config = self.home.path / "spool/n/node.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "trail_s": 0.2}))
        assert self.home.submit(JOB.replace("{folder}", str(folder))).code == 0
        until(lambda: len({line["trail"] for line in self.notes()}) == 2, "a note of each")

    def notes(self) -> list[dict[str, Any]]:
        """Return the notes that lie in the spool."""
        found = []
        for path in sorted((self.home.path / "spool/n/reports").glob("*.jsonl")):
            found += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return [line for line in found if "trail" in line]

    def log(self, replica: int, suffix: str = ".out") -> Path:
        """Return where the log of a replica lies while it runs."""
        return self.home.path / f"work/n/1_0.{replica}{suffix}"

    def go_on(self, replica: int) -> None:
        """Let a replica write more, and wait until that was noted."""
        (self.folder / f"go.{replica}").touch()
        name = f"1_0.{replica}"
        until(lambda: any(line["stdout"][1] > 5000 for line in self.notes() if line["trail"] == name), "what came then")

    def verify(self, code: int) -> dict[str, dict[str, Any]]:
        """Return what `logs --verify` says of each replica."""
        document = self.home.json("logs", 1, "--verify", code=code)
        assert document["ok"] == (code == 0)
        return {one["of"]: one for one in document["replicas"]}

    def end(self) -> None:
        """Let it end, and stop what runs."""
        (self.folder / "end").touch()
        for number in (1, 2):
            (self.folder / f"go.{number}").touch()
        self.home.end()


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Talking]:
    """Yield a job that runs."""
    made = Talking(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    """Yield a job whose first replica has written all that it writes, and runs still; tests change copies of its home."""
    made = Talking(tmp_path_factory.mktemp("running"))
    made.go_on(1)
    yield made
    made.end()


def copied(talking: Talking, folder: Path) -> Home:
    """Return a copy of the home of a job, as another machine without a worker would have it."""
    copy = Home(folder, "copy")
    copy.path.mkdir(parents=True, mode=0o700, exist_ok=True)
    for path in below(talking.home.path):  # its worker lives
        target = copy.path / path.relative_to(talking.home.path)
        with suppress(FileNotFoundError):
            if path.is_dir():
                target.mkdir(mode=0o700)
            elif path.is_file():
                shutil.copy2(path, target)
    tamper(copy.path / "state.db", ("DELETE FROM lease",))
    return copy


def test_logs_are_verified_while_they_grow_and_after(talking: Talking) -> None:
    """Before anything was taken in, when it was, and when the job has ended: they are as they were."""
    found = talking.verify(0)
    assert {one["signed"] for one in found.values()} == {False}
    assert [log["noted"] for log in found["1_0.1"]["logs"]] == [6, 8]
    assert talking.home.call("reconcile").code == 0
    talking.go_on(1)
    assert talking.verify(0)["1_0.1"]["notes"] >= 2
    (talking.folder / "go.2").touch()
    (talking.folder / "end").touch()
    assert talking.home.call("wait", 1, "--timeout", "50s").code == 1  # the output that it promises is not there
    found = talking.verify(0)
    assert {one["signed"] for one in found.values()} == {True}
    assert all(one["notes"] for one in found.values())
    assert talking.home.call("logs", 1, "--verify").out.endswith("all holds: the logs of 2 replicas\n")
    assert talking.home.call("verify", 1).code == 0


def in_place(path: Path) -> None:
    """Change one byte."""
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(bytes([data[0] ^ 1]))


def cut(path: Path) -> None:
    """Cut its end off."""
    with path.open("r+b") as file:
        file.truncate(3)


def replaced(path: Path) -> None:
    """Put another file of the same size in its place."""
    path.rename(path.with_name("aside"))
    path.write_bytes(b"y" * path.with_name("aside").stat().st_size)


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a byte": (in_place, "stdout: bytes 0 to 6 are not what they were at note 1 ("),
    "its end": (cut, "it was cut"),
    "all of it": (replaced, "stdout: bytes 0 to 6 are not what they were at note 1 ("),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_shows_before_the_end(running: Talking, tmp_path: Path, edit: str) -> None:
    """Where it begins, and of which replica; the other one is as it was."""
    change, problem = EDITS[edit]
    copy = copied(running, tmp_path)
    assert copy.call("logs", "1_0", "--verify").code == 0
    change(copy.path / "work/n/1_0.1.out")
    first, second = copy.json("logs", 1, "--verify", code=1)["replicas"]
    assert any(problem in one for one in first["problems"]), first
    assert second["ok"]


def test_notes_that_are_left_out_or_forged_are_told(running: Talking, tmp_path: Path) -> None:
    """Who writes to the segment cannot make a note, and one that he takes out is missed before the replica ends."""
    copy = copied(running, tmp_path)
    for path in (copy.path / "spool/n/reports").glob("*.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]
        kept = [line for line in lines if b'"trail":"1_0.1","n":1,' not in line]
        if len(kept) < len(lines):
            kept.append(kept[-1].replace(b'"n":', b'"n":9'))
        path.write_bytes(b"\n".join([*kept, b""]))
    copy.call("reconcile")
    with sqlite3.connect(copy.path / "state.db") as connection:
        codes = [json.loads(reason)["code"] for (reason,) in connection.execute("SELECT reason FROM quarantine ORDER BY id")]
    connection.close()
    copy.end()
    assert sorted(codes) == ["report.note_forged", "report.note_out_of_chain"]
    first, second = copy.json("logs", 1, "--verify", code=1)["replicas"]
    assert "note 1 is missing" in first["problems"]
    assert second["ok"]


ROWS = {
    "the notes are gone": ("DELETE FROM trail", "notes of its logs, and none is here"),
    "the last one is gone": ("DELETE FROM trail WHERE number > 1", "its statement ends with note"),
    "the first one is gone": ("DELETE FROM trail WHERE number = 1", "note 1 is missing"),
    "one is another": (
        "UPDATE trail SET note = CAST(replace(CAST(note AS TEXT), '\"stdout\":[0,', '\"stdout\":[1,') AS BLOB) WHERE number = 1",
        "note 1 is not what its runner wrote",
    ),
    "one is none": ("UPDATE trail SET note = x'7b7d' WHERE number = 1", "cannot be read any more"),
    "the secret is another": ("UPDATE delegation SET trail = randomblob(32)", "is not what its runner wrote"),
    "the secret is gone": ("UPDATE delegation SET trail = NULL", "the secret is gone"),
}  # fmt: skip


def test_no_changed_row_passes(talking: Talking, tmp_path: Path) -> None:
    """Neither `logs --verify` nor `verify` overlooks one, after the end."""
    talking.go_on(1)
    talking.go_on(2)
    (talking.folder / "end").touch()
    assert talking.home.call("wait", 1, "--timeout", "50s").code == 1
    for what, (sql, problem) in ROWS.items():
        copy = copied(talking, tmp_path / what.replace(" ", "-"))
        tamper(copy.path / "state.db", (sql,))
        document = copy.json("logs", 1, "--verify", code=1)
        assert problem in "; ".join(document["replicas"][0]["problems"]), what
        done = copy.call("verify", 1)
        assert done.code == 1, what
        assert problem in done.out, what
