"""What `--json` prints, as shapes, and the JSON Schemas that are made of them.

A shape is a type (`str`, `int`, `float`, `bool`, `None`), `(SHAPE, ...)` for one of several, `[SHAPE]` for a list,
`{str: SHAPE}` for an object with any names, or an object `{"name": SHAPE}`; a name with `?` at its end may be missing.
Objects may have more than their shape names: within one version fields are added, and never renamed or removed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SHAPES", "json_schema"]

Shape = Any

_TEXT_OR_NONE = (str, None)
_NUMBER_OR_NONE = (int, None)
_COUNTS = dict.fromkeys(("waiting", "active", "accepted", "failed", "inconclusive", "cancelled"), int)
_REASON: Shape = {"code": str, "parameters": {}}
_WHY: Shape = (_REASON, None)
_NATIVE: dict[str, Shape] = {"id": str, "state": str, "reason": str}
_JOB: dict[str, Shape] = {
    "id": int, "uuid": str, "name": str, "state": str, "user": str, "held": bool, "blocked": str, "blocked_why": _WHY,
    "priority": int, "submitted": str, "finished": _TEXT_OR_NONE, "n_tasks": int, "counts": _COUNTS, "n_doubted": int,
    "labels": {str: str},
}  # fmt: skip
_REPLICA: dict[str, Shape] = {
    "id": str, "node": str, "node_key": str, "site": str, "owner": str, "host": str, "backend": str,
    "class": _TEXT_OR_NONE, "isolation": _TEXT_OR_NONE, "execution": str, "validation": str, "voided": bool,
    "exit_code": _NUMBER_OR_NONE, "reason": str, "why": _WHY, "native": _NATIVE,
    "wall_ms": _NUMBER_OR_NONE, "cpu_ms": _NUMBER_OR_NONE, "max_rss_kib": _NUMBER_OR_NONE,
    "output_bytes": _NUMBER_OR_NONE,
}  # fmt: skip
_TASK: dict[str, Shape] = {
    "index": int, "state": str, "reason": str, "why": _WHY, "unpublished": _WHY, "doubt": str, "agree": int,
    "class": _TEXT_OR_NONE, "published": bool, "parameters": {str: str}, "replicas": [_REPLICA],
    "judged_again?": [{"entry": int, "state": str}],
}  # fmt: skip
_RULE: dict[str, Shape] = {
    "path": str, "compare": str, "digits": _NUMBER_OR_NONE, "rtol": _TEXT_OR_NONE, "atol": _TEXT_OR_NONE,
    "integers?": str, "ignore?": [str], "normalize?": [str], "delimiter?": str, "decimal?": str, "comments?": str,
    "quoted_numbers?": bool, "unordered?": bool, "optional?": bool,
}  # fmt: skip
_PLACE: dict[str, Shape] = {
    "line?": int, "word?": int, "row?": int, "column?": int, "byte?": int, "key?": str, "part?": str, "hdu?": int,
    "index?": [int],
}  # fmt: skip
_AT: dict[str, Shape] = {"where": str, "place": _PLACE, "left": str, "right": str}
_FARTHEST: dict[str, Shape] = {"by": (float, int, None), **_AT}
_COMPARISON: dict[str, Shape] = {
    "name": str, "agree": bool, "rule?": str, "only?": str, "unreadable?": str,
    "first?": _AT, "would_agree?": _TEXT_OR_NONE,
    "figures?": {
        "format": str, "values": int, "numbers": int, "beyond": int, "border": int, "texts": int,
        "absolute": (_FARTHEST, None), "relative": (_FARTHEST, None), "decades": {str: int},
        "kinds": [str], "first": [str], "causes": [str], "shape": str, "through?": str,
    },
}  # fmt: skip
_DIFFERENCE: dict[str, Shape] = {
    "replica?": str, "node?": str, "owner?": str, "node_key?": str, "against?": str, "accepted?": bool,
    "files?": [{**_COMPARISON, "only_of?": str, "printed_by?": str}], "problem?": _TEXT_OR_NONE, "text?": [str],
}

_EXPLAINED: dict[str, Shape] = {
    "index": int, "state": str, "reason": str, "why": _WHY, "unpublished": _WHY,
    "replicas": [
        {
            "id": str, "node": str, "execution": str, "validation": str, "reason": str, "why": _WHY,
            "backend?": {"state": str, "reason": str, "why": _WHY, "native": _NATIVE},
        }
    ],
    "not_on": [{"node": str, "reason": str, "why": _WHY}],
    "programs": {str: {"file": str, "path": str, "sha256": str}}, "differences?": [_DIFFERENCE],
    "judged_again?": [
        {
            "number": int, "entry": int, "state": str, "agree": int, "policy": str, "outputs": [_RULE],
            "changed": [_RULE], "statements": int, "replica": _NUMBER_OR_NONE, "folder": _TEXT_OR_NONE,
        }
    ],
}  # fmt: skip
_DELIVERY: dict[str, Shape] = {
    "to": str, "state": str, "place": str, "sha256": str, "tries": int, "next": _TEXT_OR_NONE, "reason": str,
}  # fmt: skip
_SHOWN: dict[str, Shape] = {
    "job": {
        **_JOB, "digest": str, "folder": str, "results": str, "foreign": bool, "delivery?": _DELIVERY,
        "staging?": [{"node": str, "files": int, "size": int, "sent": int, "since": int}],
        "withdrawn_sources?": [{"task": str, "state": str, "doubt": str}],
    },
    "tasks": [_TASK], "more": bool,
}  # fmt: skip
_ENDED = {
    **_JOB, "results": str, "more": bool,
    "tasks": [{"index": int, "state": str, "reason": str, "agree": int, "doubt": str}],
}  # fmt: skip

_VERIFIED: dict[str, Shape] = {
    "job": _NUMBER_OR_NONE, "uuid": _TEXT_OR_NONE, "digest": _TEXT_OR_NONE, "ok": bool,
    "policy": ({"agree": int, "distinct": [str], "max_replicas": int, "class": str}, None),
    "keys": [
        {"key": str, "node": str, "site": str, "owner": str, "host": str, "from": str, "private_key_here": bool}
    ],
    "statements": int, "verdicts": int, "bytes": int,
    "checks": [{"check": str, "of": str, "ok": bool, "problem": str, "text?": str, "node?": str, "key?": str}],
    "folder?": str, "uuid_given?": bool, "results?": _TEXT_OR_NONE,
    "archive?": str, "reproductions?": [{}],
}  # fmt: skip
_COMPARED_LOG: dict[str, Shape] = {"stream": str, "bytes": int, "noted": int}

#: What each command prints; `error` is printed by every command that fails.
SHAPES: dict[str, dict[str, Shape]] = {
    "error": {
        "error": {
            "code": str, "message": str, "got": _TEXT_OR_NONE, "wanted": _TEXT_OR_NONE, "hint": _TEXT_OR_NONE,
            "exit_code": int, "problems": [{"path": str, "line": _NUMBER_OR_NONE, "message": str}],
        }
    },
    "submit": {
        "job": int, "uuid": str, "tasks": int, "core_hours": (float, int, None), "results": str, "reach": str,
        "warnings": [str], "state": str,
        "travel": [{"node": str, "files": int, "size": int, "files_to_send": int, "size_to_send": int}],
    },
    "ls": {"jobs": [_JOB]},
    "show": _SHOWN,
    "explain": {"explanation": [str], "tasks": [_EXPLAINED]},
    "compare": {"agree": bool, "files": [_COMPARISON]},
    "judge": {
        "ok": bool, "dry_run": bool,
        "tasks": [
            {
                "task": str, "number": int, "before": {"state": str, "policy": str, "outputs": [_RULE]}, "state": str,
                "agree": int, "reason": str, "why": _REASON, "policy": str, "outputs": [_RULE],
                "replica": _NUMBER_OR_NONE, "agreeing": [int], "gone": {str: str}, "entry": _NUMBER_OR_NONE,
                "folder": _TEXT_OR_NONE,
            }
        ],
    },
    "logs": {"logs": [{"of": str, "path": _TEXT_OR_NONE, "bytes": int}]},
    "logs --verify": {
        "ok": bool,
        "replicas": [
            {"of": str, "notes": int, "signed": bool, "ok": bool, "problems": [str], "logs": [_COMPARED_LOG]}
        ],
    },
    "wait": {"jobs": [_ENDED]},
    "cancel": {"cancelled": [str]},
    "hold": {"held": [str]},
    "release": {"released": [str]},
    "retry": {
        "reopened": [str], "at_least_more": {str: int},
        "submitted?": [{"job": int, "of": [str], "changed": [str]}], "jobs?": [_ENDED],
    },
    "results": {
        "job?": int, "folder?": str, "results": [{"task": str, "path": str, "parameters": {str: str}}],
        "missing": [{"task": str, "state": str, "parameters": {str: str}}],
    },
    "verify": _VERIFIED,
    "reconcile": {
        "ingested": int, "decided": int, "launched": int, "published": int, "delivered": int,
        "quarantined": int, "open_jobs": int,
        "faults": [str], "standing": [str], "why": {"faults": [_REASON], "standing": [_REASON]},
    },
}  # fmt: skip
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", None: "null"}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what a command prints with `--json`; KeyError for a name without a shape."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:nexapod-batch:schema:output:{name.replace(' --', '-')}:1",
        "title": f"nexapod-batch {name} --json",
    }
    return head | _schema({"schema": int, **SHAPES[name]})


def _schema(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, list):
        return {"type": "array", "items": _schema(shape[0])}
    if isinstance(shape, tuple):
        return {"anyOf": [_schema(one) for one in shape]}
    if not isinstance(shape, dict):
        return {"type": _TYPES[shape]}
    if set(shape) == {str}:
        return {"type": "object", "additionalProperties": _schema(shape[str])}
    properties = {name.removesuffix("?"): _schema(one) for name, one in shape.items()}
    return {"type": "object", "properties": properties, "required": [name for name in shape if not name.endswith("?")]}
