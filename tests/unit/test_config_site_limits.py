"""A job beside a site: its policy, its partitions, their limits."""

from __future__ import annotations

import pytest
from site_texts import PARTITIONS, SITE, head, job, read, texts

from nexapod_batch.config.site.sites import (
    job_at,
    limit_problems,
    partition_for,
    policy_problems,
)


def test_a_policy_is_checked_against_a_job() -> None:
    """Both rules, with the key that must change."""
    site = read(SITE.replace("jusuf", "x", 1))
    found = policy_problems(site, job('time = "2d"', quorum="agree = 1"))
    assert [problem.path for problem in found] == ["resources.time", "quorum.agree"]
    assert policy_problems(site, job('time = "1d"', quorum="agree = 2")) == ()


def test_a_policy_also_binds_what_is_asked_for_on_the_site_alone() -> None:
    """The key is that of the site."""
    site = read(SITE.replace("jusuf", "x", 1))
    assert [one.path for one in policy_problems(site, job("time = 5", 'time = "2d"'))] == ["site.x.resources.time"]
    assert policy_problems(site, job('time = "2d"', "time = 5")) == ()


X = read(head() + PARTITIONS)


@pytest.mark.parametrize(
    ("resources", "on_site", "wanted"),
    [
        ("", "", "short"),
        ('time = "4h"', "", "short"),
        ('time = "5h"', "", "long"),
        ('time = "8d"', "", None),
        ("nodes = 4", "", "short"),
        ("nodes = 5", "", None),
        ('nodes = 3\ntime = "5h"', "", None),
        ("cpus_per_task = 32", "", "short"),
        ("cpus_per_task = 33", "", "gpu"),
        ("cpus_per_task = 65", "", None),
        ("nodes = 2\nntasks = 64", "", "short"),
        ("nodes = 2\nntasks = 65", "", "gpu"),
        ("ntasks = 128", "", "short"),
        ("ntasks = 129", "", None),
        ("ntasks = 4\ncpus_per_task = 17", "", "short"),
        ('mem = "120G"', "", "short"),
        ('mem = "121G"', "", "gpu"),
        ('mem = "240G"\nnodes = 2', "", "short"),
        ('mem = "240G"\nntasks = 2', "", "short"),
        ("gpus = 1", "", "gpu"),
        ("gpus = 5", "", None),
        ("gpus = 8\nnodes = 2", "", "gpu"),
        ('gpus = 1\ngpu_type = "a100"', "", "gpu"),
        ('gpus = 1\ngpu_type = "h100"', "", None),
        ('tier = "cpu"', "", None),
        ("gpus = 5", "gpus = 1", "gpu"),
        ("", 'gpu_type = "a100"', "gpu"),
        ("", 'partition = "long"', "long"),
        ("", 'partition = "gpu,long"', "long"),
        ("gpus = 1", 'partition = "long"', None),
    ],
)
def test_the_first_partition_that_fits(resources: str, on_site: str, wanted: str | None) -> None:
    """At each limit and just beyond; what cannot run has a problem, what can has none."""
    asked = job(resources, on_site)
    named = dict(dict(asked.sites).get("x", ())).get("partition")
    found = partition_for(X.partitions, job_at(asked, "x"), named)
    assert (found.name if found else None) == wanted
    assert bool(limit_problems(X, asked)) == (wanted is None)


def test_a_partition_that_is_not_there() -> None:
    """The nearest one, all of them, and those that would do."""
    (found,) = texts(limit_problems(X, job('time = "5h"', 'partition = "logn"')))
    assert found == (
        "site.x.resources.partition: site x has no such partition: got 'logn', wanted one of short, long, gpu "
        "(these would do: long, gpu) (did you mean 'long'?)"
    )


@pytest.mark.parametrize(
    ("resources", "on_site", "wanted"),
    [
        (
            'time = "5h"',
            'partition = "short"',
            ["resources.time: site x: got 05:00:00, wanted at most 04:00:00 (partition short); these would do: long, gpu"],
        ),
        (
            "",
            'time = "8d"',
            ["site.x.resources.time: site x: got 8-00:00:00, wanted at most 7-00:00:00 (partition long); NONE"],
        ),
        (
            'mem = "1T"\ncpus_per_task = 100',
            "",
            [
                "resources.cpus_per_task: site x: got 100 CPUs on one host, wanted at most 64 (partition gpu); NONE",
                "resources.mem: site x: got 1TiB on one host, wanted at most 480GiB (partition gpu); NONE",
            ],
        ),
        ("nodes = 11", "", ["resources.nodes: site x: got 11 hosts, wanted at most 4 (partition short); NONE"]),
        ("ntasks = 300", "", ["resources.ntasks: site x: got 10 hosts for its tasks, wanted at most 4 (partition short); NONE"]),
        (
            'gpus = 1\ntime = "2d"',
            "",
            [
                "resources: site x: no single partition has all that a replica wants (short: time 2-00:00:00 instead of 04:00:00, gpus 1 instead of 0; long: gpus 1 instead of 0; gpu: time 2-00:00:00 instead of 1-00:00:00); NONE"
            ],
        ),
        (
            'gpus = 1\ngpu_type = "h100"',
            'partition = "gpu"',
            ["resources.gpu_type: site x: got h100, wanted one of: a100 (partition gpu); NONE"],
        ),
        ('tier = "cpu"', "", ["resources.tier: site x: got cpu, wanted hpc (partition short); NONE"]),
    ],
)  # fmt: skip
def test_a_limit_exceeded_is_named(resources: str, on_site: str, wanted: list[str]) -> None:
    """With the largest partition, and those that would do."""
    found = texts(limit_problems(X, job(resources, on_site)))
    assert found == [one.replace("NONE", "no partition of site x would do") for one in wanted]


def test_an_account_required_and_missing() -> None:
    """The job's or the site's own will do."""
    site = read(head("account_required = true\n") + PARTITIONS)
    (found,) = limit_problems(site, job())
    assert found.path == "site.x.resources.account"
    assert limit_problems(site, job(site='account = "a"')) == ()
    assert limit_problems(read(head('account_required = true\naccount = "a"\n') + PARTITIONS), job()) == ()


def test_a_site_without_partitions_has_no_limits() -> None:
    """The local backend knows its machine by itself."""
    assert limit_problems(read(head().replace("slurm", "local")), job("cpus_per_task = 1000")) == ()
