"""What was verified, as a document: the policy, whose keys signed and where these came from, and every check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.verification.job_evidence import Evidence
    from nexapod_batch.model.node import Node

__all__ = ["described"]


def described(c: Coordinator, job_id: int, evidence: Evidence) -> dict[str, Any]:
    """Return the JSON document of a verification."""
    row = c.store.jobs.get(job_id)
    made = {node.id: node.created_at for node in c.store.nodes.all()}
    return {
        "job": job_id,
        "uuid": row.uuid,
        "digest": row.digest,
        "ok": evidence.ok,
        "policy": _policy(c, job_id) if evidence.checks[0]["ok"] else None,
        "keys": [_key(c, node, made[node.id]) for _, node in sorted(evidence.keys.items())],
        "statements": evidence.statements,
        "verdicts": sum(check["check"] == "verdict" for check in evidence.checks),
        "bytes": evidence.files,
        "checks": evidence.checks,
    }


def _policy(c: Coordinator, job_id: int) -> dict[str, Any]:
    quorum = c.job(job_id).quorum
    return {
        "agree": quorum.agree,
        "distinct": [field.value for field in quorum.distinct],
        "max_replicas": quorum.max_replicas,
        "class": quorum.numeric_class.value,
    }


def _key(c: Coordinator, node: Node, made_at: int) -> dict[str, Any]:
    """Return whose a key is, and how this coordinator came to it: that is what a verification here rests on."""
    day = time.strftime("%Y-%m-%d", time.gmtime(made_at // 1000))
    here = (c.paths.keys / f"node-{node.name}").exists()
    made = f"made here on {day}" if here else f"in the registry since {day}"
    return {
        "key": node.key_id,
        "node": node.name,
        "site": node.site,
        "owner": node.owner,
        "host": node.host,
        "from": f"{made}; whoever was not there asks {node.owner} for it",
        "private_key_here": here,
    }
