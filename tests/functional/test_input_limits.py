"""Kept inputs have a limit: those used longest ago go, and never one that a job still needs, whoever works at once."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, Home
from spools import until

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands import submit
from nexapod_batch.coordinator.placement import input_cache
from nexapod_batch.files.least_used import LEFT_S
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Bytes of an input: three of them are more than one MiB.
SIZE = 400 << 10
JOB = '[job]\ncommand = ["true"]\n[[inputs]]\nsource = "{name}"\ntarget = "in"\n[quorum]\ndistinct = "run"\n'
HELD = "[schedule]\nhold = true\n"


def written(home: Home, name: str) -> str:
    """Write a file beside the descriptor; return its digest."""
    data = hashlib.sha256(name.encode()).digest() * (SIZE // 32)
    (home.folder / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def kept(home: Home) -> set[str]:
    """Return the names of what is kept."""
    return {path.name for path in (home.path / "inputs").iterdir()}


def over(home: Home) -> None:
    """Wait until no runner may read an input any more."""

    def is_over() -> bool:
        assert (home.call("reconcile").code, home.call("gc").code) == (0, 0)
        with open_coordinator(Paths.of(home.path)) as c:
            return not c.store.jobs.running_documents()

    until(is_over, "the last launch to be forgotten")


def collected(home: Home, wanted: set[str]) -> None:
    """Run `gc` when all has ended, and see that this is kept."""
    over(home)
    assert home.call("gc").code == 0
    assert kept(home) == wanted


@pytest.fixture
def small(home: Home) -> Home:
    """Return a home that keeps one MiB of inputs."""
    home.path.mkdir(mode=0o700, exist_ok=True)
    (home.path / "config.toml").write_text('[retention]\ninputs_size = "1MiB"\n')
    return home


def test_what_was_used_longest_ago_goes_first(small: Home) -> None:
    """A job that names an input again uses it again; one that is open needs its own, whatever the limit."""
    files = {name: written(small, name) for name in "abcde"}
    for name in "abca":
        assert small.submit(JOB.format(name=name), "--wait=60s").code == 0
    assert kept(small) == {files[name] for name in "abc"}
    collected(small, {files["c"], files["a"]})
    assert small.json("gc", "--dry-run")["inputs"] == 0
    for name in "bde":
        assert small.submit(JOB.format(name=name) + HELD).code == 0
    assert small.call("gc").code == 0
    assert kept(small) == {files[name] for name in "bde"}


def test_no_limit_and_the_default_keep_all(home: Home) -> None:
    """As before there was a limit."""
    for name in "abc":
        written(home, name)
        assert home.submit(JOB.format(name=name), "--wait=60s").code == 0
    assert home.json("gc")["inputs"] == 0
    assert home.json("gc", env={"NEXAPOD_RETENTION_INPUTS_SIZE": "0"})["inputs"] == 0
    over(home)
    assert home.json("gc", env={"NEXAPOD_RETENTION_INPUTS_SIZE": "1MiB"})["inputs"] == 1
    shown = {one["key"]: one["value"] for one in home.json("config", "show")["settings"]}
    assert shown["retention.inputs_size"] == 51_200


def test_a_pass_sees_to_it_once_an_hour(small: Home) -> None:
    """Not the first one of all, when nothing is old, and none within the hour."""
    for name in "abc":
        written(small, name)
        assert small.submit(JOB.format(name=name), "--wait=60s").code == 0
    small.call("reconcile")
    assert len(kept(small)) == 3

    def an_hour_later() -> bool:
        os.utime(small.path / "inputs.checked", (1, 1))
        small.call("reconcile")
        return len(kept(small)) == 2

    until(an_hour_later, "the one that was used longest ago to go")


def test_what_a_killed_submit_left_goes_after_a_week(home: Home) -> None:
    """A copy on its way has a name that no other process has; parts of downloads may be gone on with until then."""
    written(home, "a")
    assert home.submit(JOB.format(name="a") + HELD).code == 0
    names = [f".{'ab' * 32}.7.00", f".{'cd' * 32}.7.00", ".fetch-x"]
    for name in names:
        (home.path / "inputs" / name).write_bytes(b"")
    for name in names[::2]:
        os.utime(home.path / "inputs" / name, (time.time() - LEFT_S - 60,) * 2)
    assert home.json("gc")["inputs"] == 2
    assert [name for name in kept(home) if name.startswith(".")] == names[1:2]


def test_what_goes_while_a_job_is_submitted_is_kept_again(small: Home) -> None:
    """Whoever writes the database may remove what no stored job needs; the submit finds it out before it stores its own."""
    files = {name: written(small, name) for name in "ab"}
    assert small.submit(JOB.format(name="a"), "--wait=60s").code == 0
    over(small)
    with open_coordinator(Paths.of(small.path)) as c:

        def removed_meanwhile(count: int) -> bytes:
            """Stand for another process, after the inputs were looked for and before the job is stored."""
            with writer(c.store):
                assert input_cache.drop_stale(c, whatever_else=True) == 2
            return secrets.token_bytes(count)

        c.random = removed_meanwhile
        text = "schema = 1\n" + JOB.format(name="a") + '[[inputs]]\nsource = "b"\n' + HELD
        submit.submit(c, parse(text, small.folder).job, small.folder, {})
    assert kept(small) == set(files.values())


#: Submits a job of its own and one that all share, again and again, until it is told to end.
SUBMITTER = 'n=0; while [ ! -e "$1/stop" ] && [ $n -lt 12 ]; do n=$((n+1)); "$2" submit "$1/own$3.toml" "$1/shared.toml" >/dev/null || exit 1; done'
REMOVER = 'while [ ! -e "$1/stop" ]; do "$2" gc >/dev/null || [ $? -eq 75 ] || exit 1; done'


@pytest.fixture
def crowd(home: Home) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Return what holds processes that end with the test."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        (home.folder / "stop").touch()
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def begun(home: Home, script: str, number: int) -> subprocess.Popen[bytes]:
    """Start a shell that runs the program again and again."""
    argv = ["sh", "-c", script, "sh", str(home.folder), PROGRAM, str(number)]
    env = {**home.env, "NEXAPOD_RETENTION_INPUTS_SIZE": "1MiB", "NEXAPOD_RETENTION_INPUTS": "0"}
    return subprocess.Popen(argv, env=env, cwd=home.folder, start_new_session=True)


@pytest.mark.slow
def test_many_processes_at_once_one_of_which_is_killed(home: Home, crowd: list[subprocess.Popen[bytes]]) -> None:
    """Three that submit, and two that remove all they may: what any stored job needs is there in the end, and is right."""
    for number in range(3):
        written(home, f"own{number}")
        home.descriptor(JOB.format(name=f"own{number}") + HELD, f"own{number}.toml")
    written(home, "shared")
    home.descriptor(JOB.format(name="shared") + HELD, "shared.toml")
    assert home.submit(JOB.format(name="shared") + HELD).code == 0
    crowd += [begun(home, SUBMITTER, number) for number in range(3)]
    crowd += [begun(home, REMOVER, number) for number in range(2)]
    assert crowd[1].wait(170) == 0
    os.killpg(crowd[0].pid, signal.SIGKILL)
    os.killpg(crowd[3].pid, signal.SIGKILL)
    assert crowd[2].wait(170) == 0
    (home.folder / "stop").touch()
    assert crowd[4].wait(60) == 0
    jobs = home.jobs()
    assert len(jobs) >= 48
    for name in ("own1", "own2", "shared"):
        digest = hashlib.sha256((home.folder / name).read_bytes()).hexdigest()
        assert hashlib.sha256((home.path / "inputs" / digest).read_bytes()).hexdigest() == digest
    assert home.call("cancel", *[str(job["id"]) for job in jobs]).code == 0
    assert home.json("gc", env={"NEXAPOD_RETENTION_INPUTS": "0"})["inputs"] >= 3
    assert {name for name in kept(home) if not name.startswith(".")} == set()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of inputs of a home, on a disk of one MiB."""
    folder = tmp_path / "home" / "inputs"
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "home").chmod(0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", folder], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_made_room_on_before_a_submit_fails(home: Home, disk: Path) -> None:
    """What no job needs goes at once; where all of it is needed the error names the disk, and nothing is stored."""
    files = {name: written(home, name) for name in "abcd"}
    for name in "ab":
        assert home.submit(JOB.format(name=name), "--wait=60s").code == 0
    over(home)
    for name in "cd":
        assert home.submit(JOB.format(name=name) + HELD).code == 0
    assert kept(home) == {files["c"], files["d"]}
    refused = home.submit(JOB.format(name="a") + HELD)
    assert refused.code == 75
    assert f"No space left on device: {disk}" in " ".join(refused.err.split())
    assert "inputs_size" in refused.err
    assert kept(home) == {files["c"], files["d"]}
    assert len(home.jobs()) == 4
