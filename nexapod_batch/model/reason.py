"""Why something is as it is, as data: a code and its parameters. `wording` makes sentences of them.

A reason is stored as JSON, `{"code": "quorum.accepted", "parameters": {...}}`, and `--json` prints the same object.
Parameters are JSON values, or reasons again. Two reasons are the same if `same` says so: it compares what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of what it decodes
from typing import Any

import msgspec
from msgspec import Struct, field

__all__ = ["Code", "Reason", "same"]


class Code:
    """Every code that this program writes; `wording.meanings` says what each means.

    Codes are never renamed: databases and scripts hold them.
    """

    IMPORTED = "imported"
    TEXT = "text"

    ACCEPTED = "quorum.accepted"
    FAILED_ALIKE = "quorum.failed_alike"
    TOO_MANY_ERRORS = "quorum.too_many_errors"
    TOO_MANY_LOST = "quorum.too_many_lost"
    NO_DOMAIN_LEFT = "quorum.no_domain_left"
    USED_UP = "quorum.used_up"
    UNDECIDED = "quorum.undecided"
    TIE = "quorum.tie"
    TOO_FEW_AGREE = "quorum.too_few_agree"
    DOUBTED = "quorum.doubted"

    FROM_SITES = "independence.sites"
    FROM_OWNERS = "independence.owners"
    FROM_MACHINES = "independence.machines"
    FROM_ONE_MACHINE = "independence.one_machine"
    UNREPEATED = "independence.unrepeated"

    OTHER_CLASS = "vote.other_class"
    TOO_LITTLE_ISOLATION = "vote.isolation"
    HOST_UNCONFIRMED = "vote.host_unconfirmed"

    NODES_FULL = "placement.nodes_full"
    NODES_PAUSED = "placement.nodes_paused"
    NO_NODE_LEFT = "placement.no_node_left"
    NO_NODES = "placement.no_nodes"

    SWITCHED_OFF = "node.switched_off"
    CLASS_UNKNOWN = "node.class_unknown"
    OTHER_TIER = "node.other_tier"
    SINGLE_MACHINE = "node.single_machine"
    TOO_SMALL = "node.too_small"
    OTHER_GPU_TYPE = "node.other_gpu_type"
    SMALL_GPU_MEMORY = "node.small_gpu_memory"
    NODE_OF_OTHER_CLASS = "node.other_class"
    DOMAIN_USED = "node.domain_used"
    NODE_FULL = "node.full"
    NODE_PAUSED = "node.paused"
    NODE_CANNOT = "node.cannot"

    NOT_ASKED_FOR = "site.not_asked_for"
    SITE_REFUSES = "site.refuses"
    UNDECLARED = "site.undeclared"
    NO_PARTITION = "site.no_partition"

    NO_ACTIVE_NODE = "reach.no_active_node"
    NO_NODE_OF_TIER = "reach.no_node_of_tier"
    NO_NODE_LARGE_ENOUGH = "reach.no_node_large_enough"
    NO_NODE_HAS_ALL = "reach.no_node_has_all"
    RESOURCE_TOO_LARGE = "reach.resource_too_large"
    NO_SUCH_GPU_TYPE = "reach.no_such_gpu_type"
    TOO_FEW_DOMAINS = "reach.too_few_domains"
    FEW_DOMAINS = "reach.few_domains"

    WAITS_FOR_JOB = "job.waits_for"

    SIGNED = "replica.signed"
    TWO_STATEMENTS = "replica.two_statements"
    OVERDUE = "replica.overdue"
    NOT_NEEDED = "replica.not_needed"
    REPLICA_CANCELLED = "replica.cancelled"
    TAKEN_BACK = "replica.taken_back"

    BACKEND = "launch.backend"
    NO_REPORT = "launch.no_report"
    NOT_HANDED = "launch.not_handed"
    RESTORED = "launch.restored"

    CANCELLED = "task.cancelled"
    RETRIED = "task.retried"


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A code with its parameters. `code` is one of `Code`, or one that a newer version or a plug-in wrote."""

    code: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> str:
        """Return the JSON text that databases hold."""
        return msgspec.json.encode(self).decode()

    def document(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints; reasons in the parameters are objects of the same form."""
        parameters = msgspec.to_builtins(self.parameters)
        return {"code": self.code, "parameters": parameters}

    @classmethod
    def parse(cls, text: str) -> Reason | None:
        """Return the reason that a database holds: None for "", which is none, and `text` for what is not JSON."""
        if not text:
            return None
        try:
            return _DECODER.decode(text)
        except msgspec.DecodeError:
            return cls.text(text)

    @classmethod
    def text(cls, text: str) -> Reason:
        """Return the reason that somebody else gave in words of their own."""
        return cls(code=Code.TEXT, parameters={"text": text})


_DECODER = msgspec.json.Decoder(Reason)


def same(one: Reason | None, other: Reason | None) -> bool:
    """Say whether two reasons are the same, whatever kinds of sequences and strings their parameters are made of."""
    if one is None or other is None:
        return one is other
    return _DECODER.decode(msgspec.json.encode(one)) == _DECODER.decode(msgspec.json.encode(other))
