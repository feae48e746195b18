"""What a job used against what it asked for, and which key of the descriptor to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["notes_on", "report"]

#: Below this share of what was asked for, asking for less is worth a note; above the other, it is getting tight.
_WASTEFUL, _TIGHT = 0.5, 0.9
_CROWDING = 1.1  # of the CPUs asked for; more are taken from others
_NAMED = 5  # launches that are named to look them up in a scheduler's accounting
_SOON_MS = 5_000  # replicas that are shorter than this tell nothing of how they use a GPU


def report(c: Coordinator, job_id: int) -> dict[str, Any]:
    """Return how efficient a job was: times in seconds, memory in MiB, efficiencies from 0 to 1; None is unknown."""
    job = c.job(job_id)
    used = c.store.usage.of_job(job_id)
    asked, unseen = job.resources, _unseen(c, job_id, job)
    wall = (used.wall_ms or 0) / 1000
    peak = None if used.max_rss_kib is None or unseen else used.max_rss_kib / 1024
    cpu_efficiency = None if unseen else _share(used.cpu_ms, used.timed_ms, asked.cpus)
    mem_efficiency = peak / asked.mem_mib if asked.mem_mib and peak is not None else None
    busy = None if unseen else _share(used.cpu_ms_well, used.timed_ms_well, asked.cpus)
    well = None if used.max_rss_kib_well is None or unseen else used.max_rss_kib_well / 1024
    longest_s = (used.max_wall_ms_well or 0) / 1000
    gpu = c.store.usage.of_gpus(job_id)
    gpu_s = None if gpu.time_ms is None else gpu.time_ms / 1000
    gpu_efficiency = None if gpu_s is None or not gpu.timed_ms else 1000 * gpu_s / gpu.timed_ms
    states = {f"{execution}/{validation}": n for (execution, validation), n in c.store.usage.states(job_id).items()}
    return {
        "job": job_id,
        "executions": used.n,
        "wall_s": round(wall, 3),
        "cpu_s": round(used.cpu_ms / 1000, 3) if used.n_cpu and not unseen else None,
        "core_hours": round(wall * job.resources.cpus / 3600, 6),
        "longest_s": round((used.max_wall_ms or 0) / 1000, 3),
        "peak_mem_mib": None if peak is None else round(peak, 1),
        "output_bytes": int(used.output_bytes),
        "cpu_efficiency": None if cpu_efficiency is None else round(cpu_efficiency, 3),
        "mem_efficiency": None if mem_efficiency is None else round(mem_efficiency, 3),
        "gpus": gpu.n,
        "gpu_s": gpu_s,
        "gpu_efficiency": None if gpu_efficiency is None else round(gpu_efficiency, 3),
        "gpu_peak_mib": gpu.peak_mib,
        "gpu_energy_j": None if gpu.energy_mj is None else gpu.energy_mj / 1000,
        "replicas": states,
        "notes": [
            *([unseen] if unseen else []),
            *notes_on(job, busy, well, longest_s),
            *_gpu_notes(gpu_efficiency, (gpu.wall_ms or 0) / max(1, gpu.n)),
        ],
    }


def _unseen(c: Coordinator, job_id: int, job: Job) -> str:
    """Return why CPU time and memory of a job are not known of all its replicas; "" if they are.

    Ranks that a site's launcher starts (srun) are no descendants of the runner: it asks the scheduler's accounting.
    """
    if job.resources.ranks == 1:
        return ""
    rows = c.store.usage.elsewhere(job_id, _NAMED + 1)
    if not rows:
        return ""
    natives = [native for native in rows[:_NAMED] if native]
    told = f": sacct --jobs={','.join(natives)} --format=JobID,NTasks,TotalCPU,MaxRSS" if natives else ""
    return (
        "CPU time and memory of ranks are not measured: the site's launcher starts them beside the runner, and the "
        f"scheduler's accounting said nothing there. It may have them by step{told}"
    )


def _share(used: float, of: float, cpus: int) -> float | None:
    return used / (of * cpus) if of else None


def notes_on(job: Job, cpu: float | None, peak_mib: float | None, longest_s: float) -> list[str]:
    """Return which keys of the descriptor to change, by what those used that ended well; None was not measured. Pure.

    `cpu` is the share of the CPUs asked for that were busy, `longest_s` the time of the longest in seconds.
    """
    notes, asked = [], job.resources
    mem = peak_mib / asked.mem_mib if asked.mem_mib and peak_mib is not None else None
    if cpu is not None and asked.cpus > 1 and cpu < _WASTEFUL:
        notes.append(f"resources.cpus_per_task: {cpu * asked.cpus:.1f} of {asked.cpus} CPUs were busy; ask for fewer")
    if cpu is not None and cpu > _CROWDING and longest_s * 1000 >= _SOON_MS / 5:
        notes.append(
            f"resources.cpus_per_task: {cpu * asked.cpus:.1f} CPUs were busy, {asked.cpus} asked for; ask for as many, "
            "or start fewer threads"
        )
    if mem is not None and peak_mib is not None and mem < _WASTEFUL and (asked.mem_mib or 0) > 64:
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
