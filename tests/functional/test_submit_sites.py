"""Which sites take a job, decided at submit and kept by it. The clusters of these files are not there: nothing is asked."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home

if TYPE_CHECKING:
    from pathlib import Path

JOB = '[job]\nname = "t"\ncommand = ["true"]\n[quorum]\nagree = 1\n'
#: Two partitions of one group of hosts, and one of another.
PARTITIONS = """
[[partitions]]
name = "short"
max_time = "1h"
max_cpus = 8
max_mem = "16GiB"
[[partitions]]
name = "long"
max_time = "2-00:00:00"
max_cpus = 8
max_mem = "16GiB"
[[partitions]]
name = "gpu"
node = "gpu"
max_time = "1h"
max_cpus = 8
max_mem = "16GiB"
gpus = 4
gpu_types = ["a100"]
gpu_mem = "40GiB"
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with the sites `big` and `small`; `small` has no more than two CPUs."""
    made = Home(tmp_path)
    write(made, "big", PARTITIONS)
    write(made, "small", '[[partitions]]\nname = "all"\nmax_cpus = 2\nmax_time = "10h"\n')
    return made


def write(home: Home, name: str, partitions: str, scheduler: str = "", more: str = "") -> None:
    """Write a site file."""
    folder = home.path / "sites.d"
    folder.mkdir(parents=True, exist_ok=True)
    head = f'schema = 1\n[site]\nname = "{name}"\n[scheduler]\ntype = "slurm"\nbin = "/nowhere"\n{scheduler}\n{more}\n'
    (folder / f"{name}.toml").write_text(head + partitions)


def rows(home: Home, sql: str) -> list[Any]:
    """Look into the database."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        return connection.execute(sql).fetchall()


def placed(home: Home) -> list[str]:
    """Return the nodes of all replicas."""
    return [name for (name,) in rows(home, "SELECT n.name FROM replica r JOIN node n ON n.id = r.node_id ORDER BY r.id")]


def pinned(home: Home) -> Any:
    """Return the document of the last job."""
    return json.loads(rows(home, "SELECT body FROM document ORDER BY job_id DESC LIMIT 1")[0][0])


def refused(home: Home, text: str, *options: str, code: int = 65) -> str:
    """Submit what is refused; return what was said."""
    done = home.submit(text, *options)
    assert (done.code, done.out) == (code, ""), done.err
    assert home.jobs() == []
    return done.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[site.big.resources]\npartition = "shrot"\n', ["site.big.resources.partition: site big has no such partition", "'short'", "these would do: short, long, gpu"]),
        ('[resources]\ntime = "3h"\n[site.big.resources]\npartition = "short"\n', ["resources.time: site big: got 03:00:00, wanted at most 01:00:00 (partition short)", "these would do: long"]),
        ("[resources]\ncpus_per_task = 9\n", ["resources.cpus_per_task: site big: got 9 CPUs on one host, wanted at most 8"]),
        ('[resources]\nmem = "64GiB"\n', ["resources.mem: site big: got 64GiB on one host, wanted at most 16GiB"]),
        ('[resources]\ngpus = 1\ngpu_type = "h100"\n', ["resources.gpu_type: site big: got h100, wanted one of: a100 (partition gpu)"]),
        ('[resources]\ngpus = 1\ngpu_mem = "80GiB"\n', ["short: gpus 1 instead of 0", "gpu: gpu_mem 80GiB instead of 40GiB"]),
        ('[resources]\ngpus = 1\ntime = "3h"\n', ["site big: no single partition has all that a replica wants"]),
    ],
)  # fmt: skip
def test_what_the_only_site_never_runs(home: Home, more: str, words: list[str]) -> None:
    """The key that must change, what was got and wanted, and the partitions that would do."""
    said = refused(home, JOB + more, "--site", "big")
    assert "site big cannot run the job" in said
    assert [word for word in words if word not in said] == []


def test_a_site_that_refuses_is_left_out_with_its_reason(home: Home) -> None:
    """The others run the job; the planner never places a replica there, and explain says why."""
    done = home.submit(JOB + "[resources]\ncpus_per_task = 4\n")
    assert done.code == 0
    assert "warning: site small is left out: resources.cpus_per_task: site small: got 4 CPUs" in done.err
    assert placed(home) in (["big"], ["big-gpu"])
    said = home.submit(JOB.replace("agree = 1", "agree = 3") + "[resources]\ncpus_per_task = 4\n")
    assert said.code == 65
    assert "got 2 in reach (big, big-gpu), 1 missing" in said.err
    assert "site small is left out" in said.err


def test_no_site_is_left(home: Home) -> None:
    """All problems of all sites, at once."""
    said = refused(home, JOB + "[resources]\ncpus_per_task = 64\n")
    assert "no site in reach can run the job: 2 problems" in said
    assert "site big: got 64 CPUs" in said
    assert "site small: got 64 CPUs" in said


def test_a_node_of_other_partitions_is_left_out(home: Home) -> None:
    """A job for gpus goes to the group that has them; a partition named means its group."""
    assert home.submit(JOB + "[resources]\ngpus = 1\n", "--site", "big").code == 0
    assert home.submit(JOB, "--site", "big", "--partition", "long").code == 0
    assert placed(home) == ["big-gpu", "big"]


def test_several_hosts_may_have_what_one_has_not(home: Home) -> None:
    """Sixteen tasks fit two hosts of eight CPUs: the size of one host does not bound a cluster."""
    write(home, "wide", '[[partitions]]\nname = "all"\nhosts = 2\nmax_cpus = 8\n')
    assert home.submit(JOB + "[resources]\nntasks = 16\n", "--site", "wide").code == 0
    assert placed(home) == ["wide"]


def test_resources_of_a_site_count_there(home: Home) -> None:
    """What a job asks for on one site decides there, not what it asks for elsewhere."""
    text = JOB + "[resources]\ncpus_per_task = 4\n[site.small.resources]\ncpus_per_task = 2\n"
    assert home.submit(text, "--site", "small").code == 0
    assert placed(home) == ["small"]


def test_account_required_and_missing(home: Home) -> None:
    """Named with its key; --account is enough, in the pinned job."""
    write(home, "paid", '[[partitions]]\nname = "all"\n', "account_required = true")
    said = refused(home, JOB, "--site", "paid")
    assert "site.paid.resources.account: missing: site paid runs nothing without an account" in said
    assert home.submit(JOB, "--site", "paid", "--account", "bio").code == 0
    assert pinned(home)["sites"] == [["paid", [["account", "bio"]]]]


def test_policy_is_not_escaped(home: Home) -> None:
    """Neither by the job nor by its words for the site."""
    policy = '[policy]\nmax_time = "30m"\nmin_agree = 2\n'
    write(home, "strict", '[[partitions]]\nname = "all"\nmax_time = "10h"\n', more=policy)
    said = refused(home, JOB + '[resources]\ntime = "20m"\n[site.strict.resources]\ntime = "1h"\n', "--site", "strict")
    assert "site.strict.resources.time: site strict: got 01:00:00, wanted at most 00:30:00 (policy of the site)" in said
    assert "quorum.agree: site strict: got 1, wanted at least 2" in said


def test_a_job_stays_at_its_sites(home: Home) -> None:
    """The pinned job says so: later passes place nothing elsewhere, however free it is there."""
    text = JOB.replace("agree = 1", 'agree = 1\nreplicas = 2\ndistinct = "run"')
    assert home.submit(text + '[array]\nids = "1-5"\n', "--site", "small").code == 0
    assert pinned(home)["schedule"]["sites"] == ["small"]
    home.call("reconcile")
    assert placed(home) == ["small"] * 10


def test_a_job_for_anywhere_keeps_its_digest(home: Home) -> None:
    """The key is in the document only where it is said."""
    assert home.submit(JOB).code == 0
    assert "sites" not in pinned(home)["schedule"]


def test_who_says_the_site(home: Home) -> None:
    """The option, the variable, the job, then the settings."""
    (home.path / "config.toml").write_text('site = "small"\n')
    at_big = JOB + '[schedule]\nsites = "big"\n'
    home.submit(JOB)
    assert pinned(home)["schedule"]["sites"] == ["small"]
    home.submit(at_big)
    assert pinned(home)["schedule"]["sites"] == ["big"]
    home.env["NEXAPOD_SITE"] = "small"
    home.submit(at_big)
    assert pinned(home)["schedule"]["sites"] == ["small"]
    home.submit(at_big, "--site", "big")
    assert pinned(home)["schedule"]["sites"] == ["big"]
    home.submit(JOB, "--set", 'schedule.sites=["big", "small"]')
    assert pinned(home)["schedule"]["sites"] == ["big", "small"]


def test_words_for_one_of_several_sites(home: Home) -> None:
    """It must be said for which."""
    said = refused(home, JOB, "--partition", "short", code=2)
    assert "which site is --partition for?: got big, small" in said
    assert "--site big" in said


def test_words_mean_nothing_to_local_nodes(tmp_path: Path) -> None:
    """A home without sites."""
    said = refused(Home(tmp_path), JOB, "--partition", "short", "--account", "x")
    assert "--partition, --account means nothing to local nodes" in said


@pytest.mark.parametrize("value", ["a b", "$(id)", "a;b", "a\nb", "", "-", "x" * 300, "a#b", "ü", "hetjob\\"])
def test_hostile_words(home: Home, value: str) -> None:
    """None reaches a script."""
    for option in ("--partition", "--account"):
        done = home.submit(JOB, "--site", "big", option, value)
        if done.code == 0:
            assert value in pinned(home)["sites"][0][1][0]
            assert set(value) <= set("-")
        else:
            assert done.code == 65
            assert f"site.big.resources.{option[2:]}" in done.err


def test_sites_that_are_not_there(home: Home) -> None:
    """An unknown one lists the known; a faulty file is told as it is."""
    for more in ([], ["--partition", "short"]):
        said = refused(home, JOB, "--site", "bgi", *more)
        assert "schedule.sites: there is no such site: got 'bgi', wanted one of: big, small" in said
    write(home, "bad", PARTITIONS, "typ = 1")
    said = refused(home, JOB, "--site", "bad", code=78)
    assert "scheduler.typ: unknown key" in said
    write(home, "odd", PARTITIONS)
    file = home.path / "sites.d/odd.toml"
    file.write_text(file.read_text().replace('"slurm"', '"slrum"'))
    said = refused(home, JOB, "--site", "odd", code=78)
    assert "unknown backend" in said
    file.write_text("x = = 1\n")
    said = refused(home, JOB, "--site", "odd", "--partition", "short", code=78)
    assert "odd.toml" in said
    (home.path / "sites.d/small.toml").write_text("x = = 1\n")
    home.submit(JOB, "--partition", "short")
    assert pinned(home)["sites"] == [["big", [["partition", "short"]]]]


def test_a_bad_site_does_not_stop_the_others(home: Home) -> None:
    """One with an unknown backend is left out with a warning."""
    file = home.path / "sites.d/small.toml"
    file.write_text(file.read_text().replace('"slurm"', '"slrum"'))
    done = home.submit(JOB)
    assert done.code == 0
    assert "warning: site small is left out: unknown backend: got 'slrum'" in done.err
    assert placed(home) in (["big"], ["big-gpu"])


def test_a_site_that_is_gone_for_good(home: Home) -> None:
    """Without its file its node is a fault until it is drained; `doctor` says so and checks the rest."""
    home.submit(JOB + "[schedule]\nhold = true\n")
    (home.path / "sites.d/small.toml").unlink()
    assert "site small has no file any more" in home.call("reconcile").err
    assert home.call("reconcile", "--dry-run").code == 0
    assert verdict(home, "node small", code=1) == ("fail", "site small has no file any more")
    home.call("node", "drain", "small")
    done = home.call("reconcile")
    assert (done.code, "small" in done.out + done.err) == (0, False)
    assert verdict(home, "node small") == ("ok", "drained, and site small is gone")


def verdict(home: Home, check: str, code: int = 0) -> tuple[str, str]:
    """Return what `doctor` thinks of something last, having looked at everything, and the beginning of why."""
    found = {one["check"]: one for one in home.json("doctor", code=code)["checks"]}
    assert "quarantine" in found
    return str(found[check]["verdict"]), str(found[check]["text"]).partition(":")[0]


def test_a_site_that_changed_its_mind(home: Home) -> None:
    """What its file says now counts at every pass: nothing more is placed there, and explain says why."""
    home.submit(JOB + "[resources]\ncpus_per_task = 2\n[schedule]\nhold = true\n", "--site", "small")
    write(home, "small", '[[partitions]]\nname = "all"\nmax_cpus = 1\n')
    home.call("release", "1")
    home.call("reconcile")
    assert placed(home) == []
    said = home.call("explain", "1").out
    assert "resources.cpus_per_task: site small: got 2 CPUs on one host, wanted at most 1" in said


def test_the_script_of_each_site(home: Home) -> None:
    """A dry run prints the scripts of the sites that take the job, with its words, and makes no job."""
    home.submit(JOB)
    done = home.submit(JOB, "--dry-run", "--site", "big", "--partition", "long", "--account", "bio")
    assert done.code == 0
    assert "#SBATCH --partition=long\n" in done.out
    assert "#SBATCH --account=bio\n" in done.out
    assert "small" not in done.out
    assert len(home.jobs()) == 1


def test_asking_a_scheduler_that_is_not_there(home: Home) -> None:
    """The script is printed, and why nobody could be asked; a kind of scheduler that nobody has is a usage error."""
    home.submit(JOB)
    done = home.submit(JOB, "--dry-run=slurm", "--site", "big")
    assert done.code == 0
    assert "# site big: there is no sbatch: nothing in /nowhere" in done.out
    local = Home(home.folder, "local")
    local.submit(JOB)
    assert local.submit(JOB, "--dry-run=slurm").code == 2
    local.end()


def test_a_drained_site(home: Home) -> None:
    """Named alone it is an error that says how to go on; among others it is just not used."""
    home.submit(JOB)
    home.call("node", "drain", "small")
    done = home.submit(JOB, "--site", "small")
    assert done.code == 65
    assert "no node of small is active: got small, drained" in done.err
    assert "nexapod-batch node resume small" in done.err
    assert home.submit(JOB).code == 0
    assert "small" not in placed(home)[1:]
