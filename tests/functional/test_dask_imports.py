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


def test_without_dask_installed_the_rest_goes_on(home: Home) -> None:
    """A job for the Dask site is kept and waits, in words with what to install; one for this machine is accepted."""
    missing = "import sys; sys.modules['distributed'] = None; from nexapod_batch.cli import main; sys.exit(main(sys.argv[2:]))"
    without = (sys.executable, "-c", missing)
    pool = home.descriptor(LOCAL.replace("local", "pool").replace("[quorum]", "[quorum]\nagree = 1"), "pool.toml")
    kept = home.call("submit", pool, "--parsable", before=without)
    assert kept.code == 0, kept.err
    job = kept.out.strip()
    done = home.call("submit", home.descriptor(LOCAL, "local.toml"), "--wait", before=without)
    assert done.code == 0, done.err
    said = home.call("explain", f"{job}_0", before=without).out
    assert "a Dask site needs dask and distributed" in said
    assert "pip install 'nexapod-batch[dask]'" in said
    assert home.call("cancel", job, before=without).code == 0


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
