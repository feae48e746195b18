"""What a person may do about a task that failed, by the kind of failure that its nodes signed."""

from __future__ import annotations

__all__ = ["advice"]

#: By the runner's word for how a replica ended: what would help, with the key of the descriptor where there is one.
_MORE = {
    "time": "more time: resources.time",
    "memory": "more memory: resources.mem",
    "disk": "more disk: resources.disk",
}


#: Exit codes of commands that a signal ended: over the size of a file, or, mostly, out of memory.
_BY_SIGNAL = {"failed:153": "disk", "failed:137": "memory"}
_AGAIN = "then submit it again"


def advice(failure: str, task: str) -> str:
    """Return the next step for a task (`42_7`) that failed so: an outcome, with an exit code where it has one."""
    outcome = failure.partition(":")[0].partition(" ")[0]
    outcome = _BY_SIGNAL.get(failure, outcome)
    if outcome in _MORE:
        return f"ask for {_MORE[outcome]}, and submit it again; what was used: nexapod-batch report {task}"
    if failure == "failed:127":  # what a shell, and the runner, say of a program that is not there
        return f"name a program that the nodes have, or let it travel ([[inputs]], and ./NAME as the command): {_AGAIN}"
    mended = f"nexapod-batch retry {task} --fresh runs the files of now, without --fresh those of the submit"
    if outcome == "output":
        return f"let the command write it, or correct [[outputs]] and submit it again; {mended}"
    return f"when it is mended: {mended}"
