"""What was proved, as lines for people: a document in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.wording.rules import rule_words

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["compared_logs", "judged_again", "verified", "verified_chain"]

#: Checks that held and are listed one by one; of more only their number is said.
_SHOWN = 40


def verified(document: dict[str, Any]) -> Iterator[str]:
    """Describe a verification: what it rests on, then every check, or what failed where there are many."""
    if document["job"] is not None:
        yield f"job {document['job']}, digest {document['digest']}"
    if document.get("folder") and document["uuid"] is not None:
        origin = "given by you" if document["uuid_given"] else "unattributed: give what was published with --uuid"
        yield f"  uuid: {document['uuid']}, {origin}"
    policy = document["policy"]
    if policy is not None:
        where = " and ".join(policy["distinct"])
        yield f"  policy: {policy['agree']} must agree, distinct by {where}, at most {policy['max_replicas']} replicas"
    for key in document["keys"]:
        place = f" (site {key['site']}, owner {key['owner']})" if key["site"] else ""
        yield f"  key of {key['node']}{place}: {key['key']}, {key['from']}"
    checks = document["checks"]
    every = len(checks) <= _SHOWN
    for check in checks:
        if every or not check["ok"]:
            yield _check(check)
    yield _came_to(document)


def _came_to(document: dict[str, Any]) -> str:
    """Say in one line whether all held, and what was looked at."""
    checks = document["checks"]
    failed = sum(not check["ok"] for check in checks)
    statements, verdicts = _count(document["statements"], "statement"), _count(document["verdicts"], "verdict")
    looked_at = f"{statements}, {verdicts} and {document['bytes']} bytes of results"
    if failed:
        return f"{failed} of {len(checks)} checks fail: {looked_at} were looked at"
    if document.get("results", True) is None:
        signed = f"{statements} and {verdicts} are what was signed"
        return f"all holds: {signed}; no results were looked at: give them with --results"
    return f"all holds: {looked_at} are what was signed"


def verified_chain(document: dict[str, Any]) -> Iterator[str]:
    """Describe the verification of jobs that fed each other, the first one first."""
    for job in document["jobs"]:
        yield from verified(job)
    word = "holds" if document["ok"] else "does not hold"
    yield f"the chain of {_count(len(document['jobs']), 'job')} {word}"


def compared_logs(document: dict[str, Any]) -> Iterator[str]:
    """Describe how logs compare with their notes, and with what was signed."""
    for replica in document["replicas"]:
        mark = "ok  " if replica["ok"] else "FAIL"
        parts = [_compared_log(log, signed=replica["signed"]) for log in replica["logs"]]
        if replica["notes"]:
            parts.insert(0, _count(replica["notes"], "note"))
        if not replica["logs"]:
            parts.append("its logs are not here any more")
        what = "; ".join(replica["problems"] or parts)
        yield f"{mark}  {replica['of']}  {what}"
    failed = sum(not replica["ok"] for replica in document["replicas"])
    number = _count(len(document["replicas"]), "replica")
    yield f"the logs of {failed} of {number} are not as they were" if failed else f"all holds: the logs of {number}"


def judged_again(document: dict[str, Any]) -> Iterator[str]:
    """Describe what kept outputs come to by other rules, beside what they came to by the job's own."""
    for task in document["tasks"]:
        from_ = task["before"]
        yield f"task {task['task']}: {task['state']} under other rules - {task['reason']}"
        for before, now in zip(from_["outputs"], task["outputs"], strict=False):
            if before != now:
                yield f"  {now['path']}: {rule_words(now)}; the job says {rule_words(before)}"
        yield f"  policy {task['policy']}; the job's own {from_['policy']}: {from_['state']}, which stays"
        for number, why in task["gone"].items():
            yield f"  replica {number} was counted as if it had said anything: {why}"
        if task["folder"]:
            yield f"  files of replica {task['replica']}: {task['folder']}"
        if document["dry_run"]:
            yield "  nothing was written"
        else:
            job = task["task"].partition("_")[0]
            yield f"  signed, entry {task['entry']} of the ledger: nexapod-batch verify {job}"


def _compared_log(log: dict[str, Any], *, signed: bool) -> str:
    if signed:
        return f"{log['stream']} is what was signed ({_count(log['bytes'], 'byte')})"
    if log["bytes"] > log["noted"]:
        return f"{log['stream']} is as it was noted up to byte {log['noted']} of {log['bytes']} so far"
    return f"{log['stream']} is as it was noted ({_count(log['bytes'], 'byte')})"


def _check(check: dict[str, Any]) -> str:
    of = f"job {check['of']}" if check["check"] == "job" else check["of"]
    on = f" by {check['node']}" if check.get("node") else ""
    text = f" {check['text']}" if check.get("text") else ""
    mark = "ok  " if check["ok"] else "FAIL"
    problem = f": {check['problem']}" if check["problem"] else ""
    return f"{mark}  {of}  {check['check']}{on}{text}{problem}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
