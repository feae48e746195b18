"""Folders of a site that an account took before us, on a real Slurm, also over a real sshd: refused with what helps."""

from __future__ import annotations

import os
import pwd
import sys
from typing import TYPE_CHECKING

import pytest
from apptainer.accounts import do_as, two_accounts
from homes import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apptainer.accounts import Accounts
    from clusters.slurm import Cluster
    from clusters.sshd import Sshd
    from real.slurm_homes import SlurmHome

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts")]

ONE = '[job]\nname = "t"\ncommand = ["echo", "1"]\n[resources]\ntime = "60s"\n[quorum]\nagree = 1\n'


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Yield two accounts; mallory takes what is ours."""
    with two_accounts() as both:
        yield both


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Yield a folder in which everybody makes a folder of their own, as on many clusters."""
    with open_folder() as folder:
        folder.chmod(0o1777)
        yield folder


#: What mallory did in the sticky folder before we came, and what is said of it.
TAKEN = {
    "a folder": ("mkdir me", "/me belongs to somebody else", "chown 0 "),
    "a sticky folder": ("mkdir me && chmod 1777 me", "/me belongs to somebody else", "chown 0 "),
    "a folder one level below": ("mkdir -p me/jobs && chmod 1777 me me/jobs", "/me belongs to somebody else", "chown 0 "),
    "a link": ("mkdir hers && chmod 777 hers && ln -s hers me", "/me is a link that belongs to somebody else", "remove it"),
}


@pytest.mark.parametrize("transport", ["local", "ssh"])
@pytest.mark.parametrize(("key", "taken"), [*(("work_dir", one) for one in TAKEN), ("scratch", "a sticky folder")])
def test_a_folder_that_somebody_took_before_us(
    home: SlurmHome, alpha: Cluster, sshd: Sshd, accounts: Accounts, scratch: Path, transport: str, key: str, taken: str
) -> None:
    """Nothing is put there, the job waits, and the step that helps is said; once it is ours the job runs."""
    script, said, step = TAKEN[taken]
    assert do_as(accounts.mallory, script, scratch).returncode == 0
    before = sorted(scratch.rglob("*"))
    more = {}
    if transport == "ssh":
        more["ssh"] = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
        more["runner"] = {"python": sys.executable}
    folders = {"work_dir": str(home.folder / "work"), key: str(scratch / "me" / "jobs")}
    home.site(alpha, scheduler={"transport": transport}, filesystem=folders, **more)
    done = home.submit(ONE)
    assert done.code == 0, done.err
    assert f"{scratch}{said}" in done.err
    assert f"uid {pwd.getpwnam(accounts.mallory).pw_uid}" in done.err
    assert step in done.err
    assert sorted(scratch.rglob("*")) == before
    assert home.executed() == {}
    assert do_as(accounts.mallory, "rm -r me", scratch).returncode == 0
    home.ended(1)
    assert (scratch / "me" / "jobs").stat().st_uid == 0
