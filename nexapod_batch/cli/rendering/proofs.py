"""What was proved, as lines for people: a document in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["verified"]

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
    failed = sum(not check["ok"] for check in checks)
    what = f"{_count(document['statements'], 'statement')}, {_count(document['verdicts'], 'verdict')}"
    if failed:
        yield f"{failed} of {len(checks)} checks fail: {what} and {document['bytes']} bytes of results were looked at"
    elif document.get("results", True) is None:
        counted = f"{_count(document['statements'], 'statement')} and {_count(document['verdicts'], 'verdict')}"
        yield f"all holds: {counted} are what was signed; no results were looked at: give them with --results"
    else:
        yield f"all holds: {what} and {document['bytes']} bytes of results are what was signed"


def _check(check: dict[str, Any]) -> str:
    of = f"job {check['of']}" if check["check"] == "job" else check["of"]
    on = f" by {check['node']}" if check.get("node") else ""
    text = f" {check['text']}" if check.get("text") else ""
    mark = "ok  " if check["ok"] else "FAIL"
    problem = f": {check['problem']}" if check["problem"] else ""
    return f"{mark}  {of}  {check['check']}{on}{text}{problem}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
