"""What a launch of a node that joined is, by what is known of it here. Pure: a function of four facts.

A lease begins when the node acknowledges the launch, and ends with the node's word, or when the node has been silent
for too long. What it reports after that still counts as a vote: here it only no longer keeps others waiting.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SILENT_S", "Facts", "LeaseState", "state_of"]

#: For so long a node may say nothing before what it has is given to others: a reboot or a night without network
#: costs an hour of it at most.
SILENT_S = 3_600.0
_SETTLED = frozenset({"COMPLETED", "FAILED", "CANCELED"})


class Facts(NamedTuple):
    """What is known of one launch."""

    waits: bool  # it is in the outbox
    given: bool  # the node acknowledged it
    said: str  # the node's last word; "" for none
    reason: str  # the node's reason with it
    code: str
    silent_s: float | None  # since the node's last call; None: it never called
    left: bool = False  # the node said that it leaves
    paused: str = ""  # why the node lets nothing start, as it says


class LeaseState(NamedTuple):
    """What it is then."""

    state: str  # of `plugins.BackendState`
    native: str
    reason: str = ""
    code: str = ""


def state_of(facts: Facts) -> LeaseState:
    """Return what a launch is."""
    if not facts.waits and not facts.given:
        return LeaseState("UNKNOWN", "")
    if facts.given and facts.said in _SETTLED:
        return LeaseState(facts.said, "node", facts.reason, facts.code)
    if facts.given and facts.said == "UNKNOWN":
        return LeaseState("FAILED", "node", "the node knows nothing of it any more", "agent.unknown")
    if facts.left:
        return LeaseState("FAILED", "left", "the node has left", "agent.left")
    if facts.silent_s is not None and facts.silent_s > SILENT_S:
        minutes = int(facts.silent_s / 60)
        reason = f"the node has been silent for {minutes} minutes"
        return LeaseState("FAILED" if facts.given else "QUEUED", "silent", reason, "agent.silent")
    if not facts.given:
        why = "" if facts.silent_s is not None else "the node has not called yet"
        if facts.paused:
            why = f"the node starts nothing now: {facts.paused}"
        return LeaseState("QUEUED", "outbox", why, "agent.waits" if why else "")
    if facts.said in {"", "NEW"}:
        return LeaseState("QUEUED", "given")
    return LeaseState(facts.said, "node", facts.reason, facts.code)
