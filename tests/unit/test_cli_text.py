"""Documents as lines for people: what repeats is said once, and figures come with words and units."""

from __future__ import annotations

from typing import Any

from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.usage import usage as describe_usage

HERE = "2 of 2 agree, both on h: reproducible there, not independent"


def task(index: int, state: str = "accepted", reason: str = HERE) -> dict[str, Any]:
    """Return a task without replicas."""
    return {"index": index, "state": state, "reason": reason, "doubt": "", "replicas": []}


def job(tasks: list[dict[str, Any]], state: str = "accepted") -> dict[str, Any]:
    """Return job 7 with these tasks."""
    counts = {one: sum(task["state"] == one for task in tasks) for one in ("accepted", "failed")}
    return {
        "id": 7, "name": "n", "state": state, "n_tasks": len(tasks), "held": False, "blocked": "", "counts": counts,
        "n_doubted": 0, "results": "/r/7", "tasks": tasks, "quorum": {}, "depends_on": [],
    }  # fmt: skip


def usage(**values: object) -> dict[str, Any]:
    """Return the report of a small job with some values changed."""
    return {
        "job": 7, "executions": 2, "wall_s": 125.0, "cpu_s": 60.5, "core_hours": 0.0347, "longest_s": 63.0,
        "peak_mem_mib": 1536.0, "output_bytes": 1025, "gpus": 0, "cpu_efficiency": 0.484, "mem_efficiency": None,
        "replicas": {"reported/valid": 2, "lost/pending": 1}, "notes": ["resources.time: ask for more"], **values,
    }  # fmt: skip


def test_tasks_that_ended_alike_share_a_line() -> None:
    """Neighbours with one state and reason are one line; another reason begins a new one."""
    tasks = [task(1), task(2), task(3, "failed", "why"), task(4)]
    lines = list(renderers.jobs_ended({"jobs": [job(tasks, "failed")]}))
    assert lines[1:4] == [f"  7_1 to 7_2  accepted: {HERE}", "  7_3  failed: why", f"  7_4  accepted: {HERE}"]


def test_show_says_a_reason_once() -> None:
    """Every task has its line; a reason that was just given is not given again, an empty one not invented."""
    tasks = [task(0), task(1), task(2, "active", ""), task(3, "active", "")]
    lines = list(renderers.show({"job": job([]), "tasks": tasks, "more": False}))
    assert lines[-4:] == [f"7_0  accepted: {HERE}", "7_1  accepted: as above", "7_2  active", "7_3  active"]


def test_usage_has_names_and_units() -> None:
    """No raw key of the document is shown."""
    assert list(describe_usage(usage())) == [
        "job 7: 2 executions measured",
        "  replicas:   2 reported, valid; 1 lost",
        "  wall time:  2:05 in all, the longest 1:03",
        "  CPU time:   1:00, 48% of the CPUs asked for",
        "  core-hours: 0.0347",
        "  memory:     1.5 GiB at most",
        "  outputs:    2 KiB",
        "note: resources.time: ask for more",
    ]


def test_usage_of_a_job_that_did_not_run() -> None:
    """Nothing measured is said in one line, without zeros that look like measurements."""
    lines = list(describe_usage(usage(executions=0, replicas={}, notes=[])))
    assert lines == ["job 7: 0 executions measured", "  replicas:   none"]


def test_the_use_of_a_gpu_has_units() -> None:
    """Energy is said in the unit that keeps it short; what nobody could tell is left out."""
    gpu = {"uuid": "GPU-8c05f12d-4014", "time_ms": 2934, "peak_mib": 1030, "energy_mj": 1_279_579}
    assert renderers.gpu_use(gpu) == "GPU-8c05f12d for 2.9 s, 1.01 GiB, 1.28 kJ"
    assert renderers.gpu_use({**gpu, "peak_mib": None, "energy_mj": 36_000}) == "GPU-8c05f12d for 2.9 s, 36 J"
    assert renderers.gpu_use({**gpu, "time_ms": None, "peak_mib": None, "energy_mj": None}) == "GPU-8c05f12d"


def test_reopened_says_how_far_and_how_to_go_on() -> None:
    """Jobs and tasks have their allowance in words; each job is waited for once."""
    room = {"3": 2, "4_0": 1, "4_1": 1}
    lines = list(renderers.reopened({"reopened": list(room), "at_least_more": room}))
    assert lines == [
        "reopened: 3 4_0 4_1",
        "  3: at least 2 more replicas may run for each task; earlier reports still count",
        "  4_0: at least 1 more replica may run; earlier reports still count",
        "  4_1: at least 1 more replica may run; earlier reports still count",
        "  to go on: nexapod-batch wait 3 4",
    ]
    assert len(list(renderers.reopened({"reopened": [], "at_least_more": {}}))) == 1
