"""Attacks by a member of the owner's group, done as that account: on what is made, and on what an earlier version left open."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from apptainer.accounts import AccountHome, do_as, two_accounts
from homes import TRUE, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apptainer.accounts import Accounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts")

MINE = "# mine\n"


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Yield the owner and a member of the owner's group."""
    with two_accounts() as both:
        yield both


@contextmanager
def project_home(accounts: Accounts) -> Iterator[AccountHome]:
    """Yield a home of alice's below a sticky project folder of the group, in which a job ran with the umask of groups."""
    with open_folder() as folder:
        one = AccountHome(folder, accounts.alice)
        alice = pwd.getpwnam(accounts.alice)
        project = folder / "project"
        project.mkdir()
        for path, mode in ((folder, 0o755), (project, 0o3775)):
            os.chown(path, 0, alice.pw_gid)
            path.chmod(mode)
        one.path = project / "alice" / "home"
        one.env["NEXAPOD_HOME"] = str(one.path)
        (one.login / ".bashrc").write_text(MINE)
        (one.login / "bin").mkdir()
        for path in (one.login / ".bashrc", one.login / "bin"):
            os.chown(path, alice.pw_uid, alice.pw_gid)
        try:
            done = one.call("submit", one.descriptor(TRUE), "--wait=90s", before=("sh", "-c", 'umask 002; exec "$@"', "sh"))
            assert done.code == 0, done.err
            yield one
        finally:
            one.end()


@pytest.fixture(scope="module")
def used(accounts: Accounts) -> Iterator[AccountHome]:
    """Yield a home that all tries share: none of them changes it."""
    with project_home(accounts) as one:
        yield one


@pytest.fixture
def left_open(accounts: Accounts) -> Iterator[AccountHome]:
    """Yield a home as an earlier version left it: the group can write everywhere in the spool and in work."""
    with project_home(accounts) as one:
        one.end()
        group = str(pwd.getpwnam(accounts.alice).pw_gid)
        opened = [one.path / "spool", one.path / "work"]
        subprocess.run(["chmod", "g+rx", one.path, one.path.parent], check=True)
        subprocess.run(["chgrp", "-R", group, one.path.parent], check=True)
        subprocess.run(["find", *opened, "-type", "d", "-exec", "chmod", "g+rwx", "{}", "+"], check=True)
        yield one


def is_as_before(home: AccountHome) -> bool:
    """Say whether nothing was written to alice's own files."""
    return (home.login / ".bashrc").read_text() == MINE and list((home.login / "bin").iterdir()) == []


#: What mallory does with `$home`, `$spool` and `$bashrc`; none of it may succeed.
TRIES = {
    "the folder above renamed": 'mv "$home/.." "$home/../../gone"',
    "the folder above exchanged": 'mv "$home/.." "$home/../../gone" && mkdir "$home/.."',
    "the home renamed": 'mv "$home" "$home.gone"',
    "all spools renamed": 'mv "$home/spool" "$home/gone"',
    "the spool of the node renamed": 'mv "$spool" "$spool.gone"',
    "a folder in the spool renamed": 'mv "$spool/reports" "$spool/gone"',
    "a log linked": 'ln -sf "$bashrc" "$spool/worker.log"',
    "a segment linked": 'ln -sf "$bashrc" "$spool/reports/x.jsonl"',
    "a bundle linked": 'ln -s "$bashrc" "$spool/inbox/x.json"',
    "a claim made": 'touch "$spool/claims/x"',
    "a site file added": 'mkdir -p "$home/sites.d" && touch "$home/sites.d/x.toml"',
    "a site file beside it": 'touch "$home/../x.toml"',
    "the node's settings changed": 'echo >> "$spool/node.json"',
    "the database changed": 'echo >> "$home/state.db"',
    "the database read": 'cat "$home/state.db"',
    "keys listed": 'ls "$home/keys"',
    "the work folder entered": 'cd "$home/work"',
}


@pytest.mark.parametrize("tried", TRIES)
def test_a_member_of_the_group_changes_nothing(used: AccountHome, accounts: Accounts, tried: str) -> None:
    """In a project folder that gives its group to all below, with the umask of groups, every try is refused."""
    names = f'home="{used.path}" spool="{used.spool()}" bashrc="{used.login}/.bashrc"\n'
    before = sorted(used.folder.rglob("*"))
    done = do_as(accounts.mallory, names + TRIES[tried], used.folder)
    assert done.returncode != 0
    assert done.stdout == ""
    assert sorted(used.folder.rglob("*")) == before
    assert is_as_before(used)


#: What mallory did while it was open, and what is said of it then; "" where the job runs as ever.
DONE = {
    "another spool": (
        'mv "$spool" "$spool.gone" && mkdir "$spool" && cd "$spool.gone" && for one in */; do mkdir -m 777 "$spool/$one"; done', "belongs to somebody else",
    ),
    "a link to her folder as the spool": ('mv "$spool" "$spool.gone" && ln -s "$bin" "$spool"', "is a link that belongs to somebody else"),
    "another inbox": ('mv "$spool/inbox" "$spool/gone" && mkdir "$spool/inbox"', "belongs to somebody else"),
    "a link as the inbox": ('mv "$spool/inbox" "$spool/gone" && ln -s "$bin" "$spool/inbox"', "is a link"),
    "a link as the reports": ('mv "$spool/reports" "$spool/gone" && ln -s "$bin" "$spool/reports"', "is a link"),
    "a link as the work folder": ('cd "$home" && w=$(echo work/*) && mv "$w" "$w.gone" && ln -s "$bin" "$w"', "is a link"),
    "a linked log": ('ln -sf "$bashrc" "$spool/worker.log"', "worker.log is no plain file"),
    "a linked lock": ('ln -sf "$bashrc" "$spool/worker.lock"', "worker.lock is no plain file"),
    "a log of her own": ('rm "$spool/worker.log" && cd "$spool" && touch worker.log', ""),
    "linked settings": ('ln -sf "$bashrc" "$spool/node.json"', ""),
    "linked segments": ('cd "$spool/reports" && for one in *; do ln -sf "$bashrc" "$one"; done', ""),
    "a linked bundle": ('ln -s "$bashrc" "$spool/inbox/0000.json"', ""),
    "a linked note": ('ln -s "$bashrc" "$spool/cancel/x"', ""),
    "a linked claim": ('ln -s "$bashrc" "$spool/claims/x"', ""),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", DONE)
def test_what_a_member_left_behind_leads_nowhere(left_open: AccountHome, accounts: Accounts, kind: str) -> None:
    """Links and exchanged folders from before are refused, or read as nothing; no byte goes where they point."""
    script, said = DONE[kind]
    login, spool = left_open.login, left_open.spool()
    names = f'home="{left_open.path}" spool="{spool}" bashrc="{login}/.bashrc" bin="{login}/bin"\n'
    done = do_as(accounts.mallory, names + script, left_open.folder)
    assert done.returncode == 0, done.stderr
    submitted = left_open.submit(TRUE, *([] if said else ["--wait=90s"]))
    assert submitted.code == 0, submitted.err
    assert said in submitted.err or is_told(left_open, spool, said)
    assert is_as_before(left_open)


def is_told(home: AccountHome, spool: Path, words: str) -> bool:
    """Say whether a worker left these words before it ended; each pass starts one."""
    return any(home.call("reconcile").code == 0 and words in (spool / "worker.log").read_text() for _ in range(40))


def test_a_log_with_another_name_is_left_to_it(left_open: AccountHome) -> None:
    """Where a kernel lets anybody link another's file, the log may be one of alice's: it is made anew."""
    log = left_open.spool() / "worker.log"
    log.unlink()
    os.link(left_open.login / ".bashrc", log)
    assert left_open.submit(TRUE, "--wait=90s").code == 0
    assert is_as_before(left_open)
    assert not log.samefile(left_open.login / ".bashrc")


SITE = 'schema = 1\n[site]\nname = "evil"\n[scheduler]\ntype = "slurm"\nbin = "{bin}"\n[[partitions]]\nname = "a"\n'
#: Who owns the site file, its folder, the folder of programs and a program, and the modes of the folders; does it run?
PROGRAMS = {
    "all are hers": ("alice", "alice", "alice", "alice", 0o755, 0o755, True),
    "another's site file": ("mallory", "alice", "alice", "alice", 0o755, 0o755, False),
    "another's sites.d": ("alice", "mallory", "alice", "alice", 0o755, 0o755, False),
    "sites.d that the group can write to": ("alice", "alice", "alice", "alice", 0o775, 0o755, False),
    "another's folder of programs": ("alice", "alice", "mallory", "alice", 0o755, 0o755, False),
    "programs that the group can add": ("alice", "alice", "alice", "alice", 0o755, 0o775, False),
    "a program of another": ("alice", "alice", "alice", "mallory", 0o755, 0o755, False),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_that_others_can_change_never_run(used: AccountHome, accounts: Accounts, kind: str) -> None:
    """A site file names a folder of programs: only what alice or root alone can change is started, by any command."""
    file_of, folder_of, bin_of, program_of, folder_mode, bin_mode, runs = PROGRAMS[kind]
    ids = {name: pwd.getpwnam(getattr(accounts, name)) for name in ("alice", "mallory")}
    ran, folder, programs = used.login / "ran", used.path / "sites.d", used.login / "programs"
    folder.mkdir()
    programs.mkdir()
    try:
        (folder / "evil.toml").write_text(SITE.format(bin=programs))
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"):
            (programs / name).write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
            (programs / name).chmod(0o755)
            os.chown(programs / name, ids[program_of].pw_uid, ids[program_of].pw_gid)
        for path, owner, mode in ((folder / "evil.toml", file_of, 0o644), (folder, folder_of, folder_mode), (programs, bin_of, bin_mode)):
            os.chown(path, ids[owner].pw_uid, ids[owner].pw_gid)
            path.chmod(mode)
        for command in (("submit", used.descriptor(TRUE)), ("reconcile",), ("site", "check", "evil")):
            used.call(*command)
        assert ran.exists() == runs
    finally:
        ran.unlink(missing_ok=True)
        shutil.rmtree(folder)
        shutil.rmtree(programs)
