"""What the entries of the ledger say, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.ledger.events import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["described"]

_TEMPLATES: dict[str, str] = {
    Kind.BEGAN: "the ledger {origin} began, of the coordinator with key {key}",
    Kind.RESTORED: "the database was put back from a backup; open launches that are lost: {launches}",
    Kind.TAKEN_OVER: "a stand-in took over and began epoch {epoch}, from a copy whose last head has {size} entries",
    Kind.REGISTERED: "node {node} of {owner} at {site} registered with key {key}",
    Kind.CHANGED: "node {node} of {owner} at {site} registered anew, with key {key}",
    Kind.ROTATED: "node {node} has the key {key}, no longer {was}",
    Kind.COORDINATOR_ROTATED: "the coordinator has the key {key}, no longer {was}",
    Kind.REVOKED: "key {key} revoked: what it signed for entries from {entry} on does not count",
    Kind.SEEN: "node {node} called from {network} for the first time",
    Kind.OWNER: "owner {owner}: {state}, says {by}",
    Kind.DRAINED: "node {node} drained",
    Kind.RESUMED: "node {node} resumed",
    Kind.REMOVED: "node {node} removed",
    Kind.PROFILE: "node {node} signed its profile {sha256}",
    Kind.SUBMITTED: "job {id} submitted: document {sha256}; tasks: {tasks}",
    Kind.RESOLVED: "job {id} has its inputs: document {sha256}; inputs: {inputs}",
    Kind.PLACED: "job {id}: bundle {sha256} placed on {node}; replicas: {replicas}",
    Kind.REPORT: "replica {id} reported: statement {sha256}",
    Kind.QUARANTINED: "a line of node {node} refused: byte {position} of {segment}",
    Kind.VERDICT: "task {id}: {state}; verdict {sha256}",
    Kind.JUDGED_AGAIN: "task {id} judged again, under other rules: {state}; verdict {sha256}",
    Kind.LATE: "replica {id} judged {validation} after the verdict",
    Kind.DOUBT: "task {id}: its quorum is in doubt (1) or holds (0): {raised}",
    Kind.PUBLISHED: "task {id}: files of replica {replica} published",
    Kind.RETRIED: "{id} opened again; tasks: {tasks}",
    Kind.CANCELLED: "{id} cancelled; tasks: {tasks}",
}


def described(event: Mapping[str, str | int]) -> str:
    """Return the sentence of an entry; what a newer version wrote is shown as it is."""
    kind = event["kind"]
    prefix = ""
    if kind == Kind.IMPORTED:
        kind, prefix = event.get("fact", ""), "known before the ledger began: "
    try:
        return prefix + _TEMPLATES[str(kind)].format_map(event)
    except KeyError:  # an imported fact has fewer fields, a newer version other kinds
        shown = ", ".join(f"{name} {value}" for name, value in event.items() if name not in {"kind", "time", "fact"})
        return f"{prefix}{kind}: {shown}"
