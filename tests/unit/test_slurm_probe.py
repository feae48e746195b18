"""What is made of a cluster's answers beside a site file: pure, data in, findings out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow, PartitionRow
from nexapod_backends.slurm.site_check.file_probe import arrays, launcher, partitions, polling
from nexapod_backends.slurm.site_check.job_probe import _would
from nexapod_backends.slurm.site_check.node_findings import clock, python_there, ranks
from nexapod_backends.slurm.site_check.node_probe import PROGRAM

from nexapod_batch import __version__
from nexapod_batch.model.site import Limits, Partition, Scheduler, Site
from nexapod_batch.plugins import Mark

CONFIG = ClusterConfig(accounting=True, max_array=1_001, min_job_age_s=300, max_job_count=10_000)
HOSTS = [HostRow(partition="a", hosts=("n1", "n2"), cpus=8, mem_mib=16_000, state="idle", gres="gpu:2")]
ROW = PartitionRow(name="a", hosts="n[1-2]", max_time_s=3_600)
MINE = Partition(name="a", hosts=2, max_time_s=3_600, max_cpus=8, max_mem_mib=16_000, gpus=2)


def site(*declared: Partition, accounting: str = "auto", **limits: Any) -> Site:
    """Return a site of these partitions."""
    scheduler = Scheduler(type="slurm", accounting=accounting)
    return Site(name="s", scheduler=scheduler, limits=Limits(**limits), partitions=declared)


def test_what_the_file_promises_is_there() -> None:
    """One finding, with the hosts counted."""
    (found,) = partitions(site(MINE), [ROW], HOSTS)
    assert (found.mark, found.probe, found.text[:7]) == (Mark.OK, "partition a", "2 hosts")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"hosts": 3}, "hosts = 3, but Slurm has 2"),
        ({"max_cpus": 9}, "max_cpus = 9, but Slurm has 8"),
        ({"max_mem_mib": 16_001}, "max_mem (MiB) = 16001, but Slurm has 16000"),
        ({"gpus": 3}, "gpus = 3, but Slurm has 2"),
        ({"max_time_s": 3_601}, "max_time = 01:00:01, but Slurm allows 01:00:00"),
        ({"max_time_s": None}, "no max_time, but Slurm allows 01:00:00"),
    ],
)
def test_more_is_promised_than_there_is(changed: dict[str, int], words: str) -> None:
    """A warning that names both numbers: jobs would wait for ever."""
    (found,) = partitions(site(replace(MINE, **changed)), [ROW], HOSTS)
    assert (found.mark, found.text) == (Mark.WARN, words)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (replace(ROW, state="DRAIN"), "it is DRAIN"),
        (replace(ROW, accounts=("bio",)), "only for accounts bio, not chem"),
        (replace(ROW, name="b"), "Slurm has none of this name; it has: b"),
    ],
)
def test_a_partition_that_takes_nothing(row: PartitionRow, words: str) -> None:
    """Closed, closed for this account, or not there at all."""
    (found,) = partitions(site(MINE), [row], HOSTS, "chem")
    assert (found.mark, found.text) == (Mark.FAIL, words)


def test_two_nodes_of_the_same_hosts_are_no_two_nodes() -> None:
    """What agrees on both would look independent; the word that is missing is named."""
    two = site(MINE, replace(MINE, name="b", node="b"))
    hosts = [*HOSTS, replace(HOSTS[0], partition="b", hosts=("n2", "n3"))]
    *_, found = partitions(two, [ROW, replace(ROW, name="b", hosts="n[2-3]")], hosts)
    assert found.mark is Mark.FAIL
    assert "nodes s and s-b share n2" in found.text
    apart = [replace(ROW), replace(ROW, name="b", hosts="n[3-4]")]
    assert all(one.mark is Mark.OK for one in partitions(two, apart, [*HOSTS, replace(hosts[1], hosts=("n3", "n4"))]))


def test_arrays() -> None:
    """Longer than Slurm takes is a failure; more jobs than all users may have is a surprise."""
    assert [one.mark for one in arrays(site(max_array=1_001), CONFIG)] == [Mark.OK]
    (found,) = arrays(site(max_array=1_002), CONFIG)
    assert (found.mark, found.hint) == (Mark.FAIL, "set max_array = 1001 or less")
    assert [one.mark for one in arrays(site(max_jobs=10_001), CONFIG)] == [Mark.OK, Mark.WARN]
    assert [one.mark for one in arrays(site(), replace(CONFIG, max_array=None))] == [Mark.WARN]


@pytest.mark.parametrize(
    ("accounting", "on", "every", "mark"),
    [
        ("auto", True, 30, Mark.OK),
        ("auto", True, 600, Mark.OK),
        ("squeue", True, 600, Mark.FAIL),
        ("auto", False, 299, Mark.OK),
        ("auto", False, 300, Mark.FAIL),
    ],
)
def test_polling(accounting: str, on: bool, every: int, mark: Mark) -> None:
    """Without accounting a job that ended must be seen before the queue forgets it."""
    made = site(accounting=accounting, poll_interval_s=every)
    assert polling(made, replace(CONFIG, accounting=on)).mark is mark


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_clock(least: float, width: float) -> None:
    """Clocks are called apart only when they must be by more than five seconds, whatever the answer took."""
    most = least + width
    certain = least > 5 or most < -5
    found = clock("clock", least, most)
    assert (found.mark is Mark.WARN) == certain
    if certain:
        assert ("ahead of" if least > 0 else "behind") in found.text


names = st.text(max_size=8) | st.sampled_from(["a", "b", "n[1-99999]", "n[1-", ""])


@given(
    st.lists(st.builds(PartitionRow, name=names, hosts=names, state=names, max_nodes=st.none() | st.integers(0, 9)), max_size=4),
    st.lists(st.builds(HostRow, partition=names, hosts=st.lists(names, max_size=3).map(tuple), cpus=st.integers(0, 9), mem_mib=st.integers(0, 9), state=names, gres=names), max_size=4),
)  # fmt: skip
def test_whatever_slurm_says(rows: list[PartitionRow], hosts: list[HostRow]) -> None:
    """One finding for each partition of the file, whatever the answers look like."""
    found = list(partitions(site(MINE, replace(MINE, name="b", node="x")), rows, hosts))
    assert [one.probe for one in found[:2]] == ["partition a", "partition b"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("sbatch: Job 7 to start at 1795484000 using 1 processors on nodes a1 in partition short", "would start on a1"),  # 22.05 to 24.11
        ("sbatch: Job 7 to start at 2026-11-29T20:12:21 a using 1 processors on nodes a[1-2] in partition short", "would start on a[1-2]"),  # from 25.05 on
        ("note of the site\nsbatch: Job 7 to start at 1795484000 using 16 CPUs on nodes a1 in partition short", "would start on a1"),
        ("sbatch: something new", "sbatch: something new"),
        ("", "accepted"),
    ],
)
def test_what_slurm_would_do_is_read_in_every_version(said: str, wanted: str) -> None:
    """A sentence that nobody knows is shown as it is."""
    assert _would(said) == wanted


@pytest.mark.parametrize(
    ("hidden", "rows", "hosts", "mark", "words"),
    [
        ({"partitions"}, [], [], Mark.WARN, "Slurm does not show it to you (PrivateData=partitions)"),
        (set(), [], [], Mark.FAIL, "Slurm has none of this name; it has: none"),
        ({"nodes"}, [replace(ROW, total_nodes=2)], [], Mark.OK, "Slurm shows you none of its 2 hosts (PrivateData=nodes)"),
        (set(), [ROW], [replace(HOSTS[0], state="drained*")], Mark.WARN, "all 2 hosts are down or drained now: jobs wait"),
        (set(), [ROW], [replace(HOSTS[0], state="idle*")], Mark.WARN, "all 2 hosts are down or drained now"),
        (set(), [ROW], [replace(HOSTS[0], state="draining")], Mark.WARN, "all 2 hosts are down or drained now"),
    ],
)  # fmt: skip
def test_what_is_hidden_or_down_is_said_as_it_is(hidden: set[str], rows: list[PartitionRow], hosts: list[HostRow], mark: Mark, words: str) -> None:
    """What cannot be seen is not called wrong, and what is down is not called missing."""
    (found,) = partitions(site(MINE), rows, hosts, hidden=hidden)
    assert found.mark is mark
    assert words in found.text


def test_a_site_that_chooses_partitions_itself_is_not_asked_for_them() -> None:
    """Their names in the file are for people."""
    at = site(replace(MINE, name="theirs"))
    at = replace(at, scheduler=replace(at.scheduler, skip_directives=("partition",)))
    (found,) = partitions(at, [ROW], HOSTS)
    assert (found.mark, "the site chooses" in found.text) == (Mark.OK, True)


@pytest.mark.parametrize(
    ("words", "default", "mark"),
    [
        (("srun",), "none", Mark.WARN), (("srun",), "(null)", Mark.WARN), (("srun",), "pmix", Mark.OK), (("srun", "--mpi=pmi2"), "none", Mark.OK),
        (("mpiexec",), "none", Mark.OK),
    ],
)  # fmt: skip
def test_a_launcher_whose_ranks_are_alone_is_told(words: tuple[str, ...], default: str, mark: Mark) -> None:
    """Each rank would think that it is the only one, and all would compute the same."""
    at = replace(site(MINE), scheduler=Scheduler(type="slurm", launcher=words))
    assert launcher(at, replace(CONFIG, values={"MpiDefault": default})).mark is mark


@pytest.mark.parametrize(
    ("said", "mark", "words"),
    [
        ("rank 1 pmix. rank 0 pmix.", Mark.OK, "starts two, by pmix"),
        ("srun: warning: can't honour a wish rank 0 . rank 1 .", Mark.OK, "nothing of each other"),
        ("rank 0 . rank 0 .", Mark.WARN, "1 of two"),  # each alone, as a launcher does that is not the cluster's
        ("rank 0 .", Mark.WARN, "1 of two"),
        ("srun: error: Couldn't find the specified plugin name for mpi/pmix", Mark.WARN, "mpi/pmix"),
        ("", Mark.WARN, "nothing within 30 s"),
        ("rank 7 . prank 1 .", Mark.WARN, "0 of two"),
    ],
)
def test_two_ranks_are_two_that_say_who_they_are(said: str, mark: Mark, words: str) -> None:
    """Whatever else is printed among it."""
    found = ranks("ranks", "srun", said)
    assert (found.mark, words in found.text) == (mark, True)


@pytest.mark.parametrize(
    ("answer", "mark", "words"),
    [
        ({"python": "3.11.2", "version": __version__, "runner": "ready"}, Mark.OK, f"with nexapod-batch {__version__}"),
        ({"python": "3.11.2", "version": "0.0.9", "runner": "ready"}, Mark.WARN, f"nexapod-batch 0.0.9; here it is {__version__}"),
        (
            {"python": "3.11.2", "version": "0.0.9", "runner": "ModuleNotFoundError: No module named 'x'"},
            Mark.FAIL,
            f"0.0.9, whose runner cannot be started: ModuleNotFoundError: No module named 'x'; here it is {__version__}",
        ),
        ({"python": "3.11.2", "version": "0.0.9"}, Mark.FAIL, "it said nothing"),
        ({"python": "3.11.2", "runner": "No module named 'nexapod_batch'"}, Mark.FAIL, "cannot be imported there: No module"),
        ({"python": "sh: python: not found"}, Mark.FAIL, "cannot be run there: sh: python: not found"),
        ({}, Mark.FAIL, "it said nothing"),
    ],
)
def test_the_version_there_is_told_whatever_else_is_wrong(answer: dict[str, str], mark: Mark, words: str) -> None:
    """An older one that lacks what the runner is today is named by its number."""
    found = python_there(site(), "python", answer)
    assert found.mark is mark
    assert words in found.text


@pytest.mark.parametrize(
    ("package", "version", "runner"),
    [
        ({"__init__": "__version__ = '0.0.9'"}, "0.0.9", "No module named 'nexapod_batch.runner'"),
        ({"__init__": "raise ImportError('torn')"}, "", "ImportError: torn"),
        ({}, __version__, "ready"),
    ],
    ids=["older", "broken", "this one"],
)
def test_the_program_of_the_test_job_asks_the_version_first(
    tmp_path: Path, package: dict[str, str], version: str, runner: str
) -> None:
    """Run as a compute node runs it, with another package before this one."""
    here, there = tmp_path / "here", tmp_path / "there" / "nexapod_batch"
    here.mkdir()
    there.mkdir(parents=True)
    for name, text in package.items():
        (there / f"{name}.py").write_text(text)
    for name in ("asked", "scratch", "launcher", "ack"):
        (here / name).touch()
    path, options = Path(__file__).parents[2], []
    if package:
        path, options = there.parent, ["-S"]  # nothing of what is installed is found
    words = ["sh", "-c", PROGRAM, "probe", str(here), str(tmp_path), sys.executable, *options]
    subprocess.run(words, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(path)})
    answer = dict(line.split("=", 1) for line in (here / "answer").read_text().splitlines())
    assert answer["version"].strip() == version
    assert runner in answer["runner"]
