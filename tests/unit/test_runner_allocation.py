"""Which launches an element of a scheduler's job runs: its own, and none at all when that cannot be told for sure."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.errors import ConfigError
from nexapod_batch.runner.launches.allocation import Allocation, is_over, load

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO, THREE = ("1" * 32, "2" * 32, "3" * 32)
GOOD: dict[str, Any] = {"schema": 1, "elements": [[ONE, TWO], [THREE]], "cpus": 8, "mem_mib": 4096}
SLURM = {"SLURM_ARRAY_JOB_ID": "40", "SLURM_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "1", "SLURMD_NODENAME": "a2"}


def written(spool: Path, document: object) -> Path:
    """Write the file of group `g`."""
    (spool / "groups").mkdir()
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    (spool / "groups" / "g.json").write_bytes(text)
    return spool


def test_an_element_gets_its_own_launches(tmp_path: Path) -> None:
    """Its launches in order, named as Slurm names the element, on the host that Slurm says."""
    wanted = Allocation(launches=(THREE,), cpus=8, mem_mib=4096, native_id="40_1", host="a2")
    assert load(written(tmp_path, GOOD), "g", SLURM) == wanted


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ("1795836194", "1795837094", 900), ("1795837094", "1795837000", 0), ("1795836194", "", 0), ("", "1795837094", 0),
        ("1", "soon", 0), ("1", "-1", 0), ("1", "9" * 40, 0), ("x", "7", 0),
    ],
)  # fmt: skip
def test_newer_versions_say_when_the_time_is_over(tmp_path: Path, start: str, end: str, wanted: int) -> None:
    """It is taken as a span: the scheduler's clock may be another than ours. Others say nothing, and nonsense is nothing."""
    told = {"SLURM_JOB_START_TIME": start, "SLURM_JOB_END_TIME": end}
    assert load(written(tmp_path, GOOD), "g", {**SLURM, **told}).lasts_s == wanted


@pytest.mark.parametrize(("lasts_s", "over"), [(0, True), (1, True), (86_400 * 365, False)])
def test_a_warning_long_before_the_end_has_another_reason(lasts_s: int, *, over: bool) -> None:
    """Where nobody says how long the time is, a warning means its end."""
    assert is_over(lasts_s) is over


def test_a_job_that_is_no_array_is_its_first_element(tmp_path: Path) -> None:
    """Without an index the first; without Slurm's word on it this host."""
    alone = load(written(tmp_path, GOOD), "g", {"SLURM_JOB_ID": "42"})
    assert (alone.launches, alone.native_id, alone.host) == ((ONE, TWO), "42_0", socket.gethostname())


@pytest.mark.parametrize("index", ["2", "-1", "-2", "", "x", "1.0", "9" * 30, "0x1"])
def test_an_index_that_is_none_of_the_group_runs_nothing(tmp_path: Path, index: str) -> None:
    """Least of all another element's launches: -1 is not the last one."""
    with pytest.raises(ConfigError):
        load(written(tmp_path, GOOD), "g", {**SLURM, "SLURM_ARRAY_TASK_ID": index})


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"\xff", [], None, 7, "text", {}, {**GOOD, "elements": "x" * 32}, {**GOOD, "elements": {"1": [ONE]}},
        {**GOOD, "elements": [[ONE], ["../../etc/passwd"]]}, {**GOOD, "elements": [[ONE], [7]]},
        {**GOOD, "elements": [[ONE], None]}, {**GOOD, "elements": [[ONE], [[THREE]]]},
        {**GOOD, "elements": [[ONE], ["3" * 31]]}, {**GOOD, "elements": [[ONE], [THREE + "\n"]]},
        {**GOOD, "cpus": 0}, {**GOOD, "cpus": True}, {**GOOD, "cpus": "8"}, {**GOOD, "mem_mib": 1.5},
        {**GOOD, "mem_mib": None}, {key: GOOD[key] for key in ("schema", "elements", "cpus")},
    ],
)  # fmt: skip
def test_a_broken_file_runs_nothing(tmp_path: Path, document: object) -> None:
    """Each kind of nonsense is an error that names the file."""
    with pytest.raises(ConfigError, match=r"groups/g\.json"):
        load(written(tmp_path, document), "g", SLURM)


def test_a_missing_file_runs_nothing(tmp_path: Path) -> None:
    """As when the group was forgotten while its job waited in the queue."""
    with pytest.raises(ConfigError, match=r"cannot be used.*FileNotFoundError"):
        load(tmp_path, "g", SLURM)


def test_an_element_without_launches_has_nothing_to_do(tmp_path: Path) -> None:
    """It is no error: the runner ends at once."""
    assert load(written(tmp_path, {**GOOD, "elements": [[ONE], []]}), "g", SLURM).launches == ()


@pytest.mark.parametrize("environ", [{}, {"SLURM_ARRAY_TASK_ID": "0"}, {"SLURM_ARRAY_JOB_ID": "40"}, {"SLURM_JOB_ID": ""}])
def test_outside_a_slurm_job_nothing_is_run(tmp_path: Path, environ: dict[str, str]) -> None:
    """A shell of a login node that executed the script must not compute there."""
    with pytest.raises(ConfigError, match="runs inside its Slurm job only"):
        load(written(tmp_path, GOOD), "g", environ)
