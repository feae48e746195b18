"""Attacks by other accounts of the machine: what they can change is never trusted, and what we make they cannot change."""

from __future__ import annotations

import os
import pwd
import secrets
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from apptainer.accounts import AccountHome, two_accounts
from homes import TRUE, open_folder
from living_folders import below, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apptainer.accounts import Accounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts")

FILES = (
    '[job]\nname = "files"\ncommand = ["sh", "-c", "mkdir -p d; head -c 9000 /dev/zero > d/a; echo 1 > b"]\n'
    '[[outputs]]\npath = "**"\n[[inputs]]\nsource = "in.txt"\n[quorum]\ndistinct = "run"\n'
)


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Yield two accounts."""
    with two_accounts() as both:
        yield both


@pytest.fixture
def home(accounts: Accounts) -> Iterator[AccountHome]:
    """Yield a home of alice's in a folder of hers."""
    with open_folder() as folder:
        one = AccountHome(folder, accounts.alice)
        os.chown(folder, -1, pwd.getpwnam(accounts.alice).pw_gid)
        (folder / "in.txt").write_text("in\n")
        yield one
        one.end()


def give(path: Path, name: str, mode: int) -> None:
    """Let something belong to an account."""
    who = pwd.getpwnam(name)
    os.chown(path, who.pw_uid, who.pw_gid, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)


def all_paths(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield every path below a folder, and its mode; links left out."""
    for path, found in states(below(folder)).items():
        if not stat.S_ISLNK(found.st_mode):
            yield str(path.relative_to(folder)), stat.S_IMODE(found.st_mode)


@pytest.mark.slow
@pytest.mark.parametrize("umask", ["000", "002", "077"])
@pytest.mark.parametrize("parent", ["plain", "setgid", "default ACL"])
def test_nothing_that_is_made_can_be_changed_by_others(
    home: AccountHome, accounts: Accounts, umask: str, parent: str
) -> None:
    """Every path of a home is for its owner alone, but results, which others may read if the umask says so."""
    if parent == "setgid":
        home.folder.chmod(0o2755)
    if parent == "default ACL":
        rule = f"u:{accounts.mallory}:rwx,g::rwx,o::rwx"
        if subprocess.run(["setfacl", "-d", "-m", rule, home.folder], capture_output=True, check=False).returncode:
            pytest.skip("no ACLs here")
    job = home.descriptor(FILES)
    done = home.call("submit", job, "--wait=90s", before=("sh", "-c", f'umask {umask}; exec "$@"', "sh"))
    assert done.code == 0, done.err
    assert home.call("attestations", "1", "--out", home.path / "out").code == 0
    me = pwd.getpwnam(accounts.alice).pw_uid
    assert {one.st_uid for one in states([home.path, *below(home.path)]).values()} == {me}
    found = dict(all_paths(home.path))
    open_to_others = {name: oct(mode) for name, mode in found.items() if mode & 0o022}
    assert open_to_others == {}
    private = {name: oct(mode) for name, mode in found.items() if mode & 0o077 and name.split("/")[0] not in {"results", "out"}}
    assert private == {}
    assert found["results/1/0/b"] == (0o600 if umask == "077" else 0o644)


def refused(home: AccountHome, *words: str) -> None:
    """Check that a submission is refused as bad configuration, with these words, and that nothing ran."""
    done = home.submit(TRUE, "--wait=90s")
    assert done.code == 78, done.out + done.err
    for word in words:
        assert word in done.err


def test_a_home_that_a_group_can_write_to_is_not_used(home: AccountHome, accounts: Accounts) -> None:
    """A member of the group could put a site file, and a program for it, there: refused with the chmod that helps."""
    home.path.mkdir()
    give(home.path, accounts.alice, 0o775)
    (home.path / "sites.d").mkdir()
    give(home.path / "sites.d", accounts.mallory, 0o755)
    refused(home, f"chmod go-w {home.path}")
    home.path.chmod(0o700)
    site = home.path / "sites.d" / "evil.toml"
    site.write_text('schema = 1\n[site]\nname = "evil"\n[scheduler]\ntype = "slurm"\nbin = "/tmp/evil"\n[[partitions]]\nname = "a"\n')
    for file_of, folder_of in ((accounts.mallory, accounts.alice), (accounts.alice, accounts.mallory)):
        give(site.parent, folder_of, 0o755)
        give(site, file_of, 0o644)
        done = home.call("site", "check", "evil")
        assert done.code == 78, done.out + done.err
        assert "belongs to somebody else" in done.err + done.out


def test_a_home_below_a_folder_of_somebody_else_is_not_used(home: AccountHome, accounts: Accounts) -> None:
    """Sticky or not: its owner could put another one in its place."""
    above = home.folder / "scratch"
    above.mkdir()
    home.env["NEXAPOD_HOME"] = str(above / "home")
    for mode in (0o777, 0o1777):
        give(above, accounts.mallory, mode)
        refused(home, f"{above} belongs to somebody else", accounts.mallory)


def test_an_owner_with_a_group_of_her_own_needs_no_chmod(home: AccountHome, accounts: Accounts) -> None:
    """Where the group of an account has nobody else in it, its write permission lets nobody in; with mallory it does."""
    home.folder.chmod(0o775)
    refused(home, f"chmod go-w {home.folder}")
    group = f"nxg{secrets.token_hex(3)}"
    subprocess.run(["groupadd", group], check=True)
    subprocess.run(["usermod", "--gid", group, accounts.mallory], check=True)
    try:
        assert home.submit(TRUE, "--wait=90s").code == 0
    finally:
        subprocess.run(["usermod", "--gid", accounts.alice, accounts.mallory], check=True)
        subprocess.run(["groupdel", group], check=True)


def test_a_spool_that_was_exchanged_is_not_used(home: AccountHome, accounts: Accounts) -> None:
    """What an earlier version left open is closed; what somebody put in its place, links above all, is refused."""
    assert home.submit(TRUE, "--wait=90s").code == 0
    home.end()
    spool = home.spool()
    spool.chmod(0o2775)
    assert home.submit(TRUE, "--wait=90s").code == 0
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    home.end()
    bashrc = home.login / ".bashrc"
    bashrc.write_text("# mine\n")
    give(bashrc, accounts.alice, 0o644)
    (spool / "worker.log").unlink()
    (spool / "worker.log").symlink_to(bashrc)
    home.submit(TRUE)
    assert bashrc.read_text() == "# mine\n"


def test_settings_of_somebody_else_beside_a_descriptor_are_not_obeyed(home: AccountHome, accounts: Accounts) -> None:
    """A foreign nexapod.toml is named in a warning; one's own is obeyed."""
    project = home.folder / "nexapod.toml"
    project.write_text("[quorum]\nagree = 1\nreplicas = 1\n")
    for owner, obeyed in ((accounts.mallory, False), (accounts.alice, True)):
        give(project, owner, 0o644)
        done = home.submit(TRUE, "--dry-run")
        assert done.code == 0, done.err
        assert ("1 replica each" in done.out) == obeyed, done.out
        assert (f"warning: {project} is not obeyed" in done.err) != obeyed
