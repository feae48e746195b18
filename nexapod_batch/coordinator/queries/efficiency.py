"""What a job used against what it asked for, and which key of the descriptor to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.store.repositories.usage import UsageRow

__all__ = ["notes_on", "report"]

#: Below this share of what was asked for, asking for less is worth a note; above the other, it is getting tight.
_WASTEFUL, _TIGHT = 0.5, 0.9
_SMALL_MIB = 64  # to ask for less than this is not worth a note
_CROWDING = 1.1  # of the CPUs asked for; more are taken from others
_NAMED = 5  # launches that are named to look them up in a scheduler's accounting
_SOON_MS = 5_000  # replicas that are shorter than this tell nothing of how they use a GPU


def report(c: Coordinator, job_id: int) -> dict[str, Any]:
    """Return how efficient a job was: times in seconds, memory in MiB, efficiencies from 0 to 1; None is unknown.

    Raises NotFoundError when there is no such job.
    """
    job = c.job(job_id)
    used = c.store.usage.of_job(job_id)
    unseen = _unseen(c, job_id, job)
    gpus = c.store.usage.of_gpus(job_id)
    gpu_efficiency = None
    if gpus.time_ms is not None and gpus.timed_ms:
        gpu_efficiency = gpus.time_ms / gpus.timed_ms
    notes = [unseen] if unseen else []
    notes += _notes_on_processors(job, used, unseen)
    notes += _gpu_notes(gpu_efficiency, (gpus.wall_ms or 0) / max(1, gpus.n))
    states = c.store.usage.states(job_id)
    return {
        "job": job_id,
        "executions": used.n,
        **_times(job, used),
        "output_bytes": int(used.output_bytes),
        **_processors(job, used, unseen),
        "gpus": gpus.n,
        "gpu_s": _thousandth(gpus.time_ms),
        "gpu_efficiency": _rounded(gpu_efficiency, 3),
        "gpu_peak_mib": gpus.peak_mib,
        "gpu_energy_j": _thousandth(gpus.energy_mj),
        "replicas": {f"{execution}/{validation}": n for (execution, validation), n in states.items()},
        "notes": notes,
    }


def _times(job: Job, used: UsageRow) -> dict[str, Any]:
    """Return how long all replicas ran."""
    wall_s = (used.wall_ms or 0) / 1000
    return {
        "wall_s": round(wall_s, 3),
        "core_hours": round(wall_s * job.resources.cpus / 3600, 6),
        "longest_s": round((used.max_wall_ms or 0) / 1000, 3),
    }


def _processors(job: Job, used: UsageRow, unseen: str) -> dict[str, Any]:
    """Return what all replicas used of CPUs and memory; nothing is known of them when that was `unseen`."""
    names = ("cpu_s", "peak_mem_mib", "cpu_efficiency", "mem_efficiency")
    if unseen:
        return dict.fromkeys(names)
    cpu_s = used.cpu_ms / 1000 if used.n_cpu else None
    peak_mib = _mib(used.max_rss_kib)
    of_memory = None
    if job.resources.mem_mib and peak_mib is not None:
        of_memory = peak_mib / job.resources.mem_mib
    of_cpus = _share(used.cpu_ms, used.timed_ms, job.resources.cpus)
    values = (_rounded(cpu_s, 3), _rounded(peak_mib, 1), _rounded(of_cpus, 3), _rounded(of_memory, 3))
    return dict(zip(names, values, strict=True))


def _notes_on_processors(job: Job, used: UsageRow, unseen: str) -> list[str]:
    """Return which keys to change by what those used that ended well."""
    longest_s = (used.max_wall_ms_well or 0) / 1000
    if unseen:
        return notes_on(job, None, None, longest_s)
    busy = _share(used.cpu_ms_well, used.timed_ms_well, job.resources.cpus)
    return notes_on(job, busy, _mib(used.max_rss_kib_well), longest_s)


def _mib(kib: int | None) -> float | None:
    if kib is None:
        return None
    return kib / 1024


def _thousandth(value: float | None) -> float | None:
    if value is None:
        return None
    return value / 1000


def _rounded(value: float | None, digits: int) -> float | None:
    if value is None:
        return None
    return round(value, digits)


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
    if of:
        return used / (of * cpus)
    return None


def notes_on(job: Job, cpu: float | None, peak_mib: float | None, longest_s: float) -> list[str]:
    """Return which keys of the descriptor to change, by what those used that ended well; None was not measured. Pure.

    `cpu` is the share of the CPUs asked for that were busy, `longest_s` the time of the longest in seconds.
    """
    notes = _cpu_notes(job.resources.cpus, cpu, longest_s)
    notes += _memory_notes(job.resources.mem_mib, peak_mib)
    limit_s = job.resources.time_s
    if limit_s and longest_s > _TIGHT * limit_s:
        notes.append(f"resources.time: the longest replica took {longest_s:.0f} of {limit_s} s; ask for more")
    return notes


def _cpu_notes(asked: int, busy: float | None, longest_s: float) -> list[str]:
    if busy is None:
        return []
    if asked > 1 and busy < _WASTEFUL:
        return [f"resources.cpus_per_task: {busy * asked:.1f} of {asked} CPUs were busy; ask for fewer"]
    if busy > _CROWDING and longest_s * 1000 >= _SOON_MS / 5:
        used = f"resources.cpus_per_task: {busy * asked:.1f} CPUs were busy, {asked} asked for"
        return [f"{used}; ask for as many, or start fewer threads"]
    return []


def _memory_notes(asked_mib: int | None, peak_mib: float | None) -> list[str]:
    if not asked_mib or peak_mib is None:
        return []
    used = f"resources.mem: {peak_mib:.0f} of {asked_mib} MiB were used"
    share = peak_mib / asked_mib
    if share < _WASTEFUL and asked_mib > _SMALL_MIB:
        return [f"{used}; {max(16, peak_mib * 1.5):.0f}MiB would do"]
    if share > _TIGHT:
        return [f"{used}; ask for more"]
    return []


def _gpu_notes(busy: float | None, each_ms: float) -> list[str]:
    if busy is None or busy >= _WASTEFUL or each_ms < _SOON_MS:
        return []
    return [f"resources.gpus: GPUs were busy for {busy:.0%} of the time; a node's gpu_slots lets replicas share them"]
