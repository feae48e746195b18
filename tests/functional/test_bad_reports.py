"""Hostile spools: whatever lies in them, the coordinator goes on, and no replica but the liar's own is harmed."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from forging import line_of, stolen_key
from forging import said_in as statement
from homes import TRUE, Home

from nexapod_batch.files import keyfile
from nexapod_batch.trust.bundle import BUNDLE_TYPE
from nexapod_batch.trust.dsse import Signer, pae, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Line = dict[str, Any]

FILES = (
    '[job]\nname = "files"\ncommand = ["sh", "-c", "echo 1 > a.txt"]\n[[outputs]]\npath = "a.txt"\n'
    '[quorum]\ndistinct = "run"\n'
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    one = Home(tmp_path)
    assert one.call("node", "init", "--name", "mallory", "--owner", "mallory").code == 0
    yield one
    one.end()


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until something is true."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def reported(home: Home, text: str = FILES) -> list[Line]:
    """Submit a job and return its two report lines, which the coordinator has not read yet."""
    before = len(home.lines("mallory"))
    assert home.submit(text).code == 0
    until(lambda: len(home.lines("mallory")) == before + 2, "two reports")
    return home.lines("mallory")[before:]


def put(home: Home, data: bytes, name: str | bytes = "zz-bad.jsonl") -> None:
    """Leave a segment in the spool, to be read after the genuine ones."""
    folder = os.fsencode(home.spool("mallory") / "reports")
    with open(os.path.join(folder, os.fsencode(name)), "wb") as stream:
        stream.write(data)


def replace_lines(home: Home, change: Callable[[Line], Line]) -> None:
    """Change every genuine report line that lies in the spool."""
    for segment in (home.spool("mallory") / "reports").glob("[!z]*.jsonl"):
        lines = [json.loads(line) for line in segment.read_bytes().split(b"\n")[:-1]]
        changed = [change(line) if "payload" in line else line for line in lines]
        segment.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in changed))


def quarantined(home: Home) -> int:
    """Return how many lines a pass puts into quarantine now."""
    return int(home.json("reconcile")["quarantined"])


def states(home: Home, job: int) -> list[str]:
    """Return the executions of the replicas of a job's first task."""
    return [replica["execution"] for replica in home.json("show", job)["tasks"][0]["replicas"]]


def accepts(home: Home) -> None:
    """Check that the home still works: an earlier job is accepted, and so is a new one."""
    done = home.call("wait", "1", "--timeout", "90s")
    assert done.code == 0, done.out + done.err
    assert home.json("show", 1)["job"]["state"] == "accepted"
    done = home.submit(TRUE, "--wait=90s")
    assert done.code == 0, done.out + done.err
    assert home.call("doctor").code == 0


def deep(levels: int) -> str:
    """Return JSON that is nested so far."""
    return "[" * levels + "]" * levels


JUNK = {
    "empty lines": b"\n" * 50,
    "binary": bytes(range(256)),
    "cut off": b'{"payload":"AAAA","payloadType":"application/vnd.in-toto+json","signatures":[{"sig"\n',
    "scalars": b'"start"\n["start"]\n5\nnull\ntrue\n1e999\n{"start":5}\n{"start":{}}\n{"start":"1_0"}\n',
    "surrogates": b'{"payload":"\\ud800"}\n{"start":"\\ud800"}\n',
    "escapes": b'{"payload":"\\u001b[31m","payloadType":"\\u001b]0;x\\u0007","signatures":[{"keyid":"\\u0000"}]}\n',
    "nested": f'{{"payload":{deep(100_000)}}}\n{deep(900)}\n'.encode(),
    "as deep as parsers allow": b"".join(
        b'{"payload":"QQ==","payloadType":"a","signatures":[{"keyid":"b","sig":"c"}],"carried":"d","start":"e"}\n'.replace(
            place, deep(levels).encode()
        )
        for place in (b'"QQ=="', b'"a"', b'[{"keyid":"b","sig":"c"}]', b'"b"', b'"c"', b'"d"', b'"e"')
        for levels in (60, 70, 900, 950, 990, 1_000, 1_010, 1_020, 1_023)
    ),
    "empty envelope": b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}\n',
}


def test_junk_lines_harm_nobody(home: Home) -> None:
    """Lines that are no reports are set aside, before and after genuine ones, and shown without control characters."""
    reported(home)
    for number, (kind, junk) in enumerate(JUNK.items()):
        put(home, junk, f"0{number}-first.jsonl")
        assert quarantined(home) > 0, kind
        put(home, junk, f"zz-{number}.jsonl")
    assert quarantined(home) > 0
    accepts(home)
    assert "\x1b" not in home.call("doctor").out
    codes = [one["why"]["code"] for one in home.json("doctor")["checks"] if one["check"] == "quarantine" and one["why"]]
    assert codes == ["report.refused"] * 5


def test_junk_that_names_a_victim_does_not_touch_it(home: Home) -> None:
    """Unsigned lines about another node's replica change nothing of it, and start notes reach no other node."""
    assert home.call("node", "init", "--name", "victim", "--owner", "victim").code == 0
    text = TRUE.replace('"run"', '"node"').replace('"true"]', '"sleep", "3"]')
    assert home.submit(text).code == 0
    victim = next(r["id"] for r in home.json("show", 1)["tasks"][0]["replicas"] if r["node"] == "victim")
    names = f'{{"start":"{victim}"}}\n{{"replica":"{victim}","outcome":"failed"}}\n{{"start":"999999999999999999_0.1"}}\n'
    put(home, names.encode())
    assert quarantined(home) == 1
    accepts(home)


def test_odd_segment_names_harm_nobody(home: Home) -> None:
    """A segment may be called anything."""
    reported(home)
    for name in ("zz\n\x1b[31m.jsonl", b"zz-\xff\xfe.jsonl", "zz" + "x" * 240 + ".jsonl", "zz'; DROP TABLE job;--.jsonl"):
        put(home, b"junk\n", name)
    accepts(home)


def test_odd_things_among_segments_harm_nobody(home: Home) -> None:
    """Folders, fifos and links in the place of segments are passed over."""
    reported(home)
    folder = home.spool("mallory") / "reports"
    (folder / "00.jsonl").mkdir()
    os.mkfifo(folder / "01.jsonl")
    (folder / "02.jsonl").symlink_to("/dev/zero")
    accepts(home)


@pytest.mark.parametrize("how", ["file", "link"])
def test_spool_that_cannot_be_read_stops_no_other_node(home: Home, how: str) -> None:
    """When one node's reports cannot be listed, that is said, and the other nodes' jobs go on."""
    assert home.call("node", "init", "--name", "good", "--owner", "good").code == 0
    folder = home.spool("mallory") / "reports"
    folder.rename(folder.with_name("kept"))
    if how == "file":
        folder.write_text("")
    else:
        folder.symlink_to("reports")
    assert home.call("node", "drain", "mallory").code == 0
    done = home.submit(TRUE, "--wait=90s")
    assert done.code == 0, done.err
    found = home.json("reconcile")
    assert "mallory" in " ".join([*found["faults"], *found["standing"]])
    reasons = [*found["why"]["faults"], *found["why"]["standing"]]
    assert [(one["code"], one["parameters"]["node"]) for one in reasons] == [("fault.reports", "mallory")]
    assert [one["why"] for one in home.json("doctor")["checks"] if one["check"] == "fault"] == reasons


CHANGES: dict[str, Callable[[Line], Line]] = {
    "carried files taken out one by one": lambda line: {**line, "carried": {}},
    "carried files of another kind": lambda line: {**line, "carried": [1]},
    "carried numbers": lambda line: {**line, "carried": {"a.txt": 5}},
    "carried lies": lambda line: {**line, "carried": {"a.txt": base64.b64encode(b"2\n").decode()}},
    "carried to somewhere else": lambda line: {**line, "carried": {"../../up": "AAAA"}},
    "deep extra key": lambda line: {**line, "x": json.loads(deep(400))},
    "large extra key": lambda line: {**line, "x": "y" * 900_000},
    "broken signature": lambda line: {**line, "signatures": [{"keyid": "", "sig": "A" * 86 + "=="}]},
    "too many signatures": lambda line: {**line, "signatures": line["signatures"] * 9},
    "other type": lambda line: {**line, "payloadType": "application/json"},
    "signed by an unknown key": lambda line: json.loads(
        seal(Signer.from_seed(b"x" * 32), PAYLOAD_TYPE, base64.b64decode(line["payload"]))
    ),
}


@pytest.mark.parametrize("kind", list(CHANGES))
def test_changed_reports_never_stop_the_coordinator(home: Home, kind: str) -> None:
    """A genuine line that was changed in the spool counts for nothing or for itself; the task is accepted in the end."""
    reported(home)
    replace_lines(home, CHANGES[kind])
    accepts(home)
    assert not (home.path / "up").exists()


def test_carried_files_that_were_dropped_do_not_stop_the_coordinator(home: Home) -> None:
    """Without its carried files a signed report still counts; that no results are there is said."""
    reported(home)
    replace_lines(home, lambda line: {key: value for key, value in line.items() if key != "carried"})
    accepts(home)


def test_statements_about_something_else_are_refused(home: Home) -> None:
    """Replays under other names, nonces, jobs and keys, and other byte forms of a statement, do not count."""
    home.call("node", "init", "--name", "other", "--owner", "other")
    home.call("node", "drain", "other")
    first, second = reported(home)
    mine, others = (keyfile.load(home.path / "keys" / f"node-{name}") for name in ("mallory", "other"))
    said = statement(first)
    key = stolen_key(home, str(said.replica))
    lies = [
        said._replace(replica=statement(second).replica),
        said._replace(nonce="0" * 32),
        said._replace(job_digest="0" * 64),
        said._replace(job_uuid="another"),
        said._replace(builder=others.key_id),
        said._replace(replica=type(said.replica)(10**15, 0, 1)),
    ]
    forged = [line_of(key, lie) for lie in lies]
    forged += [line_of(signer, said) for signer in (mine, others)]
    forged += [seal(signer, PAYLOAD_TYPE, encode(said)) for signer in (mine, others, key)]
    payload = base64.b64decode(first["payload"])
    forms = (
        payload.replace(b'{"_type"', b'{"_type":"x","_type"', 1),
        payload + b" ",
        payload[:-1],
        payload.replace(b'"wallMs":', b'"wallMs":1.5,"x":', 1),
    )
    forged += [line_of(key, form) for form in forms]
    put(home, b"\n".join(forged) + b"\n", "00-first.jsonl")
    assert quarantined(home) == len(forged)
    accepts(home)
    assert states(home, 1) == ["reported", "reported"]
    assert home.json("node", "show", "mallory")["node"]["blame"] > 0


def test_a_statement_of_another_class_is_no_vote(home: Home) -> None:
    """A runner that says another numeric class than its node's signed profile supports nothing."""
    first, _ = reported(home, FILES + 'class = "os-arch"\n')
    mine = stolen_key(home, str(statement(first).replica))

    def foreign(line: Line) -> Line:
        said = statement(line)._replace(classes={"os-arch": "plan9-mips"})
        return json.loads(line_of(mine, said)) if line["payload"] == first["payload"] else line

    replace_lines(home, foreign)
    home.json("reconcile")
    task = home.json("show", 1)["tasks"][0]
    assert (task["state"], task["agree"]) == ("active", 1)
    accepts(home)
    task = home.json("show", 1)["tasks"][0]
    assert [r["class"] for r in task["replicas"]] == ["plan9-mips", task["class"], task["class"]]
    assert [r["validation"] == "valid" for r in task["replicas"]] == [False, True, True]


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_two_statements_for_one_replica_void_it_alone(home: Home, copies: int) -> None:
    """A node that signs two different statements loses that replica's vote and is blamed; the other replica counts.

    Copies of the first one between the two hide nothing.
    """
    first, _ = reported(home)
    said = statement(first)
    mine = stolen_key(home, str(said.replica))
    between = (json.dumps(first).encode() + b"\n") * copies
    put(home, between + line_of(mine, said._replace(wall_ms=said.wall_ms + 1)) + b"\n")
    accepts(home)
    task = home.json("show", 1)["tasks"][0]
    voided = {r["id"] for r in task["replicas"] if r["voided"]}
    assert voided == {str(said.replica)}
    assert [r["validation"] for r in task["replicas"] if not r["voided"]] == ["valid", "valid"]
    assert home.json("node", "show", "mallory")["node"]["blame"] == 1
    assert home.call("verify", "1").code == 0


def test_same_report_again_is_no_event(home: Home) -> None:
    """The same signed statement in another envelope is the same report."""
    lines = reported(home)
    put(home, b"".join(json.dumps({**line, "z": 1}, indent=None).encode() + b"\n" for line in lines * 3))
    assert quarantined(home) == 0
    accepts(home)
    assert states(home, 1) == ["reported", "reported"]


def test_outputs_changed_after_they_were_signed_are_not_published(home: Home) -> None:
    """What is no longer the signed file is never a result, and never blocks the coordinator."""
    large = FILES.replace("echo 1 > a.txt", "head -c 9000 /dev/zero > a.txt") + '[array]\nids = "0-5"\n'
    assert home.submit(large).code == 0
    until(lambda: len(home.lines("mallory")) == 12, "twelve reports")
    for path in (home.path / "work").glob("*/1_[0-4].*/a.txt"):
        kind = path.parent.name[2]
        path.unlink()
        if kind == "0":
            os.mkfifo(path)
        elif kind == "1":
            path.symlink_to("/etc/passwd")
        elif kind == "2":
            with path.open("wb") as stream:
                stream.truncate(1 << 40)
        elif kind == "3":
            path.write_bytes(b"1" * 9_000)
    accepts(home)
    assert [path.name for path in (home.path / "results" / "1").glob("[0-9]*")] == ["5"]
    tasks = home.json("show", 1)["tasks"]
    assert ["unpublished" in task["reason"] for task in tasks] == [True] * 5 + [False]
    assert [task["unpublished"]["code"] for task in tasks[:5]] == ["unpublished.files"] * 5
    assert tasks[5]["unpublished"] is None
    (explained,) = home.json("explain", "1_0")["tasks"]
    assert explained["unpublished"] == tasks[0]["unpublished"]
    assert [one["number"] for one in explained["unpublished"]["parameters"]["replicas"]] == [1, 2]


def test_bundle_not_signed_by_the_coordinator_is_not_run(home: Home) -> None:
    """What somebody else puts into the inbox is refused, kept with its reason, and not run."""
    assert home.submit(TRUE.replace('"true"]', '"sleep", "2"]')).code == 0
    document = json.loads(_envelope(home))
    genuine = base64.b64decode(document["payload"])
    payload = genuine.replace(b"sleep", b"touch")
    assert payload != genuine
    forged = {
        "a" * 32: json.dumps({**document, "payload": base64.b64encode(payload).decode()}).encode(),
        "b" * 32: seal(Signer.from_seed(b"e" * 32), BUNDLE_TYPE, payload),
        "c" * 32: b"\x00\xff junk",
        "d" * 32: json.dumps(document).encode(),  # genuine, but another launch
    }
    spool = home.spool("mallory")
    for key, data in {**forged, "x" * 200: b"{}"}.items():
        (spool / "inbox" / f"{key}.json").write_bytes(data)
    until(lambda: all((spool / "refused" / f"{key}.reason").exists() for key in forged), "four refusals")
    accepts(home)
    assert states(home, 1) == ["reported", "reported"]
    assert list((home.path / "work").rglob("2")) == []  # what `touch 2` would have left


def _envelope(home: Home) -> bytes:
    """Return a bundle that the coordinator signed and that was not settled yet."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        (found,) = connection.execute("SELECT envelope FROM launch WHERE envelope IS NOT NULL LIMIT 1").fetchone()
    return bytes(found)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False])
def test_line_of_a_gigabyte_is_refused_in_bounded_memory(home: Home, ended: bool) -> None:
    """An endless line costs its reading, not its size in memory; with an end it goes to quarantine."""
    reported(home)
    path = home.spool("mallory") / "reports" / "zz-huge.jsonl"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
        if ended:
            stream.seek(0, 2)
            stream.write(b"\n")
    done = home.call("reconcile", "--json", before=("prlimit", f"--data={400 << 20}"))
    assert done.code == 0, done.err
    assert json.loads(done.out)["quarantined"] == int(ended)
    path.unlink()
    accepts(home)


def read_already(home: Home) -> Path:
    """Return a segment that was read whole, of a home whose one job was accepted."""
    reported(home)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    return next((home.spool("mallory") / "reports").glob("[!z]*.jsonl"))


def sparse(path: Path, size: int = 4 << 40) -> None:
    """Make a file that says that it is longer than it is."""
    with path.open("ab") as stream:
        stream.truncate(size)


def append(path: Path, data: bytes) -> None:
    """Write behind what is there."""
    with path.open("ab") as stream:
        stream.write(data)


REPLACED: dict[str, Callable[[Path], object]] = {
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to a device without end": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a sparse end of 4 TB": sparse,
    "4 TB with a line at their end": lambda path: (sparse(path), append(path, b"\n{}\n")),
    "nothing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_what_replaces_a_segment_stops_nobody(home: Home, kind: str) -> None:
    """Whatever becomes of a segment that was read, every command that looks at it ends, and reports still come in."""
    REPLACED[kind](read_already(home))
    limits = ("prlimit", f"--data={400 << 20}")
    for command in (("reconcile",), ("reconcile", "--dry-run"), ("gc",)):
        assert home.call(*command, before=limits).code == 0, command
    accepts(home)


def test_a_quarantine_stays_small(home: Home) -> None:
    """Long names, long lines and many of them are cut and counted; the database and what is told stay small."""
    reported(home)
    long = "n" * (1 << 20)
    lines = [json.dumps({"payloadType": long, "payload": "QQ==", "signatures": [{"keyid": long[:9], "sig": long[:9]}]})]
    lines += [json.dumps({"start": long}), json.dumps({long: 1}), long]
    put(home, b"".join(line.encode() + b"\n" for line in lines * 5), "zz-long.jsonl")
    assert quarantined(home) == 20
    put(home, b"{}\n" * 2_500, "zz-many.jsonl")
    assert [quarantined(home) for _ in range(4)] == [1_000, 1_000, 500, 0]
    accepts(home)
    assert (home.path / "state.db").stat().st_size < 8 << 20
    said = home.call("doctor").out
    assert "1000 bad reports, and 1520 more that were not kept" in said
    assert len(said) < 10_000


def test_files_come_with_the_second_copy_of_a_line(home: Home) -> None:
    """A copy of a report without its files, read first, keeps nothing from being published when the files come."""
    lines = reported(home)
    bare = [{key: value for key, value in line.items() if key != "carried"} for line in lines]
    put(home, b"".join(json.dumps(line).encode() + b"\n" for line in bare), "00-first.jsonl")
    accepts(home)
    assert (home.path / "results/1/0/a.txt").read_text() == "1\n"


@pytest.mark.parametrize("command", [("reconcile", "--max-seconds", "1"), ("reconcile",)])
def test_one_node_does_not_keep_others_waiting(home: Home, command: tuple[str, ...]) -> None:
    """While one node's spool holds more junk than is read in a pass, the reports of another one are taken in."""
    assert home.call("node", "init", "--name", "victim", "--owner", "victim").code == 0
    put(home, b"{}\n" * 4_000_000)
    assert home.submit(TRUE.replace('"run"', '"node"')).code == 0
    until(lambda: len(home.lines("victim")) == 1, "the victim's report")
    for _ in range(2):
        assert home.call(*command).code == 0
    (done,) = [r for r in home.json("show", 1)["tasks"][0]["replicas"] if r["node"] == "victim"]
    assert done["execution"] == "reported"


def test_pae_is_what_is_signed(home: Home) -> None:
    """The forgeries above are sealed as the runner seals: the same bytes, the same signature."""
    (line, _) = reported(home)
    mine = stolen_key(home, str(statement(line).replica))
    payload = base64.b64decode(line["payload"])
    assert base64.b64decode(line["signatures"][0]["sig"]) == mine.sign(pae(PAYLOAD_TYPE, payload))
