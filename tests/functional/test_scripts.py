"""Scripts that cannot be run say why, alike wherever they were tried; numbers of tasks are padded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.runner.execution.replica import without_own_paths

if TYPE_CHECKING:

    from homes import Home


def tried(home: Home, name: str, content: bytes, *more: str) -> str:
    """Run a file beside the descriptor as the command of a job; return the verdict's reason."""
    (home.folder / name).write_bytes(content)
    (home.folder / name).chmod(0o755)
    job = home.descriptor(
        f'[job]\nname = "s"\ncommand = ["./{name}"]\n{"".join(more)}'
        f'[[inputs]]\nsource = "{name}"\n[quorum]\ndistinct = "run"\n'
    )
    home.call("submit", job, "--wait")
    return str(home.json("show", "last")["tasks"][0]["reason"])


NEITHER = "it is neither a program of this machine nor a script: a script begins with #! and its interpreter"
MARK = "it begins with a byte order mark, behind which no #! counts: save it as UTF-8 without BOM"
LINES = "its lines end as on Windows (CR LF): a shell takes the CR for part of words; convert it with dos2unix"
WINDOWS = "its first line ends as on Windows (CR LF), which no interpreter's name does: convert it with dos2unix"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#!/bin/sh\r\necho 1\r\n", f"'./s.sh' cannot be started: {WINDOWS}"),
        (b"#!/usr/bin/env python3\r\nprint(1)\r\n", f"'s.sh' cannot be run: {WINDOWS}"),
        (b"#! /bin/sh -e\r\ntrue\r\n", f"'s.sh' cannot be run: {WINDOWS}"),
        (b"#!/opt/none/python3 -u\nprint(1)\n", "'./s.sh' cannot be started: there is no interpreter '/opt/none/python3'"),
        (b"#!/etc\ntrue\n", "'./s.sh' cannot be started: its interpreter '/etc' is no program that may be run here"),
        (b"#!/etc/passwd\n", "'./s.sh' cannot be started: its interpreter '/etc/passwd' is no program that may be run here"),
        (b"#!./near\n", "'./s.sh' cannot be started: there is no interpreter './near'"),
        (
            b"#!\necho 1\n",
            f"'./s.sh' cannot be started: {NEITHER}",
        ),
        (b"\xef\xbb\xbf#!/bin/sh\ntrue\n", f"'./s.sh' cannot be started: {MARK}"),
        ("\ufeff#!/bin/sh\ntrue\n".encode("utf-16-le"), "'./s.sh' cannot be started: it is text in UTF-16: save it as UTF-8 without BOM"),
        (b"", "'./s.sh' cannot be started: it is empty"),
        (b"#!/" + b"x" * 300 + b"\n", "'./s.sh' cannot be started: its first line is longer than the 255 bytes that the kernel reads of it"),
    ],
    ids=[
        "crlf", "crlf behind env", "crlf behind an option", "no interpreter", "a folder", "no program", "a relative one", "none named",
        "a byte order mark", "utf-16", "nothing", "a long one",
    ],
)
def test_a_script_without_its_interpreter_says_so(home: Home, content: bytes, reason: str) -> None:
    """The kernel's words for all of these mean something else, and name the script."""
    assert tried(home, "s.sh", content) == f"errors: 2 of 2 replicas failed alike: {reason}"


@pytest.mark.parametrize("way", [["./s.sh"], ["bash", "s.sh"]])
def test_lines_of_a_shell_that_end_as_on_windows_are_named(home: Home, way: list[str]) -> None:
    """The shell's words for them name a command that is there, with a CR behind it; submit tells it before anything runs."""
    (home.folder / "s.sh").write_bytes(b"#!/bin/sh\ntrue\r\nif true; then\r\ntrue\r\nfi\r\n")
    (home.folder / "s.sh").chmod(0o755)
    done = home.submit(f'[job]\nname = "s"\ncommand = {way}\n[[inputs]]\nsource = "s.sh"\n[quorum]\ndistinct = "run"\n', "--wait")
    assert f"job.command[{len(way) - 1}]: {way[-1]}: {LINES}" in done.err
    reason = home.json("show", "last")["tasks"][0]["reason"]
    assert reason.endswith(f"; 's.sh': {LINES}")


def test_line_ends_of_what_is_no_shell_are_its_own(home: Home) -> None:
    """Python reads both kinds: nothing is told of them."""
    assert "CR LF" not in tried(home, "s.py", b"#!/usr/bin/python3\nimport sys\r\nsys.exit(3)\r\n")


def test_reasons_hold_no_folder_of_a_replica() -> None:
    """Two replicas that failed in one way are alike, word for word."""
    told = [
        without_own_paths(f"'{root}/run' in {root}: no such file; '/w/{key}.script' failed", root, f"/w/{key}.script")
        for root, key in (("/w/1_0.1", "a1"), ("/w/1_0.12", "b2"))
    ]
    assert told == ["'run' in the work folder: no such file; 'script' failed"] * 2
    assert without_own_paths("exit code 1", "/w/1_0.1", "") == "exit code 1"


def test_numbers_are_padded_with_zeros(home: Home) -> None:
    """`{task:03d}` in commands, environments and names of outputs; negative numbers keep their sign in front."""
    text = (
        '[job]\nname = "p"\ncommand = ["sh", "-c", "echo {seed:04d} $X > out-{task:03d}"]\nenv = { X = "{cpus_per_task:02d}" }\n'
        '[array]\nmatrix = { seed = [7, -7, 12345] }\n[[outputs]]\npath = "out-{task:03d}"\n[quorum]\ndistinct = "run"\n'
    )
    assert home.submit(text, "--wait").code == 0
    found = sorted((path.name, path.read_text()) for path in home.path.glob("results/1/*/out-*"))
    assert found == [("out-000", "0007 01\n"), ("out-001", "-007 01\n"), ("out-002", "12345 01\n")]


def test_a_failed_task_shows_its_last_words(home: Home) -> None:
    """The verdict holds the last line of stderr, and the command that shows the rest; `logs` falls back to stderr."""
    command = "echo first >&2; echo 'ModuleNotFoundError: No module named nosuch' >&2; exit 1"
    text = f'[job]\nname = "w"\ncommand = ["sh", "-c", "{command}"]\n[quorum]\ndistinct = "run"\n'
    done = home.submit(text, "--wait")
    words = "exit code 1; last line of stderr: ModuleNotFoundError: No module named nosuch"
    assert f"failed: errors: 2 of 2 replicas failed alike: {words}" in done.out
    assert "stderr:  nexapod-batch logs 1_0 --stderr" in done.out
    assert "all of stderr: nexapod-batch logs 1_0 --stderr" in home.call("explain", "1").out
    shown = home.call("logs", "1")
    assert shown.err == "1_0 wrote nothing to stdout; this is its stderr:\n"
    assert shown.out.startswith("first\n")
    assert home.json("logs", "1", "--all")["logs"][0]["bytes"] == len(shown.out)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("printf 'a\\n\\n  b  \\n\\n' >&2; exit 3", "exit code 3; last line of stderr: b"),
        ("exit 3", "exit code 3"),
        ("printf ' \\n' >&2; exit 3", "exit code 3"),
        ("printf 'x\\033[2J\\377' >&2; exit 3", "exit code 3; last line of stderr: x [2J\ufffd"),
        ("kill -SEGV $$", "ended by signal 11 (Segmentation fault)"),
    ],
)
def test_last_words_are_one_printable_line(home: Home, script: str, words: str) -> None:
    """Blank lines are passed over, controls do not reach a statement, and silence adds nothing."""
    (home.folder / "s.sh").write_text(f"#!/bin/sh\n{script}\n")
    assert tried(home, "s.sh", (home.folder / "s.sh").read_bytes()).endswith(f"alike: {words}")


def test_last_words_without_end_are_cut(home: Home) -> None:
    """A line of a megabyte leaves its end in the reason, within bounds."""
    reason = tried(home, "s.sh", b"#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3\n")
    assert reason.endswith("last line of stderr: " + "x" * 237 + "...")


def test_what_could_be_run_at_submit_can_be_run_on_the_node(home: Home) -> None:
    """The executable bit travels with the pinned job, for files that do not look like programs, too."""
    (home.folder / "yes").write_text("data")
    (home.folder / "no").write_text("data")
    (home.folder / "empty").touch()
    for name, mode in (("yes", 0o700), ("no", 0o600), ("empty", 0o755)):
        (home.folder / name).chmod(mode)
    inputs = "".join(f'[[inputs]]\nsource = "{name}"\n' for name in ("yes", "no", "empty"))
    command = "for f in yes no empty; do test -x $f && echo $f; done; true"
    text = f'[job]\nname = "x"\ncommand = ["sh", "-c", "{command}"]\n{inputs}[quorum]\ndistinct = "run"\n'
    assert home.submit(text, "--wait").code == 0
    assert home.call("logs", "1").out == "yes\nempty\n"
