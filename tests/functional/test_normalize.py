"""`normalize`: what a command prints of an output on the node is compared in the output's place."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from pathlib import Path

#: Every run writes other bytes: the time, and its number, stand in the head of what gzip writes.
DATED = """[job]
name = "dated"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || echo 2); echo run $n > run$n; (seq 9; echo 1.0000000$n) | gzip > a.gz"]
[quorum]
distinct = "run"
max_replicas = 2
[[outputs]]
path = "a.gz"
"""


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ('normalize = ["sh", "-c", "zcat -q | head -9"]', True),
        ('normalize = ["sh", "-c", "zcat -q {output} | sort -n"]\ncompare = "significant"\ndigits = 5', True),
        ('normalize = ["sh", "-c", "zcat -q"]', False),
    ],
)
def test_what_is_printed_is_compared(tmp_path: Path, rule: str, accepted: bool) -> None:
    """Files that never have the same bytes agree by it, or do not; the statement says how, and verifies anywhere."""
    (tmp_path / "flag").mkdir()
    with ended(Home(tmp_path), "mine") as home:
        done = home.submit(DATED.format(flag=tmp_path / "flag") + rule, "--wait=90s")
        assert done.code == (0 if accepted else 3), done.out + done.err + home.call("explain", 1).out
        assert home.call("verify", "1").code == 0
        assert home.proof_code(1) == 0
        folder = tmp_path / "proof"
        assert home.call("attestations", 1, "--out", folder).code == 0
        (said,) = (_internal(file) for file in [folder / "1_0.1.dsse.json"])
        assert said["normalizers"] == [{"command": _words(rule), "image": "", "output": "a.gz"}]
        if not accepted:
            assert "what sh printed of it differs" in home.call("explain", 1).out
            judged = home.json("judge", 1, "--compare", "content", code=3)["tasks"][0]
            assert judged["outputs"][0]["compare"] == "content"


def _words(rule: str) -> list[str]:
    return list(json.loads(rule.splitlines()[0].partition(" = ")[2]))


def _internal(file: Path) -> dict[str, object]:
    from base64 import b64decode

    statement = json.loads(b64decode(json.loads(file.read_text())["payload"]))
    return dict(statement["predicate"]["buildDefinition"]["internalParameters"])


CASES = """[job]
name = "cases"
command = ["sh", "-c", "echo 1 > a.txt"]
[resources]
time = "00:00:03"
disk = "20MiB"
[quorum]
agree = 1
distinct = "run"
max_replicas = 1
max_errors = 0
[[outputs]]
path = "a.txt"
normalize = ["sh", "-c", "{{what}}"]
[array.matrix]
what = {values}
"""


def test_a_command_that_gives_nothing_ends_its_replica_with_the_reason(tmp_path: Path) -> None:
    """One that fails, hangs, prints without end, writes, is not there or wants the network; and what it may rely on."""
    with socket.create_server(("127.0.0.1", 0)) as server, ended(Home(tmp_path), "mine") as home:
        connect = f"python3 -c 'import socket; socket.create_connection((\\\"127.0.0.1\\\", {server.getsockname()[1]}), 5)'"
        cases = [
            ("cat; test $(ls -A) = a.txt; test $HOME = $PWD", "", "accepted"),
            ("echo broken >&2; exit 3", "exit code 3; last line of stderr: broken", "failed"),
            ("cat; trap '' TERM; sleep 1000 & wait; sleep 1000", "'sh': over its time limit", "failed"),
            ("cat /dev/zero", "'sh': it printed more than 20 MiB", "failed"),
            ("cat /dev/zero; true", "it printed more than 20 MiB", "failed"),
            ("trap '' XFSZ; head -c 30000000 /dev/zero >&2; echo; true", "it printed more than 20 MiB", "failed"),
            ("cat; sleep 1000 & exit 0", "", "accepted"),
            ("nonesuch", "exit code 127", "failed"),
            ("kill -9 $$", "exit code 137", "failed"),
            (connect, "exit code 1; last line of stderr: ConnectionRefusedError", "failed"),
        ]
        values = "[" + ", ".join(f'"{what}"' for what, _, _ in cases) + "]"
        done = home.submit(CASES.format(values=values), "--wait=120s")
        assert done.code == 1, done.out + done.err
        tasks = home.json("show", 1)["tasks"]
        for task, (what, why, state) in zip(tasks, cases, strict=True):
            (replica,) = task["replicas"]
            assert (what, task["state"]) == (what, state), replica["reason"]
            assert why in replica["reason"], what
        assert home.call("verify", "1").code == 0


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ('normalize = ["cat"]\ncompare = "allclose"\nrtol = 1e-9', "not used by allclose"),
        ('normalize = ["cat"]\ncompare = "none"', "not used by none"),
        ('normalize = ["cat", "{input}"]', "input"),
        ('normalize = ["cat", "{"]', "lone"),
        ('normalize = [""]', "wanted a program"),
        ('normalize = "cat"', "normalize"),
    ],
)
def test_what_cannot_be_is_told_at_submit(tmp_path: Path, rule: str, fault: str) -> None:
    """Exit code 65, and the reason."""
    with ended(Home(tmp_path)) as home:
        done = home.submit(f'[job]\ncommand = ["true"]\n[[outputs]]\npath = "b.txt"\n[[outputs]]\npath = "a.txt"\n{rule}\n')
        assert (done.code, fault in done.err) == (65, True), done.err
