"""What Slurm prints: recorded answers are read completely, garbage is counted, and nothing makes the parsers raise."""

from __future__ import annotations

from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexapod_backends.slurm.cli import hostlist, parse
from nexapod_backends.slurm.cli.parse import JobRow
from nexapod_backends.slurm.cli.states import read_state

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"


def _golden(name: str) -> str:
    return (GOLDEN / name).read_text("utf-8")


def test_squeue() -> None:
    """Started elements have a row each, pending ones share a row; a name may hold anything."""
    found = parse.read_squeue(_golden("squeue-25.11.txt"))
    assert (found.unreadable, found.samples) == (0, ())
    pending, running, completing, single, stepped = found.rows
    assert pending == JobRow(
        job=4711,
        indexes=(5, 6, 7, 8, 9, 12),
        state="PENDING",
        reason="Resources",
        submit_s=1795484000,
        start_s=1795490000,
        name="nexapod-a1b2",
    )
    assert (running.indexes, running.state, running.hosts, running.reason) == ((0,), "RUNNING", "n001", "")
    assert (completing.state, completing.hosts) == ("COMPLETING", "n[002-003]")
    assert (single.indexes, single.start_s, single.name) == (None, None, "my job, with ~|~ in its name")
    assert single.reason == "ReqNodeNotAvail, UnavailableNodes:n[001-004]"
    assert tuple(range(0, 101, 10)) == stepped.indexes


def test_sacct() -> None:
    """Ended and pending elements are read; steps and parts of heterogeneous jobs are none of ours."""
    found = parse.read_sacct(_golden("sacct-25.11.txt"))
    assert found.unreadable == 2
    assert found.samples[0].startswith("4713+0")
    done, cancelled, pending, single = found.rows
    assert (done.job, done.indexes, done.state, done.exit_code, done.exit_signal) == (4711, (0,), "COMPLETED", 0, 0)
    assert (done.start_s, done.end_s, done.hosts) == (1795484010, 1795484020, "n001")
    assert (cancelled.state, cancelled.exit_signal) == ("CANCELLED by 1000", 15)
    assert (pending.indexes, pending.end_s, pending.hosts) == ((5, 6, 7, 8, 9, 12), None, "")
    assert (single.indexes, single.state, single.name) == (None, "OUT_OF_MEMORY", "big~|~name")


def test_times_without_a_zone_need_one() -> None:
    """A local time is read in the cluster's zone; without a zone it is not known rather than wrong."""
    line = "7~|~N/A~|~RUNNING~|~2026-11-24T02:00:00~|~2026-11-24T02:00:01~|~a~|~None~|~x\n"
    zone = timezone(timedelta(hours=1))
    assert parse.read_squeue(line, zone).rows[0].submit_s == 1795482000
    assert parse.read_squeue(line).rows[0].submit_s is None


@pytest.mark.parametrize("text", ["Unknown", "None", "N/A", "", "tomorrow", "####", "2026-99-24T02:00:00", "-5"])
def test_no_time(text: str) -> None:
    """What is no time is None, whatever Slurm calls it."""
    assert hostlist.read_time(text, timezone(timedelta(0))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ((7,), False)),
        ("[7]", ((7,), False)),
        ("0-3", ((0, 1, 2, 3), False)),
        ("[5-6,12%4]", ((5, 6, 12), False)),
        ("0-100:50%2", ((0, 50, 100), False)),
        ("1-3,7,1...", ((1, 2, 3, 7), True)),
        ("1-3,7,...%5", ((1, 2, 3, 7), True)),
        ("12...", ((), True)),
        ("", None),
        ("N/A", None),
        ("3-1", None),
        ("0-9999999999", None),
        ("1,,2", None),
        ("٣", None),
    ],
)
def test_indexes(text: str, expected: tuple[tuple[int, ...], bool] | None) -> None:
    """Ranges, steps and limits are understood; a cut list says so; absurd ones are refused."""
    assert expected == hostlist.expand_indexes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a",)),
        ("a,b02", ("a", "b02")),
        ("a[1-3,07],b02", ("a1", "a2", "a3", "a07", "b02")),
        ("n[008-011]", ("n008", "n009", "n010", "n011")),
        ("r[1-2]n[1-2]-ib", ("r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib")),
        ("(null)", ()),
        ("None assigned", ()),
        ("", ()),
        ("a[", None),
        ("a[1-]", None),
        ("a[3-1]", None),
        ("a,", None),
        (",a", None),
        ("a b", None),
        ("a[1-100001]", None),
        ("a[1-1000]b[1-1000]", None),
        ("a[1-1000]b[1-1000]c[1-1000]d[1-1000]", None),
        ("$(reboot)", None),
    ],
)
def test_hosts(text: str, expected: tuple[str, ...] | None) -> None:
    """Host lists are expanded with their zeros; wrong and absurd ones are refused."""
    assert expected == hostlist.expand_hosts(text)


def test_hosts_up_to_the_bound() -> None:
    """A hundred thousand names are allowed, one more is not, however the list is written."""
    assert len(hostlist.expand_hosts("a[1-100000]") or ()) == 100_000
    assert hostlist.expand_hosts("b,a[1-100000]") is None
    assert hostlist.expand_hosts("x," * 100_001 + "x") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-00:30:00", 88_200), ("02:00:00", 7_200), ("30:00", 1_800), ("UNLIMITED", None), ("", None), ("x", None)],
)
def test_duration(text: str, seconds: int | None) -> None:
    """Time limits are read as scontrol and sinfo print them."""
    assert seconds == hostlist.read_duration(text)


@pytest.mark.parametrize(
    ("gres", "wanted"),
    [
        ("gpu:a100:no_consume:4", {"a100": 4}), ("gpu:no_consume:4", {"": 4}), ("gpu", {"": 1}), ("gpu:a100", {"a100": 1}), ("gpu:4090:2", {"4090": 2}),
        ("gpu:1g.10gb:7(S:0),shard:8", {"1g.10gb": 7}), ("mygpu:4,gpu:h100:8(IDX:0-7)", {"h100": 8}), ("nvme:1,gpu:a:1,gpu:a:2", {"a": 3}),
        ("gpu:a:b:c:1", {}), ("(null)", {}), ("", {}), ("gpu:0", {"": 0}),
    ],
)  # fmt: skip
def test_gpus_of_every_notation(gres: str, wanted: dict[str, int]) -> None:
    """With and without type, count, sockets and the flag of what may be shared."""
    assert hostlist.read_gpus(gres) == wanted


def test_gpus() -> None:
    """GPUs are counted by type; other generic resources are none."""
    assert hostlist.read_gpus("gpu:a100:4(S:0-1),nvme:1,gpu:2") == {"a100": 4, "": 2}
    assert hostlist.read_gpus("(null)") == {}


GARBAGE = st.one_of(
    st.text(),
    st.text(alphabet="~|0123456789_[],-:%+=. \nNA\x00\x1b"),
    st.lists(st.sampled_from([parse.SEPARATOR, "1", "[", "0-3", "PENDING", "=", "\n", "x", "9" * 30])).map("".join),
)


@given(GARBAGE)
def test_no_text_breaks_a_parser(text: str) -> None:
    """Whatever a command prints, every parser answers, and every line is either a row or counted."""
    for read in (parse.read_squeue, parse.read_sacct, parse.read_sinfo, parse.read_partitions):
        found = read(text)
        lines = [line for line in text.split("\n") if line.strip() and not line.strip().startswith("CLUSTER: ")]
        assert len(lines) == len(found.rows) + found.unreadable
        assert all(sample.isprintable() and len(sample) <= 200 for sample in found.samples)
    parse.read_config(text)
    hostlist.expand_hosts(text)
    hostlist.expand_indexes(text)
    hostlist.read_gpus(text)
    hostlist.read_duration(text)


def test_hostile_sizes() -> None:
    """Many absurd rows together stay within the bound of one answer; a monstrous line is one unreadable line."""
    row = "{}~|~0-999999~|~PENDING~|~1~|~1~|~~|~None~|~x\n"
    found = parse.read_squeue("".join(row.format(number) for number in range(1, 50)))
    assert (len(found.rows), found.unreadable) == (1, 48)
    assert parse.read_sinfo("[" * 2_000_000).unreadable == 1
    assert len(parse.read_sacct("x\n" * 100_000).samples) == 20


def test_headings_of_several_clusters_are_no_rows() -> None:
    """With --clusters Slurm prints a heading even where none was wanted."""
    found = parse.read_squeue("CLUSTER: c1\n7~|~N/A~|~RUNNING~|~1~|~1~|~a~|~None~|~x\n")
    assert (len(found.rows), found.unreadable) == (1, 0)


def test_config() -> None:
    """The settings that matter, of the first block in which they stand."""
    found = parse.read_config(_golden("scontrol-config-25.11.txt"))
    assert (found.version, found.cluster, found.accounting) == ("25.11.7", "polar", True)
    assert (found.max_array, found.min_job_age_s, found.kill_wait_s, found.max_job_count) == (1001, 300, 30, 10_000)
    assert found.memory_is_counted
    assert found.values["SlurmctldPort"] == "6817"
    assert parse.read_config("AccountingStorageType = accounting_storage/none\n").accounting is False


def test_partitions() -> None:
    """One line for each partition; UNLIMITED is no limit."""
    found = parse.read_partitions(_golden("scontrol-partitions-25.11.txt"))
    assert found.unreadable == 0
    short, long, gpu, old, admin = found.rows
    assert (short.name, short.hosts, short.default, short.max_time_s, short.max_nodes) == (
        "short",
        "n[001-004]",
        True,
        14_400,
        4,
    )
    assert (long.accounts, long.groups, long.exclusive) == (("phys", "bio"), ("hpc",), True)
    assert (long.max_time_s, long.max_cpus_per_node, long.max_mem_mib_per_cpu) == (604_800, 30, 4_000)
    assert (gpu.max_time_s, gpu.max_nodes, gpu.total_nodes) == (None, None, 2)
    assert (old.state, old.hosts, admin.root_only) == ("INACTIVE", "", True)


def test_sinfo() -> None:
    """Hosts that are alike share a row; a count with a plus is the least of them."""
    found = parse.read_sinfo(_golden("sinfo-25.11.txt"))
    assert found.unreadable == 0
    first, last = found.rows[0], found.rows[-1]
    assert (first.partition, first.hosts, first.cpus, first.mem_mib) == ("short", ("n001", "n002", "n003"), 40, 131_072)
    assert (first.features, first.gres, found.rows[1].state) == (("ib", "avx2"), "", "drained*")
    assert (last.cpus, last.gres, last.features) == (64, "gpu:a100:4(S:0-1),nvme:1", ())


def _row(index: int | None, state: str, submit_s: int | None) -> JobRow:
    return JobRow(job=7, indexes=None if index is None else (index,), state=state, submit_s=submit_s)


def test_newest_row_counts() -> None:
    """A requeued element and an id that was given out again: what was submitted last, else what came last."""
    rows = [
        _row(0, "NODE_FAIL", 100),
        _row(0, "RUNNING", 200),
        _row(1, "RUNNING", 200),
        _row(1, "FAILED", 100),
        _row(2, "PREEMPTED", None),
        _row(2, "PENDING", None),
        _row(None, "COMPLETED", 5),
        JobRow(job=7, indexes=(3, 4), state="PENDING"),
    ]
    found = {index: row.state for (job, index), row in parse.by_element(rows).items() if job == 7}
    assert found == {0: "RUNNING", 1: "RUNNING", 2: "PENDING", None: "COMPLETED", 3: "PENDING", 4: "PENDING"}


@pytest.mark.parametrize("version", ["22.05", "25.11"])
def test_recorded_answers_are_read_completely(version: str) -> None:
    """No line of a cluster's answer is left, whatever its version; all states are known words."""
    for read, name in (
        (parse.read_squeue, f"squeue-{version}.txt"),
        (parse.read_partitions, f"scontrol-partitions-{version}.txt"),
        (parse.read_sinfo, f"sinfo-{version}.txt"),
    ):
        found = read(_golden(name))
        assert (found.unreadable, found.samples) == (0, ())
        assert found.rows
    assert parse.read_config(_golden(f"scontrol-config-{version}.txt")).version.startswith(version)


def test_life_of_jobs_in_a_real_cluster() -> None:
    """The same jobs in squeue, in sacct while they ran, and in sacct when they had ended."""
    queue = parse.by_element(parse.read_squeue(_golden("squeue-22.05.txt")).rows)
    running = parse.by_element(parse.read_sacct(_golden("sacct-22.05.txt")).rows)
    later = parse.by_element(parse.read_sacct(_golden("sacct-22.05-later.txt")).rows)
    elements = [(1, number) for number in range(12)]
    assert [queue[one].state for one in elements] == ["RUNNING"] * 4 + ["PENDING"] * 8
    assert [running[one].state for one in elements] == ["RUNNING"] * 4 + ["PENDING"] * 8
    assert [later[one].state for one in elements] == ["COMPLETED"] * 12
    assert (queue[1, 5].reason, queue[6, 100].reason, queue[3, None].reason) == (
        "JobArrayTaskLimit",
        "BeginTime",
        "JobHeldUser",
    )
    assert queue[3, None].name == running[3, None].name == "my job, with ~|~ it"
    assert (later[2, None].exit_code, later[20, None].exit_signal) == (3, 9)
    assert (queue[19, None].state, later[19, None].state) == ("TIMEOUT", "TIMEOUT")
    assert all(read_state(row.state).known for found in (queue, running, later) for row in found.values())


@pytest.mark.parametrize(
    ("said", "accounting"),
    [("accounting_storage/slurmdbd", True), ("slurmdbd", True), ("accounting_storage/none", False), ("(null)", False), ("", False)],
)
def test_accounting_is_on_by_any_versions_word(said: str, accounting: bool) -> None:
    """Later versions print `(null)` where earlier ones say none."""
    assert parse.read_config(f"AccountingStorageType   = {said}\n").accounting is accounting


@pytest.mark.parametrize(
    ("said", "wanted"), [("none", set()), ("accounts,jobs,nodes,partitions", {"accounts", "jobs", "nodes", "partitions"}), ("", set())]
)
def test_what_is_hidden_is_read(said: str, wanted: set[str]) -> None:
    """PrivateData, as scontrol prints it."""
    assert parse.read_config(f"PrivateData             = {said}\n").hidden == wanted
