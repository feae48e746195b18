"""Commands that do not touch a Dask cluster import nothing of Dask, also where a site file names one."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from homes import Home
from nexapod_backends.dask.site_table import Dask

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITE = """schema = 1
[site]
name = "pool"
[scheduler]
type = "dask"
[dask]
address = "tcp://127.0.0.1:9"
[[partitions]]
name = "all"
tier = "cpu"
hosts = 2
"""
LOCAL = '[job]\ncommand = ["true"]\n[schedule]\nsites = ["local"]\n[quorum]\ndistinct = "run"\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a local node, a Dask site, and a job that ran here."""
    made = Home(tmp_path_factory.mktemp("imports"))
    assert made.call("node", "init", "--name", "here").code == 0
    (made.path / "sites.d").mkdir(exist_ok=True)
    (made.path / "sites.d" / "pool.toml").write_text(SITE)
    done = made.submit(LOCAL, "--wait")
    assert done.code == 0, done.err
    yield made
    made.end()


def imported(home: Home, *argv: object) -> set[str]:
    """Run a command; return the top-level modules that it and its children imported."""
    done = home.call(*argv, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.code == 0, done.err
    found = set(re.findall(r"^import time:.*\|\s+(\w+)", done.err, flags=re.MULTILINE))
    assert "click" in found
    return found


@pytest.mark.parametrize(
    "argv",
    ["--help", "ls", "show last", "explain 1_0", "logs 1_0", "site ls", "site show pool", "node ls", "reconcile", "verify last", "submit job.toml", "submit job.toml --dry-run", "cancel all", "gc", "doctor"],
)  # fmt: skip
def test_nothing_of_dask_is_imported(home: Home, argv: str) -> None:
    """Neither Dask itself nor what it brings along."""
    words = [home.folder / word if word == "job.toml" else word for word in argv.split()]
    assert imported(home, *words) & {"dask", "distributed", "tornado", "msgpack", "cloudpickle", "dask_jobqueue"} == set()


def without(module: str) -> tuple[str, ...]:
    """Return the words before the program by which it does not find a module."""
    lines = f"import sys; sys.modules[{module!r}] = None; from nexapod_batch.cli import main; sys.exit(main(sys.argv[2:]))"
    return (sys.executable, "-c", lines)


@pytest.mark.parametrize(
    ("argv", "code"),
    [("submit pool.toml", 78), ("submit pool.toml --dry-run", 78), ("site check pool", 78), ("site ls", 78), ("doctor", 1)],
)
def test_a_missing_package_is_told_with_the_line_that_installs_it(home: Home, argv: str, code: int) -> None:
    """Before there is a job, and wherever somebody asks whether the site can be used."""
    home.descriptor(LOCAL.replace("local", "pool"), "pool.toml")
    before = len(home.jobs())
    said = home.call(*argv.split(), before=without("distributed"), env={"COLUMNS": "400"})
    assert said.code == code
    text = said.out + said.err
    assert "site pool needs Python packages that are not installed: got no distributed" in text
    assert f"{sys.executable} -m pip install 'distributed>=" in text
    assert len(home.jobs()) == before


def test_without_dask_installed_the_rest_goes_on(home: Home) -> None:
    """A job for this machine is accepted; one that may run anywhere is told what it does without, and how to mend it."""
    done = home.call("submit", home.descriptor(LOCAL, "local.toml"), "--wait", before=without("dask"))
    assert done.code == 0, done.err
    anywhere = home.descriptor(LOCAL.replace('[schedule]\nsites = ["local"]\n', ""), "anywhere.toml")
    done = home.call("submit", anywhere, "--wait", before=without("dask"))
    assert done.code == 0, done.err
    assert "site pool is left out: " in done.err
    assert f"{sys.executable} -m pip install 'dask>=" in done.err


@pytest.mark.parametrize(("module", "package"), [("msgspec", "msgspec>=0.20"), ("nacl", "pynacl>=1.6.2")])
def test_a_package_that_every_installation_has_may_be_missing_too(home: Home, module: str, package: str) -> None:
    """The cause and the line that mends it, and no fault of the program."""
    done = home.call("submit", home.descriptor(LOCAL, "local.toml"), before=without(module))
    assert done.code == 78
    wanted = f"nexapod-batch: a Python package that it needs is not installed: got no {module}"
    assert done.err.splitlines() == [wanted, f"  -> {sys.executable} -m pip install '{package}'"]


def test_a_running_wait_reads_new_site_files(tmp_path: Path) -> None:
    """Each pass of one process sees a site file that was changed, came or went since the last one."""
    made = Home(tmp_path)
    assert made.call("node", "init", "--name", "here").code == 0
    file = made.path / "sites.d" / "pool.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(SITE)
    with open_coordinator(Paths.of(made.path)) as c:
        before = c.site("pool").backend_settings
        file.write_text(SITE.replace("127.0.0.1:9", "127.0.0.1:10"))
        reconcile(c)
        after = c.site("pool").backend_settings
        assert isinstance(before, Dask)
        assert isinstance(after, Dask)
        assert (before.address, after.address) == ("tcp://127.0.0.1:9", "tcp://127.0.0.1:10")
        file.unlink()
        reconcile(c)
        assert "pool" not in c.sites()
    made.end()
