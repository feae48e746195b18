"""What a job used against what it asked for, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.cli.rendering.values import count, duration, energy, size, vote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["usage"]

Document = dict[str, Any]


def usage(document: Document) -> Iterator[str]:
    """Describe the resource use of a job against what it asked for, then which keys to change."""
    yield f"job {document['job']}: {count(document['executions'], 'execution')} measured"
    states = (f"{n} {_state(name)}" for name, n in document["replicas"].items())
    rows = {"replicas": "; ".join(states) or "none"}
    if document["executions"]:
        rows["wall time"] = f"{duration(document['wall_s'])} in all, the longest {duration(document['longest_s'])}"
        rows["CPU time"] = _known(document["cpu_s"], duration)
        rows["CPU time"] += _share(document["cpu_efficiency"], "of the CPUs asked for")
        rows["core-hours"] = f"{document['core_hours']:.4g}"
        rows["memory"] = _known(document["peak_mem_mib"], lambda mib: size(round(mib * 1024)) + " at most")
        rows["memory"] += _share(document["mem_efficiency"], "of what was asked for")
        if document["gpus"]:
            rows["GPU time"] = _gpu_time(document)
            rows["GPU memory"] = _known(document["gpu_peak_mib"], lambda mib: size(mib * 1024) + " at most")
            rows["GPU energy"] = _known(document["gpu_energy_j"], energy)
        rows["outputs"] = size(-(-document["output_bytes"] // 1024))
    yield from (f"  {name + ':':<12}{value}" for name, value in rows.items())
    yield from (f"note: {line}" for line in document.get("notes") or [])


def _gpu_time(document: Document) -> str:
    of_it = _share(document["gpu_efficiency"], "of the time that they were held")
    return _known(document["gpu_s"], lambda seconds: duration(seconds) + of_it)


def _known(value: float | None, how: Callable[[Any], str]) -> str:
    if value is None:
        return "nobody could tell"
    return how(value)


def _share(part: float | None, of_what: str) -> str:
    if part is None:
        return ""
    return f", {part:.0%} {of_what}"


def _state(name: str) -> str:
    """Return execution and validation of replicas, `errored/inconclusive`, as `show` has them."""
    execution, _, validation = name.partition("/")
    if validation in {"", "pending"}:
        return execution
    return f"{execution}, {vote(execution, validation)}"
