"""Completion in the shells themselves: what bash, zsh and fish offer at a place."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELD = '[job]\nname = "fit"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n[schedule]\nhold = true\n[array]\nmatrix = { T = [300, 310] }\n'
#: Words before the place, and some of what is offered there.
PLACES = [
    ("su", ["submit"]),
    ("re", ["release", "retry", "results", "report", "reconcile"]),
    ("node sn", ["snooze"]),
    ("submit --dist", ["--distinct"]),
    ("submit --distinct ", ["run", "node", "host", "site", "owner"]),
    ("submit --tier consumer", ["consumer-gpu"]),
    ("submit --set resources.me", ["resources.mem="]),
    ("submit --site lo", ["local"]),
    ("submit --site al", ["alpha"]),
    ("show ", ["1", "last", "all"]),
    ("cancel 1_", ["1_0", "1_1"]),
    ("retry 1,l", ["1,last"]),
    ("logs la", ["last"]),
    ("ls --state fa", ["failed"]),
    ("ls --sort sub", ["submitted"]),
    ("ls --format id,na", ["id,name"]),
    ("site show al", ["alpha"]),
    ("init ne", ["netcdf"]),
    ("completion z", ["zsh"]),
    ("schema output sh", ["show"]),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Give a home with a job, a node and a site file, a descriptor beside it, and the program in PATH."""
    found = Home(tmp_path_factory.mktemp("completion"))
    found.env["PATH"] = f"{os.path.dirname(PROGRAM)}:{found.env['PATH']}"
    assert found.submit(HELD).code == 0
    (found.path / "sites.d").mkdir()
    (found.path / "sites.d" / "alpha.toml").write_text("")
    yield found
    found.end()


def bash(home: Home, words: str) -> list[str]:
    """Return what bash offers, by the function that the script defines."""
    last = " ''" if words.endswith(" ") else ""
    count = len(words.split()) + (1 if last else 0)
    ask = (
        "source <(nexapod-batch completion bash)\n"
        f"COMP_WORDS=(nexapod-batch {words}{last}); COMP_CWORD={count}\n"
        '_nexapod_batch_completion nexapod-batch 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", ask], env=home.env, cwd=home.folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def fish(home: Home, words: str) -> list[str]:
    """Return what fish offers."""
    ask = f"nexapod-batch completion fish | source; complete -C 'nexapod-batch {words}'"
    env = {**home.env, "HOME": str(home.folder)}
    done = subprocess.run(["fish", "-c", ask], env=env, cwd=home.folder, capture_output=True, text=True, check=True)
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("words", "offered"), PLACES)
def test_bash(home: Home, words: str, offered: list[str]) -> None:
    """A real bash offers commands, options, their values, jobs, tasks, sites and keys."""
    assert set(offered) <= set(bash(home, words))


@pytest.mark.slow
@pytest.mark.parametrize(("words", "offered"), PLACES)
def test_fish(home: Home, words: str, offered: list[str]) -> None:
    """A real fish offers the same."""
    assert set(offered) <= set(fish(home, words))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "seen"),
    [("su", "submit "), ("submit --dist", "--distinct "), ("show la", "last "), ("site show al", "alpha "), ("submit jo", "job.toml ")],
)
def test_zsh(home: Home, typed: str, seen: str) -> None:
    """In a real zsh on a terminal the Tab key completes the word."""
    master, slave = pty.openpty()
    env = {**home.env, "TERM": "dumb", "HOME": str(home.folder), "PS1": "> "}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], env=env, cwd=home.folder, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        os.write(master, b"autoload -U compinit; compinit -u -D; source <(nexapod-batch completion zsh); echo rea''dy\n")
        assert "ready" in until(master, "ready")
        os.write(master, b"nexapod-batch " + typed.encode() + b"\t")
        assert seen in until(master, seen)
    finally:
        shell.kill()
        shell.wait()
        os.close(master)


def until(terminal: int, text: str) -> str:
    """Return what a terminal got until a text came, or a long time passed."""
    end = time.monotonic() + 120
    seen = ""
    while text not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode("utf-8", "replace")
    return seen


@pytest.mark.parametrize("words", ["submit jo", "submit --wait jo", "submit --input jo", "submit -- cat jo", "attestations 1 --out "])
def test_files_where_files_belong(home: Home, words: str) -> None:
    """There the shell is told to complete files itself."""
    count = len(words.split()) - (not words.endswith(" "))
    asked = {"_NEXAPOD_BATCH_COMPLETE": "bash_complete", "COMP_WORDS": f"nexapod-batch {words}", "COMP_CWORD": str(count + 1)}
    kinds = {line.partition(",")[0] for line in home.call(env=asked).out.splitlines()}
    assert kinds <= {"file", "dir"}
    assert kinds


def test_nothing_to_offer_is_no_fault(home: Home, tmp_path: Path) -> None:
    """Without a database, or with a damaged one, only words that need none are offered, and nothing is said."""
    damaged = Home(tmp_path)
    damaged.path.mkdir()
    (damaged.path / "state.db").write_text("no database at all" * 100)
    for place in (damaged, Home(tmp_path, "none")):
        for words in ("show ", "node show ", "submit --site "):
            count = str(len(words.split()) + 1)
            asked = {"_NEXAPOD_BATCH_COMPLETE": "bash_complete", "COMP_WORDS": f"nexapod-batch {words}", "COMP_CWORD": count}
            done = place.call(env=asked)
            assert done.err == ""
            assert not (tmp_path / "none").exists()
