"""A backend from a package of its own, with a table of its own in site files: used as those that ship are."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from homes import Home
from plugin_packages import NULL, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITE = """schema = 1
[site]
name = "bench"
[scheduler]
type = "null"
{table}
[[partitions]]
name = "p"
max_cpus = 2
max_mem = "1G"
"""
JOB = '[job]\nname = "t"\ncommand = ["sh", "-c", "nice > level.txt"]\n[quorum]\nagree = 1\ndistinct = "run"\n[[outputs]]\npath = "level.txt"\n'
POINTS = {"backends": "null = null_backend:NullBackend", "site_tables": "null = null_backend:NullTable"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a site of the backend `null`."""
    made = Home(tmp_path)
    package = install(tmp_path / "package", "null-backend", NULL, POINTS)
    made.env["PYTHONPATH"] = f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (made.path / "sites.d").mkdir(mode=0o700, parents=True)
    write(made, "[null]\nnice = 7\n")
    yield made
    made.end()


def write(home: Home, table: str, site: str = SITE) -> None:
    """Write the site file."""
    (home.path / "sites.d" / "bench.toml").write_text(site.format(table=table))


def test_a_job_runs_there(home: Home) -> None:
    """What its own key says holds for the command, and the verdict is as of any other node."""
    done = home.call("submit", home.descriptor(JOB), "--wait", "--site", "bench")
    assert done.code == 0, done.err
    level = int((home.path / "results/1/0/level.txt").read_text())
    assert level >= min(19, 7 + os.nice(0))


def test_the_site_is_shown_and_checked(home: Home) -> None:
    """With its key, where it comes from, and every probe of a site."""
    shown = home.json("site", "show", "bench", "--origin")
    assert shown["site"]["null"] == {"nice": 7}
    assert {"key": "null.nice", "value": "7", "origin": str(home.path / "sites.d/bench.toml")} in shown["settings"]
    checked = home.call("site", "check", "bench")
    assert checked.code == 0, checked.out + checked.err
    assert "folders bench" in checked.out


def test_a_dry_run_has_its_word(home: Home) -> None:
    """`--dry-run=null` asks this backend; a word that is nobody's lists those that there are."""
    done = home.call("submit", home.descriptor(JOB), "--dry-run=null")
    assert (done.code, "each in its own folder under" in done.out) == (0, True), done.err
    other = home.call("submit", home.descriptor(JOB), "--dry-run=nobody")
    assert (other.code, "=null" in other.err, "=slurm" in other.err) == (2, True, True), other.err


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[null]\nnice = 20\n", "null.nice: out of range: got 20, wanted a whole number from 0 to 19"),
        ("[null]\nnicer = 2\n", "null.nicer: unknown key (did you mean 'nice'?)"),
        ("[nul]\n", "nul: unknown key (did you mean 'null'?)"),
        ("[dask]\n", "dask: means nothing here"),
    ],
)
def test_its_table_is_checked_as_all_are(home: Home, table: str, words: str) -> None:
    """Each fault with its line, and other sites are not concerned."""
    write(home, table)
    done = home.call("site", "check", "bench")
    assert (done.code, words in done.out) == (78, True), done.out + done.err


def test_it_means_nothing_to_another_backend(home: Home) -> None:
    """A table belongs to sites of its backend."""
    write(home, "[null]\nnice = 7\n", SITE.replace('"null"', '"local"'))
    done = home.call("site", "check", "bench")
    assert (done.code, 'type = "null", or no [null]' in done.out) == (78, True), done.out


def test_a_package_that_was_removed_is_missed_in_one_line(home: Home) -> None:
    """Its site waits, and jobs of this machine are accepted."""
    assert home.call("node", "init", "--name", "here").code == 0
    assert home.call("submit", home.descriptor(JOB), "--site", "bench").code == 0
    shutil.rmtree(home.folder / "package")
    done = home.call("submit", home.descriptor(JOB.replace('"t"', '"u"')), "--wait", "--site", "local")
    assert done.code == 0, done.err
    shown = home.call("site", "show", "bench")
    assert (shown.code, "null: unknown key" in shown.err) == (78, True), shown.err
