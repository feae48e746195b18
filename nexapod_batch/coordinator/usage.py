"""What a job used against what it asked for, and which key of the descriptor to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["report"]

#: Below this share of what was asked for, asking for less is worth a note; above the other, it is getting tight.
_WASTEFUL, _TIGHT = 0.5, 0.9
_CROWDING = 1.1  # of the CPUs asked for; more are taken from others
_NAMED = 5  # launches that are named to look them up in a scheduler's accounting
_SOON_MS = 5_000  # replicas that are shorter than this tell nothing of how they use a GPU


def report(c: Coordinator, job_id: int) -> dict[str, Any]:
    """Return how efficient a job was: times in seconds, memory in MiB, efficiencies from 0 to 1; None is unknown."""
    job = c.job(job_id)
    used = c.store.only("usage", job=job_id)
    wall, cpu = (used["wall_ms"] or 0) / 1000, (used["cpu_ms"] or 0) / 1000
    peak = (used["max_rss_kib"] or 0) / 1024
    unseen = _unseen(c, job_id, job)
    cpu_efficiency = cpu / (wall * job.resources.cpus) if wall and not unseen else None
    mem_efficiency = peak / job.resources.mem_mib if job.resources.mem_mib and used["n"] and not unseen else None
    gpu = c.store.only("usage_gpus", job=job_id)
    gpu_s = None if gpu["time_ms"] is None else gpu["time_ms"] / 1000
    gpu_efficiency = None if gpu_s is None or not gpu["timed_ms"] else 1000 * gpu_s / gpu["timed_ms"]
    states = {f"{row['execution']}/{row['validation']}": row["n"] for row in c.store.all("usage_states", job=job_id)}
    return {
        "job": job_id,
        "executions": used["n"],
        "wall_s": round(wall, 3),
        "cpu_s": None if unseen else round(cpu, 3),
        "core_hours": round(wall * job.resources.cpus / 3600, 6),
        "longest_s": round((used["max_wall_ms"] or 0) / 1000, 3),
        "peak_mem_mib": None if unseen else round(peak, 1),
        "output_bytes": int(used["output_bytes"]),
        "cpu_efficiency": None if cpu_efficiency is None else round(cpu_efficiency, 3),
        "mem_efficiency": None if mem_efficiency is None else round(mem_efficiency, 3),
        "gpus": gpu["n"],
        "gpu_s": gpu_s,
        "gpu_efficiency": None if gpu_efficiency is None else round(gpu_efficiency, 3),
        "gpu_peak_mib": gpu["peak_mib"],
        "gpu_energy_j": None if gpu["energy_mj"] is None else gpu["energy_mj"] / 1000,
        "replicas": states,
        "notes": [
            *([unseen] if unseen else []),
            *_notes(job, cpu_efficiency, mem_efficiency, (used["max_wall_ms"] or 0) / 1000, peak),
            *_gpu_notes(gpu_efficiency, (gpu["wall_ms"] or 0) / max(1, gpu["n"])),
        ],
    }


def _unseen(c: Coordinator, job_id: int, job: Job) -> str:
    """Return why CPU time and memory of a job are not known, though its runners measured something; "" if they are.

    Ranks that a site's launcher starts (srun) are no descendants of the runner: what it measured is the launcher's.
    """
    if job.resources.ranks == 1:
        return ""
    rows = c.store.all("usage_elsewhere", job=job_id, limit=_NAMED + 1)
    if not rows:
        return ""
    natives = [row["native_id"] for row in rows[:_NAMED] if row["native_id"]]
    told = f": sacct --jobs={','.join(natives)} --format=JobID,NTasks,TotalCPU,MaxRSS" if natives else ""
    return (
        "CPU time and memory of ranks are not measured: the site's launcher starts them beside the runner. "
        f"The scheduler's accounting has them by step{told}"
    )


def _notes(job: Job, cpu: float | None, mem: float | None, longest_s: float, peak_mib: float) -> list[str]:
    """Return which keys of the descriptor to change."""
    notes, asked = [], job.resources
    if cpu is not None and asked.cpus > 1 and cpu < _WASTEFUL:
        notes.append(f"resources.cpus_per_task: {cpu * asked.cpus:.1f} of {asked.cpus} CPUs were busy; ask for fewer")
    if cpu is not None and cpu > _CROWDING and longest_s * 1000 >= _SOON_MS / 5:
        notes.append(
            f"resources.cpus_per_task: {cpu * asked.cpus:.1f} CPUs were busy, {asked.cpus} asked for; ask for as many, "
            "or start fewer threads"
        )
    if mem is not None and mem < _WASTEFUL and (asked.mem_mib or 0) > 64:
        notes.append(
            f"resources.mem: {peak_mib:.0f} of {asked.mem_mib} MiB were used; {max(16, peak_mib * 1.5):.0f}MiB would do"
        )
    if mem is not None and mem > _TIGHT:
        notes.append(f"resources.mem: {peak_mib:.0f} of {asked.mem_mib} MiB were used; ask for more")
    if asked.time_s and longest_s > _TIGHT * asked.time_s:
        notes.append(f"resources.time: the longest replica took {longest_s:.0f} of {asked.time_s} s; ask for more")
    return notes


def _gpu_notes(busy: float | None, each_ms: float) -> list[str]:
    if busy is None or busy >= _WASTEFUL or each_ms < _SOON_MS:
        return []
    return [f"resources.gpus: GPUs were busy for {busy:.0%} of the time; a node's gpu_slots lets replicas share them"]
